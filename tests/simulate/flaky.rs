//! A rollout judged on a recording by way of a Prometheus that fails: the real watch, reader, evidence, judge and core.

use std::collections::BTreeMap;

use guardbit::api::{Action, Decision, QuantizedModelSpec, QuantizedModelStatus};
use guardbit::evidence::promql::parse_matchers;
use guardbit::evidence::{ArmSamples, GuardSamples, Matrix, Selection};
use guardbit::rollout::{
    AskedArm, EvidenceProblem, EvidenceReason, Governance, GuardQuery, LedgerSeen, ModelSeen, Observation, People,
    QueryScope, RouteSeen, Workload, decide, watch,
};
use guardbit::simulate::recording::Recording;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use crate::trace::{SCRAPE, START};

/// How Prometheus fails, in answers to queries in `(from, through]`, seconds since the start.
#[derive(Clone, Debug)]
pub struct Fault {
    pub from: i64,
    pub through: i64,
    pub kind: Kind,
    /// The only guard that is hit; all of them when left out.
    pub guard: Option<&'static str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// No answer.
    Away,
    /// An answer with a warning that data may be missing.
    Partial,
    /// An answer without series.
    Empty,
    /// All samples since the fault began are NaN.
    NotANumber,
    /// Only what was known when the fault began.
    Frozen,
    /// Samples show only after so many seconds.
    Late(i64),
}

/// How it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    pub action: Option<Action>,
    /// Seconds since the start.
    pub at: i64,
    pub guard: Option<String>,
    pub why: String,
}

pub struct Flaky<'a> {
    recording: &'a Recording,
    faults: &'a [Fault],
}

impl Flaky<'_> {
    fn fault(&self, guard: &str, at: i64) -> Option<&Fault> {
        let hit = |f: &&Fault| f.from < at && at <= f.through && f.guard.is_none_or(|only| only == guard);
        self.faults.iter().find(hit)
    }

    fn answer(&self, query: &GuardQuery, at: i64) -> Result<GuardSamples, EvidenceProblem> {
        let arm = |asked: &AskedArm, window| {
            let name = if asked.revision.variant == "int8" {
                "candidate"
            } else {
                "stable"
            };
            self.arm(query, name, window, at)
        };
        let baseline = |asked| arm(asked, query.baseline_window_ms);
        Ok(GuardSamples {
            candidate: arm(&query.candidate, query.window_ms)?,
            baseline: query.baseline.as_ref().map(baseline).transpose()?.unwrap_or_default(),
        })
    }

    fn arm(&self, query: &GuardQuery, arm: &str, window: u64, at: i64) -> Result<ArmSamples, EvidenceProblem> {
        let arm = [parse_matchers(&format!("{{arm=\"{arm}\"}}")).unwrap()];
        let samples = |selection: Selection| self.matrix(&query.guard, &selection, window as i64, at);
        let mut answers = ArmSamples::default();
        for asked in &query.asks {
            let selection = Selection::plain(asked.form(), &asked.text, &arm).unwrap();
            answers.insert(asked.role, samples(selection)?);
        }
        Ok(answers)
    }

    /// The answer as it comes over the wire, read as the controller reads it.
    fn matrix(&self, guard: &str, selection: &Selection, window: i64, at: i64) -> Result<Matrix, EvidenceProblem> {
        let now = (START + at) * 1000;
        let fault = self.fault(guard, at);
        let kind = fault.map(|f| f.kind);
        let known = match (fault, kind) {
            (Some(fault), Some(Kind::Frozen)) => (START + fault.from) * 1000,
            (_, Some(Kind::Late(by))) => now - by * 1000,
            _ => now,
        };
        let nan_after = match (fault, kind) {
            (Some(fault), Some(Kind::NotANumber)) => (START + fault.from) * 1000,
            _ => i64::MAX,
        };
        let problem = |reason, message: String| EvidenceProblem { reason, message };
        if kind == Some(Kind::Away) {
            return Err(problem(EvidenceReason::Unreachable, "connection refused".to_owned()));
        }
        let found = self.recording.find(selection);
        let series = self.recording.range(&found, now - window, known).series;
        let result: Vec<_> = series
            .iter()
            .filter(|_| kind != Some(Kind::Empty))
            .map(|s| {
                let value = |at: i64, v: f64| {
                    if at > nan_after {
                        "NaN".to_owned()
                    } else {
                        v.to_string()
                    }
                };
                let values: Vec<_> = s
                    .samples
                    .iter()
                    .map(|&(at, v)| json!([at as f64 / 1000.0, value(at, v)]))
                    .collect();
                json!({"metric": &s.labels, "values": values})
            })
            .collect();
        let mut body = json!({"status": "success", "data": {"resultType": "matrix", "result": result}});
        if kind == Some(Kind::Partial) {
            body["warnings"] = json!(["store gateway is down"]);
        }
        Matrix::parse(body.to_string().as_bytes()).map_err(|e| problem(EvidenceReason::PartialData, e.to_string()))
    }
}

/// Runs int8 against fp32 for so many seconds, with an evaluation every 15.
pub fn run(spec: &QuantizedModelSpec, recording: &Recording, faults: &[Fault], seconds: i64) -> End {
    let server = Flaky { recording, faults };
    let mut model = ModelSeen {
        namespace: "default".to_owned(),
        name: "replay".to_owned(),
        generation: 1,
        deleted_at: None,
        spec: spec.clone(),
        revisions: guardbit::model::identity::revisions(spec),
        templates: Vec::new(),
        refused: Some(Vec::new()),
        status: QuantizedModelStatus::default(),
    };
    let mut workloads = BTreeMap::new();
    for at in (0..=seconds).step_by(SCRAPE as usize) {
        loop {
            let now = Timestamp::from_second(START + at).unwrap();
            let queries = watch(&model, now, &QueryScope::default());
            let answers = queries.iter().map(|q| (q.guard.clone(), server.answer(q, at)));
            let plan = decide(&Observation {
                now,
                model: model.clone(),
                workloads: std::mem::take(&mut workloads),
                // None is seen: recorded traffic follows no weights, and is not tested for it.
                route: RouteSeen::default(),
                comparer: None,
                evidence: answers.collect(),
                governance: Governance::Ungoverned,
                people: People::default(),
                ledger: LedgerSeen::default(),
            });
            model.status = plan.status.clone();
            for (key, wanted) in &plan.workloads {
                let pods = wanted.replicas.unwrap_or(1);
                let workload = Workload {
                    desired: pods,
                    ready: pods,
                    pods,
                    marks: wanted.marks.clone(),
                    ..Workload::default()
                };
                workloads.insert(key.clone(), workload);
            }
            let ending = |d: &&Decision| {
                matches!(
                    d.action.known(),
                    Some(Action::Promoted | Action::RolledBack | Action::Undecided)
                )
            };
            if let Some(decision) = plan.decisions.iter().find(ending) {
                return End {
                    action: decision.action.known(),
                    at,
                    guard: model.status.rejected.last().map(|r| r.guard.clone()),
                    why: decision.why.clone(),
                };
            }
            // What follows at once from a decision follows at this instant.
            if plan.decisions.is_empty() && at > 0 {
                break;
            }
            if plan.decisions.is_empty() && model.status.rollout.as_ref().is_some_and(|r| r.weight > 0) {
                break;
            }
        }
    }
    End {
        action: None,
        at: seconds,
        guard: None,
        why: format!(
            "{:?}",
            model.status.guards.iter().map(|g| &g.message).collect::<Vec<_>>()
        ),
    }
}
