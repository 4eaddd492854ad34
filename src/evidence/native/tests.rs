use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::evidence::{ArmSamples, Cursor, GuardSamples, Matrix, Observed, Pods, Role};

/// What Prometheus 3.16 answered that scraped itself every 2 s: its buckets were made coarser at the third sample
/// (`native_histogram_min_bucket_factor`), and it was restarted before the eighth.
const NATIVE: &str = include_str!("../../../tests/testdata/prometheus/native.json");
/// The classic buckets of the same series, scraped with it.
const CLASSIC: &str = include_str!("../../../tests/testdata/prometheus/classic.json");
/// Classic histograms of the same server that were stored as native ones with custom buckets
/// (`convert_classic_histograms_to_nhcb`).
const CUSTOM: &str = include_str!("../../../tests/testdata/prometheus/nhcb.json");

/// A bucket as Prometheus writes it: rule, bounds, events.
type Written = (u8, f64, f64, u64);

/// A bucket by its bounds.
type Known = (f64, f64, u64);

fn parsed(buckets: &Value) -> Result<NativeHistogram, String> {
    let body = json!({"status": "success", "data": {"resultType": "matrix", "result": [
        {"metric": {"__name__": "h"}, "histograms": [[1, {"count": "1", "sum": "1", "buckets": buckets}]]}]}});
    let matrix = NativeMatrix::parse(body.to_string().as_bytes()).map_err(|e| e.to_string())?;
    Ok(matrix.series[0].samples[0].1.clone())
}

fn histogram(buckets: &[Written]) -> NativeHistogram {
    let text = |x: f64| {
        if x.is_infinite() {
            format!("{}Inf", if x > 0.0 { "+" } else { "-" })
        } else {
            x.to_string()
        }
    };
    let buckets = buckets
        .iter()
        .map(|&(rule, lower, upper, n)| json!([rule, text(lower), text(upper), n.to_string()]));
    parsed(&buckets.collect()).unwrap()
}

fn known(bins: &Bins) -> Vec<Known> {
    bins.0
        .iter()
        .map(|(bin, n)| (unkey(bin.lower), unkey(bin.upper), *n))
        .collect()
}

/// All polls of a whole answer added up: bounds, and the events up to each bound and in total.
fn counted(candidate: ArmSamples) -> (Vec<f64>, Vec<u64>) {
    let samples = GuardSamples {
        candidate,
        baseline: ArmSamples::default(),
    };
    let (first, last) = (1_795_573_000_000, 1_795_574_000_000);
    let advance = Cursor::new(first).advance(&samples, last, 2000, &BTreeMap::new());
    let (mut bounds, mut up_to) = (Vec::new(), Vec::new());
    for poll in advance.polls {
        let Observed::Histogram { candidate, .. } = poll.observed else {
            panic!("a histogram")
        };
        up_to.resize(candidate.counts.len(), 0);
        let mut below = 0;
        for (sum, n) in up_to.iter_mut().zip(candidate.counts) {
            below += n;
            *sum += below;
        }
        bounds = candidate.bounds;
    }
    (bounds, up_to)
}

/// Events up to a bound since the first sample, directly from the JSON: a drop of the count is a reset.
fn truth(series: &Value, bound: f64) -> u64 {
    let number = |value: &Value| value.as_str().unwrap().parse::<f64>().unwrap();
    let up_to = |sample: &Value| -> u64 {
        let buckets = sample[1]["buckets"].as_array().unwrap().iter();
        buckets
            .filter(|bucket| number(&bucket[2]) <= bound)
            .map(|bucket| number(&bucket[3]) as u64)
            .sum()
    };
    let samples = series["histograms"].as_array().unwrap();
    let steps = samples.windows(2).map(|pair| {
        let reset = number(&pair[1][1]["count"]) < number(&pair[0][1]["count"]);
        up_to(&pair[1]) - if reset { 0 } else { up_to(&pair[0]) }
    });
    steps.sum()
}

#[test]
fn a_real_answer_is_counted_through_a_change_of_schema_and_a_restart() {
    let (bounds, up_to) = counted(ArmSamples::from(NativeMatrix::parse(NATIVE.as_bytes()).unwrap()));
    let json: Value = serde_json::from_str(NATIVE).unwrap();
    let series = &json["data"]["result"][0];
    // Powers of two are bounds of both schemas.
    for exponent in -20..10 {
        let bound = 2f64.powi(exponent);
        let at = bounds
            .iter()
            .position(|b| *b == bound)
            .unwrap_or_else(|| panic!("{bound} is a bound"));
        assert_eq!(up_to[at], truth(series, bound), "{bound}");
    }
    assert_eq!(up_to.last(), Some(&truth(series, f64::INFINITY)));
    assert_eq!(up_to.last(), Some(&276));
    // The finer bounds of the first two samples are bounds no longer.
    assert!(!bounds.contains(&grid::bound(-95)));
}

#[test]
fn classic_and_native_buckets_of_the_same_requests_count_the_same() {
    let (_, native) = counted(ArmSamples::from(NativeMatrix::parse(NATIVE.as_bytes()).unwrap()));
    let (_, classic) = counted(ArmSamples::of([(
        Role::Buckets,
        Matrix::parse(CLASSIC.as_bytes()).unwrap(),
    )]));
    assert_eq!(native.last(), classic.last());
}

#[test]
fn custom_buckets_are_counted_on_the_bounds_that_they_show() {
    let (bounds, up_to) = counted(ArmSamples::from(NativeMatrix::parse(CUSTOM.as_bytes()).unwrap()));
    assert_eq!(bounds, [100.0, 1000.0, 10_000.0, 100_000.0]);
    let json: Value = serde_json::from_str(CUSTOM).unwrap();
    let series = json["data"]["result"].as_array().unwrap();
    let expected = bounds.iter().chain([&f64::INFINITY]);
    let expected: Vec<u64> = expected
        .map(|bound| series.iter().map(|s| truth(s, *bound)).sum())
        .collect();
    assert_eq!(up_to, expected);
}

#[test]
fn bounds_of_the_grid_are_those_of_prometheus_to_the_last_bit() {
    for (steps, written) in [
        (-96, "0.000244140625"),
        (-95, "0.00026623723942022893"),
        (-94, "0.0002903337683112112"),
        (-93, "0.00031661121939721915"),
        (-92, "0.0003452669830012439"),
        (-91, "0.00037651631479686053"),
        (-98, "0.00020529697638030136"),
        (-97, "0.0002238779402355154"),
        (0, "1"),
    ] {
        assert_eq!(grid::bound(steps), written.parse::<f64>().unwrap(), "{steps}");
    }
}

#[test]
fn layouts_are_told_from_the_bounds_alone() {
    let (g, inf) = (grid::bound, f64::INFINITY);
    let narrow = |i: f64| (i / 32.0).exp2();
    let around_zero = (-g(grid::FIRST), g(grid::FIRST));
    let cases: Vec<(&str, Vec<Written>, Layout, Vec<Known>)> = vec![
        ("nothing", vec![], Layout::Grid(1), vec![]),
        (
            "schema 3",
            vec![(0, g(0), g(1), 2), (0, g(4), g(5), 1)],
            Layout::Grid(1),
            vec![(g(0), g(1), 2), (g(4), g(5), 1)],
        ),
        (
            "schema 5 is merged to 3",
            vec![
                (0, narrow(-1.0), narrow(0.0), 1),
                (0, narrow(0.0), narrow(1.0), 2),
                (0, narrow(3.0), narrow(4.0), 4),
            ],
            Layout::Grid(1),
            vec![(g(-1), g(0), 1), (g(0), g(1), 6)],
        ),
        (
            "schema 1 stays",
            vec![(0, g(4), g(8), 3)],
            Layout::Grid(4),
            vec![(g(4), g(8), 3)],
        ),
        (
            "schema -1",
            vec![(0, 1.0, 4.0, 3)],
            Layout::Grid(16),
            vec![(1.0, 4.0, 3)],
        ),
        (
            "both signs and zero",
            vec![(1, -4.0, -2.0, 1), (3, -1e-38, 1e-38, 5), (0, 2.0, 4.0, 2)],
            Layout::Grid(8),
            vec![(-4.0, -2.0, 1), (around_zero.0, around_zero.1, 5), (2.0, 4.0, 2)],
        ),
        (
            "a wide zero bucket takes in the bucket that it reaches into",
            vec![(3, -0.3, 0.3, 5), (0, 0.25, 0.5, 2), (0, 0.5, 1.0, 1)],
            Layout::Grid(8),
            vec![(-0.5, 0.5, 7), (0.5, 1.0, 1)],
        ),
        (
            "beyond the grid",
            vec![
                (0, 2f64.powi(-30), 2f64.powi(-29), 1),
                (0, 2f64.powi(40), 2f64.powi(41), 2),
            ],
            Layout::Grid(8),
            vec![(around_zero.0, around_zero.1, 1), (g(grid::LAST), inf, 2)],
        ),
        (
            "custom buckets",
            vec![(3, -inf, 0.05, 4), (0, 0.05, 0.1, 2), (0, 10.0, inf, 1)],
            Layout::Custom,
            vec![(-inf, 0.05, 4), (0.05, 0.1, 2), (10.0, inf, 1)],
        ),
        (
            "a bound at zero, whatever its sign",
            vec![(0, -1.0, -0.0, 1), (0, 0.0, 3.0, 2)],
            Layout::Custom,
            vec![(-1.0, 0.0, 1), (0.0, 3.0, 2)],
        ),
        (
            "custom buckets off the powers of two",
            vec![(0, 0.05, 0.1, 2)],
            Layout::Custom,
            vec![(0.05, 0.1, 2)],
        ),
        (
            "infinite observations",
            vec![(0, f64::MAX, inf, 2)],
            Layout::Custom,
            vec![(f64::MAX, inf, 2)],
        ),
    ];
    for (name, buckets, layout, bins) in cases {
        let read = histogram(&buckets);
        assert_eq!((read.layout, known(&read.bins)), (layout, bins), "{name}");
    }
}

#[test]
fn impossible_buckets_are_an_error() {
    for buckets in [
        json!([[0, "1", "1", "2"]]),
        json!([[0, "2", "1", "2"]]),
        json!([[0, "1", "2", "-1"]]),
        json!([[0, "1", "NaN", "1"]]),
        json!([[0, "1", "2", "+Inf"]]),
        json!([[0, "1", "2"]]),
    ] {
        assert!(parsed(&buckets).is_err(), "{buckets}");
    }
}

#[test]
fn what_was_counted_since_is_told_across_layouts_and_nothing_where_a_bucket_fell() {
    let fine = [(0, 1.0, 2f64.sqrt(), 4), (0, 2f64.sqrt(), 2.0, 6)];
    type Case = (&'static str, Vec<Written>, Vec<Written>, Option<Vec<Known>>);
    let cases: Vec<Case> = vec![
        (
            "a bucket rises, another appears",
            vec![(0, 1.0, 2.0, 4)],
            vec![(0, 1.0, 2.0, 5), (0, 4.0, 8.0, 2)],
            Some(vec![(1.0, 2.0, 1), (4.0, 8.0, 2)]),
        ),
        (
            "coarser buckets",
            fine.to_vec(),
            vec![(0, 1.0, 2.0, 13)],
            Some(vec![(1.0, 2.0, 3)]),
        ),
        (
            "finer buckets, as only a restart makes them",
            vec![(0, 1.0, 2.0, 10)],
            fine.to_vec(),
            None,
        ),
        (
            "a wider zero bucket",
            vec![(3, -0.125, 0.125, 3), (0, 0.25, 0.5, 2), (0, 2.0, 4.0, 1)],
            vec![(3, -0.5, 0.5, 6), (0, 2.0, 4.0, 1)],
            Some(vec![(-0.5, 0.5, 1)]),
        ),
        (
            "a bucket falls although the count rises",
            vec![(0, 1.0, 2.0, 4), (0, 2.0, 4.0, 1)],
            vec![(0, 1.0, 2.0, 3), (0, 2.0, 4.0, 9)],
            None,
        ),
        (
            "a bucket is gone",
            vec![(0, 1.0, 2.0, 4), (0, 8.0, 16.0, 1)],
            vec![(0, 1.0, 2.0, 7)],
            None,
        ),
    ];
    for (name, before, after, expected) in cases {
        let (before, after) = (histogram(&before), histogram(&after));
        let since = after.bins.since(&before.bins);
        assert_eq!(since.as_ref().map(known), expected, "{name}");
    }
}

#[test]
fn arms_of_different_resolution_are_compared_on_the_coarser_bounds() {
    let matrix = |buckets: &[Written]| NativeMatrix {
        series: vec![NativeSeries {
            labels: Labels::default(),
            samples: vec![(0, histogram(buckets))],
        }],
    };
    let fine = matrix(&[(0, 1.0, grid::bound(1), 2), (0, grid::bound(7), 2.0, 2)]);
    let coarse = matrix(&[(0, 1.0, 2.0, 2)]);
    let (bounds, agreement) = common_bounds([&fine, &coarse]);
    assert_eq!(agreement, Agreement::Differ);
    assert_eq!(
        bounds.iter().filter(|b| (1.0..=4.0).contains(*b)).collect::<Vec<_>>(),
        [&1.0, &2.0, &4.0]
    );
    // The bounds of empty buckets are bounds too, on both sides of 0.
    assert!(bounds.contains(&0.25) && bounds.contains(&-16.0));
    assert_eq!(common_bounds([&fine, &fine]).1, Agreement::Same);
    let custom = matrix(&[(3, f64::NEG_INFINITY, 0.05, 4), (0, 0.05, 1.2, 2), (0, 1.2, 3.0, 1)]);
    let (bounds, agreement) = common_bounds([&coarse, &custom]);
    assert_eq!(
        (bounds.as_slice(), agreement),
        ([0.05, 3.0].as_slice(), Agreement::Differ)
    );
}

#[test]
fn stored_buckets_come_back_whole_and_take_few_bytes() {
    let exponential: Vec<_> = (-60..-20)
        .map(|i| (0, grid::bound(i), grid::bound(i + 1), 1_000_000))
        .collect();
    for (buckets, limit) in [
        (exponential, 8.0),
        (
            vec![
                (3, f64::NEG_INFINITY, 0.05, 4),
                (0, 0.05, 0.1, 2),
                (0, 10.0, f64::INFINITY, 1),
            ],
            22.0,
        ),
        (vec![(1, -4.0, -2.0, 1), (3, -1e-38, 1e-38, 5), (0, 2.0, 4.0, 2)], 12.0),
    ] {
        let bins = histogram(&buckets).bins;
        let stored = postcard::to_allocvec(&bins).unwrap();
        assert_eq!(postcard::from_bytes::<Bins>(&stored).unwrap(), bins);
        assert!(
            stored.len() as f64 <= limit * buckets.len() as f64,
            "{} bytes for {}",
            stored.len(),
            buckets.len()
        );
    }
}

/// A server's life: outputs of either sign, and what happens to its histogram.
#[derive(Clone, Debug)]
enum Life {
    Outputs(Vec<f64>),
    Coarser,
    Restart,
}

fn life() -> impl Strategy<Value = Life> {
    let output = prop_oneof![3 => 1e-4f64..1e4, 1 => -1e4f64..-1e-4, 1 => Just(0.0)];
    prop_oneof![
        8 => proptest::collection::vec(output, 0..12).prop_map(Life::Outputs),
        1 => Just(Life::Coarser),
        1 => Just(Life::Restart),
    ]
}

/// The buckets of a schema, from -2 to 5.
fn written(outputs: &[f64], schema: i32) -> Vec<Written> {
    let base = f64::from(-schema).exp2();
    let edge = |i: f64| (i * base).exp2();
    let mut buckets: BTreeMap<(i32, i64), u64> = BTreeMap::new();
    for output in outputs {
        let index = if *output == 0.0 {
            0
        } else {
            (output.abs().log2() / base).ceil() as i64
        };
        *buckets
            .entry((output.partial_cmp(&0.0).unwrap() as i32, index))
            .or_default() += 1;
    }
    let each = buckets.into_iter().map(|((sign, index), n)| match sign {
        0 => (3, -1e-38, 1e-38, n),
        1 => (0, edge(index as f64 - 1.0), edge(index as f64), n),
        _ => (1, -edge(index as f64), -edge(index as f64 - 1.0), n),
    });
    each.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn however_samples_are_chunked_each_output_counts_once_and_on_its_side_of_every_bound(
        lives in proptest::collection::vec(life(), 1..30),
        polls in proptest::collection::vec(1usize..5, 1..30),
    ) {
        let (mut schema, mut alive, mut all) = (5, Vec::new(), Vec::new());
        let restarts = lives.iter().any(|life| matches!(life, Life::Restart));
        let mut samples = vec![(1_000, histogram(&[]))];
        for (i, life) in lives.into_iter().enumerate() {
            match life {
                Life::Outputs(outputs) => {
                    alive.extend(outputs.iter().copied());
                    all.extend(outputs);
                }
                Life::Coarser => schema = (schema - 1).max(-2),
                // A restart shows in a missing bucket: there is an empty sample in between.
                Life::Restart => {
                    alive.clear();
                    schema = 5;
                }
            }
            samples.push((1_000 + (i as i64 + 1) * 15_000, histogram(&written(&alive, schema))));
        }
        let labels: Labels = [("pod", "a")].into();
        let (mut cursor, mut at) = (Cursor::new(0), 0);
        let mut total = 0;
        let mut sides: Vec<(f64, u64)> = vec![(-65_536.0, 0), (-16.0, 0), (-1.0, 0), (1.0, 0), (16.0, 0), (65_536.0, 0)];
        for step in polls.into_iter().chain([samples.len()]) {
            at = (at + step).min(samples.len());
            let now = samples[at - 1].0;
            let window = cursor.window_ms(now, 15_000) as i64;
            let shown = samples[..at].iter().filter(|(t, _)| *t > now - window).cloned().collect();
            let series = vec![NativeSeries { labels: labels.clone(), samples: shown }];
            let arm = ArmSamples::from(NativeMatrix { series });
            let answer = GuardSamples { candidate: arm.clone(), baseline: arm };
            let advance = cursor.advance(&answer, now, 15_000, &BTreeMap::new());
            for poll in advance.polls {
                let Observed::Histogram { candidate, baseline } = poll.observed else { panic!("a histogram") };
                prop_assert_eq!(&candidate.bounds, &baseline.bounds);
                total += candidate.counts.iter().sum::<u64>();
                for (side, n) in &mut sides {
                    // Powers of 16 are bounds of all these schemas.
                    let split = candidate.bounds.iter().position(|b| b == side);
                    prop_assert!(split.is_some(), "{} is no bound", side);
                    *n += candidate.counts[..=split.unwrap()].iter().sum::<u64>();
                }
            }
            cursor = postcard::from_bytes(&postcard::to_allocvec(&cursor).unwrap()).unwrap();
        }
        // What cannot be told for certain about a restart is left out, and nothing is ever added.
        let counts = |n: u64, made: usize| n == made as u64 || restarts && n <= made as u64;
        prop_assert!(counts(total, all.len()), "{} of {}", total, all.len());
        for (side, n) in sides {
            let made = all.iter().filter(|output| **output <= side).count();
            prop_assert!(counts(n, made), "{} of {} up to {}", n, made, side);
        }
    }

    #[test]
    fn arbitrary_buckets_never_panic(
        buckets in proptest::collection::vec((any::<u8>(), any::<f64>(), any::<f64>(), any::<f64>()), 0..8)
    ) {
        let buckets = buckets.iter().map(|(rule, a, b, n)| json!([rule, a.to_string(), b.to_string(), n.to_string()]));
        if let Ok(read) = parsed(&buckets.collect()) {
            let matrix = NativeMatrix { series: vec![NativeSeries { labels: Labels::default(), samples: vec![(1, read.clone())] }] };
            let (bounds, _) = common_bounds([&matrix, &matrix]);
            prop_assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]));
            let _ = read.bins.since(&read.bins).map(|bins| bins.buckets(&bounds));
            prop_assert_eq!(postcard::from_bytes::<Bins>(&postcard::to_allocvec(&read.bins).unwrap()).unwrap(), read.bins);
        }
    }
}

#[test]
fn a_cold_start_is_left_out_and_what_it_counted_is_the_base() {
    let at = |seconds: i64, n: u64| (seconds * 1000, histogram(&[(0, 0.5, 1.0, n)]));
    let series = NativeSeries {
        labels: [("pod", "a")].into(),
        samples: vec![at(15, 10), at(30, 20), at(45, 35)],
    };
    let arm = ArmSamples::from(NativeMatrix { series: vec![series] });
    let samples = GuardSamples {
        candidate: arm.clone(),
        baseline: arm,
    };
    let started = BTreeMap::from([("a".to_owned(), 0)]);
    for (warm, expected) in [(0, 25), (16, 15), (31, 0)] {
        let warm = BTreeMap::from([("a".to_owned(), warm * 1000)]);
        let pods = Pods {
            started: &started,
            warm: &warm,
        };
        let polls = Cursor::new(0).advance_warm(&samples, 45_000, 60_000, pods).polls;
        let counted = polls.iter().map(|poll| match &poll.observed {
            Observed::Histogram { candidate, .. } => candidate.counts.iter().sum::<u64>(),
            other => panic!("{other:?}"),
        });
        assert_eq!(counted.sum::<u64>(), expected, "{warm:?}");
    }
}
