//! Reads request bodies: the type, the size and the time that they may take, and what all of them together may hold.
//!
//! A body that is too large is refused by its announced length, before any of it is kept. Rests up to `DISCARD_MAX` are
//! read and dropped first, because a client that is still writing when the connection closes may never see the answer.

use std::sync::Arc;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::{FromRequest, Request};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::{HeaderMap, header};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::problem::{Kind, Problem};

/// Bodies up to this size do not wait for the budget, so that a few large and slow ones never hold up the small ones.
const SMALL: usize = 16 << 10;
/// The most of a refused body that is read and dropped.
const DISCARD_MAX: u64 = 16 << 20;
/// Large bodies in progress may be done by then.
const RETRY_OVERLOADED_S: u32 = 1;

/// A JSON body, whole. Its part of the budget is held until it is dropped.
pub(super) struct JsonBody {
    pub(super) bytes: Bytes,
    _held: Option<OwnedSemaphorePermit>,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let settings = app.settings();
        let deadline = Instant::now() + settings.body_timeout;
        let (parts, body) = request.into_parts();
        let max = settings.max_body_bytes;
        let refused = match accepts(&parts.headers, &["application/json"]) {
            Ok(()) => announced(&body).filter(|length| *length > max as u64).map(|_| too_large(max)),
            Err(problem) => Some(problem),
        };
        if let Some(problem) = refused {
            discard(&parts.headers, body, deadline).await;
            return Err(problem);
        }
        let room = announced(&body).and_then(|length| usize::try_from(length).ok()).unwrap_or(max);
        let held = if room > SMALL { Some(hold(app, room, deadline).await?) } else { None };
        let bytes = collect(body.into_data_stream(), max, deadline).await?;
        Ok(JsonBody { bytes, _held: held })
    }
}

/// A JSON body that may be left out; then it reads as `{}`.
pub(super) struct OptionalJsonBody(pub(super) Bytes);

impl FromRequest<Arc<App>> for OptionalJsonBody {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(OptionalJsonBody(Bytes::from_static(b"{}")));
        }
        let body = JsonBody::from_request(request, app).await?;
        let blank = body.bytes.iter().all(u8::is_ascii_whitespace);
        Ok(OptionalJsonBody(if blank { Bytes::from_static(b"{}") } else { body.bytes }))
    }
}

/// Refuses a body of another type. A request that does not say is taken at its word: it is checked by reading it.
pub(super) fn accepts(headers: &HeaderMap, types: &[&str]) -> Result<(), Problem> {
    let Some(given) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let text = given.to_str().unwrap_or_default();
    let mut parts = text.split(';').map(str::trim);
    let known = parts.next().is_some_and(|kind| types.iter().any(|known| known.eq_ignore_ascii_case(kind)));
    let is_utf8 = parts.filter_map(|part| part.split_once('=')).all(|(name, value)| {
        !name.trim().eq_ignore_ascii_case("charset") || value.trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    if known && is_utf8 {
        return Ok(());
    }
    let detail = format!("send content-type: {} in UTF-8", types.first().copied().unwrap_or_default());
    Err(Problem::new(Kind::UnsupportedMediaType, detail))
}

/// The length that the sender announced.
fn announced(body: &Body) -> Option<u64> {
    body.size_hint().exact()
}

pub(super) fn too_large(max: usize) -> Problem {
    Problem::new(Kind::PayloadTooLarge, format!("at most {max} bytes are accepted"))
}

/// A part of the budget for all bodies together.
async fn hold(app: &App, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Problem> {
    let permits = u32::try_from(bytes.min(app.budget_bytes)).unwrap_or(u32::MAX);
    let held = timeout_at(deadline, app.budget.clone().acquire_many_owned(permits)).await;
    held.ok().and_then(Result::ok).ok_or_else(|| {
        let detail = "other large requests are still being read";
        Problem::new(Kind::Overloaded, detail).retry_after(RETRY_OVERLOADED_S)
    })
}

async fn collect(mut body: BodyDataStream, max: usize, deadline: Instant) -> Result<Bytes, Problem> {
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
            drop_rest(body, deadline).await;
            return Err(too_large(max));
        }
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

pub(super) fn timed_out() -> Problem {
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
pub(super) async fn discard(headers: &HeaderMap, body: Body, deadline: Instant) {
    let asks_first = headers.contains_key(header::EXPECT);
    if !asks_first && announced(&body).is_none_or(|length| length <= DISCARD_MAX) {
        drop_rest(body.into_data_stream(), deadline).await;
    }
}

async fn drop_rest(mut body: BodyDataStream, deadline: Instant) {
    let mut dropped = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(deadline, body.next()).await {
        dropped += frame.len() as u64;
        if dropped > DISCARD_MAX {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_is_json_in_utf8_or_not_said() {
        let check = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            accepts(&headers, &["application/json"]).is_ok()
        };
        for good in
            ["application/json", "Application/JSON; charset=UTF-8", "application/json;charset=\"utf-8\""]
        {
            assert!(check(good), "{good}");
        }
        for bad in [
            "text/plain",
            "application/jsonx",
            "application/json; charset=latin1",
            "",
            "application/x-www-form-urlencoded",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(accepts(&HeaderMap::new(), &["application/json"]).is_ok());
    }
}
