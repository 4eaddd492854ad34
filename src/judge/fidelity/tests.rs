use super::*;

/// See `tests/testdata/vectors/README.md`.
#[test]
fn distances_agree_with_scipy() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/testdata/vectors/distances.json")).unwrap();
    let cases = vectors["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 9);
    for case in cases {
        let counts = |key: &str| serde_json::from_value(case[key].clone()).unwrap();
        let test = FidelityTest {
            candidate: counts("candidate"),
            reference: counts("reference"),
            ..FidelityTest::default()
        };
        let (tv, psi, js) = test.distances().unwrap();
        for (ours, key) in [
            (tv, "total_variation"),
            (psi, "stability_index"),
            (js, "jensen_shannon"),
        ] {
            let theirs = case[key].as_f64().unwrap();
            assert!(
                (ours - theirs).abs() < 1e-9 * (1.0 + theirs),
                "{key}: {ours} where SciPy says {theirs}"
            );
        }
    }
}

#[test]
fn the_stability_index_of_an_empty_bin_is_finite() {
    let test = FidelityTest {
        candidate: vec![0, 100],
        reference: vec![50, 50],
        ..FidelityTest::default()
    };
    let (tv, psi, js) = test.distances().unwrap();
    assert!(
        (tv - 0.5).abs() < 1e-12 && psi.is_finite() && js < 2f64.ln(),
        "{tv} {psi} {js}"
    );
}
