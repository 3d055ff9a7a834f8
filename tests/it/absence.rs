//! Team Trax's document, point by point: clients with a base URL and an Authorization, webhooks with an entity, an
//! operation, a method and a path, and the approval cycle that decides what is called.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::changes::{calls, change, fires, headers, reasons};
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

const ENTITY: &str = "absence.event";
const CREATED: &str = "absence.event.created";
const UPDATED: &str = "absence.event.updated";
const DELETED: &str = "absence.event.deleted";

/// Types: of home office and sickness no approval is needed, of vacation and training it is.
const HOME: (u32, &str, bool) = (1, "HO", false);
const SICK: (u32, &str, bool) = (4, "S1", false);
const VACATION: (u32, &str, bool) = (2, "VAC", true);
const TRAINING: (u32, &str, bool) = (3, "TRN", true);

/// An event with all its properties, in a spelling that nobody would make up again.
fn event(id: u32, (type_id, key, approval): (u32, &str, bool), status: &str, comment: &str) -> String {
    format!(
        "{{ \"id\" : {id},\n  \"eventType\":{{\"id\":{type_id}, \"name\":\"T\\u00e4\\/{key}\",\"key\":\"{key}\",\"color\":\"#ffb86e\",\
         \"approvalRequired\":{approval},\"syncToExternalCalendar\":false,\"active\":true,\"eventTypeLimit\":25.0,\"rank\":0}},\
         \"startDate\":\"2023-07-14\",\"endDate\":\"2023-07-14\",\"comment\":\"{comment}\", \"eventStatus\":\"{status}\",\
         \"eventStatusByUserId\":\"lead\",\"ownerId\":\"owner\",\"halfDayLong\":false,\"allDayLong\":true,\"customDays\":1e0,\
         \"customDuration\":1,\"tenantId\":\"tenant\",\"ownerUser\":{{\"id\":\"owner\",\"username\":\"Owner\",\"valid\":true}},\
         \"actingUser\":{{\"id\":\"lead\",\"username\":\"Lead\",\"valid\":true}} }}"
    )
}

/// An org with a client and a webhook for each operation: of its own method and path.
fn org(daemon: &Daemon<'_>, org: &str, receiver: &Receiver, settings: &Value) {
    daemon.org_only(org);
    let client = json!({
        "base_url": receiver.url("/api"), "profile": "absence",
        "authorization": {"type": "hmac-sha256", "secret": "app-secret"},
    });
    daemon.admin("PUT", &format!("/v1/orgs/{org}/clients/hr"), &client).expect(201);
    for (id, events, method, path) in [
        ("created", CREATED, "POST", "/events"),
        ("updated", UPDATED, "PUT", "/events/{eventId}"),
        ("deleted", DELETED, "DELETE", "/types/{typeId}/{typeKey}/events/{eventId}"),
    ] {
        let mut webhook = json!({"client": "hr", "path": path, "method": method, "events": [events]});
        webhook.as_object_mut().unwrap().extend(settings.as_object().cloned().unwrap_or_default());
        daemon.admin("PUT", &format!("/v1/orgs/{org}/webhooks/{id}"), &webhook).expect(201);
    }
}

/// What is done, the event before and after, and each call with whether its body is the event as it is afterwards.
type Row<'a> = (&'a str, String, String, &'a [(&'a str, bool)]);

/// The call that an operation makes with this body.
fn call(operation: &str, body: &str) -> (String, String, String) {
    let event: Value = serde_json::from_str(body).unwrap();
    let (id, of) = (&event["id"], &event["eventType"]);
    let (method, path) = match operation {
        CREATED => ("POST", "/api/events".to_owned()),
        UPDATED => ("PUT", format!("/api/events/{id}")),
        _ => ("DELETE", format!("/api/types/{}/{}/events/{id}", of["id"], of["key"].as_str().unwrap())),
    };
    (method.to_owned(), path, body.to_owned())
}

#[test]
fn each_row_of_the_approval_cycle_calls_what_the_document_says() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &Value::Null);
    let none = || "null".to_owned();
    let of = |kind, status, comment| move |id| event(id, kind, status, comment);
    let (home, sick) = (of(HOME, "APPROVED", "a"), of(SICK, "APPROVED", "a"));
    let (pending, approved, rejected) =
        (of(VACATION, "REQUESTED", "a"), of(VACATION, "APPROVED", "a"), of(VACATION, "REJECTED", "a"));
    let (other_pending, other_approved) = (of(TRAINING, "REQUESTED", "a"), of(TRAINING, "APPROVED", "a"));
    let rows: [Row<'_>; 23] = [
        ("created, no approval needed", none(), home(1), &[(CREATED, true)]),
        ("created, requested without need", none(), event(2, HOME, "REQUESTED", ""), &[(CREATED, true)]),
        ("created, to be approved", none(), pending(3), &[]),
        ("approved", pending(3), approved(3), &[(CREATED, true)]),
        ("rejected", pending(4), rejected(4), &[]),
        ("updated, no approval needed", home(5), event(5, HOME, "APPROVED", "b"), &[(UPDATED, true)]),
        ("updated, approved", approved(6), event(6, VACATION, "APPROVED", "b"), &[(UPDATED, true)]),
        ("updated, still pending", pending(7), event(7, VACATION, "REQUESTED", "b"), &[]),
        ("updated, rejected", rejected(8), event(8, VACATION, "REJECTED", "b"), &[]),
        ("nothing differs", approved(9), approved(9).replace(",\n ", ","), &[]),
        ("type without approval, no approval needed", home(10), sick(10), &[(UPDATED, true)]),
        ("type without approval, approved", approved(11), home(11), &[(UPDATED, true)]),
        ("type with approval, no approval needed", home(12), pending(12), &[(DELETED, true)]),
        ("approved again after that", pending(12), approved(12), &[(CREATED, true)]),
        ("type with approval, approved", approved(13), other_pending(13), &[(DELETED, true)]),
        ("rejected after that", other_pending(13), event(13, TRAINING, "REJECTED", "a"), &[]),
        ("approved again at once", approved(14), other_approved(14), &[(DELETED, true), (CREATED, true)]),
        ("type without approval, pending", pending(15), home(15), &[(CREATED, true)]),
        ("type with approval, pending", pending(16), other_pending(16), &[]),
        ("taken back", approved(17), rejected(17), &[(DELETED, true)]),
        ("deleted, no approval needed", home(18), none(), &[(DELETED, false)]),
        ("deleted, approved", approved(19), none(), &[(DELETED, false)]),
        ("deleted, never approved", pending(20), none(), &[(DELETED, false)]),
    ];
    for (action, old, new, expected) in rows {
        let from = receiver.count();
        let types: Vec<&str> = expected.iter().map(|(operation, _)| *operation).collect();
        assert_eq!(fires(&site, "acme", ENTITY, &old, &new), types, "{action}");
        daemon.drained("acme");
        wait_until("all is answered", || receiver.received().iter().all(|request| request.ended.is_some()));
        let made: Vec<_> = expected
            .iter()
            .map(|(operation, after)| call(operation, if *after { &new } else { &old }))
            .collect();
        assert_eq!(calls(&receiver, from), made, "{action}");
    }
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn created_comes_after_deleted_even_when_that_fails() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &retry(3, 150, 1.0, 150));
    let path = "/api/types/3/TRN/events/7";
    receiver.always(path, Answer::Status(500));
    let approved = event(7, VACATION, "APPROVED", "a");
    let (pending, again) = (event(7, TRAINING, "REQUESTED", "a"), event(7, TRAINING, "APPROVED", "a"));
    assert_eq!(fires(&site, "acme", ENTITY, &approved, &pending), [DELETED]);
    assert_eq!(fires(&site, "acme", ENTITY, &pending, &again), [CREATED]);
    daemon.drained("acme");
    let deleted = call(DELETED, &pending);
    assert_eq!(calls(&receiver, 0), [deleted.clone(), deleted.clone(), deleted, call(CREATED, &again)]);
    let received = receiver.received();
    assert!(received.windows(2).all(|pair| pair[0].ended.unwrap().0 <= pair[1].began), "one at a time");
    let waits: Vec<_> = received.windows(2).map(|pair| pair[1].began - pair[0].ended.unwrap().0).collect();
    assert!(waits[..2].iter().all(|wait| wait.as_millis() >= 150), "{waits:?}");
    assert_eq!(reasons(&daemon.dead_letters("acme")), [("attempts-exhausted".to_owned(), 3)]);

    // The same when both are of one change, and when the receiver comes round in time.
    receiver.then(path, [Answer::Status(503), Answer::Close, Answer::Status(204)]);
    let from = receiver.count();
    assert_eq!(fires(&site, "acme", ENTITY, &approved, &again), [DELETED, CREATED]);
    daemon.drained("acme");
    let deleted = call(DELETED, &again);
    assert_eq!(calls(&receiver, from), [deleted.clone(), deleted.clone(), deleted, call(CREATED, &again)]);
    assert_eq!(daemon.dead_letters("acme").len(), 1);
}

#[test]
fn a_call_is_tried_once_by_the_profile_and_the_next_one_goes_on() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &Value::Null);
    receiver.always("/api/events", Answer::Status(500));
    let (old, new) = (event(1, HOME, "APPROVED", "a"), event(1, HOME, "APPROVED", "b"));
    assert_eq!(fires(&site, "acme", ENTITY, "null", &old), [CREATED]);
    assert_eq!(fires(&site, "acme", ENTITY, &old, &new), [UPDATED]);
    daemon.drained("acme");
    assert_eq!(calls(&receiver, 0), [call(CREATED, &old), call(UPDATED, &new)]);
    assert_eq!(reasons(&daemon.dead_letters("acme")), [("attempts-exhausted".to_owned(), 1)]);
}

#[test]
fn the_authorization_is_the_clients_by_password_or_by_a_hash_of_the_body() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let basic = json!({"type": "basic", "username": "Aladdin", "password": "open sesame"});
    let hmac = json!({"type": "hmac-sha256", "secret": "app-secret"});
    for (id, authorization) in [("basic", basic), ("hmac", hmac)] {
        let client = json!({
            "base_url": receiver.url(&format!("/{id}")), "profile": "absence", "authorization": authorization,
        });
        daemon.admin("PUT", &format!("/v1/orgs/acme/clients/{id}"), &client).expect(201);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let webhook =
                json!({"client": id, "path": format!("/{method}"), "method": method, "events": [CREATED]});
            daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{id}-{method}"), &webhook).expect(201);
        }
    }
    let body = event(1, HOME, "APPROVED", "Gr\u{fc}\u{df}e");
    assert_eq!(fires(&site, "acme", ENTITY, "null", &body), [CREATED]);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 10);
    let signed = |body: &[u8]| {
        let mut mac = Hmac::<Sha256>::new_from_slice(b"app-secret").unwrap();
        mac.update(body);
        format!("HMAC-SHA256 {}", STANDARD.encode(mac.finalize().into_bytes()))
    };
    // A vector that another implementation made.
    assert_eq!(signed(br#"{"id":1}"#), "HMAC-SHA256 kBdx/em51YwVMFrSAR1PrmhmRQ98DXyDLTGFqEZI11w=");
    for request in receiver.received() {
        let bodiless = request.method == "GET";
        assert_eq!(request.body, if bodiless { "" } else { &*body }, "{}", request.path);
        let names: &[&str] = if bodiless { &["authorization"] } else { &["authorization", "content-type"] };
        assert_eq!(headers(&request), names, "{}", request.path);
        let expected = match &*request.path {
            path if path.starts_with("/basic/") => "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==".to_owned(),
            _ => signed(&request.body),
        };
        assert_eq!(request.header("authorization"), expected, "{}", request.path);
    }
    assert!(!site.log().contains("open sesame") && !site.log().contains("app-secret"));
}

#[test]
fn a_webhook_belongs_to_a_client_that_is_there_and_to_variables_that_there_are() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &Value::Null);
    let put = |client: &str, path: &str| {
        let webhook = json!({"client": client, "path": path, "events": [UPDATED]});
        daemon.admin("PUT", "/v1/orgs/acme/webhooks/other", &webhook)
    };
    assert_eq!(put("nobody", "/events").expect(422).json()["field"], "/client");
    for path in ["/events/{eventid}", "/events/{eventID}", "/{typekey}", "/{id}"] {
        assert_eq!(put("hr", path).expect(422).json()["field"], "/path", "{path}");
    }
    put("hr", "/{eventId}/{typeId}/{typeKey}").expect(201);
}

#[test]
fn a_change_is_taken_whole_and_once_or_not_at_all() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &Value::Null);
    let body =
        |id: &str, new: &str| format!(r#"{{"entity":"absence.event","old":null,"new":{new},"id":"{id}"}}"#);
    let good = event(1, HOME, "APPROVED", "a");
    let first = change(&site, "acme", &body("c1", &good)).expect(202).json();
    let again = change(&site, "acme", &body("c1", &good)).expect(200).json();
    assert_eq!((&first["events"], &again["duplicate"]), (&again["events"], &json!(true)));
    change(&site, "acme", &body("c1", &event(2, HOME, "APPROVED", "a"))).expect(409);
    for (new, field, says) in [
        (good.replace("\"eventStatus\":\"APPROVED\",", ""), "/new/eventStatus", "eventStatus"),
        (good.replace("\"key\":\"HO\"", "\"key\":\"HOME\""), "", "eventType/key"),
        ("\"c4nary\"".to_owned(), "/new", "must be an object"),
    ] {
        let refused = change(&site, "acme", &body("c2", &new)).expect(422).json();
        let text = refused.to_string();
        assert!(text.contains(says) && !text.contains("c4nary"), "{text}");
        assert!(refused["field"].as_str().unwrap_or_default().starts_with(field), "{text}");
    }
    daemon.drained("acme");
    assert_eq!(calls(&receiver, 0), [call(CREATED, &good)]);
}

#[test]
fn what_a_deletion_shows_and_whether_it_is_told_can_be_set() {
    let switches = "[catalogue]\nset = [\"absence.options.deleted_shows_old=true\", \"absence.options.deleted_only_if_announced=true\"]\n";
    let site = Site::with(&(Site::new().config().to_owned() + switches));
    let receiver = Receiver::start();
    let daemon = site.start();
    org(&daemon, "acme", &receiver, &Value::Null);
    let (approved, pending) = (event(1, VACATION, "APPROVED", "a"), event(1, TRAINING, "REQUESTED", "b"));
    let again = event(1, TRAINING, "APPROVED", "c");
    assert_eq!(fires(&site, "acme", ENTITY, &approved, &pending), [DELETED]);
    assert_eq!(fires(&site, "acme", ENTITY, &approved, &again), [DELETED, CREATED]);
    assert_eq!(fires(&site, "acme", ENTITY, &pending, "null"), [""; 0]);
    assert_eq!(fires(&site, "acme", ENTITY, &again, "null"), [DELETED]);
    daemon.drained("acme");
    let made =
        [call(DELETED, &approved), call(DELETED, &approved), call(CREATED, &again), call(DELETED, &again)];
    assert_eq!(calls(&receiver, 0), made);
}
