//! Which models a policy selects, and policies that this release cannot read.

use std::collections::BTreeMap;

use guardbit::api::{PolicyMode, RiskTier};
use guardbit::governance::effective;

use super::scene::{Scene, policy};

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    owned.collect()
}

#[test]
fn namespaces_are_selected_as_kubernetes_selects_them() {
    let of = [("data", "customer"), ("stage", "prod"), ("empty", "")];
    for (selector, selects) in [
        ("{}", true),
        ("{matchLabels: {data: customer}}", true),
        ("{matchLabels: {data: customer, stage: prod}}", true),
        ("{matchLabels: {data: customer, stage: test}}", false),
        ("{matchLabels: {data: public}}", false),
        ("{matchLabels: {other: ''}}", false),
        ("{matchLabels: {empty: ''}}", true),
        (
            "{matchExpressions: [{key: data, operator: In, values: [public, customer]}]}",
            true,
        ),
        (
            "{matchExpressions: [{key: data, operator: In, values: [public]}]}",
            false,
        ),
        ("{matchExpressions: [{key: other, operator: In, values: ['']}]}", false),
        (
            "{matchExpressions: [{key: data, operator: NotIn, values: [public]}]}",
            true,
        ),
        (
            "{matchExpressions: [{key: data, operator: NotIn, values: [customer]}]}",
            false,
        ),
        (
            "{matchExpressions: [{key: other, operator: NotIn, values: [customer]}]}",
            true,
        ),
        ("{matchExpressions: [{key: empty, operator: Exists}]}", true),
        ("{matchExpressions: [{key: other, operator: Exists}]}", false),
        ("{matchExpressions: [{key: other, operator: DoesNotExist}]}", true),
        ("{matchExpressions: [{key: data, operator: DoesNotExist}]}", false),
        (
            "{matchLabels: {data: customer}, matchExpressions: [{key: stage, operator: NotIn, values: [prod]}]}",
            false,
        ),
    ] {
        let policy = policy("p", &format!("appliesTo: {{namespaces: {selector}}}"));
        assert!(policy.rules.is_ok(), "{selector}: {policy:?}");
        assert_eq!(policy.selects(&labels(&of), None), selects, "{selector}");
    }
}

#[test]
fn a_model_without_a_tier_is_high() {
    let all = policy("p", "{}");
    let high = policy("p", "appliesTo: {riskTiers: [High]}");
    let others = policy("p", "appliesTo: {riskTiers: [Limited, Minimal]}");
    for (tier, is_high) in [
        (None, true),
        (Some(RiskTier::High), true),
        (Some(RiskTier::Limited), false),
        (Some(RiskTier::Minimal), false),
    ] {
        let none = BTreeMap::new();
        assert!(all.selects(&none, tier));
        assert_eq!(high.selects(&none, tier), is_high, "{tier:?}");
        assert_eq!(others.selects(&none, tier), !is_high, "{tier:?}");
    }
}

#[test]
fn a_rule_of_a_newer_release_holds_back_what_the_policy_selects() {
    for (yaml, field) in [
        ("quarantine: {days: 3}", "quarantine"),
        ("floor: {minBits: 8, maxBits: 16}", "maxBits"),
        ("rollout: {minSteps: 3}", "minSteps"),
        ("guards: [{name: g, toxicity: {max: 1%}}]", "toxicity"),
        (
            "guards: [{name: g, fidelity: {maxJensenShannon: 1%}}]",
            "maxJensenShannon",
        ),
        ("calibration: {maxAge: 1h, onStale: Page}", "Page"),
        ("approvals: [{before: Rollback}]", "Rollback"),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 1h, timeZone: Europe/Berlin, except: []}]",
            "except",
        ),
        ("weights: {require: Attested}", "Attested"),
        ("prometheus: {urls: ['http://a:9090'], tenants: [a]}", "tenants"),
        ("records: {keep: 1h, where: S3}", "where"),
        ("floor: {minBits: eight}", "floor.minBits"),
    ] {
        let unreadable = policy("new", &format!("{yaml}\nappliesTo: {{riskTiers: [High]}}"));
        let problems = unreadable.rules.as_ref().expect_err(yaml);
        assert!(problems[0].to_string().contains(field), "{yaml}: {problems:?}");
        let none = BTreeMap::new();
        assert!(!unreadable.selects(&none, Some(RiskTier::Limited)), "{yaml}");
        let found = Scene::of("int8").check([&unreadable]);
        assert!(found.len() == 1 && found[0].enforced, "{yaml}: {found:?}");
        for part in ["cannot read", "upgrade guardbit", field] {
            assert!(found[0].message.contains(part), "{part:?} in {found:?}");
        }
    }
}

#[test]
fn a_policy_that_cannot_be_read_is_only_told_of_where_it_is_not_enforced() {
    let unreadable = policy("new", "mode: DryRun\nquarantine: {}");
    assert_eq!(unreadable.mode, PolicyMode::DryRun);
    let found = Scene::of("int8").check([&unreadable]);
    assert!(found.len() == 1 && !found[0].enforced, "{found:?}");
    // A mode of a newer release may be stricter than what this one knows.
    let unknown = policy("new", "mode: Quarantine");
    assert_eq!(unknown.mode, PolicyMode::Enforce);
}

#[test]
fn what_is_not_known_of_the_models_of_a_policy_only_widens_them() {
    let tenant = labels(&[("data", "customer")]);
    let known = policy(
        "new",
        "appliesTo: {models: [a], namespaces: {matchLabels: {data: public}}}",
    );
    assert!(known.rules.is_err() && !known.selects(&tenant, None));
    for yaml in [
        "appliesTo: {namespaces: {matchExpressions: [{key: data, operator: Like, values: [pub*]}]}}",
        "appliesTo: {namespaces: {matchLabels: {data: public}, matchNames: [a]}}",
        "appliesTo: {riskTiers: [Systemic]}",
        "appliesTo: 3",
    ] {
        let unknown = policy("new", yaml);
        assert!(unknown.rules.is_err() && unknown.selects(&tenant, None), "{yaml}");
    }
}

#[test]
fn values_that_the_api_server_let_through_are_refused_with_what_would_be_right() {
    for (yaml, field, says) in [
        (
            "rollout: {maxFalsePromotion: 0%}",
            "spec.rollout.maxFalsePromotion",
            "above 0",
        ),
        (
            "rollout: {minHold: 99999999999h}",
            "spec.rollout.minHold",
            "a length of time",
        ),
        (
            "calibration: {maxAge: soon}",
            "spec.calibration.maxAge",
            "a length of time",
        ),
        (
            "validation: {metrics: [{name: auc, maxDrop: 200%}]}",
            "spec.validation.metrics[auc].maxDrop",
            "between 0 and 1",
        ),
        (
            "guards: [{name: g, proportion: {bad: ['rate(a[1m])'], total: [a]}}]",
            "spec.guards[g].proportion.bad",
            "write the plain selector",
        ),
        (
            "guards: [{name: g, proportion: {total: [a]}}]",
            "spec.guards[g].proportion",
            "exactly one of bad and good",
        ),
        (
            "guards: [{name: g, latency: {histogram: [a], maxSlowdown: '0.9'}}]",
            "spec.guards[g].latency.maxSlowdown",
            "1 or more",
        ),
        (
            "guards: [{name: g, latency: {histogram: []}}]",
            "spec.guards[g].latency.histogram",
            "is empty",
        ),
        ("guards: [{name: g}]", "spec.guards[g]", "exactly one of proportion"),
        ("freezes: [{name: f}]", "spec.freezes[f]", "either between, or all of"),
        (
            "freezes: [{name: f, between: {from: '2026-01-02T00:00:00Z', to: '2026-01-01T00:00:00Z'}}]",
            "spec.freezes[f].between",
            "ends before it begins",
        ),
        (
            "freezes: [{name: f, days: [Friday], from: noon, for: 1h, timeZone: Europe/Berlin}]",
            "spec.freezes[f].from",
            "such as \"12:00\"",
        ),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 169h, timeZone: Europe/Berlin}]",
            "spec.freezes[f].for",
            "168h",
        ),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 0s, timeZone: Europe/Berlin}]",
            "spec.freezes[f].for",
            "168h",
        ),
        (
            "freezes: [{name: f, days: [Friday], from: '12:00', for: 1h, timeZone: Europe/Bonn}]",
            "spec.freezes[f].timeZone",
            "Europe/Berlin",
        ),
        (
            "prometheus: {urls: ['ftp://a']}",
            "spec.prometheus.urls",
            "no plain http(s) URL",
        ),
        (
            "prometheus: {urls: ['http://user:word@a']}",
            "spec.prometheus.urls",
            "no plain http(s) URL",
        ),
    ] {
        let problems = policy("p", yaml).rules.expect_err(yaml);
        assert_eq!(problems.len(), 1, "{yaml}: {problems:?}");
        assert_eq!(problems[0].field, field, "{yaml}");
        assert!(
            problems[0].problem.contains(says),
            "{says:?} in {:?}",
            problems[0].problem
        );
    }
}

#[test]
fn a_model_is_governed_by_all_that_select_it() {
    let policies = [
        policy(
            "customer",
            "appliesTo: {namespaces: {matchLabels: {data: customer}}}\nfloor: {minBits: 8}",
        ),
        policy("all", "mode: DryRun\nfloor: {minBits: 16}"),
        policy("limited", "appliesTo: {riskTiers: [Limited]}\nfloor: {minBits: 32}"),
    ];
    let governed = effective(&policies, &labels(&[("data", "customer")]), None);
    let from: Vec<_> = governed.from.iter().map(String::as_str).collect();
    assert_eq!(from, ["all@1", "customer@1"]);
    assert_eq!(governed.enforced.floor.min_bits.map(|bits| bits.what), Some(8));
    assert_eq!(governed.dry_run.floor.min_bits.map(|bits| bits.what), Some(16));
    let none = effective(&policies[..1], &BTreeMap::new(), None);
    assert!(!none.is_governed() && none.unreadable.is_empty());
}

#[test]
fn a_rollout_keeps_the_rules_that_it_began_under_but_for_what_holds_at_once() {
    let begun = policy(
        "p",
        "floor: {minBits: 8}\nrollout: {maxFirstStep: 5}\ncalibration: {minSamples: 1}",
    )
    .rules;
    let now = policy(
        "p",
        "floor: {minBits: 16}\nrollout: {maxFirstStep: 1}\nprometheus: {urls: ['http://a:9090']}",
    )
    .rules;
    let (begun, now) = (begun.expect("rules"), now.expect("rules"));
    let during = now.during(&begun);
    assert_eq!((&during.floor, &during.prometheus), (&now.floor, &now.prometheus));
    assert_eq!(
        (&during.rollout, &during.calibration),
        (&begun.rollout, &begun.calibration)
    );
}
