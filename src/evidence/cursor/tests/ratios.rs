//! Ratios of counters that need not be whole numbers, nor be scraped together.

use proptest::prelude::*;

use super::*;
use crate::evidence::Amounts;

/// The counter of a GPU exporter, beside that of the model server.
fn joules(samples: &[(i64, f64)]) -> Series {
    series(
        &[
            ("__name__", "joules_total"),
            ("pod", "a"),
            ("instance", "node-1:9400"),
            ("job", "gpu"),
        ],
        samples,
    )
}

fn ratio(numerator: &[Series], denominator: &[Series]) -> ArmSamples {
    ArmSamples::of([
        (Role::Numerator, matrix(numerator)),
        (Role::Denominator, matrix(denominator)),
    ])
}

/// Samples that are the same on both arms.
fn both(numerator: &[Series], denominator: &[Series]) -> GuardSamples {
    GuardSamples {
        candidate: ratio(numerator, denominator),
        baseline: ratio(numerator, denominator),
    }
}

fn advance(cursor: &mut Cursor, samples: &GuardSamples, now: i64) -> Vec<(Amounts, Amounts)> {
    let polls = cursor.advance(samples, at(now), INTERVAL, &no_pods()).polls;
    let amounts = polls.into_iter().map(|poll| match poll.observed {
        Observed::Ratio { candidate, baseline } => (candidate, baseline),
        other => panic!("{other:?}"),
    });
    amounts.collect()
}

fn amounts(numerator: f64, denominator: f64) -> Amounts {
    Amounts { numerator, denominator }
}

#[test]
fn increments_of_real_numbers_are_not_rounded_and_resets_count_from_zero() {
    let spent = [joules(&[(0, 100.25), (15, 100.5), (30, 0.125), (45, 0.25)])];
    let done = [of("a", "200", &[(0, 10.0), (15, 12.0), (30, 13.0), (45, 14.0)])];
    let polls = advance(&mut Cursor::new(at(0)), &both(&spent, &done), 45);
    assert_eq!(polls, [(amounts(0.5, 4.0), amounts(0.5, 4.0))]);
}

#[test]
fn requests_wait_for_an_exporter_that_is_scraped_less_often() {
    let spent = joules(&[(0, 0.0), (30, 12.0), (60, 24.0)]);
    let done = of("a", "200", &[(0, 0.0), (15, 10.0), (30, 20.0), (45, 30.0), (60, 40.0)]);
    let until = |series: &Series, now: i64| {
        let mut series = series.clone();
        series.samples.retain(|&(t, _)| t <= at(now));
        series
    };
    let mut cursor = Cursor::new(at(0));
    let polls: Vec<_> = [1, 16, 31, 46, 61]
        .into_iter()
        .map(|now| {
            cursor = restarted(&cursor);
            advance(&mut cursor, &both(&[until(&spent, now)], &[until(&done, now)]), now)
        })
        .collect();
    let whole = vec![(amounts(12.0, 20.0), amounts(12.0, 20.0))];
    assert_eq!(polls, [vec![], vec![], whole.clone(), vec![], whole]);
}

#[test]
fn what_one_arm_did_waits_for_the_other() {
    let quiet = ratio(&[], &[]);
    let spent = |until: i64| joules(&(0..=until / 15).map(|i| (i * 15, i as f64)).collect::<Vec<_>>());
    let done = |until: i64| {
        of(
            "a",
            "200",
            &(0..=until / 15).map(|i| (i * 15, 10.0 * i as f64)).collect::<Vec<_>>(),
        )
    };
    let mut cursor = Cursor::new(at(0));
    let samples = GuardSamples {
        candidate: quiet,
        baseline: ratio(&[spent(30)], &[done(30)]),
    };
    assert_eq!(advance(&mut cursor, &samples, 30), []);
    let samples = both(&[spent(45)], &[done(45)]);
    // The candidate's first sample is its base; the baseline's two intervals were not lost.
    assert_eq!(
        advance(&mut cursor, &samples, 45),
        [(amounts(3.0, 30.0), amounts(3.0, 30.0))]
    );
}

#[test]
fn without_one_of_the_counters_there_is_no_poll() {
    let done = [of("a", "200", &[(0, 10.0), (15, 12.0)])];
    let mut cursor = Cursor::new(at(0));
    assert_eq!(advance(&mut cursor, &both(&[], &done), 15), []);
    assert_eq!(advance(&mut cursor, &both(&done, &[]), 30), []);
}

proptest! {
    #[test]
    fn however_ratios_are_chunked_each_increment_counts_once(
        rises in proptest::collection::vec((0.0f64..5.0, 0u16..50), 4..40),
        gaps in proptest::collection::vec(1i64..50, 1..60),
        seldom in 1usize..5,
    ) {
        let (mut joule, mut request) = (0.0, 0.0);
        let mut spent = joules(&[]);
        let mut done = of("a", "200", &[]);
        for (i, (energy, requests)) in rises.iter().enumerate() {
            joule += energy;
            request += f64::from(*requests);
            done.samples.push((at(i as i64 * 15), request));
            if i % seldom == 0 || i + 1 == rises.len() {
                spent.samples.push((at(i as i64 * 15), joule));
            }
        }
        let end = rises.len() as i64 * 15 + 1;
        let (mut cursor, mut now, mut sums) = (Cursor::new(at(0)), 0, Amounts::default());
        let mut nows: Vec<_> = gaps.into_iter().map(|gap| { now = (now + gap).min(end - 1); now }).collect();
        nows.push(end);
        for now in nows {
            let window = cursor.window_ms(at(now), INTERVAL) as i64;
            let seen = |series: &Series| {
                let mut series = series.clone();
                series.samples.retain(|&(t, _)| t <= at(now) && t > at(now) - window);
                series
            };
            cursor = restarted(&cursor);
            for (candidate, baseline) in advance(&mut cursor, &both(&[seen(&spent)], &[seen(&done)]), now) {
                prop_assert_eq!(candidate, baseline);
                sums.numerator += candidate.numerator;
                sums.denominator += candidate.denominator;
            }
        }
        prop_assert!((sums.numerator - (joule - rises[0].0)).abs() < 1e-9, "{} of {}", sums.numerator, joule - rises[0].0);
        prop_assert_eq!(sums.denominator, request - f64::from(rises[0].1));
    }
}
