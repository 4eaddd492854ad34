//! Standard input and output, as commands in a pipe use them, and files: all below a directory, or one that may be too long.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

/// The path that stands for standard input.
const STDIN: &str = "-";

/// Writes text to standard output and ends its line. What fails is told, and changes nothing else.
pub(super) fn print(text: &str) {
    if let Err(error) = write(text) {
        eprintln!("guardbit: {error}");
    }
}

/// Writes text to standard output and ends its line. A reader that has gone, such as `head`, wants no more: that is no
/// error.
pub(super) fn write(text: &str) -> Result<(), String> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(format!("the output cannot be written: {error}")),
        _ => Ok(()),
    }
}

/// What is in a file. Of one that is longer than `most` bytes, one byte more than that.
pub(super) fn bounded(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("{}: {error}", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(told)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

/// Whether a path stands for standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path == Path::new(STDIN)
}

/// What is in a file, or what standard input brings where the path is `-`.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = if is_stdin(path) {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|e| format!("{}: {e}", path.display()))
}

/// All files, each once, in the order of their names; those of a directory by their endings.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut all = BTreeSet::new();
    for path in paths {
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        if is_stdin(path) {
            all.insert(path.clone());
        } else if path.metadata().map_err(told)?.is_dir() {
            below(path, &mut all)?;
        } else {
            all.insert(path.clone());
        }
    }
    Ok(all.into_iter().collect())
}

fn below(directory: &Path, out: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{}: {e}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(told)? {
        let entry = entry.map_err(told)?;
        let (path, kind) = (entry.path(), entry.file_type().map_err(told)?);
        let ending = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        // A link is not followed, for it may lead back here.
        if kind.is_dir() {
            below(&path, out)?;
        } else if kind.is_file() && ["yaml", "yml", "json"].contains(&ending) {
            out.insert(path);
        }
    }
    Ok(())
}

/// A path as it is shown: relative to where guardbit was started, if it is below.
pub(super) fn named(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let shown = path.strip_prefix(&here).unwrap_or(path);
    shown.strip_prefix(".").unwrap_or(shown).display().to_string()
}
