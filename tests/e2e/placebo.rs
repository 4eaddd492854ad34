//! The placebo on a live Prometheus: an identical candidate is not rolled back, unless stable's own pods are not alike.

use std::process::Command;

use guardbit::api::QuantizedModelSpec;
use serde_json::{Value, json};

use crate::acts::until;
use crate::backtest::pods;
use crate::prometheus::{OwnPrometheus, newest, series, stretched};
use crate::stage::{MODEL, Stage, setting, shared_prometheus};

/// Requests that stable answers while its past is recorded, in about forty seconds.
const REQUESTS: u64 = 8_000;

/// Seconds that this past seems to have taken: a placebo wants half an hour at least, and nobody waits for that here.
const PAST: f64 = 2_400.0;

/// What `guardbit plan --placebo` says.
struct Answer {
    code: Option<i32>,
    table: String,
    json: Value,
}

impl Answer {
    /// What it says of a guard, or of all together.
    fn of(&self, guard: &str) -> &Value {
        let rows = self.json["guards"].as_array().expect("guards");
        let row = rows.iter().find(|row| row["guard"] == guard);
        row.unwrap_or_else(|| panic!("no {guard}: {}", self.json))
    }
}

/// Gives stable a placebo of what is scraped from now on, until it has answered [`REQUESTS`] more.
async fn placebo(stage: &Stage, name: &str) -> Answer {
    let from = newest(&shared_prometheus()).await;
    stage.answered("fp32", REQUESTS).await;
    let past = stretched(&shared_prometheus(), &stage.namespace, from, PAST).await;
    let prometheus = OwnPrometheus::with_past(&format!("{}-{name}", stage.namespace), &past).await;
    let mut spec = stage.spec().await;
    let read: QuantizedModelSpec = serde_json::from_value(spec.clone()).expect("a spec");
    // The pods of pinned requests are in the same namespace, and are no part of stable.
    let arm = pods(stage, &read, "fp32");
    // The clocks of the rollout are slow by as much as the scrapes are.
    spec["rollout"]["interval"] = json!("1m");
    spec["rollout"]["deadline"] = json!("4h");
    let document = json!({
        "apiVersion": "guardbit.dev/v1alpha1",
        "kind": "QuantizedModel",
        "metadata": {"name": MODEL, "namespace": stage.namespace},
        "spec": spec,
    });
    let file = std::env::temp_dir().join(format!("placebo-{}-{name}.json", std::process::id()));
    std::fs::write(&file, serde_json::to_vec_pretty(&document).expect("JSON")).expect("written");
    let plan = |form: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .args(["plan", "--placebo", "--prometheus", &prometheus.url(), "--arm", &arm])
            .args(["--hours", "1", "--runs", "20", "-o", form, "-f"])
            .arg(&file)
            .output()
            .expect("guardbit starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, table, error) = plan("table");
    // Without a table there was no placebo, whatever the exit code.
    assert!(
        table.starts_with(&format!("{MODEL}: 20 rollouts of a placebo, of the last ")) && error.is_empty(),
        "{code:?}\n{table}\n{error}"
    );
    let (again, text, error) = plan("json");
    let json: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}\n{error}"));
    assert_eq!(again, code, "the same seeds on the same samples\n{table}\n{json:#}");
    let _ = std::fs::remove_file(&file);
    Answer { code, table, json }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_placebo_is_not_rolled_back_where_stables_pods_are_alike_and_is_where_one_of_them_fails() {
    let stage = setting("placebo")
        .variants(&["fp32", "int8"])
        .with("/target", json!("fp32"))
        .with("/serving/replicas", json!(3))
        .start()
        .await;
    let serving = format!(
        "http_requests_total{{code=\"200\",namespace=\"{}\",pod=~\"{MODEL}-fp32-.+\"}} > 0",
        stage.namespace
    );
    until("Prometheus sees three pods that serve", || async {
        series(&shared_prometheus(), &[("query", &serving)]).await.len() == 3
    })
    .await;

    let alike = placebo(&stage, "alike").await;
    assert_eq!(alike.code, Some(0), "{}", alike.table);
    assert!(
        alike
            .table
            .contains("An identical candidate is rolled back no more often than falseRollback says (5%)."),
        "{}",
        alike.table
    );
    // One that was started anew meanwhile counts as another.
    assert!(alike.json["pods"].as_u64() >= Some(3), "{:#}", alike.json);
    for guard in ["errors", "latency", "drift", "together"] {
        let row = alike.of(guard);
        assert!(row["rolledBack"].as_f64().is_some_and(|share| share <= 0.05), "{row}");
        // Who sees no events rolls nothing back.
        assert!(row["loadPerPod"].as_f64().is_some_and(|load| load > 0.0), "{row}");
    }

    let of_stable = stage.pods_of("fp32").await;
    assert_eq!(of_stable.len(), 3, "{}", stage.story());
    stage.faults_in(&of_stable[..1], json!({"errorRate": 0.3})).await;
    let unlike = placebo(&stage, "unlike").await;
    assert_eq!(unlike.code, Some(1), "{}", unlike.table);
    let row = unlike.of("errors");
    // It is harm where that pod is the mock candidate, in about a third of the rollouts, and none where it is in the baseline.
    assert!(
        row["rolledBack"]
            .as_f64()
            .is_some_and(|share| (0.05..0.95).contains(&share)),
        "{row}"
    );
    for part in [
        "\nerrors alone rolls an identical candidate back in ",
        " of the rollouts, more than falseRollback (5%): the metric, its buckets or the tolerance do not fit, or stable's pods are not alike. The first: errors: ",
    ] {
        assert!(unlike.table.contains(part), "{part}\n{}", unlike.table);
    }
    assert!(
        !unlike.table.contains("no more often than falseRollback"),
        "{}",
        unlike.table
    );
    stage.finish(1).await;
}
