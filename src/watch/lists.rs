//! The objects that exist when a watch begins, from a list that is cut into events as it arrives.
//!
//! kube's watcher can begin in two ways. It can list by pages: of ten thousand models the API server may read all pages
//! but the first from etcd, at five times the price. Or the API server begins the watch with all objects (WatchList),
//! from any state of the past, and copies and encodes each object for itself. A list as a whole comes from its cache,
//! is the newest state, and costs half as much; the informers of client-go have always asked for it. Only its size
//! speaks against it, so it is never held: its text becomes the text of a watch, item by item.

use axum::body::Body as AnyBody;
use futures::{Stream, StreamExt, stream};
use http::{Request, Uri};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// This field is half of most objects, and is not used here.
const LEFT_OUT: &[u8] = b"managedFields";

/// Number of objects and lists that are open in the list itself, between items, and in the metadata of an item.
const LIST: usize = 1;
const ITEMS: usize = 2;
const METADATA: usize = 4;

/// The same client, except that a watch that is to begin with all objects is answered with a list: an event for each
/// item, a bookmark, and the end, after which the watcher goes on from the bookmark.
pub fn listing(client: &Client) -> Client {
    let namespace = client.default_namespace().to_owned();
    let inner = client.clone();
    let service = tower::service_fn(move |mut request| {
        let inner = inner.clone();
        async move {
            let listed = to_list(&mut request);
            let answer = inner.send(request).await?.map(AnyBody::new);
            // A refusal is passed on unchanged.
            let cut = listed && answer.status().is_success();
            Ok::<_, kube::Error>(answer.map(|body| match cut {
                true => AnyBody::from_stream(events(body)),
                false => body,
            }))
        }
    });
    Client::new(service, namespace)
}

/// Asks for a list instead of a watch that is to begin with all objects, and returns whether it was one. The list names
/// no version, which asks for the newest.
fn to_list(request: &mut Request<Body>) -> bool {
    let list = list_of(request.uri());
    list.map(|uri| *request.uri_mut() = uri).is_some()
}

fn list_of(watch: &Uri) -> Option<Uri> {
    let pairs = || url::form_urlencoded::parse(watch.query().unwrap_or_default().as_bytes());
    pairs().find(|(key, value)| key == "sendInitialEvents" && value == "true")?;
    let selectors = pairs().filter(|(key, _)| key == "labelSelector" || key == "fieldSelector");
    let query = url::form_urlencoded::Serializer::new(String::new())
        .extend_pairs(selectors)
        .finish();
    let mut parts = watch.clone().into_parts();
    // A valid URI stays valid with another query.
    parts.path_and_query = Some(format!("{}?{query}", watch.path()).parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn events(list: AnyBody) -> impl Stream<Item = Result<Vec<u8>, axum::Error>> + Send {
    let begun = Some((list.into_data_stream(), Cut::default()));
    stream::unfold(begun, |state| async {
        let (mut parts, mut cut) = state?;
        Some(match parts.next().await {
            Some(Ok(part)) => (Ok(cut.take(&part)), Some((parts, cut))),
            Some(Err(error)) => (Err(error), None),
            None => (cut.end().map_err(axum::Error::new), None),
        })
    })
}

/// Cuts the text of a list as it arrives.
#[derive(Default)]
struct Cut {
    /// Number of objects and lists that are open.
    depth: usize,
    /// Whether the list of items is one of them.
    in_items: bool,
    in_string: bool,
    /// Whether the last byte was a backslash.
    escaped: bool,
    /// How many bytes of the last string match the name of the field that is left out, if all so far do. Of all that is
    /// listed only metadata has a field of this name at its depth.
    named: Option<usize>,
    leaving_out: bool,
    /// The text of the list without its items.
    list: Vec<u8>,
}

impl Cut {
    /// The next part of the text, as lines of a watch. The last line may continue in the part after it.
    fn take(&mut self, text: &[u8]) -> Vec<u8> {
        let mut events = Vec::with_capacity(text.len() + text.len() / 32);
        // Everything between two tokens is treated alike.
        let (mut begun, mut at) = (0, 0);
        while let Some(&byte) = text.get(at) {
            if self.in_string {
                at += self.end_of_string(&text[at..]);
                continue;
            }
            match byte {
                b'"' => (self.in_string, self.named) = (true, Some(0)),
                b'{' | b'[' | b'}' | b']' | b'\n' | b'\r' => {
                    self.put(&text[begun..at], &mut events);
                    self.token(byte, &mut events);
                    begun = at + 1;
                }
                _ => {}
            }
            at += 1;
        }
        self.put(&text[begun..], &mut events);
        events
    }

    /// Number of bytes up to the end of the string, or up to the next backslash, or all of them.
    fn end_of_string(&mut self, left: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            return 1;
        }
        let special = memchr::memchr2(b'"', b'\\', left);
        let text = &left[..special.unwrap_or(left.len())];
        if self.depth == METADATA {
            let so_far = self.named.filter(|&at| LEFT_OUT[at..].starts_with(text));
            self.named = so_far.map(|at| at + text.len());
        }
        match special.map(|at| left[at]) {
            Some(b'"') => self.in_string = false,
            Some(_) => (self.escaped, self.named) = (true, None),
            None => {}
        }
        text.len() + usize::from(special.is_some())
    }

    /// A byte that opens or closes something, or ends a line.
    fn token(&mut self, byte: u8, events: &mut Vec<u8>) {
        match byte {
            // Every event is one line, so line breaks are dropped.
            b'\n' | b'\r' => {}
            b'[' if self.depth == LIST => {
                self.list.push(byte);
                self.depth += 1;
                self.in_items = true;
            }
            b']' if self.in_items && self.depth == ITEMS => {
                self.in_items = false;
                self.depth -= 1;
                self.list.push(byte);
            }
            b'{' | b'[' => {
                if self.in_items && self.depth == ITEMS {
                    events.extend_from_slice(br#"{"type":"ADDED","object":"#);
                }
                if self.in_items && self.depth == METADATA && self.named == Some(LEFT_OUT.len()) {
                    self.put(b"[]", events);
                    self.leaving_out = true;
                }
                self.depth += 1;
                self.put(&[byte], events);
            }
            _ => {
                self.put(&[byte], events);
                self.depth = self.depth.saturating_sub(1);
                self.leaving_out &= self.depth > METADATA;
                if self.in_items && self.depth == ITEMS {
                    events.extend_from_slice(b"}\n");
                }
            }
        }
    }

    fn put(&mut self, text: &[u8], events: &mut Vec<u8>) {
        if !self.in_items {
            self.list.extend_from_slice(text);
        } else if self.depth > ITEMS && !self.leaving_out {
            events.extend_from_slice(text);
        }
    }

    /// The bookmark after all items.
    fn end(self) -> Result<Vec<u8>, serde_json::Error> {
        let list: Value = serde_json::from_slice(&self.list)?;
        let mark = json!({"type": "BOOKMARK", "object": {
            "apiVersion": list["apiVersion"],
            "kind": list["kind"],
            "metadata": {
                "resourceVersion": list["metadata"]["resourceVersion"],
                "annotations": {"k8s.io/initial-events-end": "true"},
            },
        }});
        Ok(format!("{mark}\n").into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of the watch for a list whose text comes in parts of this length.
    fn cut(list: &str, part: usize) -> Result<Vec<Value>, serde_json::Error> {
        let mut cut = Cut::default();
        let mut lines: Vec<u8> = list.as_bytes().chunks(part).flat_map(|part| cut.take(part)).collect();
        lines.extend(cut.end()?);
        lines
            .split_inclusive(|&byte| byte == b'\n')
            .map(serde_json::from_slice)
            .collect()
    }

    fn mark(version: &str) -> Value {
        json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "PodList", "metadata": {
            "resourceVersion": version, "annotations": {"k8s.io/initial-events-end": "true"},
        }}})
    }

    /// An object with everything that could be taken for something else, and what is left of it.
    fn item(managed: &[Value]) -> Value {
        json!({
            "metadata": {
                "name": "managedFields", "labels": {"a": "[{\"\\", "managedFields": "\\\\\"]}"}, "managedFields": managed,
                "finalizers": ["managedFields", "}"], "managed": [1], "managedFieldsToo": ["x"], "ownerReferences": [],
            },
            "spec": {"items": [{"items": [[], {}]}], "deep": {"managedFields": [{"kept": true}]}, "n": [-1.5e3, null, true]},
            "ü": "\u{1f600}\n",
        })
    }

    #[test]
    fn every_item_is_an_event_wherever_the_text_is_parted() {
        let full = item(&[json!({"manager": "kubectl", "fieldsV1": {"f:]": [[{}]]}}), json!({})]);
        let list = json!({
            "apiVersion": "v1", "items": [full, {}, full], "kind": "PodList", "metadata": {"resourceVersion": "7", "x": {"y": [{"z": []}]}},
        });
        let added = |object: Value| json!({"type": "ADDED", "object": object});
        let expected = [added(item(&[])), added(json!({})), added(item(&[])), mark("7")];
        for text in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
            for part in 1..text.len() {
                assert_eq!(cut(&text, part).unwrap(), expected, "in parts of {part}");
            }
        }
    }

    #[test]
    fn a_list_without_items_is_a_mark_and_one_that_breaks_off_is_none() {
        for items in ["[]", "[ ]", "null"] {
            let list = format!(
                r#"{{"kind":"PodList","apiVersion":"v1","metadata":{{"resourceVersion":"7"}},"items":{items}}}"#
            );
            assert_eq!(cut(&list, 5).unwrap(), [mark("7")]);
        }
        let list = json!({"kind": "PodList", "items": [item(&[]), item(&[])], "metadata": {"resourceVersion": "7"}})
            .to_string();
        for length in 0..list.len() {
            assert!(
                cut(&list[..list.floor_char_boundary(length)], 64).is_err(),
                "of {length} bytes"
            );
        }
    }

    #[test]
    fn only_a_watch_that_is_to_begin_with_all_there_is_is_a_list() {
        let of = |query: &str| {
            let uri = format!("https://api.example/api/v1/pods?{query}");
            let request = Request::get(uri).header("accept-encoding", "identity");
            let mut request = request.body(Body::empty()).unwrap();
            let listed = to_list(&mut request);
            assert_eq!(request.headers()["accept-encoding"], "identity");
            listed.then(|| request.uri().to_string())
        };
        let begins = "watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0&allowWatchBookmarks=true";
        let list = "https://api.example/api/v1/pods";
        assert_eq!(of(begins).as_deref(), Some(&*format!("{list}?")));
        let selected = of(&format!("{begins}&timeoutSeconds=290&labelSelector=a%3Db%2Cc"));
        assert_eq!(selected, Some(format!("{list}?labelSelector=a%3Db%2Cc")));
        for other in [
            "",
            "watch=true&resourceVersion=7",
            "limit=500",
            "labelSelector=sendInitialEvents%3Dtrue",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }
}
