//! What a Prometheus shows of the traffic that is there now, for the commands that forecast.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::api::{Guard, QuantizedModelSpec};
use crate::evidence::{
    ArmMatcher, ArmSamples, Cursor, Form, GuardSamples, HISTORY_MS, Labels, Matrix, Observed, native_histogram_query,
};
use crate::guards::{Selector, asks, written};
use crate::lint::{Matched, MetricKind, Seen};
use crate::model::{interval_ms, presets};
use crate::prometheus::PrometheusClient;

use super::server::runtime;

/// Range that is asked for, in milliseconds.
const WINDOW: u64 = HISTORY_MS.unsigned_abs();

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measure {
    /// Polls of the past hour, by guard.
    pub(super) history: BTreeMap<String, Vec<Observed>>,
    /// How long they took, in seconds.
    pub(super) seconds: f64,
    /// Seconds between two scrapes, if there were two.
    pub(super) scrape: Option<f64>,
    /// What the selectors matched, by guard and field.
    pub(super) matched: BTreeMap<String, BTreeMap<String, Matched>>,
}

impl Measure {
    /// Asks for the past hour of every guard, of the series that `arm` means.
    pub(super) fn take(
        client: &PrometheusClient,
        spec: &QuantizedModelSpec,
        arm: &[ArmMatcher],
    ) -> Result<Self, String> {
        let runtime = runtime()?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|e| e.to_string())?;
        let now = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let mut measure = Self::default();
        let interval = interval_ms(spec);
        for guard in &presets::guards(spec) {
            let asking = Asking { client, arm, now };
            let asked = runtime.block_on(asking.guard(guard));
            let (samples, matched) = asked.map_err(|problem| format!("guard {}: {problem}", guard.name))?;
            measure.matched.insert(guard.name.clone(), matched);
            // The polls of a plain rule are left out, because it has no sampling model to draw traffic from.
            if written(guard).is_some_and(|kind| !kind.is_plain_rule()) {
                measure.note(guard, samples, now, interval);
            }
        }
        Ok(measure)
    }

    /// What the rules of `lint` read.
    pub(super) fn seen(self) -> Seen {
        Seen {
            guards: self.matched,
            scrape: self.scrape,
        }
    }

    fn note(&mut self, guard: &Guard, samples: ArmSamples, now: i64, interval: i64) {
        let mut first = i64::MAX;
        for (_, times) in samples.counted() {
            first = first.min(times.first().copied().unwrap_or(i64::MAX));
            // The median gap, so that a missed scrape does not count.
            let mut gaps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).collect();
            gaps.sort_unstable();
            if let Some(gap) = gaps.get(gaps.len() / 2) {
                self.scrape.get_or_insert(*gap as f64 / 1000.0);
            }
        }
        let samples = GuardSamples {
            candidate: ArmSamples::default(),
            baseline: samples,
        };
        self.history
            .insert(guard.name.clone(), Cursor::history(&samples, now, interval));
        if first < now {
            self.seconds = self.seconds.max((now - first) as f64 / 1000.0);
        }
    }

    /// What was found, for an error message.
    pub(super) fn told(&self) -> String {
        let guards = self.matched.iter().map(|(guard, matched)| {
            let fields: Vec<_> = matched
                .iter()
                .map(|(field, matched)| format!("{} series of {field}", matched.series))
                .collect();
            format!("{guard}: {}", fields.join(", "))
        });
        guards.collect::<Vec<_>>().join("; ")
    }
}

/// By field.
type Fields = BTreeMap<String, Matched>;

/// Asks a server for what is there now.
struct Asking<'a> {
    client: &'a PrometheusClient,
    arm: &'a [ArmMatcher],
    now: i64,
}

impl Asking<'_> {
    /// The samples of a guard, and what its selectors matched.
    async fn guard(&self, guard: &Guard) -> Result<(ArmSamples, Fields), String> {
        let (mut samples, mut fields) = (ArmSamples::default(), Fields::new());
        for asked in asks(guard) {
            let matched = match asked.form() {
                Form::Counter => {
                    let counter = self.series(&asked).await?;
                    let matched = of_counter(&counter);
                    samples.insert(asked.role, counter);
                    matched
                }
                Form::Histogram => self.histogram(&asked, &mut samples).await?,
                Form::Expression => {
                    let query = self.query(&asked)?;
                    let answer = self.client.value(&query, self.now).await.map_err(|e| e.to_string())?;
                    Matched {
                        series: answer.series.len(),
                        ..Matched::default()
                    }
                }
            };
            fields.insert(asked.field.to_owned(), matched);
        }
        Ok((samples, fields))
    }

    fn query(&self, asked: &Selector) -> Result<String, String> {
        let query = asked.form().query(&asked.text, self.arm, WINDOW);
        query.map_err(|e| e.to_string())
    }

    /// Raw samples of a counter, or of the buckets of a classic histogram.
    async fn series(&self, asked: &Selector) -> Result<Matrix, String> {
        let query = self.query(asked)?;
        self.client.samples(&query, self.now).await.map_err(|e| e.to_string())
    }

    /// Classic buckets; where there are none, a native histogram; where there is none either, whatever bears the name.
    async fn histogram(&self, asked: &Selector, samples: &mut ArmSamples) -> Result<Matched, String> {
        let classic = self.series(asked).await?;
        if !classic.series.is_empty() {
            let mut matched = of_counter(&classic);
            matched.kind = MetricKind::AsExpected;
            let bounds = classic
                .series
                .iter()
                .filter_map(|s| s.labels.get("le")?.parse::<f64>().ok());
            matched.bounds = bounds.filter(|b| b.is_finite()).collect();
            matched.bounds.sort_by(f64::total_cmp);
            matched.bounds.dedup();
            samples.insert(asked.role, classic);
            return Ok(matched);
        }
        let query = native_histogram_query(&asked.text, self.arm, WINDOW).map_err(|e| e.to_string())?;
        let native = self.client.natives(&query, self.now).await.map_err(|e| e.to_string())?;
        if !native.series.is_empty() {
            let matched = Matched {
                series: native.series.len(),
                labels: common(native.series.iter().map(|s| &s.labels)),
                ..Matched::default()
            };
            samples.insert_native(native);
            return Ok(matched);
        }
        let plain = self.client.samples(&query, self.now).await.map_err(|e| e.to_string())?;
        let quantiles = plain.series.iter().any(|s| s.labels.get("quantile").is_some());
        let kind = match (plain.series.is_empty(), quantiles) {
            (true, _) => MetricKind::AsExpected,
            (false, true) => MetricKind::Summary,
            (false, false) => MetricKind::Plain,
        };
        Ok(Matched {
            series: plain.series.len(),
            labels: common(plain.series.iter().map(|s| &s.labels)),
            kind,
            ..Matched::default()
        })
    }
}

/// A counter falls when its process restarts, and to almost nothing; what falls in more than one of five samples, and stays
/// above half of what it was, is a gauge.
fn of_counter(matrix: &Matrix) -> Matched {
    let pairs = matrix.series.iter().flat_map(|s| s.samples.windows(2));
    let (mut moved, mut fell) = (0, 0);
    for pair in pairs {
        let (before, after) = (pair[0].1, pair[1].1);
        moved += usize::from(before != after);
        fell += usize::from(after < before && after > before / 2.0);
    }
    Matched {
        series: matrix.series.len(),
        labels: common(matrix.series.iter().map(|s| &s.labels)),
        bounds: Vec::new(),
        kind: if fell >= 3 && fell * 5 > moved {
            MetricKind::Gauge
        } else {
            MetricKind::AsExpected
        },
    }
}

/// Labels that all series have.
fn common<'a>(mut labels: impl Iterator<Item = &'a Labels>) -> BTreeSet<String> {
    let Some(first) = labels.next() else {
        return BTreeSet::new();
    };
    let all = first.iter().map(|(label, _)| label.to_owned()).collect();
    labels.fold(all, |mut common: BTreeSet<String>, one| {
        common.retain(|label| one.get(label).is_some());
        common
    })
}
