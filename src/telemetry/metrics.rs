//! The metrics. The README lists them.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::{QuantizedModelSpec, QuantizedModelStatus, Role, Verdict, condition};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result_ {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Decided {
    namespace: String,
    name: String,
    action: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfGuard {
    namespace: String,
    name: String,
    guard: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerdict {
    namespace: String,
    name: String,
    guard: String,
    verdict: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRole {
    namespace: String,
    name: String,
    role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCondition {
    namespace: String,
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfModel {
    namespace: String,
    name: String,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Result_, Counter>,
    decisions: Family<Decided, Counter>,
    /// In the order of [`FIGURES`].
    figures: [Family<OfGuard, Gauge<f64, std::sync::atomic::AtomicU64>>; 4],
    verdicts: Family<OfVerdict, Gauge>,
    weights: Family<OfRole, Gauge>,
    conditions: Family<OfCondition, Gauge>,
    calibrations: Family<OfModel, Gauge>,
    leader: Gauge,
    to_action: Histogram,
    query: Histogram,
    /// Label sets in use, so that those of a model that is gone can be removed.
    decided: Mutex<Vec<Decided>>,
    guards: Mutex<Vec<OfGuard>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("guardbit");
        let reconciles = Family::default();
        registry.register("reconciles", "Looks at models, by result", reconciles.clone());
        let decisions = Family::default();
        registry.register("decisions", "Decisions, by action", decisions.clone());
        let figures = FIGURES.map(|(name, help)| {
            let figure = Family::default();
            registry.register(name, help, figure.clone());
            figure
        });
        let verdicts = Family::default();
        registry.register(
            "guard_verdict",
            "1 for the verdict of a guard, 0 for the others",
            verdicts.clone(),
        );
        let weights = Family::default();
        registry.register(
            "traffic_weight_percent",
            "Share of traffic by role, in percent",
            weights.clone(),
        );
        let conditions = Family::default();
        registry.register(
            "condition",
            "Conditions of models: 1 is True, 0 is False, -1 is Unknown",
            conditions.clone(),
        );
        let calibrations = Family::default();
        registry.register(
            "calibration_expiry_timestamp_seconds",
            "When the first calibration up to the target will be older than its maxAge",
            calibrations.clone(),
        );
        let leader = Gauge::default();
        registry.register("leader", "1 while this instance leads", leader.clone());
        let to_action = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register(
            "evidence_to_action_seconds",
            "From asking Prometheus to the last write of a decision",
            to_action.clone(),
        );
        let query = Histogram::new(exponential_buckets(0.001, 2.0, 14));
        registry.register(
            "prometheus_query_seconds",
            "Time until the answer for one guard is there, gathering of questions included",
            query.clone(),
        );
        Self {
            registry,
            reconciles,
            decisions,
            figures,
            verdicts,
            weights,
            conditions,
            calibrations,
            leader,
            to_action,
            query,
            decided: Mutex::default(),
            guards: Mutex::default(),
        }
    }
}

impl Metrics {
    /// A reconcile ended.
    pub fn reconciled(&self, result: &str) {
        self.reconciles
            .get_or_create(&Result_ {
                result: result.to_owned(),
            })
            .inc();
    }

    /// Prometheus answered for a guard.
    pub fn prometheus_query(&self, took: Duration) {
        self.query.observe(took.as_secs_f64());
    }

    /// A decision was carried out, so long after Prometheus was asked.
    pub fn decided(&self, namespace: &str, name: &str, action: &str, took: Duration) {
        let labels = Decided {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            action: action.to_owned(),
        };
        self.decisions.get_or_create(&labels).inc();
        self.to_action.observe(took.as_secs_f64());
        let mut known = self.decided.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.contains(&labels) {
            known.push(labels);
        }
    }

    /// This instance leads from now on.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// What a model's spec says.
    pub fn spec(&self, namespace: &str, name: &str, spec: &QuantizedModelSpec) {
        let labels = of_model(namespace, name);
        match spec.calibration_expires() {
            Some(at) => drop(self.calibrations.get_or_create(&labels).set(at.as_second())),
            None => drop(self.calibrations.remove(&labels)),
        }
    }

    /// What a model's status says.
    pub fn status(&self, namespace: &str, name: &str, status: &QuantizedModelStatus) {
        for role in [Role::Stable, Role::Candidate, Role::Reference] {
            let weight = status
                .arms
                .iter()
                .filter(|a| a.role == role)
                .map(|a| i64::from(a.weight))
                .sum();
            self.weights.get_or_create(&of_role(namespace, name, role)).set(weight);
        }
        for kind in condition::ALL {
            let labels = of_condition(namespace, name, kind);
            match status.conditions.iter().find(|c| c.type_ == kind) {
                Some(condition) => drop(self.conditions.get_or_create(&labels).set(truth(&condition.status))),
                None => drop(self.conditions.remove(&labels)),
            }
        }
        let mut known = self.guards.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|g| {
            let here = g.namespace == namespace && g.name == name;
            let gone = here && !status.guards.iter().any(|s| s.name == g.guard);
            if gone {
                self.remove(g);
            }
            !gone
        });
        for guard in &status.guards {
            let labels = OfGuard {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                guard: guard.name.clone(),
            };
            let texts = [
                &guard.evidence,
                &guard.threshold,
                &guard.health,
                &guard.health_threshold,
            ];
            for (figure, text) in self.figures.iter().zip(texts) {
                figure.get_or_create(&labels).set(number(text));
            }
            for verdict in VERDICTS {
                self.verdicts
                    .get_or_create(&of_verdict(&labels, verdict))
                    .set(i64::from(guard.verdict == verdict));
            }
            if !known.contains(&labels) {
                known.push(labels);
            }
        }
    }

    /// Forgets a model that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        for role in [Role::Stable, Role::Candidate, Role::Reference] {
            self.weights.remove(&of_role(namespace, name, role));
        }
        for kind in condition::ALL {
            self.conditions.remove(&of_condition(namespace, name, kind));
        }
        self.calibrations.remove(&of_model(namespace, name));
        self.guards.lock().unwrap_or_else(PoisonError::into_inner).retain(|g| {
            let here = g.namespace == namespace && g.name == name;
            if here {
                self.remove(g);
            }
            !here
        });
        self.decided.lock().unwrap_or_else(PoisonError::into_inner).retain(|d| {
            let here = d.namespace == namespace && d.name == name;
            if here {
                self.decisions.remove(d);
            }
            !here
        });
    }

    fn remove(&self, guard: &OfGuard) {
        for figure in &self.figures {
            figure.remove(guard);
        }
        for verdict in VERDICTS {
            self.verdicts.remove(&of_verdict(guard, verdict));
        }
    }

    /// All of it, in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

/// What is exported of every guard: name and meaning.
const FIGURES: [(&str, &str); 4] = [
    (
        "guard_evidence",
        "Evidence of harm of a guard; harmful at guardbit_guard_evidence_threshold",
    ),
    ("guard_evidence_threshold", "Where evidence of harm is enough"),
    (
        "guard_health",
        "Evidence of health of a guard; healthy at guardbit_guard_health_threshold",
    ),
    ("guard_health_threshold", "Where evidence of health is enough"),
];

/// A figure as the status writes it: a number, or a power of e where it is too large for people.
fn number(text: &str) -> f64 {
    match text.strip_prefix("e^") {
        Some(power) => power.parse::<f64>().map_or(0.0, f64::exp),
        None => text.parse().unwrap_or(0.0),
    }
}

/// A condition's status as a number.
fn truth(status: &str) -> i64 {
    match status {
        "True" => 1,
        "False" => 0,
        _ => -1,
    }
}

const VERDICTS: [Verdict; 4] = [Verdict::Healthy, Verdict::Harmful, Verdict::Undecided, Verdict::NoData];

fn of_role(namespace: &str, name: &str, role: Role) -> OfRole {
    OfRole {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        role: format!("{role:?}"),
    }
}

fn of_condition(namespace: &str, name: &str, kind: &'static str) -> OfCondition {
    OfCondition {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        r#type: kind,
    }
}

fn of_model(namespace: &str, name: &str) -> OfModel {
    OfModel {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn of_verdict(guard: &OfGuard, verdict: Verdict) -> OfVerdict {
    let OfGuard { namespace, name, guard } = guard.clone();
    OfVerdict {
        namespace,
        name,
        guard,
        verdict: format!("{verdict:?}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn series(metrics: &Metrics) -> Vec<String> {
        let of_models = |line: &&str| line.contains("namespace=\"risk\"");
        metrics.text().lines().filter(of_models).map(str::to_owned).collect()
    }

    #[test]
    fn conditions_are_numbers_and_a_calibration_tells_when_it_gets_too_old() {
        let metrics = Metrics::default();
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-11-10T00:00:00Z"});
        let status = json!({"conditions": [condition("Ready", "True"), condition("Stalled", "False"), condition("Available", "Unknown")]});
        metrics.status("risk", "fraud", &serde_json::from_value(status).expect("a status"));
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let mut model: serde_json::Value = serde_yaml_ng::from_str(sample).expect("YAML");
        // The ladder ends at int8, whose calibration is the first.
        model["spec"]["target"] = json!("int8");
        let dataset = model["spec"]["variants"][1]["calibration"]["dataset"].clone();
        for (variant, completed) in [(1, "2026-11-03T09:00:00Z"), (2, "2026-01-01T00:00:00Z")] {
            model["spec"]["variants"][variant]["calibration"] =
                json!({"dataset": dataset, "completedAt": completed, "maxAge": "720h"});
        }
        let mut spec: QuantizedModelSpec = serde_json::from_value(model["spec"].take()).expect("a spec");
        metrics.spec("risk", "fraud", &spec);
        let shown = series(&metrics);
        for line in [
            r#"guardbit_condition{namespace="risk",name="fraud",type="Ready"} 1"#,
            r#"guardbit_condition{namespace="risk",name="fraud",type="Stalled"} 0"#,
            r#"guardbit_condition{namespace="risk",name="fraud",type="Available"} -1"#,
            r#"guardbit_calibration_expiry_timestamp_seconds{namespace="risk",name="fraud"} 1796288400"#,
        ] {
            assert!(
                shown.iter().any(|s| s == line),
                "{line} is not in\n{}",
                shown.join("\n")
            );
        }
        spec.target = Some("fp32".into());
        metrics.spec("risk", "fraud", &spec);
        assert!(
            !series(&metrics).iter().any(|s| s.contains("calibration")),
            "no calibration, no age"
        );
    }

    #[test]
    fn nothing_is_told_of_a_model_that_is_gone() {
        let metrics = Metrics::default();
        let guard = json!({"name": "errors", "verdict": "Healthy", "evidence": "1", "threshold": "20", "health": "1", "healthThreshold": "20",
            "candidate": {"total": 1, "bad": 0}, "baseline": {"total": 1, "bad": 0}, "estimate": "", "message": ""});
        let conditions: Vec<_> = condition::ALL
            .iter()
            .map(|kind| json!({"type": kind, "status": "True", "reason": "R", "message": "", "lastTransitionTime": "2026-11-10T00:00:00Z"}))
            .collect();
        let status = json!({"guards": [guard], "conditions": conditions});
        metrics.status("risk", "fraud", &serde_json::from_value(status).expect("a status"));
        metrics.decided("risk", "fraud", "RolledBack", Duration::ZERO);
        assert!(series(&metrics).len() > 15);
        metrics.forget("risk", "fraud");
        assert_eq!(series(&metrics), Vec::<String>::new());
    }

    #[test]
    fn an_instance_tells_whether_it_leads() {
        let metrics = Metrics::default();
        assert!(metrics.text().contains("guardbit_leader 0\n"));
        metrics.leads();
        assert!(metrics.text().contains("guardbit_leader 1\n"));
    }
}
