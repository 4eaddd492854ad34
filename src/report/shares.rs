//! Who served which share of the traffic when, as the weights on record say.

use k8s_openapi::jiff::Timestamp;

use crate::api::RevisionRef;

use super::document::{Chart, Drawn, Table};
use super::text::time;

/// Weights in percent, by revision, in the order of the revisions; those without weight are left out.
pub(super) type Weights = Vec<(RevisionRef, i32)>;

/// The weights of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares(Vec<Step>);

/// The weights from a time on.
#[derive(Clone, Debug, PartialEq)]
struct Step {
    at: Timestamp,
    record: u64,
    weights: Weights,
    /// What the route was found to carry before, where that is not what was decided last.
    found: Option<Weights>,
}

/// Weights in the order of their revisions, without those that are 0.
pub(super) fn ordered(weights: &[(RevisionRef, i32)]) -> Weights {
    let mut ordered: Weights = weights.iter().filter(|(_, weight)| *weight != 0).cloned().collect();
    ordered.sort();
    ordered
}

/// Weights in words: "75% fp32 (d1f5…), 25% int8 (7b3b…)".
pub(super) fn in_words(weights: &Weights) -> String {
    if weights.is_empty() {
        return "nobody".to_owned();
    }
    let each = weights
        .iter()
        .map(|(of, weight)| format!("{weight}% {}", of.describe()));
    each.collect::<Vec<_>>().join(", ")
}

impl Shares {
    /// The weights that held when the stretch began.
    pub(super) fn begin(&mut self, at: Timestamp, record: u64, weights: &[(RevisionRef, i32)]) {
        self.0.push(Step {
            at,
            record,
            weights: ordered(weights),
            found: None,
        });
    }

    /// The weights of one record: those that the route carried, and those that were decided.
    pub(super) fn take(
        &mut self,
        at: Timestamp,
        record: u64,
        before: &[(RevisionRef, i32)],
        after: &[(RevisionRef, i32)],
    ) {
        let (before, weights) = (ordered(before), ordered(after));
        let last = self.0.last().map(|step| &step.weights);
        // A route that does not exist yet carries nothing else.
        let found = last
            .filter(|last| !before.is_empty() && **last != before)
            .map(|_| before);
        if found.is_some() || last != Some(&weights) {
            self.0.push(Step {
                at,
                record,
                weights,
                found,
            });
        }
    }

    /// All revisions that had weight, in their order.
    fn revisions(&self) -> Vec<&RevisionRef> {
        let mut all: Vec<_> = self.0.iter().flat_map(|step| &step.weights).map(|(of, _)| of).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The share of each revision over time, until `until`; `None` where none is on record.
    pub(super) fn chart(&self, until: Timestamp) -> Option<(Chart, Table)> {
        let (first, last) = (self.0.first()?, self.0.last()?);
        let revisions = self.revisions();
        let weight = |step: &Step, of: &RevisionRef| {
            let found = step.weights.iter().find(|(revision, _)| revision == of);
            found.map_or(0, |(_, weight)| *weight)
        };
        // The last weights are shown as well, if they were decided at the end.
        let shown = (last.at.as_millisecond() - first.at.as_millisecond()) / 20;
        let past_the_last = Timestamp::from_millisecond(last.at.as_millisecond() + shown.max(1_000)).unwrap_or(last.at);
        let steps = self.0.iter().map(|step| {
            let weights = revisions.iter().map(|of| weight(step, of).clamp(0, 100));
            (step.at, weights.collect::<Vec<_>>())
        });
        let chart = Chart {
            title: "Who served which share when".to_owned(),
            description: format!(
                "At first {}; at the end {}. The table has every change.",
                in_words(&first.weights),
                in_words(&last.weights)
            ),
            from: first.at,
            until: until.max(past_the_last),
            drawn: Drawn::Bands {
                names: revisions.iter().map(|of| of.describe()).collect(),
                steps: steps.collect(),
            },
        };
        Some((chart, self.table(&revisions, weight)))
    }

    fn table(&self, revisions: &[&RevisionRef], weight: impl Fn(&Step, &RevisionRef) -> i32) -> Table {
        let mut table = Table::new(
            "Shares of the traffic as they were decided",
            &["From", "Record"],
            Vec::new(),
        );
        table.head.extend(revisions.iter().map(|of| of.describe()));
        let notes = self.0.iter().any(|step| step.found.is_some());
        if notes {
            table.head.push("Found on the route before".to_owned());
        }
        for step in &self.0 {
            let mut row = vec![time(step.at), step.record.to_string()];
            row.extend(revisions.iter().map(|of| format!("{}%", weight(step, of))));
            if notes {
                row.push(step.found.as_ref().map_or_else(String::new, in_words));
            }
            table.rows.push(row);
        }
        table
    }
}
