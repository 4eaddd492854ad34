//! What a person or the cluster does to a stage, past guardbit.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::ResourceExt;
use kube::api::{Api, EvictParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::stage::{MODEL, Stage, routes};

/// Longest wait for anything here.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds`; `what` names it in the message.
pub async fn until<F: Future<Output = bool>>(what: &str, holds: impl Fn() -> F) {
    let all = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if tokio::time::timeout(PATIENCE, all).await.is_err() {
        panic!("not within {PATIENCE:?}: {what}");
    }
}

impl Stage {
    /// Objects of a kind in the namespace.
    pub fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Objects of the whole cluster.
    pub fn cluster_api<K>(&self) -> Api<K>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        Api::all(self.client.clone())
    }

    /// Changes an object as a person with `kubectl edit` would.
    pub async fn edit<K>(&self, api: &Api<K>, name: &str, patch: Value)
    where
        K: Clone + std::fmt::Debug + serde::de::DeserializeOwned,
    {
        let params = PatchParams {
            field_manager: Some("kubectl-edit".to_owned()),
            ..PatchParams::default()
        };
        if let Err(error) = api.patch(name, &params, &Patch::Merge(patch)).await {
            panic!("{name} cannot be edited: {error}\n{}", self.story());
        }
    }

    /// Living pods of a variant.
    pub async fn pods_of(&self, variant: &str) -> Vec<Pod> {
        let pods = self.api::<Pod>().list(&ListParams::default()).await.expect("listed");
        let of = |p: &Pod| {
            p.name_any().starts_with(&format!("{MODEL}-{variant}-")) && p.metadata.deletion_timestamp.is_none()
        };
        pods.items.into_iter().filter(of).collect()
    }

    /// Name of the Deployment and of the Service of a variant's only living revision.
    pub fn deployment_of(&self, variant: &str) -> String {
        let status = self.status();
        let arm = status
            .arms
            .iter()
            .find(|a| a.variant == variant && a.role != guardbit::api::Role::Pinned);
        arm.unwrap_or_else(|| panic!("{variant} has no arm\n{}", self.story()))
            .deployment
            .clone()
    }

    /// Evicts pods, as a drain does.
    pub async fn evict(&self, pods: &[Pod]) {
        for pod in pods {
            let evicted = self.api::<Pod>().evict(&pod.name_any(), &EvictParams::default()).await;
            evicted.unwrap_or_else(|e| panic!("{} is not evicted: {e}", pod.name_any()));
        }
    }

    /// Takes the only node out of scheduling, or back into it.
    pub async fn cordon(&self, cordoned: bool) {
        let nodes: Api<Node> = self.cluster_api();
        for node in nodes.list(&ListParams::default()).await.expect("listed") {
            self.edit(&nodes, &node.name_any(), json!({"spec": {"unschedulable": cordoned}}))
                .await;
        }
    }

    /// Someone deletes the status.
    pub async fn wipe_status(&self) {
        let patch =
            Patch::Json::<()>(serde_json::from_value(json!([{"op": "remove", "path": "/status"}])).expect("a patch"));
        let wiped = self.models().patch_status(MODEL, &PatchParams::default(), &patch).await;
        wiped.expect("the status is wiped");
    }

    /// Share of traffic that the route gives a variant now, asked of the API server itself.
    pub async fn weight_in_route(&self, variant: &str) -> Option<i64> {
        let route = routes(&self.client, &self.namespace).get(MODEL).await.ok()?;
        Some(crate::stage::weights(&route).get(variant).copied().unwrap_or(0))
    }

    /// Waits until the gateway knows the route as it is, after a time in which nobody could tell it. From then on the ledger
    /// counts shares.
    pub async fn gateway_follows(&self) {
        until("the gateway knows the route", || async {
            let Ok(route) = self.routes().get(MODEL).await else {
                return false;
            };
            let parents = route.data["status"]["parents"].as_array();
            let conditions = parents.into_iter().flatten().filter_map(|p| p["conditions"].as_array());
            let mut seen = conditions
                .flatten()
                .map(|c| c["observedGeneration"].as_i64())
                .peekable();
            seen.peek().is_some() && seen.all(|seen| seen == route.metadata.generation)
        })
        .await;
        self.ledger.shares_count_from_now();
    }

    /// Switches faults on in all pods of a variant; returns how many there are.
    pub async fn faults(&self, variant: &str, faults: Value) -> usize {
        let pods = self.pods_of(variant).await;
        self.faults_in(&pods, faults).await;
        pods.len()
    }

    /// Switches faults on in these pods.
    pub async fn faults_in(&self, pods: &[Pod], faults: Value) {
        for pod in pods {
            let path = format!(
                "/api/v1/namespaces/{}/pods/{}:8080/proxy/faults",
                self.namespace,
                pod.name_any()
            );
            let request = http::Request::post(path)
                .header("content-type", "application/json")
                .body(faults.to_string().into_bytes())
                .expect("a request");
            let told = self.client.request_text(request).await;
            told.expect("the server takes faults");
        }
    }

    /// Switches faults on without the API server: straight at the pods, which this machine's network reaches.
    pub async fn faults_at(&self, pods: &[Pod], faults: Value) {
        for pod in pods {
            let ip = pod.status.as_ref().and_then(|s| s.pod_ip.clone()).expect("an address");
            let request = crate::stage::http().post(format!("http://{ip}:8080/faults"));
            let request = request
                .header("content-type", "application/json")
                .body(faults.to_string());
            let answer = request.send().await.expect("the server answers");
            assert!(answer.status().is_success(), "the server takes no faults: {answer:?}");
        }
    }

    /// How often something was decided about a variant, as far as status remembers.
    pub fn times(&self, action: guardbit::api::Action, variant: &str) -> usize {
        let of = |d: &&guardbit::api::Decision| d.action == action && d.variant == variant;
        self.status().decisions.iter().filter(of).count()
    }
}

/// A condition of a status: status, reason, message; empty where it is not there.
pub fn condition(status: &guardbit::api::QuantizedModelStatus, kind: &str) -> (String, String, String) {
    let found = status.conditions.iter().find(|c| c.type_ == kind);
    found
        .map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
        .unwrap_or_default()
}

/// A program of the test cluster, stopped and started again with the same arguments.
pub struct Process {
    name: &'static str,
    dir: PathBuf,
    args: Vec<String>,
}

impl Process {
    /// Asks it to end, which the API server does only after a minute in which it takes no more connections; waits until it
    /// is gone.
    pub async fn stop(name: &'static str) -> Self {
        Self::end(name, "-TERM").await
    }

    /// Ends it at once.
    pub async fn kill(name: &'static str) -> Self {
        Self::end(name, "-KILL").await
    }

    async fn end(name: &'static str, signal: &str) -> Self {
        let dir = PathBuf::from(
            std::env::var("GUARDBIT_CLUSTER_DIR").expect("GUARDBIT_CLUSTER_DIR: run tests/cluster/run-tests.sh"),
        );
        let pid = std::fs::read_to_string(dir.join("pid").join(name)).expect("its pid");
        let proc = PathBuf::from(format!("/proc/{}", pid.trim()));
        let args = std::fs::read_to_string(proc.join("cmdline")).expect("it runs");
        let args = args.split_terminator('\0').map(str::to_owned).collect();
        let killed = Command::new("kill").args([signal, pid.trim()]).status().expect("kill");
        assert!(killed.success());
        // A zombie has no command line: whoever started it may be slow to reap it.
        let gone =
            || async { std::fs::read_to_string(proc.join("cmdline")).is_ok_and(|c| c.is_empty()) || !proc.exists() };
        until(&format!("{name} ends"), gone).await;
        Self { name, dir, args }
    }

    /// Starts it again; a thread of its own waits for its end, which may be long after this test.
    pub fn start(self) {
        let log = std::fs::OpenOptions::new()
            .append(true)
            .open(self.dir.join("log").join(self.name))
            .expect("its log");
        let mut child = Command::new(&self.args[0])
            .args(&self.args[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("it starts");
        std::fs::write(self.dir.join("pid").join(self.name), format!("{}\n", child.id())).expect("its pid");
        std::thread::spawn(move || child.wait());
    }
}
