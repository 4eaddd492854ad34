//! The port of a comparer. Anybody may reach it, because Prometheus and gateways may be anywhere: so no connection takes more than
//! its bounds, and none stays for ever.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

/// The wait after a connection that could not be taken, as where no file is left for it.
const AGAIN: Duration = Duration::from_millis(50);

/// What connections may take.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// Connections at once; others wait until one of them ends.
    pub connections: usize,
    /// Bytes that are kept of what was sent and not yet read. Headers may have twice as many, because this is checked between
    /// two reads, and one read takes up to as many again.
    pub buffer: usize,
    /// How long the headers of a request may take, from the answer to the one before; and how long the last request may take
    /// once the connection has lasted long enough.
    pub head: Duration,
    /// How long a connection may last.
    pub life: Duration,
}

/// Serves all who connect, until the process ends.
pub async fn listen(listener: TcpListener, router: Router, bounds: Bounds) -> Infallible {
    let slots = Arc::new(Semaphore::new(bounds.connections));
    loop {
        // The semaphore is never closed.
        let slot = Arc::clone(&slots).acquire_owned().await;
        let Ok((stream, _)) = listener.accept().await else {
            sleep(AGAIN).await;
            continue;
        };
        let router = router.clone();
        tokio::spawn(async move {
            attend(stream, router, bounds).await;
            drop(slot);
        });
    }
}

async fn attend(stream: TcpStream, router: Router, bounds: Bounds) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(bounds.buffer)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    if timeout(bounds.life, connection.as_mut()).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(bounds.head, connection).await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{SocketAddr, TcpStream};
    use std::time::Instant;

    use axum::routing::get;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        connections: 2,
        buffer: 16 * 1024,
        head: Duration::from_millis(300),
        life: Duration::from_millis(600),
    };

    /// How long a test waits for what must come.
    const PATIENCE: Duration = Duration::from_secs(10);

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A port with these bounds, until the test ends.
    fn port() -> SocketAddr {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().unwrap().block_on(async move {
                let router = Router::new().route("/", get(|| async { "y".repeat(1_000) }));
                listen(TcpListener::from_std(listener).unwrap(), router, BOUNDS).await
            })
        });
        address
    }

    fn send(address: SocketAddr, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    }

    /// Whether an error says that the other side has ended the connection, and not that it was waited for in vain.
    fn is_cut(error: &std::io::Error) -> bool {
        !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
    }

    /// What comes until the other side ends the connection.
    fn rest(mut stream: TcpStream) -> String {
        let mut bytes = Vec::new();
        let read = stream.read_to_end(&mut bytes);
        assert!(read.as_ref().err().is_none_or(is_cut), "{read:?}");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn who_sends_no_whole_request_is_cut_off_and_others_get_in() {
        let address = port();
        let idle = [send(address, ""), send(address, "GET / HTTP/1.1\r\nx: y\r\n")];
        assert!(rest(send(address, GET)).starts_with("HTTP/1.1 200"));
        for stream in idle {
            assert!(!rest(stream).contains("200"));
        }
    }

    #[test]
    fn headers_are_as_long_as_the_buffer_at_the_most() {
        let address = port();
        for (length, is_taken) in [(10_000, true), (40_000, false)] {
            let head = GET.replace("\r\n\r\n", &format!("\r\nx: {}\r\n\r\n", "y".repeat(length)));
            assert_eq!(
                rest(send(address, &head)).starts_with("HTTP/1.1 200"),
                is_taken,
                "{length}"
            );
        }
    }

    #[test]
    fn a_connection_ends_though_requests_keep_coming_and_though_no_answer_is_read() {
        let address = port();
        for reads in [true, false] {
            let (mut stream, begun) = (send(address, GET), Instant::now());
            loop {
                assert!(begun.elapsed() < PATIENCE, "it goes on; answers are read: {reads}");
                let done = match reads {
                    true => stream
                        .write_all(GET.as_bytes())
                        .and_then(|()| stream.read(&mut [0; 4096])),
                    false => stream.write_all(GET.repeat(100).as_bytes()).map(|()| 1),
                };
                match done {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) if is_cut(&error) => break,
                    Err(error) => panic!("it is not cut off; answers are read: {reads}: {error}"),
                }
            }
        }
    }
}
