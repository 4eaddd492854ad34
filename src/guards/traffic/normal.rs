//! The normal distribution, for latencies whose logarithm is taken to be normal.

/// Distribution function (Marsaglia's series, 2004), to about 14 digits.
pub(super) fn normal(x: f64) -> f64 {
    if x.abs() > 8.0 {
        return if x > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut sum, mut term, mut n) = (x, x, 1.0);
    while term.abs() > 1e-17 {
        n += 2.0;
        term *= x * x / n;
        sum += term;
    }
    0.5 + sum * (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt()
}

/// Inverse of the distribution function, for `p` in `(0, 1)`.
pub(super) fn quantile(p: f64) -> f64 {
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..70 {
        let middle = 0.5 * (low + high);
        if normal(middle) < p {
            low = middle
        } else {
            high = middle
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.95, 1.644_853_627),
            (0.99, 2.326_347_874),
            (0.025, -1.959_963_985),
        ] {
            assert!((quantile(p) - z).abs() < 1e-8, "{p}");
            assert!((normal(z) - p).abs() < 1e-9, "{z}");
        }
    }
}
