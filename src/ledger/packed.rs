//! Statements as objects of the cluster hold them: compressed by gzip, in Base64. `base64 -d | gunzip` reads them.

use std::io::{Read as _, Write as _};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};

/// Most bytes of a statement. A packed one has at most 1 MiB, which could unpack to a thousand.
pub const LARGEST_STATEMENT: usize = 4 << 20;

/// A text that is not a packed statement.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// It is not Base64.
    #[error("it is not Base64: {0}")]
    Base64(#[from] base64::DecodeError),
    /// It is not what gzip wrote, or not all of it.
    #[error("gzip cannot unpack it: {0}")]
    Gzip(#[from] std::io::Error),
    /// It unpacks to more than is allowed.
    #[error("it unpacks to more than {0} bytes, and no record is that large")]
    TooLarge(usize),
    /// Something follows that no reader of the statement would see.
    #[error("{0} bytes follow the end of what gzip wrote")]
    Trailing(usize),
}

/// Packs a statement. One release of guardbit always gives the same text for it; another release may give another text for it.
pub fn pack(statement: &[u8]) -> String {
    // Neither time nor file name nor operating system.
    let gzip = GzBuilder::new().mtime(0).operating_system(255);
    let mut gzip = gzip.write(Vec::new(), Compression::best());
    // This cannot fail: a vector takes all bytes.
    let packed = gzip.write_all(statement).and_then(|()| gzip.finish());
    BASE64_STANDARD.encode(packed.unwrap_or_default())
}

/// Unpacks a statement of at most this many bytes. What is compared and verified is the statement: how it was compressed is no matter.
pub fn unpack(text: &str, most: usize) -> Result<Vec<u8>, PackError> {
    let packed = BASE64_STANDARD.decode(text)?;
    let mut gzip = GzDecoder::new(packed.as_slice());
    let mut statement = Vec::new();
    // One byte more than is allowed tells what is too large, and nothing beyond it is unpacked.
    let limit = (most as u64).saturating_add(1);
    gzip.by_ref().take(limit).read_to_end(&mut statement)?;
    if statement.len() > most {
        return Err(PackError::TooLarge(most));
    }
    match gzip.into_inner().len() {
        0 => Ok(statement),
        trailing => Err(PackError::Trailing(trailing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Like a statement: words that repeat, and digests that do not.
    fn statement() -> Vec<u8> {
        let record = |n: u64| {
            format!(
                r#"{{"name":"record/risk/fraud-scorer/{n}","value":{}}}"#,
                n.wrapping_mul(0x9e37_79b9)
            )
        };
        (0..50).map(record).collect::<Vec<_>>().join(",").into_bytes()
    }

    fn packed() -> Vec<u8> {
        BASE64_STANDARD.decode(pack(&statement())).expect("Base64")
    }

    fn unpacked(bytes: &[u8]) -> Result<Vec<u8>, PackError> {
        unpack(&BASE64_STANDARD.encode(bytes), LARGEST_STATEMENT)
    }

    #[test]
    fn what_was_packed_is_unpacked() {
        for bytes in [statement(), Vec::new(), vec![0; 100_000]] {
            let text = pack(&bytes);
            assert_eq!(text, pack(&bytes));
            assert_eq!(unpack(&text, bytes.len()).expect("unpacks"), bytes);
        }
        let (small, large) = (pack(&statement()).len(), statement().len());
        assert!(small < large / 2, "{small} of {large}");
    }

    #[test]
    fn nothing_in_it_says_when_or_where_it_was_packed() {
        assert_eq!(packed()[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = pack(&vec![0; LARGEST_STATEMENT + 1]);
        assert!(bomb.len() < 32 << 10, "{}", bomb.len());
        let refused = unpack(&bomb, LARGEST_STATEMENT);
        assert!(matches!(refused, Err(PackError::TooLarge(LARGEST_STATEMENT))));
        let bytes = statement();
        let refused = unpack(&pack(&bytes), bytes.len() - 1);
        assert!(matches!(refused, Err(PackError::TooLarge(_))));
    }

    #[test]
    fn nothing_can_hide_behind_a_statement() {
        let byte = [packed(), vec![0]].concat();
        assert!(matches!(unpacked(&byte), Err(PackError::Trailing(1))));
        // gunzip would append the second to the first.
        let twice = [packed(), packed()].concat();
        assert!(matches!(unpacked(&twice), Err(PackError::Trailing(n)) if n == packed().len()));
    }

    #[test]
    fn what_was_cut_or_changed_does_not_become_another_statement() {
        let (statement, packed) = (statement(), packed());
        for at in 0..packed.len() {
            let cut = unpacked(&packed[..at]);
            assert!(matches!(cut, Err(PackError::Gzip(_))), "cut at {at}");
            let mut changed = packed.clone();
            changed[at] ^= 0x10;
            if let Ok(unpacked) = unpacked(&changed) {
                assert!(unpacked == statement, "byte {at}");
            }
        }
        let text = unpack("H4sI!", LARGEST_STATEMENT);
        assert!(matches!(text, Err(PackError::Base64(_))));
    }
}
