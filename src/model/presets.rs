//! Presets: the guards that go with a model server or a mesh.
//!
//! Owns the names of other projects' metrics; each is checked against a fixture that names its source
//! (tests/testdata/presets). A server that does not count errors gets no guard on errors: a guard that sees nothing
//! would hold every rollout, and one that guesses would be worse. Must not ask anything.

use crate::api::{
    Fidelity, Guard, Latency, LatencyTolerance, LatencyUnit, Preset, Proportion, Protocol, QuantizedModelSpec, Ratio,
    ToleranceSpec,
};
use crate::guards;

/// Largest tolerated total variation distance between lengths of answers. A quantized model that answers as well may
/// think 12% longer: where lengths are log-normal, that is a distance of 0.045 with σ = 1, 0.09 with σ = 0.5, and 0.15
/// with σ = 0.3.
const LENGTHS: &str = "0.15";

/// Largest tolerated share of answers that were cut off, as a factor on the baseline's and a share beside it. Answers
/// that are 12% longer turn 2%, 10% and 50% into 2.6%, 12.1% and 54.5% with σ = 1, and into 3.4%, 14.6% and 59% with
/// σ = 0.5; tolerated are 5.5%, 15.5% and 65.5%.
const TRUNCATED: (&str, &str) = ("1.25", "3%");

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
        Preset::VLlmOutputs => [of(Preset::VLlm), vllm_tripwires()].concat(),
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
        // Every answer is counted, also those to probes and to Prometheus, which are GET. Aborted requests are those
        // whose client left.
        Preset::SgLang => vec![
            errors(
                r#"sglang:http_responses_total{method="POST",status_code=~"5.."}"#,
                r#"sglang:http_responses_total{method="POST"}"#,
            ),
            latency("sglang:e2e_request_latency_seconds", LatencyUnit::Seconds),
        ],
        // trtllm_request_error_total counts requests that are no valid ones, and no failures of the server.
        Preset::TensorRtLlm => vec![latency("trtllm_e2e_request_latency_seconds", LatencyUnit::Seconds)],
        // Only failures have the label error_type. It stands in both selectors, so that arms on which nothing failed
        // can be compared.
        Preset::EnvoyAiGateway => vec![
            errors(
                r#"gen_ai_server_request_duration_seconds_count{error_type!=""}"#,
                r#"gen_ai_server_request_duration_seconds_count{error_type=~".*"}"#,
            ),
            latency("gen_ai_server_request_duration_seconds", LatencyUnit::Seconds),
        ],
    }
}

/// What the server of a preset speaks; `None` where the preset is of a mesh or a gateway, behind which any server may be.
pub fn protocol(preset: Preset) -> Option<Protocol> {
    match preset {
        Preset::VLlm
        | Preset::VLlmOutputs
        | Preset::SgLang
        | Preset::Tgi
        | Preset::LlamaCpp
        | Preset::TensorRtLlm
        | Preset::EnvoyAiGateway => Some(Protocol::OpenAI),
        Preset::Triton | Preset::KServe => Some(Protocol::OpenInference),
        Preset::Istio | Preset::EnvoyGateway => None,
    }
}

/// Guards on what vLLM counts of its outputs. They catch collapse, not drift: a model can answer something else at the
/// same length. Each counts one event for each request: tokens of one request, and of one batch, are not independent.
fn vllm_tripwires() -> Vec<Guard> {
    let (ratio, absolute) = TRUNCATED;
    vec![
        Guard {
            name: "length".to_owned(),
            fidelity: Some(Fidelity {
                histogram: "vllm:request_generation_tokens".to_owned(),
                max_total_variation: LENGTHS.into(),
            }),
            ..Guard::default()
        },
        Guard {
            name: "truncated".to_owned(),
            proportion: Some(Proportion {
                bad: Some(r#"vllm:request_success_total{finished_reason=~"length|repetition"}"#.to_owned()),
                good: None,
                total: r#"vllm:request_success_total{finished_reason!="abort"}"#.to_owned(),
                tolerance: ToleranceSpec {
                    ratio: Some(ratio.into()),
                    absolute: Some(absolute.into()),
                },
            }),
            ..Guard::default()
        },
        Guard {
            name: "first-token".to_owned(),
            ..latency("vllm:time_to_first_token_seconds", LatencyUnit::Seconds)
        },
        Guard {
            name: "between-tokens".to_owned(),
            ..latency("vllm:request_time_per_output_token_seconds", LatencyUnit::Seconds)
        },
    ]
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
