//! Weights: which digest files have.
//!
//! A file has the SHA-256 of its bytes. A directory has the SHA-256 of a list of its files, one a line, as `sha256sum` prints
//! them and in the order of the bytes of their paths: anybody can make it without guardbit, and it can be computed from a
//! signature of OpenSSF Model Signing, which names the same paths and digests. Owns that list. Pure: `cli` reads the files.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::api::visible;

/// What digests begin with: the name of their algorithm.
const ALGORITHM: &str = "sha256:";

/// Bytes of a SHA-256.
const BYTES: usize = 32;

/// What stands between the digest and the path of a file.
const BETWEEN: &str = "  ";

/// Longest path of a file, in bytes.
const LONGEST_PATH: usize = 1024;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sha([u8; BYTES]);

impl Sha {
    /// The SHA-256 of bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::end(Sha256::new_with_prefix(bytes))
    }

    /// The SHA-256 of all bytes that a hasher was given.
    pub fn end(hasher: Sha256) -> Self {
        Self(hasher.finalize().into())
    }

    /// Reads 64 hexadecimal digits in lower case, as everything that writes digests has them.
    pub fn from_hex(digits: &str) -> Option<Self> {
        let mut bytes = [0; BYTES];
        hex::decode_to_slice(digits, &mut bytes).ok()?;
        let sha = Self(bytes);
        (sha.hex() == digits).then_some(sha)
    }

    /// Reads a digest with the name of its algorithm: `sha256:` and 64 hexadecimal digits.
    pub fn parse(digest: &str) -> Option<Self> {
        Self::from_hex(digest.strip_prefix(ALGORITHM)?)
    }

    /// Its bytes.
    pub fn bytes(&self) -> [u8; BYTES] {
        self.0
    }

    /// Its hexadecimal digits.
    pub fn hex(&self) -> String {
        hex::encode(self.0)
    }
}

/// With the name of its algorithm.
impl fmt::Display for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ALGORITHM}{}", self.hex())
    }
}

impl fmt::Debug for Sha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The files of a directory, by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(BTreeMap<String, Sha>);

/// Why a file cannot be listed, or a list cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// A path that can be written in two ways, leads elsewhere, or is too long.
    #[error(
        "{0:?} cannot be the path of a file of weights: it is relative, of at most 1024 bytes of UTF-8, and without \
         backslashes, control characters, empty parts, `.` and `..`; rename the file"
    )]
    Path(String),
    /// A path that stands twice.
    #[error("{0:?} stands twice in the list")]
    Twice(String),
    /// A line that is no digest with a path. Lines count from 1.
    #[error(
        "line {0} is not a SHA-256 in lower case, two spaces and a path, as `guardbit weights digest -o manifest` prints it"
    )]
    Line(usize),
    /// A list that says the same in other bytes: its digest would be another one.
    #[error("its lines are not in the order of the bytes of their paths, or the last one has no end")]
    Order,
}

/// How files differ from those of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A file that is listed and not there.
    Missing(String),
    /// A file that is there and not listed.
    Extra(String),
    /// A file with other bytes.
    Changed {
        /// Its path.
        path: String,
        /// Its digest.
        is: Sha,
        /// The digest that is listed.
        listed: Sha,
    },
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(path) => write!(f, "{path:?} is missing"),
            Self::Extra(path) => write!(f, "{path:?} is there and is none of these weights"),
            Self::Changed { path, is, listed } => {
                write!(f, "{path:?} is {is}, and {listed} in the weights that are wanted")
            }
        }
    }
}

impl Manifest {
    /// Adds a file by its path below the directory.
    pub fn add(&mut self, path: &str, sha: Sha) -> Result<(), ManifestError> {
        if !is_plain(path) {
            return Err(ManifestError::Path(path.to_owned()));
        }
        match self.0.entry(path.to_owned()) {
            Entry::Vacant(place) => {
                place.insert(sha);
                Ok(())
            }
            Entry::Occupied(_) => Err(ManifestError::Twice(path.to_owned())),
        }
    }

    /// The files, in the order of the bytes of their paths.
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, Sha)> {
        self.0.iter().map(|(path, sha)| (path.as_str(), *sha))
    }

    /// The list, whose SHA-256 is the digest of the directory.
    pub fn text(&self) -> String {
        let line = |(path, sha): (&str, Sha)| format!("{}{BETWEEN}{path}\n", sha.hex());
        self.files().map(line).collect()
    }

    /// The digest of the directory.
    pub fn digest(&self) -> Sha {
        Sha::of(self.text().as_bytes())
    }

    /// Reads what [`Manifest::text`] wrote, and nothing else.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let mut read = Self::default();
        for (n, line) in text.lines().enumerate() {
            let parts = line.split_once(BETWEEN);
            let file = parts.and_then(|(digits, path)| Some((Sha::from_hex(digits)?, path)));
            let (sha, path) = file.ok_or(ManifestError::Line(n + 1))?;
            read.add(path, sha)?;
        }
        if read.text() != text {
            return Err(ManifestError::Order);
        }
        Ok(read)
    }

    /// The first file, by path, that is missing here or is not listed.
    pub fn unlike<'a>(&self, paths: impl IntoIterator<Item = &'a str>) -> Option<Difference> {
        let mut listed = self.0.keys().map(String::as_str).peekable();
        for path in paths {
            match listed.next() {
                Some(wanted) if wanted == path => {}
                Some(wanted) if wanted < path => return Some(Difference::Missing(wanted.to_owned())),
                _ => return Some(Difference::Extra(path.to_owned())),
            }
        }
        listed.next().map(|wanted| Difference::Missing(wanted.to_owned()))
    }

    /// Whether a file has other bytes than those that are listed; one that is not listed is none of them.
    pub fn differs(&self, path: &str, is: Sha) -> Option<Difference> {
        match self.0.get(path) {
            None => Some(Difference::Extra(path.to_owned())),
            Some(listed) => (*listed != is).then(|| Difference::Changed {
                path: path.to_owned(),
                is,
                listed: *listed,
            }),
        }
    }
}

/// Whether a path can be written in one way only, and leads to no other place.
pub fn is_plain(path: &str) -> bool {
    let is_part = |part: &str| !matches!(part, "" | "." | "..");
    let is_shown = |c| c != '\\' && visible(c) == c;
    path.len() <= LONGEST_PATH && path.split('/').all(is_part) && path.chars().all(is_shown)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest(files: &[(&str, &str)]) -> Manifest {
        let mut manifest = Manifest::default();
        for (path, content) in files {
            manifest.add(path, Sha::of(content.as_bytes())).expect("a path");
        }
        manifest
    }

    /// `mkdir -p d/b; printf one > d/a; printf two > d/b/c; printf three > d/b-1; cd d; find -type f -printf '%P\n' | LC_ALL=C sort
    /// | xargs sha256sum | sha256sum`
    #[test]
    fn the_digest_of_a_directory_is_what_coreutils_make_of_it() {
        let listed = manifest(&[("b/c", "two"), ("a", "one"), ("b-1", "three")]);
        let lines = [
            "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed  a\n",
            "8b5b9db0c13db24256c829aa364aa90c6d2eba318b9232a4ab9313b954d3555f  b-1\n",
            "3fc4ccfe745870e2c0d99f71f30ff0656c8dedd41cc1d7d3d376b0dbe685e2f3  b/c\n",
        ];
        assert_eq!(listed.text(), lines.concat());
        assert_eq!(listed.digest(), Sha::of(lines.concat().as_bytes()));
        let paths: Vec<_> = listed.files().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a", "b-1", "b/c"], "by bytes, and not by parts");
    }

    #[test]
    fn a_digest_is_read_in_one_form_only() {
        let sha = Sha::of(b"one");
        assert_eq!(Sha::parse(&sha.to_string()), Some(sha));
        let digits = "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed";
        assert_eq!(Sha::from_hex(digits), Some(sha));
        for other in [
            digits,
            &format!("sha256:{}", digits.to_uppercase()),
            "sha256:00",
            "sha512:00",
            "",
        ] {
            assert_eq!(Sha::parse(other), None, "{other}");
        }
    }

    #[test]
    fn a_path_that_has_two_forms_or_leads_elsewhere_is_refused() {
        let long = "a".repeat(1025);
        for path in [
            "",
            "/a",
            "a/",
            "a//b",
            ".",
            "./a",
            "../a",
            "a/../b",
            "a\\b",
            "a\nb",
            "a\u{7f}",
            "a\u{202e}b",
            long.as_str(),
        ] {
            let mut manifest = Manifest::default();
            let refused = manifest.add(path, Sha::of(b""));
            assert_eq!(refused, Err(ManifestError::Path(path.to_owned())));
        }
        let mut manifest = Manifest::default();
        for path in [
            "a",
            ".hidden",
            "..a",
            "a b",
            "é/ü.bin",
            "model-00001-of-00002.safetensors",
        ] {
            manifest.add(path, Sha::of(b"")).expect(path);
        }
        assert_eq!(
            manifest.add("a", Sha::of(b"x")),
            Err(ManifestError::Twice("a".to_owned()))
        );
    }

    #[test]
    fn the_first_difference_is_told_by_path() {
        let listed = manifest(&[("a", "1"), ("b", "2"), ("d", "3")]);
        for (paths, difference) in [
            (&["a", "b", "d"][..], None),
            (&["a", "d"], Some(Difference::Missing("b".to_owned()))),
            (&["a", "b"], Some(Difference::Missing("d".to_owned()))),
            (&[], Some(Difference::Missing("a".to_owned()))),
            (&["a", "b", "c", "d"], Some(Difference::Extra("c".to_owned()))),
            (&["a", "b", "d", "e"], Some(Difference::Extra("e".to_owned()))),
        ] {
            assert_eq!(listed.unlike(paths.iter().copied()), difference, "{paths:?}");
        }
        assert_eq!(listed.differs("a", Sha::of(b"1")), None);
        let changed = listed.differs("b", Sha::of(b"1")).expect("other bytes");
        assert!(changed.to_string().starts_with("\"b\" is sha256:6b86b273"), "{changed}");
    }

    #[test]
    fn a_list_in_other_bytes_is_refused() {
        let text = manifest(&[("a", "1"), ("b", "2")]).text();
        let lines: Vec<_> = text.lines().collect();
        for (other, error) in [
            (format!("{}\n{}\n", lines[1], lines[0]), ManifestError::Order),
            (text.trim_end().to_owned(), ManifestError::Order),
            (text.replace('\n', "\r\n"), ManifestError::Order),
            (text.replace("  a", " a"), ManifestError::Line(1)),
            (text.replace("  b", "  ../b"), ManifestError::Path("../b".to_owned())),
            (text.replace("  b", "  a"), ManifestError::Twice("a".to_owned())),
        ] {
            assert_eq!(Manifest::parse(&other), Err(error), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_printed_can_be_read_and_every_change_is_another_digest(
            files in prop::collection::btree_map("[a-z]{1,3}(/[a-z.]{1,3})?", "[a-z]{0,3}", 1..6),
            other in "[A-Z]{1,3}",
        ) {
            let mut all = Manifest::default();
            for (path, content) in files.iter().filter(|(path, _)| is_plain(path)) {
                all.add(path, Sha::of(content.as_bytes())).expect("a path");
            }
            prop_assert_eq!(Manifest::parse(&all.text()), Ok(all.clone()));
            for (path, sha) in all.files() {
                let but = |path: &str| all.files().filter(|(name, _)| *name != path).map(|(p, s)| (p.to_owned(), s)).collect();
                let without = Manifest(but(path));
                prop_assert_ne!(without.digest(), all.digest());
                let mut renamed = without.clone();
                renamed.add(&other, sha).expect("a path");
                prop_assert_ne!(renamed.digest(), all.digest());
                let mut changed = without;
                changed.add(path, Sha::of(other.as_bytes())).expect("a path");
                prop_assert_ne!(changed.digest(), all.digest());
            }
        }
    }
}
