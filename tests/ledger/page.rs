//! docs/records.md: each of its commands is run as a stranger would, one after the other in one directory, and prints what
//! it shows. So are those of other pages that read records.

use std::path::Path;

use crate::command::ApiServer;
use crate::files::Folder;
use crate::records::{renamed, rollout};
use crate::shown;

const PAGE: &str = include_str!("../../docs/records.md");
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Runs the commands of a page that are wanted, beside a cluster that has the records of a rollout. `programs` is a folder
/// with programs that may be needed.
fn run(test: &str, page: &str, programs: &Path, is_wanted: impl Fn(&str) -> bool) -> usize {
    let folder = Folder::new(test);
    let records = renamed(&rollout(), |model| model.name = "fraud-scorer".to_owned());
    let api = ApiServer::new(&folder, &records, true);
    let here = |name: &str, leads_to: &str| {
        std::os::unix::fs::symlink(Path::new(ROOT).join(leads_to), folder.0.join(name)).expect("a link");
    };
    here("tests", "tests");
    here("guardbit.pub", "tests/testdata/ledger/key.pub");
    shown::run(page, &folder.0, api.kubeconfig(), programs, is_wanted)
}

#[test]
fn the_commands_of_the_page_work_and_print_what_it_shows() {
    // A cluster answers those of kubectl, and cosign is not there as a rule.
    let is_wanted = |command: &str| !command.starts_with("kubectl ") && !command.starts_with("cosign ");
    assert!(run("page", PAGE, Path::new(ROOT), is_wanted) >= 12);
}

#[test]
fn reports_and_exports_of_other_pages_work_as_well() {
    let is_wanted = |command: &str| command.starts_with("guardbit report ") || command.starts_with("guardbit export ");
    for (name, page, number) in [
        ("governance", include_str!("../../docs/governance.md"), 3),
        ("approvals", include_str!("../../docs/approvals.md"), 1),
    ] {
        let test = format!("page-{name}");
        assert_eq!(run(&test, page, Path::new(ROOT), is_wanted), number, "{name}");
    }
}

#[test]
#[ignore = "make outside builds cosign"]
fn those_of_cosign_work_as_well() {
    let programs = std::env::var("GUARDBIT_OUTSIDE").expect("make outside says where cosign is");
    let is_wanted = |command: &str| !command.starts_with("kubectl ");
    assert!(run("cosign", PAGE, Path::new(&programs), is_wanted) >= 13);
}

#[test]
fn a_shown_line_is_what_is_printed() {
    for (line, printed, is) in [
        ("Verified OK", "Verified OK", true),
        ("Verified OK", "Verified OK.", false),
        ("a …", "a b", true),
        ("a …", "b a b", false),
        ("a … d", "a b c d", true),
        ("1…8, … same, 0", "1…8, 12 same, 0", true),
        ("1…8, … same, 0", "1…8, 12 same, 1", false),
        ("1…8, … same, 0", "1…7, 12 same, 0", false),
    ] {
        assert_eq!(shown::is_shown(line, printed), is, "{line} of {printed}");
    }
}
