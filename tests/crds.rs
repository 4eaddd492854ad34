//! `crds/` is what `src/api` says.

#[test]
fn the_committed_crds_are_those_of_the_api() {
    let committed = include_str!("../crds/quantizedmodels.guardbit.dev.yaml");
    let generated = guardbit::cli::crds::yaml().expect("YAML");
    assert!(committed == generated, "crds/ is out of date: run `make crds`");
}

#[test]
fn the_crd_can_be_applied_from_the_client_side() {
    let bytes = serde_json::to_string(&guardbit::cli::crds::crd()).expect("JSON").len();
    assert!(
        bytes < 256 * 1024,
        "{bytes} bytes do not fit in the last-applied annotation"
    );
}
