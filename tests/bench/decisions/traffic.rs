//! Synthetic traffic: Poisson requests on two or three arms, counted every 15 s, as guardbit and the peers' rules see it;
//! or scraped at another interval, each arm at moments of its own, as guardbit alone sees it.

use std::collections::BTreeMap;
use std::fmt;

use guardbit::evidence::Series;
use guardbit::guards::{self, traffic::Tail};
use guardbit::simulate::recording::Recording;
use statrs::distribution::{ContinuousCDF, Normal};

use crate::random::Random;
use crate::rows::{Guards, Row};

/// Between two scrapes, seconds.
pub const SCRAPE: f64 = 15.0;
/// Scrapes of a rollout, which lasts an hour at most.
pub const SCRAPES: usize = 240;
/// Seconds of a tick where arms are scraped at moments of their own.
const FINE: f64 = 5.0;
/// Seconds of a rollout, and of the past.
const HOUR: f64 = SCRAPES as f64 * SCRAPE;
/// Unix milliseconds of the first scrape.
const START: i64 = 1_780_000_000_000;

/// Upper bounds of the buckets of exponential latencies, seconds.
const FINE_BOUNDS: [f64; 14] = [
    0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.15, 0.2, 0.5,
];
/// Upper bounds of the score buckets: twentieths.
const SCORES: usize = 20;
/// Prometheus' default bounds, seconds: those of log-normal latencies.
const DEFAULT_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// How the latencies of a variant at full precision are distributed.
#[derive(Clone, Copy)]
pub enum Latencies {
    /// With a mean of 12 ms.
    Exponential,
    /// With a median in seconds, and the standard deviation of the logarithm.
    LogNormal { median: f64, sigma: f64 },
}

impl Latencies {
    /// Upper bounds of the buckets.
    pub fn bounds(self) -> &'static [f64] {
        match self {
            Self::Exponential => &FINE_BOUNDS,
            Self::LogNormal { .. } => &DEFAULT_BOUNDS,
        }
    }

    /// Share of the requests that take so many seconds at most, where all take `slowdown` times as long.
    pub fn within(self, seconds: f64, slowdown: f64) -> f64 {
        let at = seconds / slowdown;
        match self {
            Self::Exponential => 1.0 - (-at / 0.012).exp(),
            Self::LogNormal { median, sigma } => normal((at / median).ln() / sigma),
        }
    }
}

impl Latencies {
    /// The smallest factor on all latencies at which a candidate is beyond the usual tolerance at one of the edges that
    /// guardbit watches.
    pub fn effective(self) -> f64 {
        let bounds = self.bounds().to_vec();
        let tail = Tail::Measured {
            shares: shares(bounds.len() + 1, |i| {
                bounds.get(i).map_or(1.0, |bound| self.within(*bound, 1.0))
            }),
            bounds: bounds.clone(),
        };
        let guard = serde_json::from_value(serde_json::json!({"name": "latency", "latency": {"histogram": "h"}}));
        let guard = guards::resolve(&guard.expect("a guard")).expect("a guard of latency");
        let watched = guard
            .kind
            .as_latency()
            .expect("a guard of latency")
            .watched(&bounds, &tail);
        let factors = watched.into_iter().map(|(edge, tolerated)| {
            let (mut low, mut high) = (1.0, 100.0);
            for _ in 0..50 {
                let middle: f64 = 0.5 * (low + high);
                if 1.0 - self.within(edge, middle) < tolerated {
                    low = middle
                } else {
                    high = middle
                }
            }
            low
        });
        factors.fold(f64::INFINITY, f64::min)
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exponential => write!(f, "exponential latency"),
            Self::LogNormal { median, sigma } => write!(f, "log-normal latency, {} ms, σ {sigma}", 1000.0 * median),
        }
    }
}

/// How one arm behaves.
#[derive(Clone, Copy)]
pub struct Arm {
    /// Requests per second.
    pub rps: f64,
    /// Share of requests that fail, by minutes since the start.
    pub errors: fn(f64) -> f64,
    /// Share of the failures that come twice, and three times: over-dispersion.
    pub clumps: (f64, f64),
    /// Its latencies at full precision.
    pub latencies: Latencies,
    /// Factor on latencies.
    pub slowdown: f64,
    /// Total variation distance of its outputs from the reference's.
    pub drift: f64,
    /// A restart every so many scrapes, on average; counters then start from 0.
    pub restarts: Option<f64>,
}

/// What happened on an arm in one tick: from one scrape to the next, if all arms are scraped together.
pub struct Tick {
    pub requests: u64,
    pub errors: u64,
    latency: Vec<u64>,
    scores: Vec<u64>,
    restarted: bool,
}

/// An hour of all arms.
pub struct Traffic {
    /// By name: stable, candidate, perhaps reference.
    pub arms: Vec<(&'static str, Vec<Tick>)>,
    /// Upper bounds of the latency buckets.
    bounds: &'static [f64],
    /// The hour before, of all but the candidate.
    past: Vec<(&'static str, Vec<Tick>)>,
    /// Whether they are pairs of answers that are counted, and not requests.
    pairs: bool,
    /// Whether a scrape is in the metrics.
    pub seen: Vec<bool>,
    /// Seconds of a tick.
    tick: f64,
    /// Ticks from one scrape to the next.
    every: usize,
    /// Ticks by which each arm is scraped later than the first could be.
    late: BTreeMap<&'static str, usize>,
}

/// Draws the traffic of a rollout.
pub fn draw(seed: u64, row: &Row) -> Traffic {
    let mut random = Random::new(seed);
    let tick = row.scraped_every.map_or(SCRAPE, |_| FINE);
    let every = row.scraped_every.map_or(1, |seconds| (seconds / tick) as usize);
    let late = match every {
        1 => BTreeMap::new(),
        _ => row
            .arms
            .iter()
            .map(|(name, _)| (*name, (random.uniform() * every as f64) as usize))
            .collect(),
    };
    let mut draw = |arms: &mut dyn Iterator<Item = &(&'static str, Arm)>, errors: Option<fn(f64) -> f64>| {
        arms.map(|(name, arm)| {
            let errors = errors.unwrap_or(arm.errors);
            (*name, hour(&mut random, tick, &Arm { errors, ..*arm }))
        })
        .collect()
    };
    let arms = draw(&mut row.arms.iter(), None);
    let past = if row.past {
        draw(
            &mut row.arms.iter().filter(|(name, _)| *name != "candidate"),
            Some(|_| 0.005),
        )
    } else {
        Vec::new()
    };
    let (gap, minute) = (row.gap, |scrape: usize| scrape as f64 * tick / 60.0);
    Traffic {
        arms,
        bounds: row.arms[0].1.latencies.bounds(),
        past,
        pairs: row.guards == Guards::Agreement,
        seen: (0..=(HOUR / tick) as usize)
            .map(|s| !(gap.0..gap.1).contains(&minute(s)))
            .collect(),
        tick,
        every,
        late,
    }
}

fn hour(random: &mut Random, tick: f64, arm: &Arm) -> Vec<Tick> {
    let bounds = arm.latencies.bounds();
    let latency = shares(bounds.len() + 1, |i| {
        bounds
            .get(i)
            .map_or(1.0, |bound| arm.latencies.within(*bound, arm.slowdown))
    });
    // Scores are normal, moved by as much as makes the distance: TV(N(0,1), N(d,1)) = 2Φ(d/2) − 1.
    let moved = 2.0 * quantile((1.0 + arm.drift) / 2.0);
    let scores = shares(SCORES, |i| match i + 1 {
        SCORES => 1.0,
        n => normal(quantile(n as f64 / SCORES as f64) - moved),
    });
    (0..(HOUR / tick) as usize)
        .map(|number| {
            let mean = arm.rps * tick;
            let share = (arm.errors)(number as f64 * tick / 60.0);
            let (twice, thrice) = arm.clumps;
            let clumps = mean * share / (1.0 + twice + 2.0 * thrice);
            let errors = random.poisson(clumps * (1.0 - twice - thrice))
                + 2 * random.poisson(clumps * twice)
                + 3 * random.poisson(clumps * thrice);
            let mut split = |shares: &[f64]| shares.iter().map(|s| random.poisson(mean * s)).collect();
            Tick {
                latency: split(&latency),
                scores: split(&scores),
                errors,
                requests: errors + random.poisson(mean * (1.0 - share)),
                restarted: arm.restarts.is_some_and(|every| random.uniform() < 1.0 / every),
            }
        })
        .collect()
}

/// Differences of a distribution function.
fn shares(n: usize, up_to: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..n)
        .map(|i| up_to(i) - if i == 0 { 0.0 } else { up_to(i - 1) })
        .collect()
}

/// The normal distribution function.
fn normal(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// Its inverse.
pub fn quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

impl Traffic {
    /// Seconds of its recording before the rollout.
    pub fn before(&self) -> f64 {
        if self.past.is_empty() { 0.0 } else { HOUR }
    }

    /// As Prometheus has it.
    pub fn recording(&self) -> Recording {
        let mut series = Vec::new();
        for (arm, ticks) in &self.arms {
            let past = self
                .past
                .iter()
                .find(|(name, _)| name == arm)
                .map_or(&[][..], |(_, ticks)| ticks);
            let mut counter = |name: &str, label: Option<(&str, String)>, of: &dyn Fn(&Tick) -> u64| {
                let mut labels = BTreeMap::from([
                    ("__name__".to_owned(), name.to_owned()),
                    ("arm".to_owned(), (*arm).to_owned()),
                ]);
                labels.extend(label.map(|(name, value)| (name.to_owned(), value)));
                let late = self.late.get(arm).copied().unwrap_or(0);
                let samples = self.samples(late, past, ticks, of);
                series.push(Series {
                    labels: labels.into(),
                    samples,
                });
            };
            if self.pairs {
                counter("guardbit_pairs_total", None, &|t| t.requests);
                counter("guardbit_pair_disagreements_total", None, &|t| t.errors);
                continue;
            }
            counter("http_requests_total", Some(("code", "200".to_owned())), &|t| {
                t.requests - t.errors
            });
            counter("http_requests_total", Some(("code", "500".to_owned())), &|t| t.errors);
            for i in 0..=self.bounds.len() {
                let le = self.bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
                counter("latency_seconds_bucket", Some(("le", le)), &|t| {
                    t.latency[..=i].iter().sum()
                });
            }
            for i in 0..SCORES {
                let le = if i + 1 < SCORES {
                    format!("{}", (i + 1) as f64 / SCORES as f64)
                } else {
                    "+Inf".to_owned()
                };
                counter("score_bucket", Some(("le", le)), &|t| t.scores[..=i].iter().sum());
            }
        }
        Recording::new(series)
    }

    /// What a counter shows at the scrapes of an arm that are in the metrics.
    fn samples(&self, late: usize, past: &[Tick], ticks: &[Tick], of: &dyn Fn(&Tick) -> u64) -> Vec<(i64, f64)> {
        let mut value = 0;
        let mut after = |tick: Option<&Tick>| {
            if let Some(tick) = tick {
                value = if tick.restarted { 0 } else { value } + of(tick);
            }
            value as f64
        };
        let first = std::iter::once(None);
        let all = first
            .chain(past.iter().chain(ticks).map(Some))
            .zip(-(past.len() as i64)..);
        let values = all.map(|(tick, number)| (number, after(tick)));
        let is_scraped = |number: i64| {
            let seen = usize::try_from(number).map_or(true, |number| self.seen[number]);
            (seen || number <= 0) && number.rem_euclid(self.every as i64) == late as i64
        };
        values
            .filter(|(number, _)| is_scraped(*number))
            .map(|(number, value)| (START + number * (self.tick as i64) * 1000, value))
            .collect()
    }

    /// Requests and errors of an arm in the scrapes after `from` up to `through`; `None` where the metrics have none of them.
    pub fn window(&self, arm: &str, from: usize, through: usize) -> Option<(u64, u64)> {
        let (_, ticks) = self.arms.iter().find(|(name, _)| *name == arm)?;
        let seen = |scrape: &usize| self.seen[*scrape + 1];
        let counted = (from..through)
            .filter(seen)
            .map(|s| (ticks[s].requests, ticks[s].errors));
        counted.reduce(|(n, x), (m, y)| (n + m, x + y)).filter(|(n, _)| *n > 0)
    }
}
