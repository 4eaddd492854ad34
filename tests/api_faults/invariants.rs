//! The invariants of a rollout, checked on every event of a history. What a decision allows is read from the status that
//! stood when the API server took the write, not from what guardbit knew.

use std::collections::BTreeMap;

use guardbit::api::{Action, Decision, QuantizedModelStatus, RevisionRef, Verdict};
use guardbit::model::identity::{Purpose, object_name};

use crate::history::{Entry, Route, Seen, State, weights_of};
use crate::metrics::served;

/// Name of the model in every world.
pub const MODEL: &str = "m";

/// What is wrong in a history; `replicas` are the pods that a stable revision needs, by variant.
pub fn violations(namespace: &str, entries: &[Entry], replicas: &BTreeMap<&str, i64>) -> Vec<String> {
    let mut heard: Vec<&Entry> = entries.iter().collect();
    heard.sort_by_key(|e| e.at);
    let mut check = Check {
        namespace,
        replicas,
        heard,
        state: State::default(),
        endpoints: BTreeMap::new(),
        rises: BTreeMap::new(),
        at_rise: BTreeMap::new(),
        found: Vec::new(),
    };
    for entry in entries {
        match &entry.seen {
            Seen::Route(route) => check.route(route),
            Seen::Model(status) => check.status(entry.at, status),
            Seen::Endpoints(service, ready) => drop(check.endpoints.insert(service.clone(), *ready)),
            Seen::Deployment(..) | Seen::Record(_) | Seen::Authors(_) | Seen::Act(..) => {}
        }
        check.state.apply(entry);
        check.fallback();
    }
    check.found.dedup();
    check.found
}

struct Check<'a> {
    namespace: &'a str,
    replicas: &'a BTreeMap<&'a str, i64>,
    /// All events in the order in which they were heard of, as the metrics hear of them.
    heard: Vec<&'a Entry>,
    state: State,
    endpoints: BTreeMap<String, usize>,
    /// How often a candidate rose to a weight.
    rises: BTreeMap<(String, i64), usize>,
    /// Requests that each guard had counted when the last rise was recorded.
    at_rise: BTreeMap<String, i64>,
    found: Vec<String>,
}

impl Check<'_> {
    fn name(&self, revision: &RevisionRef) -> String {
        object_name(
            self.namespace,
            MODEL,
            &revision.variant,
            &revision.revision,
            Purpose::Serving,
        )
    }

    /// Whether a backend serves this revision.
    fn is(&self, backend: &str, revision: Option<&RevisionRef>) -> bool {
        revision.is_some_and(|r| self.name(r) == backend)
    }

    /// What the route gives to a revision.
    fn weight(&self, revision: &RevisionRef) -> i64 {
        let weights = &self.state.route.weights;
        weights.get(&self.name(revision)).copied().unwrap_or(0)
    }

    fn complain(&mut self, what: String) {
        self.found.push(what);
    }

    /// A write of the route, judged by the status that stood before it.
    fn route(&mut self, route: &Route) {
        let status = self.state.status.clone();
        let sum: i64 = route.weights.values().sum();
        if !route.weights.is_empty() && sum != 100 {
            self.complain(format!("weights sum to {sum}: {route:?}"));
        }
        let mut others = 0;
        for (backend, weight) in &route.weights {
            let control = self.is(backend, status.stable.as_ref()) || self.is(backend, status.reference.as_ref());
            others += usize::from(*weight > 0 && !control);
            let before = self.state.route.weights.get(backend).copied().unwrap_or(0);
            if *weight > before {
                self.rise(backend, before, *weight, route);
            }
        }
        if others > 1 {
            self.complain(format!("more than one candidate has weight: {route:?}"));
        }
        let reference = status.reference.as_ref();
        for pinned in &route.pinned {
            let own = reference.map(|r| object_name(self.namespace, MODEL, &r.variant, &r.revision, Purpose::Pinned));
            if !self.is(pinned, reference) && own.as_ref() != Some(pinned) {
                self.complain(format!("pinned requests reach {pinned}"));
            }
        }
    }

    fn rise(&mut self, backend: &String, before: i64, weight: i64, route: &Route) {
        let status = &self.state.status;
        let ready = |name: &String| self.endpoints.get(name).copied().unwrap_or(0) > 0;
        let mut found = Vec::new();
        if !ready(backend) && route.weights.keys().any(ready) {
            found.push(format!("{backend} rises to {weight} without a ready endpoint"));
        }
        let rejected = status.rejected.iter().map(|r| revision(&r.variant, &r.revision));
        if let Some(r) = rejected.into_iter().find(|r| self.is(backend, Some(r))) {
            found.push(format!("{} rises to {weight} although it was rejected", r.variant));
        }
        if !self.is(backend, status.stable.as_ref()) && !self.is(backend, status.reference.as_ref()) {
            // A rise uses its decision up: whoever was lowered needs another one.
            let rises = self.rises.entry((backend.clone(), weight)).or_default();
            *rises += 1;
            let rises = *rises;
            let rollout = status.rollout.as_ref();
            let raised = rollout.is_some_and(|r| {
                self.is(backend, Some(&r.candidate))
                    && i64::from(r.weight) >= weight
                    && recorded(status, &r.candidate, weight) >= rises
            });
            if !raised {
                found.push(format!(
                    "{backend} rises from {before} to {weight}, which no recorded decision allows; rollout: {:?}, last decision: {:?}",
                    rollout.map(|r| (&r.candidate.variant, r.weight)),
                    status.decisions.last().map(|d| (&d.action, &d.variant, &d.why)),
                ));
            }
        }
        self.found.extend(found);
    }

    /// A write of the status, judged by the one before and by the route that stood.
    fn status(&mut self, at: i64, status: &QuantizedModelStatus) {
        let before = self.state.status.clone();
        if !status.decisions.starts_with(&before.decisions) {
            self.complain(format!("a recorded decision is lost: {:?}", before.decisions));
        }
        for rejected in &status.rejected {
            let new = |r: &guardbit::api::Rejected| r.revision != rejected.revision || r.variant != rejected.variant;
            let weight = self.weight(&revision(&rejected.variant, &rejected.revision));
            if before.rejected.iter().all(new) && weight > 0 {
                self.complain(format!(
                    "{} was recorded as harmful while it had {weight}%",
                    rejected.variant
                ));
            }
        }
        for decision in status.decisions.iter().skip(before.decisions.len()) {
            self.decision(decision, &before, status);
        }
        self.evidence(at, &before, status);
    }

    /// A decision that is new on record, by the evidence that was recorded with it.
    fn decision(&mut self, decision: &Decision, before: &QuantizedModelStatus, status: &QuantizedModelStatus) {
        match decision.action.known() {
            Some(Action::Raised) => {
                let above = before.rollout.as_ref().is_some_and(|r| r.weight > 0);
                let counted = status.guards.iter().map(|g| (g.name.clone(), g.candidate.total));
                let counted: BTreeMap<String, i64> = counted.collect();
                let fresh = |(name, last): (&String, &i64)| counted.get(name).is_some_and(|now| now > last);
                if above && !self.at_rise.iter().all(fresh) {
                    self.complain(format!(
                        "raised without evidence since the last rise: {counted:?}, then {:?}: {}",
                        self.at_rise, decision.why
                    ));
                }
                self.at_rise = counted;
            }
            Some(Action::Promoting) => {
                let healthy = status.guards.iter().all(|g| g.verdict == Verdict::Healthy);
                if status.guards.is_empty() || !healthy {
                    let verdicts: Vec<_> = status.guards.iter().map(|g| (&g.name, &g.verdict)).collect();
                    self.complain(format!("a promotion without health: {verdicts:?}"));
                }
            }
            Some(Action::RolledBack) => {
                let rejected = |r: &guardbit::api::Rejected| r.revision == decision.revision;
                if !status.rejected.iter().any(rejected) {
                    self.complain(format!("a rollback without a rejection: {}", decision.why));
                }
            }
            _ => {}
        }
    }

    /// Requests are counted, each of them once, and stay counted.
    fn evidence(&mut self, at: i64, before: &QuantizedModelStatus, status: &QuantizedModelStatus) {
        // Guards judge whom the last decision was about.
        let judged = status.decisions.last().map(|d| revision(&d.variant, &d.revision));
        let most = judged.map_or(0, |judged| {
            let weights = weights_of(self.heard.iter().copied(), &self.name(&judged));
            served(&weights, at, |_| 1.0)
        });
        let same_trial = before.rollout.as_ref().map(|r| &r.plan_digest)
            == status.rollout.as_ref().map(|r| &r.plan_digest)
            && before.stable == status.stable;
        for guard in &status.guards {
            if u64::try_from(guard.candidate.total).is_ok_and(|total| total > most) {
                self.complain(format!(
                    "{} requests were counted, and {most} were served",
                    guard.candidate.total
                ));
            }
            let known = before.guards.iter().find(|g| g.name == guard.name);
            if let Some(known) = known.filter(|k| same_trial && k.candidate.total > guard.candidate.total) {
                self.complain(format!(
                    "evidence was forgotten: {} requests, then {}",
                    known.candidate.total, guard.candidate.total
                ));
            }
        }
    }

    /// The fallback has its capacity while the candidate has weight.
    fn fallback(&mut self) {
        let status = &self.state.status;
        let (Some(stable), Some(rollout)) = (&status.stable, &status.rollout) else {
            return;
        };
        let weight = self.weight(&rollout.candidate);
        let has = self.state.deployments.get(&self.name(stable)).map_or(0, |d| d.replicas);
        let needs = self.replicas.get(stable.variant.as_str()).copied().unwrap_or(1);
        if weight > 0 && has < needs {
            self.complain(format!(
                "{} has {has} of {needs} replicas while the candidate has {weight}%",
                stable.variant
            ));
        }
    }
}

fn revision(variant: &str, revision: &str) -> RevisionRef {
    RevisionRef {
        variant: variant.to_owned(),
        revision: revision.to_owned(),
    }
}

/// How often the rise to a weight is on record.
fn recorded(status: &QuantizedModelStatus, candidate: &RevisionRef, weight: i64) -> usize {
    let of = |d: &&Decision| {
        d.action == Action::Raised && d.revision == candidate.revision && d.why.starts_with(&format!("to {weight}%"))
    };
    status.decisions.iter().filter(of).count()
}

/// How long a candidate that ended at 0 had its last weight, in milliseconds.
pub fn lowered_after(entries: &[Entry]) -> Option<i64> {
    let routes = entries.iter().filter_map(|e| match &e.seen {
        Seen::Route(route) => Some((e.at, route.of_candidate())),
        _ => None,
    });
    let mut weights: Vec<(i64, i64)> = routes.collect();
    weights.dedup_by_key(|(_, weight)| *weight);
    match weights.as_slice() {
        [.., (raised, _), (lowered, 0)] => Some(lowered - raised),
        _ => None,
    }
}
