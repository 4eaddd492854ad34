//! What is known beside a file: the time, what Prometheus has, the traffic, the policies.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::foresight::{Problem, Traffic};
use crate::governance::Policy;

/// What is known beside the file.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The time.
    pub now: Timestamp,
    /// What Prometheus has of the selectors of each guard, where it was asked.
    pub seen: Option<Seen>,
    /// The traffic, where it is known.
    pub traffic: Option<Traffic>,
    /// What will not decide in time with that traffic.
    pub foreseen: Vec<Problem>,
    /// Policies that may be about the model.
    pub policies: Vec<Policy>,
    /// Labels of the model's namespace; `None` where they are not known.
    pub namespace: Option<BTreeMap<String, String>>,
}

/// What Prometheus has.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// By guard, by field, such as `proportion.total`.
    pub guards: BTreeMap<String, BTreeMap<String, Matched>>,
    /// Seconds between two scrapes.
    pub scrape: Option<f64>,
}

/// What one selector matched in the past hour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matched {
    /// Series.
    pub series: usize,
    /// Labels that all of them have.
    pub labels: BTreeSet<String>,
    /// Finite bucket bounds, ascending, in units of the metric.
    pub bounds: Vec<f64>,
    /// What the series are, as far as their samples show it.
    pub kind: MetricKind,
}

/// Which kind of metric the samples are of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MetricKind {
    /// The kind that was asked for; also assumed where no sample contradicts it.
    #[default]
    AsExpected,
    /// It falls as often as it rises, so it is no counter.
    Gauge,
    /// It has quantiles instead of buckets.
    Summary,
    /// It is a single value where buckets were asked for.
    Plain,
}
