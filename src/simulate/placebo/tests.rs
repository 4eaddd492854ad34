use std::collections::BTreeMap;

use serde_json::json;

use super::*;

fn model(guards: serde_json::Value) -> QuantizedModelSpec {
    let text = include_str!("../../../tests/testdata/fraud-scorer.yaml");
    let mut model: serde_json::Value = serde_yaml_ng::from_str(text).unwrap();
    model["spec"]["guards"] = guards;
    model["spec"]["rollout"] =
        json!({"interval": "15s", "warmUp": "0s", "steps": [{"weight": 10, "hold": "1m"}], "deadline": "1h"});
    serde_json::from_value(model["spec"].clone()).unwrap()
}

/// Two hours of pods that answer ten requests a second each, of which `errors` fail on each pod.
fn recorded(errors: &[f64]) -> Recording {
    let mut random = Random::new(7);
    let mut series = Vec::new();
    for (pod, share) in errors.iter().enumerate() {
        for (code, mean) in [("200", 150.0 * (1.0 - share)), ("500", 150.0 * share)] {
            let mut value = 0;
            let samples = (0..480i64).map(|i| {
                value += random.poisson(mean);
                (1_780_000_000_000 + i * 15_000, value as f64)
            });
            let labels = BTreeMap::from([
                ("__name__".to_owned(), "http_requests_total".to_owned()),
                ("pod".to_owned(), format!("p-{pod}")),
                ("code".to_owned(), code.to_owned()),
            ]);
            series.push(Series {
                samples: samples.collect(),
                labels: labels.into(),
            });
        }
    }
    Recording::new(series)
}

fn errors() -> serde_json::Value {
    json!([{"name": "errors", "proportion": {"bad": "http_requests_total{code=\"500\"}", "total": "http_requests_total"}}])
}

/// Outcomes of the guard `errors` and of all together, over so many seeds.
fn outcomes(recording: &Recording, seeds: u64) -> Vec<Mock> {
    let spec = model(errors());
    let placebo = Placebo::of(&spec, recording).unwrap();
    (0..seeds).flat_map(|seed| placebo.run(seed).unwrap()).collect()
}

#[test]
fn pods_that_are_alike_are_promoted() {
    let mocks = outcomes(&recorded(&[0.005; 4]), 20);
    assert_eq!(mocks.len(), 40, "alone and together");
    assert!(
        mocks.iter().all(|mock| mock.outcome != Outcome::RolledBack),
        "{mocks:?}"
    );
    let promoted = mocks.iter().filter(|mock| mock.outcome == Outcome::Promoted).count();
    assert!(promoted >= 38, "{promoted}");
    let load = mocks[0].load.unwrap();
    assert!((8.0..12.0).contains(&load), "{load}");
}

#[test]
fn a_pod_that_is_unlike_the_others_makes_the_guard_unfit() {
    let mocks = outcomes(&recorded(&[0.005, 0.005, 0.005, 0.06]), 20);
    let back = mocks.iter().filter(|mock| mock.outcome == Outcome::RolledBack).count();
    assert!((6..=34).contains(&back), "{back} of {}", mocks.len());
}

#[test]
fn the_same_seed_gives_the_same_split() {
    let recording = recorded(&[0.005, 0.01, 0.02]);
    assert_eq!(outcomes(&recording, 3), outcomes(&recording, 3));
}

#[test]
fn what_cannot_be_split_is_said() {
    let spec = model(errors());
    let one = recorded(&[0.005]);
    assert_eq!(Placebo::of(&spec, &one).err(), Some(NoPlacebo::TooFewPods(1)));
    let query = model(json!([{"name": "memory", "query": {"promql": "max(memory)", "max": "1"}}]));
    let two = recorded(&[0.005, 0.005]);
    assert_eq!(Placebo::of(&query, &two).err(), Some(NoPlacebo::NoGuards));
}
