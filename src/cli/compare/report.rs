//! What `guardbit compare` prints: a table for people, or one JSON object. Neither holds a text of a request or an
//! answer: lines of the golden set stand for them.

use std::fmt::Write as _;

use serde::Serialize;

use crate::api::Verdict;
use crate::compare::{Arms, FEW_QUESTIONS, Finding, Golden, Protocol, Side, Tally, Variety, interval};
use crate::judge::text::{figure, number, percent, whole_percent};

/// Most lines that are named because they cannot be compared.
const NAMED: usize = 3;

/// All that is told.
pub(super) struct Report<'a> {
    pub(super) protocol: Protocol,
    pub(super) file: &'a str,
    pub(super) golden: &'a Golden,
    pub(super) arms: &'a Arms,
    pub(super) seed: u64,
    pub(super) tally: &'a Tally,
    /// At several tolerances, the least first.
    pub(super) findings: &'a [Finding],
    /// At the tolerance that was asked for.
    pub(super) found: Finding,
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    protocol: Protocol,
    reference: &'a str,
    candidate: &'a str,
    golden: Set<'a>,
    seed: u64,
    pairs: Counted,
    control: Counted,
    no_pairs: u64,
    failures: Vec<Failed>,
    /// The first lines, from 1, at which the arms differ.
    differ_at: &'a [usize],
    tolerance: f64,
    verdict: Verdict,
    verdicts: Vec<Judged>,
    /// Different answers of the reference, up to a thousand.
    distinct_answers: usize,
    /// What makes the verdict worth less than it looks.
    notes: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Set<'a> {
    file: &'a str,
    digest: &'a str,
    lines: usize,
    /// Different questions among them.
    distinct: usize,
    skipped: Vec<Skipped>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Skipped {
    line: usize,
    reason: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Counted {
    pairs: u64,
    disagreements: u64,
    /// Exact, at 95%.
    interval: [f64; 2],
    /// Bounds that half and nine of ten distances do not exceed, and the largest; null where no distance is known.
    median: Option<f64>,
    p90: Option<f64>,
    max: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failed {
    arm: &'static str,
    reason: &'static str,
    message: String,
    times: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    tolerance: f64,
    verdict: Verdict,
    after: Option<usize>,
}

impl Counted {
    fn of(side: &Side) -> Self {
        let Side { pairs, distances } = side;
        let (low, high) = interval(*pairs);
        Self {
            pairs: pairs.n,
            disagreements: pairs.x,
            interval: [low, high],
            median: distances.at_most(0.5),
            p90: distances.at_most(0.9),
            max: distances.max(),
        }
    }
}

impl Report<'_> {
    /// For programs.
    pub(super) fn json(&self) -> Result<String, serde_json::Error> {
        let Self {
            golden, arms, tally, ..
        } = self;
        let skipped = golden.skipped().iter().map(|(line, skip)| Skipped {
            line: *line,
            reason: skip.0,
        });
        let judged = |finding: &Finding| Judged {
            tolerance: finding.tolerance,
            verdict: finding.verdict,
            after: finding.after,
        };
        serde_json::to_string_pretty(&Document {
            protocol: self.protocol,
            reference: arms.reference.url(),
            candidate: arms.candidate.url(),
            golden: Set {
                file: self.file,
                digest: golden.digest(),
                lines: golden.questions().len(),
                distinct: golden.distinct(),
                skipped: skipped.collect(),
            },
            seed: self.seed,
            pairs: Counted::of(&tally.candidate),
            control: Counted::of(&tally.control),
            no_pairs: tally.none,
            failures: failures(tally),
            differ_at: &tally.differ_at,
            tolerance: self.found.tolerance,
            verdict: self.found.verdict,
            verdicts: self.findings.iter().map(judged).collect(),
            distinct_answers: tally.answers.distinct(),
            notes: self.notes(),
        })
    }

    /// What makes the verdict worth less than it looks, in sentences.
    fn notes(&self) -> Vec<String> {
        let Self { arms, tally, .. } = self;
        let mut notes = Vec::new();
        if arms.are_one_server() {
            let same =
                "Reference and candidate are the same server: this shows its noise, and nothing about another model.";
            notes.push(same.to_owned());
        }
        if let Some(questions) = self.few_questions() {
            notes.push(format!(
                "The golden set has {questions}: most draws repeat one, and what is repeated is answered alike, so the pairs say less than their number."
            ));
        }
        match tally.answers.variety() {
            Variety::Various => {}
            Variety::Lopsided(share) => notes.push(format!(
                "{} of the reference's answers are one and the same: few questions can show a difference.",
                whole_percent(share)
            )),
            Variety::One if self.asked_few() => notes.push(format!(
                "The reference answered {} only: too few pairs were asked to tell whether its answers differ.",
                counted(tally.answers.all(), "question")
            )),
            Variety::One => notes.push(
                "The reference gave one and the same answer to all questions, so agreeing with it shows nothing: look at what it answers, or ask questions whose answers differ."
                    .to_owned(),
            ),
        }
        let noise = tally.control.pairs;
        if noise.x > 0 {
            notes.push(format!(
                "The reference differs from itself in {} of {} ({}): a tolerance below that rejects every candidate.",
                number(noise.x),
                counted(noise.n, "pair"),
                percent(noise.x as f64 / noise.n as f64)
            ));
        }
        notes
    }

    /// "3 different questions", where that is too few for a verdict of health.
    fn few_questions(&self) -> Option<String> {
        let distinct = self.golden.distinct();
        (distinct < FEW_QUESTIONS).then(|| counted(distinct as u64, "different question"))
    }

    /// Whether so few questions were answered that one and the same answer to them means nothing.
    fn asked_few(&self) -> bool {
        self.tally.answers.all() < FEW_QUESTIONS as u64
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.head(&mut out);
        let _ = self.counts(&mut out);
        let _ = self.verdicts(&mut out);
        out
    }

    fn head(&self, out: &mut String) -> std::fmt::Result {
        let Self { arms, golden, .. } = self;
        writeln!(out, "reference   {}", arms.reference.url())?;
        writeln!(out, "candidate   {}", arms.candidate.url())?;
        let lines = golden.questions().len();
        writeln!(
            out,
            "golden set  {}, {}, {}",
            self.file,
            counted(lines as u64, "line"),
            golden.digest()
        )?;
        let skipped = golden.skipped();
        if !skipped.is_empty() {
            let all = counted(skipped.len() as u64, "line");
            writeln!(out, "            {all} cannot be compared:")?;
        }
        for (line, skip) in skipped.iter().take(NAMED) {
            writeln!(out, "            line {line}: {skip}")?;
        }
        if skipped.len() > NAMED {
            writeln!(out, "            and {} more", skipped.len() - NAMED)?;
        }
        writeln!(out, "seed        {}\n", self.seed)
    }

    fn counts(&self, out: &mut String) -> std::fmt::Result {
        let Self { tally, .. } = self;
        writeln!(out, "             pairs  disagreements   share  95% interval")?;
        for (name, side) in [("candidate", &tally.candidate), ("control", &tally.control)] {
            let pairs = side.pairs;
            if pairs.n == 0 {
                continue;
            }
            let (low, high) = interval(pairs);
            writeln!(
                out,
                "{name:<11} {:>6}  {:>13}  {:>6}  {} to {}",
                number(pairs.n),
                number(pairs.x),
                percent(pairs.x as f64 / pairs.n as f64),
                percent(low),
                percent(high)
            )?;
        }
        writeln!(out)?;
        let lines: Vec<_> = tally.differ_at.iter().map(ToString::to_string).collect();
        match lines.as_slice() {
            [] => writeln!(out, "They differ nowhere.")?,
            [line] => writeln!(out, "They differ at line {line} of the golden set.")?,
            _ => writeln!(
                out,
                "They differ at these lines of the golden set, at first: {}.",
                lines.join(", ")
            )?,
        }
        let distances = &tally.candidate.distances;
        if let (Some(median), Some(p90), Some(max)) = (distances.at_most(0.5), distances.at_most(0.9), distances.max())
        {
            writeln!(
                out,
                "Distances: half are at most {}, nine of ten at most {}, the largest is {}.",
                figure(median),
                figure(p90),
                figure(max)
            )?;
        }
        for Failed {
            arm, message, times, ..
        } in failures(tally)
        {
            writeln!(out, "The {arm} failed {}: {message}.", counted(times, "time"))?;
        }
        if tally.none > 0 {
            let pairs = counted(tally.none, "pair");
            writeln!(
                out,
                "{pairs} came to nothing, because an arm gave no answer that could be compared."
            )?;
        }
        for note in self.notes() {
            writeln!(out, "{note}")?;
        }
        writeln!(out)
    }

    fn verdicts(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "tolerated  verdict")?;
        for finding in self.findings {
            let share = whole_percent(finding.tolerance);
            let verdict = word(finding.verdict);
            let after = finding
                .after
                .map(|after| format!(" after {}", counted(after as u64, "pair")));
            let after = after.unwrap_or_default();
            let asked = if *finding == self.found { "  (--tolerance)" } else { "" };
            writeln!(out, "{share:>9}  {verdict}{after}{asked}")?;
        }
        let share = whole_percent(self.found.tolerance);
        let sentence = match self.found.verdict {
            Verdict::Healthy => format!("healthy: it disagrees in less than the tolerated {share}, at 1-in-20 risk"),
            Verdict::Harmful => format!("harmful: it disagrees in more than the tolerated {share}, at 1-in-20 risk"),
            Verdict::Undecided if self.arms.are_one_server() => {
                "not decided: it is the same server as the reference, and its own noise says nothing about another model"
                    .to_owned()
            }
            Verdict::Undecided if self.tally.answers.variety() == Variety::One && !self.asked_few() => {
                "not decided: the reference gave one and the same answer to all questions".to_owned()
            }
            Verdict::Undecided => match self.few_questions() {
                Some(questions) => format!(
                    "not decided against {share}: the golden set has {questions}, and no candidate is shown to be healthy by fewer than {FEW_QUESTIONS}; record more"
                ),
                None => format!("not decided against {share}: too few pairs were asked, raise --pairs"),
            },
            Verdict::NoData => "not judged: there are no pairs".to_owned(),
        };
        writeln!(out, "\nThe candidate is {sentence}.")
    }
}

fn failures(tally: &Tally) -> Vec<Failed> {
    let failed = tally.failures.iter().map(|((arm, failure), times)| Failed {
        arm: arm.name(),
        reason: failure.reason(),
        message: failure.to_string(),
        times: *times,
    });
    failed.collect()
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Healthy => "healthy",
        Verdict::Harmful => "harmful",
        Verdict::Undecided => "undecided",
        Verdict::NoData => "no data",
    }
}

/// "1 line", "2,500 lines".
fn counted(n: u64, one: &str) -> String {
    format!("{} {one}{}", number(n), if n == 1 { "" } else { "s" })
}
