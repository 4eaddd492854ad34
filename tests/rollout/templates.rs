//! Pod templates with something in them that the pods would not have.

use serde_json::{Value, json};

use crate::world::{World, spec};
use guardbit::api::{Action, PodTemplate};
use guardbit::model::template;

fn misspelt() -> PodTemplate {
    let Value::Object(template) =
        json!({"spec": {"terminationGracePeriodSecond": 30, "containers": [{"name": "server"}]}})
    else {
        unreachable!()
    };
    PodTemplate(template)
}

fn condition<'a>(world: &'a World, kind: &str) -> (&'a str, &'a str, &'a str) {
    let condition = world.status.conditions.iter().find(|c| c.type_ == kind).expect(kind);
    (&condition.status, &condition.reason, &condition.message)
}

#[test]
fn a_new_revision_with_a_misspelt_field_is_not_begun_and_traffic_stays() {
    let mut world = World::new(spec());
    world.run(30);
    world.spec.variants[1].template = Some(misspelt());
    world.generation += 1;
    world.run(60);
    let (status, reason, message) = condition(&world, "Stalled");
    assert_eq!((status, reason), ("True", "Gated"), "{}", world.transcript);
    assert!(
        message
            .contains("spec.variants[int8].template.spec: Kubernetes knows no field \"terminationGracePeriodSecond\""),
        "{message}"
    );
    let made = world
        .workloads
        .keys()
        .filter(|key| key.revision.variant == "int8")
        .count();
    assert_eq!(made, 0, "{}", world.transcript);
    // Mending it takes effect at once.
    world.spec.variants[1].template = None;
    world.generation += 1;
    world.run(20);
    assert_eq!(condition(&world, "Stalled").0, "False");
    assert!(
        world.status.decisions.iter().any(|d| d.action == Action::Raised),
        "{}",
        world.transcript
    );
}

#[test]
fn the_first_install_waits_for_a_template_that_can_be_used() {
    let mut spec = spec();
    spec.serving.template = misspelt();
    let mut world = World::new(spec);
    world.run(30);
    assert_eq!(condition(&world, "Stalled").1, "Gated", "{}", world.transcript);
    assert!(world.workloads.is_empty(), "{}", world.transcript);
}

/// As after an upgrade from a version that dropped the field in silence.
#[test]
fn a_revision_that_has_pods_is_judged_on_and_a_condition_says_what_they_lack() {
    let mut sound = spec();
    sound.variants[1].template = Some(misspelt());
    let mut world = World::new(sound);
    world.blind_to_templates = true;
    world.run(150);
    assert!(world.status.rollout.is_some(), "{}", world.transcript);
    world.blind_to_templates = false;
    world.run(600);
    let promoted = world.status.decisions.iter().any(|d| d.action == Action::Promoted);
    assert!(promoted, "{}", world.transcript);
    let (status, reason, message) = condition(&world, "IdentityMismatch");
    assert_eq!((status, reason), ("True", "TemplateFields"));
    assert_eq!(message, template::problems(&world.spec)[0].problem);
}
