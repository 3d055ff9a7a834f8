//! URLs with variables: checked when they are saved, filled in from each event, and never another place than the one that
//! was saved.

use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// Payloads that are only what the URLs need.
fn site() -> Site {
    let config = Site::new().config().to_owned() + "[intake]\nvalidate = \"off\"\n";
    Site::with(&config)
}

/// An absence as Team Trax tells it, as far as URLs are concerned.
fn absence(id: &Value) -> Value {
    json!({
        "type": "absence.event.created",
        "payload": {"id": id, "eventType": {"id": 3, "key": "VAC", "name": "Vacation"}},
    })
}

/// An org with a client `hr` at this receiver's `/api`.
fn org_with_client(daemon: &Daemon<'_>, receiver: &Receiver) {
    daemon.org_only("acme");
    let client = json!({"base_url": receiver.url("/api/")});
    daemon.admin("PUT", "/v1/orgs/acme/clients/hr", &client).expect(201);
}

#[track_caller]
fn put(daemon: &Daemon<'_>, webhook: &str, body: &Value) -> Value {
    let reply = daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{webhook}"), body);
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
    reply.json()
}

#[test]
fn each_method_reaches_the_path_that_its_event_makes() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    org_with_client(&daemon, &receiver);
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE"];
    for method in methods {
        let path = format!("/{method}/{{eventId}}?kind={{typeKey}}&type={{typeId}}");
        let webhook = json!({"client": "hr", "path": path, "method": method, "events": ["absence.event.*"]});
        put(&daemon, method, &webhook);
    }
    let event = absence(&json!(7012));
    assert_eq!(daemon.enqueue("acme", &event)["deliveries"], 5);
    daemon.drained("acme");
    for method in methods {
        let [request] = &receiver.at(&format!("/api/{method}/7012"))[..] else { panic!("{method}") };
        assert_eq!((&*request.method, &*request.query), (method, "kind=VAC&type=3"));
        let body = if method == "GET" { String::new() } else { event["payload"].to_string() };
        assert_eq!(request.body, body);
    }
    assert_eq!(receiver.count(), 5);
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn a_value_arrives_as_one_segment_and_no_log_has_it() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    let url = receiver.url("/in/{file}/end?again={file}");
    daemon.org("acme", &url, &json!({"events": ["*"]}));
    let value = "../c4nary/x?y=z&q#f@h:1\\ä {file}%2e";
    let encoded = "..%2Fc4nary%2Fx%3Fy%3Dz%26q%23f%40h%3A1%5C%C3%A4%20%7Bfile%7D%252e";
    daemon.enqueue("acme", &json!({"type": "t", "payload": {}, "attributes": {"file": value}}));
    // What the event brings itself wins over its payload.
    let mut event = absence(&json!(1));
    event["attributes"] = json!({"file": "2"});
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    let received = receiver.received();
    let places: Vec<_> = received.iter().map(|request| (&*request.path, &*request.query)).collect();
    assert_eq!(
        places,
        [(&*format!("/in/{encoded}/end"), &*format!("again={encoded}")), ("/in/2/end", "again=2")]
    );
    assert!(site.log().contains("delivered") && !site.log().contains("c4nary"));
}

#[test]
fn an_event_without_a_value_is_given_up_alone_and_can_go_out_once_the_url_is_mended() {
    let site = site();
    let receiver = Receiver::start();
    receiver.then("/api/events/1", [Answer::Status(500)]);
    let daemon = site.start();
    org_with_client(&daemon, &receiver);
    let mut webhook = json!({"client": "hr", "path": "/events/{eventId}", "events": ["absence.event.*"]});
    webhook.as_object_mut().unwrap().extend(retry(2, 10, 1.0, 10).as_object().unwrap().clone());
    put(&daemon, "main", &webhook);
    let events = [json!(1), json!(null), json!(".."), json!({"x": 1}), json!(""), json!("2")];
    let ids: Vec<_> = events.iter().map(|id| daemon.enqueue("acme", &absence(id))["id"].clone()).collect();
    daemon.drained("acme");
    let paths = |from: usize| -> Vec<_> {
        receiver
            .received()
            .into_iter()
            .skip(from)
            .map(|request| (request.path.clone(), request.id().to_owned()))
            .collect()
    };
    let sent = |path: &str, id: &Value| (path.to_owned(), id.as_str().unwrap().to_owned());
    let first = sent("/api/events/1", &ids[0]);
    assert_eq!(paths(0), [first.clone(), first, sent("/api/events/2", &ids[5])]);

    let dead = daemon.dead_letters("acme");
    let reasons: Vec<_> =
        dead.iter().map(|dead| (&dead["event_id"], &dead["reason"], &dead["attempts"])).collect();
    let (missing, invalid, none) = (json!("missing-variable"), json!("invalid-variable"), json!(0));
    assert_eq!(
        reasons,
        [
            (&ids[1], &missing, &none),
            (&ids[2], &invalid, &none),
            (&ids[3], &missing, &none),
            (&ids[4], &missing, &none)
        ]
    );

    let notes: Vec<_> = daemon.dead_letters("acme").iter().map(|dead| dead["note"].clone()).collect();
    assert!(notes.contains(&json!("{eventId} in the webhook's URL")), "{notes:?}");
    let named = "reason=\"missing-variable\" variable=\"eventId\"";
    assert_eq!(site.log().matches(named).count(), 3);

    // The webhook's settings of now count, not those of then.
    webhook["path"] = json!("/kinds/{typeKey}");
    put(&daemon, "main", &webhook);
    for dead in &dead {
        let call = format!("/v1/dead-letters/{}/retry", dead["id"].as_str().unwrap());
        daemon.admin("POST", &call, &json!({})).expect(200);
    }
    daemon.drained("acme");
    wait_until("all four are delivered", || receiver.count() == 7);
    let mended: Vec<_> = ids[1..5].iter().map(|id| sent("/api/kinds/VAC", id)).collect();
    assert_eq!(paths(3), mended);
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn what_could_never_be_filled_in_is_refused_when_it_is_saved() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    org_with_client(&daemon, &receiver);
    for (body, field, says) in [
        (
            json!({"client": "hr", "path": "/{eventid}", "events": ["absence.event.*"]}),
            "/path",
            "did you mean {eventId}?",
        ),
        (
            json!({"url": "https://a.example/{calendarID}", "events": ["CalendarEventChanged"]}),
            "/url",
            "did you mean {calendarId}?",
        ),
        (json!({"url": "https://{eventId}.example/"}), "/url", "path and query only"),
        (json!({"url": "https://a.example/{event id}"}), "/url", "spaces"),
        (json!({"url": "https://a.example/{}"}), "/url", "not the name of a variable"),
        (json!({"client": "hr", "path": "/{eventId}/.."}), "/path", "segment"),
        (json!({"client": "nobody", "path": "/"}), "/client", "nobody"),
        (json!({"client": "hr", "url": "https://a.example/"}), "/client", "not both"),
    ] {
        let reply = daemon.admin("PUT", "/v1/orgs/acme/webhooks/main", &body).expect(422).json();
        assert_eq!(reply["field"], field, "{reply}");
        assert!(reply["detail"].as_str().unwrap().contains(says), "{reply}");
    }
    let shown = put(&daemon, "main", &json!({"url": "https://a.example/{x}?token=c4nary&id={x}"}));
    assert_eq!(shown["url"], "https://a.example/{x}?token=***&id={x}");
    let refused =
        daemon.admin("PUT", "/v1/orgs/acme/webhooks/main", &json!({"url": shown["url"]})).expect(422);
    assert_eq!(refused.json()["field"], "/url");
    let shown = put(&daemon, "main", &json!({"client": "hr", "path": "/{x}?key=c4nary"}));
    assert_eq!((&shown["client"], &shown["path"]), (&json!("hr"), &json!("/{x}?key=***")));
    assert!(shown.get("url").is_none() && !site.log().contains("c4nary"));
}
