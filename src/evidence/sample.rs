//! What Prometheus answered: the body of `/api/v1/query`, parsed into samples.
//!
//! Owns the parsing of the response and the check that it is complete. Must not count (that is `counter`), and must not
//! guess: an answer that is partial, of another type or cut short is an error with its own name, never a few samples.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::labels::Labels;

/// Series with their samples, as a range selector returns them; an instant vector has one sample per series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// The series, in the order of the response.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Labels, including `__name__`.
    pub labels: Labels,
    /// Unix milliseconds and value; only finite values.
    pub samples: Vec<(i64, f64)>,
}

/// Why a response is no evidence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// Prometheus refused the query, in its own words.
    #[error("Prometheus refused the query ({kind}): {message}")]
    Refused {
        /// Its `errorType`.
        kind: String,
        /// Its `error`.
        message: String,
    },
    /// The body is no JSON.
    #[error(
        "the answer is not JSON but starts with {start:?}: the URL may be that of a login page or a proxy; \
         set it to the address under which /api/v1/query answers"
    )]
    NotJson {
        /// First characters of the body.
        start: String,
    },
    /// The body ends in the middle.
    #[error("the answer ends after {bytes} bytes in the middle of the JSON: a proxy or Prometheus itself cut it off")]
    Truncated {
        /// Length of what arrived.
        bytes: usize,
    },
    /// The body is JSON, but not that of the query API.
    #[error("the answer is JSON but not that of Prometheus' query API: {detail}")]
    Malformed {
        /// What the parser expected.
        detail: String,
    },
    /// The result is of another type.
    #[error("the query gave a {got}, expected a {expected}: {hint}")]
    WrongType {
        /// What was needed.
        expected: &'static str,
        /// What came.
        got: String,
        /// What to write.
        hint: &'static str,
    },
    /// The result is a native histogram where a number is needed.
    #[error(
        "series {series} holds native histograms where a counter or a value is needed: name a counter, such as \
         http_requests_total; histograms are for latency and fidelity"
    )]
    NativeHistogram {
        /// Name of the series.
        series: String,
    },
    /// More series than are taken into memory.
    #[error("the query matches more than {limit} series: narrow the selector, or aggregate in a recording rule")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// Part of the data is missing.
    #[error("the answer may be partial and is no evidence: {warning}")]
    Partial {
        /// The first warning.
        warning: String,
    },
}

#[derive(Deserialize)]
#[serde(bound = "R: DeserializeOwned")]
struct Answer<R> {
    status: String,
    data: Option<Data<R>>,
    #[serde(default, rename = "errorType")]
    error_type: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    warnings: Vec<String>,
    #[serde(default)]
    infos: Vec<String>,
    /// VictoriaMetrics' name for a partial answer.
    #[serde(default, rename = "isPartial")]
    is_partial: bool,
}

#[derive(Deserialize)]
#[serde(bound = "R: DeserializeOwned")]
struct Data<R> {
    #[serde(rename = "resultType")]
    result_type: String,
    result: R,
}

/// Most series that are taken into memory: as many as the largest answer holds if its series are of ordinary length. A
/// text with more of them was made to exhaust memory.
const MAX_SERIES: usize = 65_536;

/// Error message of the reader for more series than that.
const TOO_MANY: &str = "too many series";

/// The series of an answer, no more than [`MAX_SERIES`].
pub(super) struct Few<T>(pub(super) Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Few<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Each<T> {
            type Value = Few<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("series")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Few<T>, A::Error> {
                let mut all = Vec::new();
                while let Some(one) = seq.next_element()? {
                    if all.len() == MAX_SERIES {
                        return Err(de::Error::custom(TOO_MANY));
                    }
                    all.push(one);
                }
                Ok(Few(all))
            }
        }
        deserializer.deserialize_seq(Each(PhantomData))
    }
}

#[derive(Deserialize)]
struct RangeSeries {
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, Number)>,
    #[serde(default)]
    histograms: Vec<IgnoredAny>,
}

#[derive(Deserialize)]
struct VectorSeries {
    metric: Labels,
    value: Option<(f64, Number)>,
    histogram: Option<IgnoredAny>,
}

/// A sample value: Prometheus writes it as a string, so that `NaN` and `+Inf` survive JSON.
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Number;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number written as a string")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Number, E> {
                text.parse()
                    .map(Number)
                    .map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

impl Matrix {
    /// Parses the response to an instant query of a range selector (`counter[90s]`): raw samples.
    pub fn parse(body: &[u8]) -> Result<Self, SampleError> {
        let Few(series) = read::<Few<RangeSeries>>(body, "matrix", "append a range such as [90s] to the selector")?;
        let series = series
            .into_iter()
            .map(
                |RangeSeries {
                     metric,
                     values,
                     histograms,
                 }| {
                    if values.is_empty() && !histograms.is_empty() {
                        return Err(native(&metric));
                    }
                    Ok(Series {
                        labels: metric,
                        samples: values.into_iter().filter_map(sample).collect(),
                    })
                },
            )
            .collect::<Result<_, _>>()?;
        Ok(Self { series })
    }

    /// Parses the response to an instant query of a free expression: a vector, or a scalar as one series without
    /// labels.
    pub fn parse_vector(body: &[u8]) -> Result<Self, SampleError> {
        const HINT: &str = "write an expression with one value, such as max(…) of an instant vector";
        match read::<Few<VectorSeries>>(body, "vector", HINT) {
            Ok(Few(series)) => {
                let series = series
                    .into_iter()
                    .map(
                        |VectorSeries {
                             metric,
                             value,
                             histogram,
                         }| {
                            if value.is_none() && histogram.is_some() {
                                return Err(native(&metric));
                            }
                            Ok(Series {
                                labels: metric,
                                samples: value.and_then(sample).into_iter().collect(),
                            })
                        },
                    )
                    .collect::<Result<_, _>>()?;
                Ok(Self { series })
            }
            Err(SampleError::WrongType { got, .. }) if got == "scalar" => {
                let scalar = read::<(f64, Number)>(body, "scalar", HINT)?;
                let series = Series {
                    labels: Labels::default(),
                    samples: sample(scalar).into_iter().collect(),
                };
                Ok(Self { series: vec![series] })
            }
            Err(error) => Err(error),
        }
    }

    /// Time of the newest sample up to `now` (Unix ms).
    pub(super) fn newest(&self, now: i64) -> Option<i64> {
        let samples = self.series.iter().flat_map(|series| &series.samples);
        samples.map(|&(at, _)| at).filter(|&at| at <= now).max()
    }
}

/// Converts seconds to milliseconds, and drops stale markers, `NaN` and infinite values, which are no samples.
fn sample((seconds, Number(value)): (f64, Number)) -> Option<(i64, f64)> {
    value.is_finite().then_some((millis(seconds), value))
}

/// Seconds in milliseconds.
pub(super) fn millis(seconds: f64) -> i64 {
    // The cast saturates, so that an absurd timestamp stays absurd instead of wrapping round to a plausible one.
    (seconds * 1000.0).round() as i64
}

fn native(metric: &Labels) -> SampleError {
    SampleError::NativeHistogram {
        series: metric.get("__name__").unwrap_or_default().to_owned(),
    }
}

/// Reads a response whose result is expected to be an `R`, named `expected` by Prometheus.
pub(super) fn read<R: DeserializeOwned>(
    body: &[u8],
    expected: &'static str,
    hint: &'static str,
) -> Result<R, SampleError> {
    // JSON must be UTF-8 throughout, but the parser checks only the strings that it deserializes.
    let text = std::str::from_utf8(body).map_err(|_| not_json(body))?;
    let answer: Answer<R> = match serde_json::from_str(text) {
        Ok(answer) => answer,
        Err(error) => return Err(explain(body, &error, expected, hint)),
    };
    let Answer {
        status,
        data,
        error_type,
        error,
        warnings,
        infos,
        is_partial,
    } = answer;
    if status != "success" {
        return Err(SampleError::Refused {
            kind: error_type,
            message: error,
        });
    }
    let Some(Data { result_type, result }) = data else {
        return Err(SampleError::Malformed {
            detail: "status is success, but there is no data".into(),
        });
    };
    if result_type != expected {
        return Err(SampleError::WrongType {
            expected,
            got: result_type,
            hint,
        });
    }
    if is_partial {
        let warning = "isPartial is set: a storage node did not answer".to_owned();
        return Err(SampleError::Partial { warning });
    }
    // Remarks on the expression ("metric might not be a counter") do not put the data in doubt; everything else might.
    let doubts = infos.into_iter().filter(|info| !info.starts_with("PromQL info"));
    if let Some(warning) = warnings.into_iter().chain(doubts).next() {
        return Err(SampleError::Partial { warning });
    }
    Ok(result)
}

fn not_json(body: &[u8]) -> SampleError {
    let start = String::from_utf8_lossy(body.get(..200).unwrap_or(body));
    SampleError::NotJson {
        start: start.chars().take(60).collect(),
    }
}

/// Explains why the typed parsing failed, by parsing only the envelope.
fn explain(body: &[u8], error: &serde_json::Error, expected: &'static str, hint: &'static str) -> SampleError {
    if error.is_data() && error.to_string().starts_with(TOO_MANY) {
        return SampleError::TooMany { limit: MAX_SERIES };
    }
    if error.is_eof() && body.iter().any(|byte| !byte.is_ascii_whitespace()) {
        return SampleError::Truncated { bytes: body.len() };
    }
    if error.is_syntax() || error.is_eof() {
        return not_json(body);
    }
    match serde_json::from_slice::<Answer<IgnoredAny>>(body) {
        Ok(Answer {
            status,
            error_type,
            error,
            ..
        }) if status != "success" => SampleError::Refused {
            kind: error_type,
            message: error,
        },
        Ok(Answer {
            data: Some(Data { result_type, .. }),
            ..
        }) if result_type != expected => SampleError::WrongType {
            expected,
            got: result_type,
            hint,
        },
        _ => SampleError::Malformed {
            detail: error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests;
