//! What the guards of a trial ask of Prometheus, and how they are judged.

use k8s_openapi::jiff::Timestamp;

use crate::api::{self, ArmLabel, ArmMatchers, QuantizedModelSpec, RevisionRef};
use crate::evidence::{ArmMatcher, BucketForm, HISTORY_MS, MatcherOp, POD_OF_DEPLOYMENT, REVISION, Shown};
use crate::guards::{Compared, Guard, Kind, Selector, SuiteConfig, resolve};
use crate::model::identity::{self, Purpose};
use crate::model::presets::{guards, resolved};
use crate::model::{self, Model};

use super::evidence::state::Running;
use super::observation::ModelSeen;
use super::trial::{Match, guarding_regime, is_asked, on_trial, rollout_regime};

/// What stands for the name of any pod of an arm in the value of a label.
const POD: &str = "{pod}";

/// What is to be asked of Prometheus for one guard.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardQuery {
    /// Name of the guard.
    pub guard: String,
    /// What is asked of each arm, in this order.
    pub asks: Vec<Selector>,
    /// Gauges of the arm on trial that are asked as well. They are shown to people, and the answer can do without them.
    pub shown: Option<Shown<&'static str>>,
    /// Form in which its histogram has come so far; that one is asked for first.
    pub form: Option<BucketForm>,
    /// The arm on trial.
    pub candidate: AskedArm,
    /// The arm that the candidate is judged against, if one serves.
    pub baseline: Option<AskedArm>,
    /// Range to ask for, in milliseconds.
    pub window_ms: u64,
    /// Range to ask for of the baseline. At first it includes the time before the trial, if Prometheus has it.
    pub baseline_window_ms: u64,
}

/// An arm whose samples are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct AskedArm {
    /// Revision that the arm serves.
    pub revision: RevisionRef,
    /// Matchers that select the arm's series.
    pub matchers: Vec<ArmMatcher>,
}

/// Stage in which guards are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A candidate that is compared with stable and the reference climbs.
    Rollout,
    /// The promoted revision is compared with the holdout.
    Guarding,
}

/// The guards of a spec as they are judged, for callers that work ahead of a rollout.
pub fn guards_of(spec: &QuantizedModelSpec, stage: Stage) -> SuiteConfig {
    let (arm, settings) = (RevisionRef::default(), model::read(spec).rollout);
    suite_config(
        spec,
        &Match {
            candidate: arm.clone(),
            baseline: Some(arm.clone()),
            reference: Some(arm),
            regime: match stage {
                Stage::Rollout => rollout_regime(&settings),
                Stage::Guarding => guarding_regime(&settings),
            },
            epoch: String::new(),
        },
    )
}

/// What the owner of guardbit puts on every query, beside what tells the arms apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QueryScope {
    /// Leaves out the namespace matcher, for servers that do not keep the label.
    pub exempt_namespace: bool,
    /// Matchers on every selector, such as the name of one cluster where a server has the series of several.
    pub matchers: Vec<ArmMatcher>,
}

impl QueryScope {
    /// The matchers of an arm, with those of all queries.
    fn with(&self, mut own: Vec<ArmMatcher>, namespace: &str) -> Vec<ArmMatcher> {
        if !self.exempt_namespace {
            own.push(ArmMatcher::equal("namespace", namespace.to_owned()));
        }
        own.extend_from_slice(&self.matchers);
        own
    }
}

/// What must be asked of Prometheus before the next `decide`.
pub fn watch(seen: &ModelSeen, now: Timestamp, scope: &QueryScope) -> Vec<GuardQuery> {
    let (spec, status) = (&seen.spec, &seen.status);
    if spec.suspend || seen.deleted_at.is_some() {
        return Vec::new();
    }
    let Ok(Model { rollout, .. }) = model::resolve(spec) else {
        return Vec::new();
    };
    let Some(trial) = on_trial(spec, &rollout, status) else {
        return Vec::new();
    };
    let running = Running::read(status.evidence.as_deref(), &trial.epoch, now).0;
    let interval = rollout.interval_ms();
    let asked = |guard: &api::Guard, kind: &Kind, arm: &RevisionRef| AskedArm {
        revision: arm.clone(),
        matchers: if kind.counts_pairs() {
            pair_matchers(seen, arm, scope)
        } else {
            arm_matchers(seen, guard, arm, scope)
        },
    };
    guards(spec)
        .iter()
        .filter_map(|guard| {
            let Guard { name, asks, kind } = resolve(guard).ok()?;
            if !trial.asks(&kind) || !is_asked(status, &kind) {
                return None;
            }
            let window_ms = running.cursor(&name, now).window_ms(now.as_millisecond(), interval);
            let known = running.suite.listens(&name);
            Some(GuardQuery {
                form: running.suite.form(&name),
                shown: kind.shown(),
                guard: name,
                asks,
                candidate: asked(guard, &kind, &trial.candidate),
                baseline: trial.compared_with(&kind).map(|arm| asked(guard, &kind, arm)),
                window_ms,
                // The range reaches back an hour before the trial, however long the first answer has been waited for.
                baseline_window_ms: window_ms + if known { 0 } else { HISTORY_MS.unsigned_abs() },
            })
        })
        .collect()
}

/// What selects the pairs of an arm: the comparer's series name the model and the revision.
fn pair_matchers(model: &ModelSeen, arm: &RevisionRef, scope: &QueryScope) -> Vec<ArmMatcher> {
    let revision = identity::short(&arm.revision).to_owned();
    let own = vec![
        ArmMatcher::equal("guardbit_model", model.name.clone()),
        ArmMatcher::equal(REVISION, revision),
    ];
    scope.with(own, &model.namespace)
}

fn arm_matchers(model: &ModelSeen, guard: &api::Guard, arm: &RevisionRef, scope: &QueryScope) -> Vec<ArmMatcher> {
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
    let matchers = match how {
        ArmMatchers::Pod => vec![ArmMatcher {
            label: "pod".to_owned(),
            op: MatcherOp::Regex,
            value: format!("{deployment}{POD_OF_DEPLOYMENT}"),
        }],
        ArmMatchers::Revision => vec![ArmMatcher::equal(REVISION, revision.to_owned())],
        ArmMatchers::Labels => {
            let filled = |text: &str| {
                let text = text.replace("{deployment}", &deployment);
                text.replace("{service}", &deployment).replace("{revision}", revision)
            };
            let matcher = |l: &ArmLabel| match l.value.split_once(POD) {
                None => ArmMatcher::equal(&l.label, filled(&l.value)),
                Some((before, after)) => {
                    let [before, after] = [before, after].map(|part| regex::escape(&filled(part)));
                    ArmMatcher {
                        label: l.label.clone(),
                        op: MatcherOp::Regex,
                        value: format!("{before}{deployment}{POD_OF_DEPLOYMENT}{after}"),
                    }
                }
            };
            labels.iter().map(matcher).collect()
        }
    };
    scope.with(matchers, &model.namespace)
}

/// The guards of a trial as they are judged.
pub(super) fn suite_config(spec: &QuantizedModelSpec, trial: &Match) -> SuiteConfig {
    let guards = resolved(spec).into_iter();
    let asked = guards.filter(|guard| trial.asks(&guard.kind));
    SuiteConfig {
        guards: asked.map(|guard| (guard.name, guard.kind)).collect(),
        regime: trial.regime,
    }
}

impl Match {
    /// Whether a guard is asked in this trial. A new reference has no arm to compare its outputs with.
    fn asks(&self, guard: &Kind) -> bool {
        guard.compared_with() != Compared::Reference || self.reference.is_some()
    }

    /// The arm that a guard compares the candidate with, if there is one.
    fn compared_with(&self, guard: &Kind) -> Option<&RevisionRef> {
        match guard.compared_with() {
            Compared::Baseline => self.baseline.as_ref(),
            Compared::Reference => self.reference.as_ref(),
            Compared::Bounds => None,
        }
    }
}
