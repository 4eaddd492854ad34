//! The world around `decide` in a replay: capacity that is always ready, a route that obeys at once, a Prometheus that is
//! the recording.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use crate::api::{Guard, QuantizedModelSpec, QuantizedModelStatus, RevisionRef, Verdict};
use crate::evidence::promql::expression;
use crate::evidence::{ArmMatcher, ArmSamples, GuardSamples, PartKind, Selection};
use crate::model::identity;
use crate::model::presets::guards;
use crate::rollout::{
    Ask, AskedArm, EvidenceProblem, EvidenceReason, GuardQuery, ModelSeen, Observation, Plan, RouteSeen, Workload,
    WorkloadKey, decide, watch,
};

use super::expression::Evaluation;
use super::recording::{Found, Recording};
use super::{Arms, SimulateError};

/// Arms, as a recording tells them.
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

/// What a guard asks, found in the recording once.
enum Source {
    Proportion { part: Found, kind: PartKind, total: Found },
    Histogram(Found),
    Ratio { numerator: Found, denominator: Found },
    Expression(Box<promql_parser::parser::Expr>),
}

impl Source {
    fn found(&self) -> Vec<&Found> {
        match self {
            Self::Proportion { part, total, .. } => vec![part, total],
            Self::Ratio { numerator, denominator } => vec![numerator, denominator],
            Self::Histogram(found) => vec![found],
            Self::Expression(_) => Vec::new(),
        }
    }
}

pub(super) struct World<'a> {
    recording: &'a Recording,
    arms: BTreeMap<Side, Vec<Vec<ArmMatcher>>>,
    sources: BTreeMap<(String, Side), Source>,
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
        let mut sources = BTreeMap::new();
        for guard in &guards(&spec) {
            for (side, arm) in &arms {
                let source = source(guard, recording, arm).map_err(|problem| SimulateError::Guard {
                    guard: guard.name.clone(),
                    problem,
                })?;
                if let Some(source) = source {
                    sources.insert((guard.name.clone(), *side), source);
                }
            }
            let found = |side| {
                sources
                    .get(&(guard.name.clone(), side))
                    .map(Source::found)
                    .unwrap_or_default()
            };
            for (one, other) in [
                (Side::Stable, Side::Candidate),
                (Side::Reference, Side::Candidate),
                (Side::Stable, Side::Reference),
            ] {
                let same_arm = stable_is_reference && (one, other) == (Side::Stable, Side::Reference);
                let mut pairs = found(one).into_iter().zip(found(other));
                if !same_arm && let Some(labels) = pairs.find_map(|(a, b)| recording.shared(a, b)) {
                    return Err(SimulateError::Overlap {
                        series: format!("{labels:?}"),
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
        let only_expressions = self.sources.values().all(|s| matches!(s, Source::Expression(_)));
        // Free expressions are answered by whatever was recorded.
        if only_expressions {
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
        sources.flat_map(|(_, source)| source.found())
    }

    /// One look, and what follows from it at once.
    pub(super) fn look(&mut self, now: Timestamp) -> Plan {
        let evidence = watch(&self.model, now, true)
            .into_iter()
            .map(|query| (query.guard.clone(), self.answer(&query, now.as_millisecond())))
            .collect();
        let plan = decide(&Observation {
            now,
            model: self.model.clone(),
            workloads: self.workloads.clone(),
            // None is seen: recorded traffic follows no weights, and need not follow these.
            route: RouteSeen::default(),
            evidence,
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

    /// Whether the last look changed what the next one sees.
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

    /// Between two looks, in milliseconds.
    fn interval(&self) -> i64 {
        self.model.spec.rollout.interval.millis().unwrap_or(15_000).max(1)
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
            self.samples(&query.guard, self.side(&arm.revision), &query.ask, from, now)
        };
        let baseline = |asked| arm(asked, query.baseline_window_ms);
        Ok(GuardSamples {
            candidate: arm(&query.candidate, query.window_ms)?,
            baseline: query.baseline.as_ref().map(baseline).transpose()?.unwrap_or_default(),
        })
    }

    fn samples(&self, guard: &str, side: Side, ask: &Ask, from: i64, now: i64) -> Result<ArmSamples, EvidenceProblem> {
        let range = |found: &Found| self.recording.range(found, from, now);
        match (ask, self.sources.get(&(guard.to_owned(), side))) {
            (Ask::Proportion { .. }, Some(Source::Proportion { part, kind, total })) => Ok(ArmSamples::Proportion {
                part: range(part),
                total: range(total),
                kind: *kind,
            }),
            (Ask::Histogram { .. }, Some(Source::Histogram(found))) => Ok(ArmSamples::Histogram(range(found))),
            (Ask::Ratio { .. }, Some(Source::Ratio { numerator, denominator })) => Ok(ArmSamples::Ratio {
                numerator: range(numerator),
                denominator: range(denominator),
            }),
            (Ask::Expression { .. }, Some(Source::Expression(expr))) => {
                // A server was asked at times of its own: the answer of this look is the newest since the last.
                if let Some(answer) = self.recording.value(guard, now - self.interval(), now) {
                    return Ok(ArmSamples::Value(answer));
                }
                let evaluation = Evaluation {
                    recording: self.recording,
                    arm: &self.arms[&side],
                    at: now,
                };
                evaluation
                    .instant(expr)
                    .map(ArmSamples::Value)
                    .map_err(|message| EvidenceProblem {
                        reason: EvidenceReason::BadQuery,
                        message,
                    })
            }
            _ => Ok(ArmSamples::default()),
        }
    }
}

/// What a guard asks of an arm; `None` for a guard of no kind, which validation has refused.
fn source(guard: &Guard, recording: &Recording, arm: &[Vec<ArmMatcher>]) -> Result<Option<Source>, String> {
    let counter = |selector: &str| {
        Selection::counter(selector, arm)
            .map(|selection| recording.find(&selection))
            .map_err(|e| e.to_string())
    };
    let histogram = |selector: &str| {
        Selection::histogram(selector, arm)
            .map(|selection| Source::Histogram(recording.find(&selection)))
            .map_err(|e| e.to_string())
    };
    if let Some(p) = &guard.proportion {
        let (part, kind) = match (&p.bad, &p.good) {
            (Some(bad), _) => (bad, PartKind::Bad),
            (None, Some(good)) => (good, PartKind::Good),
            (None, None) => return Ok(None),
        };
        Ok(Some(Source::Proportion {
            part: counter(part)?,
            kind,
            total: counter(&p.total)?,
        }))
    } else if let Some(l) = &guard.latency {
        histogram(&l.histogram).map(Some)
    } else if let Some(f) = &guard.fidelity {
        histogram(&f.histogram).map(Some)
    } else if let Some(r) = &guard.ratio {
        Ok(Some(Source::Ratio {
            numerator: counter(&r.numerator)?,
            denominator: counter(&r.denominator)?,
        }))
    } else if let Some(q) = &guard.query {
        let parsed = expression(&q.promql).map_err(|e| e.to_string())?;
        Ok(Some(Source::Expression(Box::new(parsed))))
    } else {
        Ok(None)
    }
}
