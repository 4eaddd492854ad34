//! Checks how traffic is split, and the timeouts that go to the gateway.

use crate::api::QuantizedModelSpec;

use super::reader::Reader;

/// Checks that every step can be reached: behind one Service the smallest share is that of one pod beside those of
/// stable.
pub(super) fn check(spec: &QuantizedModelSpec, reader: &mut Reader) {
    if spec.traffic.gateway.is_none() && spec.traffic.service.is_none() {
        reader.refuse(
            "spec.traffic",
            "is of a kind that this release does not know; upgrade guardbit, or use one of gateway and service",
        );
    }
    if spec.traffic.service.as_ref().is_none_or(|s| s.allow_coarse_steps) {
        return;
    }
    let Some(pods) = spec.variants.iter().filter_map(|v| spec.replicas(v)).min() else {
        return;
    };
    for (i, step) in spec.rollout.steps.iter().enumerate() {
        // A weight below 1 is refused as what it is.
        if step.weight > 0 && step.weight * (pods + 1) < 100 {
            let (share, enough) = (100 / (pods + 1), (100 - step.weight + step.weight - 1) / step.weight);
            reader.refuse(
                format!("spec.rollout.steps[{i}].weight"),
                format!("{}% is less than one pod beside {pods} of stable, which takes {share}%; raise replicas to {enough}, raise the weight, or set spec.traffic.service.allowCoarseSteps: true to accept {share}%", step.weight),
            );
        }
    }
}

/// Checks that timeouts are durations; they go to the gateway as they are written.
pub(super) fn timeouts(spec: &QuantizedModelSpec, reader: &mut Reader) {
    let Some(timeouts) = spec.traffic.gateway.as_ref().and_then(|g| g.timeouts.as_ref()) else {
        return;
    };
    for (name, value) in [
        ("request", &timeouts.request),
        ("backendRequest", &timeouts.backend_request),
    ] {
        if let Some(value) = value {
            reader.duration(&format!("spec.traffic.gateway.timeouts.{name}"), value);
        }
    }
}
