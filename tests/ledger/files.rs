//! Files that are there until a test ends.

use std::path::{Path, PathBuf};

use guardbit::ledger::verify::{Item, Source};

/// A folder that is there until the test ends.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-ledger-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("a file");
        path
    }

    /// Writes exported records into a directory of this name.
    pub fn export(&self, name: &str, items: &[Item]) -> PathBuf {
        for item in items {
            self.file(&format!("{name}/{}", item.name), bytes(item));
        }
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The bytes of an exported record.
pub fn bytes(item: &Item) -> &[u8] {
    match &item.source {
        Source::Bundle(bytes) => bytes,
        Source::Object(_) => unreachable!("an export has no objects"),
    }
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}
