//! What came of all strikes, as a table: calls by faults.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use crate::calls::Call;
use crate::proxy::{Fault, Strike};
use crate::world::Outcome;

/// Writes that a fault may cost, beyond twice those of a run without one.
const SPARE_WRITES: usize = 20;

/// How often a call is made without a fault.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// In every run.
    Always,
    /// In some runs; timing decides.
    Sometimes,
}

/// A strike, and what came of it.
pub struct Tried<'a> {
    pub call: &'a Call,
    pub made: Made,
    pub strike: Strike,
    pub outcome: Outcome,
}

/// What came of one scenario.
#[derive(Default)]
pub struct Part {
    name: &'static str,
    rows: BTreeMap<String, Row>,
    /// Strikes that happened.
    pub struck: usize,
    /// Strikes whose call was not made in any attempt.
    missed: Vec<String>,
    /// What went wrong.
    pub wrong: Vec<String>,
    slowest: Duration,
    /// Longest time at the last weight of a candidate that ended at 0, in milliseconds: without a fault, and with each.
    lowered: Option<i64>,
    lowered_with: BTreeMap<Fault, i64>,
}

/// Calls of one kind.
#[derive(Default)]
struct Row {
    calls: usize,
    struck: BTreeMap<Fault, usize>,
}

impl Part {
    /// The strikes at these calls of a scenario.
    pub fn of(name: &'static str, golden: &[Outcome], calls: &[&Call], tried: &[Tried<'_>]) -> Self {
        let mut part = Self {
            name,
            lowered: golden.iter().filter_map(|run| run.lowered_after).max(),
            ..Self::default()
        };
        for call in calls {
            part.rows.entry(kind(call)).or_default().calls += 1;
        }
        let writes = golden.iter().map(Outcome::writes).max().unwrap_or_default();
        for tried in tried {
            part.take(tried, 2 * writes + SPARE_WRITES);
        }
        part
    }

    fn take(&mut self, tried: &Tried<'_>, most_writes: usize) {
        let Tried {
            call,
            made,
            strike,
            outcome,
        } = tried;
        let what = format!(
            "{}, {} at call {} of: {}",
            self.name,
            strike.fault.title(),
            strike.nth,
            strike.call
        );
        self.slowest = self.slowest.max(outcome.took);
        if outcome.struck {
            self.struck += 1;
            let row = self.rows.entry(kind(call)).or_default();
            *row.struck.entry(strike.fault).or_default() += 1;
            if let Some(lowered) = outcome.lowered_after {
                let longest = self.lowered_with.entry(strike.fault).or_default();
                *longest = lowered.max(*longest);
            }
        } else {
            self.missed.push(what.clone());
        }
        let mut complaints = outcome.complaints.clone();
        if !outcome.struck && *made == Made::Always {
            complaints.push("never struck, though the call is made in every run without a fault".to_owned());
        }
        if outcome.writes() > most_writes {
            complaints.push(format!("{} writes, more than {most_writes}", outcome.writes()));
        }
        if !complaints.is_empty() {
            let log: Vec<&str> = outcome.log.lines().collect();
            let tail = log[log.len().saturating_sub(25)..].join("\n");
            self.wrong
                .push(format!("=== {what}\n{}\n--- log\n{tail}", complaints.join("\n")));
        }
    }
}

/// What is called, without what tells two calls of a kind apart.
fn kind(call: &Call) -> String {
    let words: Vec<&str> = call.name.split([' ', ':']).take(2).collect();
    words.join(" ")
}

/// All of it, for people.
pub fn table(parts: &[Part]) -> String {
    let mut out = String::new();
    let titles = Fault::ALL.map(Fault::title).join(" | ");
    let _ = writeln!(out, "\n| rollout | call | calls | {titles} |");
    let _ = writeln!(out, "|---|---|---{}|", "|---".repeat(Fault::ALL.len()));
    let mut sums = Row::default();
    for part in parts {
        for (kind, row) in &part.rows {
            let _ = writeln!(out, "| {} | {kind} | {row} |", part.name);
            sums.calls += row.calls;
            for (fault, struck) in &row.struck {
                *sums.struck.entry(*fault).or_default() += struck;
            }
        }
    }
    let _ = writeln!(out, "| all | | {sums} |\n");
    for part in parts {
        let (name, struck, missed, wrong) = (part.name, part.struck, part.missed.len(), part.wrong.len());
        let _ = writeln!(
            out,
            "{name}: {struck} calls x faults struck, {wrong} of them ended wrongly; {missed} more were planned and never struck; slowest {:.0?}",
            part.slowest
        );
        if let Some(lowered) = part.lowered {
            let with: Vec<String> = part
                .lowered_with
                .iter()
                .map(|(f, ms)| format!("{} {ms}", f.title()))
                .collect();
            let _ = writeln!(
                out,
                "  its candidate had its last weight for {lowered} ms; with a fault for at most, in ms: {}",
                with.join(", ")
            );
        }
        for what in &part.missed {
            let _ = writeln!(out, "  never struck: {what}");
        }
    }
    out
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let struck = Fault::ALL.map(|fault| match self.struck.get(&fault) {
            Some(struck) => struck.to_string(),
            None => "–".to_owned(),
        });
        write!(f, "{} | {}", self.calls, struck.join(" | "))
    }
}
