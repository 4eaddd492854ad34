//! Several policies: their order does not matter, and another one never permits more.

use std::collections::{BTreeMap, BTreeSet};

use guardbit::api::QuantizedModelSpec;
use guardbit::governance::{Policy, effective};
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};

use super::scene::{Scene, at, rules};

fn optional(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::of(select(values))
}

fn some(values: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    let most = values.len();
    subsequence(values, 0..=most).prop_map(|some| (!some.is_empty()).then(|| some.into()))
}

/// An object of the fields that have a value; none of no fields.
fn object(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Option<Value> {
    let fields = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let fields: serde_json::Map<String, Value> = fields.collect();
    (!fields.is_empty()).then_some(Value::Object(fields))
}

fn floor() -> impl Strategy<Value = Option<Value>> {
    let methods = [
        "PostTrainingStatic",
        "PostTrainingDynamic",
        "QuantizationAware",
        "WeightOnly",
    ];
    (
        optional([4, 8, 16, 32].map(Value::from).into()),
        some(methods.map(Value::from).into()),
        select(vec!["Report", "FallBack"]),
    )
        .prop_map(|(bits, methods, breach)| {
            let asks = bits.is_some() || methods.is_some();
            let breach = asks.then(|| breach.into());
            object([("minBits", bits), ("methods", methods), ("onBreach", breach)])
        })
}

fn rollout() -> impl Strategy<Value = Option<Value>> {
    let texts = |texts: &[&str]| optional(texts.iter().map(|text| json!(text)).collect());
    let rates = ["1%", "5%", "0.05", "0.1"];
    (
        optional([1, 5, 25].map(Value::from).into()),
        optional([5, 20, 25].map(Value::from).into()),
        texts(&["1m", "60s", "10m"]),
        optional([1, 5, 10].map(Value::from).into()),
        texts(&rates),
        texts(&rates),
        texts(&rates),
        texts(&["Any", "Reference"]),
    )
        .prop_map(|(first, rise, hold, holdout, most, least, promotion, bootstrap)| {
            object([
                ("maxFirstStep", first),
                ("maxStepRise", rise),
                ("minHold", hold),
                ("minHoldout", holdout),
                ("maxFalseRollback", most),
                ("minFalseRollback", least),
                ("maxFalsePromotion", promotion),
                ("bootstrap", bootstrap),
            ])
        })
}

fn guards() -> impl Strategy<Value = Option<Value>> {
    some(vec![
        json!({"name": "errors", "proportion": {"bad": ["http_requests_total{code=~\"5..\"}"], "total": ["http_requests_total"]}}),
        json!({"name": "strict", "proportion": {"bad": ["http_requests_total{code=~'5..'}"], "total": ["http_requests_total"], "maxAbsolute": "0.1%"}}),
        json!({"name": "slow", "latency": {"histogram": ["http_request_duration_seconds", "other"]}}),
        json!({"name": "slow", "latency": {"histogram": ["other"], "maxRatio": "2"}}),
        json!({"name": "drift", "fidelity": {"maxTotalVariation": "5%"}}),
        json!({"name": "agreement", "agreement": {}}),
    ])
}

fn evidence() -> impl Strategy<Value = [(&'static str, Option<Value>); 3]> {
    (
        optional(vec![json!("720h"), json!("600h"), json!("43200m")]),
        optional(vec![json!(1), json!(2048), json!(4096)]),
        select(vec!["Warn", "FallBack"]),
        some(vec![
            json!({"name": "auc", "maxDrop": "0.3%"}),
            json!({"name": "recall", "maxDrop": "1%"}),
        ]),
        optional(vec![
            json!({"require": "Declared"}),
            json!({"require": "Verified", "publicKeys": ["a", "b"]}),
            json!({"require": "Verified", "publicKeys": ["b"]}),
            json!({"require": "Verified"}),
        ]),
    )
        .prop_map(|(age, samples, stale, metrics, weights)| {
            let asks = age.is_some() || samples.is_some();
            let stale = asks.then(|| stale.into());
            [
                (
                    "calibration",
                    object([("maxAge", age), ("minSamples", samples), ("onStale", stale)]),
                ),
                ("validation", object([("metrics", metrics)])),
                ("weights", weights),
            ]
        })
}

fn freezes() -> impl Strategy<Value = Option<Value>> {
    some(vec![
        json!({"name": "weekend", "days": ["Friday"], "from": "12:00", "for": "68h", "timeZone": "Europe/Berlin"}),
        json!({"name": "nights", "days": ["Monday", "Tuesday"], "from": "18:00", "for": "14h", "timeZone": "Australia/Sydney"}),
        json!({"name": "audit", "between": {"from": "2026-11-28T09:00:00Z", "to": "2026-11-30T12:00:00Z"}}),
    ])
}

fn people() -> impl Strategy<Value = [(&'static str, Option<Value>); 4]> {
    let urls = ["http://prometheus.monitoring:9090", "http://other:9090"];
    (
        some(vec![
            json!({"before": "FirstTraffic", "kinds": ["Climb"], "count": 1, "fromGroups": ["model-risk"]}),
            json!({"before": "Promotion", "count": 2}),
        ]),
        optional([1, 3].map(Value::from).into()),
        some(urls.map(Value::from).into()),
        optional(vec![
            json!({"keep": "4416h"}),
            json!({"keep": "9000h", "signed": "Required"}),
        ]),
    )
        .prop_map(|(approvals, slots, urls, records)| {
            [
                ("approvals", approvals),
                ("maxInProgress", slots),
                ("prometheus", object([("urls", urls)])),
                ("records", records),
            ]
        })
}

/// The spec of a policy.
fn spec() -> impl Strategy<Value = Value> {
    let all = (floor(), rollout(), guards(), evidence(), freezes(), people());
    all.prop_map(|(floor, rollout, guards, evidence, freezes, people)| {
        let fields = [
            ("floor", floor),
            ("rollout", rollout),
            ("guards", guards),
            ("freezes", freezes),
        ];
        let spec = object(fields.into_iter().chain(evidence).chain(people));
        spec.unwrap_or_else(|| json!({}))
    })
}

/// Policies with names of their own, some of which are not enforced.
fn policies(name: &'static str, most: usize) -> impl Strategy<Value = Vec<Policy>> {
    let mode = select(vec!["Enforce", "Enforce", "DryRun"]);
    proptest::collection::vec((spec(), mode), 0..=most).prop_map(move |specs| {
        let read = |(at, (mut spec, mode)): (usize, (Value, &str))| {
            spec["mode"] = mode.into();
            Policy::read(&format!("{name}{at}"), 1, &spec)
        };
        specs.into_iter().enumerate().map(read).collect()
    })
}

/// A model that is more or less careful.
fn scene() -> impl Strategy<Value = Scene> {
    let change = |spec: &mut QuantizedModelSpec, (first, holdout, rate, declared): (i32, i32, &str, bool)| {
        spec.rollout.steps[0].weight = first;
        spec.rollout.holdout = holdout;
        spec.rollout.false_rollback = rate.into();
        spec.rollout.bootstrap = declared.then(|| "int8".to_owned());
    };
    let settings = (1..25, 0..12, select(vec!["1%", "5%", "20%"]), any::<bool>());
    let variant = select(vec!["fp32", "int8", "int4"]);
    (settings, variant, any::<bool>(), any::<bool>(), 0..200i64).prop_map(
        move |(settings, variant, first_install, signed, hours)| {
            Scene::of(variant).with(|scene| {
                change(&mut scene.spec, settings);
                scene.first_install = first_install;
                if signed {
                    scene.signed_by = BTreeSet::from(["a".to_owned()]);
                }
                scene.now = at("2026-11-24T00:00:00Z") + k8s_openapi::jiff::SignedDuration::from_hours(hours);
            })
        },
    )
}

proptest! {
    #[test]
    fn the_order_of_policies_does_not_matter(a in spec(), b in spec(), c in spec()) {
        let [a, b, c] = [("a", a), ("b", b), ("c", c)].map(|(name, spec)| rules(name, &spec));
        prop_assert_eq!(a.clone().meet(b.clone()), b.clone().meet(a.clone()));
        let left = a.clone().meet(b.clone()).meet(c.clone());
        prop_assert_eq!(&left, &a.clone().meet(b.clone().meet(c)));
        prop_assert_eq!(&a.clone().meet(a.clone()), &a);
        prop_assert_eq!(&left.clone().meet(b), &left);
    }

    #[test]
    fn a_policy_that_asks_for_nothing_new_does_not_change_the_digest(a in spec(), b in spec()) {
        let one = rules("a", &a);
        let same = one.clone().meet(rules("z", &a));
        prop_assert_eq!(same.digest(), one.digest());
        let both = one.clone().meet(rules("b", &b));
        let again = both.clone().meet(rules("c", &b));
        prop_assert_eq!(both.digest(), again.digest());
    }

    #[test]
    fn rules_survive_being_written(a in spec(), b in spec()) {
        let both = rules("a", &a).meet(rules("b", &b));
        let written = serde_json::to_string(&both).unwrap();
        let read: guardbit::governance::Rules = serde_json::from_str(&written).unwrap();
        prop_assert_eq!(&read, &both);
        prop_assert_eq!(read.digest(), both.digest());
    }

    #[test]
    fn another_policy_never_permits_more(some in policies("p", 3), more in policies("q", 2), scene in scene()) {
        let broken = |policies: &[&Policy]| -> BTreeSet<String> {
            let found = scene.check(policies.iter().copied());
            found.into_iter().filter(|finding| finding.enforced).map(|finding| finding.rule).collect()
        };
        let few: Vec<&Policy> = some.iter().collect();
        let many: Vec<&Policy> = some.iter().chain(&more).collect();
        let (before, after) = (broken(&few), broken(&many));
        prop_assert!(before.is_subset(&after), "{:?} and then {:?}", before, after);

        let labels = BTreeMap::new();
        let [few, many] = [few, many].map(|policies| effective(policies, &labels, None).enforced);
        let (few_frozen, many_frozen) = (few.frozen_at(scene.now), many.frozen_at(scene.now));
        if let Some(few_frozen) = few_frozen {
            let until = many_frozen.expect("another freeze opens nothing").until;
            prop_assert!(until.is_none_or(|until| few_frozen.until.is_some_and(|before| until >= before)));
        }
        prop_assert!(few.approvals.is_subset(&many.approvals) && few.slots.is_subset(&many.slots));
        prop_assert!(few.records.keep.map(|keep| keep.what) <= many.records.keep.map(|keep| keep.what));
        prop_assert!(few.records.signed.map(|signed| signed.what) <= many.records.signed.map(|signed| signed.what));
    }

    #[test]
    fn what_is_not_enforced_holds_back_nothing(some in policies("p", 3), scene in scene()) {
        let spec = json!({"mode": "DryRun", "floor": {"minBits": 32}, "rollout": {"maxFirstStep": 1}});
        let dry = Policy::read("dry", 1, &spec);
        let enforced = |policies: &[&Policy]| {
            let mut found = scene.check(policies.iter().copied());
            found.retain(|finding| finding.enforced);
            found
        };
        let few: Vec<&Policy> = some.iter().collect();
        let many: Vec<&Policy> = some.iter().chain([&dry]).collect();
        prop_assert_eq!(enforced(&few), enforced(&many));
    }
}
