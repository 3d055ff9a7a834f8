//! Senders that send more than one shape, or have to be looked at twice. PURE.

use bytes::Bytes;

use super::form::Form;
use super::json::{Found, Place, pick};
use super::{Answer, Reading, Shape, Unreadable, copied, header_id, media_type, request, shape, text};
use crate::model::Source;
use crate::sources::Arrived;

/// Where senders of no standard say what happened; the first that is text counts.
const EVENTS: [Place; 3] = [&["type"], &["event_name"], &["event"]];

/// Slash commands and interactive components are forms, events are JSON.
pub(super) fn slack(arrived: &Arrived<'_>) -> Result<Reading, Unreadable> {
    if shape(arrived)? == Shape::Json {
        return slack_event(arrived.body);
    }
    let form = Form::read(arrived.body)?;
    if form.field("ssl_check") == Some("1") {
        return Ok(Reading::Probe(Answer { content_type: "text/plain", text: String::new() }));
    }
    if let Some(payload) = form.field("payload") {
        let [event, id] = pick(payload.as_bytes(), [&["type"], &["trigger_id"]])?;
        return Ok(request(text(event), text(id), copied(payload.as_bytes())));
    }
    let field = |name| form.field(name).map(str::to_owned);
    Ok(request(field("command"), field("trigger_id"), form.json()?))
}

/// Before the first event Slack wants a word repeated.
fn slack_event(body: &[u8]) -> Result<Reading, Unreadable> {
    let places: [Place; 4] = [&["type"], &["event", "type"], &["event_id"], &["challenge"]];
    let [outer, inner, id, challenge] = pick(body, places)?;
    let outer = text(outer);
    if outer.as_deref() == Some("url_verification") {
        let text = text(challenge)
            .ok_or_else(|| Unreadable::Body("challenge must be text, in a url_verification".to_owned()))?;
        return Ok(Reading::Probe(Answer { content_type: "text/plain", text }));
    }
    Ok(request(text(inner).or(outer), text(id), copied(body)))
}

/// JSON, or a form with the same JSON in one field.
pub(super) fn github(arrived: &Arrived<'_>) -> Result<Reading, Unreadable> {
    let event = arrived.header("X-GitHub-Event").map_err(Unreadable::Body)?.map(str::to_owned);
    let json: Bytes = match shape(arrived)? {
        Shape::Json => copied(arrived.body),
        Shape::Form => {
            let form = Form::read(arrived.body)?;
            let payload = form.only("payload").ok_or_else(|| {
                Unreadable::Body("the form must have one field, payload, with the JSON in it".to_owned())
            })?;
            copied(payload.as_bytes())
        }
    };
    let [] = pick(&json, [])?;
    if event.as_deref() == Some("ping") {
        return Ok(Reading::Probe(Answer {
            content_type: "application/json",
            text: r#"{"ok":true}"#.to_owned(),
        }));
    }
    Ok(request(event, header_id(arrived, "X-GitHub-Delivery")?, json))
}

/// Senders of no standard.
pub(super) fn anyone(source: &Source, arrived: &Arrived<'_>) -> Result<Reading, Unreadable> {
    // Some who send JSON call it text, as every HTTP library does by itself.
    let shape = match media_type(arrived)?.as_deref() {
        Some("text/plain") => Shape::Json,
        _ => shape(arrived)?,
    };
    let (event, json) = match shape {
        Shape::Json => {
            let found = pick(arrived.body, EVENTS)?;
            (found.into_iter().flatten().find_map(Found::text), copied(arrived.body))
        }
        Shape::Form => {
            let form = Form::read(arrived.body)?;
            let event = EVENTS.iter().flat_map(|place| *place).find_map(|name| form.field(name));
            (event.map(str::to_owned), form.json()?)
        }
    };
    let of = |name: &Option<Box<str>>| match name.as_deref() {
        Some(name) => Ok(arrived.header(name).map_err(Unreadable::Body)?.map(str::to_owned)),
        None => Ok(None),
    };
    let (said, id) = (of(&source.event_header)?, of(&source.id_header)?);
    Ok(request(said.or(event), id, json))
}
