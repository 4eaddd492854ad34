//! How many different answers there were, by their fingerprints: nothing of a text is kept.

use std::collections::BTreeMap;

/// Most answers that are told apart.
const MOST: usize = 1_000;

/// From so many answers on it says something how often the most frequent of them came.
const ENOUGH: u64 = 20;

/// Answers of the reference, by their fingerprints. Its size is bounded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answers {
    times: BTreeMap<u64, u64>,
    all: u64,
}

/// What the answers say about the questions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Variety {
    /// Differences could show.
    Various,
    /// At least 95% of so many answers or more are one and the same: this share.
    Lopsided(f64),
    /// All answers are one and the same, so nothing is learnt from pairs that agree.
    One,
}

impl Answers {
    /// Counts an answer.
    pub fn add(&mut self, fingerprint: u64) {
        self.all += 1;
        if self.times.len() < MOST || self.times.contains_key(&fingerprint) {
            *self.times.entry(fingerprint).or_default() += 1;
        }
    }

    /// How many were counted.
    pub fn all(&self) -> u64 {
        self.all
    }

    /// How many different ones there were, up to a thousand.
    pub fn distinct(&self) -> usize {
        self.times.len()
    }

    /// What they say. A classifier may answer most questions alike for good reasons, so only all answers being the same
    /// says that nothing can be told.
    pub fn variety(&self) -> Variety {
        let most = self.times.values().max().copied().unwrap_or_default();
        if self.times.len() == 1 {
            Variety::One
        } else if self.all >= ENOUGH && 100 * most >= 95 * self.all {
            Variety::Lopsided(most as f64 / self.all as f64)
        } else {
            Variety::Various
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_answer_to_all_questions_tells_nothing() {
        for (counts, distinct, variety) in [
            (&[][..], 0, Variety::Various),
            (&[1], 1, Variety::One),
            (&[500], 1, Variety::One),
            (&[18, 1], 2, Variety::Various),
            (&[19, 1], 2, Variety::Lopsided(0.95)),
            (&[94, 6], 2, Variety::Various),
            (&[96, 2, 2], 3, Variety::Lopsided(0.96)),
        ] {
            let mut answers = Answers::default();
            for (fingerprint, times) in (0..).zip(counts) {
                (0..*times).for_each(|_| answers.add(fingerprint));
            }
            assert_eq!(
                (answers.distinct(), answers.variety()),
                (distinct, variety),
                "{counts:?}"
            );
        }
    }

    #[test]
    fn their_number_is_bounded() {
        let mut answers = Answers::default();
        (0..100_000).for_each(|fingerprint| answers.add(fingerprint % 5_000));
        assert_eq!((answers.distinct(), answers.all()), (MOST, 100_000));
        assert_eq!(answers.variety(), Variety::Various);
    }
}
