//! A small world around `decide`: virtual time, pods that take their time, traffic that follows the weights, counters that
//! follow the traffic. Deterministic, so that whole rollouts can be golden files.

use std::collections::BTreeMap;

use guardbit::api::{QuantizedModelSpec, QuantizedModelStatus, RevisionRef};
use guardbit::evidence::BucketForm;
use guardbit::model::identity::{self, Purpose};
use guardbit::model::template;
use guardbit::rollout::{
    ComparedArms, ComparerSeen, EvidenceProblem, Governance, LedgerSeen, MirrorSeen, ModelSeen, Observation, People,
    Plan, QueryScope, Record, Refused, RouteSeen, Scope, Workload, WorkloadKey, decide, watch,
};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

mod chain;
mod samples;
mod transcript;

use chain::Chain;

/// Requests a second.
const RPS: f64 = 200.0;
/// Between two scrapes, seconds.
const SCRAPE: i64 = 5;
/// Pairs of the comparer a second, and for each of them pairs of the reference and itself.
const PAIRS: f64 = 2.0;
const CONTROL: f64 = 0.1;
/// From scheduling to readiness, seconds.
const STARTUP: i64 = 10;
/// How long a pod is cold, seconds.
const COLD: i64 = 20;

/// How a variant behaves.
#[derive(Clone, Debug)]
pub struct Behaviour {
    /// Share of requests that fail.
    pub errors: f64,
    /// Factor on latencies.
    pub slowdown: f64,
    /// Mass of outputs that moves from the lower to the upper half.
    pub drift: f64,
    /// Share of requests that fail in a pod's first twenty seconds with traffic.
    pub cold_errors: f64,
    /// Factor on the share of requests that reach it, whatever its weight says.
    pub routed: f64,
    /// Energy of a request.
    pub joules: f64,
    /// Share of the comparer's pairs in which it answers otherwise than the reference; of the golden set, where requests are
    /// mirrored.
    pub differs: f64,
    /// The same of mirrored requests.
    pub differs_mirrored: f64,
    /// Share of the pairs with itself in which it answers otherwise.
    pub differs_itself: f64,
    pub unschedulable: bool,
    /// The API server creates no more pods of it.
    pub over_quota: bool,
    /// The API server does not take its Deployment.
    pub not_taken: bool,
    /// Its pods run and never become ready.
    pub slow: bool,
    pub crash: bool,
    pub disrupted: bool,
    pub images: usize,
}

impl Behaviour {
    fn starts(&self) -> bool {
        !self.unschedulable && !self.slow && !self.over_quota
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            errors: 0.002,
            slowdown: 1.0,
            drift: 0.0,
            cold_errors: 0.0,
            routed: 1.0,
            joules: 0.41,
            differs: 0.01,
            differs_mirrored: 0.01,
            differs_itself: 0.0,
            unschedulable: false,
            over_quota: false,
            not_taken: false,
            slow: false,
            crash: false,
            disrupted: false,
            images: 1,
        }
    }
}

/// The counters at one time.
#[derive(Clone, Debug, Default)]
struct Scrape {
    at: i64,
    total: f64,
    bad: f64,
    joules: f64,
    /// `None` while no comparer runs.
    pairs: Option<(f64, f64)>,
    /// `None` while no requests are mirrored to it.
    mirrored: Option<(f64, f64)>,
    latency: Vec<f64>,
    score: Vec<f64>,
}

#[derive(Clone, Debug, Default)]
struct Arm {
    total: f64,
    bad: f64,
    joules: f64,
    /// Pairs of the comparer, and those that differ.
    pairs: f64,
    differ: f64,
    /// The same of mirrored requests.
    mirrored: (f64, f64),
    /// Cumulative counts of latency and score buckets.
    latency: Vec<f64>,
    score: Vec<f64>,
    history: Vec<Scrape>,
    /// Since when it gets requests.
    since: Option<Timestamp>,
}

pub const LATENCY_BOUNDS: [f64; 12] = [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.2, 0.5];

/// The world.
pub struct World {
    pub now: Timestamp,
    pub start: Timestamp,
    pub spec: QuantizedModelSpec,
    pub generation: i64,
    seen_generation: i64,
    pub status: QuantizedModelStatus,
    pub deleted_at: Option<Timestamp>,
    pub released: bool,
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    /// Pods that come up: (key, when).
    coming: Vec<(WorkloadKey, Timestamp, i32)>,
    pub route: RouteSeen,
    /// The arms that the comparer of the model asks, if the model has one.
    pub comparer: Option<ComparedArms>,
    pub behaviour: BTreeMap<String, Behaviour>,
    pub prometheus: Result<(), EvidenceProblem>,
    pub refused: Option<String>,
    /// Why the gateway takes no route with a mirror, if it takes none.
    pub mirror_refused: Option<String>,
    /// Whether a comparer asks pairs.
    pub compares: bool,
    /// Whether every other pair of the comparer is of a mirrored request.
    pub mirrors: bool,
    /// Whether the gateway leaves the mirror out without a word, so that the comparer counts no such pair.
    pub leaves_mirror_out: bool,
    /// Lines of the golden set that the comparer shows.
    pub lines: Vec<u32>,
    /// Whether every decision is taken once more from what is put on record of the observation.
    pub decides_twice: bool,
    /// The records, where decisions are taken twice.
    pub chain: Chain,
    /// What of the last plan the API server did not take.
    pub not_taken: Option<Vec<Refused>>,
    /// What policies ask.
    pub governance: Governance,
    /// What people want.
    pub people: People,
    /// How the records stand.
    pub ledger: LedgerSeen,
    /// Whether templates are not looked into, as by earlier versions.
    pub blind_to_templates: bool,
    /// How the servers' histograms are stored.
    pub buckets: BucketForm,
    arms: BTreeMap<RevisionRef, Arm>,
    pub last_plan: Option<Plan>,
    next_evaluation: Timestamp,
    pub transcript: String,
    shown: String,
}

impl World {
    /// The variant that is stable; empty where none is.
    pub fn stable(&self) -> &str {
        let stable = self.status.stable.as_ref();
        stable.map_or("", |stable| stable.variant.as_str())
    }

    pub fn new(spec: QuantizedModelSpec) -> Self {
        let start: Timestamp = "2026-11-10T00:00:00Z".parse().unwrap();
        Self {
            now: start,
            start,
            spec,
            generation: 1,
            seen_generation: 1,
            status: QuantizedModelStatus::default(),
            deleted_at: None,
            released: false,
            workloads: BTreeMap::new(),
            coming: Vec::new(),
            route: RouteSeen::default(),
            comparer: None,
            behaviour: BTreeMap::new(),
            prometheus: Ok(()),
            refused: None,
            mirror_refused: None,
            compares: true,
            mirrors: false,
            leaves_mirror_out: false,
            lines: Vec::new(),
            decides_twice: false,
            chain: Chain::default(),
            not_taken: Some(Vec::new()),
            governance: Governance::Ungoverned,
            people: People::default(),
            ledger: LedgerSeen::default(),
            blind_to_templates: false,
            buckets: BucketForm::Classic,
            arms: BTreeMap::new(),
            last_plan: None,
            next_evaluation: start,
            transcript: String::new(),
            shown: String::new(),
        }
    }

    fn behave(&self, variant: &str) -> Behaviour {
        self.behaviour.get(variant).cloned().unwrap_or_default()
    }

    fn model(&self) -> ModelSeen {
        ModelSeen {
            namespace: "risk".into(),
            name: "fraud".into(),
            generation: self.generation,
            deleted_at: self.deleted_at,
            spec: self.spec.clone(),
            revisions: identity::revisions(&self.spec),
            templates: if self.blind_to_templates {
                Vec::new()
            } else {
                template::problems(&self.spec)
            },
            refused: self.not_taken.clone(),
            status: self.status.clone(),
        }
    }

    pub fn observe(&self) -> Observation {
        let model = self.model();
        let evidence = watch(&model, self.now, &QueryScope::default())
            .into_iter()
            .map(|query| (query.guard.clone(), self.answer(&query)))
            .collect();
        let mut route = self.route.clone();
        route.refused = self.refused.clone();
        if let (MirrorSeen::Written(_), Some(why)) = (&route.mirror, &self.mirror_refused) {
            route.refused = Some(why.clone());
            route.mirror = MirrorSeen::Refused(why.clone());
        }
        Observation {
            now: self.now,
            model,
            workloads: self.workloads.clone(),
            route,
            comparer: self.comparer.clone().map(|arms| ComparerSeen { arms, ready: true }),
            evidence,
            governance: self.governance.clone(),
            people: self.people.clone(),
            ledger: self.ledger.clone(),
        }
    }

    /// What is decided; where it is asked for, decided once more from what goes on record.
    fn decide(&mut self) -> Plan {
        let observation = self.observe();
        let plan = decide(&observation);
        if self.decides_twice {
            self.chain.hold(&observation, &plan);
        }
        plan
    }

    /// One evaluation, and all that follows from it.
    pub fn evaluate(&mut self) -> Plan {
        let plan = self.decide();
        self.carry_out(&plan);
        plan
    }

    fn carry_out(&mut self, plan: &Plan) {
        self.apply(plan);
        self.note(plan);
        self.next_evaluation = self.now + plan.again;
        self.last_plan = Some(plan.clone());
    }

    pub fn apply(&mut self, plan: &Plan) {
        self.status = plan.status.clone();
        match plan.scope {
            Scope::StatusOnly | Scope::ConditionsOnly => return,
            // A deletion is on record before anything goes.
            Scope::TearDown | Scope::Release | Scope::Orphan if plan.record == Record::Now => return,
            Scope::TearDown => {
                self.route = RouteSeen::default();
                return;
            }
            Scope::Release | Scope::Orphan => {
                self.released = true;
                self.comparer = None;
                if plan.scope == Scope::Release {
                    self.workloads.clear();
                }
                return;
            }
            Scope::Apply => {}
        }
        for key in &plan.delete {
            self.workloads.remove(key);
            self.coming.retain(|(k, ..)| k != key);
        }
        for (key, wanted) in &plan.workloads {
            let behaviour = self.behave(&key.revision.variant);
            if behaviour.not_taken && !self.workloads.contains_key(key) {
                continue;
            }
            let workload = self.workloads.entry(key.clone()).or_insert_with(|| Workload {
                image_ids: vec!["sha256:aa".into()],
                ..Workload::default()
            });
            workload.marks = wanted.marks.clone();
            let Some(replicas) = wanted.replicas else { continue };
            if replicas > workload.desired && behaviour.starts() && !behaviour.crash {
                self.coming
                    .push((key.clone(), self.now + SignedDuration::from_secs(STARTUP), replicas));
            }
            workload.desired = replicas;
            workload.ready = workload.ready.min(replicas);
            workload.pods = replicas;
        }
        self.comparer.clone_from(&plan.comparer);
        if let Some(route) = &plan.route {
            self.route.exists = true;
            self.route.weights = route.weights.iter().cloned().collect();
            self.route.changed_from = None;
            self.route.mirror = route.mirror.map_or(MirrorSeen::Absent, MirrorSeen::Written);
        }
    }

    /// Somebody sets weights on the route.
    pub fn set_by_hand(&mut self, weights: &[(&str, i32)]) {
        let written = self.route.weights.clone();
        for (revision, weight) in &mut self.route.weights {
            let set = weights.iter().find(|(variant, _)| *variant == revision.variant);
            *weight = set.map_or(*weight, |(_, set)| *set);
        }
        let written = written.into_iter().collect();
        self.route.changed_from.get_or_insert(written);
    }

    /// Lets time pass, evaluating whenever something changes or it is time to.
    pub fn run(&mut self, seconds: i64) {
        self.run_watched(seconds, &mut |_, _, _| {});
    }

    /// The same, showing every evaluation to `watcher`: the world as it was seen, the status before, the plan.
    pub fn run_watched(&mut self, seconds: i64, watcher: &mut dyn FnMut(&Self, &QuantizedModelStatus, &Plan)) {
        let until = self.now + SignedDuration::from_secs(seconds);
        let mut edited = self
            .last_plan
            .as_ref()
            .is_none_or(|_| self.seen_generation != self.generation);
        while self.now < until && !self.released {
            self.now += SignedDuration::from_secs(1);
            let changed = self.live_one_second();
            if changed || edited || self.now >= self.next_evaluation {
                edited = false;
                self.seen_generation = self.generation;
                let before = self.status.clone();
                let plan = self.decide();
                watcher(self, &before, &plan);
                self.carry_out(&plan);
            }
        }
    }

    /// Requests that a revision has served.
    pub fn served(&self, revision: &RevisionRef) -> f64 {
        self.arms.get(revision).map_or(0.0, |arm| arm.total)
    }

    /// Pods come and go, requests flow; whether a watch would tell of anything.
    pub fn live_one_second(&mut self) -> bool {
        let mut changed = false;
        let (due, later) = std::mem::take(&mut self.coming)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, at, _)| *at <= self.now);
        self.coming = later;
        for (key, _, replicas) in due {
            let behaviour = self.behave(&key.revision.variant);
            let now = self.now;
            if let Some(workload) = self
                .workloads
                .get_mut(&key)
                .filter(|_| behaviour.starts() && !behaviour.crash && !behaviour.disrupted)
            {
                workload.ready = replicas.min(workload.desired);
                let pod = format!("{}-7d9c-abcde", object_name(&key.revision, key.purpose));
                workload.pod_starts.entry(pod.clone()).or_insert(now);
                workload.ready_since.entry(pod).or_insert(now);
                changed = true;
            }
        }
        let keys: Vec<_> = self.workloads.keys().cloned().collect();
        for key in keys {
            let behaviour = self.behave(&key.revision.variant);
            let coming = self.coming.iter().any(|(k, ..)| *k == key);
            let now = self.now;
            let Some(workload) = self.workloads.get_mut(&key) else {
                continue;
            };
            let before = workload.clone();
            let wants = workload.desired > 0;
            workload.unschedulable = (behaviour.unschedulable && wants)
                .then(|| "0/3 nodes are available: 3 Insufficient nvidia.com/gpu".to_owned());
            workload.refused = (behaviour.over_quota && workload.ready < workload.desired)
                .then(|| "pods \"fraud-int8\" is forbidden: exceeded quota: gpus".to_owned());
            workload.failure = (behaviour.crash && wants).then(|| {
                "container server is in CrashLoopBackOff: back-off 10s restarting failed container".to_owned()
            });
            workload.never_ready = (behaviour.slow && wants).then(|| "ReplicaSet has timed out progressing".to_owned());
            workload.disruption =
                (behaviour.disrupted && wants).then(|| "DisruptionTarget: node-2 is being drained".to_owned());
            workload.image_ids = (0..behaviour.images).map(|i| format!("sha256:a{i}")).collect();
            if behaviour.crash || behaviour.disrupted {
                workload.ready = 0;
                workload.ready_since.clear();
            } else if behaviour.starts() && workload.ready < workload.desired && !coming {
                self.coming
                    .push((key.clone(), now + SignedDuration::from_secs(STARTUP), workload.desired));
            }
            changed |= before != *workload;
        }
        self.serve();
        changed
    }

    fn serve(&mut self) {
        let by_replicas = self.spec.traffic.service.is_some();
        let joined: Vec<_> = self
            .last_plan
            .iter()
            .flat_map(|p| &p.workloads)
            .map(|(key, w)| {
                (
                    key.revision.clone(),
                    w.joined.of(self.workloads.get(key).map_or(0, |w| w.ready)),
                )
            })
            .filter(|(_, pods)| *pods > 0)
            .collect();
        let shares: Vec<(RevisionRef, f64)> = if by_replicas {
            let sum: i32 = joined.iter().map(|(_, n)| n).sum();
            joined
                .into_iter()
                .map(|(r, n)| (r, f64::from(n) / f64::from(sum.max(1))))
                .collect()
        } else {
            self.route
                .weights
                .iter()
                .map(|(r, w)| (r.clone(), f64::from(*w) / 100.0))
                .collect()
        };
        let now = self.now;
        let scrape = (now.as_second() - self.start.as_second()) % SCRAPE == 0;
        for (revision, share) in shares {
            let behaviour = self.behave(&revision.variant);
            let arm = self.arms.entry(revision).or_default();
            arm.latency.resize(LATENCY_BOUNDS.len() + 1, 0.0);
            arm.score.resize(20, 0.0);
            let n = RPS * share * behaviour.routed;
            if n > 0.0 {
                arm.since.get_or_insert(now);
            }
            let cold = arm
                .since
                .is_some_and(|since| now.duration_since(since).as_secs() < COLD);
            arm.total += n;
            arm.bad += n * if cold {
                behaviour.errors.max(behaviour.cold_errors)
            } else {
                behaviour.errors
            };
            arm.joules += n * behaviour.joules;
            let mut below = 0.0;
            for (i, bound) in LATENCY_BOUNDS.iter().enumerate() {
                let up_to = 1.0 - (-bound / (0.012 * behaviour.slowdown)).exp();
                arm.latency[i] += n * (up_to - below);
                below = up_to;
            }
            arm.latency[LATENCY_BOUNDS.len()] += n * (1.0 - below);
            for (i, score) in arm.score.iter_mut().enumerate() {
                *score += n
                    * (0.05
                        + if i < 10 {
                            -behaviour.drift / 10.0
                        } else {
                            behaviour.drift / 10.0
                        });
            }
        }
        self.compare();
        if scrape {
            for arm in self.arms.values_mut() {
                let floor = |v: &Vec<f64>| v.iter().map(|x| x.floor()).collect();
                let (latency, score) = (floor(&arm.latency), floor(&arm.score));
                arm.history.push(Scrape {
                    at: now.as_millisecond(),
                    total: arm.total.floor(),
                    bad: arm.bad.floor(),
                    joules: arm.joules,
                    pairs: self.compares.then(|| (arm.pairs.floor(), arm.differ.floor())),
                    mirrored: (self.compares && self.mirrors).then(|| (arm.mirrored.0.floor(), arm.mirrored.1.floor())),
                    latency,
                    score,
                });
                let surplus = arm.history.len().saturating_sub(720);
                arm.history.drain(..surplus);
            }
        }
    }
}

impl World {
    /// The comparer asks the reference and what is on trial, or guarded, for as long as both are there.
    fn compare(&mut self) {
        let trial = self.status.rollout.as_ref().map(|rollout| rollout.candidate.clone());
        let on_trial = trial.or_else(|| self.status.stable.clone());
        let (Some(on_trial), Some(reference)) = (on_trial, self.status.reference.clone()) else {
            return;
        };
        let is_ready = |revision: &RevisionRef| {
            let ready = |purpose| {
                let revision = revision.clone();
                let workload = self.workloads.get(&WorkloadKey { revision, purpose });
                workload.is_some_and(|workload| workload.ready > 0)
            };
            ready(Purpose::Serving) || ready(Purpose::Shadow)
        };
        if !self.compares || on_trial == reference || !is_ready(&on_trial) || !is_ready(&reference) {
            return;
        }
        let behaviour = self.behave(&on_trial.variant);
        let mirrored = if self.mirrors && !self.leaves_mirror_out {
            0.5 * PAIRS
        } else {
            0.0
        };
        let arm = self.arms.entry(on_trial).or_default();
        arm.pairs += PAIRS - mirrored;
        arm.differ += (PAIRS - mirrored) * behaviour.differs;
        arm.mirrored.0 += mirrored;
        arm.mirrored.1 += mirrored * behaviour.differs_mirrored;
        let noise = self.behave(&reference.variant).differs_itself;
        let control = self.arms.entry(reference).or_default();
        control.pairs += PAIRS * CONTROL;
        control.differ += PAIRS * CONTROL * noise;
    }
}

fn deployment(revision: &RevisionRef) -> String {
    object_name(revision, Purpose::Serving)
}

fn object_name(revision: &RevisionRef, purpose: Purpose) -> String {
    identity::object_name("risk", "fraud", &revision.variant, &revision.revision, purpose)
}

/// A model with fp32, int8 and int4, steps of 5, 25 and 50 percent held for a minute, evaluations every 5 s.
pub fn spec() -> QuantizedModelSpec {
    let text = include_str!("../../testdata/fraud-scorer.yaml");
    let model: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].clone()).unwrap();
    spec.guards.truncate(3);
    spec.target = Some("int8".into());
    spec.serving.replicas = Some(10);
    spec.variants[1].replicas = Some(10);
    spec.traffic.precision_routes.clear();
    spec.rollout.interval = "5s".into();
    spec.rollout.steps.iter_mut().for_each(|s| s.hold = "1m".into());
    spec.rollout.keep_warm = "5m".into();
    spec.rollout.deadline = "30m".into();
    spec.rollout.schedule_deadline = "5m".into();
    spec
}
