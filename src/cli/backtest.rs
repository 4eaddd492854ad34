//! `guardbit simulate --prometheus`: fetches from a live server what a recording of that time would hold.
//!
//! Owns what is asked, in pieces of a bounded size. Must not judge: what comes back is replayed like a file. Raw samples come
//! as range selectors of instant queries, so that nothing is interpolated; free expressions are asked for the time of each
//! evaluation, because only the server knows all of PromQL.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::stream::{self, StreamExt, TryStreamExt};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::{Duration, Guard, QuantizedModelSpec};
use crate::evidence::{ArmMatcher, Form, Labels, MatcherOp, Matrix, REVISION, Series};
use crate::guards::{Selector, asks, counts_pairs};
use crate::model::presets::guards;
use crate::model::{identity, interval_ms};
use crate::prometheus::{PrometheusClient, PrometheusError};
use crate::simulate::Arms;
use crate::simulate::recording::Recording;

/// Longest range that is asked for at once, and the shortest that a server which finds it too much is asked for: in ms.
const PIECE_MS: i64 = 30 * 60_000;
const LEAST_PIECE_MS: i64 = 60_000;

/// Queries that run at once.
const AT_ONCE: usize = 4;

/// Which of the ways to tell series is that of pairs of answers; those before it are of the arms.
const PAIRS: usize = 3;

/// A stretch of time, Unix milliseconds, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    pub(super) from: i64,
    pub(super) through: i64,
}

/// What is asked of the server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Question {
    /// Raw samples of the series of a guard.
    Samples { guard: String, asked: Selector, arm: usize },
    /// The value of a free expression, at one time (Unix ms).
    Value { guard: String, asked: Selector, at: i64 },
}

/// What came back.
enum Answer {
    Samples(Vec<Series>),
    Value { guard: String, at: i64, matrix: Matrix },
}

/// A time as people write it: RFC 3339, Unix seconds, `now`, or a while ago such as `-2h`.
pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("`{text}` is no time: write 2026-11-10T09:30:00Z, Unix seconds, now, or a while ago such as -2h");
    if let Ok(seconds) = text.parse::<f64>()
        && text.starts_with(|c: char| c.is_ascii_digit())
    {
        return Timestamp::from_millisecond((seconds * 1000.0).round() as i64).map_err(|_| wrong());
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = Duration::from(ago).millis().map_err(|_| wrong())?;
        return present().and_then(|now| now.checked_sub(SignedDuration::from_millis(ago)).map_err(|_| wrong()));
    }
    if text == "now" {
        return present();
    }
    text.parse().map_err(|_| wrong())
}

fn present() -> Result<Timestamp, String> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|e| e.to_string())?;
    Timestamp::from_millisecond(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)).map_err(|e| e.to_string())
}

/// Fetches all that the guards of a model ask for, of all arms.
pub(super) async fn fetch(
    client: &PrometheusClient,
    spec: &QuantizedModelSpec,
    arms: &Arms,
    stretch: Stretch,
) -> Result<Recording, String> {
    let pairs = vec![of_revisions(spec)];
    let ways = [&arms.stable, &arms.candidate, &arms.reference, &pairs];
    let interval = interval_ms(spec);
    let questions: BTreeSet<Question> = guards(spec)
        .iter()
        .flat_map(|guard| questions(guard, stretch, interval))
        .collect();
    let mut progress = Progress::new(questions.len());
    let answers = stream::iter(questions)
        .map(|question| ask(client, question, &ways, stretch))
        .buffer_unordered(AT_ONCE);
    let mut answers = std::pin::pin!(answers);
    let mut series: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
    let mut values: BTreeMap<String, Vec<(i64, Matrix)>> = BTreeMap::new();
    while let Some(answer) = answers.try_next().await? {
        progress.step();
        match answer {
            Answer::Samples(found) => {
                for Series { labels, samples } in found {
                    series.entry(labels).or_default().extend(samples);
                }
            }
            Answer::Value { guard, at, matrix } => values.entry(guard).or_default().push((at, matrix)),
        }
    }
    let series = series.into_iter().map(|(labels, samples)| Series { labels, samples });
    Ok(Recording::new(series.collect()).with_values(values))
}

/// The revisions of all variants.
fn of_revisions(spec: &QuantizedModelSpec) -> ArmMatcher {
    let revisions = identity::revisions(spec);
    let short: Vec<_> = revisions.iter().map(|of| identity::short(&of.revision)).collect();
    ArmMatcher {
        label: REVISION.to_owned(),
        op: MatcherOp::Regex,
        value: short.join("|"),
    }
}

/// What a guard asks of every arm.
fn questions(guard: &Guard, Stretch { from, through }: Stretch, interval: i64) -> Vec<Question> {
    let pairs = counts_pairs(guard);
    let of = |asked: Selector| -> Vec<Question> {
        let guard = &guard.name;
        if asked.form() == Form::Expression {
            let step = usize::try_from(interval).unwrap_or(usize::MAX);
            let at = |at| Question::Value {
                guard: guard.clone(),
                asked: asked.clone(),
                at,
            };
            return (from..=through).step_by(step).map(at).collect();
        }
        let each = |arm| Question::Samples {
            guard: guard.clone(),
            asked: asked.clone(),
            arm,
        };
        // The series of pairs name the revisions, and no arm.
        let ways = if pairs { PAIRS..PAIRS + 1 } else { 0..PAIRS };
        ways.map(each).collect()
    };
    asks(guard).into_iter().flat_map(of).collect()
}

async fn ask(
    client: &PrometheusClient,
    question: Question,
    ways: &[&Vec<ArmMatcher>; 4],
    stretch: Stretch,
) -> Result<Answer, String> {
    match question {
        Question::Value { guard, asked, at } => {
            let told = |e: &dyn std::fmt::Display| format!("guard {guard}: {e}");
            // A guard on an expression judges the candidate alone.
            let query = asked.form().query(&asked.text, ways[1], 0).map_err(|e| told(&e))?;
            let matrix = client.value(&query, at).await.map_err(|e| told(&e))?;
            Ok(Answer::Value { guard, at, matrix })
        }
        Question::Samples { guard, asked, arm } => {
            let told = |e: &dyn std::fmt::Display| format!("guard {guard}: {e}");
            let query = |window: u64| asked.form().query(&asked.text, ways[arm], window);
            let mut all = Vec::new();
            let (mut from, mut piece) = (stretch.from, PIECE_MS);
            while from <= stretch.through {
                let through = from.saturating_add(piece).min(stretch.through);
                // A range does not include its beginning: a sample there is in the piece before, but for the first.
                let window = (through - from).unsigned_abs() + 1;
                let query = query(window).map_err(|e| told(&e))?;
                match client.samples(&query, through).await {
                    Ok(matrix) => all.extend(matrix.series),
                    Err(
                        PrometheusError::TooLarge { .. }
                        | PrometheusError::TooManySeries { .. }
                        | PrometheusError::Timeout { .. },
                    ) if piece > LEAST_PIECE_MS => {
                        piece = (piece / 2).max(LEAST_PIECE_MS);
                        continue;
                    }
                    Err(error) => return Err(told(&error)),
                }
                from = through + 1;
            }
            Ok(Answer::Samples(all))
        }
    }
}

/// A bar on standard error, where that is a terminal.
struct Progress {
    done: usize,
    all: usize,
    shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        let shown = std::io::stderr().is_terminal();
        Self { done: 0, all, shown }
    }

    fn step(&mut self) {
        const COLUMNS: usize = 40;
        self.done += 1;
        if self.shown {
            let full = COLUMNS * self.done / self.all.max(1);
            let mut out = std::io::stderr();
            // The fetch goes on where the bar cannot be drawn.
            let _ = write!(
                out,
                "\r▕{:<COLUMNS$}▏ {} of {} queries ",
                "█".repeat(full),
                self.done,
                self.all
            );
            let _ = out.flush();
        }
    }
}

impl Drop for Progress {
    /// What is printed next begins on a clean line.
    fn drop(&mut self) {
        if self.shown {
            eprint!("\r\u{1b}[2K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, expected) in [
            ("1780000000", "2026-05-28T20:26:40Z"),
            ("1780000000.25", "2026-05-28T20:26:40.25Z"),
            ("2026-11-10T09:30:00Z", "2026-11-10T09:30:00Z"),
            ("2026-11-10T10:30:00+01:00", "2026-11-10T09:30:00Z"),
        ] {
            assert_eq!(moment(text).map(|t| t.to_string()).as_deref(), Ok(expected), "{text}");
        }
        let (ago, now) = (moment("-1h30m").unwrap(), moment("now").unwrap());
        assert_eq!(now.duration_since(ago).as_mins(), 90);
        for text in ["", "yesterday", "-", "-2", "-2d", "2h", "1e300", "2026-11-10"] {
            let error = moment(text).unwrap_err();
            assert!(error.contains("is no time: write 2026-"), "{text}: {error}");
        }
    }
}
