//! Arithmetic that gives the same bits on every machine: random numbers, the exponential, dot products.
//!
//! The platform's `exp` differs between C libraries in the last bit, which is enough to change a trained weight and
//! with it the digest of the weights file. Only operations that IEEE 754 defines exactly are used here, in a fixed
//! order, so that nothing depends on the C library or on how the compiler vectorises.

use std::f64::consts::{LN_2, LOG2_E};

/// How many partial sums a floating-point dot product keeps: wide enough for the compiler to use vector registers
/// without changing the order of summation.
const LANES: usize = 16;

/// SplitMix64 (Steele, Lea & Flood, 2014): tiny, fast, and any 64-bit seed is a good one.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// A generator whose sequence is fixed by `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for item `index` of a stream, independent of all others: any item can be made without its
    /// predecessors.
    pub fn for_item(seed: u64, index: u64) -> Self {
        let mut stream = Self(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
        Self(stream.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal to a good approximation (Irwin–Hall: twelve uniforms, exact arithmetic, tails end at ±6).
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.uniform()).sum::<f64>() - 6.0
    }

    /// Uniform in `0..bound`; `bound` must be small against 2⁶⁴, as the bias is `bound` / 2⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next_u64() % bound.max(1) as u64) as usize
    }
}

/// eˣ to about one unit in the last place; ±708 bounds the argument.
pub fn exp(x: f64) -> f64 {
    let x = x.clamp(-708.0, 708.0);
    let k = (x * LOG2_E).round();
    let r = x - k * LN_2;
    // |r| ≤ ln 2 / 2: fourteen Taylor terms are below the rounding error.
    let series = (1..=14).rev().fold(1.0, |sum, n| 1.0 + sum * r / f64::from(n));
    series * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

/// The logistic function, 1 / (1 + e⁻ᶻ).
pub fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + exp(-z))
}

/// Dot product with a fixed order of summation.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a_blocks, a_tail) = a.as_chunks::<LANES>();
    let (b_blocks, b_tail) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for (lane, (x, y)) in lanes.iter_mut().zip(x.iter().zip(y)) {
            *lane += x * y;
        }
    }
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(x, y)| x * y).sum();
    lanes.iter().sum::<f32>() + tail
}

/// `y += a·x`, element by element.
pub fn add_scaled(y: &mut [f32], a: f32, x: &[f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_agrees_with_the_platforms() {
        for step in -4000..4000 {
            let x = f64::from(step) / 100.0;
            let relative = (exp(x) / x.exp() - 1.0).abs();
            assert!(relative < 1e-14, "exp({x}) is off by {relative}");
        }
    }

    #[test]
    fn normal_draws_have_mean_zero_and_variance_one() {
        let mut random = Random::new(7);
        let draws: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 1e5;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 1e5;
        assert!(mean.abs() < 0.015, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn dot_product_counts_every_element_once_whatever_the_length() {
        for length in [0, 1, 15, 16, 17, 48, 513] {
            let a: Vec<f32> = (0..length).map(|i| (i % 7) as f32).collect();
            let b: Vec<f32> = (0..length).map(|i| (i % 5) as f32).collect();
            let expected: usize = (0..length).map(|i| (i % 7) * (i % 5)).sum();
            assert_eq!(dot(&a, &b), expected as f32, "length {length}");
        }
    }
}
