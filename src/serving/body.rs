//! Reads bodies of requests: the size and the time that they may take, and what all of them together may hold.
//!
//! A body that is too large is refused by its announced length, before any of it is kept. Rests up to `DISCARD_MAX` are
//! read and dropped first, because a client that is still writing when the connection closes may never see the answer.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, HttpBody as _};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::problem::{Kind, Problem};

/// Bodies up to this size do not wait for the budget, so that a few large and slow ones never hold up the small ones.
const SMALL: usize = 16 << 10;
/// The most of a refused body that is read and dropped.
const DISCARD_MAX: u64 = 16 << 20;
/// Large bodies in progress may be done by then.
const RETRY_OVERLOADED_S: u32 = 1;

/// The length that the sender announced.
fn announced(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

/// The refusal of a body or line of more than `max` bytes.
pub fn too_large(max: usize) -> Problem {
    Problem::new(Kind::PayloadTooLarge, format!("at most {max} bytes are accepted"))
}

/// Bytes that bodies above a small size may hold together.
pub struct Budget {
    bytes: usize,
    left: Arc<Semaphore>,
}

/// A body's part of a budget, given back when it is dropped.
#[derive(Default)]
pub struct Held(Option<[Option<OwnedSemaphorePermit>; 2]>);

/// What a body that is being read may have.
struct Room<'a> {
    budget: &'a Budget,
    /// What its org has for itself.
    own: Option<Arc<Semaphore>>,
    /// What it takes, as far as is known.
    bytes: usize,
    held: Held,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes: usize) -> Budget {
        Budget { bytes, left: Arc::new(Semaphore::new(bytes)) }
    }

    /// Reads a body of at most `max` bytes, and drops the rest of one that is refused. `own` is what its org has for itself,
    /// taken before what is for all.
    ///
    /// # Errors
    /// It is too large, too slow, or broken, or there is no room for it.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        body: Body,
        (max, own): (usize, Option<Arc<Semaphore>>),
        deadline: Instant,
    ) -> Result<(Bytes, Held), Problem> {
        let announced = announced(&body);
        if announced.is_some_and(|length| length > max as u64) {
            discard(headers, body, deadline).await;
            return Err(too_large(max));
        }
        let bytes = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(max);
        let mut room = Room { budget: self, own, bytes, held: Held::default() };
        let bytes = collect(body.into_data_stream(), max, &mut room, deadline).await?;
        Ok((bytes, room.held))
    }

    /// What is not held.
    #[cfg(test)]
    pub(crate) fn left(&self) -> usize {
        self.left.available_permits()
    }
}

impl Room<'_> {
    /// Makes sure of room for so many bytes. All of it is taken at once, so that no two bodies wait for what the other one
    /// has, and not before more than a little has come: what is only announced takes no room from others.
    async fn make_sure(&mut self, bytes: usize, deadline: Instant) -> Result<(), Problem> {
        if bytes <= SMALL || self.held.0.is_some() {
            return Ok(());
        }
        let permits = u32::try_from(self.bytes.min(self.budget.bytes)).unwrap_or(u32::MAX);
        let take = async {
            let own = match self.own.clone() {
                Some(own) => Some(own.acquire_many_owned(permits).await.ok()?),
                None => None,
            };
            Some([own, Some(self.budget.left.clone().acquire_many_owned(permits).await.ok()?)])
        };
        let Some(held) = timeout_at(deadline, take).await.ok().flatten() else {
            let detail = "other large requests are still being read";
            return Err(Problem::new(Kind::Overloaded, detail).retry_after(RETRY_OVERLOADED_S));
        };
        self.held = Held(Some(held));
        Ok(())
    }
}

async fn collect(
    mut body: BodyDataStream,
    max: usize,
    room: &mut Room<'_>,
    deadline: Instant,
) -> Result<Bytes, Problem> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let frame = match timeout_at(deadline, body.next()).await {
            Err(_) => return Err(timed_out()),
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(broken(&error)),
            Ok(Some(Ok(frame))) => frame,
        };
        if first.len() + rest.len() + frame.len() > max {
            drop((first, rest));
            drop_rest(body, deadline, DISCARD_MAX).await;
            return Err(too_large(max));
        }
        room.make_sure(first.len() + rest.len() + frame.len(), deadline).await?;
        // Most bodies come in one piece, and stay the piece that was read from the socket.
        match (first.is_empty(), rest.is_empty()) {
            (true, true) => first = frame,
            (_, true) => {
                rest.extend_from_slice(&first);
                rest.extend_from_slice(&frame);
                first = Bytes::new();
            }
            (_, false) => rest.extend_from_slice(&frame),
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// The refusal of a body that took too long.
pub fn timed_out() -> Problem {
    Problem::new(Kind::RequestTimeout, "the body took too long to arrive")
}

/// The sender went away, or its chunks cannot be read. The innermost error, the HTTP library's own text, says which.
fn broken(error: &axum::Error) -> Problem {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    Problem::new(Kind::IncompleteBody, format!("the body could not be read to its end: {cause}"))
}

/// Reads and drops a refused body, unless it is very large, or the sender waits for leave to send it.
pub async fn discard(headers: &HeaderMap, body: Body, deadline: Instant) {
    discard_up_to(headers, body, deadline, DISCARD_MAX).await;
}

/// The same with a limit of one's own, in bytes.
pub async fn discard_up_to(headers: &HeaderMap, body: Body, deadline: Instant, max: u64) {
    let asks_first = headers.contains_key(header::EXPECT);
    if !asks_first && announced(&body).is_none_or(|length| length <= max) {
        drop_rest(body.into_data_stream(), deadline, max).await;
    }
}

async fn drop_rest(mut body: BodyDataStream, deadline: Instant, max: u64) {
    let mut dropped = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.next()).await {
        dropped += frame.len() as u64;
        if dropped > max {
            return;
        }
    }
}
