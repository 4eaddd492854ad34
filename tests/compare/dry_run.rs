//! `guardbit compare --dry-run` and `guardbit golden`.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use futures::stream;
use serde_json::{Value, json};

use super::{Folder, Server, completion, guardbit};

fn compare(golden: &Path, reference: &str, candidate: &str, more: &[&str]) -> (i32, String, String) {
    let golden = golden.to_str().expect("UTF-8");
    let args = [
        "compare",
        "--dry-run",
        "--golden",
        golden,
        "--reference",
        reference,
        "--candidate",
        candidate,
    ];
    let usual = ["--seed", "7", "--concurrency", "16"];
    guardbit(&[&args[..], &usual, more].concat())
}

pub(super) fn completions(golden: &Path, reference: &str, candidate: &str, more: &[&str]) -> (i32, String, String) {
    compare(
        golden,
        reference,
        candidate,
        &[&["--protocol", "OpenAI"][..], more].concat(),
    )
}

pub(super) fn parsed(out: &str) -> Value {
    serde_json::from_str(out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// So many questions a golden set must have for a candidate to be healthy.
const ENOUGH: usize = 30;

/// Which of five kinds a prompt is of, by its number.
fn kind(prompt: &str) -> usize {
    let number = prompt
        .strip_prefix("prompt ")
        .and_then(|number| number.parse::<usize>().ok());
    number.unwrap_or(0) % 5
}

/// A reference that does not answer all prompts alike.
fn usual(prompt: &str) -> &'static str {
    match kind(prompt) {
        1 => " one",
        2 => " two",
        _ => " yes",
    }
}

/// A candidate that answers one of five prompts with another token.
fn flipped(prompt: &str) -> &'static str {
    if kind(prompt) == 3 { " no" } else { usual(prompt) }
}

#[test]
fn arms_that_agree_are_healthy_and_are_asked_for_one_token() {
    let folder = Folder::new("agree");
    let golden = folder.numbered(ENOUGH);
    let (reference, candidate) = (Server::completions(usual), Server::completions(usual));
    let more = ["--pairs", "300", "-o", "json"];
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &more);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let found = parsed(&out);
    let (pairs, control) = (&found["pairs"]["pairs"], &found["control"]["pairs"]);
    let (pairs, control) = (pairs.as_u64().expect("a number"), control.as_u64().expect("a number"));
    assert_eq!(pairs + control, 300);
    assert!((10..=60).contains(&control), "{control} of 300 are control pairs");
    assert_eq!(found["pairs"]["disagreements"], 0);
    assert_eq!(found["differAt"], json!([]));
    assert_eq!(found["failures"], json!([]));
    assert_eq!(
        (&found["verdict"], &found["tolerance"]),
        (&json!("Healthy"), &json!(0.05))
    );
    assert_eq!(found["verdicts"].as_array().expect("verdicts").len(), 6);
    assert_eq!(found["distinctAnswers"], 3);
    assert_eq!(found["notes"], json!([]));
    let (code, digest, _) = guardbit(&["golden", "digest", golden.to_str().expect("UTF-8")]);
    assert_eq!(
        (code, digest.trim_end()),
        (0, found["golden"]["digest"].as_str().expect("a digest"))
    );

    let (asked, of_candidate) = (reference.asked(), candidate.asked());
    assert_eq!(
        (asked.len() as u64, of_candidate.len() as u64),
        (pairs + 2 * control, pairs)
    );
    for (path, headers, body) in asked.iter().chain(&of_candidate) {
        assert_eq!(path, "/v1/completions");
        assert_eq!((&body["max_tokens"], &body["temperature"]), (&json!(1), &json!(0)));
        assert_eq!(body.get("user"), None);
        let known = BTreeSet::from(["accept", "content-length", "content-type", "host"]);
        let sent: BTreeSet<&str> = headers.keys().map(|name| name.as_str()).collect();
        assert!(sent.is_subset(&known), "{sent:?}");
    }
    let prompts: BTreeSet<_> = asked.iter().map(|(_, _, body)| body["prompt"].to_string()).collect();
    assert_eq!(prompts.len(), ENOUGH, "every line is drawn");
}

#[test]
fn a_candidate_that_answers_one_of_five_prompts_otherwise_is_harmful_at_5_percent() {
    let folder = Folder::new("flip");
    let golden = folder.numbered(ENOUGH);
    let (reference, candidate) = (Server::completions(usual), Server::completions(flipped));
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &["--pairs", "300"]);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    assert!(
        out.contains("They differ at these lines of the golden set, at first: "),
        "{out}"
    );
    assert!(out.contains("The candidate is harmful"), "{out}");
    assert!(
        !out.contains("prompt 3") && !out.contains(" no\n"),
        "texts are not shown: {out}"
    );
    let more = ["--pairs", "300", "-o", "json", "--tolerance", "60%"];
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &more);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let found = parsed(&out);
    let lines = found["differAt"].as_array().expect("lines");
    let differs = |line: &Value| line.as_u64().is_some_and(|line| line % 5 == 3);
    assert!(lines.len() == 3 && lines.iter().all(differs), "{lines:?}");
    assert_eq!(found["control"]["disagreements"], 0);
    let at = |tolerance: f64| {
        let verdicts = found["verdicts"].as_array().expect("verdicts");
        verdicts
            .iter()
            .find(|v| v["tolerance"] == tolerance)
            .expect("this tolerance")["verdict"]
            .clone()
    };
    assert_eq!(
        (at(0.01), at(0.05), at(0.6)),
        (json!("Harmful"), json!("Harmful"), json!("Healthy"))
    );
    assert_ne!(at(0.25), json!("Harmful"));
    let again = parsed(&completions(&golden, &reference.url, &candidate.url, &more).1);
    assert_eq!(again, found, "a seed repeats the draws");
}

#[test]
fn few_pairs_decide_nothing() {
    let folder = Folder::new("few");
    let (reference, candidate) = (Server::completions(usual), Server::completions(usual));
    for pairs in ["1", "10"] {
        let more = ["--pairs", pairs, "--control", "0"];
        let (code, out, _) = completions(&folder.numbered(ENOUGH), &reference.url, &candidate.url, &more);
        assert_eq!(code, 3, "{out}");
        assert!(out.contains("too few pairs were asked, raise --pairs"), "{out}");
        assert!(!out.contains("one and the same answer"), "{out}");
    }
}

#[test]
fn few_different_questions_make_nobody_healthy_however_often_they_are_asked() {
    let folder = Folder::new("repeated");
    let text = std::fs::read_to_string(folder.numbered(ENOUGH - 1)).expect("written");
    // The same questions of other users.
    let twice = format!("{text}{}", text.replace("u-", "v-"));
    let golden = folder.file("twice.jsonl", &twice);
    let (reference, candidate) = (Server::completions(usual), Server::completions(usual));
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &[]);
    assert_eq!((code, error.as_str()), (3, ""), "{out}");
    let why = "the golden set has 29 different questions, and no candidate is shown to be healthy by fewer than 30";
    assert!(out.contains(why), "{out}");
    assert!(!out.contains("  healthy"), "at no tolerance: {out}");
    let other = Server::completions(flipped);
    let (code, out, _) = completions(&golden, &reference.url, &other.url, &[]);
    assert_eq!(code, 1, "harm shows: {out}");
    assert!(out.contains("The golden set has 29 different questions: "), "{out}");
}

#[test]
fn a_server_that_is_compared_with_itself_shows_nothing_about_another_model() {
    let folder = Folder::new("itself");
    let golden = folder.prompts();
    let arm = Server::completions(usual);
    for other in [
        arm.url.clone(),
        format!("{}/v1", arm.url),
        arm.url.replace("127.0.0.1", "LOCALHOST"),
    ] {
        let (code, out, error) = completions(&golden, &arm.url, &other, &[]);
        assert_eq!((code, error.as_str()), (3, ""), "{other}: {out}");
        assert!(out.contains("are the same server"), "{out}");
        assert!(out.contains("its own noise says nothing about another model"), "{out}");
        assert!(out.contains("disagreements") && !out.contains("healthy"), "{out}");
    }
}

#[test]
fn one_and_the_same_answer_to_all_questions_makes_nobody_healthy() {
    let folder = Folder::new("one");
    let golden = folder.prompts();
    // As models do that begin every answer with the mark of their thoughts.
    let (reference, candidate) = (Server::completions(|_| "<think>"), Server::completions(|_| "<think>"));
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &[]);
    assert_eq!((code, error.as_str()), (3, ""), "{out}");
    assert!(
        out.contains("one and the same answer") && !out.contains("healthy"),
        "{out}"
    );
    let (_, out, _) = completions(&golden, &reference.url, &candidate.url, &["-o", "json"]);
    let found = parsed(&out);
    assert_eq!(
        (&found["verdict"], &found["distinctAnswers"]),
        (&json!("Undecided"), &json!(1))
    );
    let other = Server::completions(flipped);
    let (code, out, _) = completions(&golden, &reference.url, &other.url, &[]);
    assert_eq!(code, 1, "another answer is another answer: {out}");
}

#[test]
fn a_reference_that_differs_from_itself_is_told_with_what_it_means() {
    let folder = Folder::new("noise");
    let asked = Arc::new(AtomicUsize::new(0));
    let noisy = Server::new(move |_| {
        let token = if asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(5) {
            " no"
        } else {
            " yes"
        };
        json!({"choices": [{"text": token, "finish_reason": "length"}]})
            .to_string()
            .into_response()
    });
    let candidate = Server::completions(usual);
    let more = ["--pairs", "100", "--control", "50%"];
    let (_, out, _) = completions(&folder.prompts(), &noisy.url, &candidate.url, &more);
    assert!(out.contains("The reference differs from itself in "), "{out}");
    assert!(out.contains("a tolerance below that rejects every candidate"), "{out}");
    assert!(!out.contains("Distances"), "without probabilities none is known: {out}");
}

#[test]
fn a_url_with_the_version_at_its_end_reaches_the_same_path() {
    let folder = Folder::new("version");
    let arm = Server::completions(usual);
    let url = format!("{}/v1", arm.url);
    completions(&folder.prompts(), &url, &url, &["--pairs", "10"]);
    assert!(!arm.asked().is_empty());
    assert!(
        arm.asked().iter().all(|(path, ..)| path == "/v1/completions"),
        "{:?}",
        arm.asked()
    );
}

#[test]
fn a_mark_at_the_beginning_of_a_golden_set_is_no_part_of_it() {
    let folder = Folder::new("mark");
    let golden = folder.file(
        "golden.jsonl",
        "\u{feff}{\"prompt\":\"prompt 1\"}\n{\"prompt\":\"prompt 2\"}\n",
    );
    let (reference, candidate) = (Server::completions(usual), Server::completions(usual));
    let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &["-o", "json"]);
    assert_eq!((code, error.as_str()), (3, ""), "{out}");
    assert_eq!(parsed(&out)["golden"]["lines"], 2);
}

/// Runs a dry run of two arms that agree, with its output to where it is told.
fn dry_run_into(golden: &Path, arm: &Server, out: Stdio) -> std::process::Output {
    let candidate = Server::completions(usual);
    let child = Command::new(env!("CARGO_BIN_EXE_guardbit"))
        .args(["compare", "--dry-run", "--protocol", "OpenAI", "--golden"])
        .arg(golden)
        .args(["--reference", &arm.url, "--candidate", &candidate.url])
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .expect("guardbit starts");
    child.wait_with_output().expect("it ends")
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_no_verdict() {
    let folder = Folder::new("full");
    let arm = Server::completions(usual);
    let full = || File::options().write(true).open("/dev/full").expect("a device");
    let done = dry_run_into(&folder.prompts(), &arm, full().into());
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(2), "{error}");
    assert!(error.contains("the output cannot be written"), "{error}");
    let done = Command::new(env!("CARGO_BIN_EXE_guardbit"))
        .args(["golden", "digest"])
        .arg(folder.prompts())
        .stdout(full())
        .status();
    assert_eq!(done.expect("guardbit starts").code(), Some(2));
}

#[test]
fn a_reader_that_has_gone_changes_no_verdict() {
    let folder = Folder::new("gone");
    let arm = Server::completions(usual);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let done = dry_run_into(&folder.numbered(ENOUGH), &arm, writer.into());
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!((done.status.code(), &*error), (Some(0), ""));
}

#[test]
fn a_reference_that_nobody_reaches_could_not_be_compared_with() {
    let folder = Folder::new("refused");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let candidate = Server::completions(|_| " yes");
    let (code, out, error) = completions(&folder.prompts(), &url, &candidate.url, &[]);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(
        error.contains(&format!("the reference ({url}): it cannot be reached")),
        "{error}"
    );
    assert!(error.contains("check the URL"), "{error}");
}

#[test]
fn a_candidate_that_fails_where_the_reference_answers_disagrees() {
    let folder = Folder::new("fails");
    let golden = folder.prompts();
    let reference = Server::completions(|_| " yes");
    // Python writes it so, and JSON does not know it.
    let answer = r#"{"choices":[{"text":" yes","logprobs":{"token_logprobs":[NaN]}}]}"#;
    let broken = Server::new(move |_| answer.into_response());
    let more = ["--pairs", "60", "-o", "json"];
    for (candidate, reason) in [
        (Server::status(StatusCode::INTERNAL_SERVER_ERROR), "status"),
        (broken, "unparsable"),
    ] {
        let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &more);
        assert_eq!((code, error.as_str()), (1, ""), "{out}");
        let found = parsed(&out);
        assert_eq!(found["pairs"]["disagreements"], found["pairs"]["pairs"], "{found}");
        let failures = found["failures"].as_array().expect("failures");
        assert_eq!(failures.len(), 1, "{found}");
        assert_eq!(
            (&failures[0]["arm"], &failures[0]["reason"]),
            (&json!("candidate"), &json!(reason))
        );
        assert_eq!(failures[0]["times"], found["pairs"]["pairs"]);
    }
}

#[test]
fn a_candidate_that_answers_nothing_in_the_form_of_the_protocol_could_not_be_judged() {
    let folder = Folder::new("foreign");
    let golden = folder.prompts();
    let reference = Server::completions(usual);
    for (body, told) in [
        ("<html>hello</html>", "it is a page (HTML or XML), and no JSON"),
        ("", "it is empty"),
        ("hello", "it is no JSON"),
        (r#"{"predictions":[1]}"#, "it has no choices[0]"),
    ] {
        let candidate = Server::new(move |_| body.into_response());
        let (code, out, error) = completions(&golden, &reference.url, &candidate.url, &["--pairs", "60"]);
        assert_eq!((code, out.as_str()), (2, ""), "{body}: {error}");
        assert!(
            error.contains(&format!("the candidate ({}) gave no answer to any of", candidate.url)),
            "{body}: {error}"
        );
        let parts = format!("{told}; check the URL, --protocol, --path and --pointer");
        assert!(error.contains(&parts), "{body}: {error}");
    }
}

#[test]
fn a_page_among_good_answers_is_another_answer() {
    let folder = Folder::new("among");
    let reference = Server::completions(usual);
    let candidate = Server::new(|asked| match asked["prompt"].as_str().unwrap_or_default() {
        "prompt 3" => "<html>hello</html>".into_response(),
        prompt => completion(usual(prompt)),
    });
    let (code, out, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &["--pairs", "300"]);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    assert!(out.contains("They differ at line 3 of the golden set."), "{out}");
}

#[test]
fn an_arm_without_capacity_makes_no_pairs() {
    let folder = Folder::new("busy");
    let (reference, candidate) = (
        Server::completions(|_| " yes"),
        Server::status(StatusCode::TOO_MANY_REQUESTS),
    );
    // Pairs of the reference with itself go on being answered.
    for (control, most) in [("0", 60), ("50%", 120)] {
        let (code, out, error) = completions(
            &folder.prompts(),
            &reference.url,
            &candidate.url,
            &["--control", control],
        );
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains(&candidate.url) && error.contains("429"), "{error}");
        assert!(
            error.contains("20 pairs in a row") && error.contains("--concurrency"),
            "{error}"
        );
        let asked = candidate.asked().len();
        assert!(asked < most, "it was asked {asked} times in all");
    }
}

#[test]
fn a_reference_that_answers_something_else_is_told_with_what_to_check() {
    let folder = Folder::new("other");
    let reference = Server::new(|_| json!({"predictions": [1]}).to_string().into_response());
    let candidate = Server::completions(|_| " yes");
    let (code, out, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &[]);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(
        error.contains("it has no choices[0]") && error.contains("check the URL, --protocol"),
        "{error}"
    );
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let folder = Folder::new("endless");
    let reference = Server::completions(|_| " yes");
    let candidate = Server::new(|_| {
        let chunk = Bytes::from(vec![b' '; 64 * 1024]);
        Body::from_stream(stream::repeat(Ok::<_, std::convert::Infallible>(chunk))).into_response()
    });
    let more = ["--pairs", "60", "--control", "0", "-o", "json"];
    let (code, out, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &more);
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    assert_eq!(parsed(&out)["failures"][0]["reason"], "too_large");
}

#[test]
fn a_redirect_is_not_followed() {
    let folder = Folder::new("redirect");
    let (reference, elsewhere) = (Server::completions(|_| " yes"), Server::completions(|_| " yes"));
    let to = format!("{}/v1/completions", elsewhere.url);
    let candidate = Server::new(move |_| (StatusCode::TEMPORARY_REDIRECT, [("location", to.clone())]).into_response());
    let (code, _, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &["--pairs", "60"]);
    // It is asked in the wrong way, which says nothing of its model.
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains("gave no answer to any of") && error.contains("status 307; check --path"),
        "{error}"
    );
    assert_eq!(elsewhere.asked().len(), 0);
}

#[test]
fn questions_that_get_no_answer_may_be_those_that_differ() {
    let folder = Folder::new("lost");
    let reference = Server::completions(|_| " yes");
    // It never has room for one question of five.
    let candidate = Server::new(|asked| {
        if asked["prompt"] == "prompt 3" {
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        completion(" yes")
    });
    let (code, _, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &["--pairs", "200"]);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("pairs came to nothing"), "{error}");
}

#[test]
fn another_golden_set_than_the_one_that_is_meant_is_refused() {
    let folder = Folder::new("meant");
    let arm = Server::completions(|_| " yes");
    let more = ["--golden-digest", "sha256:00"];
    let (code, _, error) = completions(&folder.prompts(), &arm.url, &arm.url, &more);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("has the digest sha256:"), "{error}");
}

#[test]
fn a_token_is_sent_to_both_arms_and_shown_to_nobody() {
    let folder = Folder::new("token");
    let token = folder.file("token", "s3cret\n");
    let arm = Server::completions(|_| " yes");
    let more = ["--pairs", "10", "--token-file", token.to_str().expect("UTF-8")];
    let (_, out, error) = completions(&folder.prompts(), &arm.url, &arm.url, &more);
    assert!(!arm.asked().is_empty(), "{error}");
    for (_, headers, _) in arm.asked() {
        assert_eq!(
            headers.get("authorization").map(|value| value.as_bytes()),
            Some(&b"Bearer s3cret"[..])
        );
    }
    assert!(!out.contains("s3cret") && !error.contains("s3cret"), "{out}{error}");
}

#[test]
fn tensors_are_compared_by_class_and_by_threshold() {
    let folder = Folder::new("tensors");
    let input = |x: f64| json!({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [x]}]});
    let near = |i: u16| f64::from(i) / 1024.0 + if i.is_multiple_of(2) { 0.25 } else { 0.75 };
    let lines: String = (0..32).map(|i| format!("{}\n", input(near(i)))).collect();
    let golden = folder.file("tensors.jsonl", &lines);
    let server = |bias: f64| {
        Server::new(move |asked| {
            let x = asked["inputs"][0]["data"][0].as_f64().expect("a number") + bias;
            let output = json!({"name": "score", "shape": [1, 1], "datatype": "FP64", "data": [x]});
            json!({"model_name": "m", "outputs": [output]})
                .to_string()
                .into_response()
        })
    };
    let (reference, candidate) = (server(0.0), server(0.125));
    let path = "/v2/models/m/infer";
    let usual = ["--protocol", "openinference", "--path", path, "--pairs", "200"];
    for (more, expected) in [
        (&["--threshold", "0.5"][..], 0),
        (&["--threshold", "0.3"], 1),
        (&["--margin", "0.2"], 0),
        (&["--margin", "0.1"], 1),
    ] {
        let (code, out, error) = compare(&golden, &reference.url, &candidate.url, &[&usual[..], more].concat());
        assert_eq!((code, error.as_str()), (expected, ""), "{more:?}: {out}");
    }
    assert!(candidate.asked().iter().all(|(asked, ..)| asked == path));
}

#[test]
fn wrong_use_is_told_with_what_would_be_right() {
    let folder = Folder::new("usage");
    let golden = folder.prompts();
    let golden = golden.to_str().expect("UTF-8");
    let broken = folder.file("broken.jsonl", "{\"prompt\":\"a\"}\nnothing\n");
    let broken = broken.to_str().expect("UTF-8");
    let url = "http://127.0.0.1:9";
    let arms = ["--reference", url, "--candidate", url];
    let server = [
        "--protocol",
        "OpenAI",
        "--model",
        "m",
        "--reference-revision",
        "aaaa",
        "--candidate-revision",
        "bbbb",
    ];
    let dry = |more: &[&'static str]| [&["--dry-run", "--protocol", "OpenAI", "--golden", golden], more].concat();
    for (args, part) in [
        (vec!["--protocol", "OpenAI", "--golden", golden], "--model"),
        (
            vec!["--dry-run", "--protocol", "gRPC", "--golden", golden],
            "OpenInference",
        ),
        (
            vec!["--dry-run", "--protocol", "JSON", "--golden", golden],
            "--pointer: it must say",
        ),
        (
            vec!["--dry-run", "--protocol", "OpenAI", "--margin", "1", "--golden", golden],
            "--margin: it has no meaning",
        ),
        (
            vec!["--dry-run", "--protocol", "OpenAI", "--golden", broken],
            ": line 2, column ",
        ),
        (
            vec!["--dry-run", "--protocol", "OpenAI", "--golden", "/nowhere.jsonl"],
            "/nowhere.jsonl",
        ),
        (dry(&["--tolerance", "0"]), "above 0"),
        (dry(&["--pairs", "0"]), "--pairs"),
        (dry(&["--mirror"]), "--mirror"),
        (dry(&["--rate", "1"]), "--rate"),
        (dry(&["--budget-pairs", "1"]), "--budget-pairs"),
        (dry(&["--listen", "127.0.0.1:0"]), "--listen"),
        (
            [&server[..], &["--golden", golden, "--pairs", "10"]].concat(),
            "--pairs",
        ),
        (
            [&server[..], &["--golden", golden, "--tolerance", "1%"]].concat(),
            "--tolerance",
        ),
        ([&server[..], &["--golden", golden, "-o", "json"]].concat(), "--output"),
        (
            [&server[..], &["--mirror", "--path", "/v1/completions"]].concat(),
            "--golden",
        ),
    ] {
        let (code, out, error) = guardbit(&[&["compare"][..], &args, &arms].concat());
        assert_eq!((code, out.as_str()), (2, ""), "{args:?}");
        assert!(error.contains(part), "{args:?}: {error}");
    }
    let secret = "http://user:s3cret@127.0.0.1:9";
    let (code, _, error) = completions(Path::new(golden), secret, url, &[]);
    assert!(
        code == 2 && error.contains("user name or password") && !error.contains("s3cret"),
        "{error}"
    );
}

#[test]
fn a_golden_set_is_made_from_a_log_without_its_users() {
    let folder = Folder::new("log");
    let log = [
        r#"{"prompt":"one","user":"u-1","stream":true,"max_tokens":200}"#,
        r#"{"prompt":"one","user":"u-2","metadata":{"team":"x"}}"#,
        "",
        r#"{"path":"/v1/chat/completions","body":{"messages":[{"role":"user","content":"two"}],"user":"u-3"}}"#,
        r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:"}}]}]}"#,
        r#"{"prompt":"thr"#,
    ];
    let log = folder.file("log.jsonl", &log.join("\n"));
    let made = folder.0.join("made.jsonl");
    let (from, to) = (log.to_str().expect("UTF-8"), made.to_str().expect("UTF-8"));
    let (code, out, error) = guardbit(&["golden", "make", "--from", from, "--out", to]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let text = std::fs::read_to_string(&made).expect("written");
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains("u-") && !text.contains("team"), "{text}");
    let (_, digest, _) = guardbit(&["golden", "digest", to]);
    let digest = digest.trim_end();
    for part in [
        format!("2 lines, {} bytes", text.len()),
        "left out 1: duplicates".to_owned(),
        "few: draws repeat questions".to_owned(),
        format!("an image, audio, video or a file ({from}:5)"),
        format!("it is no JSON ({from}:6)"),
        "kubectl create configmap made --from-file=golden.jsonl=".to_owned(),
        format!("golden: {{configMap: made, digest: {digest}}}"),
    ] {
        assert!(out.contains(&part), "{part}: {out}");
    }
    let again = folder.0.join("again.jsonl");
    let to = again.to_str().expect("UTF-8");
    let (code, ..) = guardbit(&["golden", "make", "--from", made.to_str().expect("UTF-8"), "--out", to]);
    assert_eq!(
        (code, std::fs::read_to_string(&again).expect("written")),
        (0, text),
        "nothing is left to change"
    );
    let arm = Server::completions(|_| " yes");
    // The other line is a chat, which this server does not answer as one.
    let (_, out, error) = completions(&made, &arm.url, &arm.url, &["--pairs", "10", "-o", "json"]);
    let asked: BTreeSet<_> = arm.asked().into_iter().map(|(path, ..)| path).collect();
    assert!(asked.contains("/v1/completions"), "{asked:?}: {out}{error}");
}

#[cfg(unix)]
#[test]
fn a_golden_set_is_made_from_a_folder_in_the_order_of_names_and_no_link_is_followed() {
    let folder = Folder::new("folder");
    let from = folder.0.join("requests");
    std::fs::create_dir_all(&from).expect("created");
    let outside = folder.file("outside.txt", r#"{"prompt":"outside"}"#);
    for (name, text) in [
        ("b.json", "{\n  \"prompt\": \"second\"\n}\n"),
        ("a.json", "{\"prompt\": \"first\"}"),
        ("c.json", "{\"prompt\": \"third\"}"),
        ("d.txt", "{\"prompt\": \"fourth\"}"),
    ] {
        std::fs::write(from.join(name), text).expect("written");
    }
    std::os::unix::fs::symlink(&outside, from.join("0.json")).expect("linked");
    let made = folder.0.join("made.jsonl");
    let (from, to) = (from.to_str().expect("UTF-8"), made.to_str().expect("UTF-8"));
    let make = |limit: &str| guardbit(&["golden", "make", "--from", from, "--out", to, "--limit", limit]);
    let prompts = || {
        let text = std::fs::read_to_string(&made).expect("written");
        text.lines()
            .map(|line| parsed(line)["prompt"].clone())
            .collect::<Vec<_>>()
    };
    let (code, out, error) = make("9");
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    assert_eq!(prompts(), ["first", "second", "third"]);
    let (code, out, _) = make("2");
    assert!(code == 0 && out.contains("stopped at 2 lines"), "{out}");
    assert_eq!(prompts(), ["first", "second"]);
}

#[cfg(unix)]
#[test]
fn no_recording_is_overwritten_by_the_set_that_is_made_from_it() {
    let folder = Folder::new("overwrite");
    let line = "{\"prompt\":\"one\",\"user\":\"u\"}\n";
    let log = folder.file("log.jsonl", line);
    let recorded = folder.0.join("recorded");
    std::fs::create_dir_all(&recorded).expect("created");
    let request = recorded.join("a.json");
    std::fs::write(&request, line).expect("written");
    let link = folder.0.join("link.jsonl");
    std::os::unix::fs::symlink(&log, &link).expect("linked");
    let inside = folder.0.join("recorded/../recorded/new.json");
    for (from, to) in [(&log, &log), (&log, &link), (&recorded, &request), (&recorded, &inside)] {
        let (from, to) = (from.to_str().expect("UTF-8"), to.to_str().expect("UTF-8"));
        let (code, out, error) = guardbit(&["golden", "make", "--from", from, "--out", to]);
        assert_eq!((code, out.as_str()), (2, ""), "{from} {to}: {error}");
        assert!(error.contains("write to another file"), "{error}");
    }
    for kept in [&log, &request] {
        assert_eq!(std::fs::read_to_string(kept).expect("still there"), line);
    }
    assert!(!inside.exists());
    let beside = recorded.join("golden.jsonl");
    let (from, to) = (recorded.to_str().expect("UTF-8"), beside.to_str().expect("UTF-8"));
    let (code, _, error) = guardbit(&["golden", "make", "--from", from, "--out", to]);
    assert_eq!(code, 0, "another ending is no recording: {error}");
}

#[test]
fn a_log_without_a_request_makes_no_golden_set() {
    let folder = Folder::new("nothing");
    let log = folder.file("log.jsonl", "{\"input\":\"a\"}\nnothing\n");
    let made = folder.0.join("made.jsonl");
    let (from, to) = (log.to_str().expect("UTF-8"), made.to_str().expect("UTF-8"));
    let (code, out, error) = guardbit(&["golden", "make", "--from", from, "--out", to]);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(error.contains("no request in it that can be compared"), "{error}");
    assert!(
        error.contains("neither messages nor a prompt") && error.contains("it is no JSON"),
        "{error}"
    );
    assert!(!made.exists());
}
