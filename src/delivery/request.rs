//! The request of an attempt: headers and body. PURE: values in, a value out; the same delivery gives the same bytes.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Uri};
use url::Url;
use zeroize::Zeroizing;

use super::sign;
use super::template::Addressed;
use crate::model::{Authorization, Method as Asks, PASSWORD_HEADER, Secret, Signature, UnixMs};

/// The event's id, the same on every attempt and redrive.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// Unix seconds of this attempt.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// The signatures of Standard Webhooks, separated by spaces.
pub const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
/// 1 for the first attempt.
pub const POSTRIDER_ATTEMPT: HeaderName = HeaderName::from_static("postrider-attempt");
/// The delivery's number within its org.
pub const POSTRIDER_SEQUENCE: HeaderName = HeaderName::from_static("postrider-sequence");
/// `true` where the delivery is a replay; else it is not sent.
pub const POSTRIDER_REPLAY: HeaderName = HeaderName::from_static("postrider-replay");
/// The source that the event came from, where it came from one.
pub const POSTRIDER_SOURCE: HeaderName = HeaderName::from_static("postrider-source");
/// What the sender of that source calls what happened.
pub const POSTRIDER_EVENT: HeaderName = HeaderName::from_static("postrider-event");

const USER_AGENT_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("postrider/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for the headers above and `host`, so that the map seldom grows.
const HEADER_COUNT: usize = 13;

/// Why no request can be made of a webhook. Saving it should have been refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// The password, or the name of its header.
    #[error("the webhook's password cannot be sent as a header")]
    Password,
    /// A user name, token or value, or the name of its header.
    #[error("the authorization cannot be sent as a header")]
    Authorization,
    /// The name or value of a static header.
    #[error("a header of the webhook or its client has a name or value that cannot be sent")]
    Header,
    /// No secret that signs, or no header to put the signature in.
    #[error("the request cannot be signed: {0}")]
    Signature(&'static str),
}

/// The request of attempt `number`, made at `at`. `host` is added where it is written.
///
/// # Errors
/// [`InvalidWebhook`] if the webhook or its client was saved without the checks of the API.
pub fn build(addressed: &Addressed<'_>, number: u32, at: UnixMs) -> Result<Request<Bytes>, InvalidWebhook> {
    let Addressed { delivery, webhook, uri, .. } = addressed;
    let bodiless = webhook.method == Asks::Get;
    let body = if bodiless { Bytes::new() } else { delivery.payload.clone() };
    let mut headers = HeaderMap::with_capacity(HEADER_COUNT);
    if !webhook.faithful {
        headers.insert(USER_AGENT, USER_AGENT_VALUE);
        headers.insert(POSTRIDER_ATTEMPT, HeaderValue::from(number));
        headers.insert(POSTRIDER_SEQUENCE, HeaderValue::from(delivery.sequence.0));
        if delivery.replay {
            headers.insert(POSTRIDER_REPLAY, HeaderValue::from_static("true"));
        }
        origin(&mut headers, &delivery.attributes);
    }
    if !bodiless {
        headers.insert(CONTENT_TYPE, JSON);
    }
    configured(&mut headers, addressed)?;
    if bodiless {
        // A client's header for its other webhooks: here it would describe nothing.
        headers.remove(CONTENT_TYPE);
    } else {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    if !webhook.faithful || matches!(webhook.signature.as_deref(), Some(Signature::Standard { .. })) {
        // An event id is letters, digits, `_` and `-`: always a valid header value.
        if let Ok(id) = HeaderValue::from_str(delivery.event_id.as_str()) {
            headers.insert(WEBHOOK_ID, id);
        }
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.seconds()));
    }
    proof(&mut headers, addressed, at, &body)?;
    let mut request = Request::new(body);
    *request.method_mut() = method(webhook.method);
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

/// Where an event came from: a payload that is kept as it came says it nowhere.
fn origin(headers: &mut HeaderMap, attributes: &BTreeMap<String, String>) {
    for (name, attribute) in [(POSTRIDER_SOURCE, "source"), (POSTRIDER_EVENT, "event")] {
        let value = attributes.get(attribute).map(|text| HeaderValue::from_bytes(text.as_bytes()));
        if let Some(Ok(value)) = value {
            headers.insert(name, value);
        }
    }
}

fn method(asked: Asks) -> Method {
    match asked {
        Asks::Get => Method::GET,
        Asks::Post => Method::POST,
        Asks::Put => Method::PUT,
        Asks::Patch => Method::PATCH,
        Asks::Delete => Method::DELETE,
    }
}

/// The static headers: the webhook's replace its client's.
fn configured(headers: &mut HeaderMap, addressed: &Addressed<'_>) -> Result<(), InvalidWebhook> {
    let shared = addressed.client.map(|client| &client.headers);
    for (name, value) in shared.into_iter().chain([&addressed.webhook.headers]).flat_map(|headers| &headers.0)
    {
        headers.insert(
            header_name(name).ok_or(InvalidWebhook::Header)?,
            secret_value(value.expose()).ok_or(InvalidWebhook::Header)?,
        );
    }
    Ok(())
}

/// What shows the receiver that the request is ours.
fn proof(
    headers: &mut HeaderMap,
    addressed: &Addressed<'_>,
    at: UnixMs,
    body: &[u8],
) -> Result<(), InvalidWebhook> {
    let webhook = addressed.webhook;
    if let Some(password) = &webhook.password {
        let name = header_name(webhook.password_header.as_deref().unwrap_or(PASSWORD_HEADER));
        headers.insert(
            name.ok_or(InvalidWebhook::Password)?,
            secret_value(password.expose()).ok_or(InvalidWebhook::Password)?,
        );
    }
    if let Some(authorization) = authorization(addressed) {
        let (name, value) = authorize(authorization, body).ok_or(InvalidWebhook::Authorization)?;
        headers.insert(name, value);
    }
    if let Some(signature) = &webhook.signature {
        let name = match &**signature {
            Signature::Standard { .. } => Some(WEBHOOK_SIGNATURE),
            Signature::Hex { header, .. } => header_name(header),
        };
        let name = name.ok_or(InvalidWebhook::Signature("its header has no valid name"))?;
        let signed = sign::signature(signature, addressed.delivery.event_id.as_str(), at, body)
            .map_err(InvalidWebhook::Signature)?;
        let value = HeaderValue::try_from(signed);
        headers.insert(name, value.map_err(|_| InvalidWebhook::Signature("it is no header value"))?);
    }
    Ok(())
}

/// The authorization that is sent: the webhook's, or its client's if it has none of its own.
pub(super) fn authorization<'a>(addressed: &Addressed<'a>) -> Option<&'a Authorization> {
    let shared = || addressed.client.and_then(|client| client.authorization.as_deref());
    addressed.webhook.authorization.as_deref().or_else(shared)
}

fn authorize(authorization: &Authorization, body: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (name, text) = match authorization {
        Authorization::Basic { username, password } => (AUTHORIZATION, basic(username, password)),
        Authorization::Bearer { token } => (AUTHORIZATION, format!("Bearer {}", token.expose())),
        Authorization::Header { name, value } => (header_name(name)?, value.expose().to_owned()),
        Authorization::HmacSha256 { secret } => (AUTHORIZATION, sign::hmac_authorization(secret, body)),
    };
    Some((name, secret_value(&Zeroizing::new(text))?))
}

/// `Basic <base64 of username:password>`.
pub(super) fn basic(username: &str, password: &Secret) -> String {
    let pair = Zeroizing::new(format!("{username}:{}", password.expose()));
    format!("Basic {}", STANDARD.encode(pair.as_bytes()))
}

fn header_name(text: &str) -> Option<HeaderName> {
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// A value that is never shown.
fn secret_value(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn uri(url: &Url) -> Option<Uri> {
    let uri = Uri::try_from(url.as_str()).ok()?;
    // One parser decides what is dialled: the two must agree on the host, to the letter.
    (uri.host() == url.host_str()).then_some(uri)
}

/// Whether a webhook may have this URL: absolute http or https, no user info, no fragment.
///
/// # Errors
/// A sentence that says what would be right.
pub fn check_url(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// (or http:// where the configuration allows it)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…): receivers never see it");
    }
    if url.port() == Some(0) {
        return Err("must not use port 0");
    }
    if uri(url).is_none() {
        return Err("has a host, path or query that HTTP cannot carry");
    }
    Ok(())
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
