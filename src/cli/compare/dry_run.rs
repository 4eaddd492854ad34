//! `guardbit compare --dry-run`: asks a number of pairs, and prints what was found.
//!
//! Owns how many are asked at once, and when it is given up. What a pair is, and what the verdict is, say
//! `crate::compare` and `crate::judge`.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};

use crate::api::{Verdict, plain_lines};
use crate::compare::{
    Arms, FEW_QUESTIONS, Failure, Finding, Golden, Order, Pair, Question, Risks, Role, Settings, Tally, Unreadable,
    Variety, ask, judge,
};

use super::super::server::runtime;
use super::super::streams;
use super::arguments::{COULD_NOT_RUN, CompareArgs, Output, arms, golden, settings};
use super::report::Report;

/// Tolerances that are judged beside the one that was asked for: what next tokens of int8 and int4 models, and
/// decisions of classifiers, are usually held to.
const TOLERANCES: [f64; 6] = [0.01, 0.02, 0.05, 0.08, 0.12, 0.25];

/// Pairs in a row that come to nothing because of one arm, after which it is given up.
const PATIENCE: u32 = 20;

/// The wait after a first pair for which an arm had no capacity; it doubles with each further one, seven times at the
/// most.
const WAIT: Duration = Duration::from_millis(10);
const DOUBLINGS: u32 = 7;

/// How often it is told how far it is.
const TOLD: Duration = Duration::from_secs(10);

/// One of so many pairs may come to nothing.
const MOST_LOST: u64 = 20;

/// The exit code of what the pairs do not decide.
const UNDECIDED: u8 = 3;

/// Asks, and prints what was found. The exit code is 0 for healthy, 1 for harmful, 3 for undecided, and 2 where it
/// could not be found out.
pub(super) fn start(args: &CompareArgs) -> ExitCode {
    let told = run(args).and_then(|(text, verdict)| {
        streams::write(&plain_lines(text.trim_end()))?;
        Ok(verdict)
    });
    match told {
        Ok(Verdict::Healthy) => ExitCode::SUCCESS,
        Ok(Verdict::Harmful) => ExitCode::FAILURE,
        Ok(Verdict::Undecided) => ExitCode::from(UNDECIDED),
        Ok(Verdict::NoData) => ExitCode::from(COULD_NOT_RUN),
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &CompareArgs) -> Result<(String, Verdict), String> {
    let settings = settings(args)?;
    let golden = golden(args, &settings)?.ok_or("--dry-run needs a golden set: --golden FILE")?;
    let file = args
        .golden
        .as_deref()
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    let arms = arms(args)?;
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..));
    let draws = draws(&golden, args, seed);
    let concurrency = usize::from(args.concurrency);
    let asked = runtime()?.block_on(ask_all(&arms, &settings, &draws, concurrency))?;
    asked.check(&arms, draws.len())?;
    let (is_one_server, distinct) = (arms.are_one_server(), golden.distinct());
    let finding = |tolerance| found(&asked, tolerance, is_one_server, distinct);
    let wanted = finding(args.tolerance);
    let mut findings: Vec<Finding> = TOLERANCES.into_iter().map(finding).collect();
    if !TOLERANCES.contains(&args.tolerance) {
        findings.push(wanted);
    }
    findings.sort_by(|a, b| a.tolerance.total_cmp(&b.tolerance));
    let report = Report {
        protocol: settings.protocol,
        file: &file,
        golden: &golden,
        arms: &arms,
        seed,
        tally: &asked.tally,
        findings: &findings,
        found: wanted,
    };
    let text = match args.output {
        Output::Text => report.text(),
        Output::Json => report.json().map_err(|error| error.to_string())?,
    };
    Ok((text, wanted.verdict))
}

/// The verdict at a tolerance. Where the reference gave one and the same answer to everything, a candidate that gives it
/// too has shown nothing: such pairs make nobody healthy, and neither do those of a few `distinct` questions. Where
/// both are one server, no pair says anything about another model, and nothing is decided.
fn found(asked: &Asked, tolerance: f64, is_one_server: bool, distinct: usize) -> Finding {
    let finding = judge(&asked.agreements, tolerance, Risks::default());
    let says_nothing = match finding.verdict {
        Verdict::Healthy => is_one_server || distinct < FEW_QUESTIONS || asked.tally.answers.variety() == Variety::One,
        Verdict::Harmful => is_one_server,
        Verdict::Undecided | Verdict::NoData => false,
    };
    if says_nothing {
        Finding {
            verdict: Verdict::Undecided,
            after: None,
            ..finding
        }
    } else {
        finding
    }
}

/// A pair that is to be asked.
struct Draw<'a> {
    question: &'a Question,
    against: Role,
    order: Order,
}

fn draws<'a>(golden: &'a Golden, args: &CompareArgs, seed: u64) -> Vec<Draw<'a>> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut draw = || Draw {
        question: golden.draw(&mut random),
        against: Role::drawn(&mut random, args.control),
        order: Order::drawn(&mut random),
    };
    (0..args.pairs).map(|_| draw()).collect()
}

/// What came of the pairs.
#[derive(Default)]
struct Asked {
    tally: Tally,
    /// Of reference and candidate, in the order of the draws.
    agreements: Vec<bool>,
}

/// Asks all pairs, some at once. Gives up when too many in a row came to nothing because of the same arm.
async fn ask_all(arms: &Arms, settings: &Settings, draws: &[Draw<'_>], concurrency: usize) -> Result<Asked, String> {
    let back_off = &BackOff::default();
    let pairs = stream::iter(draws).map(move |draw| async move {
        back_off.wait().await;
        let pair = ask(arms, settings, draw.question, draw.against, draw.order).await;
        back_off.learn(&pair);
        (draw.against, pair)
    });
    let mut pairs = pin!(pairs.buffered(concurrency));
    let (mut asked, mut silent) = (Asked::default(), Silent::default());
    let (mut done, mut told) = (0, Instant::now());
    while let Some((against, pair)) = pairs.next().await {
        asked.tally.add(against, &pair);
        silent.learn(against, &pair);
        done += 1;
        if told.elapsed() >= TOLD {
            told = Instant::now();
            let line = format!("{done} of {} pairs are asked{}", draws.len(), silent.told(arms));
            eprintln!("guardbit: {}", plain_lines(&line));
        }
        if against == Role::Candidate {
            asked.agreements.extend(pair.agrees());
        }
        if let Some((arm, failure)) = silent.too_long() {
            return Err(format!(
                "{PATIENCE} pairs in a row came to nothing because of {}: {failure}; {}",
                named(arm, arms),
                advice(failure)
            ));
        }
    }
    Ok(asked)
}

impl Asked {
    /// Fails when the pairs say too little about the arms.
    fn check(&self, arms: &Arms, drawn: usize) -> Result<(), String> {
        let none = self.tally.none;
        // What is asked in vain may be just what differs.
        if MOST_LOST * none > drawn as u64 {
            let failures = self.tally.failures.iter().map(|((arm, failure), times)| {
                format!(
                    "\n  {}: {failure} ({times} times); {}",
                    named(*arm, arms),
                    advice(failure)
                )
            });
            let failures: String = failures.collect();
            return Err(format!("{none} of {drawn} pairs came to nothing:{failures}"));
        }
        let is_misled =
            |((arm, failure), _): &(&(Role, Failure), &u64)| *arm == Role::Candidate && is_of_setup(failure);
        let misled: Vec<_> = self.tally.failures.iter().filter(is_misled).collect();
        let questions: u64 = misled.iter().map(|(_, times)| **times).sum();
        if let Some(((arm, failure), _)) = misled.first()
            && questions == self.tally.candidate.pairs.n
        {
            return Err(format!(
                "{} gave no answer to any of {questions} questions: {failure}; {}",
                named(*arm, arms),
                advice(failure)
            ));
        }
        if self.agreements.is_empty() {
            return Err("no pair compares the candidate: raise --pairs, or lower --control".to_owned());
        }
        Ok(())
    }
}

/// Arms that give no answer now: to how many pairs in a row, and why not to the last. They are counted apart, because a pair
/// of the reference with itself says nothing about the candidate.
#[derive(Default)]
struct Silent(BTreeMap<Role, (u32, Failure)>);

impl Silent {
    fn learn(&mut self, against: Role, pair: &Pair) {
        match pair {
            Pair::Failed { arm, failure } => {
                if *arm == Role::Candidate {
                    // Only where the reference has answered is a pair lost by the candidate.
                    self.0.remove(&Role::Reference);
                }
                let (times, last) = self.0.entry(*arm).or_insert_with(|| (0, failure.clone()));
                *times += 1;
                *last = failure.clone();
            }
            Pair::Compared { .. } | Pair::CandidateFailed { .. } => {
                self.0.remove(&Role::Reference);
                self.0.remove(&against);
            }
        }
    }

    /// The arm that has lost so many pairs that it is given up, with the last reason.
    fn too_long(&self) -> Option<(Role, &Failure)> {
        let lost = self.0.iter().find(|(_, (times, _))| *times >= PATIENCE);
        lost.map(|(arm, (_, failure))| (*arm, failure))
    }

    /// What stands behind the count of pairs: nothing while both arms answer.
    fn told(&self, arms: &Arms) -> String {
        let each = self.0.iter().map(|(arm, (times, failure))| {
            let named = named(*arm, arms);
            format!("; {named} gives no answer, {times} in a row: {failure}")
        });
        each.collect()
    }
}

/// Whether a failure is that of an arm which is asked in the wrong way, and not of its model.
fn is_of_setup(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::Status(300..=428 | 430..=499) | Failure::Unreadable(Unreadable::Form(_))
    )
}

fn named(role: Role, arms: &Arms) -> String {
    match role {
        Role::Reference => format!("the reference ({})", arms.reference.url()),
        Role::Candidate => format!("the candidate ({})", arms.candidate.url()),
    }
}

fn advice(failure: &Failure) -> &'static str {
    match failure {
        Failure::Timeout | Failure::Status(429 | 503) => "ask less at once (--concurrency), or later",
        Failure::Unreachable(_) | Failure::BrokeOff(_) => "check the URL, and whether the server runs",
        Failure::Status(401 | 403) => "give it a token (--token-file)",
        Failure::Status(_) => "check --path, and the requests of the golden set",
        Failure::Unreadable(_) | Failure::TooLarge => "check the URL, --protocol, --path and --pointer",
    }
}

/// Waits before a pair, the longer the more pairs before it an arm had no capacity for.
#[derive(Default)]
struct BackOff(Cell<u32>);

impl BackOff {
    async fn wait(&self) {
        let busy = self.0.get();
        if busy > 0 {
            tokio::time::sleep(WAIT * 2u32.pow(busy.min(DOUBLINGS))).await;
        }
    }

    fn learn(&self, pair: &Pair) {
        let busy = matches!(pair, Pair::Failed { failure, .. } if failure.is_busy());
        self.0.set(if busy { self.0.get().saturating_add(1) } else { 0 });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_and_the_same_answer_and_few_questions_make_nobody_healthy() {
        let pair = |agrees, answer| Pair::Compared {
            line: 1,
            agrees,
            distance: None,
            answer,
            tokens: [0; 2],
        };
        for (agrees, answers, is_one_server, distinct, verdict) in [
            (true, 1, false, 30, Verdict::Undecided),
            (true, 2, false, 30, Verdict::Healthy),
            (true, 2, false, 29, Verdict::Undecided),
            (false, 1, false, 30, Verdict::Harmful),
            (false, 2, false, 29, Verdict::Harmful),
            (true, 2, true, 30, Verdict::Undecided),
            (false, 2, true, 30, Verdict::Undecided),
        ] {
            let mut asked = Asked::default();
            for n in 0..500 {
                asked.tally.add(Role::Candidate, &pair(agrees, n % answers));
                asked.agreements.push(agrees);
            }
            let finding = found(&asked, 0.05, is_one_server, distinct);
            let told = format!("{answers} answers, {agrees}, {is_one_server}, {distinct} questions");
            assert_eq!(finding.verdict, verdict, "{told}");
        }
    }

    #[test]
    fn an_arm_that_does_not_answer_is_given_up_whatever_the_other_does() {
        let lost = |arm| Pair::Failed {
            arm,
            failure: Failure::Timeout,
        };
        let answered = || Pair::Compared {
            line: 1,
            agrees: true,
            distance: None,
            answer: 1,
            tokens: [0; 2],
        };
        let (reference, candidate) = (Role::Reference, Role::Candidate);
        for (told, each, given_up) in [
            ("alone", vec![(candidate, lost(candidate))], Some(candidate)),
            (
                "beside pairs of the reference with itself",
                vec![(candidate, lost(candidate)), (reference, answered())],
                Some(candidate),
            ),
            (
                "the reference is out at times",
                vec![(candidate, lost(candidate)), (candidate, lost(reference))],
                Some(candidate),
            ),
            (
                "each second pair",
                vec![(candidate, lost(candidate)), (candidate, answered())],
                None,
            ),
            ("the reference", vec![(reference, lost(reference))], Some(reference)),
            (
                "the reference answers itself",
                vec![(candidate, lost(reference)), (reference, answered())],
                None,
            ),
        ] {
            let mut silent = Silent::default();
            for (against, pair) in each.iter().cycle().take(each.len() * PATIENCE as usize) {
                silent.learn(*against, pair);
            }
            assert_eq!(silent.too_long().map(|(arm, _)| arm), given_up, "{told}");
        }
    }

    #[test]
    fn the_wait_grows_while_an_arm_is_busy_and_ends_with_the_first_answer() {
        let pace = BackOff::default();
        let failed = |failure| Pair::Failed {
            arm: Role::Candidate,
            failure,
        };
        for expected in [1, 2, 3] {
            pace.learn(&failed(Failure::Status(429)));
            assert_eq!(pace.0.get(), expected);
        }
        pace.learn(&failed(Failure::Status(500)));
        assert_eq!(pace.0.get(), 0);
    }
}
