//! The commands by which people act, as people run them.

use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use axum::Router;
use axum::http::StatusCode;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::commands::commands;
use crate::stage::{ALICE, BOB, CAROL, GRACE, GUARDBIT, MALLORY, MODEL, PIPELINE};
use crate::stage::{Stage, model, until};
use crate::told::told;

/// The reason of every action.
const REASON: &str = "Errors of int8 since 02:50, INC-2291.";

/// A digest of a change.
fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// A kubeconfig that is there until the test ends.
pub struct Shell(PathBuf);

impl Shell {
    /// That of a user, who is in these groups, with the namespace of the stage.
    pub fn of(stage: &Stage, user: &str, groups: &[&str]) -> Self {
        let path = std::env::var("KUBECONFIG").expect("a kubeconfig");
        let text = std::fs::read_to_string(path).expect("a kubeconfig");
        let mut config: Value = serde_yaml_ng::from_str(&text).expect("YAML");
        for known in config["users"].as_array_mut().expect("users") {
            known["user"]["as"] = json!(user);
            if !groups.is_empty() {
                known["user"]["as-groups"] = json!(groups);
            }
        }
        for context in config["contexts"].as_array_mut().expect("contexts") {
            context["context"]["namespace"] = json!(stage.namespace);
        }
        Self::with(
            &format!("{}-{}", stage.namespace, user.replace([':', '@'], "-")),
            &config,
        )
    }

    fn with(name: &str, config: &Value) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-acts-{}-{name}", std::process::id()));
        std::fs::write(&path, config.to_string()).expect("a file");
        Self(path)
    }

    /// The kubeconfig.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs a command where nobody can be asked: exit code, standard output and standard error.
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        run(&self.0, args)
    }

    /// Runs a command on the model, without a question.
    fn act(&self, args: &[&str]) -> (i32, String, String) {
        let (verb, more) = args.split_first().expect("a verb");
        self.run(&[&[*verb, MODEL, "--reason", REASON, "--yes"][..], more].concat())
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn run(kubeconfig: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guardbit"));
    told(command.args(args).env("KUBECONFIG", kubeconfig).stdin(Stdio::null()))
}

/// A stage with a model of Alice in which the first traffic of int8 awaits approval.
async fn stage(test: &str) -> Stage {
    let stage = Stage::start(test).await;
    let alice = stage.models(&stage.user(ALICE, &[]).await);
    alice
        .create(&PostParams::default(), &model(MODEL))
        .await
        .expect("a model");
    awaits(&stage, Some(&digest("a"))).await;
    stage
}

/// Lets a change await approval, as guardbit does.
async fn awaits(stage: &Stage, digest: Option<&str>) {
    let revision = |variant: &str| json!({"variant": variant, "revision": format!("v1:{variant}")});
    let awaiting = digest.map(|digest| {
        json!({
            "before": "FirstTraffic", "changeDigest": digest, "variant": "int8", "revision": "v1:int8",
            "since": "2026-11-10T00:00:00Z", "need": 1, "excluded": [ALICE], "command": "",
            "may": format!("approve on quantizedmodels/{MODEL}"),
        })
    });
    let status = json!({"stable": revision("fp32"), "reference": revision("fp32"), "awaiting": awaiting});
    let guardbit = stage.models(&stage.user(GUARDBIT, &[]).await);
    let patch = Patch::Merge(json!({"status": status}));
    guardbit
        .patch_status(MODEL, &PatchParams::default(), &patch)
        .await
        .expect("a status");
}

/// All actions of a stage.
async fn actions(stage: &Stage) -> Vec<DynamicObject> {
    stage
        .actions(&stage.admin)
        .list(&ListParams::default())
        .await
        .expect("actions")
        .items
}

/// The name that a command has printed.
fn named(out: &str) -> &str {
    let name = out.strip_prefix("precisionaction.guardbit.dev/").expect(out);
    name.strip_suffix(" created\n").expect(out)
}

#[tokio::test]
async fn each_verb_is_carried_out_for_who_has_the_right_to_it() {
    let stage = stage("commands").await;
    let uid = stage
        .models(&stage.admin)
        .get(MODEL)
        .await
        .expect("the model")
        .metadata
        .uid;
    let digest = digest("a");
    for (user, args, action, part) in [
        (BOB, &["approve"][..], "Approve", "the first traffic of int8"),
        (
            BOB,
            &["reject", "--change", digest.as_str()],
            "Reject",
            "gets no traffic until",
        ),
        (CAROL, &["pause"], "Pause", "the weights are frozen until"),
        (
            CAROL,
            &["rollback", "--to", "fp32"],
            "RollBack",
            "nothing riskier than fp32",
        ),
        (
            CAROL,
            &["retry", "--variant", "int8"],
            "Retry",
            "Nothing is on record against int8",
        ),
        (
            GRACE,
            &["break-glass", "--incident", "INC-2291", "--waive", "freezes"],
            "BreakGlass",
            "opens        Freezes",
        ),
    ] {
        let (code, out, err) = Shell::of(&stage, user, &["model-risk"]).act(args);
        assert_eq!(code, 0, "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
        let name = named(&out);
        assert!(name.starts_with(&format!("{MODEL}-{}-", args[0])), "{name}");
        let made = stage.actions(&stage.admin).get(name).await.expect("the action");
        let spec = &made.data["spec"];
        assert_eq!(
            (&spec["action"], &spec["actor"]["username"], &spec["reason"]),
            (&json!(action), &json!(user), &json!(REASON))
        );
        let groups = if action == "Approve" {
            json!(["model-risk"])
        } else {
            Value::Null
        };
        assert_eq!(spec["actor"]["groups"], groups, "{action}");
        assert_eq!(spec["modelRef"], json!({"name": MODEL, "uid": uid}));
        let labels = made.metadata.labels.expect("labels");
        assert_eq!(labels.get("guardbit.dev/model").map(String::as_str), Some(MODEL));
    }
    // What it takes back is found among the actions that are there, once the second has passed in which they were made.
    let resumes = async || {
        let (code, _, err) = Shell::of(&stage, CAROL, &[]).act(&["resume", "--dry-run"]);
        code == 0 && err.contains("takes back   ")
    };
    until("a resume finds what it takes back", resumes).await;
    let (code, out, err) = Shell::of(&stage, CAROL, &[]).act(&["resume", "-o", "yaml"]);
    assert_eq!((code, err.as_str()), (0, ""));
    let made: Value = serde_yaml_ng::from_str(&out).expect("YAML");
    assert_eq!(
        (&made["kind"], &made["spec"]["action"]),
        (&json!("PrecisionAction"), &json!("Resume"))
    );
    assert!(made["metadata"].get("managedFields").is_none(), "{out}");
    assert_eq!(actions(&stage).await.len(), 7);
}

/// docs/approvals.md: each of its commands is one that the API server takes, from whoever has the right to it, in this order.
#[tokio::test]
async fn the_commands_of_the_page_are_carried_out() {
    let stage = stage("page").await;
    let mut done = Vec::new();
    for (command, _) in commands(include_str!("../../docs/approvals.md")) {
        let Some(words) = command.strip_prefix("kubectl guardbit ") else {
            continue;
        };
        let verb = words.split(' ').next().unwrap_or_default();
        let user = match verb {
            "approve" | "reject" => BOB,
            "break-glass" => GRACE,
            _ => CAROL,
        };
        // Nobody is asked here, no guardbit runs that could be waited for, and the namespace has a name of its own.
        let words = words.replace(" -n risk ", &format!(" -n {} ", stage.namespace));
        let words = words.replace(" --wait", "");
        let line = format!("{} {words} --yes", env!("CARGO_BIN_EXE_guardbit"));
        let shell = Shell::of(&stage, user, &["model-risk"]);
        let mut command = Command::new("sh");
        command.args(["-e", "-c", &line]).stdin(Stdio::null());
        let (code, out, err) = told(command.env("KUBECONFIG", shell.path()));
        assert_eq!(code, 0, "{line}: {err}");
        let became = if line.contains(" --dry-run") {
            "would be created"
        } else {
            "created"
        };
        assert!(out.ends_with(&format!(" {became}\n")), "{line}: {out}");
        done.push(verb);
    }
    for verb in ["approve", "reject", "rollback", "resume", "retry", "break-glass"] {
        assert!(done.contains(&verb), "{verb} is not among {done:?}");
    }
}

#[tokio::test]
async fn who_lacks_the_right_is_told_who_has_it() {
    let stage = stage("lacking").await;
    for (user, args, parts) in [
        (
            MALLORY,
            &["approve"][..],
            [
                "cannot create resource",
                "the ClusterRole guardbit-approver has the right approve",
            ],
        ),
        (
            ALICE,
            &["pause"],
            [
                "you lack the right pause on quantizedmodels.guardbit.dev fraud-scorer",
                "the ClusterRole guardbit-oncall has the right pause",
            ],
        ),
        (
            CAROL,
            &["break-glass", "--incident", "INC-1", "--waive", "approvals,slots"],
            ["you lack the right breakglass", "the ClusterRole guardbit-breakglass"],
        ),
        (
            PIPELINE,
            &["approve"],
            ["an action is a person's", "system:serviceaccount:ci:pipeline"],
        ),
    ] {
        let (code, out, err) = Shell::of(&stage, user, &[]).act(args);
        assert_eq!((code, out.as_str()), (1, ""), "{user} {args:?}: {err}");
        for part in parts {
            assert!(err.contains(part), "{user} {args:?}: {err}");
        }
    }
    let (code, _, err) = Shell::of(&stage, BOB, &["staff"]).act(&["approve", "--group", "model-risk"]);
    assert!(code == 1 && err.contains("names a group that you are not in"), "{err}");
    assert!(actions(&stage).await.is_empty());
}

#[tokio::test]
async fn what_no_longer_awaits_approval_is_not_approved() {
    let stage = stage("late").await;
    let (bob, old) = (Shell::of(&stage, BOB, &[]), digest("a"));
    awaits(&stage, Some(&digest("b"))).await;
    for verb in ["approve", "reject"] {
        let (code, out, err) = bob.act(&[verb, "--change", old.as_str()]);
        assert_eq!((code, out.as_str()), (1, ""), "{verb}: {err}");
        assert!(
            err.contains(&format!("another change, {}", digest("b"))),
            "{verb}: {err}"
        );
    }
    let (code, _, err) = Shell::of(&stage, ALICE, &[]).act(&["approve"]);
    assert!(
        code == 1 && err.contains("the change is your own (alice@bank.example)"),
        "{err}"
    );
    awaits(&stage, None).await;
    let (code, _, err) = bob.act(&["approve"]);
    assert!(
        code == 1 && err.contains("nothing of this model awaits approval"),
        "{err}"
    );
    assert!(actions(&stage).await.is_empty());
}

#[tokio::test]
async fn nobody_acts_unasked_and_a_dry_run_leaves_no_trace() {
    let stage = stage("unasked").await;
    let carol = Shell::of(&stage, CAROL, &[]);
    let pause = ["pause", MODEL, "--reason", REASON];
    let (code, out, err) = carol.run(&pause);
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(
        err.contains("standard input is no terminal") && err.contains("--yes"),
        "{err}"
    );
    let (code, out, err) = carol.run(&[&pause[..], &["--dry-run"]].concat());
    assert_eq!(code, 0, "{err}");
    assert!(out.ends_with(" would be created\n"), "{out}");
    assert!(err.contains("the weights are frozen until "), "{err}");
    let (code, out, err) = carol.run(&[&pause[..], &["--dry-run", "-o", "json"]].concat());
    assert_eq!((code, err.as_str()), (0, ""));
    let tried: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(tried["spec"]["validFor"], "24h");
    for (args, part) in [
        (&["pause", MODEL, "--reason", "short"][..], "10 to 1000"),
        (
            &["pause", MODEL, "--reason", REASON, "--valid-for", "169h"],
            "168h at the most",
        ),
        (
            &["approve", MODEL, "--reason", REASON, "--change", "sha256:00"],
            "64 hexadecimal digits",
        ),
    ] {
        let (code, _, err) = carol.run(args);
        assert!(code == 2 && err.contains(part), "{args:?}: {err}");
    }
    let (code, _, err) = carol.run(&["pause", "nobody", "--reason", REASON, "--yes"]);
    assert!(
        code == 1 && err.contains(&format!("there is no QuantizedModel {}/nobody", stage.namespace)),
        "{err}"
    );
    let (code, _, err) = carol.act(&["retry", "--variant", "int2"]);
    assert!(
        code == 1 && err.contains("it would have no effect: spec.variants has no \"int2\""),
        "{err}"
    );
    assert!(actions(&stage).await.is_empty());
}

#[tokio::test]
async fn whoever_waits_hears_what_guardbit_says_of_the_action() {
    let stage = stage("waiting").await;
    let guardbit = stage.actions(&stage.user(GUARDBIT, &[]).await);
    for (number, (verb, state, message, code)) in [
        ("pause", "InForce", "the weights are frozen", 0),
        ("resume", "Inert", "it is for another model", 1),
    ]
    .into_iter()
    .enumerate()
    {
        let carol = Shell::of(&stage, CAROL, &[]);
        let waiting = tokio::task::spawn_blocking(move || carol.act(&[verb, "--wait=120s"]));
        until("the action is there", async || actions(&stage).await.len() > number).await;
        let mut made = actions(&stage).await;
        made.retain(|action| action.data["status"].is_null());
        let mut action = made.pop().expect("a new action");
        for (state, message) in [("Waiting", "not yet"), (state, message)] {
            action.data["status"] = json!({"state": state, "message": message});
            let name = action.metadata.name.clone().expect("a name");
            let written = guardbit.replace_status(&name, &PostParams::default(), &action).await;
            action = written.expect("its state");
        }
        let (ended, out, err) = waiting.await.expect("no panic");
        assert_eq!(ended, code, "{verb}: {err}");
        assert_eq!(Some(named(&out)), action.metadata.name.as_deref());
        assert!(err.contains(&format!("{state}: {message}")), "{verb}: {err}");
    }
    let (code, _, err) = Shell::of(&stage, CAROL, &[]).act(&["pause", "--wait=1s"]);
    assert!(
        code == 1 && err.contains("guardbit has said nothing of it in 1s"),
        "{err}"
    );
}

/// An API server in which guardbit was never installed answers like any web server that does not have the page.
#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_guardbit_is_told_from_one_without_the_model() {
    let app = Router::new().fallback(|| ready((StatusCode::NOT_FOUND, "404 page not found\n")));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let server = format!("http://{}", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, app).await });
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "risk"}}],
        "clusters": [{"name": "test", "cluster": {"server": server}}],
        "users": [{"name": "test", "user": {}}],
    });
    let shell = Shell::with("bare", &config);
    let (code, out, err) = shell.act(&["pause"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(
        err.contains("the API server has no QuantizedModel") && err.contains("docs/install.md"),
        "{err}"
    );
}
