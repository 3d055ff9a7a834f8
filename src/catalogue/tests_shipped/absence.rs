//! Team Trax: the cycle of approval.

use serde_json::{Value, json};

use super::{Case, example, fires, play, refused, rewritten, with, without};

const CREATED: &str = "absence.event.created";
const UPDATED: &str = "absence.event.updated";
const DELETED: &str = "absence.event.deleted";

/// An absence of a type that needs no approval.
fn free(status: &str) -> Value {
    with(example(CREATED), [("/eventStatus", json!(status))])
}

/// The same absence, of a type that needs approval.
fn bound(status: &str) -> Value {
    with(
        free(status),
        [
            ("/eventType/id", json!(2)),
            ("/eventType/key", json!("VAC")),
            ("/eventType/approvalRequired", json!(true)),
        ],
    )
}

pub(super) fn cases() -> Vec<Case> {
    let all = [making_and_deleting(), within_a_type(), between_types()].concat();
    let misspelt = [
        refused("misspelt", bound("REQUESTED"), bound("approved"), "/new/eventStatus"),
        refused("misspelt before", bound("DECLINED"), bound("APPROVED"), "/old/eventStatus"),
    ];
    let fired = all.into_iter().map(|(what, old, new, events)| fires(what, old, new, events));
    fired.chain(misspelt).collect()
}

/// What it is, the absence before and after, and the events.
type Row = (&'static str, Value, Value, Vec<(&'static str, Value)>);

fn making_and_deleting() -> Vec<Row> {
    let none = Vec::new;
    let made = |what, new: Value, events| (what, Value::Null, new, events);
    let deleted = |what, old: Value| (what, old.clone(), Value::Null, vec![(DELETED, old)]);
    vec![
        made("made, no approval needed", free("APPROVED"), vec![(CREATED, free("APPROVED"))]),
        made("requested, no approval needed", free("REQUESTED"), vec![(CREATED, free("REQUESTED"))]),
        made("made, approval needed", bound("REQUESTED"), none()),
        made("made already approved", bound("APPROVED"), vec![(CREATED, bound("APPROVED"))]),
        made("made already rejected", free("REJECTED"), none()),
        deleted("deleted in effect", bound("APPROVED")),
        deleted("deleted while pending", bound("REQUESTED")),
        deleted("deleted when rejected", bound("REJECTED")),
    ]
}

fn within_a_type() -> Vec<Row> {
    let longer = |event: Value| with(event, [("/endDate", json!("2023-07-21"))]);
    let quiet = || without(free("APPROVED"), "/comment");
    let becomes = |what, old: Value, new: Value, event_type: Option<&'static str>| {
        let events = event_type.map(|event_type| (event_type, new.clone())).into_iter().collect();
        (what, old, new, events)
    };
    vec![
        becomes("approved", bound("REQUESTED"), bound("APPROVED"), Some(CREATED)),
        becomes("rejected", bound("REQUESTED"), bound("REJECTED"), None),
        becomes("withdrawn after approval", bound("APPROVED"), bound("REJECTED"), Some(DELETED)),
        becomes("approved after all", bound("REJECTED"), bound("APPROVED"), Some(CREATED)),
        becomes("changed in effect", bound("APPROVED"), longer(bound("APPROVED")), Some(UPDATED)),
        becomes("changed, no approval needed", free("REQUESTED"), longer(free("REQUESTED")), Some(UPDATED)),
        becomes("changed while pending", bound("REQUESTED"), longer(bound("REQUESTED")), None),
        becomes("approved, no approval needed", free("REQUESTED"), free("APPROVED"), Some(UPDATED)),
        becomes("a comment that goes", free("APPROVED"), quiet(), Some(UPDATED)),
        becomes("not changed", bound("APPROVED"), bound("APPROVED"), None),
    ]
}

fn between_types() -> Vec<Row> {
    let other = |status: &str| with(bound(status), [("/eventType/id", json!(3))]);
    let becomes = |what, old: Value, new: Value, types: &[&'static str]| {
        let events = types.iter().map(|event_type| (*event_type, new.clone())).collect();
        (what, old, new, events)
    };
    vec![
        becomes("to one without approval", bound("APPROVED"), free("APPROVED"), &[UPDATED]),
        becomes("to one with approval", free("APPROVED"), bound("REQUESTED"), &[DELETED]),
        becomes("approved after that", bound("REQUESTED"), bound("APPROVED"), &[CREATED]),
        becomes("rejected after that", bound("REQUESTED"), bound("REJECTED"), &[]),
        becomes(
            "to one with approval, approved at once",
            free("APPROVED"),
            bound("APPROVED"),
            &[DELETED, CREATED],
        ),
        becomes(
            "both with approval, approved at once",
            bound("APPROVED"),
            other("APPROVED"),
            &[DELETED, CREATED],
        ),
        becomes("both with approval", bound("APPROVED"), other("REQUESTED"), &[DELETED]),
        becomes("pending, to one without approval", bound("REQUESTED"), free("APPROVED"), &[CREATED]),
        becomes("pending, to one with approval", bound("REQUESTED"), other("REQUESTED"), &[]),
    ]
}

/// Receivers that file by type want the old one; others do not want to hear of what they never knew.
#[test]
fn what_a_deletion_tells_can_be_chosen() {
    let set = |from: &'static str, to: &'static str| {
        rewritten("absence", move |text| {
            assert_eq!(text.matches(from).count(), 1);
            text.replace(from, to)
        })
    };
    let back = || (free("APPROVED"), bound("REQUESTED"));
    let old = set("deleted_shows_old = false", "deleted_shows_old = true");
    let ((was, is), (gone, again)) = (back(), (free("APPROVED"), bound("APPROVED")));
    let cases = [
        fires("needs approval again", was, is, [(DELETED, free("APPROVED"))]),
        fires("approved at once", gone, again, [(DELETED, free("APPROVED")), (CREATED, bound("APPROVED"))]),
        fires("deleted while pending", bound("REQUESTED"), Value::Null, [(DELETED, bound("REQUESTED"))]),
    ];
    play(&old, "absence.event", &cases);

    let quiet = set("deleted_only_if_announced = false", "deleted_only_if_announced = true");
    let (was, is) = back();
    let cases = [
        fires("needs approval again", was, is.clone(), [(DELETED, is)]),
        fires("deleted while pending", bound("REQUESTED"), Value::Null, []),
        fires("deleted when rejected", free("REJECTED"), Value::Null, []),
        fires("deleted in effect", bound("APPROVED"), Value::Null, [(DELETED, bound("APPROVED"))]),
    ];
    play(&quiet, "absence.event", &cases);
}
