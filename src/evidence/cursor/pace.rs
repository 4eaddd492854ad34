//! Pace: how often samples come, and how long they are waited for.

/// The longest interval between scrapes that is believed, in ms. Prometheus itself takes a series for gone that has had
/// no sample for five minutes.
const SLOWEST_MS: i64 = 300_000;

/// An arm may be silent for at least this long, in ms.
const PATIENCE_MS: i64 = 60_000;

/// How often evaluations and scrapes come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time between two evaluations, in ms.
    pub interval_ms: i64,
    /// Time between two scrapes of a pod, in ms, once it was seen.
    pub scrapes_ms: Option<i64>,
}

impl Pace {
    fn scrapes(self) -> i64 {
        self.scrapes_ms.unwrap_or(0).clamp(0, SLOWEST_MS)
    }

    /// How long new samples are waited for, in ms: three evaluations, three scrapes and a minute, whichever is longest.
    pub fn patience(self) -> i64 {
        let evaluations = self.interval_ms.max(1).saturating_mul(3);
        evaluations.max(3 * self.scrapes()).max(PATIENCE_MS)
    }

    /// How far back samples may arrive late or need those after them to be understood, in ms.
    pub(super) fn slack(self) -> i64 {
        let evaluations = self.interval_ms.max(1).saturating_mul(4);
        evaluations.max(3 * self.scrapes())
    }
}

/// The time between scrapes that the times between samples show, in ms: their median.
pub(super) fn scrapes_ms(mut gaps: Vec<i64>) -> Option<i64> {
    let middle = gaps.len() / 2;
    (!gaps.is_empty()).then(|| *gaps.select_nth_unstable(middle).1)
}
