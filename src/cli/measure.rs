//! What a Prometheus shows of the traffic that is there now, for the commands that look ahead.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::api::{Guard, QuantizedModelSpec};
use crate::controller::prometheus::{AllowedUrls, Credentials, Limits, PrometheusClient};
use crate::evidence::presets;
use crate::evidence::{
    ArmMatcher, ArmSamples, Cursor, GuardSamples, HISTORY_MS, Matrix, Observed, PartKind, arm_query, histogram_query,
};

/// A server that a person named on the command line, and so allowed.
pub(super) struct Server(String);

/// What one guard's selectors matched.
#[derive(Debug, Default)]
pub(super) struct Matched {
    /// Series of each selector, by the field that holds it.
    pub(super) series: BTreeMap<String, usize>,
    /// Finite bucket bounds of its histogram.
    pub(super) bounds: Vec<f64>,
}

/// What was measured.
#[derive(Debug, Default)]
pub(super) struct Measure {
    /// Polls of the past hour, by guard.
    pub(super) history: BTreeMap<String, Vec<Observed>>,
    /// How long they took, in seconds.
    pub(super) seconds: f64,
    /// Seconds between two scrapes, if there were two.
    pub(super) scrape: Option<f64>,
    /// What the selectors matched, by guard.
    pub(super) matched: BTreeMap<String, Matched>,
}

impl Server {
    pub(super) fn new(url: &str) -> Self {
        Self(url.to_owned())
    }

    fn client(&self) -> Result<PrometheusClient, String> {
        let limits = Limits {
            timeout: Duration::from_secs(30),
            max_body: 64 * 1024 * 1024,
        };
        let allowed = AllowedUrls::parse([&self.0]).map_err(|e| e.to_string())?;
        PrometheusClient::new(&self.0, &allowed, &Credentials::default(), limits).map_err(|e| e.to_string())
    }
}

impl Measure {
    /// Asks for the past hour of every guard, of the series that `arm` means.
    pub(super) fn take(server: &Server, spec: &QuantizedModelSpec, arm: &[ArmMatcher]) -> Result<Self, String> {
        let client = server.client()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_err(|e| e.to_string())?;
        let now = i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX);
        let mut measure = Self::default();
        let interval = spec.rollout.interval.millis().unwrap_or(15_000);
        for guard in &presets::guards(spec) {
            let asked = runtime.block_on(ask(&client, guard, arm, now));
            let Some((samples, fields)) = asked.map_err(|problem| format!("guard {}: {problem}", guard.name))? else {
                continue;
            };
            measure.note(guard, samples, fields, now, interval);
        }
        Ok(measure)
    }

    fn note(&mut self, guard: &Guard, samples: ArmSamples, fields: Fields, now: i64, interval: i64) {
        let (mut first, mut matched) = (i64::MAX, Matched::default());
        for (field, matrix) in fields.0.iter().zip(matrices(&samples)) {
            matched.series.insert((*field).to_owned(), matrix.series.len());
            for series in &matrix.series {
                let times: Vec<i64> = series.samples.iter().map(|(at, _)| *at).collect();
                first = first.min(times.first().copied().unwrap_or(i64::MAX));
                // The median gap, so that a missed scrape does not count.
                let mut gaps: Vec<i64> = times.windows(2).map(|w| w[1] - w[0]).collect();
                gaps.sort_unstable();
                if let Some(gap) = gaps.get(gaps.len() / 2) {
                    self.scrape.get_or_insert(*gap as f64 / 1000.0);
                }
                let bound = series.labels.get("le").and_then(|le| le.parse::<f64>().ok());
                matched.bounds.extend(bound.filter(|b| b.is_finite()));
            }
        }
        matched.bounds.sort_by(f64::total_cmp);
        matched.bounds.dedup();
        self.matched.insert(guard.name.clone(), matched);
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
                .series
                .iter()
                .map(|(field, n)| format!("{n} series of {field}"))
                .collect();
            format!("{guard}: {}", fields.join(", "))
        });
        guards.collect::<Vec<_>>().join("; ")
    }
}

/// Fields that hold the selectors, in the order of the answers.
struct Fields(Vec<&'static str>);

fn matrices(samples: &ArmSamples) -> Vec<&Matrix> {
    match samples {
        ArmSamples::Proportion { part, total, .. } => vec![part, total],
        ArmSamples::Histogram(matrix) | ArmSamples::Value(matrix) => vec![matrix],
        // Nobody asks for these here.
        ArmSamples::Ratio { .. } | ArmSamples::Native(_) => Vec::new(),
    }
}

/// `None` for a guard without a sampling model.
async fn ask(
    client: &PrometheusClient,
    guard: &Guard,
    arm: &[ArmMatcher],
    now: i64,
) -> Result<Option<(ArmSamples, Fields)>, String> {
    let window = HISTORY_MS.unsigned_abs();
    let counter = async |selector: &str| {
        let query = arm_query(selector, arm, window).map_err(|e| e.to_string())?;
        client.samples(&query, now).await.map_err(|e| e.to_string())
    };
    let histogram = async |selector: &str| {
        let query = histogram_query(selector, arm, window).map_err(|e| e.to_string())?;
        let matrix = client.samples(&query, now).await.map_err(|e| e.to_string())?;
        Ok::<_, String>(ArmSamples::Histogram(matrix))
    };
    if let Some(p) = &guard.proportion {
        let (selector, kind, field) = match (&p.bad, &p.good) {
            (Some(bad), _) => (bad, PartKind::Bad, "proportion.bad"),
            (None, Some(good)) => (good, PartKind::Good, "proportion.good"),
            (None, None) => return Ok(None),
        };
        let total = counter(&p.total).await?;
        let part = counter(selector).await?;
        Ok(Some((
            ArmSamples::Proportion { part, total, kind },
            Fields(vec![field, "proportion.total"]),
        )))
    } else if let Some(l) = &guard.latency {
        Ok(Some((
            histogram(&l.histogram).await?,
            Fields(vec!["latency.histogram"]),
        )))
    } else if let Some(f) = &guard.fidelity {
        Ok(Some((
            histogram(&f.histogram).await?,
            Fields(vec!["fidelity.histogram"]),
        )))
    } else {
        Ok(None)
    }
}
