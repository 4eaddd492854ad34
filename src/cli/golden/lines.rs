//! Lines of a file that are not empty, read one at a time, however long they are.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// Reads the lines of a file that are not empty.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: BufReader<File>,
    longest: usize,
    /// Lines that were read, the empty ones among them.
    read: u64,
}

impl Lines {
    /// Opens a file. Of a line that is longer than `longest` bytes, one byte more than that is kept.
    pub(super) fn open(path: &Path, longest: usize) -> Result<Self, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::new(file),
            longest,
            read: 0,
        })
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next line that is not empty, without spaces around it, and its place; `None` at the end.
    pub(super) fn next_line(&mut self) -> Result<Option<(String, Vec<u8>)>, String> {
        let path = self.path.display();
        let told = |error: std::io::Error| format!("{path}: {error}");
        loop {
            let mut line = Vec::new();
            let mut part = self.file.by_ref().take(self.longest as u64 + 1);
            if part.read_until(b'\n', &mut line).map_err(told)? == 0 {
                return Ok(None);
            }
            self.read += 1;
            if line.len() > self.longest && !line.ends_with(b"\n") {
                self.file.skip_until(b'\n').map_err(told)?;
            }
            let line = line.trim_ascii();
            if !line.is_empty() {
                return Ok(Some((format!("{path}:{}", self.read), line.to_vec())));
            }
        }
    }
}
