//! The trial: who is judged against whom, and which guards ask what of which arms.

use k8s_openapi::jiff::Timestamp;

use crate::api::{
    ArmLabel, ArmMatchers, Guard, LatencyUnit, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, RolloutKind,
};
use crate::evidence::{ArmMatcher, BucketForm, HISTORY_MS, MatcherOp, POD_OF_DEPLOYMENT};
use crate::judge::{Budget, GuardConfig, Regime, SuiteConfig, Tolerance};
use crate::model::identity::{self, Purpose};
use crate::model::presets::guards;
use crate::model::problems;

use super::evidence::state::Running;
use super::observation::ModelSeen;

/// A false alarm in this time, on average at most, after promotion.
const FALSE_ALARM_MILLIS: f64 = 90.0 * 24.0 * 3_600_000.0;

/// What is to be asked of Prometheus for one guard.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardQuery {
    /// Name of the guard.
    pub guard: String,
    /// What is asked.
    pub ask: Ask,
    /// In which form its histogram has come so far: the one to ask for first.
    pub form: Option<BucketForm>,
    /// The arm on trial.
    pub candidate: AskedArm,
    /// The arm that it is judged against, if one serves.
    pub baseline: Option<AskedArm>,
    /// Range to ask for, in milliseconds.
    pub window_ms: u64,
    /// Range to ask for of the baseline: at first also what it did before the trial, if that can be had.
    pub baseline_window_ms: u64,
}

/// Whose samples are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedArm {
    /// What the arm serves.
    pub revision: RevisionRef,
    /// How its series are told from those of others.
    pub matchers: Vec<ArmMatcher>,
}

/// What is asked for a guard.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Two counters.
    Proportion {
        /// Selector of the part.
        part: String,
        /// Whether the part is the bad or the good events.
        kind: crate::evidence::PartKind,
        /// Selector of the whole.
        total: String,
    },
    /// A histogram, classic or native.
    Histogram {
        /// Selector.
        selector: String,
    },
    /// Two counters of which one is spent on the other.
    Ratio {
        /// Selector of what is spent.
        numerator: String,
        /// Selector of what it is spent on.
        denominator: String,
    },
    /// A free expression.
    Expression {
        /// PromQL.
        promql: String,
    },
}

/// Who is judged against whom.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Match {
    pub(super) candidate: RevisionRef,
    /// For errors and latency.
    pub(super) baseline: Option<RevisionRef>,
    /// For outputs; `None` where outputs are not judged.
    pub(super) reference: Option<RevisionRef>,
    pub(super) regime: Regime,
    /// Evidence of another epoch does not count: digest of the plan, or of what is guarded.
    pub(super) epoch: String,
}

/// Who is on trial now, if anyone.
pub(super) fn on_trial(spec: &QuantizedModelSpec, status: &QuantizedModelStatus) -> Option<Match> {
    let stable = status.stable.clone()?;
    let reference = status.reference.clone();
    if let Some(rollout) = &status.rollout {
        let new_reference = rollout.kind == RolloutKind::NewReference;
        return Some(Match {
            candidate: rollout.candidate.clone(),
            baseline: if new_reference { reference } else { Some(stable) },
            reference: if new_reference { None } else { status.reference.clone() },
            regime: rollout_regime(spec),
            epoch: rollout.plan_digest.clone(),
        });
    }
    // Stable full precision has nothing to be compared with, and nothing to fall back to.
    let control = reference.filter(|r| *r != stable)?;
    Some(Match {
        epoch: identity::digest(&serde_json::json!({"guarding": stable, "control": control, "guards": guards(spec)})),
        candidate: stable,
        baseline: Some(control.clone()),
        reference: Some(control),
        regime: guarding_regime(spec),
    })
}

fn rollout_regime(spec: &QuantizedModelSpec) -> Regime {
    Regime::Rollout {
        false_rollback: spec.rollout.false_rollback.value().unwrap_or(0.05),
        false_promotion: spec.rollout.false_promotion.value().unwrap_or(0.05),
    }
}

fn guarding_regime(spec: &QuantizedModelSpec) -> Regime {
    let interval = spec.rollout.interval.millis().unwrap_or(15_000).max(1) as f64;
    Regime::Guarding {
        polls_between_false_alarms: (FALSE_ALARM_MILLIS / interval).max(2.0),
    }
}

/// When guards are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A candidate that is compared with stable and the reference climbs.
    Rollout,
    /// What was promoted is compared with the holdout.
    Guarding,
}

/// The guards of a spec as they are judged, for whoever looks ahead of a rollout.
pub fn guards_of(spec: &QuantizedModelSpec, stage: Stage) -> SuiteConfig {
    let arm = RevisionRef::default();
    suite_config(
        spec,
        &Match {
            candidate: arm.clone(),
            baseline: Some(arm.clone()),
            reference: Some(arm),
            regime: match stage {
                Stage::Rollout => rollout_regime(spec),
                Stage::Guarding => guarding_regime(spec),
            },
            epoch: String::new(),
        },
    )
}

/// What must be asked of Prometheus before the next `decide`; `exempt` leaves out the namespace matcher.
pub fn watch(model: &ModelSeen, now: Timestamp, exempt: bool) -> Vec<GuardQuery> {
    let (spec, status) = (&model.spec, &model.status);
    if spec.suspend || model.deleted_at.is_some() || !problems(spec).is_empty() {
        return Vec::new();
    }
    let Some(trial) = on_trial(spec, status) else {
        return Vec::new();
    };
    // Nothing has reached the candidate yet.
    if status.rollout.as_ref().is_some_and(|r| r.weight == 0) {
        return Vec::new();
    }
    let running = Running::read(status.evidence.as_deref(), &trial.epoch, now).0;
    let interval = spec.rollout.interval.millis().unwrap_or(15_000);
    let asked = |guard: &Guard, arm: &RevisionRef| AskedArm {
        revision: arm.clone(),
        matchers: arm_matchers(model, guard, arm, exempt),
    };
    guards(spec)
        .iter()
        .filter_map(|guard| {
            let (ask, baseline) = if let Some(p) = &guard.proportion {
                let (part, kind) = match (&p.bad, &p.good) {
                    (Some(bad), _) => (bad, crate::evidence::PartKind::Bad),
                    (None, good) => (good.as_ref()?, crate::evidence::PartKind::Good),
                };
                (
                    Ask::Proportion {
                        part: part.clone(),
                        kind,
                        total: p.total.clone(),
                    },
                    &trial.baseline,
                )
            } else if let Some(l) = &guard.latency {
                (
                    Ask::Histogram {
                        selector: l.histogram.clone(),
                    },
                    &trial.baseline,
                )
            } else if let Some(f) = &guard.fidelity {
                // A new reference may answer differently: that is what it is for.
                trial.reference.as_ref()?;
                (
                    Ask::Histogram {
                        selector: f.histogram.clone(),
                    },
                    &trial.reference,
                )
            } else if let Some(r) = &guard.ratio {
                (
                    Ask::Ratio {
                        numerator: r.numerator.clone(),
                        denominator: r.denominator.clone(),
                    },
                    &trial.baseline,
                )
            } else {
                (
                    Ask::Expression {
                        promql: guard.query.as_ref()?.promql.clone(),
                    },
                    &None,
                )
            };
            let window_ms = running
                .cursor(&guard.name, now)
                .window_ms(now.as_millisecond(), interval);
            let known = running.suite.listens(&guard.name);
            Some(GuardQuery {
                guard: guard.name.clone(),
                ask,
                form: running.suite.form(&guard.name),
                candidate: asked(guard, &trial.candidate),
                baseline: baseline.as_ref().map(|arm| asked(guard, arm)),
                window_ms,
                // However long the first answer has been waited for, it reaches back an hour before the trial.
                baseline_window_ms: window_ms + if known { 0 } else { HISTORY_MS.unsigned_abs() },
            })
        })
        .collect()
}

fn arm_matchers(model: &ModelSeen, guard: &Guard, arm: &RevisionRef, exempt: bool) -> Vec<ArmMatcher> {
    let shared = model.spec.prometheus.as_ref();
    let how = guard
        .arm_matchers
        .or(shared.and_then(|p| p.arm_matchers))
        .unwrap_or_default();
    let labels: &[ArmLabel] = match guard.arm_matchers {
        Some(_) => &guard.arm_labels,
        None => shared.map_or(&[], |p| &p.arm_labels),
    };
    let deployment = identity::object_name(
        &model.namespace,
        &model.name,
        &arm.variant,
        &arm.revision,
        Purpose::Serving,
    );
    let revision = identity::short(&arm.revision);
    let equal = |label: &str, value: String| ArmMatcher {
        label: label.to_owned(),
        op: MatcherOp::Equal,
        value,
    };
    let mut matchers = match how {
        ArmMatchers::Pod => vec![ArmMatcher {
            label: "pod".to_owned(),
            op: MatcherOp::Regex,
            value: format!("{deployment}{POD_OF_DEPLOYMENT}"),
        }],
        ArmMatchers::Revision => vec![equal("guardbit_revision", revision.to_owned())],
        ArmMatchers::Labels => labels
            .iter()
            .map(|l| {
                let value = l
                    .value
                    .replace("{deployment}", &deployment)
                    .replace("{service}", &deployment)
                    .replace("{revision}", revision);
                equal(&l.label, value)
            })
            .collect(),
    };
    if !exempt {
        matchers.push(equal("namespace", model.namespace.clone()));
    }
    matchers
}

/// The guards of a trial as the judge knows them.
pub(super) fn suite_config(spec: &QuantizedModelSpec, trial: &Match) -> SuiteConfig {
    let tolerance = |t: &crate::api::ToleranceSpec, ratio: f64| Tolerance {
        ratio: t.ratio.as_ref().and_then(|r| r.value().ok()).unwrap_or(ratio),
        absolute: t.absolute.as_ref().and_then(|a| a.value().ok()).unwrap_or(0.0),
    };
    let rule = |consecutive: i32, of: Option<i32>| {
        let consecutive = consecutive.clamp(1, 60).unsigned_abs();
        (consecutive, of.map_or(consecutive, |of| of.clamp(1, 60).unsigned_abs()))
    };
    let guard = |g: &Guard| {
        if let Some(p) = &g.proportion {
            Some(GuardConfig::Proportion {
                tolerance: tolerance(&p.tolerance, 1.0),
            })
        } else if let Some(l) = &g.latency {
            let budget = l.budget.as_ref().and_then(|b| {
                Some(Budget {
                    slower: 1.0 - b.percentile.value().ok()? / 100.0,
                    within: b.within.millis().ok()? as f64 / 1000.0,
                })
            });
            Some(GuardConfig::Latency {
                tolerance: tolerance(&l.tolerance, 1.0),
                budget,
                at_load: l.at_load.as_ref().and_then(|share| share.value().ok()),
                per_second: match l.unit {
                    LatencyUnit::Seconds => 1.0,
                    LatencyUnit::Milliseconds => 1000.0,
                },
            })
        } else if let Some(f) = &g.fidelity {
            trial.reference.as_ref()?;
            Some(GuardConfig::Fidelity {
                max_total_variation: f.max_total_variation.value().unwrap_or(0.05),
            })
        } else if let Some(r) = &g.ratio {
            let (consecutive, of) = rule(r.consecutive, r.of);
            Some(GuardConfig::Ratio {
                max: r.max.value().ok()?,
                consecutive,
                of,
            })
        } else {
            let q = g.query.as_ref()?;
            let bound = |b: &Option<crate::api::Decimal>| b.as_ref().and_then(|b| b.value().ok());
            let (consecutive, of) = rule(q.consecutive, q.of);
            Some(GuardConfig::Query {
                min: bound(&q.min),
                max: bound(&q.max),
                consecutive,
                of,
            })
        }
    };
    SuiteConfig {
        guards: guards(spec)
            .iter()
            .filter_map(|g| Some((g.name.clone(), guard(g)?)))
            .collect(),
        regime: trial.regime,
    }
}
