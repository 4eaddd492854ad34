//! The documented rules of others, small and faithful, on perfect counts: none of the errors of `rate()` and no scrape lag.
//!
//! Each returns the scrape at which it rolls back, if it does within the hour.

use crate::traffic::{SCRAPES, Traffic, quantile};

/// Scrapes in a minute.
const MINUTE: usize = 4;

/// A rule: when it rolls back.
pub type Rule = fn(&Traffic) -> Option<usize>;

/// The rules with what stands above their columns.
pub const RULES: [(&str, Rule); 4] = [
    ("Argo Rollouts: errors ≤ 1% every 5 min, failureLimit 3", argo_rollouts),
    (
        "Argo Rollouts: ≤ 1.5 × stable every minute, failureLimit 3",
        argo_rollouts_ratio,
    ),
    ("Flagger: success ≥ 99% every minute, threshold 5", flagger),
    ("Kayenta: Mann–Whitney judge every 5 min", kayenta),
];

/// AnalysisTemplate with `interval: 5m`, `successCondition: result[0] <= 0.01`, `failureLimit: 3`, the form of the example in
/// docs/features/analysis.md. A measurement without data is an error and repeated after 10 s; more than `consecutiveErrorLimit`
/// (4) of them abort (utils/analysis/helpers.go, analysis/analysis.go: `assessMetricFailureInconclusiveOrError`).
fn argo_rollouts(traffic: &Traffic) -> Option<usize> {
    analysis(traffic, 5 * MINUTE, |t, from, through| {
        let (n, x) = t.window("candidate", from, through)?;
        Some(x as f64 <= 0.01 * n as f64)
    })
}

/// The same with a query that divides by the stable version's share, as users write it to compare.
fn argo_rollouts_ratio(traffic: &Traffic) -> Option<usize> {
    analysis(traffic, MINUTE, |t, from, through| {
        let (n, x) = t.window("candidate", from, through)?;
        let (m, y) = t.window("stable", from, through)?;
        // 0/0 is NaN and fails the condition; x/0 is +Inf.
        Some(x as f64 / n as f64 / (y as f64 / m as f64) <= 1.5)
    })
}

fn analysis(
    traffic: &Traffic,
    interval: usize,
    success: impl Fn(&Traffic, usize, usize) -> Option<bool>,
) -> Option<usize> {
    let (mut failed, mut errors, mut at) = (0, 0, interval);
    while at <= SCRAPES {
        match success(traffic, at - interval, at) {
            Some(true) => errors = 0,
            Some(false) => (failed, errors) = (failed + 1, 0),
            None => errors += 1,
        }
        if failed > 3 || errors > 4 {
            return Some(at);
        }
        // An error is measured again after 10 s: with the next scrape, at the earliest.
        at += if errors > 0 { 1 } else { interval };
    }
    None
}

/// Canary analysis with `interval: 1m`, `threshold: 5`, `request-success-rate` `min: 99` (docs/gitbook/usage/how-it-works.md).
/// Failed checks are never forgotten, and a check without data is a failed one (pkg/controller/scheduler.go, scheduler_metrics.go).
fn flagger(traffic: &Traffic) -> Option<usize> {
    let mut failed = 0;
    (MINUTE..=SCRAPES).step_by(MINUTE).find(|at| {
        let good = traffic
            .window("candidate", at - MINUTE, *at)
            .is_some_and(|(n, x)| (n - x) as f64 >= 0.99 * n as f64);
        failed += usize::from(!good);
        failed >= 5
    })
}

/// NetflixACAJudge with its defaults on one metric, errors per request by minute, from the start (lookback Growing): High when
/// the 98% confidence interval of the Hodges–Lehmann shift lies above 0.25 × the shift (MannWhitneyClassifier.scala). One metric
/// that is High scores 0, below the marginal threshold: cancelled.
fn kayenta(traffic: &Traffic) -> Option<usize> {
    (5 * MINUTE..=SCRAPES).step_by(5 * MINUTE).find(|at| {
        let points = |arm| -> Vec<f64> {
            let minutes = (0..*at).step_by(MINUTE);
            let counts = minutes.filter_map(|from| traffic.window(arm, from, from + MINUTE));
            counts.map(|(n, x)| x as f64 / n as f64).collect()
        };
        high(&points("candidate"), &points("stable"))
    })
}

fn high(experiment: &[f64], control: &[f64]) -> bool {
    let (m, n) = (experiment.len() as f64, control.len() as f64);
    let mut shifts: Vec<f64> = experiment
        .iter()
        .flat_map(|e| control.iter().map(move |c| e - c))
        .collect();
    shifts.sort_by(f64::total_cmp);
    // The normal approximation of the rank statistic, with the correction for continuity.
    let rank = m * n / 2.0 - 0.5 - quantile(0.99) * (m * n * (m + n + 1.0) / 12.0).sqrt();
    if rank < 1.0 {
        return false;
    }
    let lower = shifts[rank as usize - 1];
    let estimate = shifts[shifts.len() / 2];
    lower > 0.25 * estimate.abs()
}
