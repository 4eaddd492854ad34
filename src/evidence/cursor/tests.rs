use super::*;
use crate::evidence::{Buckets, Counts, Matrix, Role, Series};

mod falls;
mod properties;
mod ratios;
mod warm_up;

const INTERVAL: i64 = 15_000;
/// A plausible time, so that encoded sizes are plausible too.
const T0: i64 = 1_790_000_000_000;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels.iter().copied().collect(),
        samples: samples
            .iter()
            .map(|&(seconds, value)| (T0 + seconds * 1000, value))
            .collect(),
    }
}

fn of(pod: &str, code: &str, samples: &[(i64, f64)]) -> Series {
    series(
        &[
            ("__name__", "requests_total"),
            ("pod", pod),
            ("instance", pod),
            ("job", "j"),
            ("code", code),
        ],
        samples,
    )
}

fn matrix(series: &[Series]) -> Matrix {
    Matrix {
        series: series.to_vec(),
    }
}

fn errors(total: &[Series], bad: &[Series]) -> GuardSamples {
    let arm = |part, total| ArmSamples::of([(Role::Total, total), (Role::Bad, part)]);
    // Both arms are the same, so that polls close with the samples of the candidate.
    GuardSamples {
        candidate: arm(matrix(bad), matrix(total)),
        baseline: arm(matrix(bad), matrix(total)),
    }
}

fn at(seconds: i64) -> i64 {
    T0 + seconds * 1000
}

fn no_pods() -> BTreeMap<String, i64> {
    BTreeMap::new()
}

/// Sum over the polls of the candidate's counts.
fn sum(polls: &[Poll]) -> (u64, u64) {
    polls.iter().fold((0, 0), |(n, x), poll| match &poll.observed {
        Observed::Proportion { candidate, .. } => (n + candidate.n, x + candidate.x),
        other => panic!("{other:?}"),
    })
}

fn encoded(cursor: &Cursor) -> Vec<u8> {
    postcard::to_allocvec(cursor).unwrap()
}

fn restarted(cursor: &Cursor) -> Cursor {
    postcard::from_bytes(&encoded(cursor)).unwrap()
}

#[test]
fn a_reset_inside_the_window_is_counted_from_zero() {
    let mut cursor = Cursor::new(at(0));
    let total = [of("a", "200", &[(0, 100.0), (15, 110.0), (30, 4.0), (45, 6.0)])];
    let advance = cursor.advance(&errors(&total, &[]), at(45), 60_000, &no_pods());
    assert_eq!(sum(&advance.polls), (10 + 4 + 2, 0));
    assert_eq!(advance.newest_sample, Some(at(45)));
}

#[test]
fn where_a_new_series_begins_to_count() {
    let started_before = BTreeMap::from([("b".to_owned(), at(-60))]);
    let started_under_watch = BTreeMap::from([("b".to_owned(), at(20))]);
    // Pod `a` is known from the first scrape; the series that appears at 30 s is new.
    let cases = [
        (
            "an error code on a known pod",
            of("a", "500", &[(30, 3.0), (45, 4.0)]),
            no_pods(),
            4,
        ),
        (
            "a pod of unknown age",
            of("b", "200", &[(30, 3.0), (45, 4.0)]),
            no_pods(),
            1,
        ),
        (
            "a pod that is older than the evidence",
            of("b", "200", &[(30, 3.0), (45, 4.0)]),
            started_before,
            1,
        ),
        (
            "a pod that started since",
            of("b", "200", &[(30, 3.0), (45, 4.0)]),
            started_under_watch,
            4,
        ),
    ];
    for (name, new, pods, expected) in cases {
        let known = of("a", "200", &[(0, 70.0), (15, 70.0), (30, 70.0), (45, 70.0)]);
        let mut whole = Cursor::new(at(0));
        let all = errors(&[known.clone(), new.clone()], &[]);
        assert_eq!(
            sum(&whole.advance(&all, at(45), INTERVAL, &pods).polls),
            (expected, 0),
            "{name}"
        );

        let mut stepwise = Cursor::new(at(0));
        let polls: Vec<_> = [0, 15, 30, 45]
            .into_iter()
            .flat_map(|now| stepwise.advance(&all, at(now) + 1, INTERVAL, &pods).polls)
            .collect();
        assert_eq!(sum(&polls), (expected, 0), "{name}, step by step");
    }
}

#[test]
fn what_happened_before_a_change_of_weights_is_not_counted_nor_the_interval_around_it() {
    let total = [of(
        "a",
        "200",
        &[(0, 0.0), (15, 100.0), (30, 200.0), (45, 300.0), (60, 301.0)],
    )];
    let mut cursor = Cursor::new(at(0));
    assert_eq!(
        sum(&cursor.advance(&errors(&total, &[]), at(15), INTERVAL, &no_pods()).polls),
        (100, 0)
    );
    cursor.skip_to(at(40));
    // The sample at 45 s is the base: the rise from 200 to 300 mixes old and new weights.
    assert_eq!(
        sum(&cursor.advance(&errors(&total, &[]), at(60), INTERVAL, &no_pods()).polls),
        (1, 0)
    );
    cursor.skip_to(at(20));
    assert_eq!(
        cursor.since(),
        at(60),
        "evidence that was counted is never counted again"
    );
}

#[test]
fn a_gap_longer_than_the_window_is_bridged_by_the_remembered_values() {
    let mut cursor = Cursor::new(at(0));
    cursor.advance(
        &errors(&[of("a", "200", &[(0, 10.0), (15, 20.0)])], &[]),
        at(15),
        INTERVAL,
        &no_pods(),
    );
    let mut cursor = restarted(&cursor);
    let later = [of("a", "200", &[(20_000, 500.0), (20_015, 505.0)])];
    let advance = cursor.advance(&errors(&later, &[]), at(20_015), INTERVAL, &no_pods());
    assert_eq!(sum(&advance.polls), (485, 0));
}

#[test]
fn a_restart_that_some_counters_hide_is_one_of_all_counters_of_the_pod() {
    // During the gap the server restarted. It has served more requests since than before, and fewer of them failed.
    let total = of("a", "200", &[(0, 1_000.0), (900, 1_200.0), (915, 1_210.0)]);
    let of_bad = |now: f64| {
        let bad = of("a", "500", &[(0, 30.0), (900, now), (915, now)]);
        let samples = errors(&[total.clone(), bad.clone()], &[bad]);
        let mut cursor = Cursor::new(at(0));
        sum(&cursor.advance(&samples, at(915), INTERVAL, &no_pods()).polls)
    };
    assert_eq!(of_bad(4.0), (1_214, 4));
    // Whether this is a restart nobody can tell, so nothing is counted in the gap.
    assert_eq!(of_bad(24.0), (10, 0));
    // An error code is exposed again long after the restart, with the same count as before.
    let late = of("a", "502", &[(0, 1.0)]);
    let quiet = of("a", "200", &[(0, 1_000.0), (15, 10.0), (30, 20.0)]);
    let mut cursor = Cursor::new(at(0));
    let first = errors(&[quiet, late.clone()], &[late]);
    assert_eq!(
        sum(&cursor.advance(&first, at(30), INTERVAL, &no_pods()).polls),
        (20, 0)
    );
    let (ok, again) = (of("a", "200", &[(30, 20.0), (45, 30.0)]), of("a", "502", &[(45, 1.0)]));
    let second = errors(&[ok, again.clone()], &[again]);
    let mut cursor = restarted(&cursor);
    assert_eq!(
        sum(&cursor.advance(&second, at(45), INTERVAL, &no_pods()).polls),
        (11, 1)
    );
}

#[test]
fn a_sum_over_pods_that_falls_counts_nothing_then_and_goes_on_from_there() {
    let line = |code: &str, samples: &[(i64, f64)]| series(&[("__name__", "requests_total"), ("code", code)], samples);
    let total = [
        line("200", &[(0, 1_000.0), (15, 1_010.0), (30, 1_020.0)]),
        line("201", &[(0, 50.0), (15, 4.0), (30, 5.0)]),
    ];
    let polls = Cursor::new(at(0))
        .advance(&errors(&total, &[]), at(30), INTERVAL, &no_pods())
        .polls;
    assert_eq!(sum(&polls), (11, 0));
}

#[test]
fn a_server_that_stands_still_gives_the_very_polls_once_it_goes_on() {
    let samples: Vec<_> = (0..20).map(|i| (i * 15, (i * i) as f64)).collect();
    let known = |through: i64| errors(&[of("a", "200", &samples[..=through as usize])], &[]);
    let (mut live, mut still) = (Cursor::new(at(0)), Cursor::new(at(0)));
    let poll = |cursor: &mut Cursor, round: i64, through: i64| {
        cursor
            .advance(&known(through), at(round * 15), INTERVAL, &no_pods())
            .polls
    };
    let seen: Vec<_> = (1..20).flat_map(|round| poll(&mut live, round, round)).collect();
    // The answers stand still after the third scrape, are then empty, and then bring all samples at once.
    let mut late: Vec<_> = (1..15)
        .flat_map(|round| poll(&mut still, round, round.min(3)))
        .collect();
    late.extend(
        still
            .advance(&errors(&[], &[]), at(15 * 15), INTERVAL, &no_pods())
            .polls,
    );
    late.extend(poll(&mut still, 19, 19));
    assert_eq!((seen, live), (late, still));
}

#[test]
fn events_of_a_scrape_that_only_one_query_has_seen_wait_for_the_other() {
    let all_total = of("a", "200", &[(0, 0.0), (15, 10.0), (30, 20.0)]);
    let all_bad = of("a", "500", &[(0, 0.0), (15, 2.0), (30, 3.0)]);
    let first = |series: &Series, n: usize| Series {
        samples: series.samples[..n].to_vec(),
        ..series.clone()
    };
    for (total_seen, bad_seen) in [(2, 3), (3, 2)] {
        let mut cursor = Cursor::new(at(0));
        let torn = errors(&[first(&all_total, total_seen)], &[first(&all_bad, bad_seen)]);
        let advance = cursor.advance(&torn, at(30), INTERVAL, &no_pods());
        assert_eq!(
            sum(&advance.polls),
            (10, 2),
            "{total_seen} scrapes of total, {bad_seen} of bad"
        );
        let whole = errors(std::slice::from_ref(&all_total), std::slice::from_ref(&all_bad));
        let next = cursor.advance(&whole, at(40), INTERVAL, &no_pods());
        assert_eq!(
            sum(&next.polls),
            (10, 1),
            "{total_seen} scrapes of total, {bad_seen} of bad"
        );
    }
}

#[test]
fn an_error_code_that_a_restarted_server_no_longer_exposes_holds_up_nothing() {
    let total = [of("a", "200", &[(0, 50.0), (15, 60.0), (30, 1.0), (45, 9.0)])];
    let bad = [of("a", "500", &[(0, 1.0), (15, 2.0)])];
    let mut cursor = Cursor::new(at(0));
    assert_eq!(
        sum(&cursor
            .advance(&errors(&total, &bad), at(45), INTERVAL, &no_pods())
            .polls),
        (19, 1)
    );
}

#[test]
fn more_bad_events_than_events_is_clamped_and_told() {
    let mut cursor = Cursor::new(at(0));
    let advance = cursor.advance(
        &errors(
            &[of("a", "200", &[(0, 0.0), (15, 5.0)])],
            &[of("a", "500", &[(0, 0.0), (15, 8.0)])],
        ),
        at(15),
        INTERVAL,
        &no_pods(),
    );
    assert_eq!(sum(&advance.polls), (5, 5));
    assert!(
        advance
            .problem
            .unwrap()
            .starts_with("6 more events were counted by the first counter than by total")
    );
}

#[test]
fn good_events_are_turned_into_bad_ones() {
    let arm = |good: f64| {
        ArmSamples::of([
            (Role::Total, matrix(&[of("a", "", &[(0, 0.0), (15, 10.0)])])),
            (Role::Good, matrix(&[of("a", "good", &[(0, 0.0), (15, good)])])),
        ])
    };
    let samples = GuardSamples {
        candidate: arm(7.0),
        baseline: arm(10.0),
    };
    let advance = Cursor::new(at(0)).advance(&samples, at(15), INTERVAL, &no_pods());
    let expected = Observed::Proportion {
        candidate: Counts { n: 10, x: 3 },
        baseline: Counts { n: 10, x: 0 },
    };
    assert_eq!(
        advance.polls,
        [Poll {
            from: at(0),
            through: at(15),
            observed: expected
        }]
    );
}

#[test]
fn no_new_sample_gives_no_poll_and_an_idle_server_gives_an_empty_one() {
    let mut cursor = Cursor::new(at(0));
    let idle = [of("a", "200", &[(0, 5.0), (15, 5.0)])];
    assert_eq!(
        cursor.advance(&errors(&[], &[]), at(10), INTERVAL, &no_pods()),
        Advance::default(),
        "no series: no data"
    );
    assert_eq!(
        cursor
            .advance(&errors(&idle, &[]), at(15), INTERVAL, &no_pods())
            .polls
            .len(),
        1
    );
    let again = cursor.advance(&errors(&idle, &[]), at(30), INTERVAL, &no_pods());
    assert_eq!(
        (again.polls.len(), again.newest_sample),
        (0, Some(at(15))),
        "only old samples: no poll"
    );
    assert_eq!(
        cursor.advance(&errors(&idle, &[]), at(10), INTERVAL, &no_pods()).polls,
        [],
        "a clock that went back"
    );
    assert_eq!(cursor.through(), at(15), "what is missing may yet come");
}

#[test]
fn a_pod_that_is_gone_is_forgotten_after_an_hour_and_not_before() {
    let mut cursor = Cursor::new(at(0));
    cursor.advance(
        &errors(&[of("a", "200", &[(0, 5.0), (15, 6.0)])], &[]),
        at(15),
        INTERVAL,
        &no_pods(),
    );
    let mut other = |now: i64, value: f64| {
        let other = [of("b", "200", &[(now - 15, value - 1.0), (now, value)])];
        cursor.advance(&errors(&other, &[]), at(now), INTERVAL, &no_pods());
        // Each arm has an entry.
        cursor.books.ledger.len() / 2
    };
    assert_eq!((other(30, 1.0), other(3_600, 9.0)), (2, 2));
    assert_eq!(other(3_630, 19.0), 1);
}

#[test]
fn a_pod_that_was_forgotten_does_not_count_again_from_zero() {
    let pods = BTreeMap::from([("a".to_owned(), at(1))]);
    let mut cursor = Cursor::new(at(0));
    let polls = cursor
        .advance(&errors(&[of("a", "200", &[(15, 50.0)])], &[]), at(15), INTERVAL, &pods)
        .polls;
    assert_eq!(sum(&polls), (50, 0));
    let other = [of("b", "200", &[(3_985, 7.0), (4_000, 7.0)])];
    cursor.advance(&errors(&other, &[]), at(4000), INTERVAL, &pods);
    let back = [of("a", "200", &[(4010, 60.0), (4025, 61.0)])];
    assert_eq!(
        sum(&cursor.advance(&errors(&back, &[]), at(4025), INTERVAL, &pods).polls),
        (1, 0)
    );
}

#[test]
fn histograms_are_counted_per_bucket_and_a_renamed_bound_is_the_same_bucket() {
    let bucket = |le: &str, samples: &[(i64, f64)]| {
        series(
            &[
                ("__name__", "d_bucket"),
                ("pod", "a"),
                ("instance", "a"),
                ("job", "j"),
                ("le", le),
            ],
            samples,
        )
    };
    let candidate = matrix(&[
        bucket("0.5", &[(0, 1.0), (15, 4.0)]),
        // Prometheus was upgraded between the two scrapes.
        bucket("1", &[(0, 2.0)]),
        bucket("1.0", &[(15, 7.0)]),
        bucket("+Inf", &[(0, 2.0), (15, 8.0)]),
    ]);
    let samples = GuardSamples {
        candidate: ArmSamples::of([(Role::Buckets, candidate.clone())]),
        baseline: ArmSamples::of([(Role::Buckets, candidate)]),
    };
    let advance = Cursor::new(at(0)).advance(&samples, at(15), INTERVAL, &no_pods());
    let buckets = Buckets {
        bounds: vec![0.5, 1.0],
        counts: vec![3, 2, 1],
        pods: 1,
    };
    let expected = Observed::Histogram {
        candidate: buckets.clone(),
        baseline: buckets,
    };
    assert_eq!(
        advance.polls,
        [Poll {
            from: at(0),
            through: at(15),
            observed: expected
        }]
    );
    assert_eq!(advance.problem, None);
}

#[test]
fn a_free_query_must_have_one_value() {
    let samples = |values: &[Series]| GuardSamples {
        candidate: ArmSamples::of([(Role::Value, matrix(values))]),
        baseline: ArmSamples::of([(Role::Value, Matrix::default())]),
    };
    let mut cursor = Cursor::new(at(0));
    let one = cursor.advance(&samples(&[series(&[], &[(15, 0.7)])]), at(15), INTERVAL, &no_pods());
    assert_eq!(
        one.polls,
        [Poll {
            from: at(0),
            through: at(15),
            observed: Observed::Value(0.7)
        }]
    );
    let two = [
        series(&[("gpu", "0")], &[(30, 0.7)]),
        series(&[("gpu", "1")], &[(30, 0.8)]),
    ];
    let advance = cursor.advance(&samples(&two), at(30), INTERVAL, &no_pods());
    assert_eq!(advance.polls, []);
    assert_eq!(
        advance.problem.as_deref(),
        Some("the query gave 2 values: wrap it in max(…), min(…) or avg(…)")
    );
}

#[test]
fn a_cursor_takes_at_most_twelve_bytes_per_series() {
    let mut cursor = Cursor::new(at(0));
    let total: Vec<_> = (0..300)
        .map(|i| {
            of(
                &format!("fraud-int8-7d4b9-{i:05}"),
                "200",
                &[(i % 15, 0.0), (15 + i % 15, 2e6 + i as f64)],
            )
        })
        .collect();
    cursor.advance(&errors(&total, &[]), at(30), INTERVAL, &no_pods());
    let bytes = encoded(&cursor).len();
    // Each series is in both arms.
    assert!(bytes <= 2 * 300 * 12 + 20, "{bytes}");
    assert_eq!(restarted(&cursor), cursor);
}
