//! Ratios of two counters, such as joules per request, on both arms.
//!
//! Owns which increments of the two belong together: they may come from different exporters (a GPU exporter and the
//! model server), scraped at different times and intervals. Increments of one counter wait until the other covers the
//! same time.

use serde::{Deserialize, Serialize};

use super::answer::ArmSamples;
use super::counter::falls::Falls;
use super::counter::{Increment, Ledger, Limits, Measure, Stream, count_increments};
use super::counts::Amounts;
use super::role::{Arm, Role};
use super::sample::Matrix;

/// Increments that are in no poll yet, on the candidate and the baseline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    amounts: [Amounts; 2],
    /// Which of numerator and denominator have had samples since the last poll.
    news: [[bool; 2]; 2],
}

/// Counts what is new, and returns it once both counters of both arms have had samples since the last poll.
pub(super) fn count(
    arms: [&ArmSamples; 2],
    waiting: &mut Option<Waiting>,
    ledger: &mut Ledger,
    falls: &mut Falls,
    limits: &Limits<'_>,
) -> Option<[Amounts; 2]> {
    let mut held = waiting.take().unwrap_or_default();
    for (arm, samples) in Arm::BOTH.into_iter().zip(arms) {
        let (Some(numerator), Some(denominator)) = (samples.get(Role::Numerator), samples.get(Role::Denominator))
        else {
            continue;
        };
        let Some(now) = seen_by_both(numerator, denominator, limits.now) else {
            continue;
        };
        let stream = |role, matrix| Stream {
            role,
            arm,
            measure: Measure::Amounts,
            matrix,
        };
        let streams = [
            stream(Role::Numerator, numerator),
            stream(Role::Denominator, denominator),
        ];
        let (amounts, news) = (&mut held.amounts[arm as usize], &mut held.news[arm as usize]);
        count_increments(
            &streams,
            ledger,
            falls,
            &Limits {
                now,
                until: now,
                ..*limits
            },
            &mut |Increment { stream, by, .. }| {
                let sum = match stream {
                    0 => &mut amounts.numerator,
                    _ => &mut amounts.denominator,
                };
                *sum = (*sum + f64::from_bits(by)).min(f64::MAX);
                news[stream] = true;
            },
        );
    }
    if held.news == [[true; 2]; 2] {
        return Some(held.amounts);
    }
    *waiting = Some(held);
    None
}

/// The newest time that both counters have samples up to.
fn seen_by_both(numerator: &Matrix, denominator: &Matrix, now: i64) -> Option<i64> {
    Some(numerator.newest(now)?.min(denominator.newest(now)?))
}
