//! What is known of a traffic that was not measured.

/// What is known of a traffic that was not measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Known {
    /// Requests per second of the whole route.
    pub requests: f64,
    /// Share of the baseline's requests that are bad.
    pub error_rate: f64,
    /// Pairs of answers per second, those that ask the reference twice among them.
    pub pairs: f64,
    /// Share of the pairs that ask the reference twice; in `[0, 1)`.
    pub control: f64,
}
