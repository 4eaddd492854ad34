//! The traffic of a rollout as it is imagined: how many events each guard counts, and how they are distributed.
//!
//! Either assumed, from a request rate, or measured, from what the baseline did in the past hour. Whatever is assumed is
//! stated in a sentence, because the forecast rests on it.

use std::collections::BTreeMap;

use crate::evidence::Observed;
use crate::guards::traffic::{Shape, Stream};
use crate::guards::{Kind, SuiteConfig};

/// The traffic of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// By guard.
    pub streams: BTreeMap<String, Stream>,
    /// What was assumed, in sentences.
    pub assumptions: Vec<String>,
}

impl Traffic {
    /// Traffic of which only the rate is known: `rps` requests per second of the whole route, of which a share of
    /// `error_rate` is bad for every proportion guard.
    pub fn assumed(guards: &SuiteConfig, rps: f64, error_rate: f64) -> Self {
        let mut traffic = Self {
            streams: BTreeMap::new(),
            assumptions: vec![
                "every guard counts every request of the route; requests are independent, and spread evenly over time"
                    .to_owned(),
            ],
        };
        for (name, guard) in &guards.guards {
            traffic.assume(name, guard, rps, error_rate);
        }
        traffic
    }

    /// Traffic as the baseline showed it: `history` holds its polls by guard, which took `seconds` in all, and
    /// `share(guard)` of the route's traffic went to that baseline. What was not seen is assumed.
    pub fn measured(
        guards: &SuiteConfig,
        history: &BTreeMap<String, Vec<Observed>>,
        seconds: f64,
        error_rate: f64,
        share: impl Fn(&Kind) -> f64,
    ) -> Self {
        let mut traffic = Self {
            streams: BTreeMap::new(),
            assumptions: vec!["the traffic stays as it was in the past hour; requests are independent".to_owned()],
        };
        let seen = |name: &String, guard: &Kind| {
            let (n, shape) = Shape::of(history.get(name).filter(|_| !guard.counts_pairs())?)?;
            (n > 0 && seconds > 0.0).then(|| Stream {
                per_second: n as f64 / seconds / f64::max(share(guard), 0.01),
                shape: guard.measured(shape),
            })
        };
        for (name, guard) in &guards.guards {
            if let Some(stream) = seen(name, guard) {
                traffic.streams.insert(name.clone(), stream);
            }
        }
        let rps = traffic.per_second();
        for (name, guard) in &guards.guards {
            if !traffic.streams.contains_key(name) {
                traffic.assume(name, guard, rps, error_rate);
            }
        }
        traffic
    }

    /// Requests per second, as the guard shows that counts most.
    pub fn per_second(&self) -> f64 {
        let of_requests = |stream: &&Stream| !matches!(stream.shape, Shape::Pairs { .. });
        let rates = self.streams.values().filter(of_requests).map(|s| s.per_second);
        rates.fold(0.0, f64::max)
    }

    fn assume(&mut self, name: &str, guard: &Kind, rps: f64, error_rate: f64) {
        let (shape, told) = guard.assumed(name, error_rate);
        self.assumptions.push(told);
        let stream = Stream {
            per_second: guard.events(rps),
            shape,
        };
        self.streams.insert(name.to_owned(), stream);
    }
}
