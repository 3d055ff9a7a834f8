//! The producers: lean HTTP clients on the daemon's sockets.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Body, Frame};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::payload::Payloads;

/// When a producer stops.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// At this time.
    At(Instant),
    /// After this many events.
    After(u64),
}

impl Stop {
    /// Whether so many are enough.
    pub fn reached(self, sent: u64) -> bool {
        match self {
            Stop::At(end) => Instant::now() >= end,
            Stop::After(events) => sent >= events,
        }
    }
}

/// One kept-alive connection.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Sent with every request.
    header: Option<(HeaderName, HeaderValue)>,
}

async fn connect<B>(socket: &Path) -> anyhow::Result<SendRequest<B>>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let stream =
        UnixStream::connect(socket).await.with_context(|| format!("connecting to {}", socket.display()))?;
    handshake(stream).await
}

async fn handshake<B>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> anyhow::Result<SendRequest<B>>
where
    B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Its errors come back through the sender.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

impl Connection {
    /// Connects.
    pub async fn open(socket: &Path) -> anyhow::Result<Connection> {
        Ok(Connection { sender: connect(socket).await?, header: None })
    }

    /// The same over TCP.
    pub async fn over_tcp(address: SocketAddr) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Connection { sender: handshake(stream).await?, header: None })
    }

    /// With a header that is sent with every request.
    pub fn with_header(self, name: &'static str, value: &str) -> anyhow::Result<Connection> {
        Ok(Connection { header: Some((HeaderName::from_static(name), value.parse()?)), ..self })
    }

    /// One call and its whole answer.
    pub async fn call(
        &mut self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        self.sender.ready().await?;
        let mut request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(body))?;
        if let Some((name, value)) = &self.header {
            request.headers_mut().insert(name, value.clone());
        }
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// One call that has to work; answers its body.
    pub async fn expect(&mut self, method: Method, path: &str, body: Bytes) -> anyhow::Result<Bytes> {
        let (status, answer) = self.call(method.clone(), path, body).await?;
        if !status.is_success() {
            bail!("{method} {path}: {status}: {}", String::from_utf8_lossy(&answer));
        }
        Ok(answer)
    }
}

/// One producer per entry of `orgs`, each with a connection of its own, each sending the next event when the last one
/// was accepted. Answers how many were.
pub async fn producers(
    socket: &Path,
    orgs: &[String],
    payloads: &Payloads,
    stop: Stop,
) -> anyhow::Result<u64> {
    let mut tasks = JoinSet::new();
    for org in orgs {
        let mut connection = Connection::open(socket).await?;
        let path = format!("/v1/orgs/{org}/events");
        let payloads = payloads.clone();
        tasks.spawn(async move {
            let mut accepted = 0;
            while !stop.reached(accepted) {
                connection.expect(Method::POST, &path, payloads.event(Instant::now())).await?;
                accepted += 1;
            }
            anyhow::Ok(accepted)
        });
    }
    sum(tasks).await
}

/// `rate` events a second in total for `time`, whatever the answers' pace: spread over connections, each event stamped
/// with when it was due if its connection was still busy then.
pub async fn steady(
    socket: &Path,
    orgs: &[String],
    payloads: &Payloads,
    rate: u32,
    time: Duration,
) -> anyhow::Result<u64> {
    let pause = Duration::from_secs(1) / rate;
    let connections = u32::try_from(orgs.len())?;
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for (index, org) in (0..connections).zip(orgs) {
        let mut connection = Connection::open(socket).await?;
        let path = format!("/v1/orgs/{org}/events");
        let payloads = payloads.clone();
        tasks.spawn(async move {
            let mut due = start + pause * index;
            let mut accepted = 0;
            while due < start + time {
                let late = Instant::now() > due;
                tokio::time::sleep_until(due.into()).await;
                let sent = if late { due } else { Instant::now() };
                connection.expect(Method::POST, &path, payloads.event(sent)).await?;
                accepted += 1;
                due += pause * connections;
            }
            anyhow::Ok(accepted)
        });
    }
    sum(tasks).await
}

/// What all of them come to.
pub async fn sum(mut tasks: JoinSet<anyhow::Result<u64>>) -> anyhow::Result<u64> {
    let mut total = 0;
    while let Some(finished) = tasks.join_next().await {
        total += finished??;
    }
    Ok(total)
}

/// Lines per frame of a stream: about what a producer that reads a file writes at once.
const LINES_PER_FRAME: u64 = 16;

/// One NDJSON stream, events going to `orgs` in turn. Answers how many were accepted.
pub async fn ndjson(socket: &Path, orgs: &[String], payloads: &Payloads, stop: Stop) -> anyhow::Result<u64> {
    let mut turn: VecDeque<String> = orgs.to_vec().into();
    let payloads = payloads.clone();
    let sent = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = sent.clone();
    let frames = stream::unfold(0, move |sent| {
        let frame = (!stop.reached(sent)).then(|| {
            let count = match stop {
                Stop::At(_) => LINES_PER_FRAME,
                Stop::After(events) => LINES_PER_FRAME.min(events - sent),
            };
            let mut lines = String::new();
            for _ in 0..count {
                if let Some(org) = turn.front() {
                    payloads.line(Instant::now(), org, &mut lines);
                }
                turn.rotate_left(1.min(turn.len()));
            }
            counter.store(sent + count, std::sync::atomic::Ordering::Relaxed);
            (Ok::<_, Infallible>(Frame::data(Bytes::from(lines))), sent + count)
        });
        std::future::ready(frame)
    });
    let mut sender = connect(socket).await?;
    let request = http::Request::post("/v1/events")
        .header("host", "localhost")
        .header("content-type", "application/x-ndjson")
        .body(StreamBody::new(frames))?;
    let mut response = sender.send_request(request).await?;
    let mut answers = 0;
    let mut last = Bytes::new();
    while let Some(frame) = response.body_mut().frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        answers += data.split(|byte| *byte == b'\n').count() as u64 - 1;
        if !response_is_good(response.status(), &data) {
            bail!("POST /v1/events: {}: {}", response.status(), String::from_utf8_lossy(&data));
        }
        last = data;
    }
    let sent = sent.load(std::sync::atomic::Ordering::Relaxed);
    if answers != sent {
        bail!("{sent} lines sent, {answers} answered; the last: {}", String::from_utf8_lossy(&last));
    }
    Ok(answers)
}

/// Whether no line of this piece is a problem.
fn response_is_good(status: StatusCode, lines: &[u8]) -> bool {
    const PROBLEM: &[u8] = b"urn:postrider:";
    status.is_success() && !lines.windows(PROBLEM.len()).any(|part| part == PROBLEM)
}
