//! Native histograms as Prometheus writes them in JSON, and as the cursor stores them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::grid::{self, FIRST, LAST};
use super::{Bin, Bins, Edge, Layout, NativeHistogram, NativeMatrix, NativeSeries};
use crate::evidence::histogram::{key, unkey};
use crate::evidence::sample::{Few, Number, SampleError, millis, read};

#[derive(Deserialize)]
struct WireSeries {
    metric: BTreeMap<String, String>,
    #[serde(default)]
    histograms: Vec<(f64, WireHistogram)>,
}

#[derive(Deserialize)]
struct WireHistogram {
    #[serde(default)]
    buckets: Vec<WireBucket>,
}

/// Which bounds belong to the bucket (0: the upper, 1: the lower, 2: none, 3: both), the bounds, the events.
#[derive(Deserialize)]
struct WireBucket(u8, Number, Number, Number);

/// A bucket of finite width or not, with its events.
#[derive(Clone, Copy)]
struct Raw {
    lower: f64,
    upper: f64,
    events: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The bucket around 0, with both bounds inclusive.
    Zero,
    Other,
}

impl NativeMatrix {
    /// Parses the response to an instant query of a range selector (`histogram[90s]`). Series without native histograms
    /// are left out.
    pub fn parse(body: &[u8]) -> Result<Self, SampleError> {
        let Few(series) = read::<Few<WireSeries>>(body, "matrix", "append a range such as [90s] to the selector")?;
        let series = series.into_iter().filter(|series| !series.histograms.is_empty());
        let series = series.map(|WireSeries { metric, histograms }| {
            let samples = histograms.into_iter().map(|(at, histogram)| {
                let histogram = NativeHistogram::of(&histogram).ok_or_else(|| SampleError::Malformed {
                    detail: "a native histogram has a bucket without width, or with an impossible count".to_owned(),
                })?;
                Ok((millis(at), histogram))
            });
            Ok(NativeSeries {
                labels: metric.into(),
                samples: samples.collect::<Result<_, _>>()?,
            })
        });
        Ok(Self {
            series: series.collect::<Result<_, _>>()?,
        })
    }
}

impl NativeHistogram {
    /// `None` if the buckets are impossible.
    fn of(histogram: &WireHistogram) -> Option<Self> {
        let mut raw: Vec<Raw> = histogram.buckets.iter().map(raw).collect::<Option<_>>()?;
        raw.retain(|raw| raw.events > 0);
        let width = raw.iter().filter(|raw| raw.kind == Kind::Other).map(Raw::octaves);
        let width = width.reduce(|a, b| if a == b { a } else { None });
        let mut bins = BTreeMap::new();
        let mut add = |(lower, upper): (f64, f64), events: u64| {
            let bin = Bin {
                lower: key(lower),
                upper: key(upper),
            };
            let sum: &mut u64 = bins.entry(bin).or_default();
            *sum = sum.saturating_add(events);
        };
        let layout = match width {
            Some(None) => {
                raw.iter().for_each(|raw| add((raw.lower, raw.upper), raw.events));
                Layout::Custom
            }
            Some(Some(_)) | None => {
                let step = grid_step(width.flatten());
                let zero = raw.iter().find(|raw| raw.kind == Kind::Zero);
                let inner = zero.map_or(FIRST, |zero| zero.inner(step)).clamp(FIRST, LAST);
                raw.iter().for_each(|raw| add(raw.on_grid(step, inner), raw.events));
                Layout::Grid(step)
            }
        };
        Some(Self {
            layout,
            bins: Bins(bins),
        })
    }
}

fn raw(WireBucket(rule, Number(lower), Number(upper), Number(events)): &WireBucket) -> Option<Raw> {
    let kind = if *rule == 3 && *lower == -*upper && upper.is_finite() {
        Kind::Zero
    } else {
        Kind::Other
    };
    let possible = events.is_finite() && *events >= 0.0 && (lower < upper || (kind == Kind::Zero && lower == upper));
    possible.then_some(Raw {
        // Adding 0 turns -0 into 0, so that they are one bound.
        lower: lower + 0.0,
        upper: upper + 0.0,
        // Histograms that were computed by a rule have fractions; the cast saturates.
        events: events.round() as u64,
        kind,
    })
}

/// Width of a bucket of a schema, in steps of the grid; narrower buckets are merged into one step.
fn grid_step(schema: Option<i32>) -> u16 {
    match schema {
        Some(schema) if schema < 3 => 1 << (3 - schema),
        _ => 1,
    }
}

impl Raw {
    /// The schema from -4 to 8, if this is a bucket of an exponential one: 2^-schema octaves wide, and on its bounds.
    fn octaves(&self) -> Option<i32> {
        let (inner, outer) = self.magnitudes()?;
        if outer == f64::INFINITY {
            // The bucket of infinite observations fits every schema, so it says nothing about the schema.
            return None;
        }
        let octaves = (grid::steps(outer) - grid::steps(inner)) / 8.0;
        let schema = -octaves.log2().round();
        let exact = (octaves.log2() + schema).abs() < 1e-6 && (-4.0..=8.0).contains(&schema);
        let width = 8.0 * (-schema).exp2();
        (exact && grid::on(grid::steps(outer), width)).then_some(schema as i32)
    }

    /// Distance from 0 of the bound nearer to it and of the other; `None` for a bucket that 0 lies in.
    fn magnitudes(&self) -> Option<(f64, f64)> {
        let (inner, outer) = if self.upper > 0.0 {
            (self.lower, self.upper)
        } else {
            (-self.upper, -self.lower)
        };
        (inner > 0.0).then_some((inner, outer))
    }

    /// Where the zero bucket ends, in steps, rounded up so that it includes a bucket that it reaches into.
    fn inner(&self, step: u16) -> i32 {
        if self.upper > 0.0 {
            grid::ceil(grid::steps(self.upper), step)
        } else {
            FIRST
        }
    }

    /// The bucket of the grid that holds this one; all up to `inner` is one bucket around 0.
    fn on_grid(&self, step: u16, inner: i32) -> (f64, f64) {
        let around_zero = (-grid::bound(inner), grid::bound(inner));
        let Some((near, far)) = self.magnitudes() else {
            return around_zero;
        };
        let near = grid::floor(grid::steps(near), step);
        let far = grid::ceil(grid::steps(far), step);
        if far <= inner {
            return around_zero;
        }
        let near = grid::bound(near.max(inner));
        let far = if far > LAST { f64::INFINITY } else { grid::bound(far) };
        if self.upper > 0.0 { (near, far) } else { (-far, -near) }
    }
}

/// A bound, encoded in few bytes.
#[derive(Clone, Copy, Serialize, Deserialize)]
pub(super) enum StoredEdge {
    /// A bound on the grid above 0, in steps.
    Above(i16),
    /// A bound on the grid below 0, in steps.
    Below(i16),
    /// Any other bound.
    Elsewhere(f64),
}

/// A bucket: its lower bound unless that is the upper one of the bucket before, its upper bound, its events.
pub(super) type StoredBin = (Option<StoredEdge>, StoredEdge, u64);

impl From<Edge> for StoredEdge {
    fn from(edge: Edge) -> Self {
        let value = unkey(edge);
        let steps = grid::floor(grid::steps(value.abs()), 1);
        let on_grid = (FIRST..=LAST).contains(&steps) && grid::bound(steps) == value.abs();
        match i16::try_from(steps) {
            Ok(steps) if on_grid && value > 0.0 => Self::Above(steps),
            Ok(steps) if on_grid => Self::Below(steps),
            _ => Self::Elsewhere(value),
        }
    }
}

impl From<StoredEdge> for Edge {
    fn from(stored: StoredEdge) -> Self {
        key(match stored {
            StoredEdge::Above(steps) => grid::bound(steps.into()),
            StoredEdge::Below(steps) => -grid::bound(steps.into()),
            StoredEdge::Elsewhere(value) => value,
        })
    }
}

impl From<Bins> for Vec<StoredBin> {
    fn from(Bins(bins): Bins) -> Self {
        let mut last = None;
        let stored = bins.into_iter().map(|(Bin { lower, upper }, n)| {
            let before = last.replace(upper);
            ((before != Some(lower)).then(|| lower.into()), upper.into(), n)
        });
        stored.collect()
    }
}

impl From<Vec<StoredBin>> for Bins {
    fn from(stored: Vec<StoredBin>) -> Self {
        let mut last = key(f64::NEG_INFINITY);
        let bins = stored.into_iter().map(|(lower, upper, n)| {
            let upper = upper.into();
            let bin = Bin {
                lower: lower.map_or(last, Edge::from),
                upper,
            };
            last = upper;
            (bin, n)
        });
        Self(bins.collect())
    }
}
