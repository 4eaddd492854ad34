//! The metrics. The README lists them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use crate::api::{ActKind, ActState, Action, Condition, QuantizedModelStatus};
use crate::guards::GuardReport;

use super::models::Models;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Result_ {
    result: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Namespace {
    namespace: String,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Result_, Counter>,
    admission: Family<Namespace, Gauge>,
    models: Arc<Models>,
    leader: Gauge,
    to_action: Histogram,
    query: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("guardbit");
        let reconciles = Family::default();
        registry.register("reconciles", "Evaluations of models, by result", reconciles.clone());
        let admission = Family::default();
        registry.register(
            "admission_on",
            "1 while admission refuses actions in the name of others and keeps records as they are, 0 while it does not",
            admission.clone(),
        );
        let models = Arc::new(Models::default());
        registry.register_collector(Box::new(Arc::clone(&models)));
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
            admission,
            models,
            leader,
            to_action,
            query,
        }
    }
}

impl Metrics {
    /// Counts a reconcile that ended.
    pub fn reconciled(&self, result: &str) {
        self.reconciles
            .get_or_create(&Result_ {
                result: result.to_owned(),
            })
            .inc();
    }

    /// Counts an answer of Prometheus for a guard.
    pub fn prometheus_query(&self, took: Duration) {
        self.query.observe(took.as_secs_f64());
    }

    /// Notes a decision that was carried out, this long after Prometheus was asked.
    pub fn decided(&self, namespace: &str, name: &str, action: Action, took: Duration) {
        self.models.decided(namespace, name, action);
        self.to_action.observe(took.as_secs_f64());
    }

    /// Counts a record of a decision that was written.
    pub fn recorded(&self, namespace: &str, name: &str) {
        self.models.recorded(namespace, name);
    }

    /// Notes how many records of a model exist. What is written and deleted from then on is counted along.
    pub fn records_kept(&self, namespace: &str, name: &str, kept: usize) {
        self.models.records_kept(namespace, name, kept);
    }

    /// Notes that so many records of a model were deleted.
    pub fn records_deleted(&self, namespace: &str, name: &str, deleted: usize) {
        self.models.records_deleted(namespace, name, deleted);
    }

    /// Notes how many records of a model do not exist yet.
    pub fn records_pending(&self, namespace: &str, name: &str, pending: usize) {
        self.models.records_pending(namespace, name, pending);
    }

    /// Notes whether admission does its part in a namespace.
    pub fn admission(&self, namespace: &str, is_on: bool) {
        let namespace = namespace.to_owned();
        let gauge = self.admission.get_or_create(&Namespace { namespace });
        gauge.set(i64::from(is_on));
    }

    /// Notes what became of the acts of a model, and whether a policy freezes it; `None` where no policy selects it.
    pub fn people(&self, namespace: &str, name: &str, acts: &[(ActKind, ActState)], frozen: Option<bool>) {
        self.models.people(namespace, name, acts, frozen);
    }

    /// Notes that this instance leads from now on.
    pub fn leads(&self) {
        self.leader.set(1);
    }

    /// Notes what a model's spec says.
    pub fn calibration_expires(&self, namespace: &str, name: &str, at: Option<Timestamp>) {
        self.models.calibration_expires(namespace, name, at);
    }

    /// Notes what a model's status says, and how its guards were judged.
    pub fn status(&self, namespace: &str, name: &str, status: &QuantizedModelStatus, judged: &[GuardReport]) {
        self.models.status(namespace, name, status, judged);
    }

    /// Notes the conditions of a model, where nothing else is known of it.
    pub fn conditions(&self, namespace: &str, name: &str, conditions: &[Condition]) {
        self.models.conditions(namespace, name, conditions);
        self.models.forget_guards(namespace, name);
    }

    /// Forgets a model that is gone.
    pub fn forget(&self, namespace: &str, name: &str) {
        self.models.forget(namespace, name);
    }

    /// All metrics, in OpenMetrics text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string cannot fail.
        let _ = encode(&mut out, &self.registry);
        out
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::{QuantizedModelSpec, condition};
    use crate::guards::{Kind, Proportion, Suite, SuiteConfig};
    use crate::judge::{Regime, Tolerance};
    use crate::model::calibration_expires;

    fn series(metrics: &Metrics) -> Vec<String> {
        let of_models = |line: &&str| line.contains("namespace=\"risk\"");
        metrics.text().lines().filter(of_models).map(str::to_owned).collect()
    }

    /// A guard that has seen nothing yet.
    fn report() -> GuardReport {
        let tolerance = Tolerance {
            ratio: 1.0,
            absolute: 0.0,
        };
        let config = SuiteConfig {
            guards: [("errors".to_owned(), Kind::Proportion(Proportion { tolerance }))].into(),
            regime: Regime::Rollout {
                false_rollback: 0.05,
                false_promotion: 0.05,
            },
        };
        Suite::default().reports(&config).remove(0)
    }

    #[test]
    fn figures_are_the_numbers_of_the_last_judgement_and_not_what_the_status_writes_for_people() {
        let metrics = Metrics::default();
        let guard = json!({"name": "errors", "verdict": "Unheard", "evidence": "e^25", "threshold": "20.00", "health": "1.00", "healthThreshold": "20.00",
            "candidate": {"total": 1, "bad": 0}, "baseline": {"total": 1, "bad": 0}, "estimate": "", "message": ""});
        let status: QuantizedModelStatus = serde_json::from_value(json!({"guards": [guard]})).expect("a status");
        let figure = || series(&metrics).into_iter().find(|s| s.contains("guard_evidence{"));
        metrics.status("risk", "fraud", &status, &[]);
        assert_eq!(figure(), None, "not judged by this process");
        for judged in [&[report()][..], &[]] {
            metrics.status("risk", "fraud", &status, judged);
            let shown = r#"guardbit_guard_evidence{namespace="risk",name="fraud",guard="errors"} 1.0"#;
            assert_eq!(
                figure().as_deref(),
                Some(shown),
                "an evaluation that judges nothing changes nothing"
            );
        }
        let verdicts = series(&metrics).into_iter().filter(|s| s.contains("guard_verdict"));
        assert!(
            verdicts.clone().count() == 4 && verdicts.into_iter().all(|s| s.ends_with(" 0")),
            "a word that nobody knows"
        );
    }

    #[test]
    fn conditions_are_numbers_and_a_calibration_tells_when_it_gets_too_old() {
        let metrics = Metrics::default();
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "", "lastTransitionTime": "2026-11-10T00:00:00Z"});
        let status = json!({"conditions": [condition("Ready", "True"), condition("Stalled", "False"), condition("Available", "Unknown")]});
        metrics.status("risk", "fraud", &serde_json::from_value(status).expect("a status"), &[]);
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
        metrics.calibration_expires("risk", "fraud", calibration_expires(&spec));
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
        metrics.calibration_expires("risk", "fraud", calibration_expires(&spec));
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
        metrics.status(
            "risk",
            "fraud",
            &serde_json::from_value(status).expect("a status"),
            &[report()],
        );
        metrics.decided("risk", "fraud", Action::RolledBack, Duration::ZERO);
        metrics.recorded("risk", "fraud");
        metrics.records_pending("risk", "fraud", 2);
        metrics.records_kept("risk", "fraud", 1);
        metrics.people("risk", "fraud", &[(ActKind::Pause, ActState::InForce)], Some(true));
        assert!(series(&metrics).len() > 15);
        metrics.forget("risk", "fraud");
        assert_eq!(series(&metrics), Vec::<String>::new());
    }

    #[test]
    fn records_are_told_of_models_that_have_some() {
        let metrics = Metrics::default();
        metrics.decided("risk", "fraud", Action::Promoted, Duration::ZERO);
        assert!(!series(&metrics).iter().any(|line| line.contains("records")));
        metrics.recorded("risk", "fraud");
        metrics.records_pending("risk", "fraud", 2);
        let told: Vec<_> = series(&metrics)
            .into_iter()
            .filter(|line| line.contains("records"))
            .collect();
        let labels = r#"{namespace="risk",name="fraud"}"#;
        let expected = [
            format!("guardbit_records_total{labels} 1"),
            format!("guardbit_records_pending{labels} 2"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn records_that_exist_are_told_once_they_were_counted() {
        let metrics = Metrics::default();
        let told = || {
            let kept = series(&metrics).into_iter().find(|line| line.contains("records_kept"));
            kept.map(|line| line.rsplit(' ').next().unwrap_or_default().to_owned())
        };
        metrics.recorded("risk", "fraud");
        assert_eq!(told(), None, "there may be others of before");
        metrics.records_kept("risk", "fraud", 310);
        assert_eq!(told().as_deref(), Some("310"));
        metrics.recorded("risk", "fraud");
        assert_eq!(told().as_deref(), Some("311"));
        metrics.records_deleted("risk", "fraud", 100);
        assert_eq!(told().as_deref(), Some("211"));
    }

    #[test]
    fn what_people_and_policies_hold_up_is_told_of_models_that_they_concern() {
        let metrics = Metrics::default();
        let told = |metrics: &Metrics| -> Vec<String> {
            let names = ["acts{", "frozen{", "awaiting_", "policy_findings{"];
            let of_people = |line: &String| names.iter().any(|name| line.starts_with(&format!("guardbit_{name}")));
            series(metrics).into_iter().filter(of_people).collect()
        };
        let status =
            |status: serde_json::Value| -> QuantizedModelStatus { serde_json::from_value(status).expect("a status") };
        metrics.status("risk", "fraud", &status(json!({})), &[]);
        metrics.people("risk", "fraud", &[], None);
        assert_eq!(told(&metrics), Vec::<String>::new());
        let finding =
            |enforced: bool| json!({"policy": "p", "rule": "floor.minBits", "message": "m", "enforced": enforced});
        let awaiting = json!({"before": "Promotion", "changeDigest": "sha256:0", "variant": "int8", "revision": "v1:8",
            "since": "2026-11-10T00:00:00Z", "need": 2, "may": "", "command": ""});
        let policy = json!({"digest": "sha256:0", "findings": [finding(true), finding(true), finding(false)]});
        metrics.status(
            "risk",
            "fraud",
            &status(json!({"awaiting": awaiting, "policy": policy})),
            &[],
        );
        let acts = [
            (ActKind::Approve, ActState::InForce),
            (ActKind::Approve, ActState::InForce),
            (ActKind::BreakGlass, ActState::Lapsed),
        ];
        metrics.people("risk", "fraud", &acts, Some(true));
        let labels = r#"namespace="risk",name="fraud""#;
        assert_eq!(
            told(&metrics),
            [
                format!(r#"guardbit_acts{{{labels},action="Approve",state="InForce"}} 2"#),
                format!(r#"guardbit_acts{{{labels},action="BreakGlass",state="Lapsed"}} 1"#),
                format!(
                    r#"guardbit_awaiting_approval_since_timestamp_seconds{{{labels},before="Promotion"}} 1794268800"#
                ),
                format!(r#"guardbit_policy_findings{{{labels},enforced="true"}} 2"#),
                format!(r#"guardbit_policy_findings{{{labels},enforced="false"}} 1"#),
                format!(r#"guardbit_frozen{{{labels}}} 1"#),
            ]
        );
        metrics.people("risk", "fraud", &[], Some(false));
        assert!(
            told(&metrics)
                .iter()
                .any(|line| line.ends_with("frozen{namespace=\"risk\",name=\"fraud\"} 0"))
        );
        assert!(!told(&metrics).iter().any(|line| line.contains("guardbit_acts")));
    }

    #[test]
    fn an_instance_tells_whether_it_leads() {
        let metrics = Metrics::default();
        assert!(metrics.text().contains("guardbit_leader 0\n"));
        metrics.leads();
        assert!(metrics.text().contains("guardbit_leader 1\n"));
    }
}
