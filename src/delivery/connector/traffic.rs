//! What a connection has carried: tells a kept connection that its receiver closed just as the next request went out
//! from one that broke in the middle of an answer, and bounds what a receiver may send for one answer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that a receiver may send for one answer, in bytes: several times what is read of one. It is there for what no
/// limit on heads and bodies sees, such as interim answers, chunk sizes and HTTP/2 frames without end, which would cost us
/// a processor for as long as the attempt may take, or the connection is kept. One org's requests go one after the other,
/// and over HTTP/2 no other org's share its connection.
const ANSWER_MAX: u64 = 1 << 20;

/// A receiver sends without end.
#[derive(Debug, thiserror::Error)]
#[error("it sent over {} KiB for one answer", ANSWER_MAX >> 10)]
pub(in crate::delivery) struct Endless;

/// The bytes that one connection has brought in, after decryption. Clones count for the same connection.
#[derive(Debug, Clone, Default)]
pub(in crate::delivery) struct Traffic {
    received: Arc<AtomicU64>,
    /// `received` when the last answer was complete; 0 before that.
    settled: Arc<AtomicU64>,
}

impl Traffic {
    /// Notes that an answer was read to its end: whatever comes now belongs to the next request.
    pub(in crate::delivery) fn settle(&self) {
        self.settled.store(self.received.load(Ordering::Acquire), Ordering::Release);
    }

    /// Counts what came in; answers whether that is still within bounds.
    fn receive(&self, count: usize) -> bool {
        let received = self.received.fetch_add(count as u64, Ordering::AcqRel) + count as u64;
        received - self.settled.load(Ordering::Acquire).min(received) <= ANSWER_MAX
    }

    /// Whether the connection has carried an answer, and nothing since.
    pub(in crate::delivery) fn is_quiet_since_an_answer(&self) -> bool {
        let settled = self.settled.load(Ordering::Acquire);
        settled > 0 && settled == self.received.load(Ordering::Acquire)
    }
}

/// A connection whose traffic is counted. Hands its [`Traffic`] to the HTTP client, which gives it back with every
/// response and error.
pub(in crate::delivery) struct Counted<S> {
    stream: S,
    traffic: Traffic,
}

impl<S: Connection> Counted<S> {
    pub(super) fn new(stream: S) -> Counted<S> {
        Counted { stream, traffic: Traffic::default() }
    }
}

impl<S: Connection> Connection for Counted<S> {
    fn connected(&self) -> Connected {
        self.stream.connected().extra(self.traffic.clone())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        if !self.traffic.receive(count) {
            return Poll::Ready(Err(io::Error::other(Endless)));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn quiet_means_an_answer_and_then_nothing() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = Counted { stream: near, traffic: Traffic::default() };
        let traffic = near.traffic.clone();
        assert!(!traffic.is_quiet_since_an_answer(), "nothing came yet");
        traffic.settle();
        assert!(!traffic.is_quiet_since_an_answer(), "an answer has at least one byte");
        far.write_all(b"answer").await.unwrap();
        near.read_exact(&mut [0; 6]).await.unwrap();
        assert!(!traffic.is_quiet_since_an_answer(), "the answer may go on");
        traffic.settle();
        near.write_all(b"request").await.unwrap();
        assert!(traffic.is_quiet_since_an_answer());
        far.write_all(b"H").await.unwrap();
        near.read_exact(&mut [0]).await.unwrap();
        assert!(!traffic.is_quiet_since_an_answer());
    }

    #[test]
    fn every_answer_has_a_bound_of_its_own() {
        let traffic = Traffic::default();
        let bound = usize::try_from(ANSWER_MAX).unwrap();
        assert!(traffic.receive(bound));
        traffic.settle();
        assert!(traffic.receive(bound) && !traffic.receive(1));
    }
}
