//! Ratio: what is spent on a request, against the baseline. There is no sampling model of it: a plain rule decides.

use crate::api;
use crate::evidence::{Observed, Role};
use crate::judge::{RatioTest, Regime, Rule, text};

use super::fields::{Fields, rule};
use super::figures::{Figures, rule_text};
use super::kind::{Benefit, Compared, GuardKind, GuardSpec, Judged};
use super::selector::Selector;
use super::traffic::{Known, Shape};

/// A ratio of two counters against the baseline's; harmful when `consecutive` of the last `of` polls are out of bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio {
    /// Largest factor on the baseline's ratio; above 0.
    pub max: f64,
    /// Polls out of bounds that are harm; 1 to 60.
    pub consecutive: u32,
    /// Size of the window, in polls; `consecutive` to 60.
    pub of: u32,
}

impl Ratio {
    pub(super) fn read(written: &api::Ratio, fields: &mut Fields) -> Option<Self> {
        let max = written.max.value().ok().filter(|max| *max > 0.0);
        let wrong = || {
            format!(
                "{:?} is no usable factor; write a number above 0, such as \"1.0\" for no more than the baseline",
                written.max.0
            )
        };
        let (consecutive, of) = rule(written.consecutive, written.of);
        Some(Self {
            max: fields.value("ratio.max", max.ok_or_else(wrong))?,
            consecutive,
            of,
        })
    }
}

impl GuardSpec for api::Ratio {
    fn asks(&self) -> Vec<Selector> {
        vec![
            Selector::new(Role::Numerator, "ratio.numerator", &self.numerator),
            Selector::new(Role::Denominator, "ratio.denominator", &self.denominator),
        ]
    }

    fn is_plain_rule(&self) -> bool {
        true
    }

    fn constant(&self) -> Option<(&'static str, String)> {
        (self.numerator == self.denominator).then(|| {
            (
                "ratio.numerator",
                format!(
                    "`{}` is both numerator and denominator: the ratio is always 1",
                    self.numerator
                ),
            )
        })
    }
}

impl GuardKind for Ratio {
    fn field(&self) -> &'static str {
        "ratio"
    }

    fn compared_with(&self) -> Compared {
        Compared::Baseline
    }

    fn rule(&self) -> Option<(u32, u32)> {
        Some((self.consecutive, self.of))
    }

    fn benefit(&self) -> Benefit {
        Benefit::Ratio
    }

    fn assumed(&self, name: &str, _: &Known) -> (Shape, String) {
        (
            Shape::Cost(self.max.min(1.0)),
            format!("{name}: it stays within its bound, for there is no sampling model of it"),
        )
    }

    fn work(&self) -> f64 {
        0.1
    }
}

impl Judged for Ratio {
    type Test = RatioTest;

    fn observe(&self, test: &mut RatioTest, _: Regime, observed: &Observed) {
        if let Observed::Ratio { candidate, baseline } = observed {
            test.observe(self.max, *candidate, *baseline);
        }
    }

    fn stands<'a>(&self, test: &'a RatioTest) -> Option<&'a Rule> {
        Some(&test.rule)
    }

    fn figures(&self, test: &RatioTest, _: Regime) -> Figures {
        let against = "its bound".to_owned();
        if test.rule.counted(1) == 0 {
            return Figures::none("no poll yet in which both arms did something".to_owned(), against);
        }
        let figure = text::figure;
        let seen = format!(
            "{} × the baseline's {} (wanted: at most {:?}), {}",
            figure(test.candidate / test.baseline),
            figure(test.baseline),
            self.max,
            rule_text(&test.rule, self.consecutive, self.of),
        );
        Figures {
            estimate: format!("{} vs {}", figure(test.candidate), figure(test.baseline)),
            ..Figures::none(seen, against)
        }
    }
}
