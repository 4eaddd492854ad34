//! A new kind of guard is a new file: nobody but `guards` may go through the kinds one by one.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::source::{Source, sources};

/// Where kinds may be told apart: their own module, and the types of the API with their rules.
const MAY: [&str; 2] = ["guards/", "api/"];

/// Names of one kind.
struct Kind {
    /// Of its variant.
    variant: String,
    /// Of its field in the API, and of what gives access to it.
    field: String,
}

/// The kinds, as the enum of `guards` lists them.
fn kinds(sources: &[Source]) -> Vec<Kind> {
    let guards = sources.iter().find(|source| source.path == "guards/mod.rs");
    let items = &guards.expect("guards/mod.rs holds the kinds").file.items;
    let listed = items.iter().find_map(|item| match item {
        syn::Item::Enum(item) if item.ident == "Kind" => Some(&item.variants),
        _ => None,
    });
    let variants = listed.expect("guards::Kind lists the kinds").iter();
    variants
        .map(|variant| Kind {
            variant: variant.ident.to_string(),
            field: variant.ident.to_string().to_lowercase(),
        })
        .collect()
}

/// Looks for functions that name more than one kind.
struct Search<'a> {
    kinds: &'a [Kind],
    /// Kinds that were named, by each of the functions that are open.
    named: Vec<BTreeSet<String>>,
    /// Functions that name several.
    found: Vec<String>,
}

impl Search<'_> {
    fn name(&mut self, is: impl Fn(&Kind) -> bool) {
        let kind = self.kinds.iter().find(|kind| is(kind));
        if let (Some(kind), Some(named)) = (kind, self.named.last_mut()) {
            named.insert(kind.variant.clone());
        }
    }

    fn function(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        self.named.push(BTreeSet::new());
        visit(self);
        let named = self.named.pop().unwrap_or_default();
        if named.len() > 1 {
            self.found.push(format!("{name} tells {named:?} apart"));
        }
    }
}

impl<'ast> Visit<'ast> for Search<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig.ident, |this| visit::visit_item_fn(this, item));
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig.ident, |this| visit::visit_impl_item_fn(this, item));
    }

    /// `Kind::Latency`, in a pattern or an expression.
    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut last = path.segments.iter().rev();
        if let (Some(variant), Some(of)) = (last.next(), last.next())
            && of.ident == "Kind"
        {
            self.name(|kind| variant.ident == kind.variant);
        }
        visit::visit_path(self, path);
    }

    /// `guard.latency`
    fn visit_expr_field(&mut self, expr: &'ast syn::ExprField) {
        if let syn::Member::Named(field) = &expr.member {
            self.name(|kind| *field == kind.field);
        }
        visit::visit_expr_field(self, expr);
    }

    /// `Guard { latency, .. }`
    fn visit_pat_struct(&mut self, pattern: &'ast syn::PatStruct) {
        let of_guard = pattern.path.segments.last().is_some_and(|last| last.ident == "Guard");
        for field in pattern.fields.iter().filter(|_| of_guard) {
            if let syn::Member::Named(field) = &field.member {
                self.name(|kind| *field == kind.field);
            }
        }
        visit::visit_pat_struct(self, pattern);
    }

    /// `kind.as_latency()`
    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let method = call.method.to_string();
        self.name(|kind| method.strip_prefix("as_") == Some(&kind.field));
        visit::visit_expr_method_call(self, call);
    }
}

#[test]
fn guard_kinds_are_told_apart_in_one_module_only() {
    let sources = sources();
    let kinds = kinds(&sources);
    let mut found = Vec::new();
    for source in &sources {
        if MAY.iter().any(|folder| source.path.starts_with(folder)) {
            continue;
        }
        let mut search = Search {
            kinds: &kinds,
            named: Vec::new(),
            found: Vec::new(),
        };
        search.visit_file(&source.file);
        found.extend(search.found.iter().map(|what| format!("{}: {what}", source.path)));
    }
    assert!(
        found.is_empty(),
        "ask a guard through what all kinds have in common (guards::GuardKind, guards::GuardSpec):\n{}",
        found.join("\n")
    );
}

#[test]
fn the_search_finds_what_it_is_for() {
    let kinds: Vec<Kind> = [("Latency", "latency"), ("Query", "query")]
        .map(|(variant, field)| Kind {
            variant: variant.to_owned(),
            field: field.to_owned(),
        })
        .into();
    for (code, finds) in [
        (
            "fn f(k: Kind) -> u8 { match k { Kind::Latency(_) => 1, guards::Kind::Query(_) => 2 } }",
            true,
        ),
        (
            "fn f(g: Guard) { if g.latency.is_some() {} else if let Some(q) = &g.query {} }",
            true,
        ),
        (
            "impl A { fn f(g: Guard) { let Guard { latency, query, .. } = g; } }",
            true,
        ),
        ("fn f(k: Kind) { k.as_latency().or(k.as_query()); }", true),
        ("fn f(k: Kind) { k.as_latency(); } fn g(g: Guard) { g.query; }", false),
    ] {
        let mut search = Search {
            kinds: &kinds,
            named: Vec::new(),
            found: Vec::new(),
        };
        search.visit_file(&syn::parse_str(code).expect("code"));
        assert_eq!(!search.found.is_empty(), finds, "{code}");
    }
}
