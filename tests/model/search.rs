//! Exhaustive search: all orders of a world's events, breadth first, each state once. The first broken invariant that is met
//! is therefore met on a shortest path.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::events::Event;
use crate::invariants::{Broken, Invariant, Judge};
use crate::mutants::Mutant;
use crate::state::Key;
use crate::world::World;

/// From where, with which events.
pub struct Model {
    pub name: &'static str,
    pub start: World,
    pub events: Vec<Event>,
}

/// What a search has found.
pub struct Found {
    pub states: usize,
    pub transitions: usize,
    /// Length of the longest path that was taken; all orders up to here were tried.
    pub depth: usize,
    pub took: Duration,
    /// How often the premise of each invariant held.
    pub tried: BTreeMap<Invariant, u64>,
    pub broken: Option<Counterexample>,
}

/// A shortest way to a broken invariant.
pub struct Counterexample {
    pub path: Vec<Event>,
    /// Where each event led to.
    states: Vec<String>,
    pub broken: Broken,
}

/// How a state was first reached.
type Reached = Option<(u32, u16)>;

impl Model {
    /// Tries all orders of up to `depth` events; ends at the first broken invariant.
    pub fn explore(&self, depth: usize, mutant: Option<&Mutant>) -> Found {
        let began = Instant::now();
        let judge = Judge {
            mutant,
            ..Judge::default()
        };
        let mut known: HashMap<Key, u32> = HashMap::from([(Key::of(&self.start), 0)]);
        let mut reached: Vec<Reached> = vec![None];
        let mut frontier = vec![(0u32, self.start.clone())];
        let mut found = Found {
            states: 1,
            transitions: 0,
            depth: 0,
            took: Duration::ZERO,
            tried: BTreeMap::new(),
            broken: None,
        };
        'search: while !frontier.is_empty() && found.depth < depth {
            found.depth += 1;
            let last = found.depth == depth;
            let mut next = Vec::new();
            for (from, world) in frontier {
                for (number, event) in self.events.iter().enumerate() {
                    let number = u16::try_from(number).expect("few events");
                    let world = match event.happen(&world, &judge) {
                        Ok(Some(world)) => world,
                        Ok(None) => continue,
                        Err(broken) => {
                            let path = self.path(&reached, from, number);
                            let states = self.replay(&path, &judge);
                            found.broken = Some(Counterexample { path, states, broken });
                            break 'search;
                        }
                    };
                    found.transitions += 1;
                    if let Entry::Vacant(vacant) = known.entry(Key::of(&world)) {
                        let id = u32::try_from(reached.len()).expect("fewer states than 2³²");
                        vacant.insert(id);
                        reached.push(Some((from, number)));
                        if !last {
                            next.push((id, world));
                        }
                    }
                }
            }
            frontier = next;
        }
        (found.states, found.took, found.tried) = (reached.len(), began.elapsed(), judge.tried.take());
        found
    }

    fn replay(&self, path: &[Event], judge: &Judge<'_>) -> Vec<String> {
        let mut world = self.start.clone();
        let mut states = vec![world.summary()];
        for event in path {
            match event.happen(&world, judge) {
                Ok(Some(next)) => world = next,
                Ok(None) | Err(_) => break,
            }
            states.push(world.summary());
        }
        states
    }

    fn path(&self, reached: &[Reached], mut at: u32, last: u16) -> Vec<Event> {
        let mut numbers = vec![last];
        while let Some((from, number)) = reached[at as usize] {
            numbers.push(number);
            at = from;
        }
        numbers
            .iter()
            .rev()
            .map(|number| self.events[usize::from(*number)])
            .collect()
    }
}

impl std::fmt::Display for Counterexample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let first = self.states.first().map_or("", String::as_str);
        writeln!(f, "      {first}")?;
        for (i, event) in self.path.iter().enumerate() {
            let then = self.states.get(i + 1).map_or("", String::as_str);
            writeln!(
                f,
                "  {:>2}. {:?}, evaluation: {:?}: {then}",
                i + 1,
                event.change,
                event.evaluation
            )?;
        }
        write!(f, "  {:?}: {}", self.broken.invariant, self.broken.why)
    }
}
