//! TrackingTime's document, the outgoing half, point by point: webhooks of an account or of a single user that listen to
//! sets of events, and the changes that fire each of them.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::changes::{calls, change, fires, fires_by, headers, reasons};
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

const PROJECT: &str = "trackingtime.project";
const TASK: &str = "trackingtime.task";
const ENTRY: &str = "trackingtime.time_entry";

const TOKEN: &str = "k3bqk0p2v8m1t6z9d4x7";

fn webhook(daemon: &Daemon<'_>, org: &str, id: &str, receiver: &Receiver, settings: &Value) {
    let mut body =
        json!({"url": receiver.url(&format!("/{id}")), "profile": "trackingtime", "password": TOKEN});
    body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    daemon.admin("PUT", &format!("/v1/orgs/{org}/webhooks/{id}"), &body).expect(201);
}

fn project(id: u32, name: &str, archived: bool) -> String {
    format!(r#"{{"id":{id}, "name":"{name}", "estimated_time":0,"is_archived":{archived} ,"color":"4"}}"#)
}

fn task(id: u32, name: &str, tracking: bool, archived: bool) -> String {
    format!(
        r#"{{"id":{id}, "name":"{name}","account_id":1725,"project_id":813712,"is_archived":{archived},"tracking" : {tracking},"worked_hours":1.50,"users":[{{"id":79634,"name":"Diego"}}]}}"#
    )
}

fn entry(id: u32, notes: &str, user: u32) -> String {
    format!(
        r#"{{"id":{id},"start":"2024-05-02 10:00:00","end":"2024-05-02 11:30:00","duration":5400,"user":"Diego","user_id":{user},"notes":"{notes}","is_billable":true,"is_billed":false}}"#
    )
}

/// A change, what it fires and what the events are called at the receiver.
struct Row {
    entity: &'static str,
    old: String,
    new: String,
    fires: &'static [(&'static str, &'static str)],
}

const ADDED: &[(&str, &str)] = &[("trackingtime.task.added", "task.add")];
const UPDATED: &[(&str, &str)] = &[("trackingtime.task.updated", "task.update")];
const STARTED: &[(&str, &str)] = &[("trackingtime.task.tracking_started", "task.track")];
const STOPPED: &[(&str, &str)] = &[("trackingtime.task.tracking_stopped", "task.stop")];
const CLOSED: &[(&str, &str)] = &[("trackingtime.task.closed", "task.close")];
const ADDED_RUNNING: &[(&str, &str)] = &[ADDED[0], STARTED[0]];
const ALL_AT_ONCE: &[(&str, &str)] = &[UPDATED[0], STOPPED[0], CLOSED[0]];

fn rows() -> Vec<Row> {
    let row = |entity, old: String, new: String, fires| Row { entity, old, new, fires };
    let none = || "null".to_owned();
    let plain = || task(1, "Landing page", false, false);
    let assigned = plain().replace(r#"[{"id":79634"#, r#"[{"id":5,"name":"Eva"},{"id":79634"#);
    vec![
        row(PROJECT, none(), project(9, "Website", false), &[("trackingtime.project.added", "project.add")]),
        row(
            PROJECT,
            project(9, "Website", false),
            project(9, "Website", true),
            &[("trackingtime.project.closed", "project.close")],
        ),
        row(PROJECT, project(9, "Website", false), project(9, "Site", false), &[]),
        row(PROJECT, project(9, "Website", true), none(), &[]),
        row(TASK, none(), plain(), ADDED),
        row(TASK, none(), task(1, "x", true, false), ADDED_RUNNING),
        row(TASK, plain(), task(1, "Landing page v2", false, false), UPDATED),
        row(TASK, plain(), assigned, UPDATED),
        row(TASK, task(1, "x", false, true), task(1, "x", false, false), UPDATED),
        row(TASK, plain(), task(1, "Landing page", true, false), STARTED),
        row(TASK, task(1, "x", true, false), task(1, "x", false, false), STOPPED),
        row(TASK, plain(), task(1, "Landing page", false, true), CLOSED),
        row(TASK, task(1, "x", true, false), task(1, "y", false, true), ALL_AT_ONCE),
        row(TASK, plain(), plain().replace("1.50", "2.75"), &[]),
        row(TASK, plain(), plain().replace(", ", ",\n"), &[]),
        row(TASK, plain(), none(), &[]),
        row(ENTRY, none(), entry(2, "first", 79634), &[("trackingtime.time_entry.added", "event.created")]),
        row(
            ENTRY,
            entry(2, "first", 79634),
            entry(2, "second", 79634),
            &[("trackingtime.time_entry.updated", "event.updated")],
        ),
        row(ENTRY, entry(2, "second", 79634), entry(2, "second", 79634), &[]),
        row(
            ENTRY,
            entry(2, "second", 79634),
            none(),
            &[("trackingtime.time_entry.deleted", "event.deleted")],
        ),
    ]
}

/// What must stand in the body, from `event_name` on, whenever it was fired.
fn body_after_id(name: &str, row: &Row, created_at: &str) -> String {
    let object = name.split_once('.').unwrap().0;
    let data = if row.new == "null" { &row.old } else { &row.new };
    format!(
        r#""event_name":"{name}","account_id":1725,"user_id":79634,"created_at":"{created_at}","object":"{object}","data":{data}}}"#
    )
}

#[test]
fn every_event_of_the_table_is_fired_by_its_change_and_by_no_other() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    webhook(&daemon, "acme", "all", &receiver, &json!({"events": ["project", "task", "event"]}));
    let mut seen = std::collections::BTreeSet::new();
    for (number, row) in rows().iter().enumerate() {
        let from = receiver.count();
        let before = Timestamp::now();
        let actor = r#"{"user_id":79634,"account_id":1725}"#;
        let fired = fires_by(&site, "acme", row.entity, &row.old, &row.new, actor);
        let types: Vec<&str> = row.fires.iter().map(|(event_type, _)| *event_type).collect();
        assert_eq!(fired, types, "row {number}");
        daemon.drained("acme");
        let made = calls(&receiver, from);
        assert_eq!(made.len(), types.len(), "row {number}: {made:?}");
        for ((method, path, body), (event_type, name)) in made.iter().zip(row.fires) {
            assert_eq!((&**method, &**path), ("POST", "/all"));
            let parsed: Value = serde_json::from_str(body).unwrap();
            let id = parsed["id"].as_u64().unwrap();
            assert!(id < 1 << 53, "{id}");
            let created_at = parsed["created_at"].as_str().unwrap();
            let at: jiff::civil::DateTime = created_at.parse().unwrap();
            let at = at.in_tz("UTC").unwrap().timestamp();
            assert!(at.as_second() >= before.as_second() && at <= Timestamp::now(), "{created_at}");
            assert_eq!(
                *body,
                format!(r#"{{"id":{id},{}"#, body_after_id(name, row, created_at)),
                "row {number}"
            );
            seen.insert(*event_type);
        }
    }
    assert_eq!(seen.len(), 10, "every outgoing event: {seen:?}");
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn a_set_of_events_is_a_word_and_covers_what_happens_to_a_task() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let subscriptions = [
        ("project", json!(["project"]), 2),
        ("task", json!(["task"]), 12),
        ("event", json!(["event"]), 3),
        ("both", json!(["project", "event"]), 5),
        ("stop", json!(["task.stop", "trackingtime.task.tracking_started"]), 4),
        ("pattern", json!(["trackingtime.time_entry.*"]), 3),
        ("all", json!(["*"]), 17),
    ];
    for (id, events, _) in &subscriptions {
        webhook(&daemon, "acme", id, &receiver, &json!({"events": events}));
    }
    for row in rows() {
        fires(&site, "acme", row.entity, &row.old, &row.new);
    }
    daemon.drained("acme");
    for (id, _, count) in subscriptions {
        assert_eq!(receiver.at(&format!("/{id}")).len(), count, "{id}");
    }
}

#[test]
fn a_webhook_is_for_the_whole_account_or_for_a_single_user() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    webhook(&daemon, "acme", "account", &receiver, &json!({"match": {"accountId": "1725"}}));
    webhook(&daemon, "acme", "other", &receiver, &json!({"match": {"accountId": "1726"}}));
    webhook(&daemon, "acme", "diego", &receiver, &json!({"match": {"userId": "79634"}}));
    webhook(&daemon, "acme", "eva", &receiver, &json!({"match": {"userId": "5"}}));
    webhook(
        &daemon,
        "acme",
        "assigned",
        &receiver,
        &json!({"events": ["task"], "match": {"assigneeId": "79634"}}),
    );
    let start = |actor: &str| {
        let (old, new) = (task(1, "x", false, false), task(1, "x", true, false));
        fires_by(&site, "acme", TASK, &old, &new, actor)
    };
    // The actor is who did it; of a time entry it is whose it is, if nobody is named.
    start(r#"{"id":79634}"#);
    start(r#"{"user_id":5,"id":79634}"#);
    fires(
        &site,
        "acme",
        ENTRY,
        "null",
        &entry(2, "n", 5).replace("\"id\":2", "\"id\":2,\"account_id\":1725"),
    );
    fires(
        &site,
        "acme",
        ENTRY,
        "null",
        &entry(3, "n", 79634).replace("\"id\":3", "\"id\":3,\"account_id\":1726"),
    );
    daemon.drained("acme");
    let count = |id: &str| receiver.at(&format!("/{id}")).len();
    assert_eq!(
        ["account", "other", "diego", "eva", "assigned"].map(count),
        [3, 1, 2, 2, 2],
        "{:?}",
        calls(&receiver, 0)
    );

    // An account that nothing names is the org: its number, if that is its name.
    daemon.org_only("4711");
    webhook(&daemon, "4711", "numbered", &receiver, &json!({}));
    fires(&site, "4711", PROJECT, "null", &project(1, "x", false));
    daemon.drained("4711");
    let body: Value = serde_json::from_slice(&receiver.at("/numbered")[0].body).unwrap();
    assert_eq!((&body["account_id"], &body["user_id"]), (&json!(4711), &Value::Null));
}

#[test]
fn the_token_says_who_calls_and_nothing_else_of_ours_is_sent() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    webhook(&daemon, "acme", "all", &receiver, &json!({}));
    fires(&site, "acme", PROJECT, "null", &project(1, "x", false));
    daemon.drained("acme");
    let [request] = &receiver.received()[..] else { panic!("one request") };
    assert_eq!(headers(request), ["content-type", "x-trackingtime-token"]);
    assert_eq!(request.header("x-trackingtime-token"), TOKEN);
    assert_eq!(request.header("content-type"), "application/json");
    let shown = daemon.get("/v1/orgs/acme/webhooks/all");
    assert_eq!(shown["password_set"], true);
    assert!(!shown.to_string().contains(TOKEN) && !site.log().contains(TOKEN));
}

#[test]
fn a_call_is_tried_five_times_and_then_the_next_one_is_made() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    webhook(&daemon, "acme", "all", &receiver, &json!({"events": ["project"]}));
    receiver.then(
        "/all",
        [
            Answer::Status(500),
            Answer::Status(429),
            Answer::Status(404),
            Answer::Status(503),
            Answer::Status(301),
        ],
    );
    fires(&site, "acme", PROJECT, "null", &project(1, "first", false));
    fires(&site, "acme", PROJECT, "null", &project(2, "second", false));
    wait_until("both are through", || daemon.queue("acme").is_empty());
    let bodies: Vec<_> = receiver.received().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), 6);
    assert!(bodies[..5].iter().all(|body| *body == bodies[0]), "the same bytes each time");
    assert!(bodies[5] != bodies[0]);
    let received = receiver.received();
    let waits: Vec<_> = received.windows(2).map(|pair| (pair[1].began - pair[0].began).as_millis()).collect();
    for (wait, least) in waits.iter().zip([200, 400, 800, 1600]) {
        assert!(*wait >= least, "{waits:?}");
    }
    assert_eq!(reasons(&daemon.dead_letters("acme")), [("attempts-exhausted".to_owned(), 5)]);
}

#[test]
fn the_same_change_is_fired_once_and_has_the_same_number() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    for org in ["acme", "other"] {
        daemon.org_only(org);
        webhook(&daemon, org, "all", &receiver, &json!({}));
        let body = format!(r#"{{"entity":"{PROJECT}","new":{},"id":"c-1"}}"#, project(1, "x", false));
        change(&site, org, &body).expect(202);
        change(&site, org, &body).expect(200);
        daemon.drained(org);
    }
    let numbers: Vec<Value> = receiver
        .received()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["id"].clone())
        .collect();
    assert_eq!(numbers.len(), 2);
    assert_eq!(numbers[0], numbers[1]);
}
