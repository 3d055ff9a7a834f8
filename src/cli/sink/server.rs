//! The receiver behind `postrider sink`, `demo` and whoever needs one: a plain hyper server on loopback or elsewhere.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::behaviour::{Answer, Plan};
use crate::clock;
use crate::delivery::request::{POSTRIDER_ATTEMPT, POSTRIDER_SEQUENCE, WEBHOOK_ID};
use crate::model::UnixMs;

/// The largest body that is taken, in bytes: well beyond what postrider sends.
const BODY_MAX: usize = 8 * 1024 * 1024;
/// How long accepting rests when there are no file descriptors left.
const REST: Duration = Duration::from_millis(50);

/// One request as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// When it was whole.
    pub at: UnixMs,
    /// Its method.
    pub method: Method,
    /// Its path with query.
    pub path: String,
    /// Its headers, passwords included.
    pub headers: HeaderMap,
    /// Its body, byte for byte.
    pub body: Bytes,
    /// What it is answered; `None` if it never is.
    pub status: Option<u16>,
}

impl Received {
    /// The event's id.
    pub fn webhook_id(&self) -> Option<&str> {
        self.header(&WEBHOOK_ID)
    }

    /// Which attempt it was, from 1.
    pub fn attempt(&self) -> Option<u32> {
        self.header(&POSTRIDER_ATTEMPT)?.parse().ok()
    }

    /// The delivery's number within its org.
    pub fn sequence(&self) -> Option<u64> {
        self.header(&POSTRIDER_SEQUENCE)?.parse().ok()
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Is told of every request before it is answered. Waiting holds up that request alone.
pub trait Observer: Send + Sync + 'static {
    /// A request has come in whole.
    fn observe(&self, received: Received) -> impl Future<Output = ()> + Send;
}

impl Observer for tokio::sync::mpsc::Sender<Received> {
    async fn observe(&self, received: Received) {
        // Nobody listens any more: the request is answered all the same.
        self.send(received).await.unwrap_or_default();
    }
}

impl Observer for tokio::sync::mpsc::UnboundedSender<Received> {
    async fn observe(&self, received: Received) {
        self.send(received).unwrap_or_default();
    }
}

/// Counts only.
impl Observer for () {
    async fn observe(&self, _: Received) {}
}

/// A running receiver. Stops, with its connections, when dropped.
#[derive(Debug)]
pub struct Sink {
    address: SocketAddr,
    count: Arc<AtomicU64>,
    stop: CancellationToken,
}

struct State<O> {
    plan: Plan,
    observer: O,
    count: Arc<AtomicU64>,
    /// Requests to paths that the plan does not name.
    unnamed: AtomicU64,
    /// Requests to those that it names and that count.
    named: std::sync::Mutex<std::collections::HashMap<String, u64>>,
}

impl Sink {
    /// Listens and answers as planned. Must be called within a runtime.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(listen: SocketAddr, plan: Plan, observer: impl Observer) -> io::Result<Sink> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let count = Arc::new(AtomicU64::new(0));
        let stop = CancellationToken::new();
        let state = Arc::new(State {
            plan,
            observer,
            count: count.clone(),
            unnamed: AtomicU64::new(0),
            named: std::sync::Mutex::default(),
        });
        tokio::spawn(stop.clone().run_until_cancelled_owned(accept(listener, state, stop.clone())));
        Ok(Sink { address, count, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL on it; `path` begins with `/`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Requests that have come in whole.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn accept<O: Observer>(listener: TcpListener, state: Arc<State<O>>, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let serving = serve(stream, state.clone());
                tokio::spawn(stop.clone().run_until_cancelled_owned(serving));
            }
            Err(_out_of_descriptors) => tokio::time::sleep(REST).await,
        }
    }
}

async fn serve<O: Observer>(stream: TcpStream, state: Arc<State<O>>) {
    // Only a hint to the kernel.
    stream.set_nodelay(true).unwrap_or_default();
    let service = service_fn(move |request| answer(request, state.clone()));
    // A sender that breaks off is its own business.
    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.unwrap_or_default();
}

async fn answer<O: Observer>(
    request: Request<Incoming>,
    state: Arc<State<O>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, BODY_MAX).collect().await else {
        return Ok(respond(StatusCode::PAYLOAD_TOO_LARGE.as_u16()));
    };
    let Answer { status, delay } = state.decide(head.uri.path());
    state.count.fetch_add(1, Ordering::Relaxed);
    let path = head.uri.path_and_query().map_or_else(|| head.uri.to_string(), ToString::to_string);
    let received = Received {
        at: clock::now(),
        method: head.method,
        path,
        headers: head.headers,
        body: body.to_bytes(),
        status,
    };
    state.observer.observe(received).await;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    match status {
        Some(status) => Ok(respond(status)),
        None => std::future::pending().await,
    }
}

fn respond(status: u16) -> Response<Full<Bytes>> {
    let failed = !(200..300).contains(&status) && status != 304;
    let body =
        if failed { Bytes::from(format!("the sink was told to answer {status}\n")) } else { Bytes::new() };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    response
}

impl<O> State<O> {
    fn decide(&self, path: &str) -> Answer {
        let behaviour = self.plan.behaviour(path);
        if behaviour.fail.is_none() {
            return behaviour.answer(1);
        }
        let number = if self.plan.names(path) {
            let mut named = self.named.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let number = named.entry(path.to_owned()).or_default();
            *number += 1;
            *number
        } else {
            self.unnamed.fetch_add(1, Ordering::Relaxed) + 1
        };
        behaviour.answer(number)
    }
}
