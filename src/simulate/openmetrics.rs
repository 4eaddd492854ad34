//! Reads OpenMetrics text with timestamps, as `promtool tsdb dump-openmetrics` prints it, into a recording.
//!
//! Must not interpret the samples. A line that cannot be read fails the whole file, with its number, and so does a file that
//! ends in the middle of one: a replay of half the data could end with another decision. `promtool` quotes labels as
//! Go does and prints UTF-8 names as they are; native histograms it leaves out. Dumps may be joined: `# EOF` ends none.

use std::collections::{BTreeMap, HashMap};

use crate::evidence::{Labels, Series};

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
    let mut by_labels: BTreeMap<Labels, usize> = BTreeMap::new();
    let mut last: (&str, usize) = ("", 0);
    let ends_whole = text.ends_with('\n') || text.lines().next_back().is_none_or(|line| line.trim() == "# EOF");
    for (number, line) in text.lines().enumerate() {
        let fail = |problem: &str| ReadError {
            line: number + 1,
            problem: problem.to_owned(),
        };
        // Editors on Windows begin a file with a byte order mark.
        let line = line.strip_prefix('\u{feff}').unwrap_or(line).trim_ascii();
        if line.is_empty() || line.starts_with('#') {
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
                        let labels = Labels::from(labels(head).map_err(|problem| fail(&problem))?);
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
    if !ends_whole {
        return Err(ReadError {
            line: text.lines().count(),
            problem:
                "the file ends in the middle of a line, so it may have been cut off: a whole one ends with # EOF, or \
                      at least with a line break"
                    .to_owned(),
        });
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
                    'a' => '\u{7}',
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'v' => '\u{b}',
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
    let (value, rest) = word(rest);
    let (at, rest) = word(rest);
    if value.is_empty() {
        return Err("a series without a value".to_owned());
    }
    let value: f64 = value.parse().map_err(|_| format!("the value {value:?} is no number"))?;
    if at.is_empty() || at == "#" {
        return Err(
            "a sample without a timestamp: record over time, for example with promtool tsdb dump-openmetrics"
                .to_owned(),
        );
    }
    let (more, _) = word(rest);
    if !more.is_empty() && more != "#" {
        return Err(format!(
            "{more:?} after the timestamp, where only an exemplar may follow: # {{…}} VALUE"
        ));
    }
    let seconds: f64 = at.parse().map_err(|_| format!("the timestamp {at:?} is no number"))?;
    if !seconds.is_finite() {
        return Err(format!("the timestamp {at:?} is no time"));
    }
    let millis = if seconds.abs() < MILLISECONDS_FROM {
        seconds * 1000.0
    } else {
        seconds
    };
    // The cast saturates, so a time out of range stays out of range.
    Ok(value.is_finite().then_some((millis.round() as i64, value)))
}

/// The next word, and what follows it; empty at the end.
fn word(text: &str) -> (&str, &str) {
    let text = text.trim_ascii_start();
    let end = text.bytes().position(|b| b.is_ascii_whitespace()).unwrap_or(text.len());
    text.split_at(end)
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
        assert_eq!(series.labels.get("__name__"), Some("http_requests_total"));
        assert_eq!(series.labels.get("code"), Some("200"));
        assert_eq!(series.samples, [(1_700_000_000_123, 12.0), (1_700_000_015_123, 1.5e6)]);
    }

    #[test]
    fn samples_may_come_in_any_order_and_labels_too() {
        let text = "m{a=\"1\",b=\"2\"} 3 30\nm{b=\"2\",a=\"1\"} 1 10\nm{ a=\"1\" , b=\"2\", } 2 20\n";
        assert_eq!(one(text).samples, [(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)]);
    }

    /// The format string of `formatSeriesSetOpenMetrics` (Prometheus, cmd/promtool/tsdb.go) is `"%s%s %g %.3f\n"`: name,
    /// labels, value, seconds. No labels print as `{}`; names stand in front whatever characters they have.
    #[test]
    fn odd_things_that_promtool_prints_are_read() {
        let text = "up{} 1 1700000000.000\nhttp.requests{\"k8s.pod\"=\"a\\a\\b\\f\\v\\x1f\\u200b\", le=\"+Inf\"} +Inf 1700000000.000\n\
                    http.requests{\"k8s.pod\"=\"a\\a\\b\\f\\v\\x1f\\u200b\", le=\"+Inf\"} 1.7e-09 1700000015.000\n# EOF\n";
        let recording = read(text).unwrap();
        let [up, odd] = recording.series() else {
            panic!("{recording:?}")
        };
        assert_eq!(
            (up.labels.iter().count(), &up.samples[..]),
            (1, &[(1_700_000_000_000, 1.0)][..])
        );
        assert_eq!(odd.labels.get("__name__"), Some("http.requests"));
        assert_eq!(odd.labels.get("k8s.pod"), Some("a\u{7}\u{8}\u{c}\u{b}\u{1f}\u{200b}"));
        assert_eq!(odd.samples, [(1_700_000_015_000, 1.7e-9)]);
    }

    #[test]
    fn the_openmetrics_of_a_client_library_with_timestamps_is_read() {
        let text = "# HELP foo_seconds Some \\\"help\\\".\n# TYPE foo_seconds histogram\n# UNIT foo_seconds seconds\n\
                    foo_seconds_bucket{le=\"0.1\"} 8 1520879607.789 # {trace_id=\"a # } b\"} 0.054 1520879607.7\n\
                    foo_seconds_bucket{le=\"+Inf\"} 17 1520879607.789 # {} 9.8\nfoo_seconds_count 17 1520879607.789\n\
                    foo_seconds_sum 324789.3 1520879607.789\nfoo_seconds_created 1520430000.123 1520879607.789\n# EOF";
        let recording = read(text).unwrap();
        let names: Vec<_> = recording
            .series()
            .iter()
            .filter_map(|s| s.labels.get("__name__"))
            .collect();
        assert_eq!(
            names,
            [
                "foo_seconds_bucket",
                "foo_seconds_bucket",
                "foo_seconds_count",
                "foo_seconds_sum",
                "foo_seconds_created"
            ]
        );
        assert!(
            recording
                .series()
                .iter()
                .all(|s| s.samples.len() == 1 && s.samples[0].0 == 1_520_879_607_789)
        );
    }

    #[test]
    fn line_ends_of_windows_and_joined_dumps_change_nothing() {
        let plain = "m{a=\"1\"} 1 10\nm{a=\"1\"} 2 20\n# EOF\nm{a=\"1\"} 3 30\n# EOF\n";
        let windows = format!("\u{feff}{}", plain.replace('\n', "\r\n"));
        assert_eq!(one(plain).samples, [(10_000, 1.0), (20_000, 2.0), (30_000, 3.0)]);
        assert_eq!(one(&windows), one(plain));
    }

    #[test]
    fn a_file_that_was_cut_off_is_no_shorter_recording() {
        let whole = "m{a=\"1\"} 1 1700000000.000\nm{a=\"1\"} 2 1700000015.000\n# EOF\n";
        for (at, _) in whole
            .char_indices()
            .filter(|(at, _)| !whole[..*at].ends_with('\n') && *at > 0)
        {
            let end = &whole[..at];
            assert_eq!(read(end).is_err(), end.trim_end() != whole.trim_end(), "{end:?}");
        }
    }

    #[test]
    fn metadata_exemplars_stale_markers_and_milliseconds_are_understood() {
        let text = "# HELP m help\n# TYPE m counter\n\nm 1 1700000000 # {trace=\"x\"} 0.5 1700000000\nm NaN 1700000015\nm +Inf 1700000016\nm 2 1700000030000\n# EOF";
        assert_eq!(one(text).samples, [(1_700_000_000_000, 1.0), (1_700_000_030_000, 2.0)]);
    }

    #[test]
    fn names_and_values_with_odd_characters_survive() {
        let series = one(r#"{"my.metric", "a b"="x\"y\\z\n}", "c"="caf\u00e9"} 1 1
"#);
        assert_eq!(series.labels.get("__name__"), Some("my.metric"));
        assert_eq!(series.labels.get("a b"), Some("x\"y\\z\n}"));
        assert_eq!(series.labels.get("c"), Some("café"));
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
            ("m 1 1700000000 2", "\"2\" after the timestamp"),
            ("m {count:1,sum:2} 1700000000", "is no number"),
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
            prop_assert_eq!(series.labels.get("a"), Some(value.as_str()));
            prop_assert_eq!(series.samples, samples.into_iter().collect::<Vec<_>>());
        }
    }
}
