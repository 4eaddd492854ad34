//! Bucket bounds of the histograms that presets count, as their projects write them by default. A test holds them against the
//! expositions of tests/testdata/presets.

/// Of vLLM's request latency, and of TensorRT-LLM's, in seconds.
const VLLM: [f64; 21] = [
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
];

/// Of vLLM's time to the first token, in seconds.
const FIRST_TOKEN: [f64; 22] = [
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
];

/// Of vLLM's times between tokens, in seconds.
const BETWEEN_TOKENS: [f64; 19] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
];

/// Of SGLang's request latency, in seconds.
const SGLANG: [f64; 22] = [
    0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0, 200.0, 400.0, 600.0, 1200.0,
    1800.0, 2400.0,
];

/// Of Envoy AI Gateway's request duration, in seconds.
const AI_GATEWAY: [f64; 14] = [
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
];

/// Of Envoy, and so of Istio's sidecars, in milliseconds.
const ENVOY: [f64; 19] = [
    0.5,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    100.0,
    250.0,
    500.0,
    1000.0,
    2500.0,
    5000.0,
    10_000.0,
    30_000.0,
    60_000.0,
    300_000.0,
    600_000.0,
    1_800_000.0,
    3_600_000.0,
];

/// Of Python's Prometheus client where nothing else is said, as KServe's server has it, in seconds.
const PYTHON: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The bounds of a histogram that is known by its name, in its own unit.
pub(super) fn known(metric: &str) -> Option<&'static [f64]> {
    match metric.strip_suffix("_bucket").unwrap_or(metric) {
        "vllm:e2e_request_latency_seconds" | "trtllm_e2e_request_latency_seconds" => Some(&VLLM),
        "vllm:time_to_first_token_seconds" => Some(&FIRST_TOKEN),
        "vllm:request_time_per_output_token_seconds" | "vllm:inter_token_latency_seconds" => Some(&BETWEEN_TOKENS),
        "sglang:e2e_request_latency_seconds" => Some(&SGLANG),
        "gen_ai_server_request_duration_seconds" => Some(&AI_GATEWAY),
        "istio_request_duration_milliseconds" | "envoy_cluster_upstream_rq_time" => Some(&ENVOY),
        "request_predict_seconds" => Some(&PYTHON),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_expositions_of_presets_have_no_other_bounds() {
        let expositions = [
            include_str!("../../../tests/testdata/presets/vllm.prom"),
            include_str!("../../../tests/testdata/presets/istio.prom"),
            include_str!("../../../tests/testdata/presets/envoy-gateway.prom"),
            include_str!("../../../tests/testdata/presets/kserve.prom"),
            include_str!("../../../tests/testdata/presets/vllm-outputs.prom"),
            include_str!("../../../tests/testdata/presets/sglang.prom"),
            include_str!("../../../tests/testdata/presets/tensorrt-llm.prom"),
            include_str!("../../../tests/testdata/presets/envoy-ai-gateway.prom"),
        ];
        let mut held = 0;
        for line in expositions.iter().flat_map(|text| text.lines()) {
            let Some((name, labels)) = line.split_once('{') else {
                continue;
            };
            let Some(bounds) = known(name) else { continue };
            let le = labels.split("le=\"").nth(1).and_then(|le| le.split('"').next());
            let le: f64 = le.expect("a bucket").parse().expect("a number");
            assert!(le.is_infinite() || bounds.contains(&le), "{name} has a bound {le}");
            held += 1;
        }
        assert!(held > 70, "{held} buckets");
    }
}
