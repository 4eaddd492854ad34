//! How many rollouts are in progress at once, and whose turn it is to leave what falls short of a policy.
//!
//! The watches tell what is under way, but only after a status was written. Between a decision and that, it is kept here whose
//! rollout begins: of two models that want the last place at once, one gets it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use kube::ResourceExt;
use parking_lot::Mutex;

use crate::api::QuantizedModelStatus;
use crate::governance::{Asked, Floor, Freshness};
use crate::rollout::{Governed, Slot};
use crate::watch::{Busy, CachedModel, KnownModels, Policies};

/// Most models that are named as those that are in progress.
const MOST_NAMED: usize = 10;

/// What stands for models of which nobody knows yet whether they are in progress.
const NOT_LISTED: &str = "models that the API server has not listed yet";

/// What is under way of all models, also between a decision and its record.
pub(in crate::controller) struct Slots {
    /// Number of the watches that there will be.
    watches: usize,
    followed: Mutex<Vec<Watched>>,
    /// What began, or is known to go on, by the uid of its model.
    begun: Mutex<HashMap<String, Busy>>,
}

/// The models of one watch, with the policies that select them.
struct Watched {
    models: KnownModels,
    policies: Policies,
}

/// How a model stands among the others.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::controller) struct Place {
    pub(in crate::controller) slot: Slot,
    pub(in crate::controller) turn: bool,
}

impl Place {
    /// Puts it into what policies ask.
    pub(super) fn put(self, governed: &mut Governed) {
        (governed.slot, governed.turn) = (self.slot, self.turn);
    }
}

impl Slots {
    /// The models of so many watches.
    pub(in crate::controller) fn new(watches: usize) -> Self {
        Self {
            watches,
            followed: Mutex::default(),
            begun: Mutex::default(),
        }
    }

    /// Counts the models of a watch from now on.
    pub(in crate::controller) fn follow(&self, models: KnownModels, policies: Policies) {
        self.followed.lock().push(Watched { models, policies });
    }

    /// How a model with this status stands.
    pub(super) fn place(&self, uid: &str, governed: &Governed, status: &QuantizedModelStatus) -> Place {
        let mut begun = self.begun.lock();
        note(&mut begun, uid, Busy::of(status));
        self.among(&begun, uid, governed, Busy::of(status))
    }

    /// Takes what the next status of a model begins, or says how it stands where others were faster.
    pub(super) fn take(
        &self,
        uid: &str,
        governed: &Governed,
        (before, next): (&QuantizedModelStatus, &QuantizedModelStatus),
    ) -> Result<(), Place> {
        let mut begun = self.begun.lock();
        let (was, will) = (Busy::of(before), Busy::of(next));
        let begins = (will.rollout && !was.rollout, will.moves && !was.moves);
        if begins != (false, false) {
            let place = self.among(&begun, uid, governed, was);
            let is_full = begins.0 && matches!(place.slot, Slot::Full { .. });
            if is_full || (begins.1 && !place.turn) {
                return Err(place);
            }
        }
        note(&mut begun, uid, will);
        Ok(())
    }

    /// Notes what is under way by the next status of a model.
    pub(super) fn note(&self, uid: &str, next: &QuantizedModelStatus) {
        note(&mut self.begun.lock(), uid, Busy::of(next));
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.begun.lock().remove(uid);
    }

    fn among(&self, begun: &HashMap<String, Busy>, uid: &str, governed: &Governed, own: Busy) -> Place {
        let rules = &*governed.rules;
        let limits_moves =
            rules.falls_back_below != Floor::default() || rules.falls_back_when_stale != Freshness::default();
        if rules.slots.is_empty() && !limits_moves {
            return Place {
                slot: Slot::Free,
                turn: false,
            };
        }
        let others = Others::beside(uid, &self.followed.lock(), self.watches, begun);
        let names = governed.from.iter().map(|of| of.split('@').next().unwrap_or_default());
        let names: Vec<&str> = names.collect();
        Place {
            slot: if own.is_any() {
                Slot::Held
            } else {
                others.slot(&rules.slots)
            },
            turn: limits_moves && others.all_listed && !others.selected_by(&names).any(|of| of.busy.moves),
        }
    }
}

/// Keeps what is under way of a model, if anything is.
fn note(begun: &mut HashMap<String, Busy>, uid: &str, busy: Busy) {
    if busy.is_any() {
        begun.insert(uid.to_owned(), busy);
    } else {
        begun.remove(uid);
    }
}

/// Another model of which something is under way.
struct Other {
    name: String,
    busy: Busy,
    /// The policies of its watch, which tell whether they select it.
    policies: Policies,
    model: Arc<CachedModel>,
}

/// The other models of which something is under way.
struct Others {
    busy: Vec<Other>,
    all_listed: bool,
}

impl Others {
    fn beside(uid: &str, followed: &[Watched], watches: usize, begun: &HashMap<String, Busy>) -> Self {
        let mut busy = Vec::new();
        for Watched { models, policies } in followed {
            for model in models.all() {
                let of = model.uid().unwrap_or_default();
                let shown = model.busy();
                let taken = begun.get(&of).copied().unwrap_or_default();
                let under_way = Busy {
                    rollout: shown.rollout || taken.rollout,
                    moves: shown.moves || taken.moves,
                };
                if of != uid && under_way.is_any() {
                    let (namespace, name) = model.name();
                    busy.push(Other {
                        name: format!("{namespace}/{name}"),
                        busy: under_way,
                        policies: policies.clone(),
                        model,
                    });
                }
            }
        }
        busy.sort_by(|one, other| one.name.cmp(&other.name));
        let all_listed = followed.len() >= watches && followed.iter().all(|of| of.models.have_come());
        Self { busy, all_listed }
    }

    /// Those that one of these policies selects.
    fn selected_by<'a>(&'a self, policies: &'a [&str]) -> impl Iterator<Item = &'a Other> {
        let selected = move |other: &&Other| {
            let namespace = other.model.namespace().unwrap_or_default();
            let tier = other.model.tier();
            policies
                .iter()
                .any(|policy| other.policies.selects(policy, &namespace, tier))
        };
        self.busy.iter().filter(selected)
    }

    /// Whether another rollout may begin beside them, under all limits.
    fn slot(&self, limits: &BTreeSet<Asked<i32>>) -> Slot {
        for Asked { what: most, by } in limits {
            let names: Vec<&str> = by.iter().map(String::as_str).collect();
            let mut in_use: Vec<String> = self.selected_by(&names).map(|of| of.name.clone()).collect();
            let most = usize::try_from(*most).unwrap_or(0);
            if !self.all_listed {
                in_use = vec![NOT_LISTED.to_owned()];
            } else if in_use.len() < most {
                continue;
            }
            in_use.truncate(MOST_NAMED);
            return Slot::Full {
                of: u32::try_from(most).unwrap_or(u32::MAX),
                in_use,
            };
        }
        Slot::Free
    }
}

#[cfg(test)]
mod tests {
    use kube::runtime::watcher::Event;
    use serde_json::{Value, json};

    use super::*;
    use crate::governance::Rules;

    /// A status in which this is under way.
    fn status(rollout: bool, moves: bool) -> QuantizedModelStatus {
        let rollout = rollout.then(|| {
            json!({"kind": "Climb", "candidate": {"variant": "int8", "revision": "v1:8"}, "planDigest": "p",
                "startedAt": "2026-11-10T00:00:00Z", "step": 0, "weight": 0})
        });
        let retiring =
            json!([{"variant": "int8", "revision": "v1:8", "until": "2026-11-10T00:00:00Z", "reason": "Handover"}]);
        let retiring = if moves { retiring } else { json!([]) };
        serde_json::from_value(json!({"rollout": rollout, "retiring": retiring})).unwrap()
    }

    fn model(name: &str, status: &QuantizedModelStatus) -> CachedModel {
        let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
        let mut model: Value = serde_yaml_ng::from_str(sample).unwrap();
        model["metadata"] = json!({"namespace": "risk", "name": name, "uid": name});
        model["status"] = serde_json::to_value(status).unwrap();
        CachedModel::of(serde_json::from_str(&model.to_string()).unwrap())
    }

    /// Policies `two`, which selects the namespace, and `elsewhere`, which does not.
    fn policies() -> Policies {
        let policies = Policies::default();
        let of = |name: &str, class: &str| {
            let applies = json!({"namespaces": {"matchLabels": {"class": class}}});
            json!({"metadata": {"name": name, "generation": 1}, "spec": {"appliesTo": applies}})
        };
        policies.take_policy(Event::Init);
        for policy in [of("two", "a"), of("elsewhere", "b")] {
            policies.take_policy(Event::InitApply(serde_json::from_value(policy).unwrap()));
        }
        policies.take_policy(Event::InitDone);
        let namespace = json!({"metadata": {"name": "risk", "labels": {"class": "a"}}});
        policies.take_namespace(Event::Init);
        policies.take_namespace(Event::InitApply(serde_json::from_value(namespace).unwrap()));
        policies.take_namespace(Event::InitDone);
        policies
    }

    /// What is asked of a model of which this policy lets so many rollouts be in progress.
    fn governed(policy: &str, most: i32) -> Governed {
        let slots = BTreeSet::from([Asked {
            what: most,
            by: [policy.to_owned()].into(),
        }]);
        Governed {
            from: vec![format!("{policy}@1")],
            rules: Box::new(Rules {
                slots,
                ..Rules::default()
            }),
            ..Governed::default()
        }
    }

    fn full(of: u32, in_use: &[&str]) -> Slot {
        Slot::Full {
            of,
            in_use: in_use.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn as_many_are_in_progress_as_a_policy_lets_be_among_those_that_it_selects() {
        let (rests, climbs) = (status(false, false), status(true, false));
        let all = [model("a", &climbs), model("b", &rests), model("c", &rests)];
        let slots = Slots::new(1);
        let place = |uid: &str, governed: &Governed, status| slots.place(uid, governed, status).slot;
        assert_eq!(place("b", &governed("two", 2), &rests), full(2, &[NOT_LISTED]));
        slots.follow(KnownModels::listed(all), policies());
        assert_eq!(place("b", &governed("two", 2), &rests), Slot::Free);
        assert_eq!(place("a", &governed("two", 2), &climbs), Slot::Held);
        assert_eq!(place("b", &governed("two", 1), &rests), full(1, &["risk/a"]));
        assert_eq!(place("b", &governed("elsewhere", 1), &rests), Slot::Free);
        assert_eq!(place("b", &Governed::default(), &rests), Slot::Free);
    }

    #[test]
    fn of_two_that_want_the_last_place_at_once_one_gets_it() {
        let (rests, climbs) = (status(false, false), status(true, false));
        let slots = Slots::new(1);
        slots.follow(
            KnownModels::listed([model("a", &rests), model("b", &rests)]),
            policies(),
        );
        let one = governed("two", 1);
        for uid in ["a", "b"] {
            assert_eq!(slots.place(uid, &one, &rests).slot, Slot::Free, "both see it");
        }
        assert_eq!(slots.take("a", &one, (&rests, &climbs)), Ok(()));
        let late = slots.take("b", &one, (&rests, &climbs)).unwrap_err();
        assert_eq!(late.slot, full(1, &["risk/a"]));
        assert_eq!(slots.take("b", &one, (&rests, &rests)), Ok(()), "nothing begins");
        // It was given up before its status was written, or has ended.
        slots.note("a", &rests);
        assert_eq!(slots.take("b", &one, (&rests, &climbs)), Ok(()));
        slots.forget("b");
        assert_eq!(slots.place("a", &one, &rests).slot, Slot::Free);
    }

    #[test]
    fn one_after_the_other_leaves_what_falls_short() {
        let (rests, moves) = (status(false, false), status(false, true));
        let slots = Slots::new(1);
        slots.follow(
            KnownModels::listed([model("a", &rests), model("b", &rests)]),
            policies(),
        );
        let mut falls_back = governed("two", 9);
        falls_back.rules.falls_back_below.min_bits = Some(Asked {
            what: 8,
            by: ["two".to_owned()].into(),
        });
        assert!(slots.place("a", &falls_back, &rests).turn && slots.place("b", &falls_back, &rests).turn);
        assert_eq!(slots.take("a", &falls_back, (&rests, &moves)), Ok(()));
        assert!(slots.take("b", &falls_back, (&rests, &moves)).is_err());
        assert!(!slots.place("b", &falls_back, &rests).turn);
        assert!(slots.place("a", &falls_back, &moves).turn, "it is its own");
        slots.note("a", &rests);
        assert!(slots.place("b", &falls_back, &rests).turn);
        assert!(
            !slots.place("b", &governed("two", 9), &rests).turn,
            "nothing asks for it"
        );
    }
}
