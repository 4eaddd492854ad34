//! `guardbit compare` as a server: pairs at a pace, questions of users, and what both are reported as.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use model_server::faults::Broken;
use serde_json::json;

use super::{Folder, Server};

/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The command of a comparer of completions that asks these URLs for these revisions, up to what it asks.
pub(super) fn arguments<'a>(reference: &'a str, candidate: &'a str, revisions: [&'a str; 2]) -> Vec<&'a str> {
    let [of_reference, of_candidate] = revisions;
    let mut all = vec!["compare", "--protocol", "OpenAI", "--model", "fraud"];
    all.extend(["--reference", reference, "--reference-revision", of_reference]);
    all.extend(["--candidate", candidate, "--candidate-revision", of_candidate]);
    all
}

/// A comparer that runs until the test ends.
pub(super) struct Comparer {
    pub(super) process: Child,
    pub(super) address: String,
}

impl Comparer {
    pub(super) fn start(reference: &Server, candidate: &Server, more: &[&str]) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address").to_string();
        drop(free);
        let process = Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .args(arguments(&reference.url, &candidate.url, ["aaaa", "bbbb"]))
            .args(["--listen", &address])
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("guardbit starts");
        let comparer = Self { process, address };
        let end = Instant::now() + PATIENCE;
        while TcpStream::connect(&comparer.address).is_err() {
            assert!(Instant::now() < end, "it does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        comparer
    }

    pub(super) fn with_golden(reference: &Server, candidate: &Server, golden: &Path, more: &[&str]) -> Self {
        let golden = ["--golden", golden.to_str().expect("UTF-8"), "--rate", "200"];
        Self::start(reference, candidate, &[&golden[..], more].concat())
    }

    /// Sends a request as a gateway mirrors it, and returns the status line of the answer.
    pub(super) fn send(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let length = body.len();
        let head = format!("{head}\r\nHost: fraud-shadow\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).expect("sent");
        // A body that is too long is not read to its end.
        let _ = stream.write_all(body);
        let mut status = String::new();
        let _ = BufReader::new(stream).read_line(&mut status);
        status.trim().to_owned()
    }

    /// Sends bytes as they are, and returns what comes until the connection ends.
    pub(super) fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let (sent, mut answer) = (stream.write_all(bytes), Vec::new());
        let read = stream.read_to_end(&mut answer);
        let is_late = |error: &std::io::Error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
        assert!(!read.as_ref().is_err_and(is_late), "it does not end: {sent:?} {read:?}");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(super) fn metrics(&self) -> String {
        let mut stream = TcpStream::connect(&self.address).expect("connected");
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .expect("sent");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("UTF-8");
        text
    }

    /// The value of a series, by its name and a part of its labels; 0 while there is none.
    pub(super) fn value(&self, name: &str, labels: &str) -> u64 {
        let metrics = self.metrics();
        let is_meant = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(labels);
        let line = metrics.lines().find(is_meant);
        let value = line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        value.unwrap_or(0.0) as u64
    }

    /// Ends it, and returns what it has logged.
    pub(super) fn logged(mut self) -> String {
        let _ = self.process.kill();
        let mut text = String::new();
        let mut log = self.process.stderr.take().expect("a pipe");
        log.read_to_string(&mut text).expect("UTF-8");
        text
    }

    pub(super) fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(
                Instant::now() < end,
                "not within {PATIENCE:?}: {what}\n{}",
                self.metrics()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Comparer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

pub(super) const PAIRS: &str = "guardbit_pairs_total";
const DIFFER: &str = "guardbit_pair_disagreements_total";
const OF_CANDIDATE: &str = "guardbit_revision=\"bbbb\",source=\"golden\"";
const OF_REFERENCE: &str = "guardbit_revision=\"aaaa\",source=\"golden\"";

#[test]
fn pairs_are_counted_by_revision_and_the_lines_that_differ_are_named() {
    let folder = Folder::new("serve");
    let reference = Server::completions(|_| " yes");
    let candidate = Server::completions(|prompt| if prompt == "prompt 3" { " no" } else { " yes" });
    let comparer = Comparer::with_golden(&reference, &candidate, &folder.prompts(), &["--control", "20%"]);
    comparer.until("two hundred pairs", |c| c.value(PAIRS, OF_CANDIDATE) >= 200);
    let (pairs, differ) = (
        comparer.value(PAIRS, OF_CANDIDATE),
        comparer.value(DIFFER, OF_CANDIDATE),
    );
    let share = differ as f64 / pairs as f64;
    assert!(
        (0.1..0.3).contains(&share),
        "one of five prompts differs: {differ} of {pairs}"
    );
    assert!(comparer.value(PAIRS, OF_REFERENCE) >= 10, "{}", comparer.metrics());
    assert_eq!(comparer.value(DIFFER, OF_REFERENCE), 0);
    assert_eq!(comparer.value("guardbit_pair_example", "place=\"1\""), 3, "line 3");
    let metrics = comparer.metrics();
    assert!(!metrics.contains("prompt") && !metrics.contains(" yes"), "{metrics}");
}

#[test]
fn a_budget_ends_the_pairs_and_says_so() {
    let folder = Folder::new("budget");
    let (reference, candidate) = (Server::completions(|_| " yes"), Server::completions(|_| " yes"));
    let comparer = Comparer::with_golden(
        &reference,
        &candidate,
        &folder.prompts(),
        &["--budget-pairs", "20", "--control", "0"],
    );
    comparer.until("the budget is spent", |c| {
        c.value("guardbit_pair_budget_spent", "budget=\"pairs\"") == 1
    });
    comparer.until("all pairs are counted", |c| c.value(PAIRS, OF_CANDIDATE) == 20);
    assert_eq!(candidate.asked().len(), 20);
    let log = comparer.logged();
    assert!(
        log.contains("pairs are asked once /metrics has been read") && log.contains("questions=5"),
        "{log}"
    );
    assert!(log.contains("the budget is used up"), "{log}");
}

#[test]
fn one_and_the_same_answer_to_all_questions_is_shown_and_logged() {
    let folder = Folder::new("one-answer");
    let (reference, candidate) = (Server::completions(|_| "<think>"), Server::completions(|_| "<think>"));
    let comparer = Comparer::with_golden(&reference, &candidate, &folder.prompts(), &[]);
    comparer.until("more than a hundred pairs", |c| c.value(PAIRS, OF_CANDIDATE) > 120);
    let distinct = comparer.value("guardbit_pair_distinct_answers", "guardbit_revision=\"aaaa\"");
    assert_eq!(distinct, 1);
    let log = comparer.logged();
    assert_eq!(log.matches("one and the same answer").count(), 1, "{log}");
    assert!(!log.contains("think"), "no text of an answer is logged: {log}");
}

#[test]
fn an_arm_without_room_is_asked_less_and_makes_no_pairs() {
    let folder = Folder::new("busy");
    let (reference, candidate) = (
        Server::completions(|_| " yes"),
        Server::status(StatusCode::TOO_MANY_REQUESTS),
    );
    let comparer = Comparer::with_golden(&reference, &candidate, &folder.prompts(), &["--control", "0"]);
    let failures = |c: &Comparer| c.value("guardbit_pair_failures_total", "arm=\"candidate\",reason=\"status\"");
    comparer.until("some failures", |c| failures(c) >= 7);
    assert_eq!(comparer.value(PAIRS, OF_CANDIDATE), 0);
    let (before, begun) = (failures(&comparer), Instant::now());
    comparer.until("two more", |c| failures(c) >= before + 2);
    let rate = 2.0 / begun.elapsed().as_secs_f64();
    assert!(rate < 50.0, "{rate} a second, of 200");
    let log = comparer.logged();
    assert_eq!(log.matches("an arm has no room").count(), 1, "once a minute: {log}");
}

#[test]
fn a_candidate_that_fails_where_the_reference_answers_differs() {
    let folder = Folder::new("fails");
    let (reference, candidate) = (
        Server::completions(|_| " yes"),
        Server::status(StatusCode::INTERNAL_SERVER_ERROR),
    );
    let comparer = Comparer::with_golden(&reference, &candidate, &folder.prompts(), &["--control", "0"]);
    comparer.until("some pairs", |c| c.value(PAIRS, OF_CANDIDATE) >= 20);
    comparer.until("each of them differs", |c| {
        c.value(PAIRS, OF_CANDIDATE) == c.value(DIFFER, OF_CANDIDATE)
    });
}

/// In the ways in which the end-to-end tests break a server, but for those that only cost time.
#[test]
fn an_arm_that_is_broken_makes_no_pair_as_the_reference_and_differs_as_the_candidate() {
    let folder = Folder::new("broken");
    let golden = folder.prompts();
    for (broken, reason) in [
        (Broken::Status(500), "status"),
        (Broken::Garbage, "unparsable"),
        (Broken::Huge, "too_large"),
        (Broken::Redirect, "status"),
    ] {
        let (well, ill) = (Server::completions(|_| " yes"), Server::new(move |_| broken.response()));
        let failures = |c: &Comparer, arm: &str| {
            c.value(
                "guardbit_pair_failures_total",
                &format!("arm=\"{arm}\",reason=\"{reason}\""),
            )
        };
        let comparer = Comparer::with_golden(&ill, &well, &golden, &["--control", "0"]);
        comparer.until("the reference fails", |c| failures(c, "reference") >= 20);
        assert_eq!(comparer.value(PAIRS, OF_CANDIDATE), 0, "{broken:?}");
        let comparer = Comparer::with_golden(&well, &ill, &golden, &["--control", "0"]);
        comparer.until("the candidate fails", |c| failures(c, "candidate") >= 20);
        comparer.until("each pair differs", |c| {
            let differ = c.value(DIFFER, OF_CANDIDATE);
            differ >= 20 && differ == c.value(PAIRS, OF_CANDIDATE)
        });
    }
}

/// As TensorRT-LLM and vLLM on Gaudi do, with speculative decoding or always.
#[test]
fn an_arm_that_refuses_to_tell_probabilities_is_compared_without() {
    let folder = Folder::new("refuses");
    let golden = folder.prompts();
    let refusing = |token: &'static str| {
        Server::new(move |asked| match asked.get("logprobs") {
            Some(_) => (StatusCode::BAD_REQUEST, "logprobs are not supported").into_response(),
            None => json!({"choices": [{"index": 0, "text": token, "finish_reason": "length"}]})
                .to_string()
                .into_response(),
        })
    };
    let telling = |token: &'static str| Server::completions(move |_| token);
    for (reference, candidate, differs) in [
        (telling(" yes"), refusing(" yes"), false),
        (telling(" yes"), refusing(" no"), true),
        (refusing(" yes"), telling(" yes"), false),
        (refusing(" yes"), refusing(" no"), true),
        // One that refuses the question itself.
        (telling(" yes"), Server::status(StatusCode::BAD_REQUEST), true),
    ] {
        let more = ["--control", "0", "--budget-pairs", "20"];
        let comparer = Comparer::with_golden(&reference, &candidate, &golden, &more);
        comparer.until("all pairs are counted", |c| c.value(PAIRS, OF_CANDIDATE) == 20);
        let differ = comparer.value(DIFFER, OF_CANDIDATE);
        assert_eq!(differ, if differs { 20 } else { 0 });
        // Each with the probabilities first, and then both without.
        for server in [&reference, &candidate] {
            let asked = server.asked();
            let with = asked.iter().filter(|(.., body)| body.get("logprobs").is_some()).count();
            assert_eq!((with, asked.len()), (20, 40));
        }
    }
}

/// A gateway of NGINX holds up a user's next request until the copy of the last one is answered.
#[test]
fn users_requests_are_acknowledged_at_once_while_the_arms_are_slow_and_what_is_too_much_is_dropped() {
    const REQUESTS: u64 = 200;
    let slow = || {
        Server::new(|_| {
            std::thread::sleep(Duration::from_secs(2));
            StatusCode::OK.into_response()
        })
    };
    let (reference, candidate) = (slow(), slow());
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--rate", "1", "--control", "0"]);
    // Pairs are asked from now on.
    comparer.metrics();
    let begun = Instant::now();
    for _ in 0..REQUESTS {
        let status = comparer.send("POST /v1/completions HTTP/1.1", b"{\"prompt\": \"a\"}");
        assert_eq!(status, "HTTP/1.1 202 Accepted");
    }
    // One that waits for its arm takes two seconds, and one that waits for its turn one.
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    let dropped = comparer.value("guardbit_mirrored_dropped_total", "reason=\"queue\"");
    // 64 wait, and a few are asked meanwhile.
    assert!((REQUESTS / 2..REQUESTS).contains(&dropped), "{dropped} of {REQUESTS}");
    assert!(
        (reference.asked().len() as u64) < REQUESTS / 10,
        "no more than the rate"
    );
}

#[test]
fn users_requests_are_acknowledged_at_once_and_asked_without_their_headers() {
    let (reference, candidate) = (Server::completions(|_| " yes"), Server::completions(|_| " no"));
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--rate", "200", "--control", "0"]);
    let chat = br#"{"prompt": "a user's own words", "user": "u-1", "stream": true, "max_tokens": 500}"#;
    let head = "POST /v1/completions HTTP/1.1\r\nAuthorization: Bearer s3cret\r\nX-Api-Key: s3cret\r\nX-Forwarded-Host: evil.example";
    assert_eq!(comparer.send(head, chat), "HTTP/1.1 202 Accepted");
    let of_users = "guardbit_revision=\"bbbb\",source=\"mirror\"";
    comparer.until("a pair that differs", |c| c.value(DIFFER, of_users) == 1);
    for server in [&reference, &candidate] {
        let asked = server.asked();
        let [(path, headers, body)] = asked.as_slice() else {
            panic!("asked once: {asked:?}");
        };
        assert_eq!(path, "/v1/completions");
        assert!(
            !format!("{headers:?}").contains("s3cret") && !format!("{headers:?}").contains("evil"),
            "{headers:?}"
        );
        assert_eq!((body.get("user"), &body["max_tokens"]), (None, &1.into()));
    }
    let metrics = comparer.metrics();
    assert!(
        !metrics.contains("words") && !metrics.contains("guardbit_pair_example{"),
        "{metrics}"
    );
}

#[test]
fn what_cannot_be_compared_is_acknowledged_and_dropped() {
    let (reference, candidate) = (Server::completions(|_| " yes"), Server::completions(|_| " yes"));
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--rate", "200", "--control", "0"]);
    let post = "POST /v1/completions HTTP/1.1";
    let long = vec![b'a'; 10 * 1024 * 1024];
    let dropped =
        |c: &Comparer, reason: &str| c.value("guardbit_mirrored_dropped_total", &format!("reason=\"{reason}\""));
    for (head, body, reason) in [
        (post, &b"\x1b[31m no JSON"[..], "unparsable"),
        // What a client has compressed: its headers are not looked at.
        (
            "POST /v1/completions HTTP/1.1\r\nContent-Encoding: gzip",
            b"\x1f\x8b\x08\0\0\0\0\0\x02\xff",
            "unparsable",
        ),
        // A connection that is to become another, as a WebSocket does.
        (
            "GET /v1/realtime HTTP/1.1\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13",
            b"",
            "skipped",
        ),
        (post, b"{\"prompt\": [\"a\", \"b\"]}", "skipped"),
        ("POST /v1/../admin HTTP/1.1", b"{\"prompt\": \"a\"}", "skipped"),
        ("POST /v1/files HTTP/1.1", b"{\"prompt\": \"a\"}", "skipped"),
        ("DELETE /v1/completions HTTP/1.1", b"{\"prompt\": \"a\"}", "skipped"),
        (post, &long, "too_large"),
    ] {
        let before = dropped(&comparer, reason);
        comparer.send(head, body);
        comparer.until("it is dropped", |c| dropped(c, reason) == before + 1);
    }
    assert!(reference.asked().is_empty() && candidate.asked().is_empty());
    // It goes on.
    assert_eq!(comparer.send(post, b"{\"prompt\": \"a\"}"), "HTTP/1.1 202 Accepted");
    comparer.until("a pair", |c| {
        c.value(PAIRS, "guardbit_revision=\"bbbb\",source=\"mirror\"") >= 1
    });
}

#[test]
fn a_golden_set_that_was_changed_is_refused() {
    let folder = Folder::new("digest");
    let arm = Server::completions(|_| " yes");
    let golden = folder.prompts();
    let args = arguments(&arm.url, &arm.url, ["aaaa", "bbbb"]);
    let golden = ["--golden", golden.to_str().expect("UTF-8")];
    let (code, _, error) = super::guardbit(&[&args[..], &golden, &["--golden-digest", "sha256:00"]].concat());
    assert_eq!(code, 2, "{error}");
    assert!(
        error.contains("has the digest sha256:") && error.contains("write its new digest"),
        "{error}"
    );
}

#[test]
fn revisions_that_are_the_same_are_refused() {
    let folder = Folder::new("same");
    let arm = Server::completions(|_| " yes");
    let golden = folder.prompts();
    let args = arguments(&arm.url, &arm.url, ["aaaa", "aaaa"]);
    let golden = ["--golden", golden.to_str().expect("UTF-8")];
    let (code, _, error) = super::guardbit(&[&args[..], &golden].concat());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("could not be told from"), "{error}");
}
