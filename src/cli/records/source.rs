//! Where records come from: exported files in a directory, or the objects of a cluster.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use kube::Api;
use kube::api::ListParams;

use crate::api::{GROUP, PrecisionDecision};
use crate::ledger::verify::{Item, Source};
use crate::ledger::{Bundle, LARGEST_STATEMENT, Statement, unpack};

use super::super::server::runtime;
use super::super::streams;

/// Ends of the names of exported records.
const EXPORTED: [&str; 2] = [".sigstore.json", ".unsigned.json"];

/// Most bytes of an exported record: its statement in Base64, and what is around it.
const LARGEST_FILE: usize = 2 * LARGEST_STATEMENT;

/// Records that one answer of the API server holds.
const PAGE: u32 = 100;

/// Most characters of a label's value.
const LONGEST_LABEL: usize = 63;

/// The exported records in a directory and below it.
pub(super) fn of_directory(directory: &Path) -> Result<Vec<Item>, String> {
    let mut paths = BTreeSet::new();
    below(directory, &mut paths)?;
    let read = |path: PathBuf| {
        let bytes = streams::bounded(&path, LARGEST_FILE)?;
        if bytes.len() > LARGEST_FILE {
            return Err(format!("{}: it is larger than any exported record", path.display()));
        }
        Ok(Item {
            name: path.display().to_string(),
            source: Source::Bundle(bytes),
        })
    };
    paths.into_iter().map(read).collect()
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

/// Which objects of a cluster are asked for.
pub(super) enum Wanted<'a> {
    /// Those of one model; its namespace is that of the kubeconfig when left out.
    Model { namespace: Option<&'a str>, name: &'a str },
    /// Those of all models, in one namespace or in all.
    All { namespace: Option<&'a str> },
}

/// The records that a cluster holds.
pub(super) fn of_cluster(wanted: &Wanted<'_>) -> Result<Vec<Item>, String> {
    // Installing a second time would be an error, which cannot happen here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let objects = runtime()?.block_on(objects(wanted))?;
    let item = |object: PrecisionDecision| Item {
        name: object.metadata.name.clone().unwrap_or_default(),
        source: Source::Object(Box::new(object)),
    };
    Ok(objects.into_iter().map(item).collect())
}

async fn objects(wanted: &Wanted<'_>) -> Result<Vec<PrecisionDecision>, String> {
    let client = kube::Client::try_default()
        .await
        .map_err(|e| format!("no way to the API server: {e}"))?;
    let mut page = ListParams::default().limit(PAGE);
    let api: Api<PrecisionDecision> = match wanted {
        Wanted::Model { namespace, name } => {
            // A longer name is cut in the label, and those who read the records tell such models apart.
            if name.len() <= LONGEST_LABEL {
                page = page.labels(&format!("{GROUP}/model={name}"));
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
            None => return Ok(all),
        }
    }
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
