//! Orgs, webhooks, queues, status and health: what each call answers, and how each refuses.

use axum::body::Body;
use http::{Method, Request, header};
use serde_json::{Value, json};

use super::{Fixture, failed_attempt, send};
use crate::api::{App, Settings, Socket, router};
use crate::clock;
use crate::model::UnixMs;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test]
async fn an_org_is_created_replaced_shown_and_deleted() {
    let f = Fixture::new();
    let body = json!({"plan": "pro", "limits": {"deliveries": 5}, "description": "Acme"});
    let created = f.put("/v1/orgs/acme", body.clone()).await.is(201);
    assert_eq!(created["id"], "acme");
    assert_eq!(created["plan"], "pro");
    assert_eq!(created["limits"], json!({"deliveries": 5, "bytes": 1_u64 << 30}));
    assert_eq!(created["queue"]["state"], "idle");
    assert_eq!(created["queue"]["head"], Value::Null);
    assert_eq!(created["dead_letters"], 0);
    f.put("/v1/orgs/acme", body).await.is(200);
    assert_eq!(f.get("/v1/orgs/acme").await.is(200)["created_at"], created["created_at"]);
    let refused = f.put("/v1/orgs/acme", json!({"plan": 7})).await;
    refused.is_problem(422, "invalid-field", Some("/plan"));
    f.put("/v1/orgs/-a", json!({})).await.is_problem(422, "invalid-field", Some("/org"));
    assert!(f.delete("/v1/orgs/acme").await.is(204).is_null());
    f.get("/v1/orgs/acme").await.is_problem(404, "unknown-org", None);
    f.delete("/v1/orgs/acme").await.is_problem(404, "unknown-org", None);
}

#[tokio::test]
async fn a_queue_that_is_not_empty_guards_its_org() {
    let f = Fixture::new().with_acme().await;
    f.event("acme", "{}").await;
    f.delete("/v1/orgs/acme").await.is_problem(409, "queue-not-empty", None);
    f.delete("/v1/orgs/acme?discard=perhaps").await.is_problem(422, "invalid-field", Some("/discard"));
    f.delete("/v1/orgs/acme?discard=true").await.is(204);
    f.get("/v1/orgs/acme").await.is_problem(404, "unknown-org", None);
}

#[tokio::test]
async fn lists_go_page_by_page() {
    let f = Fixture::new();
    for org in ["a", "b", "c", "d", "e"] {
        f.put(&format!("/v1/orgs/{org}"), json!({})).await.is(201);
        f.put(&format!("/v1/orgs/a/webhooks/{org}"), json!({"url": "https://a.example/"})).await.is(201);
    }
    for path in ["/v1/orgs", "/v1/orgs/a/webhooks"] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = f.get(&format!("{path}?limit=2{after}")).await.is(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= 2);
            seen.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
            match page["next"].as_str() {
                Some(next) => after = format!("&after={next}"),
                None => break,
            }
        }
        assert_eq!(seen, ["a", "b", "c", "d", "e"], "{path}");
        f.get(&format!("{path}?limit=0")).await.is_problem(422, "invalid-field", Some("/limit"));
        f.get(&format!("{path}?after=x")).await.is_problem(422, "invalid-field", Some("/after"));
        f.get(&format!("{path}?lmit=1")).await.is_problem(422, "unknown-field", Some("/lmit"));
    }
}

#[tokio::test]
async fn a_webhook_is_created_replaced_shown_and_deleted() {
    let f = Fixture::new().with_acme().await;
    let path = "/v1/orgs/acme/webhooks/w";
    let body = json!({"url": "https://example.com/hook", "password": "canary", "retry": {"attempts": 3}});
    let created = f.put(path, body).await.is(201);
    assert_eq!(created["id"], "w");
    assert_eq!(created["password_set"], true);
    let defaults = json!({"attempts": 3, "first_delay": "200ms", "factor": 2, "max_delay": "10s", "jitter": 0,
            "on_exhausted": "advance"});
    assert_eq!(created["retry"], defaults);
    assert!(!f.get(path).await.is(200).to_string().contains("canary"));
    // A PUT replaces everything, the password too.
    let replaced = f.put(path, json!({"url": "https://example.com/other"})).await.is(200);
    assert_eq!(replaced["password_set"], false);
    assert_eq!(replaced["created_at"], created["created_at"]);
    let refused = f.put(path, json!({"url": "https://example.com/", "pasword": "x"})).await;
    refused.is_problem(422, "unknown-field", Some("/pasword"));
    assert!(refused.json()["detail"].as_str().unwrap().contains("password"));
    f.delete(path).await.is(204);
    f.get(path).await.is_problem(404, "unknown-webhook", None);
    f.delete(path).await.is_problem(404, "unknown-webhook", None);
    f.get("/v1/orgs/acme/webhooks/-").await.is_problem(404, "unknown-webhook", None);
    f.put("/v1/orgs/acme/webhooks/-", json!({})).await.is_problem(422, "invalid-field", Some("/webhook"));
    f.put("/v1/orgs/none/webhooks/w", json!({})).await.is_problem(404, "unknown-org", None);
}

#[tokio::test]
async fn the_queue_is_listed_head_first_with_its_state() {
    let f = Fixture::new().with_acme().await;
    let ids = [f.event("acme", "{\"n\": 1.0}").await, f.event("acme", "2").await];
    let page = f.get("/v1/orgs/acme/queue").await.is(200);
    assert_eq!((&page["state"], &page["depth"], &page["next"]), (&json!("ready"), &json!(2), &Value::Null));
    let head = &page["items"][0];
    let expected = [
        "accepted_at",
        "attempts",
        "id",
        "last",
        "not_before",
        "replay",
        "sequence",
        "size",
        "type",
        "webhook",
    ];
    assert_eq!(keys(head), expected);
    assert_eq!((&head["sequence"], &head["id"], &head["size"]), (&json!(1), &json!(ids[0]), &json!(10)));
    assert_eq!(
        (&head["attempts"], &head["last"], &head["webhook"]),
        (&json!(0), &Value::Null, &json!("orders"))
    );

    let later = UnixMs(clock::now().0 + 3_600_000);
    f.queue.defer(f.claim("acme"), failed_attempt(1), later).await.unwrap();
    let org = f.get("/v1/orgs/acme").await.is(200);
    assert_eq!((&org["queue"]["state"], &org["queue"]["depth"]), (&json!("delayed"), &json!(2)));
    let head = &org["queue"]["head"];
    assert_eq!((&head["attempts"], &head["not_before"]), (&json!(1), &json!(later.to_string())));
    assert_eq!(head["accepted_at"], org["queue"]["oldest_at"]);
    let last = &head["last"];
    assert_eq!(
        (&last["status"], &last["error"], &last["duration_ms"]),
        (&json!(503), &json!("status"), &json!(7))
    );
    assert_eq!(last["at"], "1970-01-01T00:00:01.000Z");

    let answer = f.get("/v1/orgs/acme/queue?payload=true").await;
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.contains(r#""payload":{"n": 1.0}"#), "byte for byte: {text}");
    let page = f.get("/v1/orgs/acme/queue?limit=1").await.is(200);
    let next = page["next"].as_str().unwrap();
    let page = f.get(&format!("/v1/orgs/acme/queue?limit=1&payload&after={next}")).await.is(200);
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(ids[1]), &Value::Null));
}

#[tokio::test]
async fn an_operator_acts_on_the_head() {
    let f = Fixture::new().with_acme().await;
    for call in ["queue/retry-now", "queue/skip"] {
        f.post(&format!("/v1/orgs/acme/{call}"), "").await.is_problem(409, "queue-empty", None);
        f.post(&format!("/v1/orgs/none/{call}"), "").await.is_problem(404, "unknown-org", None);
    }
    f.event("acme", "1").await;
    f.event("acme", "2").await;
    let later = UnixMs(clock::now().0 + 3_600_000);
    f.queue.defer(f.claim("acme"), failed_attempt(1), later).await.unwrap();
    assert_eq!(f.post("/v1/orgs/acme/queue/retry-now", "").await.is(200)["sequence"], 1);
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["state"], "ready");

    let skipped = f.post("/v1/orgs/acme/queue/skip", r#"{"reason":"broken"}"#).await.is(200);
    let id = skipped["dead_letter"].as_str().unwrap();
    let shown = f.get(&format!("/v1/dead-letters/{id}")).await.is(200);
    assert_eq!((&shown["reason"], &shown["note"]), (&json!("skipped"), &json!("broken")));

    let paused = f.post("/v1/orgs/acme/pause", r#"{"reason":"maintenance"}"#).await.is(200);
    assert_eq!((&paused["state"], &paused["paused"]["reason"]), (&json!("held"), &json!("maintenance")));
    assert_eq!(f.get("/v1/orgs/acme").await.is(200)["queue"]["state"], "held");
    let resumed = f.post("/v1/orgs/acme/resume", Body::empty()).await.is(200);
    assert_eq!((&resumed["state"], &resumed["paused"]), (&json!("ready"), &Value::Null));
    f.post("/v1/orgs/acme/pause", "{").await.is_problem(400, "malformed-json", None);
    f.post("/v1/orgs/acme/pause", r#"{"why":"x"}"#).await.is_problem(422, "unknown-field", Some("/why"));
    f.post("/v1/orgs/acme/pause", r#"{"reason":7}"#).await.is_problem(422, "invalid-field", Some("/reason"));
}

#[tokio::test]
async fn status_and_health_say_how_it_stands() {
    let f = Fixture::new().with_acme().await;
    f.event("acme", "1").await;
    let status = f.get("/v1/status").await.is(200);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let counts = json!({"orgs": 1, "webhooks": 1, "deliveries": 1, "dead_letters": 0, "quarantined": 0});
    assert_eq!(status["counts"], counts);
    assert_eq!(status["disk"]["live_bytes"], 1);
    assert!(status["disk"]["free_bytes"].as_u64().unwrap() > 0);
    assert_eq!((&status["store"]["health"], &status["last_error"]), (&json!("accepting"), &Value::Null));
    f.app.last_error.note(UnixMs(0), "the disk is on fire".to_owned());
    assert_eq!(f.get("/v1/status").await.is(200)["last_error"]["message"], "the disk is on fire");
    for path in ["/healthz", "/readyz"] {
        let request = Request::get(path).body(Body::empty()).unwrap();
        send(&f.submit, request).await.is(200);
    }
    f.app.draining().cancel();
    f.get("/readyz").await.is_problem(503, "not-ready", None);
    f.get("/healthz").await.is(200);
}

#[tokio::test]
async fn a_closed_store_refuses_with_a_reason() {
    let f = Fixture::new().with_acme().await;
    f.queue.close().await;
    let answer = f.post("/v1/orgs/acme/events", r#"{"type":"a","payload":1}"#).await;
    answer.is_problem(503, "storage-unavailable", None);
    assert!(answer.headers.contains_key(header::RETRY_AFTER));
    f.put("/v1/orgs/acme", json!({})).await.is_problem(503, "storage-unavailable", None);
}

#[tokio::test]
async fn reload_is_the_daemons_own() {
    let f = Fixture::new();
    f.post("/v1/reload", "").await.is_problem(409, "not-running", None);
    let reload = |result: Result<Vec<String>, String>| {
        let app = App::new(f.queue.clone(), None, Settings::default());
        router(app.with_reload(Box::new(move || result.clone())).into(), Socket::Admin)
    };
    let request = || Request::post("/v1/reload").body(Body::empty()).unwrap();
    let done = send(&reload(Ok(vec!["log.format".to_owned()])), request()).await;
    done.is(200);
    assert_eq!(done.json(), json!({"reloaded": true, "waiting_for_restart": ["log.format"]}));
    let refused = send(&reload(Err("line 3: no".to_owned())), request()).await;
    refused.is_problem(422, "reload-failed", None);
    assert_eq!(refused.json()["detail"], "line 3: no");
}

/// What each socket answers to calls that are not its own.
#[tokio::test]
async fn the_submit_socket_takes_events_and_nothing_else() {
    let f = Fixture::new().with_acme().await;
    let check = async |method: Method, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::from("x")).unwrap();
        send(&f.submit, request).await
    };
    for (method, path) in [
        (Method::GET, "/v1/orgs"),
        (Method::PUT, "/v1/orgs/acme"),
        (Method::DELETE, "/v1/orgs/acme?discard=true"),
        (Method::GET, "/v1/orgs/acme/webhooks"),
        (Method::PUT, "/v1/orgs/acme/webhooks/orders"),
        (Method::GET, "/v1/orgs/acme/queue"),
        (Method::POST, "/v1/orgs/acme/queue/skip"),
        (Method::POST, "/v1/orgs/acme/pause"),
        (Method::GET, "/v1/dead-letters"),
        (Method::GET, "/v1/dead-letters/1-1"),
        (Method::POST, "/v1/dead-letters/retry"),
        (Method::GET, "/v1/status"),
        (Method::POST, "/v1/reload"),
    ] {
        check(method, path).await.is_problem(403, "admin-socket-only", None);
    }
    for path in ["/", "/v1", "/v2/orgs", "/v1/orgs/", "/v1/orgs/acme/", "/V1/orgs", "/v1//orgs", "/metricsx"]
    {
        check(Method::GET, path).await.is_problem(404, "not-found", None);
        f.get(path).await.is_problem(404, "not-found", None);
    }
    for path in ["/v1/orgs/%ff", "/v1/orgs/%ff/queue"] {
        f.get(path).await.is_problem(404, "not-found", None);
    }
    f.put("/v1/orgs/%ff", json!({})).await.is_problem(422, "invalid-field", None);
    for path in ["/v1/orgs/..", "/v1/orgs/a%2fb", "/v1/orgs/a%0d%0ab", "/v1/orgs/%c3%a4"] {
        f.get(path).await.is_problem(404, "unknown-org", None);
        f.put(path, json!({})).await.is_problem(422, "invalid-field", Some("/org"));
    }
    let answer = check(Method::GET, "/v1/orgs/acme/events").await;
    answer.is_problem(405, "method-not-allowed", None);
    assert_eq!(answer.headers[header::ALLOW], "POST");
    let answer = f.call(Request::patch("/v1/orgs/acme").body(Body::empty()).unwrap()).await;
    answer.is_problem(405, "method-not-allowed", None);
    let allow = answer.headers[header::ALLOW].to_str().unwrap();
    assert!(["GET", "PUT", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
}
