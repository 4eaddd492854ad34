//! Models in every situation, as GitOps tools see them: `tests/gitops` gives these files to kstatus and to Argo CD's health
//! check. `INSTA_UPDATE=always` writes them anew.

use std::path::Path;

use guardbit::api::Duration;
use guardbit::rollout::{EvidenceProblem, EvidenceReason};
use serde_json::{Value, json};

use crate::world::{Behaviour, World, spec};

/// The object as the API server holds it, less what no health check reads.
fn object(world: &World) -> Value {
    let mut object = json!({
        "apiVersion": "guardbit.dev/v1alpha1",
        "kind": "QuantizedModel",
        "metadata": {"name": "fraud", "namespace": "risk", "generation": world.generation},
        "spec": {"paused": world.spec.paused, "suspend": world.spec.suspend},
        "status": {
            "observedGeneration": world.status.observed_generation,
            "phase": world.status.phase,
            "conditions": world.status.conditions,
        },
    });
    if let Some(at) = world.deleted_at {
        object["metadata"]["deletionTimestamp"] = json!(at.to_string());
    }
    object
}

fn edited(mut world: World, change: impl FnOnce(&mut World)) -> World {
    change(&mut world);
    world.generation += 1;
    world.run(5);
    world
}

fn run(seconds: i64) -> World {
    let mut world = World::new(spec());
    world.run(seconds);
    world
}

fn behaving(variant: &str, behaviour: Behaviour, seconds: i64) -> World {
    let mut world = World::new(spec());
    world.behaviour.insert(variant.into(), behaviour);
    world.run(seconds);
    world
}

fn situations() -> Vec<(&'static str, World)> {
    let climbing = || run(110);
    let harmful = Behaviour {
        errors: 0.2,
        ..Behaviour::default()
    };
    let away = EvidenceProblem {
        reason: EvidenceReason::Unreachable,
        message: "connection refused".into(),
    };
    let mut blind = climbing();
    blind.prometheus = Err(away);
    blind.run(30);
    let mut stale = spec();
    let calibration = stale.variants[1].calibration.as_mut().expect("a calibration");
    calibration.max_age = Some(Duration("1s".into()));
    let mut gated = World::new(stale);
    gated.run(60);
    let mut settled = spec();
    settled.target = Some("fp32".into());
    let mut degraded = World::new(settled);
    degraded.run(60);
    let drained = Behaviour {
        disrupted: true,
        ..Behaviour::default()
    };
    degraded.behaviour.insert("fp32".into(), drained);
    degraded.run(60);
    let mut unseen = run(1_100);
    unseen.generation += 1;
    let mut deleted = climbing();
    deleted.deleted_at = Some(deleted.now);
    vec![
        ("bootstrapping", run(2)),
        ("progressing", climbing()),
        ("no-evidence", blind),
        ("paused", edited(climbing(), |w| w.spec.paused = true)),
        ("guarding", run(1_100)),
        ("rejected", behaving("int8", harmful, 300)),
        ("gated", gated),
        (
            "invalid-spec",
            edited(run(60), |w| w.spec.rollout.interval = Duration("10ms".into())),
        ),
        ("degraded", degraded),
        ("suspended", edited(climbing(), |w| w.spec.suspend = true)),
        ("unseen-change", unseen),
        ("deleted", deleted),
    ]
}

#[test]
fn the_files_that_gitops_tools_are_tested_with_are_what_rollouts_write() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata/kstatus");
    let update = std::env::var("INSTA_UPDATE").is_ok_and(|v| v == "always");
    let mut stale = Vec::new();
    for (name, world) in situations() {
        let path = dir.join(format!("{name}.json"));
        let text = format!("{}\n", serde_json::to_string_pretty(&object(&world)).expect("JSON"));
        if update {
            std::fs::write(&path, text).expect("written");
        } else if std::fs::read_to_string(&path).ok().as_deref() != Some(&text) {
            stale.push(name);
        }
    }
    assert!(
        stale.is_empty(),
        "INSTA_UPDATE=always cargo test --test rollout kstatus; then review: {stale:?}"
    );
}
