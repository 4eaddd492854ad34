//! Expressions of every kind that PromQL has, with names and strings that invite confusion.

use guardbit::evidence::{ArmMatcher, MatcherOp};
use proptest::prelude::*;

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec!["m", "http_requests_total", "a:b", "sum", "by", "or", "offset", "bool", "inf", "NaN", "start", "avg", "on"]).prop_map(str::to_owned),
        1 => "[a-zA-Z_:][a-zA-Z0-9_:]{0,8}",
    ]
}

/// A string literal, of any of the three kinds of quotes.
fn text() -> impl Strategy<Value = String> {
    let inside = prop_oneof![
        4 => "[a-z0-9.*+|-]{0,6}",
        3 => prop::sample::select(vec!["", "}", "{", "\"} or m{", "' or '", "\\", "\\\\\"", "a\nb", "#", "risk", "é\u{202e}", ".*", "[", "(?i)x", "`"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (inside, 0u8..3).prop_map(|(inside, quote)| match quote {
        0 => format!(
            "\"{}\"",
            inside.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
        ),
        1 => format!(
            "'{}'",
            inside.replace('\\', "\\\\").replace('\'', "\\'").replace('\n', "\\n")
        ),
        _ => format!("`{}`", inside.replace('`', "")),
    })
}

fn matcher() -> impl Strategy<Value = String> {
    let label = prop_oneof![
        5 => prop::sample::select(vec!["code", "namespace", "pod", "__name__", "le"]).prop_map(str::to_owned),
        1 => Just("\"quoted.label\"".to_owned()),
    ];
    (label, prop::sample::select(vec!["=", "!=", "=~", "!~"]), text()).prop_map(|(l, op, t)| format!("{l}{op}{t}"))
}

fn selector() -> impl Strategy<Value = String> {
    let all = prop::collection::vec(matcher(), 0..3).prop_map(|m| m.join(","));
    let ors = prop::collection::vec(matcher(), 1..4).prop_map(|m| m.join(" or "));
    let inside = prop_oneof![4 => all, 1 => ors, 1 => text()];
    (prop::option::weighted(0.8, name()), prop::option::weighted(0.7, inside)).prop_map(|(name, inside)| {
        let inside = inside.map(|i| format!("{{{i}}}"));
        format!("{}{}", name.unwrap_or_default(), inside.unwrap_or_default())
    })
}

fn range() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "[5m]", "[1h30m]", "[90]", "[1ms]", "[0s]", "[5m:1m]", "[5m:]", "[1e3]", "[292y]",
    ])
}

fn modified(inner: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let modifier = prop::sample::select(vec![
        "",
        "",
        "",
        " offset 5m",
        " offset -1h",
        " @ 1600000000",
        " @ start()",
        " @ end() offset 1d",
        " @ -1.5",
    ]);
    (inner, modifier).prop_map(|(inner, modifier)| format!("{inner}{modifier}"))
}

/// Text of an expression, mostly well formed.
pub fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => modified(selector()),
        1 => prop::sample::select(vec!["1", "-0.5", "Inf", "0x1f", "1e3", "vector(1)", "time()"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 24, 3, |inner| {
        let labels = prop_oneof![Just(String::new()), Just("pod".into()), Just("a, b".into()), text()];
        let grouping = (prop::sample::select(vec!["", " by ", " without "]), labels)
            .prop_map(|(how, labels)| if how.is_empty() { String::new() } else { format!("{how}({labels})") });
        let matching = prop::sample::select(vec!["", "", " bool", " on (pod)", " ignoring (a)", " on (pod) group_left (zone)", " on () group_right"]);
        let op = prop::sample::select(vec!["+", "-", "*", "/", "%", "^", ">", "==", "!=", "<=", "and", "or", "unless", "atan2"]);
        let aggregate = prop::sample::select(vec!["sum", "max", "count", "group", "stddev"]);
        let with_parameter = prop::sample::select(vec!["topk", "quantile", "count_values", "bottomk", "limitk"]);
        let over_time = prop::sample::select(vec!["rate", "increase", "max_over_time", "absent_over_time", "delta", "changes"]);
        let call = prop::sample::select(vec!["abs", "scalar", "vector", "absent", "sort", "ceil", "timestamp", "label_replace"]);
        prop_oneof![
            2 => (aggregate, grouping.clone(), inner.clone()).prop_map(|(a, g, e)| format!("{a}{g}({e})")),
            1 => (aggregate_after(), inner.clone(), grouping).prop_map(|(a, e, g)| format!("{a}({e}){g}")),
            2 => (with_parameter, inner.clone(), inner.clone()).prop_map(|(a, p, e)| format!("{a}({p}, {e})")),
            2 => (over_time, modified((inner.clone(), range()).prop_map(|(e, r)| format!("{e}{r}")))).prop_map(|(f, e)| format!("{f}({e})")),
            1 => (inner.clone(), range()).prop_map(|(e, r)| format!("max_over_time(({e}){r})")),
            2 => (call, inner.clone()).prop_map(|(f, e)| format!("{f}({e})")),
            1 => (inner.clone(), text()).prop_map(|(e, t)| format!("label_replace({e}, \"a\", {t}, \"b\", \"c\")")),
            1 => (inner.clone(), inner.clone()).prop_map(|(q, e)| format!("histogram_quantile({q}, {e})")),
            3 => (inner.clone(), op, matching, inner.clone()).prop_map(|(a, op, m, b)| format!("{a} {op}{m} {b}")),
            1 => inner.clone().prop_map(|e| format!("({e})")),
            1 => inner.clone().prop_map(|e| format!("-{e}")),
            1 => inner.prop_map(|e| format!("{e} # }} or secret\n")),
        ]
    })
}

fn aggregate_after() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["sum", "min", "avg"])
}

/// Matchers of an arm, with values that try to break out of their quotes.
pub fn arm_of() -> impl Strategy<Value = Vec<ArmMatcher>> {
    let value = prop_oneof![
        3 => Just("risk".to_owned()),
        2 => prop::sample::select(vec!["\"} or {a=\"", "\\", "a\nb", "'", "`", "}", "#"]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    (value, any::<bool>()).prop_map(|(value, pod)| {
        let mut arm = vec![ArmMatcher {
            label: "namespace".into(),
            op: MatcherOp::Equal,
            value,
        }];
        if pod {
            arm.push(ArmMatcher {
                label: "pod".into(),
                op: MatcherOp::Regex,
                value: "fraud-int8-[a-z0-9]+-[a-z0-9]{5}".into(),
            });
        }
        arm
    })
}
