//! Model checking of `decide`: all orders of events in small worlds, and broken variants of it that must be found.

mod events;
mod invariants;
mod mutants;
mod search;
mod state;
mod world;
mod worlds;

use crate::invariants::Invariant;
use crate::mutants::MUTANTS;
use crate::search::Model;

/// Events more than usual, as `make model-check` asks for.
fn deeper() -> isize {
    let asked = std::env::var("GUARDBIT_MODEL_DEEPER").ok();
    asked.and_then(|depth| depth.parse().ok()).unwrap_or(0)
}

fn holds(mut model: Model) {
    model.depth = model.depth.saturating_add_signed(deeper());
    let found = model.explore(None);
    println!(
        "{}: {} states, {} transitions, depth {}, {:.1} s",
        model.name,
        found.states,
        found.transitions,
        found.depth,
        found.took.as_secs_f64()
    );
    if let Some(counterexample) = found.broken {
        panic!("{}:\n{counterexample}", model.name);
    }
}

macro_rules! worlds {
    ($size:ident, #[$when:meta], $($world:ident),* $(,)?) => {
        mod $size {
            $(
                #[test]
                #[$when]
                fn $world() {
                    crate::holds(crate::worlds::$size::$world());
                }
            )*
        }
    };
}

worlds!(narrow, #[cfg(test)],
    metrics_come_and_go,
    controller_is_killed,
    status_is_lost,
    candidate_is_disrupted,
    candidate_waits_for_pods,
    fallback_goes,
    target_moves,
    plan_is_edited,
    gates_close,
    candidates_supersede_each_other,
    reference_changes,
    clocks_jump,
    deadline_passes,
    ladder,
    ladder_loses_pods,
    objects_are_edited,
    route_is_refused,
    pinned
);

worlds!(wide, #[ignore = "minutes; make model-check"],
    metrics_come_and_go,
    controller_is_killed,
    pods_come_and_go,
    spec_is_edited,
    weights_supersede_each_other,
    clocks_jump,
    ladder,
    objects_are_edited
);

#[test]
fn every_broken_variant_is_caught() {
    let mut missed = Vec::new();
    for mutant in &MUTANTS {
        let model = (mutant.world)();
        let found = model.explore(Some(mutant));
        match found.broken {
            Some(counterexample) => println!(
                "{:?}: {}: caught in {} after {} events, {} states, {:.1} s",
                mutant.invariant,
                mutant.name,
                model.name,
                counterexample.path.len(),
                found.states,
                found.took.as_secs_f64()
            ),
            None => missed.push(mutant.name),
        }
    }
    assert!(missed.is_empty(), "not caught: {}", missed.join("; "));
}

#[test]
fn every_invariant_has_a_broken_variant() {
    for invariant in Invariant::ALL {
        assert!(MUTANTS.iter().any(|m| m.invariant == invariant), "{invariant:?}");
    }
}
