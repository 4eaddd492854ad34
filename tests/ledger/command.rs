//! `guardbit verify` and `guardbit export` as people call them.

use std::fs::File;
use std::future::ready;
use std::path::{Path, PathBuf};
use std::process::Command;

use axum::Router;
use axum::http::Uri;
use guardbit::api::PrecisionDecision;
use guardbit::ledger::verify::Item;
use guardbit::ledger::{Signing, Statement};
use serde_json::{Value, json};

use crate::files::{Folder, bytes, text};
use crate::records::{anchor, exported, key, linked, object, other_key, renamed, rollout};
use crate::told::told;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pub");

fn guardbit() -> Command {
    let mut guardbit = Command::new(env!("CARGO_BIN_EXE_guardbit"));
    // The API server of these tests is on loopback, and no proxy leads there.
    for proxy in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        guardbit.env_remove(proxy);
    }
    guardbit
}

fn verify(args: &[&str]) -> (i32, String, String) {
    told(guardbit().arg("verify").args(args))
}

/// The first line of a text.
fn first(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The newest record, as `guardbit export` prints it.
fn head(records: &[Statement]) -> String {
    let newest = anchor(records.last().expect("a record"));
    format!(
        "{}/{} {} sha256:{}",
        newest.namespace, newest.name, newest.sequence, newest.digest
    )
}

#[test]
fn records_that_hold_are_told_in_a_line() {
    let (folder, records) = (Folder::new("holds"), rollout());
    let export = folder.export("risk/fraud", &exported(&records, &key()));
    let digest = anchor(&records[7]).digest;
    let line = format!("risk/fraud: 8 records, signed, 1…8 complete, 8 replayed; head 8 sha256:{digest}\n");
    for path in [export.as_path(), folder.0.as_path()] {
        let expect = format!("8:sha256:{digest}");
        let told = verify(&[text(path), "--key", KEY, "--expect", &expect]);
        assert_eq!(told, (0, line.clone(), String::new()));
    }
}

#[test]
fn without_a_key_it_is_said_that_signatures_were_not_checked() {
    let folder = Folder::new("no-key");
    let export = folder.export("export", &exported(&rollout(), &key()));
    let (code, out, err) = verify(&[text(&export)]);
    assert_eq!((code, err.as_str()), (3, ""), "{out}");
    assert!(
        out.contains("8 records, no signature checked, 1…8 complete, 8 replayed"),
        "{out}"
    );
    assert!(
        out.contains("with a reservation: risk/fraud: V2 (signature): no key was given"),
        "{out}"
    );
}

#[test]
fn a_file_that_was_tampered_with_is_named_first() {
    let (folder, records) = (Folder::new("tampered"), rollout());
    let mut items = exported(&records, &key());
    items[3] = exported(&records, &other_key()).remove(3);
    let export = folder.export("export", &items);
    let (code, out, err) = verify(&[text(&export), "--key", KEY]);
    assert_eq!((code, err.as_str()), (1, ""), "{out}");
    let named = format!(
        "{}/000004.sigstore.json does not hold: V2 (signature): the key ",
        text(&export)
    );
    assert!(first(&out).starts_with(&named), "{out}");
    assert!(out.contains("it follows record 3: record 4 is missing"), "{out}");
}

#[test]
fn what_cannot_be_verified_is_no_verdict() {
    let folder = Folder::new("usage");
    let export = folder.export("export", &exported(&rollout()[..1], &key()));
    let empty = folder.file("empty/README.md", b"no record");
    let empty = text(empty.parent().expect("a folder"));
    let private = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pem");
    let anchors = folder.file("anchors", b"\nrisk/fraud 1 sha256:00\n");
    let (export, anchors) = (text(&export), text(&anchors));
    for (args, part) in [
        (vec![], "PATH|MODEL"),
        (vec![empty], "there is no record in "),
        (vec!["/nowhere"], "/nowhere: No such file"),
        (vec![export, "--key", "/nowhere"], "/nowhere: No such file"),
        (vec![export, "--key", private], "\"PUBLIC KEY\" is wanted"),
        (
            vec![export, "--anchors", anchors],
            "anchors:2: \"sha256:00\" is no SHA-256",
        ),
        (vec![export, "--expect", "1"], "write the number of the newest record"),
        (vec!["-n", "risk", "fraud", "churn"], "the name of one model is wanted"),
    ] {
        let (code, out, err) = verify(&args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
}

#[test]
fn programs_read_what_was_found_as_json() {
    let (folder, records) = (Folder::new("json"), rollout());
    let read = |items: &[Item]| -> (i32, Value) {
        let export = folder.export("export", items);
        let (code, out, _) = verify(&[text(&export), "--key", KEY, "-o", "json"]);
        (code, serde_json::from_str(&out).expect("JSON"))
    };
    let mut items = exported(&records, &key());
    let (code, found) = read(&items);
    assert_eq!(
        (code, &found["outcome"], &found["apart"]),
        (0, &json!("Holds"), &json!([]))
    );
    let digest = anchor(&records[7]).digest;
    let expected = json!({
        "namespace": "risk", "name": "fraud", "records": 8, "findings": [], "replayed": 8, "fromState": 0, "notReplayed": [],
        "signed": 8, "completeFrom": 1, "head": {"sequence": 8, "digest": digest},
    });
    assert_eq!(found["chains"], json!([expected]));
    items[3] = exported(&records, &other_key()).remove(3);
    let (code, found) = read(&items);
    assert_eq!((code, &found["outcome"]), (1, &json!("Broken")));
    let first = &found["apart"][0];
    assert_eq!(
        (&first["check"], &first["severity"]),
        (&json!("Signature"), &json!("Broken"))
    );
    let record = first["record"].as_str().expect("a name");
    assert!(record.ends_with("/000004.sigstore.json"), "{record}");
    let chain = &found["chains"][0];
    assert_eq!(
        (&chain["completeFrom"], &chain["findings"][0]["check"]),
        (&Value::Null, &json!("Sequence"))
    );
}

#[test]
fn standard_input_has_a_record_a_line() {
    let (folder, records) = (Folder::new("stdin"), rollout());
    let items = exported(&records, &key());
    let lines = |items: &[_]| items.iter().map(bytes).collect::<Vec<_>>().join(&b'\n');
    let piped = |lines: &[u8]| {
        let file = File::open(folder.file("lines", lines)).expect("a file");
        told(guardbit().args(["verify", "-", "--key", KEY]).stdin(file))
    };
    let (code, out, _) = piped(&lines(&items));
    assert_eq!(code, 0, "{out}");
    let mut others = items.clone();
    others[1] = exported(&records, &other_key()).remove(1);
    let (code, out, _) = piped(&lines(&others));
    assert_eq!(code, 1, "{out}");
    assert!(
        first(&out).starts_with("line 2 of standard input does not hold: V2"),
        "{out}"
    );
}

#[test]
fn an_anchor_shows_that_the_end_is_missing() {
    let (folder, records) = (Folder::new("anchors"), rollout());
    let export = folder.export("export", &exported(&records[..6], &key()));
    let newest = anchor(&records[7]);
    let logged = json!({
        "message": "recorded", "namespace": "risk", "name": "fraud", "sequence": 8, "digest": newest.digest,
    });
    for line in [head(&records), logged.to_string()] {
        let anchors = folder.file("anchors", line.as_bytes());
        let (code, out, _) = verify(&[text(&export), "--key", KEY, "--anchors", text(&anchors)]);
        assert_eq!(code, 1, "{line}: {out}");
        assert!(
            out.contains("000006.sigstore.json does not hold: V14 (anchor)"),
            "{out}"
        );
        assert!(out.contains("record 8 is attested: the end is missing"), "{out}");
    }
}

#[test]
fn records_without_a_signature_need_to_be_allowed() {
    let (folder, mut records) = (Folder::new("unsigned"), rollout());
    for statement in &mut records {
        statement.predicate.record.signing = Signing::Unsigned;
    }
    let (api, out) = (
        ApiServer::new(&folder, &linked(records), false),
        folder.0.join("export"),
    );
    let (code, _, err) = api.export(&["fraud", text(&out)]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.join("risk/fraud/000001.unsigned.json").exists());
    let (code, told, _) = verify(&[text(&out), "--key", KEY]);
    assert!(code == 1 && told.contains("--allow-unsigned"), "{told}");
    let (code, told, _) = verify(&[text(&out), "--allow-unsigned"]);
    assert!(code == 3 && told.contains("these records have no signature"), "{told}");
}

#[test]
fn a_report_on_records_of_which_none_holds_says_so() {
    let folder = Folder::new("forged-report");
    let export = folder.export("export", &exported(&rollout(), &other_key()));
    let (code, out, err) = told(guardbit().args(["report", "--from", text(&export), "--key", KEY]));
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(out.contains("8 records could not be opened, first"), "{out}");
    assert!(!out.contains("were not verified"), "{out}");
}

#[test]
fn nobody_forges_a_line_with_the_name_of_a_model() {
    let folder = Folder::new("names");
    let forged = "fraud\nrisk/fraud: 8 records, signed, 1…8 complete, 8 replayed";
    let records = renamed(&rollout(), |model| model.name = forged.to_owned());
    let export = folder.export("export", &exported(&records[1..], &key()));
    let (code, out, _) = verify(&[text(&export)]);
    assert_eq!(code, 1, "{out}");
    let told = out.lines().filter(|line| line.starts_with("risk/fraud: 8 records"));
    assert_eq!(told.count(), 0, "{out}");
}

/// An API server that holds records and gives three of them at a time.
pub struct ApiServer {
    kubeconfig: PathBuf,
}

impl ApiServer {
    pub fn new(folder: &Folder, records: &[Statement], signs: bool) -> Self {
        let objects = records
            .iter()
            .map(|statement| object(statement, signs.then(key).as_ref()));
        Self::of(folder, objects.collect())
    }

    fn of(folder: &Folder, objects: Vec<PrecisionDecision>) -> Self {
        let app = Router::new().fallback(move |uri: Uri| ready(page(&uri, &objects).to_string()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
                axum::serve(listener, app).await
            })
        });
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": "risk"}}],
            "clusters": [{"name": "test", "cluster": {"server": url}}],
            "users": [{"name": "test", "user": {}}],
        });
        Self {
            kubeconfig: folder.file("kubeconfig", config.to_string().as_bytes()),
        }
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(guardbit().args(args).env("KUBECONFIG", &self.kubeconfig))
    }

    fn export(&self, args: &[&str]) -> (i32, String, String) {
        self.run(&[&["export"][..], args].concat())
    }
}

/// Three of the objects that are asked for.
fn page(uri: &Uri, objects: &[PrecisionDecision]) -> Value {
    let query = uri.query().unwrap_or_default();
    let value = |key: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
    };
    let model = value("labelSelector").map(|label| label.rsplit("%3D").next().expect("a value"));
    let asked = objects.iter().filter(|object| {
        let name = object.metadata.name.as_deref().expect("a name");
        model.is_none_or(|model| name.rsplit_once('-').expect("a number").0 == model)
    });
    let asked: Vec<_> = asked.collect();
    let from = value("continue").map_or(0_usize, |token| token.parse().expect("a token of this server"));
    let through = asked.len().min(from + 3);
    let token = if through < asked.len() {
        through.to_string()
    } else {
        String::new()
    };
    json!({
        "apiVersion": "guardbit.dev/v1alpha1", "kind": "PrecisionDecisionList", "metadata": {"continue": token},
        "items": asked[from..through],
    })
}

/// The files below a folder, with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn records_are_verified_where_they_lie() {
    let (folder, records) = (Folder::new("cluster"), rollout());
    let api = ApiServer::new(&folder, &records, true);
    let (code, out, err) = api.run(&["verify", "-n", "risk", "fraud", "--key", KEY]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.starts_with("risk/fraud: 8 records, signed, 1…8 complete, 8 replayed"),
        "{out}"
    );
    let (code, _, err) = api.run(&["verify", "-n", "risk", "churn"]);
    assert!(
        code == 2 && err.contains("the cluster has no record of risk/churn"),
        "{err}"
    );
    let mut objects: Vec<_> = records
        .iter()
        .map(|statement| object(statement, Some(&key())))
        .collect();
    objects[3].spec.summary = "Promoted int8".to_owned();
    let api = ApiServer::of(&folder, objects);
    let (code, out, _) = api.run(&["verify", "-n", "risk", "fraud", "--key", KEY]);
    assert_eq!(code, 1, "{out}");
    assert!(first(&out).starts_with("fraud-000004 does not hold: V13"), "{out}");
}

#[test]
fn what_is_exported_is_verified_without_the_cluster() {
    let (folder, records) = (Folder::new("export"), rollout());
    let (api, out) = (ApiServer::new(&folder, &records, true), folder.0.join("out"));
    let told = api.export(&["fraud", text(&out)]);
    assert_eq!(told, (0, format!("{}\n", head(&records)), String::new()));
    let expected: Vec<_> = exported(&records, &key())
        .iter()
        .map(|item| (item.name.clone(), bytes(item).to_vec()))
        .collect();
    let place = out.join("risk/fraud");
    assert_eq!(files(&place), expected);
    let (code, found, _) = verify(&[text(&out), "--key", KEY]);
    assert_eq!(code, 0, "{found}");
    // It goes on where it has stopped.
    for gone in ["000002.sigstore.json", "000008.sigstore.json"] {
        std::fs::remove_file(place.join(gone)).expect("a file");
    }
    let (code, found, _) = api.export(&["-n", "risk", "fraud", text(&out)]);
    assert_eq!((code, first(&found)), (0, head(&records).as_str()));
    assert_eq!(files(&place), expected);
}

#[test]
fn an_export_keeps_what_was_exported_before() {
    let (folder, records) = (Folder::new("kept"), rollout());
    let (api, out) = (ApiServer::new(&folder, &records, true), folder.0.join("out"));
    assert_eq!(api.export(&["fraud", text(&out)]).0, 0);
    let before = files(&out.join("risk/fraud"));
    // Somebody wrote the history anew, with the key.
    let mut anew = records.clone();
    anew[3].predicate.record.core.guardbit = "0.0.9".to_owned();
    let api = ApiServer::new(&folder, &linked(anew), true);
    let (code, told, err) = api.export(&["fraud", text(&out)]);
    assert_eq!((code, told.as_str()), (1, ""), "{err}");
    assert!(
        first(&err).contains("risk/fraud/000004.sigstore.json: it was exported before"),
        "{err}"
    );
    assert_eq!(err.lines().count(), 5, "{err}");
    assert_eq!(files(&out.join("risk/fraud")), before);
    // Or cut its end off.
    let api = ApiServer::new(&folder, &records[..6], true);
    let (code, _, err) = api.export(&["fraud", text(&out)]);
    assert!(
        code == 1 && err.contains("record 8 was exported before, and record 6 is the newest"),
        "{err}"
    );
    assert_eq!(files(&out.join("risk/fraud")), before);
    // Or took a signature off.
    let mut objects: Vec<_> = records
        .iter()
        .map(|statement| object(statement, Some(&key())))
        .collect();
    objects[7].spec.signature = None;
    let (code, _, err) = ApiServer::of(&folder, objects).export(&["fraud", text(&out)]);
    assert!(
        code == 1 && err.contains("000008.sigstore.json: it was exported before"),
        "{err}"
    );
    assert_eq!(files(&out.join("risk/fraud")), before);
}

#[test]
fn all_models_are_exported_at_once() {
    let (folder, records) = (Folder::new("all"), rollout());
    let other = renamed(&records[..2], |model| model.name = "churn".to_owned());
    let all: Vec<_> = other.iter().chain(&records).cloned().collect();
    let (api, out) = (ApiServer::new(&folder, &all, true), folder.0.join("out"));
    let (code, heads, err) = api.export(&["--all", text(&out)]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert_eq!(heads, format!("{}\n{}\n", head(&other), head(&records)));
    let anchors = folder.file("heads", heads.as_bytes());
    let (code, found, _) = verify(&[text(&out), "--key", KEY, "--anchors", text(&anchors)]);
    assert_eq!((code, found.lines().count()), (0, 2), "{found}");
}

#[test]
fn no_record_is_written_outside_of_the_directory() {
    let folder = Folder::new("outside");
    let elsewhere = renamed(&rollout(), |model| model.name = "../../elsewhere".to_owned());
    let mut objects: Vec<_> = elsewhere
        .iter()
        .map(|statement| object(statement, Some(&key())))
        .collect();
    for (object, number) in objects.iter_mut().zip(1..) {
        object.metadata.name = Some(format!("fraud-{number:06}"));
    }
    let (api, out) = (ApiServer::of(&folder, objects), folder.0.join("a/b/out"));
    for args in [vec!["--all", text(&out)], vec!["fraud", text(&out)]] {
        let (code, heads, err) = api.export(&args);
        assert_eq!((code, heads.as_str()), (1, ""), "{err}");
        assert!(
            first(&err).contains("risk/fraud-000001 is not exported: its statement is about"),
            "{err}"
        );
        assert!(!folder.0.join("a/elsewhere").exists() && !folder.0.join("a/b/elsewhere").exists());
    }
}

/// A file that is there stays. So an object with another name, which the admission policies do not protect, must not come first.
#[test]
fn an_object_that_is_not_called_as_its_record_is_not_exported_in_its_place() {
    let (folder, records) = (Folder::new("posing"), rollout());
    let other = renamed(&records, |model| model.uid = "another".to_owned());
    let mut objects: Vec<_> = records
        .iter()
        .map(|statement| object(statement, Some(&key())))
        .collect();
    let mut posing = object(&other[7], None);
    posing.metadata.name = Some("fraud-0".to_owned());
    objects.insert(0, posing);
    let (api, out) = (ApiServer::of(&folder, objects), folder.0.join("export"));
    let (code, _, err) = api.export(&["fraud", text(&out)]);
    assert_eq!(code, 1, "{err}");
    assert!(
        first(&err)
            .contains("risk/fraud-0 is not exported: its statement is record 8, whose object is called fraud-000008"),
        "{err}"
    );
    let (code, found, _) = verify(&[text(&out), "--key", KEY]);
    assert_eq!(code, 0, "{found}");
}

#[test]
fn what_cannot_be_exported_is_said() {
    let (folder, records) = (Folder::new("export-usage"), rollout());
    let (api, out) = (ApiServer::new(&folder, &records[..1], true), folder.0.join("out"));
    let out = text(&out);
    for (args, part) in [
        (vec![], "<MODEL DIR>"),
        (vec!["fraud"], "a model and a directory are wanted"),
        (vec!["--all", "fraud", out], "the directory alone is wanted"),
        (vec!["churn", out], "the cluster has no record of churn"),
        (vec!["fraud", "/dev/null/out"], "/dev/null/out/risk/fraud: "),
    ] {
        let (code, told, err) = api.export(&args);
        assert_eq!((code, told.as_str()), (2, ""), "{args:?}: {err}");
        assert!(err.contains(part), "{args:?}: {err}");
    }
    let away = told(guardbit().args(["export", "fraud", out]).env("KUBECONFIG", "/nowhere"));
    assert!(away.0 == 2 && away.2.contains("no way to the API server"), "{away:?}");
}
