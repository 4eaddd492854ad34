//! Where a field stands: its path, such as `spec.guards[errors].proportion.total`, looked up in the tree of a document.

use super::yaml::{Node, Position};

/// One part of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part<'a> {
    Key(&'a str),
    /// Position in a list, or name of an item of one.
    Item(&'a str),
}

fn parts(field: &str) -> impl Iterator<Item = Part<'_>> {
    field.split('.').flat_map(|segment| {
        let (key, items) = segment.split_once('[').unwrap_or((segment, ""));
        let items = items.split('[').map(|item| item.trim_end_matches(']'));
        let key = (!key.is_empty()).then_some(Part::Key(key));
        key.into_iter().chain(items.filter(|i| !i.is_empty()).map(Part::Item))
    })
}

/// The place of a field: of its key, or of the item of a list. Of one that is missing, the place of what should hold it.
pub(super) fn position(root: &Node, field: &str) -> Position {
    let (mut node, mut at) = (root, root.at);
    for part in parts(field) {
        let next = match part {
            Part::Key(key) => node.get(key),
            Part::Item(item) => item_of(node, item).map(|item| (item.at, item)),
        };
        match next {
            Some((found, below)) => (at, node) = (found, below),
            None => break,
        }
    }
    at
}

/// Whether a field is written.
pub(super) fn exists(root: &Node, field: &str) -> bool {
    let found = parts(field).try_fold(root, |node, part| match part {
        Part::Key(key) => node.get(key).map(|(_, below)| below),
        Part::Item(item) => item_of(node, item),
    });
    found.is_some()
}

/// By name where an item has that name, because guards and metrics are identified by it; else by position.
fn item_of<'a>(list: &'a Node, item: &str) -> Option<&'a Node> {
    let named = |node: &&'a Node| node.get("name").and_then(|(_, name)| name.text()) == Some(item);
    let by_name = list.items().iter().map(std::rc::Rc::as_ref).find(named);
    by_name.or_else(|| list.item(item.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::super::yaml;
    use super::*;

    #[test]
    fn a_field_is_found_by_key_name_and_position_and_a_missing_one_at_what_should_hold_it() {
        let text =
            "spec:\n  guards:\n  - {name: errors, total: x}\n  - name: drift\n    max: 1\n  steps: [{weight: 5}]\n";
        let documents = yaml::read(text);
        let root = &documents.roots[0];
        for (field, line, column) in [
            ("spec.guards[errors].total", 3, 20),
            ("spec.guards[1].max", 5, 5),
            ("spec.guards[drift]", 4, 5),
            ("spec.guards[drift].min.x", 4, 5),
            ("spec.steps[0].weight", 6, 12),
            ("spec.rollout.hold", 1, 1),
            ("", 1, 1),
        ] {
            assert_eq!(position(root, field), Position { line, column }, "{field}");
        }
        assert!(exists(root, "spec.steps[0].weight") && !exists(root, "spec.steps[1]"));
    }
}
