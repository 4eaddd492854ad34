//! Proportion: a share of bad events, against the baseline's.

use crate::api;
use crate::evidence::{Counts, Observed, Role};
use crate::judge::{Regime, SHARES, ShareTest, Tolerance, Values, text};

use super::fields::{Fields, tolerance};
use super::figures::{Figures, tolerance_text};
use super::kind::{Compared, GuardKind, GuardSpec, Judged};
use super::required::Limit;
use super::selector::Selector;
use super::traffic::{Effect, Known, Shape, Worse, percent};

/// A share of bad events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proportion {
    /// What is tolerated.
    pub tolerance: Tolerance,
}

impl Proportion {
    pub(super) fn read(written: &api::Proportion, fields: &mut Fields) -> Option<Self> {
        let tolerance = fields.tolerance("proportion.tolerance", &written.tolerance)?;
        Some(Self { tolerance })
    }

    /// Why nothing can be shown where this share of the baseline's events is bad; `None` unless the tolerance then
    /// allows that all events of a candidate are bad.
    pub fn tolerates_all(&self, bad: f64) -> Option<String> {
        let Tolerance { ratio, absolute } = self.tolerance;
        (self.tolerance.edge(bad) >= 1.0 && absolute < 1.0).then(|| {
            format!(
                "{:.0}% of the baseline's events are bad, and {ratio} × that + {:.1}% tolerates all of them: neither harm nor health can be shown; lower ratio, or count the others",
                100.0 * bad,
                100.0 * absolute
            )
        })
    }
}

impl GuardSpec for api::Proportion {
    /// All events are asked for first: a scrape between the two queries then adds to the part, where the excess is cut
    /// off, and never takes from it.
    fn asks(&self) -> Vec<Selector> {
        let bad = self.bad.iter();
        let good = self.good.iter();
        [Selector::new(Role::Total, "proportion.total", &self.total)]
            .into_iter()
            .chain(bad.map(|text| Selector::new(Role::Bad, "proportion.bad", text)))
            .chain(good.map(|text| Selector::new(Role::Good, "proportion.good", text)))
            .collect()
    }

    /// A `good` counter depends on outputs: it counts their effects, such as clicks.
    fn looks_at_outputs(&self) -> bool {
        self.good.is_some()
    }

    fn may_be_absent(&self, field: &str) -> bool {
        matches!(field, "proportion.bad" | "proportion.good")
    }

    fn constant(&self) -> Option<(&'static str, String)> {
        let (field, part) = match (&self.bad, &self.good) {
            (Some(bad), _) => ("proportion.bad", bad),
            (None, good) => ("proportion.good", good.as_ref()?),
        };
        (*part == self.total).then(|| (field, format!("`{part}` is both the part and the total: the share is always the same; narrow the part with a label, such as code=~\"5..\"")))
    }

    fn tolerance(&self) -> Option<(&'static str, Tolerance)> {
        Some(("proportion.tolerance", tolerance(&self.tolerance)))
    }

    fn margin(&self) -> Option<(&'static str, f64)> {
        Some(("proportion.tolerance.absolute", tolerance(&self.tolerance).absolute))
    }

    fn set_margin(&mut self, share: &str) {
        self.tolerance.absolute = Some(share.into());
    }
}

impl GuardKind for Proportion {
    fn field(&self) -> &'static str {
        "proportion"
    }

    fn compared_with(&self) -> Compared {
        Compared::Baseline
    }

    fn tolerates(&self) -> Vec<(Limit, f64)> {
        let Tolerance { ratio, absolute } = self.tolerance;
        vec![(Limit::Absolute, absolute), (Limit::Ratio, ratio)]
    }

    fn counts_requests(&self) -> bool {
        true
    }

    /// The weight is the largest of all kinds, because errors are the rarest events that are counted.
    fn weight(&self) -> Option<f64> {
        Some(0.5)
    }

    fn values(&self, _: &mut Option<f64>, _: Option<f64>, observed: &Observed) -> Option<(Values, Values)> {
        let Observed::Proportion { candidate, baseline } = observed else {
            return None;
        };
        let of = |counts: &Counts| vec![(1.0, counts.x), (0.0, counts.n.saturating_sub(counts.x))];
        Some((of(candidate), of(baseline)))
    }

    fn assumed(&self, name: &str, known: &Known) -> (Shape, String) {
        (
            Shape::Share(known.error_rate),
            format!(
                "{name}: {} of the baseline's requests are bad",
                percent(known.error_rate)
            ),
        )
    }

    fn worse(&self, baseline: Option<&Shape>) -> Vec<Worse> {
        let Some(Shape::Share(bad)) = baseline else {
            return Vec::new();
        };
        let shares = [1.5, 2.0, 5.0, 10.0].map(|times| times * self.tolerance.edge(*bad));
        let worse = shares.into_iter().filter(|share| *share < 0.95).map(|share| Worse {
            effect: Effect::Share(share),
            size: share,
            told: format!("{} bad", percent(share)),
        });
        worse.collect()
    }

    fn work(&self) -> f64 {
        1.0
    }
}

impl Judged for Proportion {
    type Test = ShareTest;

    fn observe(&self, test: &mut ShareTest, regime: Regime, observed: &Observed) {
        if let Observed::Proportion { candidate, baseline } = observed {
            let prior = self.tolerance.absolute.clamp(0.001, 0.5);
            test.observe(regime, SHARES, self.tolerance, prior, *candidate, *baseline);
        }
    }

    fn recall(&self, test: &mut ShareTest, history: &[Observed]) {
        for past in history {
            if let Observed::Proportion { baseline, .. } = past {
                test.recall(*baseline);
            }
        }
    }

    fn ln_harm(&self, test: &ShareTest, regime: Regime) -> Option<f64> {
        Some(test.ln_harm(regime, SHARES))
    }

    fn ln_health(&self, test: &ShareTest) -> Option<f64> {
        Some(test.ln_health())
    }

    fn figures(&self, test: &ShareTest, _: Regime) -> Figures {
        let (candidate, baseline) = (test.candidate, test.baseline.whole());
        let seen = format!(
            "{} against {} of {}",
            text::of(candidate),
            text::share(baseline),
            text::number(baseline.n)
        );
        Figures::of(candidate, baseline, seen, tolerance_text(self.tolerance))
    }
}
