//! Each increment counts once, in whatever way the same samples arrive.

use proptest::prelude::*;

use super::*;

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
        // The last two scrapes are complete, so that all streams end with the same scrape.
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

/// When a server restarted, as its samples show: some counter fell between two of them.
fn restarts(codes: &[(&str, Vec<Stored>); 2]) -> Vec<(i64, i64)> {
    let pairs = codes.iter().flat_map(|(_, samples)| samples.windows(2));
    pairs
        .filter(|pair| pair[1].2 < pair[0].2)
        .map(|pair| (pair[0].0, pair[1].0))
        .collect()
}

/// The increments of all samples of a counter after its base, one by one; a restart takes it back to 0.
fn counted(samples: &[Stored], base: i64, restarts: &[(i64, i64)]) -> u64 {
    let before = samples.iter().rev().find(|(at, _, _)| *at <= base);
    let before = before.map_or((i64::MIN, 0.0), |(at, _, value)| (*at, *value));
    let after = samples.iter().filter(|(at, _, _)| *at > base);
    let (_, sum) = after.fold((before, 0.0), |((last, counted), sum), &(at, _, value)| {
        let restarted = restarts.iter().any(|&(after, by)| last <= after && by <= at);
        ((at, value), sum + if restarted { value } else { value - counted })
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
            prop_assert!(advance.problem.iter().all(|problem| problem.contains("fall again and again")), "{:?}", advance.problem);
            polls.extend(advance.polls);
            match what {
                0 => cursor = restarted(&cursor),
                1 => saved = (restarted(&cursor), polls.len()),
                // The controller is killed: it loses what it had not written.
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
        let of = |server: &Server, code: usize| {
            let codes = [("200", in_evidence(&server.1[0].1)), ("500", in_evidence(&server.1[1].1))];
            counted(&codes[code].1, base(server), &restarts(&codes))
        };
        let bad: u64 = servers.iter().map(|server| of(server, 1)).sum();
        let good: u64 = servers.iter().map(|server| of(server, 0)).sum();
        // Nothing is counted that was not made, and nothing is lost but across a restart.
        let restarts = servers.iter().any(|(_, [ok, failed])| !restarts(&[(ok.0, in_evidence(&ok.1)), (failed.0, in_evidence(&failed.1))]).is_empty());
        let (n, x) = sum(&polls);
        prop_assert!(n <= good + bad && x <= bad, "{n}, {x} of {good}, {bad}");
        prop_assert!(restarts || (n, x) == (good + bad, bad), "{n}, {x} of {good}, {bad}");
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
        prop_assert_eq!((live.through, live.books), (replayed.through, replayed.books));
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
                series.labels.set("le", &le.to_string());
                series.samples = samples.clone();
                series
            });
            Matrix { series: each.collect() }
        };
        let pods = BTreeMap::from([("a".to_owned(), started)]);
        let proportion = ArmSamples::of([(Role::Total, raw(&total)), (Role::Bad, raw(&part))]);
        let ratio = ArmSamples::of([(Role::Numerator, raw(&part)), (Role::Denominator, raw(&total))]);
        let arms = [proportion, ratio, ArmSamples::of([(Role::Buckets, raw(&total))]), ArmSamples::of([(Role::Value, raw(&part))]), ArmSamples::default()];
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
                            Observed::Ratio { candidate, baseline } => {
                                for amounts in [candidate, baseline] {
                                    prop_assert!(amounts.numerator.is_finite() && amounts.numerator >= 0.0);
                                    prop_assert!(amounts.denominator.is_finite() && amounts.denominator >= 0.0);
                                }
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
