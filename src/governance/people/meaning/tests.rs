//! What people are told before they act.

use serde_json::{Value, json};

use super::super::acts::tests::{DIGEST, OTHER_DIGEST, UID, act, at};
use super::*;
use crate::api::ActKind::{self, Approve, BreakGlass, Pause, Reject, Resume, Retry, RollBack};

const FRAUD: &str = include_str!("../../../../tests/testdata/fraud-scorer.yaml");

fn spec() -> QuantizedModelSpec {
    let file: Value = serde_yaml_ng::from_str(FRAUD).unwrap();
    serde_json::from_value(file["spec"].clone()).unwrap()
}

/// A model in which int8 is on trial with 25%, and its promotion awaits approval.
struct Scene {
    spec: QuantizedModelSpec,
    status: Value,
    earlier: Vec<Act>,
}

impl Scene {
    fn new() -> Self {
        let spec = spec();
        let [fp32, int8] = [0, 1].map(|rung: usize| {
            let variant = &spec.variants[rung];
            json!({"variant": variant.name, "revision": identity::revision(&spec, variant)})
        });
        let with = |of: &Value, more: Value| {
            let mut of = of.clone();
            of.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            of
        };
        let arm =
            |role: &str, weight: i32| json!({"role": role, "deployment": "d", "weight": weight, "readyReplicas": 2});
        let counts = json!({"total": 5000, "bad": 12});
        let status = json!({
            "stable": fp32,
            "reference": fp32,
            "arms": [with(&fp32, arm("Stable", 75)), with(&int8, arm("Candidate", 25))],
            "rollout": {
                "kind": "Climb", "candidate": int8, "planDigest": "p", "startedAt": at(0).to_string(), "step": 1, "weight": 25,
            },
            "proven": [with(&fp32, json!({"at": at(0).to_string(), "by": "Declaration"}))],
            "guards": [{
                "name": "errors", "verdict": "Healthy", "evidence": "0.1", "threshold": "20", "health": "31",
                "healthThreshold": "20", "candidate": counts, "baseline": counts, "estimate": "0.24% vs 0.24%",
                "message": "12 of 5,000 (0.24%) against 0.24% of 5,000",
            }],
            "awaiting": with(&int8, json!({
                "before": "Promotion", "changeDigest": DIGEST, "since": at(5).to_string(), "need": 2,
                "have": [{"by": "bob", "at": at(6).to_string(), "action": "fraud-scorer-approve-7k2qd"}],
                "excluded": ["ann"], "may": "approve on quantizedmodels/fraud-scorer, group model-risk", "command": "c",
            })),
        });
        Self {
            spec,
            status,
            earlier: Vec::new(),
        }
    }

    /// The same model between rollouts, with int8 promoted.
    fn settled() -> Self {
        let mut scene = Self::new();
        let int8 = scene.status["rollout"]["candidate"].clone();
        let mut proven = int8.clone();
        proven["at"] = json!(at(0).to_string());
        proven["by"] = json!("Promotion");
        scene.status["proven"].as_array_mut().unwrap().push(proven);
        scene.status["stable"] = int8;
        scene.status["rollout"] = Value::Null;
        scene.status["awaiting"] = Value::Null;
        scene
    }

    fn tell(&self, act: &Act) -> Result<String, String> {
        let status = serde_json::from_value(self.status.clone()).unwrap();
        let known = Known {
            namespace: "risk",
            name: "fraud-scorer",
            uid: UID,
            spec: &self.spec,
            status: &status,
            earlier: &self.earlier,
        };
        meaning(&known, act).map(|meaning| meaning.to_string())
    }

    fn told(&self, act: &Act) -> String {
        self.tell(act).unwrap()
    }
}

fn of(kind: ActKind) -> Act {
    act(kind, "cid", 60)
}

fn roll_back(to: Option<&str>) -> Act {
    let mut act = of(RollBack);
    act.spec.to = to.map(str::to_owned);
    act
}

fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn an_approver_is_shown_the_change_the_claims_and_the_evidence() {
    let scene = Scene::new();
    let text = scene.told(&of(Approve));
    let (from, to) = (&scene.status["stable"], &scene.status["awaiting"]);
    let short = |of: &Value| identity::short(of["revision"].as_str().unwrap()).to_owned();
    assert_says(
        &text,
        &[
            "Approve risk/fraud-scorer: the change is approved until ",
            &format!("what         the promotion of int8 ({})\n", short(to)),
            &format!("change       {DIGEST}\n"),
            "why          the next variant of the ladder\n",
            &format!("from         fp32 ({}), 32 bits, FP32\n", short(from)),
            &format!("to           int8 ({}), 8 bits, INT8\n", short(to)),
            "weights      digest sha256:cb1525bc",
            "quantization activations.bits 8,",
            "calibration  completedAt 2026-11-03T09:00:00Z, dataset.digest sha256:3a6eb079",
            "validation   auc: 0.938, of the reference 0.941, may drop by 0.5%\n",
            "steps        5% for 5m, 25% for 10m, 50% for 10m\n",
            "deadline 4h, ",
            "guards       errors: proportion.bad http_requests_total{code=~\"5..\"}, proportion.tolerance.absolute 0.5%",
            "\n               latency: latency.budget.percentile 95",
            "evidence     errors Healthy: 12 of 5,000 (0.24%) against 0.24% of 5,000\n",
            "approvals    2 people must approve, since ",
            "bob did at ",
            "(fraud-scorer-approve-7k2qd)\n",
            "ann is an author of it and does not count\n",
            "needs        approve on quantizedmodels/fraud-scorer, group model-risk\n",
            "With yours as many people have approved as are asked for.",
        ],
    );
    let mut three = Scene::new();
    three.status["awaiting"]["need"] = json!(4);
    assert_says(&three.told(&of(Approve)), &["After yours 2 people more must approve."]);
}

#[test]
fn an_approval_that_would_not_count_is_told_before() {
    let mut scene = Scene::new();
    let own = scene.tell(&act(Approve, "ann", 60)).unwrap_err();
    assert_eq!(own, "the change is your own (ann): somebody else must approve it");
    let again = scene.told(&act(Approve, "bob", 60));
    assert_says(&again, &["You have approved it already (fraud-scorer-approve-7k2qd)"]);
    let mut other = of(Approve);
    other.spec.change_digest = Some(OTHER_DIGEST.to_owned());
    assert_says(&scene.tell(&other).unwrap_err(), &["another change, sha256:aa"]);
    scene.status["awaiting"] = Value::Null;
    let nothing = scene.tell(&of(Approve)).unwrap_err();
    assert_eq!(nothing, "nothing of this model awaits approval");
}

#[test]
fn the_change_that_awaits_approval_is_meant_where_none_is_named() {
    let status: QuantizedModelStatus = serde_json::from_value(Scene::new().status).unwrap();
    let awaiting = status.awaiting.as_ref();
    for kind in [Approve, Reject] {
        assert_eq!(change_meant(kind, None, awaiting), Ok(DIGEST));
        assert_eq!(change_meant(kind, Some(DIGEST), awaiting), Ok(DIGEST));
        assert!(change_meant(kind, Some(OTHER_DIGEST), awaiting).is_err(), "{kind}");
        assert!(change_meant(kind, None, None).is_err(), "{kind}");
    }
    assert_eq!(change_meant(Reject, Some(DIGEST), None), Ok(DIGEST));
    assert!(change_meant(Approve, Some(DIGEST), None).is_err());
}

#[test]
fn a_rejection_is_possible_also_where_nothing_awaits_approval() {
    let mut scene = Scene::new();
    let text = scene.told(&of(Reject));
    assert_says(
        &text,
        &["gets no traffic until ", "goes to 0 at once", "an approval by cid"],
    );
    let mut other = of(Reject);
    other.spec.change_digest = Some(OTHER_DIGEST.to_owned());
    assert_says(&scene.tell(&other).unwrap_err(), &["another change, sha256:aa"]);
    scene.status["awaiting"] = Value::Null;
    assert_says(
        &scene.told(&other),
        &["change       sha256:bb\n", "Nothing awaits approval now."],
    );
}

#[test]
fn a_rollback_says_where_traffic_goes_and_what_git_can_do() {
    let trial = Scene::new().told(&roll_back(None));
    assert_says(
        &trial,
        &[
            "nothing riskier than fp32 gets traffic until ",
            "now          75% fp32 (",
            "25% int8 (",
            "goes to 0 at once\n",
            ") serves on\n",
            "No commit and no sync ends it",
            "the spec holds again and asks for int4",
            "To end it: guardbit resume fraud-scorer -n risk",
        ],
    );
    let settled = Scene::settled();
    assert_says(
        &settled.told(&roll_back(None)),
        &["traffic moves from int8 (", " to fp32 as its pods become ready"],
    );
    assert_says(
        &settled.told(&roll_back(Some("int8"))),
        &["nothing riskier than int8", ") serves on"],
    );
    let unproven = settled.told(&roll_back(Some("int4")));
    assert_says(
        &unproven,
        &["int4 is not proven, so nothing riskier than int8 gets traffic"],
    );
    let unknown = settled.tell(&roll_back(Some("int2"))).unwrap_err();
    assert_eq!(unknown, "spec.variants has no \"int2\", only fp32, int8, int4");
}

#[test]
fn a_pause_and_a_resume_say_what_the_spec_still_asks_for() {
    let mut scene = Scene::new();
    assert_says(
        &scene.told(&of(Pause)),
        &["the weights are frozen until ", "25% int8 (", "No commit and no sync"],
    );
    let nothing = scene.told(&of(Resume));
    assert_says(
        &nothing,
        &[
            "nothing older was to be lifted",
            "The rollout of int8 (",
            ") goes on from 25%.",
        ],
    );
    assert_says(
        &Scene::settled().told(&of(Resume)),
        &["asks for int4: what is next on the way there from int8"],
    );
    let mut down = act(RollBack, "bob", 1);
    down.spec.reason = "Errors since 02:50\nPause risk/other: a line".to_owned();
    down.spec.valid_for = "24h".into();
    scene.earlier.push(down);
    scene.spec.paused = true;
    scene.status["rollout"]["escalatedAt"] = json!(at(3).to_string());
    let text = scene.told(&of(Resume));
    assert_says(
        &text,
        &[
            "takes back   RollBack of bob (rollback-bob-1): Errors since 02:50 Pause risk/other: a line\n",
            "gets its whole deadline again",
            "spec.paused is set, and stays",
        ],
    );
    assert!(!text.lines().any(|line| line.starts_with("Pause risk/other")), "{text}");
}

#[test]
fn a_retry_forgets_what_was_found_of_the_present_identity_alone() {
    let mut scene = Scene::settled();
    let present = identity::revision(&scene.spec, &scene.spec.variants[2]);
    let found = |revision: &str, reason: &str| json!({"variant": "int4", "revision": revision, "guard": "drift", "reason": reason, "at": at(0).to_string()});
    scene.status["rejected"] = json!([found(&present, "TV 0.09"), found("v1:old", "TV 0.2")]);
    let failed = json!({"variant": "int4", "revision": present, "attempt": 1, "count": 2, "reason": "no node", "at": at(0).to_string()});
    scene.status["failed"] = json!([failed]);
    let text = scene.told(&of(Retry));
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[1].starts_with("  forgets      rejected at ") && lines[1].ends_with(" by drift: TV 0.09"),
        "{text}"
    );
    assert!(
        lines[2].contains("failed 2 times, last at ") && lines[2].ends_with(": no node"),
        "{text}"
    );
    assert!(
        lines[3].starts_with("  keeps        of an earlier identity: rejected at "),
        "{text}"
    );
    scene.status["rejected"] = json!([]);
    scene.status["failed"] = json!([]);
    assert_says(
        &scene.told(&of(Retry)),
        &["Nothing is on record against int4 in its present identity."],
    );
    let mut unknown = of(Retry);
    unknown.spec.variant = Some("int2".to_owned());
    assert_says(
        &scene.tell(&unknown).unwrap_err(),
        &["would have no effect", "no \"int2\""],
    );
}

#[test]
fn breaking_the_glass_says_what_stays_shut() {
    let text = Scene::new().told(&of(BreakGlass));
    assert_says(
        &text,
        &[
            "the gates Approvals are open for INC-7 until ",
            "opens        Approvals: ",
            "stays shut   Freezes: ",
            "Slots: ",
            "below the floor of a policy gets no traffic",
            "harm is rolled back",
        ],
    );
}
