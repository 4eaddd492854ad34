//! Answers that are whole, partial, cut short, and from other servers.

use super::*;
use proptest::prelude::*;

fn matrix(values: &str) -> String {
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"m","pod":"a"}},"values":{values}}}]}}}}"#
    )
}

#[test]
fn samples_are_read_in_milliseconds_and_stale_markers_dropped() {
    let body = matrix(r#"[[1700000000.123,"1"],[1700000015,"NaN"],[1700000030,"+Inf"],[1700000045.5,"2e3"]]"#);
    let read = Matrix::parse(body.as_bytes()).unwrap();
    assert_eq!(read.series.len(), 1);
    assert_eq!(read.series[0].labels.get("pod"), Some("a"));
    assert_eq!(
        read.series[0].samples,
        [(1_700_000_000_123, 1.0), (1_700_000_045_500, 2000.0)]
    );
    assert_eq!(read.newest(i64::MAX), Some(1_700_000_045_500));
}

#[test]
fn each_way_of_being_no_evidence_has_its_own_error() {
    let whole = matrix(r#"[[1,"1"]]"#);
    let cut = &whole[..whole.len() - 9];
    let with = |tail: &str| format!("{},{tail}}}", &whole[..whole.len() - 1]);
    let cases: Vec<(String, &str)> = vec![
        ("<html><body>Sign in</body></html>".into(), r#"starts with "<html><body>Sign in"#),
        (String::new(), "starts with \"\""),
        (cut.into(), "in the middle of the JSON"),
        (
            r#"{"status":"error","errorType":"bad_data","error":"1:3: parse error"}"#.into(),
            "Prometheus refused the query (bad_data): 1:3: parse error",
        ),
        (
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#.into(),
            "gave a vector, expected a matrix: append a range",
        ),
        (r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.into(), "gave a scalar, expected a matrix"),
        (r#"{"status":"success"}"#.into(), "there is no data"),
        (r#"{"hello":"world"}"#.into(), "not that of Prometheus' query API"),
        ("[]".into(), "not that of Prometheus' query API"),
        (matrix(r#"[[1,1]]"#), "a number written as a string"),
        (with(r#""warnings":["no store answered"]"#), "may be partial and is no evidence: no store answered"),
        (with(r#""infos":["partial response from a sidecar"]"#), "may be partial"),
        (with(r#""isPartial":true"#), "a storage node did not answer"),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"h"},"histograms":[[1,{}]]}]}}"#
                .into(),
            "series h holds native histograms",
        ),
    ];
    for (body, part) in cases {
        let error = Matrix::parse(body.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(part), "{body}: {error}");
    }
}

#[test]
fn what_other_servers_add_to_a_whole_answer_is_no_reason_to_refuse_it() {
    // VictoriaMetrics writes the field that way.
    for more in [
        r#""isPartial":false"#,
        r#""stats":{"seriesFetched":"1","executionTimeMsec":3}"#,
        r#""trace":{"duration_msec":0.1}"#,
    ] {
        let whole = matrix(r#"[[1,"1"]]"#);
        let body = format!("{},{more}}}", &whole[..whole.len() - 1]);
        assert_eq!(Matrix::parse(body.as_bytes()).unwrap().series.len(), 1, "{more}");
    }
}

#[test]
fn a_remark_on_the_expression_does_not_spoil_the_data() {
    let body = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"0.5"]}]},
        "infos":["PromQL info: metric might not be a counter"]}"#;
    let read = Matrix::parse_vector(body.as_bytes()).unwrap();
    assert_eq!(read.series[0].samples, [(1000, 0.5)]);
}

#[test]
fn a_scalar_is_one_series_without_labels_and_nan_is_no_value() {
    let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
    assert_eq!(
        Matrix::parse_vector(body.as_bytes()).unwrap().series,
        [Series {
            labels: Labels::default(),
            samples: vec![(1500, 7.0)]
        }]
    );
    let nan = body.replace("\"7\"", "\"NaN\"");
    assert_eq!(Matrix::parse_vector(nan.as_bytes()).unwrap().newest(i64::MAX), None);
    let string = r#"{"status":"success","data":{"resultType":"string","result":[1.5,"x"]}}"#;
    assert!(matches!(
        Matrix::parse_vector(string.as_bytes()),
        Err(SampleError::WrongType { .. })
    ));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Matrix::parse(&body).is_err());
        prop_assert!(Matrix::parse_vector(&body).is_err());
    }

    #[test]
    fn a_body_cut_anywhere_is_an_error(at in 0usize..1000) {
        let whole = matrix(r#"[[1700000000.1,"1"],[1700000015.1,"12"]]"#);
        let cut = &whole.as_bytes()[..at.min(whole.len() - 1)];
        prop_assert!(Matrix::parse(cut).is_err());
    }

    #[test]
    fn arbitrary_numbers_never_panic(at in any::<f64>(), value in any::<f64>()) {
        prop_assume!(at.is_finite());
        let body = matrix(&format!(r#"[[{at:e},"{value:e}"]]"#));
        let _ = Matrix::parse(body.as_bytes());
    }
}
