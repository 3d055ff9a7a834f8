//! What the HTTP library refuses by itself gets an answer like every other: a problem that says what is wrong.
//!
//! The library writes a bare status line for a head that it cannot read, and nothing at all for one that does not come
//! in time. The first is held back, and in both cases the problem is written once the connection is ours again.

use std::io;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::response::IntoResponse as _;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, timeout_at};

use super::listen::{HEAD_BYTES_MAX, HEADERS_MAX};
use super::problem::{Kind, Problem};

/// Refusals are logged at most this often per socket: whoever sends garbage does not get to fill the log.
const LOG_PAUSE: Duration = Duration::from_secs(10);
/// How long, and for how many bytes, a peer whose request could not be read is listened to after its answer.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1 << 20;
/// The first bytes of a TLS handshake and of HTTP/2.
const TLS_HANDSHAKE: &[u8] = &[0x16, 3];
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A stream whose bare refusals are held back.
pub(super) struct HeldBack<S> {
    stream: S,
    /// The status of what was held back.
    refused: Option<StatusCode>,
    /// Something is half written: nothing else may follow it.
    stuck: bool,
}

impl<S: AsyncWrite + Unpin> HeldBack<S> {
    pub(super) fn new(stream: S) -> HeldBack<S> {
        HeldBack { stream, refused: None, stuck: false }
    }

    /// The problem to answer with, after the library gave up with `error` and left `unread` of the head; `None` where
    /// nobody asked for anything, or an answer is on its way already.
    pub(super) fn problem(&self, error: &hyper::Error, unread: &[u8]) -> Option<Problem> {
        if self.stuck {
            return None;
        }
        if let Some(status) = self.refused {
            return Some(match status {
                // The library calls a length that it cannot count with a head that is too large.
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE if !is_large(unread) => {
                    Problem::new(Kind::PayloadTooLarge, "no body of the announced length is accepted")
                }
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE | StatusCode::URI_TOO_LONG => {
                    Problem::new(Kind::HeadTooLarge, too_large())
                }
                _ if unread.starts_with(TLS_HANDSHAKE) => {
                    malformed("this looks like TLS; plain HTTP/1.1 is spoken here")
                }
                _ => malformed(format!("{error}; send HTTP/1.1")),
            });
        }
        if error.is_parse_version_h2() || unread.starts_with(HTTP2_PREFACE) {
            return Some(malformed("HTTP/2 is not spoken here; send HTTP/1.1"));
        }
        if unread.trim_ascii().is_empty() {
            return None;
        }
        if error.is_timeout() {
            return Some(Problem::new(Kind::RequestTimeout, "the request's head took too long to arrive"));
        }
        error.is_incomplete_message().then(|| malformed("the request ended inside its head"))
    }

    /// Writes the problem as the connection's last answer. A peer that does not take it is its own affair.
    pub(super) async fn answer(&mut self, problem: Problem) {
        let (head, body) = problem.into_response().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap_or_default();
        let mut text = format!("HTTP/1.1 {}\r\nconnection: close\r\n", head.status).into_bytes();
        for (name, value) in &head.headers {
            text.extend_from_slice(name.as_str().as_bytes());
            text.extend_from_slice(b": ");
            text.extend_from_slice(value.as_bytes());
            text.extend_from_slice(b"\r\n");
        }
        text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
        text.extend_from_slice(&body);
        let _gone = self.stream.write_all(&text).await;
        let _gone = self.stream.flush().await;
    }

    /// Ends what is sent, so that the peer knows that nothing was cut off: within TLS that is said.
    pub(super) async fn end(&mut self) {
        let _gone = self.stream.shutdown().await;
    }

    /// Reads and drops what the peer is still saying, for a moment: over TCP a connection that is closed with something
    /// unread takes along the answer that is on its way.
    pub(super) async fn linger(&mut self)
    where
        S: AsyncRead,
    {
        self.end().await;
        let deadline = Instant::now() + LINGER_TIME;
        let (mut dropped, mut buffer) = (0, vec![0; 4096]);
        while let Ok(Ok(read @ 1..)) = timeout_at(deadline, self.stream.read(&mut buffer)).await {
            dropped += read;
            if dropped > LINGER_BYTES {
                return;
            }
        }
    }

    /// Holds `buffer` back if it is a bare refusal and nothing else.
    fn hold_back(&mut self, buffer: &[u8]) -> bool {
        let refused = if self.stuck { None } else { bare_refusal(buffer) };
        self.refused = self.refused.or(refused);
        refused.is_some()
    }

    fn note<T>(&mut self, whole: bool, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        self.stuck = !whole;
        written
    }
}

/// Whether what was read of a head is beyond a limit.
fn is_large(unread: &[u8]) -> bool {
    unread.len() >= HEAD_BYTES_MAX || memchr::memchr_iter(b'\n', unread).count() > HEADERS_MAX
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::MalformedRequest, detail)
}

fn too_large() -> String {
    format!("a request's head may have {} KiB and {HEADERS_MAX} fields", HEAD_BYTES_MAX >> 10)
}

/// The status of an answer that is a 4xx without a body. Ours have one.
fn bare_refusal(buffer: &[u8]) -> Option<StatusCode> {
    let head = buffer.strip_suffix(b"\r\n\r\n")?;
    let text = std::str::from_utf8(head).ok().filter(|text| !text.contains("\r\n\r\n"))?;
    let status = text.strip_prefix("HTTP/1.1 ").or_else(|| text.strip_prefix("HTTP/1.0 "))?.get(..3)?;
    let status = StatusCode::from_bytes(status.as_bytes()).ok().filter(StatusCode::is_client_error)?;
    text.lines().any(|line| line.eq_ignore_ascii_case("content-length: 0")).then_some(status)
}

impl<S: AsyncRead + Unpin> AsyncRead for HeldBack<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for HeldBack<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.hold_back(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        let whole = matches!(&written, Poll::Ready(Ok(count)) if *count == buf.len());
        self.note(whole, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs
            && self.hold_back(buf)
        {
            return Poll::Ready(Ok(buf.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        let length = bufs.iter().map(|buf| buf.len()).sum::<usize>();
        let whole = matches!(&written, Poll::Ready(Ok(count)) if *count == length);
        self.note(whole, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Not yet: an answer may follow. [`HeldBack::end`] is the end.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Logs one socket's refusals, not each of them.
#[derive(Default)]
pub(super) struct Refusals(Mutex<Logged>);

#[derive(Default)]
struct Logged {
    last: Option<Instant>,
    /// Refusals since the last line.
    since: u64,
}

impl Refusals {
    pub(super) fn note(&self, problem: &Problem) {
        let (kind, detail) = (problem.kind.code(), &problem.detail);
        tracing::debug!(kind, detail, "a request could not be read");
        if let Some(count) = self.due(Instant::now()) {
            tracing::info!(kind, detail, count, "requests could not be read; this is the last of them");
        }
    }

    /// How many to report, if it is time to.
    fn due(&self, now: Instant) -> Option<u64> {
        let mut logged = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logged.since += 1;
        if logged.last.is_some_and(|last| now.duration_since(last) < LOG_PAUSE) {
            return None;
        }
        logged.last = Some(now);
        Some(std::mem::take(&mut logged.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_answer_without_a_body_is_held_back() {
        let bare = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: x\r\n\r\n";
        assert_eq!(bare_refusal(bare), Some(StatusCode::BAD_REQUEST));
        let ok = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n";
        let ours = b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}";
        let head_only = b"HTTP/1.1 404 Not Found\r\ncontent-length: 20\r\n\r\n";
        let failed = b"HTTP/1.1 500 x\r\ncontent-length: 0\r\n\r\n";
        for other in [&ok[..], ours, head_only, failed, &bare[..20], b"", b"\r\n\r\n"] {
            assert_eq!(bare_refusal(other), None, "{other:?}");
        }
        // The end of another answer before it: both go out as they are.
        assert_eq!(bare_refusal(&[&ours[..], bare].concat()), None);
        assert_eq!(bare_refusal(&[b"\r\n\r\n", &bare[..]].concat()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_is_a_line_now_and_then() {
        let refusals = Refusals::default();
        assert_eq!(refusals.due(Instant::now()), Some(1));
        for _ in 0..1000 {
            assert_eq!(refusals.due(Instant::now()), None);
        }
        tokio::time::advance(LOG_PAUSE).await;
        assert_eq!(refusals.due(Instant::now()), Some(1001));
    }
}
