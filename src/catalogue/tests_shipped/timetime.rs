//! TimeTime: what changed, in the product's words.

use serde_json::{Value, json};

use super::{Case, LIMITS, example, fires, play, with, without};
use crate::catalogue::rules::Refused;
use crate::catalogue::{Catalogue, Change, ChangeRefused};
use crate::model::{OrgNumber, UnixMs};

const EVENT: &str = "timetime.calendar_event.changed";
const BOOKING: &str = "timetime.booking.changed";

fn event() -> Value {
    example(EVENT)["new"].clone()
}

/// The event with one more attendee.
fn with_guest(status: &str) -> Value {
    let mut event = event();
    event["attendees"]
        .as_array_mut()
        .unwrap()
        .push(json!({"id": "guest", "status": status, "organizer": false}));
    event
}

fn told(new: &Value, diff: &Value) -> (&'static str, Value) {
    (EVENT, json!({"type": "CalendarEventChanged", "new": new, "semanticDiff": diff}))
}

/// A calendar event is told with what changed.
pub(super) fn calendar_events() -> Vec<Case> {
    let null = || Value::Null;
    let cancelled = with(event(), [("/status", json!("CANCELLED"))]);
    let renamed = with(event(), [("/summary", json!("Another name"))]);
    let moved = with(event(), [("/interval/exclusiveEnd/dateTime", json!("2024-03-20T17:00:00+01:00"))]);
    let (unscheduled, nowhere) = (without(event(), "/interval"), with(event(), [("/interval", Value::Null)]));
    let commented = with(event(), [("/attendees/0/comment", json!("late"))]);
    let declined = with(event(), [("/attendees/0/status", json!("DECLINED"))]);
    let all =
        with(moved.clone(), [("/status", json!("TENTATIVE")), ("/attendees/0/status", json!("TENTATIVE"))]);
    let scheduled = |interval: &Value| json!({"type": "CalendarEventScheduled", "interval": interval});
    let status = |new: &str, old: &str| json!({"type": "CalendarEventStatusChanged", "new": new, "old": old});
    let reply = |event: &Value, at: usize| json!({"type": "CalendarEventAttendeeReplyChange", "attendee": event["attendees"][at]});
    let both = with(with_guest("ACCEPTED"), [("/attendees/0/status", json!("DECLINED"))]);
    vec![
        fires("created", null(), event(), [told(&event(), &json!([]))]),
        fires("created with everything", null(), all.clone(), [told(&all, &json!([]))]),
        fires("deleted", event(), null(), []),
        fires("not changed", event(), event(), []),
        fires("changed in a way that has no name", event(), renamed.clone(), [told(&renamed, &json!([]))]),
        fires("moved", event(), moved.clone(), [told(&moved, &json!([scheduled(&moved["interval"])]))]),
        fires(
            "taken off the calendar",
            event(),
            unscheduled.clone(),
            [told(&unscheduled, &json!([scheduled(&null())]))],
        ),
        fires(
            "put on the calendar",
            unscheduled.clone(),
            event(),
            [told(&event(), &json!([scheduled(&event()["interval"])]))],
        ),
        fires("never scheduled", unscheduled, nowhere.clone(), [told(&nowhere, &json!([]))]),
        fires(
            "cancelled",
            event(),
            cancelled.clone(),
            [told(&cancelled, &json!([status("CANCELLED", "CONFIRMED")]))],
        ),
        fires("declined", event(), declined.clone(), [told(&declined, &json!([reply(&declined, 0)]))]),
        fires("commented", event(), commented.clone(), [told(&commented, &json!([]))]),
        fires("a guest came", event(), with_guest("ACCEPTED"), [told(&with_guest("ACCEPTED"), &json!([]))]),
        fires("a guest went", with_guest("ACCEPTED"), event(), [told(&event(), &json!([]))]),
        fires(
            "both replied",
            with_guest("NEEDS_ACTION"),
            both.clone(),
            [told(&both, &json!([reply(&both, 0), reply(&both, 1)]))],
        ),
        fires(
            "all at once",
            event(),
            all.clone(),
            [told(
                &all,
                &json!([scheduled(&all["interval"]), status("TENTATIVE", "CONFIRMED"), reply(&all, 0),]),
            )],
        ),
    ]
}

/// A booking is told with what it was.
pub(super) fn bookings() -> Vec<Case> {
    let (made, cancelled) =
        (example(BOOKING)["new"].clone(), example("timetime.booking.changed@cancelled")["new"].clone());
    let told =
        |new: &Value, old: &Value| (BOOKING, json!({"type": "BookingChanged", "new": new, "old": old}));
    vec![
        fires("made", Value::Null, made.clone(), [told(&made, &Value::Null)]),
        fires("cancelled", made.clone(), cancelled.clone(), [told(&cancelled, &made)]),
        fires("not changed", made.clone(), made.clone(), []),
        fires("deleted", made, Value::Null, []),
    ]
}

/// What is kept of a change goes out with its very bytes, whatever its spelling.
#[test]
fn the_bytes_of_an_event_stay_as_they_are() {
    let old = r#"{"id":"1","calendarId":"2","status":"CONFIRMED","attachments":[],"locations":[],
        "attendees":[{"id":"a","status":"NEEDS_ACTION","organizer":false}],"comments":[],"tags":{}}"#;
    let new = r#"{ "tags":{}, "status":"CONFIRMED","id":"1", "calendarId":"\u0032","attachments":[],"locations":[],
        "attendees":[{"organizer":false,  "id":"a","status":"ACCEPTED","weight":1.50e+1}],"comments":[]}"#;
    let change = Change {
        entity: "timetime.calendar_event",
        old: Some(old),
        new: Some(new),
        actor: None,
        id: "chg_1",
        at: UnixMs(0),
        org: &"acme".parse().unwrap(),
        org_number: OrgNumber(1),
    };
    let fired = Catalogue::shipped().fire(&change, &LIMITS).unwrap();
    let expected = format!(
        r#"{{"type":"CalendarEventChanged","new":{new},"semanticDiff":[{{"type":"CalendarEventAttendeeReplyChange","attendee":{{"organizer":false,  "id":"a","status":"ACCEPTED","weight":1.50e+1}}}}]}}"#
    );
    assert_eq!(fired.len(), 1);
    assert_eq!(fired[0].payload, expected);

    // What it was must be whole enough to say what changed.
    let change = Change { old: Some(r#"{"id":"1","attendees":[]}"#), ..change };
    let refused = Catalogue::shipped().fire(&change, &LIMITS).unwrap_err();
    assert!(
        matches!(&refused, ChangeRefused::Rules(Refused::Failed { field, .. }) if field.starts_with("/old")),
        "{refused:?}"
    );
}

/// The largest event that the product allows, in which every attendee replied, is within the budget of a change.
#[test]
fn a_full_house_can_reply_at_once() {
    let event = |status: &str| {
        let guests =
            (0..4096).map(|n| json!({"id": format!("guest-{n}"), "status": status, "organizer": false}));
        with(event(), [("/attendees", guests.collect())])
    };
    let (old, new) = (event("NEEDS_ACTION"), event("ACCEPTED"));
    let replies = new["attendees"].as_array().unwrap().iter();
    let diff = replies.map(|guest| json!({"type": "CalendarEventAttendeeReplyChange", "attendee": guest}));
    let expected = told(&new, &diff.collect());
    play(&Catalogue::shipped(), "timetime.calendar_event", &[fires("all replied", old, new, [expected])]);
}
