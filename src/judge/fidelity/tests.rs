use super::*;

#[derive(Deserialize)]
struct Row {
    candidate: Vec<u64>,
    reference: Vec<u64>,
    tv: f64,
    psi: f64,
    js: f64,
}

#[derive(Deserialize)]
struct Vectors {
    rows: Vec<Row>,
}

/// The vectors and their source are in tests/testdata/vectors.
#[test]
fn the_distances_that_are_told_are_those_of_scipy() {
    let vectors: Vectors =
        serde_json::from_str(include_str!("../../../tests/testdata/vectors/distances.json")).unwrap();
    assert!(vectors.rows.len() > 10);
    for row in vectors.rows {
        let test = FidelityTest {
            candidate: row.candidate,
            reference: row.reference,
            ..FidelityTest::default()
        };
        let (tv, psi, js) = test.distances().unwrap();
        for (got, expected) in [(tv, row.tv), (psi, row.psi), (js, row.js)] {
            assert!((got - expected).abs() < 1e-12, "{got} instead of {expected}: {test:?}");
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
