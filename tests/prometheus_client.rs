//! The Prometheus client against servers on loopback that really misbehave.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use guardbit::evidence::Matrix;
use guardbit::prometheus::{AllowedUrls, Authorization, Credentials, Limits, PrometheusClient, PrometheusError};

const GOOD: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"m"},"values":[[1,"1"],[2,"NaN"],[3,"4"]]}]}}"#;

/// Serves each connection with `serve` until the test ends. Gives the URL and the heads of the requests.
fn server(mut serve: impl FnMut(TcpStream) + Send + 'static) -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = requests.send(head(&mut stream));
            serve(stream);
        }
    });
    (url, received)
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}")
}

fn answering(text: String) -> (String, Receiver<String>) {
    server(move |mut stream| drop(stream.write_all(text.as_bytes())))
}

fn client(url: &str, limits: Limits) -> PrometheusClient {
    let allowed = AllowedUrls::parse([url]).unwrap();
    PrometheusClient::new(url, &allowed, &Credentials::default(), limits).unwrap()
}

async fn ask(url: &str, limits: Limits) -> Result<Matrix, PrometheusError> {
    client(url, limits).samples("m[90s]", 1_700_000_000_123).await
}

fn short() -> Limits {
    Limits {
        timeout: Duration::from_millis(300),
        ..Limits::default()
    }
}

#[tokio::test]
async fn samples_arrive_and_the_request_says_what_was_asked() {
    let (url, requests) = answering(answer("200 OK", "Content-Type: application/json\r\n", GOOD));
    let matrix = ask(&format!("{url}/prom/"), Limits::default()).await.unwrap();
    assert_eq!(matrix.series[0].samples, [(1000, 1.0), (3000, 4.0)], "NaN is no sample");
    let request = requests.recv().unwrap();
    let line = request.lines().next().unwrap();
    assert_eq!(
        line,
        "GET /prom/api/v1/query?query=m%5B90s%5D&time=1700000000.123&timeout=10000ms&partial_response=false\
         &max_source_resolution=0s&deny_partial_response=1&nocache=1 HTTP/1.1"
    );
    assert!(!request.to_lowercase().contains("authorization"));
}

#[tokio::test]
async fn native_histograms_are_read_and_are_no_counters() {
    let body = include_str!("testdata/prometheus/native.json");
    let (url, _requests) = answering(answer("200 OK", "", body));
    let matrix = client(&url, Limits::default()).natives("h[90s]", 0).await.unwrap();
    assert_eq!((matrix.series.len(), matrix.series[0].samples.len()), (1, 11));
    assert_eq!(matrix.series[0].samples[0].0, 1_795_573_804_212);
    let error = ask(&url, Limits::default()).await.unwrap_err();
    assert_eq!(error.reason().to_string(), "BadQuery");
    assert!(error.to_string().contains("name a counter"), "{error}");
}

#[tokio::test]
async fn credentials_are_sent_in_the_header() {
    let cases = [
        (Authorization::Bearer("abc\n".into()), "authorization: Bearer abc\r\n"),
        (
            Authorization::Basic {
                user: "u".into(),
                password: "p".into(),
            },
            "authorization: Basic dTpw\r\n",
        ),
    ];
    for (authorization, header) in cases {
        let (url, requests) = answering(answer("200 OK", "", GOOD));
        let credentials = Credentials {
            authorization: Some(authorization),
            ..Credentials::default()
        };
        let allowed = AllowedUrls::parse([&url]).unwrap();
        let client = PrometheusClient::new(&url, &allowed, &credentials, Limits::default()).unwrap();
        client.samples("m[90s]", 0).await.unwrap();
        let request = requests.recv().unwrap();
        assert!(request.contains(header), "{request}");
    }
}

#[tokio::test]
async fn the_tenant_is_sent_in_its_header_and_one_that_cannot_be_is_refused() {
    let (url, requests) = answering(answer("200 OK", "", GOOD));
    let allowed = AllowedUrls::parse([&url]).unwrap();
    let of = |tenant: &str| {
        let credentials = Credentials {
            tenant: Some(tenant.to_owned()),
            ..Credentials::default()
        };
        PrometheusClient::new(&url, &allowed, &credentials, Limits::default())
    };
    of("team-a|team-b\n").unwrap().samples("m[90s]", 0).await.unwrap();
    let request = requests.recv().unwrap();
    assert!(request.contains("x-scope-orgid: team-a|team-b\r\n"), "{request}");
    for tenant in ["", "a\r\nAuthorization: Bearer stolen"] {
        let error = of(tenant).unwrap_err();
        assert_eq!(error.reason().to_string(), "InvalidCredentials", "{error}");
    }
}

#[tokio::test]
async fn every_kind_of_bad_answer_has_its_reason_and_says_what_to_do() {
    let json = |error: &str| format!(r#"{{"status":"error","errorType":"{error}","error":"in its own words"}}"#);
    let warned = GOOD.replacen('{', r#"{"warnings":["store gateway is down"],"#, 1);
    let partial = GOOD.replacen('{', r#"{"isPartial":true,"#, 1);
    let long = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
        GOOD.len(),
        &GOOD[..40]
    );
    let cases = [
        (
            answer("401 Unauthorized", "", ""),
            "Unauthorized",
            "check the Secret that prometheus.secretRef names",
        ),
        (answer("403 Forbidden", "", ""), "Unauthorized", "403"),
        (
            answer("500 Internal Server Error", "", "boom"),
            "ServerError",
            "500 Internal Server Error: boom",
        ),
        (
            answer("503 Service Unavailable", "", &json("timeout")),
            "Timeout",
            "in its own words",
        ),
        (
            answer("503 Service Unavailable", "", &json("unavailable")),
            "ServerError",
            "in its own words",
        ),
        (answer("429 Too Many Requests", "", ""), "ServerError", "429"),
        (
            answer("400 Bad Request", "", &json("bad_data")),
            "BadQuery",
            "query `m[90s]`: Prometheus refused",
        ),
        (
            answer("422 Unprocessable Entity", "", &json("execution")),
            "BadQuery",
            "in its own words",
        ),
        (
            answer("404 Not Found", "", "404 page not found"),
            "NotPrometheus",
            "answers 404",
        ),
        (
            answer("200 OK", "", "<html>Sign in</html>"),
            "NotPrometheus",
            "login page",
        ),
        (answer("200 OK", "", ""), "NotPrometheus", "not JSON"),
        (
            answer("200 OK", "", &GOOD[..GOOD.len() - 3]),
            "Truncated",
            "in the middle of the JSON",
        ),
        (long, "Truncated", "after 40 bytes"),
        (
            answer("200 OK", "", &GOOD.replace("matrix", "vector")),
            "BadQuery",
            "expected a matrix",
        ),
        (answer("200 OK", "", &warned), "PartialData", "store gateway is down"),
        (
            answer("200 OK", "", &partial),
            "PartialData",
            "a storage node did not answer",
        ),
    ];
    for (text, reason, part) in cases {
        let (url, _requests) = answering(text.clone());
        let error = ask(&url, Limits::default()).await.unwrap_err();
        assert_eq!(error.reason().to_string(), reason, "{text}: {error}");
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let (elsewhere, visits) = answering(answer("200 OK", "", GOOD));
    let (url, _requests) = answering(answer("302 Found", &format!("Location: {elsewhere}/\r\n"), ""));
    let error = ask(&url, Limits::default()).await.unwrap_err();
    assert_eq!(error.reason().to_string(), "NotPrometheus");
    assert!(error.to_string().contains(&elsewhere), "{error}");
    assert!(visits.try_recv().is_err(), "the redirect was followed");
}

#[tokio::test]
async fn a_server_that_hangs_or_drips_is_left_after_the_timeout() {
    // Keeps the connections open without a word.
    let mut open = Vec::new();
    let (hanging, _a) = server(move |stream| open.push(stream));
    // Sends a byte every 20 ms for as long as anyone listens.
    let (dripping, _b) = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n");
        while stream.write_all(b" ").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    for url in [hanging, dripping] {
        let begun = Instant::now();
        let error = ask(&url, short()).await.unwrap_err();
        assert_eq!(error.reason().to_string(), "Timeout", "{error}");
        assert!(error.to_string().contains("guardbit waits 300 ms"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_body_without_end_is_read_only_up_to_the_limit() {
    let (url, _requests) = server(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        while stream.write_all(&[b' '; 65536]).is_ok() {}
    });
    let limits = Limits {
        max_body: 1 << 20,
        ..Limits::default()
    };
    let error = ask(&url, limits).await.unwrap_err();
    assert_eq!(error.reason().to_string(), "TooLarge");
    assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
}

#[tokio::test]
async fn a_port_without_a_server_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = ask(&format!("http://127.0.0.1:{port}"), Limits::default())
        .await
        .unwrap_err();
    assert_eq!(error.reason().to_string(), "Unreachable");
    assert!(error.to_string().contains("refused"), "{error}");
}

#[test]
fn a_url_that_is_not_allowed_is_never_contacted() {
    let (url, requests) = answering(answer("200 OK", "", GOOD));
    let allowed = AllowedUrls::parse(["http://prometheus.monitoring:9090"]).unwrap();
    let error = PrometheusClient::new(&url, &allowed, &Credentials::default(), Limits::default()).unwrap_err();
    assert_eq!(error.reason().to_string(), "UrlNotAllowed");
    assert!(requests.try_recv().is_err());
}

/// Makes a certificate authority and a server certificate for 127.0.0.1; gives (authority, server certificate, key) in PEM.
fn certificates() -> [Vec<u8>; 3] {
    let dir = std::env::temp_dir().join(format!("guardbit-tls-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let openssl = |args: &str| {
        let output = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(&dir)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!(
        "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=test-ca"
    ));
    std::fs::write(
        dir.join("ext"),
        "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n",
    )
    .unwrap();
    openssl(&format!(
        "req {key} -keyout server.key -out server.csr -subj /CN=prometheus"
    ));
    openssl("x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile ext -out server.pem");
    let files = ["ca.pem", "server.pem", "server.key"].map(|name| std::fs::read(dir.join(name)).unwrap());
    std::fs::remove_dir_all(&dir).unwrap();
    files
}

#[tokio::test]
async fn tls_is_verified_against_the_authority_of_the_secret() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let [ca, certificate, key] = certificates();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let chain = vec![CertificateDer::from_pem_slice(&certificate).unwrap()];
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(&key).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut tcp in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut connection, &mut tcp);
            if head(&mut tls).contains("/api/v1/query") {
                let _ = tls.write_all(answer("200 OK", "", GOOD).as_bytes());
                connection.send_close_notify();
                let _ = connection.complete_io(&mut tcp);
            }
        }
    });

    let [other_ca, ..] = certificates();
    for (ca_pem, expected) in [(ca, None), (other_ca, Some("Unreachable".to_owned()))] {
        let credentials = Credentials {
            ca_pem: Some(ca_pem),
            ..Credentials::default()
        };
        let allowed = AllowedUrls::parse([&url]).unwrap();
        let client = PrometheusClient::new(&url, &allowed, &credentials, Limits::default()).unwrap();
        let answer = client.samples("m[90s]", 0).await;
        assert_eq!(
            answer.as_ref().err().map(|error| error.reason().to_string()),
            expected,
            "{answer:?}"
        );
        if let Err(error) = answer {
            assert!(error.to_string().contains("certificate"), "{error}");
        }
    }
}
