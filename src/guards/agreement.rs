//! Agreement: how often a candidate answers the same question otherwise than the reference.
//!
//! The comparer asks both and counts pairs. Unlike all other series its own name the revision, and they follow no weight.

use crate::api;
use crate::evidence::{Counts, Observed, Role, Shown};
use crate::judge::{PairTest, Regime, Tolerance, text};

use super::fields::{Fields, tolerance};
use super::figures::Figures;
use super::kind::{Compared, GuardKind, GuardSpec, Judged, StepNeed};
use super::required::Limit;
use super::selector::Selector;
use super::traffic::{Effect, Known, Shape, Worse, percent};

/// Counter of pairs, by the revision that was compared with the reference.
const PAIRS: &str = "guardbit_pairs_total";

/// Counter of the pairs among them whose answers differ.
const DISAGREEMENTS: &str = "guardbit_pair_disagreements_total";

/// Gauges of lines of the golden set that the revision answers otherwise than the reference, and of budgets that are used up.
const SHOWN: Shown<&str> = Shown {
    lines: "guardbit_pair_example",
    spent: "guardbit_pair_budget_spent",
};

/// Pairs that a step needs. What a candidate answers does not depend on its weight, so that those of earlier steps count
/// as well, and a step needs no more than shows that pairs still come: one that answers every third question otherwise is
/// found by so many.
const STEP_PAIRS: u64 = 50;

/// A share of pairs that differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Agreement {
    /// What is tolerated: a fixed share, or one beside the share in which the reference differs from itself.
    pub tolerance: Tolerance,
}

impl Agreement {
    pub(super) fn read(written: &api::Agreement, fields: &mut Fields) -> Option<Self> {
        let written = full(&written.tolerance);
        let tolerance = fields.tolerance("agreement.tolerance", &written)?;
        let nothing = tolerance.ratio == 0.0 && tolerance.absolute == 0.0;
        let read = if nothing {
            Err("tolerates no pair that differs, which no number of pairs can show; write a share such as \"5%\"")
        } else {
            Ok(tolerance)
        };
        Some(Self {
            tolerance: fields.value("agreement.tolerance.absolute", read)?,
        })
    }
}

/// A tolerance with what it leaves out.
fn full(written: &api::ToleranceSpec) -> api::ToleranceSpec {
    let usual = api::ToleranceSpec::agreement();
    api::ToleranceSpec {
        ratio: written.ratio.clone().or(usual.ratio),
        absolute: written.absolute.clone().or(usual.absolute),
    }
}

impl GuardSpec for api::Agreement {
    fn asks(&self) -> Vec<Selector> {
        vec![
            Selector::new(Role::Total, "agreement", PAIRS),
            Selector::new(Role::Bad, "agreement", DISAGREEMENTS),
        ]
    }

    fn looks_at_outputs(&self) -> bool {
        true
    }

    fn tells_benefit(&self) -> bool {
        false
    }

    fn tolerance(&self) -> Option<(&'static str, Tolerance)> {
        Some(("agreement.tolerance", tolerance(&full(&self.tolerance))))
    }

    fn margin(&self) -> Option<(&'static str, f64)> {
        Some((
            "agreement.tolerance.absolute",
            tolerance(&full(&self.tolerance)).absolute,
        ))
    }

    fn set_margin(&mut self, share: &str) {
        self.tolerance.absolute = Some(share.into());
    }
}

impl GuardKind for Agreement {
    fn field(&self) -> &'static str {
        "agreement"
    }

    fn compared_with(&self) -> Compared {
        Compared::Reference
    }

    fn tolerates(&self) -> Vec<(Limit, f64)> {
        let Tolerance { ratio, absolute } = self.tolerance;
        vec![(Limit::Absolute, absolute), (Limit::Ratio, ratio)]
    }

    fn counts_pairs(&self) -> bool {
        true
    }

    fn shown(&self) -> Option<Shown<&'static str>> {
        Some(SHOWN)
    }

    fn step_needs(&self) -> StepNeed {
        StepNeed::Pairs(STEP_PAIRS)
    }

    /// Pairs of the candidate.
    fn events(&self, known: &Known) -> f64 {
        known.pairs * (1.0 - known.control)
    }

    /// As for errors: pairs are few, and each says much.
    fn weight(&self) -> Option<f64> {
        Some(0.5)
    }

    /// A good candidate is taken to use half of what is tolerated: quantized variants always differ a little.
    fn assumed(&self, name: &str, known: &Known) -> (Shape, String) {
        let differs = 0.5 * self.tolerance.absolute;
        let Known { pairs, control, .. } = known;
        let shape = Shape::Pairs {
            differs,
            control: control / (1.0 - control),
        };
        let told = format!(
            "{name}: {pairs} pairs a second are compared, whatever the weights, {} of them ask the reference twice and agree, and {} of a good candidate's differ",
            percent(*control),
            percent(differs)
        );
        (shape, told)
    }

    fn worse(&self, _: Option<&Shape>) -> Vec<Worse> {
        self.that_differ(&[1.5, 2.0, 4.0])
    }

    fn tolerable(&self) -> Vec<Worse> {
        self.that_differ(&[0.5, 2.0 / 3.0])
    }

    fn work(&self) -> f64 {
        1.0
    }
}

impl Judged for Agreement {
    type Test = PairTest;

    fn observe(&self, test: &mut PairTest, regime: Regime, observed: &Observed) {
        if let Observed::Proportion { candidate, baseline } = observed {
            test.observe(regime, self.tolerance, *candidate, *baseline);
        }
    }

    fn ln_harm(&self, test: &PairTest, regime: Regime) -> Option<f64> {
        Some(test.ln_harm(regime))
    }

    fn ln_health(&self, test: &PairTest) -> Option<f64> {
        Some(test.ln_health())
    }

    fn figures(&self, test: &PairTest, _: Regime) -> Figures {
        let PairTest { candidate, control, .. } = test;
        Figures::of(
            *candidate,
            *control,
            format!("{}, {}", differ(*candidate), itself(*control)),
            self.tolerated(),
        )
    }
}

impl Agreement {
    /// Candidates that differ by these multiples of what is tolerated.
    fn that_differ(&self, times: &[f64]) -> Vec<Worse> {
        let shares = times.iter().map(|times| times * self.tolerance.absolute);
        let shares = shares.filter(|share| *share > 0.0 && *share < 0.95);
        let differ = shares.map(|share| Worse {
            effect: Effect::Share(share),
            size: share,
            told: format!("{} differ", percent(share)),
        });
        differ.collect()
    }

    /// The tolerance in words: "the tolerance of 5%".
    fn tolerated(&self) -> String {
        let Tolerance { ratio, absolute } = self.tolerance;
        let share = text::whole_percent(absolute);
        match ratio {
            0.0 => format!("the tolerance of {share}"),
            1.0 => format!("the tolerance of {share} + the reference's own share"),
            ratio => format!("the tolerance of {share} + {ratio} × the reference's own share"),
        }
    }
}

/// "41 of 512 answers differ (8.0%)".
fn differ(Counts { n, x }: Counts) -> String {
    let share = text::share(Counts { n, x });
    format!("{} of {} answers differ ({share})", text::number(x), text::number(n))
}

/// "the reference from itself 0 of 57".
fn itself(Counts { n, x }: Counts) -> String {
    if n == 0 {
        "the reference was not asked twice yet".to_owned()
    } else {
        format!("the reference from itself {} of {}", text::number(x), text::number(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guards::resolve;

    fn guard(tolerance: &str) -> api::Guard {
        let agreement = serde_json::json!({"tolerance": serde_json::from_str::<serde_json::Value>(tolerance).unwrap()});
        serde_json::from_value(serde_json::json!({"name": "agreement", "agreement": agreement})).unwrap()
    }

    #[test]
    fn what_is_left_out_is_a_fixed_tolerance() {
        for (written, ratio, absolute, told) in [
            ("{}", 0.0, 0.05, "the tolerance of 5%"),
            (r#"{"absolute": "12%"}"#, 0.0, 0.12, "the tolerance of 12%"),
            (
                r#"{"ratio": "1"}"#,
                1.0,
                0.05,
                "the tolerance of 5% + the reference's own share",
            ),
            (
                r#"{"ratio": "1.5", "absolute": "0"}"#,
                1.5,
                0.0,
                "the tolerance of 0% + 1.5 × the reference's own share",
            ),
        ] {
            let tolerance = Tolerance { ratio, absolute };
            let resolved = resolve(&guard(written)).unwrap();
            assert_eq!(
                resolved.kind,
                crate::guards::Kind::Agreement(Agreement { tolerance }),
                "{written}"
            );
            assert_eq!(Agreement { tolerance }.tolerated(), told);
        }
        let problems = resolve(&guard(r#"{"absolute": "0"}"#)).unwrap_err();
        assert!(problems[0].to_string().contains("tolerates no pair"), "{problems:?}");
    }

    #[test]
    fn pairs_name_the_revision_themselves_so_no_other_matchers_go_with_them() {
        let mut other = guard("{}");
        other.arm_matchers = Some(api::ArmMatchers::Revision);
        let problems = resolve(&other).unwrap_err();
        assert!(
            problems[0].to_string().contains("does not go with agreement"),
            "{problems:?}"
        );
    }

    #[test]
    fn the_sentence_has_the_counts_of_both() {
        let regime = Regime::Rollout {
            false_rollback: 0.05,
            false_promotion: 0.05,
        };
        let guard = Agreement {
            tolerance: Tolerance {
                ratio: 0.0,
                absolute: 0.05,
            },
        };
        let mut test = PairTest::default();
        let none = guard.figures(&test, regime).seen;
        assert_eq!(
            none,
            "0 of 0 answers differ (none), the reference was not asked twice yet"
        );
        let observed = Observed::Proportion {
            candidate: Counts { n: 512, x: 41 },
            baseline: Counts { n: 57, x: 0 },
        };
        guard.observe(&mut test, regime, &observed);
        let seen = guard.figures(&test, regime).seen;
        assert_eq!(
            seen,
            "41 of 512 answers differ (8.0%), the reference from itself 0 of 57"
        );
    }
}
