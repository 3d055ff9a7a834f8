//! The events that rules fired, each checked and matched as if it had been handed in: what changes and requests have in
//! common. PURE.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;

use super::{Refused, Rules, SchemaViolation, accept};
use crate::catalogue::Fired;
use crate::catalogue::rules::Refused as ByRules;
use crate::model::{Event, EventId, UnixMs};
use crate::queue::{Append, Org};

/// Payload bytes of all deliveries of a change or request that has several events: it is one commit of the store, which is
/// not to grow beyond what the store was measured with. One event alone may have as many as events have.
const BYTES_MAX: usize = 4 << 20;

/// What a change comes to, or a request.
#[derive(Debug)]
pub struct Derived {
    /// Its events, in order.
    pub events: Vec<Append>,
    /// What is wrong with their payloads, where that is no reason to refuse them.
    pub warnings: Vec<SchemaViolation>,
}

/// Why it is refused, whole. `R` is why its rules refuse it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotDerived<R> {
    /// By its rules.
    Rules(R),
    /// Because of one of its events.
    Event {
        /// Why.
        refused: Refused,
        /// Where in what came what is wrong stands, if it stands there at all: a JSON Pointer.
        field: Option<String>,
    },
}

/// What events are derived from.
pub(super) struct Origin<'a> {
    pub(super) org: &'a Arc<Org>,
    /// The events' ids are made of it.
    pub(super) id: &'a EventId,
    /// What each event has beside its payload.
    pub(super) attributes: &'a BTreeMap<String, String>,
    pub(super) at: UnixMs,
    /// What came, each part by its place.
    pub(super) parts: &'a [(&'static str, Option<&'a str>)],
}

/// What fired, as events.
pub(super) fn events<R: From<ByRules>>(
    rules: &Rules<'_>,
    origin: &Origin<'_>,
    fired: Vec<Fired>,
) -> Result<Derived, NotDerived<R>> {
    let mut derived = Derived { events: Vec::with_capacity(fired.len()), warnings: Vec::new() };
    let (mut bytes, several) = (0, fired.len() > 1);
    for (index, fired) in fired.into_iter().enumerate() {
        let payload = fired.payload.clone();
        let event = Event {
            id: EventId::of_change(origin.id, index + 1),
            id_given: false,
            event_type: fired.event_type,
            payload: fired.payload,
            attributes: origin.attributes.clone(),
        };
        let accepted = accept(rules, origin.org, event, origin.at).map_err(|refused| {
            let field = match &refused {
                Refused::Schema(broken) => place_in(origin.parts, &payload, &broken.violation.pointer),
                Refused::NotEntitled(_) => None,
            };
            NotDerived::Event { refused, field }
        })?;
        bytes += payload.len() * accepted.append.webhooks.len().max(1);
        if several && bytes > BYTES_MAX {
            let what =
                format!("the payloads of its deliveries take more than {} MiB together", BYTES_MAX >> 20);
            return Err(NotDerived::Rules(ByRules::TooCostly(what).into()));
        }
        derived.events.push(accepted.append);
        derived.warnings.extend(accepted.warning);
    }
    Ok(derived)
}

/// Where in what came the value stands that is at `pointer` in the payload: within a part that the payload has as it is,
/// else at the same place in one of the parts.
fn place_in(parts: &[(&str, Option<&str>)], payload: &[u8], pointer: &str) -> Option<String> {
    let payload = std::str::from_utf8(payload).ok()?;
    let steps: Vec<&str> = pointer.split('/').skip(1).collect();
    let values = along(payload, &steps);
    for (depth, value) in values.iter().enumerate() {
        if let Some((name, _)) = parts.iter().find(|(_, text)| *text == Some(*value)) {
            let rest = steps.iter().skip(depth).flat_map(|step| ["/", step]);
            return Some(std::iter::once(*name).chain(rest).collect());
        }
    }
    if values.len() <= steps.len() || steps.is_empty() {
        return None;
    }
    let same = |(_, text): &&(&str, Option<&str>)| {
        let there = text.map(|text| along(text, &steps)).unwrap_or_default();
        there.len() == values.len() && there.last() == values.last()
    };
    parts.iter().find(same).map(|(name, _)| format!("{name}{pointer}"))
}

/// The value, and those inside it that the steps of a JSON Pointer lead to, as far as they are there.
fn along<'a>(value: &'a str, steps: &[&str]) -> Vec<&'a str> {
    let mut values = vec![value];
    let mut here = value;
    for step in steps {
        let name = step.replace("~1", "/").replace("~0", "~");
        let inside = if here.starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(here).unwrap_or_default();
            name.parse().ok().and_then(|index: usize| items.get(index).copied())
        } else {
            let members: HashMap<String, &RawValue> = serde_json::from_str(here).unwrap_or_default();
            members.get(&name).copied()
        };
        let Some(inside) = inside else { break };
        here = inside.get();
        values.push(here);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(payload: &str, pointer: &str, expected: Option<&str>) {
        let parts = [
            ("/new", Some(r#"{"id":2,"list":["a","b"],"a/b":{"~":3}}"#)),
            ("/old", Some(r#"{"id":1,"list":["a"]}"#)),
            ("/actor", None),
        ];
        assert_eq!(place_in(&parts, payload.as_bytes(), pointer).as_deref(), expected, "{payload} {pointer}");
    }

    #[test]
    fn what_is_wrong_with_a_payload_is_shown_in_what_came() {
        let new = r#"{"id":2,"list":["a","b"],"a/b":{"~":3}}"#;
        check(new, "", Some("/new"));
        check(new, "/list/1", Some("/new/list/1"));
        check(new, "/a~1b/~0", Some("/new/a~1b/~0"));
        check(r#"{"id":1,"list":["a"]}"#, "/missing", Some("/old/missing"));
        let wrapped = format!(r#"{{"type":"T","was":{{"id":1,"list":["a"]}},"data":{new}}}"#);
        check(&wrapped, "/data/list/1", Some("/new/list/1"));
        check(&wrapped, "/was/id", Some("/old/id"));
        check(&wrapped, "/type", None);
        check(&wrapped, "", None);
        // As `set` leaves it: what was not set stands where it stood.
        let set = r#"{"id":2,"list":["a","b"],"a/b":{"~":3},"done":true}"#;
        check(set, "/list/0", Some("/new/list/0"));
        check(set, "/id", Some("/new/id"));
        check(set, "/done", None);
        check(set, "/missing", None);
        check(set, "", None);
    }
}
