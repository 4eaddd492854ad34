//! Where records come from: exported files, standard input, or the objects of a cluster.

use std::collections::BTreeSet;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use kube::api::ListParams;
use kube::{Api, Client};

use crate::api::{GROUP, PrecisionDecision};
use crate::ledger::verify::{Item, Source};
use crate::ledger::{Bundle, LARGEST_STATEMENT, Statement, object_name, unpack};

use super::super::server::runtime;
use super::super::streams;

/// Ends of the names of exported records. Before them stands the number of the record.
pub(super) const EXPORTED: [&str; 2] = [".sigstore.json", ".unsigned.json"];

/// Most bytes of an exported record: its statement in Base64, and what is around it.
pub(super) const LARGEST_FILE: usize = 2 * LARGEST_STATEMENT;

/// Records that one answer of the API server holds.
const PAGE: u32 = 100;

/// Most characters of a label's value.
const LONGEST_LABEL: usize = 63;

/// The exported records in files, and in and below directories, each once and in the order of their names. `-` stands for
/// standard input, with one record a line.
pub(super) fn of_paths(paths: &[PathBuf]) -> Result<Vec<Item>, String> {
    let (mut items, mut files) = (Vec::new(), BTreeSet::new());
    for path in paths {
        let told = |e: std::io::Error| format!("{}: {e}", path.display());
        if streams::is_stdin(path) {
            items.extend(of_lines(std::io::stdin().lock())?);
        } else if path.metadata().map_err(told)?.is_dir() {
            below(path, &mut files)?;
        } else {
            files.insert(path.clone());
        }
    }
    for path in files {
        let name = path.display().to_string();
        items.push(record(name, streams::bounded(&path, LARGEST_FILE)?)?);
    }
    Ok(items)
}

fn below(directory: &Path, out: &mut BTreeSet<PathBuf>) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{}: {e}", directory.display());
    for entry in std::fs::read_dir(directory).map_err(told)? {
        let entry = entry.map_err(told)?;
        let kind = entry.file_type().map_err(told)?;
        let name = entry.file_name();
        let is_record = || EXPORTED.iter().any(|end| name.to_string_lossy().ends_with(end));
        // A link is not followed, for it may lead back here.
        if kind.is_dir() {
            below(&entry.path(), out)?;
        } else if kind.is_file() && is_record() {
            out.insert(entry.path());
        }
    }
    Ok(())
}

/// The records of a text, one a line. Empty lines are left out.
fn of_lines(mut text: impl BufRead) -> Result<Vec<Item>, String> {
    let mut items = Vec::new();
    for number in 1_u64.. {
        let name = format!("line {number} of standard input");
        let mut line = Vec::new();
        // One byte for the end of the line, and one that tells what is too long.
        let mut part = std::io::Read::take(&mut text, LARGEST_FILE as u64 + 2);
        if part.read_until(b'\n', &mut line).map_err(|e| format!("{name}: {e}"))? == 0 {
            break;
        }
        // A break is no part of a record, and everything before it is.
        line.pop_if(|byte| *byte == b'\n');
        if !line.is_empty() {
            items.push(record(name, line)?);
        }
    }
    Ok(items)
}

fn record(name: String, bytes: Vec<u8>) -> Result<Item, String> {
    if bytes.len() > LARGEST_FILE {
        return Err(format!("{name}: it is larger than any exported record"));
    }
    Ok(Item {
        name,
        source: Source::Bundle(bytes),
    })
}

/// Which objects of a cluster are asked for.
pub(super) enum Wanted<'a> {
    /// Those of one model; its namespace is that of the kubeconfig when left out.
    Model { namespace: Option<&'a str>, name: &'a str },
    /// Those of all models, in one namespace or in all.
    All { namespace: Option<&'a str> },
}

/// The records that a cluster holds.
pub(super) fn of_cluster(wanted: &Wanted<'_>) -> Result<Vec<PrecisionDecision>, String> {
    // Installing a second time would be an error, which cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    runtime()?.block_on(async {
        let client = Client::try_default().await;
        objects(client.map_err(|e| format!("no way to the API server: {e}"))?, wanted).await
    })
}

/// An object of a cluster, to be verified.
pub(super) fn item(object: PrecisionDecision) -> Item {
    Item {
        name: object.metadata.name.clone().unwrap_or_default(),
        source: Source::Object(Box::new(object)),
    }
}

async fn objects(client: Client, wanted: &Wanted<'_>) -> Result<Vec<PrecisionDecision>, String> {
    let mut page = ListParams::default().limit(PAGE);
    // A longer name is cut in the label, and another model may have the same beginning.
    let mut is_named_after = None;
    let api: Api<PrecisionDecision> = match wanted {
        Wanted::Model { namespace, name } => {
            if name.len() <= LONGEST_LABEL {
                page = page.labels(&format!("{GROUP}/model={name}"));
            } else {
                is_named_after = Some(*name);
            }
            let namespace = namespace.unwrap_or(client.default_namespace()).to_owned();
            Api::namespaced(client, &namespace)
        }
        Wanted::All {
            namespace: Some(namespace),
        } => Api::namespaced(client, namespace),
        Wanted::All { namespace: None } => Api::all(client),
    };
    let mut all = Vec::new();
    loop {
        let list = api.list(&page).await;
        let list = list.map_err(|e| format!("the PrecisionDecisions cannot be listed: {e}"))?;
        all.extend(list.items);
        match list.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => break,
        }
    }
    if let Some(model) = is_named_after {
        all.retain(|object| is_record_of(model, object));
    }
    Ok(all)
}

/// Whether an object has the name of a record of this model.
fn is_record_of(model: &str, object: &PrecisionDecision) -> bool {
    let number = u64::try_from(object.spec.sequence);
    number.is_ok_and(|number| object.metadata.name.as_ref() == Some(&object_name(model, number)))
}

/// The statement of a record.
pub(super) fn statement(item: &Item) -> Result<Statement, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", item.name);
    let payload = match &item.source {
        Source::Bundle(bytes) => Bundle::parse(bytes).map_err(|e| told(&e))?.payload,
        Source::Object(object) => unpack(&object.spec.payload, LARGEST_STATEMENT).map_err(|e| told(&e))?,
    };
    Statement::parse(&payload).map_err(|e| told(&e))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http::{Request, Response};
    use kube::client::Body;
    use serde_json::{Value, json};

    use super::*;

    fn object(name: &str, sequence: i64) -> Value {
        json!({
            "apiVersion": "guardbit.dev/v1alpha1",
            "kind": "PrecisionDecision",
            "metadata": {"name": name, "namespace": "risk"},
            "spec": {"sequence": sequence, "time": "", "summary": "", "payloadDigest": "", "payload": ""},
        })
    }

    /// An API server that answers with one object a page; with what it was asked.
    fn server(pages: Vec<Value>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        let service = tower::service_fn(move |request: Request<Body>| {
            let uri = request.uri().to_string();
            let number = uri.split_once("continue=").map_or(0, |(_, rest)| {
                let token = rest.split('&').next().unwrap_or_default();
                token.parse::<usize>().expect("a token of this server")
            });
            seen.lock().expect("no panic").push(uri);
            let next = number + 1;
            let token = if next < pages.len() {
                next.to_string()
            } else {
                String::new()
            };
            let list = json!({
                "apiVersion": "guardbit.dev/v1alpha1",
                "kind": "PrecisionDecisionList",
                "metadata": {"continue": token},
                "items": [pages[number]],
            });
            async move { Ok::<_, kube::Error>(Response::new(Body::from(list.to_string().into_bytes()))) }
        });
        (Client::new(service, "usual"), asked)
    }

    fn names(objects: Vec<PrecisionDecision>) -> Vec<String> {
        objects.into_iter().filter_map(|object| object.metadata.name).collect()
    }

    #[tokio::test]
    async fn all_pages_of_a_list_are_read() {
        let pages = (1..=3).map(|n| object(&object_name("fraud", n), n as i64)).collect();
        let (client, asked) = server(pages);
        let wanted = Wanted::Model {
            namespace: None,
            name: "fraud",
        };
        let found = objects(client, &wanted).await.expect("records");
        assert_eq!(names(found), ["fraud-000001", "fraud-000002", "fraud-000003"]);
        let asked = asked.lock().expect("no panic").clone();
        assert_eq!(asked.len(), 3, "{asked:?}");
        for uri in asked {
            assert!(uri.contains("/namespaces/usual/precisiondecisions?"), "{uri}");
            assert!(uri.contains("labelSelector=guardbit.dev%2Fmodel%3Dfraud"), "{uri}");
        }
    }

    #[tokio::test]
    async fn records_of_a_model_with_a_long_name_are_told_from_those_of_another() {
        let (model, other) = (format!("{}a", "m".repeat(70)), format!("{}b", "m".repeat(70)));
        let pages = vec![object(&object_name(&model, 1), 1), object(&object_name(&other, 1), 1)];
        let (client, asked) = server(pages);
        let wanted = Wanted::Model {
            namespace: Some("risk"),
            name: &model,
        };
        let found = objects(client, &wanted).await.expect("records");
        assert_eq!(names(found), [object_name(&model, 1)]);
        let asked = asked.lock().expect("no panic").clone();
        assert!(asked.iter().all(|uri| !uri.contains("labelSelector")), "{asked:?}");
    }

    #[test]
    fn a_record_a_line_is_read_to_the_last_byte() {
        let items = of_lines(&b"{\"a\":1}\n\n{\"b\":2} \n{\"c\":3}"[..]).expect("lines");
        let found: Vec<_> = items
            .into_iter()
            .map(|item| match item.source {
                Source::Bundle(bytes) => (item.name, bytes),
                Source::Object(_) => unreachable!("a text has no objects"),
            })
            .collect();
        let line = |number: u64, bytes: &[u8]| (format!("line {number} of standard input"), bytes.to_vec());
        assert_eq!(
            found,
            [line(1, b"{\"a\":1}"), line(3, b"{\"b\":2} "), line(4, b"{\"c\":3}")]
        );
        let long = vec![b'x'; LARGEST_FILE + 1];
        let refused = of_lines(long.as_slice()).expect_err("too long");
        assert!(refused.starts_with("line 1 of standard input: "), "{refused}");
    }
}
