//! The change ticket of a model: what its report says, rollout by rollout.

mod overview;

use crate::api::{ArmCounts, Decision, GuardStatus, OnHarm, OnUndecided, RevisionRef, RolloutKind, RolloutSpec};
use crate::evidence::Counts;
use crate::guards::written;
use crate::judge::text::of;
use crate::model::facts::facts;

use super::chain::{Chain, Report};
use super::curve::Epoch;
use super::document::{Block, Document, Table};
use super::period::{Frozen, Period, Recorded, Trial};
use super::side::{CALIBRATION_HEAD, calibration_cells, described, validation_rows, what_changed};
use super::text::{between, time};
use overview::{about, now};

/// The change ticket of a model.
pub fn ticket(report: &Report) -> Document {
    let Some(chain) = &report.chain else {
        return Document {
            title: "Record of decisions".to_owned(),
            blocks: vec![Block::Text(
                "There are no records: guardbit has decided nothing about this model, or its records are elsewhere."
                    .to_owned(),
            )],
        };
    };
    let mut blocks = vec![
        Block::Table(about(chain, report)),
        Block::Section("What holds now".to_owned()),
        Block::Table(now(chain)),
    ];
    for period in &report.periods {
        blocks.push(Block::Section(headline(period)));
        blocks.extend(told(period, chain, report));
    }
    Document {
        title: format!(
            "Record of decisions about {}/{}",
            chain.model.namespace, chain.model.name
        ),
        blocks,
    }
}

fn headline(period: &Period) -> String {
    match (&period.trial, &period.stable) {
        (Some(Trial { candidate, from, .. }), _) => {
            let from = from
                .as_ref()
                .map_or_else(String::new, |from| format!("{} to ", from.describe()));
            let candidate = candidate.describe();
            format!(
                "Rollout of {}: {from}{candidate}, {}",
                time(period.began.at),
                outcome(period)
            )
        }
        (None, Some(stable)) => format!(
            "Between rollouts, from {}: {} is stable",
            time(period.began.at),
            stable.describe()
        ),
        (None, None) => format!("First install, {}", time(period.began.at)),
    }
}

/// How a rollout ended, in a word or two.
fn outcome(period: &Period) -> String {
    match (period.ended, period.decisions.last()) {
        (None, _) => "goes on".to_owned(),
        (Some(end), Some(last)) if end.on_record => last.what.action.to_string(),
        _ => "its end is not among these records".to_owned(),
    }
}

fn told(period: &Period, chain: &Chain, report: &Report) -> Vec<Block> {
    let mut blocks = vec![Block::Table(summary(period, chain))];
    if let Some(trial) = &period.trial {
        blocks.push(Block::Part("What changed".to_owned()));
        blocks.push(Block::Table(what_changed(
            trial.from.as_ref(),
            &trial.candidate,
            &report.lineage,
        )));
        for (at, plan) in period.plans.iter().enumerate() {
            blocks.extend(thresholds(plan, at == 0 && period.began.on_record));
        }
    }
    blocks.extend(decisions(&period.decisions));
    blocks.extend(verdicts(&period.verdicts));
    let until = period.ended.map_or(chain.times.1, |end| end.at);
    if let Some((chart, table)) = period.shares.chart(until) {
        blocks.push(Block::Part("Who served which share when".to_owned()));
        blocks.push(Block::Chart(chart, table));
    }
    blocks.extend(evidence(&period.counted));
    blocks.extend(omissions(&period.omitted));
    blocks.extend(by_hand(&period.by_hand));
    if period.trial.is_some() {
        blocks.extend(lineage(period, report));
        let plan = period.plans.last();
        blocks.extend(plan.into_iter().flat_map(|plan| roll_back(period, &plan.what.rollout)));
    }
    blocks
}

fn summary(period: &Period, chain: &Chain) -> Table {
    let until = period.ended.map_or(chain.times.1, |end| end.at);
    let mut began = time(period.began.at);
    if !period.began.on_record {
        began.push_str("; the record of it is not here");
    }
    let ended = match period.ended {
        Some(end) if end.on_record => time(end.at),
        Some(end) => format!("before {}; the record of it is not here", time(end.at)),
        None => format!("not until {}, the time of the last record", time(until)),
    };
    let mut rows = vec![
        ("Began", began),
        ("Ended", ended),
        ("Lasted", between(period.began.at, until)),
    ];
    if let Some(trial) = &period.trial {
        rows.push(("Kind", kind(trial)));
        rows.push(("Asked for by", asked_for_by(period)));
        rows.push(("Policies", period.policies.clone().unwrap_or_else(|| "none".to_owned())));
        rows.push(("Outcome", outcome(period)));
    }
    if let Some(last) = period.decisions.last() {
        rows.push(("Last decision", sentence(&last.what)));
    }
    rows.push(("Generation of the spec", period.generation.to_string()));
    rows.push(("Records", format!("{} to {}", period.records.0, period.records.1)));
    Table::listing("In short", rows)
}

fn asked_for_by(period: &Period) -> String {
    if period.authors.is_empty() {
        return "not on record: the API server did not keep who changed the spec".to_owned();
    }
    Vec::from_iter(period.authors.iter().cloned()).join(", ")
}

fn kind(trial: &Trial) -> String {
    let told = match trial.kind.known() {
        Some(RolloutKind::Climb) => "the next variant, judged against stable, and by its outputs against the reference",
        Some(RolloutKind::Lateral) => "a new revision of the same variant, judged against the one before",
        Some(RolloutKind::NewReference) => "a new reference, judged against the one before",
        None => "of a kind that this release does not know",
    };
    format!("{}: {told}", trial.kind)
}

fn sentence(decision: &Decision) -> String {
    format!(
        "{} {}: {}",
        decision.action,
        described(&decision.variant, &decision.revision),
        decision.why
    )
}

/// What a rollout was judged by.
fn thresholds(plan: &Recorded<Frozen>, at_start: bool) -> Vec<Block> {
    let Recorded {
        record,
        at,
        what: Frozen {
            digest,
            rollout,
            guards,
        },
    } = plan;
    let heading = if at_start {
        "Thresholds as they were frozen before the evidence".to_owned()
    } else {
        format!("Thresholds as record {record} had them")
    };
    let steps = rollout
        .steps
        .iter()
        .map(|step| format!("{}% for {}", step.weight, step.hold));
    let mut rows = vec![
        ("Plan", format!("sha256:{digest}, {}", time(*at))),
        ("Steps", steps.collect::<Vec<_>>().join(", ")),
        (
            "Probability of a wrong rollback",
            format!("{} at the most", rollout.false_rollback),
        ),
        (
            "Probability of a wrong promotion",
            format!("{} at the most", rollout.false_promotion),
        ),
        ("Share that stays on the reference", format!("{}%", rollout.holdout)),
        (
            "Deadline",
            format!(
                "{} from the first weight; {} for pods",
                rollout.deadline, rollout.schedule_deadline
            ),
        ),
        ("Evaluated every", rollout.interval.to_string()),
        ("Warm-up of a pod", rollout.warm_up.to_string()),
    ];
    if let Some(shadow) = &rollout.shadow {
        rows.push(("Pairs of answers before the first weight", shadow.pairs.to_string()));
    }
    if let Some(benefit) = &rollout.benefit {
        rows.push((
            "Must be better",
            format!("by {} in {}", benefit.at_least, benefit.guard),
        ));
    }
    let questions = guards.iter().flat_map(|guard| {
        let fields = facts(guard).into_iter().filter(|(field, _)| field != "name");
        let rule = written(guard).is_some_and(|guard| guard.is_plain_rule());
        let rule = rule.then(|| ("rule".to_owned(), "a plain rule, without an error rate".to_owned()));
        fields
            .chain(rule)
            .map(move |(field, value)| vec![guard.name.clone(), field, value])
    });
    let questions = Table::new("The guards", &["Guard", "Field", "Value"], questions.collect());
    vec![
        Block::Part(heading),
        Block::Table(Table::listing("The rollout", rows)),
        Block::Table(questions),
    ]
}

fn decisions(decisions: &[Recorded<Decision>]) -> Vec<Block> {
    if decisions.is_empty() {
        return Vec::new();
    }
    let rows = decisions.iter().map(|Recorded { record, at, what }| {
        let drift = what
            .drift
            .as_ref()
            .map_or_else(String::new, |drift| format!(" ({drift})"));
        vec![
            time(*at),
            record.to_string(),
            what.action.to_string(),
            described(&what.variant, &what.revision),
            format!("{}{drift}", what.why),
        ]
    });
    let head = ["Time", "Record", "Decision", "Revision", "Why"];
    let table = Table::new("Decisions in their order", &head, rows.collect());
    vec![Block::Part("Decisions".to_owned()), Block::Table(table)]
}

fn verdicts(verdicts: &[GuardStatus]) -> Vec<Block> {
    if verdicts.is_empty() {
        return Vec::new();
    }
    let counts = |arm: ArmCounts| {
        of(Counts {
            n: u64::try_from(arm.total).unwrap_or(0),
            x: u64::try_from(arm.bad).unwrap_or(0),
        })
    };
    let rows = verdicts.iter().map(|guard| {
        let better = guard
            .benefit
            .as_ref()
            .map_or_else(String::new, |benefit| format!("; better: {benefit}"));
        vec![
            guard.name.clone(),
            guard.verdict.to_string(),
            format!("{} of {}", guard.evidence, guard.threshold),
            format!("{} of {}", guard.health, guard.health_threshold),
            counts(guard.candidate),
            counts(guard.baseline),
            format!("{}{better}", guard.message),
        ]
    });
    let head = ["Guard", "Verdict", "Harm", "Health", "Candidate", "Baseline", "Finding"];
    let table = Table::new(
        "What the guards had found last: evidence, and what is enough of it",
        &head,
        rows.collect(),
    );
    vec![Block::Part("Verdicts".to_owned()), Block::Table(table)]
}

/// What was counted, guard by guard.
fn evidence(counted: &[Epoch]) -> Vec<Block> {
    let epochs: Vec<_> = counted
        .iter()
        .map(Epoch::curves)
        .filter(|curves| !curves.is_empty())
        .collect();
    let mut blocks = Vec::new();
    for (at, curves) in epochs.iter().enumerate() {
        let heading = if at == 0 {
            "Evidence"
        } else {
            "Evidence after it began afresh"
        };
        blocks.push(Block::Part(heading.to_owned()));
        let charts = curves.iter().filter_map(|curve| curve.chart());
        blocks.extend(charts.map(|(chart, table)| Block::Chart(chart, table)));
    }
    blocks
}

/// What the curves lack.
fn omissions(omitted: &[Recorded<String>]) -> Vec<Block> {
    let text = |Recorded { record, what, .. }: &Recorded<String>| {
        Block::Text(format!(
            "Counts are missing here, because record {record} left them out: {what}"
        ))
    };
    omitted.iter().map(text).collect()
}

fn by_hand(changes: &[Recorded<String>]) -> Vec<Block> {
    if changes.is_empty() {
        return Vec::new();
    }
    let rows = changes
        .iter()
        .map(|Recorded { record, at, what }| vec![time(*at), record.to_string(), what.clone()]);
    let table = Table::new(
        "Seen for the first time in these records",
        &["Time", "Record", "What"],
        rows.collect(),
    );
    vec![
        Block::Part("Actions of people, and changes by hand".to_owned()),
        Block::Table(table),
    ]
}

/// The calibration and validation of both sides, with the age when the rollout began and when it ended.
fn lineage(period: &Period, report: &Report) -> Vec<Block> {
    let Some(trial) = &period.trial else {
        return Vec::new();
    };
    let sides = trial.from.iter().chain([&trial.candidate]);
    let variants: Vec<_> = sides.filter_map(|revision| report.lineage.get(revision)).collect();
    let ended = period
        .ended
        .filter(|end| end.on_record)
        .map(|end| ("at the end", end.at));
    let times: Vec<_> = [("at the beginning", period.began.at)]
        .into_iter()
        .chain(ended)
        .collect();
    let mut rows = Vec::new();
    for variant in &variants {
        for (when, at) in &times {
            if let Some(calibration) = &variant.calibration {
                let mut row = vec![variant.name.clone(), format!("{when}, {}", time(*at))];
                row.extend(calibration_cells(calibration, *at));
                rows.push(row);
            }
        }
    }
    let validation: Vec<_> = variants.iter().flat_map(|variant| validation_rows(variant)).collect();
    if rows.is_empty() && validation.is_empty() {
        return Vec::new();
    }
    let mut blocks = vec![Block::Part("Calibration and validation".to_owned())];
    if !rows.is_empty() {
        let head: Vec<&str> = ["Variant", "When"].into_iter().chain(CALIBRATION_HEAD).collect();
        blocks.push(Block::Table(Table::new("Calibration and its age", &head, rows)));
    }
    if !validation.is_empty() {
        let head = ["Variant", "Metric", "Reference", "Measured", "Drop", "May drop by"];
        blocks.push(Block::Table(Table::new(
            "Validation, as the author claims it",
            &head,
            validation,
        )));
    }
    blocks
}

/// What happens if the candidate turns out harmful, or nothing is found in time.
fn roll_back(period: &Period, rollout: &RolloutSpec) -> Vec<Block> {
    let stable = period
        .stable
        .as_ref()
        .map_or_else(|| "stable".to_owned(), RevisionRef::describe);
    let harm = match rollout.on_harm {
        OnHarm::SaferVariant => "the next safer proven variant, else to the reference",
        OnHarm::Reference => "the reference",
    };
    let undecided = match rollout.on_undecided {
        OnUndecided::RollBack => "its weight goes to 0, and it is not rejected",
        OnUndecided::Hold => "the weights stay as they are, and evaluations go on",
        OnUndecided::Escalate => "the weights stay as they are, and a person is asked",
    };
    let text = format!(
        "If a guard finds harm during the rollout, the weight of the candidate goes to 0 at once, before anything else is written, and {stable} serves its share. If harm is found after a promotion, traffic goes to {harm}; the old stable keeps its capacity for {}. If nothing is decided by the deadline of {}, {undecided}.",
        rollout.keep_warm, rollout.deadline
    );
    vec![Block::Part("Roll-back plan".to_owned()), Block::Text(text)]
}
