//! Field hashes: what an object says, as hashes of its values. They tell whether it holds a document, at a tenth of its
//! size.
//!
//! A field hash covers a value and the path to it. Hashes are keyed afresh in every process, so that no user can write
//! two objects that look alike.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

/// Labels, annotations, owner references and spec of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldHashes(Arc<[u64]>);

/// Hash of anything, with the key of this process.
pub fn hash(value: impl Hash) -> u64 {
    static KEY: OnceLock<RandomState> = OnceLock::new();
    KEY.get_or_init(RandomState::new).hash_one(value)
}

impl FieldHashes {
    /// The field hashes of an object as the API server holds it, with its spec if it has one. Of the metadata they
    /// cover only what documents set; status, versions and managed fields change by themselves.
    pub fn of(metadata: &ObjectMeta, spec: Option<&Value>) -> Self {
        let parts = [
            ("name", json!(metadata.name)),
            ("namespace", json!(metadata.namespace)),
            ("labels", json!(metadata.labels)),
            ("annotations", json!(metadata.annotations)),
            ("ownerReferences", json!(metadata.owner_references)),
        ];
        let path = below(0, "metadata");
        let mut leaves = Vec::new();
        let mut note = |leaf| leaves.push(leaf);
        if let Some(spec) = spec {
            walk(below(0, "spec"), spec, &mut note);
        }
        for (part, value) in parts.iter().filter(|(_, value)| !value.is_null()) {
            walk(below(path, part), value, &mut note);
        }
        leaves.sort_unstable();
        leaves.dedup();
        Self(leaves.into())
    }

    /// Whether the object holds everything that `wanted` says. What others added does not matter, except in lists and
    /// in `WHOLE` maps.
    pub fn hold(&self, wanted: &Value) -> bool {
        let mut all = true;
        for (part, value) in wanted.as_object().into_iter().flatten() {
            // Typed stores do not hold these.
            if matches!(part.as_str(), "apiVersion" | "kind") {
                continue;
            }
            let path = below(0, part);
            match value {
                Value::Object(parts) if part == "metadata" => {
                    for (part, value) in parts {
                        walk(below(path, part), value, &mut |leaf| all &= self.has(leaf));
                    }
                }
                value => walk(path, value, &mut |leaf| all &= self.has(leaf)),
            }
        }
        all
    }

    /// One hash of all field hashes.
    pub fn digest(&self) -> u64 {
        hash(&self.0)
    }

    fn has(&self, leaf: u64) -> bool {
        self.0.binary_search(&leaf).is_ok()
    }
}

fn below(path: u64, key: &str) -> u64 {
    hash((path, key))
}

/// Maps that server-side apply treats as one piece: a key that another writer adds is as wrong as one that it takes
/// away.
const WHOLE: [&str; 2] = ["selector", "nodeSelector"];

/// Reports the hash of every field below. An object has a hash as well, because a document may want an empty one; so
/// has the length of a list, and of a map that is one piece.
fn walk(path: u64, value: &Value, tell: &mut impl FnMut(u64)) {
    match value {
        Value::Object(fields) => {
            tell(hash((path, "object")));
            for (key, value) in fields {
                let whole = value.as_object().filter(|_| WHOLE.contains(&key.as_str()));
                if let Some(fields) = whole {
                    tell(hash((path, key, fields.len())));
                }
                walk(below(path, key), value, tell);
            }
        }
        Value::Array(items) => {
            tell(hash((path, "list", items.len())));
            for (index, value) in items.iter().enumerate() {
                walk(hash((path, "item", index)), value, tell);
            }
        }
        other => tell(hash((path, "value", other))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// The property that the hashes stand for: whether `live` holds everything that `wanted` says.
    fn contains(live: &Value, wanted: &Value) -> bool {
        match (live, wanted) {
            (Value::Object(live), Value::Object(wanted)) => wanted
                .iter()
                .all(|(key, value)| live.get(key).is_some_and(|l| contains(l, value))),
            (Value::Array(live), Value::Array(wanted)) => {
                live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| contains(l, w))
            }
            _ => live == wanted,
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3i64).prop_map(Value::from),
            "[ab]{0,2}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 3, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[ab]", inner, 0..3)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    /// A part of what it says, so that the documents of the test are often held.
    fn part(value: &Value, keep: &mut impl Iterator<Item = bool>) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .filter(|_| keep.next().unwrap_or(true))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect::<Vec<_>>()
                .into_iter()
                .map(|(key, value)| (key, part(&value, keep)))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Array(items) => items.iter().map(|item| part(item, keep)).collect::<Vec<_>>().into(),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn leaves_tell_what_the_objects_tell(live in value(), other in value(), keep in prop::collection::vec(any::<bool>(), 20)) {
            let metadata = ObjectMeta { name: Some("a".into()), resource_version: Some("7".into()), ..ObjectMeta::default() };
            let leaves = FieldHashes::of(&metadata, Some(&live));
            let some = part(&live, &mut keep.into_iter());
            for wanted in [&live, &some, &other] {
                prop_assert_eq!(leaves.hold(&object_wanted(wanted)), contains(&live, wanted), "{} in {}", wanted, live);
            }
            prop_assert_eq!(leaves.digest(), FieldHashes::of(&metadata, Some(&live)).digest());
        }
    }

    fn object_wanted(spec: &Value) -> Value {
        json!({"apiVersion": "other/v1", "kind": "Any", "metadata": {"name": "a"}, "spec": spec})
    }

    #[test]
    fn a_selector_is_held_only_as_a_whole() {
        let wanted = object_wanted(&json!({"selector": {"a": "b"}}));
        let holds = |spec| {
            let metadata = ObjectMeta {
                name: Some("a".into()),
                ..ObjectMeta::default()
            };
            FieldHashes::of(&metadata, Some(&spec)).hold(&wanted)
        };
        assert!(holds(json!({"selector": {"a": "b"}, "more": {"c": "d"}})));
        assert!(!holds(json!({"selector": {"a": "b", "c": "d"}})));
        assert!(!holds(json!({"selector": {"c": "d"}})));
    }

    #[test]
    fn versions_do_not_count_and_labels_do() {
        let of = |version: &str, label: &str| {
            let metadata = json!({"name": "a", "resourceVersion": version, "labels": {"l": label}});
            FieldHashes::of(&serde_json::from_value(metadata).unwrap(), Some(&json!({})))
        };
        assert_eq!(of("1", "x"), of("2", "x"));
        assert_ne!(of("1", "x"), of("1", "y"));
        assert!(of("1", "x").hold(&json!({"metadata": {"name": "a", "labels": {"l": "x"}}, "spec": {}})));
        assert!(!of("1", "x").hold(&json!({"metadata": {"labels": {"l": "y"}}})));
        assert!(!of("1", "x").hold(&json!({"metadata": {"annotations": {"l": "x"}}})));
    }
}
