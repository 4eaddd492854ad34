//! News: when the arms have new samples, and what is odd about their counters. It counts nothing.

use crate::evidence::counter::{Limits, Oddities};
use crate::evidence::role::Arm;

use super::pace::scrapes_ms;
use super::polls::{Arms, Books, What};

/// When the arms have new samples.
pub(super) struct News {
    /// Times of samples that count (Unix ms), of the candidate and of the baseline.
    pub(super) times: [Vec<i64>; 2],
    /// Time between two scrapes of a pod, in ms: that of the arm with the fewer scrapes.
    pub(super) scrapes_ms: Option<i64>,
}

/// What is odd about the counters of both arms, in sentences.
pub(super) struct Odd {
    pub(super) problem: Option<String>,
    pub(super) unusable: Option<String>,
}

/// The news of both arms, counted in books that are thrown away.
pub(super) fn of(arms: &Arms<'_>, mut books: Books, limits: &Limits<'_>) -> (News, Odd) {
    let mut times = [Vec::new(), Vec::new()];
    let mut gaps = arms.gaps();
    let odd = arms.count(&mut books, limits, &mut |risen| {
        // A scrape that shows only bad events waits for the one that shows all events.
        if !matches!(risen.what, What::Part(_)) {
            times[risen.arm as usize].push(risen.at);
            gaps[risen.arm as usize].push(risen.at.saturating_sub(risen.from));
        }
    });
    let scrapes_ms = gaps.into_iter().filter_map(scrapes_ms).max();
    (News { times, scrapes_ms }, odd_in_words(&odd))
}

fn odd_in_words(odd: &[Oddities; 2]) -> Odd {
    let all = |pods: fn(&Oddities) -> Vec<&str>| -> String { odd.iter().flat_map(pods).collect::<Vec<_>>().join(", ") };
    let twice = all(|odd| odd.twice.iter().map(String::as_str).collect());
    let muted = all(|odd| odd.muted.iter().map(String::as_str).collect());
    let falls = format!(
        "the counters of {muted} fall again and again, so nothing that they show is counted: either several workers answer \
         the scrapes of one port in turn, and each must be scraped by itself or their counters added up, or the process \
         keeps restarting"
    );
    let silenced = |arm: Arm| {
        let odd = &odd[arm as usize];
        odd.counting == 0 && !odd.muted.is_empty()
    };
    Odd {
        unusable: Arm::BOTH.into_iter().any(silenced).then(|| falls.clone()),
        problem: match (muted.is_empty(), twice.is_empty()) {
            (false, _) => Some(falls),
            (true, false) => Some(format!(
                "{twice} is scraped twice and counted once; remove one of the two scrape jobs"
            )),
            (true, true) => None,
        },
    }
}
