//! Metrics that servers of other uses export, and what others count of them: a power meter, clicks, people who decide again.
//! Each sample of `config/samples` finds its own here.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::{counter::Counter, histogram::Histogram};
use prometheus_client::registry::Registry;

/// Joules of a request in full precision, and in fewer bits.
const JOULES: (f64, f64) = (0.5, 0.2);

/// One impression in so many is clicked, and one decision in so many is overturned.
const ONE_IN: (u64, u64) = (20, 50);

/// The metrics.
#[derive(Default)]
pub struct Uses {
    joules_each: f64,
    joules: Counter<f64, AtomicU64>,
    impressions: Counter,
    clicks: Counter,
    decisions: Counter,
    overturned: Counter,
    scores: Vec<Histogram>,
}

impl Uses {
    /// Registers them.
    pub fn new(registry: &mut Registry, variant: &str, score: impl Fn() -> Histogram) -> Self {
        let uses = Self {
            joules_each: if variant.starts_with("int") { JOULES.1 } else { JOULES.0 },
            scores: vec![score(), score()],
            ..Self::default()
        };
        registry.register("energy_joules", "Energy, by a power meter", uses.joules.clone());
        registry.register("impressions", "Answers that were shown", uses.impressions.clone());
        registry.register("clicks", "Those that were clicked", uses.clicks.clone());
        registry.register("moderation_decisions", "Decisions", uses.decisions.clone());
        registry.register(
            "moderation_decisions_overturned",
            "Decisions that a person put right",
            uses.overturned.clone(),
        );
        for (name, scores) in ["defect_score", "toxicity_score"].iter().zip(&uses.scores) {
            registry.register(*name, "Probabilities that were answered", scores.clone());
        }
        uses
    }

    /// Counts an answer, the `number`th of this server.
    pub fn count(&self, number: u64, score: f64) {
        self.joules.inc_by(self.joules_each);
        self.impressions.inc();
        self.decisions.inc();
        if number.is_multiple_of(ONE_IN.0) {
            self.clicks.inc();
        }
        if number.is_multiple_of(ONE_IN.1) {
            self.overturned.inc();
        }
        self.scores.iter().for_each(|scores| scores.observe(score));
    }
}
