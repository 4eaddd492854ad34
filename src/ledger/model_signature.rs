//! Signatures over weights, by whoever made them: bundles of OpenSSF Model Signing, version 1.0.
//!
//! Other programs write them, so all that a signature leaves open may be as it likes: the order of fields, the hint at a key, either
//! `s`. What is signed is read strictly: a list of files with their SHA-256, from which the digest of the weights is computed. The
//! digest that the statement itself names is of another form, and only has to agree with its list.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::weights::{Manifest, ManifestError, Sha};

use super::envelope::{PAYLOAD_TYPE, pae};
use super::key::PublicKey;

/// Type of the statement.
const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// Type of the predicate.
const PREDICATE: &str = "https://model_signing/signature/v1.0";

/// How the files are hashed: each as a whole.
const METHOD: &str = "files";

/// The algorithm of all digests.
const ALGORITHM: &str = "sha256";

/// What a signature over one file names it.
const ITSELF: &str = ".";

/// A signature over weights.
#[derive(Clone, Debug)]
pub struct ModelSignature {
    payload: Vec<u8>,
    /// In DER.
    signatures: Vec<Vec<u8>>,
    manifest: Manifest,
    /// The digest of the only file, if there is no other.
    only: Option<Sha>,
}

/// A text that is no signature over weights which guardbit can use.
#[derive(Debug, thiserror::Error)]
pub enum ModelSignatureError {
    /// It is not JSON, or lacks a field.
    #[error("it is no bundle of OpenSSF Model Signing ({0}): sign the weights with `model_signing sign key`")]
    Unreadable(#[from] serde_json::Error),
    /// A part of it is not Base64.
    #[error("a part of it is not Base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// It is about something else.
    #[error(
        "it has a {found:?} where a signature over weights has {wanted:?}; sign the weights with `model_signing sign key`"
    )]
    OtherType {
        /// What it has.
        found: String,
        /// What it should have.
        wanted: &'static str,
    },
    /// A digest is none.
    #[error("{0:?} is no SHA-256 of 64 hexadecimal digits in lower case")]
    Digest(String),
    /// Its list of files cannot be used.
    #[error(transparent)]
    Files(#[from] ManifestError),
    /// Its list of files is another one than that whose digest it names.
    #[error("its list of files does not have the digest that it names, so it was not made by `model_signing`")]
    Inconsistent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Envelope,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

/// What says of which kind a statement is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Types {
    #[serde(rename = "_type")]
    kind: String,
    predicate_type: String,
}

#[derive(Deserialize)]
struct Statement {
    subject: Vec<Subject>,
    predicate: Predicate,
}

#[derive(Deserialize)]
struct Subject {
    digest: SubjectDigest,
}

#[derive(Deserialize)]
struct SubjectDigest {
    sha256: Option<String>,
}

#[derive(Deserialize)]
struct Predicate {
    serialization: Serialization,
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Serialization {
    method: String,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    algorithm: String,
    digest: String,
}

impl ModelSignature {
    /// Reads a bundle. Whether its signature holds, [`ModelSignature::is_by`] says.
    pub fn parse(text: &str) -> Result<Self, ModelSignatureError> {
        let Bundle { dsse_envelope } = serde_json::from_str(text)?;
        wants(dsse_envelope.payload_type, PAYLOAD_TYPE)?;
        let payload = BASE64_STANDARD.decode(&dsse_envelope.payload)?;
        let signatures = dsse_envelope.signatures.iter();
        let signatures = signatures.map(|signature| BASE64_STANDARD.decode(&signature.sig));
        let signatures = signatures.collect::<Result<_, _>>()?;
        let types: Types = serde_json::from_slice(&payload)?;
        wants(types.kind, STATEMENT)?;
        wants(types.predicate_type, PREDICATE)?;
        let statement: Statement = serde_json::from_slice(&payload)?;
        let (manifest, only) = files(statement)?;
        Ok(Self {
            payload,
            signatures,
            manifest,
            only,
        })
    }

    /// Whether it is over weights of this digest.
    pub fn is_over(&self, digest: Sha) -> bool {
        self.only == Some(digest) || self.manifest.digest() == digest
    }

    /// The digest of the weights that it is over: where it is over one file, that of the file.
    pub fn digest(&self) -> Sha {
        self.only.unwrap_or_else(|| self.manifest.digest())
    }

    /// Whether a key has made it.
    pub fn is_by(&self, key: &PublicKey) -> bool {
        let message = pae(&self.payload);
        self.signatures.iter().any(|der| key.accepts_message(&message, der))
    }

    /// The files of the directory that it is over; none where it is over a file.
    pub fn into_manifest(self) -> Manifest {
        self.manifest
    }
}

/// Those of public keys (PEM) by which weights of this digest (`sha256:…`) are signed in a bundle. A key that cannot be read signs
/// nothing.
pub fn signed_by<'k>(bundle: &str, digest: &str, keys: impl IntoIterator<Item = &'k String>) -> BTreeSet<String> {
    let signature = ModelSignature::parse(bundle).ok();
    let over = Sha::parse(digest).and_then(|digest| signature.filter(|signature| signature.is_over(digest)));
    let Some(signature) = over else {
        return BTreeSet::new();
    };
    let is_by = |pem: &&String| PublicKey::from_pem(pem).is_ok_and(|key| signature.is_by(&key));
    keys.into_iter().filter(is_by).cloned().collect()
}

/// The files of a statement, and the digest of the only one.
fn files(statement: Statement) -> Result<(Manifest, Option<Sha>), ModelSignatureError> {
    let Predicate {
        serialization,
        resources,
    } = statement.predicate;
    wants(serialization.method, METHOD)?;
    let is_only = resources.len() == 1;
    let (mut manifest, mut only, mut root) = (Manifest::default(), None, Sha256::new());
    for Resource {
        name,
        algorithm,
        digest,
    } in resources
    {
        wants(algorithm, ALGORITHM)?;
        let sha = Sha::from_hex(&digest).ok_or(ModelSignatureError::Digest(digest))?;
        root.update(sha.bytes());
        only = is_only.then_some(sha);
        if !(is_only && name == ITSELF) {
            manifest.add(&name, sha)?;
        }
    }
    let root = Sha::end(root).hex();
    let mut subjects = statement.subject.iter();
    if !subjects.any(|subject| subject.digest.sha256.as_ref() == Some(&root)) {
        return Err(ModelSignatureError::Inconsistent);
    }
    Ok((manifest, only))
}

fn wants(found: String, wanted: &'static str) -> Result<(), ModelSignatureError> {
    if found == wanted {
        return Ok(());
    }
    Err(ModelSignatureError::OtherType { found, wanted })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::ledger::SigningKey;

    /// Made outside of guardbit; see the README beside it.
    const SIGNED: &str = include_str!("../../tests/testdata/weights/model.sig");
    const KEY: &str = include_str!("../../tests/testdata/ledger/key.pub");

    /// The digest of the directory, as coreutils make it.
    const DIGEST: &str = "sha256:0a7418e21ac65141f53d6f27bab39d66a356af69d357c62fecf1d3b53a45fee1";

    fn key() -> PublicKey {
        PublicKey::from_pem(KEY).expect("a key")
    }

    /// A key that has signed nothing.
    const OTHER: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEZyWsjqwhqlUKuiPI2FcJc6PdG4mJ
OqjMH5evDSxCLvLrtb9VRj7KK7ANt9PGkZqV9Xa8/TxGLfglzalGzPhNRw==
-----END PUBLIC KEY-----
";

    /// The bundle with its statement changed and signed anew.
    fn changed(change: impl FnOnce(&mut Value)) -> String {
        let mut bundle: Value = serde_json::from_str(SIGNED).unwrap();
        let payload = BASE64_STANDARD.decode(bundle["dsseEnvelope"]["payload"].as_str().unwrap());
        let mut statement: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
        change(&mut statement);
        let payload = statement.to_string();
        let key = SigningKey::from_pem(include_str!("../../tests/testdata/ledger/key.pem")).expect("a key");
        bundle["dsseEnvelope"]["payload"] = json!(BASE64_STANDARD.encode(&payload));
        bundle["dsseEnvelope"]["signatures"] = json!([{"sig": key.sign(payload.as_bytes()).sig}]);
        bundle.to_string()
    }

    #[test]
    fn a_signature_of_another_program_is_over_the_digest_that_guardbit_computes() {
        let signature = ModelSignature::parse(SIGNED).expect("a signature");
        assert_eq!(signature.digest().to_string(), DIGEST);
        assert!(signature.is_over(Sha::parse(DIGEST).unwrap()) && !signature.is_over(Sha::of(b"one")));
        assert!(signature.is_by(&key()));
        assert!(!signature.is_by(&PublicKey::from_pem(OTHER).expect("a key")));
        let manifest = signature.into_manifest();
        let names: Vec<_> = manifest.files().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b-1", "b/c"]);
    }

    #[test]
    fn keys_of_a_policy_are_told_apart() {
        let keys = [OTHER.to_owned(), KEY.to_owned(), "no key".to_owned()];
        assert_eq!(signed_by(SIGNED, DIGEST, &keys), BTreeSet::from([KEY.to_owned()]));
        let other = format!("sha256:{}", "0".repeat(64));
        for (bundle, digest) in [(SIGNED, other.as_str()), (SIGNED, "sha256:0"), ("{}", DIGEST)] {
            assert!(signed_by(bundle, digest, &keys).is_empty(), "{digest}");
        }
    }

    #[test]
    fn no_byte_of_what_is_signed_can_be_changed() {
        let bundle: Value = serde_json::from_str(SIGNED).unwrap();
        for field in ["/dsseEnvelope/payload", "/dsseEnvelope/signatures/0/sig"] {
            let text = bundle.pointer(field).and_then(Value::as_str).unwrap();
            let bytes = BASE64_STANDARD.decode(text).unwrap();
            for at in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[at] ^= 1;
                let mut bundle = bundle.clone();
                *bundle.pointer_mut(field).unwrap() = json!(BASE64_STANDARD.encode(changed));
                let signature = ModelSignature::parse(&bundle.to_string());
                assert!(
                    !signature.is_ok_and(|signature| signature.is_by(&key())),
                    "byte {at} of {field}"
                );
            }
        }
    }

    #[test]
    fn what_a_signature_leaves_open_may_be_as_it_likes() {
        let mut bundle: Value = serde_json::from_str(SIGNED).unwrap();
        bundle["verificationMaterial"] = json!({"publicKey": {"hint": "somebody else"}});
        bundle["more"] = json!(1);
        let signatures = bundle["dsseEnvelope"]["signatures"].as_array_mut().unwrap();
        signatures.insert(0, json!({"keyid": "x", "sig": ""}));
        let spaced = serde_json::to_string_pretty(&bundle).unwrap();
        assert!(ModelSignature::parse(&spaced).expect("a signature").is_by(&key()));
        // Other subjects may be named besides.
        let more = changed(|statement| {
            let subject = json!({"name": "card", "digest": {"sha512": "00"}});
            statement["subject"].as_array_mut().unwrap().insert(0, subject);
        });
        assert_eq!(
            ModelSignature::parse(&more).expect("a signature").digest().to_string(),
            DIGEST
        );
    }

    #[test]
    fn one_file_has_its_own_digest() {
        let sha = Sha::of(b"one");
        let one = |name: &str| {
            changed(|statement| {
                statement["predicate"]["resources"] =
                    json!([{"name": name, "algorithm": "sha256", "digest": sha.hex()}]);
                statement["subject"][0]["digest"]["sha256"] = json!(Sha::of(&sha.bytes()).hex());
            })
        };
        for name in [".", "model.onnx"] {
            let signature = ModelSignature::parse(&one(name)).expect(name);
            assert!(signature.is_by(&key()) && signature.is_over(sha), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_held_against_weights_is_refused() {
        let of = |pointer: &'static str, value: Value| {
            let changed = changed(|statement| *statement.pointer_mut(pointer).unwrap() = value);
            ModelSignature::parse(&changed).expect_err(pointer).to_string()
        };
        for (pointer, value, part) in [
            (
                "/predicateType",
                json!("https://slsa.dev/provenance/v1"),
                "model_signing/signature",
            ),
            ("/_type", json!("x"), "Statement/v1"),
            ("/predicate/serialization/method", json!("shards"), "\"files\""),
            ("/predicate/resources/0/algorithm", json!("blake2b"), "\"sha256\""),
            ("/predicate/resources/0/digest", json!("00"), "no SHA-256"),
            (
                "/predicate/resources/0/digest",
                json!("0".repeat(64)),
                "does not have the digest",
            ),
            ("/predicate/resources/0/name", json!("../a"), "cannot be the path"),
            ("/predicate/resources/1/name", json!("a"), "stands twice"),
            ("/subject", json!([]), "does not have the digest"),
            ("/predicate/resources", Value::Null, "no bundle"),
        ] {
            let error = of(pointer, value);
            assert!(error.contains(part), "{pointer}: {error}");
        }
        for text in ["", "[]", "{}", r#"{"dsseEnvelope":{}}"#] {
            assert!(ModelSignature::parse(text).is_err(), "{text}");
        }
    }
}
