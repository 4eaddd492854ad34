//! What the comparer reports, for Prometheus: pairs by the revision that was compared, and no text of any request or answer.
//!
//! Series of both revisions are there from the start, at 0, so that the first pair is counted.

use std::fmt;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::evidence::MOST_LINES;

use super::pace::Spent;
use super::pair::Role;
use super::tally::{self, Answers, Variety};

/// Where a question comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The golden set.
    Golden,
    /// A user's request that the gateway mirrored.
    Mirror,
}

/// Answers of the reference after which it is said that all of them are one and the same.
const ENOUGH: u64 = 100;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPairs {
    guardbit_model: String,
    guardbit_revision: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfFailure {
    guardbit_model: String,
    guardbit_revision: String,
    source: Source,
    arm: Role,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfDropped {
    guardbit_model: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfArm {
    guardbit_model: String,
    guardbit_revision: String,
    arm: Role,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRevision {
    guardbit_model: String,
    guardbit_revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfExample {
    guardbit_model: String,
    guardbit_revision: String,
    place: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfBudget {
    guardbit_model: String,
    guardbit_revision: String,
    budget: &'static str,
}

impl EncodeLabelValue for Source {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        let word = match self {
            Self::Golden => "golden",
            Self::Mirror => "mirror",
        };
        word.encode(encoder)
    }
}

impl EncodeLabelValue for Role {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
        self.name().encode(encoder)
    }
}

/// Makes the histograms of distances.
#[derive(Clone)]
struct Distances;

impl MetricConstructor<Histogram> for Distances {
    fn new_metric(&self) -> Histogram {
        Histogram::new(tally::Distances::bounds().iter().copied())
    }
}

/// The revisions that are compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// Name of the model, as the `QuantizedModel` has it.
    pub model: String,
    /// Short revision of the reference.
    pub reference: String,
    /// Short revision of the candidate.
    pub candidate: String,
}

/// All series of a comparer.
pub struct Exported {
    compared: Compared,
    registry: Registry,
    pairs: Family<OfPairs, Counter>,
    disagreements: Family<OfPairs, Counter>,
    distances: Family<OfPairs, Histogram, Distances>,
    failures: Family<OfFailure, Counter>,
    tokens: Family<OfArm, Counter>,
    examples: Family<OfExample, Gauge>,
    spent: Family<OfBudget, Gauge>,
    dropped: Family<OfDropped, Counter>,
    distinct: Family<OfRevision, Gauge>,
    /// Answers of the reference.
    answers: Mutex<Answers>,
    /// Lines that are shown.
    shown: Mutex<Vec<usize>>,
}

impl Exported {
    /// Series at 0 for both revisions and these sources.
    pub fn new(compared: Compared, sources: &[Source]) -> Self {
        let mut registry = Registry::default();
        let pairs: Family<OfPairs, Counter> = Family::default();
        registry.register(
            "guardbit_pairs",
            "Questions that were answered twice: by the reference and the revision, or by the reference alone",
            pairs.clone(),
        );
        let disagreements: Family<OfPairs, Counter> = Family::default();
        registry.register(
            "guardbit_pair_disagreements",
            "Pairs whose two answers differ",
            disagreements.clone(),
        );
        let distances = Family::new_with_constructor(Distances);
        registry.register(
            "guardbit_pair_distance",
            "Distance of the two answers of a pair; its unit is that of the protocol",
            distances.clone(),
        );
        let failures = Family::default();
        registry.register(
            "guardbit_pair_failures",
            "Questions that an arm did not answer, by the reason",
            failures.clone(),
        );
        let tokens = Family::default();
        registry.register(
            "guardbit_replayed_tokens",
            "Tokens that pairs have cost an arm",
            tokens.clone(),
        );
        let examples = Family::default();
        registry.register(
            "guardbit_pair_example",
            "Line of the golden set whose answers differ; the first three",
            examples.clone(),
        );
        let spent = Family::default();
        registry.register(
            "guardbit_pair_budget_spent",
            "1 once a budget is used up, and no pair is asked any more",
            spent.clone(),
        );
        let dropped = Family::default();
        registry.register(
            "guardbit_mirrored_dropped",
            "Mirrored requests that were not asked of the arms, by the reason",
            dropped.clone(),
        );
        let distinct = Family::default();
        registry.register(
            "guardbit_pair_distinct_answers",
            "Different answers of the reference, up to a thousand; where there is but one, nothing is learnt from pairs",
            distinct.clone(),
        );
        let exported = Self {
            compared,
            registry,
            pairs,
            disagreements,
            distances,
            failures,
            tokens,
            examples,
            spent,
            dropped,
            distinct,
            answers: Mutex::default(),
            shown: Mutex::default(),
        };
        for source in sources {
            for asked in [Role::Reference, Role::Candidate] {
                let _ = exported.pairs.get_or_create(&exported.of_pairs(asked, *source));
                let _ = exported.disagreements.get_or_create(&exported.of_pairs(asked, *source));
            }
        }
        exported
    }

    fn revision(&self, asked: Role) -> String {
        match asked {
            Role::Reference => self.compared.reference.clone(),
            Role::Candidate => self.compared.candidate.clone(),
        }
    }

    fn of_pairs(&self, asked: Role, source: Source) -> OfPairs {
        OfPairs {
            guardbit_model: self.compared.model.clone(),
            guardbit_revision: self.revision(asked),
            source,
        }
    }

    /// Counts a pair of the reference and an arm: the candidate, or the reference again.
    pub fn pair(&self, with: Role, source: Source, agrees: bool, distance: Option<f64>) {
        let of = self.of_pairs(with, source);
        // A scrape between the two must not find a pair that differs and is no pair yet.
        self.pairs.get_or_create(&of).inc();
        if !agrees {
            self.disagreements.get_or_create(&of).inc();
        }
        if let Some(distance) = distance {
            self.distances.get_or_create(&of).observe(distance);
        }
    }

    /// Counts an answer of the reference, by its fingerprint. Says once, after a hundred answers, whether all of them are
    /// one and the same.
    pub fn answer(&self, fingerprint: u64) -> bool {
        let mut answers = self.answers.lock();
        answers.add(fingerprint);
        let of = OfRevision {
            guardbit_model: self.compared.model.clone(),
            guardbit_revision: self.compared.reference.clone(),
        };
        let distinct = i64::try_from(answers.distinct()).unwrap_or(i64::MAX);
        self.distinct.get_or_create(&of).set(distinct);
        answers.all() == ENOUGH && answers.variety() == Variety::One
    }

    /// Shows a line of the golden set that the arms answer differently, as long as fewer than three are shown.
    pub fn example(&self, line: usize) {
        let mut shown = self.shown.lock();
        if shown.len() == MOST_LINES || shown.contains(&line) {
            return;
        }
        shown.push(line);
        let of = OfExample {
            guardbit_model: self.compared.model.clone(),
            guardbit_revision: self.compared.candidate.clone(),
            place: u32::try_from(shown.len()).unwrap_or(u32::MAX),
        };
        let line = i64::try_from(line).unwrap_or(i64::MAX);
        self.examples.get_or_create(&of).set(line);
    }

    /// Counts a question that an arm did not answer. `with` is the revision that it was to be a pair of.
    pub fn failure(&self, with: Role, source: Source, arm: Role, reason: &'static str) {
        self.failures
            .get_or_create(&OfFailure {
                guardbit_model: self.compared.model.clone(),
                guardbit_revision: self.revision(with),
                source,
                arm,
                reason,
            })
            .inc();
    }

    /// Counts a mirrored request that was not asked of any arm.
    pub fn dropped(&self, reason: &'static str) {
        let of = OfDropped {
            guardbit_model: self.compared.model.clone(),
            reason,
        };
        self.dropped.get_or_create(&of).inc();
    }

    /// Counts what a pair has cost an arm.
    pub fn tokens(&self, arm: Role, tokens: u64) {
        let of = OfArm {
            guardbit_model: self.compared.model.clone(),
            guardbit_revision: self.revision(arm),
            arm,
        };
        self.tokens.get_or_create(&of).inc_by(tokens);
    }

    /// Says that a budget is used up.
    pub fn spent(&self, spent: Spent) {
        let budget = match spent {
            Spent::Pairs => "pairs",
            Spent::Tokens => "tokens",
        };
        let of = OfBudget {
            guardbit_model: self.compared.model.clone(),
            guardbit_revision: self.compared.candidate.clone(),
            budget,
        };
        self.spent.get_or_create(&of).set(1);
    }

    /// All series, as OpenMetrics writes them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exported() -> Exported {
        let compared = Compared {
            model: "fraud".to_owned(),
            reference: "aaaa".to_owned(),
            candidate: "bbbb".to_owned(),
        };
        Exported::new(compared, &[Source::Golden])
    }

    #[test]
    fn series_of_both_revisions_begin_at_0() {
        let text = exported().text();
        for metric in ["guardbit_pairs_total", "guardbit_pair_disagreements_total"] {
            for revision in ["aaaa", "bbbb"] {
                let line = format!(
                    "{metric}{{guardbit_model=\"fraud\",guardbit_revision=\"{revision}\",source=\"golden\"}} 0\n"
                );
                assert!(text.contains(&line), "{line}{text}");
            }
        }
        assert!(!text.contains("mirror"), "{text}");
    }

    #[test]
    fn a_pair_that_differs_is_counted_with_its_distance_and_its_line() {
        let exported = exported();
        exported.pair(Role::Candidate, Source::Golden, true, Some(0.001));
        exported.pair(Role::Candidate, Source::Golden, false, Some(3.0));
        exported.pair(Role::Reference, Source::Golden, true, Some(0.0));
        for line in [7, 9, 7, 11, 13] {
            exported.example(line);
        }
        exported.failure(Role::Candidate, Source::Golden, Role::Candidate, "status");
        exported.spent(Spent::Pairs);
        let text = exported.text();
        for line in [
            "guardbit_pairs_total{guardbit_model=\"fraud\",guardbit_revision=\"bbbb\",source=\"golden\"} 2",
            "guardbit_pair_disagreements_total{guardbit_model=\"fraud\",guardbit_revision=\"bbbb\",source=\"golden\"} 1",
            "guardbit_pairs_total{guardbit_model=\"fraud\",guardbit_revision=\"aaaa\",source=\"golden\"} 1",
            "guardbit_pair_example{guardbit_model=\"fraud\",guardbit_revision=\"bbbb\",place=\"3\"} 11",
            "source=\"golden\",arm=\"candidate\",reason=\"status\"} 1",
            "budget=\"pairs\"} 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("place=\"4\""), "{text}");
        assert!(text.contains("guardbit_pair_distance_bucket{le=\"0.001\""), "{text}");
    }

    #[test]
    fn one_and_the_same_answer_to_a_hundred_questions_is_told_once() {
        let gauge = |n: u32| {
            format!("guardbit_pair_distinct_answers{{guardbit_model=\"fraud\",guardbit_revision=\"aaaa\"}} {n}\n")
        };
        let equal = exported();
        let told: Vec<u32> = (1..=300).filter(|_| equal.answer(7)).collect();
        assert_eq!(told, [100]);
        assert!(equal.text().contains(&gauge(1)), "{}", equal.text());
        let various = exported();
        assert!(!(0..300).any(|n| various.answer(n % 3)));
        assert!(various.text().contains(&gauge(3)), "{}", various.text());
    }
}
