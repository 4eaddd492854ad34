//! What is asked of a model at each point of its way up.

use std::collections::BTreeMap;

use guardbit::api::QuantizedModelSpec;
use guardbit::governance::{Answer, Passage, effective, passages};
use guardbit::model;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::scene::{at, model as sample, policy};

/// Variant, passage and weight, answer, and the rules that are asked for.
type Row = (String, Passage, Option<i32>, Answer, Vec<String>);

/// All passages of a model under policies, in a namespace without labels.
fn rows(spec: &QuantizedModelSpec, policies: &[&str], now: Timestamp) -> Vec<Row> {
    let policies: Vec<_> = policies.iter().map(|yaml| policy("strict", yaml)).collect();
    let governed = effective(&policies, &BTreeMap::new(), spec.model.risk_tier);
    let read = model::read(spec);
    let rows = passages(&governed, spec, &read, now).into_iter().map(|foreseen| {
        let rules = foreseen
            .conditions
            .iter()
            .map(|condition| condition.finding.rule.clone());
        let rules: Vec<String> = rules.collect();
        (
            foreseen.variant.name.clone(),
            foreseen.passage,
            foreseen.weight,
            foreseen.answer(),
            rules,
        )
    });
    rows.collect()
}

fn on_a_tuesday() -> Timestamp {
    at("2026-11-24T10:00:00Z")
}

/// Answer and rules at each passage of a variant of the model.
fn of(variant: &str, yaml: &str) -> Vec<(Passage, Answer, Vec<String>)> {
    let rows = rows(&sample(), &[yaml], on_a_tuesday()).into_iter();
    let of_variant = rows.filter(|(name, ..)| name == variant);
    of_variant
        .map(|(_, passage, _, answer, rules)| (passage, answer, rules))
        .collect()
}

#[test]
fn the_way_up_is_an_install_and_a_climb_for_each_variant_up_to_the_target() {
    use Passage::{FirstTraffic, Install, Promotion, Raise};
    let way = |edit: fn(&mut QuantizedModelSpec)| {
        let mut spec = sample();
        edit(&mut spec);
        let rows = rows(&spec, &[], on_a_tuesday());
        assert!(
            rows.iter().all(|row| row.3 == Answer::May && row.4.is_empty()),
            "{rows:?}"
        );
        let way = rows
            .into_iter()
            .map(|(variant, passage, weight, ..)| (variant, passage, weight));
        way.collect::<Vec<_>>()
    };
    let climb = |variant: &str| {
        [
            (FirstTraffic, Some(5)),
            (Raise, Some(25)),
            (Raise, Some(50)),
            (Promotion, None),
        ]
        .map(|(passage, weight)| (variant.to_owned(), passage, weight))
    };
    let install = |variant: &str| [(variant.to_owned(), Install, Some(100))];
    assert_eq!(
        way(|_| ()),
        [&install("fp32")[..], &climb("int8"), &climb("int4")].concat()
    );
    assert_eq!(
        way(|spec| spec.target = Some("int8".to_owned())),
        [&install("fp32")[..], &climb("int8")].concat()
    );
    // What is declared proven does not climb.
    assert_eq!(
        way(|spec| spec.rollout.bootstrap = Some("int8".to_owned())),
        [&install("int8")[..], &climb("int4")].concat()
    );
    assert_eq!(
        way(|spec| {
            spec.rollout.bootstrap = Some("int4".to_owned());
            spec.target = Some("fp32".to_owned());
        }),
        install("int4")
    );
}

#[test]
fn what_a_file_breaks_is_refused_at_every_passage_of_the_variant() {
    let floor = "floor: {minBits: 8}";
    assert!(of("int8", floor).iter().all(|(_, answer, _)| *answer == Answer::May));
    let refused = of("int4", floor);
    assert_eq!(refused.len(), 4);
    assert!(
        refused
            .iter()
            .all(|(_, answer, rules)| *answer == Answer::Refused && rules == &["floor.minBits"]),
        "{refused:?}"
    );
    // Only the first install is asked what it declares proven.
    let mut spec = sample();
    spec.rollout.bootstrap = Some("int8".to_owned());
    let rows = rows(&spec, &["rollout: {bootstrap: Reference}"], on_a_tuesday());
    let refused: Vec<_> = rows
        .iter()
        .filter(|row| row.3 == Answer::Refused)
        .map(|row| row.1)
        .collect();
    assert_eq!(refused, [Passage::Install]);
}

#[test]
fn an_approval_is_asked_for_where_its_rule_says() {
    let at_promotion = "approvals: [{before: FirstTraffic, kinds: [Lateral]}, {before: Promotion, count: 2, fromGroups: [model-risk, audit]}]";
    let asked: Vec<_> = of("int8", at_promotion)
        .into_iter()
        .filter(|(_, answer, _)| *answer == Answer::Waits)
        .collect();
    assert_eq!(
        asked,
        [(Passage::Promotion, Answer::Waits, vec!["approvals".to_owned()])]
    );
    let first = of("int8", "approvals: [{before: FirstTraffic, kinds: [Climb]}]");
    assert_eq!(
        first[0],
        (Passage::FirstTraffic, Answer::Waits, vec!["approvals".to_owned()])
    );
    assert!(
        first[1..].iter().all(|(_, answer, _)| *answer == Answer::May),
        "{first:?}"
    );

    let governed = effective(&[policy("strict", at_promotion)], &BTreeMap::new(), None);
    let (spec, read) = (sample(), model::read(&sample()));
    let all = passages(&governed, &spec, &read, on_a_tuesday());
    let messages: Vec<_> = all.iter().flat_map(|foreseen| &foreseen.conditions).collect();
    assert!(
        messages[0].finding.message.starts_with(
            "2 people without a hand in the change must approve the promotion of int8, among them a member of model-risk and one of audit"
        ),
        "{messages:?}"
    );
}

#[test]
fn a_freeze_makes_everything_wait_and_one_without_an_end_refuses_it() {
    let weekly = "freezes: [{name: tuesdays, days: [Tuesday], from: '00:00', for: 24h, timeZone: Europe/Berlin}]";
    let waiting = rows(&sample(), &[weekly], on_a_tuesday());
    assert!(
        waiting
            .iter()
            .all(|row| row.3 == Answer::Waits && row.4 == ["freezes[tuesdays]"]),
        "{waiting:?}"
    );
    let open = rows(&sample(), &[weekly], at("2026-11-25T10:00:00Z"));
    assert!(open.iter().all(|row| row.3 == Answer::May), "{open:?}");
    let days = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday";
    let always =
        format!("freezes: [{{name: always, days: [{days}], from: '00:00', for: 24h, timeZone: Europe/Berlin}}]");
    let refused = rows(&sample(), &[&always], on_a_tuesday());
    assert!(refused.iter().all(|row| row.3 == Answer::Refused), "{refused:?}");
}

#[test]
fn what_a_file_does_not_show_is_told_or_waited_for() {
    use Answer::{May, Waits};
    let first = |yaml: &str| of("int8", yaml).remove(0);
    let verified = first("weights: {require: Verified}");
    assert_eq!(
        (verified.1, verified.2),
        (Answer::Refused, vec!["weights.require".to_owned()]),
        "it has no mount"
    );
    let mut mounted = sample();
    for variant in &mut mounted.variants {
        variant.weights.mount =
            serde_json::from_value(json!({"path": "/models", "volume": "weights"})).expect("a mount");
    }
    let signed = rows(
        &mounted,
        &["weights: {require: Verified, publicKeys: [key]}"],
        on_a_tuesday(),
    );
    let first_traffic = signed.iter().find(|row| row.1 == Passage::FirstTraffic).expect("one");
    assert_eq!(
        (first_traffic.3, &first_traffic.4[..]),
        (Waits, &["weights.publicKeys".to_owned()][..])
    );
    let slots = of("int8", "maxInProgress: 1");
    assert_eq!(slots[0], (Passage::FirstTraffic, May, vec!["maxInProgress".to_owned()]));
    assert_eq!(slots[1], (Passage::Raise, May, Vec::new()));

    let server = "prometheus: {urls: ['http://elsewhere:9090']}";
    assert_eq!(first(server).1, Answer::Refused);
    let mut spec = sample();
    spec.prometheus.as_mut().expect("a server").url = None;
    let rows = rows(&spec, &[server], on_a_tuesday());
    assert!(
        rows.iter().all(|row| row.3 == May && row.4 == ["prometheus.urls"]),
        "the operator's default is asked: {rows:?}"
    );
}

#[test]
fn a_dry_run_tells_the_same_and_holds_nothing_back() {
    for yaml in [
        "floor: {minBits: 8}",
        "approvals: [{before: FirstTraffic}]",
        "weights: {require: Verified, publicKeys: [key]}",
        "freezes: [{name: f, between: {from: '2026-11-24T00:00:00Z', to: '2026-11-25T00:00:00Z'}}]",
        "maxInProgress: 1",
    ] {
        let rules = |yaml: &str| rows(&sample(), &[yaml], on_a_tuesday()).into_iter().map(|row| row.4);
        let dry_run = format!("mode: DryRun\n{yaml}");
        assert_eq!(
            rules(&dry_run).collect::<Vec<_>>(),
            rules(yaml).collect::<Vec<_>>(),
            "{yaml}"
        );
        let told = rows(&sample(), &[&dry_run], on_a_tuesday());
        assert!(told.iter().all(|row| row.3 == Answer::May), "{yaml}: {told:?}");
    }
}

/// Another policy never permits what was not permitted.
#[test]
fn another_policy_never_makes_an_answer_milder() {
    let policies = [
        "floor: {minBits: 8}",
        "floor: {minBits: 4}",
        "approvals: [{before: Promotion}]",
        "calibration: {maxAge: 240h}",
        "mode: DryRun\nfloor: {minBits: 32}",
        "freezes: [{name: f, between: {from: '2026-11-24T00:00:00Z', to: '2026-11-25T00:00:00Z'}}]",
    ];
    for one in policies {
        for other in policies {
            let both = rows(&sample(), &[one, other], on_a_tuesday());
            for alone in [one, other] {
                let alone = rows(&sample(), &[alone], on_a_tuesday());
                for (both, alone) in both.iter().zip(&alone) {
                    assert!(both.3 >= alone.3, "{one} and {other}: {both:?}, alone {alone:?}");
                }
            }
        }
    }
}
