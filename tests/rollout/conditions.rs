//! The README's truth table of conditions, from rollouts that were run.

use crate::world::{Behaviour, World, spec};
use guardbit::api::{Duration, OnUndecided};
use guardbit::rollout::Record;

/// Ready, Available, Progressing, Reconciling, Stalled; with the reason where Ready names one of its own.
fn row(situation: &str, world: &World) -> String {
    let of = |kind: &str| {
        world
            .status
            .conditions
            .iter()
            .find(|c| c.type_ == kind)
            .expect("a condition")
    };
    let ready = of("Ready");
    let named = !matches!(ready.reason.as_str(), "Progressing" | "Settled");
    let reason = if named {
        format!(" (`{}`)", ready.reason)
    } else {
        String::new()
    };
    let others = ["Available", "Progressing", "Reconciling", "Stalled"].map(|kind| of(kind).status.as_str());
    format!("| {situation} | {}{reason} | {} |", ready.status, others.join(" | "))
}

#[test]
fn the_readme_says_what_conditions_say() {
    let mut rows = Vec::new();
    let mut world = World::new(spec());
    world.run(2);
    rows.push(row("first install, pods not ready", &world));
    world.run(108);
    rows.push(row("a candidate climbs or waits", &world));
    world.spec.paused = true;
    world.generation += 1;
    world.run(5);
    rows.push(row("a candidate is paused", &world));
    world.spec.paused = false;
    world.generation += 1;
    world.run(900);
    rows.push(row("the target serves and is guarded", &world));

    let mut world = World::new(spec());
    world.behaviour.insert(
        "int8".into(),
        Behaviour {
            errors: 0.2,
            ..Behaviour::default()
        },
    );
    world.run(300);
    rows.push(row("the candidate was rejected, stable serves", &world));

    let mut undecided = spec();
    undecided.rollout.deadline = Duration("2m".into());
    undecided.rollout.on_undecided = OnUndecided::Escalate;
    let mut world = World::new(undecided);
    world.run(300);
    rows.push(row("a person is asked about the candidate", &world));

    let mut stale = spec();
    let calibration = stale.variants[1].calibration.as_mut().expect("a calibration");
    calibration.max_age = Some(Duration("1s".into()));
    let mut world = World::new(stale);
    world.run(60);
    rows.push(row("a gate holds the candidate back", &world));

    let mut world = World::new(spec());
    world.run(60);
    world.spec.rollout.interval = Duration("10ms".into());
    world.generation += 1;
    world.run(5);
    rows.push(row("the spec cannot be used, stable serves", &world));

    let mut settled = spec();
    settled.target = Some("fp32".into());
    let mut world = World::new(settled);
    world.run(60);
    world.behaviour.insert(
        "fp32".into(),
        Behaviour {
            disrupted: true,
            ..Behaviour::default()
        },
    );
    world.run(60);
    rows.push(row("stable has lost its last endpoint", &world));

    let readme = include_str!("../../README.md");
    let missing: Vec<_> = rows.iter().filter(|row| !readme.contains(*row)).collect();
    assert!(missing.is_empty(), "README.md should say:\n{}", rows.join("\n"));
}

/// A gateway's words are text of others: no escape sequence, no line break, and no more than a condition may hold.
#[test]
fn what_a_gateway_says_is_plain_and_short_in_conditions_and_decisions() {
    let mut world = World::new(spec());
    world.run(60);
    let words = format!("a\u{1b}[31mb\r\nERROR forged\u{202e} {}", "x".repeat(100_000));
    world.refused = Some(words);
    world.run(120);
    let conditions = world.status.conditions.iter().map(|c| c.message.as_str());
    let decisions = world.status.decisions.iter().map(|d| d.why.as_str());
    let texts: Vec<&str> = conditions.chain(decisions).collect();
    assert!(texts.iter().any(|text| text.contains("ERROR forged")), "{texts:?}");
    for text in texts {
        assert!(text.chars().all(|c| guardbit::api::visible(c) == c), "{text:?}");
        assert!(text.chars().count() <= guardbit::api::LONGEST_MESSAGE);
    }
}

#[test]
fn between_two_steps_next_to_nothing_is_written() {
    // Healthy; and with three times the requests that its weight says, which is told once.
    for (routed, told) in [(1.0, 0), (3.0, 1)] {
        let mut spec = spec();
        spec.rollout.interval = Duration("60s".into());
        spec.rollout.steps[0].hold = Duration("2h".into());
        spec.rollout.deadline = Duration("4h".into());
        let mut world = World::new(spec);
        let int8 = Behaviour {
            routed,
            ..Behaviour::default()
        };
        world.behaviour.insert("int8".into(), int8);
        world.run(300);
        assert_eq!(world.status.rollout.as_ref().map(|r| r.weight), Some(5));
        let (mut evaluations, mut writes) = (0, 0);
        world.run_watched(3_600, &mut |_, _, plan| {
            evaluations += 1;
            writes += usize::from(plan.record == Record::Now);
        });
        assert!(evaluations >= 60, "{evaluations}");
        assert_eq!(writes, told, "{routed}: {}", world.transcript);
    }
}
