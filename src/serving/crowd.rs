//! When a door's connections are all taken, one that is doing nothing makes room: clients that open many and keep
//! silent, or send their heads byte by byte, do not keep others out. If all are busy, a peer who has more of them than
//! the newcomer gives one up, so that no peer keeps another out. (Where the kernel does not tell users apart, as
//! under `PrivateUsers=` of systemd, they are one; so are all who come through one proxy.)

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::door::Peer;

/// A connection is not asked to go before it has been idle for this long, be it to make room or because the daemon stops:
/// time enough for the head of a client that means it, also on a busy machine.
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
    /// Whose it is.
    peer: Peer,
    /// Calls in progress: from the request's head to the end of the answer's body.
    calls: AtomicUsize,
    /// Since when there is none, in milliseconds since `epoch`.
    idle_since: AtomicU64,
    /// Cancelled to ask the connection to go.
    leave: CancellationToken,
    /// It is to go although it is busy.
    evicted: AtomicBool,
}

impl Crowd {
    pub(super) fn new() -> Crowd {
        Crowd { epoch: Instant::now(), members: Mutex::new(Members { all: Vec::new(), full: FULL_MIN }) }
    }

    /// Adds a connection of this peer; it leaves when it is dropped.
    pub(super) fn join(&self, peer: Peer) -> Arc<Member> {
        let member = Arc::new(Member {
            epoch: self.epoch,
            peer,
            calls: AtomicUsize::new(0),
            idle_since: AtomicU64::new(since(self.epoch)),
            leave: CancellationToken::new(),
            evicted: AtomicBool::new(false),
        });
        let mut members = self.members();
        if members.all.len() >= members.full {
            members.connected();
        }
        members.all.push(Arc::downgrade(&member));
        member
    }

    /// Asks the connection that has been idle for longest to go, if one has been for long enough. Otherwise, and if it is
    /// for somebody in particular, a busy one of whoever has most. Looks at all of them: it is called when a socket is
    /// full, and never on the way of a call.
    pub(super) fn make_room(&self, newcomer: Option<Peer>) {
        let mut connected = self.members().connected();
        connected.retain(|member| !member.leave.is_cancelled());
        let longest = connected
            .iter()
            .filter(|member| member.is_idle())
            .min_by_key(|member| member.idle_since.load(Ordering::Relaxed));
        if let Some(member) = longest
            && member.idle_for() >= IDLE_MIN
        {
            member.leave.cancel();
        } else if let Some(newcomer) = newcomer
            && let Some(member) = beyond_its_share(&connected, newcomer)
        {
            let peer = member.peer;
            tracing::info!(%peer, %newcomer, "a connection was broken off to make room for another peer");
            member.evicted.store(true, Ordering::Relaxed);
            member.leave.cancel();
        }
    }

    /// How many connections each peer has.
    pub(super) fn served(&self) -> HashMap<Peer, usize> {
        counts(&self.members().connected())
    }

    fn members(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn counts(connected: &[Arc<Member>]) -> HashMap<Peer, usize> {
    let mut counts = HashMap::<Peer, usize>::new();
    for member in connected {
        *counts.entry(member.peer).or_default() += 1;
    }
    counts
}

/// The oldest connection of the peer who has most, if that is more than the newcomer would have.
fn beyond_its_share(connected: &[Arc<Member>], newcomer: Peer) -> Option<&Arc<Member>> {
    let counts = counts(connected);
    let own = counts.get(&newcomer).copied().unwrap_or_default();
    let (most, count) = counts.into_iter().max_by_key(|(peer, count)| (*count, *peer))?;
    if count <= own + 1 {
        return None;
    }
    connected.iter().find(|member| member.peer == most)
}

fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Member {
    /// Whose connection it is.
    pub(super) fn peer(&self) -> Peer {
        self.peer
    }

    fn idle_for(&self) -> Duration {
        Duration::from_millis(since(self.epoch).saturating_sub(self.idle_since.load(Ordering::Relaxed)))
    }

    /// Resolves when the connection is asked to go.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.cancelled().await;
    }

    /// Whether a connection that is asked to leave goes at once, rather than after its call.
    pub(super) fn must_leave(&self) -> bool {
        self.is_idle() || self.evicted.load(Ordering::Relaxed)
    }

    /// Resolves when there is no hurry to use the connection: it has been idle for long enough, or a call has begun. Whoever
    /// came only just now, or has only just had an answer, may have sent the next head already.
    pub(super) async fn left_alone(&self) {
        while self.is_idle() {
            let moment = IDLE_MIN.saturating_sub(self.idle_for());
            if moment.is_zero() {
                return;
            }
            tokio::time::sleep(moment).await;
        }
    }

    fn is_idle(&self) -> bool {
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
        let busy = crowd.join(Peer::User(1));
        let call = busy.call();
        let first = crowd.join(Peer::User(1));
        tokio::time::advance(Duration::from_millis(300)).await;
        let second = crowd.join(Peer::User(1));
        tokio::time::advance(Duration::from_millis(300)).await;
        crowd.make_room(None);
        crowd.make_room(None);
        assert!(first.leave.is_cancelled() && !busy.leave.is_cancelled());
        assert!(!second.leave.is_cancelled(), "it has only just come");
        tokio::time::advance(Duration::from_secs(1)).await;
        drop(second);
        drop(call);
        crowd.make_room(None);
        assert!(!busy.leave.is_cancelled(), "it has only just become idle");
        tokio::time::advance(Duration::from_secs(1)).await;
        crowd.make_room(None);
        assert!(busy.leave.is_cancelled());
        drop((busy, first));
        assert!(crowd.members().connected().is_empty());
    }

    #[tokio::test]
    async fn a_peer_with_more_connections_gives_one_up_and_one_with_fewer_never() {
        let crowd = Crowd::new();
        let many: Vec<_> = (0..3).map(|_| crowd.join(Peer::User(7))).collect();
        let few: Vec<_> = (0..2).map(|_| crowd.join(Peer::User(8))).collect();
        let calls: Vec<_> = many.iter().chain(&few).map(Member::call).collect();
        let evicted = |members: &[Arc<Member>]| members.iter().filter(|member| member.must_leave()).count();
        crowd.make_room(None);
        crowd.make_room(Some(Peer::User(7)));
        // As many as the newcomer would have: that is fair.
        crowd.make_room(Some(Peer::User(8)));
        assert_eq!((evicted(&many), evicted(&few)), (0, 0));
        // Somebody new.
        crowd.make_room(Some(Peer::User(9)));
        assert!(many[0].must_leave() && many[0].leave.is_cancelled());
        crowd.make_room(Some(Peer::User(9)));
        assert_eq!((evicted(&many), evicted(&few)), (1, 1), "two of each were left: either may give one up");
        drop(calls);
    }

    #[tokio::test]
    async fn those_that_left_are_forgotten() {
        let crowd = Crowd::new();
        let stays = crowd.join(Peer::User(1));
        for _ in 0..10_000 {
            drop(crowd.join(Peer::User(1)));
        }
        assert!(crowd.members().all.len() <= FULL_MIN);
        drop(stays);
    }
}
