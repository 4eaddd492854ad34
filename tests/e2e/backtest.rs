//! Back to the decisions: what guardbit decided live it decides again on what Prometheus recorded meanwhile, from a dump of its
//! storage and from the server itself.

use std::process::Command;

use guardbit::api::{Action, Decision, QuantizedModelSpec, Word};
use guardbit::evidence::ArmMatcher;
use guardbit::evidence::promql::parse_matchers;
use guardbit::model::identity::{self, Purpose};
use guardbit::simulate::{Arms, Outcome, Replay, Step, openmetrics, simulate};
use serde_json::{Value, json};

use crate::prometheus::OwnPrometheus;
use crate::stage::{MODEL, Stage, setting};

/// A replay sees the same scrapes, but not the moments of the live evaluations: two evaluations and a scrape of a
/// second each, and what an overloaded machine adds to each of them.
const APART: f64 = 10.0;

/// The first rise is replayed when the first request is served, and was decided when the gateway was told of it.
const GATEWAY: f64 = 20.0;

/// Requests of the candidate that guardbit does not see as they come: a replay evaluates all the time, and is earlier
/// by as long as they take.
const UNSEEN: u64 = 150;

/// The longest that they take.
const AWAY: f64 = 60.0;

/// Fidelity is judged over bins that are cut once enough outputs were seen. Cut a scrape earlier or later they are others, and
/// what is shown on them comes sooner or later.
const BINS: f64 = 60.0;

/// Seconds that are recorded after a decision: a replay that is behind by as much must find what it needs.
fn after(decision: &Decision) -> f64 {
    match decision.action.known() {
        Some(Action::Promoted) => BINS,
        // The candidate gets no more requests once the gateway has followed.
        _ => APART,
    }
}

/// What can be compared: the action, the variant, and the weight of a rise.
fn told(action: &Word<Action>, variant: &str, why: &str) -> String {
    let weight = why.split(':').next().filter(|_| *action == Action::Raised);
    format!("{action} {variant} {}", weight.unwrap_or_default())
}

/// Matchers of the pods of a variant, as guardbit itself asks for them.
pub fn pods(stage: &Stage, spec: &QuantizedModelSpec, variant: &str) -> String {
    let variant = spec.variants.iter().find(|v| v.name == variant).expect("a variant");
    let revision = identity::revision(spec, variant);
    let deployment = identity::object_name(&stage.namespace, MODEL, &variant.name, &revision, Purpose::Serving);
    let namespace = &stage.namespace;
    format!("{{namespace=\"{namespace}\",pod=~\"{deployment}-[a-z0-9]+-[a-z0-9]{{5}}\"}}")
}

struct Case<'a> {
    stage: &'a Stage,
    prometheus: &'a OwnPrometheus,
    spec: QuantizedModelSpec,
    candidate: &'a str,
    arms: [(&'static str, String); 3],
}

impl<'a> Case<'a> {
    async fn new(stage: &'a Stage, prometheus: &'a OwnPrometheus, stable: &str, candidate: &'a str) -> Self {
        let spec: QuantizedModelSpec = serde_json::from_value(stage.spec().await).expect("a spec");
        let of = |variant| pods(stage, &spec, variant);
        let arms = [
            ("stable", of(stable)),
            ("candidate", of(candidate)),
            ("reference", of("fp32")),
        ];
        Self {
            stage,
            prometheus,
            spec,
            candidate,
            arms,
        }
    }

    /// Replays a dump, and the server, by the command; both must say the same. Then by the library, for the times.
    async fn replay(&self) -> Replay {
        let decisions = self.stage.status().decisions;
        let last = decisions.last().expect("a decision");
        self.prometheus
            .recorded(last.time.0.as_second() as f64 + after(last))
            .await;
        let dump = self.prometheus.dump().await;
        let dir = std::env::temp_dir().join(format!("backtest-{}-{}", std::process::id(), self.stage.namespace));
        std::fs::create_dir_all(&dir).expect("a directory");
        let (model, metrics) = (dir.join("model.yaml"), dir.join("dump.om"));
        let document = json!({"apiVersion": "guardbit.dev/v1alpha1", "kind": "QuantizedModel", "metadata": {"name": MODEL}, "spec": self.spec});
        std::fs::write(&model, document.to_string()).expect("written");
        std::fs::write(&metrics, &dump).expect("written");
        let command = |more: &[&str]| -> Value {
            let arms = self
                .arms
                .iter()
                .flat_map(|(arm, of)| ["--arm".to_owned(), format!("{arm}={of}")]);
            let output = Command::new(env!("CARGO_BIN_EXE_guardbit"))
                .args(["simulate", "-o", "json", "--candidate", self.candidate, "-f"])
                .arg(&model)
                .args(arms)
                .args(more)
                .output()
                .expect("guardbit runs");
            let line = String::from_utf8(output.stdout).expect("text");
            let mut value: Value = serde_json::from_str(&line)
                .unwrap_or_else(|e| panic!("{e}: {line}\n{}", String::from_utf8_lossy(&output.stderr)));
            value["trace"].take();
            value
        };
        let file = command(&["--metrics", metrics.to_str().expect("UTF-8")]);
        let server = command(&["--prometheus", &self.prometheus.url(), "--start", "-30m"]);
        assert_eq!(file, server);
        let recording = openmetrics::read(&dump).expect("promtool prints what is read");
        let of = |i: usize| -> Vec<ArmMatcher> { parse_matchers(&self.arms[i].1).expect("matchers") };
        let arms = Arms {
            stable: of(0),
            candidate: of(1),
            reference: of(2),
        };
        let replay = simulate(&self.spec, &recording, &arms, Some(self.candidate)).expect("a replay");
        let _ = std::fs::remove_dir_all(&dir);
        replay
    }

    /// The same actions on the same variants, in the same order, at about the same times.
    fn assert_same(&self, replay: &Replay) {
        let live: Vec<Decision> = self.stage.status().decisions;
        let begun = live
            .iter()
            .position(|d| d.action == Action::Raised && d.variant == self.candidate)
            .expect("it was raised");
        let again: Vec<&Step> = replay
            .decisions
            .iter()
            .skip_while(|d| d.action != Action::Raised)
            .collect();
        let live = &live[begun..begun + again.len().min(live.len() - begun)];
        let story = format!("live {live:#?}\nagain {again:#?}\n{}", self.stage.story());
        let said: Vec<_> = live.iter().map(|d| told(&d.action, &d.variant, &d.why)).collect();
        let says: Vec<_> = again
            .iter()
            .map(|d| told(&d.action.into(), &d.variant, &d.why))
            .collect();
        assert_eq!(said, says, "{story}");
        for (i, (live, again)) in live.iter().zip(&again).enumerate() {
            let at = replay.start.as_millisecond() as f64 / 1000.0 + again.at_seconds;
            let apart = at - live.time.0.as_millisecond() as f64 / 1000.0;
            println!(
                "{}: {} {apart:+.1} s",
                self.stage.namespace,
                told(&live.action, &live.variant, &live.why)
            );
            let (earlier, later) = match live.action.known() {
                Some(Action::Raised) if i == 0 => (GATEWAY, GATEWAY),
                Some(Action::Promoting | Action::Promoted) => (BINS, BINS),
                Some(Action::RolledBack) => (AWAY, APART),
                _ => (APART, APART),
            };
            assert!(
                (-earlier..=later).contains(&apart),
                "{}: {apart} s apart\n{story}",
                live.action
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_is_decided_again_on_what_was_recorded() {
    // The last step is held until there is more than enough evidence, however the bins of fidelity are cut.
    let steps = json!([{"weight": 5, "hold": "4s"}, {"weight": 25, "hold": "4s"}, {"weight": 50, "hold": "45s"}]);
    let setting = setting("again-up")
        .variants(&["fp32", "int8"])
        .with("/rollout/steps", steps);
    let prometheus = OwnPrometheus::start(setting.namespace()).await;
    let stage = setting.prometheus(&prometheus.url()).start().await;
    stage.decided(Action::Promoted, "int8").await;
    let case = Case::new(&stage, &prometheus, "fp32", "int8").await;
    let replay = case.replay().await;
    assert_eq!(
        (replay.outcome, &replay.guard),
        (Outcome::Promoted, &None),
        "{}",
        replay.why
    );
    case.assert_same(&replay);
    stage.finish(1).await;
}

/// By errors of which many more have come than it takes, for guardbit was away as they came: on the few that it takes in the end a
/// replay, which cuts them at other moments, need not decide, and after the rollback there are no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_decided_again_on_what_was_recorded() {
    let setting = setting("again-down")
        .variants(&["fp32", "int8"])
        .with("/rollout/steps/0/hold", json!("1h"));
    let prometheus = OwnPrometheus::start(setting.namespace()).await;
    let mut stage = setting.prometheus(&prometheus.url()).start().await;
    stage.weights(&[("fp32", 95), ("int8", 5)]).await;
    stage.answered("int8", 20).await;
    stage.guardbit.kill();
    stage.faults("int8", json!({"errorRate": 0.5})).await;
    stage.answered("int8", UNSEEN).await;
    stage.guardbit.start_again();
    stage.rolled_back("errors").await;
    let case = Case::new(&stage, &prometheus, "fp32", "int8").await;
    let replay = case.replay().await;
    assert_eq!(
        (replay.outcome, replay.guard.as_deref()),
        (Outcome::RolledBack, Some("errors")),
        "{}",
        replay.why
    );
    case.assert_same(&replay);
    stage.finish(1).await;
}
