//! No two files import each other, directly or by way of others.
//!
//! An import leads to the file that defines the item, also where a `mod.rs` passes it on: passing on is no import.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Item, ItemUse, UseTree, Visibility};

use crate::source::{Source, sources};

/// A path of names. It begins with `crate` unless it leads out of the crate.
type Names = Vec<String>;

/// What a module defines and what it passes on.
#[derive(Default)]
struct Module {
    file: String,
    defined: BTreeSet<String>,
    /// Names that a `use` makes known here, with what they stand for.
    known: BTreeMap<String, Names>,
    /// Paths of which everything is passed on.
    globs: Vec<Names>,
}

/// All modules by their path.
struct Crate(BTreeMap<Names, Module>);

impl Crate {
    fn of(sources: &[Source]) -> Self {
        let mut modules = BTreeMap::new();
        for source in sources {
            let mut module = Module {
                file: source.path.clone(),
                ..Module::default()
            };
            for item in &source.file.items {
                if let Some(name) = defined(item) {
                    module.defined.insert(name);
                }
                if let Item::Use(item) = item {
                    for (name, path) in flatten(&item.tree) {
                        let path = absolute(&source.module, path);
                        if name == "*" {
                            module.globs.push(path);
                        } else {
                            module.known.insert(name, path);
                        }
                    }
                }
            }
            modules.insert(source.module.clone(), module);
        }
        Self(modules)
    }

    /// The file that defines what a path from the root leads to; `None` for what is not of this crate.
    fn file(&self, path: &[String], depth: usize) -> Option<&str> {
        let within = (1..=path.len()).rev().find(|n| self.0.contains_key(&path[..*n]))?;
        let (module, rest) = (&self.0[&path[..within]], &path[within..]);
        let Some(name) = rest.first() else {
            return Some(&module.file);
        };
        // A chain of re-exports that is longer leads in a circle, which the compiler refuses.
        if module.defined.contains(name) || depth > 8 {
            return Some(&module.file);
        }
        if let Some(target) = module.known.get(name) {
            let target = [target.as_slice(), &rest[1..]].concat();
            return self.file(&self.inside(&path[..within], target), depth + 1);
        }
        let passed_on = module.globs.iter().find_map(|glob| {
            let target = [glob.as_slice(), rest].concat();
            self.file(&target, depth + 1)
        });
        // What is neither written nor passed on here a derive has made.
        passed_on.or(Some(&module.file))
    }

    /// A path as a module means it: its own children come before other crates.
    fn inside(&self, module: &[String], path: Names) -> Names {
        let own = [module, &path[..1.min(path.len())]].concat();
        if self.0.contains_key(&own) {
            [module, path.as_slice()].concat()
        } else {
            path
        }
    }
}

fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(i) => &i.ident,
        Item::Enum(i) => &i.ident,
        Item::Fn(i) => &i.sig.ident,
        Item::Static(i) => &i.ident,
        Item::Struct(i) => &i.ident,
        Item::Trait(i) => &i.ident,
        Item::Type(i) => &i.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// The paths of a `use`, each with the name that it makes known.
fn flatten(tree: &UseTree) -> Vec<(String, Names)> {
    match tree {
        UseTree::Path(path) => {
            let below = flatten(&path.tree).into_iter();
            let first = path.ident.to_string();
            let under = |(name, rest): (String, Names)| {
                let name = if name == "self" { first.clone() } else { name };
                (name, [vec![first.clone()], rest].concat())
            };
            below.map(under).collect()
        }
        UseTree::Name(name) if name.ident == "self" => vec![("self".to_owned(), Vec::new())],
        UseTree::Name(name) => vec![(name.ident.to_string(), vec![name.ident.to_string()])],
        UseTree::Rename(rename) if rename.ident == "self" => vec![(rename.rename.to_string(), Vec::new())],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), vec![rename.ident.to_string()])],
        UseTree::Glob(_) => vec![("*".to_owned(), Vec::new())],
        UseTree::Group(group) => group.items.iter().flat_map(flatten).collect(),
    }
}

/// A path as it is without `self` and `super`.
fn absolute(module: &[String], path: Names) -> Names {
    if !matches!(path.first().map(String::as_str), Some("self" | "super")) {
        return path;
    }
    let mut base = module.to_vec();
    for name in path {
        match name.as_str() {
            "self" => {}
            "super" => drop(base.pop()),
            _ => base.push(name),
        }
    }
    base
}

/// Paths that a file names in its code.
struct Named<'a> {
    module: &'a [String],
    paths: BTreeSet<Names>,
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // Passing on is no import; what the file itself uses of it is named in its code.
        if matches!(item.vis, Visibility::Inherited) {
            for (_, path) in flatten(&item.tree) {
                self.paths.insert(absolute(self.module, path));
            }
        }
    }

    /// Who may see something is no import.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        self.paths.insert(absolute(self.module, names.collect()));
        visit::visit_path(self, path);
    }
}

/// The files that each file imports, each with a path by which it does.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

fn imports(sources: &[Source]) -> Imports {
    let all = Crate::of(sources);
    let of = |source: &Source| {
        let mut named = Named {
            module: &source.module,
            paths: BTreeSet::new(),
        };
        named.visit_file(&source.file);
        let module = &all.0[&source.module];
        let file = |path: Names| {
            // A name that the file knows by a `use`, or a path from the root.
            let meant = match path.first().and_then(|first| module.known.get(first)) {
                Some(target) => [target.as_slice(), &path[1..]].concat(),
                None => path,
            };
            let meant = all.inside(&source.module, meant);
            Some((all.file(&meant, 0)?.to_owned(), meant.join("::")))
        };
        let files = named.paths.into_iter().filter_map(file);
        files
            .filter(|(file, _)| *file != source.path && file != "lib.rs")
            .collect()
    };
    sources.iter().map(|source| (source.path.clone(), of(source))).collect()
}

/// Files from which one can get back to where one began, each circle by its members.
fn circles(imports: &Imports) -> Vec<BTreeSet<&str>> {
    let reached = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(file) = open.pop() {
            for next in imports.get(file).into_iter().flat_map(BTreeMap::keys) {
                if let Some((next, _)) = imports.get_key_value(next)
                    && seen.insert(next.as_str())
                {
                    open.push(next);
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<&str>> = imports.keys().map(|file| (file.as_str(), reached(file))).collect();
    let with = |file: &str| -> BTreeSet<&str> {
        let there = reached[file].iter().copied();
        there.filter(|other| reached[other].contains(file)).collect()
    };
    let found: BTreeSet<_> = imports
        .keys()
        .map(|file| with(file))
        .filter(|circle| !circle.is_empty())
        .collect();
    found.into_iter().collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports(&sources());
    let known = |from: &str, to: &str| imports[from].contains_key(to);
    assert!(
        known("rollout/mod.rs", "rollout/observation.rs"),
        "imports are not found"
    );
    assert!(
        known("controller/observe.rs", "rollout/observation.rs"),
        "imports by way of a re-export are not found"
    );
    let circles = circles(&imports);
    let told = circles.iter().map(|circle| {
        let edges = circle.iter().map(|file| {
            let within = imports[*file].iter().filter(|(to, _)| circle.contains(to.as_str()));
            let to: Vec<_> = within.map(|(to, path)| format!("{to} ({path})")).collect();
            format!("  {file} imports {}", to.join(", "))
        });
        edges.collect::<Vec<_>>().join("\n")
    });
    let told: Vec<_> = told.collect();
    assert!(told.is_empty(), "circles of imports:\n{}", told.join("\n\n"));
}
