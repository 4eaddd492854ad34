//! Answers of queries for many arms, compared with the answers that each arm would have got alone.

use proptest::prelude::*;

use super::super::Selection;
use super::*;
use crate::evidence::Labels;

/// Labels and expressions that are easily confused.
const VALUES: [&str; 9] = ["a", "b", "a.b", "aXb", "a|b", "", "a\"b", "a\\b", "é\n(x"];
const PODS: [&str; 6] = [
    "a-[a-z0-9]+-[a-z0-9]{5}",
    "b-[a-z0-9]+-[a-z0-9]{5}",
    "a.*",
    "(?i)A.B",
    "a|b",
    "a?b",
];

fn arm() -> impl Strategy<Value = BatchedArm> {
    let namespace = prop_oneof![
        prop::sample::select(&VALUES[..]).prop_map(|value| (MatcherOp::Equal, value)),
        prop::sample::select(&PODS[..]).prop_map(|value| (MatcherOp::Regex, value)),
    ];
    let pod = prop_oneof![
        prop::sample::select(&VALUES[..]).prop_map(|value| (MatcherOp::Equal, value)),
        prop::sample::select(&PODS[..]).prop_map(|value| (MatcherOp::Regex, value)),
    ];
    (namespace, pod, 0..50i64, 1..50i64).prop_map(|(namespace, pod, after, window)| BatchedArm {
        matchers: [("namespace", namespace), ("pod", pod)]
            .map(|(label, (op, value))| ArmMatcher {
                label: label.into(),
                op,
                value: value.into(),
            })
            .into(),
        after,
        through: after + window,
    })
}

fn series() -> impl Strategy<Value = Series> {
    let pods = [
        "a-x1-abcde",
        "b-x1-abcde",
        "a-x1-abcdef",
        "a",
        "b",
        "ab",
        "a.b",
        "aXb",
        "a|b",
        "a\"b",
        "é\n(x",
    ];
    let label = prop_oneof![
        prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        prop::sample::select(pods.to_vec()).prop_map(str::to_owned),
    ];
    let times = prop::collection::btree_set(1..100i64, 0..6);
    (label.clone(), label, prop::sample::select(vec!["200", "500"]), times).prop_map(|(namespace, pod, code, times)| {
        let labels = [
            ("__name__", "requests"),
            ("namespace", &namespace),
            ("pod", &pod),
            ("code", code),
        ];
        Series {
            // A label without a value is the same as no label.
            labels: labels.into_iter().filter(|(_, v)| !v.is_empty()).collect(),
            samples: times.into_iter().map(|at| (at, at as f64)).collect(),
        }
    })
}

/// What a server with these series answers to a range selector with these matchers.
fn ask(all: &[Series], matchers: &[ArmMatcher], after: i64, through: i64) -> Matrix {
    let selection = Selection::counter(r#"requests{code="500"}"#, &[matchers.to_vec()]).unwrap();
    let arm = BatchedArm {
        matchers: Vec::new(),
        after,
        through,
    };
    let found = all.iter().filter(|series| selection.matches(&series.labels));
    Matrix {
        series: found.filter_map(|series| within(series, &arm)).collect(),
    }
}

/// The matchers and the window of a query.
fn read(query: &str) -> (Vec<ArmMatcher>, i64) {
    let promql_parser::parser::Expr::MatrixSelector(range) = promql_parser::parser::parse(query).unwrap() else {
        panic!("{query} is no range");
    };
    let matchers = range.vs.matchers.matchers.into_iter().map(|m| ArmMatcher {
        op: match m.op {
            MatchOp::Re(_) => MatcherOp::Regex,
            _ => MatcherOp::Equal,
        },
        label: m.name,
        value: m.value,
    });
    (matchers.collect(), range.range.as_millis() as i64)
}

proptest! {
    #[test]
    fn every_arm_gets_what_its_own_query_gives_and_no_other_arms_series(
        arms in prop::collection::vec(arm(), 1..6), all in prop::collection::vec(series(), 0..24)
    ) {
        let at = arms.iter().map(|arm| arm.through).max().unwrap();
        let batch = Batch::of(Form::Counter, r#"requests{code="500"}"#, arms.clone(), at).unwrap();
        let (matchers, window) = read(batch.query());
        let answer = ask(&all, &matchers, at - window, at);
        for (arm, got) in arms.iter().zip(batch.split(answer)) {
            prop_assert_eq!(got, ask(&all, &arm.matchers, arm.after, arm.through), "{:?} of {}", arm, batch.query());
        }
    }

    #[test]
    fn a_test_holds_where_the_expression_matches(
        pod in prop::sample::select(&PODS[..]),
        any in "[abAB.x|-]{0,4}",
        of_pod in "[abA]{0,1}-[a-zA1é-]{0,3}-[a-z0-9é]{4,6}",
    ) {
        let matcher = ArmMatcher { label: "l".into(), op: MatcherOp::Regex, value: pod.into() };
        let (test, compiled) = (Test::of(&matcher).unwrap(), compile_one(&matcher).unwrap());
        for text in [any.as_str(), &of_pod, "a-x1-abcde", "A.b"] {
            prop_assert_eq!(test.holds(text), compiled.is_match(text), "{} {}", pod, text);
            prop_assert!(!test.holds(text) || text.starts_with(test.start()), "{pod} {text}");
        }
    }
}

fn told(matchers: &[(&str, MatcherOp, &str)]) -> Vec<ArmMatcher> {
    let told = matchers.iter().map(|(label, op, value)| ArmMatcher {
        label: (*label).into(),
        op: *op,
        value: (*value).into(),
    });
    told.collect()
}

#[test]
fn the_query_of_a_batch_reads_like_that_of_an_arm() {
    let arm = |namespace, pod| BatchedArm {
        matchers: told(&[
            ("namespace", MatcherOp::Equal, namespace),
            ("pod", MatcherOp::Regex, pod),
        ]),
        after: 1_000,
        through: 61_000,
    };
    let query = |arms: Vec<BatchedArm>| Batch::of(Form::Histogram, "seconds", arms, 61_000).unwrap().query;
    let (one, two) = (arm("risk", "a-[a-z0-9]+"), arm("ri.k", "b-[a-z0-9]+"));
    assert_eq!(
        query(vec![one.clone()]),
        Form::Histogram.query("seconds", &one.matchers, 60_000).unwrap()
    );
    insta::assert_snapshot!(
        query(vec![one, two]),
        @r#"seconds_bucket{namespace=~"ri\\.k|risk",pod=~"(?:a-[a-z0-9]+)|(?:b-[a-z0-9]+)"}[1m]"#
    );
    let pods = ["a", "b-c", "(?i)d"].map(|name| format!("{name}{POD_OF_DEPLOYMENT}"));
    insta::assert_snapshot!(
        query(pods.iter().map(|pods| arm("risk", pods)).collect()),
        @r#"seconds_bucket{namespace="risk",pod=~"(?:(?i)d-[a-z0-9]+-[a-z0-9]{5})|(?:a|b-c)-[a-z0-9]+-[a-z0-9]{5}"}[1m]"#
    );
}

#[test]
fn an_arm_that_is_told_by_what_it_is_not_has_a_query_of_its_own() {
    use MatcherOp::{Equal, NotEqual, NotRegex, Regex};
    assert_eq!(
        shape(&told(&[("a", Equal, "x"), ("b", Regex, "y")])),
        Some(vec!["a".into(), "b".into()])
    );
    assert_eq!(shape(&told(&[("a", Equal, "x"), ("b", NotEqual, "y")])), None);
    assert_eq!(shape(&told(&[("a", NotRegex, "x")])), None);
    assert_eq!(shape(&told(&[("a", Equal, "x"), ("a", Equal, "y")])), None);
    assert_eq!(shape(&[]), None);
}

#[test]
fn a_batch_stays_below_what_is_looked_at_of_an_expression() {
    let arm = |i: usize| BatchedArm {
        matchers: told(&[
            ("namespace", MatcherOp::Equal, "n"),
            ("pod", MatcherOp::Equal, &"|".repeat(100 + i % 2)),
        ]),
        after: 0,
        through: 1_000,
    };
    let arms: Vec<_> = (0..500).map(arm).collect();
    let fits = fitting(&arms);
    assert!((10..500).contains(&fits), "{fits}");
    Batch::of(Form::Counter, "requests", arms[..fits].to_vec(), 1_000).unwrap();
    assert_eq!(fitting(&[]), 1);
}

#[test]
fn a_bad_matcher_is_named() {
    let arm = |value| BatchedArm {
        matchers: told(&[("pod", MatcherOp::Regex, value)]),
        after: 0,
        through: 1,
    };
    let error = Batch::of(Form::Counter, "requests", vec![arm("a"), arm("(")], 1).unwrap_err();
    assert!(
        matches!(&error, PromqlError::Matcher { value, .. } if value == "("),
        "{error}"
    );
}

#[test]
fn labels_of_the_answer_are_kept_whole() {
    let labels: Labels = [("pod", "a"), ("x", "y")].into();
    let series = Series {
        labels: labels.clone(),
        samples: vec![(5, 1.0)],
    };
    let arm = BatchedArm {
        matchers: told(&[("pod", MatcherOp::Equal, "a")]),
        after: 0,
        through: 9,
    };
    let batch = Batch::of(Form::Counter, "requests", vec![arm], 9).unwrap();
    let answers = batch.split(Matrix { series: vec![series] });
    assert_eq!(answers[0].series[0].labels, labels);
}
