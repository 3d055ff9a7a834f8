//! Timekit's document, point by point: bookings that move through their graphs, and who is told.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::http::{self, Reply};
use crate::support::{Answer, Daemon, Receiver, Site};

/// The booking that the document shows, escaped slash and all.
const CONFIRMED: &str = include_str!("../../data/catalogue/timekit/examples/timekit.booking.confirmed.json");

/// A signed webhook as the product documents it: the secret, the payload's text and the header's value.
const SECRET: &str = "our-shared-secret";
const SIGNED: &str = r##"{"id":"c3c071de-6901-422f-bde6-86f5eaaf8476","state":"confirmed","graph":"instant","completed":false,"created_at":"2016-11-24T13:34:54+0100","updated_at":"2016-11-24T13:34:54+0100","customers":[{"id":"65edeffb-410d-4286-9591-27548a9f31a2","name":"Marty McFly","email":"marty.mcfly@example.com","phone":"","voip":"","timezone":"Europe\/Copenhagen","meta":"{}"}],"event":{"id":"bb1817fe-8dd6-4bfc-8606-a36a5871a82b","what":"what","where":"where","description":"","rsvp":"accepted","allDay":false,"start":"2016-01-01T10:00:00+0100","end":"2016-01-01T11:00:00+0100","created_at":"2016-11-24T13:34:54+0100","updated_at":"2016-11-24T13:34:54+0100"},"calendar":{"id":"d3bbcb33-2551-4806-8330-ecdec85c0c83","provider_id":"provider_id","provider_access":"owner","provider_primary":false,"provider_sync":false,"name":"Quia nostrum voluptas quae aspernatur.","description":"Quis et nam dolor recusandae ut eos.","foregroundcolor":"#d9bfef","backgroundcolor":"#22273e","created_at":"2016-11-17T11:06:43+0100","updated_at":"2016-11-17T11:06:43+0100"}}"##;
const SIGNATURE: &str = "e71851a5cbf9ccefb57394e1c0d2e3c23059cf463d08cd7dffd84a40ed00ec02";

/// The documented booking in another state, of another graph.
fn booking(graph: &str, state: &str) -> String {
    let over = [
        "completed",
        "declined",
        "unpaid",
        "cancelled",
        "cancelled_by_customer",
        "cancelled_by_owner",
        "expired",
    ];
    SIGNED
        .replace(r#""graph":"instant""#, &format!(r#""graph":"{graph}""#))
        .replace(r#""state":"confirmed""#, &format!(r#""state":"{state}""#))
        .replace(r#""completed":false"#, &format!(r#""completed":{}"#, over.contains(&state)))
}

fn put(daemon: &Daemon<'_>, webhook: &str, url: &str, settings: &Value) -> Reply {
    let mut body = json!({"profile": "timekit", "url": url});
    body.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap_or_default());
    daemon.admin("PUT", &format!("/v1/orgs/app/webhooks/{webhook}"), &body)
}

/// An app with one webhook for all that happens.
fn app(daemon: &Daemon<'_>, url: &str, settings: &Value) {
    daemon.org_only("app");
    put(daemon, "main", url, settings).expect(201);
}

#[track_caller]
fn post(site: &Site, what: &str, body: &str) -> Reply {
    let call = format!("/v1/orgs/app/{what}");
    http::request(&site.submit_socket(), "POST", &call, Some(("application/json", body.as_bytes()))).unwrap()
}

#[track_caller]
fn change(site: &Site, old: &str, new: &str) -> Reply {
    post(site, "changes", &format!(r#"{{"entity":"timekit.booking","old":{old},"new":{new}}}"#))
}

/// Moves a booking of a graph from one state to the next; each must be told.
#[track_caller]
fn walk(site: &Site, graph: &str, states: &[&str]) {
    let mut old = "null".to_owned();
    for state in states {
        let new = booking(graph, state);
        let answer = change(site, &old, &new).expect(202).json();
        let types: Vec<_> = answer["events"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
        assert_eq!(types, [&json!(format!("timekit.booking.{state}"))]);
        old = new;
    }
}

fn bodies(receiver: &Receiver, path: &str) -> Vec<String> {
    receiver.at(path).iter().map(|request| String::from_utf8(request.body.to_vec()).unwrap()).collect()
}

#[test]
fn a_webhook_comes_every_time_a_booking_enters_a_new_state() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(&daemon, &receiver.url("/hook"), &json!({}));
    let walks: [(&str, &[&str]); 10] = [
        ("instant", &["confirmed", "rescheduled_by_customer"]),
        ("confirm_decline", &["tentative", "confirmed", "completed"]),
        ("confirm_decline", &["tentative", "declined"]),
        ("instant_payment", &["tentative", "unpaid"]),
        ("instant_payment", &["tentative", "paid", "cancelled"]),
        ("group_owner", &["tentative", "completed"]),
        ("group_customer", &["confirmed", "cancelled_by_owner"]),
        ("group_customer_payment", &["tentative", "paid", "cancelled_by_customer"]),
        ("reservation", &["reserved", "expired"]),
        ("group_customer", &["confirmed", "error"]),
    ];
    let mut expected = Vec::new();
    for (graph, states) in walks {
        walk(&site, graph, states);
        expected.extend(states.iter().map(|state| booking(graph, state)));
    }
    // The same state once more is no new state, whatever else changed; nor is a booking that is deleted.
    let (before, after) =
        (booking("instant", "confirmed"), booking("instant", "confirmed").replace("McFly", "Brown"));
    for new in [&before, &after, &"null".to_owned()] {
        assert_eq!(change(&site, &before, new).expect(202).json()["events"], json!([]));
    }
    daemon.drained("app");
    assert_eq!(bodies(&receiver, "/hook"), expected, "byte for byte, in the order of the transitions");
}

#[test]
fn a_transition_that_the_graph_does_not_have_is_refused() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(&daemon, &receiver.url("/hook"), &json!({}));
    let null = || "null".to_owned();
    for (old, new, field) in [
        (null(), booking("instant", "completed"), "/new/state"),
        (null(), booking("instant", "tentative"), "/new/state"),
        (null(), booking("reservation", "error"), "/new/state"),
        (null(), booking("walk_in", "confirmed"), "/new/graph"),
        (booking("instant", "completed"), booking("instant", "confirmed"), "/new/state"),
        (booking("instant_payment", "tentative"), booking("instant_payment", "cancelled"), "/new/state"),
        (booking("confirm_decline", "declined"), booking("confirm_decline", "confirmed"), "/new/state"),
        (booking("group_owner", "tentative"), booking("group_owner", "confirmed"), "/new/state"),
        (booking("reservation", "reserved"), booking("reservation", "error"), "/new/state"),
        (booking("instant", "confirmed"), booking("group_customer", "completed"), "/new/graph"),
        (booking("instant", "lost"), booking("instant", "completed"), "/old/state"),
    ] {
        let refused = change(&site, &old, &new).expect(422).json();
        assert_eq!(
            (&refused["type"], &refused["field"]),
            (&json!("urn:postrider:change-refused"), &json!(field))
        );
    }
    // A state outside of its graph is no payload of its type either.
    let event = format!(r#"{{"type":"timekit.booking.paid","payload":{}}}"#, booking("instant", "paid"));
    assert_eq!(post(&site, "events", &event).expect(422).json()["field"], "/payload/graph");
    assert!(daemon.queue("app").is_empty() && receiver.count() == 0);
}

#[test]
fn completed_says_whether_anything_can_still_be_done() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(&daemon, &receiver.url("/hook"), &json!({}));
    let cases = [
        ("instant_payment", "tentative", "paid", false),
        ("instant_payment", "paid", "completed", true),
        ("confirm_decline", "tentative", "declined", true),
        ("instant", "confirmed", "cancelled", true),
    ];
    for (graph, from, to, _) in cases {
        // The application has it the wrong way round.
        let (old, new) = (booking(graph, from), booking(graph, to));
        let wrong = if new.contains(r#""completed":true"#) {
            new.replace(r#""completed":true"#, r#""completed":false"#)
        } else {
            new.replace(r#""completed":false"#, r#""completed":true"#)
        };
        change(&site, &old, &wrong).expect(202);
    }
    daemon.drained("app");
    let expected: Vec<_> = cases.iter().map(|(graph, _, to, _)| booking(graph, to)).collect();
    assert_eq!(bodies(&receiver, "/hook"), expected);
    for (body, (.., completed)) in expected.iter().zip(cases) {
        assert_eq!(serde_json::from_str::<Value>(body).unwrap()["completed"], completed);
    }
}

#[test]
fn each_webhook_is_for_one_state_of_one_graph_and_there_are_as_many_as_one_wants() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org_only("app");
    let wanted = [
        ("instant", "confirmed"),
        ("group_customer", "confirmed"),
        ("instant_payment", "unpaid"),
        ("instant_payment", "paid"),
    ];
    for (graph, state) in wanted {
        let path = format!("/{graph}/{state}");
        let settings = json!({"match": {"graph": graph, "state": state}});
        put(&daemon, &format!("{graph}-{state}"), &receiver.url(&path), &settings).expect(201);
    }
    // One URL may serve many of them, and its variables tell them apart.
    for n in 0..30 {
        let settings = json!({"match": {"graph": "reservation", "state": "expired"}, "enabled": n == 0});
        put(&daemon, &format!("more-{n}"), &receiver.url("/in/{graph}/{state}/{bookingId}"), &settings)
            .expect(201);
    }
    walk(&site, "instant", &["confirmed", "cancelled"]);
    walk(&site, "instant_payment", &["tentative", "paid"]);
    walk(&site, "reservation", &["reserved", "expired"]);
    daemon.drained("app");
    let came: Vec<_> = receiver.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(
        came,
        [
            "/instant/confirmed",
            "/instant_payment/paid",
            "/in/reservation/expired/c3c071de-6901-422f-bde6-86f5eaaf8476"
        ]
    );
}

#[test]
fn a_signed_request_has_the_documented_headers_and_signature_and_nothing_of_ours() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(&daemon, &receiver.url("/signed"), &json!({"signature": {"secret": SECRET}}));
    put(&daemon, "plain", &receiver.url("/plain"), &json!({})).expect(201);
    change(&site, "null", SIGNED).expect(202);
    daemon.drained("app");
    for (path, signature) in [("/signed", Some(SIGNATURE)), ("/plain", None)] {
        let [request] = &receiver.at(path)[..] else { panic!("{path}") };
        assert_eq!(request.body, SIGNED);
        let (host, length) = (format!("127.0.0.1:{}", receiver.port()), SIGNED.len().to_string());
        let plain = [("content-length", &*length), ("content-type", "application/json"), ("host", &*host)];
        let expected: BTreeMap<&str, &str> =
            plain.into_iter().chain(signature.map(|signature| ("x-timekit-signature", signature))).collect();
        let headers: BTreeMap<&str, &str> =
            request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!((&*request.method, headers), ("POST", expected));
    }
    let shown = daemon.get("/v1/orgs/app/webhooks/main").to_string();
    assert!(shown.contains("x-timekit-signature") && !shown.contains(SECRET), "{shown}");
}

#[test]
fn the_documented_booking_goes_out_as_it_stands_and_is_signed_over_its_bytes() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(
        &daemon,
        &receiver.url("/hook"),
        &json!({"signature": {"secret": SECRET}, "events": ["timekit.booking.confirmed"]}),
    );
    let documented = CONFIRMED.trim_end();
    assert!(documented.contains(r#""Europe\/Copenhagen""#));
    post(&site, "events", &format!(r#"{{"type":"timekit.booking.confirmed","payload":{documented}}}"#))
        .expect(202);
    change(&site, "null", documented).expect(202);
    daemon.drained("app");
    assert_eq!(bodies(&receiver, "/hook"), [documented, documented]);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(documented.as_bytes());
    let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for request in receiver.received() {
        assert_eq!(request.header("x-timekit-signature"), expected);
    }
}

#[test]
fn nothing_is_tried_twice_unless_the_webhook_says_so() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    app(&daemon, &receiver.url("/once"), &json!({}));
    put(
        &daemon,
        "patient",
        &receiver.url("/twice"),
        &json!({"retry": {"attempts": 2, "schedule": ["10ms"]}, "method": "PUT"}),
    )
    .expect(201);
    receiver.then("/once", [Answer::Status(500)]);
    receiver.then("/twice", [500, 500].map(Answer::Status));
    walk(&site, "instant", &["confirmed", "completed"]);
    daemon.drained("app");
    let came: Vec<_> =
        receiver.received().iter().map(|request| format!("{} {}", request.method, request.path)).collect();
    assert_eq!(came, ["POST /once", "PUT /twice", "PUT /twice", "POST /once", "PUT /twice"]);
    let attempts: Vec<_> = daemon.dead_letters("app").iter().map(|dead| dead["attempts"].clone()).collect();
    assert_eq!(attempts, [json!(1), json!(2)]);
}
