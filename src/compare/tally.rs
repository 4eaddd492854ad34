//! What was counted of many pairs. It has a bounded size and holds no text of a request or an answer.

mod answers;

use std::collections::BTreeMap;

use crate::evidence::{Counts, MOST_LINES};

use super::ask::Failure;
use super::pair::{Pair, Role};

pub use answers::{Answers, Variety};

/// All that was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// Pairs of reference and candidate.
    pub candidate: Side,
    /// Pairs of the reference with itself.
    pub control: Side,
    /// Answers of the reference.
    pub answers: Answers,
    /// Failures, by arm; those that count as a disagreement among them.
    pub failures: BTreeMap<(Role, Failure), u64>,
    /// Pairs that were none, because an arm failed.
    pub none: u64,
    /// The first three lines of the golden set, from 1, at which reference and candidate differ.
    pub differ_at: Vec<usize>,
}

/// Pairs of one kind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    /// Pairs, and disagreements among them.
    pub pairs: Counts,
    /// Distances of the pairs in which both answered, where they are known.
    pub distances: Distances,
}

impl Tally {
    /// Adds a pair.
    pub fn add(&mut self, against: Role, pair: &Pair) {
        let side = match against {
            Role::Candidate => &mut self.candidate,
            Role::Reference => &mut self.control,
        };
        let line = match pair {
            Pair::Compared {
                line, distance, answer, ..
            } => {
                if let Some(distance) = distance {
                    side.distances.add(*distance);
                }
                self.answers.add(*answer);
                Some(*line)
            }
            Pair::CandidateFailed { line, arm, failure } => {
                *self.failures.entry((*arm, failure.clone())).or_default() += 1;
                Some(*line)
            }
            Pair::Failed { arm, failure } => {
                *self.failures.entry((*arm, failure.clone())).or_default() += 1;
                self.none += 1;
                None
            }
        };
        let (Some(line), Some(agrees)) = (line, pair.agrees()) else {
            return;
        };
        side.pairs.add(Counts {
            n: 1,
            x: u64::from(!agrees),
        });
        let is_new = self.differ_at.len() < MOST_LINES && !self.differ_at.contains(&line);
        if !agrees && is_new && against == Role::Candidate {
            self.differ_at.push(line);
        }
    }
}

/// Upper bounds of the classes of distances, three a decade.
const BOUNDS: [f64; 16] = [
    1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0,
];

/// Distances of pairs, counted in classes of fixed bounds, so that their size does not grow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distances {
    /// How many lie in each class: above the bound before, and at most at its own. The last has no bound.
    counts: [u64; BOUNDS.len() + 1],
    /// Those among them that are exactly 0, as of labels that are equal.
    zeros: u64,
    max: f64,
}

impl Distances {
    /// Upper bounds of the classes, ascending.
    pub fn bounds() -> &'static [f64] {
        &BOUNDS
    }

    /// Adds a distance; finite, 0 or more.
    pub fn add(&mut self, distance: f64) {
        self.counts[BOUNDS.partition_point(|bound| *bound < distance)] += 1;
        self.zeros += u64::from(distance == 0.0);
        self.max = self.max.max(distance);
    }

    /// How many lie in each class; one more than there are bounds.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The largest; `None` where there is none.
    pub fn max(&self) -> Option<f64> {
        self.counts.iter().any(|count| *count > 0).then_some(self.max)
    }

    /// A number that a share of the distances does not exceed: 0 where they are exactly that, else the bound of their class,
    /// or the largest distance if that is smaller. `None` where there is none. `share` is in `[0, 1]`.
    pub fn at_most(&self, share: f64) -> Option<f64> {
        let max = self.max()?;
        let all: u64 = self.counts.iter().sum();
        let needed = share * all as f64;
        if self.zeros as f64 >= needed {
            return Some(0.0);
        }
        let mut below = 0;
        for (count, bound) in self.counts.iter().zip(BOUNDS) {
            below += count;
            if below as f64 >= needed {
                return Some(bound.min(max));
            }
        }
        Some(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(line: usize, agrees: bool, distance: f64) -> Pair {
        Pair::Compared {
            line,
            agrees,
            distance: Some(distance),
            answer: line as u64 % 2,
            tokens: [0; 2],
        }
    }

    #[test]
    fn pairs_are_counted_by_what_they_compare() {
        let mut tally = Tally::default();
        let failure = Failure::Status(500);
        for line in [4, 4, 2, 9, 11] {
            tally.add(Role::Candidate, &compared(line, false, 1.0));
        }
        tally.add(Role::Candidate, &compared(1, true, 0.0));
        tally.add(Role::Reference, &compared(7, false, 0.5));
        for arm in [Role::Candidate, Role::Reference] {
            let failure = failure.clone();
            tally.add(arm, &Pair::CandidateFailed { line: 8, arm, failure });
        }
        let arm = Role::Reference;
        tally.add(
            Role::Candidate,
            &Pair::Failed {
                arm,
                failure: failure.clone(),
            },
        );
        assert_eq!(tally.candidate.pairs, Counts { n: 7, x: 6 });
        assert_eq!(tally.control.pairs, Counts { n: 2, x: 2 });
        assert_eq!((tally.none, &tally.differ_at[..]), (1, &[4, 2, 9][..]));
        assert_eq!(
            (tally.answers.all(), tally.answers.distinct()),
            (7, 2),
            "of control pairs too"
        );
        let failures = BTreeMap::from([((Role::Reference, failure.clone()), 2), ((Role::Candidate, failure), 1)]);
        assert_eq!(tally.failures, failures);
        assert_eq!(
            tally.candidate.distances.counts().iter().sum::<u64>(),
            6,
            "a failure has no distance"
        );
    }

    #[test]
    fn distances_are_told_by_the_bound_of_their_class() {
        let mut distances = Distances::default();
        assert_eq!((distances.at_most(0.5), distances.max()), (None, None));
        for distance in [0.0, 0.0, 0.0, 0.0003, 0.0015, 0.0015, 0.3, 0.3, 0.3, 40.0] {
            distances.add(distance);
        }
        for (share, bound) in [
            (0.0, 0.0),
            (0.3, 0.0),
            (0.4, 5e-4),
            (0.5, 2e-3),
            (0.9, 0.5),
            (1.0, 40.0),
        ] {
            assert_eq!(distances.at_most(share), Some(bound), "{share}");
        }
        assert_eq!(distances.max(), Some(40.0));
        let mut equal = Distances::default();
        equal.add(0.0);
        assert_eq!(equal.at_most(0.9), Some(0.0), "no more than the largest");
        assert!(BOUNDS.is_sorted());
    }
}
