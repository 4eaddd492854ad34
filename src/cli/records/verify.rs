//! `guardbit verify`: whether records are what guardbit wrote, whether any is missing, and whether their decisions follow from
//! what was counted.
//!
//! Owns what is asked and how it is answered; what is checked, and what is found, says `crate::ledger::verify`.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::api::{LONGEST_MESSAGE, plain, plain_lines};
use crate::ledger::PublicKey;
use crate::ledger::verify::{Anchor, Item, Outcome, Trust, Verified, verify};

use super::super::streams;
use super::source::{Wanted, item, of_cluster, of_paths};

/// The exit code of what could not be verified at all.
const COULD_NOT_RUN: u8 = 2;

/// The exit code of records of which all holds that can be checked.
const RESERVATIONS: u8 = 3;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// Flags of `guardbit verify`.
#[derive(Debug, Args)]
#[command(
    override_usage = "guardbit verify [OPTIONS] PATH...\n       guardbit verify [OPTIONS] --namespace NAMESPACE MODEL"
)]
pub struct VerifyArgs {
    /// Files with a record each, or directories: all *.sigstore.json and *.unsigned.json below them are read; - for standard
    /// input, with a record a line. With --namespace the name of a model, whose records are read from the cluster.
    #[arg(required = true, value_name = "PATH|MODEL")]
    what: Vec<PathBuf>,
    /// Namespace of the model, whose records are read from the cluster.
    #[arg(short, long)]
    namespace: Option<String>,
    /// File with public keys that may have signed (PEM); without any, signatures are not checked. May be given more than once.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
    /// File with records that something else than the chain attests, one a line: a JSON object with namespace, name, sequence and
    /// digest, or what `guardbit export` printed.
    #[arg(long, value_name = "FILE")]
    anchors: Option<PathBuf>,
    /// Number and digest of the newest record, as a change ticket has them.
    #[arg(long, value_name = "N:DIGEST", value_parser = newest)]
    expect: Option<(u64, String)>,
    /// Takes records without a signature, which guardbit writes where it has no key.
    #[arg(long)]
    allow_unsigned: bool,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    /// A line a model, and a line for each thing that was found.
    Text,
    /// One JSON object.
    Json,
}

/// The JSON output: its fields are only ever added to.
#[derive(Serialize)]
struct Document<'a> {
    outcome: Outcome,
    #[serde(flatten)]
    verified: &'a Verified,
}

/// Prints what was found. The exit code is 0 where all records hold, 1 where one does not, 3 where all holds that can be checked,
/// and 2 where it could not be found out.
pub fn start(args: &VerifyArgs) -> ExitCode {
    let told = run(args).and_then(|(text, outcome)| {
        streams::write(&plain_lines(text.trim_end()))?;
        Ok(outcome)
    });
    match told {
        Ok(Outcome::Holds) => ExitCode::SUCCESS,
        Ok(Outcome::Broken) => ExitCode::FAILURE,
        Ok(Outcome::HoldsWithReservations) => ExitCode::from(RESERVATIONS),
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn run(args: &VerifyArgs) -> Result<(String, Outcome), String> {
    let trust = Trust {
        keys: keys(&args.key)?,
        allow_unsigned: args.allow_unsigned,
        anchors: args.anchors.as_deref().map(anchors).transpose()?.unwrap_or_default(),
        expect: args.expect.clone(),
    };
    let mut verified = verify(&records(args)?, &trust);
    make_plain(&mut verified);
    let outcome = verified.outcome();
    let text = match args.output {
        Output::Text => verified.to_string(),
        Output::Json => {
            let document = Document {
                outcome,
                verified: &verified,
            };
            serde_json::to_string_pretty(&document).map_err(|e| e.to_string())?
        }
    };
    Ok((text, outcome))
}

/// The records that were asked for, of which there is at least one.
fn records(args: &VerifyArgs) -> Result<Vec<Item>, String> {
    let Some(namespace) = &args.namespace else {
        let items = of_paths(&args.what)?;
        if items.is_empty() {
            let places: Vec<_> = args.what.iter().map(|path| path.display().to_string()).collect();
            return Err(format!(
                "there is no record in {}: directories are searched for *.sigstore.json and *.unsigned.json, which `guardbit \
                 export` writes",
                places.join(", ")
            ));
        }
        return Ok(items);
    };
    let [model] = args.what.as_slice() else {
        return Err("with --namespace the name of one model is wanted; files are read without it".to_owned());
    };
    let name = model.to_str().ok_or("the name of the model is not UTF-8 text")?;
    let objects = of_cluster(&Wanted::Model {
        namespace: Some(namespace),
        name,
    })?;
    if objects.is_empty() {
        return Err(format!("the cluster has no record of {namespace}/{name}"));
    }
    Ok(objects.into_iter().map(item).collect())
}

/// The public keys in files.
pub(super) fn keys(paths: &[PathBuf]) -> Result<Vec<PublicKey>, String> {
    let read = |path: &PathBuf| {
        let told = |error: &dyn Display| format!("{}: {error}", path.display());
        let text = std::fs::read_to_string(path).map_err(|e| told(&e))?;
        PublicKey::all(&text).map_err(|e| told(&e))
    };
    let keys = paths.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    Ok(keys.into_iter().flatten().collect())
}

/// The records that a file attests.
fn anchors(path: &Path) -> Result<Vec<Anchor>, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let anchors = lines.map(|(n, line)| anchor(line).map_err(|e| format!("{}:{}: {e}", path.display(), n + 1)));
    anchors.collect()
}

/// One record that is attested: an object of JSON, or the head of a chain as `guardbit export` prints it.
fn anchor(line: &str) -> Result<Anchor, String> {
    let anchor = if line.trim_start().starts_with('{') {
        serde_json::from_str(line).map_err(|e| e.to_string())?
    } else {
        head(line).ok_or("it is neither a JSON object nor NAMESPACE/MODEL N sha256:DIGEST")?
    };
    check_digest(&anchor.digest)?;
    Ok(anchor)
}

fn head(line: &str) -> Option<Anchor> {
    let [model, sequence, digest] = line.split_whitespace().collect::<Vec<_>>().try_into().ok()?;
    let (namespace, name) = str::split_once(model, '/')?;
    Some(Anchor {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        sequence: str::parse(sequence).ok()?,
        digest: str::to_owned(digest),
    })
}

/// Reads the number and the digest of a record.
fn newest(text: &str) -> Result<(u64, String), String> {
    let (sequence, digest) = text
        .split_once(':')
        .ok_or("write the number of the newest record, a colon and its digest, such as 31:sha256:4be1…")?;
    let number = sequence
        .parse()
        .map_err(|_| format!("{sequence:?} is no number of a record"))?;
    check_digest(digest)?;
    Ok((number, digest.to_owned()))
}

/// A digest that was cut or mistyped would attest that no record is the right one.
fn check_digest(digest: &str) -> Result<(), String> {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    if digits.len() == DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Ok(());
    }
    Err(format!(
        "{digest:?} is no SHA-256: write all of its {DIGITS} hexadecimal digits"
    ))
}

/// Makes safe to show what whoever wrote the records may have put into them.
fn make_plain(verified: &mut Verified) {
    let shown = |text: &mut String| *text = plain(text, LONGEST_MESSAGE);
    for chain in &mut verified.chains {
        shown(&mut chain.namespace);
        shown(&mut chain.name);
        for record in &mut chain.not_replayed {
            shown(&mut record.why);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "4be1f13c5aa1b0a4b7a4a4a2b2a0f5d5c4be1f13c5aa1b0a4b7a4a4a2b2a0f5d";

    #[test]
    fn an_anchor_is_a_line_of_a_log_or_the_head_that_an_export_printed() {
        let attested = |sequence, digest: &str| Anchor {
            namespace: "risk".to_owned(),
            name: "fraud".to_owned(),
            sequence,
            digest: digest.to_owned(),
        };
        let log = format!(r#"{{"level":"INFO","namespace":"risk","name":"fraud","sequence":31,"digest":"{DIGEST}"}}"#);
        assert_eq!(anchor(&log), Ok(attested(31, DIGEST)));
        let prefixed = format!("sha256:{DIGEST}");
        assert_eq!(
            anchor(&format!("risk/fraud 31 {prefixed}")),
            Ok(attested(31, &prefixed))
        );
    }

    #[test]
    fn what_attests_nothing_is_refused_with_what_is_wrong() {
        for (line, part) in [
            ("risk/fraud 31", "neither a JSON object nor"),
            ("fraud 31 sha256:00", "neither a JSON object nor"),
            ("risk/fraud x sha256:00", "neither a JSON object nor"),
            ("risk/fraud 31 sha256:00", "64 hexadecimal digits"),
            (
                r#"{"namespace":"risk","name":"fraud","sequence":31}"#,
                "missing field `digest`",
            ),
        ] {
            let error = anchor(line).expect_err(line);
            assert!(error.contains(part), "{line}: {error}");
        }
    }

    #[test]
    fn the_newest_record_is_expected_by_number_and_digest() {
        for text in [DIGEST.to_owned(), format!("sha256:{DIGEST}")] {
            assert_eq!(newest(&format!("31:{text}")), Ok((31, text)));
        }
        for (text, part) in [
            ("31", "write the number"),
            ("x:00", "\"x\" is no number"),
            ("31:sha256:00", "64 hexadecimal digits"),
        ] {
            let error = newest(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
