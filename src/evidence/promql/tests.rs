use super::*;
use promql_parser::label::MatchOp;
use proptest::prelude::*;

fn arm() -> Vec<ArmMatcher> {
    vec![
        ArmMatcher {
            label: "namespace".into(),
            op: MatcherOp::Equal,
            value: "risk".into(),
        },
        ArmMatcher {
            label: "pod".into(),
            op: MatcherOp::Regex,
            value: "fraud-int8-[a-z0-9]+-[a-z0-9]{5}".into(),
        },
    ]
}

fn tenant() -> Vec<ArmMatcher> {
    arm()[..1].to_vec()
}

#[test]
fn a_counter_gets_the_matchers_and_the_window() {
    let cases = [
        (
            "http_requests_total",
            r#"http_requests_total{namespace="risk",pod=~"fraud-int8-[a-z0-9]+-[a-z0-9]{5}"}[1m30s]"#,
        ),
        (
            r#"http_requests_total{code=~"5.."}"#,
            r#"http_requests_total{code=~"5..",namespace="risk",pod=~"fraud-int8-[a-z0-9]+-[a-z0-9]{5}"}[1m30s]"#,
        ),
        (
            r#"{__name__=~"http_.*_total"}"#,
            r#"{__name__=~"http_.*_total",namespace="risk",pod=~"fraud-int8-[a-z0-9]+-[a-z0-9]{5}"}[1m30s]"#,
        ),
    ];
    for (selector, query) in cases {
        assert_eq!(arm_query(selector, &arm(), 90_000).unwrap(), query);
    }
}

#[test]
fn a_selector_that_names_another_namespace_is_narrowed_not_believed() {
    assert_eq!(
        arm_query(r#"m{namespace="other"}"#, &tenant(), 1000).unwrap(),
        r#"m{namespace="other",namespace="risk"}[1s]"#
    );
}

#[test]
fn every_alternative_of_an_or_gets_the_matchers() {
    assert_eq!(
        arm_query(r#"m{code="500" or code="502"}"#, &tenant(), 1000).unwrap(),
        r#"m{code="500", namespace="risk" or code="502", namespace="risk"}[1s]"#
    );
}

#[test]
fn a_quoted_metric_name_stays_that_metric() {
    assert_eq!(
        arm_query(r#"{"http.requests", code="500"}"#, &tenant(), 1000).unwrap(),
        r#"{__name__="http.requests",code="500",namespace="risk"}[1s]"#
    );
}

#[test]
fn a_histogram_is_queried_by_its_buckets_however_it_is_written() {
    for selector in ["http_request_duration_seconds", "http_request_duration_seconds_bucket"] {
        assert_eq!(
            histogram_query(selector, &tenant(), 1000).unwrap(),
            r#"http_request_duration_seconds_bucket{namespace="risk"}[1s]"#
        );
    }
    assert_eq!(
        histogram_query(r#"{__name__="d",route="/v1"}"#, &tenant(), 1000).unwrap(),
        r#"{__name__="d_bucket",namespace="risk",route="/v1"}[1s]"#
    );
    for nameless in [r#"{route="/v1"}"#, r#"{__name__=~"d|e"}"#] {
        let error = histogram_query(nameless, &tenant(), 1000).unwrap_err();
        assert!(matches!(error, PromqlError::NoName { .. }), "{error}");
    }
}

#[test]
fn whatever_hides_raw_samples_is_refused_with_what_to_write_instead() {
    let cases = [
        (
            r#"rate(m{code="500"}[5m])"#,
            r#"is a function call: guardbit counts raw samples; write the plain selector `m{code="500"}`"#,
        ),
        (
            "sum(m)",
            "is an aggregation: guardbit counts raw samples; write the plain selector `m`",
        ),
        (
            "m[5m]",
            "is a range selector: guardbit counts raw samples; write the plain selector `m`",
        ),
        (
            "m offset 5m",
            "is a selector with offset or @: guardbit counts raw samples; write the plain selector `m`",
        ),
        ("m @ 100", "is a selector with offset or @"),
        (
            "a / b",
            "is an expression: guardbit counts raw samples; write the plain selector",
        ),
        ("m{code=", "is not valid PromQL"),
        ("", "is not valid PromQL"),
        ("m[1e300]", "is not valid PromQL"),
    ];
    for (expr, part) in cases {
        let error = arm_query(expr, &arm(), 1000).unwrap_err().to_string();
        assert!(error.contains(part), "{expr}: {error}");
    }
}

#[test]
fn every_selector_of_a_free_expression_is_kept_in_the_namespace() {
    let cases = [
        (
            "max(gpu_memory_used_ratio)",
            r#"max(gpu_memory_used_ratio{namespace="risk"})"#,
        ),
        (
            "sum by (pod) (rate(a[5m])) / on (pod) group_left (zone) b",
            r#"sum by (pod) (rate(a{namespace="risk"}[5m])) / on (pod) group_left (zone) b{namespace="risk"}"#,
        ),
        (
            "quantile(scalar(other), m)",
            r#"quantile(scalar(other{namespace="risk"}), m{namespace="risk"})"#,
        ),
        (
            "topk(scalar(other), m)",
            r#"topk(scalar(other{namespace="risk"}), m{namespace="risk"})"#,
        ),
        (
            "max_over_time((-(a or b))[5m:1m] offset 1h)",
            r#"max_over_time((-(a{namespace="risk"} or b{namespace="risk"}))[5m:1m] offset 1h)"#,
        ),
        (
            "a unless on () absent(b @ 100)",
            r#"a{namespace="risk"} unless on () absent(b{namespace="risk"} @ 100.000)"#,
        ),
        ("scalar(m) > bool 2", r#"scalar(m{namespace="risk"}) > bool 2"#),
        ("vector(1)", "vector(1)"),
        (
            "m # {namespace=\"risk\"}\n + other",
            r#"m{namespace="risk"} + other{namespace="risk"}"#,
        ),
    ];
    for (expr, query) in cases {
        assert_eq!(expression_query(expr, &tenant()).as_deref(), Ok(query), "{expr}");
    }
}

#[test]
fn a_free_expression_must_have_a_value() {
    for expr in ["m[5m]", r#""text""#] {
        let error = expression_query(expr, &tenant()).unwrap_err();
        assert!(matches!(error, PromqlError::NoValue { .. }), "{error}");
    }
}

#[test]
fn a_label_name_cannot_smuggle_in_a_selector() {
    let smuggled = r#"sum by ("a) (secret) or sum by (b") (m)"#;
    assert_eq!(
        expression_query(smuggled, &tenant()).as_deref(),
        Ok(r#"sum by ("a) (secret) or sum by (b") (m{namespace="risk"})"#)
    );
}

fn assert_every_selector_has(query: &str, label: &str, op: &MatchOp, value: &str) -> Result<(), TestCaseError> {
    let mut tree = parser::parse(query).map_err(TestCaseError::fail)?;
    let mut seen = 0;
    let mut failed = None;
    for_each_selector(&mut tree, &mut |selector| {
        each_alternative(&mut selector.matchers, |alternative| {
            seen += 1;
            let same_kind = |o: &MatchOp| std::mem::discriminant(o) == std::mem::discriminant(op);
            if !alternative
                .iter()
                .any(|m| m.name == label && same_kind(&m.op) && m.value == value)
            {
                failed = Some(format!("{alternative:?} in {query}"));
            }
        });
    });
    prop_assert!(seen > 0);
    prop_assert_eq!(failed, None);
    Ok(())
}

proptest! {
    #[test]
    fn any_label_value_arrives_unchanged_on_every_selector(value in any::<String>(), tail in r#"["\\{}\n\r\t'`#,]{0,6}"#) {
        let value = format!("{value}{tail}");
        let matcher = ArmMatcher { label: "namespace".into(), op: MatcherOp::Equal, value: value.clone() };
        for expr in [
            "m", r#"m{a="1" or b="2"}"#, r#"{"quo.ted"}"#, "sum(rate(m[5m])) / sum(rate({__name__=~\"n.*\"}[5m]))",
            "quantile(scalar(p), m)", "avg_over_time((a + b)[5m:])",
        ] {
            let query = expression_query(expr, std::slice::from_ref(&matcher)).map_err(|e| TestCaseError::fail(e.to_string()))?;
            assert_every_selector_has(&query, "namespace", &MatchOp::Equal, &value)?;
        }
    }

    #[test]
    fn any_text_gives_an_error_or_a_query_with_the_matchers(expr in r#"[a-z_]{1,4}(\{[a-z]=(=|~)?"[^"]{0,5}"\}|\[[0-9]{1,3}[smh]\]| offset 5m|\(\)|\)|\(| or | / |[{}\[\]()"'`@#:,+-]){0,3}[a-z]{0,3}"#) {
        if let Ok(query) = expression_query(&expr, &tenant())
            && !matches!(parser::parse(&query), Ok(Expr::Call(_) | Expr::NumberLiteral(_))) {
            assert_every_selector_has(&query, "namespace", &MatchOp::Equal, "risk")?;
        }
        let _ = arm_query(&expr, &tenant(), 1000);
    }

    #[test]
    fn arbitrary_text_never_panics(expr in any::<String>()) {
        let _ = expression_query(&expr, &tenant());
        let _ = histogram_query(&expr, &tenant(), 0);
    }
}
