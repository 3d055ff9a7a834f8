//! Changes of entities as they come in, and what is answered. PURE but for the id that is made where none was given.

use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::Members;
use crate::model::{EventId, EventType, Sequence};
use crate::queue::{AppendedChange, AppendedEvent};
use crate::serving::problem::Problem;

const ENTITY_MAX: usize = 128;

/// A change as it came in. What is `null` is `None`.
#[derive(Debug)]
pub(in crate::api) struct ChangeIn {
    pub(in crate::api) entity: String,
    pub(in crate::api) old: Option<Box<RawValue>>,
    pub(in crate::api) new: Option<Box<RawValue>>,
    pub(in crate::api) actor: Option<Box<RawValue>>,
    pub(in crate::api) id: EventId,
    pub(in crate::api) id_given: bool,
}

/// Reads the body of a change.
pub(in crate::api) fn read_change(body: &[u8]) -> Result<ChangeIn, Problem> {
    const KNOWN: &[&str] = &["entity", "old", "new", "actor", "id"];
    let members = Members::parse(body, KNOWN)?;
    let entity = members.text("entity")?.ok_or_else(|| members.missing("entity", "what has changed"))?;
    // As long as an event's type may be: it is looked for among a few names.
    if entity.len() > ENTITY_MAX {
        return Err(members.invalid("entity", format_args!("must have at most {ENTITY_MAX} bytes")));
    }
    let (old, new) = (object(&members, "old")?, object(&members, "new")?);
    if old.is_none() && new.is_none() {
        let rule = "old and new are both null: give the entity as it was, as it is, or both";
        return Err(members.invalid("new", rule));
    }
    let given: Option<EventId> = members.parsed("id")?;
    Ok(ChangeIn {
        entity: entity.into_owned(),
        old,
        new,
        actor: given_value(&members, "actor"),
        id_given: given.is_some(),
        id: match given {
            Some(id) => id,
            None => fresh_id()?,
        },
    })
}

impl ChangeIn {
    /// All that must be the same when it comes again under its id.
    pub(in crate::api) fn content(&self) -> [&[u8]; 4] {
        [
            self.entity.as_bytes(),
            text(self.old.as_deref()),
            text(self.new.as_deref()),
            text(self.actor.as_deref()),
        ]
    }
}

fn text(value: Option<&RawValue>) -> &[u8] {
    value.map_or("null", RawValue::get).as_bytes()
}

fn given_value(members: &Members<'_>, name: &str) -> Option<Box<RawValue>> {
    members.raw(name).filter(|value| value.get() != "null").map(RawValue::to_owned)
}

/// An entity before or after: an object, or nothing.
fn object(members: &Members<'_>, name: &str) -> Result<Option<Box<RawValue>>, Problem> {
    let value = given_value(members, name);
    if value.as_ref().is_some_and(|value| !value.get().starts_with('{')) {
        return Err(members.invalid(name, "must be an object, or null where there is none"));
    }
    Ok(value)
}

/// `chg_` and a UUID that sorts by time.
fn fresh_id() -> Result<EventId, Problem> {
    let text = format!("chg_{}", Uuid::now_v7().simple());
    text.parse().map_err(|rule: crate::model::InvalidName| Problem::invalid("/id", rule.to_string()))
}

/// The answer to a change.
#[derive(Serialize)]
pub(in crate::api) struct ChangeOut {
    events: Vec<FiredOut>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

#[derive(Serialize)]
struct FiredOut {
    id: EventId,
    r#type: EventType,
    sequence: Option<Sequence>,
    deliveries: u32,
}

impl From<AppendedChange> for ChangeOut {
    fn from(AppendedChange { events, duplicate }: AppendedChange) -> ChangeOut {
        let out = |AppendedEvent { id, event_type, sequence, deliveries }| FiredOut {
            id,
            r#type: event_type,
            sequence,
            deliveries,
        };
        ChangeOut { events: events.into_iter().map(out).collect(), duplicate }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serving::problem::Kind;

    #[test]
    fn a_change_is_kept_as_it_came_in() {
        let body = br#"{"entity":"a.b", "old": {"x" : 1.0}, "new":null, "actor" : [ 7 ],"id":"c-1"}"#;
        let change = read_change(body).unwrap();
        assert_eq!(change.content(), [&b"a.b"[..], br#"{"x" : 1.0}"#, b"null", b"[ 7 ]"]);
        assert!(change.id_given && change.id.as_str() == "c-1" && change.new.is_none());
        let change = read_change(br#"{"entity":"a","new":{},"actor":null}"#).unwrap();
        assert_eq!(change.content(), [&b"a"[..], b"null", b"{}", b"null"]);
        assert!(!change.id_given && change.id.as_str().starts_with("chg_") && change.id.as_str().len() == 36);
    }

    #[track_caller]
    fn refused(body: &str, kind: Kind, field: &str) {
        let problem = read_change(body.as_bytes()).unwrap_err();
        assert_eq!((problem.kind, problem.field.as_deref()), (kind, Some(field)), "{}", problem.detail);
    }

    #[test]
    fn each_wrong_field_is_named() {
        refused(r#"{"new":{}}"#, Kind::InvalidField, "/entity");
        refused(r#"{"entity":7,"new":{}}"#, Kind::InvalidField, "/entity");
        refused(r#"{"entity":"a"}"#, Kind::InvalidField, "/new");
        refused(r#"{"entity":"a","old":null,"new":null}"#, Kind::InvalidField, "/new");
        refused(r#"{"entity":"a","old":[],"new":{}}"#, Kind::InvalidField, "/old");
        refused(r#"{"entity":"a","old":{},"new":"x"}"#, Kind::InvalidField, "/new");
        refused(r#"{"entity":"a","new":{},"id":"a.b"}"#, Kind::InvalidField, "/id");
        refused(r#"{"entity":"a","new":{},"type":"t"}"#, Kind::UnknownField, "/type");
    }

    #[test]
    fn an_answer_names_its_events_and_says_only_of_a_repeat_that_it_is_one() {
        let event = AppendedEvent {
            id: "c_1".parse().unwrap(),
            event_type: "a.b".parse().unwrap(),
            sequence: Some(Sequence(7)),
            deliveries: 2,
        };
        let silent = AppendedEvent { sequence: None, deliveries: 0, ..event.clone() };
        let text = |events: Vec<AppendedEvent>, duplicate| {
            serde_json::to_string(&ChangeOut::from(AppendedChange { events, duplicate })).unwrap()
        };
        assert_eq!(
            text(vec![event, silent], false),
            r#"{"events":[{"id":"c_1","type":"a.b","sequence":7,"deliveries":2},{"id":"c_1","type":"a.b","sequence":null,"deliveries":0}]}"#
        );
        assert_eq!(text(vec![], true), r#"{"events":[],"duplicate":true}"#);
    }
}
