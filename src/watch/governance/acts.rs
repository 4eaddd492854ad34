//! What people want, by their PrecisionActions: of each model no more than can be in force, and of models that are not there
//! nothing for long. Whoever may create actions could else fill the memory of guardbit with them.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use serde_json::value::RawValue;

use crate::api::{PrecisionAction, PrecisionActionStatus};
use crate::governance::people::acts::{Act, rank};

use super::super::index::ModelName;
use super::super::partial::Seen;

/// An action as a watch delivers it, parsed no further than its metadata: one that cannot be read must not take the watch
/// of the others with it.
pub type SeenAct = Seen<PrecisionAction, Box<RawValue>, Box<RawValue>>;

/// Most acts of one model that are kept. Of more, those that lower most are.
const MOST: usize = 100;

/// Most bytes that the acts of one model may say: all of them go on record with each decision, and a record has an end.
const MOST_SAID: usize = 128 * 1024;

/// Acts of models that are not there after which it is looked which of them can go.
const STRAYS: usize = 1_000;

/// How long an act may be there before its model is: two watches deliver in no common order.
const EARLY: SignedDuration = SignedDuration::from_mins(1);

/// The acts of one watch. Clones share them.
#[derive(Clone, Default)]
pub struct Acts(Arc<Shared>);

#[derive(Default)]
struct Shared {
    known: RwLock<Known>,
    /// Whether somebody was told that nothing is known yet, and has to be told when it is.
    asked_in_vain: AtomicBool,
}

#[derive(Default)]
struct Known {
    models: HashMap<ModelName, Vec<Listed>>,
    /// Number of the list that goes on or came last.
    list: u32,
    /// Whether a list has been complete.
    come: bool,
    /// Whether the API server serves no actions.
    absent: bool,
    /// Acts of models that are not there, since it was last looked which can go.
    strays: usize,
}

struct Listed {
    list: u32,
    held: Arc<HeldAct>,
}

/// An act, and what its status says of it.
#[derive(Clone, Debug, PartialEq)]
pub struct HeldAct {
    pub act: Act,
    pub told: Option<PrecisionActionStatus>,
}

/// Whose models an event wakes.
#[derive(Debug, PartialEq)]
pub enum Acted {
    /// These.
    Models(Vec<ModelName>),
    /// All that there are.
    All,
}

impl Acts {
    /// The acts that name a model; `None` while nobody knows them.
    pub fn of(&self, namespace: &str, name: &str) -> Option<Vec<Arc<HeldAct>>> {
        let known = self.0.known.read();
        if known.absent {
            return Some(Vec::new());
        }
        if !known.come {
            self.0.asked_in_vain.store(true, Ordering::Relaxed);
            return None;
        }
        let of_model = known.models.get(&(Arc::from(namespace), Arc::from(name)));
        let acts = of_model.into_iter().flatten();
        Some(acts.map(|listed| Arc::clone(&listed.held)).collect())
    }

    /// Notes that the API server serves no actions.
    pub fn are_absent(&self) {
        self.0.known.write().absent = true;
    }

    /// Takes in an event. `uid` tells that of a model which is there. While the models have not all come, nothing is dropped
    /// because its model is not there.
    pub fn take(&self, event: Event<SeenAct>, uid: impl Fn(&ModelName) -> Option<String>, all_come: bool) -> Acted {
        let known = &mut *self.0.known.write();
        let now = Timestamp::now();
        let woken = match event {
            Event::Init => {
                known.list = known.list.wrapping_add(1);
                Vec::new()
            }
            Event::Apply(seen) | Event::InitApply(seen) => match read(&seen) {
                Ok((model, held)) => known.put(model, held, &uid, now),
                Err(why) => {
                    let (namespace, name) = (seen.namespace(), seen.name_any());
                    tracing::warn!(
                        namespace,
                        name,
                        why,
                        "an action cannot be read by this release, and has no effect"
                    );
                    Vec::new()
                }
            },
            Event::Delete(seen) => known.remove(&seen),
            Event::InitDone => {
                let (first, asked) = (!known.come, self.0.asked_in_vain.load(Ordering::Relaxed));
                (known.come, known.absent) = (true, false);
                let gone = known.sweep();
                if first && asked {
                    return Acted::All;
                }
                gone
            }
        };
        if all_come && known.strays >= STRAYS {
            known.drop_strays(&uid, now);
        }
        // A model that is evaluated before the first list is complete was told so, and is woken by its end.
        Acted::Models(if known.come { woken } else { Vec::new() })
    }
}

/// How many bytes an act says. All else of it is short.
fn said(act: &Act) -> usize {
    let actor = &act.spec.actor;
    let groups = actor.groups.iter().map(String::len).sum::<usize>();
    act.spec.reason.len() + actor.username.len() + groups
}

/// How many bytes acts say.
fn all_said(acts: &[Listed]) -> usize {
    acts.iter().map(|listed| said(&listed.held.act)).sum()
}

impl Known {
    /// Keeps an act. Returns its model if anything but its status has changed, for guardbit writes that itself.
    fn put(
        &mut self,
        model: ModelName,
        held: HeldAct,
        uid: &impl Fn(&ModelName) -> Option<String>,
        now: Timestamp,
    ) -> Vec<ModelName> {
        let list = self.list;
        let acts = self.models.entry(model.clone()).or_default();
        if let Some(listed) = acts.iter_mut().find(|listed| listed.held.act.name == held.act.name) {
            let is_same = listed.held.act == held.act;
            *listed = Listed {
                list,
                held: Arc::new(held),
            };
            return if is_same { Vec::new() } else { vec![model] };
        }
        acts.push(Listed {
            list,
            held: Arc::new(held),
        });
        let uid = uid(&model);
        self.strays += usize::from(uid.is_none());
        if acts.len() > MOST || all_said(acts) > MOST_SAID {
            acts.sort_by_cached_key(|listed| place(&listed.held.act, uid.as_deref(), now));
            acts.truncate(MOST);
            while all_said(acts) > MOST_SAID {
                acts.pop();
            }
        }
        vec![model]
    }

    fn remove(&mut self, seen: &SeenAct) -> Vec<ModelName> {
        let Ok((model, held)) = read(seen) else {
            return Vec::new();
        };
        let Some(acts) = self.models.get_mut(&model) else {
            return Vec::new();
        };
        let before = acts.len();
        acts.retain(|listed| listed.held.act.name != held.act.name);
        let is_gone = acts.len() < before;
        if acts.is_empty() {
            self.models.remove(&model);
        }
        if is_gone { vec![model] } else { Vec::new() }
    }

    /// Removes the acts that the completed list did not have.
    fn sweep(&mut self) -> Vec<ModelName> {
        let (list, mut woken) = (self.list, Vec::new());
        self.models.retain(|model, acts| {
            let before = acts.len();
            acts.retain(|listed| listed.list == list);
            if acts.len() < before {
                woken.push(model.clone());
            }
            !acts.is_empty()
        });
        woken
    }

    /// Drops the acts of models that are not there. One that is made later has another uid than any of them names.
    fn drop_strays(&mut self, uid: &impl Fn(&ModelName) -> Option<String>, now: Timestamp) {
        self.models.retain(|model, acts| {
            if uid(model).is_none() {
                acts.retain(|listed| now.duration_since(listed.held.act.created.0) < EARLY);
            }
            !acts.is_empty()
        });
        self.strays = 0;
    }
}

/// Place of an act among too many: those of the model as it is come first, then those that have not lapsed, the safer of
/// them, and those that last longer.
fn place(act: &Act, uid: Option<&str>, now: Timestamp) -> (bool, bool, u8, Reverse<Timestamp>, String) {
    let ends = act.ends().unwrap_or(Timestamp::MIN);
    (
        uid != Some(act.spec.model_ref.uid.as_str()),
        ends <= now,
        rank(act.spec.action),
        Reverse(ends),
        act.name.clone(),
    )
}

/// The act that an object is, and the model that it names.
fn read(seen: &SeenAct) -> Result<(ModelName, HeldAct), String> {
    let spec = seen.spec.as_deref().map_or("null", RawValue::get);
    let spec = serde_json::from_str(spec).map_err(|error| error.to_string())?;
    let mut action = PrecisionAction::new(&seen.name_any(), spec);
    action.metadata = seen.metadata.clone();
    let act = Act::of(&action).ok_or("it has no uid, or no time")?;
    let status = seen.status.as_deref();
    let model = (
        seen.namespace().unwrap_or_default().into(),
        act.spec.model_ref.name.as_str().into(),
    );
    let told = status.and_then(|status| serde_json::from_str(status.get()).ok());
    Ok((model, HeldAct { act, told }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::ActKind;

    const UID: &str = "u";

    fn action(name: &str, model: &str, kind: &str, created: Timestamp) -> Value {
        let mut spec = json!({
            "modelRef": {"name": model, "uid": UID}, "action": kind, "actor": {"username": "ann"},
            "reason": "It is a test of what is kept.", "validFor": "1h",
        });
        if kind == "Approve" {
            spec["changeDigest"] = json!("sha256:0");
        }
        let metadata =
            json!({"namespace": "risk", "name": name, "uid": format!("{name}-uid"), "creationTimestamp": created});
        json!({"metadata": metadata, "spec": spec})
    }

    fn seen(action: &Value) -> SeenAct {
        serde_json::from_str(&action.to_string()).unwrap()
    }

    fn live(model: &ModelName) -> Option<String> {
        (&*model.1 == "fraud").then(|| UID.to_owned())
    }

    fn take(acts: &Acts, event: Event<SeenAct>) -> Acted {
        acts.take(event, live, true)
    }

    /// Acts after a first list.
    fn listed(objects: &[Value]) -> Acts {
        let acts = Acts::default();
        take(&acts, Event::Init);
        for object in objects {
            assert_eq!(take(&acts, Event::InitApply(seen(object))), Acted::Models(Vec::new()));
        }
        take(&acts, Event::InitDone);
        acts
    }

    fn names(acts: &Acts, model: &str) -> Vec<String> {
        let of_model = acts.of("risk", model).expect("they have come");
        of_model.iter().map(|held| held.act.name.clone()).collect()
    }

    fn fraud() -> Acted {
        Acted::Models(vec![("risk".into(), "fraud".into())])
    }

    #[test]
    fn who_asked_before_anything_was_known_is_told_when_it_is() {
        let acts = Acts::default();
        assert_eq!(acts.of("risk", "fraud"), None);
        acts.are_absent();
        assert_eq!(acts.of("risk", "fraud"), Some(Vec::new()), "the API server has none");
        take(&acts, Event::Init);
        take(
            &acts,
            Event::InitApply(seen(&action("a", "fraud", "Pause", Timestamp::now()))),
        );
        assert_eq!(take(&acts, Event::InitDone), Acted::All);
        assert_eq!(names(&acts, "fraud"), ["a"]);
    }

    #[test]
    fn an_act_wakes_its_model_and_what_guardbit_says_of_it_does_not() {
        let acts = listed(&[]);
        let mut pause = action("a", "fraud", "Pause", Timestamp::now());
        assert_eq!(take(&acts, Event::Apply(seen(&pause))), fraud());
        pause["status"] = json!({"state": "InForce", "message": "the weights are frozen"});
        assert_eq!(take(&acts, Event::Apply(seen(&pause))), Acted::Models(Vec::new()));
        let held = acts.of("risk", "fraud").unwrap().remove(0);
        assert_eq!(held.told.as_ref().unwrap().message, "the weights are frozen");
        assert_eq!(take(&acts, Event::Delete(seen(&pause))), fraud());
        assert!(names(&acts, "fraud").is_empty());
    }

    #[test]
    fn an_act_that_a_complete_list_does_not_have_is_gone_and_one_that_cannot_be_read_takes_nothing_with_it() {
        let now = Timestamp::now();
        let acts = listed(&[action("a", "fraud", "Pause", now), action("b", "fraud", "Pause", now)]);
        let mut unknown = action("c", "fraud", "Pause", now);
        unknown["spec"]["action"] = json!("Bless");
        take(&acts, Event::Init);
        take(&acts, Event::InitApply(seen(&unknown)));
        take(&acts, Event::InitApply(seen(&action("b", "fraud", "Pause", now))));
        assert_eq!(names(&acts, "fraud").len(), 2, "the list is not complete");
        assert_eq!(take(&acts, Event::InitDone), fraud());
        assert_eq!(names(&acts, "fraud"), ["b"]);
    }

    #[test]
    fn of_thousands_of_acts_of_a_model_the_hundred_that_lower_most_are_kept() {
        let now = Timestamp::now();
        let acts = listed(&[]);
        for number in 0..2_000 {
            let kind = if number % 100 == 7 { "RollBack" } else { "Approve" };
            let action = action(&format!("a{number}"), "fraud", kind, now);
            take(&acts, Event::Apply(seen(&action)));
        }
        let kept = acts.of("risk", "fraud").unwrap();
        assert_eq!(kept.len(), MOST);
        let lower = kept.iter().filter(|held| held.act.spec.action == ActKind::RollBack);
        assert_eq!(lower.count(), 20);
        // Those of a model of before, and those that have lapsed, go first.
        let old = action("old", "fraud", "RollBack", now - SignedDuration::from_hours(2));
        let mut other = action("other", "fraud", "RollBack", now);
        other["spec"]["modelRef"]["uid"] = json!("another");
        for late in [&old, &other] {
            take(&acts, Event::Apply(seen(late)));
        }
        assert!(
            !names(&acts, "fraud")
                .iter()
                .any(|name| ["old", "other"].contains(&name.as_str()))
        );
    }

    /// Where admission does not look at groups, an act may name any.
    #[test]
    fn acts_say_no_more_than_a_record_can_hold() {
        let now = Timestamp::now();
        let acts = listed(&[action("stop", "fraud", "RollBack", now)]);
        for number in 0..MOST {
            let mut action = action(&format!("a{number}"), "fraud", "Approve", now);
            action["spec"]["actor"]["groups"] = json!(vec!["ß".repeat(256); 32]);
            take(&acts, Event::Apply(seen(&action)));
        }
        let kept = acts.of("risk", "fraud").unwrap();
        let bytes: usize = kept.iter().map(|held| said(&held.act)).sum();
        assert!(bytes <= MOST_SAID && kept.len() > 4, "{bytes} of {}", kept.len());
        let lower = kept.iter().filter(|held| held.act.spec.action == ActKind::RollBack);
        assert_eq!(lower.count(), 1);
    }

    #[test]
    fn acts_of_models_that_are_not_there_are_not_kept_for_long() {
        let now = Timestamp::now();
        let (acts, old) = (listed(&[]), now - SignedDuration::from_mins(10));
        take(&acts, Event::Apply(seen(&action("kept", "fraud", "Pause", old))));
        take(&acts, Event::Apply(seen(&action("early", "soon", "Pause", now))));
        for number in 0..STRAYS {
            let action = action(&format!("a{number}"), &format!("m{number}"), "Pause", old);
            take(&acts, Event::Apply(seen(&action)));
        }
        assert_eq!(names(&acts, "fraud"), ["kept"]);
        assert_eq!(names(&acts, "soon"), ["early"], "its model may be on its way");
        assert!(acts.0.known.read().models.len() <= 3);
    }
}
