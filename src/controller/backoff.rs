//! How long to wait after a reconcile that failed. Each model has a back-off of its own.

use std::collections::HashMap;
use std::time::Duration;

use kube::ResourceExt;
use parking_lot::Mutex;

use crate::model::interval;
use crate::watch::{CachedModel, Content};

use super::error::Error;

/// Shortest and longest wait after an error.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

/// Longest wait while the API server is away, so that a candidate that turned bad meanwhile is lowered as soon as it is
/// back. Only models that have something to write notice that it is back.
const LONGEST_ABSENCE_UNNOTICED: Duration = Duration::from_secs(2);

/// Failures in a row, by model.
#[derive(Default)]
pub(super) struct Failures(Mutex<HashMap<String, Row>>);

/// Failures of one kind in a row. An API server that has just come back may refuse for a moment what it will allow, and
/// such a refusal does not lengthen its absences.
#[derive(Default)]
struct Row {
    absences: bool,
    count: u32,
}

impl Row {
    /// Counts a failure; returns how long to wait after it. The wait is never longer than the interval of the metrics:
    /// whatever else cannot be written, a candidate that turns harmful must be seen, and lowering it comes first.
    fn wait_after(&mut self, error: &Error, interval: impl FnOnce() -> Duration) -> Duration {
        let absences = error.is_absence();
        let before = if absences == self.absences { self.count } else { 0 };
        *self = Self {
            absences,
            count: before.saturating_add(1),
        };
        let longest = if absences {
            LONGEST_ABSENCE_UNNOTICED
        } else {
            BACKOFF.1.min(interval().max(BACKOFF.0))
        };
        BACKOFF.0.saturating_mul(1 << before.min(10)).min(longest)
    }
}

impl Failures {
    /// Counts a failure; returns how long to wait after it.
    pub(super) fn wait(&self, kept: &CachedModel, error: &Error) -> Duration {
        let interval = || match kept.read() {
            Ok(Content::Readable(model, _)) => interval(&model.spec),
            _ => BACKOFF.1,
        };
        let mut failures = self.0.lock();
        failures
            .entry(kept.uid().unwrap_or_default())
            .or_default()
            .wait_after(error, interval)
    }

    /// Forgets the failures of a model whose reconcile ended well.
    pub(super) fn clear(&self, model: &CachedModel) {
        self.0.lock().remove(&model.uid().unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::apiserver::CallError;

    fn api(source: kube::Error) -> Error {
        Error::Call(CallError::Api {
            what: "write status".to_owned(),
            source: Box::new(source),
        })
    }

    fn refused(code: u16) -> Error {
        let mut status = kube::core::Status::failure("no", "No");
        status.code = code;
        api(kube::Error::Api(Box::new(status)))
    }

    fn away() -> Error {
        api(kube::Error::Service("connection refused".into()))
    }

    /// Waits in milliseconds, at an interval in seconds.
    fn waits(interval: u64, errors: &[Error]) -> Vec<u128> {
        let mut row = Row::default();
        let wait = |e| row.wait_after(e, || Duration::from_secs(interval)).as_millis();
        errors.iter().map(wait).collect()
    }

    #[test]
    fn an_api_server_that_is_back_is_noticed_soon_however_long_it_was_away() {
        let late = Error::Call(CallError::Timeout("write status".to_owned()));
        assert_eq!(
            waits(3_600, &[away(), refused(503), late, away()]),
            [500, 1_000, 2_000, 2_000]
        );
        // The API server is back, but it has not read its roles yet.
        assert_eq!(
            waits(3_600, &[away(), away(), away(), refused(403), refused(403), away()]),
            [500, 1_000, 2_000, 500, 1_000, 500]
        );
    }

    #[test]
    fn failures_are_tried_again_ever_later_and_no_later_than_the_next_reconcile_is_due() {
        let forbidden: Vec<Error> = (0..9).map(|_| refused(403)).collect();
        assert_eq!(waits(3_600, &forbidden)[5..], [16_000, 32_000, 60_000, 60_000]);
        assert_eq!(waits(15, &forbidden)[3..6], [4_000, 8_000, 15_000]);
        assert_eq!(waits(1, &forbidden)[..4], [500, 1_000, 1_000, 1_000]);
        // An interval that cannot be read must not make a hot loop.
        assert_eq!(waits(0, &forbidden)[..3], [500, 500, 500]);
    }
}
