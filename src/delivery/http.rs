//! Sends a request over a kept connection, or a new one.
//!
//! A receiver may close a kept connection at the very moment at which the next request is written to it: nobody's fault,
//! and common behind load balancers. Such a request is sent once more, on a new connection, as the same attempt. Any
//! other request is sent once.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Extensions, Request, Response};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::connector::tls::Connector;
use super::connector::traffic::Traffic;
use super::failure::{classify, was_not_taken};
use crate::model::FailReason;

/// How long a connection is kept for the next request. Below the 5 s after which the commonest servers close an idle
/// connection, since a request sent just then may have to be sent again.
const IDLE_MAX: Duration = Duration::from_secs(4);
/// The most that a response head may take, in bytes.
const HEAD_MAX: usize = 64 * 1024;
/// The same in HTTP/2, where it is counted with 32 bytes more per header.
const HEAD_MAX_IN_HTTP2: u32 = 64 * 1024;
/// The most headers that a response may have.
const HEADERS_MAX: usize = 100;

/// What a receiver may send before we have taken it, per HTTP/2 stream and connection, in bytes: as much as is read of a
/// body.
const WINDOW: u32 = 64 * 1024;
/// The largest HTTP/2 frame that we take, in bytes: the least that can be asked for.
const FRAME_MAX: u32 = 16 * 1024;

/// Sends requests with one set of settings; cheap to clone. Clones share connections.
#[derive(Clone)]
pub(super) struct Http {
    kept: Client<Connector, Payload>,
    /// Keeps no connection, so each of its requests makes one.
    fresh: Client<Connector, Payload>,
    /// The proxy that connections go through: `host:port`.
    through: Option<Arc<str>>,
    /// Whether HTTP/2 is offered.
    http2: bool,
}

impl Http {
    pub(super) fn new(connector: Connector, through: Option<String>, http2: bool) -> Http {
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_MAX)
            .http1_max_buf_size(HEAD_MAX)
            .http1_max_headers(HEADERS_MAX)
            .http2_max_header_list_size(HEAD_MAX_IN_HTTP2)
            .http2_max_frame_size(FRAME_MAX)
            .http2_initial_stream_window_size(WINDOW)
            .http2_initial_connection_window_size(WINDOW);
        let kept = builder.build(connector.clone());
        let fresh = builder.pool_max_idle_per_host(0).build(connector);
        Http { kept, fresh, through: through.map(Into::into), http2 }
    }

    /// Whether HTTP/2 is offered.
    pub(super) fn offers_http2(&self) -> bool {
        self.http2
    }

    /// The proxy that connections go through: `host:port`.
    pub(super) fn through(&self) -> Option<&str> {
        self.through.as_deref()
    }

    /// Sends a request and waits for the head of the response. `connected` tells meanwhile whether there is a connection.
    /// Has no deadline of its own.
    pub(super) async fn send(
        &self,
        request: Request<Bytes>,
        connected: &Arc<AtomicBool>,
    ) -> Result<Response<Incoming>, Error> {
        let mut again = request.clone();
        let mut request = carrying(request, connected);
        let mut given_up = GivenUp(self.http2.then(|| capture_connection(&mut request)));
        let answered = self.kept.request(request).await;
        given_up.0 = None;
        let error = match answered {
            Err(error) if was_closed_meanwhile(&error) || was_not_taken(&error) => error,
            other => return other,
        };
        tracing::debug!(error = %classify(&error, "the receiver").detail, "sent again on a new connection");
        connected.store(false, Ordering::Relaxed);
        again.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        self.fresh.request(carrying(again, connected)).await
    }
}

/// A request over HTTP/2 that nobody waits for any more says nothing of its connection, which may be dead: no other request
/// is sent over it, while those that are on their way may still be answered. (Over HTTP/1.1 it takes its connection with
/// it.)
struct GivenUp(Option<CaptureConnection>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        let Some(captured) = self.0.take() else { return };
        if let Some(connection) = &*captured.connection_metadata()
            && connection.is_negotiated_h2()
        {
            connection.poison();
        }
    }
}

/// The traffic of the connection that a response came over.
pub(super) fn traffic(response: &Response<Incoming>) -> Option<Traffic> {
    response.extensions().get::<Traffic>().cloned()
}

/// Whether a request was lost with a connection that had carried an answer before and not one byte since. Says nothing of
/// HTTP/2, where other requests are on their way over the same connection.
fn was_closed_meanwhile(error: &Error) -> bool {
    let mut extras = Extensions::new();
    match error.connect_info() {
        Some(connection) if !connection.is_negotiated_h2() => connection.get_extras(&mut extras),
        _ => return false,
    }
    extras.get::<Traffic>().is_some_and(Traffic::is_quiet_since_an_answer)
        && classify(error, "").reason == FailReason::Reset
}

fn carrying(request: Request<Bytes>, connected: &Arc<AtomicBool>) -> Request<Payload> {
    request.map(|payload| Payload { rest: Some(payload), connected: connected.clone() })
}

/// A payload on its way out. Notes when it is first asked for: by then there is a connection.
struct Payload {
    rest: Option<Bytes>,
    connected: Arc<AtomicBool>,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.connected.store(true, Ordering::Relaxed);
        Poll::Ready(self.rest.take().filter(|rest| !rest.is_empty()).map(|rest| Ok(Frame::data(rest))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.as_ref().is_none_or(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.as_ref().map_or(0, |rest| rest.len() as u64))
    }
}
