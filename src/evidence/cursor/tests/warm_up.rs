//! What pods did before they were warm is left out; pods that have counted go on counting.

use super::*;

/// Pods "a" and "b" started at 0 and 30 s; `warm` has the seconds from which what they do counts.
fn advance(cursor: &mut Cursor, samples: &GuardSamples, now: i64, warm: &[(&str, i64)]) -> (u64, u64) {
    let of = |times: &[(&str, i64)]| -> BTreeMap<String, i64> {
        times
            .iter()
            .map(|(pod, seconds)| ((*pod).into(), at(*seconds)))
            .collect()
    };
    let (started, warm) = (of(&[("a", 0), ("b", 30)]), of(warm));
    let pods = Pods {
        started: &started,
        warm: &warm,
    };
    sum(&cursor.advance_warm(samples, at(now), INTERVAL, pods).polls)
}

fn counters(total: &[(i64, f64)], bad: &[(i64, f64)]) -> GuardSamples {
    errors(&[of("a", "200", total), of("a", "500", bad)], &[of("a", "500", bad)])
}

#[test]
fn a_cold_start_is_left_out_and_what_it_counted_is_the_base() {
    let samples = counters(
        &[(15, 50.0), (30, 100.0), (45, 150.0), (60, 210.0)],
        &[(15, 40.0), (30, 60.0), (45, 61.0), (60, 63.0)],
    );
    let mut cursor = Cursor::new(at(0));
    assert_eq!(advance(&mut cursor, &samples, 30, &[("a", 40)]), (0, 0));
    // The sample at 45 s is the first that counts, as the base of the next.
    assert_eq!(advance(&mut cursor, &samples, 45, &[("a", 40)]), (0, 0));
    assert_eq!(advance(&mut cursor, &samples, 60, &[("a", 40)]), (60 + 2, 2));
}

#[test]
fn an_error_that_first_occurs_on_a_warm_pod_counts() {
    let samples = counters(&[(15, 50.0), (30, 100.0), (45, 150.0)], &[(45, 3.0)]);
    let mut cursor = Cursor::new(at(0));
    assert_eq!(advance(&mut cursor, &samples, 45, &[("a", 20)]), (50 + 3, 3));
}

#[test]
fn a_pod_that_joins_later_is_left_out_alone() {
    let samples = errors(
        &[
            of(
                "a",
                "200",
                &[(0, 100.0), (15, 110.0), (30, 120.0), (45, 130.0), (60, 140.0)],
            ),
            of("b", "200", &[(45, 500.0), (60, 505.0), (75, 512.0)]),
        ],
        &[],
    );
    let mut cursor = Cursor::new(at(0));
    let warm = [("a", -60), ("b", 60)];
    assert_eq!(advance(&mut cursor, &samples, 60, &warm), (40, 0));
    assert_eq!(advance(&mut cursor, &samples, 75, &warm), (7, 0));
}

#[test]
fn a_pod_that_has_counted_goes_on_to_though_it_became_ready_anew() {
    let samples = counters(&[(0, 0.0), (15, 10.0), (30, 20.0), (45, 30.0)], &[]);
    let mut cursor = Cursor::new(at(0));
    assert_eq!(advance(&mut cursor, &samples, 15, &[("a", -10)]), (10, 0));
    assert_eq!(advance(&mut restarted(&cursor), &samples, 45, &[("a", 300)]), (20, 0));
}

#[test]
fn a_pod_that_is_not_ready_yet_counts_for_nothing() {
    let samples = counters(&[(15, 10.0), (30, 20.0)], &[(15, 9.0), (30, 18.0)]);
    let started = BTreeMap::from([("a".to_owned(), at(0))]);
    let warm = BTreeMap::from([("a".to_owned(), i64::MAX)]);
    let pods = Pods {
        started: &started,
        warm: &warm,
    };
    let advance = Cursor::new(at(0)).advance_warm(&samples, at(30), INTERVAL, pods);
    assert_eq!(advance.polls, []);
}

#[test]
fn the_buckets_of_a_cold_start_are_left_out_alike() {
    let le = |le: &str, samples: &[(i64, f64)]| series(&[("pod", "a"), ("le", le)], samples);
    let counts = [(15, 10.0), (30, 20.0), (45, 35.0)];
    let arm = ArmSamples::of([(Role::Buckets, matrix(&[le("1", &counts), le("+Inf", &counts)]))]);
    let samples = GuardSamples {
        candidate: arm.clone(),
        baseline: arm,
    };
    let started = BTreeMap::from([("a".to_owned(), at(0))]);
    let warm = BTreeMap::from([("a".to_owned(), at(30))]);
    let pods = Pods {
        started: &started,
        warm: &warm,
    };
    let polls = Cursor::new(at(0)).advance_warm(&samples, at(45), INTERVAL, pods).polls;
    let [poll] = polls.as_slice() else { panic!("{polls:?}") };
    let Observed::Histogram { candidate, .. } = &poll.observed else {
        panic!("{poll:?}")
    };
    assert_eq!(candidate.counts, [15, 0]);
}
