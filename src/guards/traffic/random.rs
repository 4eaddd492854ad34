//! Seeded random numbers, the same on every machine: a forecast that is run again says the same.

/// SplitMix64 (Steele, Lea & Flood 2014).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A uniform number in `(0, 1)`.
    pub(crate) fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        ((z >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// A Poisson number of events: exact at every mean, and no slower at large ones.
    pub(crate) fn poisson(&mut self, mean: f64) -> u64 {
        if mean < 10.0 {
            // Products of uniform numbers are the gaps of a Poisson process.
            let (limit, mut product, mut n) = ((-mean).exp(), self.uniform(), 0);
            while product > limit {
                product *= self.uniform();
                n += 1;
            }
            n
        } else {
            self.many(mean)
        }
    }

    /// A Poisson number with a large mean, by transformed rejection (Hörmann 1993, algorithm PTRS).
    fn many(&mut self, mean: f64) -> u64 {
        let b = 0.931 + 2.53 * mean.sqrt();
        let a = -0.059 + 0.02483 * b;
        let scale = 1.1239 + 1.1328 / (b - 3.4);
        let quick = 0.9277 - 3.6224 / (b - 2.0);
        loop {
            let u = self.uniform() - 0.5;
            let v = self.uniform();
            let us = 0.5 - u.abs();
            let k = ((2.0 * a / us + b) * u + mean + 0.43).floor();
            if us >= 0.07 && v <= quick {
                return k as u64;
            }
            if k < 0.0 || (us < 0.013 && v > us) {
                continue;
            }
            let density = k * mean.ln() - mean - ln_factorial(k);
            if v.ln() + scale.ln() - (a / (us * us) + b).ln() <= density {
                return k as u64;
            }
        }
    }
}

/// ln k!, by Stirling's series where it is exact to twelve digits.
fn ln_factorial(k: f64) -> f64 {
    if k < 16.0 {
        return (2..=k as u64).map(|i| (i as f64).ln()).sum();
    }
    let n = k + 1.0;
    let series = 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3)) + 1.0 / (1260.0 * n.powi(5));
    (n - 0.5) * n.ln() - n + 0.5 * std::f64::consts::TAU.ln() + series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_mean_and_the_variance_of_a_poisson_distribution() {
        for mean in [0.02, 0.7, 9.9, 10.1, 40.0, 1_800.0] {
            let (mut random, n) = (Random::new(7), 40_000.0);
            let (mut sum, mut squares) = (0.0, 0.0);
            for _ in 0..n as u64 {
                let k = random.poisson(mean) as f64;
                (sum, squares) = (sum + k, squares + (k - mean).powi(2));
            }
            let (average, variance) = (sum / n, squares / n);
            // Four standard errors.
            assert!((average - mean).abs() < 4.0 * (mean / n).sqrt(), "{mean}: {average}");
            let error = ((mean + 2.0 * mean * mean) / n).sqrt();
            assert!((variance - mean).abs() < 4.0 * error, "{mean}: {variance}");
        }
    }

    #[test]
    fn factorials_agree_where_the_two_ways_meet() {
        let slow: f64 = (2..=20).map(|i| f64::from(i).ln()).sum();
        assert!((ln_factorial(20.0) - slow).abs() < 1e-11);
    }
}
