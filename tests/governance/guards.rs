//! Guards that policies ask for, against those of a model.

use guardbit::api::{ArmLabel, ArmMatchers, Guard, Preset};

use super::scene::Scene;

fn guard<'a>(scene: &'a mut Scene, name: &str) -> &'a mut Guard {
    let mut guards = scene.spec.guards.iter_mut();
    guards.find(|guard| guard.name == name).expect("the guard")
}

/// Guards of the model, each as YAML, in place of its own.
fn with(guards: &str) -> Scene {
    Scene::of("int8").with(|scene| scene.spec.guards = serde_yaml_ng::from_str(guards).expect("guards"))
}

fn asks(guard: &str) -> String {
    format!("guards: [{guard}]")
}

const ERRORS: &str =
    r#"{name: errors, proportion: {bad: ['http_requests_total{code=~"5.."}'], total: [http_requests_total]}}"#;

#[test]
fn a_guard_that_is_as_strict_will_do_whatever_its_name_and_its_spelling() {
    for guards in [
        r#"[{name: errors, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total}}]"#,
        r#"[{name: e, proportion: {bad: "{code=~'5..', __name__='http_requests_total'}", total: 'http_requests_total{}'}}]"#,
        r#"[{name: e, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total, tolerance: {absolute: "0.005"}}}]"#,
        r#"[{name: e, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total, tolerance: {ratio: "0.9", absolute: 0.1%}}}]"#,
        // One of several is enough.
        r#"[{name: loose, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total, tolerance: {absolute: 90%}}},
            {name: strict, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total}}]"#,
    ] {
        with(guards).satisfies(&asks(ERRORS));
    }
}

#[test]
fn a_guard_that_is_looser_or_counts_something_else_is_told_how() {
    for (guards, says) in [
        (
            r#"[{name: e, proportion: {bad: 'http_requests_total{code="500"}', total: http_requests_total}}]"#,
            &[
                "\"e\" comes nearest",
                "proportion.bad is `http_requests_total{code=\"500\"}`",
                "write `http_requests_total{code=~\"5..\"}`",
            ][..],
        ),
        (
            r#"[{name: e, proportion: {bad: nothing_total, total: http_requests_total}}]"#,
            &["proportion.bad is `nothing_total`"],
        ),
        (
            r#"[{name: e, proportion: {good: 'http_requests_total{code=~"5.."}', total: http_requests_total}}]"#,
            &["proportion.bad is missing"],
        ),
        (
            r#"[{name: e, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total, tolerance: {absolute: 99%}}}]"#,
            &[
                "proportion.tolerance.absolute is 99%",
                "write proportion.tolerance.absolute of at most 0.5%",
            ],
        ),
        (
            r#"[{name: e, proportion: {bad: 'http_requests_total{code=~"5.."}', total: http_requests_total, tolerance: {ratio: "50", absolute: 0.5%}}}]"#,
            &["proportion.tolerance.ratio is 50", "of at most 1"],
        ),
        (
            "[{name: latency, latency: {histogram: http_request_duration_seconds}}]",
            &["the model has none of that kind"],
        ),
    ] {
        with(guards).falls_short(
            &asks(ERRORS),
            "guards[errors]",
            &[&["a guard on proportion"][..], says].concat(),
        );
    }
}

#[test]
fn a_latency_is_limited_in_the_way_that_its_guard_is_written() {
    let histogram = "histogram: http_request_duration_seconds";
    let policy = |limits: &str| {
        asks(&format!(
            "{{name: slow, latency: {{histogram: [http_request_duration_seconds_bucket]{limits}}}}}"
        ))
    };
    let model = |tolerance: &str| with(&format!("[{{name: latency, latency: {{{histogram}{tolerance}}}}}]"));
    for (tolerance, limits) in [
        // The usual ones.
        ("", ""),
        (", tolerance: {slowdown: '1.25'}", ", maxSlowdown: '1.25'"),
        (
            ", tolerance: {slowdown: '1.1', absolute: 0.1%}",
            ", maxSlowdown: '1.1', maxAbsolute: 0.1%",
        ),
        (", tolerance: {ratio: '1.5', absolute: 0.5%}", ", maxRatio: '1.5'"),
        (
            ", tolerance: {ratio: '1.5', absolute: 0.5%}",
            ", maxRatio: '1.5', maxSlowdown: '1.1'",
        ),
        // No more slow requests than the baseline is no slower than it.
        (", tolerance: {ratio: '1', absolute: 0.5%}", ", maxSlowdown: '1.25'"),
        (", tolerance: {slowdown: '1', absolute: 0.5%}", ", maxRatio: '1'"),
    ] {
        model(tolerance).satisfies(&policy(limits));
    }
    for (tolerance, limits, says) in [
        (
            ", tolerance: {slowdown: '1.3'}",
            "",
            &[
                "latency.tolerance.slowdown is 1.3",
                "latency.tolerance.slowdown of at most 1.25",
            ][..],
        ),
        (
            ", tolerance: {slowdown: '1.2', absolute: 1%}",
            "",
            &["latency.tolerance.absolute is 1%"],
        ),
        (
            ", tolerance: {ratio: '1.2', absolute: 0.5%}",
            ", maxSlowdown: '1.25'",
            &["latency.tolerance.ratio is 1.2: write latency.tolerance.slowdown of at most 1.25"],
        ),
        (
            ", tolerance: {slowdown: '1.2'}",
            ", maxRatio: '1.5'",
            &["latency.tolerance.slowdown is 1.2: write latency.tolerance.ratio of at most 1.5"],
        ),
        (
            ", tolerance: {ratio: '2', absolute: 0.5%}",
            ", maxRatio: '1.5', maxSlowdown: '1.25'",
            &["write latency.tolerance.ratio of at most 1.5, or latency.tolerance.slowdown of at most 1.25"],
        ),
    ] {
        model(tolerance).falls_short(&policy(limits), "guards[slow]", says);
    }
}

#[test]
fn outputs_and_answers_have_limits() {
    let scene = Scene::of("int8");
    scene.satisfies(&asks("{name: drift, fidelity: {maxTotalVariation: 5%}}"));
    scene.satisfies(&asks(
        "{name: drift, fidelity: {histogram: [model_score, other_score]}}",
    ));
    scene.falls_short(
        &asks("{name: drift, fidelity: {maxTotalVariation: 4%}}"),
        "guards[drift]",
        &["fidelity.maxTotalVariation is 5%"],
    );
    scene.falls_short(
        &asks("{name: drift, fidelity: {histogram: [other_score]}}"),
        "guards[drift]",
        &["fidelity.histogram is `model_score`: write `other_score`"],
    );
    let agreement = |tolerance: &str| with(&format!("[{{name: agree, agreement: {tolerance}}}]"));
    let policy = asks("{name: agreement, agreement: {}}");
    agreement("{}").satisfies(&policy);
    agreement("{tolerance: {absolute: 3%}}").satisfies(&policy);
    agreement("{tolerance: {absolute: 6%}}").falls_short(
        &policy,
        "guards[agreement]",
        &["agreement.tolerance.absolute is 6%"],
    );
    agreement("{tolerance: {ratio: '1', absolute: 3%}}").falls_short(
        &policy,
        "guards[agreement]",
        &["agreement.tolerance.ratio is 1", "of at most 0"],
    );
}

#[test]
fn the_guards_of_a_preset_count() {
    let scene = || {
        Scene::of("int8").with(|scene| {
            scene.spec.guards.clear();
            scene.spec.preset = Some(Preset::VLlm);
        })
    };
    let policy = asks("{name: slow, latency: {histogram: ['vllm:e2e_request_latency_seconds']}}");
    scene().satisfies(&policy);
    // A guard of the model replaces the preset's of the same name.
    let replaced = scene().with(|scene| {
        let guards = "[{name: latency, latency: {histogram: other_seconds}}]";
        scene.spec.guards = serde_yaml_ng::from_str(guards).expect("guards");
    });
    replaced.falls_short(&policy, "guards[slow]", &["latency.histogram is `other_seconds`"]);
}

#[test]
fn a_guard_that_compares_a_candidate_with_itself_will_not_do() {
    let label = |value: &str| {
        vec![ArmLabel {
            label: "job".to_owned(),
            value: value.to_owned(),
        }]
    };
    let same = &["armLabels are the same for both arms"];
    let of_guard = |value: &str| {
        Scene::of("int8").with(|scene| {
            let errors = guard(scene, "errors");
            errors.arm_matchers = Some(ArmMatchers::Labels);
            errors.arm_labels = label(value);
        })
    };
    of_guard("{deployment}").satisfies(&asks(ERRORS));
    of_guard("fraud").falls_short(&asks(ERRORS), "guards[errors]", same);
    let of_all = |value: &str| {
        Scene::of("int8").with(|scene| {
            let prometheus = scene.spec.prometheus.as_mut().expect("settings");
            prometheus.arm_matchers = Some(ArmMatchers::Labels);
            prometheus.arm_labels = label(value);
        })
    };
    of_all("svc-{revision}").satisfies(&asks(ERRORS));
    of_all("fraud").falls_short(&asks(ERRORS), "guards[errors]", same);
}
