//! One imagined rollout: the real guards on drawn traffic.
//!
//! The judge is the real one (`guards::Suite`): it finds harm and health, and says what a step waits for. Of the rollout core
//! only the clock is left where capacity is always ready: a hold, then the next weight, and a deadline. That part is
//! repeated here, because a rollout through `decide` writes and reads its whole state at every evaluation, and a forecast takes
//! hundreds of thousands of evaluations; a test holds the two against each other on the same traffic.

use crate::api::Verdict;
use crate::evidence::Poll;
use crate::guards::traffic::{Effect, Random};
use crate::guards::{Compared, Kind, Suite, SuiteConfig};

use super::pairs::pace::Meter;
use super::traffic::Traffic;

/// Shares of the traffic, each in `[0, 1]`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// The arm on trial.
    pub candidate: f64,
    /// What its errors and latency are compared with.
    pub baseline: f64,
    /// What its outputs are compared with; the baseline itself, or an arm beside it.
    pub reference: f64,
}

/// A weight that is held.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Held {
    /// Who gets how much meanwhile.
    pub split: Split,
    /// How long at least, in seconds.
    pub hold: f64,
    /// The part of the comparer's rate at which pairs are asked meanwhile; in `(0, 1]`. Before the first weight it is all of it.
    pub asked: f64,
}

/// What a run is for: it ends there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Promotion, after all steps.
    Promotion,
    /// Each guard has shown health once, at the one weight that is held.
    Health,
    /// Harm is found.
    Harm,
}

/// What is imagined.
#[derive(Clone, Debug)]
pub struct Scene<'a> {
    /// The guards.
    pub guards: &'a SuiteConfig,
    /// What they count.
    pub traffic: &'a Traffic,
    /// The weights; at least one.
    pub steps: Vec<Held>,
    /// The shares of the hour before.
    pub before: Split,
    /// Seconds between two evaluations.
    pub poll: f64,
    /// When it ends at the latest, in seconds.
    pub horizon: f64,
    /// Pairs of the candidate that are counted before its first weight; `None` where there is no shadow stage.
    pub shadow: Option<u64>,
    /// How long a budget of pairs lasts at the comparer's whole rate, in seconds.
    pub pairs_last: f64,
    /// The guard that a candidate is worse for, and by how much.
    pub effect: Option<(&'a str, Effect)>,
    /// The only guard that gets data; all of them where left out. Evidence of the others is then that of no data.
    pub only: Option<&'a str>,
    /// Where it ends.
    pub goal: Goal,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Its goal was health or promotion, and it was reached.
    Healthy,
    /// Harm was found.
    Harmful,
    /// Neither by the horizon.
    Open,
}

/// One run. Times are seconds from the first weight, or from the beginning of the shadow stage where there is one.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// How it ended.
    pub end: End,
    /// When.
    pub at: f64,
    /// When the candidate got its first weight.
    pub begun: f64,
    /// When each guard first was healthy, in the order of their names.
    pub healthy: Vec<Option<f64>>,
    /// When each step ended, as far as the run came.
    pub raised: Vec<f64>,
    /// The guards that were not healthy when the run ended, in the order of their names.
    pub unsure: Vec<bool>,
}

/// What the baseline did before the trial: as far back as the controller asks, in seconds.
const HISTORY: f64 = 3_600.0;

impl Scene<'_> {
    /// One run; the same for the same seed.
    pub fn run(&self, seed: u64) -> Run {
        let mut random = Random::new(seed.wrapping_mul(0xd134_2543_de82_ef95) ^ 0x5851_f42d_4c95_7f2d);
        let mut suite = self.after_an_hour(&mut random);
        let mut run = Run {
            end: End::Open,
            at: 0.0,
            begun: 0.0,
            healthy: vec![None; self.guards.guards.len()],
            raised: Vec::new(),
            unsure: vec![true; self.guards.guards.len()],
        };
        let (mut step, mut since) = (0, 0.0);
        let mut shadow = self.shadow.filter(|_| self.counting_pairs().next().is_some());
        let mut meter = Meter::new(self.pairs_last);
        let polls = (self.horizon / self.poll).ceil() as i64;
        for t in 1..=polls {
            run.at = t as f64 * self.poll;
            let held = shadow.is_none().then_some(self.steps[step]);
            let asking = meter.ask(self.poll, held.map_or(1.0, |held| held.asked));
            self.observe(&mut random, &mut suite, t, held.map(|held| held.split), asking);
            if suite.harmful(self.guards).is_some() {
                run.end = End::Harmful;
                return run;
            }
            if self.goal == Goal::Harm {
                continue;
            }
            let (mut all, mut leans) = (true, false);
            for (i, report) in suite.reports(self.guards).into_iter().enumerate() {
                run.unsure[i] = report.verdict != Verdict::Healthy && self.asks(&report.name);
                all &= !run.unsure[i];
                leans |= report.leans_to_harm();
                if report.verdict == Verdict::Healthy {
                    run.healthy[i].get_or_insert(run.at);
                }
            }
            if self.goal == Goal::Health {
                let each_once = run
                    .healthy
                    .iter()
                    .zip(self.guards.guards.keys())
                    .all(|(at, name)| at.is_some() || !self.asks(name));
                if each_once {
                    run.end = End::Healthy;
                    return run;
                }
                continue;
            }
            if let Some(wanted) = shadow {
                let counted = self.counting_pairs().map(|name| suite.of_step(name)).min();
                if counted >= Some(wanted) {
                    (shadow, since, run.begun) = (None, run.at, run.at);
                    suite.mark_step();
                }
                continue;
            }
            let held = run.at - since >= self.steps[step].hold - 1e-6;
            if !held || !suite.step_waits_for(self.guards).is_empty() {
                continue;
            }
            if step + 1 < self.steps.len() {
                if leans {
                    continue;
                }
                step += 1;
                since = run.at;
                run.raised.push(run.at);
                suite.mark_step();
            } else if all {
                run.end = End::Healthy;
                run.raised.push(run.at);
                return run;
            }
        }
        run
    }

    fn asks(&self, guard: &str) -> bool {
        self.only.is_none_or(|only| only == guard)
    }

    /// The guards that count pairs of answers.
    fn counting_pairs(&self) -> impl Iterator<Item = &String> {
        let guards = self.guards.guards.iter();
        let counting = guards.filter(move |(name, guard)| guard.counts_pairs() && self.asks(name));
        counting.map(|(name, _)| name)
    }

    /// The guards as a trial finds them: they know the baseline's past hour.
    fn after_an_hour(&self, random: &mut Random) -> Suite {
        let mut suite = Suite::default();
        let polls = (HISTORY / self.poll).floor() as usize;
        for (name, guard) in &self.guards.guards {
            let Some(stream) = self.traffic.streams.get(name).filter(|_| self.asks(name)) else {
                continue;
            };
            let shares = (0.0, of_baseline(guard, self.before));
            let history: Vec<_> = (0..polls)
                .map(|_| stream.draw(random, self.poll, shares, None))
                .collect();
            suite.recall(self.guards, name, &history);
        }
        suite
    }

    /// One evaluation; `split` is `None` in the shadow stage, in which there is nothing but pairs. They are asked for `asking`
    /// seconds of the comparer's whole rate.
    fn observe(&self, random: &mut Random, suite: &mut Suite, t: i64, split: Option<Split>, asking: f64) {
        let millis = |t: i64| (t as f64 * self.poll * 1_000.0) as i64;
        for (name, guard) in &self.guards.guards {
            let Some(stream) = self.traffic.streams.get(name).filter(|_| self.asks(name)) else {
                continue;
            };
            let pairs = guard.counts_pairs();
            let Some(split) = split.or(pairs.then_some(self.before)) else {
                continue;
            };
            let seconds = if pairs { asking } else { self.poll };
            let effect = self.effect.filter(|(worse, _)| worse == name).map(|(_, effect)| effect);
            let shares = (split.candidate, of_baseline(guard, split));
            let poll = Poll {
                from: millis(t - 1),
                through: millis(t),
                observed: stream.draw(random, seconds, shares, effect),
            };
            suite.observe(self.guards, name, &poll);
        }
    }
}

/// Share of the traffic that a guard compares with.
pub(super) fn of_baseline(guard: &Kind, split: Split) -> f64 {
    match guard.compared_with() {
        Compared::Reference => split.reference,
        Compared::Baseline => split.baseline,
        Compared::Bounds => 0.0,
    }
}
