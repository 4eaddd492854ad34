//! Each rule on its own: what satisfies it, and what a model that falls short is told.

use std::collections::BTreeSet;

use guardbit::api::variant::LayerException;
use guardbit::api::{Precision, Quantization, Variant};
use guardbit::governance::{Policy, bits};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::scene::{Scene, at, policy};

fn variant<'a>(scene: &'a mut Scene, name: &str) -> &'a mut Variant {
    let mut variants = scene.spec.variants.iter_mut();
    variants.find(|variant| variant.name == name).expect("the variant")
}

fn quantization(scene: &mut Scene) -> &mut Quantization {
    variant(scene, "int8").quantization.as_mut().expect("a quantization")
}

#[test]
fn a_variant_has_the_least_bits_that_it_is_declared_with() {
    let floor = "floor: {minBits: 8}";
    for name in ["fp32", "int8"] {
        Scene::of(name).satisfies(floor);
    }
    Scene::of("int4").falls_short(
        floor,
        "floor.minBits",
        &["int4 has 4 bits by its precision", "8 are the least"],
    );
    // Sixteen bits, its author says.
    let claimed = |scene: &mut Scene| variant(scene, "int8").precision = Precision::FP16;
    type Change = fn(&mut Quantization);
    let changes: [(Change, &str); 3] = [
        (|q| q.weights.bits = 4, "quantization.weights"),
        (
            |q| q.activations.as_mut().expect("activations").bits = 4,
            "quantization.activations",
        ),
        (
            |q| {
                q.layers.push(LayerException {
                    pattern: ".*".to_owned(),
                    precision: Precision::FP4,
                });
            },
            "quantization.layers",
        ),
    ];
    for (change, field) in changes {
        let mut scene = Scene::of("int8").with(claimed);
        change(quantization(&mut scene));
        assert_eq!(bits(variant(&mut scene, "int8")), 4);
        scene.falls_short(floor, "floor.minBits", &[field]);
    }
}

#[test]
fn a_method_must_be_one_of_those_that_are_permitted() {
    Scene::of("int8").satisfies("floor: {methods: [PostTrainingStatic]}");
    // What is not quantized has no method.
    Scene::of("fp32").satisfies("floor: {methods: [QuantizationAware]}");
    Scene::of("int8").falls_short(
        "floor: {methods: [QuantizationAware, PostTrainingDynamic]}",
        "floor.methods",
        &["by PostTrainingStatic", "are PostTrainingDynamic, QuantizationAware"],
    );
}

#[test]
fn the_settings_of_a_rollout_have_limits() {
    let scene = Scene::of("int8");
    for (permitted, refused, rule, says) in [
        (
            "maxFirstStep: 5",
            "maxFirstStep: 4",
            "rollout.maxFirstStep",
            &["begins with 5%", "4% is the most"][..],
        ),
        (
            "maxStepRise: 25",
            "maxStepRise: 24",
            "rollout.maxStepRise",
            &["from 25% to 50%", "a step of 49% or less"],
        ),
        (
            "minHold: 5m",
            "minHold: 301s",
            "rollout.minHold",
            &["holds 5% for 5m", "write hold: 5m1s or more"],
        ),
        (
            "minHoldout: 5",
            "minHoldout: 6",
            "rollout.minHoldout",
            &["holdout is 5", "write 6 or more"],
        ),
        (
            "maxFalseRollback: '0.05'",
            "maxFalseRollback: 4.9%",
            "rollout.maxFalseRollback",
            &["falseRollback is 5%", "4.9% is the most"],
        ),
        (
            "minFalseRollback: '0.05'",
            "minFalseRollback: 5.1%",
            "rollout.minFalseRollback",
            &["falseRollback is 5%", "harm is found later"],
        ),
        (
            "maxFalsePromotion: '0.050'",
            "maxFalsePromotion: 1%",
            "rollout.maxFalsePromotion",
            &["falsePromotion is 5%", "write 1% or less"],
        ),
    ] {
        scene.satisfies(&format!("rollout: {{{permitted}}}"));
        scene.falls_short(&format!("rollout: {{{refused}}}"), rule, says);
    }
}

#[test]
fn only_the_first_install_is_asked_what_it_declares_proven() {
    let yaml = "rollout: {bootstrap: Reference}";
    let declares = |name: &'static str| {
        Scene::of("int8").with(|scene| {
            scene.spec.rollout.bootstrap = Some(name.to_owned());
            scene.first_install = true;
        })
    };
    declares("fp32").satisfies(yaml);
    declares("int8").satisfies("rollout: {bootstrap: Any}");
    declares("int8").falls_short(yaml, "rollout.bootstrap", &["declares int8 proven", "climbs from fp32"]);
    declares("int8")
        .with(|scene| scene.first_install = false)
        .satisfies(yaml);
}

#[test]
fn a_calibration_is_fresh_by_what_was_claimed_first() {
    let yaml = "calibration: {maxAge: 720h}";
    let completed = |at: Option<Time>| {
        Scene::of("int8").with(|scene| {
            let calibration = variant(scene, "int8").calibration.as_mut();
            calibration.expect("a calibration").completed_at = at;
        })
    };
    let time = |text| Some(Time(at(text)));
    Scene::of("int8").satisfies(yaml);
    completed(time("2026-10-29T10:00:00Z")).satisfies(yaml);
    let stale = "2026-10-29T09:59:59Z";
    completed(time(stale)).falls_short(
        yaml,
        "calibration.maxAge",
        &["may be 720h old", stale, "calibrate it again"],
    );
    // Somebody wrote a later time and did not calibrate.
    let typed = completed(time("2026-11-28T00:00:00Z")).with(|scene| scene.calibrated = Some(at(stale)));
    typed.falls_short(yaml, "calibration.maxAge", &[stale]);
    // What was first seen is later than what is claimed.
    let known = completed(time(stale)).with(|scene| scene.calibrated = Some(at("2026-11-28T00:00:00Z")));
    known.falls_short(yaml, "calibration.maxAge", &[stale]);
    completed(None).falls_short(
        yaml,
        "calibration.maxAge",
        &["not known when", "set calibration.completedAt"],
    );
    completed(time("2027-01-01T00:00:00Z")).falls_short(yaml, "calibration.maxAge", &["still to come"]);
}

#[test]
fn what_is_fitted_to_data_must_name_it() {
    Scene::of("int8").satisfies("calibration: {minSamples: 2048}");
    Scene::of("int8").falls_short(
        "calibration: {minSamples: 2049}",
        "calibration.minSamples",
        &["2049 samples or more", "it has 2048"],
    );
    // GPTQ, without a calibration.
    for (yaml, rule) in [
        ("calibration: {maxAge: 720h}", "calibration.maxAge"),
        ("calibration: {minSamples: 1}", "calibration.minSamples"),
    ] {
        Scene::of("int4").falls_short(yaml, rule, &["the calibration of int4"]);
        Scene::of("fp32").satisfies(yaml);
    }
}

#[test]
fn a_metric_must_have_been_measured_and_may_drop_so_far() {
    Scene::of("int8").satisfies("validation: {metrics: [{name: auc, maxDrop: 0.5%}]}");
    let found = |name: &'static str, yaml: &str, says: &[&str]| {
        Scene::of(name).falls_short(yaml, "validation.metrics[auc]", says);
    };
    found(
        "int8",
        "validation: {metrics: [{name: auc, maxDrop: 0.3%}]}",
        &["auc of int8 may drop by 0.3%", "from 0.941 to 0.938"],
    );
    found(
        "int4",
        "validation: {metrics: [{name: auc, maxDrop: 50%}]}",
        &["it was not measured"],
    );
    Scene::of("fp32").satisfies("validation: {metrics: [{name: auc, maxDrop: 0%}]}");
    // A reference that is quantized itself has something to be compared with.
    let alone = Scene::of("int4").with(|scene| {
        scene.spec.variants.retain(|variant| variant.name == "int4");
        scene.spec.target = None;
    });
    alone.falls_short(
        "validation: {metrics: [{name: auc, maxDrop: 50%}]}",
        "validation.metrics[auc]",
        &["it was not measured"],
    );
}

/// A rise of a variant whose pods check its weights.
fn mounted(variant: &'static str) -> Scene {
    Scene::of(variant).with(|scene| {
        for variant in &mut scene.spec.variants {
            let mount = serde_json::from_value(serde_json::json!({"path": "/models"}));
            variant.weights.mount = Some(mount.expect("a mount"));
        }
    })
}

#[test]
fn weights_are_checked_by_the_pods_where_a_policy_wants_them_verified() {
    let verified = "weights: {require: Verified}";
    mounted("int8").satisfies(verified);
    Scene::of("int8").falls_short(
        verified,
        "weights.require",
        &["are Declared and must be Verified", "set weights.mount"],
    );
    for variant in ["int8", "fp32"] {
        Scene::of(variant).satisfies("weights: {require: Declared}");
    }
    // Of two policies the stricter holds.
    let both = [policy("a", "weights: {require: Declared}"), policy("b", verified)];
    let found = Scene::of("int8").check(&both);
    assert!(found.len() == 1 && found[0].policy == "b", "{found:?}");
}

#[test]
fn weights_are_signed_by_a_key_of_each_policy() {
    let key = |letter: &str| {
        format!(
            "-----BEGIN PUBLIC KEY-----{}-----END PUBLIC KEY-----",
            letter.repeat(64)
        )
    };
    let of = |name: &str, keys: &[&str]| {
        let keys: Vec<_> = keys.iter().map(|letter| key(letter)).collect();
        let spec = serde_json::json!({"weights": {"require": "Verified", "publicKeys": keys}});
        Policy::read(name, 1, &spec)
    };
    let (one, other) = (of("one", &["a", "b"]), of("other", &["b", "c"]));
    for (signed_by, lack) in [
        (&["a"][..], 1),
        (&["c"], 1),
        (&["b"], 0),
        (&["a", "c"], 0),
        (&["d"], 2),
        (&[], 2),
    ] {
        let scene = mounted("int8").with(|scene| {
            scene.signed_by = signed_by.iter().map(|letter| key(letter)).collect::<BTreeSet<_>>();
        });
        let found = scene.check([&one, &other]);
        assert_eq!(found.len(), lack, "{signed_by:?}: {found:?}");
        assert!(
            found.iter().all(|finding| finding.rule == "weights.publicKeys"),
            "{found:?}"
        );
    }
}

#[test]
fn a_prometheus_server_lies_below_a_url_of_each_policy() {
    let yaml = "prometheus: {urls: ['http://prometheus.monitoring:9090', 'https://metrics.example/tenants/a/']}";
    let asks = |url| Scene::of("int8").with(|scene| scene.prometheus = url);
    for url in [
        "http://prometheus.monitoring:9090",
        "http://PROMETHEUS.monitoring:9090/",
        "https://metrics.example/tenants/a",
        "https://metrics.example/tenants/a/select",
    ] {
        asks(Some(url)).satisfies(yaml);
    }
    for url in [
        "http://prometheus.monitoring:9091",
        "https://prometheus.monitoring:9090",
        "https://metrics.example/tenants/ab",
        "https://metrics.example/tenants/a/../b",
        "https://metrics.example",
    ] {
        asks(Some(url)).falls_short(yaml, "prometheus.urls", &["the model asks http", "spec.prometheus.url"]);
    }
    asks(None).falls_short(yaml, "prometheus.urls", &["no server is set"]);
    asks(Some("no url")).falls_short(yaml, "prometheus.urls", &["is no URL"]);
    let both = [
        policy("one", "prometheus: {urls: ['http://a:9090', 'http://b:9090']}"),
        policy("other", "prometheus: {urls: ['http://b:9090/tenant']}"),
    ];
    let found = asks(Some("http://b:9090/tenant")).check(&both);
    assert!(found.is_empty(), "{found:?}");
    for url in ["http://a:9090", "http://b:9090"] {
        assert_eq!(asks(Some(url)).check(&both).len(), 1, "{url}");
    }
}

#[test]
fn what_is_not_enforced_is_told_and_marked() {
    let dry = [policy(
        "next-year",
        "mode: DryRun\nfloor: {minBits: 16}\nfreezes: [{name: audit, between: {from: '2026-11-01T00:00:00Z', to: '2026-12-01T00:00:00Z'}}]",
    )];
    let found = Scene::of("int8").check(&dry);
    let told: Vec<_> = found
        .iter()
        .map(|finding| (finding.rule.as_str(), finding.enforced))
        .collect();
    assert_eq!(told, [("floor.minBits", false), ("freezes[audit]", false)]);
    assert!(found[1].message.contains("until 2026-12-01T00:00:00Z"), "{found:?}");
}

#[test]
fn policies_that_ask_for_the_same_are_named_together() {
    let both = [policy("b", "floor: {minBits: 16}"), policy("a", "floor: {minBits: 16}")];
    let found = Scene::of("int8").check(&both);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].policy, "a, b");
    let stricter = [policy("b", "floor: {minBits: 16}"), policy("a", "floor: {minBits: 32}")];
    let found = Scene::of("int8").check(&stricter);
    assert_eq!((found.len(), found[0].policy.as_str()), (1, "a"));
}
