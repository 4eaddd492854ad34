//! PromQL: puts an arm's matchers on every selector of what the user wrote.
//!
//! Works on the parsed expression, never on its text, and verifies the result: it is parsed again and must equal the
//! intended expression. A selector without its matchers would read another arm, or another tenant's namespace. Must not
//! decide which matchers an arm has.

use std::time::Duration;

use super::answer::BucketForm;

use promql_parser::label::{MatchOp, Matcher, Matchers};
use promql_parser::parser::token::{T_EQL, T_EQL_REGEX, T_NEQ, T_NEQ_REGEX};
use promql_parser::parser::value::ValueType;
use promql_parser::parser::{self, AggregateExpr, Expr, MatrixSelector, VectorSelector};

mod batch;
mod canonical;
mod selection;

pub use batch::{Batch, BatchedArm, POD_OF_DEPLOYMENT, fitting, shape};
pub use canonical::canonical;
pub use selection::{Selection, parse_matchers};

/// Longest expression that is parsed, in bytes: as long as the API allows. Trees are walked and dropped recursively,
/// and the deeper tree of a longer text could overflow the stack of the thread.
const MAX_LENGTH: usize = 1024;

/// A label matcher that distinguishes an arm, or a tenant, from the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArmMatcher {
    /// Name of the label.
    pub label: String,
    /// How the value is compared.
    pub op: MatcherOp,
    /// The value, or an RE2 expression, as is: escaping is done here.
    pub value: String,
}

impl ArmMatcher {
    /// A label that has this value.
    pub fn equal(label: &str, value: impl Into<String>) -> Self {
        Self {
            label: label.to_owned(),
            op: MatcherOp::Equal,
            value: value.into(),
        }
    }
}

/// Label of series that names a revision in its short form.
pub const REVISION: &str = "guardbit_revision";

/// How a label is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatcherOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends.
    Regex,
    /// `!~`, anchored at both ends.
    NotRegex,
}

/// Why an expression cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PromqlError {
    /// The text is not PromQL.
    #[error("`{expr}` is not valid PromQL: {detail}")]
    Invalid {
        /// What the user wrote.
        expr: String,
        /// The parser's message.
        detail: String,
    },
    /// More than a selector where a selector is needed.
    #[error("`{expr}` is {what}: guardbit counts raw samples; write the plain selector{instead}")]
    NotPlain {
        /// What the user wrote.
        expr: String,
        /// Kind of the expression, in words.
        what: &'static str,
        /// The selector inside, if there is exactly one, as a suggestion.
        instead: String,
    },
    /// The selector does not name a histogram.
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
        /// Type of the result.
        kind: String,
    },
    /// An arm's matcher that PromQL cannot express.
    #[error("matcher on {label} with the value {value:?} is not valid: {detail}")]
    Matcher {
        /// The label.
        label: String,
        /// The value.
        value: String,
        /// The parser's message.
        detail: String,
    },
    /// The text is no set of label matchers.
    #[error("`{text}` is no set of label matchers: write it as {{arm=\"candidate\"}}")]
    NoMatchers {
        /// What the user wrote.
        text: String,
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

/// The query for the raw samples of a classic histogram of one arm; the user may write its name with or without
/// `_bucket`.
pub fn histogram_query(selector: &str, matchers: &[ArmMatcher], window_ms: u64) -> Result<String, PromqlError> {
    let mut plain = plain_selector(selector)?;
    name_histogram(&mut plain, BucketForm::Classic).ok_or_else(|| PromqlError::NoName { expr: selector.into() })?;
    add_matchers(&mut plain, &compile(matchers)?);
    ranged(selector, plain, window_ms)
}

/// The query for the raw samples of a native histogram of one arm; the user may write its name with or without
/// `_bucket`.
pub fn native_histogram_query(selector: &str, matchers: &[ArmMatcher], window_ms: u64) -> Result<String, PromqlError> {
    let mut plain = plain_selector(selector)?;
    name_histogram(&mut plain, BucketForm::Native).ok_or_else(|| PromqlError::NoName { expr: selector.into() })?;
    add_matchers(&mut plain, &compile(matchers)?);
    ranged(selector, plain, window_ms)
}

/// A free expression with the matchers on every selector in it. Its result must be an instant vector or a scalar.
pub fn expression_query(expr: &str, matchers: &[ArmMatcher]) -> Result<String, PromqlError> {
    let mut tree = expression(expr)?;
    let matchers = compile(matchers)?;
    for_each_selector(&mut tree, &mut |selector| add_matchers(selector, &matchers));
    print(expr, &tree)
}

/// A free expression, parsed, as the user wrote it. Its result is an instant vector or a scalar.
pub fn expression(expr: &str) -> Result<Expr, PromqlError> {
    let tree = parse(expr)?;
    match tree.value_type() {
        ValueType::Vector | ValueType::Scalar => Ok(tree),
        kind => Err(PromqlError::NoValue {
            expr: expr.into(),
            kind: kind.to_string(),
        }),
    }
}

/// A selector as it is written in an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Name of the metric, where it is given literally; that of a histogram with or without `_bucket`.
    pub metric: Option<String>,
    /// Labels that it has matchers on.
    pub labels: Vec<String>,
}

/// The selectors of an expression, in their order.
pub fn written(expr: &str) -> Result<Vec<Written>, PromqlError> {
    let mut tree = parse(expr)?;
    let mut found = Vec::new();
    for_each_selector(&mut tree, &mut |selector| {
        let mut written = Written {
            metric: selector.name.clone(),
            labels: Vec::new(),
        };
        each_alternative(&mut selector.matchers, |alternative| {
            for matcher in alternative.iter() {
                if matcher.name != "__name__" {
                    written.labels.push(matcher.name.clone());
                } else if matcher.op == MatchOp::Equal {
                    written.metric.get_or_insert_with(|| matcher.value.clone());
                }
            }
        });
        found.push(written);
    });
    Ok(found)
}

fn compile(matchers: &[ArmMatcher]) -> Result<Vec<Matcher>, PromqlError> {
    matchers.iter().map(compile_one).collect()
}

fn compile_one(ArmMatcher { label, op, value }: &ArmMatcher) -> Result<Matcher, PromqlError> {
    let op = match op {
        MatcherOp::Equal => T_EQL,
        MatcherOp::NotEqual => T_NEQ,
        MatcherOp::Regex => T_EQL_REGEX,
        MatcherOp::NotRegex => T_NEQ_REGEX,
    };
    Matcher::new_matcher(op, label.clone(), value.clone()).map_err(|detail| PromqlError::Matcher {
        label: label.clone(),
        value: value.clone(),
        detail,
    })
}

/// A matcher by a regular expression, which is compiled only when the query is parsed again to verify it.
fn unread(matcher: &ArmMatcher) -> Result<Matcher, PromqlError> {
    let nothing = compile_one(&ArmMatcher {
        value: String::new(),
        ..matcher.clone()
    })?;
    Ok(Matcher {
        value: matcher.value.clone(),
        ..nothing
    })
}

fn parse(expr: &str) -> Result<Expr, PromqlError> {
    let invalid = |detail: String| PromqlError::Invalid {
        expr: expr.chars().take(200).collect(),
        detail,
    };
    if expr.len() > MAX_LENGTH {
        return Err(invalid(format!("longer than {MAX_LENGTH} bytes")));
    }
    parse_any(expr).map_err(invalid)
}

/// Parses a text of any length, such as a short enough expression to which matchers were added.
fn parse_any(expr: &str) -> Result<Expr, String> {
    // The parser turns a range of more than 2^64 seconds, or a negative one, into a panic of Duration::from_secs_f64.
    let parsed = std::panic::catch_unwind(|| parser::parse(expr));
    parsed.unwrap_or_else(|_| Err("a duration in it is out of range".into()))
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
        // The parser creates no extension nodes.
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

/// Makes the selector name the series of this form: those of `_bucket`, or those without. `None` if some alternative
/// names no metric.
fn name_histogram(selector: &mut VectorSelector, form: BucketForm) -> Option<()> {
    let bucket = |name: &mut String| {
        let plain = name.strip_suffix("_bucket").unwrap_or(name);
        *name = match form {
            BucketForm::Classic => format!("{plain}_bucket"),
            BucketForm::Native => plain.to_owned(),
        };
    };
    if let Some(name) = &mut selector.name {
        bucket(name);
        return Some(());
    }
    let mut named = true;
    each_alternative(&mut selector.matchers, |alternative| {
        let name = alternative
            .iter_mut()
            .find(|m| m.name == "__name__" && m.op == MatchOp::Equal);
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

/// Prints the expression and verifies that the text means the same.
fn print(expr: &str, tree: &Expr) -> Result<String, PromqlError> {
    let text = tree.to_string();
    match parse_any(&text) {
        Ok(again) if ordered(again.clone()) == ordered(tree.clone()) => Ok(text),
        _ => Err(PromqlError::Unfaithful { expr: expr.into() }),
    }
}

/// The expression in a form that can be compared: the matchers of each selector are in the order of their text, because
/// printing sorts them, and those by a regular expression hold only its text, which determines it.
fn ordered(mut tree: Expr) -> Expr {
    let written = |m: &Matcher| {
        let (op, how) = match m.op {
            MatchOp::Equal => (MatchOp::Equal, '='),
            MatchOp::NotEqual => (MatchOp::NotEqual, '='),
            MatchOp::Re(_) => (MatchOp::Equal, '~'),
            MatchOp::NotRe(_) => (MatchOp::NotEqual, '~'),
        };
        Matcher::new(op, &m.name, &format!("{how}{}", m.value))
    };
    for_each_selector(&mut tree, &mut |selector| {
        each_alternative(&mut selector.matchers, |alternative| {
            alternative.iter_mut().for_each(|m| *m = written(m));
            alternative.sort_by_cached_key(ToString::to_string)
        });
    });
    tree
}

#[cfg(test)]
mod tests;
