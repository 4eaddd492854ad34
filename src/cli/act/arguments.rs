//! Flags of the commands by which people act.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use crate::api::{self, Waive};

/// Length of the reason, in characters.
const REASON: std::ops::RangeInclusive<usize> = 10..=1000;

/// Longest name of an incident, in characters.
const LONGEST_INCIDENT: usize = 128;

/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// What somebody wants of a model.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Approve the change that awaits it: what it is, what was found so far, and who else must approve is shown before.
    Approve(ApproveArgs),
    /// Reject the change that awaits approval: it gets no traffic, and loses what it has.
    Reject(RejectArgs),
    /// Freeze the weights of a model, whatever git says. Harm is still rolled back.
    Pause(Common),
    /// Take earlier pauses and rollbacks back, and give a rollout that waits for a person its deadline again.
    Resume(Common),
    /// Send traffic back to a safer variant at once, and keep it there whatever git says.
    Rollback(RollbackArgs),
    /// Try a variant again: what was found of it is forgotten.
    Retry(RetryArgs),
    /// Open gates of policies in an incident. The floor, the guards and the validation are none of them.
    BreakGlass(BreakGlassArgs),
}

/// Flags that all of them have.
#[derive(Debug, Args)]
pub struct Common {
    /// Name of the model.
    #[arg(value_name = "MODEL")]
    pub(super) model: String,
    /// Namespace of the model: that of the kubeconfig when left out.
    #[arg(short, long)]
    pub(super) namespace: Option<String>,
    /// Why, in a sentence of 10 to 1000 characters for those who read the record.
    #[arg(long, value_name = "TEXT", value_parser = reason)]
    pub(super) reason: String,
    /// How long it is in force. When left out, and at the most: approve 24h and 168h, reject 168h and 168h, pause 24h and
    /// 168h, resume 1h and 1h, rollback 168h and 720h, retry 24h and 24h, break-glass 1h and 4h.
    #[arg(long, value_name = "DURATION", value_parser = length)]
    pub(super) valid_for: Option<api::Duration>,
    /// Acts without a question.
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Waits until guardbit says what it brings about, for a minute or for as long as is written (--wait=5m).
    #[arg(
        long,
        value_name = "DURATION",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "1m",
        value_parser = wait
    )]
    pub(super) wait: Option<Duration>,
    /// Shows what it would mean, has the API server try it, and leaves everything as it is.
    #[arg(long, conflicts_with = "wait")]
    pub(super) dry_run: bool,
    /// Prints the object instead of its name.
    #[arg(short, long, value_enum)]
    pub(super) output: Option<Output>,
}

/// Form of the object that is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// Flags of `guardbit approve`.
#[derive(Debug, Args)]
pub struct ApproveArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Digest of the change: the one that awaits approval when left out. It is refused if another one does.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(super) change: Option<String>,
    /// A group of yours that a policy may ask for; may be given more than once. All when left out, up to 32, except those
    /// of Kubernetes itself.
    #[arg(long)]
    pub(super) group: Vec<String>,
}

/// Flags of `guardbit reject`.
#[derive(Debug, Args)]
pub struct RejectArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// Digest of the change: the one that awaits approval when left out. It is refused if another one does.
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    pub(super) change: Option<String>,
}

/// Flags of `guardbit rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The proven variant that traffic goes to: the next safer one when left out, or the one that serves while another is
    /// on trial.
    #[arg(long, value_name = "VARIANT")]
    pub(super) to: Option<String>,
}

/// Flags of `guardbit retry`.
#[derive(Debug, Args)]
pub struct RetryArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The variant.
    #[arg(long)]
    pub(super) variant: String,
}

/// Flags of `guardbit break-glass`.
#[derive(Debug, Args)]
pub struct BreakGlassArgs {
    #[command(flatten)]
    pub(super) common: Common,
    /// The incident, as the tracker knows it.
    #[arg(long, value_parser = incident)]
    pub(super) incident: String,
    /// Gates that are opened, with commas between.
    #[arg(
        long,
        value_enum,
        value_name = "GATES",
        value_delimiter = ',',
        ignore_case = true,
        required = true
    )]
    pub(super) waive: Vec<Gate>,
}

/// A gate that can be opened.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Gate {
    /// Approvals that a policy asks for.
    Approvals,
    /// Times at which a policy lets nothing rise.
    Freezes,
    /// The age of a calibration.
    Freshness,
    /// The number of rollouts at once.
    Slots,
}

impl From<Gate> for Waive {
    fn from(gate: Gate) -> Self {
        match gate {
            Gate::Approvals => Self::Approvals,
            Gate::Freezes => Self::Freezes,
            Gate::Freshness => Self::Freshness,
            Gate::Slots => Self::Slots,
        }
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        length if REASON.contains(&length) => Ok(text.to_owned()),
        length => Err(format!(
            "it has {length} characters; write a sentence of 10 to 1000 for those who read the record"
        )),
    }
}

fn incident(text: &str) -> Result<String, String> {
    let text = text.trim();
    match text.chars().count() {
        1..=LONGEST_INCIDENT => Ok(text.to_owned()),
        length => Err(format!(
            "it has {length} characters; write the number of the incident, such as INC-2291"
        )),
    }
}

fn length(text: &str) -> Result<api::Duration, String> {
    let length = api::Duration::from(text);
    length.millis().map_err(|e| e.to_string())?;
    Ok(length)
}

fn wait(text: &str) -> Result<Duration, String> {
    let millis = api::Duration::from(text).millis().map_err(|e| e.to_string())?;
    Ok(Duration::from_millis(millis.unsigned_abs()))
}

/// A digest that was cut or mistyped would be that of no change.
fn digest(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("sha256:").unwrap_or_default();
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() == DIGITS && digits.bytes().all(is_digit) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "it is no digest of a change: write sha256: and all of its {DIGITS} hexadecimal digits"
    ))
}
