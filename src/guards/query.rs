//! Query: the value of any expression against fixed bounds. There is no sampling model of it: a plain rule decides.

use crate::api::{self, Decimal};
use crate::evidence::{Observed, Role};
use crate::judge::{QueryTest, Regime, Rule};

use super::fields::{Fields, rule};
use super::figures::{Figures, rule_text};
use super::kind::{Compared, GuardKind, GuardSpec, Judged};
use super::selector::Selector;
use super::traffic::{Known, Shape};

/// A value against fixed bounds; harmful when `consecutive` of the last `of` polls are out of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Query {
    /// Values below are out of bounds.
    pub min: Option<f64>,
    /// Values above are out of bounds.
    pub max: Option<f64>,
    /// Polls out of bounds that are harm; 1 to 60.
    pub consecutive: u32,
    /// Size of the window, in polls; `consecutive` to 60.
    pub of: u32,
}

impl Query {
    pub(super) fn read(written: &api::Query, fields: &mut Fields) -> Option<Self> {
        let mut bound = |field: &str, bound: &Option<Decimal>| {
            let read = bound.as_ref().map(Decimal::value).transpose();
            fields.value(field, read)
        };
        let (min, max) = (bound("query.min", &written.min), bound("query.max", &written.max));
        let (consecutive, of) = rule(written.consecutive, written.of);
        Some(Self {
            min: min?,
            max: max?,
            consecutive,
            of,
        })
    }
}

impl GuardSpec for api::Query {
    fn asks(&self) -> Vec<Selector> {
        vec![Selector::new(Role::Value, "query.promql", &self.promql)]
    }

    fn is_plain_rule(&self) -> bool {
        true
    }

    fn tells_benefit(&self) -> bool {
        false
    }
}

impl GuardKind for Query {
    fn field(&self) -> &'static str {
        "query"
    }

    fn compared_with(&self) -> Compared {
        Compared::Bounds
    }

    fn rule(&self) -> Option<(u32, u32)> {
        Some((self.consecutive, self.of))
    }

    fn assumed(&self, name: &str, _: &Known) -> (Shape, String) {
        (
            Shape::Value(self.max.or(self.min).unwrap_or(0.0)),
            format!("{name}: its value stays within bounds, for there is no sampling model of it"),
        )
    }

    fn work(&self) -> f64 {
        0.1
    }
}

impl Judged for Query {
    type Test = QueryTest;

    fn observe(&self, test: &mut QueryTest, _: Regime, observed: &Observed) {
        if let Observed::Value(value) = observed {
            test.observe(self.min, self.max, *value);
        }
    }

    fn stands<'a>(&self, test: &'a QueryTest) -> Option<&'a Rule> {
        Some(&test.rule)
    }

    fn figures(&self, test: &QueryTest, _: Regime) -> Figures {
        let bounds = match (self.min, self.max) {
            (Some(min), Some(max)) => format!("{min} to {max}"),
            (Some(min), None) => format!("at least {min}"),
            (None, Some(max)) => format!("at most {max}"),
            (None, None) => "anything".to_owned(),
        };
        let rule = rule_text(&test.rule, self.consecutive, self.of);
        let seen = format!("{} (wanted: {bounds}), {rule}", test.last);
        Figures {
            estimate: test.last.to_string(),
            ..Figures::none(seen, "its bounds".to_owned())
        }
    }
}
