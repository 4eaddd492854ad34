//! Variants that do not heed policies, people or records, and variants in which they hold back what lowers.

use guardbit::api::{ActKind, Action};
use guardbit::governance::{Floor, Rules};
use guardbit::rollout::{Governance, LedgerSeen, Observation, Order, Plan};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{How, Mutant, harmful, mutant, set_weight};
use crate::invariants::Invariant::*;
use crate::worlds;

pub const MUTANTS: [Mutant; 25] = [
    mutant(
        CapHolds,
        "a RollBack is not heeded",
        worlds::people_act,
        How::Sees(|seen| forget(seen, ActKind::RollBack)),
    ),
    mutant(
        CapHolds,
        "a Pause of a person is not heeded",
        worlds::people_act,
        How::Sees(|seen| forget(seen, ActKind::Pause)),
    ),
    mutant(
        CapHolds,
        "a RollBack leaves what was promoted",
        worlds::people_act,
        How::Sees(|seen| {
            let status = &seen.model.status;
            if status.rollout.is_none() && status.stable != status.reference {
                forget(seen, ActKind::RollBack);
            }
        }),
    ),
    mutant(
        CapHolds,
        "a Resume takes back what came after it",
        worlds::people_act,
        How::Sees(|seen| renew(seen, ActKind::Resume)),
    ),
    mutant(
        LoweringWaitsForNothing,
        "a RollBack waits for the next evaluation",
        worlds::people_act,
        How::Plans(|seen, plan| keep_weight(seen, decided(plan, Action::TakenBack), plan)),
    ),
    mutant(
        LoweringComesFirst,
        "a RollBack waits for its record",
        worlds::people_act,
        How::Plans(|_, plan| record_first(plan, Action::TakenBack)),
    ),
    mutant(
        HarmIsAnswered,
        "a Pause of a person holds back a rollback",
        worlds::people_act,
        How::Plans(|seen, plan| {
            let paused = seen.people.acts.iter().any(|act| act.spec.action == ActKind::Pause);
            keep_weight(seen, paused && harmful(plan), plan);
        }),
    ),
    mutant(
        ApprovalComesFirst,
        "nobody is asked",
        worlds::people_approve,
        How::Sees(|seen| {
            if let Some(rollout) = &mut seen.model.status.rollout {
                rollout.rules = None;
            }
        }),
    ),
    mutant(
        ApprovalComesFirst,
        "whoever approves the first traffic approves the promotion",
        worlds::people_approve,
        How::Sees(|seen| {
            let rollout = seen.model.status.rollout.as_mut();
            if let Some(approved) = rollout.and_then(|rollout| rollout.approved.as_mut()) {
                approved.promotion.clone_from(&approved.first_traffic);
            }
        }),
    ),
    mutant(
        ApprovalComesFirst,
        "a rejection is outvoted",
        worlds::people_approve,
        How::Sees(|seen| forget(seen, ActKind::Reject)),
    ),
    mutant(
        LoweringWaitsForNothing,
        "a rejection takes nothing away",
        worlds::people_approve,
        How::Sees(|seen| forget(seen, ActKind::Reject)),
    ),
    mutant(
        RejectedStaysOut,
        "a Retry has forgotten what is found after it",
        worlds::people_approve,
        How::Sees(|seen| renew(seen, ActKind::Retry)),
    ),
    mutant(
        FloorHolds,
        "a floor is for rollouts that begin under it",
        worlds::policy_changes,
        How::Sees(|seen| {
            let on_trial = seen.model.status.rollout.is_some();
            if let Some(rules) = rules(seen).filter(|_| on_trial) {
                rules.floor = Floor::default();
            }
        }),
    ),
    mutant(
        FloorHolds,
        "what nobody knows of asks for nothing",
        worlds::policy_changes,
        How::Sees(|seen| {
            if is_unknown(seen) {
                seen.governance = Governance::Ungoverned;
            }
        }),
    ),
    mutant(
        HarmIsAnswered,
        "harm waits until it is known what policies ask",
        worlds::policy_changes,
        How::Plans(|seen, plan| keep_weight(seen, is_unknown(seen) && harmful(plan), plan)),
    ),
    mutant(
        LoweringWaitsForNothing,
        "what falls short of a policy stays",
        worlds::policy_changes,
        How::Sees(|seen| {
            if let Some(rules) = rules(seen) {
                rules.falls_back_below = Floor::default();
            }
        }),
    ),
    mutant(
        LoweringComesFirst,
        "what falls short of a policy is lowered once that is on record",
        worlds::policy_changes,
        How::Plans(|_, plan| record_first(plan, Action::Demoted)),
    ),
    mutant(
        FreezeRaisesNothing,
        "rollouts begin in a freeze",
        worlds::freeze_comes_and_goes,
        How::Sees(|seen| thaw(seen.model.status.rollout.is_none(), seen)),
    ),
    mutant(
        FreezeRaisesNothing,
        "steps end in a freeze",
        worlds::freeze_comes_and_goes,
        How::Sees(|seen| {
            let rollout = seen.model.status.rollout.as_ref();
            let climbs = rollout.is_some_and(|rollout| !rollout.promoting);
            thaw(climbs, seen);
        }),
    ),
    mutant(
        FreezeRaisesNothing,
        "a promotion that was decided goes on in a freeze",
        worlds::freeze_comes_and_goes,
        How::Sees(|seen| {
            let rollout = seen.model.status.rollout.as_ref();
            let promotes = rollout.is_some_and(|rollout| rollout.promoting);
            thaw(promotes, seen);
        }),
    ),
    mutant(
        HarmIsAnswered,
        "a freeze holds back a rollback",
        worlds::freeze_comes_and_goes,
        How::Plans(|seen, plan| {
            let governed = seen.governance.governed();
            let frozen = governed.is_some_and(|governed| !governed.rules.freezes.is_empty());
            keep_weight(seen, frozen && harmful(plan), plan);
        }),
    ),
    mutant(
        RisesAreRecordedFirst,
        "nothing waits for records",
        worlds::records_are_refused,
        How::Sees(|seen| seen.ledger = LedgerSeen::default()),
    ),
    mutant(
        RisesAreRecordedFirst,
        "the route does not wait for records",
        worlds::records_are_refused,
        How::Sees(|seen| seen.ledger.unwritten_since = None),
    ),
    mutant(
        RisesAreRecordedFirst,
        "records that are to be signed need no key",
        worlds::records_are_refused,
        How::Sees(|seen| seen.ledger.unsigned = None),
    ),
    mutant(
        HarmIsAnswered,
        "harm waits for records of before",
        worlds::records_are_refused,
        How::Plans(|seen, plan| keep_weight(seen, seen.ledger.is_behind() && harmful(plan), plan)),
    ),
];

/// Acts of a kind are not seen.
fn forget(seen: &mut Observation, kind: ActKind) {
    seen.people.acts.retain(|act| act.spec.action != kind);
}

/// Acts of a kind are taken for new ones.
fn renew(seen: &mut Observation, kind: ActKind) {
    let now = seen.now;
    let acts = seen.people.acts.iter_mut();
    acts.filter(|act| act.spec.action == kind)
        .for_each(|act| act.created = Time(now));
}

/// The rules of policies, where one selects the model.
fn rules(seen: &mut Observation) -> Option<&mut Rules> {
    match &mut seen.governance {
        Governance::Governed(governed) => Some(&mut *governed.rules),
        Governance::Ungoverned | Governance::Unknown(_) => None,
    }
}

fn is_unknown(seen: &Observation) -> bool {
    matches!(seen.governance, Governance::Unknown(_))
}

/// No freeze holds.
fn thaw(thaws: bool, seen: &mut Observation) {
    if let Some(rules) = rules(seen).filter(|_| thaws) {
        rules.freezes.clear();
    }
}

fn decided(plan: &Plan, action: Action) -> bool {
    plan.decisions.iter().any(|decision| decision.action == action)
}

/// The candidate keeps what it has.
fn keep_weight(seen: &Observation, keeps: bool, plan: &mut Plan) {
    if let Some(rollout) = seen.model.status.rollout.as_ref().filter(|_| keeps) {
        set_weight(plan, &rollout.candidate, rollout.weight);
    }
}

/// The effect of a decision waits for its record.
fn record_first(plan: &mut Plan, action: Action) {
    if decided(plan, action) {
        plan.order = Order::RecordFirst;
    }
}
