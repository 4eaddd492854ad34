//! Random numbers that are the same everywhere.

/// xorshift64*: small and seeded.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn poisson(&mut self, mean: f64) -> u64 {
        // Sums of exponential gaps, in chunks so that exp() never underflows.
        let (mut left, mut n) = (mean, 0);
        while left > 0.0 {
            let part = left.min(30.0);
            let (limit, mut product) = ((-part).exp(), self.uniform());
            while product > limit {
                n += 1;
                product *= self.uniform();
            }
            left -= part;
        }
        n
    }
}
