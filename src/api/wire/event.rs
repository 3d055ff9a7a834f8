//! Events as they come in. PURE but for the id that is made where none was given.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use uuid::Uuid;

use super::Members;
use crate::model::{Event, EventId, EventType, OrgId};
use crate::serving::problem::Problem;

/// The most bytes in an attribute's name and value.
pub(super) const ATTRIBUTE_NAME_MAX: usize = 64;
const ATTRIBUTE_VALUE_MAX: usize = 1024;

/// Reads the body of one event.
pub(in crate::api) fn read_event(body: &Bytes, attributes_max: usize) -> Result<Event, Problem> {
    const KNOWN: &[&str] = &["type", "payload", "id", "attributes"];
    event(&Members::parse(body, KNOWN)?, body, attributes_max)
}

/// One line of an NDJSON stream: an event and its org, which is looked up while the line is still borrowed.
pub(in crate::api) struct EventLine<'a> {
    members: Members<'a>,
    line: &'a Bytes,
    org: Cow<'a, str>,
}

impl<'a> EventLine<'a> {
    /// Reads a line as far as the name of its org.
    pub(in crate::api) fn parse(line: &'a Bytes) -> Result<EventLine<'a>, Problem> {
        const KNOWN: &[&str] = &["org", "type", "payload", "id", "attributes"];
        let members = Members::parse(line, KNOWN)?;
        let org = members.text("org")?.ok_or_else(|| members.missing("org", "the org's name"))?;
        Ok(EventLine { members, line, org })
    }

    /// The org's name as it was given.
    pub(in crate::api) fn org_name(&self) -> &str {
        &self.org
    }

    /// The org's name, checked.
    pub(in crate::api) fn org_id(&self) -> Result<OrgId, Problem> {
        self.org.parse().map_err(|rule: crate::model::InvalidName| Problem::invalid("/org", rule.to_string()))
    }

    /// The id that the producer gave, if it can be one.
    pub(in crate::api) fn id(&self) -> Option<EventId> {
        self.members.parsed("id").ok().flatten()
    }

    /// The event.
    pub(in crate::api) fn event(&self, attributes_max: usize) -> Result<Event, Problem> {
        event(&self.members, self.line, attributes_max)
    }
}

fn event(members: &Members<'_>, text: &Bytes, attributes_max: usize) -> Result<Event, Problem> {
    let event_type: EventType =
        members.parsed("type")?.ok_or_else(|| members.missing("type", "the event's type"))?;
    let payload = members.raw("payload").ok_or_else(|| members.missing("payload", "any JSON value"))?;
    let given: Option<EventId> = members.parsed("id")?;
    Ok(Event {
        id_given: given.is_some(),
        id: match given {
            Some(id) => id,
            None => fresh_id()?,
        },
        event_type,
        // The very bytes of the member, without a copy.
        payload: text.slice_ref(payload.get().as_bytes()),
        attributes: attributes(members, attributes_max)?,
    })
}

/// Values beside a payload.
pub(super) fn attributes(members: &Members<'_>, max: usize) -> Result<BTreeMap<String, String>, Problem> {
    let pairs = members.texts("attributes")?;
    if pairs.len() > max {
        return Err(members.invalid("attributes", format_args!("at most {max} can be given")));
    }
    for (name, value) in &pairs {
        let shown: String = name.chars().take(32).collect();
        if !is_attribute_name(name) {
            let rule = format!(
                "the name \"{}\" must be 1 to {ATTRIBUTE_NAME_MAX} characters of A-Z a-z 0-9 . _ -",
                shown.escape_debug()
            );
            return Err(members.invalid("attributes", rule));
        }
        if value.len() > ATTRIBUTE_VALUE_MAX {
            let rule = format!("the value of \"{shown}\" has over {ATTRIBUTE_VALUE_MAX} bytes");
            return Err(members.invalid("attributes", rule));
        }
        if value.chars().any(char::is_control) {
            let rule = format!("the value of \"{shown}\" has a line break or another control character");
            return Err(members.invalid("attributes", rule));
        }
    }
    Ok(pairs.into_iter().collect())
}

/// A name that can stand in a template, a filter and a log line as it is.
pub(super) fn is_attribute_name(name: &str) -> bool {
    (1..=ATTRIBUTE_NAME_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// `evt_` and a UUID that sorts by time.
fn fresh_id() -> Result<EventId, Problem> {
    let mut text = String::with_capacity(36);
    text.push_str("evt_");
    text.push_str(Uuid::now_v7().simple().encode_lower(&mut Uuid::encode_buffer()));
    text.parse().map_err(|rule: crate::model::InvalidName| Problem::invalid("/id", rule.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::problem::Kind;

    #[track_caller]
    fn refused(body: &str, kind: Kind, field: &str) {
        let problem = read_event(&Bytes::copy_from_slice(body.as_bytes()), 2).unwrap_err();
        assert_eq!((problem.kind, problem.field.as_deref()), (kind, Some(field)), "{}", problem.detail);
    }

    #[test]
    fn the_payload_is_kept_byte_for_byte_and_without_a_copy() {
        let body = Bytes::from_static(b"{\"type\":\"a.b\",\"payload\": {\"z\" : 1e2,\t\"a\":[ 0.10 ]} }");
        let event = read_event(&body, 32).unwrap();
        assert_eq!(event.payload, "{\"z\" : 1e2,\t\"a\":[ 0.10 ]}");
        assert!(body.as_ptr_range().contains(&event.payload.as_ptr()));
        assert!(event.id.as_str().starts_with("evt_") && event.id.as_str().len() == 36 && !event.id_given);
    }

    #[test]
    fn a_given_id_and_attributes_are_taken() {
        let body =
            Bytes::from_static(br#"{"type":"a","payload":null,"id":"order-7","attributes":{"user":"7"}}"#);
        let event = read_event(&body, 32).unwrap();
        assert!(event.id_given && event.id.as_str() == "order-7" && event.payload == "null");
        assert_eq!(event.attributes["user"], "7");
    }

    #[test]
    fn each_wrong_field_is_named() {
        refused(r#"{"payload":{}}"#, Kind::InvalidField, "/type");
        refused(r#"{"type":"a b","payload":{}}"#, Kind::InvalidField, "/type");
        refused(r#"{"type":7,"payload":{}}"#, Kind::InvalidField, "/type");
        refused(r#"{"type":"a"}"#, Kind::InvalidField, "/payload");
        refused(r#"{"type":"a","payload":1,"id":"a.b"}"#, Kind::InvalidField, "/id");
        refused(r#"{"type":"a","payload":1,"attributes":[]}"#, Kind::InvalidField, "/attributes");
        refused(r#"{"type":"a","payload":1,"attributes":{"u":7}}"#, Kind::InvalidField, "/attributes/u");
        refused(
            r#"{"type":"a","payload":1,"attributes":{"a":"","b":"","c":""}}"#,
            Kind::InvalidField,
            "/attributes",
        );
        refused(r#"{"type":"a","payload":1,"org":"acme"}"#, Kind::UnknownField, "/org");
    }

    #[test]
    fn attributes_are_plain_names_and_plain_text() {
        let long = format!("\"{}\":\"\"", "k".repeat(65));
        for attribute in
            ["\"\":\"\"", r#""a b":"x""#, r#""a\u0000":"x""#, r#""ä":"x""#, r#""a":"x\ny""#, &long]
        {
            let body = format!(r#"{{"type":"a","payload":1,"attributes":{{{attribute}}}}}"#);
            refused(&body, Kind::InvalidField, "/attributes");
        }
    }
}
