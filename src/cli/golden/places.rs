//! Places in recordings that are told: the first of them, and how many there are.

use std::fmt;

use crate::judge::text::number;

/// Most places that are named.
const NAMED: usize = 3;

/// Places, of which the first are named.
#[derive(Debug, Default)]
pub(super) struct Places {
    first: Vec<String>,
    times: u64,
}

impl Places {
    pub(super) fn add(&mut self, place: &str) {
        self.times += 1;
        if self.first.len() < NAMED {
            self.first.push(place.to_owned());
        }
    }

    /// How many there are.
    pub(super) fn times(&self) -> u64 {
        self.times
    }
}

impl fmt::Display for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.times - self.first.len() as u64 {
            0 => Ok(()),
            more => write!(f, " and {} more", number(more)),
        }
    }
}
