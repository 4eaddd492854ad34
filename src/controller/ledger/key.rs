//! The key that signs records: a file that is mounted from a Secret. It is read at the start, and again when it has changed.
//!
//! Public keys may stand in the file after it, of keys that signed before. They sign nothing, and their records are known to be
//! ours: else a chain whose newest record one of them signed could not be gone on with once that key is destroyed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::ledger::{PublicKey, SigningKey};

/// Time after which the file is read again. A kubelet takes longer to bring a changed Secret there.
const READ_AGAIN: Duration = Duration::from_secs(10);

/// Why there is no key where none is named.
const NO_FILE: &str = "guardbit was started without --signing-key-file";

/// The file with the key.
pub(in crate::controller) struct KeyFile {
    path: Option<PathBuf>,
    read: Mutex<Option<Read>>,
}

/// What was read, and when.
struct Read {
    at: Instant,
    keys: Keys,
}

/// The keys as they are now.
#[derive(Clone, Debug)]
pub(super) struct Keys {
    /// The key that signs, or why there is none.
    pub(super) signs: Result<SigningKey, String>,
    /// The key that signed before, if this process has had it.
    pub(super) former: Option<SigningKey>,
    /// Public keys of those that signed before.
    pub(super) trusted: Vec<PublicKey>,
}

impl KeyFile {
    /// A key in a file; no key at all where none is named.
    pub(in crate::controller) fn new(path: Option<PathBuf>) -> Self {
        Self {
            path,
            read: Mutex::default(),
        }
    }

    /// The keys as they are now.
    pub(super) fn now(&self) -> Keys {
        let Some(path) = &self.path else {
            return Keys {
                signs: Err(NO_FILE.to_owned()),
                former: None,
                trusted: Vec::new(),
            };
        };
        let mut read = self.read.lock();
        if let Some(Read { keys, .. }) = read.as_ref().filter(|read| read.at.elapsed() < READ_AGAIN) {
            return keys.clone();
        }
        let (signs, trusted) = match keys_in(path) {
            Ok((key, trusted)) => (Ok(key), trusted),
            Err(why) => (Err(why), Vec::new()),
        };
        let before = read.take().map(|read| read.keys);
        let keys = Keys {
            trusted,
            ..Keys::after(before, signs)
        };
        *read = Some(Read {
            at: Instant::now(),
            keys: keys.clone(),
        });
        keys
    }
}

impl Keys {
    /// The keys once the file holds this.
    fn after(before: Option<Self>, signs: Result<SigningKey, String>) -> Self {
        let former = before.and_then(|before| match (before.signs, &signs) {
            (Ok(was), Ok(now)) if was.public() == now.public() => before.former,
            (Ok(was), _) => Some(was),
            (Err(_), Ok(now)) => before.former.filter(|former| former.public() != now.public()),
            (Err(_), Err(_)) => before.former,
        });
        Self {
            signs,
            former,
            trusted: Vec::new(),
        }
    }

    /// The keys that may have signed what exists.
    pub(super) fn public(&self) -> Vec<PublicKey> {
        let keys = self.signs.iter().chain(&self.former).map(SigningKey::public);
        keys.chain(&self.trusted).cloned().collect()
    }
}

/// The key in a file, and the public keys beside it.
fn keys_in(path: &Path) -> Result<(SigningKey, Vec<PublicKey>), String> {
    let told = |error: &dyn fmt::Display| format!("{}: {error}", path.display());
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    let key = SigningKey::from_pem(&text).map_err(|error| told(&error))?;
    let beside = PublicKey::beside(&text).map_err(|error| told(&error))?;
    Ok((key, beside))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = include_str!("../../../tests/testdata/ledger/key.pem");

    const FORMER: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEj8RrGhW7S6W3Tnsdy5B5HgwOTzUF
jTbbVAjPiERc3dvi8FkqDM1nhSm/tGOxXRpxhWfreLjmwAsDRhPItOWoIw==
-----END PUBLIC KEY-----
";

    fn key(text: &str) -> Result<SigningKey, String> {
        SigningKey::from_pem(text).map_err(|error| error.to_string())
    }

    fn keyid(key: Option<&SigningKey>) -> Option<&str> {
        key.map(|key| key.public().keyid())
    }

    #[test]
    fn without_a_file_there_is_no_key_and_a_file_that_is_gone_is_named() {
        let none = KeyFile::new(None).now();
        assert_eq!(none.signs.unwrap_err(), NO_FILE);
        let gone = KeyFile::new(Some(PathBuf::from("/nowhere/key.pem"))).now();
        assert!(gone.signs.unwrap_err().starts_with("/nowhere/key.pem: "));
        assert!(gone.former.is_none());
    }

    #[test]
    fn public_keys_that_stand_after_the_key_are_trusted() {
        let folder = std::env::temp_dir().join(format!("guardbit-keys-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("key.pem");
        let former = format!("the one of last year:\n{FORMER}");
        std::fs::write(&path, format!("{ONE}\n{former}")).unwrap();
        let keys = KeyFile::new(Some(path.clone())).now();
        let one = key(ONE).unwrap();
        assert_eq!(keyid(keys.signs.as_ref().ok()), Some(one.public().keyid()));
        let both = [one.public().clone(), PublicKey::from_pem(FORMER).unwrap()];
        assert_eq!(keys.public(), both);
        // A public key before it, and nothing else, is no key to sign with.
        for wrong in [format!("{former}\n{ONE}"), former.clone()] {
            std::fs::write(&path, wrong).unwrap();
            let why = KeyFile::new(Some(path.clone())).now().signs.unwrap_err();
            assert!(why.contains("PUBLIC KEY") && why.contains("PRIVATE KEY"), "{why}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_key_that_goes_is_the_former_one_until_it_is_back() {
        let first = Keys::after(None, key(ONE));
        assert!(first.former.is_none());
        let gone = Keys::after(Some(first.clone()), key(""));
        assert!(gone.signs.is_err());
        assert_eq!(keyid(gone.former.as_ref()), keyid(first.signs.as_ref().ok()));
        assert_eq!(gone.public().len(), 1, "what exists can still be told to be ours");
        let back = Keys::after(Some(gone), key(ONE));
        assert!(back.signs.is_ok() && back.former.is_none());
    }
}
