//! The flags of `guardbit compare`, and what is made of them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use crate::compare::{Arm, Arms, Golden, LONGEST_SET, Limits, Protocol, Settings};

use super::super::plan::{positive, share};
use super::super::streams::bounded;

/// The exit code of what could not be found out.
pub(super) const COULD_NOT_RUN: u8 = 2;

// A server must be given `--model`, and a dry run must not: so what conflicts with it is a flag of dry runs alone.
/// Flags of `guardbit compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Ask both URLs a number of pairs, print what is found, and end. Without it pairs are asked until the process ends,
    /// and served as metrics.
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Protocol of both arms: OpenAI, OpenInference, JSON or Embeddings.
    #[arg(long)]
    pub(super) protocol: Protocol,
    /// Golden set: JSON lines, each the body of a request, or {"path": "/…", "body": {…}}.
    #[arg(long, value_name = "FILE", required_unless_present = "mirror")]
    pub(super) golden: Option<PathBuf>,
    /// URL of the arm that is held to be right.
    #[arg(long, value_name = "URL")]
    pub(super) reference: String,
    /// URL of the arm on trial.
    #[arg(long, value_name = "URL")]
    pub(super) candidate: String,
    /// Path of the requests that name none, such as /v2/models/fraud/infer.
    #[arg(long, requires = "golden")]
    pub(super) path: Option<String>,
    /// JSON pointer (RFC 6901) to the value that is compared; for OpenInference the first output of the reference, by its
    /// name, when left out.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) pointer: Option<String>,
    /// Largest difference of two numbers that still agree.
    #[arg(long, allow_hyphen_values = true)]
    pub(super) margin: Option<f64>,
    /// The number that decides, such as 0.5; for Embeddings the least cosine (0.99 when left out).
    #[arg(long, allow_hyphen_values = true)]
    pub(super) threshold: Option<f64>,
    /// Pairs that are drawn from the golden set, with replacement.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=20_000), conflicts_with = "model")]
    pub(super) pairs: u16,
    /// Share of the pairs that ask the reference twice, to show its own noise.
    #[arg(long, default_value = "10%", value_parser = share)]
    pub(super) control: f64,
    /// Share of disagreements that is tolerated: the exit code says what was found at it.
    #[arg(long, default_value = "5%", value_parser = tolerance, conflicts_with = "model")]
    pub(super) tolerance: f64,
    /// Pairs that are asked at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=64), conflicts_with = "model")]
    pub(super) concurrency: u8,
    /// Seed of the draws, to repeat them.
    #[arg(long, conflicts_with = "model")]
    pub(super) seed: Option<u64>,
    /// File with a bearer token for both arms.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value_t = Output::Text, conflicts_with = "model")]
    pub(super) output: Output,
    #[command(flatten)]
    pub(super) server: ServerArgs,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// Flags of the server.
#[derive(Debug, Args)]
pub(super) struct ServerArgs {
    /// Name of the QuantizedModel: the label guardbit_model of all series.
    #[arg(long, required_unless_present = "dry_run", conflicts_with = "dry_run")]
    pub(super) model: Option<String>,
    /// Short revision of the reference: the label guardbit_revision of its pairs with itself.
    #[arg(
        long,
        value_name = "REVISION",
        value_parser = revision,
        required_unless_present = "dry_run",
        conflicts_with = "dry_run"
    )]
    pub(super) reference_revision: Option<String>,
    /// Short revision of the candidate: the label guardbit_revision of its pairs.
    #[arg(
        long,
        value_name = "REVISION",
        value_parser = revision,
        required_unless_present = "dry_run",
        conflicts_with = "dry_run"
    )]
    pub(super) candidate_revision: Option<String>,
    /// Digest that the golden set must have, such as sha256:…; another one is refused.
    #[arg(long, value_name = "DIGEST", requires = "golden")]
    pub(super) golden_digest: Option<String>,
    /// Take the requests that a gateway mirrors, at any path but /metrics and /healthz.
    #[arg(long, conflicts_with = "dry_run")]
    pub(super) mirror: bool,
    /// Pairs a second at the most.
    #[arg(long, default_value = "2", value_parser = positive, conflicts_with = "dry_run")]
    pub(super) rate: f64,
    /// Pairs in all.
    #[arg(long, value_name = "PAIRS", default_value_t = 5_000, conflicts_with = "dry_run")]
    pub(super) budget_pairs: u64,
    /// Tokens in all, of both arms together, where the answers tell them.
    #[arg(long, value_name = "TOKENS", default_value_t = 5_000_000, conflicts_with = "dry_run")]
    pub(super) budget_tokens: u64,
    /// Address of /metrics and /healthz, and of mirrored requests.
    #[arg(long, default_value = "0.0.0.0:8080", conflicts_with = "dry_run")]
    pub(super) listen: SocketAddr,
}

fn tolerance(text: &str) -> Result<f64, String> {
    let share = share(text).ok().filter(|share| *share > 0.0);
    share.ok_or_else(|| "write a share above 0 and below 1, such as 5%".to_owned())
}

fn revision(text: &str) -> Result<String, String> {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if (4..=64).contains(&text.len()) && text.bytes().all(is_digit) {
        Ok(text.to_owned())
    } else {
        Err("write 4 to 64 hexadecimal digits in lower case, as in the label guardbit.dev/revision".to_owned())
    }
}

/// Reads the golden set, if there is one, and holds it against its digest.
pub(super) fn golden(args: &CompareArgs, settings: &Settings) -> Result<Option<Golden>, String> {
    let Some(path) = &args.golden else { return Ok(None) };
    let bytes = bounded(path, LONGEST_SET)?;
    let golden = Golden::read(&bytes, settings).map_err(|error| format!("{}: {error}", path.display()))?;
    match &args.server.golden_digest {
        Some(wanted) if golden.digest() != wanted => Err(format!(
            "the golden set has the digest {}, and not {wanted}: see whether it was changed, and write its new digest",
            golden.digest()
        )),
        _ => Ok(Some(golden)),
    }
}

pub(super) fn arms(args: &CompareArgs) -> Result<Arms, String> {
    let token = args.token_file.as_deref().map(token).transpose()?;
    let arm = |url: &str| Arm::new(url, token.as_deref(), Limits::default()).map_err(|error| error.to_string());
    Ok(Arms {
        reference: arm(&args.reference)?,
        candidate: arm(&args.candidate)?,
    })
}

pub(super) fn settings(args: &CompareArgs) -> Result<Settings, String> {
    let settings = Settings {
        protocol: args.protocol,
        path: args.path.clone(),
        pointer: args.pointer.clone(),
        margin: args.margin,
        threshold: args.threshold,
    };
    let problems: Vec<_> = settings.check().iter().map(|problem| format!("--{problem}")).collect();
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(problems.join("\n"))
    }
}

fn token(path: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let token = text.trim().to_owned();
    if token.is_empty() {
        return Err(format!("{}: there is no token in it", path.display()));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_is_of_hexadecimal_digits() {
        let long = "a".repeat(64);
        for text in ["0123456789ab", "aaaa", long.as_str()] {
            assert_eq!(revision(text).as_deref(), Ok(text));
        }
        let longer = "a".repeat(65);
        for text in ["", "abc", "xyz1", "ABCD", "sha256:0123", "abcd ", longer.as_str()] {
            assert!(revision(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_tolerance_lies_between_nothing_and_everything() {
        assert_eq!((tolerance("5%"), tolerance("0.25")), (Ok(0.05), Ok(0.25)));
        for text in ["0", "0%", "100%", "-1", "NaN", "much"] {
            assert!(tolerance(text).is_err(), "{text}");
        }
    }
}
