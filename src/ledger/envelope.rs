//! What is signed, by the rules of DSSE (Dead Simple Signing Envelope), and the signature over it.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::api::DecisionSignature;

use super::key::{PublicKey, SigningKey};

/// Type of what is signed: an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

/// A signature over a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Which key made it; see [`PublicKey::keyid`].
    pub keyid: String,
    /// Base64 of the ECDSA signature (ASN.1, DER).
    pub sig: String,
}

impl From<DecisionSignature> for Signature {
    fn from(DecisionSignature { keyid, sig }: DecisionSignature) -> Self {
        Self { keyid, sig }
    }
}

impl From<Signature> for DecisionSignature {
    fn from(Signature { keyid, sig }: Signature) -> Self {
        Self { keyid, sig }
    }
}

/// The bytes that are signed for a statement: its type and its length are among them.
pub fn pae(payload: &[u8]) -> Vec<u8> {
    encoded(PAYLOAD_TYPE, payload)
}

/// The pre-authentication encoding of DSSE.
fn encoded(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

impl SigningKey {
    /// Signs a statement. The same statement always gets the same signature.
    pub fn sign(&self, payload: &[u8]) -> Signature {
        Signature {
            keyid: self.public().keyid().to_owned(),
            sig: BASE64_STANDARD.encode(self.sign_message(&pae(payload))),
        }
    }
}

impl PublicKey {
    /// Whether a signature is over this statement and by this key, and is in the one form that [`SigningKey::sign`] gives it:
    /// no byte of it can be changed, not even one that DSSE leaves open. A signature with the higher `s` is refused, though other
    /// programs accept it.
    pub fn verifies(&self, payload: &[u8], signature: &Signature) -> bool {
        // Padding must be there, and the bits that it covers must be zero: this decoder takes nothing else.
        let der = BASE64_STANDARD.decode(&signature.sig);
        signature.keyid == self.keyid() && der.is_ok_and(|der| self.verifies_message(&pae(payload), &der))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAYLOAD: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1"}"#;

    fn key() -> SigningKey {
        SigningKey::from_pem(include_str!("../../tests/testdata/ledger/key.pem")).expect("a key")
    }

    #[test]
    fn encoding_is_that_of_the_protocol() {
        assert_eq!(
            encoded("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
        assert_eq!(encoded("", b""), b"DSSEv1 0  0 ");
        assert_eq!(pae(b"{}"), b"DSSEv1 28 application/vnd.in-toto+json 2 {}");
        // Lengths are those of bytes.
        assert_eq!(
            pae("é".as_bytes()),
            "DSSEv1 28 application/vnd.in-toto+json 2 é".as_bytes()
        );
    }

    #[test]
    fn a_signature_is_over_one_statement_and_by_one_key() {
        let key = key();
        let signature = key.sign(PAYLOAD);
        assert_eq!(signature, key.sign(PAYLOAD));
        assert!(key.public().verifies(PAYLOAD, &signature));
        assert!(!key.public().verifies(b"{}", &signature));
        let unnamed = Signature {
            keyid: String::new(),
            ..signature.clone()
        };
        assert!(!key.public().verifies(PAYLOAD, &unnamed));
        let given = DecisionSignature::from(signature.clone());
        assert_eq!(Signature::from(given), signature);
    }

    #[test]
    fn no_byte_of_a_signature_can_be_changed() {
        let key = key();
        let signature = key.sign(PAYLOAD);
        for at in 0..signature.sig.len() {
            let mut sig = signature.sig.clone().into_bytes();
            sig[at] ^= 1;
            let changed = Signature {
                sig: String::from_utf8(sig).expect("ASCII"),
                ..signature.clone()
            };
            assert!(!key.public().verifies(PAYLOAD, &changed), "byte {at}: {changed:?}");
        }
        for sig in [
            signature.sig.trim_end_matches('=').to_owned(),
            format!("{}\n", signature.sig),
            format!("{}=", signature.sig),
        ] {
            let keyid = signature.keyid.clone();
            assert!(!key.public().verifies(PAYLOAD, &Signature { keyid, sig }));
        }
    }
}
