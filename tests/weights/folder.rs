//! A folder for the files of one test.

use std::path::{Path, PathBuf};

/// A folder that goes with the test.
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one.
    pub fn new(test: &str) -> Self {
        let name = format!("guardbit-weights-{}-{test}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("made");
        Self(path)
    }

    /// A path in it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.0.join(below)
    }

    /// Writes a file, with the folders above it.
    pub fn write(&self, below: &str, content: &str) {
        self.write_bytes(below, content.as_bytes());
    }

    /// Writes a file, with the folders above it.
    pub fn write_bytes(&self, below: &str, content: &[u8]) {
        let path = self.path(below);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("made");
        std::fs::write(path, content).expect("written");
    }

    /// Removes a file.
    pub fn remove(&self, below: &str) {
        std::fs::remove_file(self.path(below)).expect("removed");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
