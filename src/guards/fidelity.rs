//! Fidelity: how far the distribution of outputs is from the reference's.

use crate::api;
use crate::evidence::{Buckets, Observed, Role};
use crate::judge::{FidelityTest, Regime, count_in, text};

use super::fields::Fields;
use super::figures::Figures;
use super::kind::{Compared, GuardKind, GuardSpec, Judged};
use super::required::Limit;
use super::selector::Selector;
use super::traffic::{Effect, Known, Shape, Worse};

/// Bins of an assumed distribution of outputs: as many as guardbit cuts.
const BINS: u32 = 10;

/// A distribution of outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fidelity {
    /// Largest tolerated total variation distance, in `(0, 1)`.
    pub max_total_variation: f64,
}

impl Fidelity {
    pub(super) fn read(written: &api::Fidelity, fields: &mut Fields) -> Option<Self> {
        let largest = &written.max_total_variation;
        let read = largest.value().ok().filter(|v| *v > 0.0 && *v < 1.0);
        let wrong = || {
            format!(
                "{:?} is no usable distance; write a share above 0 and below 1, such as \"0.05\"",
                largest.0
            )
        };
        Some(Self {
            max_total_variation: fields.value("fidelity.maxTotalVariation", read.ok_or_else(wrong))?,
        })
    }
}

impl GuardSpec for api::Fidelity {
    fn asks(&self) -> Vec<Selector> {
        vec![Selector::new(Role::Buckets, "fidelity.histogram", &self.histogram)]
    }

    fn looks_at_outputs(&self) -> bool {
        true
    }

    fn tells_benefit(&self) -> bool {
        false
    }

    fn margin(&self) -> Option<(&'static str, f64)> {
        Some(("fidelity.maxTotalVariation", self.max_total_variation.value().ok()?))
    }

    fn set_margin(&mut self, share: &str) {
        self.max_total_variation = share.into();
    }
}

impl GuardKind for Fidelity {
    fn field(&self) -> &'static str {
        "fidelity"
    }

    fn compared_with(&self) -> Compared {
        Compared::Reference
    }

    fn tolerates(&self) -> Vec<(Limit, f64)> {
        vec![(Limit::TotalVariation, self.max_total_variation)]
    }

    fn weight(&self) -> Option<f64> {
        Some(0.2)
    }

    fn assumed(&self, name: &str, _: &Known) -> (Shape, String) {
        let n = f64::from(BINS);
        let shape = Shape::Outputs {
            bounds: (1..BINS).map(|i| f64::from(i) / n).collect(),
            shares: vec![1.0 / n; BINS as usize],
        };
        (
            shape,
            format!("{name}: outputs fall evenly into ten bins, and drift moves them from the lower half to the upper"),
        )
    }

    fn worse(&self, _: Option<&Shape>) -> Vec<Worse> {
        let distances = [1.5, 2.0, 4.0].map(|times| times * self.max_total_variation);
        let worse = distances.into_iter().filter(|distance| *distance <= 0.5);
        let worse = worse.map(|distance| Worse {
            effect: Effect::Drift(distance),
            size: distance,
            told: format!("TV {}", trimmed(distance)),
        });
        worse.collect()
    }

    fn work(&self) -> f64 {
        20.0
    }
}

fn trimmed(value: f64) -> String {
    format!("{value:.3}")
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

impl Judged for Fidelity {
    type Test = FidelityTest;

    fn observe(&self, test: &mut FidelityTest, regime: Regime, observed: &Observed) {
        if let Observed::Histogram { candidate, baseline } = observed {
            test.observe(regime, self.max_total_variation, candidate, baseline);
        }
    }

    fn recall(&self, test: &mut FidelityTest, history: &[Observed]) {
        fn of_baseline(past: &Observed) -> Option<&Buckets> {
            match past {
                Observed::Histogram { baseline, .. } => Some(baseline),
                _ => None,
            }
        }
        test.recall(history.iter().filter_map(of_baseline));
    }

    fn ln_harm(&self, test: &FidelityTest, regime: Regime) -> Option<f64> {
        Some(test.ln_harm(regime))
    }

    fn ln_health(&self, test: &FidelityTest) -> Option<f64> {
        Some(test.ln_health())
    }

    fn has_lost_bound(&self, test: &FidelityTest, observed: &Observed) -> bool {
        let Observed::Histogram { candidate, .. } = observed else {
            return false;
        };
        let bounds = &candidate.bounds;
        !bounds.is_empty() && test.cuts.iter().any(|cut| !bounds.contains(cut))
    }

    fn figures(&self, test: &FidelityTest, _: Regime) -> Figures {
        let against = format!("the tolerance of {}", self.max_total_variation);
        let Some((tv, psi, js)) = test.distances() else {
            let problem = test.problem.as_deref().unwrap_or("learning the reference's deciles");
            return Figures::none(problem.to_owned(), against);
        };
        let set = test.witness().unwrap_or(0);
        let (candidate, baseline) = (count_in(&test.candidate, set), count_in(&test.reference, set));
        let seen = format!(
            "total variation {tv:.3} over {} and {} outputs, worst set of bins {} against {}",
            text::number(candidate.n),
            text::number(baseline.n),
            text::share(candidate),
            text::share(baseline)
        );
        Figures {
            estimate: format!("TV {tv:.3}, PSI {psi:.3}, JS {js:.4}"),
            ..Figures::of(candidate, baseline, seen, against)
        }
    }
}
