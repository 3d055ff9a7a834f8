//! The accept loop. Our own, because each of these is a promise: a head that does not come is given up, connections are
//! capped, running out of file descriptors is waited out, a panic in a call is an answer, and stopping drains.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::crowd::{Call, CallBody, Crowd, Member};
use super::problem::{Kind, Problem};
use super::stall::Stall;
use crate::config::Config;

/// What one socket's connections may use.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once. For one more, one that is idle is closed; if none is, it waits.
    pub connections: usize,
    /// How long a head may take to arrive, and a kept connection may be idle.
    pub header_timeout: Duration,
    /// How long the peer may leave its answer unread.
    pub write_timeout: Duration,
    /// How long calls in progress may take once the daemon stops.
    pub drain: Duration,
}

/// Bytes of a head. What no client of ours comes near.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// Fields of a head.
const HEADERS_MAX: usize = 64;
/// What a connection may buffer of what it reads and writes: large enough that a stream of events arrives in pieces worth
/// a commit, small enough to be had by every connection at once.
const BUFFER_MAX: usize = 128 << 10;
/// How long a new connection waits before another is asked to go for it, and then the next.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// After a failed accept: long enough not to spin, short enough not to be noticed once descriptors are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
        }
    }
}

impl From<&Config> for ConnectionLimits {
    fn from(config: &Config) -> ConnectionLimits {
        ConnectionLimits {
            connections: config.api.max_connections,
            header_timeout: config.api.header_timeout,
            drain: config.shutdown.grace,
            ..ConnectionLimits::default()
        }
    }
}

/// Serves `router` until `stop`; then lets the calls in progress end. Answers how many connections had to be cut when
/// `limits.drain` was over.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) -> usize {
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let crowd = Crowd::new();
    let builder = builder(&limits);
    let mut accepting = true;
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if std::mem::take(&mut accepting) {
                    tracing::warn!(%error, "connections cannot be accepted; trying on");
                }
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        if !std::mem::replace(&mut accepting, true) {
            tracing::info!("connections are accepted again");
        }
        // Without a slot nothing more is accepted: others wait in the kernel.
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            slot = slot(&slots, &crowd) => slot,
        };
        let stream = Stall::new(stream, limits.write_timeout);
        let served =
            connection(stream, router.clone(), builder.clone(), crowd.join(), stop.clone(), cut.clone());
        connections.spawn(async move {
            served.await;
            drop(slot);
        });
    }
    // New connections are refused, or wait for the next process if the socket is not ours.
    drop(listener);
    connections.close();
    if tokio::time::timeout(limits.drain, connections.wait()).await.is_ok() {
        return 0;
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    left
}

/// A slot for a connection; makes room for it while there is none.
async fn slot(slots: &Arc<Semaphore>, crowd: &Crowd) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = slots.clone().try_acquire_owned() {
        return Some(slot);
    }
    loop {
        crowd.make_room();
        if let Ok(slot) = tokio::time::timeout(ROOM_PAUSE, slots.clone().acquire_owned()).await {
            return slot.ok();
        }
    }
}

fn builder(limits: &ConnectionLimits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_MAX)
        // A producer may close its side once it has sent; its answer still goes out.
        .half_close(true);
    builder
}

async fn connection(
    stream: Stall<UnixStream>,
    router: Router,
    builder: http1::Builder,
    member: Arc<Member>,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let called = member.clone();
    let service = service_fn(move |request| answer(router.clone(), called.call(), request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stop.cancelled() => None,
        () = member.asked_to_leave() => {
            if member.is_idle() {
                return;
            }
            None
        }
    };
    if ended.is_none() {
        connection.as_mut().graceful_shutdown();
        ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = cut.cancelled() => return,
        };
    }
    // What a peer does to its own connection is its own affair.
    if let Some(Err(error)) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Calls the router. A call that panics is answered like any other failure, and its connection goes on.
async fn answer(
    router: Router,
    call_lasts: Call,
    request: Request<Incoming>,
) -> Result<Response<CallBody>, Infallible> {
    let path = request.uri().path().to_owned();
    let call = AssertUnwindSafe(router.oneshot(request.map(Body::new)));
    let response = match call.catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(path, "a call panicked");
            Problem::new(Kind::Internal, "the call failed inside; the daemon's log says more").into_response()
        }
    };
    Ok(response.map(|body| CallBody { body, _call: call_lasts }))
}
