//! The key that signs records, and the keys that verify them: ECDSA with SHA-256 on the curve P-256.
//!
//! The same key and the same bytes always give the same signature (RFC 6979), so a record that is signed again after a crash is
//! the same record. Of the two values of `s` that would do, the lower one is taken and only that one is accepted: otherwise
//! anybody could change a signature to another that holds.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use p256::ecdsa;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::pkcs8::{
    Document, EncodePublicKey as _, ObjectIdentifier, PrivateKeyInfoRef, SecretDocument, SubjectPublicKeyInfoRef,
};
use sha2::{Digest as _, Sha256};

/// Label of a private key in the form of PKCS#8.
const PRIVATE: &str = "PRIVATE KEY";

/// Label of a private key in the form of SEC 1.
const PRIVATE_SEC1: &str = "EC PRIVATE KEY";

/// Label of a public key.
const PUBLIC: &str = "PUBLIC KEY";

/// What to do without a key that guardbit can use.
const MAKE: &str = "`openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out key.pem` makes a \
                    private key, and `openssl pkey -in key.pem -pubout -out key.pub` writes its public key";

/// A text that holds no key which guardbit can use. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It holds no key at all.
    #[error("there is no line \"-----BEGIN {wanted}-----\" in it; {MAKE}")]
    Absent {
        /// Label of what was looked for.
        wanted: &'static str,
    },
    /// It holds something else.
    #[error("line {line}: it is a {label:?}, and a {wanted:?} is wanted; {MAKE}")]
    Other {
        /// Where it begins.
        line: usize,
        /// Its label.
        label: String,
        /// Label of what was looked for.
        wanted: &'static str,
    },
    /// It holds several keys where one is wanted.
    #[error("line {line}: a second key begins, and nothing says which of them to use; leave one")]
    Several {
        /// Where the second begins.
        line: usize,
    },
    /// The key is under a password.
    #[error(
        "line {line}: the key is under a password, which nobody is there to give; `openssl pkey -in key.pem -out plain.pem` \
         takes the password off"
    )]
    Password {
        /// Where it begins.
        line: usize,
    },
    /// The key is under a password, in the form of cosign, which OpenSSL cannot read.
    #[error(
        "line {line}: it is a key of cosign under a password, which nobody is there to give; {MAKE}; cosign verifies with that one"
    )]
    CosignPassword {
        /// Where it begins.
        line: usize,
    },
    /// The key is for another algorithm or another curve.
    #[error("line {line}: it is a key for {kind}, and records are signed with ECDSA on P-256 (prime256v1); {MAKE}")]
    Kind {
        /// Where it begins.
        line: usize,
        /// What it is for.
        kind: String,
    },
    /// The key cannot be read.
    #[error("line {line}: the key cannot be read ({why}); copy the file once more from where it was made")]
    Damaged {
        /// Where it begins.
        line: usize,
        /// What its reader says.
        why: String,
    },
    /// The text ends inside a key.
    #[error("line {line}: the {label:?} that begins here has no end; copy the whole file")]
    Unended {
        /// Where it begins.
        line: usize,
        /// Its label.
        label: String,
    },
}

/// The key that signs records.
#[derive(Clone)]
pub struct SigningKey {
    inner: ecdsa::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// Reads a private key without a password: PKCS#8 ("BEGIN PRIVATE KEY") or SEC 1 ("BEGIN EC PRIVATE KEY"). Public keys may
    /// stand after it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let mut found = None;
        for block in blocks(text)? {
            let line = block.line;
            let key = match block.label {
                // `openssl ecparam -genkey` writes these before the key, which has them too.
                "EC PARAMETERS" => continue,
                PUBLIC if found.is_some() => continue,
                PRIVATE => pkcs8(&block)?,
                PRIVATE_SEC1 if !block.text.contains("Proc-Type:") => sec1(&block)?,
                PRIVATE_SEC1 | "ENCRYPTED PRIVATE KEY" => return Err(KeyError::Password { line }),
                "ENCRYPTED SIGSTORE PRIVATE KEY" | "ENCRYPTED COSIGN PRIVATE KEY" => {
                    return Err(KeyError::CosignPassword { line });
                }
                label => {
                    return Err(KeyError::Other {
                        line,
                        label: label.to_owned(),
                        wanted: PRIVATE,
                    });
                }
            };
            if found.replace((block, key)).is_some() {
                return Err(KeyError::Several { line });
            }
        }
        let (block, key) = found.ok_or(KeyError::Absent { wanted: PRIVATE })?;
        let public = PublicKey::of(key.public_key()).map_err(|e| block.damaged(e))?;
        let inner = ecdsa::SigningKey::from(&key);
        Ok(Self { inner, public })
    }

    /// The key that verifies what this one signs.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The signature over a message, in DER.
    pub(super) fn sign_message(&self, message: &[u8]) -> Vec<u8> {
        let signature: ecdsa::Signature = self.inner.sign(message);
        signature.normalize_s().to_der().as_bytes().to_vec()
    }
}

/// Says which key it is, and nothing of the key itself.
impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("keyid", &self.public.keyid)
            .finish_non_exhaustive()
    }
}

/// A key that verifies records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    inner: ecdsa::VerifyingKey,
    keyid: String,
}

impl PublicKey {
    /// Reads the one public key of a text ("BEGIN PUBLIC KEY").
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        match blocks(text)?.as_slice() {
            [] => Err(KeyError::Absent { wanted: PUBLIC }),
            [block] => spki(block),
            [_, second, ..] => Err(KeyError::Several { line: second.line }),
        }
    }

    /// Reads all public keys of a text, of which there is at least one.
    pub fn all(text: &str) -> Result<Vec<Self>, KeyError> {
        let keys = blocks(text)?.iter().map(spki).collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(KeyError::Absent { wanted: PUBLIC });
        }
        Ok(keys)
    }

    /// Reads the public keys of a text that has a private key as well; there may be none.
    pub fn beside(text: &str) -> Result<Vec<Self>, KeyError> {
        let blocks = blocks(text)?;
        blocks.iter().filter(|block| block.label == PUBLIC).map(spki).collect()
    }

    /// What signatures call it: Base64 of the SHA-256 of the key (SubjectPublicKeyInfo, DER).
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// Whether a signature, in DER, is over a message. Only one form of a signature is accepted: another encoding of it is
    /// refused, and so is the higher `s`.
    pub(super) fn verifies_message(&self, message: &[u8], der: &[u8]) -> bool {
        let Ok(signature) = ecdsa::Signature::from_der(der) else {
            return false;
        };
        signature.normalize_s() == signature
            && signature.to_der().as_bytes() == der
            && self.inner.verify(message, &signature).is_ok()
    }

    /// Whether a signature of any other program, in DER, is over a message: either `s` will do.
    pub(super) fn accepts_message(&self, message: &[u8], der: &[u8]) -> bool {
        let signature = ecdsa::Signature::from_der(der);
        signature.is_ok_and(|signature| self.inner.verify(message, &signature).is_ok())
    }

    fn of(key: p256::PublicKey) -> Result<Self, p256::pkcs8::spki::Error> {
        let der = key.to_public_key_der()?;
        Ok(Self {
            inner: ecdsa::VerifyingKey::from(&key),
            keyid: BASE64_STANDARD.encode(Sha256::digest(der.as_bytes())),
        })
    }
}

/// A part of a text between `-----BEGIN` and `-----END`, with these two lines.
struct Block<'a> {
    label: &'a str,
    /// Where it begins.
    line: usize,
    text: &'a str,
}

impl Block<'_> {
    fn damaged(&self, why: impl fmt::Display) -> KeyError {
        KeyError::Damaged {
            line: self.line,
            why: why.to_string(),
        }
    }

    /// Fails unless a key is for ECDSA on P-256.
    fn check(&self, algorithm: ObjectIdentifier, curve: Option<ObjectIdentifier>) -> Result<(), KeyError> {
        let (algorithm, curve) = (algorithm.to_string(), curve.map(|curve| curve.to_string()));
        let kind = match (algorithm.as_str(), curve.as_deref()) {
            ("1.2.840.10045.2.1", Some("1.2.840.10045.3.1.7")) => return Ok(()),
            ("1.2.840.10045.2.1", Some("1.3.132.0.33")) => "ECDSA on P-224".to_owned(),
            ("1.2.840.10045.2.1", Some("1.3.132.0.34")) => "ECDSA on P-384".to_owned(),
            ("1.2.840.10045.2.1", Some("1.3.132.0.35")) => "ECDSA on P-521".to_owned(),
            ("1.2.840.10045.2.1", Some("1.3.132.0.10")) => "ECDSA on secp256k1".to_owned(),
            ("1.2.840.10045.2.1", Some(curve)) => format!("ECDSA on the curve {curve}"),
            ("1.2.840.10045.2.1", None) => "ECDSA on a curve that it does not name".to_owned(),
            ("1.2.840.113549.1.1.1", _) => "RSA".to_owned(),
            ("1.3.101.112", _) => "Ed25519".to_owned(),
            (algorithm, _) => format!("the algorithm {algorithm}"),
        };
        Err(KeyError::Kind { line: self.line, kind })
    }
}

/// All blocks of a text. What stands between them is no matter: OpenSSL writes what it read in words there.
fn blocks(text: &str) -> Result<Vec<Block<'_>>, KeyError> {
    let unended = |(label, line, _): (&str, usize, usize)| KeyError::Unended {
        line,
        label: label.to_owned(),
    };
    let mut blocks = Vec::new();
    let mut open = None;
    let mut end = 0;
    for (n, line) in text.split_inclusive('\n').enumerate() {
        let start = end;
        end += line.len();
        if let Some(label) = label(line, "-----BEGIN ") {
            if let Some(open) = open.replace((label, n + 1, start)) {
                return Err(unended(open));
            }
        } else if label(line, "-----END ").is_some()
            && let Some((label, line, start)) = open.take()
        {
            blocks.push(Block {
                label,
                line,
                text: text[start..end].trim_end(),
            });
        }
    }
    match open {
        Some(open) => Err(unended(open)),
        None => Ok(blocks),
    }
}

/// The label of a line that begins or ends a block.
fn label<'a>(line: &'a str, before: &str) -> Option<&'a str> {
    line.trim_end().strip_prefix(before)?.strip_suffix("-----")
}

fn pkcs8(block: &Block<'_>) -> Result<p256::SecretKey, KeyError> {
    let (_, document) = SecretDocument::from_pem(block.text).map_err(|e| block.damaged(e))?;
    let key = PrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|e| block.damaged(e))?;
    let (algorithm, curve) = key.algorithm.oids().map_err(|e| block.damaged(e))?;
    block.check(algorithm, curve)?;
    p256::SecretKey::try_from(key).map_err(|e| block.damaged(e))
}

fn sec1(block: &Block<'_>) -> Result<p256::SecretKey, KeyError> {
    let (_, document) = SecretDocument::from_pem(block.text).map_err(|e| block.damaged(e))?;
    let key = sec1::EcPrivateKey::try_from(document.as_bytes()).map_err(|e| block.damaged(e))?;
    let curve = key.parameters.and_then(sec1::EcParameters::named_curve);
    block.check(sec1::ALGORITHM_OID, curve)?;
    p256::SecretKey::try_from(key).map_err(|e| block.damaged(e))
}

fn spki(block: &Block<'_>) -> Result<PublicKey, KeyError> {
    if block.label != PUBLIC {
        return Err(KeyError::Other {
            line: block.line,
            label: block.label.to_owned(),
            wanted: PUBLIC,
        });
    }
    let (_, document) = Document::from_pem(block.text).map_err(|e| block.damaged(e))?;
    let key = SubjectPublicKeyInfoRef::try_from(document.as_bytes()).map_err(|e| block.damaged(e))?;
    let (algorithm, curve) = key.algorithm.oids().map_err(|e| block.damaged(e))?;
    block.check(algorithm, curve)?;
    let key = p256::PublicKey::try_from(key).map_err(|e| block.damaged(e))?;
    PublicKey::of(key).map_err(|e| block.damaged(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../tests/testdata/ledger/key.pem");
    const KEY_PUBLIC: &str = include_str!("../../tests/testdata/ledger/key.pub");

    /// The same key as `openssl ecparam -name prime256v1 -genkey` would have written it.
    const KEY_SEC1: &str = "-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIGv4TFU3JW9i3PNWsiblyHBLl8/F4KuIqndBgLA7Z0CcoAoGCCqGSM49
AwEHoUQDQgAEt1RZ2V/YOM0vKVDCm/6sj5OQPziR/YQO2lXbBIz48G3p8YwnpGwE
T1IIogXngZhqQYJyUT7PYWqIvGJqHFp+Cw==
-----END EC PRIVATE KEY-----
";

    const P384: &str = "-----BEGIN PRIVATE KEY-----
MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAFJYfFy6vmK+tiddny
SdT2zzcbpK1ObjulGCw2LCCgWSR9YGiuZxZrc6yHYE/8/uqhZANiAARhBCArl+ac
74qUR5kOw90a3F2qyjy+hW+IBC3p/Ag1XzAnDpjuQ+REqMzE+SWcRBtycIebQhKy
ohrCjVdDftn4SRPjAAP2EQTcZ/mUsJSKXsDgw0wLHheub7OEsWxQw1A=
-----END PRIVATE KEY-----
";

    const P384_SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MIGkAgEBBDAhnz5DkEUrZsfKrlbHFMxxJopriCXag1VYWbPKRWEKIUZseZSONyXN
9igJxDBSevSgBwYFK4EEACKhZANiAASNYi0VH6c+SIKc2LX7W/42AECUkspTi4Rv
OqVt8ZQR9P5VIjYPuJtpeTfgbs4UNLFdqLkhpVEnhX0fjrdM99wxSwTvYYniA0sG
dN3JqZgSGKi90SFdbphXfZsFdJEOAW8=
-----END EC PRIVATE KEY-----
";

    const ED25519: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIH//PZqBwf5wJ+HVParzo5HdEOURQlBr/wht00zed2rh
-----END PRIVATE KEY-----
";

    /// The key of RFC 6979, appendix A.2.5.
    fn key_of_rfc_6979() -> SigningKey {
        let scalar = hex::decode("c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").expect("hex");
        let key = p256::SecretKey::from_slice(&scalar).expect("a key");
        SigningKey {
            public: PublicKey::of(key.public_key()).expect("a public key"),
            inner: ecdsa::SigningKey::from(&key),
        }
    }

    fn refused(text: &str) -> KeyError {
        SigningKey::from_pem(text).expect_err("no key")
    }

    fn other_kind(line: usize, kind: &str) -> KeyError {
        let kind = kind.to_owned();
        KeyError::Kind { line, kind }
    }

    #[test]
    fn a_key_is_the_same_in_either_form() {
        let key = SigningKey::from_pem(KEY).expect("PKCS#8");
        // As `openssl dgst -sha256 -binary` and `base64` say of `openssl pkey -pubout -outform DER`.
        assert_eq!(key.public().keyid(), "TLiaqEZtAr89ZeU9Fm0Div1k0HA5H4s9KvgRV0RGorU=");
        let sec1 = SigningKey::from_pem(KEY_SEC1).expect("SEC 1");
        assert_eq!(sec1.public(), key.public());
        assert_eq!(sec1.sign_message(b"m"), key.sign_message(b"m"));
        assert_eq!(PublicKey::from_pem(KEY_PUBLIC).as_ref(), Ok(key.public()));
        let windows = KEY.replace('\n', "\r\n");
        let windows = SigningKey::from_pem(&windows).expect("lines of Windows");
        assert_eq!(windows.public(), key.public());
    }

    #[test]
    fn nobody_sees_a_key_in_a_log() {
        let key = SigningKey::from_pem(KEY).expect("a key");
        assert_eq!(
            format!("{key:?}"),
            "SigningKey { keyid: \"TLiaqEZtAr89ZeU9Fm0Div1k0HA5H4s9KvgRV0RGorU=\", .. }"
        );
    }

    #[test]
    fn keys_of_another_kind_are_named() {
        assert_eq!(refused(P384), other_kind(1, "ECDSA on P-384"));
        assert_eq!(refused(P384_SEC1), other_kind(1, "ECDSA on P-384"));
        assert_eq!(refused(ED25519), other_kind(1, "Ed25519"));
    }

    #[test]
    fn a_password_is_refused_with_what_to_do() {
        let sealed = |label: &str, text: &str| format!("-----BEGIN {label}-----\n{text}-----END {label}-----\n");
        for label in ["ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY"] {
            let error = refused(&sealed(label, "eyJrZGYiOnt9fQ==\n"));
            assert_eq!(error, KeyError::CosignPassword { line: 1 });
            assert!(error.to_string().contains("openssl ecparam"), "{error}");
        }
        let openssl = sealed("ENCRYPTED PRIVATE KEY", "MIHsMFcGCSqGSIb3\n");
        let older = sealed(
            PRIVATE_SEC1,
            "Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nMIHs\n",
        );
        for text in [openssl, older] {
            let error = refused(&text);
            assert_eq!(error, KeyError::Password { line: 1 });
            assert!(error.to_string().contains("openssl pkey"), "{error}");
        }
    }

    #[test]
    fn what_is_no_key_is_refused_where_it_stands() {
        assert_eq!(refused("key: none"), KeyError::Absent { wanted: PRIVATE });
        assert_eq!(refused(&format!("{KEY}\n{KEY_SEC1}")), KeyError::Several { line: 10 });
        let cut = KEY.trim_end().trim_end_matches('-');
        let label = PRIVATE.to_owned();
        assert_eq!(refused(cut), KeyError::Unended { line: 1, label });
        let label = PUBLIC.to_owned();
        let (line, wanted) = (1, PRIVATE);
        assert_eq!(refused(KEY_PUBLIC), KeyError::Other { line, label, wanted });
        let damaged = KEY.replacen("MIGH", "MIGI", 1);
        assert!(matches!(refused(&damaged), KeyError::Damaged { line: 1, .. }));
    }

    #[test]
    fn a_file_may_hold_several_public_keys() {
        let two = format!("until 2026:\n{KEY_PUBLIC}\nfrom 2026:\n{KEY_PUBLIC}");
        let key = PublicKey::from_pem(KEY_PUBLIC).expect("a key");
        assert_eq!(PublicKey::all(&two), Ok(vec![key.clone(), key]));
        assert_eq!(PublicKey::from_pem(&two), Err(KeyError::Several { line: 8 }));
        for none in [PublicKey::all(""), PublicKey::from_pem("").map(|key| vec![key])] {
            assert_eq!(none, Err(KeyError::Absent { wanted: PUBLIC }));
        }
        let private = PublicKey::all(&format!("{KEY_PUBLIC}{KEY}"));
        assert!(matches!(private, Err(KeyError::Other { line: 5, .. })), "{private:?}");
    }

    #[test]
    fn signatures_are_those_of_rfc_6979_with_the_lower_s() {
        let key = key_of_rfc_6979();
        let sample = "3045022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716\
                      02200834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9";
        assert_eq!(hex::encode(key.sign_message(b"sample")), sample);
        let test = "3045022100f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367\
                    0220019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083";
        assert_eq!(hex::encode(key.sign_message(b"test")), test);
    }

    #[test]
    fn nothing_but_the_signature_itself_is_accepted() {
        let key = key_of_rfc_6979();
        let verifies = |der: &str| {
            key.public()
                .verifies_message(b"sample", &hex::decode(der).expect("hex"))
        };
        let r = "022100efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
        let s = "02200834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9";
        assert!(verifies(&format!("3045{r}{s}")));
        // As the RFC prints it: it holds for every other verifier.
        let high = "022100f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8";
        assert!(!verifies(&format!("3046{r}{high}")));
        assert!(!verifies(&format!("308145{r}{s}")), "a longer length");
        assert!(!verifies(&format!("3046{r}0221{}{}", "00", &s[4..])), "a leading zero");
        assert!(!verifies(&format!("3045{r}{s}00")), "a byte after it");
        assert!(!verifies(""));
    }
}
