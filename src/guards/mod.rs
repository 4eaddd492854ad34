//! Guards: the questions that are asked of the metrics, one file for each kind.
//!
//! A kind's file holds everything about it: what it asks, which of its strings are unusable, how it is tested, its
//! figures and its sentence, and how its traffic is simulated. The only matches over kinds are here, as a test checks:
//! all other code uses a guard through what all kinds have in common ([`GuardSpec`], [`GuardKind`]).
//!
//! Must not do statistics (that is `judge`), nor count samples (that is `evidence`: the roles of a guard's selectors
//! say how).

mod agreement;
mod benefit;
mod fidelity;
mod fields;
mod figures;
mod kind;
mod latency;
mod proportion;
mod query;
mod ratio;
pub mod required;
mod selector;
mod suite;
pub mod traffic;

pub use agreement::Agreement;
pub use benefit::BenefitTest;
pub use fidelity::Fidelity;
pub use kind::{Benefit, Compared, GuardKind, GuardSpec, StepNeed};
pub use latency::Latency;
pub use proportion::Proportion;
pub use query::Query;
pub use ratio::Ratio;
pub use required::{Billionths, Limit, Required, Shortfall};
pub use selector::Selector;
pub use suite::{GuardReport, Numbers, StepWait, Suite, SuiteConfig};

use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::api::{self, ArmMatchers, SpecProblem};
use crate::evidence::Observed;
use crate::judge::{FidelityTest, LatencyTest, PairTest, QueryTest, RatioTest, Regime, Rule, ShareTest};

use fields::Fields;
use figures::Figures;
use kind::Judged;

/// A guard as it is judged. [`GuardKind`] has what all kinds have in common.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A share of bad events.
    Proportion(Proportion),
    /// Shares of slow requests.
    Latency(Latency),
    /// A distribution of outputs.
    Fidelity(Fidelity),
    /// A ratio of two counters.
    Ratio(Ratio),
    /// A value against bounds.
    Query(Query),
    /// A share of pairs of answers that differ.
    Agreement(Agreement),
}

/// Running state of a guard's test. It is stored by position, so the order of these variants must not change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Test {
    Proportion(ShareTest),
    Latency(LatencyTest),
    Fidelity(FidelityTest),
    Query(QueryTest),
    Ratio(RatioTest),
    Agreement(PairTest),
}

/// A guard of a spec, with its strings parsed.
#[derive(Clone, Debug, PartialEq)]
pub struct Guard {
    /// Its name.
    pub name: String,
    /// What it asks of the metrics, in the order in which it is to be asked.
    pub asks: Vec<Selector>,
    /// How it is judged.
    pub kind: Kind,
}

/// Whether a guard counts pairs of answers. One that cannot be read counts nothing.
pub fn counts_pairs(guard: &api::Guard) -> bool {
    resolve(guard).is_ok_and(|guard| guard.kind.counts_pairs())
}

/// Reads the strings of a guard, or returns what is wrong with them.
pub fn resolve(guard: &api::Guard) -> Result<Guard, Vec<SpecProblem>> {
    let mut fields = Fields::of(&guard.name);
    if guard.arm_matchers == Some(ArmMatchers::Labels) && guard.arm_labels.is_empty() {
        fields.add(
            "armLabels",
            "is empty although armMatchers is Labels; list the labels of an arm",
        );
    }
    let kind = read(guard, &mut fields);
    if guard.arm_matchers.is_some() && kind.as_ref().is_some_and(|kind| kind.counts_pairs()) {
        fields.add(
            "armMatchers",
            "does not go with agreement, whose series name the revision themselves; leave it out",
        );
    }
    match kind {
        Some(kind) if fields.problems.is_empty() => Ok(Guard {
            name: guard.name.clone(),
            asks: asks(guard),
            kind,
        }),
        _ => Err(fields.problems),
    }
}

fn read(guard: &api::Guard, fields: &mut Fields) -> Option<Kind> {
    match guard {
        api::Guard {
            proportion: Some(kind), ..
        } => Proportion::read(kind, fields).map(Kind::Proportion),
        api::Guard {
            latency: Some(kind), ..
        } => Latency::read(kind, fields).map(Kind::Latency),
        api::Guard {
            fidelity: Some(kind), ..
        } => Fidelity::read(kind, fields).map(Kind::Fidelity),
        api::Guard { ratio: Some(kind), .. } => Ratio::read(kind, fields).map(Kind::Ratio),
        api::Guard { query: Some(kind), .. } => Query::read(kind, fields).map(Kind::Query),
        api::Guard {
            agreement: Some(kind), ..
        } => Agreement::read(kind, fields).map(Kind::Agreement),
        _ => {
            fields.add("", "is of a kind that this release does not know; upgrade guardbit, or use one of proportion, latency, fidelity, agreement, ratio and query");
            None
        }
    }
}

/// The part of a spec's guard that is specific to its kind; `None` for a kind that this release does not know.
pub fn written(guard: &api::Guard) -> Option<&dyn GuardSpec> {
    match guard {
        api::Guard {
            proportion: Some(kind), ..
        } => Some(kind),
        api::Guard {
            latency: Some(kind), ..
        } => Some(kind),
        api::Guard {
            fidelity: Some(kind), ..
        } => Some(kind),
        api::Guard { ratio: Some(kind), .. } => Some(kind),
        api::Guard { query: Some(kind), .. } => Some(kind),
        api::Guard {
            agreement: Some(kind), ..
        } => Some(kind),
        // There is no `..`, so that a new kind fails to compile here.
        api::Guard {
            name: _,
            proportion: None,
            latency: None,
            fidelity: None,
            ratio: None,
            query: None,
            agreement: None,
            arm_matchers: _,
            arm_labels: _,
        } => None,
    }
}

/// Writes another share into the field that says how far a candidate may be from its baseline.
pub fn set_margin(guard: &mut api::Guard, share: &str) {
    match guard {
        api::Guard {
            proportion: Some(kind), ..
        } => kind.set_margin(share),
        api::Guard {
            latency: Some(kind), ..
        } => kind.set_margin(share),
        api::Guard {
            fidelity: Some(kind), ..
        } => kind.set_margin(share),
        api::Guard { ratio: Some(kind), .. } => kind.set_margin(share),
        api::Guard { query: Some(kind), .. } => kind.set_margin(share),
        api::Guard {
            agreement: Some(kind), ..
        } => kind.set_margin(share),
        _ => {}
    }
}

/// What a guard asks of the metrics, in the order in which it is to be asked.
pub fn asks(guard: &api::Guard) -> Vec<Selector> {
    written(guard).map(GuardSpec::asks).unwrap_or_default()
}

/// Whether any of these guards compares outputs with those of the reference.
pub fn compare_outputs(guards: &[api::Guard]) -> bool {
    guards
        .iter()
        .any(|guard| guard.fidelity.is_some() || guard.agreement.is_some())
}

impl Deref for Kind {
    type Target = dyn GuardKind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Proportion(kind) => kind,
            Self::Latency(kind) => kind,
            Self::Fidelity(kind) => kind,
            Self::Ratio(kind) => kind,
            Self::Query(kind) => kind,
            Self::Agreement(kind) => kind,
        }
    }
}

impl Kind {
    /// The numbers of a guard on a share of bad events.
    pub fn as_proportion(&self) -> Option<&Proportion> {
        match self {
            Self::Proportion(kind) => Some(kind),
            _ => None,
        }
    }

    /// The numbers of a guard on latency.
    pub fn as_latency(&self) -> Option<&Latency> {
        match self {
            Self::Latency(kind) => Some(kind),
            _ => None,
        }
    }

    /// The numbers of a guard on outputs.
    pub fn as_fidelity(&self) -> Option<&Fidelity> {
        match self {
            Self::Fidelity(kind) => Some(kind),
            _ => None,
        }
    }

    /// The numbers of a guard on pairs of answers.
    pub fn as_agreement(&self) -> Option<&Agreement> {
        match self {
            Self::Agreement(kind) => Some(kind),
            _ => None,
        }
    }

    /// The numbers of a guard on the value of an expression.
    pub fn as_query(&self) -> Option<&Query> {
        match self {
            Self::Query(kind) => Some(kind),
            _ => None,
        }
    }
}

/// Evaluates `$body` with a kind and its test; `None` if the test is of another kind.
macro_rules! judged {
    ($kind:expr, $test:expr, ($of:ident, $state:ident) => $body:expr) => {
        match ($kind, $test) {
            (Kind::Proportion($of), Test::Proportion($state)) => Some($body),
            (Kind::Latency($of), Test::Latency($state)) => Some($body),
            (Kind::Fidelity($of), Test::Fidelity($state)) => Some($body),
            (Kind::Ratio($of), Test::Ratio($state)) => Some($body),
            (Kind::Query($of), Test::Query($state)) => Some($body),
            (Kind::Agreement($of), Test::Agreement($state)) => Some($body),
            _ => None,
        }
    };
}

impl Test {
    fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Proportion(_) => Self::Proportion(ShareTest::default()),
            Kind::Latency(_) => Self::Latency(LatencyTest::default()),
            Kind::Fidelity(_) => Self::Fidelity(FidelityTest::default()),
            Kind::Ratio(_) => Self::Ratio(RatioTest::default()),
            Kind::Query(_) => Self::Query(QueryTest::default()),
            Kind::Agreement(_) => Self::Agreement(PairTest::default()),
        }
    }

    /// Whether it is the test of a guard of this kind.
    fn fits(&self, kind: &Kind) -> bool {
        judged!(kind, self, (_kind, _test) => ()).is_some()
    }

    /// Takes one poll; one that does not fit the guard's kind is ignored.
    fn observe(&mut self, kind: &Kind, regime: Regime, observed: &Observed) {
        judged!(kind, self, (kind, test) => kind.observe(test, regime, observed));
    }

    /// Begins a block of polls.
    fn begin_block(&mut self, kind: &Kind) {
        judged!(kind, self, (kind, test) => kind.begin_block(test));
    }

    /// Takes what the baseline alone did before the trial, oldest first.
    fn recall(&mut self, kind: &Kind, history: &[Observed]) {
        judged!(kind, self, (kind, test) => kind.recall(test, history));
    }

    /// Logarithm of the evidence of harm; `None` for a plain rule.
    fn ln_harm(&self, kind: &Kind, regime: Regime) -> Option<f64> {
        judged!(kind, self, (kind, test) => kind.ln_harm(test, regime))?
    }

    /// Logarithm of the evidence of health; `None` for a plain rule.
    fn ln_health(&self, kind: &Kind) -> Option<f64> {
        judged!(kind, self, (kind, test) => kind.ln_health(test))?
    }

    /// How a plain rule stands.
    fn stands(&self, kind: &Kind) -> Option<&Rule> {
        judged!(kind, self, (kind, test) => kind.stands(test))?
    }

    /// Whether the histograms no longer have a bound that is counted at.
    fn has_lost_bound(&self, kind: &Kind, observed: &Observed) -> bool {
        judged!(kind, self, (kind, test) => kind.has_lost_bound(test, observed)).unwrap_or(false)
    }

    /// The largest edge that is watched, in seconds; `None` while there is none.
    fn slowest_edge(&self, kind: &Kind) -> Option<f64> {
        judged!(kind, self, (kind, test) => kind.slowest_edge(test))?
    }

    /// The counts, in words; `None` for a guard of another kind.
    fn figures(&self, kind: &Kind, regime: Regime) -> Option<Figures> {
        judged!(kind, self, (kind, test) => kind.figures(test, regime))
    }
}
