//! Pairs of answers: a rollout that compares them, what comparers counted, and what was judged of it.

use std::time::Duration;

use guardbit::api::{Decision, GuardStatus, Phase, QuantizedModelStatus, RevisionRef};
use guardbit::compare::digest;
use guardbit::model::identity::{comparer_name, short};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::ResourceExt;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};

use crate::acts::until;
use crate::prometheus::series;
use crate::stage::{MODEL, Setting, Stage, setting, shared_prometheus};

/// Name of the golden set that a stage begins with.
const GOLDEN: &str = "golden";

/// Pairs a second.
const RATE: u64 = 50;

/// Most pairs that were asked since what was judged last, or of which nobody knows whether they were counted.
const UNDER_WAY: u64 = 4 * RATE;

/// Where the servers are asked over the Open Inference Protocol.
pub const INFER: &str = "/v2/models/fraud-scorer/infer";

/// A question over it: the transaction with this number.
pub fn question(number: u64) -> Value {
    json!({"inputs": [{"name": "id", "shape": [1], "datatype": "INT64", "data": [number]}]})
}

/// A golden set: four hundred transactions, from this number on.
pub fn golden(first: u64) -> String {
    (first..first + 400)
        .map(|number| format!("{}\n", question(number)))
        .collect()
}

/// A rollout of int8 that is compared with fp32 in so many pairs before its first weight. Its weights are those of fp32: all that
/// makes a difference are faults.
pub fn compared(test: &str, pairs: u64) -> Setting {
    asking(setting(test).variants(&["fp32", "int8"]))
        .with("/rollout/shadow", json!({"pairs": pairs}))
        .with("/variants/1/template", same_weights(0.0))
}

/// A comparer and its guard beside the guards on errors and latency.
pub fn asking(setting: Setting) -> Setting {
    let image = std::env::var("GUARDBIT_TEST_COMPARER_IMAGE").unwrap_or_else(|_| "localhost/guardbit:e2e".to_owned());
    let mut setting = setting
        .guards(&["errors", "latency"])
        .flag(&format!("--comparer-image={image}"));
    let spec = setting.spec();
    spec["guards"]
        .as_array_mut()
        .expect("guards")
        .push(json!({"name": "agreement", "agreement": {"tolerance": {"absolute": "5%"}}}));
    spec["comparer"] = json!({
        "protocol": "OpenInference",
        "golden": {"configMap": GOLDEN, "digest": digest(golden(0).as_bytes()), "path": INFER},
        "rate": RATE.to_string(),
        "budget": {"pairs": 1_000_000},
        "answer": {"threshold": "0.5"},
    });
    setting
}

/// The server of int8 with the weights of full precision, which answers a share of the inputs otherwise.
pub fn same_weights(otherwise: f64) -> Value {
    let args = [
        "serve",
        "--service-time-ms=5",
        "--enable-faults",
        "--weights=/weights/fp32.bin",
    ];
    let env = json!([{"name": "FAULT_OTHERWISE", "value": otherwise.to_string()}]);
    json!({"spec": {"containers": [{"name": "server", "args": args, "env": env}]}})
}

/// Starts a stage, with its golden set.
pub async fn begin(setting: Setting) -> Stage {
    let stage = setting.start().await;
    stage.create_golden(GOLDEN, &golden(0)).await;
    stage
}

/// The process of the comparer of a namespace, on the only node.
pub fn comparer_process(namespace: &str) -> u32 {
    let asks_arms_of = format!(".{namespace}.svc:");
    let is_it = |pid: &u32| {
        std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
            .is_ok_and(|args| args.split('\0').nth(1) == Some("compare") && args.contains(&asks_arms_of))
    };
    let entries = std::fs::read_dir("/proc").expect("processes").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found: Vec<u32> = pids.filter(is_it).collect();
    let [pid] = found[..] else {
        panic!("one comparer of {namespace}, and not {found:?}")
    };
    pid
}

/// What is judged of the pairs.
pub fn agreement(status: &QuantizedModelStatus) -> Option<&GuardStatus> {
    status.guards.iter().find(|guard| guard.name == "agreement")
}

/// Pairs of the candidate that were judged.
pub fn judged(status: &QuantizedModelStatus) -> u64 {
    agreement(status).map_or(0, |guard| u64::try_from(guard.candidate.total).expect("a count"))
}

/// What Prometheus saw of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scraped {
    /// By how much they rose after their first sample; one that fell was at 0 in between.
    pub risen: u64,
    /// With what their first samples showed.
    pub all: u64,
}

impl Stage {
    /// Creates a golden set.
    pub async fn create_golden(&self, name: &str, set: &str) {
        let document = json!({"metadata": {"name": name}, "data": {"golden.jsonl": set}});
        let document = serde_json::from_value(document).expect("a ConfigMap");
        self.api::<ConfigMap>()
            .create(&PostParams::default(), &document)
            .await
            .expect("created");
    }

    /// The pod of the comparer, if there is one that does not go.
    pub async fn comparer(&self) -> Option<Pod> {
        let name = format!("{}-", comparer_name(MODEL));
        let pods = self.api::<Pod>().list(&ListParams::default()).await.expect("listed");
        let is = |pod: &Pod| pod.name_any().starts_with(&name) && pod.metadata.deletion_timestamp.is_none();
        pods.items.into_iter().find(is)
    }

    /// The candidate is rolled back by the agreement guard, rejected, and its comparer goes; returns the decision.
    pub async fn rejected_for_its_answers(&self) -> Decision {
        let decision = self.rolled_back("agreement").await;
        let is_beyond = decision.why.contains("; beyond the tolerance of 5%");
        assert!(is_beyond, "{}", decision.why);
        let is_settled = |s: &QuantizedModelStatus| s.phase == Some(Phase::Guarding.into()) && s.rejected.len() == 1;
        let status = self.until("settled", is_settled).await;
        assert_eq!(status.rejected[0].guard, "agreement");
        self.comparer_goes().await;
        decision
    }

    /// Waits until the comparer is gone.
    pub async fn comparer_goes(&self) {
        let deployments = self.api::<Deployment>();
        until("the comparer goes", || async {
            let left = deployments.get_opt(&comparer_name(MODEL)).await.expect("an answer");
            left.is_none() && self.comparer().await.is_none()
        })
        .await;
    }

    /// What Prometheus saw of a counter of this namespace, among the series with these labels, until `at` (Unix seconds).
    pub async fn scraped(&self, counter: &str, labels: &str, at: Option<f64>) -> Scraped {
        let promql = format!("{counter}{{namespace=\"{}\",{labels}}}[1h]", self.namespace);
        let at = at.map(|at| at.to_string());
        let mut parameters = vec![("query", promql.as_str())];
        parameters.extend(at.as_deref().map(|at| ("time", at)));
        let mut scraped = Scraped::default();
        for one in series(&shared_prometheus(), &parameters).await {
            let samples = one["values"].as_array().expect("samples").iter();
            let value = |sample: &Value| sample[1].as_str().expect("a value").parse::<f64>().expect("a number") as u64;
            let mut before = None;
            for now in samples.map(value) {
                match before {
                    None => scraped.all += now,
                    Some(before) => {
                        let rise = if now < before { now } else { now - before };
                        scraped.risen += rise;
                        scraped.all += rise;
                    }
                }
                before = Some(now);
            }
        }
        scraped
    }

    /// What Prometheus saw of the pairs of a revision.
    pub async fn pairs_of(&self, revision: &RevisionRef, at: Option<f64>) -> Scraped {
        let labels = format!("guardbit_revision=\"{}\"", short(&revision.revision));
        self.scraped("guardbit_pairs_total", &labels, at).await
    }

    /// Waits until Prometheus has seen so many pairs more than now, with questions of this source.
    pub async fn compares(&self, source: &str, more: u64) {
        let labels = format!("source=\"{source}\"");
        let pairs = async || self.scraped("guardbit_pairs_total", &labels, None).await.all;
        let wanted = pairs().await + more;
        until(&format!("{more} more pairs of source {source}"), || async {
            pairs().await >= wanted
        })
        .await;
    }

    /// The revision on trial.
    pub fn candidate(&self) -> RevisionRef {
        let rollout = self.status().rollout;
        rollout
            .unwrap_or_else(|| panic!("nothing is on trial\n{}", self.story()))
            .candidate
    }

    /// Waits until so many pairs more than now were judged.
    pub async fn judges(&self, more: u64) -> QuantizedModelStatus {
        let wanted = judged(&self.status()) + more;
        self.until(&format!("{wanted} pairs are judged"), |s| judged(s) >= wanted)
            .await
    }

    /// Waits until an arm has failed to answer so many questions more than now.
    pub async fn fails(&self, arm: &str, reason: &str, more: u64) {
        let labels = format!("arm=\"{arm}\",reason=\"{reason}\"");
        let failures = async || self.scraped("guardbit_pair_failures_total", &labels, None).await.all;
        let wanted = failures().await + more;
        until(&format!("{arm} fails with {reason}"), || async {
            failures().await >= wanted
        })
        .await;
    }

    /// What was judged by then is what comparers had counted: no pair twice, and none left out but those of which nobody
    /// knows.
    pub async fn assert_counted_once(&self, status: &QuantizedModelStatus) {
        let found = agreement(status).expect("a guard");
        let through = found.observed_through.as_ref().expect("samples").0;
        let through = Duration::from_millis(u64::try_from(through.as_millisecond()).expect("a time"));
        let candidate = &status.rollout.as_ref().expect("a rollout").candidate;
        let then = self.pairs_of(candidate, Some(through.as_secs_f64())).await;
        let now = self.pairs_of(candidate, None).await;
        let n = judged(status);
        assert!(
            n <= now.risen && n + UNDER_WAY >= then.risen,
            "{n} pairs were judged; Prometheus saw {then:?} by then, and {now:?} by now\n{}",
            self.story()
        );
    }
}
