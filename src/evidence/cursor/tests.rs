use proptest::prelude::*;

use super::*;
use crate::evidence::Series;

const INTERVAL: i64 = 15_000;
/// A plausible time, so that sizes are plausible too.
const T0: i64 = 1_790_000_000_000;

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> Series {
    Series {
        labels: labels
            .iter()
            .map(|&(name, value)| (name.into(), value.into()))
            .collect(),
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
        warnings: vec![],
    }
}

fn errors(total: &[Series], bad: &[Series]) -> GuardSamples {
    let arm = |part, total| ArmSamples::Proportion {
        part,
        total,
        kind: PartKind::Bad,
    };
    GuardSamples {
        candidate: arm(matrix(bad), matrix(total)),
        baseline: arm(Matrix::default(), Matrix::default()),
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
    // Pod `a` is known from the first scrape; what appears at 30 s is new.
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
            .starts_with("3 more events were counted by the first counter than by total")
    );
}

#[test]
fn good_events_are_turned_into_bad_ones() {
    let arm = |good: f64| ArmSamples::Proportion {
        total: matrix(&[of("a", "", &[(0, 0.0), (15, 10.0)])]),
        part: matrix(&[of("a", "good", &[(0, 0.0), (15, good)])]),
        kind: PartKind::Good,
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
        cursor.advance(&errors(&idle, &[]), at(20), INTERVAL, &no_pods()).polls,
        [],
        "a clock that went back"
    );
    assert_eq!(cursor.through(), at(30));
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
    let with_series = encoded(&cursor).len();
    cursor.advance(&errors(&[], &[]), at(3600), INTERVAL, &no_pods());
    assert!(encoded(&cursor).len() >= with_series);
    cursor.advance(&errors(&[], &[]), at(3616), INTERVAL, &no_pods());
    assert_eq!(
        cursor,
        Cursor {
            since: at(0),
            through: at(3616),
            ledger: Ledger::new()
        }
    );
}

#[test]
fn a_pod_that_was_forgotten_does_not_count_again_from_zero() {
    let pods = BTreeMap::from([("a".to_owned(), at(1))]);
    let mut cursor = Cursor::new(at(0));
    let polls = cursor
        .advance(&errors(&[of("a", "200", &[(15, 50.0)])], &[]), at(15), INTERVAL, &pods)
        .polls;
    assert_eq!(sum(&polls), (50, 0));
    cursor.advance(&errors(&[], &[]), at(4000), INTERVAL, &pods);
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
        candidate: ArmSamples::Histogram(candidate),
        baseline: ArmSamples::Histogram(Matrix::default()),
    };
    let advance = Cursor::new(at(0)).advance(&samples, at(15), INTERVAL, &no_pods());
    let expected = Observed::Histogram {
        candidate: Buckets {
            bounds: vec![0.5, 1.0],
            counts: vec![3, 2, 1],
        },
        baseline: Buckets {
            bounds: vec![0.5, 1.0],
            counts: vec![0, 0, 0],
        },
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
        candidate: ArmSamples::Value(matrix(values)),
        baseline: ArmSamples::Value(Matrix::default()),
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
fn jitter_makes_one_poll_and_an_outage_those_that_were_missed() {
    let grid = |now: i64| {
        let grid = Grid::new(at(0), at(now), INTERVAL);
        let polls: Vec<_> = (1..=grid.full + 1)
            .map(|cell| grid.poll(cell, Observed::Value(0.0)))
            .collect();
        polls
            .iter()
            .map(|poll| ((poll.from - T0) / 1000, (poll.through - T0) / 1000))
            .collect::<Vec<_>>()
    };
    assert_eq!(grid(14), [(0, 14)]);
    assert_eq!(grid(22), [(0, 22)]);
    assert_eq!(grid(23), [(0, 15), (15, 23)]);
    assert_eq!(grid(45), [(0, 15), (15, 30), (30, 45)]);
    assert_eq!(grid(52), [(0, 15), (15, 30), (30, 52)]);
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
    assert!(bytes <= 300 * 12 + 20, "{bytes}");
    assert_eq!(restarted(&cursor), cursor);
}

/// One scrape of a server: what happened since the one before.
#[derive(Clone, Debug)]
struct Scrape {
    ok: u16,
    failed: u16,
    restart: Restart,
    seen: Seen,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Restart {
    No,
    Yes,
}

#[derive(Clone, Copy, Debug)]
enum Seen {
    Missed,
    After(i64),
}

fn scrape() -> impl Strategy<Value = Scrape> {
    let restart = prop_oneof![9 => Just(Restart::No), 1 => Just(Restart::Yes)];
    let seen =
        prop_oneof![1 => Just(Seen::Missed), 3 => Just(Seen::After(0)), 3 => (0i64..30_000).prop_map(Seen::After)];
    (0u16..50, prop_oneof![2 => Just(0u16), 1 => 0u16..5], restart, seen).prop_map(|(ok, failed, restart, seen)| {
        Scrape {
            ok,
            failed,
            restart,
            seen,
        }
    })
}

/// A sample that Prometheus can show from some time on.
type Stored = (i64, i64, f64);

/// The samples of a server, by error code. A code is exposed once it has occurred.
fn stored(scrapes: &[Scrape], offset: i64) -> [(&'static str, Vec<Stored>); 2] {
    let (mut ok, mut failed, mut visible) = (0.0, 0.0, i64::MIN);
    let mut samples = [("200", vec![]), ("500", vec![])];
    for (
        i,
        Scrape {
            ok: more_ok,
            failed: more_failed,
            restart,
            seen,
        },
    ) in scrapes.iter().enumerate()
    {
        // The last two scrapes are whole, so that all streams end with the same scrape.
        let ending = i + 2 >= scrapes.len();
        if *restart == Restart::Yes && !ending {
            (ok, failed) = (0.0, 0.0);
        }
        ok += f64::from(*more_ok);
        failed += f64::from(*more_failed);
        let time = T0 + offset + i as i64 * INTERVAL;
        let delay = match *seen {
            Seen::Missed if !ending => continue,
            Seen::Missed => 0,
            Seen::After(delay) => delay,
        };
        visible = visible.max(time + delay);
        samples[0].1.push((time, visible, ok));
        if failed > 0.0 {
            samples[1].1.push((time, visible, failed));
        }
    }
    samples
}

fn visible(pod: &str, code: &str, samples: &[Stored], from: i64, now: i64, seen_at: i64) -> Series {
    let mut series = of(pod, code, &[]);
    series.samples = samples
        .iter()
        .filter(|&&(at, visible, _)| at > from && at <= now && visible <= seen_at)
        .map(|&(at, _, value)| (at, value))
        .collect();
    series
}

type Server = (&'static str, [(&'static str, Vec<Stored>); 2]);

/// What Prometheus answers at `now`; the second query comes `race` ms after the first.
fn answer(servers: &[Server], window: u64, now: i64, race: i64) -> GuardSamples {
    let from = now - window as i64;
    let each = |code: Option<&str>, seen_at: i64| -> Vec<Series> {
        servers
            .iter()
            .flat_map(|(pod, codes)| codes.iter().map(move |(code, samples)| (*pod, *code, samples)))
            .filter(|(_, c, _)| code.is_none_or(|code| code == *c))
            .map(|(pod, code, samples)| visible(pod, code, samples, from, now, seen_at))
            .filter(|series| !series.samples.is_empty())
            .collect()
    };
    errors(&each(None, now), &each(Some("500"), now + race))
}

/// The increments of all samples of a server after its base, one by one.
fn counted(samples: &[Stored], base: i64) -> u64 {
    let before = samples
        .iter()
        .rev()
        .find(|(at, _, _)| *at <= base)
        .map_or(0.0, |(_, _, value)| *value);
    let after = samples
        .iter()
        .filter(|(at, _, _)| *at > base)
        .map(|(_, _, value)| *value);
    let (_, sum) = after.fold((before, 0.0), |(last, sum), value| {
        (value, sum + if value < last { value } else { value - last })
    });
    sum as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn however_the_samples_are_chunked_each_counts_once(
        a in proptest::collection::vec(scrape(), 4..40),
        b in proptest::collection::vec(scrape(), 4..40),
        since in 0i64..120_000,
        gaps in proptest::collection::vec((1i64..80_000, 0i64..2000, 0u8..8), 0..40),
    ) {
        let servers = [("a", stored(&a, 3_217)), ("b", stored(&b, 9_001))];
        let since = T0 + since;
        let pods = BTreeMap::from([("b".to_owned(), since)]);
        let mut cursor = Cursor::new(since);
        let mut polls: Vec<Poll> = Vec::new();
        let mut saved = (cursor.clone(), 0);
        let mut now = since;
        let end = T0 + 42 * INTERVAL + 60_000;
        for (gap, race, what) in gaps {
            now = (now + gap).min(end - 1);
            let samples = answer(&servers, cursor.window_ms(now, INTERVAL), now, race);
            let advance = cursor.advance(&samples, now, INTERVAL, &pods);
            prop_assert_eq!(&advance.problem, &None);
            polls.extend(advance.polls);
            match what {
                0 => cursor = restarted(&cursor),
                1 => saved = (restarted(&cursor), polls.len()),
                // The controller is killed: what it had not written is gone.
                2 => {
                    cursor = saved.0.clone();
                    polls.truncate(saved.1);
                }
                _ => {}
            }
        }
        let samples = answer(&servers, cursor.window_ms(end, INTERVAL), end, 0);
        polls.extend(cursor.advance(&samples, end, INTERVAL, &pods).polls);

        let base = |(pod, codes): &Server| match *pod {
            "b" => since - 1,
            _ => codes[0].1.iter().map(|(at, _, _)| *at).find(|at| *at >= since).unwrap_or(i64::MAX),
        };
        let in_evidence = |samples: &[Stored]| samples.iter().copied().filter(|(at, _, _)| *at >= since).collect::<Vec<_>>();
        let bad: u64 = servers.iter().map(|server| counted(&in_evidence(&server.1[1].1), base(server))).sum();
        let good: u64 = servers.iter().map(|server| counted(&in_evidence(&server.1[0].1), base(server))).sum();
        prop_assert_eq!(sum(&polls), (good + bad, bad));
        prop_assert!(polls.windows(2).all(|pair| pair[0].through <= pair[1].from), "overlap: {:?}", polls);
        prop_assert!(polls.iter().all(|poll| poll.from < poll.through));
    }

    #[test]
    fn replaying_an_outage_gives_the_very_polls_of_polling_in_time(
        scrapes in proptest::collection::vec(scrape(), 4..40),
        rounds in 2i64..40,
    ) {
        let punctual: Vec<_> = scrapes
            .into_iter()
            .map(|scrape| Scrape { seen: match scrape.seen { Seen::After(_) => Seen::After(0), missed => missed }, ..scrape })
            .collect();
        let servers = [("a", stored(&punctual, 3_217))];
        let poll = |cursor: &mut Cursor, now: i64| {
            let samples = answer(&servers, cursor.window_ms(now, INTERVAL), now, 0);
            cursor.advance(&samples, now, INTERVAL, &no_pods()).polls
        };
        let mut live = Cursor::new(T0);
        let mut replayed = live.clone();
        let seen: Vec<_> = (1..=rounds).flat_map(|round| poll(&mut live, T0 + round * INTERVAL)).collect();
        let replay = poll(&mut replayed, T0 + rounds * INTERVAL);
        prop_assert_eq!(seen, replay);
        prop_assert_eq!(live, replayed);
    }

    #[test]
    fn arbitrary_samples_never_panic_nor_give_impossible_counts(
        total in proptest::collection::vec(proptest::collection::vec((any::<i64>(), any::<f64>()), 0..8), 0..4),
        part in proptest::collection::vec(proptest::collection::vec((any::<i64>(), any::<f64>()), 0..8), 0..4),
        les in proptest::collection::vec(any::<f64>(), 4),
        since in any::<i64>(), nows in proptest::collection::vec(any::<i64>(), 1..4), interval in any::<i64>(),
        started in any::<i64>(),
    ) {
        let raw = |lists: &[Vec<(i64, f64)>]| {
            let each = lists.iter().zip(&les).map(|(samples, le)| {
                let mut series = of("a", &le.to_string(), &[]);
                series.labels.insert("le".into(), le.to_string());
                series.samples = samples.clone();
                series
            });
            Matrix { series: each.collect(), warnings: vec![] }
        };
        let pods = BTreeMap::from([("a".to_owned(), started)]);
        let proportion = ArmSamples::Proportion { part: raw(&part), total: raw(&total), kind: PartKind::Bad };
        let arms = [proportion, ArmSamples::Histogram(raw(&total)), ArmSamples::Value(raw(&part)), ArmSamples::default()];
        for candidate in &arms {
            for baseline in &arms {
                let samples = GuardSamples { candidate: candidate.clone(), baseline: baseline.clone() };
                let mut cursor = Cursor::new(since);
                for &now in &nows {
                    let _ = cursor.window_ms(now, interval);
                    for poll in cursor.advance(&samples, now, interval, &pods).polls {
                        prop_assert!(poll.from < poll.through);
                        match poll.observed {
                            Observed::Proportion { candidate, baseline } => {
                                prop_assert!(candidate.x <= candidate.n && baseline.x <= baseline.n);
                            }
                            Observed::Histogram { candidate, baseline } => {
                                prop_assert_eq!(candidate.counts.len(), candidate.bounds.len() + 1);
                                prop_assert_eq!(&candidate.bounds, &baseline.bounds);
                                prop_assert!(candidate.bounds.windows(2).all(|pair| pair[0] < pair[1]));
                            }
                            Observed::Value(value) => prop_assert!(value.is_finite()),
                        }
                    }
                    prop_assert_eq!(&restarted(&cursor), &cursor);
                    cursor.skip_to(now);
                }
            }
        }
    }

    #[test]
    fn bytes_that_are_no_cursor_are_an_error_or_a_cursor_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(mut cursor) = postcard::from_bytes::<Cursor>(&bytes) {
            let total = [of("a", "200", &[(0, 5.0), (15, 6.0)])];
            cursor.advance(&errors(&total, &[]), at(15), INTERVAL, &no_pods());
            prop_assert_eq!(&restarted(&cursor), &cursor);
        }
    }
}
