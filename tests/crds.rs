//! `crds/` is what `src/api` says.

use std::collections::BTreeMap;
use std::path::Path;

use guardbit::cli::crds;
use kube::ResourceExt;

#[test]
fn the_committed_crds_are_those_of_the_api() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut committed = BTreeMap::new();
    for entry in std::fs::read_dir(directory).expect("crds/") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().into_string().expect("UTF-8");
        committed.insert(name, std::fs::read_to_string(entry.path()).expect("UTF-8"));
    }
    committed.remove("kustomization.yaml").expect("a kustomization");
    let generated: BTreeMap<_, _> = crds::files().expect("YAML").into_iter().collect();
    assert!(generated.len() > 1);
    assert!(
        committed.keys().eq(generated.keys()),
        "crds/ has {:?}, and the API {:?}: run `make crds`, and delete what is no more",
        committed.keys(),
        generated.keys()
    );
    for (name, text) in &generated {
        assert!(committed[name] == *text, "crds/{name} is out of date: run `make crds`");
    }
}

#[test]
fn the_crds_can_be_applied_from_the_client_side() {
    for crd in crds::all() {
        let bytes = serde_json::to_string(&crd).expect("JSON").len();
        assert!(
            bytes < 256 * 1024,
            "{bytes} bytes of {} do not fit in the last-applied annotation",
            crd.name_any()
        );
    }
}

#[test]
fn every_kind_belongs_to_the_group_and_the_version_of_the_others() {
    for crd in crds::all() {
        let name = crd.name_any();
        assert_eq!(crd.spec.group, guardbit::api::GROUP, "{name}");
        let versions: Vec<_> = crd.spec.versions.iter().map(|version| version.name.as_str()).collect();
        assert_eq!(versions, ["v1alpha1"], "{name}");
        let categories = crd.spec.names.categories.unwrap_or_default();
        assert!(
            categories.contains(&"guardbit".to_owned()),
            "{name}: kubectl get guardbit"
        );
    }
}
