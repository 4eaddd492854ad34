//! docs/weights.md: each of its commands is run as a reader would, one after the other in one directory, and prints what it
//! shows.

use std::path::Path;

use crate::folder::Folder;
use crate::{KEY, SIGNATURE, shown};

const PAGE: &str = include_str!("../../docs/weights.md");

#[test]
fn the_commands_of_the_page_work_and_print_what_it_shows() {
    let folder = Folder::new("page");
    for (path, content) in [("a", "one"), ("b/c", "two"), ("b-1", "three")] {
        folder.write(&format!("models/int8/{path}"), content);
    }
    for (from, name) in [(SIGNATURE, "int8.sig"), (KEY, "model-team.pub")] {
        std::fs::copy(from, folder.path(name)).expect("copied");
    }
    // That one is of another program, and the signature is what it would have written.
    let is_wanted = |command: &str| !command.starts_with("model_signing ");
    let (nowhere, root) = (Path::new("/nowhere"), Path::new(env!("CARGO_MANIFEST_DIR")));
    assert_eq!(shown::run(PAGE, &folder.path(""), nowhere, root, is_wanted), 7);
}
