//! By which keys of policies the weights of a model are signed. A signature costs more to verify than all else of an evaluation,
//! so it is done once for each version of a spec and each set of keys.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use parking_lot::Mutex;

use crate::api::QuantizedModelSpec;
use crate::governance::Rules;
use crate::ledger::signed_by;
use crate::watch::hash;

/// Public keys by which weights are signed, by variant.
pub(super) type SignedBy = BTreeMap<String, BTreeSet<String>>;

/// What was verified, by the uid of the model: of which version and keys, and what was found.
#[derive(Default)]
pub(in crate::controller) struct Signatures(Mutex<HashMap<String, (u64, SignedBy)>>);

impl Signatures {
    /// By which of the keys that rules name the weights of each variant are signed.
    pub(super) fn of(&self, uid: &str, (generation, spec): (i64, &QuantizedModelSpec), rules: [&Rules; 2]) -> SignedBy {
        let keys: BTreeSet<&String> = rules
            .iter()
            .flat_map(|rules| &rules.weights)
            .flat_map(|of| &of.what)
            .collect();
        if keys.is_empty() {
            self.forget(uid);
            return SignedBy::new();
        }
        let version = hash((generation, &keys));
        if let Some((of, known)) = self.0.lock().get(uid)
            && *of == version
        {
            return known.clone();
        }
        let verified = spec.variants.iter().filter_map(|variant| {
            let weights = &variant.weights;
            let signed = signed_by(weights.signature.as_ref()?, &weights.digest, keys.iter().copied());
            (!signed.is_empty()).then(|| (variant.name.clone(), signed))
        });
        let verified: SignedBy = verified.collect();
        self.0.lock().insert(uid.to_owned(), (version, verified.clone()));
        verified
    }

    /// Forgets a model that is gone.
    pub(in crate::controller) fn forget(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::governance::Asked;

    #[test]
    fn nothing_is_kept_where_no_policy_names_keys_and_what_is_known_is_for_one_version() {
        let sample = include_str!("../../../tests/testdata/fraud-scorer.yaml");
        let model: crate::api::QuantizedModel = serde_yaml_ng::from_str(sample).unwrap();
        let signatures = Signatures::default();
        let none = Rules::default();
        assert!(signatures.of("u", (1, &model.spec), [&none, &none]).is_empty());
        assert!(signatures.0.lock().is_empty());
        let asks = Rules {
            weights: [Asked {
                what: ["no key".to_owned()].into(),
                by: ["bank".to_owned()].into(),
            }]
            .into(),
            ..Rules::default()
        };
        let version = |generation: i64| {
            signatures.of("u", (generation, &model.spec), [&asks, &none]);
            signatures.0.lock().get("u").map(|(version, _)| *version)
        };
        let first = version(1);
        assert!(first.is_some() && version(1) == first && version(2) != first);
        signatures.of("u", (2, &model.spec), [&none, &none]);
        assert!(signatures.0.lock().is_empty());
    }
}
