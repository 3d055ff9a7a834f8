//! Rules, from their text to what they fire.

mod budget;
mod faults;
mod grammar;
mod parity;
mod properties;
mod requests;
mod values;

use std::collections::BTreeMap;

use serde::Deserialize;
use toml::Spanned;

use super::*;
use crate::catalogue::{Change, ChangeLimits, ChangeRefused};
use crate::model::{OrgId, OrgNumber, UnixMs};

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    data: toml::Table,
    #[serde(default)]
    options: toml::Table,
    changes: BTreeMap<Spanned<String>, Typed>,
}

pub(super) const LIMITS: ChangeLimits =
    ChangeLimits { max_events: 8, max_cost: 100_000, max_payload_bytes: 1 << 20 };

pub(super) fn compile(text: &str) -> Result<Rules, RuleFault> {
    let file: File = toml::from_str(text).unwrap();
    let known = |name: &str| name.strip_prefix("p.").and_then(|_| name.parse().ok());
    let scope = Scope {
        lets: &[],
        text,
        data: &file.data,
        options: &file.options,
        known_event: &known,
        events: &["p.changed", "p.created"],
    };
    Rules::compile(&file.changes, &scope)
}

/// Rules of the entity `e`, of which each fires `p.changed`.
pub(super) fn rule(when: &str, payload: &str) -> Rules {
    let text =
        format!("[[changes.e.rules]]\nwhen = '''{when}'''\nevent = 'p.changed'\npayload = '''{payload}'''\n");
    compile(&text).unwrap_or_else(|fault| panic!("{when} / {payload}: {fault:?}"))
}

pub(super) fn fire_within(
    rules: &Rules,
    old: &str,
    new: &str,
    limits: &ChangeLimits,
) -> Result<Vec<(String, String)>, Refused> {
    let org: OrgId = "acme".parse().unwrap();
    let given = |json| Some(json).filter(|json| *json != "null");
    let change = Change {
        entity: "e",
        old: given(old),
        new: given(new),
        actor: Some(r#"{"id":7}"#),
        id: "change-1",
        at: UnixMs(1_700_000_000_123),
        org: &org,
        org_number: OrgNumber(12),
    };
    let fired = rules.fire(&change, limits).map_err(|refused| match refused {
        ChangeRefused::Rules(refused) => refused,
        ChangeRefused::UnknownEntity { .. } => panic!("{refused:?}"),
    })?;
    let text = |payload: &[u8]| String::from_utf8(payload.to_vec()).unwrap();
    Ok(fired.iter().map(|fired| (fired.event_type.to_string(), text(&fired.payload))).collect())
}

pub(super) fn fire(rules: &Rules, old: &str, new: &str) -> Result<Vec<(String, String)>, Refused> {
    fire_within(rules, old, new, &LIMITS)
}

/// What an expression gives, as JSON.
pub(super) fn value(expression: &str, old: &str, new: &str) -> Result<String, Refused> {
    fire(&rule("true", expression), old, new).map(|fired| fired[0].1.clone())
}

/// Why an expression fails: the field and the problem.
pub(super) fn failure(expression: &str, old: &str, new: &str) -> (String, String) {
    match value(expression, old, new) {
        Err(Refused::Failed { field, problem }) => (field, problem),
        other => panic!("{expression}: {other:?}"),
    }
}

const PRODUCT: &str = "
[data.graph.instant]
start = ['confirmed']
confirmed = ['done', 'cancelled']
[options]
deleted_shows = 'new'
[changes.e]
let = [
  { name = 'before', value = \"old == null ? {} : index(old.attendees, 'id')\" },
  { name = 'moved', value = 'old != null && new != null && old.?interval != new.?interval' },
]
[[changes.e.rules]]
when = 'new != null && old != null && !(new.state in data.graph.instant[old.state])'
refuse = 'this state does not follow'
field = '/new/state'
[[changes.e.rules]]
when = 'new != null && (old == null || old != new)'
event = 'p.changed'
payload = '''
{'type': 'Changed', 'new': new, 'semanticDiff': old == null ? [] :
  (moved ? [{'type': 'Scheduled', 'interval': new.?interval.orValue(null)}] : [])
  + (new.state != old.state ? [{'type': 'Status', 'new': new.state, 'old': old.state}] : [])
  + new.attendees.filter(a, a.id in before && before[a.id].reply != a.reply).map(a, {'type': 'Reply', 'attendee': a})}
'''
[[changes.e.rules]]
when = 'new == null'
event = 'p.deleted'
payload = 'old'
";

#[test]
fn rules_fire_in_their_order_with_the_bytes_of_what_they_pass_on() {
    let rules = compile(PRODUCT).unwrap();
    assert_eq!(rules.entities().collect::<Vec<_>>(), ["e"]);
    let old = r#"{"state":"start","attendees":[ {"id":"a", "reply":"no"},{"id":"b","reply":"no"}]}"#;
    let new = r#"{ "state" : "confirmed","attendees":[{"id":"b","reply":"no"},{"reply":"yes",  "id":"a","n":1.50},{"id":"c","reply":"yes"}],"interval":{"start" : 1}}"#;
    let diff = r#"[{"type":"Scheduled","interval":{"start" : 1}},{"type":"Status","new":"confirmed","old":"start"},{"type":"Reply","attendee":{"reply":"yes",  "id":"a","n":1.50}}]"#;
    let changed = |new: &str, diff: &str| {
        vec![("p.changed".to_owned(), format!(r#"{{"type":"Changed","new":{new},"semanticDiff":{diff}}}"#))]
    };
    assert_eq!(fire(&rules, old, new).unwrap(), changed(new, diff));
    assert_eq!(fire(&rules, "null", new).unwrap(), changed(new, "[]"));
    assert_eq!(fire(&rules, old, "null").unwrap(), [("p.deleted".to_owned(), old.to_owned())]);
    let same = r#"{"attendees":[],"state":"start"}"#;
    let refused =
        Refused::Forbidden { field: "/new/state".to_owned(), rule: "this state does not follow".to_owned() };
    assert_eq!(fire(&rules, same, r#"{"state":"done","attendees":[]}"#), Err(refused));
    let unlisted = fire(&rules, r#"{"state":"gone","attendees":[]}"#, same).unwrap_err();
    let Refused::Failed { field, problem } = unlisted else { panic!("{unlisted:?}") };
    assert_eq!(field, "");
    assert_eq!(problem, "rule 1 of e (refuses, line 13), when: there is no such member");
}

#[test]
fn every_rule_that_holds_fires() {
    let text = "
[changes.e]
rules = [
  { when = 'true', event = 'p.one', payload = '1' },
  { when = 'false', event = 'p.two', payload = '2' },
  { when = 'new.n > 0', event = 'p.three', payload = 'new' },
  { when = 'new.n > 1', refuse = 'too many' },
]";
    let rules = compile(text).unwrap();
    let types = |new| {
        fire(&rules, "null", new).map(|fired| fired.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
    };
    assert_eq!(types(r#"{"n":0}"#).unwrap(), ["p.one"]);
    assert_eq!(types(r#"{"n":1}"#).unwrap(), ["p.one", "p.three"]);
    let refused = Refused::Forbidden { field: String::new(), rule: "too many".to_owned() };
    assert_eq!(types(r#"{"n":2}"#), Err(refused));
}

#[test]
fn an_entity_without_rules_is_refused_with_the_nearest_that_has_some() {
    let rules =
        compile("[changes.'absence.event']\nrules = [{ when = 'true', event = 'p.x', payload = '1' }]")
            .unwrap();
    let unknown = |nearest: Option<&str>| ChangeRefused::UnknownEntity {
        nearest: nearest.map(str::to_owned),
        known: vec!["absence.event".to_owned()],
    };
    let org: OrgId = "acme".parse().unwrap();
    let change = |entity| Change {
        entity,
        old: None,
        new: None,
        actor: None,
        id: "x",
        at: UnixMs(0),
        org: &org,
        org_number: OrgNumber(1),
    };
    assert_eq!(rules.fire(&change("e"), &LIMITS), Err(unknown(None)));
    assert_eq!(rules.fire(&change("absence.events"), &LIMITS), Err(unknown(Some("absence.event"))));
}

#[test]
fn rules_are_shared_by_threads() {
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&rule("true", "1"));
}
