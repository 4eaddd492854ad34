//! Runs the commands of a page of the documentation, as a reader would, and holds what they print against what it shows.

use std::path::Path;
use std::process::Command;

use crate::commands::commands;
use crate::told::told;

/// Whether a line is the one that is shown, where … stands for whatever is there.
pub fn is_shown(shown: &str, line: &str) -> bool {
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

/// Runs the commands of a page that are wanted, one after the other in one directory, with this kubeconfig. Programs are
/// looked for beside guardbit, and then in `programs`, first. Returns how many were run.
pub fn run(
    page: &str,
    directory: &Path,
    kubeconfig: &Path,
    programs: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> usize {
    let guardbit = Path::new(env!("CARGO_BIN_EXE_guardbit")).parent().expect("a folder");
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let paths = [guardbit.to_owned(), programs.to_owned()];
    let paths = std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&usual))).expect("paths");
    let mut done = 0;
    for (command, shown) in commands(page) {
        if !is_wanted(command) {
            continue;
        }
        let mut shell = Command::new("sh");
        let shell = shell.args(["-e", "-c", command]).current_dir(directory);
        let (code, out, err) = told(shell.env("PATH", &paths).env("KUBECONFIG", kubeconfig));
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
