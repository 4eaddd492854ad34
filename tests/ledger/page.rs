//! docs/records.md: each of its commands is run as a stranger would, one after the other in one directory, and prints what it shows.

use std::path::Path;
use std::process::Command;

use crate::command::ApiServer;
use crate::files::Folder;
use crate::records::{renamed, rollout};
use crate::told::told;

const PAGE: &str = include_str!("../../docs/records.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The commands of the page, each with the lines that it shows of what they print.
fn commands() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for block in PAGE.split("```console\n").skip(1) {
        let block = block.split("```").next().unwrap_or_default();
        for line in block.lines().filter(|line| !line.is_empty() && *line != "⋮") {
            if let Some(command) = line.strip_prefix("$ ") {
                commands.push((command, Vec::new()));
            } else {
                let (_, shown) = commands.last_mut().expect("a block begins with a command");
                shown.push(line);
            }
        }
    }
    commands
}

/// Whether a line is the one that is shown, where … stands for whatever is there.
fn is_shown(shown: &str, line: &str) -> bool {
    let Some((begin, rest)) = shown.split_once('…') else {
        return shown == line;
    };
    let Some(mut line) = line.strip_prefix(begin) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('…').unwrap_or(("", rest));
    for part in middle.split('…') {
        match line.split_once(part) {
            Some((_, after)) => line = after,
            None => return false,
        }
    }
    line.ends_with(end)
}

/// Runs the commands of the page that are wanted. `path` leads to programs that may be needed.
fn run(test: &str, path: &Path, is_wanted: impl Fn(&str) -> bool) -> usize {
    let folder = Folder::new(test);
    let records = renamed(&rollout(), |model| model.name = "fraud-scorer".to_owned());
    let api = ApiServer::new(&folder, &records, true);
    let here = |name: &str, leads_to: &str| {
        std::os::unix::fs::symlink(Path::new(ROOT).join(leads_to), folder.0.join(name)).expect("a link");
    };
    here("tests", "tests");
    here("guardbit.pub", "tests/testdata/ledger/key.pub");
    let guardbit = Path::new(env!("CARGO_BIN_EXE_guardbit")).parent().expect("a folder");
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let paths = [guardbit.to_owned(), path.to_owned()];
    let paths = std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&usual))).expect("paths");
    let mut done = 0;
    for (command, shown) in commands() {
        if !is_wanted(command) {
            continue;
        }
        let mut shell = Command::new("sh");
        let shell = shell.args(["-e", "-c", command]).current_dir(&folder.0);
        let (code, out, err) = told(shell.env("PATH", &paths).env("KUBECONFIG", api.kubeconfig()));
        assert_eq!(code, 0, "{command}\n{out}{err}");
        for line in shown {
            assert!(
                out.lines().any(|printed| is_shown(line, printed)),
                "{command}\nshows {line}\nand not {out}"
            );
        }
        done += 1;
    }
    done
}

#[test]
fn the_commands_of_the_page_work_and_print_what_it_shows() {
    // A cluster answers those of kubectl, and cosign is not there as a rule.
    let is_wanted = |command: &str| !command.starts_with("kubectl ") && !command.starts_with("cosign ");
    assert!(run("page", Path::new(ROOT), is_wanted) >= 12);
}

#[test]
#[ignore = "make outside builds cosign"]
fn those_of_cosign_work_as_well() {
    let programs = std::env::var("GUARDBIT_OUTSIDE").expect("make outside says where cosign is");
    assert!(
        run("cosign", Path::new(&programs), |command| !command
            .starts_with("kubectl "))
            >= 13
    );
}

#[test]
fn a_shown_line_is_what_is_printed() {
    for (shown, line, is) in [
        ("Verified OK", "Verified OK", true),
        ("Verified OK", "Verified OK.", false),
        ("a …", "a b", true),
        ("a …", "b a b", false),
        ("a … d", "a b c d", true),
        ("1…8, … same, 0", "1…8, 12 same, 0", true),
        ("1…8, … same, 0", "1…8, 12 same, 1", false),
        ("1…8, … same, 0", "1…7, 12 same, 0", false),
    ] {
        assert_eq!(is_shown(shown, line), is, "{shown} of {line}");
    }
}
