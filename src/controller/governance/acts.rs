//! What becomes of acts: their statuses, and their end. An act is never deleted while it may matter, because whoever deleted it
//! would take it back.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Client, ResourceExt};
use serde_json::json;

use crate::api::{ActState, PrecisionAction, PrecisionActionStatus, plain};
use crate::apiserver::{CallError, call, call_opt};
use crate::governance::people::acts::{Act, Assurance, Facts, in_force, opens};
use crate::manifests::MANAGER_STATUS;
use crate::rollout::ActTold;
use crate::watch::{HeldAct, SeenAct, scoped};

/// Longest message of an act, in characters; the schema takes a little more.
const LONGEST_TOLD: usize = 1_000;

/// Statuses that one evaluation writes. The others are written by the next ones.
const MOST_WRITTEN: usize = 20;

/// How long an act stays after it lapsed, for people who look for it. Records have it for good.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How often it is looked for acts that are over for so long.
const SWEEPS: Duration = Duration::from_secs(3_600);

/// Code of the answer to an object that its schema does not take.
const INVALID: u16 = 422;

/// Actions that one answer of the API server holds.
const PAGE: u32 = 500;

/// How long an evaluation sees an act after it lapsed, so that what ended with it is put on record.
const SEEN: SignedDuration = SignedDuration::from_mins(10);

/// Whether everything is said and done of an act: it has lapsed, and its status tells how it ended.
pub(super) fn is_over(held: &HeldAct, now: Timestamp) -> bool {
    let is_told = state(held).is_some_and(|state| match state {
        ActState::Waiting | ActState::InForce => false,
        ActState::Used | ActState::Lapsed | ActState::Lifted | ActState::Inert => true,
    });
    is_told && held.act.ends().is_ok_and(|ends| now.duration_since(ends) >= SEEN)
}

/// When the newest act was created that lets something rise.
pub(super) fn newest_that_opens(acts: &[Act]) -> Option<Timestamp> {
    let opening = acts.iter().filter(|act| opens(act.spec.action));
    opening.map(|act| act.created.0).max()
}

/// What is to be told of acts that name a model of this name which is gone.
pub(super) fn of_others(acts: &[Act], uid: &str, now: Timestamp) -> Vec<ActTold> {
    let facts = Facts {
        now,
        uid,
        assurance: Assurance::Claimed,
        rungs: Vec::new(),
        fallback: "",
        change: None,
        effects: &[],
    };
    let standings = in_force(acts, &facts).standings.into_iter();
    let told = standings.map(|of| ActTold {
        name: of.act.name.clone(),
        state: of.state,
        message: of.message,
    });
    told.collect()
}

/// The status that an act is to have, if it is another than it has. `record` is the record that was just written.
fn next(held: &HeldAct, told: &ActTold, record: Option<&str>) -> Option<PrecisionActionStatus> {
    let before = held.told.as_ref();
    let had_effect = matches!(state(held), Some(ActState::Used | ActState::Lifted));
    if had_effect && matches!(told.state, ActState::Lapsed | ActState::Inert) {
        // How it ended is worth more than that its time is over.
        return None;
    }
    let has_part = matches!(told.state, ActState::InForce | ActState::Used);
    let first = before.and_then(|status| status.record.clone());
    let status = PrecisionActionStatus {
        state: told.state.into(),
        message: plain(&told.message, LONGEST_TOLD),
        record: first.or_else(|| record.filter(|_| has_part).map(str::to_owned)),
    };
    (before != Some(&status)).then_some(status)
}

fn state(held: &HeldAct) -> Option<ActState> {
    held.told.as_ref()?.state.known()
}

/// Writes the statuses of acts that have changed. One that cannot be written is tried again in the next evaluation: nothing
/// depends on it.
pub(super) async fn tell(
    client: &Client,
    namespace: &str,
    held: &[Arc<HeldAct>],
    told: &[ActTold],
    record: Option<&str>,
) {
    let actions: Api<PrecisionAction> = Api::namespaced(client.clone(), namespace);
    let params = PatchParams {
        field_manager: Some(MANAGER_STATUS.to_owned()),
        ..PatchParams::default()
    };
    let changed = told.iter().filter_map(|told| {
        let held = held.iter().find(|held| held.act.name == told.name)?;
        Some((&held.act, next(held, told, record)?))
    });
    for (act, status) in changed.take(MOST_WRITTEN) {
        let patch = Patch::Merge(json!({"metadata": {"uid": act.uid}, "status": status}));
        let what = format!("write status of action {}", act.name);
        match call_opt(what, actions.patch_status(&act.name, &params, &patch)).await {
            Ok(_) => {}
            Err(CallError::Conflict(_)) => tracing::debug!(namespace, act = act.name, "another act of that name"),
            Err(error) => {
                tracing::warn!(namespace, act = act.name, %error, "the state of an action is not told");
                // One that is invalid by now stays so, and keeps nothing from the others.
                let is_invalid = error.status().is_some_and(|status| status.code == INVALID);
                if !is_invalid {
                    return;
                }
            }
        }
    }
}

/// Deletes the acts of a watch that are over for long, again and again.
pub(in crate::controller) async fn sweep(client: Client, namespace: Option<String>) {
    loop {
        let acts: Api<SeenAct> = scoped(&client, namespace.as_deref());
        if let Err(error) = delete_old(&client, &acts).await {
            let is_served = error.status().is_none_or(|status| status.code != 404);
            if is_served {
                tracing::warn!(%error, "old actions could not be deleted");
            }
        }
        tokio::time::sleep(SWEEPS).await;
    }
}

async fn delete_old(client: &Client, all: &Api<SeenAct>) -> Result<(), CallError> {
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let list = call("list actions", all.list(&page)).await?;
        let now = Timestamp::now();
        for seen in list.items.iter().filter(|seen| is_old(seen, now)) {
            let (namespace, name) = (seen.namespace().unwrap_or_default(), seen.name_any());
            let actions: Api<PrecisionAction> = Api::namespaced(client.clone(), &namespace);
            // Another of its name may be in force.
            let this_one = DeleteParams::default().preconditions(Preconditions {
                uid: seen.uid(),
                ..Preconditions::default()
            });
            let gone = call_opt(format!("delete action {name}"), actions.delete(&name, &this_one)).await;
            match gone {
                Ok(_) => tracing::info!(namespace, name, "an action that lapsed is deleted"),
                Err(error) => tracing::warn!(namespace, name, %error, "an action that lapsed is not deleted"),
            }
        }
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(()),
        }
    }
}

/// Whether an act is over for long. One that cannot be read is left alone.
fn is_old(seen: &SeenAct, now: Timestamp) -> bool {
    let Some(spec) = seen
        .spec
        .as_deref()
        .and_then(|spec| serde_json::from_str(spec.get()).ok())
    else {
        return false;
    };
    let mut action = PrecisionAction::new(&seen.name_any(), spec);
    action.metadata = seen.metadata.clone();
    let ends = Act::of(&action).and_then(|act| act.ends().ok());
    ends.is_some_and(|ends| now.duration_since(ends) > KEPT)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn act(kind: &str, uid: &str) -> Value {
        json!({
            "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionAction",
            "metadata": {"namespace": "risk", "name": "a", "uid": "a1", "creationTimestamp": "2026-11-10T00:00:00Z"},
            "spec": {"modelRef": {"name": "fraud", "uid": uid}, "action": kind, "actor": {"username": "ann"},
                "reason": "It is a test of what is told.", "validFor": "1h"},
        })
    }

    fn held(state: Option<ActState>, record: Option<&str>) -> HeldAct {
        let action: PrecisionAction = serde_json::from_value(act("Pause", "u")).unwrap();
        HeldAct {
            act: Act::of(&action).unwrap(),
            told: state.map(|state| PrecisionActionStatus {
                state: state.into(),
                message: "before".to_owned(),
                record: record.map(str::to_owned),
            }),
        }
    }

    fn told(state: ActState) -> ActTold {
        ActTold {
            name: "a".to_owned(),
            state,
            message: "now".to_owned(),
        }
    }

    fn at(hour: i64) -> Timestamp {
        let created: Timestamp = "2026-11-10T00:00:00Z".parse().unwrap();
        created + SignedDuration::from_hours(hour)
    }

    #[test]
    fn a_state_is_told_once_and_how_an_act_ended_is_not_overwritten_by_that_its_time_is_over() {
        use ActState::{InForce, Inert, Lapsed, Lifted, Used, Waiting};
        let state = |before: Option<ActState>, now: ActState| {
            let status = next(&held(before, None), &told(now), None)?;
            status.state.known()
        };
        assert_eq!(state(None, InForce), Some(InForce));
        assert_eq!(state(Some(Waiting), InForce), Some(InForce));
        assert_eq!(state(Some(InForce), Lapsed), Some(Lapsed));
        for ended in [Used, Lifted] {
            assert_eq!(state(Some(ended), Lapsed), None, "{ended}");
            assert_eq!(state(Some(ended), Inert), None, "{ended}");
        }
        let mut same = held(Some(InForce), None);
        same.told.as_mut().unwrap().message = "now".to_owned();
        assert_eq!(next(&same, &told(InForce), None), None);
    }

    #[test]
    fn the_record_of_an_act_is_the_first_that_it_had_a_part_in() {
        let record = |before: Option<&str>, state: ActState| {
            let status = next(
                &held(Some(ActState::Waiting), before),
                &told(state),
                Some("fraud-000002"),
            );
            status.unwrap().record
        };
        assert_eq!(record(None, ActState::InForce).as_deref(), Some("fraud-000002"));
        assert_eq!(
            record(Some("fraud-000001"), ActState::InForce).as_deref(),
            Some("fraud-000001")
        );
        assert_eq!(record(None, ActState::Inert), None);
    }

    #[test]
    fn an_act_is_over_once_it_has_lapsed_and_that_is_told() {
        for (state, hour, over) in [
            (None, 2, false),
            (Some(ActState::InForce), 2, false),
            (Some(ActState::Lapsed), 2, true),
            (Some(ActState::Lifted), 2, true),
            (Some(ActState::Lifted), 0, false),
        ] {
            assert_eq!(is_over(&held(state, None), at(hour)), over, "{state:?} {hour}");
        }
    }

    #[test]
    fn an_act_goes_a_day_after_it_has_lapsed() {
        let old = |action: &Value, hour: i64| is_old(&serde_json::from_str(&action.to_string()).unwrap(), at(hour));
        let pause = act("Pause", "u");
        assert!(!old(&pause, 24) && !old(&pause, 25) && old(&pause, 26));
        assert!(!old(&act("Bless", "u"), 1_000), "what cannot be read stays");
    }

    #[test]
    fn an_act_for_a_model_that_is_gone_is_told_so() {
        let action: PrecisionAction = serde_json::from_value(act("RollBack", "gone")).unwrap();
        let told = of_others(&[Act::of(&action).unwrap()], "u", at(0));
        assert_eq!(told[0].state, ActState::Inert);
        assert!(
            told[0].message.contains("another model of this name"),
            "{}",
            told[0].message
        );
    }
}
