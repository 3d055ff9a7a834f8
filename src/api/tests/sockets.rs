//! Over real Unix sockets: hostile and careless clients, and stopping. No effect on others, an answer where there can be
//! one, nothing held for ever.

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Fixture;
use crate::api::Settings;
use crate::serving::{ConnectionLimits, serve};

/// A router on a socket.
struct Server {
    path: PathBuf,
    stop: CancellationToken,
    ended: JoinHandle<usize>,
    _dir: TempDir,
}

fn limits() -> ConnectionLimits {
    ConnectionLimits { drain: Duration::from_secs(20), ..ConnectionLimits::default() }
}

impl Server {
    fn start(router: Router, limits: ConnectionLimits) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(serve(listener, router, limits, stop.clone()));
        Server { path, stop, ended, _dir: dir }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// A stream of events under way.
    async fn stream(&self) -> UnixStream {
        let mut stream = self.connect().await;
        let head = b"POST /v1/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut answer = [0; 15];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        stream
    }

    /// Sends `text`, reads until the server closes.
    async fn exchange(&self, text: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        // A server that has seen enough may close before all is sent; its answer is there all the same.
        stream.write_all(text.as_ref()).await.ok();
        rest(&mut stream).await
    }

    async fn is_alive(&self) {
        let answer = self.exchange(GET).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

const GET: &str = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// What comes until the end.
async fn rest(stream: &mut UnixStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    read.expect("the server closes in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let f = Fixture::new();
    let limits = ConnectionLimits { header_timeout: Duration::from_millis(300), ..limits() };
    let server = Server::start(f.submit.clone(), limits);
    let mut slow = server.connect().await;
    slow.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
    let mut silent = server.connect().await;
    server.is_alive().await;
    assert_eq!(rest(&mut silent).await, "");
    rest(&mut slow).await;
}

#[tokio::test]
async fn what_is_not_http_is_closed_with_no_harm_to_others() {
    let f = Fixture::new();
    let server = Server::start(f.admin.clone(), limits());
    let many = "x: y\r\n".repeat(200);
    let long = format!("x: {}\r\n", "y".repeat(100_000));
    for (text, expected) in [
        ("\x16\x03\x01\x02\x00\x01\x00\x01".to_owned(), "HTTP/1.1 400"),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        ("\0\0\0\0\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{many}\r\n"), "HTTP/1.1 431"),
        (format!("GET / HTTP/1.1\r\nhost: x\r\n{long}\r\n"), "HTTP/1.1 431"),
        ("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n".to_owned(), "HTTP/1.1 400"),
        (
            "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab"
                .to_owned(),
            "HTTP/1.1 400",
        ),
    ] {
        let answer = server.exchange(&text).await;
        assert!(answer.starts_with(expected), "{:?}: {answer:?}", text.get(..20), answer = answer.get(..80));
        server.is_alive().await;
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_without_being_kept() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.admin.clone(), limits());
    // Announced and sent whole by a client that reads only afterwards; then one whose announcement is absurd.
    let mut stream = server.connect().await;
    let large = "x".repeat(3 << 20);
    stream.write_all(post("/v1/orgs/acme/events", &large).as_bytes()).await.unwrap();
    stream.write_all(GET.as_bytes()).await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("payload-too-large"), "{answer}");
    assert!(answer.contains("HTTP/1.1 200 OK"), "the connection goes on: {answer}");
    let head =
        "POST /v1/orgs/acme/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9223372036854775807\r\n\r\n{";
    let answer = server.exchange(head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Chunks without end.
    let mut stream = server.connect().await;
    stream
        .write_all(b"POST /v1/orgs/acme/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    while stream.write_all(chunk.as_bytes()).await.is_ok() {}
    let answer = rest(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    server.is_alive().await;
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_at_once() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.admin.clone(), limits());
    let head =
        "POST /v1/orgs/acme/events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\nconnection: close\r\n";
    let answer = server.exchange(format!("{head}content-length: 5000000\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let body = r#"{"type":"a","payload":1}"#;
    let mut stream = server.connect().await;
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", body.len()).as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(body.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 202"));
    // A stream of events as well.
    let line = r#"{"org":"acme","type":"a","payload":1}"#;
    let head = head.replace("/v1/orgs/acme/events", "/v1/events");
    let mut stream = server.connect().await;
    stream.write_all(format!("{head}content-length: {}\r\n\r\n", line.len()).as_bytes()).await.unwrap();
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(line.as_bytes()).await.unwrap();
    assert!(rest(&mut stream).await.contains("\"sequence\":2"));
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_a_row() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.submit.clone(), limits());
    let mut text: String = (0..50)
        .map(|n| post("/v1/orgs/acme/events", &format!(r#"{{"type":"a","payload":{n},"id":"n{n}"}}"#)))
        .collect();
    text.push_str(GET);
    let answer = server.exchange(text).await;
    assert_eq!(answer.matches("\"sequence\":").count(), 50);
    for n in 0..50 {
        assert!(answer.contains(&format!(r#"{{"id":"n{n}","sequence":{},"deliveries":1}}"#, n + 1)));
    }
}

#[tokio::test]
async fn a_client_that_closes_its_side_still_gets_its_answer() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.submit.clone(), limits());
    let mut stream = server.connect().await;
    stream.write_all(post("/v1/orgs/acme/events", r#"{"type":"a","payload":1}"#).as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 202"));
    // Lines first, all of them, and only then the answers.
    let lines = r#"{"org":"acme","type":"a","payload":"some bytes to fill the line with, as events have"}"#
        .to_owned()
        + "\n";
    let body = lines.repeat(8_000);
    let mut stream = server.connect().await;
    let head = format!("POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await.unwrap();
    timeout(Duration::from_secs(60), stream.write_all(body.as_bytes())).await.expect("it is read").unwrap();
    stream.shutdown().await.unwrap();
    let answer = rest(&mut stream).await;
    assert_eq!(answer.matches("\"deliveries\":1").count(), 8_000);
}

#[tokio::test]
async fn beyond_the_cap_connections_wait_and_are_served_in_the_end() {
    let f = Fixture::new();
    let server = Server::start(f.submit.clone(), ConnectionLimits { connections: 2, ..limits() });
    // Two streams under way: neither is idle.
    let (first, second) = (server.stream().await, server.stream().await);
    let mut third = server.connect().await;
    third.write_all(GET.as_bytes()).await.unwrap();
    let mut byte = [0];
    let early = timeout(Duration::from_millis(300), third.read(&mut byte)).await;
    assert!(early.is_err(), "it waits");
    drop(first);
    assert!(rest(&mut third).await.starts_with("HTTP/1.1 200"));
    drop(second);
}

#[tokio::test]
async fn idle_connections_make_room() {
    let f = Fixture::new();
    let limits = ConnectionLimits { connections: 20, header_timeout: Duration::from_secs(600), ..limits() };
    let server = Server::start(f.submit.clone(), limits);
    let mut idle = Vec::new();
    for n in 0..60 {
        let mut stream = server.connect().await;
        if n % 2 == 0 {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").await.unwrap();
        }
        idle.push(stream);
    }
    // Long before their heads would be given up.
    server.is_alive().await;
}

#[tokio::test]
async fn a_call_that_panics_is_answered_and_its_connection_goes_on() {
    let f = Fixture::new();
    let broken = get(async || -> &'static str { panic!("on purpose") });
    let server = Server::start(f.submit.clone().route("/broken", broken), limits());
    let answer = server.exchange(format!("GET /broken HTTP/1.1\r\nhost: x\r\n\r\n{GET}")).await;
    assert!(answer.starts_with("HTTP/1.1 500") && answer.contains("urn:postrider:internal"), "{answer}");
    assert!(answer.contains("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let large = get(async || "x".repeat(8 << 20));
    let limits = ConnectionLimits { write_timeout: Duration::from_millis(300), ..limits() };
    let server = Server::start(Router::new().route("/", large), limits);
    let mut stream = server.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    server.stop.cancel();
    // The server ends although its client never reads and never closes.
    assert_eq!(timeout(Duration::from_secs(10), server.ended).await.expect("in time").unwrap(), 0);
}

#[tokio::test]
async fn stopping_lets_calls_end_and_closes_idle_connections() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.submit.clone(), limits());
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    let text = post("/v1/orgs/acme/events", r#"{"type":"a","payload":1}"#);
    let (early, late) = text.split_at(text.len() - 5);
    busy.write_all(early.as_bytes()).await.unwrap();
    // Both are known to be accepted once a third, later one is answered; the busy one's head by the time it is read.
    server.is_alive().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    busy.write_all(late.as_bytes()).await.unwrap();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 202") && answer.contains("connection: close"), "{answer}");
    assert_eq!(server.ended.await.unwrap(), 0);
    assert!(UnixStream::connect(&server.path).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn whoever_was_let_in_before_a_stop_is_answered() {
    let f = Fixture::new();
    let server = Server::start(f.submit.clone(), limits());
    let request = GET.replace("connection: close\r\n", "");
    // One who has come and said nothing yet, and one between two calls.
    let mut fresh = server.connect().await;
    let mut kept = server.connect().await;
    kept.write_all(request.as_bytes()).await.unwrap();
    kept.read_exact(&mut [0; 12]).await.unwrap();
    server.stop.cancel();
    tokio::task::yield_now().await;
    fresh.write_all(request.as_bytes()).await.unwrap();
    kept.write_all(request.as_bytes()).await.unwrap();
    for stream in [&mut fresh, &mut kept] {
        let answer = rest(stream).await;
        assert!(answer.contains("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    }
    assert_eq!(server.ended.await.unwrap(), 0);
    // And one who waits for a slot.
    let server = Server::start(f.submit.clone(), ConnectionLimits { connections: 1, ..limits() });
    let busy = server.stream().await;
    let mut waiting = server.connect().await;
    waiting.write_all(request.as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), waiting.read(&mut [0])).await.is_err(), "it waits");
    server.stop.cancel();
    drop(busy);
    assert!(rest(&mut waiting).await.starts_with("HTTP/1.1 200"));
    assert_eq!(server.ended.await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_end_is_cut_when_the_grace_is_over() {
    let f = Fixture::with(Settings::default());
    let limits = ConnectionLimits { connections: 1, drain: Duration::from_millis(200), ..limits() };
    let server = Server::start(f.submit.clone(), limits);
    let mut stuck = server.stream().await;
    // Another waits for its slot, and so for nothing.
    let mut waiting = server.connect().await;
    waiting.write_all(GET.as_bytes()).await.unwrap();
    assert!(timeout(Duration::from_millis(100), waiting.read(&mut [0])).await.is_err(), "it waits");
    server.stop.cancel();
    let ended = timeout(Duration::from_secs(20), server.ended).await.expect("it ends");
    assert_eq!(ended.unwrap(), 1);
    // An answer that was cut off does not look like a whole one.
    assert!(!rest(&mut stuck).await.ends_with("0\r\n\r\n"));
    assert_eq!(rest(&mut waiting).await, "");
}

#[tokio::test]
async fn going_away_after_sending_does_no_harm() {
    let f = Fixture::new().with_acme().await;
    let server = Server::start(f.submit.clone(), limits());
    for _ in 0..20 {
        let mut stream = server.connect().await;
        stream
            .write_all(post("/v1/orgs/acme/events", r#"{"type":"a","payload":1}"#).as_bytes())
            .await
            .unwrap();
    }
    server.is_alive().await;
    server.stop.cancel();
    assert_eq!(server.ended.await.unwrap(), 0);
}
