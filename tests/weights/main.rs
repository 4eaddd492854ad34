//! `guardbit weights` as people and pods call it, on real files.

#[path = "../support/commands.rs"]
mod commands;
mod folder;
mod page;
#[path = "../support/page.rs"]
mod shown;
#[path = "../support/told.rs"]
mod told;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use guardbit::weights::Sha;
use serde_json::Value;

use folder::Folder;
use told::told;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/ledger/key.pub");
const SIGNATURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/testdata/weights/model.sig");

/// The digest of the directory of which [`SIGNATURE`] is a signature, as coreutils make it.
const DIGEST: &str = "sha256:0a7418e21ac65141f53d6f27bab39d66a356af69d357c62fecf1d3b53a45fee1";

fn weights(args: &[&str]) -> (i32, String, String) {
    told(Command::new(env!("CARGO_BIN_EXE_guardbit")).arg("weights").args(args))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// The directory that was signed.
fn signed(test: &str) -> Folder {
    let folder = Folder::new(test);
    for (path, content) in [("m/a", "one"), ("m/b/c", "two"), ("m/b-1", "three")] {
        folder.write(path, content);
    }
    folder
}

/// Weights are refused with this exit code and these words.
fn refused(args: &[&str], code: i32, says: &[&str]) {
    let (exit, out, error) = weights(args);
    assert_eq!((exit, out.as_str()), (code, ""), "{args:?}: {error}");
    assert_eq!(error.lines().count(), 1, "the kubelet shows the last line: {error}");
    for part in says {
        assert!(error.contains(part), "{part:?} in {error}");
    }
}

#[test]
fn the_digest_of_a_file_is_its_sha256() {
    let folder = signed("file");
    let sha = Sha::of(b"one").to_string();
    let file = folder.path("m/a");
    assert_eq!(
        weights(&["digest", text(&file)]),
        (0, format!("{sha}\n"), String::new())
    );
    let verified = weights(&["verify", "--path", text(&file), "--digest", &sha]);
    assert_eq!((verified.0, verified.2.as_str()), (0, ""));
    let other = Sha::of(b"two").to_string();
    refused(
        &["verify", "--path", text(&file), "--digest", &other],
        1,
        &["m/a are not", &other, &sha],
    );
}

#[test]
fn the_digest_of_a_directory_is_what_coreutils_make_of_it() {
    let folder = signed("directory");
    let directory = folder.path("m");
    assert_eq!(
        weights(&["digest", text(&directory)]),
        (0, format!("{DIGEST}\n"), String::new())
    );
    let shell = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0 sha256sum";
    let (_, list, _) = told(Command::new("sh").args(["-c", shell]).current_dir(&directory));
    assert_eq!(
        weights(&["digest", text(&directory), "-o", "manifest"]),
        (0, list, String::new())
    );
    let (code, json, _) = weights(&["digest", text(&directory), "-o", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["digest"], &json["bytes"]), (0, &DIGEST.into(), &11.into()));
    assert_eq!(json["files"][1]["path"], "b-1");
}

#[test]
fn every_change_is_found_and_told() {
    let wanted = signed("changes-list");
    let (_, list, _) = weights(&["digest", text(&wanted.path("m")), "-o", "manifest"]);
    type Change = fn(&Folder);
    let changes: [(&str, Change, &str); 6] = [
        ("tampered", |folder| folder.write("m/b/c", "twO"), "\"b/c\" is sha256:"),
        ("missing", |folder| folder.remove("m/b-1"), "\"b-1\" is missing"),
        ("extra", |folder| folder.write("m/b/d", ""), "\"b/d\" is there"),
        ("hidden", |folder| folder.write("m/.d", ""), "\".d\" is there"),
        (
            "renamed",
            |folder| {
                folder.remove("m/b/c");
                folder.write("m/b/e", "two");
            },
            "\"b/c\" is missing",
        ),
        (
            "swapped",
            |folder| {
                folder.write("m/a", "two");
                folder.write("m/b/c", "one");
            },
            "\"a\" is sha256:",
        ),
    ];
    for (change, make, says) in changes {
        let folder = signed(&format!("changes-{change}"));
        folder.write("list", &list);
        let (path, manifest) = (folder.path("m"), folder.path("list"));
        let plain = ["verify", "--path", text(&path), "--digest", DIGEST];
        let listed = [&plain[..], &["--manifest", text(&manifest)]].concat();
        let by_bundle = [&plain[..], &["--bundle", SIGNATURE, "--key", KEY]].concat();
        for args in [&plain[..], &listed, &by_bundle] {
            let (code, out, error) = weights(args);
            assert_eq!((code, error.as_str()), (0, ""), "{args:?}");
            assert!(out.contains(DIGEST), "{out}");
        }
        make(&folder);
        refused(&plain, 1, &[text(&path), DIGEST, "their digest is sha256:"]);
        refused(&listed, 1, &[text(&path), DIGEST, says]);
        refused(&by_bundle, 1, &[text(&path), DIGEST, says]);
    }
}

#[test]
fn what_is_none_of_the_weights_changes_nothing() {
    let folder = signed("besides");
    for path in ["m/.git/config", "m/.gitattributes", "m/lost+found/x"] {
        folder.write(path, "x");
    }
    std::fs::create_dir(folder.path("m/empty")).expect("made");
    let path = folder.path("m");
    assert_eq!(weights(&["digest", text(&path)]).1, format!("{DIGEST}\n"));
    folder.write("m/b/.gitattributes", "x");
    assert_ne!(
        weights(&["digest", text(&path)]).1,
        format!("{DIGEST}\n"),
        "only at the top"
    );
}

/// As the cache of Hugging Face has them: a snapshot of links to blobs beside it.
#[test]
fn links_are_followed_below_the_root_and_no_further() {
    let folder = Folder::new("links");
    for (path, content) in [("blobs/1", "one"), ("blobs/2", "two"), ("blobs/3", "three")] {
        folder.write(path, content);
    }
    folder.write("outside", "one");
    std::fs::create_dir_all(folder.path("snapshots/r/b")).expect("made");
    let link = |to: &str, at: &str| symlink(to, folder.path(at)).expect("linked");
    link("../../blobs/1", "snapshots/r/a");
    link("../../../blobs/2", "snapshots/r/b/c");
    link(text(&folder.path("blobs/3")), "snapshots/r/b-1");
    let (snapshot, root) = (folder.path("snapshots/r"), folder.path(""));
    let digest = |root: &Path| weights(&["digest", text(&snapshot), "--root", text(root)]);
    assert_eq!(digest(&root), (0, format!("{DIGEST}\n"), String::new()));
    refused(
        &["digest", text(&snapshot)],
        2,
        &["is a link that leads out of", "--root"],
    );
    refused(
        &["digest", text(&snapshot), "--root", text(&folder.path("blobs"))],
        2,
        &["lies outside of"],
    );
    // The snapshot may be named by a link as well.
    link("r", "snapshots/current");
    let current = folder.path("snapshots/current");
    assert_eq!(
        digest(&root).1,
        weights(&["digest", text(&current), "--root", text(&root)]).1
    );
    for (to, says) in [
        ("/etc/passwd", "leads out of"),
        ("../../nothing", "No such file"),
        ("b", "is a link to a directory"),
        ("loop", "symbolic link"),
    ] {
        link(to, "snapshots/r/loop");
        refused(&["digest", text(&snapshot), "--root", text(&root)], 2, &["loop", says]);
        folder.remove("snapshots/r/loop");
    }
}

#[test]
fn what_cannot_be_read_or_listed_is_not_taken_for_weights() {
    let folder = Folder::new("odd");
    folder.write("m/a", "one");
    let path = folder.path("m");
    for name in ["line\nbreak", "back\\slash", "mark\u{202e}"] {
        let odd = format!("m/{name}");
        folder.write(&odd, "");
        refused(&["digest", text(&path)], 2, &["cannot be named in a list", "rename it"]);
        folder.remove(&odd);
    }
    let pipe = folder.path("m/pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    refused(&["digest", text(&path)], 2, &["pipe is neither a file nor a directory"]);
    folder.remove("m/pipe");
    folder.remove("m/a");
    refused(&["digest", text(&path)], 2, &["there is no file in"]);
    refused(&["digest", text(&folder.path("none"))], 2, &["No such file"]);
    let nothing = ["verify", "--path", text(&path), "--digest", DIGEST];
    refused(&nothing, 2, &["there is no file in"]);
}

/// A volume that was dropped is not there, and one that was not filled is empty.
#[test]
fn an_image_that_is_not_mounted_is_not_taken_for_one_that_is() {
    let folder = Folder::new("mounted");
    folder.write("m/a", "one");
    let path = folder.path("m");
    let mounted = ["mounted", "--path", text(&path)];
    let (code, out, error) = weights(&mounted);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(out.contains("is mounted at"), "{out}");
    folder.remove("m/a");
    let says = [text(&path), "should be mounted", "ImageVolume", "containerd 2.1"];
    refused(&mounted, 1, &says);
    std::fs::remove_dir(&path).expect("removed");
    refused(&mounted, 1, &says);
    folder.write("m", "a file");
    refused(&mounted, 2, &[text(&path)]);
}

#[test]
fn a_list_or_a_signature_of_something_else_proves_nothing() {
    let folder = signed("proofs");
    let path = folder.path("m");
    let other = format!("sha256:{}", "0".repeat(64));
    let verify = ["verify", "--path", text(&path), "--digest"];
    let by = |digest: &str, bundle: &str, key: &str, code: i32, says: &[&str]| {
        let args = [&verify[..], &[digest, "--bundle", bundle, "--key", key]].concat();
        refused(&args, code, says);
    };
    by(&other, SIGNATURE, KEY, 1, &["is a signature over", DIGEST, &other]);
    folder.write(
        "forged",
        &std::fs::read_to_string(SIGNATURE)
            .expect("read")
            .replace("\"sig\":\"M", "\"sig\":\"N"),
    );
    by(
        DIGEST,
        text(&folder.path("forged")),
        KEY,
        1,
        &["is by none of the keys"],
    );
    folder.write("none", "{}");
    by(
        DIGEST,
        text(&folder.path("none")),
        KEY,
        2,
        &["no bundle of OpenSSF Model Signing"],
    );
    by(DIGEST, SIGNATURE, SIGNATURE, 2, &["BEGIN PUBLIC KEY"]);
    folder.write("list", "");
    let list = folder.path("list");
    let args = [&verify[..], &[DIGEST, "--manifest", text(&list)]].concat();
    refused(&args, 2, &["is the list of", "and not of"]);
    let (code, _, error) = weights(&["verify", "--path", text(&path), "--digest", "sha256:00"]);
    assert!(code == 2 && error.contains("64 hexadecimal digits"), "{code}: {error}");
}

/// Many files and large ones, in any order, give one digest.
#[test]
fn shards_are_hashed_by_two_threads_and_listed_in_order() {
    let folder = Folder::new("shards");
    for shard in 0..40_u8 {
        let bytes: Vec<u8> = (0..50_000_u32).map(|i| (i as u8).wrapping_mul(shard)).collect();
        folder.write_bytes(&format!("m/model-{shard:05}.safetensors"), &bytes);
    }
    let path = folder.path("m");
    let first = weights(&["digest", text(&path), "-o", "manifest"]);
    assert_eq!(first.1.lines().count(), 40);
    for _ in 0..5 {
        assert_eq!(weights(&["digest", text(&path), "-o", "manifest"]), first);
    }
    // Two shards are damaged: the first one is told, whichever thread comes to it.
    folder.write("list", &first.1);
    let digest = Sha::of(first.1.as_bytes()).to_string();
    for shard in ["m/model-00020.safetensors", "m/model-00021.safetensors"] {
        folder.write(shard, "damaged");
    }
    let list = folder.path("list");
    let args = [
        "verify",
        "--path",
        text(&path),
        "--digest",
        &digest,
        "--manifest",
        text(&list),
    ];
    for _ in 0..5 {
        refused(&args, 1, &["\"model-00020.safetensors\" is sha256:"]);
    }
}
