//! Evaluates the PromQL of `query` guards on a recording.
//!
//! There is no library for it in Rust, and a server would need the recording in its storage. So it does the part of the
//! language that guards are written in, as Prometheus defines it, and refuses the rest by name, because a guessed value would look like a measured one.

use std::collections::BTreeMap;

use promql_parser::parser::{AggregateExpr, BinaryExpr, Call, Expr, LabelModifier, MatrixSelector, VectorSelector};

use crate::evidence::{ArmMatcher, Matrix, Selection, Series};

use super::recording::Recording;

type Labels = BTreeMap<String, String>;

/// What an expression gives.
enum Value {
    Scalar(f64),
    Vector(Vec<(Labels, f64)>),
}

/// Where and when an expression is evaluated.
pub(super) struct Evaluation<'a> {
    pub(super) recording: &'a Recording,
    /// Matchers that select the series of the arm.
    pub(super) arm: &'a [Vec<ArmMatcher>],
    /// Unix milliseconds.
    pub(super) at: i64,
}

/// Functions of a range.
const OVER_TIME: [&str; 7] = [
    "rate",
    "increase",
    "avg_over_time",
    "max_over_time",
    "min_over_time",
    "sum_over_time",
    "last_over_time",
];

impl Evaluation<'_> {
    /// The result, as an instant query would give it; or what cannot be replayed.
    pub(super) fn instant(&self, expr: &Expr) -> Result<Matrix, String> {
        let one = |labels: Labels, value: f64| Series {
            labels: labels.into(),
            samples: Some((self.at, value))
                .filter(|(_, v)| v.is_finite())
                .into_iter()
                .collect(),
        };
        let series = match self.value(expr)? {
            Value::Scalar(value) => vec![one(Labels::new(), value)],
            Value::Vector(all) => all.into_iter().map(|(labels, value)| one(labels, value)).collect(),
        };
        Ok(Matrix { series })
    }

    fn value(&self, expr: &Expr) -> Result<Value, String> {
        match expr {
            Expr::NumberLiteral(number) => Ok(Value::Scalar(number.val)),
            Expr::Paren(inner) => self.value(&inner.expr),
            Expr::Unary(inner) => Ok(match self.value(&inner.expr)? {
                Value::Scalar(value) => Value::Scalar(-value),
                Value::Vector(all) => Value::Vector(all.into_iter().map(|(l, v)| (nameless(l), -v)).collect()),
            }),
            Expr::VectorSelector(selector) => self.selector(selector),
            Expr::Aggregate(aggregate) => self.aggregate(aggregate),
            Expr::Binary(binary) => self.binary(binary),
            Expr::Call(call) => self.call(call),
            other => Err(unsupported(&other.to_string())),
        }
    }

    fn find(&self, selector: &VectorSelector) -> Result<super::recording::Found, String> {
        if selector.offset.is_some() || selector.at.is_some() {
            return Err(unsupported("offset or @"));
        }
        let selection = Selection::of(selector, self.arm).map_err(|e| e.to_string())?;
        Ok(self.recording.find(&selection))
    }

    fn selector(&self, selector: &VectorSelector) -> Result<Value, String> {
        let found = self.find(selector)?;
        let all = self.recording.instant(&found, self.at);
        Ok(Value::Vector(
            all.map(|(labels, value)| (labels.by_name(), value)).collect(),
        ))
    }

    fn aggregate(&self, aggregate: &AggregateExpr) -> Result<Value, String> {
        let op = aggregate.op.to_string();
        if aggregate.param.is_some() || !["sum", "avg", "min", "max", "count"].contains(&op.as_str()) {
            return Err(unsupported(&op));
        }
        let Value::Vector(all) = self.value(&aggregate.expr)? else {
            return Err(format!("{op} of a scalar"));
        };
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, value) in all {
            let kept = |name: &str| match &aggregate.modifier {
                None => false,
                Some(LabelModifier::Include(by)) => by.labels.iter().any(|l| l == name),
                Some(LabelModifier::Exclude(without)) => {
                    name != "__name__" && !without.labels.iter().any(|l| l == name)
                }
            };
            let group = labels.into_iter().filter(|(name, _)| kept(name)).collect();
            groups.entry(group).or_default().push(value);
        }
        let reduce = |values: Vec<f64>| match op.as_str() {
            "sum" => values.iter().sum(),
            "avg" => values.iter().sum::<f64>() / values.len() as f64,
            "min" => values.into_iter().fold(f64::INFINITY, f64::min),
            "max" => values.into_iter().fold(f64::NEG_INFINITY, f64::max),
            _ => values.len() as f64,
        };
        Ok(Value::Vector(groups.into_iter().map(|(l, v)| (l, reduce(v))).collect()))
    }

    fn binary(&self, binary: &BinaryExpr) -> Result<Value, String> {
        let op = binary.op.to_string();
        if let Some(modifier) = &binary.modifier
            && (modifier.matching.is_some() || modifier.return_bool)
        {
            return Err(unsupported("on, ignoring, group_left or bool"));
        }
        let compute = |a: f64, b: f64| -> Result<Option<f64>, String> {
            let keep = |holds: bool| holds.then_some(a);
            Ok(match op.as_str() {
                "+" => Some(a + b),
                "-" => Some(a - b),
                "*" => Some(a * b),
                "/" => Some(a / b),
                "%" => Some(a % b),
                "^" => Some(a.powf(b)),
                ">" => keep(a > b),
                "<" => keep(a < b),
                ">=" => keep(a >= b),
                "<=" => keep(a <= b),
                "==" => keep(a == b),
                "!=" => keep(a != b),
                other => return Err(unsupported(other)),
            })
        };
        let mut out = Vec::new();
        match (self.value(&binary.lhs)?, self.value(&binary.rhs)?) {
            (Value::Scalar(a), Value::Scalar(b)) => {
                return Ok(Value::Scalar(compute(a, b)?.unwrap_or(f64::NAN)));
            }
            (Value::Vector(all), Value::Scalar(b)) => {
                for (labels, a) in all {
                    out.extend(compute(a, b)?.map(|v| (nameless(labels), v)));
                }
            }
            (Value::Scalar(a), Value::Vector(all)) => {
                for (labels, b) in all {
                    // A comparison keeps the value of the vector.
                    let kept = if op.starts_with(['>', '<', '=', '!']) {
                        Some(b)
                    } else {
                        None
                    };
                    out.extend(compute(a, b)?.map(|v| (nameless(labels), kept.unwrap_or(v))));
                }
            }
            (Value::Vector(left), Value::Vector(right)) => {
                let right: BTreeMap<Labels, f64> = right.into_iter().map(|(l, v)| (nameless(l), v)).collect();
                for (labels, a) in left {
                    let labels = nameless(labels);
                    if let Some(b) = right.get(&labels) {
                        out.extend(compute(a, *b)?.map(|v| (labels, v)));
                    }
                }
            }
        }
        Ok(Value::Vector(out))
    }

    fn call(&self, call: &Call) -> Result<Value, String> {
        let name = call.func.name;
        let args: Vec<&Expr> = call.args.args.iter().map(AsRef::as_ref).collect();
        match (name, args.as_slice()) {
            (name, [Expr::MatrixSelector(range)]) if OVER_TIME.contains(&name) => self.over_time(name, range),
            ("scalar", [inner]) => Ok(Value::Scalar(match self.value(inner)? {
                Value::Scalar(value) => value,
                Value::Vector(all) => match all.as_slice() {
                    [(_, value)] => *value,
                    _ => f64::NAN,
                },
            })),
            ("histogram_quantile", [quantile, inner]) => {
                let (Value::Scalar(quantile), Value::Vector(buckets)) = (self.value(quantile)?, self.value(inner)?)
                else {
                    return Err("histogram_quantile wants a number and a vector".to_owned());
                };
                Ok(Value::Vector(histogram_quantile(quantile, buckets)))
            }
            _ => Err(unsupported(&format!("{name}()"))),
        }
    }

    fn over_time(&self, name: &str, range: &MatrixSelector) -> Result<Value, String> {
        let found = self.find(&range.vs)?;
        let length = i64::try_from(range.range.as_millis()).map_err(|_| "a range that is too long".to_owned())?;
        let matrix = self.recording.range(&found, self.at - length, self.at);
        let reduce = |samples: &[(i64, f64)]| -> Option<f64> {
            let values = samples.iter().map(|(_, value)| *value);
            match name {
                "rate" => increase(samples, self.at - length, self.at).map(|v| v / (length as f64 / 1000.0)),
                "increase" => increase(samples, self.at - length, self.at),
                "avg_over_time" => Some(values.sum::<f64>() / samples.len() as f64),
                "sum_over_time" => Some(values.sum()),
                "max_over_time" => values.reduce(f64::max),
                "min_over_time" => values.reduce(f64::min),
                _ => samples.last().map(|(_, value)| *value),
            }
        };
        let all = matrix.series.into_iter();
        Ok(Value::Vector(
            all.filter_map(|s| Some((nameless(s.labels.by_name()), reduce(&s.samples)?)))
                .collect(),
        ))
    }
}

fn unsupported(what: &str) -> String {
    format!(
        "{what} cannot be replayed from a recording; replay from a server with --prometheus, or leave the guard out"
    )
}

fn nameless(mut labels: Labels) -> Labels {
    labels.remove("__name__");
    labels
}

/// `increase()` with Prometheus' extrapolation to the ends of the range (promql/functions.go, extrapolatedRate).
fn increase(samples: &[(i64, f64)], from: i64, through: i64) -> Option<f64> {
    let [(first_at, first), .., (last_at, last)] = samples else {
        return None;
    };
    let drops = samples.windows(2).filter(|w| w[1].1 < w[0].1);
    let rise = last - first + drops.map(|w| w[0].1).sum::<f64>();
    let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
    let sampled = seconds(*first_at, *last_at);
    let (mut before, mut after) = (seconds(from, *first_at), seconds(*last_at, through));
    let average = sampled / (samples.len() - 1) as f64;
    if before >= average * 1.1 {
        before = average / 2.0;
    }
    if rise > 0.0 && *first >= 0.0 {
        // A counter cannot have been below 0.
        before = before.min(sampled * (first / rise));
    }
    if after >= average * 1.1 {
        after = average / 2.0;
    }
    Some(rise * (sampled + before + after) / sampled)
}

/// `histogram_quantile()` of classic buckets.
fn histogram_quantile(quantile: f64, buckets: Vec<(Labels, f64)>) -> Vec<(Labels, f64)> {
    let mut histograms: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
    for (mut labels, count) in buckets {
        if let Some(bound) = labels.remove("le").and_then(|le| le.parse().ok()) {
            histograms.entry(nameless(labels)).or_default().push((bound, count));
        }
    }
    let of = |mut buckets: Vec<(f64, f64)>| -> Option<f64> {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let &(last, total) = buckets.last().filter(|(bound, _)| *bound == f64::INFINITY)?;
        let rank = quantile * total;
        if buckets.len() < 2 || total == 0.0 || !(0.0..=1.0).contains(&quantile) {
            return None;
        }
        let at = buckets.iter().position(|(_, count)| *count >= rank)?;
        let (bound, count) = buckets[at];
        if bound == last {
            return Some(buckets[at - 1].0);
        }
        let (low, below) = match at {
            0 if bound <= 0.0 => return Some(bound),
            0 => (0.0, 0.0),
            _ => buckets[at - 1],
        };
        Some(low + (bound - low) * (rank - below) / (count - below))
    };
    histograms
        .into_iter()
        .filter_map(|(labels, b)| Some((labels, of(b)?)))
        .collect()
}
