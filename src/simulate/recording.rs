//! Recorded series, and what a query would have found in them at a time.

use std::collections::{BTreeMap, HashMap};

use crate::evidence::{Labels, Matrix, Selection, Series};

/// How far back an instant selector looks for a sample, as Prometheus does by default: five minutes, in ms.
const LOOKBACK_MS: i64 = 300_000;

/// Series with all their samples, in the order of time.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    series: Vec<Series>,
    by_name: HashMap<String, Vec<usize>>,
    /// What a server answered to free expressions, by guard and time (Unix ms).
    values: BTreeMap<String, Vec<(i64, Matrix)>>,
}

/// Series that a selection means, found once.
#[derive(Clone, Debug, Default)]
pub struct Found(Vec<usize>);

impl Recording {
    /// Takes series in any order; of two samples at one time the first counts.
    pub fn new(mut series: Vec<Series>) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        for (at, series) in series.iter_mut().enumerate() {
            if !series.samples.is_sorted_by(|a, b| a.0 < b.0) {
                series.samples.sort_by_key(|(at, _)| *at);
                series.samples.dedup_by_key(|(at, _)| *at);
            }
            let name = series.labels.get("__name__").unwrap_or_default().to_owned();
            by_name.entry(name).or_default().push(at);
        }
        Self {
            series,
            by_name,
            values: BTreeMap::new(),
        }
    }

    /// With what a server answered to the free expressions of guards, by guard and time (Unix ms): these are not evaluated.
    pub fn with_values(mut self, mut values: BTreeMap<String, Vec<(i64, Matrix)>>) -> Self {
        values
            .values_mut()
            .for_each(|answers| answers.sort_by_key(|(at, _)| *at));
        self.values = values;
        self
    }

    /// With other series, and the same answers of a server.
    pub fn with_series(&self, series: Vec<Series>) -> Self {
        Self {
            values: self.values.clone(),
            ..Self::new(series)
        }
    }

    /// The newest answer for a guard in `(from, through]` (Unix ms), where a server was asked at all.
    pub fn value(&self, guard: &str, from: i64, through: i64) -> Option<Matrix> {
        let answers = self.values.get(guard)?;
        let end = answers.partition_point(|(at, _)| *at <= through);
        let newest = answers[..end].last().filter(|(at, _)| *at > from);
        Some(newest.map(|(_, matrix)| matrix.clone()).unwrap_or_default())
    }

    /// The series.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The series that are meant.
    pub fn find(&self, selection: &Selection) -> Found {
        let meant = |at: &usize| self.series.get(*at).is_some_and(|s| selection.matches(&s.labels));
        Found(match selection.name() {
            Some(name) => self
                .by_name
                .get(name)
                .into_iter()
                .flatten()
                .copied()
                .filter(meant)
                .collect(),
            None => (0..self.series.len()).filter(meant).collect(),
        })
    }

    /// First and last sample of what was found (Unix ms).
    pub fn span(&self, found: &Found) -> Option<(i64, i64)> {
        span(self.of(found))
    }

    /// First and last sample or answer of all (Unix ms).
    pub fn whole(&self) -> Option<(i64, i64)> {
        let answers = self
            .values
            .values()
            .filter_map(|all| Some((all.first()?.0, all.last()?.0)));
        let all = answers.chain(span(self.series.iter()));
        all.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
    }

    /// When the counters of what was found begin to count: the last sample before the first that shows a rise; the first
    /// sample, if none does (Unix ms).
    pub fn counts_from<'a>(&self, found: impl Iterator<Item = &'a Found> + Clone) -> Option<i64> {
        let series = || found.clone().flat_map(|found| self.of(found));
        let first = series().filter_map(|s| Some(s.samples.first()?.0)).min()?;
        let rise = |s: &Series| {
            let born = s.samples.first().filter(|(at, value)| *at > first && *value > 0.0);
            let risen = s
                .samples
                .windows(2)
                .find(|pair| pair[1].1 > pair[0].1)
                .map(|pair| pair[1].0);
            born.map(|(at, _)| *at).into_iter().chain(risen).min()
        };
        let Some(rise) = series().filter_map(rise).min() else {
            return Some(first);
        };
        let before = series().filter_map(|s| s.samples[..s.samples.partition_point(|(at, _)| *at < rise)].last());
        before.map(|(at, _)| *at).max()
    }

    /// The labels of a series that both mean.
    pub fn shared(&self, a: &Found, b: &Found) -> Option<&Labels> {
        let both = a.0.iter().find(|at| b.0.contains(at))?;
        self.series.get(*both).map(|series| &series.labels)
    }

    /// What a range selector finds: samples after `from` and up to `through` (Unix ms).
    pub fn range(&self, found: &Found, from: i64, through: i64) -> Matrix {
        let series = self.of(found).filter_map(|series| {
            let begin = series.samples.partition_point(|(at, _)| *at <= from);
            let end = series.samples.partition_point(|(at, _)| *at <= through);
            (begin < end).then(|| Series {
                labels: series.labels.clone(),
                samples: series.samples[begin..end].to_vec(),
            })
        });
        Matrix {
            series: series.collect(),
        }
    }

    /// What an instant selector finds: the newest sample of each series within five minutes before `at` (Unix ms).
    pub fn instant<'a>(&'a self, found: &'a Found, at: i64) -> impl Iterator<Item = (&'a Labels, f64)> {
        self.of(found).filter_map(move |series| {
            let end = series.samples.partition_point(|(t, _)| *t <= at);
            let (t, value) = series.samples[..end].last()?;
            (at - t < LOOKBACK_MS).then_some((&series.labels, *value))
        })
    }

    fn of<'a>(&'a self, Found(found): &'a Found) -> impl Iterator<Item = &'a Series> {
        found.iter().filter_map(|at| self.series.get(*at))
    }
}

fn span<'a>(series: impl Iterator<Item = &'a Series>) -> Option<(i64, i64)> {
    let spans = series.filter_map(|s| Some((s.samples.first()?.0, s.samples.last()?.0)));
    spans.reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))
}
