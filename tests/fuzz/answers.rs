//! The reader of Prometheus' answers: never panics, takes nothing partial for whole, and no text for a number.

use guardbit::evidence::{Matrix, NativeMatrix, SampleError};
use proptest::prelude::*;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use crate::campaign::campaign;

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => any::<f64>().prop_map(|v| json!(v.to_string())),
        2 => prop::sample::select(vec!["NaN", "+Inf", "-Inf", "1e400", "", "1,5", "0x10", "١"]).prop_map(|v| json!(v)),
        1 => any::<i64>().prop_map(|v| json!(v)),
        1 => Just(Value::Null),
    ]
}

fn time() -> impl Strategy<Value = Value> {
    prop_oneof![4 => (0i64..4_000_000_000).prop_map(|t| json!(t)), 1 => any::<f64>().prop_map(|t| json!(t)), 1 => any::<String>().prop_map(|t| json!(t))]
}

fn series() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[a-z_]{0,6}", any::<String>(), 0..4);
    let values = prop::collection::vec((time(), number()).prop_map(|(t, v)| json!([t, v])), 0..5);
    let bucket = (0u8..6, number(), number(), number()).prop_map(|(r, a, b, n)| json!([r, a, b, n]));
    let native = (time(), number(), prop::collection::vec(bucket, 0..4))
        .prop_map(|(t, n, buckets)| json!([t, {"count": n.clone(), "sum": n, "buckets": buckets}]));
    let natives = prop::collection::vec(native, 0..3);
    (labels, values, natives, 0u8..8).prop_map(|(labels, values, natives, which)| match which {
        0 => json!({"metric": labels, "values": values, "histograms": natives}),
        1 => json!({"metric": labels, "histograms": natives}),
        2 => json!({"metric": labels, "value": values.first()}),
        3 => json!({"metric": labels, "histogram": natives.first()}),
        4 => json!({"values": values}),
        _ => json!({"metric": labels, "values": values}),
    })
}

fn envelope() -> impl Strategy<Value = Value> {
    let status = prop::sample::select(vec!["success", "success", "success", "error", ""]);
    let kind = prop::sample::select(vec![
        "matrix", "matrix", "matrix", "vector", "scalar", "string", "streams",
    ]);
    let notes = || prop::collection::vec(prop_oneof![Just("PromQL info: x".to_owned()), any::<String>()], 0..2);
    (status, kind, prop::collection::vec(series(), 0..4), notes(), notes(), any::<bool>()).prop_map(
        |(status, kind, series, warnings, infos, noted)| {
            let mut body = json!({"status": status, "data": {"resultType": kind, "result": series}, "errorType": "bad_data", "error": "e"});
            if noted {
                (body["warnings"], body["infos"]) = (json!(warnings), json!(infos));
            }
            body
        },
    )
}

/// A body, perhaps cut, with a byte changed, or nested too deeply.
fn body() -> impl Strategy<Value = Vec<u8>> {
    let change = prop_oneof![
        4 => Just(None),
        2 => any::<prop::sample::Index>().prop_map(|at| Some((at, None))),
        2 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, byte)| Some((at, Some(byte)))),
    ];
    prop_oneof![
        12 => (envelope(), change).prop_map(|(body, change)| {
            let mut bytes = body.to_string().into_bytes();
            match change {
                Some((at, None)) => bytes.truncate(at.index(bytes.len())),
                Some((at, Some(byte))) => {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                None => {}
            }
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (1usize..20_000, prop::sample::select(vec!["[", "{\"data\":", "{\"status\":\"success\",\"data\":["]))
            .prop_map(|(deep, open)| open.repeat(deep).into_bytes()),
    ]
}

#[test]
fn answers_of_prometheus() {
    campaign("Prometheus answers", body(), |body| {
        let answers = [Matrix::parse(&body), Matrix::parse_vector(&body)];
        let envelope: Option<Value> = serde_json::from_slice(&body).ok();
        let native = NativeMatrix::parse(&body);
        for error in answers.iter().filter_map(|a| a.as_ref().err()) {
            prop_assert!(!error.to_string().is_empty());
        }
        for matrix in answers.iter().flatten() {
            for series in &matrix.series {
                prop_assert!(series.samples.iter().all(|(_, value)| value.is_finite()));
            }
        }
        let well = answers.iter().any(Result::is_ok) || native.is_ok();
        let Some(envelope) = envelope else {
            // A number beyond all floats is JSON, though no `Value`.
            let json = serde_json::from_slice::<IgnoredAny>(&body).is_ok();
            prop_assert!(!well || json, "what is no JSON was taken for an answer");
            return Ok(());
        };
        prop_assert!(!well || envelope["status"] == "success");
        // Whatever may be partial is no evidence.
        let warned = envelope["warnings"].as_array().is_some_and(|w| !w.is_empty());
        let doubted = envelope["infos"].as_array().is_some_and(|i| {
            i.iter()
                .any(|i| !i.as_str().is_some_and(|i| i.starts_with("PromQL info")))
        });
        prop_assert!(
            !(well && (warned || doubted)),
            "a partial answer was taken for a whole one: {envelope}"
        );
        if let Err(SampleError::Partial { .. }) = &answers[0] {
            prop_assert!(warned || doubted);
        }
        Ok(())
    });
}
