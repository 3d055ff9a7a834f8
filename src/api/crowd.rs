//! When a socket's connections are all taken, one that is doing nothing makes room: clients that open many and keep
//! silent, or send their heads byte by byte, do not keep others out.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A connection is not asked to go before it has been idle for this long: time enough for the head of a client that
/// means it, also on a busy machine.
const IDLE_MIN: Duration = Duration::from_millis(500);

/// The connections of one socket.
pub(super) struct Crowd {
    epoch: Instant,
    members: Mutex<Members>,
}

/// Connections, some of them gone already.
struct Members {
    all: Vec<Weak<Member>>,
    /// At this many, those that are gone are forgotten.
    full: usize,
}

const FULL_MIN: usize = 64;

impl Members {
    fn connected(&mut self) -> Vec<Arc<Member>> {
        let connected: Vec<_> = self.all.iter().filter_map(Weak::upgrade).collect();
        self.all = connected.iter().map(Arc::downgrade).collect();
        self.full = FULL_MIN.max(2 * connected.len());
        connected
    }
}

/// One connection, as the others see it.
pub(super) struct Member {
    epoch: Instant,
    /// Calls in progress: from the request's head to the end of the answer's body.
    calls: AtomicUsize,
    /// Since when there is none, in milliseconds since `epoch`.
    idle_since: AtomicU64,
    /// Cancelled to ask the connection to go.
    leave: CancellationToken,
}

impl Crowd {
    pub(super) fn new() -> Crowd {
        Crowd { epoch: Instant::now(), members: Mutex::new(Members { all: Vec::new(), full: FULL_MIN }) }
    }

    /// Adds a connection; it leaves when it is dropped.
    pub(super) fn join(&self) -> Arc<Member> {
        let member = Arc::new(Member {
            epoch: self.epoch,
            calls: AtomicUsize::new(0),
            idle_since: AtomicU64::new(since(self.epoch)),
            leave: CancellationToken::new(),
        });
        let mut members = self.members();
        if members.all.len() >= members.full {
            members.connected();
        }
        members.all.push(Arc::downgrade(&member));
        member
    }

    /// Asks the connection that has been idle for longest to go, if one has been for long enough. Looks at all of them:
    /// it is called when a socket is full, and never on the way of a call.
    pub(super) fn make_room(&self) {
        let connected = self.members().connected();
        let longest = connected
            .into_iter()
            .filter(|member| member.calls.load(Ordering::Relaxed) == 0 && !member.leave.is_cancelled())
            .min_by_key(|member| member.idle_since.load(Ordering::Relaxed));
        if let Some(member) = longest
            && member.idle_for() >= IDLE_MIN
        {
            member.leave.cancel();
        }
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Member {
    fn idle_for(&self) -> Duration {
        Duration::from_millis(since(self.epoch).saturating_sub(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Resolves when the connection is asked to go.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }

    pub(super) fn is_idle(&self) -> bool {
        self.calls.load(Ordering::Relaxed) == 0
    }

    /// A call has begun; it ends when what is answered is dropped.
    pub(super) fn call(self: &Arc<Member>) -> Call {
        self.calls.fetch_add(1, Ordering::Relaxed);
        Call(self.clone())
    }
}

/// A call in progress.
pub(super) struct Call(Arc<Member>);

impl Drop for Call {
    fn drop(&mut self) {
        self.0.idle_since.store(since(self.0.epoch), Ordering::Relaxed);
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The body of an answer: the call lasts until it is sent, or given up.
pub(super) struct CallBody {
    pub(super) body: Body,
    pub(super) _call: Call,
}

impl hyper::body::Body for CallBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_connection_makes_room_and_a_busy_one_never() {
        let crowd = Crowd::new();
        let busy = crowd.join();
        let call = busy.call();
        let first = crowd.join();
        tokio::time::advance(Duration::from_millis(300)).await;
        let second = crowd.join();
        tokio::time::advance(Duration::from_millis(300)).await;
        crowd.make_room();
        crowd.make_room();
        assert!(first.leave.is_cancelled() && !busy.leave.is_cancelled());
        assert!(!second.leave.is_cancelled(), "it has only just come");
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(second);
        drop(call);
        crowd.make_room();
        assert!(!busy.leave.is_cancelled(), "it has only just become idle");
        tokio::time::advance(Duration::from_secs(1)).await;
        crowd.make_room();
        assert!(busy.leave.is_cancelled());
        drop((busy, first));
        assert!(crowd.members().connected().is_empty());
    }

    #[tokio::test]
    async fn those_that_left_are_forgotten() {
        let crowd = Crowd::new();
        let stays = crowd.join();
        for _ in 0..10_000 {
            drop(crowd.join());
        }
        assert!(crowd.members().all.len() <= FULL_MIN);
        drop(stays);
    }
}
