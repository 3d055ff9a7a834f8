//! TimeTime's document, point by point: what an organisation of it configures, and what its receiver gets.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::http::{self, Reply};
use crate::support::{Answer, Daemon, Gate, Receiver, Site, wait_until};

/// The payload that the document shows.
const DOCUMENTED: &str =
    include_str!("../../data/catalogue/timetime/examples/timetime.calendar_event.changed.json");
const BOOKED: &str = include_str!("../../data/catalogue/timetime/examples/timetime.booking.changed.json");
const UPCOMING: &str = include_str!("../../data/catalogue/timetime/examples/timetime.booking.upcoming.json");

/// The very text of a member of a JSON object.
fn member(json: &str, name: &str) -> String {
    let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
    members[name].get().to_owned()
}

/// The calendar event of the document, as it stands there.
fn calendar_event() -> String {
    member(DOCUMENTED, "new")
}

/// The same with one text in place of another that is there once.
#[track_caller]
fn edited(json: &str, from: &str, to: &str) -> String {
    assert_eq!(json.matches(from).count(), 1, "{from}");
    json.replace(from, to)
}

fn enterprise(daemon: &Daemon<'_>) {
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"plan": "enterprise"}));
}

/// An organisation with one webhook of TimeTime.
fn organisation(daemon: &Daemon<'_>, url: &str, settings: &Value) {
    enterprise(daemon);
    put(daemon, "main", url, settings).expect(201);
}

fn put(daemon: &Daemon<'_>, webhook: &str, url: &str, settings: &Value) -> Reply {
    let mut body = json!({"profile": "timetime", "url": url});
    body.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap_or_default());
    daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{webhook}"), &body)
}

#[track_caller]
fn post(site: &Site, what: &str, body: &str) -> Reply {
    let call = format!("/v1/orgs/acme/{what}");
    http::request(&site.submit_socket(), "POST", &call, Some(("application/json", body.as_bytes()))).unwrap()
}

/// Hands in a change; the types that it fired.
#[track_caller]
fn change(site: &Site, entity: &str, old: &str, new: &str) -> Vec<String> {
    let body = format!(r#"{{"entity":"{entity}","old":{old},"new":{new}}}"#);
    let answer = post(site, "changes", &body).expect(202).json();
    let types =
        answer["events"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned());
    types.collect()
}

#[test]
fn webhooks_are_for_enterprise_accounts_only() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    let url = receiver.url("/hook");
    for plan in [json!({}), json!({"plan": "team"})] {
        daemon.admin("PUT", "/v1/orgs/acme", &plan);
        let refused = put(&daemon, "main", &url, &json!({})).expect(403).json();
        assert_eq!(refused["type"], "urn:postrider:org-not-entitled");
    }
    enterprise(&daemon);
    put(&daemon, "main", &url, &json!({})).expect(201);
    post(
        &site,
        "changes",
        &format!(r#"{{"entity":"timetime.calendar_event","old":null,"new":{}}}"#, calendar_event()),
    )
    .expect(202);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 1);

    // An account that has left the plan is told so, rather than left to wait for webhooks that do not come.
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"plan": "team"})).expect(200);
    let event = format!(r#"{{"type":"CalendarEventChanged","payload":{DOCUMENTED}}}"#);
    post(&site, "events", &event).expect(403);
    assert_eq!(receiver.count(), 1);
}

#[test]
fn an_organisation_has_at_most_16_webhooks_all_of_them_different() {
    let site = Site::new();
    let daemon = site.start();
    enterprise(&daemon);
    let url = |n: usize| format!("https://receiver.example/{n}");
    for n in 0..16 {
        put(&daemon, &format!("w{n}"), &url(n), &json!({})).expect(201);
    }
    put(&daemon, "one-more", &url(16), &json!({})).expect(422);
    put(&daemon, "w3", &url(17), &json!({})).expect(200);
    let same = put(&daemon, "w4", &url(17), &json!({})).expect(422).json();
    assert_eq!(same["field"], "/url");
    // What has another profile, or none, is no webhook of TimeTime.
    daemon.webhook("acme", "other", &url(17), &json!({}));
    daemon.admin("DELETE", "/v1/orgs/acme/webhooks/w0", &Value::Null).expect(204);
    put(&daemon, "one-more", &url(16), &json!({})).expect(201);
}

#[test]
fn url_and_password_have_at_most_2048_characters() {
    let site = Site::new();
    let daemon = site.start();
    enterprise(&daemon);
    let url = |length: usize| format!("{:x<length$}", "https://receiver.example/");
    let password = |length: usize| json!({"password": "p".repeat(length)});
    put(&daemon, "main", &url(2048), &password(2048)).expect(201);
    let refused = put(&daemon, "main", &url(2049), &json!({})).expect(422).json();
    assert_eq!(refused["field"], "/url");
    let refused = put(&daemon, "main", &url(2048), &password(2049)).expect(422).json();
    assert_eq!(refused["field"], "/password");
    let shown = daemon.get("/v1/orgs/acme/webhooks/main");
    assert!(shown["password_set"] == true && !shown.to_string().contains("ppp"), "never given back");
}

#[test]
fn a_request_has_the_password_if_there_is_one_and_nothing_of_ours() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/with"), &json!({"password": "s3cr3t"}));
    put(&daemon, "second", &receiver.url("/without"), &json!({})).expect(201);
    change(&site, "timetime.calendar_event", "null", &calendar_event());
    daemon.drained("acme");
    for (path, password) in [("/with", Some("s3cr3t")), ("/without", None)] {
        let [request] = &receiver.at(path)[..] else { panic!("{path}") };
        let host = format!("127.0.0.1:{}", receiver.port());
        let length = request.body.len().to_string();
        let plain = [("content-length", &*length), ("content-type", "application/json"), ("host", &*host)];
        let expected: BTreeMap<&str, &str> =
            plain.into_iter().chain(password.map(|password| ("x-tt-webhook-password", password))).collect();
        let headers: BTreeMap<&str, &str> =
            request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!((&*request.method, headers), ("POST", expected));
    }
}

#[test]
fn webhooks_are_sent_one_by_one_in_order() {
    let (site, receiver, gate) = (Site::new(), Receiver::start(), Gate::closed());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/a"), &json!({}));
    put(&daemon, "second", &receiver.url("/b"), &json!({})).expect(201);
    for path in ["/a", "/b"] {
        receiver.always(path, Answer::Gated(gate.clone(), 202));
    }
    let name = |n: usize| edited(&calendar_event(), "Some event\"", &format!("event {n}\""));
    for n in 0..4 {
        change(&site, "timetime.calendar_event", "null", &name(n));
    }
    // One of the organisation's deliveries is in process: no other starts, to whichever webhook it goes.
    for sent in 1..=8 {
        wait_until("the next one is sent", || receiver.count() == sent);
        assert_eq!(daemon.queue("acme").len(), 9 - sent);
        gate.let_through(1);
    }
    daemon.drained("acme");
    let received = receiver.received();
    assert_eq!(received.len(), 8);
    for pair in received.windows(2) {
        assert!(pair[0].ended.unwrap().0 <= pair[1].began);
    }
    for path in ["/a", "/b"] {
        let bodies: Vec<_> = receiver.at(path).iter().map(|request| member_summary(&request.body)).collect();
        assert_eq!(bodies, ["event 0", "event 1", "event 2", "event 3"]);
    }
}

fn member_summary(body: &[u8]) -> String {
    serde_json::from_slice::<Value>(body).unwrap()["new"]["summary"].as_str().unwrap().to_owned()
}

/// What stands after a name in a line of the log.
fn logged<'a>(line: &'a str, name: &str) -> &'a str {
    let rest = line.split_once(name).unwrap_or_else(|| panic!("no {name} in {line}")).1;
    rest.split_whitespace().next().unwrap()
}

#[test]
fn ten_attempts_with_doubling_delays_then_the_next_one_at_once() {
    const WAITS_MS: [i64; 9] = [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000];
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/hook"), &json!({}));
    receiver.then("/hook", std::iter::repeat_n(Answer::Status(503), 10));
    change(&site, "timetime.calendar_event", "null", &calendar_event());
    let next = edited(&calendar_event(), "Some event\"", "The next event\"");
    change(&site, "timetime.calendar_event", "null", &next);
    // The first waits are waited for; each of the others is ended as soon as it began.
    for attempts in 1..=9 {
        wait_until("the attempt failed", || site.log().matches("not_before=").count() >= attempts);
        if attempts > 4 {
            daemon.admin("POST", "/v1/orgs/acme/queue/retry-now", &json!({})).expect(200);
        }
    }
    daemon.drained("acme");
    let received = receiver.received();
    assert_eq!(received.len(), 11, "ten attempts, then the next one");
    assert!(received[..10].iter().all(|request| request.body == received[0].body));
    assert_eq!(member_summary(&received[10].body), "The next event");
    for (pair, wait) in received.windows(2).zip(WAITS_MS).take(4) {
        let waited = pair[1].began - pair[0].ended.unwrap().0;
        assert!(waited >= Duration::from_millis(wait.unsigned_abs() - 5), "{waited:?} instead of {wait} ms");
    }
    let gap = received[10].began - received[9].ended.unwrap().0;
    assert!(gap < Duration::from_secs(5), "the next one waited {gap:?}");

    // The payload is kept, and can still be sent.
    let [dead] = &daemon.dead_letters("acme")[..] else { panic!("one is given up") };
    assert_eq!((&dead["reason"], &dead["attempts"]), (&json!("attempts-exhausted"), &json!(10)));
    let id = dead["id"].as_str().unwrap();
    let whole = daemon.get(&format!("/v1/dead-letters/{id}?payload=true"));
    let attempts = whole["attempts"].as_array().unwrap();
    let log = site.log();
    let retries: Vec<_> = log.lines().filter(|line| line.contains("not_before=")).collect();
    assert_eq!((attempts.len(), retries.len()), (10, 9));
    for ((attempt, line), wait) in attempts.iter().zip(retries).zip(WAITS_MS) {
        let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        let ended = time(attempt["at"].as_str().unwrap()) + attempt["duration_ms"].as_i64().unwrap();
        let waits = time(logged(line, "not_before=")) - ended;
        assert!((wait - 5..wait + wait / 5 + 500).contains(&waits), "{waits} instead of {wait} ms");
    }
    daemon.admin("POST", &format!("/v1/dead-letters/{id}/retry"), &json!({})).expect(200);
    wait_until("it is sent after all", || receiver.count() == 12);
    assert_eq!(receiver.received()[11].body, received[0].body);
}

#[test]
fn an_answer_of_2xx_is_enough_and_a_redirection_is_not() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/hook"), &json!({}));
    let elsewhere = vec![("location", receiver.url("/elsewhere"))];
    receiver
        .then("/hook", [Answer::Full(307, elsewhere, "".into()), Answer::Status(202), Answer::Status(204)]);
    change(&site, "timetime.calendar_event", "null", &calendar_event());
    change(&site, "timetime.calendar_event", "null", &calendar_event());
    daemon.drained("acme");
    let statuses: Vec<_> = receiver.at("/hook").iter().map(|request| request.ended.unwrap().1).collect();
    assert_eq!((statuses, receiver.count()), (vec![307, 202, 204], 3));
}

#[test]
fn a_calendar_event_is_told_when_it_is_created_or_updated() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/hook"), &json!({"events": ["CalendarEventChanged"]}));
    let created = calendar_event();
    let interval = member(&created, "interval");
    let renamed = edited(&created, "Some event\"", "Another name\"");
    // What an attendee says beside the status is no reply.
    let renamed = edited(&renamed, "\"comment\": null", "\"comment\": \"late\"");
    let cancelled = edited(&renamed, "\"CONFIRMED\"", "\"CANCELLED\"");
    let moved = edited(&cancelled, "2024-03-20T16:00:00+01:00", "2024-03-20T17:30:00+01:00");
    let declined = edited(&moved, "\"ACCEPTED\"", "\"DECLINED\"");
    let unscheduled = edited(&declined, &member(&declined, "interval"), "null");
    let everything = edited(&created, "\"ACCEPTED\"", "\"TENTATIVE\"");
    let attendee = |event: &str| {
        let attendees = member(event, "attendees");
        attendees.trim_matches(|char: char| "[]".contains(char) || char.is_whitespace()).to_owned()
    };
    let scheduled = |interval: &str| format!(r#"{{"type":"CalendarEventScheduled","interval":{interval}}}"#);
    let status = |new: &str, old: &str| {
        format!(r#"{{"type":"CalendarEventStatusChanged","new":"{new}","old":"{old}"}}"#)
    };
    let reply = |event: &str| {
        format!(r#"{{"type":"CalendarEventAttendeeReplyChange","attendee":{}}}"#, attendee(event))
    };
    let mut bodies = Vec::new();
    let null = String::from("null");
    for (old, new, diff) in [
        (&null, &created, String::new()),
        (&created, &renamed, String::new()),
        (&renamed, &cancelled, status("CANCELLED", "CONFIRMED")),
        (&cancelled, &moved, scheduled(&member(&moved, "interval"))),
        (&moved, &declined, reply(&declined)),
        (&declined, &unscheduled, scheduled("null")),
        (
            &unscheduled,
            &everything,
            [scheduled(&interval), status("CONFIRMED", "CANCELLED"), reply(&everything)].join(","),
        ),
    ] {
        assert_eq!(change(&site, "timetime.calendar_event", old, new), ["timetime.calendar_event.changed"]);
        bodies.push(format!(r#"{{"type":"CalendarEventChanged","new":{new},"semanticDiff":[{diff}]}}"#));
    }
    // Nothing changed, or nothing is left: neither created nor updated.
    assert!(change(&site, "timetime.calendar_event", &created, &created).is_empty());
    let respelled = serde_json::from_str::<Value>(&created).unwrap().to_string();
    assert_ne!(respelled, created);
    assert!(change(&site, "timetime.calendar_event", &created, &respelled).is_empty());
    assert!(change(&site, "timetime.calendar_event", &created, "null").is_empty());
    daemon.drained("acme");
    let received: Vec<_> = receiver.received().iter().map(|request| text(&request.body)).collect();
    assert_eq!(received, bodies);
    // The documented payload, but for the spaces between its members.
    let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(json(&received[0]), json(DOCUMENTED));
}

fn text(body: &[u8]) -> String {
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn bookings_are_told_with_what_they_were_and_ahead_of_their_time() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(
        &daemon,
        &receiver.url("/hook"),
        &json!({"events": ["BookingChanged", "timetime.booking.upcoming"]}),
    );
    let made = member(BOOKED, "new");
    let cancelled = edited(&made, "\"CONFIRMED\"", "\"CANCELED\"");
    for (old, new) in [("null", &made), (&*made, &cancelled)] {
        assert_eq!(change(&site, "timetime.booking", old, new), ["timetime.booking.changed"]);
    }
    assert!(change(&site, "timetime.booking", &made, &made).is_empty());
    assert!(change(&site, "timetime.booking", &made, "null").is_empty());
    let reminder = UPCOMING.trim_end();
    post(&site, "events", &format!(r#"{{"type":"UpcomingBooking","payload":{reminder}}}"#)).expect(202);
    daemon.drained("acme");
    let received: Vec<_> = receiver.received().iter().map(|request| text(&request.body)).collect();
    let told = |new: &str, old: &str| format!(r#"{{"type":"BookingChanged","new":{new},"old":{old}}}"#);
    assert_eq!(received, [told(&made, "null"), told(&cancelled, &made), reminder.to_owned()]);
}

#[test]
fn an_event_by_the_products_name_goes_out_byte_for_byte() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(
        &daemon,
        &receiver.url("/hook/{calendarId}/{eventId}"),
        &json!({"events": ["timetime.calendar_event.*"]}),
    );
    let documented = DOCUMENTED.trim_end();
    assert!(documented.contains("comment 2 🤣") && documented.contains('\n'));
    post(&site, "events", &format!(r#"{{"type":"CalendarEventChanged","payload":{documented}}}"#))
        .expect(202);
    daemon.drained("acme");
    let [request] = &receiver.received()[..] else { panic!("one is sent") };
    assert_eq!(text(&request.body), documented);
    assert_eq!(
        request.path,
        "/hook/ae0e1585-a169-4e0a-bc8a-5a7a4ce7e62b/5934c6a5-6f01-4223-8b4d-308af18be8dc"
    );
}

#[test]
fn a_webhook_can_be_for_some_events_only() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    enterprise(&daemon);
    for (path, matching) in [
        ("/calendar", json!({"calendarId": "ae0e1585-a169-4e0a-bc8a-5a7a4ce7e62b"})),
        ("/other-calendar", json!({"calendarId": "another"})),
        ("/cancelled", json!({"status": "CANCELLED"})),
        ("/tag", json!({"tag.tag 1": ["grande", "petit"]})),
        ("/other-tag", json!({"tag.tag 2": "grande"})),
        ("/accepted", json!({"attendeeStatus": "ACCEPTED"})),
        ("/status-changed", json!({"diff": "CalendarEventStatusChanged"})),
        ("/replied", json!({"diff": ["CalendarEventAttendeeReplyChange"], "status": "CONFIRMED"})),
    ] {
        put(&daemon, &path[1..], &receiver.url(path), &json!({"match": matching})).expect(201);
    }
    let created = calendar_event();
    let cancelled = edited(&created, "\"CONFIRMED\"", "\"CANCELLED\"");
    let declined = edited(&created, "\"ACCEPTED\"", "\"DECLINED\"");
    let all = ["/calendar", "/cancelled", "/tag", "/accepted", "/status-changed", "/replied"];
    for (old, new, expected) in [
        ("null", &created, &["/calendar", "/tag", "/accepted"][..]),
        (&created, &cancelled, &["/calendar", "/cancelled", "/tag", "/accepted", "/status-changed"]),
        (&created, &declined, &["/calendar", "/tag", "/replied"]),
    ] {
        let before: Vec<_> = all.iter().map(|path| receiver.at(path).len()).collect();
        change(&site, "timetime.calendar_event", old, new);
        daemon.drained("acme");
        let came: Vec<_> = all
            .iter()
            .zip(before)
            .filter(|(path, before)| receiver.at(path).len() > *before)
            .map(|(path, _)| *path)
            .collect();
        assert_eq!(came, expected);
    }
    assert!(receiver.at("/other-calendar").is_empty() && receiver.at("/other-tag").is_empty());
}

#[test]
fn what_is_no_payload_of_timetime_is_refused_and_the_member_named() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    organisation(&daemon, &receiver.url("/hook"), &json!({}));
    let summary = "s".repeat(257);
    for (from, to, place) in [
        ("\"CONFIRMED\"", "\"CANCELED\"", "/new/status"),
        ("\"status\": \"CONFIRMED\",", "", "/new"),
        ("\"Some event\"", &*format!("\"{summary}\""), "/new/summary"),
        ("\"ACCEPTED\"", "\"MAYBE\"", "/new/attendees/0/status"),
        ("\"2024-03-20T15:00:00+01:00\"", "\"2024-03-20\"", "/new/interval/inclusiveStart/dateTime"),
        ("\"grande\"", "1", "/new/tags/tag 1"),
    ] {
        let payload = edited(DOCUMENTED, from, to);
        let event = format!(r#"{{"type":"CalendarEventChanged","payload":{payload}}}"#);
        let refused = post(&site, "events", &event).expect(422).json();
        assert_eq!(refused["type"], "urn:postrider:schema-violation");
        assert_eq!(refused["field"], format!("/payload{place}"), "{refused}");
        // The same by way of a change, which is refused whole.
        let new = edited(&calendar_event(), from, to);
        let call = format!(r#"{{"entity":"timetime.calendar_event","old":null,"new":{new}}}"#);
        let refused = post(&site, "changes", &call).expect(422).json();
        assert!(refused["field"].as_str().is_some_and(|field| field.ends_with(place)), "{refused}");
    }
    let wrong = edited(DOCUMENTED, "\"CalendarEventChanged\"", "\"BookingChanged\"");
    post(&site, "events", &format!(r#"{{"type":"CalendarEventChanged","payload":{wrong}}}"#)).expect(422);
    assert!(daemon.queue("acme").is_empty() && receiver.count() == 0);
}
