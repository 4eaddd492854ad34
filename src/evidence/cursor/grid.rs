//! The grid that polls lie on, which makes them independent of the times at which samples were asked for.

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

    /// The last cell.
    pub(super) fn last(&self) -> i128 {
        self.full + 1
    }

    /// The first cell that ends at least `length` ms after another; beyond the last one if none does.
    pub(super) fn after(&self, cell: i128, length: i64) -> i128 {
        let due = i128::from(self.end(cell)) + i128::from(length);
        let step = i128::from(self.interval);
        let after = cell + (i128::from(length) + step - 1) / step;
        match after <= self.full {
            true => after,
            false if due <= i128::from(self.now) => self.last(),
            false => self.last() + 1,
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
            let end = |cell| grid.end(cell) / 1000;
            (1..=grid.last())
                .map(|cell| (end(cell - 1), end(cell)))
                .collect::<Vec<_>>()
        };
        assert_eq!(grid(14), [(0, 14)]);
        assert_eq!(grid(22), [(0, 22)]);
        assert_eq!(grid(23), [(0, 15), (15, 23)]);
        assert_eq!(grid(45), [(0, 15), (15, 30), (30, 45)]);
        assert_eq!(grid(52), [(0, 15), (15, 30), (30, 52)]);
    }
}
