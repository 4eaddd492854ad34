//! When polls close: once both arms have new samples.
//!
//! Scrapes are often seldomer than evaluations, and every pod is scraped at a moment of its own. A poll that closed at
//! each evaluation would often hold one arm alone, and nothing can be compared in it. So a poll waits until both arms
//! have new samples, and what one of them has meanwhile is carried. That depends on the times of samples alone and
//! never on what they count, so the tests stay exact.
//!
//! An arm is waited for no longer than [`super::Pace::patience`] after the other has shown something; the poll then closes
//! without it.

use std::collections::BTreeMap;

use crate::evidence::counts::{Observed, Poll};

use super::grid::Grid;

/// Which arms a poll needs: candidate and baseline.
pub(super) type Needed = [bool; 2];

/// Polls between two times, each of which ends with a cell of the grid.
pub(super) struct Closing {
    grid: Grid,
    /// The cells that polls end with, in ascending order.
    cells: Vec<i128>,
}

impl Closing {
    /// Closes polls by the times of new samples (Unix ms) of the candidate and of the baseline. An arm is waited for
    /// `patience` ms.
    pub(super) fn new(grid: Grid, news: &[Vec<i64>; 2], needed: Needed, patience: i64) -> Self {
        let mut by_cell: BTreeMap<i128, Needed> = BTreeMap::new();
        for (arm, times) in news.iter().enumerate() {
            for at in times {
                by_cell.entry(grid.cell(*at)).or_default()[arm] = true;
            }
        }
        let mut open = Open::default();
        for (cell, seen) in by_cell {
            open.give_up(&grid, patience, cell - 1);
            open.first.get_or_insert(cell);
            open.seen = [open.seen[0] | seen[0], open.seen[1] | seen[1]];
            if needed.iter().zip(open.seen).all(|(needed, seen)| seen || !needed) {
                open.close(cell);
            }
        }
        open.give_up(&grid, patience, grid.last());
        Self {
            cells: open.cells,
            grid,
        }
    }

    /// The end of the last poll (Unix ms); `None` if none has closed.
    pub(super) fn through(&self) -> Option<i64> {
        self.cells.last().map(|cell| self.grid.end(*cell))
    }

    /// The poll that a sample belongs to, by the cell that it ends with.
    pub(super) fn cell(&self, at: i64) -> i128 {
        let cell = self.grid.cell(at);
        let closes = self.cells.partition_point(|closes| *closes < cell);
        self.cells.get(closes).copied().unwrap_or(cell)
    }

    /// The poll that ends with a cell.
    pub(super) fn poll(&self, cell: i128, observed: Observed) -> Poll {
        let before = self.cells.partition_point(|closes| *closes < cell);
        let from = before.checked_sub(1).and_then(|before| self.cells.get(before));
        Poll {
            from: self.grid.end(from.copied().unwrap_or(0)),
            through: self.grid.end(cell),
            observed,
        }
    }
}

/// The poll that is open while cells are gone through.
#[derive(Default)]
struct Open {
    /// The first cell in which an arm showed something.
    first: Option<i128>,
    seen: Needed,
    cells: Vec<i128>,
}

impl Open {
    fn close(&mut self, cell: i128) {
        self.cells.push(cell);
        (self.first, self.seen) = (None, [false; 2]);
    }

    /// Closes a poll in which only one arm has shown anything, if it has waited for too long by the end of `cell`.
    fn give_up(&mut self, grid: &Grid, patience: i64, cell: i128) {
        let overdue = self.first.map(|first| grid.after(first, patience));
        if let Some(overdue) = overdue.filter(|overdue| *overdue <= cell) {
            self.close(overdue);
        }
    }
}
