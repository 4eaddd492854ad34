use super::*;

fn poll(through: i64, observed: Observed) -> Poll {
    Poll {
        from: through - 1_000,
        through,
        observed,
    }
}

fn histogram(through: i64, bounds: &[f64], candidate: &[u64], baseline: &[u64]) -> Poll {
    let buckets = |counts: &[u64]| Buckets {
        bounds: bounds.to_vec(),
        counts: counts.to_vec(),
        pods: 1,
    };
    poll(
        through,
        Observed::Histogram {
            candidate: buckets(candidate),
            baseline: buckets(baseline),
        },
    )
}

fn guard(yaml: &str) -> Guard {
    serde_yaml_ng::from_str(yaml).unwrap()
}

fn curve(guard: &Guard, polls: &[Poll]) -> Curve {
    let mut epoch = Epoch::new("", std::slice::from_ref(guard));
    epoch.take(&guard.name, polls);
    // What is heard twice counts once.
    epoch.take(&guard.name, polls);
    epoch.curves().pop().unwrap()
}

#[test]
fn bad_events_are_cumulated_beside_what_is_tolerated() {
    let errors = guard("{name: errors, proportion: {bad: e, total: t, tolerance: {ratio: '2', absolute: 1%}}}");
    let counts = |n, x| Counts { n, x };
    let observed = |candidate, baseline| Observed::Proportion { candidate, baseline };
    let polls = [
        poll(1_000, observed(counts(0, 0), counts(50, 1))),
        poll(2_000, observed(counts(10, 1), counts(50, 1))),
        poll(3_000, observed(counts(90, 1), counts(100, 2))),
    ];
    let of = curve(&errors, &polls);
    // A candidate without events has no share.
    assert_eq!(of.points.len(), 2);
    let last = of.points.last().unwrap();
    assert_eq!((last.candidate, last.baseline), (0.02, Some(0.02)));
    assert!((last.most.unwrap() - 0.05).abs() < 1e-12);
    let table = of.table();
    assert_eq!(
        table.rows[1],
        [
            "1970-01-01T00:00:03Z",
            "2 of 100 (2.0%)",
            "4 of 200 (2.0%)",
            "up to 5.0%"
        ]
    );
}

#[test]
fn latencies_are_shown_at_the_budget() {
    let latency = guard("{name: latency, latency: {histogram: h, budget: {percentile: '95', within: 60ms}}}");
    let polls = [
        histogram(1_000, &[0.01, 0.06, 0.1], &[80, 10, 5, 5], &[90, 6, 4, 0]),
        histogram(2_000, &[0.01, 0.06], &[0, 0, 100], &[100, 0, 0]),
    ];
    let of = curve(&latency, &polls);
    assert!(of.what.contains("slower than the budget of 0.06 s"), "{}", of.what);
    let shares: Vec<_> = of
        .points
        .iter()
        .map(|point| (point.candidate, point.baseline))
        .collect();
    assert_eq!(shares, [(0.1, Some(0.04)), (0.55, Some(0.02))]);
    assert!(of.points.iter().all(|point| (point.most.unwrap() - 0.05).abs() < 1e-12));
}

#[test]
fn latencies_without_a_budget_are_shown_where_few_of_the_baseline_are_slow() {
    let latency = guard("{name: latency, latency: {histogram: h}}");
    let polls = [histogram(1_000, &[0.01, 0.1, 1.0], &[0, 0, 9, 1], &[50, 44, 6, 0])];
    let of = curve(&latency, &polls);
    assert!(of.what.contains("slower than 0.1 s"), "{}", of.what);
    assert_eq!(of.points[0].candidate, 1.0);
    assert_eq!(of.points[0].most, None);
}

#[test]
fn outputs_are_compared_over_the_bounds_that_all_polls_have() {
    let drift = guard("{name: drift, fidelity: {histogram: h, maxTotalVariation: '0.05'}}");
    let polls = [
        histogram(1_000, &[0.25, 0.5], &[5, 5, 10], &[10, 0, 10]),
        histogram(2_000, &[0.5], &[10, 10], &[20, 0]),
    ];
    let of = curve(&drift, &polls);
    // At 0.5 alone: 10 and 10 against 10 and 10; then 20 and 20 against 30 and 10.
    let apart: Vec<_> = of.points.iter().map(|point| point.candidate).collect();
    assert_eq!(apart, [0.0, 0.25]);
    assert_eq!(of.points[0].most, Some(0.05));
}

#[test]
fn values_have_their_bounds() {
    let memory = guard("{name: gpu-memory, query: {promql: m, max: '0.9'}}");
    let polls = [
        poll(1_000, Observed::Value(f64::NAN)),
        poll(2_000, Observed::Value(0.71)),
    ];
    let of = curve(&memory, &polls);
    assert_eq!(
        of.table().rows,
        [["1970-01-01T00:00:02Z", "0.71", UNKNOWN, "up to 0.9"]]
    );
    assert!(of.chart().is_some());
}
