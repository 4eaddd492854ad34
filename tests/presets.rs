//! Presets against the metrics of the projects that they are for: tests/testdata/presets, each with its source.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use guardbit::api::{Guard, Preset, QuantizedModelSpec};
use guardbit::evidence::{
    Amounts, ArmSamples, Counts, Cursor, Form, GuardSamples, Matrix, Observed, Part, Role, Selection, incomparable,
};
use guardbit::guards::asks;
use guardbit::model::presets::{guards, of};
use guardbit::simulate::openmetrics;
use guardbit::simulate::recording::Recording;

/// Time of the first of two scrapes of a fixture, in seconds.
const START: i64 = 1_780_000_000;

struct Fixture {
    /// By the name of the family.
    types: BTreeMap<String, String>,
    /// What was scraped twice: everything at 0, then the values of the fixture.
    recording: Recording,
}

fn fixture(text: &str) -> Fixture {
    assert!(text.starts_with("# "), "a fixture names its source");
    let types = text.lines().filter_map(|line| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        Some((name.to_owned(), kind.to_owned()))
    });
    let mut twice = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').expect("a sample");
        let _ = writeln!(twice, "{series} 0 {START}\n{series} {value} {}", START + 15);
    }
    Fixture {
        types: types.collect(),
        recording: openmetrics::read(&twice).expect("a fixture that can be read"),
    }
}

impl Fixture {
    /// The series that a selector means.
    fn select(&self, selection: &Selection) -> Matrix {
        let found = self.recording.find(selection);
        self.recording.range(&found, (START - 1) * 1000, (START + 15) * 1000)
    }

    /// The series that a selector means, all of which must be of this type.
    fn find(&self, selection: &Selection, kind: &str) -> Matrix {
        let matrix = self.select(selection);
        assert!(!matrix.series.is_empty(), "{selection:?} selects nothing");
        for series in &matrix.series {
            let name = series.labels.get("__name__").unwrap();
            assert_eq!(self.kind(name), Some(kind), "{name}");
        }
        matrix
    }

    /// The type of a series, by its name. The number of events of a histogram is a counter.
    fn kind(&self, name: &str) -> Option<&str> {
        let of = |family: &str| self.types.get(family).map(String::as_str);
        let of_histogram = |suffix: &str| name.strip_suffix(suffix).and_then(of) == Some("histogram");
        if of_histogram("_bucket") {
            Some("histogram")
        } else if of_histogram("_count") {
            Some("counter")
        } else {
            of(name)
        }
    }

    /// What is counted between the two scrapes, on either arm.
    fn counted(&self, guard: &Guard) -> Observed {
        let mut arm = ArmSamples::default();
        for asked in asks(guard) {
            let kind = if asked.form() == Form::Histogram {
                "histogram"
            } else {
                "counter"
            };
            let selection = Selection::plain(asked.form(), &asked.text, &[vec![]]).expect("a selector");
            asked.usable().expect("PromQL can say it");
            arm.insert(asked.role, self.find(&selection, kind));
        }
        let samples = GuardSamples {
            candidate: arm.clone(),
            baseline: arm,
        };
        let advance = Cursor::new(START * 1000).advance(&samples, (START + 15) * 1000, 15_000, &BTreeMap::new());
        assert_eq!((advance.polls.len(), advance.problem), (1, None));
        advance.polls.into_iter().next().expect("a poll").observed
    }
}

fn errors(n: u64, x: u64) -> Observed {
    let counts = Counts { n, x };
    Observed::Proportion {
        candidate: counts,
        baseline: counts,
    }
}

fn ratio(numerator: f64, denominator: f64) -> Observed {
    let amounts = Amounts { numerator, denominator };
    Observed::Ratio {
        candidate: amounts,
        baseline: amounts,
    }
}

/// Requests of a histogram, and its finite bounds.
fn histogram(observed: &Observed) -> (u64, usize) {
    let Observed::Histogram { candidate, baseline } = observed else {
        panic!("{observed:?}");
    };
    assert_eq!(candidate, baseline);
    (candidate.counts.iter().sum(), candidate.bounds.len())
}

#[test]
fn every_selector_finds_series_of_its_type_and_they_are_counted() {
    let fixtures = [
        (
            Preset::VLlm,
            include_str!("testdata/presets/vllm.prom"),
            Some(errors(200, 3)),
            Some((187, 9)),
        ),
        (
            Preset::Tgi,
            include_str!("testdata/presets/tgi.prom"),
            Some(errors(184, 4)),
            Some((180, 6)),
        ),
        (
            Preset::KServe,
            include_str!("testdata/presets/kserve.prom"),
            None,
            Some((180, 5)),
        ),
        (
            Preset::Istio,
            include_str!("testdata/presets/istio.prom"),
            Some(errors(188, 2)),
            Some((180, 6)),
        ),
        (
            Preset::EnvoyGateway,
            include_str!("testdata/presets/envoy-gateway.prom"),
            Some(errors(11, 1)),
            Some((11, 5)),
        ),
        (
            Preset::SgLang,
            include_str!("testdata/presets/sglang.prom"),
            Some(errors(194, 3)),
            Some((186, 6)),
        ),
        (
            Preset::TensorRtLlm,
            include_str!("testdata/presets/tensorrt-llm.prom"),
            None,
            Some((180, 6)),
        ),
        (
            Preset::EnvoyAiGateway,
            include_str!("testdata/presets/envoy-ai-gateway.prom"),
            Some(errors(188, 3)),
            Some((188, 6)),
        ),
    ];
    for (preset, text, expected, latencies) in fixtures {
        let (fixture, guards) = (fixture(text), of(preset));
        let counted = |name: &str| {
            guards
                .iter()
                .find(|g| g.name == name)
                .map(|guard| fixture.counted(guard))
        };
        assert_eq!(counted("errors"), expected, "{preset:?}");
        assert_eq!(counted("latency").as_ref().map(histogram), latencies, "{preset:?}");
    }
}

#[test]
fn servers_without_a_histogram_are_judged_by_their_mean_time() {
    let triton = fixture(include_str!("testdata/presets/triton.prom"));
    let counted: Vec<_> = of(Preset::Triton).iter().map(|guard| triton.counted(guard)).collect();
    assert_eq!(counted, [errors(183, 3), ratio(1_458_000.0, 180.0)]);
    let llama = fixture(include_str!("testdata/presets/llama-cpp.prom"));
    let counted: Vec<_> = of(Preset::LlamaCpp).iter().map(|guard| llama.counted(guard)).collect();
    assert_eq!(counted, [ratio(246.51, 7801.0)]);
}

#[test]
fn vllm_with_tripwires_counts_its_outputs_too() {
    let vllm = fixture(include_str!("testdata/presets/vllm-outputs.prom"));
    let guards = of(Preset::VLlmOutputs);
    let counted = |name: &str| {
        let guard = guards.iter().find(|guard| guard.name == name);
        vllm.counted(guard.unwrap_or_else(|| panic!("no guard {name}")))
    };
    assert_eq!(counted("errors"), errors(200, 3));
    assert_eq!(counted("truncated"), errors(186, 17));
    let histograms = [
        ("latency", (187, 9)),
        ("length", (187, 12)),
        ("first-token", (187, 6)),
        ("between-tokens", (187, 4)),
    ];
    for (name, expected) in histograms {
        assert_eq!(histogram(&counted(name)), expected, "{name}");
    }
    // The guards of vLLM are the same, and the first of them shows how traffic is split.
    assert_eq!(guards[..2], of(Preset::VLlm)[..]);
    assert_eq!(guards.len(), 6);
}

#[test]
fn the_guard_that_the_docs_add_counts_corrupted_requests() {
    let docs = include_str!("../docs/presets.md");
    let example = docs.split("```").find(|block| block.contains("name: corrupted"));
    let yaml = example
        .and_then(|block| block.strip_prefix("yaml\n"))
        .expect("an example");
    let model: serde_json::Value = serde_yaml_ng::from_str(yaml).expect("YAML");
    let guard: Guard = serde_json::from_value(model["guards"][0].clone()).expect("a guard");
    let vllm = fixture(include_str!("testdata/presets/vllm-outputs.prom"));
    assert_eq!(vllm.counted(&guard), errors(186, 1));
}

/// Only failures have the label that tells them from all requests.
#[test]
fn arms_behind_a_gateway_can_be_compared_although_nothing_has_failed_yet() {
    let text = include_str!("testdata/presets/envoy-ai-gateway.prom");
    let clean: Vec<_> = text.lines().filter(|line| !line.contains("error_type=")).collect();
    let clean = fixture(&clean.join("\n"));
    let asked = asks(&of(Preset::EnvoyAiGateway)[0]);
    let [total, bad] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    let answers = [total, bad].map(|asked| {
        let selection = Selection::plain(asked.form(), &asked.text, &[vec![]]).expect("a selector");
        (asked.role, clean.select(&selection))
    });
    let arm = ArmSamples::of(answers);
    let series = |role| arm.get(role).map(|matrix| matrix.series.len());
    assert_eq!((series(Role::Total), series(Role::Bad)), (Some(1), Some(0)));
    let part = Part::of(bad.role, &bad.text, &total.text);
    let samples = GuardSamples {
        candidate: arm.clone(),
        baseline: arm,
    };
    assert!(part.is_some());
    assert_eq!(incomparable(&samples, part.as_ref()), None);
}

fn spec(preset: &str) -> QuantizedModelSpec {
    let text = include_str!("testdata/fraud-scorer.yaml");
    let mut model: serde_json::Value = serde_yaml_ng::from_str(text).expect("YAML");
    model["spec"]["preset"] = preset.into();
    serde_json::from_value(model["spec"].clone()).expect("a spec")
}

#[test]
fn a_guard_that_is_listed_takes_the_place_of_that_of_the_preset() {
    let mut spec = spec("vLLM");
    spec.guards.retain(|g| g.name != "latency");
    let names: Vec<_> = guards(&spec).into_iter().map(|g| g.name).collect();
    assert_eq!(names, ["errors", "drift", "gpu-memory", "latency"]);
    assert_eq!(guards(&spec)[0], spec.guards[0]);
    spec.guards.clear();
    assert_eq!(guards(&spec), of(Preset::VLlm));
    spec.preset = None;
    assert_eq!(guards(&spec), []);
}

#[test]
fn a_preset_goes_by_the_name_that_its_project_writes() {
    let names = [
        "vLLM",
        "Triton",
        "TGI",
        "KServe",
        "Istio",
        "EnvoyGateway",
        "LlamaCpp",
        "vLLMOutputs",
        "SGLang",
        "TensorRTLLM",
        "EnvoyAIGateway",
    ];
    for name in names {
        let preset = spec(name).preset.expect("a preset");
        assert_eq!(serde_json::to_value(preset).expect("JSON"), name);
        for guard in of(preset) {
            let json = serde_json::to_value(&guard).expect("JSON");
            let back: Guard = serde_json::from_value(json).expect("what a user could have written");
            assert_eq!(back, guard);
        }
    }
}
