//! Doubles: one process that is scraped twice, by two jobs, on two ports or by two servers, would count every request
//! twice.
//!
//! Two series of scrapes show the same counters if, put together in the order of their times, they never fall: each
//! scrape of one lies between two of the other in time and in value. The counters of two processes do not keep that up.

use std::collections::{BTreeMap, BTreeSet};

use super::target::{Target, pod};

/// How often the scrapes of two targets must take turns before they can be one process.
const TURNS: usize = 3;

/// What the counters of a target show together, by the time of the scrape (Unix ms).
pub(in crate::evidence) type Shown = BTreeMap<i64, f64>;

/// Targets that show the same process as another target of the same pod.
pub(in crate::evidence) fn doubles<'a>(
    targets: impl Iterator<Item = Target<'a>>,
    shown: impl Fn(&Target<'a>) -> Shown,
) -> BTreeSet<Target<'a>> {
    let mut by_pod: BTreeMap<&str, Vec<Target<'a>>> = BTreeMap::new();
    for target in targets.filter(|target| !pod(*target).is_empty()) {
        by_pod.entry(pod(target)).or_default().push(target);
    }
    let mut doubles = BTreeSet::new();
    for targets in by_pod.values().filter(|targets| targets.len() > 1) {
        let mut single: Vec<Shown> = Vec::new();
        for target in targets {
            let shown = shown(target);
            if single.iter().any(|other| are_one(&shown, other)) {
                doubles.insert(*target);
            } else {
                single.push(shown);
            }
        }
    }
    doubles
}

fn are_one(one: &Shown, other: &Shown) -> bool {
    let of = |which: u8, shown: &Shown| {
        let samples = shown.iter().map(move |(at, value)| (*at, *value, which));
        samples.collect::<Vec<_>>()
    };
    let mut both = of(0, one);
    both.extend(of(1, other));
    both.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let pairs = || both.windows(2).map(|pair| (pair[0], pair[1]));
    let turns = pairs().filter(|(a, b)| a.2 != b.2).count();
    let rises = |shown: &Shown| {
        let ends = shown.values().next().zip(shown.values().next_back());
        ends.is_some_and(|(first, last)| first < last)
    };
    turns >= TURNS && rises(one) && rises(other) && pairs().all(|(a, b)| a.1 <= b.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(job: &'static str, samples: &[(i64, f64)]) -> (Target<'static>, Shown) {
        (["a", "a:80", job, ""], samples.iter().copied().collect())
    }

    #[test]
    fn a_process_that_two_jobs_scrape_is_found_and_two_processes_are_not() {
        let one = target("one", &[(0, 10.0), (15, 40.0), (30, 75.0)]);
        let again = target("two", &[(5, 21.0), (20, 51.0), (35, 80.0)]);
        let same_times = target("two", &[(0, 10.0), (15, 40.0), (30, 75.0)]);
        let another = target("two", &[(5, 21.0), (20, 39.0), (35, 80.0)]);
        let idle = target("two", &[(5, 21.0), (20, 21.0), (35, 21.0)]);
        let few = target("two", &[(5, 21.0), (7, 22.0)]);
        let pod = |(_, shown): (Target<'static>, _)| (["b", "b:80", "two", ""], shown);
        let found = |other: (Target<'static>, Shown)| {
            let both = BTreeMap::from([one.clone(), other]);
            doubles(both.keys().copied(), |target| both[target].clone()).len()
        };
        assert_eq!((found(again.clone()), found(same_times)), (1, 1));
        assert_eq!(
            (found(another), found(idle), found(few), found(pod(again))),
            (0, 0, 0, 0)
        );
    }
}
