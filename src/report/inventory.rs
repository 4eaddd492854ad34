//! The inventory of many models: which version serves which share now, how old its calibration is, and what is open.

use k8s_openapi::jiff::Timestamp;

use crate::api::{Phase, RevisionRef, RolloutStatus};
use crate::ledger::ModelName;

use super::chain::{Chain, Report};
use super::document::{Block, Document, Table};
use super::side::{Age, CALIBRATION_HEAD, UNKNOWN, calibration_cells, described};
use super::text::{between, time};

/// What the chains of many models say about `now`.
pub fn inventory(reports: &[Report], now: Timestamp) -> Document {
    let mut chains: Vec<_> = reports
        .iter()
        .filter_map(|report| Some((report, report.chain.as_ref()?)))
        .collect();
    chains.sort_by_key(|(_, chain)| title(&chain.model));
    let mut blocks = vec![Block::Text(format!(
        "{} models, as their records tell it at {}. What a record does not tell is not here: a route that somebody changed since, and models without records.",
        chains.len(),
        time(now)
    ))];
    for (heading, table, none) in [
        (
            "Which version serves which share",
            serving(&chains),
            "No model has traffic on record.",
        ),
        (
            "Calibrations of what serves",
            calibrations(&chains, now),
            "Nothing that serves was calibrated.",
        ),
        ("Open states and exceptions", open(&chains, now), "There are none."),
    ] {
        blocks.push(Block::Section(heading.to_owned()));
        blocks.push(if table.rows.is_empty() {
            Block::Text(none.to_owned())
        } else {
            Block::Table(table)
        });
    }
    Document {
        title: "Inventory of models".to_owned(),
        blocks,
    }
}

fn title(model: &ModelName) -> String {
    format!("{}/{}", model.namespace, model.name)
}

fn serving(chains: &[(&Report, &Chain)]) -> Table {
    let mut rows = Vec::new();
    for (report, chain) in chains {
        for (revision, weight) in &chain.weights {
            let variant = report.lineage.get(revision);
            let tier = chain
                .registered
                .risk_tier
                .map_or_else(|| UNKNOWN.to_owned(), |tier| tier.to_string());
            rows.push(vec![
                title(&chain.model),
                tier,
                revision.variant.clone(),
                variant.map_or_else(|| UNKNOWN.to_owned(), |of| of.precision.to_string()),
                format!("{weight}%"),
                revision.revision.clone(),
                variant.map_or_else(|| UNKNOWN.to_owned(), |of| of.weights.digest.clone()),
                format!("{}, record {}", time(chain.times.1), chain.records.1),
            ]);
        }
    }
    let head = [
        "Model",
        "Risk tier",
        "Variant",
        "Precision",
        "Share",
        "Identity",
        "Digest of the weights",
        "As of",
    ];
    Table::new(
        "Shares of the traffic that the last record of each model leaves behind",
        &head,
        rows,
    )
}

/// Revisions of a chain that have traffic or are on trial.
fn live(chain: &Chain) -> Vec<&RevisionRef> {
    let candidate = chain.after.rollout.as_ref().map(|rollout| &rollout.candidate);
    let mut all: Vec<_> = chain
        .weights
        .iter()
        .map(|(revision, _)| revision)
        .chain(candidate)
        .collect();
    all.sort();
    all.dedup();
    all
}

fn calibrations(chains: &[(&Report, &Chain)], now: Timestamp) -> Table {
    let mut rows = Vec::new();
    for (report, chain) in chains {
        for revision in live(chain) {
            let calibration = report
                .lineage
                .get(revision)
                .and_then(|variant| variant.calibration.as_ref());
            if let Some(calibration) = calibration {
                let mut row = vec![title(&chain.model), revision.describe()];
                row.extend(calibration_cells(calibration, now));
                rows.push(row);
            }
        }
    }
    let head: Vec<&str> = ["Model", "Revision"].into_iter().chain(CALIBRATION_HEAD).collect();
    Table::new("Age of each calibration at the time of this inventory", &head, rows)
}

fn open(chains: &[(&Report, &Chain)], now: Timestamp) -> Table {
    let mut rows = Vec::new();
    for (report, chain) in chains {
        let states = states(report, chain, now).into_iter();
        rows.extend(states.map(|(what, told)| vec![title(&chain.model), what.to_owned(), told]));
    }
    Table::new(
        "What waits, or is out of the ordinary",
        &["Model", "What", "Since when and why"],
        rows,
    )
}

/// What of a model waits or is out of the ordinary.
fn states(report: &Report, chain: &Chain, now: Timestamp) -> Vec<(&'static str, String)> {
    let mut states = Vec::new();
    let as_of = || format!("as of {}", time(chain.times.1));
    if let Some(rollout) = &chain.after.rollout {
        states.extend(on_trial(rollout, now));
    }
    if chain.paused {
        states.push(("Paused", as_of()));
    }
    if chain.suspended {
        states.push(("Suspended", as_of()));
    }
    let in_force = chain.acts.iter().filter(|act| act.until > now);
    states.extend(in_force.map(|act| ("Action in force", act.told.clone())));
    for finding in &chain.findings {
        let what = if finding.enforced {
            "Falls short of a policy"
        } else {
            "Would fall short of a policy (DryRun)"
        };
        states.push((
            what,
            format!("{} ({}): {}", finding.policy, finding.rule, finding.message),
        ));
    }
    let troubled = [
        Phase::Degraded,
        Phase::RollingBack,
        Phase::Pending,
        Phase::AwaitingApproval,
    ];
    if let Some(phase) = chain
        .after
        .phase
        .as_ref()
        .filter(|phase| troubled.iter().any(|of| *phase == of))
    {
        states.push(("Phase", format!("{phase}, {}", as_of())));
    }
    for revision in live(chain) {
        let calibration = report
            .lineage
            .get(revision)
            .and_then(|variant| variant.calibration.as_ref());
        let age = calibration.map(|calibration| Age::of(calibration, now));
        if age.is_some_and(|age| age.is_stale()) {
            states.push(("Stale calibration", revision.describe()));
        }
    }
    for rejected in &chain.after.rejected {
        let told = format!(
            "{} at {}, by {}: {}",
            described(&rejected.variant, &rejected.revision),
            time(rejected.at.0),
            rejected.guard,
            rejected.reason
        );
        states.push(("Rejected", told));
    }
    if !chain.missing.is_empty() {
        states.push(("Records are missing", chain.completeness()));
    }
    if chain.unsigned > 0 {
        states.push(("Records without a signature", chain.unsigned.to_string()));
    }
    states
}

fn on_trial(rollout: &RolloutStatus, now: Timestamp) -> Vec<(&'static str, String)> {
    let began = rollout.started_at.0;
    let told = format!(
        "{} at {}%, since {}: {} ago",
        rollout.candidate.describe(),
        rollout.weight,
        time(began),
        between(began, now)
    );
    let mut states = vec![("Rollout in progress", told)];
    if let Some(asked) = &rollout.escalated_at {
        states.push((
            "A person is asked",
            format!("since {}: {} ago", time(asked.0), between(asked.0, now)),
        ));
    }
    if rollout.overdue {
        states.push(("Overdue", "the deadline has passed, and the weights stay".to_owned()));
    }
    states
}
