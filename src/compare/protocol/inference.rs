//! The Open Inference Protocol (V2 REST): `POST /v2/models/{name}/infer`, an output tensor is compared.
//!
//! Triton, MLServer and KServe answer `{"outputs": [{"name", "shape", "datatype", "data"}]}`, with `data` flat or
//! nested. Servers order outputs as they like, so the first one of the reference is compared with the one that has the
//! same name. A pointer leads to a place instead.

use serde_json::Value;

use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Output, Unreadable, parse};
use super::dialect::Dialect;
use super::numbers;
use super::request::{Body, Skip};

/// The dialect.
pub(super) struct OpenInference;

/// What of a request decides the answer. The `id` of a request does not: it belongs to the one who asked.
const KEPT: [&str; 3] = ["inputs", "outputs", "parameters"];

/// Parameters of a request within a sequence: its answer depends on requests that the other arm did not get.
const SEQUENCE: [&str; 3] = ["sequence_id", "sequence_start", "sequence_end"];

/// Parameters that put a tensor beside the JSON, or into the memory of another process.
const ELSEWHERE: [&str; 4] = [
    "binary_data_size",
    "binary_data",
    "binary_data_output",
    "shared_memory_region",
];

impl Dialect for OpenInference {
    fn knows(&self) -> &'static [&'static str] {
        &["pointer", "margin", "threshold"]
    }

    fn usual_path(&self, _: &Body) -> Option<&'static str> {
        None
    }

    fn fits(&self, path: &str, _: &Body) -> Result<(), Skip> {
        if path.ends_with("/infer") {
            Ok(())
        } else {
            Err(Skip("its path is not that of an inference (/v2/models/<name>/infer)"))
        }
    }

    fn normalize(&self, body: &Body) -> Result<Body, Skip> {
        let inputs = body.get("inputs").and_then(Value::as_array);
        let inputs = inputs.filter(|list| !list.is_empty()).ok_or(Skip("it has no inputs"))?;
        let own = body.get("parameters");
        if own.is_some_and(|own| has(own, &SEQUENCE)) {
            return Err(Skip(
                "it is one of a sequence (sequence_id), so its answer depends on others",
            ));
        }
        let outputs = body.get("outputs").and_then(Value::as_array).into_iter().flatten();
        let tensors = inputs
            .iter()
            .chain(outputs)
            .filter_map(|tensor| tensor.get("parameters"));
        if tensors.chain(own).any(|parameters| has(parameters, &ELSEWHERE)) {
            return Err(Skip("its tensors are not in the JSON (binary data or shared memory)"));
        }
        let kept = body.iter().filter(|(key, _)| KEPT.contains(&key.as_str()));
        let mut kept: Body = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        // MLServer hands the headers of a request on in here, with the credentials of the one who asked.
        if let Some(Value::Object(parameters)) = kept.get_mut("parameters") {
            parameters.remove("headers");
        }
        Ok(kept)
    }

    fn read(&self, settings: &Settings, body: &[u8]) -> Result<Answer, Unreadable> {
        let value = parse(body)?;
        let Some(pointer) = settings.pointer.as_deref() else {
            return outputs(&value);
        };
        let found = value.pointer(pointer);
        let data = found.ok_or(Unreadable::Form(
            "there is nothing where the pointer of the answer leads",
        ))?;
        let tensor = pointer.strip_suffix("/data").and_then(|tensor| value.pointer(tensor));
        numbers::read(data, tensor.and_then(|tensor| tensor.get("shape")))
    }

    fn compare(&self, settings: &Settings, reference: &Answer, candidate: &Answer) -> Comparison {
        let (Answer::Outputs(reference), Answer::Outputs(candidate)) = (reference, candidate) else {
            return numbers::compare(settings, reference, candidate);
        };
        let first = reference.first();
        let name = first.and_then(|output| output.name.as_ref());
        let same = if name.is_some() && candidate.iter().any(|output| output.name.is_some()) {
            candidate.iter().find(|output| output.name.as_ref() == name)
        } else {
            candidate.first()
        };
        match (first.map(|output| &output.answer), same.map(|output| &output.answer)) {
            (Some(Some(reference)), Some(Some(candidate))) => numbers::compare(settings, reference, candidate),
            _ => Comparison::DIFFERENT,
        }
    }
}

/// All outputs of an answer. The first must be readable, because it is the one that is compared when this is the answer
/// of the reference.
fn outputs(value: &Value) -> Result<Answer, Unreadable> {
    let list = value.get("outputs").and_then(Value::as_array);
    let list = list
        .filter(|list| !list.is_empty())
        .ok_or(Unreadable::Form("it has no outputs"))?;
    let read = |output: &Value| {
        let data = output.get("data").ok_or(Unreadable::Form("an output has no data"))?;
        numbers::read(data, output.get("shape"))
    };
    let mut outputs = Vec::new();
    for (place, output) in list.iter().enumerate() {
        let answer = read(output);
        if place == 0
            && let Err(problem) = answer
        {
            return Err(problem);
        }
        outputs.push(Output {
            name: output.get("name").and_then(Value::as_str).map(str::to_owned),
            answer: answer.ok(),
        });
    }
    Ok(Answer::Outputs(outputs))
}

/// Whether parameters hold one of these, other than switched off.
fn has(parameters: &Value, names: &[&str]) -> bool {
    let is_on = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    names.iter().any(|name| parameters.get(name).is_some_and(is_on))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::protocol::Request;
    use crate::compare::settings::Protocol;

    /// What Triton answers for a classifier of three classes.
    const TRITON: &str = r#"{"model_name":"magika","model_version":"1","outputs":[{"name":"probs","datatype":"FP32","shape":[1,3],"data":[0.0625,0.875,0.0625]}]}"#;

    /// What MLServer answers for a model of scikit-learn.
    const MLSERVER: &str = r#"{"model_name":"fraud","model_version":"v1","id":"f5a7","parameters":{},"outputs":[{"name":"predict","shape":[2,1],"datatype":"INT64","parameters":{"content_type":"np"},"data":[0,1]}]}"#;

    /// What KServe's Python server answers with labels.
    const KSERVE: &str = r#"{"model_name":"topic","model_version":null,"id":"1","parameters":null,"outputs":[{"name":"output-0","shape":[1],"datatype":"BYTES","parameters":null,"data":["sports"]}]}"#;

    fn read(settings: &Settings, body: &str) -> Result<Answer, Unreadable> {
        settings.read(body.as_bytes())
    }

    #[test]
    fn answers_of_real_servers_are_read() {
        let settings = Settings::new(Protocol::OpenInference);
        for (body, name, answer) in [
            (TRITON, "probs", Answer::Numbers(vec![vec![0.0625, 0.875, 0.0625]])),
            (MLSERVER, "predict", Answer::Numbers(vec![vec![0.0], vec![1.0]])),
            (KSERVE, "output-0", Answer::Value(json!(["sports"]))),
        ] {
            let output = Output {
                name: Some(name.to_owned()),
                answer: Some(answer),
            };
            assert_eq!(read(&settings, body), Ok(Answer::Outputs(vec![output])), "{body}");
        }
        let one = Settings {
            pointer: Some("/outputs/0/data/1".to_owned()),
            ..settings
        };
        assert_eq!(read(&one, TRITON), Ok(Answer::Numbers(vec![vec![0.875]])));
    }

    #[test]
    fn what_is_no_answer_is_told_from_one() {
        let settings = Settings::new(Protocol::OpenInference);
        let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
        for body in [
            "",
            "null",
            r#"{"error":"model not found"}"#,
            r#"{"outputs":[]}"#,
            r#"{"outputs":[{"data":null}]}"#,
            r#"{"outputs":[{"data":[0.5,NaN]}]}"#,
            r#"{"outputs":[{"data":[0.5,1e999]}]}"#,
            r#"{"outputs":[{"data":[0.5,"NaN"]}]}"#,
            "\u{0}\u{1b}[31m",
            &deep,
        ] {
            assert!(read(&settings, body).is_err(), "{body}");
        }
    }

    #[test]
    fn two_answers_differ_when_the_class_or_the_label_does() {
        let settings = Settings::new(Protocol::OpenInference);
        let with = |data: &str| read(&settings, &format!(r#"{{"outputs":[{{"data":{data}}}]}}"#)).unwrap();
        for (reference, candidate, agrees, distance) in [
            ("[0.25,0.75]", "[0.375,0.625]", true, 0.125),
            ("[0.25,0.75]", "[0.75,0.25]", false, 0.5),
            (r#"["cat"]"#, r#"["cat"]"#, true, 0.0),
            (r#"["cat"]"#, r#"["dog"]"#, false, 1.0),
            (r#"["cat"]"#, "[1]", false, 1.0),
            ("[]", "[1]", false, 1.0),
        ] {
            let comparison = settings.compare(&with(reference), &with(candidate));
            assert_eq!(
                (comparison.agrees, comparison.distance),
                (agrees, Some(distance)),
                "{reference} {candidate}"
            );
        }
    }

    #[test]
    fn outputs_are_found_by_their_names() {
        let settings = Settings::new(Protocol::OpenInference);
        let output = |name: &str, data: Value| json!({"name": name, "data": data});
        let (probs, flipped) = (
            output("probs", json!([0.25, 0.75])),
            output("probs", json!([0.75, 0.25])),
        );
        let (label, nameless) = (output("label", json!(["dog"])), json!({"data": [0.25, 0.75]}));
        let unreadable = output("probs", json!([null]));
        for (reference, candidate, agrees) in [
            (json!([probs, label]), json!([label, probs]), true),
            (json!([probs]), json!([label, probs]), true),
            (json!([probs, label]), json!([label, flipped]), false),
            (json!([label, probs]), json!([flipped, label]), true),
            (json!([probs]), json!([label]), false),
            (json!([probs]), json!([label, unreadable]), false),
            (json!([label]), json!([label, unreadable]), true),
            (json!([probs]), json!([nameless]), true),
            (json!([nameless]), json!([flipped]), false),
            (json!([nameless]), json!([probs, flipped]), true),
        ] {
            let with = |outputs: &Value| read(&settings, &json!({"outputs": outputs}).to_string()).unwrap();
            let comparison = settings.compare(&with(&reference), &with(&candidate));
            assert_eq!(comparison.agrees, agrees, "{reference} {candidate}");
        }
    }

    #[test]
    fn requests_keep_what_decides_and_lose_what_is_nobodys_business() {
        let settings = Settings::new(Protocol::OpenInference);
        let normalized = |body: Value| settings.normalize(&Request::read(body).unwrap());
        let input = json!({"name": "x", "shape": [1], "datatype": "FP32", "data": [0.5]});
        let body = json!({
            "id": "user-7", "inputs": [input], "outputs": [{"name": "probs"}], "user": "me",
            "parameters": {"temperature": 1, "headers": {"authorization": "Bearer x"}},
        });
        let kept = normalized(body).unwrap();
        let expected = json!({"inputs": [input], "outputs": [{"name": "probs"}], "parameters": {"temperature": 1}});
        assert_eq!(Value::Object(kept.body.clone()), expected);
        assert_eq!(settings.normalize(&kept), Ok(kept), "what is normalized stays as it is");
        for (body, why) in [
            (json!({"inputs": []}), "no inputs"),
            (json!({"prompt": "a"}), "no inputs"),
            (json!({"inputs": [input], "parameters": {"sequence_id": 3}}), "sequence"),
            (
                json!({"inputs": [input], "parameters": {"binary_data_output": true}}),
                "binary",
            ),
            (
                json!({"inputs": [{"name": "x", "parameters": {"binary_data_size": 4}}]}),
                "binary",
            ),
            (
                json!({"inputs": [input], "outputs": [{"parameters": {"shared_memory_region": "r"}}]}),
                "memory",
            ),
        ] {
            let skip = normalized(body.clone()).unwrap_err().to_string();
            assert!(skip.contains(why), "{body}: {skip}");
        }
    }
}
