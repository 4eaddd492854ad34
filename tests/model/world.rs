//! A small world around `decide`: one model, its Deployments, its route, its metrics, and a controller that writes in the
//! order of `controller::reconcile` and may be stopped after any write.
//!
//! Owns what happens when a plan is carried out; must not know what is right (that is `invariants`).

use std::collections::BTreeMap;
use std::sync::Arc;

use guardbit::api::{GuardStatus, QuantizedModelSpec, QuantizedModelStatus, RevisionRef};
use guardbit::evidence::GuardSamples;
use guardbit::model::identity::{self, Purpose};
use guardbit::rollout::{
    EvidenceProblem, EvidenceReason, GuardQuery, ModelSeen, Observation, Order, Plan, QueryScope, Record, RouteSeen,
    Scope, Workload, WorkloadKey, watch,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::invariants::{Broken, History, Judge};
use crate::oversight::Oversight;
use crate::traffic::{Metrics, Mood, SCRAPE, Traffic};

/// 10 November 2026.
const START: i64 = 1_794_268_800;

/// Pairs of the comparer, in percent of all requests.
const PAIRS: i32 = 2;

/// What becomes of the pods of a variant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Pods {
    /// They get ready as time passes.
    #[default]
    Come,
    /// One is ready, no more come.
    One,
    /// None is ready, nothing is known of why.
    Gone,
    Crash,
    /// The last one that is ready is about to be evicted.
    Evicted,
    Unschedulable,
    /// They run different images.
    Mixed,
}

/// What a controller keeps in its memory between two evaluations.
#[derive(Clone, Debug)]
struct Kept {
    /// Evidence that the API server held when this was derived.
    base: Option<String>,
    evidence: Option<String>,
    guards: Vec<GuardStatus>,
}

/// A write of the controller, in their order. `Lower` is the route, before all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    Lower,
    Status,
    Grow,
    Route,
    Shrink,
    Marks,
}

/// How far an evaluation comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Evaluation {
    /// There is none: the controller is away, or slow.
    None,
    Whole,
    /// The status was written by someone else meanwhile: the evaluation ends there.
    Conflict,
    /// The controller is killed after this write.
    Killed(Write),
}

/// All of it. Cheap to clone where it does not change.
#[derive(Clone)]
pub struct World {
    /// Seconds; Prometheus and kubelets go by it.
    pub clock: i64,
    /// By how much the controller's clock is ahead.
    pub skew: i64,
    pub spec: Arc<QuantizedModelSpec>,
    pub generation: i64,
    pub deleted_at: Option<i64>,
    pub released: bool,
    /// As the API server holds it.
    pub status: Arc<QuantizedModelStatus>,
    kept: Option<Arc<Kept>>,
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    pub route: RouteSeen,
    pub refused: bool,
    pub moods: BTreeMap<String, Mood>,
    pub pods: BTreeMap<String, Pods>,
    pub metrics: Metrics,
    pub traffic: Traffic,
    /// Whether a comparer asks pairs.
    pub compares: bool,
    pub pairs: Traffic,
    /// Policies, people and records, where there are any.
    pub oversight: Option<Oversight>,
    /// What someone remembers who has seen every evaluation.
    pub history: History,
}

impl World {
    pub fn new(spec: QuantizedModelSpec) -> Self {
        Self {
            clock: 0,
            skew: 0,
            spec: Arc::new(spec),
            generation: 1,
            deleted_at: None,
            released: false,
            status: Arc::default(),
            kept: None,
            workloads: BTreeMap::new(),
            route: RouteSeen::default(),
            refused: false,
            moods: BTreeMap::new(),
            pods: BTreeMap::new(),
            metrics: Metrics::default(),
            traffic: Traffic::default(),
            compares: false,
            pairs: Traffic::default(),
            oversight: None,
            history: History::default(),
        }
    }

    /// The controller's time, in seconds.
    pub fn now(&self) -> i64 {
        self.clock + self.skew
    }

    pub fn revision(&self, variant: &str) -> RevisionRef {
        let of = self
            .spec
            .variants
            .iter()
            .find(|v| v.name == variant)
            .expect("a variant of the spec");
        RevisionRef {
            variant: of.name.clone(),
            revision: identity::revision(&self.spec, of),
        }
    }

    /// The newest status that the controller knows.
    pub fn newest(&self) -> QuantizedModelStatus {
        let mut status = QuantizedModelStatus::clone(&self.status);
        if let Some(kept) = self.kept.as_ref().filter(|kept| kept.base == status.evidence) {
            (status.evidence, status.guards) = (kept.evidence.clone(), kept.guards.clone());
        }
        status
    }

    /// The controller begins anew: it has what the API server stores.
    pub fn restart(&mut self) {
        self.kept = None;
    }

    /// What Prometheus and the cluster show, and who is asked about in it.
    pub fn observe(&self) -> (Observation, Vec<GuardQuery>) {
        let model = ModelSeen {
            namespace: "risk".into(),
            name: "fraud".into(),
            generation: self.generation,
            deleted_at: self.deleted_at.map(time),
            spec: QuantizedModelSpec::clone(&self.spec),
            revisions: identity::revisions(&self.spec),
            templates: Vec::new(),
            refused: Some(Vec::new()),
            status: self.newest(),
        };
        let now = time(self.now());
        let queries = watch(&model, now, &QueryScope::default());
        let evidence = queries
            .iter()
            .map(|query| (query.guard.clone(), self.answer(query)))
            .collect();
        let mut route = self.route.clone();
        route.refused = self.refused.then(|| "Accepted=False".to_owned());
        let oversight = self.oversight.as_ref();
        let (governance, people, ledger) = oversight.map(|of| of.seen(self.now())).unwrap_or_default();
        let observation = Observation {
            now,
            model,
            workloads: self.workloads.clone(),
            route,
            comparer: None,
            evidence,
            governance,
            people,
            ledger,
        };
        (observation, queries)
    }

    fn answer(&self, query: &GuardQuery) -> Result<GuardSamples, EvidenceProblem> {
        if self.metrics == Metrics::Away {
            return Err(EvidenceProblem {
                reason: EvidenceReason::Unreachable,
                message: "refused the connection".into(),
            });
        }
        let arm = |revision: &RevisionRef, window: u64| {
            let until = millis(self.now());
            let from = until - i64::try_from(window).unwrap_or(i64::MAX);
            let nothing = Traffic::default();
            let shown = match self.metrics {
                Metrics::Answers => self.counted(query),
                Metrics::Away | Metrics::Empty => &nothing,
            };
            shown.samples(&query.asks, revision, from + 1..=until)
        };
        Ok(GuardSamples {
            candidate: arm(&query.candidate.revision, query.window_ms),
            baseline: query
                .baseline
                .as_ref()
                .map(|asked| arm(&asked.revision, query.baseline_window_ms))
                .unwrap_or_default(),
        })
    }

    /// What the guard of a query counts.
    pub fn counted(&self, query: &GuardQuery) -> &Traffic {
        let pairs = query.asks.iter().any(|asked| asked.text.starts_with("guardbit_pair"));
        if pairs { &self.pairs } else { &self.traffic }
    }

    /// For people: the last decision, and who has how much.
    pub fn summary(&self) -> String {
        let weights: Vec<_> = self
            .route
            .weights
            .iter()
            .map(|(of, weight)| {
                let ready = self.workloads.get(&serving(of)).map_or(0, |w| w.ready);
                format!("{} {weight}% ({ready} ready)", of.variant)
            })
            .collect();
        let last = self.status.decisions.last();
        let last = last.map_or_else(String::new, |d| format!("{} {}; ", d.action, d.variant));
        format!("{}s, {last}{}", self.clock, weights.join(", "))
    }

    /// One evaluation, as far as it comes; `Ok(false)` if it cannot end like this.
    pub fn evaluate(&mut self, evaluation: Evaluation, judge: &Judge<'_>) -> Result<bool, Broken> {
        if self.released || evaluation == Evaluation::None {
            return Ok(true);
        }
        let (mut observation, mut queries) = self.observe();
        let mut plan = judge.decide(&observation, &mut queries);
        // What lowers somebody does not wait for records of before.
        if plan.order == Order::RecordFirst && self.settle() {
            (observation, queries) = self.observe();
            plan = judge.decide(&observation, &mut queries);
        }
        if evaluation == Evaluation::Killed(Write::Lower) && plan.order == Order::RecordFirst {
            return Ok(false);
        }
        let history = self.history.check(self, &observation, &queries, &plan, judge)?;
        self.carry_out(&plan, history, evaluation, judge)?;
        Ok(true)
    }

    /// What is decided is remembered when it is recorded: a plan that met a conflict has never been.
    fn carry_out(
        &mut self,
        plan: &Plan,
        history: History,
        evaluation: Evaluation,
        judge: &Judge<'_>,
    ) -> Result<(), Broken> {
        match plan.scope {
            // A deletion is on record before anything goes.
            Scope::TearDown | Scope::Release | Scope::Orphan if plan.record == Record::Now => {
                if evaluation != Evaluation::Conflict {
                    self.store(plan, history);
                }
                if matches!(evaluation, Evaluation::Killed(_)) {
                    self.restart();
                }
            }
            Scope::StatusOnly | Scope::ConditionsOnly if evaluation != Evaluation::Conflict => {
                self.store(plan, history);
                if matches!(evaluation, Evaluation::Killed(_)) {
                    self.restart();
                }
            }
            Scope::StatusOnly | Scope::ConditionsOnly => {}
            Scope::TearDown => self.route = RouteSeen::default(),
            Scope::Release => {
                self.released = true;
                self.workloads.clear();
            }
            Scope::Orphan => self.released = true,
            Scope::Apply => {
                let first = match plan.order {
                    Order::LowerFirst => Write::Lower,
                    Order::RecordFirst => Write::Status,
                };
                let was_behind = self.is_behind();
                let all = [
                    Write::Lower,
                    Write::Status,
                    Write::Grow,
                    Write::Route,
                    Write::Shrink,
                    Write::Marks,
                ];
                for write in all.into_iter().filter(|write| *write >= first) {
                    let conflict = evaluation == Evaluation::Conflict && write == Write::Status;
                    // Evidence that stays in memory is not written, and can meet no conflict.
                    if conflict && plan.record == Record::Now {
                        return Ok(());
                    }
                    self.write(write, plan, &history, judge)?;
                    if evaluation == Evaluation::Killed(write) {
                        self.restart();
                        return Ok(());
                    }
                    if write == Write::Status {
                        self.settle();
                        // What is decided takes effect once it is on record.
                        if plan.order == Order::RecordFirst && self.is_behind() && !was_behind {
                            return Ok(());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Creates the records that are missing. Returns whether there were any, and the API server takes them.
    fn settle(&mut self) -> bool {
        self.oversight.as_mut().is_some_and(Oversight::settle)
    }

    /// Whether something that was decided is not on record.
    fn is_behind(&self) -> bool {
        self.oversight.as_ref().is_some_and(|of| of.unwritten().is_some())
    }

    fn store(&mut self, plan: &Plan, history: History) {
        let now = self.now();
        if let Some(oversight) = &mut self.oversight {
            oversight.append(now, &plan.decisions);
        }
        self.history = history;
        let held = match plan.record {
            Record::Now => plan.status.evidence.clone(),
            Record::Later => self.status.evidence.clone(),
        };
        self.kept = Some(Arc::new(Kept {
            base: held,
            evidence: plan.status.evidence.clone(),
            guards: plan.status.guards.clone(),
        }));
        if plan.record == Record::Now {
            self.status = Arc::new(plan.status.clone());
        }
    }

    fn write(&mut self, write: Write, plan: &Plan, history: &History, judge: &Judge<'_>) -> Result<(), Broken> {
        match write {
            Write::Lower | Write::Route => {
                if let Some(route) = &plan.route {
                    self.history.written(self, route, write, judge)?;
                    self.route.exists = true;
                    self.route.weights = route.weights.iter().cloned().collect();
                    self.route.changed_from = None;
                }
            }
            Write::Status => self.store(plan, history.clone()),
            Write::Grow => self.scale(plan, |wanted, now| wanted > now),
            Write::Shrink => self.scale(plan, |wanted, now| wanted < now),
            Write::Marks => {
                for (key, wanted) in &plan.workloads {
                    if let Some(workload) = self.workloads.get_mut(key) {
                        workload.marks = wanted.marks.clone();
                    }
                }
                for key in &plan.delete {
                    self.workloads.remove(key);
                    self.traffic.forget(&key.revision);
                    self.pairs.forget(&key.revision);
                }
            }
        }
        Ok(())
    }

    fn scale(&mut self, plan: &Plan, which: fn(i32, i32) -> bool) {
        let clock = self.clock;
        for (key, wanted) in &plan.workloads {
            let Some(replicas) = wanted.replicas else { continue };
            let workload = self.workloads.entry(key.clone()).or_insert_with(|| Workload {
                image_ids: vec!["sha256:aa".into()],
                pod_starts: [(pod(&key.revision), time(clock))].into(),
                desired: -1,
                ..Workload::default()
            });
            if which(replicas, workload.desired) {
                workload.desired = replicas;
            }
        }
        self.pods_follow(false);
    }

    /// Brings pods in line with what their Deployments want and what is the matter with them; pods get ready `in_time`.
    pub fn pods_follow(&mut self, in_time: bool) {
        let clock = self.clock;
        for (key, workload) in &mut self.workloads {
            let pods = self.pods.get(&key.revision.variant).copied().unwrap_or_default();
            let desired = workload.desired.max(0);
            let wanted = desired > 0;
            workload.pods = desired;
            workload.failure = (pods == Pods::Crash && wanted).then(|| "CrashLoopBackOff".to_owned());
            workload.disruption = (pods == Pods::Evicted && wanted).then(|| "DisruptionTarget".to_owned());
            workload.unschedulable = (pods == Pods::Unschedulable && wanted).then(|| "Insufficient gpu".to_owned());
            workload.image_ids.truncate(1);
            if pods == Pods::Mixed {
                workload.image_ids.push("sha256:bb".into());
            }
            workload.ready = match pods {
                Pods::Come | Pods::Mixed if in_time => desired,
                Pods::One => desired.min(1),
                Pods::Evicted => workload.ready.min(desired).min(1),
                Pods::Gone | Pods::Crash => 0,
                Pods::Come | Pods::Mixed | Pods::Unschedulable => workload.ready.min(desired),
            };
            if workload.ready > 0 {
                workload.ready_since.entry(pod(&key.revision)).or_insert(time(clock));
            } else {
                workload.ready_since.clear();
            }
        }
    }

    /// Requests flow and are scraped; pods come up at the end.
    pub fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds / SCRAPE {
            self.clock += SCRAPE;
            self.serve();
        }
        self.pods_follow(true);
    }

    fn serve(&mut self) {
        for (revision, weight) in &self.route.weights {
            let key = serving(revision);
            if self.workloads.get(&key).is_none_or(|workload| workload.ready == 0) {
                continue;
            }
            let mood = self.moods.get(&revision.variant).copied().unwrap_or_default();
            self.traffic.serve(revision, *weight, mood, self.clock);
        }
        self.compare();
    }

    /// The comparer asks the reference, and what is compared with it, for as long as both have pods.
    fn compare(&mut self) {
        let status = &self.status;
        let candidate = status.rollout.as_ref().map(|rollout| &rollout.candidate);
        let (Some(on_trial), Some(reference)) = (candidate.or(status.stable.as_ref()), &status.reference) else {
            return;
        };
        let is_ready = |of: &RevisionRef| {
            self.workloads
                .get(&serving(of))
                .is_some_and(|workload| workload.ready > 0)
        };
        if !self.compares || on_trial == reference || !is_ready(on_trial) || !is_ready(reference) {
            return;
        }
        let mood = self.moods.get(&on_trial.variant).copied().unwrap_or_default();
        self.pairs.serve(on_trial, PAIRS, mood, self.clock);
        self.pairs.serve(reference, PAIRS, Mood::Healthy, self.clock);
    }
}

pub fn serving(revision: &RevisionRef) -> WorkloadKey {
    WorkloadKey {
        revision: revision.clone(),
        purpose: Purpose::Serving,
    }
}

/// The Deployment of a revision.
pub fn deployment(revision: &RevisionRef, purpose: Purpose) -> String {
    identity::object_name("risk", "fraud", &revision.variant, &revision.revision, purpose)
}

/// One pod stands for all of a revision.
pub fn pod(revision: &RevisionRef) -> String {
    format!("{}-7d9c-abcde", deployment(revision, Purpose::Serving))
}

pub fn time(seconds: i64) -> Timestamp {
    Timestamp::constant(START, 0) + SignedDuration::from_secs(seconds)
}

/// Seconds of the world, of a time.
pub fn seconds(at: Timestamp) -> i64 {
    at.duration_since(time(0)).as_secs()
}

pub fn millis(seconds: i64) -> i64 {
    time(seconds).as_millisecond()
}
