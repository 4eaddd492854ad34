//! What is known of the records of each model beyond what its status says. A process that begins anew finds all of it out again.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;

use crate::api::{LedgerStatus, PendingRecord, QuantizedModelStatus};
use crate::ledger::{Head, Journal, LARGEST_STATEMENT, Signing, linked_to, unpack};
use crate::rollout::{Governance, LedgerProblem, LedgerSeen, Observation, Remembered};
use crate::watch::Packed;

use super::key::{KeyFile, Keys};

/// What is known of the records of all models, and the key that signs them.
pub(in crate::controller) struct Ledger {
    keys: Arc<KeyFile>,
    chains: Mutex<HashMap<String, Chain>>,
}

/// What is known of the records of one model.
#[derive(Default)]
pub(super) struct Chain {
    /// Number and digest of the newest record that this process has created or found in its place. Status may still say that it is
    /// pending. A status that is put back to what it was says another record of its number.
    pub(super) created: Option<(i64, String)>,
    /// What was found in the cluster, until status says it.
    pub(super) found: Option<Found>,
    /// What the record that was found says that holds.
    pub(super) remembered: Option<Box<Remembered>>,
    /// What was counted since the newest record.
    pub(super) journal: Option<Packed<Journal>>,
    /// What keeps records from being written.
    pub(super) problem: Option<LedgerProblem>,
    /// The key that signed the newest record that this process has written.
    pub(super) signed_by: Option<String>,
    /// When it is looked for records that are older than they need be.
    pub(super) prunes_at: Option<Instant>,
}

/// What was found in the cluster of the records of a model.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// There are none.
    Nothing,
    /// This is the newest. Status did not know it.
    Newest(Head),
}

impl Ledger {
    pub(in crate::controller) fn new(keys: Arc<KeyFile>) -> Self {
        Self {
            keys,
            chains: Mutex::default(),
        }
    }

    /// Brings what a status says of its records up to what is known, and returns how they stand. That costs nothing where
    /// nothing ever went on record.
    pub(in crate::controller) fn seen(
        &self,
        uid: &str,
        governance: &Governance,
        status: &mut QuantizedModelStatus,
    ) -> LedgerSeen {
        if !governance.records() && status.ledger.is_none() {
            return LedgerSeen::default();
        }
        let (problem, remembered) = self.of(uid, |chain| {
            chain.correct(&mut status.ledger);
            (chain.problem.clone(), chain.remembered.clone())
        });
        let pending = status.ledger.iter().flat_map(|ledger| &ledger.pending);
        // A time that cannot be read is nobody's: it is taken for the earliest.
        let since = pending
            .map(|record| record.time.parse().unwrap_or(Timestamp::MIN))
            .min();
        LedgerSeen {
            unwritten_since: since,
            problem,
            unsigned: self.keys.now().signs.err().filter(|_| governance.records()),
            remembered: remembered.filter(|_| status.stable.is_none()),
        }
    }

    /// Whether it is not known from which record the chain of a model goes on.
    pub(in crate::controller) fn lacks_head(&self, uid: &str, observation: &Observation) -> bool {
        records(observation) && observation.model.status.ledger.is_none() && self.of(uid, |chain| chain.found.is_none())
    }

    /// Whether there is something to settle before anything may rise.
    pub(in crate::controller) fn is_open(&self, uid: &str, observation: &Observation) -> bool {
        observation.ledger.is_behind() || self.lacks_head(uid, observation)
    }

    /// Keeps what an evaluation leaves, once its status is kept or written: what was counted since the newest record, and
    /// whether a record of it is in the status.
    pub(super) fn keep(&self, uid: &str, journal: Option<&Journal>, recorded: bool) {
        self.of(uid, |chain| {
            chain.journal = journal.map(Packed::of);
            if recorded {
                // Status says from now on where the chain goes on, and what holds.
                (chain.found, chain.remembered) = (None, None);
            }
        });
    }

    /// Reads or changes what is known of a model.
    pub(super) fn of<T>(&self, uid: &str, change: impl FnOnce(&mut Chain) -> T) -> T {
        let mut chains = self.chains.lock();
        if let Some(chain) = chains.get_mut(uid) {
            return change(chain);
        }
        change(chains.entry(uid.to_owned()).or_default())
    }

    /// The keys as they are now.
    pub(super) fn keys(&self) -> Keys {
        self.keys.now()
    }

    /// Whether the next record is to be signed.
    pub(super) fn signing(&self) -> Signing {
        match self.keys().signs {
            Ok(_) => Signing::Key,
            Err(_) => Signing::Unsigned,
        }
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.chains.lock().remove(uid);
    }
}

/// Whether what is decided goes on record. Where it did before, it does so while nobody knows what policies ask, while one is there
/// whose rules are only told, and once more when none is: whoever takes a policy back would else leave no trace.
pub(super) fn records(observation: &Observation) -> bool {
    let (governance, status) = (&observation.governance, &observation.model.status);
    let goes_on = match governance {
        Governance::Unknown(_) | Governance::Governed(_) => true,
        Governance::Ungoverned => status.policy.is_some(),
    };
    governance.records() || (goes_on && status.ledger.is_some())
}

/// Whether a record that a status says is pending goes on from this one.
fn follows(ledger: &LedgerStatus, head: &Head) -> bool {
    let next = i64::try_from(head.sequence + 1).ok();
    let mut pending = ledger.pending.iter();
    let next = pending.find(|record| Some(record.sequence) == next);
    let statement = next.and_then(|record| unpack(&record.payload, LARGEST_STATEMENT).ok());
    statement.and_then(|statement| linked_to(&statement)).as_ref() == Some(&head.digest)
}

impl Chain {
    /// Brings what a status says of its records up to what is known.
    fn correct(&mut self, ledger: &mut Option<LedgerStatus>) {
        let found = match &self.found {
            Some(Found::Newest(head)) => Some(head),
            Some(Found::Nothing) | None => None,
        };
        // It was written, and the answer to that was lost: what it says would else be left out.
        if found
            .zip(ledger.as_ref())
            .is_some_and(|(head, ledger)| follows(ledger, head))
        {
            (self.found, self.remembered) = (None, None);
        }
        if let Some(Found::Newest(head)) = &self.found {
            *ledger = Some(LedgerStatus {
                sequence: i64::try_from(head.sequence).unwrap_or(i64::MAX),
                head: head.digest.clone(),
                ..LedgerStatus::default()
            });
        }
        if let Some(ledger) = ledger {
            let created = self.created_of(&ledger.pending);
            ledger.pending.drain(..created);
        }
    }

    /// How many of the records that a status says are pending exist already; the oldest come first.
    pub(super) fn created_of(&self, pending: &[PendingRecord]) -> usize {
        let Some((sequence, digest)) = &self.created else {
            return 0;
        };
        let newest = pending
            .iter()
            .rposition(|record| record.sequence == *sequence && record.payload_digest == *digest);
        newest.map_or(0, |at| at + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::super::append::tests::chain;
    use super::*;
    use crate::api::RevisionRef;
    use crate::rollout::Governed;

    fn governed() -> Governance {
        Governance::Governed(Governed {
            records: true,
            ..Governed::default()
        })
    }

    fn pending(sequence: i64, time: &str) -> PendingRecord {
        PendingRecord {
            sequence,
            time: time.to_owned(),
            summary: String::new(),
            payload_digest: format!("d{sequence}"),
            payload: String::new(),
            signed: false,
        }
    }

    fn status(pending: Vec<PendingRecord>) -> QuantizedModelStatus {
        QuantizedModelStatus {
            ledger: Some(LedgerStatus {
                sequence: 9,
                head: "h9".to_owned(),
                pending,
                journal: None,
            }),
            ..QuantizedModelStatus::default()
        }
    }

    fn ledger() -> Ledger {
        Ledger::new(Arc::new(KeyFile::new(None)))
    }

    #[test]
    fn what_never_went_on_record_costs_nothing() {
        let ledger = ledger();
        let seen = ledger.seen("u", &Governance::Ungoverned, &mut QuantizedModelStatus::default());
        assert_eq!(seen, LedgerSeen::default());
        assert!(ledger.chains.lock().is_empty());
    }

    #[test]
    fn a_record_that_exists_is_not_pending_whatever_the_watch_shows() {
        let ledger = ledger();
        let two = vec![pending(8, "2026-11-28T10:00:00Z"), pending(9, "2026-11-28T09:00:00Z")];
        let mut shown = status(two.clone());
        let seen = ledger.seen("u", &governed(), &mut shown);
        let earliest: Timestamp = "2026-11-28T09:00:00Z".parse().unwrap();
        assert_eq!(seen.unwritten_since, Some(earliest));
        ledger.of("u", |chain| chain.created = Some((9, "d9".to_owned())));
        let mut shown = status(two);
        let seen = ledger.seen("u", &governed(), &mut shown);
        assert_eq!(
            (seen.unwritten_since, shown.ledger.unwrap().pending),
            (None, Vec::new())
        );
        assert!(seen.unsigned.is_some(), "there is no key");
    }

    #[test]
    fn a_record_of_a_status_that_was_put_back_is_none_of_those_that_exist() {
        let ledger = ledger();
        ledger.of("u", |chain| chain.created = Some((9, "d9".to_owned())));
        for sequence in [3, 9] {
            let mut other = pending(sequence, "2026-11-28T10:00:00Z");
            other.payload_digest = "of another past".to_owned();
            let mut shown = status(vec![other]);
            let seen = ledger.seen("u", &governed(), &mut shown);
            assert!(seen.is_behind(), "{sequence}");
            assert_eq!(shown.ledger.unwrap().pending.len(), 1, "{sequence}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_read_holds_as_any_other() {
        let seen = ledger().seen("u", &governed(), &mut status(vec![pending(9, "soon")]));
        assert_eq!(seen.unwritten_since, Some(Timestamp::MIN));
    }

    #[test]
    fn what_was_found_in_the_cluster_goes_before_status_until_a_record_follows_it() {
        let ledger = ledger();
        let head = Head {
            sequence: 31,
            digest: "h31".to_owned(),
        };
        ledger.of("u", |chain| chain.found = Some(Found::Newest(head)));
        let mut shown = status(vec![pending(9, "2026-11-28T10:00:00Z")]);
        let seen = ledger.seen("u", &governed(), &mut shown);
        let known = shown.ledger.unwrap();
        assert_eq!(
            (known.sequence, known.head.as_str(), known.pending.len()),
            (31, "h31", 0)
        );
        assert_eq!(seen.unwritten_since, None);
        // What it says that holds is of use where nobody else says it.
        ledger.of("u", |chain| chain.remembered = Some(Box::default()));
        let mut lost = status(Vec::new());
        assert!(ledger.seen("u", &governed(), &mut lost).remembered.is_some());
        lost.stable = Some(RevisionRef {
            variant: "fp32".to_owned(),
            revision: "v1:0".to_owned(),
        });
        assert_eq!(ledger.seen("u", &governed(), &mut lost).remembered, None);
        ledger.keep("u", None, true);
        let mut shown = status(Vec::new());
        assert_eq!(ledger.seen("u", &governed(), &mut shown).remembered, None);
        assert_eq!(shown.ledger.unwrap().sequence, 9);
    }

    #[test]
    fn a_record_that_follows_what_was_found_stays_though_the_write_of_its_status_was_not_answered() {
        let records = chain(2, 0);
        let digest = records[0].payload_digest.trim_start_matches("sha256:").to_owned();
        let head = Head { sequence: 1, digest };
        for (pending, stays) in [(chain(2, 300).remove(1), false), (records[1].clone(), true)] {
            let ledger = ledger();
            ledger.of("u", |chain| chain.found = Some(Found::Newest(head.clone())));
            let mut shown = status(vec![pending.clone()]);
            ledger.seen("u", &governed(), &mut shown);
            let kept = if stays { vec![pending] } else { Vec::new() };
            assert_eq!(shown.ledger.unwrap().pending, kept);
            assert_eq!(ledger.of("u", |chain| chain.found.is_none()), stays);
        }
    }
}
