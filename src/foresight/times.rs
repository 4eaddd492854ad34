//! What many runs say of a time: the median and the 90% quantile, with their Monte-Carlo error.

use serde::Serialize;

use super::scene::{End, Run};

/// When something happened, over many runs. Seconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Runs that were made.
    pub runs: usize,
    /// Share of them in which it happened by the horizon.
    pub reached: f64,
    /// Half the width of a 95% interval of that share.
    pub reached_error: f64,
    /// Half of all runs had it by then; absent where fewer than half had it at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median: Option<f64>,
    /// 95% interval of the median; its end is absent where it lies beyond the horizon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub median_interval: Option<(f64, Option<f64>)>,
    /// Nine of ten runs had it by then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p90: Option<f64>,
    /// Until when the runs were followed.
    pub horizon: f64,
}

impl Times {
    /// Of one value a run; `None` where it did not happen by the horizon.
    pub fn of(values: impl IntoIterator<Item = Option<f64>>, horizon: f64) -> Self {
        let mut values: Vec<f64> = values.into_iter().map(|at| at.unwrap_or(f64::INFINITY)).collect();
        values.sort_by(f64::total_cmp);
        let (runs, n) = (values.len(), values.len() as f64);
        if runs == 0 {
            return Self {
                horizon,
                reached_error: 1.0,
                ..Self::default()
            };
        }
        let at = |rank: f64| values[(rank.max(0.0) as usize).min(runs - 1)];
        let finite = |value: f64| value.is_finite().then_some(value);
        let reached = values.iter().filter(|at| at.is_finite()).count() as f64 / n;
        // Order statistics: the ranks that enclose the median in 95% of cases.
        let wide = 1.96 * n.sqrt() / 2.0;
        let (low, high) = (at((n / 2.0 - wide).floor()), at((n / 2.0 + wide).ceil()));
        Self {
            runs,
            reached,
            reached_error: share_error(reached, runs),
            median: finite(at((n / 2.0).floor())),
            median_interval: finite(low).map(|low| (low, finite(high))),
            p90: finite(at((0.9 * n).ceil() - 1.0)),
            horizon,
        }
    }
}

/// A share of runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Missed {
    /// The share.
    pub share: f64,
    /// Half the width of its 95% interval.
    pub error: f64,
}

impl Missed {
    /// Of the runs, those that something happened in.
    pub(super) fn of(runs: &[Run], happened: impl Fn(&Run) -> bool) -> Self {
        Self::of_share(runs.iter().filter(|run| happened(run)).count(), runs.len())
    }

    /// Where something happened in some of the runs.
    pub(super) fn of_share(some: usize, runs: usize) -> Self {
        let share = some as f64 / runs.max(1) as f64;
        Self {
            share,
            error: share_error(share, runs),
        }
    }
}

/// Of the runs, those that ended so.
pub(super) fn share(runs: &[Run], end: End) -> Missed {
    Missed::of(runs, |run| run.end == end)
}

/// Half the width of the 95% interval of a share (Wilson, whose width is not 0 at shares of 0 and 1).
pub(super) fn share_error(share: f64, runs: usize) -> f64 {
    let (n, z) = (runs.max(1) as f64, 1.96f64);
    z / (1.0 + z * z / n) * (share * (1.0 - share) / n + z * z / (4.0 * n * n)).sqrt()
}

/// A length of time for people: "40 s", "12 min", "9 h".
pub fn clock(seconds: f64) -> String {
    if seconds < 99.5 {
        format!("{seconds:.0} s")
    } else if seconds < 599.5 {
        short(seconds / 60.0, "min")
    } else if seconds < 99.5 * 60.0 {
        format!("{:.0} min", seconds / 60.0)
    } else if seconds < 9.95 * 3600.0 {
        short(seconds / 3600.0, "h")
    } else if seconds < 99.5 * 3600.0 {
        format!("{:.0} h", seconds / 3600.0)
    } else {
        format!("{:.0} days", seconds / 86_400.0)
    }
}

/// With one decimal, unless it is 0.
fn short(value: f64, unit: &str) -> String {
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_count_runs_that_never_arrived() {
        let values = (1..=100).map(|i| (i <= 60).then_some(f64::from(i)));
        let times = Times::of(values, 60.0);
        assert_eq!(
            (times.runs, times.reached, times.median, times.p90),
            (100, 0.6, Some(51.0), None)
        );
        let (low, high) = times.median_interval.unwrap();
        assert!(
            (39.0..=42.0).contains(&low) && high.is_none_or(|h| h >= 60.0),
            "{low} {high:?}"
        );
        assert_eq!(Times::of([], 1.0).median, None);
        assert_eq!(Times::of([None, Some(3.0), None], 9.0).median, None);
    }

    #[test]
    fn a_share_of_none_is_not_certain() {
        assert!((share_error(0.0, 100) - 0.0185).abs() < 0.0005);
        assert!((share_error(0.5, 400) - 0.049).abs() < 0.001);
    }

    #[test]
    fn lengths_of_time_are_short() {
        for (seconds, text) in [
            (15.0, "15 s"),
            (100.0, "1.7 min"),
            (120.0, "2 min"),
            (720.0, "12 min"),
            (5_000.0, "83 min"),
            (14_400.0, "4 h"),
            (33_000.0, "9.2 h"),
            (360_001.0, "4 days"),
        ] {
            assert_eq!(clock(seconds), text);
        }
    }
}
