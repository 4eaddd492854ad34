//! No file and no folder outgrows its reader.

use crate::source::{folders, sources};

/// Most lines of a source file, as `wc -l` counts them.
const LINES: usize = 500;

/// Most files of a folder.
const FILES: usize = 12;

/// Files that may be longer, each with the reason.
const LONGER: [(&str, &str); 0] = [];

/// Folders that may hold more, each with the reason.
const FULLER: [(&str, &str); 0] = [];

#[test]
fn no_file_outgrows_its_reader() {
    let long = sources().into_iter().filter(|source| source.lines > LINES);
    let long: Vec<_> = long.map(|source| (source.path, source.lines)).collect();
    let unexpected = long
        .iter()
        .filter(|(path, _)| !LONGER.iter().any(|(known, _)| known == path));
    let unexpected: Vec<_> = unexpected.collect();
    assert!(
        unexpected.is_empty(),
        "more than {LINES} lines: split them: {unexpected:?}"
    );
    for (path, _) in LONGER {
        assert!(
            long.iter().any(|(known, _)| known == path),
            "{path} is no exception any more"
        );
    }
}

#[test]
fn no_folder_outgrows_its_reader() {
    let full = folders().into_iter().filter(|(_, files)| *files > FILES);
    let full: Vec<_> = full.collect();
    let unexpected = full
        .iter()
        .filter(|(path, _)| !FULLER.iter().any(|(known, _)| known == path));
    let unexpected: Vec<_> = unexpected.collect();
    assert!(
        unexpected.is_empty(),
        "more than {FILES} files: make folders of them: {unexpected:?}"
    );
    for (path, _) in FULLER {
        assert!(
            full.iter().any(|(known, _)| known == path),
            "{path} is no exception any more"
        );
    }
}
