//! What goes on record of an evaluation: it is put into the status that says what was decided, so that both are written at once.

use crate::api::{LedgerStatus, PendingRecord};
use crate::ledger::{Documents, Entry, Head, Journal, LARGEST_STATEMENT, Signing, Written, pack, unpack};
use crate::rollout::{Heard, Observation, Plan, Record, Scope, TestState};

use super::chains::{Found, records};
use super::objects::Prune;

/// Polls, and bytes of them, after which a record is written though nothing was decided.
const CHECKPOINT: (usize, usize) = (240, 48 * 1024);

/// Records that may wait with all that was counted, and bytes of them. Later ones hold only the evaluation that decided, because a
/// status has an end.
const WHOLE_PENDING: (usize, usize) = (8, 256 * 1024);

/// Most records that may wait, and bytes of them after which no more may: with one more, and all else, a model must stay below the
/// 1.5 MiB that etcd takes. Whatever is decided beyond is in status and in the log alone.
const MOST_PENDING: (usize, usize) = (64, 512 * 1024);

/// What is known of the chain when an evaluation goes on record.
pub(super) struct Before {
    /// What was found in the cluster.
    pub(super) found: Option<Found>,
    /// What was counted since the newest record, as far as this process has kept it.
    pub(super) journal: Option<Journal>,
    /// Whether there is a key.
    pub(super) signing: Signing,
    /// Records that are to be deleted.
    pub(super) prune: Option<Prune>,
}

/// What an evaluation leaves to be kept once its status is.
#[derive(Default)]
pub(in crate::controller) struct Appended {
    /// What was counted since the newest record; `None` where nothing goes on record.
    pub(super) journal: Option<Journal>,
    /// Whether a record is in the plan.
    pub(in crate::controller) recorded: bool,
    /// Records that are deleted once the record of that exists.
    pub(super) prune: Option<Prune>,
}

/// Puts what goes on record of an evaluation into its plan. `is_due` says whether the status is written anyway.
pub(super) fn append(
    uid: &str,
    (observation, heard): (&Observation, &Heard),
    plan: &mut Plan,
    before: Before,
    is_due: bool,
) -> Appended {
    let writes = match plan.scope {
        Scope::Apply | Scope::StatusOnly => true,
        // The deletion is on record before it is carried out.
        Scope::TearDown | Scope::Release | Scope::Orphan => plan.record == Record::Now,
        Scope::ConditionsOnly => false,
    };
    if !writes || !records(observation) {
        return Appended::default();
    }
    let seen = observation.seen();
    let Before {
        found,
        journal,
        signing,
        prune,
    } = before;
    let in_status = || stored(plan.status.ledger.as_ref()?);
    let leads = |journal: &Journal| {
        let tests = TestState::before(heard);
        tests.is_some_and(|tests| journal.leads_to(&seen, &tests))
    };
    let journal = match journal {
        // The answer to the write of a status that was taken may have been lost.
        Some(kept) if !leads(&kept) => in_status().filter(leads).or(Some(kept)),
        Some(kept) => Some(kept),
        None => in_status(),
    };
    let recovered = match &found {
        Some(Found::Newest(head)) => Some(head.clone()),
        Some(Found::Nothing) | None => None,
    };
    let is_full = journal.as_ref().is_some_and(|journal| {
        let (polls, bytes) = CHECKPOINT;
        plan.status.rollout.is_some() && (journal.polls() >= polls || journal.bytes() >= bytes)
    });
    let wanted = !plan.decisions.is_empty() || recovered.is_some() || prune.is_some() || is_full;
    let ledger = plan.status.ledger.as_ref();
    let pending = ledger.map_or(&[][..], |ledger| ledger.pending.as_slice());
    let (waiting, bytes) = (
        pending.len(),
        pending.iter().map(|record| record.payload.len()).sum::<usize>(),
    );
    let below = |(most, most_bytes): (usize, usize)| waiting < most && bytes < most_bytes;
    let (may_wait, may_be_whole) = (below(MOST_PENDING), below(WHOLE_PENDING));
    let head = head(uid, ledger, found.as_ref()).filter(|_| wanted && may_wait);
    if let Some(head) = head {
        let entry = Entry::of(Written {
            seen: &seen,
            heard,
            plan,
            journal: journal.filter(|_| may_be_whole),
            head: &head,
            uid,
            signing,
            documents: Documents {
                pruned: prune.as_ref().map(|prune| prune.through.clone()),
                recovered,
            },
        });
        put(plan, &entry);
        return Appended {
            journal: None,
            recorded: true,
            prune,
        };
    }
    if !plan.decisions.is_empty() {
        tracing::error!(
            namespace = observation.model.namespace,
            name = observation.model.name,
            "what was decided does not go on record: too many records wait, or those that exist could not be read"
        );
    }
    // A journal that is full and cannot go on record is lost: it would grow until no status is taken any more.
    let journal = journal.filter(|_| !is_full);
    // After a promotion, what was counted before the last status is not kept.
    let journal = Journal::append(journal, &seen, heard, plan).filter(|_| !is_due || plan.status.rollout.is_some());
    if let Some(ledger) = plan.status.ledger.as_mut().filter(|_| is_due) {
        ledger.journal = journal.as_ref().map(packed);
    }
    Appended {
        journal,
        ..Appended::default()
    }
}

/// The newest record; `None` where nobody knows it.
fn head(uid: &str, ledger: Option<&LedgerStatus>, found: Option<&Found>) -> Option<Head> {
    match (ledger, found) {
        (Some(ledger), _) => Some(Head {
            sequence: u64::try_from(ledger.sequence).unwrap_or_default(),
            digest: ledger.head.clone(),
        }),
        (None, Some(Found::Nothing)) => Some(Head::origin(uid)),
        (None, Some(Found::Newest(head))) => Some(head.clone()),
        (None, None) => None,
    }
}

/// Puts a record into a plan.
fn put(plan: &mut Plan, entry: &Entry) {
    let record = &entry.statement.predicate.record;
    let sequence = i64::try_from(entry.head.sequence).unwrap_or(i64::MAX);
    let ledger = plan.status.ledger.get_or_insert_default();
    ledger.sequence = sequence;
    ledger.head.clone_from(&entry.head.digest);
    ledger.journal = None;
    ledger.pending.push(PendingRecord {
        sequence,
        time: record.time.clone(),
        summary: entry.summary.clone(),
        payload_digest: format!("sha256:{}", entry.head.digest),
        payload: pack(&entry.bytes),
        signed: record.signing == Signing::Key,
    });
    plan.record = Record::Now;
}

/// A journal as status holds it.
fn packed(journal: &Journal) -> String {
    // Printing plain data into memory cannot fail.
    pack(&serde_json::to_vec(journal).unwrap_or_default())
}

/// The journal that status holds. One that cannot be read is lost, and the gap is found when records are verified.
fn stored(ledger: &LedgerStatus) -> Option<Journal> {
    let text = unpack(ledger.journal.as_ref()?, LARGEST_STATEMENT).ok()?;
    serde_json::from_slice(&text).ok()
}

#[cfg(test)]
pub(super) mod tests;
