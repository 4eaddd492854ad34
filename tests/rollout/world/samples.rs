//! What the Prometheus of a world answers.

use std::collections::BTreeMap;

use guardbit::api::RevisionRef;
use guardbit::evidence::{ArmSamples, BucketForm, GuardSamples, Matrix, NativeMatrix, Role, Series, Shown};
use guardbit::guards::Selector;
use guardbit::rollout::{AskedArm, EvidenceProblem, GuardQuery};
use serde_json::json;

use super::{Arm, LATENCY_BOUNDS, Scrape, World, deployment};

impl World {
    pub(super) fn answer(&self, query: &GuardQuery) -> Result<GuardSamples, EvidenceProblem> {
        self.prometheus.clone()?;
        let arm = |asked: &AskedArm, window| self.samples(query, window, self.arms.get_key_value(&asked.revision));
        let baseline = |asked| arm(asked, query.baseline_window_ms);
        Ok(GuardSamples {
            candidate: arm(&query.candidate, query.window_ms),
            baseline: query.baseline.as_ref().map(baseline).unwrap_or_default(),
        })
    }

    fn samples(&self, query: &GuardQuery, window: u64, arm: Option<(&RevisionRef, &Arm)>) -> ArmSamples {
        let from = self.now.as_millisecond() - window as i64;
        let series = |labels: &[(&str, String)], value: &dyn Fn(&Scrape) -> f64| {
            let Some((revision, arm)) = arm else { return Vec::new() };
            let samples: Vec<_> = arm
                .history
                .iter()
                .filter(|h| h.at > from && h.at <= self.now.as_millisecond())
                .map(|h| (h.at, value(h)))
                .collect();
            let mut all: BTreeMap<String, String> = labels.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
            all.insert("pod".into(), format!("{}-7d9c-abcde", deployment(revision)));
            if samples.is_empty() {
                Vec::new()
            } else {
                vec![Series {
                    labels: all.into(),
                    samples,
                }]
            }
        };
        let pairs = |of: fn((f64, f64)) -> f64| {
            let golden = series(&[("source", "golden".into())], &|h| h.pairs.map_or(NO, of));
            let mirror = series(&[("source", "mirror".into())], &|h| h.mirrored.map_or(NO, of));
            counted(golden.into_iter().chain(mirror).collect())
        };
        let mut samples = ArmSamples::default();
        // The label that the bad requests are selected by.
        let by_status = query.asks.iter().any(|asked| asked.text.contains("status="));
        let code = if by_status { "status" } else { "code" };
        for Selector { role, text, .. } in &query.asks {
            let found = match role {
                // The comparer's own series.
                Role::Total if text.starts_with("guardbit_pairs") => pairs(|p| p.0),
                Role::Bad if text.starts_with("guardbit_pair") => pairs(|p| p.1),
                Role::Total => series(&[(code, "200".into())], &|h| h.total - h.bad)
                    .into_iter()
                    .chain(series(&[(code, "500".into())], &|h| h.bad))
                    .collect(),
                Role::Bad | Role::Good => series(&[(code, "500".into())], &|h| h.bad),
                Role::Numerator => series(&[("gpu", "0".into())], &|h| h.joules),
                Role::Denominator => series(&[], &|h| h.total),
                Role::Value => series(&[], &|_| 0.5),
                Role::Buckets | Role::Native => {
                    let scores = text.contains("score");
                    let bounds: Vec<f64> = if scores {
                        (1..20).map(|i| f64::from(i) / 20.0).collect()
                    } else {
                        LATENCY_BOUNDS.to_vec()
                    };
                    let mut all = Vec::new();
                    for i in 0..=bounds.len() {
                        let le = bounds.get(i).map_or("+Inf".to_owned(), f64::to_string);
                        all.extend(series(&[("le", le)], &|h| {
                            if scores {
                                h.score.iter().take(i + 1).sum()
                            } else {
                                h.latency.iter().take(i + 1).sum()
                            }
                        }));
                    }
                    all
                }
            };
            if *role == Role::Buckets && self.buckets == BucketForm::Native {
                samples.insert_native(native(&found));
            } else {
                samples.insert(*role, Matrix { series: found });
            }
        }
        if query.shown.is_some() {
            let gauge = |(line, place): (&u32, u32)| series(&[("place", place.to_string())], &|_| f64::from(*line));
            samples.show(Shown {
                lines: Matrix {
                    series: self.lines.iter().zip(1..).flat_map(gauge).collect(),
                },
                ..Shown::default()
            });
        }
        samples
    }
}

/// Stands for a scrape at which no comparer ran.
const NO: f64 = -1.0;

/// Series without the scrapes at which no comparer ran.
fn counted(mut all: Vec<Series>) -> Vec<Series> {
    for series in &mut all {
        series.samples.retain(|(_, value)| *value > NO);
    }
    all.retain(|series| !series.samples.is_empty());
    all
}

/// The same as native histograms with custom buckets, by way of what Prometheus would write.
fn native(classic: &[Series]) -> NativeMatrix {
    let Some(first) = classic.first() else {
        return NativeMatrix::default();
    };
    let samples = first.samples.iter().enumerate().map(|(i, (at, _))| {
        let (mut below, mut lower) = (0.0, "-Inf");
        let buckets = classic.iter().filter_map(|series| {
            let (upper, up_to) = (series.labels.get("le")?, series.samples[i].1);
            let (n, rule) = (up_to - below, if lower == "-Inf" { 3 } else { 0 });
            let bucket = (n > 0.0).then(|| json!([rule, lower, upper, n.to_string()]));
            (below, lower) = (up_to, upper);
            bucket
        });
        let buckets: Vec<_> = buckets.collect();
        json!([*at as f64 / 1000.0, {"count": below.to_string(), "sum": "0", "buckets": buckets}])
    });
    let metric = json!({"__name__": "h", "pod": first.labels.get("pod")});
    let series = json!({"metric": metric, "histograms": samples.collect::<Vec<_>>()});
    let answer = json!({"status": "success", "data": {"resultType": "matrix", "result": [series]}});
    NativeMatrix::parse(answer.to_string().as_bytes()).expect("an answer")
}
