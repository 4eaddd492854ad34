//! One query for the arms of many models, and the split of its answer: each arm gets exactly the samples that a query
//! of its own would have returned.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use promql_parser::label::{MatchOp, Matcher};

use super::super::answer::BucketForm;
use super::super::role::Form;
use super::super::sample::{Matrix, Series};
use super::{
    ArmMatcher, MatcherOp, PromqlError, add_matchers, arm_query, compile_one, expression_query, histogram_query,
    name_histogram, plain_selector, ranged, unread,
};

/// Most bytes of matchers in one query: it must stay below the length of an expression that is parsed.
const MOST_BYTES: usize = 7 * 1024;

/// One arm of a batch: its matchers, and the times of its samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchedArm {
    /// Matchers that distinguish it from all other arms.
    pub matchers: Vec<ArmMatcher>,
    /// Its samples are after this time (Unix ms, exclusive).
    pub after: i64,
    /// Its samples are up to this time (Unix ms, inclusive).
    pub through: i64,
}

/// A query for several arms.
#[derive(Debug)]
pub struct Batch {
    query: String,
    arms: Vec<(Vec<Test>, BatchedArm)>,
    starts: Starts,
}

/// The condition of a matcher on the value of its label.
///
/// Most regular expressions have one known form, which is checked without compiling: that would take far longer than
/// everything else here, and as much memory as a model.
#[derive(Debug)]
enum Test {
    Is(String),
    /// These characters, followed by [`POD_OF_DEPLOYMENT`].
    PodOf(String),
    Matches(Matcher),
}

/// The end of the expression for the pods of a Deployment: the hash of its ReplicaSet, and five characters for each
/// pod.
pub const POD_OF_DEPLOYMENT: &str = "-[a-z0-9]+-[a-z0-9]{5}";

/// Index of arms by a prefix of the value of one label, so that a series is compared with few of them.
#[derive(Debug)]
struct Starts {
    label: String,
    /// Positions of arms, by the length of a prefix and the prefix.
    arms: BTreeMap<usize, HashMap<String, Vec<usize>>>,
}

/// The labels that distinguish an arm; all arms of one batch have the same. `None` for an arm with a negative matcher,
/// which needs a query of its own.
pub fn shape(matchers: &[ArmMatcher]) -> Option<Vec<String>> {
    let positive = |m: &ArmMatcher| matches!(m.op, MatcherOp::Equal | MatcherOp::Regex);
    let labels: Vec<String> = matchers.iter().map(|m| m.label.clone()).collect();
    let once = labels.iter().collect::<BTreeSet<_>>().len() == labels.len();
    (once && !labels.is_empty() && matchers.iter().all(positive)).then_some(labels)
}

/// How many arms, counted from the first, fit into one query; at least one.
pub fn fitting(arms: &[BatchedArm]) -> usize {
    let mut bytes = 0;
    let fits = arms.iter().take_while(|arm| {
        bytes += arm.matchers.iter().map(written).sum::<usize>();
        bytes <= MOST_BYTES
    });
    fits.count().max(1)
}

/// Upper bound of a matcher's length in bytes: characters escaped in an expression are escaped once more in the string.
fn written(matcher: &ArmMatcher) -> usize {
    let twice = |c: char| match matcher.op {
        MatcherOp::Equal | MatcherOp::NotEqual => !c.is_ascii_alphanumeric() && c != '-' && c != '_',
        MatcherOp::Regex | MatcherOp::NotRegex => matches!(c, '\\' | '"') || c.is_control(),
    };
    matcher.value.len() + 8 + 5 * matcher.value.chars().filter(|c| twice(*c)).count()
}

impl Form {
    /// The query for one arm alone. Raw samples are asked for the window before the time of the query, an expression's
    /// value for that time; a histogram is asked for in its classic form.
    pub fn query(self, text: &str, matchers: &[ArmMatcher], window_ms: u64) -> Result<String, PromqlError> {
        match self {
            Self::Counter => arm_query(text, matchers, window_ms),
            Self::Histogram => histogram_query(text, matchers, window_ms),
            Self::Expression => expression_query(text, matchers),
        }
    }
}

impl Batch {
    /// The query for the raw samples of all `arms`, which have one [`shape`], as of `at` (Unix ms). Fails for the first
    /// selector or matcher that cannot be used.
    pub fn of(form: Form, selector: &str, arms: Vec<BatchedArm>, at: i64) -> Result<Self, PromqlError> {
        let mut plain = plain_selector(selector)?;
        if form == Form::Histogram {
            name_histogram(&mut plain, BucketForm::Classic)
                .ok_or_else(|| PromqlError::NoName { expr: selector.into() })?;
        }
        let first = arms.iter().map(|arm| arm.after).min().unwrap_or(at);
        let arms: Vec<_> = arms
            .into_iter()
            .map(|arm| Ok((arm.matchers.iter().map(Test::of).collect::<Result<_, _>>()?, arm)))
            .collect::<Result<_, PromqlError>>()?;
        let united: Vec<_> = united(&arms).iter().map(unread).collect::<Result<_, _>>()?;
        add_matchers(&mut plain, &united);
        let query = ranged(selector, plain, at.saturating_sub(first).max(1).unsigned_abs())?;
        let starts = Starts::of(&arms);
        Ok(Self { query, arms, starts })
    }

    /// The query.
    pub fn query(&self) -> &str {
        &self.query
    }

    /// The answer of each arm, in the order of the arms. An arm gets only series that have samples in its time.
    pub fn split(&self, answer: Matrix) -> Vec<Matrix> {
        let mut answers = vec![Matrix::default(); self.arms.len()];
        // Each series is dropped before the next one is copied, so that an answer is not held twice.
        for series in answer.series {
            let value = |label: &str| series.labels.get(label).unwrap_or_default();
            for place in self.starts.of_value(value(&self.starts.label)) {
                let (Some((tests, arm)), Some(answer)) = (self.arms.get(place), answers.get_mut(place)) else {
                    continue;
                };
                if tests
                    .iter()
                    .zip(&arm.matchers)
                    .all(|(test, m)| test.holds(value(&m.label)))
                {
                    answer.series.extend(within(&series, arm));
                }
            }
        }
        answers
    }
}

impl Test {
    fn of(matcher: &ArmMatcher) -> Result<Self, PromqlError> {
        let pod_of = matcher
            .value
            .strip_suffix(POD_OF_DEPLOYMENT)
            .filter(|name| name.chars().all(is_plain));
        Ok(match (matcher.op, pod_of) {
            (MatcherOp::Equal, _) => Self::Is(matcher.value.clone()),
            (MatcherOp::Regex, Some(name)) => Self::PodOf(name.to_owned()),
            _ => Self::Matches(compile_one(matcher)?),
        })
    }

    fn holds(&self, text: &str) -> bool {
        match self {
            Self::Is(value) => value == text,
            Self::PodOf(name) => {
                let own = text.strip_prefix(name.as_str()).and_then(|rest| rest.strip_prefix('-'));
                let lower = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
                own.and_then(|own| own.split_once('-'))
                    .is_some_and(|(hash, pod)| !hash.is_empty() && lower(hash) && pod.len() == 5 && lower(pod))
            }
            Self::Matches(matcher) => matcher.is_match(text),
        }
    }

    /// A prefix of every value that passes the test; it need not be the longest.
    fn start(&self) -> &str {
        match self {
            Self::Is(value) | Self::PodOf(value) => value,
            Self::Matches(matcher) if matches!(matcher.op, MatchOp::Re(_)) => prefix(&matcher.value),
            Self::Matches(_) => "",
        }
    }
}

/// A character that stands for itself in an expression.
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

impl Starts {
    /// Builds the index on the label whose prefixes distinguish the most arms.
    fn of(arms: &[(Vec<Test>, BatchedArm)]) -> Self {
        let labels = arms.first().map_or(&[][..], |(_, arm)| &arm.matchers);
        fn start((tests, _): &(Vec<Test>, BatchedArm), index: usize) -> &str {
            tests.get(index).map_or("", Test::start)
        }
        let apart = |index: usize| arms.iter().map(|arm| start(arm, index)).collect::<BTreeSet<_>>().len();
        let index = (0..labels.len()).max_by_key(|index| apart(*index)).unwrap_or_default();
        let mut starts: BTreeMap<usize, HashMap<String, Vec<usize>>> = BTreeMap::new();
        for (place, arm) in arms.iter().enumerate() {
            let start = start(arm, index);
            let of_length = starts.entry(start.len()).or_default();
            of_length.entry(start.to_owned()).or_default().push(place);
        }
        Self {
            label: labels.get(index).map(|m| m.label.clone()).unwrap_or_default(),
            arms: starts,
        }
    }

    /// The arms that a series with this value may belong to.
    fn of_value(&self, value: &str) -> impl Iterator<Item = usize> {
        let found = self
            .arms
            .iter()
            .filter_map(|(length, arms)| arms.get(value.get(..*length)?));
        found.flatten().copied()
    }
}

/// The arm's part of a series.
fn within(series: &Series, arm: &BatchedArm) -> Option<Series> {
    let samples = series.samples.iter().copied();
    let samples: Vec<_> = samples
        .filter(|(at, _)| *at > arm.after && *at <= arm.through)
        .collect();
    (!samples.is_empty()).then(|| Series {
        labels: series.labels.clone(),
        samples,
    })
}

/// One matcher for each label, over the values of all arms. Together they match whatever an arm matches, and possibly
/// more.
fn united(arms: &[(Vec<Test>, BatchedArm)]) -> Vec<ArmMatcher> {
    let Some((_, first)) = arms.first() else {
        return Vec::new();
    };
    let column = |index: usize, label: &String| {
        let (mut values, mut pods_of) = (BTreeSet::new(), BTreeSet::new());
        for test in arms.iter().filter_map(|(tests, _)| tests.get(index)) {
            match test {
                Test::Is(value) => drop(values.insert(escaped(value))),
                Test::PodOf(name) => drop(pods_of.insert(name.as_str())),
                // The group keeps flags inside the expression from affecting the others.
                Test::Matches(matcher) => drop(values.insert(format!("(?:{})", matcher.value))),
            }
        }
        // The common end is written, and compiled, once.
        if !pods_of.is_empty() {
            let names = pods_of.into_iter().collect::<Vec<_>>().join("|");
            values.insert(format!("(?:{names}){POD_OF_DEPLOYMENT}"));
        }
        ArmMatcher {
            label: label.clone(),
            op: MatcherOp::Regex,
            value: values.into_iter().collect::<Vec<_>>().join("|"),
        }
    };
    let same = |index: usize, m: &ArmMatcher| arms.iter().all(|(_, arm)| arm.matchers.get(index) == Some(m));
    let columns = first.matchers.iter().enumerate();
    columns
        .map(|(index, m)| {
            if same(index, m) {
                m.clone()
            } else {
                column(index, &m.label)
            }
        })
        .collect()
}

/// The RE2 expression that matches only this text.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A prefix of every match of an expression, which need not be the longest; empty where there are alternatives.
fn prefix(expression: &str) -> &str {
    if expression.contains('|') {
        return "";
    }
    let end = expression.find(|c| !is_plain(c)).unwrap_or(expression.len());
    // The last plain character may be repeated or optional.
    let sure = if end < expression.len() {
        end.saturating_sub(1)
    } else {
        end
    };
    expression.get(..sure).unwrap_or_default()
}

#[cfg(test)]
mod tests;
