//! Attempts against real sockets: what goes out, what each way of failing is called, and what is never dialled.

mod descriptors;
mod guarded;
mod http2;
mod http2_limits;
mod misbehaving;
mod over_tls;
mod proxied;
mod proxies;
mod resend;
mod resolving;
mod routed;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::Hosts;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;
use crate::delivery::testing::{self, delivery, webhook};
use crate::model::Secret;

/// A receiver that does with each connection what its script says.
struct Receiver {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Receiver {
    async fn start<F>(script: impl Fn(usize, TcpStream) -> F + Send + 'static) -> Receiver
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let count = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script(count.fetch_add(1, Ordering::SeqCst), stream));
            }
        });
        Receiver { address, connections }
    }

    /// Answers every request on every connection with the same bytes, and hands on what it got.
    async fn answering(answer: &'static [u8]) -> (Receiver, mpsc::UnboundedReceiver<String>) {
        let (sender, requests) = mpsc::unbounded_channel();
        let receiver = Receiver::start(move |_, mut stream| {
            let sender = sender.clone();
            async move {
                while let Some(request) = read_request(&mut stream).await {
                    sender.send(request).ok();
                    if stream.write_all(answer).await.is_err() {
                        break;
                    }
                }
            }
        })
        .await;
        (receiver, requests)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Reads one request with its body; `None` once the connection has ended.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    let (head_end, length) = loop {
        request.push(stream.read_u8().await.ok()?);
        if request.ends_with(b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&request).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            break (request.len(), length.map_or(0, |text| text.parse().unwrap()));
        }
    };
    request.resize(head_end + length, 0);
    stream.read_exact(&mut request[head_end..]).await.ok()?;
    Some(String::from_utf8(request).unwrap())
}

fn settings() -> ClientSettings {
    let allow = ["127.0.0.1/32".to_owned()];
    ClientSettings { egress: EgressPolicy::parse(&allow, &[]).unwrap(), ..ClientSettings::default() }
}

/// Trusts the authorities in a file as well.
fn with_ca(file: &std::path::Path, settings: ClientSettings) -> ClientSettings {
    let route = RouteSettings { ca_file: Some(file.to_owned()), ..settings.route };
    ClientSettings { route, ..settings }
}

/// Names as our own resolver finds them.
fn our_names() -> Names {
    Names::new(Source::builtin().unwrap(), 64)
}

/// Names that these hosts and name servers know.
fn names(hosts: Hosts, config: ResolverConfig, options: ResolverOpts) -> Names {
    Names::new(Source::of(hosts, config, options).unwrap(), 64)
}

fn client() -> Client {
    Client::new(settings()).unwrap()
}

/// An attempt of a webhook with a route.
async fn attempt_over(client: &Client, url: &str, route: &Route) -> Attempt {
    let webhook = Webhook { route: Some(Arc::new(route.clone())), ..webhook(url) };
    testing::attempt(client, &delivery(1, "evt_1", br#"{"n":1}"#), &webhook, 1).await
}

/// One attempt with a timeout that ends the test rather than the attempt.
async fn attempt(client: &Client, url: &str) -> Attempt {
    testing::attempt(client, &delivery(1, "evt_1", br#"{"n":1}"#), &webhook(url), 1).await
}

/// One attempt that is meant to run into its timeout, or to stay well below it.
async fn attempt_within(client: &Client, url: &str, timeout: Duration) -> Attempt {
    let mut webhook = webhook(url);
    webhook.timeout = timeout;
    testing::attempt(client, &delivery(1, "evt_1", br#"{"n":1}"#), &webhook, 1).await
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn the_request_on_the_wire_is_the_documented_one() {
    let (receiver, mut requests) = Receiver::answering(OK).await;
    let mut webhook = webhook(&receiver.url("/in?x=1&y=%20"));
    webhook.password = Some(Secret::new("s3cret".into()));
    let payload = "{ \"ä\" :\t[1,  2.50, 1e400], \"dup\":1,\"dup\":2 }\n".as_bytes();
    let before = clock::now();
    let made = testing::attempt(&client(), &delivery(42, "evt_1", payload), &webhook, 3).await;
    assert_eq!((made.number, made.status, made.error), (3, Some(200), None), "{made:?}");
    assert_eq!((made.detail.as_str(), made.excerpt.as_str()), ("", "ok"));
    assert!(made.at >= before && made.at <= clock::now());

    let request = requests.recv().await.unwrap();
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.as_bytes(), payload, "byte for byte");
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /in?x=1&y=%20 HTTP/1.1");
    lines.sort_unstable();
    let timestamp = made.at.seconds();
    assert_eq!(
        lines,
        [
            &format!("content-length: {}", payload.len()),
            "content-type: application/json",
            &format!("host: {}", receiver.address),
            "postrider-attempt: 3",
            "postrider-sequence: 42",
            concat!("user-agent: postrider/", env!("CARGO_PKG_VERSION")),
            "webhook-id: evt_1",
            &format!("webhook-timestamp: {timestamp}"),
            "x-tt-webhook-password: s3cret",
        ]
    );
}

#[tokio::test]
async fn a_payload_of_any_size_arrives_whole() {
    let (receiver, mut requests) = Receiver::answering(OK).await;
    let client = client();
    for size in [0, 1, 65_536, 1024 * 1024] {
        let payload = vec![b'x'; size];
        let made =
            testing::attempt(&client, &delivery(1, "e", &payload), &webhook(&receiver.url("/")), 1).await;
        assert_eq!(made.error, None, "{made:?}");
        let request = requests.recv().await.unwrap();
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {size}")), "{head}");
        assert_eq!(body.len(), size);
    }
}

#[tokio::test]
async fn a_kept_connection_is_used_again() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client();
    for _ in 0..20 {
        assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    }
    assert_eq!(receiver.connections(), 1);
    assert_eq!(client.connections(), 1);
}

#[tokio::test]
async fn a_connection_closed_between_attempts_costs_nothing() {
    let (sender, mut closes) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |_, mut stream| {
        let sender = sender.clone();
        async move {
            read_request(&mut stream).await;
            stream.write_all(OK).await.unwrap();
            drop(stream);
            sender.send(()).unwrap();
        }
    })
    .await;
    let client = client();
    for number in 1..=5 {
        let made = attempt(&client, &receiver.url("/")).await;
        assert_eq!(made.error, None, "{number}: {made:?}");
        closes.recv().await.unwrap();
        // The end of the connection has reached us when it is no longer counted.
        wait_until(|| client.connections() == 0).await;
    }
    assert_eq!(receiver.connections(), 5);
}

#[tokio::test]
async fn past_the_limit_no_connection_is_kept() {
    let (receiver, mut requests) = Receiver::answering(OK).await;
    let client = Client::new(ClientSettings { connections_kept: 0, ..settings() }).unwrap();
    // One connection that is kept, since none was open when it was made.
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    assert!(!requests.recv().await.unwrap().contains("connection: close"));
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
    assert!(requests.recv().await.unwrap().contains("connection: close"));
    wait_until(|| client.connections() == 0).await;
}

#[tokio::test]
async fn an_attempt_that_is_dropped_takes_its_connection_with_it() {
    let (ended, mut ends) = mpsc::unbounded_channel();
    let receiver = Receiver::start(move |_, mut stream| {
        let ended = ended.clone();
        async move {
            read_request(&mut stream).await;
            ended.send("asked").unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0);
            ended.send("gone").unwrap();
        }
    })
    .await;
    let client = client();
    let url = receiver.url("/");
    let running = tokio::spawn({
        let client = client.clone();
        async move { attempt(&client, &url).await }
    });
    assert_eq!(ends.recv().await, Some("asked"));
    running.abort();
    assert_eq!(ends.recv().await, Some("gone"));
    wait_until(|| client.connections() == 0).await;
}

/// Waits for a condition; the test's own patience ends after 20 s.
async fn wait_until(condition: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(tokio::time::Instant::now() < patience, "waited in vain");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
