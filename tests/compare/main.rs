//! `guardbit compare` and `guardbit golden` against servers on loopback that answer, refuse and misbehave.

use std::future::ready;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

mod answers;
mod attacks;
mod dry_run;
mod server;
#[path = "../support/told.rs"]
mod told;

use told::told;

/// What a server was asked: path, headers and body.
type Seen = Arc<Mutex<Vec<(String, HeaderMap, Value)>>>;

/// A server that answers every request until the test ends.
struct Server {
    url: String,
    seen: Seen,
}

impl Server {
    fn new(answer: impl Fn(&Value) -> Response + Clone + Send + Sync + 'static) -> Self {
        let seen = Seen::default();
        let kept = Arc::clone(&seen);
        let app = Router::new().fallback(move |uri: Uri, headers: HeaderMap, body: Bytes| {
            let asked: Value = serde_json::from_slice(&body).expect("JSON");
            let response = answer(&asked);
            kept.lock().expect("no panic").push((uri.to_string(), headers, asked));
            ready(response)
        });
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
        Self { url, seen }
    }

    /// A server of completions, whose next token depends on the prompt.
    fn completions(token: impl Fn(&str) -> &'static str + Clone + Send + Sync + 'static) -> Self {
        Self::new(move |asked| completion(token(asked["prompt"].as_str().unwrap_or_default())))
    }

    /// A server that answers with this status and nothing else.
    fn status(status: StatusCode) -> Self {
        Self::new(move |_| status.into_response())
    }

    fn asked(&self) -> Vec<(String, HeaderMap, Value)> {
        self.seen.lock().expect("no panic").clone()
    }
}

/// What a server of completions answers.
fn completion(token: &str) -> Response {
    let logprobs =
        json!({"tokens": [token], "token_logprobs": [-0.25], "top_logprobs": [{token: -0.25, " or": -2.25}]});
    let choice = json!({"index": 0, "text": token, "logprobs": logprobs, "finish_reason": "length"});
    json!({"object": "text_completion", "choices": [choice]})
        .to_string()
        .into_response()
}

/// A directory that lasts as long as the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("guardbit-compare-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("created");
        Self(path)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("written");
        path
    }

    /// Five prompts, one a line.
    fn prompts(&self) -> PathBuf {
        self.numbered(5)
    }

    /// So many prompts, one a line.
    fn numbered(&self, prompts: usize) -> PathBuf {
        let lines = (1..=prompts).map(|i| format!("{{\"prompt\":\"prompt {i}\",\"user\":\"u-{i}\"}}\n"));
        self.file("golden.jsonl", &lines.collect::<String>())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Exit code, standard output and standard error.
fn guardbit(args: &[&str]) -> (i32, String, String) {
    told(
        Command::new(env!("CARGO_BIN_EXE_guardbit"))
            .args(args)
            // Nobody listens there: a proxy of the environment would be an error.
            .env("http_proxy", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env("ALL_PROXY", "http://127.0.0.1:9"),
    )
}
