//! `guardbit export`: the records of a cluster as files, which anybody can verify without the cluster.
//!
//! Owns where a file lies and that none is ever changed: an export that exists is what a later one is held against.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Deserialize;

use crate::api::{PrecisionDecision, plain_lines};
use crate::ledger::{Bundle, Head, LARGEST_STATEMENT, Signature, object_name, unpack};

use super::super::streams;
use super::source::{EXPORTED, LARGEST_FILE, Wanted, of_cluster};

/// The exit code of what could not be exported at all.
const COULD_NOT_RUN: u8 = 2;

/// Flags of `guardbit export`.
#[derive(Debug, Args)]
#[command(override_usage = "guardbit export [OPTIONS] MODEL DIR\n       guardbit export [OPTIONS] --all DIR")]
pub struct ExportArgs {
    /// Name of the model, and the directory to write into, below which each model has one of its own. With --all only the
    /// directory. Files that are there stay as they are, and those that are missing are added.
    #[arg(required = true, value_name = "MODEL DIR")]
    what: Vec<PathBuf>,
    /// Namespace of the model: that of the kubeconfig when left out. With --all it is all namespaces then.
    #[arg(short, long)]
    namespace: Option<String>,
    /// The records of all models.
    #[arg(long)]
    all: bool,
}

/// What became of it.
#[derive(Default)]
struct Exported {
    /// The newest record of each model of which nothing is wrong.
    heads: Vec<String>,
    /// What is wrong.
    problems: Vec<String>,
}

/// Writes the records, and prints the newest one of each model. The exit code is 1 where what was exported before is not what
/// the cluster has now, and 2 where nothing could be exported.
pub fn start(args: &ExportArgs) -> ExitCode {
    let done = run(args).and_then(|exported| {
        if !exported.heads.is_empty() {
            streams::write(&plain_lines(&exported.heads.join("\n")))?;
        }
        Ok(exported.problems)
    });
    match done {
        Ok(problems) if problems.is_empty() => ExitCode::SUCCESS,
        Ok(problems) => {
            for problem in problems {
                eprintln!("guardbit: {}", plain_lines(&problem));
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &ExportArgs) -> Result<Exported, String> {
    let (model, directory) = match args.what.as_slice() {
        [directory] if args.all => (None, directory),
        [model, directory] if !args.all => {
            let model = model.to_str().ok_or("the name of the model is not UTF-8 text")?;
            (Some(model), directory)
        }
        _ if args.all => return Err("with --all the directory alone is wanted: guardbit export --all DIR".to_owned()),
        _ => return Err("a model and a directory are wanted: guardbit export MODEL DIR".to_owned()),
    };
    let namespace = args.namespace.as_deref();
    let objects = of_cluster(&match model {
        Some(name) => Wanted::Model { namespace, name },
        None => Wanted::All { namespace },
    })?;
    if objects.is_empty() {
        let of = model.map_or_else(String::new, |model| format!(" of {model}"));
        return Err(format!("the cluster has no record{of}"));
    }
    write_all(&objects, model, directory)
}

/// Writes what is not there yet.
fn write_all(objects: &[PrecisionDecision], model: Option<&str>, directory: &Path) -> Result<Exported, String> {
    let (mut exported, mut models) = (Exported::default(), BTreeMap::<_, Vec<_>>::new());
    for object in objects {
        match Record::of(object, model) {
            Ok(record) => models.entry(record.model.clone()).or_default().push(record),
            Err(problem) => exported.problems.push(problem),
        }
    }
    for (model, mut records) in models {
        records.sort_by_key(|record| record.sequence);
        let folder = directory.join(&model.namespace).join(&model.name);
        let told = |error: io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(told)?;
        let mut problems = Vec::new();
        for record in &records {
            problems.extend(record.write(&folder)?);
        }
        let Some(newest) = records.last() else { continue };
        let before = newest_file(&folder).map_err(told)?;
        problems.extend(before.filter(|before| *before > newest.sequence).map(|before| {
            format!(
                "{}: record {before} was exported before, and record {} is the newest of the cluster: records were deleted, or the \
                 cluster was restored from a backup",
                folder.display(),
                newest.sequence
            )
        }));
        if problems.is_empty() {
            exported.heads.push(newest.head());
        }
        exported.problems.append(&mut problems);
    }
    Ok(exported)
}

/// The record of an object, with where its file belongs.
struct Record {
    model: Model,
    sequence: u64,
    bundle: Bundle,
}

/// What every release of guardbit can read of a record.
#[derive(Deserialize)]
struct Frame {
    predicate: FramePredicate,
}

#[derive(Deserialize)]
struct FramePredicate {
    record: FrameRecord,
}

#[derive(Deserialize)]
struct FrameRecord {
    sequence: u64,
    model: Model,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
struct Model {
    namespace: String,
    name: String,
}

impl Record {
    /// Reads as much of an object as tells where its file belongs. Whether it holds is for `guardbit verify` to say.
    fn of(object: &PrecisionDecision, wanted: Option<&str>) -> Result<Self, String> {
        let (spec, metadata) = (&object.spec, &object.metadata);
        let namespace = metadata.namespace.as_deref().unwrap_or_default();
        let told = |why: String| {
            let name = metadata.name.as_deref().unwrap_or_default();
            format!("{namespace}/{name} is not exported: {why}")
        };
        let payload = unpack(&spec.payload, LARGEST_STATEMENT).map_err(|e| told(e.to_string()))?;
        let frame: Frame = serde_json::from_slice(&payload).map_err(|e| told(format!("it cannot be read: {e}")))?;
        let FrameRecord { sequence, model } = frame.predicate.record;
        let is_elsewhere = model.namespace != namespace || wanted.is_some_and(|wanted| wanted != model.name);
        if is_elsewhere || !is_name(&model.namespace) || !is_name(&model.name) {
            let Model { namespace, name } = model;
            return Err(told(format!("its statement is about {namespace:?}/{name:?}")));
        }
        // Any object may say that it is of this model, and the first file of a record stays for ever.
        let expected = object_name(&model.name, sequence);
        if metadata.name.as_ref() != Some(&expected) {
            return Err(told(format!(
                "its statement is record {sequence}, whose object is called {expected}"
            )));
        }
        let signature = spec.signature.clone().map(Signature::from);
        Ok(Self {
            model,
            sequence,
            bundle: Bundle { payload, signature },
        })
    }

    /// Writes the file, unless it is there. Returns what is wrong where another one is.
    fn write(&self, folder: &Path) -> Result<Option<String>, String> {
        let (name, bytes) = (self.bundle.file_name(self.sequence), self.bundle.print());
        // A record that has lost its signature, or got one, would have another name.
        for name_there in EXPORTED.map(|end| format!("{:06}{end}", self.sequence)) {
            let path = folder.join(&name_there);
            if !path.try_exists().map_err(|e| format!("{}: {e}", path.display()))? {
                continue;
            }
            let is_same = name_there == name && streams::bounded(&path, LARGEST_FILE)? == bytes;
            return Ok((!is_same).then(|| {
                format!(
                    "{}: it was exported before, and the cluster has another record {} now: find out which is the true one, and \
                     who wrote the other; the file stays as it is",
                    path.display(),
                    self.sequence
                )
            }));
        }
        let (path, unfinished) = (
            folder.join(&name),
            folder.join(format!(".{name}.{}", std::process::id())),
        );
        let written = write_whole(&path, &unfinished, &bytes);
        written.map(|()| None).map_err(|error| {
            // There may be none.
            let _ = fs::remove_file(&unfinished);
            format!("{}: {error}", path.display())
        })
    }

    /// The record as a head of its chain, for a change ticket.
    fn head(&self) -> String {
        let Model { namespace, name } = &self.model;
        let Head { sequence, digest } = Head::of(self.sequence, &self.bundle.payload);
        format!("{namespace}/{name} {sequence} sha256:{digest}")
    }
}

/// Whether a text is a name as Kubernetes takes it, so that it leads to no other directory.
fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphanumeric()) && text.bytes().all(allowed)
}

/// Writes a file that is whole whenever anybody sees it.
fn write_whole(path: &Path, unfinished: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(unfinished)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(unfinished, path)
}

/// The largest number of the records in a directory.
fn newest_file(folder: &Path) -> io::Result<Option<u64>> {
    let mut newest = None;
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let number: Option<u64> = EXPORTED.iter().find_map(|end| name.strip_suffix(end)?.parse().ok());
        newest = newest.max(number);
    }
    Ok(newest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_to_another_directory() {
        for name in ["fraud-scorer", "m", "a.b-1", "0"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", ".", "..", ".a", "-", "a/b", "a\\b", "A", "a b", "a\n", "é"] {
            assert!(!is_name(name), "{name:?}");
        }
    }
}
