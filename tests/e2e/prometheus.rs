//! A Prometheus of a test's own, which it may stop; and what the shared one counted.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::stage::http;
use serde_json::Value;

/// Answers by variant, as the backends counted them; `pinned` stands for pods of pinned requests.
pub async fn counted_by_backends(url: &str, namespace: &str, model: &str, age: Duration) -> BTreeMap<String, u64> {
    let promql = format!(
        "sum by (pod) (max_over_time(http_requests_total{{namespace=\"{namespace}\"}}[{}ms]))",
        age.as_millis()
    );
    let mut counts = BTreeMap::new();
    for of_pod in series(url, &[("query", &promql)]).await {
        let pod = of_pod["metric"]["pod"].as_str().expect("pod");
        let variant = pod
            .strip_prefix(model)
            .and_then(|p| p[1..].split('-').next())
            .expect("a pod of the model");
        let count: f64 = of_pod["value"][1].as_str().expect("a value").parse().expect("a number");
        *counts.entry(variant.to_owned()).or_default() += count as u64;
    }
    counts.retain(|_, n| *n > 0);
    counts
}

/// The series that an instant query gives.
pub async fn series(url: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let mut at = url::Url::parse(url)
        .expect("a URL")
        .join("/api/v1/query")
        .expect("a URL");
    at.query_pairs_mut().extend_pairs(parameters);
    let answer = http().get(at).send().await.expect("Prometheus answers");
    let text = answer.text().await.expect("text");
    let mut answer: Value = serde_json::from_str(&text).expect("JSON");
    match answer["data"]["result"].take() {
        Value::Array(series) => series,
        other => panic!("no series: {other} in {answer}"),
    }
}

/// What the server at `url` scraped of a namespace after `from` (Unix seconds), as OpenMetrics. It ends with the newest scrape,
/// and its samples are so far apart that all of it seems to have taken `seconds`.
pub async fn stretched(url: &str, namespace: &str, from: f64, seconds: f64) -> String {
    let through = newest(url).await;
    let took = through - from;
    let promql = format!("{{namespace=\"{namespace}\"}}[{}ms]", (took * 1000.0) as u64);
    let mut text = String::new();
    for one in series(url, &[("query", &promql), ("time", &through.to_string())]).await {
        let labels = one["metric"].as_object().expect("labels");
        let name = labels["__name__"].as_str().expect("a name");
        // JSON writes a string as OpenMetrics does.
        let others = labels.iter().filter(|(label, _)| *label != "__name__");
        let others: Vec<String> = others.map(|(label, value)| format!("{label}={value}")).collect();
        let others = others.join(",");
        for sample in one["values"].as_array().expect("samples") {
            let at = sample[0].as_f64().expect("a time");
            let at = through - (through - at) / took * seconds;
            let value = sample[1].as_str().expect("a value");
            writeln!(text, "{name}{{{others}}} {value} {at:.3}").expect("a String takes all");
        }
    }
    text + "# EOF\n"
}

/// A Prometheus that scrapes one namespace.
pub struct OwnPrometheus {
    dir: PathBuf,
    port: u16,
    child: Option<Child>,
}

impl OwnPrometheus {
    /// Starts it.
    pub async fn start(namespace: &str) -> Self {
        let mut own = Self::of(namespace);
        own.resume().await;
        own
    }

    /// Starts one that has these samples (OpenMetrics) in its storage. Its namespace need not exist: then it scrapes nothing.
    pub async fn with_past(namespace: &str, openmetrics: &str) -> Self {
        let mut own = Self::of(namespace);
        let (past, tsdb) = (own.dir.join("past.om"), own.dir.join("tsdb"));
        std::fs::create_dir_all(&tsdb).expect("a directory");
        std::fs::write(&past, openmetrics).expect("written");
        let output = Command::new(tool("promtool"))
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&past, &tsdb])
            .output()
            .expect("tests/cluster/tools.sh has built promtool");
        assert!(
            output.status.success(),
            "promtool: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        own.resume().await;
        own
    }

    /// One that is yet to be started.
    fn of(namespace: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("prometheus-e2e-{}-{namespace}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("a directory");
        let kubeconfig = std::env::var("KUBECONFIG").expect("KUBECONFIG");
        let only_here = format!("kubeconfig_file: \"{kubeconfig}\", namespaces: {{names: [{namespace}]}}");
        let config = include_str!("../cluster/manifests/prometheus.yml")
            .replace("kubeconfig_file: \"@D@/admin.kubeconfig\"", &only_here);
        assert!(
            config.contains(namespace),
            "tests/cluster/manifests/prometheus.yml has changed"
        );
        std::fs::write(dir.join("prometheus.yml"), config).expect("written");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        Self { dir, port, child: None }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Ends it, as an upgrade or an eviction would.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it again, on the data that it had.
    pub async fn resume(&mut self) {
        let child = Command::new(tool("prometheus"))
            .arg(format!("--config.file={}", self.dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", self.dir.join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .arg("--web.enable-admin-api")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.dir.join("log")).expect("a log"))
            .spawn()
            .expect("tests/cluster/tools.sh has built Prometheus");
        self.child = Some(child);
        let ready = format!("{}/-/ready", self.url());
        for _ in 0..200 {
            if http().get(&ready).send().await.is_ok_and(|r| r.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("Prometheus does not get ready; see {}", self.dir.join("log").display());
    }
}

impl OwnPrometheus {
    /// Waits until it has samples of this time (Unix seconds).
    pub async fn recorded(&self, through: f64) {
        while newest(&self.url()).await < through {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Everything that it has stored, as `promtool tsdb dump-openmetrics` prints it. The storage of a running server must
    /// not be opened by another process: a snapshot of it may.
    pub async fn dump(&self) -> String {
        let snapshot = format!("{}/api/v1/admin/tsdb/snapshot", self.url());
        let answer = http().post(snapshot).send().await.expect("an answer");
        let answer: Value = serde_json::from_str(&answer.text().await.expect("text")).expect("JSON");
        let name = answer["data"]["name"].as_str().expect("a snapshot");
        let snapshot = self.dir.join("tsdb/snapshots").join(name);
        // A snapshot has everything in blocks, and promtool wants a log as well.
        std::fs::create_dir_all(snapshot.join("wal")).expect("a directory");
        let output = Command::new(tool("promtool"))
            .args(["tsdb", "dump-openmetrics"])
            .arg(snapshot)
            .output()
            .expect("tests/cluster/tools.sh has built promtool");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Path of a program of the test cluster.
fn tool(name: &str) -> String {
    let cache = || {
        std::env::var("GUARDBIT_CACHE")
            .unwrap_or_else(|_| format!("{}/.cache/guardbit", std::env::var("HOME").expect("HOME")))
    };
    let tools = std::env::var("GUARDBIT_TOOLS").unwrap_or_else(|_| format!("{}/bin", cache()));
    format!("{tools}/{name}")
}

impl Drop for OwnPrometheus {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Time of the newest scrape of the server at `url`, Unix seconds; 0 without any.
pub async fn newest(url: &str) -> f64 {
    let asked = http()
        .get(format!("{url}/api/v1/query?query=max(timestamp(up))"))
        .send()
        .await;
    let text = asked.expect("Prometheus answers").text().await.expect("text");
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    let value = answer["data"]["result"][0]["value"][1].as_str();
    value.map_or(0.0, |seconds| seconds.parse().expect("a number"))
}
