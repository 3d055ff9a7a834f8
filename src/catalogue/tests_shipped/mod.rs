//! The catalogues that come along, held against the products' documents: which payloads their types take, and which
//! changes fire what.

mod absence;
mod payloads;
mod payloads_inbound;
mod requests;
mod timekit;
mod timetime;
mod trackingtime;

use serde_json::{Value, json};

use super::files::MAIN_FILE;
use super::rules::Refused;
use super::{Catalogue, Change, ChangeLimits, ChangeRefused, Fired, shipped_files};
use crate::model::{OrgNumber, UnixMs};

const LIMITS: ChangeLimits = ChangeLimits { max_events: 16, max_cost: 1_000_000, max_payload_bytes: 1 << 20 };
/// 2024-05-02 11:30:00 UTC.
const AT: UnixMs = UnixMs(1_714_649_400_000);

/// An example of a payload: `type` or `type@variant`.
#[track_caller]
fn example(name: &str) -> Value {
    let (event_type, variant) = name.split_once('@').unwrap_or((name, ""));
    let catalogue = Catalogue::shipped();
    let entry = catalogue.find(&event_type.parse().unwrap()).unwrap();
    let found = entry.examples.iter().find(|example| &*example.variant == variant);
    serde_json::from_str(&found.unwrap_or_else(|| panic!("no example {name}")).text).unwrap()
}

/// A value with these members set, each by its JSON Pointer. The object that a member is in must be there.
#[track_caller]
fn with<const N: usize>(mut value: Value, members: [(&str, Value); N]) -> Value {
    for (pointer, member) in members {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("nothing at {parent:?}"));
        match parent {
            Value::Array(items) => items[name.parse::<usize>().unwrap()] = member,
            _ => drop(parent.as_object_mut().unwrap().insert(name.to_owned(), member)),
        }
    }
    value
}

/// A value without the member at this JSON Pointer.
#[track_caller]
fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).and_then(Value::as_object_mut);
    let removed = parent.and_then(|parent| parent.remove(name));
    assert!(removed.is_some(), "nothing at {pointer}");
    value
}

/// A change, and what must come of it.
struct Case {
    what: &'static str,
    old: Value,
    new: Value,
    actor: Value,
    comes: Comes,
}

/// What comes of a change.
enum Comes {
    /// These events, in this order: type and payload.
    Events(Vec<(&'static str, Value)>),
    /// A refusal at this place.
    Refused(&'static str),
}

/// A change without an actor that fires these types, each with this payload.
fn fires(
    what: &'static str,
    old: Value,
    new: Value,
    events: impl IntoIterator<Item = (&'static str, Value)>,
) -> Case {
    Case { what, old, new, actor: Value::Null, comes: Comes::Events(events.into_iter().collect()) }
}

fn refused(what: &'static str, old: Value, new: Value, field: &'static str) -> Case {
    Case { what, old, new, actor: Value::Null, comes: Comes::Refused(field) }
}

/// Each case must come out as it says.
#[track_caller]
fn play(catalogue: &Catalogue, entity: &str, cases: &[Case]) {
    for case in cases {
        if let Err(found) = case.check(catalogue, entity) {
            panic!("{entity}, {}: {found}", case.what);
        }
    }
}

impl Case {
    /// What is otherwise than the case says. Each payload must be one that its type takes.
    fn check(&self, catalogue: &Catalogue, entity: &str) -> Result<(), String> {
        let text = |value: &Value| (!value.is_null()).then(|| value.to_string());
        let (old, new, actor) = (text(&self.old), text(&self.new), text(&self.actor));
        let change = Change {
            entity,
            old: old.as_deref(),
            new: new.as_deref(),
            actor: actor.as_deref(),
            id: "chg_1",
            at: AT,
            org: &"acme".parse().unwrap(),
            org_number: OrgNumber(7),
        };
        match (&self.comes, catalogue.fire(&change, &LIMITS)) {
            (Comes::Refused(expected), Err(ChangeRefused::Rules(Refused::Forbidden { field, .. })))
                if field == *expected =>
            {
                Ok(())
            }
            (Comes::Events(expected), Ok(events)) => {
                let came = events.iter().map(|event| payload(catalogue, entity, event));
                let came = came.collect::<Result<Vec<_>, _>>()?;
                let expected: Vec<_> =
                    expected.iter().map(|(name, payload)| ((*name).to_owned(), payload.clone())).collect();
                if came == expected { Ok(()) } else { Err(format!("{came:?} instead of {expected:?}")) }
            }
            (_, came) => Err(format!("{came:?}")),
        }
    }
}

/// An event's type and payload, which must be one that the type takes.
fn payload(catalogue: &Catalogue, entity: &str, event: &Fired) -> Result<(String, Value), String> {
    let schema = catalogue.find(&event.event_type).unwrap().schema.as_ref().unwrap();
    schema.validate(&event.payload).map_err(|violation| format!("{}: {violation:?}", event.event_type))?;
    let mut payload: Value = serde_json::from_slice(&event.payload).unwrap();
    if entity.starts_with("trackingtime.") {
        // Made of the change's id.
        if payload["id"].as_u64().is_none_or(|id| id >= 1 << 53) {
            return Err(format!("{payload} has a wrong id"));
        }
        payload = without(payload, "/id");
    }
    Ok((event.event_type.as_str().to_owned(), payload))
}

/// A catalogue that comes along, with another text in its main file.
#[track_caller]
fn rewritten(product: &str, rewrite: impl Fn(&str) -> String) -> Catalogue {
    let mut files = shipped_files().into_iter().find(|files| files.name() == product).unwrap();
    let text = rewrite(&files.texts[MAIN_FILE]);
    files.texts.insert(MAIN_FILE.to_owned(), text.into());
    Catalogue::read(&[files]).unwrap()
}

#[test]
fn every_case_comes_out_as_documented() {
    for (entity, cases) in entities() {
        play(&Catalogue::shipped(), entity, &cases);
    }
}

/// Every rule has a case that fires it, for without it some case comes out otherwise; and one that must not, for so it is
/// when the rule always fires.
#[test]
fn every_rule_has_a_case_that_fires_it_and_one_that_must_not() {
    let mut rules = 0;
    for (entity, cases) in entities() {
        let product = entity.split('.').next().unwrap();
        let head = format!("[[changes.\"{entity}\".rules]]\nwhen = ");
        let shipped = shipped_files().into_iter().find(|files| files.name() == product).unwrap();
        let count = shipped.texts[MAIN_FILE].matches(&head).count();
        assert!(count > 0, "{entity}");
        for (rule, when) in (0..count).flat_map(|rule| [(rule, "false"), (rule, "true")]) {
            let changed = rewritten(product, |text| {
                let (at, _) = text.match_indices(&head).nth(rule).unwrap();
                let (before, after) = text.split_at(at + head.len());
                let quotes = if after.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
                let rest = after.splitn(3, quotes).last().unwrap();
                format!("{before}\"{when}\"{rest}")
            });
            let is_seen = cases.iter().any(|case| case.check(&changed, entity).is_err());
            assert!(is_seen, "{entity}: nothing shows that rule {rule} must not be {when} always");
        }
        rules += count;
    }
    let all: usize =
        shipped_files().iter().map(|files| files.texts[MAIN_FILE].matches(".rules]]\n").count()).sum();
    assert_eq!(rules, all);
}

/// Every entity that has rules, with its cases.
fn entities() -> Vec<(&'static str, Vec<Case>)> {
    let mut entities = own_cases();
    for (_, cases) in &mut entities {
        let both = cases.iter().find(|case| case.old.is_object() && case.new.is_object()).unwrap();
        let other = with(both.new.clone(), [("/id", json!("another"))]);
        let another = refused("another one", both.old.clone(), other, "/new/id");
        cases.push(another);
    }
    entities
}

fn own_cases() -> Vec<(&'static str, Vec<Case>)> {
    vec![
        ("absence.event", absence::cases()),
        ("timekit.booking", timekit::cases()),
        ("timetime.booking", timetime::bookings()),
        ("timetime.calendar_event", timetime::calendar_events()),
        ("trackingtime.project", trackingtime::projects()),
        ("trackingtime.task", trackingtime::tasks()),
        ("trackingtime.time_entry", trackingtime::time_entries()),
    ]
}
