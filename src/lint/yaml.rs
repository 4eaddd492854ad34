//! YAML (and so JSON) as a tree that knows the line and column of every field, read as `kubectl` reads it.
//!
//! Scalars are resolved by the rules of YAML 1.1, which `kubectl` follows: `version: 2026.10` is a number and `x: yes` a
//! boolean. Aliases and merge keys are followed; how deep and how large a document may get is bounded.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};
use serde_json::{Map, Number, Value};

/// Deepest nesting, aliases followed: deeper than any object of Kubernetes.
const DEEPEST: usize = 100;

/// Most values of a document, aliases followed: larger than the API server would take.
const LARGEST: usize = 200_000;

/// A place in a file, both counted from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// A value with its place.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) at: Position,
    depth: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(Value),
    List(Vec<Rc<Node>>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
struct Entry {
    key: String,
    at: Position,
    value: Rc<Node>,
}

/// Something that is no YAML, or not what a manifest may hold.
#[derive(Debug, PartialEq)]
pub(super) struct Problem {
    pub(super) at: Position,
    pub(super) message: String,
}

/// The documents of a file as far as they can be read, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Documents {
    pub(super) roots: Vec<Rc<Node>>,
    pub(super) problems: Vec<Problem>,
}

/// A collection that is not at its end.
enum Open {
    List(Position, Vec<Rc<Node>>),
    Map(Position, Vec<Entry>, Keys),
}

/// The keys of a mapping that is not at its end.
#[derive(Default)]
struct Keys {
    /// The one whose value comes next.
    next: Option<(String, Position)>,
    known: HashSet<String>,
}

/// Reads all documents.
pub(super) fn read(text: &str) -> Documents {
    let mut options = Options::default();
    options.set_emit_comments(false);
    let mut reader = Reader::default();
    for event in Parser::new_from_str_with_options(text, options) {
        let result = match event {
            Ok((event, span)) => reader.take(event, span),
            Err(error) => Err(syntax(&error)),
        };
        if let Err(problem) = result {
            reader.found.problems.push(problem);
            break;
        }
    }
    reader.found
}

fn syntax(error: &ScanError) -> Problem {
    Problem {
        at: Position {
            line: error.marker().line().max(1),
            column: error.marker().col() + 1,
        },
        message: format!("this is no YAML: {}", error.info()),
    }
}

#[derive(Default)]
struct Reader {
    found: Documents,
    open: Vec<(Open, usize)>,
    anchors: HashMap<usize, Rc<Node>>,
}

impl Reader {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Problem> {
        let at = Position {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
        };
        match event {
            Event::SequenceStart(_, anchor, _) => self.open.push((Open::List(at, Vec::new()), anchor)),
            Event::MappingStart(_, anchor, _) => self.open.push((Open::Map(at, Vec::new(), Keys::default()), anchor)),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none_or(|t| t.core_suffix() != Some("str"));
                if let Some((Open::Map(_, _, keys), _)) = self.open.last_mut()
                    && keys.next.is_none()
                {
                    keys.next = Some((text.into_owned(), at));
                    return Ok(());
                }
                let value = if plain {
                    scalar(&text)
                } else {
                    Value::String(text.into_owned())
                };
                self.close(at, Kind::Scalar(value), anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some((open, anchor)) = self.open.pop() else {
                    return Ok(());
                };
                let (at, kind) = match open {
                    Open::List(at, items) => (at, Kind::List(items)),
                    Open::Map(at, entries, _) => (at, Kind::Map(self.merged(entries))),
                };
                self.close(at, kind, anchor)?;
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Problem {
                        at,
                        message: "this alias refers to what it stands in".to_owned(),
                    });
                };
                self.put(at, node)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, at: Position, kind: Kind, anchor: usize) -> Result<(), Problem> {
        let below = match &kind {
            Kind::Scalar(_) => 0,
            Kind::List(items) => items.iter().map(|item| item.depth).max().unwrap_or(0),
            Kind::Map(entries) => entries.iter().map(|entry| entry.value.depth).max().unwrap_or(0),
        };
        let node = Rc::new(Node {
            at,
            depth: below + 1,
            kind,
        });
        if anchor > 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        self.put(at, node)
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, at: Position, node: Rc<Node>) -> Result<(), Problem> {
        if node.depth > DEEPEST {
            return Err(Problem {
                at,
                message: format!("this is nested deeper than {DEEPEST} levels"),
            });
        }
        match self.open.last_mut() {
            None => self.found.roots.push(node),
            Some((Open::List(_, items), _)) => items.push(node),
            Some((Open::Map(_, entries, keys), _)) => match keys.next.take() {
                Some((key, at)) => {
                    if key != "<<" && !keys.known.insert(key.clone()) {
                        self.found.problems.push(Problem {
                            at,
                            message: format!("{key:?} stands here for the second time; remove one of them"),
                        });
                    }
                    entries.push(Entry { key, at, value: node });
                }
                None => {
                    return Err(Problem {
                        at,
                        message: "a key must be a plain text".to_owned(),
                    });
                }
            },
        }
        Ok(())
    }

    /// The entries with those that `<<` brings: what is written itself goes first.
    fn merged(&self, written: Vec<Entry>) -> Vec<Entry> {
        let (merges, mut entries): (Vec<_>, Vec<_>) = written.into_iter().partition(|entry| entry.key == "<<");
        if merges.is_empty() {
            return entries;
        }
        let mut known: HashSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
        for merge in merges {
            let sources = match &merge.value.kind {
                Kind::List(items) => items.clone(),
                _ => vec![merge.value],
            };
            for source in sources {
                let Kind::Map(brought) = &source.kind else { continue };
                for entry in brought {
                    if known.insert(entry.key.clone()) {
                        entries.push(entry.clone());
                    }
                }
            }
        }
        entries
    }
}

/// A plain scalar, as `kubectl` reads it.
fn scalar(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    let digits = text.replace('_', "");
    let unsigned = digits.strip_prefix(['-', '+']).unwrap_or(&digits);
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return Value::String(text.to_owned());
    }
    let sign = if digits.starts_with('-') { -1 } else { 1 };
    let radix = [("0x", 16), ("0b", 2), ("0o", 8), ("0", 8)];
    let whole = radix
        .into_iter()
        .find_map(|(prefix, radix)| i64::from_str_radix(unsigned.strip_prefix(prefix)?, radix).ok())
        .map(|value| sign * value)
        .or_else(|| digits.parse::<i64>().ok());
    if let Some(whole) = whole {
        return Value::from(whole);
    }
    let numeric = unsigned
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'));
    match digits.parse::<f64>() {
        Ok(value) if numeric => Number::from_f64(value).map_or(Value::Null, Value::Number),
        _ => Value::String(text.to_owned()),
    }
}

impl Node {
    /// The value; `None` if it is too large.
    pub(super) fn value(&self) -> Option<Value> {
        self.within(&mut LARGEST.clone())
    }

    fn within(&self, left: &mut usize) -> Option<Value> {
        *left = left.checked_sub(1)?;
        Some(match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::List(items) => Value::Array(items.iter().map(|item| item.within(left)).collect::<Option<_>>()?),
            Kind::Map(entries) => {
                let mut map = Map::new();
                for entry in entries {
                    map.insert(entry.key.clone(), entry.value.within(left)?);
                }
                Value::Object(map)
            }
        })
    }

    /// The value of a key, and where the key stands.
    pub(super) fn get(&self, key: &str) -> Option<(Position, &Self)> {
        let Kind::Map(entries) = &self.kind else { return None };
        // Of two with one key the last counts, as in the value.
        let entry = entries.iter().rfind(|entry| entry.key == key)?;
        Some((entry.at, &entry.value))
    }

    /// An item of a list.
    pub(super) fn item(&self, index: usize) -> Option<&Self> {
        self.items().get(index).map(Rc::as_ref)
    }

    /// All items of a list; none of anything else.
    pub(super) fn items(&self) -> &[Rc<Self>] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// A text.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Rc<Node> {
        let found = read(text);
        assert_eq!(found.problems, [], "{text}");
        Rc::clone(&found.roots[0])
    }

    #[test]
    fn scalars_are_what_kubectl_takes_them_for() {
        let text = "[2026.11.0, 2026.10, 0x1F, 010, 1e3, 1_000, yes, 'yes', ~, 2026-10-01T00:00:00Z, 5m, -7, .5, 1.2.3, 08, '', off, NaN, !!str 5]";
        let value = one(text).value().unwrap();
        assert_eq!(
            value,
            serde_json::json!([
                "2026.11.0",
                2026.10,
                31,
                8,
                1000.0,
                1000,
                true,
                "yes",
                null,
                "2026-10-01T00:00:00Z",
                "5m",
                -7,
                0.5,
                "1.2.3",
                8,
                "",
                false,
                "NaN",
                "5"
            ])
        );
    }

    #[test]
    fn fields_know_where_they_stand() {
        let node = one("a: 1\nb:\n  - {c: é, d: 2}\n  - e\n");
        let (at, b) = node.get("b").unwrap();
        assert_eq!((at.line, at.column), (2, 1));
        let (at, _) = b.item(0).unwrap().get("d").unwrap();
        assert_eq!((at.line, at.column), (3, 12), "columns are characters");
        assert_eq!(b.item(1).unwrap().at, Position { line: 4, column: 5 });
    }

    #[test]
    fn aliases_and_merges_are_followed() {
        let node = one("base: &b {x: 1, y: 2}\nuse: {<<: *b, y: 3}\nlist: [*b]\n");
        assert_eq!(
            node.value().unwrap(),
            serde_json::json!({"base": {"x": 1, "y": 2}, "use": {"y": 3, "x": 1}, "list": [{"x": 1, "y": 2}]})
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_place() {
        for (text, line, part) in [
            ("a: [1\nb: 2\n", 2, "no YAML"),
            ("a: 1\na: 2\n", 2, "second time"),
            ("? [x]\n: 1\n", 1, "plain text"),
            ("a: &a [*a]\n", 1, "alias"),
        ] {
            let found = read(text);
            assert!(
                found
                    .problems
                    .iter()
                    .any(|p| p.message.contains(part) && p.at.line == line),
                "{text}: {:?}",
                found.problems
            );
        }
    }

    #[test]
    fn a_billion_laughs_are_too_large_and_a_deep_nest_too_deep() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for i in 1..9 {
            let last = i - 1;
            text.push_str(&format!("a{i}: &a{i} [{}]\n", vec![format!("*a{last}"); 9].join(", ")));
        }
        assert!(one(&text).value().is_none());
        let mut deep = String::from("a0: &a0 [x]\n");
        for i in 1..200 {
            deep.push_str(&format!("a{i}: &a{i} [*a{}]\n", i - 1));
        }
        assert!(read(&deep).problems[0].message.contains("nested deeper"));
    }
}
