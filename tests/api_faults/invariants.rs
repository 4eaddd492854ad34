//! The invariants of a rollout, checked on every event of a history. What a decision allows is read from the status that
//! stood when the API server took the write, not from what guardbit knew.

use std::collections::BTreeMap;

use guardbit::api::{Action, Decision, QuantizedModelStatus, RevisionRef};
use guardbit::identity::{Purpose, object_name};

use crate::history::{Entry, Route, Seen, State};

/// Name of the model in every world.
pub const MODEL: &str = "m";

/// What is wrong in a history; `replicas` are the pods that a stable revision needs, by variant.
pub fn violations(namespace: &str, entries: &[Entry], replicas: &BTreeMap<&str, i64>) -> Vec<String> {
    let mut check = Check {
        namespace,
        replicas,
        state: State::default(),
        endpoints: BTreeMap::new(),
        rises: BTreeMap::new(),
        found: Vec::new(),
    };
    for entry in entries {
        match &entry.seen {
            Seen::Route(route) => check.route(route),
            Seen::Model(status) => check.status(status),
            Seen::Endpoints(service, ready) => drop(check.endpoints.insert(service.clone(), *ready)),
            Seen::Deployment(..) => {}
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
    state: State,
    endpoints: BTreeMap<String, usize>,
    /// How often a candidate rose to a weight.
    rises: BTreeMap<(String, i64), usize>,
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

    /// A write of the route, judged by the status that stood before it.
    fn route(&mut self, route: &Route) {
        let status = self.state.status.clone();
        let sum: i64 = route.weights.values().sum();
        if !route.weights.is_empty() && sum != 100 {
            self.found.push(format!("weights sum to {sum}: {route:?}"));
        }
        let rollout = status.rollout.as_ref();
        let mut others = 0;
        for (backend, weight) in &route.weights {
            let before = self.state.route.weights.get(backend).copied().unwrap_or(0);
            let control = self.is(backend, status.stable.as_ref()) || self.is(backend, status.reference.as_ref());
            others += usize::from(*weight > 0 && !control);
            if *weight <= before {
                continue;
            }
            let ready = |name: &String| self.endpoints.get(name).copied().unwrap_or(0) > 0;
            if !ready(backend) && route.weights.keys().any(ready) {
                self.found
                    .push(format!("{backend} rises to {weight} without a ready endpoint"));
            }
            if let Some(r) = status.rejected.iter().find(|r| {
                let revision = RevisionRef {
                    variant: r.variant.clone(),
                    revision: r.revision.clone(),
                };
                self.is(backend, Some(&revision))
            }) {
                self.found
                    .push(format!("{} rises to {weight} although it was rejected", r.variant));
            }
            if control {
                continue;
            }
            // A rise uses its decision up: whoever was lowered needs another one.
            let rises = self.rises.entry((backend.clone(), *weight)).or_default();
            *rises += 1;
            let rises = *rises;
            let raised = rollout.is_some_and(|r| {
                self.is(backend, Some(&r.candidate))
                    && i64::from(r.weight) >= *weight
                    && recorded(&status, &r.candidate, *weight) >= rises
            });
            if !raised {
                self.found.push(format!(
                    "{backend} rises from {before} to {weight}, which no recorded decision allows; rollout: {:?}, last decision: {:?}",
                    rollout.map(|r| (&r.candidate.variant, r.weight)),
                    status.decisions.last().map(|d| (d.action, &d.variant, &d.why)),
                ));
            }
        }
        if others > 1 {
            self.found
                .push(format!("more than one candidate has weight: {route:?}"));
        }
        let reference = status.reference.as_ref();
        for pinned in &route.pinned {
            let own = reference.map(|r| object_name(self.namespace, MODEL, &r.variant, &r.revision, Purpose::Pinned));
            if !self.is(pinned, reference) && own.as_ref() != Some(pinned) {
                self.found.push(format!("pinned requests reach {pinned}"));
            }
        }
    }

    /// A write of the status, judged by the one before and by the route that stood.
    fn status(&mut self, status: &QuantizedModelStatus) {
        let before = &self.state.status;
        if !status.decisions.starts_with(&before.decisions) {
            self.found
                .push(format!("a recorded decision is lost: {:?}", before.decisions));
        }
        for rejected in &status.rejected {
            if before
                .rejected
                .iter()
                .any(|r| r.revision == rejected.revision && r.variant == rejected.variant)
            {
                continue;
            }
            let revision = RevisionRef {
                variant: rejected.variant.clone(),
                revision: rejected.revision.clone(),
            };
            let weight = self
                .state
                .route
                .weights
                .get(&self.name(&revision))
                .copied()
                .unwrap_or(0);
            if weight > 0 {
                self.found.push(format!(
                    "{} was recorded as harmful while it had {weight}%",
                    rejected.variant
                ));
            }
        }
        for guard in &status.guards {
            let known = before.guards.iter().find(|g| g.name == guard.name);
            let same_trial = before.rollout.as_ref().map(|r| &r.plan_digest)
                == status.rollout.as_ref().map(|r| &r.plan_digest)
                && before.stable == status.stable;
            if let Some(known) = known.filter(|_| same_trial)
                && known.candidate.total > guard.candidate.total
            {
                self.found.push(format!(
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
        let weight = self
            .state
            .route
            .weights
            .get(&self.name(&rollout.candidate))
            .copied()
            .unwrap_or(0);
        let has = self.state.deployments.get(&self.name(stable)).map_or(0, |d| d.replicas);
        let needs = self.replicas.get(stable.variant.as_str()).copied().unwrap_or(1);
        if weight > 0 && has < needs {
            self.found.push(format!(
                "{} has {has} of {needs} replicas while the candidate has {weight}%",
                stable.variant
            ));
        }
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
        Seen::Route(route) => Some((
            e.at,
            route
                .weights
                .iter()
                .find(|(name, _)| name.contains("-int8-"))
                .map_or(0, |(_, w)| *w),
        )),
        _ => None,
    });
    let mut weights: Vec<(i64, i64)> = routes.collect();
    weights.dedup_by_key(|(_, weight)| *weight);
    match weights.as_slice() {
        [.., (raised, _), (lowered, 0)] => Some(lowered - raised),
        _ => None,
    }
}
