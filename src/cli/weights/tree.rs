//! The files of weights: which there are, and where their bytes are.

use std::fs::FileType;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::weights::is_plain;

/// Most files of a directory.
const MOST_FILES: usize = 100_000;

/// Deepest directory below that of the weights.
const DEEPEST: usize = 64;

/// What stands at the top of a directory and is none of the weights: OpenSSF Model Signing signs none of it either, but for the
/// last, which file systems make.
const LEFT_OUT: [&str; 5] = [".git", ".gitattributes", ".github", ".gitignore", "lost+found"];

/// A file of weights.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path below the directory of the weights; empty where the weights are this file alone.
    pub(super) name: String,
    /// Where its bytes are; not a link.
    pub(super) path: PathBuf,
    /// How many they are.
    pub(super) bytes: u64,
}

/// The files of weights.
#[derive(Debug)]
pub(super) enum Tree {
    /// One file.
    File(Found),
    /// All files of a directory, in the order of the bytes of their paths. There is at least one.
    Directory(Vec<Found>),
}

/// Looks for the files of weights. Links are followed to files below `root`, and to no others.
pub(super) fn walk(path: &Path, root: Option<&Path>) -> Result<Tree, String> {
    let real = real(path)?;
    let root = root.map_or_else(|| Ok(real.clone()), self::real)?;
    if !real.starts_with(&root) {
        return Err(format!(
            "{} lies outside of {}, which --root names",
            path.display(),
            root.display()
        ));
    }
    let kind = std::fs::metadata(&real).map_err(|e| told(&real, &e))?;
    if kind.is_file() {
        let (name, bytes) = (String::new(), kind.len());
        return Ok(Tree::File(Found {
            name,
            path: real,
            bytes,
        }));
    }
    if !kind.is_dir() {
        return Err(neither(path));
    }
    let mut walk = Walk {
        root,
        found: Vec::new(),
        open: vec![(real, String::new(), 0)],
    };
    walk.all()?;
    walk.found.sort_by(|one, other| one.name.cmp(&other.name));
    if walk.found.is_empty() {
        return Err(format!("there is no file in {}", path.display()));
    }
    Ok(Tree::Directory(walk.found))
}

/// Whether there is anything in a directory. There is nothing in one that does not exist.
pub(super) fn has_anything(path: &Path) -> Result<bool, String> {
    let mut entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(told(path, &error)),
    };
    let first = entries.next().transpose();
    Ok(first.map_err(|e| told(path, &e))?.is_some())
}

/// A directory that is being walked.
struct Walk {
    root: PathBuf,
    found: Vec<Found>,
    /// Directories that are to be read: where they are, their paths below that of the weights, and how deep they are.
    open: Vec<(PathBuf, String, usize)>,
}

impl Walk {
    fn all(&mut self) -> Result<(), String> {
        while let Some((directory, name, depth)) = self.open.pop() {
            if depth > DEEPEST {
                return Err(format!(
                    "{} is more than {DEEPEST} directories deep",
                    directory.display()
                ));
            }
            for entry in std::fs::read_dir(&directory).map_err(|e| told(&directory, &e))? {
                let entry = entry.map_err(|e| told(&directory, &e))?;
                let path = entry.path();
                let last = entry.file_name();
                let last = last.to_str().unwrap_or_default();
                if depth == 0 && LEFT_OUT.contains(&last) {
                    continue;
                }
                let name = if depth == 0 {
                    last.to_owned()
                } else {
                    format!("{name}/{last}")
                };
                if !is_plain(&name) {
                    return Err(format!(
                        "{:?} cannot be named in a list of weights: a path is at most 1024 bytes of UTF-8, without backslashes and \
                         control characters; rename it",
                        path.display()
                    ));
                }
                self.take(
                    path.clone(),
                    name,
                    entry.file_type().map_err(|e| told(&path, &e))?,
                    depth,
                )?;
            }
        }
        Ok(())
    }

    /// Takes one entry of a directory.
    fn take(&mut self, path: PathBuf, name: String, kind: FileType, depth: usize) -> Result<(), String> {
        if kind.is_dir() {
            self.open.push((path, name, depth + 1));
            return Ok(());
        }
        let path = if kind.is_symlink() { self.target(&path)? } else { path };
        let file = std::fs::metadata(&path).map_err(|e| told(&path, &e))?;
        if file.is_dir() {
            return Err(format!(
                "{name:?} is a link to a directory: put the directory in its place"
            ));
        }
        if !file.is_file() {
            return Err(neither(&path));
        }
        if self.found.len() == MOST_FILES {
            return Err(format!("there are more than {MOST_FILES} files"));
        }
        let bytes = file.len();
        self.found.push(Found { name, path, bytes });
        Ok(())
    }

    /// Where a link leads.
    fn target(&self, link: &Path) -> Result<PathBuf, String> {
        let target = real(link)?;
        if !target.starts_with(&self.root) {
            return Err(format!(
                "{} is a link that leads out of {}: put the file in its place, or name a directory with both by --root",
                link.display(),
                self.root.display()
            ));
        }
        Ok(target)
    }
}

/// A path without links.
fn real(path: &Path) -> Result<PathBuf, String> {
    std::fs::canonicalize(path).map_err(|e| told(path, &e))
}

fn neither(path: &Path) -> String {
    format!("{} is neither a file nor a directory", path.display())
}

pub(super) fn told(path: &Path, error: &std::io::Error) -> String {
    format!("{}: {error}", path.display())
}
