//! A verified request as the rules see it: JSON text, what its sender calls the event, and what it calls the request. PURE.
//!
//! An id that is empty, longer than 256 bytes or has control characters names nothing, and so does such an event: the
//! request is then like one without.

mod form;
mod json;
mod senders;
#[cfg(test)]
mod tests;

use std::fmt;

use bytes::Bytes;
use http::HeaderMap;
use sha2::{Digest as _, Sha256};

use self::json::{Found, pick};
use super::Arrived;
use super::verify::{mac, stripe};
use crate::model::{Source, SourceKind};

/// The longest id, and the longest name of an event, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// A request that was verified, read.
#[derive(Debug)]
pub enum Reading {
    /// Nothing is to be done: the sender only looks whether someone is there, and gets this answer with 200.
    Probe(Answer),
    /// Something happened.
    Request(Request),
}

/// What a probe is answered with.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub text: String,
}

/// What the rules and the check for repeats work on.
#[derive(Clone, PartialEq, Eq)]
pub struct Request {
    /// What the sender calls what happened.
    pub event: Option<String>,
    /// What the sender calls this request, however often it sends it.
    pub id: Option<String>,
    /// What a repeat of it has in common with it; `None` if no repeat can be told.
    pub known_by: Option<String>,
    /// JSON text: the very bytes that came, or the object that a form means.
    pub json: Bytes,
}

impl fmt::Debug for Answer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Answer").field("content_type", &self.content_type).finish_non_exhaustive()
    }
}

/// Ids may be signatures, and JSON is the payload.
impl fmt::Debug for Request {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Request").field("event", &self.event).finish_non_exhaustive()
    }
}

/// Why a verified request cannot be read. Each says what would be right, and nothing of the body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The body is of a type that requests of this kind are not (415).
    #[error("{0}")]
    ContentType(String),
    /// The body, or a header that says what it is about, is not right (400).
    #[error("{0}")]
    Body(String),
}

/// What the content type says that a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Json,
    Form,
}

/// Reads a request. It must have been verified.
///
/// # Errors
/// Why it cannot be read: the sender's mistake, or that of whoever chose the kind of the source.
pub fn read(source: &Source, arrived: &Arrived<'_>) -> Result<Reading, Unreadable> {
    if arrived.body.is_empty() {
        return Err(Unreadable::Body("the body is empty: it must say what happened".to_owned()));
    }
    let encoded = arrived.header("content-encoding").map_err(Unreadable::ContentType)?;
    if encoded.is_some_and(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
        let rule = "content-encoding must not be set: a body is taken as it is, not compressed".to_owned();
        return Err(Unreadable::ContentType(rule));
    }
    Ok(match reading(source, arrived)? {
        Reading::Request(request) => {
            let known_by = known_by(source, arrived, request.id.as_deref());
            Reading::Request(Request { known_by, ..request })
        }
        probe @ Reading::Probe(_) => probe,
    })
}

/// What tells a repeat. An id that stands in a header, unsigned, and may be guessed counts together with the body: else
/// whoever has seen one request could send it again under the id of the next, which would then be taken for a repeat.
/// (GitHub's are unsigned too, and random.) What is signed at a time and names no id is known by both; without a time the
/// same bytes may well be sent twice and meant twice.
fn known_by(source: &Source, arrived: &Arrived<'_>, id: Option<&str>) -> Option<String> {
    let timed = |time: &str| {
        let digest = Sha256::new().chain_update(time).chain_update(".").chain_update(arrived.body).finalize();
        format!("at {}", mac::hex(&digest))
    };
    match (&source.kind, id) {
        (SourceKind::Hmac(_), Some(id)) => Some(format!("{} {id}", mac::hex(&Sha256::digest(arrived.body)))),
        (_, Some(id)) => Some(format!("id {id}")),
        (SourceKind::Slack, None) => arrived.header("X-Slack-Request-Timestamp").ok().flatten().map(timed),
        (SourceKind::Stripe, None) => stripe::signed_at(arrived).map(timed),
        (SourceKind::Hmac(proof), None) => {
            let name = proof.timestamp_header.as_deref()?;
            arrived.header(name).ok().flatten().map(timed)
        }
        (_, None) => None,
    }
}

fn reading(source: &Source, arrived: &Arrived<'_>) -> Result<Reading, Unreadable> {
    match &source.kind {
        SourceKind::Slack => senders::slack(arrived),
        SourceKind::Github => senders::github(arrived),
        SourceKind::Stripe => {
            only_json(arrived)?;
            let [event, id] = pick(arrived.body, [&["type"], &["id"]])?;
            Ok(request(text(event), text(id), copied(arrived.body)))
        }
        SourceKind::Standard => {
            only_json(arrived)?;
            let [event] = pick(arrived.body, [&["type"]])?;
            Ok(request(text(event), header_id(arrived, "webhook-id")?, copied(arrived.body)))
        }
        SourceKind::Hipchat => {
            only_json(arrived)?;
            let [event, id] = pick(arrived.body, [&["event"], &["item", "message", "id"]])?;
            Ok(request(text(event), id.map(Found::text_or_number), copied(arrived.body)))
        }
        SourceKind::Token | SourceKind::Hmac(_) => senders::anyone(source, arrived),
    }
}

/// Whether this is Slack's look at our certificate: a form with `ssl_check=1` that nobody claims to have signed. It is
/// answered with 200, and does nothing.
#[must_use]
pub fn is_ssl_check(headers: &HeaderMap, body: &[u8]) -> bool {
    let unsigned = !headers.contains_key("x-slack-signature");
    let arrived = Arrived { headers, query: None, body };
    unsigned
        && matches!(shape(&arrived), Ok(Shape::Form))
        && body.split(|byte| *byte == b'&').any(|segment| segment == b"ssl_check=1")
}

/// A body of no said type is tried as JSON.
fn shape(arrived: &Arrived<'_>) -> Result<Shape, Unreadable> {
    let Some(media_type) = media_type(arrived)? else { return Ok(Shape::Json) };
    match media_type.as_str() {
        "application/json" | "text/json" => Ok(Shape::Json),
        other if other.starts_with("application/") && other.ends_with("+json") => Ok(Shape::Json),
        "application/x-www-form-urlencoded" => Ok(Shape::Form),
        _ => Err(Unreadable::ContentType(
            "content-type must be application/json or application/x-www-form-urlencoded".to_owned(),
        )),
    }
}

/// What the content type says, without parameters and in lower case.
fn media_type(arrived: &Arrived<'_>) -> Result<Option<String>, Unreadable> {
    let said = arrived.header("content-type").map_err(Unreadable::ContentType)?;
    Ok(said.map(|said| said.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
}

fn only_json(arrived: &Arrived<'_>) -> Result<(), Unreadable> {
    match shape(arrived)? {
        Shape::Json => Ok(()),
        Shape::Form => Err(Unreadable::ContentType(
            "content-type must be application/json: this kind of source sends no forms".to_owned(),
        )),
    }
}

fn text(found: Option<Found>) -> Option<String> {
    found.and_then(Found::text)
}

/// An id from a header. One that means nothing for certain is refused: taken as no id, its request would run twice.
fn header_id(arrived: &Arrived<'_>, name: &str) -> Result<Option<String>, Unreadable> {
    Ok(arrived.header(name).map_err(Unreadable::Body)?.map(str::to_owned))
}

fn copied(body: &[u8]) -> Bytes {
    Bytes::copy_from_slice(body)
}

fn request(event: Option<String>, id: Option<String>, json: Bytes) -> Reading {
    let names = |text: &String| text.len() <= NAME_BYTES_MAX && !text.chars().any(char::is_control);
    // However long an id is, it tells a repeat.
    let short =
        |id: String| if names(&id) { id } else { format!("sha256:{}", mac::hex(&Sha256::digest(id))) };
    let event = event.filter(|event| !event.is_empty() && names(event));
    let id = id.filter(|id| !id.is_empty()).map(short);
    Reading::Request(Request { event, id, known_by: None, json })
}
