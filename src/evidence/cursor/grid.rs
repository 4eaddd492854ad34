//! The grid that polls lie on, which makes them independent of the times at which samples were asked for.

use crate::evidence::counts::{Observed, Poll};

/// Boundaries of polls between two times.
pub(super) struct Grid {
    through: i64,
    interval: i64,
    /// Number of cells of full length; one more cell follows, which ends at `now`.
    full: i128,
    now: i64,
}

impl Grid {
    /// Lays the grid. The last cell ends at `now` and is up to one and a half intervals long, so that polling in time
    /// gives one poll for each call in spite of jitter.
    pub(super) fn new(through: i64, now: i64, interval_ms: i64) -> Self {
        let interval = interval_ms.max(1);
        let gap = i128::from(now) - i128::from(through);
        let step = i128::from(interval);
        let full = ((2 * gap - 3 * step).max(0) + 2 * step - 1) / (2 * step);
        Self {
            through,
            interval,
            full,
            now,
        }
    }

    /// The cell that a sample belongs to; a late sample belongs to the first cell that is still open.
    pub(super) fn cell(&self, at: i64) -> i128 {
        let since = i128::from(at) - i128::from(self.through);
        ((since - 1).div_euclid(i128::from(self.interval)) + 1).clamp(1, self.full + 1)
    }

    /// The last moment of a cell.
    pub(super) fn end(&self, cell: i128) -> i64 {
        let end = i128::from(self.through) + cell * i128::from(self.interval);
        if cell > self.full {
            self.now
        } else {
            i64::try_from(end).unwrap_or(self.now)
        }
    }

    pub(super) fn poll(&self, cell: i128, observed: Observed) -> Poll {
        Poll {
            from: self.end(cell - 1),
            through: self.end(cell),
            observed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_makes_one_poll_and_an_outage_those_that_were_missed() {
        let grid = |now: i64| {
            let grid = Grid::new(0, now * 1000, 15_000);
            let polls: Vec<_> = (1..=grid.full + 1)
                .map(|cell| grid.poll(cell, Observed::Value(0.0)))
                .collect();
            polls
                .iter()
                .map(|poll| (poll.from / 1000, poll.through / 1000))
                .collect::<Vec<_>>()
        };
        assert_eq!(grid(14), [(0, 14)]);
        assert_eq!(grid(22), [(0, 22)]);
        assert_eq!(grid(23), [(0, 15), (15, 23)]);
        assert_eq!(grid(45), [(0, 15), (15, 30), (30, 45)]);
        assert_eq!(grid(52), [(0, 15), (15, 30), (30, 52)]);
    }
}
