//! Presets: the guards that go with a model server or a mesh.
//!
//! Owns the names of other projects' metrics; each is checked against a fixture that names its source
//! (tests/testdata/presets). A server that does not count errors gets no guard on errors: a guard that sees nothing
//! would hold every rollout, and one that guesses would be worse. Must not ask anything.

use crate::api::{
    Guard, Latency, LatencyTolerance, LatencyUnit, Preset, Proportion, QuantizedModelSpec, Ratio, ToleranceSpec,
};
use crate::guards;

/// The guards of a model: those that it lists, and those of its preset that it does not list under the same name.
pub fn guards(spec: &QuantizedModelSpec) -> Vec<Guard> {
    let mut all = spec.guards.clone();
    // What is judged is written out, so that a release with another default is known to have changed the plan.
    for latency in all.iter_mut().filter_map(|guard| guard.latency.as_mut()) {
        latency.tolerance = Some(latency.tolerance());
    }
    for guard in spec.preset.map(of).unwrap_or_default() {
        if !all.iter().any(|listed| listed.name == guard.name) {
            all.push(guard);
        }
    }
    all
}

/// The guards of a model, resolved; those that cannot be used are left out.
pub fn resolved(spec: &QuantizedModelSpec) -> Vec<guards::Guard> {
    guards(spec)
        .iter()
        .filter_map(|guard| guards::resolve(guard).ok())
        .collect()
}

/// The guards of a preset.
pub fn of(preset: Preset) -> Vec<Guard> {
    match preset {
        Preset::VLlm => vec![
            errors(r#"http_requests_total{status="5xx"}"#, "http_requests_total"),
            latency("vllm:e2e_request_latency_seconds", LatencyUnit::Seconds),
        ],
        // Requests that the client cancelled say nothing about the server. Triton has no histogram unless it is
        // configured.
        Preset::Triton => vec![
            errors(
                r#"nv_inference_request_failure{reason!="CANCELED"}"#,
                r#"{__name__=~"nv_inference_request_(success|failure)",reason!="CANCELED"}"#,
            ),
            time("nv_inference_request_duration_us", "nv_inference_request_success"),
        ],
        // tgi_request_count counts requests when they arrive, the other counters when they end: the two must not be
        // mixed.
        Preset::Tgi => vec![
            errors(
                r#"tgi_request_failure{err!="validation"}"#,
                r#"{__name__=~"tgi_request_(success|failure)",err!="validation"}"#,
            ),
            latency("tgi_request_duration", LatencyUnit::Seconds),
        ],
        Preset::KServe => vec![latency("request_predict_seconds", LatencyUnit::Seconds)],
        Preset::Istio => vec![
            errors(
                r#"istio_requests_total{reporter="destination",response_code=~"5.."}"#,
                r#"istio_requests_total{reporter="destination"}"#,
            ),
            latency(
                r#"istio_request_duration_milliseconds{reporter="destination"}"#,
                LatencyUnit::Milliseconds,
            ),
        ],
        Preset::EnvoyGateway => vec![
            errors(
                r#"envoy_cluster_upstream_rq_xx{envoy_response_code_class="5"}"#,
                "envoy_cluster_upstream_rq_xx",
            ),
            latency("envoy_cluster_upstream_rq_time", LatencyUnit::Milliseconds),
        ],
        Preset::LlamaCpp => vec![time(
            "llamacpp:tokens_predicted_seconds_total",
            "llamacpp:tokens_predicted_total",
        )],
    }
}

fn errors(bad: &str, total: &str) -> Guard {
    Guard {
        name: "errors".to_owned(),
        proportion: Some(Proportion {
            bad: Some(bad.to_owned()),
            good: None,
            total: total.to_owned(),
            tolerance: ToleranceSpec::proportion(),
        }),
        ..Guard::default()
    }
}

fn latency(histogram: &str, unit: LatencyUnit) -> Guard {
    Guard {
        name: "latency".to_owned(),
        latency: Some(Latency {
            histogram: histogram.to_owned(),
            tolerance: Some(LatencyTolerance::usual()),
            unit,
            ..Latency::default()
        }),
        ..Guard::default()
    }
}

/// A guard on the mean time, where there is no histogram: a plain rule with room for noise.
fn time(spent: &str, on: &str) -> Guard {
    Guard {
        name: "latency".to_owned(),
        ratio: Some(Ratio {
            numerator: spent.to_owned(),
            denominator: on.to_owned(),
            max: "1.2".into(),
            consecutive: 3,
            of: None,
        }),
        ..Guard::default()
    }
}
