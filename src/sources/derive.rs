//! What a request becomes: by the rules of its source's catalogue, or as it is where that is wanted.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::read::Request;
use super::settings::Settings;
use crate::catalogue::IncomingRequest;
use crate::intake::requests::{self, DerivedRequest, RequestRefused};
use crate::intake::{self, SchemaViolation};
use crate::model::{Event, EventId, EventType, Source, UnixMs, Unmapped};
use crate::queue::{Append, Org};
use crate::serving::problem::{Kind, Problem};

/// Bytes of an attribute's value, as of those that come with events.
const ATTRIBUTE_MAX: usize = 1024;

/// What a request comes to.
#[derive(Debug)]
pub(super) struct Derived {
    /// Its events, in order; none if it means nothing, or only asked.
    pub(super) events: Vec<Append>,
    /// What is said to whoever asked.
    pub(super) answer: Option<String>,
    /// What is wrong with payloads that are accepted all the same.
    pub(super) warnings: Vec<SchemaViolation>,
}

/// The request whose events have ids made of `id`.
pub(super) fn derive(
    settings: &Settings,
    (org, source): (&Arc<Org>, &Source),
    request: &Request,
    id: &EventId,
    at: UnixMs,
) -> Result<Derived, Problem> {
    let attributes = attributes(source, request);
    let mut derived = match &source.catalogue {
        None => DerivedRequest { events: Vec::new(), warnings: Vec::new(), answer: None },
        Some(product) => {
            let incoming = IncomingRequest {
                product,
                kind: source.kind.code(),
                source: source.id.as_str(),
                event: request.event.as_deref(),
                id: request.id.as_deref(),
                body: &request.json,
                at,
                org: &org.id,
                org_number: org.number,
            };
            requests::derive(&settings.rules(), &settings.limits, org, id, &attributes, &incoming)
                .map_err(Problem::of_request)?
        }
    };
    if derived.events.is_empty() && derived.answer.is_none() && source.unmapped == Unmapped::Keep {
        let kept = keep(settings, (org, source), request, id, attributes, at)?;
        derived.warnings.extend(kept.warning);
        derived.events.push(kept.append);
    }
    let DerivedRequest { events, warnings, answer } = derived;
    Ok(Derived { events, answer, warnings })
}

/// The request itself as an event.
fn keep(
    settings: &Settings,
    (org, source): (&Arc<Org>, &Source),
    request: &Request,
    id: &EventId,
    attributes: BTreeMap<String, String>,
    at: UnixMs,
) -> Result<intake::Accepted, Problem> {
    if request.json.len() > settings.limits.max_payload_bytes {
        let detail = format!(
            "an event has at most {} bytes: this body cannot be kept whole as one",
            settings.limits.max_payload_bytes
        );
        return Err(Problem::new(Kind::PayloadTooLarge, detail));
    }
    let event = Event {
        id: EventId::of_change(id, 1),
        id_given: false,
        event_type: kept_type(source)?,
        payload: request.json.clone(),
        attributes,
    };
    intake::accept(&settings.rules(), org, event, at)
        .map_err(|refused| Problem::of_request(RequestRefused::Event { refused, field: None }))
}

fn kept_type(source: &Source) -> Result<EventType, Problem> {
    format!("inbound.{}", source.kind.code())
        .parse()
        .map_err(|rule: String| Problem::new(Kind::Internal, rule))
}

/// What webhooks can match on, whatever the request became: where it came in and what its sender calls it.
fn attributes(source: &Source, request: &Request) -> BTreeMap<String, String> {
    let fits = |value: &String| value.len() <= ATTRIBUTE_MAX && !value.chars().any(char::is_control);
    let mut attributes = BTreeMap::from([
        ("source".to_owned(), source.id.as_str().to_owned()),
        ("kind".to_owned(), source.kind.code().to_owned()),
    ]);
    if let Some(event) = request.event.clone().filter(fits) {
        attributes.insert("event".to_owned(), event);
    }
    attributes
}
