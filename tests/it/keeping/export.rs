//! `export` and `import`: settings and what waits, without secrets, once however often it is done.

use std::os::unix::fs::MetadataExt;

use serde_json::{Value, json};

use super::text;
use crate::cli::{run, run_with};
use crate::support::{Receiver, Site, wait_until};

/// A webhook's settings, but for what every store says anew.
fn settings(mut shown: Value) -> Value {
    for name in ["created_at", "updated_at"] {
        shown.as_object_mut().unwrap().remove(name);
    }
    shown
}

#[test]
fn an_import_makes_what_was_exported_and_nothing_twice() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.admin("PUT", "/v1/orgs/plain", &json!({"plan": "pro", "description": "the \"shop\""})).expect(201);
    let base = json!({"base_url": receiver.url("")});
    daemon.admin("PUT", "/v1/orgs/plain/clients/shop", &base).expect(201);
    let schedule = json!({
        "client": "shop", "path": "/in/{eventId}", "events": ["order.*"], "match": {"user": ["7"]},
        "retry": {"schedule": ["1s", "5s"], "jitter": 0.5, "on_exhausted": "hold"}, "timeout": "3s", "faithful": true,
    });
    daemon.admin("PUT", "/v1/orgs/plain/webhooks/scheduled", &schedule).expect(201);
    daemon.webhook("plain", "all", &receiver.url("/all"), &json!({"method": "PUT"}));
    daemon
        .admin("PUT", "/v1/orgs/plain/sources/in", &json!({"kind": "token", "id_header": "X-Id"}))
        .expect(201);
    daemon.admin("POST", "/v1/orgs/plain/pause", &json!({"reason": "moving"})).expect(200);
    for number in 0..20 {
        let event = json!({"type": "order.placed", "payload": {"n": number}, "attributes": {"user": "7"}});
        daemon.enqueue("plain", &event);
    }
    let raw =
        br#"{"type":"t","id":"raw","payload":{ "price": 1.50, "big": 123456789012345678901234567890 }}"#;
    let body = Some(("application/json", &raw[..]));
    crate::support::http::request(&site.admin_socket(), "POST", "/v1/orgs/plain/events", body)
        .unwrap()
        .expect(202);
    let secret = json!({"password": "canary", "headers": {"x-key": "canary"}});
    daemon.org("secret", &receiver.url("/secret"), &secret);
    let file = site.dir().join("export.jsonl");
    run(&site, &["export", "--out", text(&file)]).exits(0).says("secrets are not in it");
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("canary"));
    assert_eq!(
        run(&site, &["export", "--org", "plain"]).exits(0).out.matches("\"org\":\"secret\"").count(),
        0
    );

    let other = Site::with(site.config());
    let there = other.start();
    let done = run(&other, &["import", text(&file), "--json"]).exits(0).json();
    assert_eq!((&done["imported"], &done["refused"]), (&json!(28), &json!(0)), "{done}");
    for webhook in ["scheduled", "all"] {
        let path = format!("/v1/orgs/plain/webhooks/{webhook}");
        assert_eq!(settings(there.get(&path)), settings(daemon.get(&path)));
    }
    let ids = |queue: Vec<Value>| -> Vec<_> {
        queue.iter().map(|item| (item["id"].clone(), item["webhook"].clone())).collect()
    };
    assert_eq!(ids(there.queue("plain")), ids(daemon.queue("plain")));
    assert_eq!(there.get("/v1/orgs/plain")["queue"]["paused"]["reason"], "moving");
    let payload = there.admin("GET", "/v1/orgs/plain/queue?payload=true&limit=1000", &Value::Null).text();
    assert!(payload.contains(r#"{ "price": 1.50, "big": 123456789012345678901234567890 }"#), "{payload}");
    // What lacks a secret waits for it, and is not taken back to that by the same import again.
    let paused = there.get("/v1/orgs/secret")["queue"]["paused"]["reason"].as_str().unwrap().to_owned();
    assert!(paused.contains("password, headers of webhook main"), "{paused}");
    there.webhook("secret", "main", &receiver.url("/secret"), &secret);
    there.admin("POST", "/v1/orgs/secret/resume", &json!({})).expect(200);
    let again = run(&other, &["import", text(&file), "--json"]).exits(0).json();
    assert_eq!((&again["known"], &again["refused"]), (&json!(23), &json!(0)), "{again}");
    assert_eq!(there.get("/v1/orgs/secret/webhooks/main")["password_set"], true);
    assert_eq!(there.queue("plain").len(), daemon.queue("plain").len());
    there.admin("POST", "/v1/orgs/plain/resume", &json!({})).expect(200);
    wait_until("what was imported is delivered", || receiver.at("/all").len() == 21);
}

#[test]
fn a_bad_line_is_told_and_the_rest_goes_on() {
    let site = Site::new();
    let daemon = site.start();
    let lines = [
        r#"{"kind":"org","org":"acme","settings":{}}"#,
        "no json",
        r#"{"kind":"dragon","org":"acme"}"#,
        r#"{"kind":"event","org":"nobody","id":"e","type":"t","payload":1}"#,
        "",
        r#"{"kind":"webhook","org":"acme","name":"w","settings":{"events":["a"]},"missing":["url"]}"#,
        r#"{"kind":"webhook","org":"acme","name":"v","settings":{"url":"https://example.com/"}}"#,
        r#"{"kind":"dead_letter","org":"acme","dead_letter":{}}"#,
    ];
    let ran = run_with(&site, &["import", "-"], &lines.join("\n")).exits(1);
    for said in
        ["line 2: ", "line 3: there is no kind", "line 4: ", "line 6: webhook w: ", "not in the export: url"]
    {
        assert!(ran.err.contains(said), "{said} is not in {}", ran.err);
    }
    assert!(ran.err.contains("2 imported, 0 known before, 1 passed over, 4 refused"), "{}", ran.err);
    assert_eq!(daemon.list("/v1/orgs/acme/webhooks").len(), 1);
}
