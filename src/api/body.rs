//! Reads JSON bodies of calls: the type, the size and the time that they may take.

use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use http::{HeaderMap, header};
use tokio::time::Instant;

use super::App;
use crate::serving::body::{Held, discard};
use crate::serving::problem::{Kind, Problem};

/// A JSON body, whole. Its part of the budget is held until it is dropped.
pub(super) struct JsonBody {
    pub(super) bytes: Bytes,
    _held: Held,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        let settings = app.settings();
        let deadline = Instant::now() + settings.body_timeout;
        let (parts, body) = request.into_parts();
        if let Err(problem) = accepts(&parts.headers, &["application/json"]) {
            discard(&parts.headers, body, deadline).await;
            return Err(problem);
        }
        let max = settings.max_body_bytes;
        let (bytes, held) = app.budget.read(&parts.headers, body, (max, None), deadline).await?;
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
