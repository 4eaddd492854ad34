//! Records are read and verified by programs that know nothing of guardbit. `make tools` installs those that may not be there.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use guardbit::ledger::{Bundle, LARGEST_STATEMENT, PublicKey, SigningKey, pack, pae, unpack};

use crate::files::Folder;
use crate::told::told;

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
