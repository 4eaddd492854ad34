use k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry;

use super::*;

fn model() -> QuantizedModel {
    let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
    let mut model: QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
    model.metadata.uid = Some("u".into());
    model.metadata.resource_version = Some("7".into());
    model.annotations_mut().insert("team".into(), "risk".into());
    model.status = Some(QuantizedModelStatus::default());
    model
}

/// A model as a watch delivers it.
fn seen(model: &impl serde::Serialize) -> SeenModel {
    serde_json::from_str(&serde_json::to_string(model).unwrap()).unwrap()
}

#[test]
fn a_model_is_read_back_as_it_was_but_for_what_nobody_needs() {
    let mut whole = model();
    whole.metadata.managed_fields = Some(vec![ManagedFieldsEntry::default()]);
    whole.annotations_mut().insert(LAST_APPLIED.into(), "{}".into());
    let kept = CachedModel::of(seen(&whole));
    let Ok(Content::Readable(read, _)) = kept.read() else {
        panic!("{kept:?}")
    };
    assert_eq!(
        serde_json::to_value(read).unwrap(),
        serde_json::to_value(model()).unwrap()
    );
}

#[test]
fn what_is_under_way_is_told_also_of_a_model_that_cannot_be_read() {
    let mut whole = serde_json::to_value(model()).unwrap();
    let busy = |model: &serde_json::Value| CachedModel::of(seen(model)).busy();
    assert!(!busy(&whole).is_any());
    let revision = serde_json::json!({"variant": "int8", "revision": "v1:8", "until": "2026-11-10T00:00:00Z"});
    for (reason, moves) in [("Drain", false), ("Handover", true)] {
        let mut retiring = revision.clone();
        retiring["reason"] = reason.into();
        whole["status"]["retiring"] = serde_json::json!([retiring]);
        assert_eq!(busy(&whole), Busy { rollout: false, moves }, "{reason}");
    }
    whole["status"] = serde_json::json!({"rollout": {"novel": 1}});
    let kept = CachedModel::of(seen(&whole));
    assert!(matches!(kept.read(), Ok(Content::Unreadable(_))));
    assert!(kept.busy().rollout && kept.tier().is_none());
}

#[test]
fn digests_are_computed_again_only_where_the_spec_may_have_changed() {
    let mut models = Models::new();
    let mut came = |model: &QuantizedModel| match models.take(Event::Apply(seen(model))).pop() {
        Some(Change::Came(model)) => model.digests().unwrap(),
        other => panic!("{other:?}"),
    };
    let mut model = model();
    let first = came(&model);
    model.status.get_or_insert_default().observed_generation = Some(3);
    assert!(Arc::ptr_eq(&first, &came(&model)), "a status was written");
    model.spec.paused = true;
    let edited = came(&model);
    assert_ne!(edited.spec(), first.spec());
}

#[test]
fn models_are_there_as_they_come_and_gone_once_a_whole_list_is_without_them() {
    let of = |name: &str, uid: &str| {
        let mut model = model();
        (model.metadata.name, model.metadata.uid) = (Some(name.into()), Some(format!("{name}{uid}")));
        seen(&model)
    };
    let told = |changes: Vec<Change>| {
        let tell = |change| match change {
            Change::Came(model) => format!("+{}", model.uid().unwrap()),
            Change::Gone(model) => format!("-{}", model.uid().unwrap()),
        };
        changes.into_iter().map(tell).collect::<Vec<_>>()
    };
    let mut models = Models::new();
    let store = models.store();
    let there = || {
        let mut names: Vec<_> = store.state().iter().map(|model| model.name_any()).collect();
        names.sort();
        names.concat()
    };
    assert!(told(models.take(Event::Init)).is_empty());
    for (name, so_far) in [("a", "a"), ("b", "ab"), ("c", "abc")] {
        assert_eq!(
            told(models.take(Event::InitApply(of(name, "1")))),
            [format!("+{name}1")]
        );
        assert_eq!(there(), so_far, "before the list is whole");
    }
    assert!(told(models.take(Event::InitDone)).is_empty());
    assert_eq!(told(models.take(Event::Delete(of("c", "1")))), ["-c1"]);
    assert_eq!(told(models.take(Event::Apply(of("d", "1")))), ["+d1"]);
    // While the watch was away, one list breaks off and another does not.
    for whole in [false, true] {
        assert!(told(models.take(Event::Init)).is_empty());
        let again = told(models.take(Event::InitApply(of("a", "2"))));
        let first = if whole { &["+a2"][..] } else { &["-a1", "+a2"] };
        assert_eq!(again, first, "another of its name, and the old one is gone");
        assert_eq!(there(), "abd");
    }
    assert_eq!(told(models.take(Event::InitApply(of("e", "1")))), ["+e1"]);
    let mut gone = told(models.take(Event::InitDone));
    gone.sort();
    assert_eq!(gone, ["-b1", "-d1"]);
    assert_eq!(there(), "ae");
}

#[test]
fn what_a_reconcile_has_seen_or_written_is_no_news_and_everything_else_is() {
    let reconciled = Reconciled::default();
    let changed = |change: fn(&mut QuantizedModel)| {
        let mut model = model();
        change(&mut model);
        CachedModel::of(seen(&model))
    };
    assert!(!reconciled.at(&changed(|_| {})), "not reconciled yet");
    reconciled.begin(&changed(|_| {}));
    assert!(reconciled.at(&changed(|m| m.metadata.resource_version = Some("8".into()))));
    for (name, change) in [
        ("spec", (|m| m.spec.paused = true) as fn(&mut QuantizedModel)),
        ("annotation", |m| m.annotations_mut().clear()),
        ("finalizer", |m| m.finalizers_mut().push("f".into())),
        ("status", |m| m.status = None),
    ] {
        assert!(!reconciled.at(&changed(change)), "{name}");
    }
    let own = QuantizedModelStatus {
        evidence: Some("e".into()),
        ..QuantizedModelStatus::default()
    };
    reconciled.will_write("u", &own);
    let written = CachedModel::of(seen(&QuantizedModel {
        status: Some(own),
        ..model()
    }));
    assert!(reconciled.at(&written), "its own writing");
    assert!(!reconciled.at(&changed(|_| {})), "somebody has put the old status back");
    reconciled.forget(&written);
    assert!(!reconciled.at(&written), "a reconcile that failed has seen nothing");
}
