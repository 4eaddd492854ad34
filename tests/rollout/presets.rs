//! Models whose guards come from a preset.

use crate::world::{World, spec};
use guardbit::api::{Action, ArmLabel, ArmMatchers, LatencyTolerance, Preset};
use guardbit::evidence::arm_query;
use guardbit::evidence::promql::parse_matchers;
use guardbit::model::presets::guards;
use guardbit::rollout::{QueryScope, watch};

fn actions(world: &World) -> Vec<Action> {
    world.status.decisions.iter().filter_map(|d| d.action.known()).collect()
}

#[test]
fn a_model_with_a_preset_alone_is_judged_by_its_guards() {
    let mut spec = spec();
    spec.guards.clear();
    spec.preset = Some(Preset::VLlm);
    let mut world = World::new(spec);
    world.run(900);
    let promoted = world.status.decisions.iter().find(|d| d.action == Action::Promoted);
    let why = &promoted.unwrap_or_else(|| panic!("{}", world.transcript)).why;
    assert!(why.contains("errors: ") && why.contains("latency: "), "{why}");
}

#[test]
fn another_preset_in_mid_rollout_is_another_plan() {
    let mut spec = spec();
    spec.preset = Some(Preset::KServe);
    let mut world = World::new(spec);
    world.run(110);
    // The model lists a latency guard of its own: nothing changes.
    world.spec.preset = None;
    world.generation += 1;
    world.run(5);
    assert!(!actions(&world).contains(&Action::PlanChanged), "{}", world.transcript);
    world.spec.guards.retain(|g| g.name != "latency");
    world.spec.preset = Some(Preset::Tgi);
    world.generation += 1;
    world.run(5);
    assert!(actions(&world).contains(&Action::PlanChanged), "{}", world.transcript);
}

/// What an upgrade does that brings another default: the spec is the same, and what it means is not.
#[test]
fn another_default_in_mid_rollout_is_another_plan() {
    let mut spec = spec();
    spec.preset = Some(Preset::Tgi);
    spec.guards.retain(|guard| guard.name != "latency");
    let mut world = World::new(spec.clone());
    world.run(110);
    // Writing out what is usual changes nothing.
    let mut written = guards(&spec);
    world.spec.guards = written.clone();
    world.run(5);
    assert!(!actions(&world).contains(&Action::PlanChanged), "{}", world.transcript);
    // As the release before had it.
    let latency = written
        .iter_mut()
        .find_map(|guard| guard.latency.as_mut())
        .expect("a guard of latency");
    latency.tolerance = Some(LatencyTolerance {
        slowdown: None,
        ratio: Some("1.5".into()),
        absolute: Some("0.5%".into()),
    });
    world.spec.guards = written;
    world.run(5);
    let changed = world.status.decisions.iter().find(|d| d.action == Action::PlanChanged);
    let why = &changed.unwrap_or_else(|| panic!("{}", world.transcript)).why;
    assert!(why.contains("this release of guardbit has other defaults"), "{why}");
}

#[test]
fn arms_are_told_apart_by_any_label_that_holds_the_names_of_pods() {
    let mut spec = spec();
    let prometheus = spec.prometheus.get_or_insert_default();
    prometheus.arm_matchers = Some(ArmMatchers::Labels);
    prometheus.arm_labels = [("k8s.pod.name", "{pod}"), ("app", "ns.{service}")]
        .map(|(label, value)| ArmLabel {
            label: label.to_owned(),
            value: value.to_owned(),
        })
        .into();
    let mut world = World::new(spec);
    world.run(110);
    let queries = watch(&world.observe().model, world.now, &QueryScope::default());
    let asked = arm_query("up_total", &queries[0].candidate.matchers, 90_000).unwrap();
    let deployment = asked
        .split("ns.")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a Deployment");
    assert!(
        asked.contains(&format!(r#""k8s.pod.name"=~"{deployment}-[a-z0-9]+-[a-z0-9]{{5}}""#)),
        "{asked}"
    );
    // It is what the server reads.
    assert_eq!(
        parse_matchers(&asked["up_total".len()..asked.len() - "[1m30s]".len()]).unwrap(),
        queries[0].candidate.matchers
    );
}

#[test]
fn a_matcher_of_the_owner_is_on_every_query_also_on_those_of_presets() {
    let mut spec = spec();
    spec.preset = Some(Preset::Tgi);
    let mut world = World::new(spec);
    world.run(110);
    let matchers = parse_matchers(r#"{cluster="a"}"#).unwrap();
    let scope = QueryScope {
        matchers: matchers.clone(),
        ..QueryScope::default()
    };
    let queries = watch(&world.observe().model, world.now, &scope);
    let guards: Vec<_> = queries.iter().map(|query| query.guard.as_str()).collect();
    assert_eq!(guards, ["errors", "latency", "drift"]);
    for arm in queries
        .iter()
        .flat_map(|query| [Some(&query.candidate), query.baseline.as_ref()])
        .flatten()
    {
        assert!(arm.matchers.contains(&matchers[0]), "{arm:?}");
        assert!(
            arm.matchers.iter().any(|matcher| matcher.label == "namespace"),
            "{arm:?}"
        );
    }
}
