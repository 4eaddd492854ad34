//! Model checking of `decide`: all orders of events in small worlds, and broken variants of it that must be found.
//! docs/invariants.md says what is searched, and what was found by it.

mod events;
mod invariants;
mod mutants;
mod oversight;
mod search;
mod state;
mod traffic;
mod world;
mod worlds;

use std::sync::LazyLock;

use crate::invariants::Invariant;
use crate::mutants::mutants;
use crate::search::Model;

/// The worlds of the broken variants, by name, with what is broken there. To make a world takes evaluations.
static BROKEN_IN: LazyLock<Vec<(&str, Invariant)>> =
    LazyLock::new(|| mutants().iter().map(|m| ((m.world)().name, m.invariant)).collect());

/// All orders of so many events are tried by `make test`.
const DEPTH: usize = 8;

/// Within so many events each broken variant is caught.
const CAUGHT_WITHIN: usize = 10;

/// Of so many by `make model`.
fn deeper() -> usize {
    let asked = std::env::var("GUARDBIT_MODEL_DEPTH").ok();
    asked.and_then(|depth| depth.parse().ok()).unwrap_or(10)
}

/// No invariant is broken, and those that a broken variant breaks in this world are put to the test by the real one too.
fn holds(model: &Model, depth: usize) {
    let found = model.explore(depth, None);
    let (states, transitions, seconds) = (found.states, found.transitions, found.took.as_secs_f64());
    println!(
        "{}: {states} states, {transitions} transitions, depth {}, {seconds:.1} s, tried: {:?}",
        model.name, found.depth, found.tried
    );
    if let Some(counterexample) = found.broken {
        panic!("{}:\n{counterexample}", model.name);
    }
    assert_eq!(found.depth, depth, "nothing more could happen in {}", model.name);
    for (_, invariant) in BROKEN_IN.iter().filter(|(name, _)| *name == model.name) {
        let tried = found.tried.get(invariant);
        assert!(tried > Some(&0), "{invariant:?} is never put to the test");
    }
}

macro_rules! worlds {
    ($($world:ident),* $(,)?) => {
        mod all_orders_of_eight_events {
            $(
                #[test]
                fn $world() {
                    crate::holds(&crate::worlds::$world(), crate::DEPTH);
                }
            )*
        }

        mod deeper {
            $(
                #[test]
                #[ignore = "minutes; make model"]
                fn $world() {
                    crate::holds(&crate::worlds::$world(), crate::deeper());
                }
            )*
        }
    };
}

worlds!(
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
    pinned,
    shadow_stage,
    people_act,
    people_approve,
    policy_changes,
    freeze_comes_and_goes,
    records_are_refused,
    all_together,
);

#[test]
fn every_broken_variant_is_caught() {
    let mut missed = Vec::new();
    for mutant in &mutants() {
        let model = (mutant.world)();
        let found = model.explore(CAUGHT_WITHIN, Some(mutant));
        let Some(counterexample) = found.broken else {
            missed.push(mutant.name);
            continue;
        };
        println!(
            "{:?}: {}: caught in {} after {} events, {} states: {}",
            mutant.invariant,
            mutant.name,
            model.name,
            counterexample.path.len(),
            found.states,
            counterexample.broken.why,
        );
    }
    assert!(missed.is_empty(), "not caught: {}", missed.join("; "));
}

#[test]
fn every_invariant_has_a_broken_variant() {
    for invariant in Invariant::ALL {
        assert!(mutants().iter().any(|m| m.invariant == invariant), "{invariant:?}");
    }
}
