//! The grid that exponential buckets are put on: eight bounds an octave, as Prometheus' schema 3, on both sides of 0.
//!
//! It reaches from 2⁻²⁰ (a microsecond, in seconds) to 2³⁴ (17 seconds, in nanoseconds). Values nearer to 0 are in one
//! bucket around it; the outermost buckets have no outer bound.

/// Bounds from 0.5 up to 1, equal to those of Prometheus to the last bit (`exponentialBounds` in
/// model/histogram/generic.go).
const OCTAVE: [f64; 8] = [
    0.5,
    0.5452538663326288,
    0.5946035575013605,
    0.6484197773255048,
    0.7071067811865475,
    0.7711054127039704,
    0.8408964152537144,
    0.9170040432046711,
];

/// Bounds in an octave.
const STEPS: i32 = 8;

/// The bound nearest to 0 on either side, in steps from 1.
pub(super) const FIRST: i32 = -20 * STEPS;

/// The outermost bound on either side.
pub(super) const LAST: i32 = 34 * STEPS;

/// Tolerance within which a logarithm counts as being on a step.
const SLACK: f64 = 1e-6;

/// The bound that is `steps` steps from 1; beyond the ends of the grid, the outermost one.
pub(super) fn bound(steps: i32) -> f64 {
    let steps = steps.clamp(FIRST, LAST);
    let fraction = OCTAVE.get(steps.rem_euclid(STEPS) as usize).copied().unwrap_or(0.5);
    // A power of two is exact.
    fraction * 2f64.powi(steps.div_euclid(STEPS) + 1)
}

/// Steps from 1 up to a positive number, as a real number.
pub(super) fn steps(magnitude: f64) -> f64 {
    magnitude.log2() * f64::from(STEPS)
}

/// The last multiple of `width` steps at or below.
pub(super) fn floor(steps: f64, width: u16) -> i32 {
    let width = f64::from(width);
    (((steps + SLACK) / width).floor() * width) as i32
}

/// The first multiple of `width` steps at or above.
pub(super) fn ceil(steps: f64, width: u16) -> i32 {
    let width = f64::from(width);
    (((steps - SLACK) / width).ceil() * width) as i32
}

/// Whether `steps` is a multiple of `width`, which may be less than 1.
pub(super) fn on(steps: f64, width: f64) -> bool {
    (steps / width - (steps / width).round()).abs() < SLACK
}

/// All bounds at multiples of `width` steps, on both sides of 0.
pub(super) fn points(width: u16) -> impl Iterator<Item = f64> {
    let width = i32::from(width.max(1));
    let positive = (FIRST..=LAST).filter(move |steps| steps % width == 0).map(bound);
    positive.clone().chain(positive.map(|bound| -bound))
}
