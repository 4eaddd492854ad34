//! A record as a file that others can verify: a Sigstore bundle.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::envelope::{PAYLOAD_TYPE, Signature};

/// Type of a Sigstore bundle.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A record as a file: one line of canonical JSON, without a line break at its end.
///
/// With a signature it is a Sigstore bundle, version 0.3, with one DSSE envelope, and cosign verifies it with the public key. There
/// are no entries of a transparency log and no time stamps: nothing of a record leaves the cluster. Without a signature it is the
/// same JSON with an empty list of signatures and no key. That is no Sigstore bundle, for these have one signature, so its file has
/// another name.
///
/// A signature covers the payload and its type only. So that no other byte can be changed either, nothing is read but what
/// [`Bundle::print`] prints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The canonical bytes of the statement.
    pub payload: Vec<u8>,
    /// The signature over it; `None` where guardbit had no key.
    pub signature: Option<Signature>,
}

/// A file that guardbit did not write like this.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// It is not JSON, or lacks a field, or has one that a bundle of guardbit does not have.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] serde_json::Error),
    /// It is a bundle of another version, or of something else than a statement.
    #[error("it is a {found:?}, where guardbit writes {wanted:?}")]
    OtherType {
        /// Type that it has.
        found: String,
        /// Type that guardbit writes.
        wanted: &'static str,
    },
    /// It has several signatures.
    #[error("it has {0} signatures, where guardbit writes one")]
    Signatures(usize),
    /// It names another key than its signature, or only one of both names one.
    #[error("it names the key {hint:?}, and its signatures name {keyid:?}")]
    OtherKey {
        /// The key that verification is to use.
        hint: Option<String>,
        /// The key of the signature.
        keyid: Option<String>,
    },
    /// Its payload is not Base64.
    #[error("its payload is not Base64: {0}")]
    Payload(#[from] base64::DecodeError),
    /// It says what guardbit wrote, but in other bytes.
    #[error(
        "it is not as guardbit wrote it from byte {at} on; an editor changes such bytes, so export the record again"
    )]
    NotCanonical {
        /// Where the first other byte stands; counts from 0.
        at: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Form {
    media_type: String,
    verification_material: Material,
    dsse_envelope: Envelope,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_key: Option<KeyHint>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyHint {
    hint: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

impl Bundle {
    /// Its bytes.
    pub fn print(&self) -> Vec<u8> {
        let hint = self.signature.as_ref().map(|signature| signature.keyid.clone());
        let form = Form {
            media_type: MEDIA_TYPE.to_owned(),
            verification_material: Material {
                public_key: hint.map(|hint| KeyHint { hint }),
            },
            dsse_envelope: Envelope {
                payload: BASE64_STANDARD.encode(&self.payload),
                payload_type: PAYLOAD_TYPE.to_owned(),
                signatures: self.signature.iter().cloned().collect(),
            },
        };
        // Canonicalisation cannot fail: there are no numbers, and all keys are strings.
        serde_json_canonicalizer::to_vec(&form).unwrap_or_default()
    }

    /// Reads what [`Bundle::print`] wrote, and nothing else. Whether the signature holds, [`super::PublicKey::verifies`] says.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let form: Form = serde_json::from_slice(bytes)?;
        let Envelope {
            payload,
            payload_type,
            mut signatures,
        } = form.dsse_envelope;
        for (found, wanted) in [(form.media_type, MEDIA_TYPE), (payload_type, PAYLOAD_TYPE)] {
            if found != wanted {
                return Err(BundleError::OtherType { found, wanted });
            }
        }
        if signatures.len() > 1 {
            return Err(BundleError::Signatures(signatures.len()));
        }
        let signature = signatures.pop();
        let hint = form.verification_material.public_key.map(|key| key.hint);
        let keyid = signature.as_ref().map(|signature| signature.keyid.clone());
        if hint != keyid {
            return Err(BundleError::OtherKey { hint, keyid });
        }
        let payload = BASE64_STANDARD.decode(payload)?;
        let bundle = Self { payload, signature };
        let printed = bundle.print();
        if printed != bytes {
            let at = printed.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            return Err(BundleError::NotCanonical { at });
        }
        Ok(bundle)
    }

    /// Name of its file, by the number of its record.
    pub fn file_name(&self, sequence: u64) -> String {
        let kind = if self.signature.is_some() {
            "sigstore"
        } else {
            "unsigned"
        };
        format!("{sequence:06}.{kind}.json")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::SigningKey;

    /// Made outside of guardbit; see the README beside it.
    const GOLDEN: &[u8] = include_bytes!("../../tests/testdata/ledger/bundle.sigstore.json");

    const PAYLOAD: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;

    fn key() -> SigningKey {
        SigningKey::from_pem(include_str!("../../tests/testdata/ledger/key.pem")).expect("a key")
    }

    fn bundle() -> Bundle {
        Bundle {
            payload: PAYLOAD.to_vec(),
            signature: Some(key().sign(PAYLOAD)),
        }
    }

    #[test]
    fn a_record_has_the_same_bytes_for_ever() {
        assert_eq!(
            String::from_utf8_lossy(&bundle().print()),
            String::from_utf8_lossy(GOLDEN)
        );
        assert_eq!(Bundle::parse(GOLDEN).expect("a bundle"), bundle());
        assert_eq!(bundle().file_name(31), "000031.sigstore.json");
    }

    #[test]
    fn an_unsigned_record_is_no_bundle_of_sigstore() {
        let unsigned = Bundle {
            signature: None,
            ..bundle()
        };
        let printed = unsigned.print();
        let text = String::from_utf8_lossy(&printed);
        assert!(
            text.contains(r#""signatures":[]"#) && text.contains(r#""verificationMaterial":{}"#),
            "{text}"
        );
        assert_eq!(Bundle::parse(&printed).expect("a record"), unsigned);
        assert_eq!(unsigned.file_name(1_000_031), "1000031.unsigned.json");
    }

    #[test]
    fn no_byte_of_a_bundle_can_be_changed() {
        let public = key().public().clone();
        let holds = |bytes: &[u8]| {
            let signed = Bundle::parse(bytes).ok().and_then(|b| Some((b.payload, b.signature?)));
            signed.is_some_and(|(payload, signature)| public.verifies(&payload, &signature))
        };
        assert!(holds(GOLDEN));
        for at in 0..GOLDEN.len() {
            let mut changed = GOLDEN.to_vec();
            changed[at] ^= 1;
            assert!(!holds(&changed), "byte {at}: {}", String::from_utf8_lossy(&changed));
            let mut cut = GOLDEN.to_vec();
            cut.remove(at);
            assert!(!holds(&cut), "without byte {at}: {}", String::from_utf8_lossy(&cut));
        }
    }

    #[test]
    fn what_says_the_same_in_other_bytes_is_refused() {
        let refused = |text: String| Bundle::parse(text.as_bytes()).expect_err("other bytes");
        let golden = || String::from_utf8(GOLDEN.to_vec()).expect("UTF-8");
        let length = GOLDEN.len();
        assert!(matches!(refused(golden() + "\n"), BundleError::NotCanonical { at } if at == length));
        let spaced = golden().replacen(':', ": ", 1);
        assert!(matches!(refused(spaced), BundleError::NotCanonical { at: 16 }));
        let escaped = golden().replace("vnd.in-toto", r"v\u006ed.in-toto");
        assert!(matches!(refused(escaped), BundleError::NotCanonical { .. }));
    }

    #[test]
    fn what_guardbit_does_not_write_is_refused() {
        let refused = |from: &str, to: &str| {
            let text = String::from_utf8(GOLDEN.to_vec()).expect("UTF-8");
            assert!(text.contains(from), "{from}");
            Bundle::parse(text.replacen(from, to, 1).as_bytes()).expect_err("another bundle")
        };
        let entries = refused(r#"{"publicKey""#, r#"{"tlogEntries":[],"publicKey""#);
        assert!(matches!(entries, BundleError::Unreadable(_)), "{entries}");
        let version = refused("bundle.v0.3", "bundle.v0.4");
        assert!(
            matches!(version, BundleError::OtherType { wanted: MEDIA_TYPE, .. }),
            "{version}"
        );
        let kind = refused("vnd.in-toto+json", "vnd.in-toto.json");
        assert!(
            matches!(
                kind,
                BundleError::OtherType {
                    wanted: PAYLOAD_TYPE,
                    ..
                }
            ),
            "{kind}"
        );
        let second = refused(r#""signatures":["#, r#""signatures":[{"keyid":"","sig":""},"#);
        assert!(matches!(second, BundleError::Signatures(2)), "{second}");
        let hint = refused(r#""hint":"T"#, r#""hint":"U"#);
        assert!(matches!(hint, BundleError::OtherKey { .. }), "{hint}");
        let payload = refused("ifQ==", "ifR==");
        assert!(matches!(payload, BundleError::Payload(_)), "{payload}");
    }
}
