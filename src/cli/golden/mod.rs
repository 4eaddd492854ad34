//! `guardbit golden`: makes golden sets from recorded requests, and tells their digests.

mod cut;
mod lines;
mod places;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::api::plain_lines;
use crate::compare::{
    FEW_QUESTIONS, GoldenError, LONGEST_LINE, LONGEST_SET, Protocol, Request, Settings, digest, without_mark,
};
use crate::judge::text::number;

use super::streams::{self, bounded};
use cut::{CutArgs, Cutter};
use lines::Lines;
use places::Places;

/// Flags of `guardbit golden`.
#[derive(Debug, Args)]
pub struct GoldenArgs {
    #[command(subcommand)]
    command: GoldenCommand,
}

#[derive(Debug, Subcommand)]
enum GoldenCommand {
    /// Build a golden set from recorded requests: without users, metadata, streams and duplicates.
    Make(MakeArgs),
    /// Print the digest of a golden set.
    Digest(DigestArgs),
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// Recorded requests: a file with one JSON object a line, or a directory with a *.json file for each.
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Protocol of the requests: OpenAI, OpenInference, JSON or Embeddings.
    #[arg(long, default_value_t = Protocol::OpenAI)]
    protocol: Protocol,
    /// Lines at the most: the first of them are kept.
    #[arg(long, value_name = "LINES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
    #[command(flatten)]
    cut: CutArgs,
}

#[derive(Debug, Args)]
struct DigestArgs {
    /// The golden set.
    file: PathBuf,
}

/// Longest recorded request, in bytes: 1 MiB. Much of it may be left out of the set.
const LONGEST_RECORDED: usize = 1024 * 1024;

/// Largest ConfigMap, in bytes.
const CONFIG_MAP: usize = 1024 * 1024;

/// Key of the set in its ConfigMap.
const KEY: &str = "golden.jsonl";

/// The exit code of what could not be done.
const COULD_NOT_RUN: u8 = 2;

/// Makes a set, or tells a digest.
pub fn start(args: &GoldenArgs) -> ExitCode {
    let done = match &args.command {
        GoldenCommand::Make(args) => make(args),
        GoldenCommand::Digest(DigestArgs { file }) => read(file).map(|bytes| digest(&bytes)),
    };
    match done.and_then(|text| streams::write(&plain_lines(text.trim_end()))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("guardbit: {}", plain_lines(&error));
            ExitCode::from(COULD_NOT_RUN)
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    let bytes = bounded(file, LONGEST_SET)?;
    if bytes.len() > LONGEST_SET {
        return Err(format!("{}: {}", file.display(), GoldenError::TooLarge));
    }
    Ok(bytes)
}

fn make(args: &MakeArgs) -> Result<String, String> {
    if args.cut.cuts() && args.protocol != Protocol::OpenAI {
        return Err(format!(
            "--cut does not go with {}: only a text can be cut; leave it out",
            args.protocol
        ));
    }
    let mut set = Set::new(args.protocol, args.limit as usize);
    set.cutter = args.cut.open()?;
    let told = |error: std::io::Error| format!("{}: {error}", args.from.display());
    let inputs = [("--from", Some(args.from.as_path())), ("--answers", args.cut.answers())];
    for (flag, input) in inputs {
        if input.is_some_and(|input| is_input(input, &args.out)) {
            return Err(format!(
                "{}: it is, or would be, one of the recordings that {flag} names: write to another file",
                args.out.display()
            ));
        }
    }
    let is_directory = args.from.metadata().map_err(told)?.is_dir();
    if let Some(answers) = args.cut.answers()
        && answers.is_dir() != is_directory
    {
        return Err(format!(
            "{}: --from and --answers must both be files, or both directories, to tell which answer is to which request",
            answers.display()
        ));
    }
    if is_directory {
        set.take_directory(&args.from)?;
    } else {
        set.take_lines(&args.from)?;
    }
    if let Some(cutter) = &mut set.cutter {
        cutter.check()?;
    }
    if set.lines == 0 {
        let (from, left_out) = (args.from.display(), set.left_out());
        return Err(format!(
            "{from}: there is no request in it that can be compared\n{}",
            left_out.trim_end()
        ));
    }
    std::fs::write(&args.out, &set.text).map_err(|error| format!("{}: {error}", args.out.display()))?;
    Ok(set.told(&args.out))
}

/// Whether a file is what is read, or one of the recordings in the folder that is, by whatever path or link.
fn is_input(from: &Path, out: &Path) -> bool {
    let place = |path: &Path| path.metadata().ok().map(|file| (file.dev(), file.ino()));
    let is_same = |one: &Path, other: &Path| place(one).is_some_and(|found| place(other) == Some(found));
    if from.is_file() {
        return is_same(from, out);
    }
    let folder = match out.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    from.is_dir() && out.extension().is_some_and(|ending| ending == "json") && is_same(from, folder)
}

/// A set that is being made.
struct Set {
    settings: Settings,
    limit: usize,
    text: String,
    lines: usize,
    /// Digests of the lines.
    known: HashSet<String>,
    duplicates: u64,
    /// Places of what was left out, by reason.
    left_out: BTreeMap<&'static str, Places>,
    /// What lets questions end amid an answer.
    cutter: Option<Cutter>,
}

impl Set {
    fn new(protocol: Protocol, limit: usize) -> Self {
        Self {
            settings: Settings::new(protocol),
            limit,
            text: String::new(),
            lines: 0,
            known: HashSet::new(),
            duplicates: 0,
            left_out: BTreeMap::new(),
            cutter: None,
        }
    }

    fn is_full(&self) -> bool {
        self.lines == self.limit
    }

    /// All *.json files of a directory, in the order of their names. Links are not followed.
    fn take_directory(&mut self, directory: &Path) -> Result<(), String> {
        let told = |error: std::io::Error| format!("{}: {error}", directory.display());
        let mut files = BTreeSet::new();
        for entry in std::fs::read_dir(directory).map_err(told)? {
            let entry = entry.map_err(told)?;
            let path = entry.path();
            let is_json = path.extension().is_some_and(|ending| ending == "json");
            if is_json && entry.file_type().map_err(told)?.is_file() {
                files.insert(path);
            }
        }
        for file in files {
            if self.is_full() {
                break;
            }
            let bytes = bounded(&file, LONGEST_RECORDED)?;
            if let Some(cutter) = &mut self.cutter {
                cutter.at_file(&file)?;
            }
            self.take(&file.display().to_string(), &bytes);
        }
        Ok(())
    }

    /// All lines of a file that are not empty. Where answers are beside them, it is read to its end, to count both.
    fn take_lines(&mut self, path: &Path) -> Result<(), String> {
        let mut lines = Lines::open(path, LONGEST_RECORDED)?;
        while !self.is_full() || self.cutter.as_ref().is_some_and(Cutter::pairs_lines) {
            let Some((place, line)) = lines.next_line()? else { break };
            if let Some(cutter) = &mut self.cutter {
                cutter.at_line()?;
            }
            if !self.is_full() {
                self.take(&place, &line);
            }
        }
        Ok(())
    }

    /// Takes one recorded request, or its place with the reason why not.
    fn take(&mut self, place: &str, bytes: &[u8]) {
        if let Err(reason) = self.try_take(bytes) {
            self.left_out.entry(reason).or_default().add(place);
        }
    }

    fn try_take(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        if bytes.len() > LONGEST_RECORDED {
            return Err("it has more than 1 MiB");
        }
        let value = serde_json::from_slice(without_mark(bytes)).map_err(|_| "it is no JSON")?;
        let mut request = Request::read(value)?;
        let mut is_cut = false;
        if let Some(cutter) = &mut self.cutter {
            (request, is_cut) = cutter.apply(request);
        }
        let request = self.settings.normalize(&request).map_err(|skip| skip.0)?;
        let line = request.line();
        if line.len() > LONGEST_LINE {
            return Err("it has more than 256 KiB, which is the most for a line");
        }
        if self.text.len() + line.len() + 1 > LONGEST_SET {
            return Err("the set has 64 MiB, and no room for it");
        }
        if self.known.insert(digest(line.as_bytes())) {
            self.text.push_str(&line);
            self.text.push('\n');
            self.lines += 1;
            if let Some(cutter) = &mut self.cutter {
                cutter.count(is_cut);
            }
        } else {
            self.duplicates += 1;
        }
        Ok(())
    }

    /// What was left out, and why.
    fn left_out(&self) -> String {
        let told = |(reason, places): (&&str, &Places)| {
            let times = number(places.times());
            format!("left out {times}: {reason} ({places})\n")
        };
        self.left_out.iter().map(told).collect()
    }

    /// What was made, and how it gets into a cluster.
    fn told(&self, out: &Path) -> String {
        let digest = digest(self.text.as_bytes());
        let (lines, bytes) = (number(self.lines as u64), number(self.text.len() as u64));
        let mut told = format!("{}: {lines} lines, {bytes} bytes\n{digest}\n", out.display());
        // Writing to a String cannot fail.
        if self.duplicates > 0 {
            let _ = writeln!(told, "left out {}: duplicates", number(self.duplicates));
        }
        if let Some(cutter) = &self.cutter {
            told.push_str(&cutter.told());
        }
        told.push_str(&self.left_out());
        if self.lines < FEW_QUESTIONS {
            let _ = writeln!(
                told,
                "few: draws repeat questions, and what is repeated is answered alike; record {FEW_QUESTIONS} at least, better 500"
            );
        }
        if self.is_full() {
            let _ = writeln!(told, "stopped at {lines} lines (--limit)");
        }
        if self.text.len() < CONFIG_MAP {
            let name = config_map(out);
            let file = quoted(&format!("{KEY}={}", out.display()));
            let _ = writeln!(told, "\nkubectl create configmap {name} --from-file={file}");
            let _ = writeln!(told, "\ngolden: {{configMap: {name}, digest: {digest}}}");
        } else {
            let _ = writeln!(
                told,
                "\nA ConfigMap holds less than 1 MiB: put the file into an image or a volume, or make it smaller with --limit."
            );
        }
        told
    }
}

/// A name for the ConfigMap, from that of the file.
fn config_map(out: &Path) -> String {
    let stem = out.file_stem().unwrap_or_default().to_string_lossy().to_lowercase();
    let allowed = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = stem.chars().map(allowed).take(63).collect();
    match name.trim_matches('-') {
        "" => "golden".to_owned(),
        name => name.to_owned(),
    }
}

/// A word as a shell reads it.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._=-".contains(c);
    if text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_cluster_and_the_shell() {
        for (path, name) in [
            ("golden.jsonl", "golden"),
            ("/tmp/My Set_2.jsonl", "my-set-2"),
            ("/tmp/--.jsonl", "golden"),
            ("ä.jsonl", "golden"),
        ] {
            assert_eq!(config_map(Path::new(path)), name, "{path}");
        }
        assert_eq!(quoted("golden.jsonl=a/b_c.jsonl"), "golden.jsonl=a/b_c.jsonl");
        assert_eq!(quoted("a=$(b) 'c'"), "'a=$(b) '\\''c'\\'''");
    }

    #[test]
    fn what_is_left_out_is_told_with_its_first_places() {
        let mut set = Set::new(Protocol::OpenAI, 10);
        for i in 0..5 {
            set.take(&format!("r:{i}"), b"{");
        }
        set.take("r:5", br#"{"prompt":"a","user":"u"}"#);
        set.take("r:6", br#"{"prompt":"a","user":"v"}"#);
        set.take("r:7", br#"{"input":"a"}"#);
        set.take("r:8", "\u{feff}{\"prompt\":\"a\"}".as_bytes());
        assert_eq!((set.lines, set.duplicates), (1, 2));
        let told = set.left_out();
        assert!(
            told.contains("left out 5: it is no JSON (r:0, r:1, r:2 and 2 more)"),
            "{told}"
        );
        assert!(told.contains("(r:7)"), "{told}");
        assert!(!set.text.contains("user"), "{}", set.text);
    }
}
