//! The reader of recordings: never panics, never makes up a sample, and says the same twice.

use guardbit::simulate::openmetrics::read;
use proptest::prelude::*;

use crate::campaign::campaign;

/// Parts of lines, whole and broken.
fn part() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "http_requests_total", "m", "{", "}", "{}", "{a=\"b\"}", "{a=\"b\",c=\"d\"}", "\"", "\\", "\\\"", "=", ",", " ", "\t", "\n", "\r\n",
            "# EOF", "# TYPE m counter", "# {trace=\"x\"} 1 2", "{\"my.metric\",le=\"0.5\"}", "le=\"+Inf\"", "\\x", "\\u00", "\\U0010ffff",
            "NaN", "+Inf", "-Inf", "1e309", "-0", "0x1p4", "1_000", "1700000000.123", "1700000000123", "99999999999999999999", "\u{feff}", "\0",
        ]).prop_map(str::to_owned),
        2 => any::<f64>().prop_map(|v| format!(" {v}")),
        1 => any::<i64>().prop_map(|v| format!(" {v}.000\n")),
        2 => (any::<u16>(), any::<u32>()).prop_map(|(v, at)| format!("m{{a=\"{}\"}} {v} {at}\n", v % 7)),
        1 => any::<String>(),
    ]
}

#[test]
fn recorded_metrics() {
    let text = prop_oneof![
        8 => prop::collection::vec(part(), 0..40).prop_map(|parts| parts.concat()),
        1 => prop::collection::vec(any::<u8>(), 0..400).prop_map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
    ];
    campaign("OpenMetrics reader", text, |text| {
        match read(&text) {
            Ok(recording) => {
                let samples: usize = recording.series().iter().map(|s| s.samples.len()).sum();
                prop_assert!(samples <= text.lines().count(), "more samples than lines");
                for series in recording.series() {
                    prop_assert!(series.labels.get("__name__").is_some());
                    prop_assert!(series.samples.is_sorted_by(|a, b| a.0 < b.0));
                    prop_assert!(series.samples.iter().all(|(_, value)| value.is_finite()));
                }
                // Joined to itself it is the same recording: of two samples at one time the first counts.
                let twice = read(&format!("{text}\n{text}\n")).map_err(|e| TestCaseError::fail(e.to_string()))?;
                prop_assert_eq!(twice.series(), recording.series());
            }
            Err(error) => prop_assert!((1..=text.lines().count()).contains(&error.line), "{error}"),
        }
        Ok(())
    });
}
