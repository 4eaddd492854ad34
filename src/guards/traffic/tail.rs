//! How latencies are distributed: as they were measured, or log-normal.

use statrs::distribution::{ContinuousCDF, Normal};

/// Width of the assumed latencies: the standard deviation of their logarithm. p95 is 2.7 times the median.
const SIGMA: f64 = 0.6;

/// Quantile of the standard normal distribution, for `p` in `(0, 1)`.
fn standard_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// A distribution of latencies.
#[derive(Clone, Debug, PartialEq)]
pub enum Tail {
    /// An assumed distribution: logarithms are normal, with a standard deviation of 0.6.
    LogNormal {
        /// Median, in seconds.
        median: f64,
    },
    /// A measured distribution: shares of the buckets, the last being above all bounds.
    Measured {
        /// Finite upper bounds, ascending, in seconds.
        bounds: Vec<f64>,
        /// Share of each bucket; one more than `bounds`.
        shares: Vec<f64>,
    },
}

impl Tail {
    /// Latencies of which a share of `p` lies within `within` seconds.
    pub fn through(p: f64, within: f64) -> Self {
        Self::LogNormal {
            median: within / (SIGMA * standard_quantile(p)).exp(),
        }
    }

    /// The 95th percentile of assumed latencies, as a multiple of their median.
    pub fn assumed_p95() -> f64 {
        (SIGMA * standard_quantile(0.95)).exp()
    }

    /// Share of requests that take longer than `seconds`, where all take `scale` times as long.
    pub fn slower(&self, seconds: f64, scale: f64) -> f64 {
        let at = seconds / scale;
        match self {
            Self::LogNormal { median } => Normal::standard().cdf((median / at).ln() / SIGMA),
            Self::Measured { bounds, shares } => {
                let above = |i: usize| shares.iter().skip(i + 1).sum::<f64>();
                let next = bounds.partition_point(|b| *b < at);
                let (low, over_low) = match next {
                    0 => (0.0, 1.0),
                    _ => (bounds[next - 1], above(next - 1)),
                };
                let Some(high) = bounds.get(next) else {
                    return over_low;
                };
                over_low + (above(next) - over_low) * (at - low) / (high - low)
            }
        }
    }

    /// The latency that a share of `p` stays within, in seconds; for a measured distribution, the bound next above.
    pub fn quantile(&self, p: f64) -> f64 {
        match self {
            Self::LogNormal { median } => median * (SIGMA * standard_quantile(p)).exp(),
            Self::Measured { bounds, .. } => bounds
                .iter()
                .copied()
                .find(|bound| self.slower(*bound, 1.0) <= 1.0 - p)
                .unwrap_or(f64::INFINITY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measured_tail_is_read_between_its_bounds() {
        let tail = Tail::Measured {
            bounds: vec![0.1, 0.2, 0.4],
            shares: vec![0.5, 0.3, 0.15, 0.05],
        };
        for (seconds, scale, share) in [
            (0.1, 1.0, 0.5),
            (0.2, 1.0, 0.2),
            (0.15, 1.0, 0.35),
            (0.2, 2.0, 0.5),
            (0.4, 2.0, 0.2),
            (9.0, 1.0, 0.05),
        ] {
            assert!(
                (tail.slower(seconds, scale) - share).abs() < 1e-9,
                "{seconds} × {scale}"
            );
        }
        assert_eq!(
            (tail.quantile(0.5), tail.quantile(0.95), tail.quantile(0.99)),
            (0.1, 0.4, f64::INFINITY)
        );
    }
}
