//! The traffic of a rollout as it is imagined: how many events each guard counts, and how they are distributed.
//!
//! Either assumed, from a request rate, or measured, from what the baseline did in the past hour. Whatever is assumed is
//! stated in a sentence, because the forecast rests on it.

use std::collections::BTreeMap;

use crate::api::QuantizedModelSpec;
use crate::evidence::Observed;
use crate::guards::Kind;
use crate::guards::traffic::{Known, Shape, Stream};
use crate::rollout::{Stage, guards_of};

use super::pairs::pace::Pace;

/// The traffic of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Traffic {
    /// By guard.
    pub streams: BTreeMap<String, Stream>,
    /// What was assumed, in sentences.
    pub assumptions: Vec<String>,
}

impl Traffic {
    /// Traffic of a model of which only the rate is known: `rps` requests per second of the whole route, of which a share
    /// of `error_rate` is bad for every proportion guard.
    pub fn assumed(spec: &QuantizedModelSpec, rps: f64, error_rate: f64) -> Self {
        let mut traffic = Self {
            streams: BTreeMap::new(),
            assumptions: vec![
                "every guard counts every request of the route; requests are independent, and spread evenly over time"
                    .to_owned(),
            ],
        };
        let known = known(spec, rps, error_rate);
        for (name, guard) in &guards_of(spec, Stage::Rollout).guards {
            traffic.assume(name, guard, &known);
        }
        traffic
    }

    /// Traffic of a model as the baseline showed it: `history` holds its polls by guard, which took `seconds` in all, and
    /// `share(guard)` of the route's traffic went to that baseline. What was not seen is assumed.
    pub fn measured(
        spec: &QuantizedModelSpec,
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
        let guards = guards_of(spec, Stage::Rollout).guards;
        for (name, guard) in &guards {
            if let Some(stream) = seen(name, guard) {
                traffic.streams.insert(name.clone(), stream);
            }
        }
        let known = known(spec, traffic.per_second(), error_rate);
        for (name, guard) in &guards {
            if !traffic.streams.contains_key(name) {
                traffic.assume(name, guard, &known);
            }
        }
        traffic
    }

    /// The same traffic where a spec has pairs asked at another rate.
    pub(super) fn paced(&self, spec: &QuantizedModelSpec) -> Self {
        let mut traffic = self.clone();
        let known = known(spec, 0.0, 0.0);
        for (name, guard) in guards_of(spec, Stage::Rollout).guards {
            let stream = traffic.streams.get_mut(&name).filter(|_| guard.counts_pairs());
            if let Some(stream) = stream {
                stream.per_second = guard.events(&known);
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

    fn assume(&mut self, name: &str, guard: &Kind, known: &Known) {
        let (shape, told) = guard.assumed(name, known);
        self.assumptions.push(told);
        let stream = Stream {
            per_second: guard.events(known),
            shape,
        };
        self.streams.insert(name.to_owned(), stream);
    }
}

/// What is known beside the traffic of the route.
fn known(spec: &QuantizedModelSpec, requests: f64, error_rate: f64) -> Known {
    let Pace { rate, control, .. } = Pace::of(spec, None);
    Known {
        requests,
        error_rate,
        pairs: rate,
        control,
    }
}

#[cfg(test)]
mod tests {
    use super::super::pairs::pace::Meter;
    use super::*;

    fn spec(comparer: serde_json::Value) -> QuantizedModelSpec {
        let sample = include_str!("../../tests/testdata/fraud-scorer.yaml");
        let file: serde_json::Value = serde_yaml_ng::from_str(sample).unwrap();
        let mut spec = file["spec"].clone();
        spec["comparer"] = comparer;
        let guards = spec["guards"].as_array_mut().unwrap();
        guards.push(serde_json::json!({"name": "agreement", "agreement": {}}));
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn pairs_come_at_the_rate_of_the_comparer_until_its_budget_is_spent() {
        let golden = serde_json::json!({"configMap": "golden", "digest": ""});
        let written = spec(serde_json::json!({
            "protocol": "OpenAI", "golden": golden, "rate": "0.5", "control": "20%",
            "budget": {"pairs": 600, "tokens": 400_000},
        }));
        let pace = Pace::of(&written, None);
        assert_eq!((pace.rate, pace.control, pace.budget), (0.5, 0.2, Some(600.0)));
        assert_eq!(pace.lasts(), 1_200.0);
        // At half of the rate a new budget begins, and it goes on where the rate stays.
        let mut meter = Meter::new(pace.lasts());
        let asked = [(1_000.0, 1.0), (2_000.0, 0.5), (2_000.0, 0.5)];
        assert_eq!(
            asked.map(|(seconds, part)| meter.ask(seconds, part)),
            [1_000.0, 1_000.0, 200.0]
        );
        assert_eq!(meter.left, 0.0);
        assert!((pace.takes(40.0) - 100.0).abs() < 1e-9);
        // 999 tokens of a question and one of the answer, of two arms.
        assert_eq!(Pace::of(&written, Some(999.0)).budget, Some(200.0));

        let stream = |spec: &QuantizedModelSpec| Traffic::assumed(spec, 300.0, 0.005).streams["agreement"].clone();
        assert!((stream(&written).per_second - 0.4).abs() < 1e-9);
        let Shape::Pairs { control, .. } = stream(&written).shape else {
            panic!("no pairs");
        };
        assert!((control - 0.25).abs() < 1e-9);
        let by_hand = spec(serde_json::Value::Null);
        assert!((stream(&by_hand).per_second - 1.8).abs() < 1e-9);
        assert_eq!(Pace::of(&by_hand, Some(999.0)).lasts(), f64::INFINITY);
        let paced = Traffic::assumed(&by_hand, 300.0, 0.005).paced(&written);
        assert!((paced.streams["agreement"].per_second - 0.4).abs() < 1e-9);
        assert_eq!(paced.per_second(), 300.0);
    }
}
