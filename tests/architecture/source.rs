//! The source files of the crate, parsed; without what is only compiled for tests.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::{Attribute, File, Item};

/// One file of `src/`.
pub struct Source {
    /// Path below `src/`, such as `rollout/climb.rs`.
    pub path: String,
    /// Its module, such as `["crate", "rollout", "climb"]`.
    pub module: Vec<String>,
    /// All lines, tests included.
    pub lines: usize,
    /// What it holds, without test code.
    pub file: File,
}

/// All source files, in the order of their paths.
pub fn sources() -> Vec<Source> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut file = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        file.items.retain(|item| !is_test(attributes(item)));
        let path = path.strip_prefix(&src).expect("inside src").display().to_string();
        Source {
            module: module(&path),
            lines: text.lines().count(),
            path,
            file,
        }
    };
    paths.into_iter().map(read).collect()
}

/// Number of entries of each folder of `src/`, by its path.
pub fn folders() -> BTreeMap<String, usize> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = BTreeMap::new();
    let mut open = vec![src.clone()];
    while let Some(folder) = open.pop() {
        let entries: Vec<_> = entries(&folder).collect();
        let files = entries.iter().filter(|path| path.is_file()).count();
        let name = folder.strip_prefix(&src).expect("inside src").display().to_string();
        found.insert(name, files);
        open.extend(entries.into_iter().filter(|path| path.is_dir()));
    }
    found
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| entry.expect("an entry").path())
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) {
    for path in entries(folder) {
        if path.is_dir() {
            walk(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") && !only_for_tests(&path) {
            out.push(path);
        }
    }
}

/// Whether a file holds nothing but tests, by its name or that of its folder.
fn only_for_tests(path: &Path) -> bool {
    path.iter().any(|part| part == "tests" || part == "tests.rs") && path.iter().any(|part| part == "src")
}

fn module(path: &str) -> Vec<String> {
    let path = format!("crate/{}", path.trim_end_matches(".rs"));
    let mut parts: Vec<_> = path.split('/').map(str::to_owned).collect();
    if matches!(parts.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(i) => &i.attrs,
        Item::Enum(i) => &i.attrs,
        Item::Fn(i) => &i.attrs,
        Item::Impl(i) => &i.attrs,
        Item::Mod(i) => &i.attrs,
        Item::Static(i) => &i.attrs,
        Item::Struct(i) => &i.attrs,
        Item::Trait(i) => &i.attrs,
        Item::Type(i) => &i.attrs,
        Item::Use(i) => &i.attrs,
        _ => &[],
    }
}
