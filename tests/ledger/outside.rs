//! Records are read, verified and decided again by programs that know nothing of guardbit. `make outside` runs those that are built for it.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guardbit::ledger::verify::Item;
use guardbit::ledger::{Bundle, LARGEST_STATEMENT, PublicKey, SigningKey, Statement, pack, pae, unpack};
use serde_json::{Value, json};

use crate::files::Folder;
use crate::records::{Recorder, exported, linked, other_key, rollout};
use crate::told::told;
use crate::world::{Behaviour, World, spec};

const STATEMENT: &[u8] = br#"{"_type":"https://in-toto.io/Statement/v1","subject":[]}"#;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pem");
const KEY_PUBLIC: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pub");

fn key() -> SigningKey {
    SigningKey::from_pem(&std::fs::read_to_string(KEY).expect("a file")).expect("a key")
}

/// What `openssl dgst -verify` says of a signature over a message.
fn openssl_verifies(folder: &Folder, message: &[u8], sig: &str) -> (i32, String) {
    let signature = BASE64_STANDARD.decode(sig).expect("Base64");
    let (code, out, _) = told(
        Command::new("openssl")
            .args(["dgst", "-sha256", "-verify", KEY_PUBLIC, "-signature"])
            .arg(folder.file("signature", &signature))
            .arg(folder.file("message", message)),
    );
    (code, out.trim_end().to_owned())
}

/// Runs a line of a shell, in which `$1` is a file.
fn shell(line: &str, file: &Path) -> String {
    let (code, out, err) = told(Command::new("sh").args(["-c", line, "sh"]).arg(file));
    assert_eq!((code, err.as_str()), (0, ""), "{line}");
    out
}

#[test]
fn openssl_verifies_what_guardbit_signs() {
    let folder = Folder::new("signed");
    let holds = (0, "Verified OK".to_owned());
    // Encodings differ in length: a zero stands before a number whose first bit is set.
    for n in 0..16 {
        let statement = [STATEMENT, n.to_string().as_bytes()].concat();
        let signature = key().sign(&statement);
        assert_eq!(
            openssl_verifies(&folder, &pae(&statement), &signature.sig),
            holds,
            "{n}"
        );
    }
    let signature = key().sign(STATEMENT);
    let other = pae(&[STATEMENT, b" "].concat());
    assert_ne!(openssl_verifies(&folder, &other, &signature.sig), holds);
}

#[test]
fn openssl_and_guardbit_verify_what_others_sign() {
    let folder = Folder::new("bundle");
    let golden = include_bytes!("../testdata/ledger/bundle.sigstore.json");
    let bundle = Bundle::parse(golden).expect("a bundle");
    let signature = bundle.signature.expect("a signature");
    let holds = (0, "Verified OK".to_owned());
    assert_eq!(openssl_verifies(&folder, &pae(&bundle.payload), &signature.sig), holds);
    assert!(key().public().verifies(&bundle.payload, &signature));
}

#[test]
fn keys_have_the_ids_that_openssl_finds() {
    let folder = Folder::new("keys");
    let key_file = Path::new(KEY);
    let public = shell("openssl pkey -in \"$1\" -pubout", key_file);
    assert_eq!(PublicKey::from_pem(&public).as_ref(), Ok(key().public()));
    let digest = "openssl pkey -in \"$1\" -pubout -outform DER | openssl dgst -sha256 -binary | base64";
    assert_eq!(shell(digest, key_file).trim_end(), key().public().keyid());
    let sec1 = shell("openssl pkey -in \"$1\" -traditional", key_file);
    assert!(sec1.starts_with("-----BEGIN EC PRIVATE KEY-----"), "another form");
    assert_eq!(SigningKey::from_pem(&sec1).expect("a key").public(), key().public());
    let sealed = shell("openssl pkcs8 -topk8 -in \"$1\" -passout pass:secret", key_file);
    let error = SigningKey::from_pem(&sealed).expect_err("a password").to_string();
    assert!(error.contains("`openssl pkey -in key.pem -out plain.pem`"), "{error}");
    // What the message says to do is enough.
    let opened = "openssl pkey -in \"$1\" -passin pass:secret";
    let opened = shell(opened, &folder.file("key.pem", sealed.as_bytes()));
    assert_eq!(SigningKey::from_pem(&opened).expect("a key").public(), key().public());
}

#[test]
fn keys_made_as_messages_say_will_do() {
    let folder = Folder::new("made");
    let error = SigningKey::from_pem("").expect_err("no key").to_string();
    let command = error.split('`').nth(1).expect("a command");
    let file = folder.0.join("key.pem");
    shell(&command.replace("key.pem", "\"$1\""), &file);
    let made = std::fs::read_to_string(&file).expect("a file");
    let made = SigningKey::from_pem(&made).expect("a key");
    assert_ne!(made.public(), key().public());
    assert!(made.public().verifies(STATEMENT, &made.sign(STATEMENT)));
}

#[test]
fn gzip_reads_what_guardbit_packs_and_the_other_way_round() {
    let folder = Folder::new("packed");
    let packed = folder.file("packed", pack(STATEMENT).as_bytes());
    assert_eq!(shell("base64 -d \"$1\" | gunzip", &packed).as_bytes(), STATEMENT);
    // gzip writes the name and the time of the file as well.
    let statement = folder.file("statement", STATEMENT);
    let text = shell("gzip -c \"$1\" | base64 -w0", &statement);
    assert_ne!(text, pack(STATEMENT));
    assert_eq!(unpack(&text, LARGEST_STATEMENT).expect("a statement"), STATEMENT);
}

/// What the judge in Python says of the records in a directory.
fn redecided(directory: &Path) -> (i32, String, String) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/redecide.py");
    told(Command::new("python3").arg(script).arg(directory))
}

/// A statement with one more failed request of the candidate in the newest poll of the evaluation that decided.
fn with_one_more(statement: &Statement) -> Statement {
    let mut value: Value = serde_json::from_slice(&statement.print()).expect("JSON");
    let polls = &mut value["predicate"]["look"]["heard"]["guards"]["errors"]["polls"];
    let newest = polls.as_array_mut().and_then(|polls| polls.last_mut()).expect("a poll");
    let bad = &mut newest["observed"]["proportion"]["candidate"]["x"];
    *bad = json!(bad.as_u64().expect("a number") + 1);
    let forged = serde_json_canonicalizer::to_vec(&value).expect("JSON");
    Statement::parse(&forged).expect("a statement")
}

#[test]
fn a_judge_in_another_language_comes_to_the_same_verdicts() {
    let (folder, records) = (Folder::new("redecided"), rollout());
    let (code, out, err) = redecided(&folder.export("same", &exported(&records, &key())));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("verdicts the same, 0 others, 0 records left out"), "{out}");
    for verdict in ["errors: Healthy", "errors: Harmful"] {
        assert!(out.contains(verdict), "{verdict}: {out}");
    }
    // The fifth raises to 50%. Whoever has the key can link and sign what he likes.
    let mut forged = records;
    forged[4] = with_one_more(&forged[4]);
    let (code, out, _) = redecided(&folder.export("forged", &exported(&linked(forged), &key())));
    assert_eq!(code, 1, "{out}");
    let (named, _) = out
        .split_once("\n  and the record says")
        .expect("a verdict that differs");
    let named = named.lines().last().unwrap_or_default();
    assert!(named.starts_with("risk/fraud 000005: errors: "), "{out}");
}

#[test]
fn a_judge_in_another_language_finds_harm_in_the_same_poll() {
    let (folder, mut recorder, mut only_errors) = (Folder::new("harm"), Recorder::new(), spec());
    only_errors.guards.truncate(1);
    let mut world = World::new(only_errors);
    recorder.run(&mut world, 100);
    let bad = Behaviour {
        errors: 0.2,
        ..Behaviour::default()
    };
    world.behaviour.insert("int8".into(), bad);
    recorder.run(&mut world, 120);
    let records = recorder.statements;
    let actions: Vec<_> = records.iter().flat_map(|record| &record.predicate.decisions).collect();
    assert!(
        actions
            .iter()
            .any(|decision| decision.action.to_string() == "RolledBack"),
        "{actions:?}"
    );
    let (code, out, err) = redecided(&folder.export("harm", &exported(&records, &key())));
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("errors: Harmful") && out.contains("0 others, 0 records left out"),
        "{out}"
    );
}

#[test]
fn a_judge_in_another_language_does_not_judge_what_it_cannot_know() {
    let (folder, records) = (Folder::new("part"), rollout());
    let (code, out, _) = redecided(&folder.export("end", &exported(&records[4..5], &key())));
    assert!(
        code == 2 && out.contains("000005: left out: what its tests knew before is not among the records"),
        "{out}"
    );
    let (code, out, err) = redecided(&folder.0.join("nothing"));
    assert_eq!((code, out.as_str(), err.as_str()), (2, "", ""));
}

/// The programs that `make outside` has built.
fn built(program: &str) -> PathBuf {
    let programs = std::env::var_os("GUARDBIT_OUTSIDE").expect("make outside says where they are");
    Path::new(&programs).join(program)
}

/// Holds a program against records of which it must verify all, and against others of which it must verify none that is forged.
fn verifies(program: impl Fn(&[PathBuf]) -> (i32, String, String)) {
    let (folder, records) = (Folder::new("others"), rollout());
    let all = exported(&records, &key());
    let paths = |name: &str, items: &[Item]| -> Vec<PathBuf> {
        let export = folder.export(name, items);
        items.iter().map(|item| export.join(&item.name)).collect()
    };
    let (code, out, err) = program(&paths("true", &all));
    assert_eq!((code, out.matches(": verified").count()), (0, 8), "{out}{err}");
    let mut forged = all.clone();
    forged[3] = exported(&records, &other_key()).remove(3);
    let (code, out, err) = program(&paths("forged", &forged));
    assert_eq!(code, 1, "{out}{err}");
    // A signature of one record is none of another.
    let borrowed = Bundle {
        signature: Some(key().sign(&records[1].print())),
        payload: records[0].print(),
    };
    let (code, out, err) = program(&[folder.file("borrowed.sigstore.json", &borrowed.print())]);
    assert_eq!(code, 1, "{out}{err}");
}

#[test]
#[ignore = "make outside installs securesystemslib"]
fn securesystemslib_verifies_records() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside/dsse.py");
    verifies(|files| {
        let mut python = Command::new("python3");
        told(
            python
                .env("PYTHONPATH", built("outside"))
                .arg(script)
                .arg(KEY_PUBLIC)
                .args(files),
        )
    });
}

#[test]
#[ignore = "make outside builds a program on sigstore-go"]
fn sigstore_walks_the_chain() {
    verifies(|files| told(Command::new(built("bundle")).arg(KEY_PUBLIC).args(files)));
    // A record that is missing is missed.
    let folder = Folder::new("walk");
    let mut items = exported(&rollout(), &key());
    items.remove(4);
    let export = folder.export("export", &items);
    let files = items.iter().map(|item| export.join(&item.name));
    let (code, out, err) = told(Command::new(built("bundle")).arg(KEY_PUBLIC).args(files));
    assert_eq!((code, out.matches(": verified").count()), (1, 4), "{out}{err}");
    assert!(err.contains("000006.sigstore.json"), "{err}");
}
