//! What is newer than the API server's copy of a model: running evidence between checkpoints, and statuses that were
//! written.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kube::ResourceExt;
use parking_lot::Mutex;

use crate::api::{GuardStatus, QuantizedModel, QuantizedModelStatus};
use crate::watch::{Packed, hash};

/// Running evidence that is newer than what the API server holds, and statuses that are newer than what its watch has
/// shown. Nothing is lost with it, because Prometheus keeps the samples.
pub(in crate::controller) struct Memory {
    running: Mutex<HashMap<String, Running>>,
    written: Mutex<HashMap<String, Written>>,
    /// Time from which checkpoints are counted.
    since: Instant,
}

struct Running {
    /// Hash of the evidence that the API server held when this was derived.
    base: u64,
    /// Hash of what was gathered since.
    evidence: u64,
    gathered: Packed<Gathered>,
    /// When it was last written.
    written: Instant,
}

/// Evidence, and the status of the guards.
type Gathered = (Option<String>, Vec<GuardStatus>);

/// Time after which a watch that has not shown what was written never will. It takes milliseconds as a rule; but where etcd was put
/// back to what it was, versions begin anew below those that were written, and every write on top of these conflicts.
const SHOWN_WITHIN: Duration = Duration::from_secs(300);

/// A status as it was last written.
struct Written {
    at: Instant,
    version: u64,
    status: Packed<QuantizedModelStatus>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            running: Mutex::default(),
            written: Mutex::default(),
            since: Instant::now(),
        }
    }
}

/// Version of a model. Versions of one object can be compared: Kubernetes promises it since 1.35, and etcd always gave
/// numbers.
fn version(model: &QuantizedModel) -> Option<u64> {
    model.resource_version()?.parse().ok()
}

/// Time between two checkpoints: fifteen evaluations, and at most fifteen minutes.
fn checkpoint_age(interval: Duration) -> Duration {
    (interval * 15).clamp(Duration::from_secs(10), Duration::from_secs(900))
}

/// Number of the checkpoint after which a model is at `now`, both since the start of the process. Every model has a
/// phase of its own, so that a thousand that began together do not write together.
fn checkpoint(uid: &str, now: Duration, age: Duration) -> u128 {
    let age = age.as_millis().max(1);
    (now.as_millis() + u128::from(hash(uid)) % age) / age
}

impl Memory {
    /// The model with the status that was last written, also while the watch still shows the one before: a reconcile of
    /// that one would carry out once more what has been overruled.
    pub(in crate::controller) fn latest(&self, mut model: QuantizedModel) -> QuantizedModel {
        let uid = model.uid().unwrap_or_default();
        let mut written = self.written.lock();
        let newer = |last: &&Written| version(&model).is_some_and(|seen| seen < last.version);
        let is_recent = |last: &&Written| last.at.elapsed() < SHOWN_WITHIN;
        let last = written.get(&uid).filter(newer).filter(is_recent);
        match last.and_then(|last| Some((last.version, last.status.read().ok()?))) {
            Some((version, status)) => {
                model.status = Some(status);
                model.metadata.resource_version = Some(version.to_string());
            }
            None => drop(written.remove(&uid)),
        }
        model
    }

    pub(in crate::controller) fn wrote(&self, model: QuantizedModel) {
        let (uid, version) = (model.uid().unwrap_or_default(), version(&model));
        if let (Some(version), Some(status)) = (version, &model.status) {
            let status = Packed::of(status);
            let at = Instant::now();
            let mut written = self.written.lock();
            written.insert(uid, Written { at, version, status });
        }
    }

    /// The newest status: the API server's, with the evidence that was gathered since it was written.
    pub(in crate::controller) fn newest(&self, model: &QuantizedModel) -> QuantizedModelStatus {
        let mut status = model.status.clone().unwrap_or_default();
        let memory = self.running.lock();
        let running = model.uid().and_then(|uid| memory.get(&uid));
        let gathered = running.filter(|r| r.base == hash(&status.evidence));
        if let Some(gathered) = gathered.and_then(|r| r.gathered.read().ok()) {
            (status.evidence, status.guards) = gathered;
        }
        status
    }

    /// Whether a checkpoint is due.
    pub(in crate::controller) fn due(&self, uid: &str, interval: Duration) -> bool {
        let age = checkpoint_age(interval);
        let at = |when: Instant| checkpoint(uid, when.duration_since(self.since), age);
        let running = self.running.lock();
        running
            .get(uid)
            .is_some_and(|r| r.evidence != r.base && at(r.written) != at(Instant::now()))
    }

    pub(in crate::controller) fn keep(&self, uid: &str, base: &Option<String>, status: &QuantizedModelStatus) {
        let base = hash(base);
        let mut memory = self.running.lock();
        let written = memory
            .get(uid)
            .filter(|r| r.base == base)
            .map_or_else(Instant::now, |r| r.written);
        let running = Running {
            base,
            evidence: hash(&status.evidence),
            gathered: Packed::of(&(&status.evidence, &status.guards)),
            written,
        };
        memory.insert(uid.to_owned(), running);
    }

    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.written.lock().remove(uid);
        self.running.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Phase;

    fn model(version: &str, phase: Phase) -> QuantizedModel {
        let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
        let mut model: QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
        model.metadata.uid = Some("u".to_owned());
        model.metadata.resource_version = Some(version.to_owned());
        model.status = Some(QuantizedModelStatus {
            phase: Some(phase.into()),
            ..QuantizedModelStatus::default()
        });
        model
    }

    #[test]
    fn a_watch_that_is_behind_what_was_written_is_not_believed() {
        let memory = Memory::default();
        let seen = |version: &str| {
            let latest = memory.latest(model(version, Phase::Progressing));
            (
                latest.resource_version().unwrap(),
                latest.status.unwrap().phase.unwrap().known().unwrap(),
            )
        };
        assert_eq!(
            seen("9"),
            ("9".to_owned(), Phase::Progressing),
            "nothing was written yet"
        );
        memory.wrote(model("10", Phase::RollingBack));
        assert_eq!(seen("9"), ("10".to_owned(), Phase::RollingBack));
        assert_eq!(
            seen("12"),
            ("12".to_owned(), Phase::Progressing),
            "somebody wrote after us"
        );
        assert_eq!(seen("9"), ("9".to_owned(), Phase::Progressing), "and ours is forgotten");
    }

    #[test]
    fn a_cluster_that_was_put_back_is_believed_after_a_while() {
        let memory = Memory::default();
        memory.wrote(model("10", Phase::RollingBack));
        let long_ago = Instant::now()
            .checked_sub(SHOWN_WITHIN)
            .expect("a machine that runs for a while");
        memory.written.lock().get_mut("u").unwrap().at = long_ago;
        let latest = memory.latest(model("9", Phase::Progressing));
        assert_eq!(latest.resource_version().unwrap(), "9");
        assert_eq!(latest.status.unwrap().phase.unwrap().known(), Some(Phase::Progressing));
    }

    #[test]
    fn a_thousand_models_that_began_together_write_their_checkpoints_evenly() {
        let age = checkpoint_age(Duration::from_secs(60));
        assert_eq!(age, Duration::from_secs(900));
        let minute = |m: u64| Duration::from_secs(60 * m);
        let uids: Vec<String> = (0..1000).map(|i| format!("uid-{i}")).collect();
        let due = |m: u64| {
            let crossed = |uid: &&String| checkpoint(uid, minute(m), age) != checkpoint(uid, minute(m + 1), age);
            uids.iter().filter(crossed).count()
        };
        let counts: Vec<usize> = (0..15).map(due).collect();
        assert_eq!(
            counts.iter().sum::<usize>(),
            1000,
            "each of them once in fifteen minutes"
        );
        assert!(counts.iter().all(|n| *n <= 125), "twice the mean at most: {counts:?}");
    }
}
