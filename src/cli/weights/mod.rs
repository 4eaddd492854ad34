//! `guardbit weights`: which digest weights have, and whether they are those that are wanted.
//!
//! `verify` and `mounted` run before a model server starts, in a container of its own: their exit code and their one line decide
//! whether the server does. Owns how files are read; what a digest is, says `crate::weights`.

mod hash;
mod tree;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

use crate::api::plain_lines;
use crate::ledger::{ModelSignature, PublicKey};
use crate::weights::{Manifest, Sha};

use super::streams::{self, bounded};
use hash::Stop;
use tree::{Found, Tree, has_anything, walk};

/// Flags of `guardbit weights`.
#[derive(Debug, Args)]
pub struct WeightsArgs {
    #[command(subcommand)]
    command: WeightsCommand,
}

#[derive(Debug, Subcommand)]
enum WeightsCommand {
    /// Print the digest of a file or of a directory, as weights.digest of a variant wants it.
    Digest(DigestArgs),
    /// Say whether a file or a directory has a digest.
    Verify(VerifyArgs),
    /// Say whether an image with weights is mounted: whether there is anything where it should be.
    Mounted(MountedArgs),
}

#[derive(Debug, Args)]
struct DigestArgs {
    /// The file or directory.
    path: PathBuf,
    /// Directory below which links may lead; PATH itself when left out.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// The file or directory.
    #[arg(long)]
    path: PathBuf,
    /// The digest that it should have.
    #[arg(long, value_name = "sha256:DIGEST", value_parser = digest)]
    digest: Sha,
    /// Directory below which links may lead; the path itself when left out.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// List of the files, as `guardbit weights digest -o manifest` printed it: the first file that differs is told, and nothing
    /// is hashed where one is missing or too many.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Signature over the weights: a bundle of OpenSSF Model Signing. It has the list of the files, too.
    #[arg(long, value_name = "FILE", requires = "key", conflicts_with = "manifest")]
    bundle: Option<PathBuf>,
    /// File with public keys that may have signed (PEM); may be given more than once.
    #[arg(long, value_name = "FILE", requires = "bundle")]
    key: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct MountedArgs {
    /// Where the image should be mounted.
    #[arg(long)]
    path: PathBuf,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// The digest.
    Text,
    /// One JSON object with the files.
    Json,
    /// The list of the files, whose SHA-256 is the digest; of one file its digest and its name.
    Manifest,
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
struct Document {
    digest: String,
    bytes: u64,
    files: Vec<FileDigest>,
}

#[derive(Serialize)]
struct FileDigest {
    path: String,
    bytes: u64,
    digest: String,
}

/// Weights that are others than those that are wanted.
const REFUSED: u8 = 1;

/// The exit code of what could not be found out.
const COULD_NOT_RUN: u8 = 2;

/// Largest list of files: one of as many as a directory may have, with long paths.
const LONGEST_MANIFEST: usize = 128 * 1024 * 1024;

/// Largest file with a signature or with keys.
const LONGEST_FILE: usize = 16 * 1024 * 1024;

/// Why weights are not verified.
enum Failure {
    /// They are others.
    Refused(String),
    /// It could not be found out.
    Unknown(String),
}

impl From<String> for Failure {
    fn from(why: String) -> Self {
        Self::Unknown(why)
    }
}

/// Prints a digest, or says in one line why weights are refused. The exit code is 0 where they are those that are wanted, 1
/// where they are others, and 2 where it could not be found out.
pub fn start(args: &WeightsArgs) -> ExitCode {
    let done = match &args.command {
        WeightsCommand::Digest(args) => print(args).map_err(Failure::Unknown),
        WeightsCommand::Verify(args) => verify(args),
        WeightsCommand::Mounted(args) => mounted(args),
    };
    // The end of the last path of a list may be white space.
    let write = |text: String| streams::write(&plain_lines(text.strip_suffix('\n').unwrap_or(&text)));
    let told = done.and_then(|text| write(text).map_err(Failure::Unknown));
    let (why, code) = match told {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Refused(why)) => (why, REFUSED),
        Err(Failure::Unknown(why)) => (why, COULD_NOT_RUN),
    };
    eprintln!("guardbit: {}", plain_lines(&why));
    ExitCode::from(code)
}

/// Weights that were hashed.
struct Hashed {
    digest: Sha,
    files: Vec<(Found, Sha)>,
    /// The list of the files of a directory.
    manifest: Option<Manifest>,
}

/// Hashes weights. Where there is a list of what they should be, hashing ends at the first file that differs from it.
fn hashed(tree: Tree, listed: Option<&Manifest>) -> Result<Hashed, Stop> {
    let (files, is_file) = match tree {
        Tree::File(file) => (vec![file], true),
        Tree::Directory(files) => (files, false),
    };
    let shas = hash::all(&files, |path, sha| listed.and_then(|listed| listed.differs(path, sha)))?;
    let files: Vec<_> = files.into_iter().zip(shas).collect();
    if let ([(_, sha)], true) = (files.as_slice(), is_file) {
        let (digest, manifest) = (*sha, None);
        return Ok(Hashed {
            digest,
            files,
            manifest,
        });
    }
    let mut manifest = Manifest::default();
    for (file, sha) in &files {
        manifest
            .add(&file.name, *sha)
            .map_err(|e| Stop::Unreadable(e.to_string()))?;
    }
    Ok(Hashed {
        digest: manifest.digest(),
        files,
        manifest: Some(manifest),
    })
}

fn print(args: &DigestArgs) -> Result<String, String> {
    let hashed = match hashed(walk(&args.path, args.root.as_deref())?, None) {
        Ok(hashed) => hashed,
        Err(Stop::Unreadable(why)) => return Err(why),
        Err(Stop::Differs(difference)) => return Err(difference.to_string()),
    };
    let Hashed {
        digest,
        files,
        manifest,
    } = hashed;
    match args.output {
        Output::Text => Ok(digest.to_string()),
        Output::Manifest => Ok(manifest.map_or_else(
            || format!("{}  {}", digest.hex(), args.path.display()),
            |manifest| manifest.text(),
        )),
        Output::Json => {
            let document = Document {
                digest: digest.to_string(),
                bytes: files.iter().map(|(file, _)| file.bytes).sum(),
                files: files
                    .into_iter()
                    .map(|(file, sha)| FileDigest {
                        path: file.name,
                        bytes: file.bytes,
                        digest: sha.to_string(),
                    })
                    .collect(),
            };
            serde_json::to_string_pretty(&document).map_err(|e| e.to_string())
        }
    }
}

fn verify(args: &VerifyArgs) -> Result<String, Failure> {
    let VerifyArgs { path, digest, .. } = args;
    let listed = listed(args)?;
    let refused =
        |what: &dyn Display| Failure::Refused(format!("the weights at {} are not {digest}: {what}", path.display()));
    let tree = walk(path, args.root.as_deref())?;
    let listed = listed.filter(|_| matches!(tree, Tree::Directory(_)));
    if let (Some(listed), Tree::Directory(files)) = (&listed, &tree)
        && let Some(difference) = listed.unlike(files.iter().map(|file| file.name.as_str()))
    {
        return Err(refused(&difference));
    }
    match hashed(tree, listed.as_ref()) {
        Ok(hashed) if hashed.digest == *digest => Ok(format!("the weights at {} are {digest}", path.display())),
        Ok(hashed) => Err(refused(&format!("their digest is {}", hashed.digest))),
        Err(Stop::Differs(difference)) => Err(refused(&difference)),
        Err(Stop::Unreadable(why)) => Err(Failure::Unknown(why)),
    }
}

/// Whether an image is mounted. The kubelet checks its digest, but not everything that starts pods mounts images, and what does
/// not says nothing: the API server may drop the volume, and a container runtime may leave it empty.
fn mounted(args: &MountedArgs) -> Result<String, Failure> {
    let MountedArgs { path } = args;
    if has_anything(path)? {
        return Ok(format!("an image is mounted at {}", path.display()));
    }
    Err(Failure::Refused(format!(
        "there is nothing at {}, where the image with the weights should be mounted: volumes that are images need Kubernetes 1.35, \
         or 1.31 with the feature gate ImageVolume, and on each node containerd 2.1 or CRI-O 1.31; where they cannot be had, let an \
         init container fetch the weights to another volume",
        path.display()
    )))
}

/// The list of the files of the weights, if there is one. It is of the digest that is wanted.
fn listed(args: &VerifyArgs) -> Result<Option<Manifest>, Failure> {
    let VerifyArgs { digest, .. } = args;
    if let Some(file) = &args.manifest {
        let manifest = text(file, LONGEST_MANIFEST)?;
        let manifest = Manifest::parse(&manifest).map_err(|e| format!("{}: {e}", file.display()))?;
        if manifest.digest() != *digest {
            let of = manifest.digest();
            return Err(Failure::Unknown(format!(
                "{} is the list of {of}, and not of {digest}",
                file.display()
            )));
        }
        return Ok(Some(manifest));
    }
    let Some(file) = &args.bundle else { return Ok(None) };
    let signature = ModelSignature::parse(&text(file, LONGEST_FILE)?);
    let signature = signature.map_err(|e| format!("{}: {e}", file.display()))?;
    if !signature.is_over(*digest) {
        return Err(Failure::Refused(format!(
            "{} is a signature over {}, and not over {digest}",
            file.display(),
            signature.digest()
        )));
    }
    for keys in &args.key {
        let found = PublicKey::all(&text(keys, LONGEST_FILE)?).map_err(|e| format!("{}: {e}", keys.display()))?;
        if found.iter().any(|key| signature.is_by(key)) {
            return Ok(Some(signature.into_manifest()));
        }
    }
    Err(Failure::Refused(format!(
        "{} is by none of the keys of --key",
        file.display()
    )))
}

/// The text in a file that has at most so many bytes.
fn text(file: &Path, most: usize) -> Result<String, String> {
    let bytes = bounded(file, most)?;
    if bytes.len() > most {
        return Err(format!("{} has more than {most} bytes", file.display()));
    }
    String::from_utf8(bytes).map_err(|_| format!("{} is not UTF-8 text", file.display()))
}

/// Reads a digest.
fn digest(text: &str) -> Result<Sha, String> {
    Sha::parse(text)
        .ok_or_else(|| "write sha256: and 64 hexadecimal digits in lower case, as weights.digest has it".to_owned())
}
