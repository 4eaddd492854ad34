//! How answers are compared, parsed.

use crate::api::{AnswerSpec, ComparerSpec, Decimal, Protocol, QuantizedModelSpec, SpecProblem};
use crate::compare::Settings;

use super::presets;
use super::reader::Reader;

const PROTOCOL: &str = "spec.comparer.protocol";
const GOLDEN: &str = "spec.comparer.golden";
const RATE: &str = "spec.comparer.rate";
const SHARE: &str = "spec.comparer.shareOfArm";
const CONTROL: &str = "spec.comparer.control";
const PAIRS: &str = "spec.comparer.budget.pairs";
const ANSWER: &str = "spec.comparer.answer";

/// How answers are compared, and how much is asked for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparer {
    /// What is compared, and what counts as a difference.
    pub settings: Settings,
    /// Pairs a second at the most; above 0.
    pub rate: f64,
    /// Pairs a second as a share of the requests a second of an arm, at the most; in `(0, 1)`.
    pub share: Option<f64>,
    /// Pairs in all.
    pub pairs: u64,
    /// Tokens in all, of both arms together.
    pub tokens: u64,
    /// Share of the pairs that ask the reference twice; in `[0, 1)`.
    pub control: f64,
    /// Percent of users' requests that are mirrored to it, if any are.
    pub mirror: Option<i32>,
}

/// The protocol by which a spec has answers compared: the one that it names, or that of its preset.
pub fn protocol(spec: &QuantizedModelSpec) -> Option<Protocol> {
    let named = spec.comparer.as_ref()?.protocol;
    named.or_else(|| spec.preset.and_then(presets::protocol))
}

/// Pairs a second, and the share of them that asks the reference twice. Where a spec has no comparer that is what one does
/// that is run by hand, by the usual values of its flags.
pub fn pace(spec: &QuantizedModelSpec) -> (f64, f64) {
    of(spec).map_or((2.0, 0.1), |comparer| (comparer.rate, comparer.control))
}

/// The comparer of a spec that was checked; `None` where it has none.
pub fn of(spec: &QuantizedModelSpec) -> Option<Comparer> {
    read(spec, &mut Reader::default())
}

/// Reads how answers are compared; `None` where a spec has no comparer, or names no protocol.
pub(super) fn read(spec: &QuantizedModelSpec, reader: &mut Reader) -> Option<Comparer> {
    let written = spec.comparer.as_ref()?;
    check_questions(written, reader);
    let ComparerSpec {
        protocol: _,
        golden,
        mirror,
        rate,
        share_of_arm,
        budget,
        control,
        answer,
    } = written;
    let AnswerSpec {
        pointer,
        margin,
        threshold,
    } = answer.clone().unwrap_or_default();
    let mut number = |name: &str, written: Option<Decimal>| {
        written.map(|written| reader.decimal(&format!("{ANSWER}.{name}"), &written))
    };
    let (margin, threshold) = (number("margin", margin), number("threshold", threshold));
    let rate = read_rate(rate, reader);
    let share = share_of_arm.as_ref().map(|written| {
        reader.share_where(
            SHARE,
            written,
            |share| share > 0.0 && share < 1.0,
            "share of the requests of an arm; write one above 0 and below 1, such as \"5%\"",
        )
    });
    let control = reader.share_where(
        CONTROL,
        control,
        |share| share < 1.0,
        "share of pairs that ask the reference twice; write one below 1, such as \"10%\"",
    );
    let pairs = budget.pairs.max(1).unsigned_abs();
    check_shadow(spec, pairs, control, reader);
    let Some(protocol) = protocol(spec) else {
        let all = Protocol::ALL.map(Protocol::name).join(", ");
        reader.refuse(
            PROTOCOL,
            format!("is left out, and spec.preset names no model server whose protocol is known; write one of {all}"),
        );
        return None;
    };
    let settings = Settings {
        protocol,
        path: golden.as_ref().and_then(|golden| golden.path.clone()),
        pointer,
        margin,
        threshold,
    };
    reader.extend(settings.check().into_iter().map(placed));
    Some(Comparer {
        settings,
        rate,
        share,
        pairs,
        tokens: budget.tokens.max(1).unsigned_abs(),
        control,
        mirror: mirror.as_ref().map(|mirror| mirror.percent),
    })
}

/// A problem of settings, at its field of the spec.
fn placed(SpecProblem { field, problem }: SpecProblem) -> SpecProblem {
    let at = match field.as_str() {
        "path" => format!("{GOLDEN}.path"),
        other => format!("{ANSWER}.{other}"),
    };
    SpecProblem::new(at, problem)
}

/// Checks that there are questions, and that there is one place to take the golden set from.
fn check_questions(comparer: &ComparerSpec, reader: &mut Reader) {
    let problem = match &comparer.golden {
        None if comparer.mirror.is_none() => {
            "is left out, and no requests are mirrored; write it, or spec.comparer.mirror"
        }
        Some(golden) if golden.config_map.is_some() == golden.image.is_some() => {
            "names no place of the golden set, or two; write one of configMap and image"
        }
        _ => return,
    };
    reader.refuse(GOLDEN, problem);
}

fn read_rate(written: &Decimal, reader: &mut Reader) -> f64 {
    let rate = reader.decimal(RATE, written);
    if written.value().is_ok() && rate <= 0.0 {
        reader.refuse(
            RATE,
            format!(
                "{:?} would ask nothing; write how many pairs a second may be asked, such as \"2\"",
                written.0
            ),
        );
    }
    rate
}

/// How many more pairs than the shadow stage waits for the budget must have: some come to nothing, and how many ask the
/// reference twice is drawn.
const SPARE: f64 = 1.25;

/// Checks that the shadow stage can end: the budget must have as many pairs for the candidate as it waits for, and some to spare.
fn check_shadow(spec: &QuantizedModelSpec, pairs: u64, control: f64, reader: &mut Reader) {
    let Some(shadow) = &spec.rollout.shadow else {
        return;
    };
    let wanted = f64::from(shadow.pairs.max(1));
    let enough = (SPARE * wanted / (1.0 - control)).ceil();
    if (pairs as f64) < enough {
        reader.refuse(
            PAIRS,
            format!(
                "{pairs} pairs, some of which ask the reference twice or come to nothing, may be spent before the {wanted} of spec.rollout.shadow have come; write {enough} or more",
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The comparer of a spec, or what is wrong with it; `more` goes into the spec beside it.
    fn resolved(comparer: Value, more: Value) -> Result<Option<Comparer>, Vec<String>> {
        let mut spec = json!({
            "model": {"name": "m"},
            "serving": {"port": 8080, "template": {}},
            "variants": [{"name": "fp32", "precision": "FP32", "weights": {"uri": "s3://m", "digest": ""}}],
            "traffic": {"gateway": {"parentRefs": []}},
            "guards": [{"name": "agreement", "agreement": {}}],
            "comparer": comparer,
        });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let spec: QuantizedModelSpec = serde_json::from_value(spec).unwrap();
        let mut reader = Reader::default();
        let read = read(&spec, &mut reader);
        let told = |problems: Vec<SpecProblem>| problems.iter().map(ToString::to_string).collect();
        reader.finish(read).map_err(told)
    }

    fn golden() -> Value {
        json!({"configMap": "fraud-golden", "digest": format!("sha256:{}", "0".repeat(64))})
    }

    #[test]
    fn what_is_left_out_is_as_usual_and_the_protocol_is_that_of_the_preset() {
        let found = resolved(json!({"golden": golden()}), json!({"preset": "vLLM"}));
        let usual = Comparer {
            settings: Settings::new(Protocol::OpenAI),
            rate: 2.0,
            share: None,
            pairs: 5_000,
            tokens: 5_000_000,
            control: 0.1,
            mirror: None,
        };
        assert_eq!(found, Ok(Some(usual)));
        for (preset, expected) in [
            ("Triton", "OpenInference"),
            ("KServe", "OpenInference"),
            ("LlamaCpp", "OpenAI"),
        ] {
            let found = resolved(json!({"golden": golden()}), json!({"preset": preset}))
                .unwrap()
                .unwrap();
            assert_eq!(found.settings.protocol.name(), expected, "{preset}");
        }
        let named = json!({"golden": golden(), "protocol": "Embeddings"});
        let named = resolved(named, json!({"preset": "vLLM"})).unwrap().unwrap();
        assert_eq!(named.settings.protocol, Protocol::Embeddings);
    }

    #[test]
    fn all_that_is_written_is_read() {
        let mut golden = golden();
        golden["path"] = json!("/v2/models/fraud/infer");
        let written = json!({
            "protocol": "OpenInference",
            "golden": golden,
            "rate": "0.5",
            "shareOfArm": "5%",
            "budget": {"pairs": 700, "tokens": 9},
            "control": "20%",
            "mirror": {"percent": 5},
            "answer": {"pointer": "/outputs/1/data", "margin": "0.05", "threshold": "0.5"},
        });
        let read = Comparer {
            settings: Settings {
                protocol: Protocol::OpenInference,
                path: Some("/v2/models/fraud/infer".to_owned()),
                pointer: Some("/outputs/1/data".to_owned()),
                margin: Some(0.05),
                threshold: Some(0.5),
            },
            rate: 0.5,
            share: Some(0.05),
            pairs: 700,
            tokens: 9,
            control: 0.2,
            mirror: Some(5),
        };
        assert_eq!(resolved(written, json!({})), Ok(Some(read)));
    }

    #[test]
    fn questions_are_of_a_golden_set_or_of_users_or_of_both() {
        let mirrored = json!({"protocol": "OpenAI", "mirror": {"percent": 100}});
        let read = resolved(mirrored, json!({})).unwrap().unwrap();
        assert_eq!((read.mirror, read.settings.path), (Some(100), None));
        let none = resolved(json!({"protocol": "OpenAI"}), json!({})).unwrap_err();
        assert_eq!(none.len(), 1, "{none:?}");
        assert!(none[0].starts_with("spec.comparer.golden: is left out"), "{none:?}");
    }

    #[test]
    fn what_cannot_be_used_is_told_with_its_field_and_what_to_write() {
        let with = |field: &str, value: Value| {
            let mut comparer = json!({"protocol": "OpenInference", "golden": golden()});
            comparer[field] = value;
            comparer
        };
        let in_golden = |field: &str, value: Value| {
            let mut golden = golden();
            golden[field] = value;
            with("golden", golden)
        };
        for (comparer, told) in [
            (with("protocol", Value::Null), "spec.comparer.protocol: is left out"),
            (
                in_golden("image", json!("golden:1")),
                "spec.comparer.golden: names no place",
            ),
            (
                in_golden("configMap", Value::Null),
                "spec.comparer.golden: names no place",
            ),
            (in_golden("path", json!("/v2/../x")), "spec.comparer.golden.path: "),
            (with("rate", json!("0")), "spec.comparer.rate: \"0\" would ask nothing"),
            (
                with("rate", json!("two")),
                "spec.comparer.rate: \"two\" is not a decimal",
            ),
            (
                with("control", json!("100%")),
                "spec.comparer.control: \"100%\" is no usable share",
            ),
            (
                with("answer", json!({"pointer": "outputs"})),
                "spec.comparer.answer.pointer: it is no JSON pointer",
            ),
            (
                with("answer", json!({"margin": "-1"})),
                "spec.comparer.answer.margin: it must be",
            ),
            (
                with("answer", json!({"threshold": "x"})),
                "spec.comparer.answer.threshold: \"x\" is not",
            ),
            (
                with("budget", json!({"pairs": 500})),
                "spec.comparer.budget.pairs: 500 pairs",
            ),
        ] {
            let problems = resolved(comparer, json!({"rollout": {"shadow": {"pairs": 500}}})).unwrap_err();
            assert!(
                problems.len() == 1 && problems[0].starts_with(told),
                "{problems:?} instead of {told:?}"
            );
        }
        // A setting that its protocol does not know.
        let answer = json!({"golden": golden(), "answer": {"threshold": "0.5"}});
        let problems = resolved(answer, json!({"preset": "vLLM"})).unwrap_err();
        assert_eq!(
            problems,
            ["spec.comparer.answer.threshold: it has no meaning for OpenAI: leave it out"]
        );
        let json = json!({"golden": golden(), "protocol": "JSON"});
        assert!(
            resolved(json, json!({})).unwrap_err()[0].starts_with("spec.comparer.answer.pointer: it must say where")
        );
    }

    #[test]
    fn the_budget_lasts_for_the_shadow_stage() {
        let with = |pairs: i64| {
            let comparer = json!({"protocol": "OpenAI", "golden": golden(), "budget": {"pairs": pairs}});
            resolved(comparer, json!({"rollout": {"shadow": {"pairs": 450}}}))
        };
        assert!(with(625).is_ok());
        let problems = with(624).unwrap_err();
        assert!(problems[0].ends_with("write 625 or more"), "{problems:?}");
    }
}
