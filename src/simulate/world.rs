//! The world around `decide` in a replay: capacity that is always ready, a route that follows at once, and the
//! recording in the place of Prometheus.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use promql_parser::parser::Expr;

use crate::api::{Guard, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, Verdict};
use crate::evidence::promql::expression;
use crate::evidence::{ArmMatcher, ArmSamples, Form, GuardSamples, Matrix, PromqlError, REVISION, Role, Selection};
use crate::guards::{Selector, asks, counts_pairs};
use crate::model::presets::guards;
use crate::model::{identity, interval_ms};
use crate::rollout::{
    AskedArm, EvidenceProblem, EvidenceReason, Governance, GuardQuery, LedgerSeen, ModelSeen, Observation, People,
    Plan, QueryScope, RouteSeen, Workload, WorkloadKey, decide, watch,
};

use super::arms::{Arms, SimulateError};
use super::expression::Evaluation;
use super::recording::{Found, Recording};

/// Arms, as a recording separates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Stable,
    Candidate,
    Reference,
}

impl Side {
    fn name(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Candidate => "candidate",
            Self::Reference => "reference",
        }
    }
}

/// What a guard asks for, found in the recording once.
enum Source {
    Series(Found),
    Expression(Box<Expr>),
}

impl Source {
    fn of(asked: &Selector, recording: &Recording, arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        Ok(match asked.form() {
            Form::Expression => Self::Expression(Box::new(expression(&asked.text)?)),
            form => Self::Series(recording.find(&Selection::plain(form, &asked.text, arm)?)),
        })
    }

    fn found(&self) -> Option<&Found> {
        match self {
            Self::Series(found) => Some(found),
            Self::Expression(_) => None,
        }
    }
}

/// The arms of a spec whose target is on trial, by the revisions that the comparer's series name.
fn by_revision(spec: &QuantizedModelSpec) -> BTreeMap<Side, Vec<Vec<ArmMatcher>>> {
    let (revisions, at) = (identity::revisions(spec), spec.target_index());
    let named = |at: usize| -> Vec<Vec<ArmMatcher>> {
        let matcher = |of: &RevisionRef| ArmMatcher::equal(REVISION, identity::short(&of.revision));
        revisions.get(at).map(|of| vec![matcher(of)]).into_iter().collect()
    };
    BTreeMap::from([
        (Side::Stable, named(at.saturating_sub(1))),
        (Side::Candidate, named(at)),
        (Side::Reference, named(0)),
    ])
}

/// Whether the candidate has recorded series of a guard, by arms that are told in a certain way.
fn is_recorded(guard: &Guard, recording: &Recording, arms: &BTreeMap<Side, Vec<Vec<ArmMatcher>>>) -> bool {
    let found = |asked: &Selector| {
        let source = Source::of(asked, recording, arms.get(&Side::Candidate)?).ok()?;
        recording.span(source.found()?)
    };
    asks(guard).iter().any(|asked| found(asked).is_some())
}

pub(super) struct World<'a> {
    recording: &'a Recording,
    arms: BTreeMap<Side, Vec<Vec<ArmMatcher>>>,
    /// By guard and arm, in the order in which the guard asks.
    sources: BTreeMap<(String, Side), Vec<(Role, Source)>>,
    model: ModelSeen,
    workloads: BTreeMap<WorkloadKey, Workload>,
    route: RouteSeen,
    changed: bool,
}

impl<'a> World<'a> {
    pub(super) fn new(
        spec: QuantizedModelSpec,
        recording: &'a Recording,
        arms: Arms,
        stable_is_reference: bool,
    ) -> Result<Self, SimulateError> {
        let Arms {
            stable,
            candidate,
            reference,
        } = arms;
        let stable = if stable_is_reference {
            vec![stable, reference.clone()]
        } else {
            vec![stable]
        };
        let arms = BTreeMap::from([
            (Side::Stable, stable),
            (Side::Candidate, vec![candidate]),
            (Side::Reference, vec![reference]),
        ]);
        let by_revision = by_revision(&spec);
        let mut sources = BTreeMap::new();
        for guard in &guards(&spec) {
            let told = if counts_pairs(guard) && is_recorded(guard, recording, &by_revision) {
                &by_revision
            } else {
                &arms
            };
            for (side, arm) in told {
                let found = asks(guard)
                    .iter()
                    .map(|asked| Ok((asked.role, Source::of(asked, recording, arm)?)))
                    .collect::<Result<Vec<_>, PromqlError>>();
                let found = found.map_err(|problem| SimulateError::Guard {
                    guard: guard.name.clone(),
                    problem: problem.to_string(),
                })?;
                sources.insert((guard.name.clone(), *side), found);
            }
            let found = |side| {
                let sources = sources.get(&(guard.name.clone(), side));
                sources.into_iter().flatten().filter_map(|(_, source)| source.found())
            };
            for (one, other) in [
                (Side::Stable, Side::Candidate),
                (Side::Reference, Side::Candidate),
                (Side::Stable, Side::Reference),
            ] {
                let same_arm = stable_is_reference && (one, other) == (Side::Stable, Side::Reference);
                let mut pairs = found(one).zip(found(other));
                if !same_arm && let Some(labels) = pairs.find_map(|(a, b)| recording.shared(a, b)) {
                    let labels = labels.iter().map(|(name, value)| format!("{name}={value:?}"));
                    return Err(SimulateError::Overlap {
                        series: format!("{{{}}}", labels.collect::<Vec<_>>().join(",")),
                        arms: [one.name(), other.name()],
                    });
                }
            }
        }
        Ok(Self {
            recording,
            arms,
            sources,
            model: ModelSeen {
                namespace: "default".to_owned(),
                name: "replay".to_owned(),
                generation: 1,
                deleted_at: None,
                revisions: identity::revisions(&spec),
                templates: Vec::new(),
                refused: Some(Vec::new()),
                spec,
                status: QuantizedModelStatus::default(),
            },
            workloads: BTreeMap::new(),
            route: RouteSeen::default(),
            changed: false,
        })
    }

    /// First and last sample that any guard asks for (Unix ms).
    pub(super) fn span(&self) -> Option<(i64, i64)> {
        // Free expressions are answered by whatever was recorded.
        if self.found(|_| true).next().is_none() {
            self.recording.whole()
        } else {
            self.spans(|_| true)
        }
    }

    /// When the candidate gets its first requests (Unix ms): what is before is the baseline's past. Live it has its first
    /// weight then, however long its pods were ready.
    pub(super) fn candidate_from(&self) -> Option<i64> {
        let of_candidate: Vec<_> = self.found(|side| side == Side::Candidate).collect();
        self.recording.counts_from(of_candidate.iter().copied())
    }

    fn spans(&self, of: impl Fn(Side) -> bool) -> Option<(i64, i64)> {
        let spans = self.found(of).filter_map(|found| self.recording.span(found));
        spans.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
    }

    /// What the guards ask for of some arms.
    fn found(&self, of: impl Fn(Side) -> bool) -> impl Iterator<Item = &Found> {
        let sources = self.sources.iter().filter(move |((_, side), _)| of(*side));
        sources
            .flat_map(|(_, all)| all)
            .filter_map(|(_, source)| source.found())
    }

    /// One evaluation, and what follows from it at once.
    pub(super) fn evaluate(&mut self, now: Timestamp) -> Plan {
        let evidence = watch(&self.model, now, &QueryScope::default())
            .into_iter()
            .map(|query| (query.guard.clone(), self.answer(&query, now.as_millisecond())))
            .collect();
        let plan = decide(&Observation {
            now,
            model: self.model.clone(),
            workloads: self.workloads.clone(),
            // No route is seen, because recorded traffic does not follow the weights of a replay.
            route: RouteSeen::default(),
            comparer: None,
            evidence,
            // Nobody governs a replay.
            governance: Governance::Ungoverned,
            people: People::default(),
            ledger: LedgerSeen::default(),
        });
        self.model.status = plan.status.clone();
        let workloads: BTreeMap<WorkloadKey, Workload> = plan
            .workloads
            .iter()
            .map(|(key, wanted)| {
                let pods = wanted.replicas.unwrap_or(1);
                let workload = Workload {
                    desired: pods,
                    ready: pods,
                    pods,
                    marks: wanted.marks.clone(),
                    ..Workload::default()
                };
                (key.clone(), workload)
            })
            .collect();
        let mut route = self.route.clone();
        if let Some(wanted) = &plan.route {
            route.exists = true;
            route.weights = wanted.weights.iter().cloned().collect();
        }
        self.changed = workloads != self.workloads || route != self.route;
        (self.workloads, self.route) = (workloads, route);
        plan
    }

    /// Whether the last evaluation changed what the next one sees.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }

    /// Traffic share of the candidate, in percent.
    pub(super) fn weight(&self) -> i32 {
        self.model.status.rollout.as_ref().map_or(0, |r| r.weight)
    }

    /// The guard that rejected the candidate.
    pub(super) fn rejected_by(&self) -> Option<String> {
        self.model.status.rejected.last().map(|r| r.guard.clone())
    }

    /// Why the recording, which is so long (ms), was not enough.
    pub(super) fn open(&self, length: i64) -> String {
        let status = &self.model.status;
        let blind = status
            .conditions
            .iter()
            .find(|c| c.type_ == "EvidenceAvailable" && c.status == "False");
        let unsure = status.guards.iter().filter(|g| g.verdict != Verdict::Healthy);
        let unsure: Vec<_> = unsure.map(|g| g.message.as_str()).collect();
        let what = match (blind, unsure.is_empty()) {
            (Some(blind), _) => blind.message.clone(),
            (None, true) => format!("the steps were not over, the candidate had {}%", self.weight()),
            (None, false) => unsure.join("; "),
        };
        format!(
            "not decided by the end of the recording, after {} s: {what}",
            length / 1000
        )
    }

    /// Time between two evaluations, in milliseconds.
    fn interval(&self) -> i64 {
        interval_ms(&self.model.spec)
    }

    fn side(&self, revision: &RevisionRef) -> Side {
        let status = &self.model.status;
        if status.rollout.as_ref().is_some_and(|r| r.candidate == *revision) {
            Side::Candidate
        } else if status.stable.as_ref() == Some(revision) {
            Side::Stable
        } else {
            Side::Reference
        }
    }

    fn answer(&self, query: &GuardQuery, now: i64) -> Result<GuardSamples, EvidenceProblem> {
        let arm = |arm: &AskedArm, window: u64| {
            let from = now.saturating_sub(i64::try_from(window).unwrap_or(i64::MAX));
            self.samples(&query.guard, self.side(&arm.revision), from, now)
        };
        let baseline = |asked| arm(asked, query.baseline_window_ms);
        Ok(GuardSamples {
            candidate: arm(&query.candidate, query.window_ms)?,
            baseline: query.baseline.as_ref().map(baseline).transpose()?.unwrap_or_default(),
        })
    }

    fn samples(&self, guard: &str, side: Side, from: i64, now: i64) -> Result<ArmSamples, EvidenceProblem> {
        let mut samples = ArmSamples::default();
        for (role, source) in self.sources.get(&(guard.to_owned(), side)).into_iter().flatten() {
            let matrix = match source {
                Source::Series(found) => self.recording.range(found, from, now),
                // A server was asked at other times, so this evaluation takes the newest answer since the one before.
                Source::Expression(expr) => match self.recording.value(guard, now - self.interval(), now) {
                    Some(answer) => answer,
                    None => self.value_of(expr, side, now)?,
                },
            };
            samples.insert(*role, matrix);
        }
        Ok(samples)
    }

    fn value_of(&self, expr: &Expr, side: Side, at: i64) -> Result<Matrix, EvidenceProblem> {
        let evaluation = Evaluation {
            recording: self.recording,
            arm: &self.arms[&side],
            at,
        };
        evaluation.instant(expr).map_err(|message| EvidenceProblem {
            reason: EvidenceReason::BadQuery,
            message,
        })
    }
}
