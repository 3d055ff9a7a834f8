//! Every type takes its examples, and refuses what is broken, naming the place.

use serde_json::{Value, json};

use super::{example, with, without};
use crate::catalogue::Catalogue;

/// Whether a type takes a payload: `None` if it does, else the place that it finds fault with.
#[track_caller]
pub(super) fn fault(event_type: &str, payload: &Value) -> Option<String> {
    let catalogue = Catalogue::shipped();
    let entry = catalogue.find(&event_type.parse().unwrap()).unwrap();
    let schema = entry.schema.as_ref().unwrap_or_else(|| panic!("{event_type} has no schema"));
    schema.validate(payload.to_string().as_bytes()).err().map(|violation| violation.pointer)
}

#[track_caller]
pub(super) fn taken(event_type: &str, payload: &Value) {
    assert_eq!(fault(event_type, payload), None, "{event_type}: {payload}");
}

/// The type's example is refused when these members stand in it, each alone and each in its own place.
#[track_caller]
pub(super) fn refuses<const N: usize>(event_type: &str, base: &Value, members: [(&str, Value); N]) {
    for (pointer, value) in members {
        let shown = value.to_string().chars().take(60).collect::<String>();
        let found = fault(event_type, &with(base.clone(), [(pointer, value)]));
        assert_eq!(found.as_deref(), Some(pointer), "{event_type}: {shown}");
    }
}

/// The type's example is refused without any one of these members of the object at this place.
#[track_caller]
pub(super) fn needs(event_type: &str, base: &Value, object: &str, members: &str) {
    for member in members.split(' ') {
        let found = fault(event_type, &without(base.clone(), &format!("{object}/{member}")));
        assert_eq!(found.as_deref(), Some(object), "{event_type} without {member}");
    }
}

fn texts(count: usize) -> Value {
    (0..count).map(|n| json!(n.to_string())).collect()
}

fn objects(count: usize, make: impl Fn(String) -> Value) -> Value {
    (0..count).map(|n| make(n.to_string())).collect()
}

#[test]
fn every_type_takes_its_examples_and_no_payload_of_another_kind() {
    let catalogue = Catalogue::shipped();
    for entry in catalogue.entries() {
        let event_type = entry.event_type.as_str();
        assert!(!entry.examples.is_empty() && !entry.summary.is_empty(), "{event_type}");
        for example in &entry.examples {
            taken(event_type, &serde_json::from_str(&example.text).unwrap());
        }
        for other in [json!(null), json!([]), json!("{}"), json!({}), json!(7)] {
            assert_eq!(fault(event_type, &other).as_deref(), Some(""), "{event_type}: {other}");
        }
    }
    assert_eq!(catalogue.entries().map(|entry| entry.examples.len()).sum::<usize>(), 8 + 15 + 18 + 7);
    let documented = catalogue.find(&"timekit.booking.confirmed".parse().unwrap()).unwrap();
    assert!(documented.examples[0].text.contains(r#""timezone": "Europe\/Copenhagen""#));
}

#[test]
fn a_calendar_event_keeps_to_its_document() {
    const TYPE: &str = "timetime.calendar_event.changed";
    let base = example(TYPE);
    needs(TYPE, &base, "", "type new semanticDiff");
    needs(TYPE, &base, "/new", "id calendarId status attachments locations attendees comments tags");
    needs(TYPE, &base, "/new/attendees/0", "id status organizer");
    needs(TYPE, &base, "/new/interval", "inclusiveStart exclusiveEnd");
    let text = |length: usize| json!("\u{e4}".repeat(length));
    let file = |n: String| json!({"url": n});
    let place = |n: String| json!({"text": n});
    let reminder =
        |n: String| json!({"type": "EmailConfirmationCalendarEventNotification", "id": n, "locale": "en"});
    let guest = |n: String| json!({"id": n, "status": "ACCEPTED", "organizer": false});
    refuses(
        TYPE,
        &base,
        [
            ("/type", json!("BookingChanged")),
            ("/semanticDiff", json!({})),
            ("/new/id", json!(7)),
            ("/new/status", json!("CANCELED")),
            ("/new/summary", text(257)),
            ("/new/description", text(4097)),
            ("/new/attachments", objects(129, file)),
            ("/new/locations", objects(33, place)),
            ("/new/attendees", objects(4097, guest)),
            ("/new/comments", texts(33)),
            ("/new/comments", json!(["twice", "twice"])),
            ("/new/notifications", objects(17, reminder)),
            ("/new/tags", json!(["tag"])),
            ("/new/tags/tag 1", json!(1)),
            ("/new/interval/inclusiveStart/dateTime", json!("2024-03-20")),
            ("/new/interval/exclusiveEnd/dateTime", json!("2024-03-20T15:00:00+0100")),
            ("/new/attendees/0/status", json!("MAYBE")),
            ("/new/attendees/0/organizer", json!("yes")),
            ("/new/attendees/0/phone", text(37)),
            ("/new/attendees/0/invitation/displayTimeMode", json!("ROUGH")),
            ("/new/attachments", json!({})),
        ],
    );
    for (member, value) in [
        ("/new/summary", text(256)),
        ("/new/description", text(4096)),
        ("/new/attachments", objects(128, file)),
        ("/new/locations", objects(32, place)),
        ("/new/attendees", objects(4096, guest)),
        ("/new/comments", texts(32)),
        ("/new/notifications", objects(16, reminder)),
        ("/new/summary", json!(null)),
        ("/new/interval", json!(null)),
    ] {
        taken(TYPE, &with(base.clone(), [(member, value)]));
    }
    let inner = with(
        base.clone(),
        [
            ("/new/attachments", objects(1, file)),
            ("/new/locations", objects(1, place)),
            ("/new/notifications", objects(1, reminder)),
        ],
    );
    refuses(
        TYPE,
        &inner,
        [
            ("/new/attachments/0/mimeType", text(65)),
            ("/new/locations/0/text", text(4097)),
            ("/new/notifications/0/type", json!("Pigeon")),
            ("/new/notifications/0/additionalInformation", text(1025)),
        ],
    );
}

#[test]
fn what_changed_of_a_calendar_event_has_three_forms() {
    const TYPE: &str = "timetime.calendar_event.changed";
    let with_diff = |diff: Value| with(example(TYPE), [("/semanticDiff", json!([diff]))]);
    let attendee = example(TYPE)["new"]["attendees"][0].clone();
    let (status, reply) = ("CalendarEventStatusChanged", "CalendarEventAttendeeReplyChange");
    for diff in [
        json!({"type": "CalendarEventScheduled", "interval": example(TYPE)["new"]["interval"]}),
        json!({"type": "CalendarEventScheduled", "interval": null}),
        json!({"type": "CalendarEventScheduled"}),
        json!({"type": status, "new": "TENTATIVE", "old": "CONFIRMED"}),
        json!({"type": reply, "attendee": attendee}),
    ] {
        taken(TYPE, &with_diff(diff));
    }
    for (diff, place) in [
        (json!({}), "/semanticDiff/0"),
        (json!("CalendarEventScheduled"), "/semanticDiff/0"),
        (json!({"type": "Other"}), "/semanticDiff/0/type"),
        (json!({"type": "CalendarEventScheduled", "interval": {}}), "/semanticDiff/0/interval"),
        (json!({"type": status, "new": "TENTATIVE"}), "/semanticDiff/0"),
        (json!({"type": status, "new": "TENTATIVE", "old": "ACCEPTED"}), "/semanticDiff/0/old"),
        (json!({"type": reply}), "/semanticDiff/0"),
        (json!({"type": reply, "attendee": {"id": "a", "status": "ACCEPTED"}}), "/semanticDiff/0/attendee"),
    ] {
        assert_eq!(fault(TYPE, &with_diff(diff.clone())).as_deref(), Some(place), "{diff}");
    }
}

#[test]
fn bookings_of_timetime_keep_to_their_document() {
    const CHANGED: &str = "timetime.booking.changed";
    const UPCOMING: &str = "timetime.booking.upcoming";
    let cancelled = example("timetime.booking.changed@cancelled");
    for (event_type, base, place) in [
        (CHANGED, example(CHANGED), "/new"),
        (CHANGED, cancelled.clone(), "/old"),
        (UPCOMING, example(UPCOMING), "/booking"),
    ] {
        needs(
            event_type,
            &base,
            place,
            "id eventType interval booker answeredQuestions bookedResources status privateNotes",
        );
        let at = |member: &str| format!("{place}{member}");
        needs(event_type, &base, &at("/eventType"), "id name owner tags");
        needs(event_type, &base, &at("/eventType/owner"), "id email");
        needs(event_type, &base, &at("/interval"), "start end");
        needs(event_type, &base, &at("/booker"), "email");
        needs(event_type, &base, &at("/bookedResources/0"), "id name");
        refuses(
            event_type,
            &base,
            [
                ("/type", json!("CalendarEventChanged")),
                (&at("/status"), json!("CANCELLED")),
                (&at("/interval/start"), json!("2024-03-20 14:00:00")),
                (&at("/confirmedAt"), json!("yesterday")),
                (&at("/price/currency"), json!("euro")),
                (&at("/units"), json!(1.5)),
                (&at("/privateNotes"), json!(["twice", "twice"])),
                (&at("/cancellation"), json!("ill")),
                (&at("/eventType/tags/team"), json!(null)),
            ],
        );
    }
    needs(CHANGED, &example(CHANGED), "", "type new");
    needs(UPCOMING, &example(UPCOMING), "", "type booking");
    refuses(
        CHANGED,
        &cancelled,
        [
            ("/new", json!(null)),
            ("/old", json!([])),
            ("/new/cancellation/cancelledBy", json!("NOBODY")),
            ("/new/cancellation/cancelledAt", json!("2024-03-19")),
        ],
    );
    taken(CHANGED, &with(cancelled, [("/old", json!(null))]));
}

/// The graphs of each state, from the product's document.
const GRAPHS_OF: [(&str, &str); 13] = [
    ("tentative", "instant_payment confirm_decline group_owner group_customer_payment"),
    ("confirmed", "instant confirm_decline group_customer"),
    ("declined", "confirm_decline"),
    ("paid", "instant_payment group_customer_payment"),
    ("unpaid", "instant_payment group_customer_payment"),
    (
        "completed",
        "instant instant_payment confirm_decline group_owner group_customer group_customer_payment",
    ),
    ("cancelled", "instant instant_payment confirm_decline group_owner"),
    (
        "cancelled_by_customer",
        "instant instant_payment confirm_decline group_customer group_customer_payment",
    ),
    ("cancelled_by_owner", "group_customer group_customer_payment"),
    ("rescheduled_by_customer", "instant instant_payment confirm_decline"),
    ("reserved", "reservation"),
    ("expired", "reservation"),
    ("error", "instant instant_payment confirm_decline group_owner group_customer group_customer_payment"),
];

#[test]
fn bookings_of_timekit_keep_to_their_document_and_their_graph() {
    let all = "instant instant_payment confirm_decline group_owner group_customer group_customer_payment reservation";
    for (state, graphs) in GRAPHS_OF {
        let event_type = format!("timekit.booking.{state}");
        let base = example(&event_type);
        for graph in all.split(' ') {
            let found = fault(&event_type, &with(base.clone(), [("/graph", json!(graph))]));
            let expected = (!graphs.split(' ').any(|known| known == graph)).then_some("/graph");
            assert_eq!(found.as_deref(), expected, "{state} in {graph}");
        }
        for (other, _) in GRAPHS_OF.iter().filter(|(other, _)| *other != state) {
            refuses(&event_type, &base, [("/state", json!(other))]);
        }
        needs(
            &event_type,
            &base,
            "",
            "id state graph completed created_at updated_at customers event calendar",
        );
        needs(&event_type, &base, "/customers/0", "id name email");
        needs(&event_type, &base, "/event", "id what start end");
        needs(&event_type, &base, "/calendar", "id name");
        refuses(
            &event_type,
            &base,
            [
                ("/id", json!(7)),
                ("/completed", json!("no")),
                ("/created_at", json!("2016-11-24 13:34:54")),
                ("/updated_at", json!(1_480_000_000)),
                ("/customers", json!({})),
                ("/customers/0/email", json!(null)),
                ("/customers/0/meta", json!(7)),
                ("/event/allDay", json!("no")),
                ("/event/start", json!("2016-01-01")),
                ("/event", json!([])),
                ("/calendar/provider_primary", json!(1)),
                ("/calendar", json!("c")),
                ("/user", json!([])),
                ("/available_actions", json!("cancel")),
                ("/owner_booking", json!("id")),
            ],
        );
        taken(
            &event_type,
            &with(
                base,
                [
                    ("/event", json!(null)),
                    ("/calendar", json!(null)),
                    ("/created_at", json!("2016-11-24T13:34:54Z")),
                ],
            ),
        );
    }
}

#[test]
fn payloads_of_trackingtime_keep_to_their_document() {
    for (name, product, object, fixed) in [
        ("project.added", "project.add", "project", Some(("/data/is_archived", false))),
        ("project.closed", "project.close", "project", Some(("/data/is_archived", true))),
        ("task.added", "task.add", "task", Some(("/data/is_archived", false))),
        ("task.updated", "task.update", "task", None),
        ("task.closed", "task.close", "task", Some(("/data/is_archived", true))),
        ("task.tracking_started", "task.track", "task", Some(("/data/tracking", true))),
        ("task.tracking_stopped", "task.stop", "task", Some(("/data/tracking", false))),
        ("time_entry.added", "event.created", "event", None),
        ("time_entry.updated", "event.updated", "event", None),
        ("time_entry.deleted", "event.deleted", "event", None),
    ] {
        let event_type = format!("trackingtime.{name}");
        let base = example(&event_type);
        assert_eq!((&base["event_name"], &base["object"]), (&json!(product), &json!(object)));
        needs(&event_type, &base, "", "id event_name account_id created_at object data");
        refuses(
            &event_type,
            &base,
            [
                ("/id", json!("9001")),
                ("/event_name", json!(name)),
                ("/account_id", json!(null)),
                ("/user_id", json!("79634")),
                ("/created_at", json!("2024-05-02T11:30:00Z")),
                ("/object", json!("time_entry")),
                ("/data", json!(null)),
                ("/data/id", json!("1")),
                ("/data/created_at", json!("2024-05-02")),
                ("/data/json", json!(7)),
            ],
        );
        match object {
            "project" => needs(&event_type, &base, "/data", "id name is_archived"),
            "task" => {
                needs(&event_type, &base, "/data", "id name is_archived tracking");
                refuses(
                    &event_type,
                    &base,
                    [
                        ("/data/accumulated_time", json!(-1)),
                        ("/data/accumulated_time_display", json!("1:30:00")),
                        ("/data/users/0", json!({"id": 1})),
                        ("/data/user", json!({"name": "Diego"})),
                        ("/data/tracking_event", json!({"id": 1})),
                        ("/data/billing/hourly_rate", json!("10")),
                    ],
                );
            }
            _ => {
                needs(&event_type, &base, "/data", "id start duration user_id");
                refuses(
                    &event_type,
                    &base,
                    [
                        ("/data/duration", json!(-1)),
                        ("/data/start", json!(null)),
                        ("/data/timezone", json!("Europe/Madrid")),
                        ("/data/is_billable", json!(null)),
                    ],
                );
            }
        }
        if let Some((member, value)) = fixed {
            refuses(&event_type, &base, [(member, json!(!value))]);
        }
        taken(&event_type, &without(without(base, "/webhook_id"), "/user_id"));
    }
}

#[test]
fn absences_keep_to_their_document() {
    let approval = |event: Value| with(event, [("/eventType/approvalRequired", json!(true))]);
    for event_type in ["absence.event.created", "absence.event.updated", "absence.event.deleted"] {
        let base = example(event_type);
        needs(
            event_type,
            &base,
            "",
            "id eventType startDate endDate eventStatus ownerId halfDayLong allDayLong customDays customDuration tenantId ownerUser actingUser",
        );
        needs(
            event_type,
            &base,
            "/eventType",
            "id name key color approvalRequired syncToExternalCalendar active eventTypeLimit rank",
        );
        needs(event_type, &base, "/ownerUser", "id username valid");
        refuses(
            event_type,
            &base,
            [
                ("/id", json!("1")),
                ("/eventType/key", json!("HOME")),
                ("/eventType/key", json!("")),
                ("/eventType/id", json!(1.5)),
                ("/startDate", json!("2023-07-14T00:00:00Z")),
                ("/endDate", json!("14.07.2023")),
                ("/eventStatus", json!("PENDING")),
                ("/customDays", json!(-0.5)),
                ("/customDuration", json!("1")),
                ("/halfDayLong", json!(1)),
                ("/actingUser/valid", json!("true")),
            ],
        );
        // Requested is in effect only where no approval is needed, rejected never: then there is nothing to announce.
        taken(event_type, &with(base.clone(), [("/eventStatus", json!("REQUESTED"))]));
        for broken in [
            with(base.clone(), [("/eventStatus", json!("REJECTED"))]),
            with(approval(base.clone()), [("/eventStatus", json!("REQUESTED"))]),
            with(approval(base.clone()), [("/eventStatus", json!("REJECTED"))]),
        ] {
            let expected = (event_type != "absence.event.deleted").then_some("/eventStatus");
            assert_eq!(fault(event_type, &broken).as_deref(), expected, "{event_type}: {broken}");
        }
    }
}
