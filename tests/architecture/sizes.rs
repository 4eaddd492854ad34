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
    let sizes = sources().into_iter().map(|source| (source.path, source.lines));
    none_exceeds(LINES, "lines: split them", sizes, &LONGER);
}

#[test]
fn no_folder_outgrows_its_reader() {
    none_exceeds(FILES, "files: make folders of them", folders(), &FULLER);
}

/// Fails on a path that is larger than `most` and no exception, and on an exception that is not larger.
fn none_exceeds(
    most: usize,
    unit: &str,
    sizes: impl IntoIterator<Item = (String, usize)>,
    exceptions: &[(&str, &str)],
) {
    let large: Vec<_> = sizes.into_iter().filter(|(_, size)| *size > most).collect();
    let is_exception = |path: &str| exceptions.iter().any(|(known, _)| *known == path);
    let unexpected: Vec<_> = large.iter().filter(|(path, _)| !is_exception(path)).collect();
    assert!(unexpected.is_empty(), "more than {most} {unit}: {unexpected:?}");
    for (path, _) in exceptions {
        assert!(
            large.iter().any(|(known, _)| known == path),
            "{path} is no exception any more"
        );
    }
}
