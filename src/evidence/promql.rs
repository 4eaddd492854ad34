//! PromQL: puts an arm's matchers on every selector of what the user wrote.
//!
//! Works on the parsed expression, never on its text, and proves its own work: the result is parsed again and must be the
//! very expression that was meant. A selector that slipped through would read another arm, or another tenant's namespace.
//! Must not decide which matchers an arm has.

use std::time::Duration;

use promql_parser::label::{Matcher, Matchers};
use promql_parser::parser::token::{T_EQL, T_EQL_REGEX};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, AggregateExpr, Expr, MatrixSelector, VectorSelector};

/// Longest expression that is looked at, in bytes; the API allows less.
const MAX_LENGTH: usize = 8 * 1024;

/// A label matcher that tells an arm, or a tenant, from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmMatcher {
    /// Name of the label.
    pub label: String,
    /// How the value is compared.
    pub op: MatcherOp,
    /// The value, or an RE2 expression, as is: escaping is done here.
    pub value: String,
}

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatcherOp {
    /// `=`
    Equal,
    /// `=~`, anchored at both ends.
    Regex,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromqlError {
    /// Not PromQL.
    #[error("`{expr}` is not valid PromQL: {detail}")]
    Invalid {
        /// What the user wrote.
        expr: String,
        /// The parser's words.
        detail: String,
    },
    /// More than a selector where a selector is needed.
    #[error("`{expr}` is {what}: guardbit counts raw samples; write the plain selector{instead}")]
    NotPlain {
        /// What the user wrote.
        expr: String,
        /// What it is.
        what: &'static str,
        /// The selector inside, if there is exactly one, as a suggestion.
        instead: String,
    },
    /// A histogram whose name cannot be told.
    #[error(
        "`{expr}` names no histogram: write its name in front of the braces, such as http_request_duration_seconds"
    )]
    NoName {
        /// What the user wrote.
        expr: String,
    },
    /// The result is no number.
    #[error("`{expr}` gives a {kind}: write an expression with one value, such as max({expr}) of an instant vector")]
    NoValue {
        /// What the user wrote.
        expr: String,
        /// What it gives.
        kind: String,
    },
    /// An arm's matcher that PromQL cannot express.
    #[error("matcher {label}=~{value:?} is not valid: {detail}")]
    Matcher {
        /// The label.
        label: String,
        /// The value.
        value: String,
        /// The parser's words.
        detail: String,
    },
    /// An expression that does not survive being printed.
    #[error(
        "`{expr}` uses a notation that guardbit cannot write back faithfully (such as a time before 1970): simplify it"
    )]
    Unfaithful {
        /// What the user wrote.
        expr: String,
    },
}

/// The query for the raw samples of a counter of one arm: `selector{…, matchers}[window]`.
///
/// Only a plain selector is allowed: functions, offsets and ranges would hide the samples. `window_ms` is at least 1.
pub fn arm_query(selector: &str, matchers: &[ArmMatcher], window_ms: u64) -> Result<String, PromqlError> {
    let mut plain = plain_selector(selector)?;
    add_matchers(&mut plain, &compile(matchers)?);
    ranged(selector, plain, window_ms)
}

/// The query for the raw samples of a classic histogram of one arm; the user may write its name with or without `_bucket`.
pub fn histogram_query(selector: &str, matchers: &[ArmMatcher], window_ms: u64) -> Result<String, PromqlError> {
    let mut plain = plain_selector(selector)?;
    name_buckets(&mut plain).ok_or_else(|| PromqlError::NoName { expr: selector.into() })?;
    add_matchers(&mut plain, &compile(matchers)?);
    ranged(selector, plain, window_ms)
}

/// A free expression with the matchers on every selector in it. Its result must be an instant vector or a scalar.
pub fn expression_query(expr: &str, matchers: &[ArmMatcher]) -> Result<String, PromqlError> {
    let mut tree = parse(expr)?;
    match tree.value_type() {
        ValueType::Vector | ValueType::Scalar => {}
        kind => {
            return Err(PromqlError::NoValue {
                expr: expr.into(),
                kind: kind.to_string(),
            });
        }
    }
    let matchers = compile(matchers)?;
    for_each_selector(&mut tree, &mut |selector| add_matchers(selector, &matchers));
    print(expr, &tree)
}

fn compile(matchers: &[ArmMatcher]) -> Result<Vec<Matcher>, PromqlError> {
    matchers
        .iter()
        .map(|ArmMatcher { label, op, value }| {
            let op = match op {
                MatcherOp::Equal => T_EQL,
                MatcherOp::Regex => T_EQL_REGEX,
            };
            Matcher::new_matcher(op, label.clone(), value.clone()).map_err(|detail| PromqlError::Matcher {
                label: label.clone(),
                value: value.clone(),
                detail,
            })
        })
        .collect()
}

fn parse(expr: &str) -> Result<Expr, PromqlError> {
    let invalid = |detail: String| PromqlError::Invalid {
        expr: expr.chars().take(200).collect(),
        detail,
    };
    if expr.len() > MAX_LENGTH {
        return Err(invalid(format!("longer than {MAX_LENGTH} bytes")));
    }
    // The parser turns a range of more than 2^64 seconds, or a negative one, into a panic of Duration::from_secs_f64.
    let parsed = std::panic::catch_unwind(|| parser::parse(expr));
    parsed
        .unwrap_or_else(|_| Err("a duration in it is out of range".into()))
        .map_err(invalid)
}

fn plain_selector(expr: &str) -> Result<VectorSelector, PromqlError> {
    let mut tree = parse(expr)?;
    let what = match &tree {
        Expr::VectorSelector(selector) if selector.offset.is_none() && selector.at.is_none() => {
            return Ok(selector.clone());
        }
        Expr::VectorSelector(_) => "a selector with offset or @",
        Expr::MatrixSelector(_) => "a range selector",
        Expr::Call(_) => "a function call",
        Expr::Aggregate(_) => "an aggregation",
        _ => "an expression",
    };
    let mut inside = Vec::new();
    for_each_selector(&mut tree, &mut |selector| {
        inside.push(
            VectorSelector {
                offset: None,
                at: None,
                ..selector.clone()
            }
            .to_string(),
        );
    });
    let instead = match inside.as_slice() {
        [one] => format!(" `{one}`"),
        _ => String::new(),
    };
    Err(PromqlError::NotPlain {
        expr: expr.into(),
        what,
        instead,
    })
}

/// Calls `visit` on every selector. The parser's own walker leaves out the parameter of an aggregation, as in
/// `quantile(scalar(other), …)`, and must not be used for tenancy.
fn for_each_selector(expr: &mut Expr, visit: &mut dyn FnMut(&mut VectorSelector)) {
    match expr {
        Expr::Aggregate(AggregateExpr { expr, param, .. }) => {
            if let Some(param) = param {
                for_each_selector(param, visit);
            }
            for_each_selector(expr, visit);
        }
        Expr::Unary(unary) => for_each_selector(&mut unary.expr, visit),
        Expr::Binary(binary) => {
            for_each_selector(&mut binary.lhs, visit);
            for_each_selector(&mut binary.rhs, visit);
        }
        Expr::Paren(paren) => for_each_selector(&mut paren.expr, visit),
        Expr::Subquery(subquery) => for_each_selector(&mut subquery.expr, visit),
        Expr::Call(call) => call.args.args.iter_mut().for_each(|arg| for_each_selector(arg, visit)),
        Expr::VectorSelector(selector) => visit(selector),
        Expr::MatrixSelector(range) => visit(&mut range.vs),
        // The parser makes no extension nodes.
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// Adds the matchers to every alternative of the selector.
fn add_matchers(selector: &mut VectorSelector, added: &[Matcher]) {
    each_alternative(&mut selector.matchers, |alternative| {
        alternative.extend_from_slice(added)
    });
}

fn each_alternative(matchers: &mut Matchers, mut change: impl FnMut(&mut Vec<Matcher>)) {
    if matchers.or_matchers.is_empty() {
        change(&mut matchers.matchers);
    } else {
        matchers.or_matchers.iter_mut().for_each(change);
    }
}

/// Makes the selector name the `_bucket` series. `None` if some alternative names no metric.
fn name_buckets(selector: &mut VectorSelector) -> Option<()> {
    let bucket = |name: &mut String| {
        if !name.ends_with("_bucket") {
            name.push_str("_bucket");
        }
    };
    if let Some(name) = &mut selector.name {
        bucket(name);
        return Some(());
    }
    let mut named = true;
    each_alternative(&mut selector.matchers, |alternative| {
        let name = alternative
            .iter_mut()
            .find(|m| m.name == "__name__" && m.op == promql_parser::label::MatchOp::Equal);
        match name {
            Some(matcher) => bucket(&mut matcher.value),
            None => named = false,
        }
    });
    named.then_some(())
}

fn ranged(expr: &str, vs: VectorSelector, window_ms: u64) -> Result<String, PromqlError> {
    let range = Duration::from_millis(window_ms.max(1));
    print(expr, &Expr::MatrixSelector(MatrixSelector { vs, range }))
}

/// Prints the expression and proves that it says what was meant.
fn print(expr: &str, tree: &Expr) -> Result<String, PromqlError> {
    let text = tree.to_string();
    match parse(&text) {
        Ok(again) if ordered(again.clone()) == ordered(tree.clone()) => Ok(text),
        _ => Err(PromqlError::Unfaithful { expr: expr.into() }),
    }
}

/// The same expression with the matchers of each selector in the order of their text: printing sorts them.
fn ordered(mut tree: Expr) -> Expr {
    for_each_selector(&mut tree, &mut |selector| {
        each_alternative(&mut selector.matchers, |alternative| {
            alternative.sort_by_cached_key(ToString::to_string)
        });
    });
    tree
}

#[cfg(test)]
mod tests {
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
}
