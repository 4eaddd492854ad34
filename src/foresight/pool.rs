//! Many runs of many scenes on all cores, for as long as the caller says.
//!
//! Runs of a scene have the seeds 0, 1, 2 … without a gap, so that the result depends on their number alone. Work is shared
//! out evenly: the scene with the least of it comes next. The caller says how much time has passed, because this is pure.

use parking_lot::Mutex;

use super::scene::{Run, Scene};

/// How much may be spent.
pub struct Budget<'a> {
    /// Threads; at least one.
    pub threads: usize,
    /// Runs of a scene at the most.
    pub runs: u64,
    /// Which share of the time is used up: 1 or more ends the work.
    pub used: &'a (dyn Fn() -> f64 + Sync),
}

/// Runs that are made of a scene also when its time is over, because fewer have too large an error.
const LEAST: u64 = 12;

/// Runs that are made of a scene when twice its time is over: so little traffic, or so long a deadline, that a run alone takes
/// long. Their Monte-Carlo error says how little they say.
const AT_ALL: u64 = 3;

/// What is open and done of one scene.
struct Progress {
    taken: u64,
    work: f64,
    runs: Vec<(u64, Run)>,
}

impl Budget<'_> {
    /// The runs of each scene, in the order of their seeds; `until` is the share of the time at which they end.
    pub(super) fn run(&self, scenes: &[Scene<'_>], until: f64) -> Vec<Vec<Run>> {
        let fresh = || Progress {
            taken: 0,
            work: 0.0,
            runs: Vec::new(),
        };
        let progress = Mutex::new(scenes.iter().map(|_| fresh()).collect::<Vec<_>>());
        std::thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    while let Some((at, seed)) = self.next(&progress, until) {
                        let run = scenes[at].run(seed);
                        let mut progress = progress.lock();
                        progress[at].work += work(&scenes[at], &run) - guess(&progress[at]);
                        progress[at].runs.push((seed, run));
                    }
                });
            }
        });
        let progress = progress.into_inner();
        progress
            .into_iter()
            .map(|mut scene| {
                scene.runs.sort_by_key(|(seed, _)| *seed);
                scene.runs.into_iter().map(|(_, run)| run).collect()
            })
            .collect()
    }

    /// Whether nothing more should be begun that can be done without.
    pub(super) fn is_spent(&self) -> bool {
        (self.used)() >= 1.0
    }

    /// The next scene and seed.
    fn next(&self, progress: &Mutex<Vec<Progress>>, until: f64) -> Option<(usize, u64)> {
        let used = (self.used)();
        let limit = if used < until {
            self.runs
        } else if used < 2.0 * until {
            LEAST.min(self.runs)
        } else {
            AT_ALL.min(self.runs)
        };
        let mut progress = progress.lock();
        let open = progress.iter_mut().enumerate().filter(|(_, scene)| scene.taken < limit);
        let (at, scene) = open.min_by(|(_, a), (_, b)| {
            let first = |scene: &Progress| scene.taken >= LEAST;
            first(a).cmp(&first(b)).then(a.work.total_cmp(&b.work))
        })?;
        let seed = scene.taken;
        scene.taken += 1;
        scene.work += guess(scene);
        Some((at, seed))
    }
}

/// What a run that is under way will cost: as much as those before.
fn guess(scene: &Progress) -> f64 {
    scene.work / scene.taken.max(1) as f64
}

/// What a run has cost, in evaluations of one guard on a share of bad events.
fn work(scene: &Scene<'_>, run: &Run) -> f64 {
    let guards = scene
        .guards
        .guards
        .iter()
        .filter(|(name, _)| scene.only.is_none_or(|only| only == *name));
    let cost: f64 = guards.map(|(_, guard)| guard.work()).sum();
    cost * (1.0 + run.at / scene.poll)
}

#[cfg(test)]
mod tests {
    use super::super::forecast::problems;
    use super::super::stage::Question;
    use super::super::traffic::Traffic;
    use super::*;
    use crate::api::QuantizedModelSpec;

    #[test]
    fn at_little_traffic_a_budget_that_is_spent_ends_the_work_and_it_is_said() {
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let file: serde_json::Value = serde_yaml_ng::from_str(sample).unwrap();
        let spec: QuantizedModelSpec = serde_json::from_value(file["spec"].clone()).unwrap();
        let traffic = Traffic::assumed(&spec, 0.05, 0.005);
        let question = Question {
            spec: &spec,
            traffic: &traffic,
            scrape: 600.0,
            prompt_tokens: None,
        };
        let budget = Budget {
            threads: 1,
            runs: 400,
            used: &|| 9.0,
        };
        let found = problems(&question, &budget);
        assert_eq!(found.len(), 2, "one for each kind of climb");
        for problem in found {
            assert!(
                problem.sentence.contains("the time for the search was over"),
                "{}",
                problem.sentence
            );
            // Only what the runs that show the problem say themselves.
            assert!(
                problem
                    .remedies
                    .iter()
                    .all(|r| r.field == "spec.rollout.deadline" && r.runs == 3)
            );
        }
    }
}
