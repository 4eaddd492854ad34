//! Attacks on the comparer: what leads it elsewhere, what does not end, and what a terminal or Prometheus would obey. Each comes
//! in where a real one would: in a golden set, in the answer of an arm, or at the port.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use guardbit::api::visible;
use guardbit::compare::{Arm, Compared, Exported, Golden, Limits, Prepared, Protocol, Settings, Source};
use serde_json::{Value, json};

use super::dry_run::{completions, parsed};
use super::server::{Comparer, PAIRS, PATIENCE, arguments};
use super::{Folder, Server, guardbit};

/// Colours a terminal, rings, forges a line and a series, turns the direction of writing, ends a string.
const HOSTILE: &str =
    "a\u{1b}[31mb\u{7}\r\nERROR forged\nforged_total 1\n\u{9b}2J\u{202e}c\u{2066}d\u{61c}\u{2028}\u{feff}e\u{0}\"} 1";

fn assert_plain(text: &str) {
    let obeyed: Vec<char> = text.chars().filter(|c| *c != '\n' && visible(*c) != *c).collect();
    assert!(obeyed.is_empty() && !text.contains("forged"), "{text:?}");
}

fn yes() -> Server {
    Server::completions(|_| " yes")
}

/// Host and port of a server.
fn authority(server: &Server) -> &str {
    server.url.trim_start_matches("http://")
}

/// All of a server's requests came to it as an arm, with no more than a comparer sends of its own.
fn assert_own_requests(server: &Server) {
    for (path, headers, body) in server.asked() {
        for (name, value) in &headers {
            let value = value.to_str().expect("visible");
            match name.as_str() {
                "host" => assert_eq!(value, authority(server)),
                "accept" | "content-length" | "content-type" => {}
                other => panic!("{path}: {other}: {value}"),
            }
        }
        for field in ELSEWHERE_FIELDS {
            assert_eq!(body.get(field), None, "{path}: {field}");
        }
    }
}

/// Paths that are none, or lead elsewhere; EVIL stands for another server.
const ELSEWHERE: [&str; 25] = [
    "",
    "*",
    "v1/completions",
    "http://EVIL/v1/completions",
    "HTTPS://EVIL/v1/completions",
    "@EVIL/v1/completions",
    ":80@EVIL/v1/completions",
    ".evil.example/v1/completions",
    "\\\\EVIL\\v1\\completions",
    "/\\EVIL/v1/completions",
    "/../v1/completions",
    "/v1/./completions",
    "/v1/..",
    "/v1/%2e%2e/completions",
    "/v1/..%2fcompletions",
    "/v1/completions HTTP/1.1\r\nHost: EVIL\r\n\r\nGET /v1/completions",
    "/v1/completions%0d%0aHost:%20EVIL",
    "/v1/completions\nX: y",
    "/v1/completions\tHTTP/1.1",
    "/v1/completions?to=http://EVIL",
    "/v1/completions#EVIL",
    "/v1/completions\u{0}",
    "/v1/completions\u{1b}[31m",
    "/\u{202e}v1/completions",
    "/v1/\u{ff0e}\u{ff0e}/completions",
];

/// Fields by which a body might name another server.
const ELSEWHERE_FIELDS: [&str; 4] = ["url", "base_url", "headers", "host"];

#[test]
fn no_line_of_a_golden_set_leads_elsewhere() {
    let folder = Folder::new("elsewhere");
    let (reference, candidate, evil) = (yes(), yes(), yes());
    let ask = |line: &str, more: &[&str]| {
        let golden = folder.file("golden.jsonl", line);
        completions(
            &golden,
            &reference.url,
            &candidate.url,
            &[&["--pairs", "4"][..], more].concat(),
        )
    };
    let evils = |text: &str| text.replace("EVIL", authority(&evil));
    let body = json!({"prompt": "a"});
    for path in ELSEWHERE.map(evils) {
        let (code, out, error) = ask(&json!({"path": path, "body": body}).to_string(), &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{path:?}: {error}");
        assert!(error.contains("line 1: its path "), "{path:?}: {error}");
        assert_plain(&error);
        if !path.is_empty() && !path.contains('\0') {
            let (code, _, error) = ask(&body.to_string(), &[format!("--path={path}").as_str()]);
            assert!(code == 2 && error.contains("--path: its path "), "{path:?}: {error}");
        }
    }
    // Other words for it, and the path twice.
    for line in [
        r#"{"url": "http://EVIL/v1/completions", "body": {"prompt": "a"}}"#,
        r#"{"path": "/v1/completions", "host": "EVIL", "body": {"prompt": "a"}}"#,
        r#"{"path": "/v1/completions", "path": "http://EVIL/v1/completions", "body": {"prompt": "a"}}"#,
        r#"{"path": ["http://EVIL/"], "body": {"prompt": "a"}}"#,
    ] {
        let (code, _, error) = ask(&evils(line), &[]);
        assert_eq!(code, 2, "{line}: {error}");
    }
    assert!(reference.asked().is_empty() && candidate.asked().is_empty());
    // These are paths of the arm, however they look.
    for path in [
        "//EVIL/v1/completions",
        "/@EVIL/v1/completions",
        "/http://EVIL/v1/completions",
    ]
    .map(evils)
    {
        let before = reference.asked().len();
        ask(&json!({"path": path, "body": body}).to_string(), &[]);
        let asked = reference.asked();
        assert!(asked.len() > before, "{path}");
        assert!(
            asked[before..].iter().all(|(asked, ..)| *asked == path),
            "{path}: {asked:?}"
        );
    }
    let line = r#"{"prompt": "a", "url": "http://EVIL", "base_url": "http://EVIL", "host": "EVIL", "headers": {"host": "EVIL"}}"#;
    ask(&evils(line), &[]);
    assert_own_requests(&reference);
    assert_own_requests(&candidate);
    assert!(evil.asked().is_empty(), "{:?}", evil.asked());
}

#[test]
fn no_status_and_no_header_of_an_answer_leads_elsewhere() {
    let folder = Folder::new("location");
    let golden = folder.prompts();
    let (reference, evil) = (yes(), yes());
    let to = format!("{}/v1/completions", evil.url);
    for status in [301, 302, 303, 307, 308] {
        let to = to.clone();
        let status = StatusCode::from_u16(status).expect("a status");
        let candidate = Server::new(move |_| (status, [("location", to.clone())]).into_response());
        let more = ["--pairs", "40", "--control", "0"];
        let (code, _, error) = completions(&golden, &reference.url, &candidate.url, &more);
        assert_eq!(code, 2, "{error}");
        assert!(error.contains(&format!("status {}", status.as_u16())), "{error}");
        assert_eq!(candidate.asked().len(), 40, "nothing is asked twice");
    }
    let service = format!("http/1.1=\"{}\"", authority(&evil));
    let candidate = Server::new(move |_| {
        let headers = [
            ("location", to.clone()),
            ("content-location", to.clone()),
            ("refresh", format!("0; url={to}")),
            ("alt-svc", service.clone()),
        ];
        let answer = json!({"choices": [{"text": " yes", "finish_reason": "length"}]});
        (headers, answer.to_string()).into_response()
    });
    let more = ["--pairs", "40", "--control", "0", "-o", "json"];
    let (_, out, error) = completions(&golden, &reference.url, &candidate.url, &more);
    assert_eq!(parsed(&out)["pairs"]["disagreements"], 0, "{out}{error}");
    assert!(evil.asked().is_empty(), "{:?}", evil.asked());
}

#[test]
fn a_compressed_answer_is_not_unpacked() {
    // {"choices":[{"text":" yes","finish_reason":"length"}]}, by gzip.
    const PACKED: [u8; 71] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 171, 86, 74, 206, 200, 207, 76, 78, 45, 86, 178, 138, 174, 86, 42, 73, 173,
        40, 81, 178, 82, 82, 168, 4, 242, 117, 148, 210, 50, 243, 50, 139, 51, 226, 139, 82, 19, 139, 243, 243, 128,
        194, 57, 169, 121, 233, 37, 25, 74, 181, 177, 181, 0, 13, 50, 90, 187, 54, 0, 0, 0,
    ];
    let folder = Folder::new("packed");
    let (reference, candidate) = (
        yes(),
        Server::new(|_| ([("content-encoding", "gzip")], PACKED.to_vec()).into_response()),
    );
    let more = ["--pairs", "40", "--control", "0", "-o", "json"];
    let (code, out, error) = completions(&folder.prompts(), &reference.url, &candidate.url, &more);
    assert_eq!((code, out.as_str()), (2, ""), "{error}");
    assert!(
        error.contains("no answer to any of 40 questions: its answer cannot be read"),
        "{error}"
    );
    assert_own_requests(&candidate);
}

/// A server that answers its first client with `head` and then `piece` for ever, or with silence where that is empty. Tells how
/// many bytes were taken of it.
fn flood(head: &str, piece: &str) -> (String, JoinHandle<usize>) {
    let (head, piece) = (head.to_owned(), piece.to_owned());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let taken = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(head.as_bytes());
        if piece.is_empty() {
            let _ = stream.read_to_end(&mut Vec::new());
            return 0;
        }
        let block = piece.repeat(16 * 1024 / piece.len());
        let mut taken = 0;
        while stream.write_all(block.as_bytes()).is_ok() {
            taken += block.len();
        }
        taken
    });
    (url, taken)
}

#[test]
fn no_answer_is_longer_or_later_than_its_limits() {
    let limits = Limits {
        total: Duration::from_secs(1),
        ..Limits::default()
    };
    let question = Prepared {
        path: "/v1/completions".to_owned(),
        body: "{}".to_owned(),
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
    let chunk = format!("1000\r\n{}\r\n", "y".repeat(0x1000));
    for (what, head, piece, reason) in [
        ("silence", "", "", "timeout"),
        (
            "a body that does not come",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
            "",
            "timeout",
        ),
        (
            "another protocol",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            "y",
            "status",
        ),
        ("no HTTP", "", "\u{1b}[31m\u{0}\r\n", "broke_off"),
        ("headers without end", "HTTP/1.1 200 OK\r\n", "x: y\r\n", "broke_off"),
        ("one header without end", "HTTP/1.1 200 OK\r\nx: ", "y", "broke_off"),
        ("a reason without end", "HTTP/1.1 200 ", "y", "broke_off"),
        (
            "a gibibyte",
            "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n",
            "y",
            "too_large",
        ),
        (
            "a length beyond all numbers",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "y",
            "broke_off",
        ),
        (
            "two lengths",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 9\r\n\r\n",
            "y",
            "broke_off",
        ),
        (
            "the largest chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFF0\r\n",
            "y",
            "too_large",
        ),
        (
            "a larger chunk",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n",
            "y",
            "broke_off",
        ),
        (
            "chunks without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            &chunk,
            "too_large",
        ),
        (
            "an extension without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
            "y",
            "broke_off",
        ),
        (
            "trailers without end",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            "x: y\r\n",
            "broke_off",
        ),
    ] {
        let (url, taken) = flood(head, piece);
        let arm = Arm::new(&url, None, limits).expect("an arm");
        let begun = Instant::now();
        let failure = runtime.block_on(arm.ask(&question)).expect_err(what);
        assert_eq!(failure.reason(), reason, "{what}: {failure}");
        assert!(begun.elapsed() < PATIENCE, "{what} took {:?}", begun.elapsed());
        assert_plain(&failure.to_string());
        drop(arm);
        // What the kernel keeps for both is a part of it.
        let taken = taken.join().expect("no panic");
        assert!(taken < 32 * 1024 * 1024, "{what}: {taken} bytes");
    }
    // Each of them is thrown away, so that it costs nothing but the time.
    let (url, _) = flood("", "HTTP/1.1 100 Continue\r\n\r\n");
    let arm = Arm::new(&url, None, limits).expect("an arm");
    let begun = Instant::now();
    runtime.block_on(arm.ask(&question)).expect_err("no answer");
    assert!(begun.elapsed() < PATIENCE, "it took {:?}", begun.elapsed());
}

/// Arrays in a text in arrays in a text, as deep as a line may hold: serde_json reads the text of such an object as JSON, and
/// counts its levels anew.
fn nested_in_texts() -> String {
    let nested = |inner: &str| format!("{}{inner}{}", "[".repeat(100), "]".repeat(100));
    let mut text = nested("1");
    loop {
        let key = "$serde_json::private::RawValue";
        let next = nested(&json!({key: text}).to_string());
        if next.len() > 250_000 {
            return text;
        }
        text = next;
    }
}

#[test]
fn no_json_is_so_deep_or_so_large_that_the_comparer_ends() {
    let folder = Folder::new("deep");
    let bodies: [Vec<u8>; 10] = [
        "[".repeat(100_000).into_bytes(),
        "{\"a\":".repeat(40_000).into_bytes(),
        nested_in_texts().into_bytes(),
        br#"{"choices": [{"text": " yes", "logprobs": {"tokens": [" yes"], "token_logprobs": [-1e400]}}]}"#.to_vec(),
        b"{\"choices\": [{\"text\": \"\xff\xfe\"}]}".to_vec(),
        br#"{"choices": [{"text": "\ud800"}]}"#.to_vec(),
        b"{\"choices\": [{\"text\": \"\x1b[31m\x00\"}]}".to_vec(),
        br#"{"choices": [{"text": 5}]}"#.to_vec(),
        br#"{"choices": 1e400}"#.to_vec(),
        HOSTILE.as_bytes().to_vec(),
    ];
    let lines: String = (0..bodies.len())
        .map(|n| format!("{{\"prompt\": \"{n}\"}}\n"))
        .collect();
    let golden = folder.file("golden.jsonl", &lines);
    let candidate = Server::new(move |asked| {
        let n: usize = asked["prompt"].as_str().and_then(|n| n.parse().ok()).expect("a number");
        bodies[n].clone().into_response()
    });
    let reference = yes();
    let (code, out, error) = completions(
        &golden,
        &reference.url,
        &candidate.url,
        &["--control", "0", "-o", "json"],
    );
    assert_eq!((code, error.as_str()), (1, ""), "{out}");
    let found = parsed(&out);
    assert_eq!(found["pairs"]["disagreements"], 500, "{found}");
    let failures = found["failures"].as_array().expect("a list");
    assert!(
        failures.iter().all(|failure| failure["reason"] == "unparsable"),
        "{found}"
    );
    assert_plain(&out);
    // On the stack of a thread, which is that of the server: a question and an answer.
    let settings = Settings {
        path: Some("/x".to_owned()),
        pointer: Some(String::new()),
        ..Settings::new(Protocol::Json)
    };
    let answer = settings.read(nested_in_texts().as_bytes());
    assert!(answer.is_err() || answer.is_ok_and(|answer| settings.compare(&answer, &answer).agrees));
    let line = format!("{{\"a\": {}}}", nested_in_texts());
    let questions = Golden::read(line.as_bytes(), &settings).map(|golden| golden.questions().len());
    assert!(questions.is_err() || questions == Ok(1), "{questions:?}");
}

#[test]
fn a_key_that_stands_twice_is_the_same_for_both_arms() {
    let folder = Folder::new("twice");
    let golden = folder.file("golden.jsonl", r#"{"prompt": "one", "prompt": "other", "seed": 1e300}"#);
    let (reference, candidate) = (yes(), yes());
    completions(
        &golden,
        &reference.url,
        &candidate.url,
        &["--pairs", "5", "--control", "0"],
    );
    let bodies = |server: &Server| {
        server
            .asked()
            .into_iter()
            .map(|(.., body)| body)
            .collect::<Vec<Value>>()
    };
    assert_eq!(bodies(&reference), bodies(&candidate));
    assert!(bodies(&reference).iter().all(|body| body["prompt"] == "other"));
}

#[test]
fn a_golden_set_beyond_its_bounds_is_refused() {
    let folder = Folder::new("large");
    let many = folder.file("many.jsonl", &"{\"prompt\":\"a\"}\n".repeat(1_000_000));
    let long = folder.file("long.jsonl", &format!("{{\"prompt\":\"{}\"}}", "a".repeat(1_000_000)));
    // One line of 100 MB.
    let large = folder.0.join("large.jsonl");
    let file = std::fs::File::create(&large).expect("created");
    file.set_len(100_000_000).expect("a length");
    let arm = yes();
    for (golden, part) in [
        (many, "more than 100,000 lines"),
        (long, "line 1 has 1000013 bytes"),
        (large, "more than 64 MiB"),
        ("/dev/zero".into(), "more than 64 MiB"),
    ] {
        let (code, out, error) = completions(&golden, &arm.url, &arm.url, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{error}");
        assert!(error.contains(part), "{error}");
    }
    assert!(arm.asked().is_empty());
}

#[test]
fn texts_of_others_stand_in_no_table_log_or_series() {
    let folder = Folder::new("texts");
    let lines = [json!({"prompt": HOSTILE, "user": HOSTILE}), json!({HOSTILE: HOSTILE})];
    let golden = folder.file(
        "g\u{1b}[31m\u{202e}.jsonl",
        &lines.map(|line| format!("{line}\n")).concat(),
    );
    let failing = || {
        Server::new(|_| {
            let header = axum::http::HeaderValue::from_bytes(b"\xff forged").expect("a value");
            (StatusCode::INTERNAL_SERVER_ERROR, [("x", header)], HOSTILE).into_response()
        })
    };
    let answering = Server::new(|_| {
        let logprobs = json!({"tokens": [HOSTILE], "token_logprobs": [-0.5], "top_logprobs": [{HOSTILE: -0.5}]});
        let choice = json!({"text": HOSTILE, "logprobs": logprobs, "finish_reason": HOSTILE});
        json!({"choices": [choice], HOSTILE: HOSTILE})
            .to_string()
            .into_response()
    });
    for candidate in [failing(), yes()] {
        for more in [&["--pairs", "40"][..], &["--pairs", "40", "-o", "json"]] {
            let (code, out, error) = completions(&golden, &answering.url, &candidate.url, more);
            assert_eq!((code, error.as_str()), (1, ""), "{out}");
            assert!(out.contains("cannot be compared") || out.contains("skipped"), "{out}");
            assert_plain(&out);
        }
    }
    let comparer = Comparer::with_golden(&answering, &failing(), &golden, &["--mirror", "--control", "0"]);
    comparer.send(
        "POST /v1/completions HTTP/1.1",
        json!({"prompt": HOSTILE}).to_string().as_bytes(),
    );
    comparer.send("POST /v1/completions%1b[31m HTTP/1.1", HOSTILE.as_bytes());
    let of = |source: &str| format!("guardbit_revision=\"bbbb\",source=\"{source}\"");
    comparer.until("pairs of both sources", |c| {
        c.value(PAIRS, &of("golden")) >= 20 && c.value(PAIRS, &of("mirror")) == 1
    });
    let metrics = comparer.metrics().replace('\r', "");
    assert_plain(&metrics);
    let log = comparer.logged();
    assert!(log.contains("an arm gives no answer"), "{log}");
    assert_plain(&log);
}

#[test]
fn no_name_of_a_model_or_a_revision_forges_a_series() {
    let model = "a\"} 1\nforged_total{x=\"\\";
    let compared = Compared {
        model: model.to_owned(),
        reference: "aaaa".to_owned(),
        candidate: "bbbb".to_owned(),
    };
    let text = Exported::new(compared, &[Source::Golden, Source::Mirror]).text();
    let label = "{guardbit_model=\"a\\\"} 1\\nforged_total{x=\\\"\\\\\",guardbit_revision=\"";
    let series: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert!(series.len() >= 8, "{text}");
    for line in series {
        assert!(line.starts_with("guardbit_pair") && line.contains(label), "{line}");
    }
    let url = "http://127.0.0.1:9";
    for revision in ["aaaa\"} 1", "aaaa\nb", "../a", "AAAA", "aaaa,x=\"y"] {
        let mut args = arguments(url, url, [revision, "bbbb"]);
        args.push("--mirror");
        let (code, _, error) = guardbit(&args);
        assert!(
            code == 2 && error.contains("hexadecimal digits"),
            "{revision:?}: {error}"
        );
    }
}

#[test]
fn no_header_of_a_mirrored_request_reaches_an_arm_or_splits_one() {
    let (reference, candidate, evil) = (yes(), yes(), yes());
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--rate", "200", "--control", "0"]);
    let evils = |text: &str| text.replace("EVIL", authority(&evil));
    let sized = |line: &str, headers: &str, prompt: &str| {
        let body = json!({"prompt": prompt}).to_string();
        let length = body.len();
        evils(&format!(
            "{line}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        ))
    };
    let chunked = |headers: &str, prompt: &str| {
        let body = json!({"prompt": prompt}).to_string();
        let (length, next) = (body.len(), "GET /smuggled HTTP/1.1\r\nHost: EVIL\r\n\r\n");
        evils(&format!(
            "POST /v1/completions HTTP/1.1\r\nHost: EVIL\r\n{headers}\r\n{length:x}\r\n{body}\r\n0\r\n\r\n{next}"
        ))
    };
    let post = "POST /v1/completions HTTP/1.1";
    let of_users = "Host: EVIL\r\nAuthorization: Bearer s3cret\r\nProxy-Authorization: Basic s3cret\r\nCookie: s3cret\r\n\
        Forwarded: for=EVIL;host=EVIL\r\nX-Forwarded-For: EVIL\r\nX-Forwarded-Host: EVIL\r\nX-Original-URL: http://EVIL/\r\n\
        X-HTTP-Method-Override: DELETE\r\nContent-Encoding: gzip\r\nUpgrade: websocket\r\nConnection: upgrade, x-hop\r\nX-Hop: s3cret\r\n";
    let asked = [
        sized(post, of_users, "headers"),
        sized("POST http://EVIL/v1/completions HTTP/1.1", "Host: EVIL\r\n", "absolute"),
        sized(
            "POST /v1/completions?to=http://EVIL/ HTTP/1.1",
            "Host: EVIL\r\n",
            "query",
        ),
        chunked(
            "Connection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n",
            "length first",
        ),
        chunked(
            "Connection: close\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n",
            "length last",
        ),
    ];
    for request in &asked {
        let answer = comparer.raw(request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 202"), "{request}: {answer}");
    }
    for request in [
        sized(post, "Content-Length: 3\r\n", "two lengths"),
        sized(post, "Transfer-Encoding: xchunked\r\n", "no chunks"),
        sized(post, "X: a\r\n b\r\n", "folded"),
        sized(post, "X : y\r\n", "space"),
        sized(post, "X: a\0b\r\n", "zero"),
        sized("POST /v1/completions HTTP/2.0", "", "another version"),
        sized("POST\t/v1/completions HTTP/1.1", "", "tab"),
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
    ] {
        let answer = comparer.raw(request.as_bytes());
        assert!(!answer.contains(" 202 "), "{request:?}: {answer}");
    }
    let skipped = |c: &Comparer| c.value("guardbit_mirrored_dropped_total", "reason=\"skipped\"");
    for line in [
        "GET http://EVIL/v1/completions HTTP/1.1",
        "CONNECT EVIL HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "TRACE /v1/completions HTTP/1.1",
        "PUT /v1/completions HTTP/1.1",
        "POST /v1/completions%0d%0aHost:%20EVIL HTTP/1.1",
        "POST /v1/%2e%2e/completions HTTP/1.1",
        "POST /v1/../completions HTTP/1.1",
        "POST http://EVIL/v1/../completions HTTP/1.1",
    ] {
        let before = skipped(&comparer);
        comparer.raw(sized(line, "Host: EVIL\r\n", "skipped").as_bytes());
        comparer.until(line, |c| skipped(c) == before + 1);
    }
    let of_users = "guardbit_revision=\"bbbb\",source=\"mirror\"";
    comparer.until("all that can be asked", |c| {
        c.value(PAIRS, of_users) >= asked.len() as u64
    });
    for server in [&reference, &candidate] {
        assert_own_requests(server);
        let requests = server.asked();
        assert!(
            requests.iter().all(|(path, ..)| path == "/v1/completions"),
            "{requests:?}"
        );
        let mut prompts: Vec<_> = requests
            .iter()
            .filter_map(|(.., body)| body["prompt"].as_str())
            .collect();
        prompts.sort_unstable();
        assert_eq!(prompts, ["absolute", "headers", "length first", "length last", "query"]);
    }
    assert!(evil.asked().is_empty(), "{:?}", evil.asked());
}

/// The most memory that a process had, in KiB.
#[cfg(target_os = "linux")]
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// What the pod of a comparer may have, in KiB.
#[cfg(target_os = "linux")]
const MEMORY: u64 = 128 * 1024;

#[cfg(target_os = "linux")]
#[test]
fn hundreds_of_mirrored_requests_at_once_are_bounded_in_memory() {
    const AT_ONCE: usize = 600;
    let (reference, candidate) = (yes(), yes());
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--rate", "1", "--control", "0"]);
    let body = json!({"prompt": "a".repeat(200_000)}).to_string();
    let head = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let send = || {
        let mut stream = TcpStream::connect(&comparer.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        // One that is refused is not read to its end.
        let _ = stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()));
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "nobody is held up: {error}"
            );
        }
    };
    std::thread::scope(|all| {
        (0..AT_ONCE).for_each(|_| drop(all.spawn(send)));
    });
    let dropped = comparer.value("guardbit_mirrored_dropped_total", "reason=\"queue\"");
    assert!(dropped > 300, "8 MiB and 64 requests may wait: {dropped} were dropped");
    let peak = peak(comparer.process.id());
    assert!(peak < MEMORY, "{peak} KiB");
    let of_users = "guardbit_revision=\"bbbb\",source=\"mirror\"";
    comparer.until("it goes on", |c| c.value(PAIRS, of_users) >= 2);
}

#[cfg(target_os = "linux")]
#[test]
fn connections_that_send_no_request_keep_nobody_out_for_long() {
    let (reference, candidate) = (yes(), yes());
    let comparer = Comparer::start(&reference, &candidate, &["--mirror", "--control", "0"]);
    let open = |head: &[u8]| {
        let mut stream = TcpStream::connect(&comparer.address).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let _ = stream.write_all(head);
        stream
    };
    // Headers that do not end, each as long as they may be kept.
    let head = format!("POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(60_000));
    let mut idle: Vec<TcpStream> = (0..200).map(|_| open(head.as_bytes())).collect();
    let mut dripping = idle.remove(0);
    let begun = Instant::now();
    let drip = std::thread::spawn(move || {
        // A byte now and then does not prolong it.
        let mut byte = [0];
        dripping
            .set_read_timeout(Some(Duration::from_millis(100)))
            .expect("a timeout");
        while begun.elapsed() < PATIENCE {
            let read = dripping.read(&mut byte);
            match read {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Ok(1) => {}
                Ok(_) | Err(_) => return true,
            }
            if dripping.write_all(b"y").is_err() {
                return true;
            }
        }
        false
    });
    assert!(comparer.metrics().contains("guardbit_pairs_total"));
    assert!(begun.elapsed() < PATIENCE, "Prometheus waited {:?}", begun.elapsed());
    assert!(drip.join().expect("no panic"), "who sends a byte now and then stays");
    for stream in idle.iter_mut().take(100) {
        if let Err(error) = stream.read_to_end(&mut Vec::new()) {
            assert!(
                !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
                "it stays: {error}"
            );
        }
    }
    let peak = peak(comparer.process.id());
    assert!(peak < MEMORY, "{peak} KiB");
    let long = format!(
        "POST /v1/completions HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n",
        "y".repeat(200_000)
    );
    assert!(!comparer.raw(long.as_bytes()).contains(" 202 "));
    let many = format!("POST /v1/completions HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(5_000));
    assert!(!comparer.raw(many.as_bytes()).contains(" 202 "));
}
