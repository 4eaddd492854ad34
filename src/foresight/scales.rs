//! What a tolerance on shares of slow requests means for latencies: the factor on all of them that just stays within it.

use serde::Serialize;

use crate::guards::SuiteConfig;
use crate::guards::traffic::{Shape, Tail};

use super::traffic::Traffic;

/// How much slower a candidate may be before it is beyond a latency guard's tolerance.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencyScale {
    /// The guard.
    pub guard: String,
    /// The bucket bound that is watched, in seconds.
    pub edge: f64,
    /// Percent of the baseline's requests that stay within it.
    pub percentile: f64,
    /// Factor on all latencies that just stays within tolerance there.
    pub scale: f64,
}

/// Factors on latency that just stay within the tolerance, by guard and bucket bound.
pub fn latency_scales(guards: &SuiteConfig, traffic: &Traffic) -> Vec<LatencyScale> {
    let mut scales = Vec::new();
    for (name, guard) in &guards.guards {
        let Some(latency) = guard.as_latency() else {
            continue;
        };
        let Some(Shape::Latency { bounds, tail }) = traffic.streams.get(name).map(|s| &s.shape) else {
            continue;
        };
        for (edge, tolerated) in latency.watched(bounds, tail) {
            if let Some(scale) = scale(tail, edge, tolerated) {
                scales.push(LatencyScale {
                    guard: name.clone(),
                    edge,
                    percentile: 100.0 * (1.0 - tail.slower(edge, 1.0)),
                    scale,
                });
            }
        }
    }
    scales
}

/// The factor at which a share of `tolerated` is slower than `edge`; `None` if none up to 100 is.
fn scale(tail: &Tail, edge: f64, tolerated: f64) -> Option<f64> {
    let (mut low, mut high) = (0.01, 100.0);
    if !edge.is_finite() || tail.slower(edge, high) <= tolerated {
        return None;
    }
    for _ in 0..60 {
        let middle: f64 = 0.5 * (low + high);
        if tail.slower(edge, middle) < tolerated {
            low = middle
        } else {
            high = middle
        }
    }
    Some(0.5 * (low + high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_tolerance_is_the_scale_that_the_documents_say() {
        let tail = Tail::LogNormal { median: 0.02 };
        for (p, expected) in [(0.5, 1.5), (0.95, 1.17), (0.99, 1.17)] {
            let edge = tail.quantile(p);
            let found = scale(&tail, edge, 1.5 * (1.0 - p) + 0.005).unwrap();
            assert!((found / expected - 1.0).abs() < 0.02, "p{}: {found}", 100.0 * p);
        }
        assert_eq!(scale(&tail, 0.02, 1.0), None);
    }
}
