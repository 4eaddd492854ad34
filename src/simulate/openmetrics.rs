//! Reads OpenMetrics text with timestamps, as `promtool tsdb dump-openmetrics` prints it, into a recording.
//!
//! Must not interpret the samples. A line that cannot be read fails the whole file, with its number: a replay of half the
//! data would be an answer to another question.

use std::collections::{BTreeMap, HashMap};

use crate::evidence::Series;

use super::recording::Recording;

/// Timestamps from here on are milliseconds, as the text format of Prometheus writes them: in seconds they would lie
/// beyond the year 5000.
const MILLISECONDS_FROM: f64 = 1e11;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ReadError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Reads a whole file.
pub fn read(text: &str) -> Result<Recording, ReadError> {
    let mut series: Vec<Series> = Vec::new();
    // Series by their text, which is quick to look up, and by their labels, which may be written in any order.
    let mut by_text: HashMap<&str, usize> = HashMap::new();
    let mut by_labels: HashMap<BTreeMap<String, String>, usize> = HashMap::new();
    let mut last: (&str, usize) = ("", 0);
    for (number, line) in text.lines().enumerate() {
        let fail = |problem: &str| ReadError {
            line: number + 1,
            problem: problem.to_owned(),
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            if line == "# EOF" {
                break;
            }
            continue;
        }
        let again = line
            .strip_prefix(last.0)
            .filter(|rest| !last.0.is_empty() && rest.starts_with(' '));
        let (at, rest) = match again {
            Some(rest) => (last.1, rest),
            None => {
                let end = end_of_series(line).ok_or_else(|| fail("the braces of the labels are not closed"))?;
                let (head, rest) = line.split_at(end);
                let at = match by_text.get(head) {
                    Some(at) => *at,
                    None => {
                        let labels = labels(head).map_err(|problem| fail(&problem))?;
                        let at = *by_labels.entry(labels.clone()).or_insert_with(|| {
                            series.push(Series {
                                labels,
                                samples: Vec::new(),
                            });
                            series.len() - 1
                        });
                        by_text.insert(head, at);
                        at
                    }
                };
                last = (head, at);
                (at, rest)
            }
        };
        if let Some(sample) = sample(rest).map_err(|problem| fail(&problem))?
            && let Some(series) = series.get_mut(at)
        {
            series.samples.push(sample);
        }
    }
    Ok(Recording::new(series))
}

/// Where the name and the labels end.
fn end_of_series(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    let open = bytes.iter().position(|b| *b == b'{' || b.is_ascii_whitespace())?;
    if bytes[open] != b'{' {
        return Some(open);
    }
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in bytes.iter().enumerate().skip(open + 1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'}' if !quoted => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// `name{label="value",…}`; a name that is no identifier stands in quotes as the first of the labels.
fn labels(head: &str) -> Result<BTreeMap<String, String>, String> {
    let mut labels = BTreeMap::new();
    let (name, mut rest) = match head.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}').unwrap_or(rest).trim()),
        None => (head, ""),
    };
    if !name.is_empty() {
        labels.insert("__name__".to_owned(), name.to_owned());
    }
    while !rest.is_empty() {
        let (label, tail) = if rest.starts_with('"') {
            quoted(rest)?
        } else {
            let end = rest.find(['=', ',']).unwrap_or(rest.len());
            (rest[..end].trim().to_owned(), &rest[end..])
        };
        let tail = tail.trim_start();
        rest = match tail.strip_prefix('=') {
            Some(value) => {
                let (value, tail) = quoted(value.trim_start())?;
                labels.insert(label, value);
                tail
            }
            None if !labels.contains_key("__name__") && (tail.is_empty() || tail.starts_with(',')) => {
                labels.insert("__name__".to_owned(), label);
                tail
            }
            None => return Err(format!("label {label} has no value: write {label}=\"…\"")),
        };
        rest = match rest.trim_start().strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.trim().is_empty() => "",
            None => return Err(format!("a comma is missing between two labels, before {rest:?}")),
        };
    }
    if labels.contains_key("__name__") {
        Ok(labels)
    } else {
        Err("a sample without the name of a metric".to_owned())
    }
}

/// A string in quotes with the escapes of OpenMetrics and of Go, which `promtool` prints with; and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let body = text
        .strip_prefix('"')
        .ok_or_else(|| format!("a label value must stand in double quotes, at {text:?}"))?;
    let mut out = String::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &body[at + 1..])),
            '\\' => {
                let (_, escape) = chars.next().ok_or("a label value ends in a backslash")?;
                let digits = match escape {
                    'x' => 2,
                    'u' => 4,
                    'U' => 8,
                    _ => 0,
                };
                out.push(match escape {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    _ if digits > 0 => {
                        let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                        u32::from_str_radix(&code, 16)
                            .ok()
                            .and_then(char::from_u32)
                            .unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    other => other,
                });
            }
            c => out.push(c),
        }
    }
    Err("a label value is not closed".to_owned())
}

/// ` value timestamp`, perhaps with an exemplar after it. `None` for what is no evidence: stale markers, NaN, infinities.
fn sample(rest: &str) -> Result<Option<(i64, f64)>, String> {
    let mut words = rest.split_ascii_whitespace();
    let value = words.next().ok_or("a series without a value")?;
    let value: f64 = value.parse().map_err(|_| format!("the value {value:?} is no number"))?;
    let at = words
        .next()
        .filter(|word| *word != "#")
        .ok_or("a sample without a timestamp: record over time, for example with promtool tsdb dump-openmetrics")?;
    let seconds: f64 = at.parse().map_err(|_| format!("the timestamp {at:?} is no number"))?;
    if !seconds.is_finite() {
        return Err(format!("the timestamp {at:?} is no time"));
    }
    let millis = if seconds.abs() < MILLISECONDS_FROM {
        seconds * 1000.0
    } else {
        seconds
    };
    // The cast saturates: an absurd time stays absurd.
    Ok(value.is_finite().then_some((millis.round() as i64, value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> Series {
        let recording = read(text).unwrap();
        assert_eq!(recording.series().len(), 1, "{text}");
        recording.series()[0].clone()
    }

    #[test]
    fn what_promtool_prints_is_read() {
        let text = "http_requests_total{arm=\"stable\", code=\"200\"} 12 1700000000.123\n\
                    http_requests_total{arm=\"stable\", code=\"200\"} 1.5e+06 1700000015.123\n# EOF\n";
        let series = one(text);
        assert_eq!(series.labels["__name__"], "http_requests_total");
        assert_eq!(series.labels["code"], "200");
        assert_eq!(series.samples, [(1_700_000_000_123, 12.0), (1_700_000_015_123, 1.5e6)]);
    }

    #[test]
    fn samples_may_come_in_any_order_and_labels_too() {
        let text = "m{a=\"1\",b=\"2\"} 3 30\nm{b=\"2\",a=\"1\"} 1 10\nm{ a=\"1\" , b=\"2\", } 2 20\n";
        assert_eq!(one(text).samples, [(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)]);
    }

    #[test]
    fn metadata_exemplars_stale_markers_and_milliseconds_are_understood() {
        let text = "# HELP m help\n# TYPE m counter\n\nm 1 1700000000 # {trace=\"x\"} 0.5 1700000000\nm NaN 1700000015\nm +Inf 1700000016\nm 2 1700000030000\n# EOF\nignored";
        assert_eq!(one(text).samples, [(1_700_000_000_000, 1.0), (1_700_000_030_000, 2.0)]);
    }

    #[test]
    fn names_and_values_with_odd_characters_survive() {
        let series = one(r#"{"my.metric", "a b"="x\"y\\z\n}", "c"="caf\u00e9"} 1 1"#);
        assert_eq!(series.labels["__name__"], "my.metric");
        assert_eq!(series.labels["a b"], "x\"y\\z\n}");
        assert_eq!(series.labels["c"], "café");
    }

    #[test]
    fn a_line_that_cannot_be_read_is_named_with_what_would_be_right() {
        for (line, part) in [
            ("m{a=\"1\" 1 1", "braces of the labels are not closed"),
            ("m{a=1} 1 1", "must stand in double quotes"),
            ("m{a} 1 1", "label a has no value"),
            ("m{a=\"1\" b=\"2\"} 1 1", "a comma is missing"),
            ("{a=\"1\"} 1 1", "without the name of a metric"),
            ("m one 1", "\"one\" is no number"),
            ("m 1", "without a timestamp"),
            ("m 1 # {} 1 1", "without a timestamp"),
            ("m 1 noon", "\"noon\" is no number"),
            ("m 1 inf", "is no time"),
        ] {
            let error = read(&format!("# a comment\n{line}\n")).unwrap_err();
            assert_eq!(error.line, 2);
            assert!(error.problem.contains(part), "{line}: {error}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[ -~\\n\"{}=,\\\\é]{0,200}") {
            let _ = read(&text);
        }

        #[test]
        fn whatever_is_written_is_read_back(
            value in "\\PC{0,20}", samples in proptest::collection::btree_map(0i64..2_000_000_000_000, -1e12f64..1e12, 1..20)
        ) {
            let escaped = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let text: String = samples.iter().map(|(at, v)| format!("m{{a=\"{escaped}\"}} {v} {}.{:03}\n", at / 1000, at % 1000)).collect();
            let series = one(&text);
            prop_assert_eq!(&series.labels["a"], &value);
            prop_assert_eq!(series.samples, samples.into_iter().collect::<Vec<_>>());
        }
    }
}
