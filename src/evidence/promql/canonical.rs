//! One text for all ways of writing a selector, so that selectors can be compared.

use promql_parser::label::{MatchOp, Matcher};

use super::super::answer::BucketForm;
use super::super::role::Form;
use super::{PromqlError, each_alternative, expression_query, name_histogram, plain_selector};

/// The label that holds the name of a metric.
const NAME: &str = "__name__";

/// The text that is the same for all selectors that differ only in how they are written: in blanks, quotes, the order of
/// their matchers, the place of the metric's name, and, of a histogram, in the ending `_bucket`. Two selectors that may
/// find other series have two texts.
pub fn canonical(form: Form, text: &str) -> Result<String, PromqlError> {
    if form == Form::Expression {
        return expression_query(text, &[]);
    }
    let mut selector = plain_selector(text)?;
    if form == Form::Histogram {
        name_histogram(&mut selector, BucketForm::Native).ok_or_else(|| PromqlError::NoName { expr: text.into() })?;
    }
    let mut name = selector.name.take();
    if name.is_none() && selector.matchers.or_matchers.is_empty() {
        let all = &mut selector.matchers.matchers;
        let at = all.iter().position(|m| m.name == NAME && m.op == MatchOp::Equal);
        name = at.map(|at| all.remove(at).value);
    }
    match name {
        Some(name) if is_plain(&name) => selector.name = Some(name),
        // In front of the braces, a name such as `a{b="c"}` would read as the metric `a` with a matcher.
        Some(name) => each_alternative(&mut selector.matchers, |alternative| {
            alternative.push(Matcher::new(MatchOp::Equal, NAME, &name));
        }),
        None => {}
    }
    each_alternative(&mut selector.matchers, |alternative| {
        alternative.sort_by_cached_key(ToString::to_string);
        alternative.dedup_by_key(|matcher| matcher.to_string());
    });
    Ok(selector.to_string())
}

/// Whether a name of a metric can stand in front of the braces.
fn is_plain(name: &str) -> bool {
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '_' | ':');
    name.starts_with(first) && name.chars().all(|c| first(c) || c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_the_same_has_one_text() {
        for (form, same) in [
            (
                Form::Counter,
                &[
                    r#"http_requests_total{code=~"5..",job="a"}"#,
                    r#"http_requests_total{ job = 'a', code =~ "5.." }"#,
                    r#"http_requests_total{job="a",code=~"5..",job="a"}"#,
                    r#"{code=~"5..",__name__="http_requests_total",job="a"}"#,
                ][..],
            ),
            (
                Form::Histogram,
                &[
                    "seconds",
                    "seconds_bucket",
                    "seconds{}",
                    r#"{__name__="seconds_bucket"}"#,
                ],
            ),
            (Form::Expression, &["max(a)/2", "max( a ) / 2"]),
        ] {
            let texts: Vec<_> = same.iter().map(|text| canonical(form, text).unwrap()).collect();
            assert!(texts.windows(2).all(|two| two[0] == two[1]), "{texts:?}");
        }
    }

    #[test]
    fn what_may_find_other_series_has_another_text() {
        let texts = [
            "http_requests_total",
            r#"http_requests_total{code=~"5.."}"#,
            r#"http_requests_total{code=~"50."}"#,
            r#"http_requests_total{code="5.."}"#,
            r#"http_requests_total{code!~"5.."}"#,
            r#"http_requests_total{code=~"5..",job="a"}"#,
            "http_requests_total_bucket",
            // A metric whose name is a text of PromQL.
            r#"{__name__="http_requests_total{code=~\"5..\"}"}"#,
            r#"{__name__=~"http_requests_total"}"#,
        ];
        for (i, text) in texts.iter().enumerate() {
            let own = canonical(Form::Counter, text).unwrap();
            for other in &texts[i + 1..] {
                assert_ne!(own, canonical(Form::Counter, other).unwrap(), "{text} and {other}");
            }
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["rate(a[1m])", "a offset 5m", "a +", ""] {
            assert!(canonical(Form::Counter, text).is_err(), "{text}");
        }
        assert!(canonical(Form::Histogram, r#"{job="a"}"#).is_err());
    }
}
