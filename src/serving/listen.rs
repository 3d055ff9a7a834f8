//! The accept loop. Our own, because each of these is a promise: a head that does not come is given up, connections are
//! capped, running out of file descriptors is waited out, a panic in a call is an answer, and stopping drains: whoever was
//! let in is answered.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use super::crowd::{Call, CallBody, Crowd, Member};
use super::door::{Door, Peer, Process};
use super::lobby::Lobby;
use super::problem::{Kind, Problem};
use super::refused::{HeldBack, Refusals};
use super::stall::Stall;
use crate::config::Config;

/// What the connections of one door may use.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// Connections at once. For one more, one that is idle is closed; if none is, one of a peer who has more than the
    /// newcomer; else it waits.
    pub connections: usize,
    /// How long a head may take to arrive, and a kept connection may be idle.
    pub header_timeout: Duration,
    /// How long the peer may leave its answer unread.
    pub write_timeout: Duration,
    /// How long calls in progress may take once the daemon stops.
    pub drain: Duration,
    /// How long a new connection waits, at most, for those of a peer who has more before one of them is broken off.
    pub share_after: Duration,
}

/// Bytes of a head. What no client of ours comes near.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// Fields of a head.
pub(super) const HEADERS_MAX: usize = 64;
/// What a connection may buffer of what it reads and writes: large enough that a stream of events arrives in pieces worth
/// a commit, small enough to be had by every connection at once.
const BUFFER_MAX: usize = 128 << 10;
/// How long a new connection waits before another is asked to go for it, and then the next.
const ROOM_PAUSE: Duration = Duration::from_millis(5);
/// How many may wait for a slot without being in the kernel's own queue: as many again as are served, within bounds.
const SEATS_MIN: usize = 64;
const SEATS_MAX: usize = 256;
/// After so long without a failed accept, things are well again: a lack of descriptors comes and goes.
const ACCEPT_WELL: Duration = Duration::from_secs(10);
/// After a failed accept: long enough not to spin, short enough not to be noticed once descriptors are free again.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Default for ConnectionLimits {
    fn default() -> ConnectionLimits {
        ConnectionLimits {
            connections: 1024,
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(10),
            share_after: Duration::from_secs(1),
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

/// Serves `router` at this door until `stop`; then lets the calls in progress end, and those begin whose connection has
/// only just come. Answers how many connections had to be cut when `limits.drain` was over.
pub async fn serve<D: Door>(
    door: D,
    router: Router,
    limits: ConnectionLimits,
    stop: CancellationToken,
) -> usize {
    let door = Arc::new(door);
    let connections = TaskTracker::new();
    let cut = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(limits.connections));
    let crowd = Crowd::new();
    let serving = Arc::new(Serving {
        router,
        builder: builder(&limits),
        stop: stop.clone(),
        cut: cut.clone(),
        refusals: Refusals::default(),
        limits: limits.clone(),
    });
    let mut lobby = Lobby::new(limits.connections.clamp(SEATS_MIN, SEATS_MAX));
    let mut accepting = Accepting::default();
    let mut looked = Instant::now();
    loop {
        let waits = !lobby.is_empty();
        tokio::select! {
            // Slots that are free are given away before anybody is asked to leave, and both before there are more who wait.
            biased;
            () = stop.cancelled() => break,
            slot = slots.clone().acquire_owned(), if waits => {
                let (Ok(slot), Some((peer, accepted))) = (slot, lobby.next(&crowd.served())) else { continue };
                connections.spawn(connection(door.clone(), accepted, (crowd.join(peer), slot), serving.clone()));
            }
            () = tokio::time::sleep_until(looked + ROOM_PAUSE), if waits => {
                looked = Instant::now();
                // Calls end by themselves, mostly soon: one is broken off only for somebody who has waited for a while.
                let next = lobby.longest_wait(&crowd.served(), Instant::now());
                let newcomer = next.filter(|(_, wait)| *wait >= limits.share_after).map(|(peer, _)| peer);
                crowd.make_room(newcomer);
            }
            accepted = accepting.next(&*door), if D::LETS_IN || !lobby.is_full() => {
                if let Some((accepted, peer)) = accepted {
                    lobby.enter(peer, accepted, Instant::now());
                } else {
                    // Most likely a lack of descriptors: one that nobody uses is given back.
                    lobby.give_one_up();
                    crowd.make_room(None);
                }
            }
        }
    }
    // Those who wait here were let in, and no other process can serve them. Whoever comes now is refused, or waits for the
    // next process if the socket is not ours.
    connections.close();
    let drain = async {
        while !lobby.is_empty() {
            let Ok(slot) = slots.clone().acquire_owned().await else { break };
            let Some((peer, accepted)) = lobby.next(&crowd.served()) else { break };
            connections.spawn(connection(door.clone(), accepted, (crowd.join(peer), slot), serving.clone()));
        }
        drop(door);
        connections.wait().await;
    };
    if tokio::time::timeout(limits.drain, drain).await.is_ok() {
        return 0;
    }
    let left = connections.len();
    cut.cancel();
    connections.wait().await;
    left
}

/// Accepts, and waits a while after what failed.
#[derive(Default)]
struct Accepting {
    /// When the last accept failed; none once they have gone well for a while.
    failed: Option<Instant>,
    /// Not before.
    pause: Option<Instant>,
}

impl Accepting {
    /// The next connection, or `None` if it cannot be had. Nothing is lost if this is not waited for to its end.
    async fn next<D: Door>(&mut self, door: &D) -> Option<(D::Accepted, Peer)> {
        if let Some(pause) = self.pause {
            tokio::time::sleep_until(pause).await;
            self.pause = None;
        }
        match door.accept().await {
            Ok(accepted) => {
                if self.failed.take_if(|failed| failed.elapsed() >= ACCEPT_WELL).is_some() {
                    tracing::info!("connections are accepted again");
                }
                Some(accepted)
            }
            Err(error) => {
                let now = Instant::now();
                if self.failed.replace(now).is_none() {
                    tracing::warn!(%error, "connections cannot be accepted; trying on");
                }
                self.pause = Some(now + ACCEPT_PAUSE);
                None
            }
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

/// What the connections of one door share.
struct Serving {
    router: Router,
    builder: http1::Builder,
    stop: CancellationToken,
    cut: CancellationToken,
    refusals: Refusals,
    limits: ConnectionLimits,
}

impl Serving {
    /// Resolves when the daemon stops and nobody is about to use this connection.
    async fn over(&self, member: &Member) {
        self.stop.cancelled().await;
        member.left_alone().await;
    }
}

/// Opens a connection; a handshake takes no longer than a head may, and not at all once somebody else needs the room.
async fn open<D: Door>(
    door: Arc<D>,
    accepted: D::Accepted,
    member: &Member,
    serving: &Serving,
) -> Option<HeldBack<Stall<D::Stream>>> {
    let opened = tokio::select! {
        opened = tokio::time::timeout(serving.limits.header_timeout, door.open(accepted)) => opened.ok()?,
        () = member.asked_to_leave() => return None,
        () = serving.over(member) => return None,
    };
    match opened {
        Ok(stream) => Some(HeldBack::new(Stall::new(stream, serving.limits.write_timeout))),
        Err(error) => {
            tracing::debug!(%error, "a connection was not opened");
            None
        }
    }
}

/// Serves a connection, which keeps its slot as long as it lasts.
async fn connection<D: Door>(
    door: Arc<D>,
    accepted: D::Accepted,
    (member, _slot): (Arc<Member>, OwnedSemaphorePermit),
    serving: Arc<Serving>,
) {
    let process = D::process(&accepted);
    let Some(stream) = open(door, accepted, &member, &serving).await else { return };
    let (called, served) = (member.clone(), serving.clone());
    let service = service_fn(move |request| {
        answer(served.clone(), D::SECRET_PATHS, (called.peer(), process, called.call()), request)
    });
    let mut connection = serving.builder.serve_connection(TokioIo::new(stream), service);
    let mut ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = serving.over(&member) => None,
        () = member.asked_to_leave() => {
            if member.must_leave() {
                return;
            }
            None
        }
    };
    if ended.is_none() {
        Pin::new(&mut connection).graceful_shutdown();
        ended = tokio::select! {
            ended = &mut connection => Some(ended),
            () = serving.cut.cancelled() => return,
        };
    }
    let Some(ended) = ended else { return };
    let parts = connection.into_parts();
    let mut stream = parts.io.into_inner();
    // What a peer does to its own connection is its own affair; it is told what could not be read.
    let problem = ended.err().and_then(|error| {
        tracing::debug!(%error, "a connection ended early");
        stream.problem(&error, &parts.read_buf)
    });
    let end = async {
        let Some(problem) = problem else { return stream.end().await };
        serving.refusals.note(&problem);
        stream.answer(problem).await;
        tokio::select! {
            () = stream.linger() => {}
            () = member.asked_to_leave() => {}
            () = serving.stop.cancelled() => {}
        }
    };
    tokio::select! {
        () = end => {}
        () = serving.cut.cancelled() => {}
    }
}

/// Calls the router. A call that panics is answered like any other failure, and its connection goes on.
async fn answer(
    serving: Arc<Serving>,
    secret_paths: bool,
    (peer, process, call_lasts): (Peer, Process, Call),
    mut request: Request<Incoming>,
) -> Result<Response<CallBody>, Infallible> {
    let path = if secret_paths { String::new() } else { request.uri().path().to_owned() };
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(process);
    let call = AssertUnwindSafe(serving.router.clone().oneshot(request.map(Body::new)));
    let mut response = match call.catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => {
            tracing::error!(path, "a call panicked");
            Problem::new(Kind::Internal, "the call failed inside; the daemon's log says more").into_response()
        }
    };
    if serving.stop.is_cancelled() {
        // The peer hears that this was the last call; the connection ends with it.
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response.map(|body| CallBody { body, _call: call_lasts }))
}
