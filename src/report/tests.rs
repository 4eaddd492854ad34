//! Reports of chains that are built here, record by record.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::*;
use crate::api::{
    Action, ArmCounts, Decision, GuardStatus, Phase, QuantizedModel, QuantizedModelSpec, QuantizedModelStatus,
    Rejected, RevisionRef, RolloutKind, RolloutStatus, Verdict,
};
use crate::evidence::{Counts, Observed, Poll};
use crate::governance::people::acts::Act;
use crate::ledger::{
    After, Core, Documents, Evidence, Head, Journal, Look, ModelName, Predicate, RULES, RecordInfo, Signing, Statement,
    Weights,
};
use crate::rollout::{
    Governance, GuardHeard, Heard, LedgerSeen, ModelSeen, Observation, Order, People, RouteSeen, Seen, TestState, hear,
};

const SAMPLE: &str = include_str!("../../config/samples/fraud-scorer.yaml");

fn at(minute: i64) -> Timestamp {
    let noon: Timestamp = "2026-11-28T12:00:00Z".parse().unwrap();
    noon + SignedDuration::from_mins(minute)
}

fn revision(variant: &str) -> RevisionRef {
    RevisionRef {
        variant: variant.to_owned(),
        revision: format!("v1:{}", variant[variant.len() - 1..].repeat(64)),
    }
}

fn spec() -> QuantizedModelSpec {
    let model: QuantizedModel = serde_yaml_ng::from_str(SAMPLE).unwrap();
    let mut spec = model.spec;
    let calibration = spec.variants[1].calibration.as_mut().unwrap();
    calibration.max_age = Some("600h".into());
    spec
}

/// A rollout of int8 that was granted so much.
fn rollout(weight: i32) -> RolloutStatus {
    RolloutStatus {
        kind: RolloutKind::Climb.into(),
        candidate: revision("int8"),
        plan_digest: "plan-1".to_owned(),
        started_at: Time(at(1)),
        step: 0,
        weight,
        weight_since: None,
        shadow_since: None,
        first_weight_at: None,
        stood_still_millis: 0,
        stands_still_since: None,
        promoting: false,
        overdue: false,
        escalated_at: None,
        policy: None,
        rules: None,
        approved: None,
        forecast: None,
    }
}

fn weights(rollout: Option<&RolloutStatus>) -> Vec<(RevisionRef, i32)> {
    let granted = rollout.map_or(0, |rollout| rollout.weight);
    vec![(revision("fp32"), 100 - granted), (revision("int8"), granted)]
}

fn verdict(message: &str) -> GuardStatus {
    GuardStatus {
        name: "errors".to_owned(),
        verdict: Verdict::Harmful.into(),
        evidence: "55.3".to_owned(),
        threshold: "40".to_owned(),
        health: "0.01".to_owned(),
        health_threshold: "20".to_owned(),
        candidate: ArmCounts { total: 600, bad: 61 },
        baseline: ArmCounts { total: 11_400, bad: 56 },
        estimate: String::new(),
        observed_through: None,
        message: message.to_owned(),
        examples: Vec::new(),
        benefit: None,
    }
}

fn poll(minute: i64, candidate: (u64, u64), baseline: (u64, u64)) -> Poll {
    let counts = |(n, x)| Counts { n, x };
    Poll {
        from: at(minute - 1).as_millisecond(),
        through: at(minute).as_millisecond(),
        observed: Observed::Proportion {
            candidate: counts(candidate),
            baseline: counts(baseline),
        },
    }
}

fn heard(polls: Vec<Poll>) -> BTreeMap<String, GuardHeard> {
    let errors = GuardHeard {
        polls,
        ..GuardHeard::default()
    };
    BTreeMap::from([("errors".to_owned(), errors)])
}

/// A record of one decision, with the rollout before and after it.
fn record(
    sequence: u64,
    decided: (Action, &str, &str),
    before: Option<RolloutStatus>,
    after: Option<RolloutStatus>,
) -> Statement {
    let (action, variant, why) = decided;
    let minute = i64::try_from(sequence).unwrap() - 1;
    let spec = spec();
    let stable = (sequence > 1).then(|| revision("fp32"));
    let mut look_heard = Heard::default();
    if before.is_some() {
        look_heard.guards = heard(vec![poll(minute, (100, 1), (1_000, 5))]);
    }
    let status = QuantizedModelStatus {
        stable: stable.clone(),
        reference: stable.clone(),
        rollout: before.clone(),
        ..QuantizedModelStatus::default()
    };
    let revisions = spec.variants.iter().map(|variant| revision(&variant.name)).collect();
    let seen = Seen {
        now: at(minute),
        model: Cow::Owned(ModelSeen {
            namespace: "risk".to_owned(),
            name: "fraud-scorer".to_owned(),
            generation: 12,
            deleted_at: None,
            spec,
            revisions,
            templates: Vec::new(),
            refused: None,
            status,
        }),
        workloads: Cow::Owned(BTreeMap::new()),
        route: Cow::Owned(RouteSeen::default()),
        comparer: None,
        governance: Cow::Owned(Governance::Ungoverned),
        people: Cow::Owned(People::default()),
        ledger: Cow::Owned(LedgerSeen::default()),
    };
    let model = ModelName {
        namespace: "risk".to_owned(),
        name: "fraud-scorer".to_owned(),
        uid: "6f0c".to_owned(),
        generation: 12,
    };
    Statement::new(
        Vec::new(),
        Predicate {
            record: RecordInfo {
                sequence,
                time: at(minute).to_string(),
                signing: Signing::Key,
                model,
                core: Core {
                    guardbit: "0.2.0".to_owned(),
                    rules: RULES,
                    state: "v6".to_owned(),
                },
            },
            decisions: vec![Decision {
                time: Time(at(minute)),
                action: action.into(),
                variant: variant.to_owned(),
                revision: revision(variant).revision,
                why: why.to_owned(),
                drift: None,
            }],
            weights: Weights {
                before: if sequence > 1 {
                    weights(before.as_ref())
                } else {
                    Vec::new()
                },
                after: weights(after.as_ref()),
            },
            order: Order::RecordFirst,
            verdicts: Vec::new(),
            evidence: None,
            look: Look {
                seen,
                heard: look_heard,
            },
            documents: Documents::default(),
            after: After {
                phase: Some(
                    if after.is_some() {
                        Phase::Progressing
                    } else {
                        Phase::Guarding
                    }
                    .into(),
                ),
                stable: Some(revision("fp32")),
                reference: Some(revision("fp32")),
                rollout: after,
                proven: Vec::new(),
                rejected: Vec::new(),
            },
        },
    )
}

/// A first install, and a rollout that is rolled back from 25%.
fn chain() -> Vec<Statement> {
    let mut chain = vec![
        record(1, (Action::Bootstrapped, "fp32", "the first install"), None, None),
        record(2, (Action::Started, "int8", "the next variant"), None, Some(rollout(0))),
        record(3, (Action::Raised, "int8", "to 5%"), Some(rollout(0)), Some(rollout(5))),
        record(
            4,
            (Action::Raised, "int8", "to 25%"),
            Some(rollout(5)),
            Some(rollout(25)),
        ),
        record(
            5,
            (Action::RolledBack, "int8", "errors: 61 of 600"),
            Some(rollout(25)),
            None,
        ),
    ];
    let last = &mut chain[4].predicate;
    last.verdicts = vec![verdict("errors: 61 of 600 (10%) against 0.49% of 11,400")];
    last.after.rejected = vec![Rejected {
        variant: "int8".to_owned(),
        revision: revision("int8").revision,
        guard: "errors".to_owned(),
        reason: "61 of 600".to_owned(),
        at: Time(at(4)),
    }];
    chain
}

/// The cells of all rows of Markdown tables, by the first of them.
fn rows<'a>(text: &'a str, first: &str) -> Vec<Vec<&'a str>> {
    let rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.map(|row| row.split(" | ").collect::<Vec<_>>());
    rows.filter(|row| row[0] == first).collect()
}

#[test]
fn a_ticket_tells_what_changed_why_and_what_holds() {
    let chain = chain();
    let verified = "5 records, signed, 1…5 complete".to_owned();
    let report = Report::of(&chain).verified(Some(verified.clone()));
    let text = markdown(&ticket(&report));
    assert!(
        text.starts_with("# Record of decisions about risk/fraud-scorer\n"),
        "{text}"
    );
    let head = Head::of(5, &chain[4].print());
    let head = format!("record 5, sha256:{}", head.digest);
    assert_eq!(rows(&text, "Head"), [["Head", head.as_str()]]);
    assert_eq!(rows(&text, "Verification"), [["Verification", verified.as_str()]]);
    assert_eq!(rows(&text, "Traffic"), [["Traffic", "100% fp32 (222222222222)"]]);
    let rollout = "## Rollout of 2026-11-28T12:01:00Z: fp32 (222222222222) to int8 (888888888888), RolledBack";
    assert!(text.contains(rollout), "{text}");
    assert_eq!(
        rows(&text, "Precision"),
        [["Precision", "FP32, 32 bits", "INT8, 8 bits"]]
    );
    let variants = spec().variants;
    let digests = [0, 1].map(|at: usize| variants[at].weights.digest.clone());
    assert_eq!(
        rows(&text, "Digest of the weights"),
        [["Digest of the weights", digests[0].as_str(), digests[1].as_str()]]
    );
    assert!(
        text.contains("### Thresholds as they were frozen before the evidence"),
        "{text}"
    );
    assert_eq!(
        rows(&text, "Steps"),
        [["Steps", "5% for 10s, 25% for 10s, 50% for 10s"]]
    );
    let asked = rows(&text, "drift");
    assert!(
        asked.contains(&vec!["drift", "fidelity.maxTotalVariation", "0.05"]),
        "{asked:?}"
    );
    assert!(text.contains("61 of 600 (10%) against 0.49% of 11,400"), "{text}");
    assert!(text.contains("the weight of the candidate goes to 0 at once"), "{text}");
    // Decisions stand in their order, each with its record.
    let decided: Vec<_> = (1..5).flat_map(|minute| rows(&text, &at(minute).to_string())).collect();
    let raised = vec!["2026-11-28T12:03:00Z", "4", "Raised", "int8 (888888888888)", "to 25%"];
    assert!(decided.contains(&raised), "{decided:?}");
}

#[test]
fn shares_and_counts_are_told_over_time() {
    let text = markdown(&ticket(&Report::of(&chain())));
    let at_3 = rows(&text, "2026-11-28T12:03:00Z");
    assert!(
        at_3.contains(&vec!["2026-11-28T12:03:00Z", "4", "75%", "25%"]),
        "{at_3:?}"
    );
    // Of each of the three records that were written during the rollout.
    let at_4 = rows(&text, "2026-11-28T12:04:00Z");
    let counted = vec![
        "2026-11-28T12:04:00Z",
        "3 of 300 (1.0%)",
        "15 of 3,000 (0.50%)",
        "up to 1.0%",
    ];
    assert!(at_4.contains(&counted), "{at_4:?}");
}

#[test]
fn polls_of_the_journal_come_before_those_of_the_look_and_count_once() {
    let mut chain = chain();
    let predicate = &mut chain[2].predicate;
    let seen = &predicate.look.seen;
    let observation = Observation {
        now: seen.now,
        model: seen.model.clone().into_owned(),
        workloads: BTreeMap::new(),
        route: RouteSeen::default(),
        comparer: None,
        evidence: BTreeMap::new(),
        governance: Governance::Ungoverned,
        people: People::default(),
        ledger: LedgerSeen::default(),
    };
    let state = TestState::before(&hear(&observation)).expect("a trial");
    let mut journal = Journal::begin(state.clone(), seen);
    journal.looks.push(heard(vec![poll(1, (50, 0), (500, 2))]));
    // A look that decided stands in its record, and is not counted again where a journal has it too.
    journal.looks.push(heard(vec![poll(2, (100, 1), (1_000, 5))]));
    predicate.evidence = Some(Evidence {
        journal,
        after: state,
        omitted: Some("it would have been too large".to_owned()),
    });
    let text = markdown(&ticket(&Report::of(&chain)));
    let at_4 = rows(&text, "2026-11-28T12:04:00Z");
    assert!(at_4.iter().any(|row| row[1] == "3 of 350 (0.86%)"), "{at_4:?}");
    let omitted = "Counts are missing here, because record 3 left them out: it would have been too large";
    assert!(text.contains(omitted), "{text}");
}

#[test]
fn a_chain_without_records_says_so() {
    let report = Report::of(&[]);
    for text in [markdown(&ticket(&report)), html(&ticket(&report))] {
        assert!(text.contains("There are no records"), "{text}");
    }
    assert!(markdown(&inventory(&[report], at(0))).contains("0 models"));
}

#[test]
fn a_chain_that_begins_in_the_middle_says_what_is_not_here() {
    let mut chain = chain().split_off(2);
    chain[0].predicate.documents.pruned = Some(Head {
        sequence: 2,
        digest: "d".repeat(64),
    });
    let text = markdown(&ticket(&Report::of(&chain)));
    let records = [
        ["Records", "3 to 5, complete from 3; what came before is not here"],
        ["Records", "3 to 5"],
    ];
    assert_eq!(rows(&text, "Records"), records);
    assert_eq!(rows(&text, "Deleted by retention").len(), 1);
    // The status that was seen first tells when the rollout began.
    let began = [["Began", "2026-11-28T12:01:00Z; the record of it is not here"]];
    assert_eq!(rows(&text, "Began"), began);
    assert!(text.contains("### Thresholds as record 3 had them"), "{text}");
    assert!(text.contains(", RolledBack\n"), "{text}");
}

#[test]
fn a_missing_record_is_told_and_order_does_not_matter() {
    let mut chain = chain();
    chain.reverse();
    assert_eq!(Report::of(&chain), Report::of(&self::chain()));
    chain.remove(1);
    let text = markdown(&ticket(&Report::of(&chain)));
    assert_eq!(rows(&text, "Records")[0], ["Records", "1 to 5, without 4"]);
    // Without its end on record, a rollout has no outcome.
    chain.remove(0);
    chain.push(record(
        6,
        (Action::TargetMoved, "fp32", "less is asked for"),
        None,
        None,
    ));
    let text = markdown(&ticket(&Report::of(&chain)));
    assert!(text.contains("its end is not among these records"), "{text}");
}

#[test]
fn a_plan_that_changed_is_told_beside_the_first() {
    let mut chain = chain();
    let changed = RolloutStatus {
        plan_digest: "plan-2".to_owned(),
        ..rollout(5)
    };
    let why = "guards, steps, error rates or the comparer were edited";
    chain[3] = record(
        4,
        (Action::PlanChanged, "int8", why),
        Some(rollout(5)),
        Some(changed.clone()),
    );
    chain[3]
        .predicate
        .look
        .seen
        .model
        .to_mut()
        .spec
        .rollout
        .steps
        .truncate(1);
    chain[3].predicate.look.seen.model.to_mut().spec.paused = true;
    chain[4] = record(5, (Action::RolledBack, "int8", "errors"), Some(changed), None);
    let text = markdown(&ticket(&Report::of(&chain)));
    let steps = [
        ["Steps", "5% for 10s, 25% for 10s, 50% for 10s"],
        ["Steps", "5% for 10s"],
    ];
    assert_eq!(rows(&text, "Steps"), steps);
    assert!(text.contains("### Evidence after it began afresh"), "{text}");
    let by_hand = vec!["2026-11-28T12:03:00Z", "4", "spec.paused was set"];
    assert!(rows(&text, by_hand[0]).contains(&by_hand), "{text}");
}

#[test]
fn what_ended_long_ago_can_be_left_out() {
    let report = Report::of(&chain());
    assert!(markdown(&ticket(&report.clone().since(at(4)))).contains("Rollout of"));
    assert!(!markdown(&ticket(&report.since(at(5)))).contains("Rollout of"));
}

/// An action of Carol for the model, created at this minute.
fn act(name: &str, minute: i64, wanted: &Value) -> Act {
    let mut spec = json!({
        "modelRef": {"name": "fraud-scorer", "uid": "6f0c"},
        "actor": {"username": "carol"},
        "reason": "The feature store is stale.",
    });
    let wanted = wanted.as_object().unwrap().clone();
    spec.as_object_mut().unwrap().extend(wanted);
    let act = json!({"name": name, "uid": name, "created": at(minute).to_string(), "spec": spec});
    serde_json::from_value(act).unwrap()
}

/// The chain, in which Carol pauses, resumes and breaks the glass while a change of Alice is on trial.
fn with_people() -> Vec<Statement> {
    let pause = act("p", 2, &json!({"action": "Pause", "validFor": "24h"}));
    let resume = act("r", 3, &json!({"action": "Resume", "validFor": "1h"}));
    let mut gates = json!({"action": "BreakGlass", "validFor": "1h", "incident": "INC-2291"});
    gates["waives"] = json!(["Approvals", "Freezes"]);
    let glass = act("g", 3, &gates);
    let mut chain = chain();
    for (at, acts) in [
        (2, vec![pause.clone()]),
        (3, vec![pause.clone(), resume.clone(), glass.clone()]),
        (4, vec![pause, resume, glass]),
    ] {
        let people = chain[at].predicate.look.seen.people.to_mut();
        people.acts = acts;
        people.authors = vec![if at == 4 { "bob" } else { "alice" }.to_owned()];
    }
    chain
}

#[test]
fn what_people_did_is_told_once_with_who_why_and_until_when() {
    let text = markdown(&ticket(&Report::of(&with_people())));
    // Who changed the spec when the rollout had ended asked for something else.
    assert_eq!(rows(&text, "Asked for by"), [["Asked for by", "alice"]]);
    assert_eq!(rows(&text, "Policies"), [["Policies", "none"]]);
    let glass = "BreakGlass by carol (g), for INC-2291, opens Approvals, Freezes, from 2026-11-28T12:03:00Z to \
                 2026-11-28T13:03:00Z: The feature store is stale.";
    let told = vec!["2026-11-28T12:03:00Z", "4", glass];
    assert!(rows(&text, told[0]).contains(&told), "{text}");
    for action in ["Pause by carol", "Resume by carol", "BreakGlass by carol"] {
        assert_eq!(text.matches(action).count(), 1, "{action}: {text}");
    }
}

#[test]
fn an_inventory_tells_which_actions_are_in_force_and_where_a_model_falls_short() {
    let mut chain = with_people();
    let status = json!({
        "digest": "sha256:00",
        "findings": [
            {"policy": "high-risk", "rule": "floor.minBits", "message": "int8 has 8 bits", "enforced": true},
            {"policy": "trial", "rule": "guards", "message": "no guard", "enforced": false},
        ],
    });
    let last = chain[4].predicate.look.seen.model.to_mut();
    last.status.policy = Some(serde_json::from_value(status).unwrap());
    let reports = [Report::of(&chain)];
    let open = |minute: i64| {
        let text = markdown(&inventory(&reports, at(minute)));
        let rows = rows(&text, "risk/fraud-scorer").into_iter();
        let told = rows
            .filter(|row| row.len() == 3)
            .map(|row| format!("{}: {}", row[1], row[2]));
        told.collect::<Vec<String>>()
    };
    let found = open(10);
    let begins = |start: &str| found.iter().filter(|row| row.starts_with(start)).count();
    // The pause was taken back.
    assert_eq!(begins("Action in force: BreakGlass by carol"), 1, "{found:?}");
    assert_eq!(begins("Action in force"), 1, "{found:?}");
    assert_eq!(
        begins("Falls short of a policy: high-risk (floor.minBits)"),
        1,
        "{found:?}"
    );
    assert_eq!(begins("Would fall short of a policy (DryRun): trial"), 1, "{found:?}");
    // It has lapsed.
    assert!(open(70).iter().all(|row| !row.starts_with("Action in force")));
}

/// Text that would be markup, HTML, another row or another line if it were not escaped.
const EVIL: &str = "x | y |\n\n# forged\n</td></table></svg><script>alert(1)</script> `c` [l](javascript:z) \u{202e}txt ![i](//e.example)";

/// A chain in which every text that comes from the cluster is hostile.
fn hostile() -> Vec<Statement> {
    let mut chain = chain();
    for statement in &mut chain {
        let predicate = &mut statement.predicate;
        predicate.record.model.name = EVIL.to_owned();
        predicate.record.model.uid = EVIL.to_owned();
        predicate.record.core.guardbit = EVIL.to_owned();
        for decision in &mut predicate.decisions {
            decision.why = EVIL.to_owned();
            decision.drift = Some(EVIL.to_owned());
        }
        for verdict in &mut predicate.verdicts {
            (verdict.name, verdict.message, verdict.evidence) = (EVIL.to_owned(), EVIL.to_owned(), EVIL.to_owned());
        }
        for rejected in &mut predicate.after.rejected {
            rejected.reason = EVIL.to_owned();
        }
        let model = predicate.look.seen.model.to_mut();
        model.spec.model.name = EVIL.to_owned();
        for variant in &mut model.spec.variants {
            (variant.weights.uri, variant.weights.digest) = (EVIL.to_owned(), EVIL.to_owned());
            if let Some(calibration) = &mut variant.calibration {
                calibration.dataset.digest = EVIL.to_owned();
            }
        }
        for guard in &mut model.spec.guards {
            guard.name = EVIL.to_owned();
        }
        if let Some(errors) = predicate.look.heard.guards.remove("errors") {
            predicate.look.heard.guards.insert(EVIL.to_owned(), errors);
        }
        for revision in &mut model.revisions {
            revision.variant = EVIL.to_owned();
        }
        for (revision, _) in &mut predicate.weights.after {
            revision.variant = EVIL.to_owned();
        }
        let mut pause = act("p", 0, &json!({"action": "Pause", "validFor": "24h"}));
        (pause.name, pause.spec.reason) = (EVIL.to_owned(), EVIL.to_owned());
        pause.spec.actor.username = EVIL.to_owned();
        let people = predicate.look.seen.people.to_mut();
        (people.acts, people.authors) = (vec![pause], vec![EVIL.to_owned()]);
    }
    chain
}

#[test]
fn hostile_text_is_no_markdown() {
    let reports = [Report::of(&hostile()).verified(Some(EVIL.to_owned()))];
    for text in [markdown(&ticket(&reports[0])), markdown(&inventory(&reports, at(60)))] {
        let mut columns = None;
        for line in text.lines() {
            // Only our own headings; and within a table all rows have the cells of its head.
            assert!(!line.starts_with("# forged") && !line.contains("<"), "{line}");
            let cells = line.starts_with('|').then(|| line.matches('|').count());
            if let (Some(before), Some(now)) = (columns, cells) {
                assert_eq!(before, now, "{line}");
            }
            columns = cells;
        }
        assert!(text.contains("\\# forged") && !text.contains("![i]("), "{text}");
        assert!(!text.contains('\u{202e}'));
    }
}

#[test]
fn hostile_text_is_no_html() {
    let reports = [Report::of(&hostile()).verified(Some(EVIL.to_owned()))];
    for text in [html(&ticket(&reports[0])), html(&inventory(&reports, at(60)))] {
        assert!(!text.contains("<script") && !text.contains('\u{202e}'), "{text}");
        assert!(text.contains("&lt;script&gt;"), "{text}");
        assert_eq!(text.matches("<table").count(), text.matches("</table>").count());
        assert_eq!(text.matches("<svg").count(), text.matches("</svg>").count());
    }
}

#[test]
fn html_is_one_file_that_loads_nothing_and_names_its_charts() {
    let text = html(&ticket(&Report::of(&chain())));
    assert!(text.starts_with("<!DOCTYPE html>"), "{text}");
    for loads in ["src=", "href=", "url(", "@import", "<script", "<link", "<iframe"] {
        assert!(!text.contains(loads), "{loads}");
    }
    let charts: Vec<&str> = text.split("<svg").skip(1).collect();
    // Shares of the time before the rollout and of the rollout, and the errors.
    assert_eq!(charts.len(), 3, "{text}");
    for chart in charts {
        let names = chart
            .split("aria-labelledby=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        for name in names.split(' ') {
            assert_eq!(text.matches(&format!("id=\"{name}\"")).count(), 1, "{name}");
        }
        assert!(chart.contains("<title id=") && chart.contains("<desc id="), "{chart}");
    }
    assert!(
        text.contains("class=\"curve limit\"") && text.contains("class=\"band s1\""),
        "{text}"
    );
    assert!(text.contains("<th scope=\"col\">Candidate</th>"), "{text}");
}

#[test]
fn an_inventory_tells_shares_ages_and_what_is_open() {
    let mut going_on = chain();
    going_on.truncate(4);
    let mut going_on = Report::of(&going_on);
    let other = going_on.chain.as_mut().unwrap();
    other.model.name = "other".to_owned();
    other.after.rollout.as_mut().unwrap().escalated_at = Some(Time(at(10)));
    let reports = [going_on, Report::of(&chain())];
    // The calibration was completed on the 3rd, and 600 hours are 25 days.
    let text = markdown(&inventory(&reports, at(70)));
    let serving = rows(&text, "risk/other");
    let shares: Vec<_> = serving
        .iter()
        .filter(|row| row.len() == 8)
        .map(|row| (row[2], row[4]))
        .collect();
    assert_eq!(shares, [("fp32", "75%"), ("int8", "25%")]);
    assert!(serving.iter().any(|row| row.contains(&"Stale")), "{text}");
    let open: Vec<_> = serving.iter().filter(|row| row.len() == 3).map(|row| row[1]).collect();
    assert_eq!(open, ["Rollout in progress", "A person is asked", "Stale calibration"]);
    assert!(text.contains("since 2026-11-28T12:10:00Z: 1 h 0 min ago"), "{text}");
    let open = rows(&text, "risk/fraud-scorer");
    assert!(open.iter().any(|row| row[1] == "Rejected"), "{text}");
    // Three days before, it was fresh.
    let before = markdown(&inventory(&reports, at(-3 * 24 * 60)));
    assert!(!before.contains("Stale"), "{before}");
}
