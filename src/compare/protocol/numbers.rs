//! Numbers of an answer: scores, probabilities, classes. Used by the protocols that answer with tensors or plain JSON.

use serde_json::Value;

use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Unreadable};

/// How numbers that are none are written where JSON has no way to write them (protobuf's JSON).
const NO_NUMBER: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Reads a value: numbers, alone or in arrays of any depth, or something else that is equal or not.
///
/// The innermost arrays are rows. A flat array is one row, unless `shape` has two dimensions or more and fits: then the
/// last of them is the length of a row. A number that is `null`, or written as `NaN`, makes the answer unreadable.
pub(super) fn read(value: &Value, shape: Option<&Value>) -> Result<Answer, Unreadable> {
    let mut leaves = Leaves::default();
    let flat = match value {
        Value::Array(list) => {
            leaves.gather(list);
            !list.iter().any(Value::is_array)
        }
        one => {
            leaves.gather(std::slice::from_ref(one));
            true
        }
    };
    let Leaves { mut rows, gaps, others } = leaves;
    if others > 0 || (gaps == 0 && rows.is_empty()) {
        return Ok(Answer::Value(value.clone()));
    }
    if gaps > 0 {
        return Err(Unreadable("there is null or NaN where a number should be"));
    }
    if flat && let Some(row) = rows.pop() {
        rows = cut(row, shape);
    }
    Ok(Answer::Numbers(rows))
}

/// What is in an array and in the arrays in it.
#[derive(Default)]
struct Leaves {
    rows: Vec<Vec<f64>>,
    /// Numbers that are none.
    gaps: usize,
    /// What is neither a number nor an array.
    others: usize,
}

impl Leaves {
    fn gather(&mut self, list: &[Value]) {
        let mut row = Vec::new();
        for value in list {
            match value {
                Value::Array(inner) => self.gather(inner),
                Value::Number(number) => match number.as_f64() {
                    Some(number) if number.is_finite() => row.push(number),
                    _ => self.gaps += 1,
                },
                Value::Null => self.gaps += 1,
                Value::String(text) if NO_NUMBER.contains(&text.as_str()) => self.gaps += 1,
                Value::String(_) | Value::Bool(_) | Value::Object(_) => self.others += 1,
            }
        }
        if !row.is_empty() {
            self.rows.push(row);
        }
    }
}

/// A flat array in rows, where its shape says how long they are.
fn cut(row: Vec<f64>, shape: Option<&Value>) -> Vec<Vec<f64>> {
    let dimensions = shape.and_then(Value::as_array).into_iter().flatten();
    let dimensions: Vec<u64> = dimensions.filter_map(Value::as_u64).collect();
    let size = dimensions.iter().try_fold(1u64, |size, n| size.checked_mul(*n));
    match dimensions.as_slice() {
        [_, .., length] if size == Some(row.len() as u64) => {
            row.chunks(*length as usize).map(<[f64]>::to_vec).collect()
        }
        _ => vec![row],
    }
}

/// Compares two answers. Each row of numbers is a decision: with a `threshold`, on which side of it each number lies;
/// else the place of the largest number of a row, and for a row of one number, where there is no `margin`, the number
/// itself. A `margin` is an additional bound on every difference. The distance is the largest difference.
pub(super) fn compare(settings: &Settings, reference: &Answer, candidate: &Answer) -> Comparison {
    match (reference, candidate) {
        (Answer::Numbers(reference), Answer::Numbers(candidate)) => compare_rows(settings, reference, candidate),
        (Answer::Value(reference), Answer::Value(candidate)) if reference == candidate => Comparison::SAME,
        _ => Comparison::DIFFERENT,
    }
}

fn compare_rows(settings: &Settings, reference: &[Vec<f64>], candidate: &[Vec<f64>]) -> Comparison {
    let alike = |(a, b): (&Vec<f64>, &Vec<f64>)| a.len() == b.len();
    if reference.len() != candidate.len() || !reference.iter().zip(candidate).all(alike) {
        return Comparison::DIFFERENT;
    }
    let numbers = reference.iter().flatten().zip(candidate.iter().flatten());
    // The difference of two huge numbers may be beyond the range of a double.
    let distance = numbers.map(|(a, b)| (a - b).abs().min(f64::MAX)).fold(0.0, f64::max);
    let within = settings.margin.is_none_or(|margin| distance <= margin);
    let same = |(a, b): (&Vec<f64>, &Vec<f64>)| is_same_decision(settings, a, b);
    Comparison {
        agrees: within && reference.iter().zip(candidate).all(same),
        distance,
    }
}

fn is_same_decision(settings: &Settings, a: &[f64], b: &[f64]) -> bool {
    match (settings.threshold, a, b) {
        (Some(threshold), ..) => a.iter().zip(b).all(|(a, b)| (*a >= threshold) == (*b >= threshold)),
        (None, [a], [b]) => settings.margin.is_some() || a == b,
        (None, ..) => largest(a) == largest(b),
    }
}

/// The place of the first of the largest numbers.
fn largest(row: &[f64]) -> usize {
    let mut at = 0;
    for (i, value) in row.iter().enumerate() {
        if *value > row[at] {
            at = i;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::compare::settings::Protocol;

    #[test]
    fn arrays_are_read_in_rows() {
        for (value, shape, rows) in [
            (json!(0.5), None, vec![vec![0.5]]),
            (json!([0.1, 0.9]), None, vec![vec![0.1, 0.9]]),
            (
                json!([[0.1, 0.9], [0.8, 0.2]]),
                None,
                vec![vec![0.1, 0.9], vec![0.8, 0.2]],
            ),
            (json!([[[0.1]], [[0.9]]]), None, vec![vec![0.1], vec![0.9]]),
            (
                json!([1, 2, 3, 4]),
                Some(json!([2, 2])),
                vec![vec![1.0, 2.0], vec![3.0, 4.0]],
            ),
            (json!([1, 2]), Some(json!([2, 1])), vec![vec![1.0], vec![2.0]]),
            (json!([1, 2]), Some(json!([1, 2])), vec![vec![1.0, 2.0]]),
            (json!([1, 2]), Some(json!([2])), vec![vec![1.0, 2.0]]),
            (json!([1, 2]), Some(json!([3, 7])), vec![vec![1.0, 2.0]]),
            (json!([1, 2]), Some(json!([0, 0])), vec![vec![1.0, 2.0]]),
            (json!([1, 2]), Some(json!([u64::MAX, 2])), vec![vec![1.0, 2.0]]),
            (json!([1, 2]), Some(json!("1x2")), vec![vec![1.0, 2.0]]),
        ] {
            assert_eq!(
                read(&value, shape.as_ref()),
                Ok(Answer::Numbers(rows)),
                "{value} {shape:?}"
            );
        }
    }

    #[test]
    fn what_is_no_number_is_compared_whole_or_refused() {
        for value in [
            json!("spam"),
            json!(true),
            json!([]),
            json!([[]]),
            json!(["a", "b"]),
            json!({"a": 1}),
            json!([1, "b"]),
        ] {
            assert_eq!(read(&value, None), Ok(Answer::Value(value.clone())), "{value}");
        }
        for value in [
            json!(null),
            json!([0.5, null]),
            json!([[0.5], [null]]),
            json!("NaN"),
            json!(["NaN", 0.5]),
        ] {
            assert!(read(&value, None).is_err(), "{value}");
        }
    }

    #[test]
    fn deep_nesting_is_read_to_its_bottom() {
        let mut deep = json!(1.5);
        for _ in 0..120 {
            deep = json!([deep]);
        }
        assert_eq!(read(&deep, None), Ok(Answer::Numbers(vec![vec![1.5]])));
    }

    #[test]
    fn decisions_differ_by_class_by_side_and_by_margin() {
        let settings = |margin, threshold| Settings {
            margin,
            threshold,
            ..Settings::new(Protocol::OpenInference)
        };
        let (plain, sides) = (settings(None, None), settings(None, Some(0.5)));
        let (margin, both) = (settings(Some(0.05), None), settings(Some(0.05), Some(0.5)));
        for (settings, reference, candidate, agrees, distance) in [
            (&plain, vec![vec![0.25, 0.75]], vec![vec![0.375, 0.625]], true, 0.125),
            (&plain, vec![vec![0.25, 0.75]], vec![vec![0.75, 0.25]], false, 0.5),
            (&plain, vec![vec![0.5, 0.5]], vec![vec![0.5, 0.5]], true, 0.0),
            (&plain, vec![vec![3.0]], vec![vec![3.0]], true, 0.0),
            (&plain, vec![vec![3.0]], vec![vec![4.0]], false, 1.0),
            (
                &plain,
                vec![vec![0.0, 1.0], vec![1.0, 0.0]],
                vec![vec![0.0, 1.0], vec![0.0, 1.0]],
                false,
                1.0,
            ),
            (&sides, vec![vec![0.5]], vec![vec![0.75]], true, 0.25),
            (&sides, vec![vec![0.5]], vec![vec![0.25]], false, 0.25),
            (&sides, vec![vec![0.75, 0.875]], vec![vec![0.875, 0.75]], true, 0.125),
            (&margin, vec![vec![2.0]], vec![vec![2.03125]], true, 0.03125),
            (&margin, vec![vec![2.0]], vec![vec![2.0625]], false, 0.0625),
            (
                &margin,
                vec![vec![0.0, 0.03125]],
                vec![vec![0.03125, 0.0]],
                false,
                0.03125,
            ),
            (&both, vec![vec![0.625]], vec![vec![0.875]], false, 0.25),
            (&plain, vec![vec![1.0, 2.0]], vec![vec![1.0, 2.0, 3.0]], false, 1.0),
            (&plain, vec![vec![1.0], vec![2.0]], vec![vec![1.0, 2.0]], false, 1.0),
            (&plain, vec![vec![-f64::MAX]], vec![vec![f64::MAX]], false, f64::MAX),
        ] {
            let comparison = compare_rows(settings, &reference, &candidate);
            assert_eq!(
                comparison,
                Comparison { agrees, distance },
                "{reference:?} {candidate:?}"
            );
            assert_eq!(
                compare_rows(settings, &candidate, &reference),
                comparison,
                "it has no direction"
            );
        }
    }
}
