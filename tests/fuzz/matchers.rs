//! The injection of matchers: whatever a user writes, no selector is left without those of its arm, and no tree is so deep
//! that it takes the process down. What comes out is parsed again and walked by a walker of this test's own.

use guardbit::evidence::{ArmMatcher, MatcherOp, arm_query, expression_query, histogram_query};
use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::{self, Expr, VectorSelector};
use proptest::prelude::*;

use crate::campaign::campaign;
#[path = "../support/promql.rs"]
mod promql;

use promql::{arm_of, expression};

/// All selectors of an expression. Every kind of node is named: one that the parser gets later breaks the build.
fn selectors<'a>(expr: &'a Expr, out: &mut Vec<&'a VectorSelector>) {
    match expr {
        Expr::Aggregate(aggregate) => {
            selectors(&aggregate.expr, out);
            aggregate.param.iter().for_each(|param| selectors(param, out));
        }
        Expr::Unary(unary) => selectors(&unary.expr, out),
        Expr::Binary(binary) => {
            selectors(&binary.lhs, out);
            selectors(&binary.rhs, out);
        }
        Expr::Paren(paren) => selectors(&paren.expr, out),
        Expr::Subquery(subquery) => selectors(&subquery.expr, out),
        Expr::Call(call) => call.args.args.iter().for_each(|arg| selectors(arg, out)),
        Expr::VectorSelector(selector) => out.push(selector),
        Expr::MatrixSelector(range) => out.push(&range.vs),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => {}
        Expr::Extension(_) => panic!("the parser makes no extensions"),
    }
}

fn is(matcher: &Matcher, wanted: &ArmMatcher) -> bool {
    let same = match &matcher.op {
        MatchOp::Equal => wanted.op == MatcherOp::Equal,
        MatchOp::NotEqual => wanted.op == MatcherOp::NotEqual,
        MatchOp::Re(_) => wanted.op == MatcherOp::Regex,
        MatchOp::NotRe(_) => wanted.op == MatcherOp::NotRegex,
    };
    same && matcher.name == wanted.label && matcher.value == wanted.value
}

fn check(query: &str, arm: &[ArmMatcher]) -> Result<(), TestCaseError> {
    let tree = parser::parse(query).map_err(|e| TestCaseError::fail(format!("{query}: {e}")))?;
    let mut found = Vec::new();
    selectors(&tree, &mut found);
    for selector in found {
        let ors = &selector.matchers.or_matchers;
        let alternatives = if ors.is_empty() {
            std::slice::from_ref(&selector.matchers.matchers)
        } else {
            prop_assert!(
                selector.matchers.matchers.is_empty(),
                "matchers beside alternatives in {query}"
            );
            ors.as_slice()
        };
        for alternative in alternatives {
            for wanted in arm {
                prop_assert!(
                    alternative.iter().any(|m| is(m, wanted)),
                    "{selector} has no {wanted:?} in {query}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn injected_matchers() {
    let text = prop_oneof![
        8 => expression(),
        4 => (expression(), any::<prop::sample::Index>(), prop::sample::select(vec!["{", "}", "(", ")", "\"", "'", "`", "#", "\\", "or", "[", "]", ",", "\n", "@", "-"]))
            .prop_map(|(mut text, at, broken)| {
                let at = at.index(text.len() + 1);
                let at = (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
                text.insert_str(at, broken);
                text
            }),
        1 => any::<String>(),
    ];
    campaign("PromQL matcher injection", (text, arm_of()), |(text, arm)| {
        for query in [
            expression_query(&text, &arm),
            arm_query(&text, &arm, 90_000),
            histogram_query(&text, &arm, 90_000),
        ] {
            match query {
                Ok(query) => check(&query, &arm)?,
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
        }
        Ok(())
    });
}

/// A worker of the runtime has two megabytes of stack; half of it must do.
#[test]
fn the_deepest_expression_fits_into_the_stack_of_a_worker() {
    const LONGEST: usize = 1024;
    let nested = |open: &str, close: &str| {
        let deep = (LONGEST - 1) / (open.len() + close.len());
        format!("{}m{}", open.repeat(deep), close.repeat(deep))
    };
    let deepest = [
        nested("(", ")"),
        nested("-", ""),
        nested("abs(", ")"),
        nested("sum(", ")"),
        nested("", "+m"),
        nested("m^", ""),
        nested("", " or m"),
        nested("max_over_time(", "[1s:1s])"),
    ];
    for text in deepest {
        let arm = [ArmMatcher {
            label: "namespace".into(),
            op: MatcherOp::Equal,
            value: "risk".into(),
        }];
        let longer = format!("{text}{text}");
        let work = move || {
            let shown = expression_query(&text, &arm).map(|q| check(&q, &arm));
            assert!(
                expression_query(&longer, &arm).is_err(),
                "nothing longer than {LONGEST} is looked at"
            );
            (text, shown)
        };
        let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(work).unwrap();
        let (text, shown) = thread.join().unwrap();
        // The parser itself refuses some of them.
        if let Ok(checked) = shown {
            checked.unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    }
}
