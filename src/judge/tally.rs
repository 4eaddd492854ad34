//! Events of which some are bad in part.

use serde::{Deserialize, Serialize};

use crate::evidence::Counts;

/// Events of one arm, and how many of them are bad, where an event may be bad in part: the part is the chance that it
/// is, where a histogram does not say on which side of a latency a request lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tally {
    /// Events.
    pub n: u64,
    /// Bad ones among them; from 0 to `n`.
    pub x: f64,
}

impl Tally {
    /// Adds `more`.
    pub fn add(&mut self, more: Self) {
        self.n += more.n;
        self.x += more.x;
    }

    /// The nearest whole number of bad events.
    pub fn whole(self) -> Counts {
        Counts {
            n: self.n,
            x: (self.x.round() as u64).min(self.n),
        }
    }
}

impl From<Counts> for Tally {
    fn from(counts: Counts) -> Self {
        Self {
            n: counts.n,
            x: counts.x as f64,
        }
    }
}
