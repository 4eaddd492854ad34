//! Users who ask what can be compared, over the Open Inference Protocol and through the gateway; and what it mirrors of that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use guardbit::model::identity::comparer_name;
use kube::api::DynamicObject;
use serde_json::{Value, json};
use tokio::task::{JoinHandle, JoinSet};

use crate::pairs::{INFER, question};
use crate::stage::{MODEL, Setting, Stage, gateway, http};

/// Longest time that an answer may take.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A model that users may ask over this protocol as well: the route of the sample is for `/v1` alone.
pub fn asked(setting: Setting) -> Setting {
    let prefix = |value: &str| json!({"path": {"type": "PathPrefix", "value": value}});
    setting.with("/traffic/gateway/matches", json!([prefix("/v1"), prefix("/v2")]))
}

/// A user.
#[derive(Clone)]
pub struct User {
    client: reqwest::Client,
    url: String,
    host: String,
}

impl User {
    /// One of the model of a stage.
    pub fn of(stage: &Stage) -> Self {
        Self {
            client: http(),
            url: format!("{}{INFER}", gateway()),
            host: stage.host(),
        }
    }

    /// Asks, and returns the scores as the server wrote them. Requests of `high` impact are pinned to full precision.
    pub async fn ask(&self, question: String, impact: &str) -> Result<String, String> {
        let request = self.client.post(&self.url).header("host", self.host.as_str());
        let request = request
            .header("content-type", "application/json")
            .header("x-decision-impact", impact);
        let answer = request.timeout(PATIENCE).body(question).send().await;
        let answer = answer.map_err(|error| format!("{error:?}"))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| format!("{error:?}"))?;
        if status.is_success() && text.contains("\"score\"") {
            Ok(text)
        } else {
            Err(format!("{status}: {text}"))
        }
    }
}

/// Users who ask one transaction after the other, at a rate.
pub struct Users {
    stop: Arc<AtomicBool>,
    asking: JoinHandle<Vec<Result<Duration, String>>>,
}

impl Users {
    /// They begin to ask, so many times a second. They wait for no answer before they ask again.
    pub fn begin(stage: &Stage, rate: u32) -> Self {
        let (user, stop) = (User::of(stage), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let asking = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(1) / rate);
            let mut answers = JoinSet::new();
            for number in 0.. {
                let due = tick.tick().await;
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let user = user.clone();
                answers.spawn(async move {
                    let answer = user.ask(question(number).to_string(), "low").await;
                    answer.map(|_| due.elapsed())
                });
            }
            answers.join_all().await
        });
        Self { stop, asking }
    }

    /// They end, when what they asked last is answered. All of it was answered well; this is how long that took.
    pub async fn finish(self) -> Vec<Duration> {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.asking.await.expect("they ask to the end");
        let asked = answers.len();
        let (good, bad): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        let bad: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
        assert!(
            asked > 0 && bad.is_empty(),
            "{} of {asked} were not answered: {:?}",
            bad.len(),
            &bad[..bad.len().min(10)]
        );
        good.into_iter().flatten().collect()
    }
}

impl Stage {
    /// What each rule of the route mirrors now.
    pub async fn mirrors(&self) -> Vec<Option<u64>> {
        mirrors_of(&self.routes().get(MODEL).await.expect("the route is there"))
    }
}

/// Percent of the requests that each rule of a route mirrors to the comparer, if it mirrors any. The rules of pinned requests
/// come first.
pub fn mirrors_of(route: &DynamicObject) -> Vec<Option<u64>> {
    let rules = route.data["spec"]["rules"].as_array().into_iter().flatten();
    rules.map(mirrored_by).collect()
}

fn mirrored_by(rule: &Value) -> Option<u64> {
    let mut filters = rule["filters"].as_array().into_iter().flatten();
    let is_it = |filter: &&Value| filter["requestMirror"]["backendRef"]["name"] == comparer_name(MODEL);
    let filter = filters.find(is_it)?;
    // All of them, where none is written.
    Some(filter["requestMirror"]["percent"].as_u64().unwrap_or(100))
}
