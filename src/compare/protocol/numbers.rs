//! Numbers of an answer: scores, probabilities, classes. Used by the protocols that answer with tensors or plain JSON.

use std::hash::{Hash, Hasher};

use serde_json::{Number, Value};

use crate::compare::settings::Settings;

use super::answer::{Answer, Comparison, Unreadable};

/// How numbers that are none are written where JSON has no way to write them (protobuf's JSON).
const NO_NUMBER: [&str; 3] = ["NaN", "Infinity", "-Infinity"];

/// Up to here every integer is a double. Beyond it, ids of 64 bits that are neighbours would be the same double.
const EXACT: u64 = 1 << 53;

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
        return Err(Unreadable::Content("there is null or NaN where a number should be"));
    }
    if flat && let Some(row) = rows.pop() {
        rows = cut(row, shape);
    }
    let all = || rows.iter().flatten();
    let is_beyond = |number: &Number| integer(number).is_some_and(|n| n.unsigned_abs() > u128::from(EXACT));
    if all().any(is_beyond) && all().all(|number| integer(number).is_some()) {
        Ok(Answer::Integers(each(&rows, integer)))
    } else {
        Ok(Answer::Numbers(each(&rows, Number::as_f64)))
    }
}

/// The rows, with each number in another form. All of them have one.
fn each<N>(rows: &[Vec<Number>], form: impl Fn(&Number) -> Option<N>) -> Vec<Vec<N>> {
    rows.iter().map(|row| row.iter().filter_map(&form).collect()).collect()
}

/// A number that is written as an integer of 64 bits.
fn integer(number: &Number) -> Option<i128> {
    let signed = number.as_i64().map(i128::from);
    signed.or_else(|| number.as_u64().map(i128::from))
}

/// What is in an array and in the arrays in it.
#[derive(Default)]
struct Leaves {
    rows: Vec<Vec<Number>>,
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
                Value::Number(number) if number.as_f64().is_some_and(f64::is_finite) => row.push(number.clone()),
                Value::Number(_) => self.gaps += 1,
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
fn cut(row: Vec<Number>, shape: Option<&Value>) -> Vec<Vec<Number>> {
    let dimensions = shape.and_then(Value::as_array).into_iter().flatten();
    let dimensions: Vec<u64> = dimensions.filter_map(Value::as_u64).collect();
    let size = dimensions.iter().try_fold(1u64, |size, n| size.checked_mul(*n));
    match dimensions.as_slice() {
        [_, .., length] if size == Some(row.len() as u64) => {
            row.chunks(*length as usize).map(<[Number]>::to_vec).collect()
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
        (Answer::Integers(reference), Answer::Integers(candidate)) => compare_rows(settings, reference, candidate),
        (Answer::Integers(reference), Answer::Numbers(candidate)) => match whole(candidate) {
            Some(candidate) => compare_rows(settings, reference, &candidate),
            None => compare_rows(settings, &doubles(reference), candidate),
        },
        (Answer::Numbers(reference), Answer::Integers(candidate)) => match whole(reference) {
            Some(reference) => compare_rows(settings, &reference, candidate),
            None => compare_rows(settings, reference, &doubles(candidate)),
        },
        (Answer::Value(reference), Answer::Value(candidate)) if reference == candidate => Comparison::SAME,
        _ => Comparison::DIFFERENT,
    }
}

/// A number that can be compared: with one of its own kind, and with the threshold.
pub(super) trait Comparable: Copy + PartialOrd {
    /// The difference of two; finite.
    fn apart(self, other: Self) -> f64;

    /// Whether it is not below the threshold.
    fn reaches(self, threshold: f64) -> bool;

    /// The same for equal numbers.
    fn bits(self) -> u128;
}

impl Comparable for f64 {
    fn apart(self, other: Self) -> f64 {
        // The difference of two huge numbers may be beyond the range of a double.
        (self - other).abs().min(f64::MAX)
    }

    fn reaches(self, threshold: f64) -> bool {
        self >= threshold
    }

    fn bits(self) -> u128 {
        // There are two zeros.
        (self + 0.0).to_bits().into()
    }
}

impl Comparable for i128 {
    fn apart(self, other: Self) -> f64 {
        self.abs_diff(other) as f64
    }

    fn reaches(self, threshold: f64) -> bool {
        self as f64 >= threshold
    }

    fn bits(self) -> u128 {
        self.cast_unsigned()
    }
}

/// Numbers as integers, where all of them are some and doubles tell them apart.
fn whole(rows: &[Vec<f64>]) -> Option<Vec<Vec<i128>>> {
    let integer = |number: &f64| (number.fract() == 0.0 && number.abs() <= EXACT as f64).then_some(*number as i128);
    let row = |row: &Vec<f64>| row.iter().map(integer).collect::<Option<Vec<_>>>();
    rows.iter().map(row).collect()
}

fn doubles(rows: &[Vec<i128>]) -> Vec<Vec<f64>> {
    rows.iter()
        .map(|row| row.iter().map(|number| *number as f64).collect())
        .collect()
}

fn compare_rows<N: Comparable>(settings: &Settings, reference: &[Vec<N>], candidate: &[Vec<N>]) -> Comparison {
    let alike = |(a, b): (&Vec<N>, &Vec<N>)| a.len() == b.len();
    if reference.len() != candidate.len() || !reference.iter().zip(candidate).all(alike) {
        return Comparison::DIFFERENT;
    }
    let numbers = reference.iter().flatten().zip(candidate.iter().flatten());
    let distance = numbers.map(|(a, b)| a.apart(*b)).fold(0.0, f64::max);
    let within = settings.margin.is_none_or(|margin| distance <= margin);
    let same = |(a, b): (&Vec<N>, &Vec<N>)| is_same_decision(settings, a, b);
    Comparison {
        agrees: within && reference.iter().zip(candidate).all(same),
        distance: Some(distance),
    }
}

/// Hashes what decides of numbers: the sides, the places of the largest, or the numbers themselves where they decide.
pub(super) fn hash<N: Comparable>(settings: &Settings, rows: &[Vec<N>], hasher: &mut impl Hasher) {
    for row in rows {
        row.len().hash(hasher);
        match (settings.threshold, settings.margin, row.as_slice()) {
            (Some(threshold), None, _) => row.iter().for_each(|number| number.reaches(threshold).hash(hasher)),
            (None, None, [_, _, ..]) => largest(row).hash(hasher),
            _ => row.iter().for_each(|number| number.bits().hash(hasher)),
        }
    }
}

fn is_same_decision<N: Comparable>(settings: &Settings, a: &[N], b: &[N]) -> bool {
    match (settings.threshold, a, b) {
        (Some(threshold), ..) => a
            .iter()
            .zip(b)
            .all(|(a, b)| a.reaches(threshold) == b.reaches(threshold)),
        (None, [a], [b]) => settings.margin.is_some() || a == b,
        (None, ..) => largest(a) == largest(b),
    }
}

/// The place of the first of the largest numbers.
fn largest<N: PartialOrd>(row: &[N]) -> usize {
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
                Comparison {
                    agrees,
                    distance: Some(distance)
                },
                "{reference:?} {candidate:?}"
            );
            assert_eq!(
                compare_rows(settings, &candidate, &reference),
                comparison,
                "it has no direction"
            );
        }
    }

    #[test]
    fn integers_that_no_double_tells_apart_are_compared_exactly() {
        let plain = Settings::new(Protocol::OpenInference);
        let margin = Settings {
            margin: Some(2.0),
            ..plain.clone()
        };
        let (id, next) = (9_007_199_254_740_992u64, 9_007_199_254_740_993u64);
        for (settings, reference, candidate, agrees, distance) in [
            (&plain, json!([id]), json!([next]), false, 1.0),
            (&plain, json!([next]), json!([next]), true, 0.0),
            (&plain, json!([u64::MAX]), json!([u64::MAX - 1]), false, 1.0),
            (&plain, json!([i64::MIN]), json!([i64::MIN + 1]), false, 1.0),
            (&plain, json!([id, next]), json!([next, id]), false, 1.0),
            (&plain, json!([next]), json!([7]), false, 9_007_199_254_740_986.0),
            (
                &plain,
                json!([next, 0]),
                json!([1.5, 1.0]),
                true,
                9_007_199_254_740_990.0,
            ),
            (&margin, json!([id]), json!([next]), true, 1.0),
            (&margin, json!([next]), json!([next + 3]), false, 3.0),
        ] {
            let read = |value: &Value| read(value, None).unwrap();
            let comparison = compare(settings, &read(&reference), &read(&candidate));
            let distance = Some(distance);
            assert_eq!(comparison, Comparison { agrees, distance }, "{reference} {candidate}");
        }
        assert!(
            matches!(read(&json!([id]), None), Ok(Answer::Numbers(_))),
            "2^53 is a double"
        );
        assert!(
            matches!(read(&json!([next, 0.5]), None), Ok(Answer::Numbers(_))),
            "what is no integer is compared as a double"
        );
    }
}
