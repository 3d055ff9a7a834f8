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
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::problem::{Kind, Problem};
use super::stall::Stall;
use crate::config::Config;

/// What one socket's connections may use.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once; more wait in the kernel to be accepted.
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
    let builder = builder(&limits);
    let mut accepting = true;
    loop {
        // A slot first: without one, connections wait in the kernel's backlog rather than here.
        let slot = tokio::select! {
            () = stop.cancelled() => break,
            Ok(slot) = slots.clone().acquire_owned() => slot,
        };
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
                drop(slot);
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(ACCEPT_PAUSE) => continue,
                }
            }
        };
        if !std::mem::replace(&mut accepting, true) {
            tracing::info!("connections are accepted again");
        }
        let stream = Stall::new(stream, limits.write_timeout);
        let call = connection(stream, router.clone(), builder.clone(), stop.clone(), cut.clone());
        connections.spawn(async move {
            call.await;
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
    stop: CancellationToken,
    cut: CancellationToken,
) {
    let service = service_fn(move |request| answer(router.clone(), request));
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    // What a peer does to its own connection is its own affair.
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Calls the router. A call that panics is answered like any other failure, and its connection goes on.
async fn answer(router: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let path = request.uri().path().to_owned();
    let call = AssertUnwindSafe(router.oneshot(request.map(Body::new)));
    Ok(match call.catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(path, "a call panicked");
            Problem::new(Kind::Internal, "the call failed inside; the daemon's log says more").into_response()
        }
    })
}
