//! Selectors that are matched against labels here, for recorded samples that no server is asked for.

use promql_parser::label::{MatchOp, Matcher};
use promql_parser::parser::VectorSelector;

use super::super::answer::BucketForm;
use super::super::labels::Labels;
use super::super::role::Form;
use super::{ArmMatcher, MatcherOp, PromqlError, compile, name_histogram, plain_selector};

/// A selector with the matchers of an arm. An arm may have several sets of matchers; a series belongs to it if one
/// matches.
#[derive(Clone, Debug)]
pub struct Selection {
    name: Option<String>,
    /// All matchers of at least one alternative must hold.
    alternatives: Vec<Vec<Matcher>>,
}

impl Selection {
    /// Selects what a plain selector asks for: a counter, or the buckets of a classic histogram.
    pub fn plain(form: Form, selector: &str, arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        match form {
            Form::Counter | Form::Expression => Self::counter(selector, arm),
            Form::Histogram => Self::histogram(selector, arm),
        }
    }

    /// Selects a counter, as [`super::arm_query`] asks for it.
    pub fn counter(selector: &str, arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        Self::of(&plain_selector(selector)?, arm)
    }

    /// Selects the buckets of a classic histogram, as [`super::histogram_query`] asks for them.
    pub fn histogram(selector: &str, arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        let mut plain = plain_selector(selector)?;
        name_histogram(&mut plain, BucketForm::Classic).ok_or_else(|| PromqlError::NoName { expr: selector.into() })?;
        Self::of(&plain, arm)
    }

    /// Selects all series of an arm.
    pub fn arm(arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        Ok(Self {
            name: None,
            alternatives: arm.iter().map(|ways| compile(ways)).collect::<Result<_, _>>()?,
        })
    }

    /// Selects what a selector inside an expression asks for.
    pub fn of(selector: &VectorSelector, arm: &[Vec<ArmMatcher>]) -> Result<Self, PromqlError> {
        let written = if selector.matchers.or_matchers.is_empty() {
            vec![&selector.matchers.matchers]
        } else {
            selector.matchers.or_matchers.iter().collect()
        };
        let mut alternatives = Vec::new();
        for ways in arm {
            let added = compile(ways)?;
            alternatives.extend(written.iter().map(|own| own.iter().chain(&added).cloned().collect()));
        }
        Ok(Self {
            name: selector.name.clone(),
            alternatives,
        })
    }

    /// Name of the metric, if the selector gives it in front of the braces.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Whether a series is selected. A label that it does not have is empty, as in PromQL.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = |name: &str| labels.get(name).unwrap_or_default();
        self.name.as_ref().is_none_or(|name| value("__name__") == name)
            && self
                .alternatives
                .iter()
                .any(|all| all.iter().all(|matcher| matcher.is_match(value(&matcher.name))))
    }
}

/// Label matchers as PromQL writes them: `{arm="candidate",job!="batch"}`.
pub fn parse_matchers(text: &str) -> Result<Vec<ArmMatcher>, PromqlError> {
    let none = || PromqlError::NoMatchers { text: text.to_owned() };
    let selector = plain_selector(text).map_err(|_| none())?;
    if selector.name.is_some() || !selector.matchers.or_matchers.is_empty() {
        return Err(none());
    }
    let matcher = |m: Matcher| ArmMatcher {
        op: match m.op {
            MatchOp::Equal => MatcherOp::Equal,
            MatchOp::NotEqual => MatcherOp::NotEqual,
            MatchOp::Re(_) => MatcherOp::Regex,
            MatchOp::NotRe(_) => MatcherOp::NotRegex,
        },
        label: m.name,
        value: m.value,
    };
    Ok(selector.matchers.matchers.into_iter().map(matcher).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn an_arm_is_told_by_any_of_its_ways_and_all_matchers_of_one() {
        let arm = [
            parse_matchers(r#"{arm="stable",job!="batch"}"#).unwrap(),
            parse_matchers(r#"{arm=~"ref.*"}"#).unwrap(),
        ];
        let selection = Selection::counter(r#"http_requests_total{code=~"5.."}"#, &arm).unwrap();
        let name = ("__name__", "http_requests_total");
        for (pairs, is) in [
            (vec![name, ("arm", "stable"), ("code", "503")], true),
            (vec![name, ("arm", "reference"), ("code", "500")], true),
            (vec![name, ("arm", "stable"), ("code", "503"), ("job", "batch")], false),
            (vec![name, ("arm", "stable"), ("code", "200")], false),
            (vec![name, ("arm", "candidate"), ("code", "503")], false),
            (vec![("__name__", "other"), ("arm", "stable"), ("code", "503")], false),
        ] {
            assert_eq!(selection.matches(&labels(&pairs)), is, "{pairs:?}");
        }
    }

    #[test]
    fn a_histogram_is_its_buckets() {
        let arm = [parse_matchers(r#"{arm="stable"}"#).unwrap()];
        let selection = Selection::histogram("seconds", &arm).unwrap();
        assert!(selection.matches(&labels(&[
            ("__name__", "seconds_bucket"),
            ("arm", "stable"),
            ("le", "1")
        ])));
        assert!(!selection.matches(&labels(&[("__name__", "seconds_count"), ("arm", "stable")])));
    }

    #[test]
    fn what_is_no_set_of_matchers_is_refused_with_an_example() {
        for text in ["stable", "up{arm=\"x\"}", "{arm=", "{}", "rate({a=\"b\"}[1m])", ""] {
            let error = parse_matchers(text).unwrap_err().to_string();
            assert!(error.contains("write it as {arm=\"candidate\"}"), "{text}: {error}");
        }
    }
}
