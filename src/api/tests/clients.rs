//! Clients, and webhooks that go to them.

use super::*;
use crate::clock;

#[tokio::test]
async fn a_client_is_created_replaced_shown_and_deleted() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let path = "/v1/orgs/acme/clients/hr";
    let body = json!({"base_url": "https://hr.example.com/api/", "description": "leave"});
    let created = f.put(path, body.clone()).await.is(201);
    assert_eq!((&created["id"], &created["webhooks"]), (&json!("hr"), &json!(0)));
    f.put(path, body).await.is(200);
    assert_eq!(f.get(path).await.is(200)["description"], "leave");
    assert_eq!(f.get("/v1/orgs/acme/clients").await.is(200)["items"][0]["id"], "hr");

    f.put(path, json!({})).await.is_problem(422, "invalid-field", Some("/base_url"));
    f.put(path, json!({"base_url": "https://a.example/?x=1"})).await.is_problem(
        422,
        "invalid-field",
        Some("/base_url"),
    );
    f.put("/v1/orgs/acme/clients/-", json!({})).await.is_problem(422, "invalid-field", Some("/client"));
    f.get("/v1/orgs/acme/clients/x").await.is_problem(404, "unknown-client", None);
    f.get("/v1/orgs/nobody/clients").await.is_problem(404, "unknown-org", None);
    f.delete(path).await.is(204);
    f.delete(path).await.is_problem(404, "unknown-client", None);
}

#[tokio::test]
async fn a_client_with_webhooks_goes_only_with_them() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let webhook = json!({"client": "hr", "path": "/events/{eventId}", "method": "put"});
    let path = "/v1/orgs/acme/webhooks/w";
    f.put(path, webhook.clone()).await.is_problem(422, "invalid-field", Some("/client"));
    f.put("/v1/orgs/acme/clients/hr", json!({"base_url": "https://hr.example.com"})).await.is(201);
    let created = f.put(path, webhook).await.is(201);
    assert_eq!(created["client"], "hr");
    assert_eq!((&created["path"], &created["method"]), (&json!("/events/{eventId}"), &json!("PUT")));
    assert_eq!(f.get("/v1/orgs/acme/clients/hr").await.is(200)["webhooks"], 1);
    // Else the client's secrets could be had by whoever may save a webhook.
    for (name, value) in [
        ("proxy", json!("http://192.0.2.1:3128")),
        ("tls", json!({"ca": crate::delivery::testing::self_signed().0})),
    ] {
        let webhook = json!({"client": "hr", "path": "/", name: value});
        f.put(path, webhook).await.is_problem(422, "invalid-field", Some(&format!("/{name}")));
    }

    f.delete("/v1/orgs/acme/clients/hr").await.is_problem(409, "client-in-use", None);
    f.delete("/v1/orgs/acme/clients/hr?cascade=true").await.is(204);
    f.get(path).await.is_problem(404, "unknown-webhook", None);
}

#[tokio::test]
async fn a_webhook_and_its_clients_authorization_do_not_share_a_header() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let (client, webhook) = ("/v1/orgs/acme/clients/hr", "/v1/orgs/acme/webhooks/w");
    let sent_in = |name: &str| {
        json!({"base_url": "https://hr.example/",
            "authorization": {"type": "header", "name": name, "value": "v"}})
    };
    let with = |name: &str| json!({"client": "hr", "path": "/", "headers": {name: "1"}});
    f.put(client, sent_in("X-Key")).await.is(201);
    let problem = f.put(webhook, with("x-key")).await;
    problem.is_problem(422, "invalid-field", Some("/headers"));
    f.put(webhook, with("x-other")).await.is(201);
    let problem = f.put(client, sent_in("X-Other")).await;
    problem.is_problem(422, "invalid-field", Some("/authorization"));
    assert_eq!(f.get(client).await.is(200)["authorization"]["name"], "x-key");
    // With an authorization of its own the client's is not sent.
    let mut own = with("x-key");
    own["authorization"] = json!({"type": "bearer", "token": "t"});
    f.put(webhook, own).await.is(200);
    f.put(client, sent_in("X-Other")).await.is(200);
}

#[tokio::test]
async fn a_webhook_is_switched_off_and_on_and_stays_what_it_is() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let path = "/v1/orgs/acme/webhooks/w";
    f.put(path, json!({"url": "https://a.example/", "password": "canary"})).await.is(201);
    let off = f.post(&format!("{path}/disable"), "").await.is(200);
    assert_eq!((&off["enabled"], &off["password_set"]), (&json!(false), &json!(true)));
    f.event("acme", "1").await;
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 0, "it matches nothing");
    assert_eq!(f.post(&format!("{path}/enable"), "{}").await.is(200)["enabled"], true);
    f.event("acme", "2").await;
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 1);
    f.post("/v1/orgs/acme/webhooks/x/enable", "").await.is_problem(404, "unknown-webhook", None);
    f.post(&format!("{path}/test"), "").await.is_problem(409, "not-running", None);
}

#[tokio::test]
async fn an_event_must_have_the_attributes_that_a_webhook_asks_for() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let webhook =
        json!({"url": "https://a.example/", "match": {"graph": "instant", "state": ["paid", "unpaid"]}});
    f.put("/v1/orgs/acme/webhooks/w", webhook).await.is(201);
    for (attributes, deliveries) in [
        (json!({"graph": "instant", "state": "paid"}), 1),
        (json!({"graph": "instant", "state": "unpaid", "more": "x"}), 1),
        (json!({"graph": "instant", "state": "declined"}), 0),
        (json!({"graph": "instant"}), 0),
        (json!({}), 0),
    ] {
        let event = json!({"type": "a", "payload": 1, "attributes": attributes});
        let answer = f.post("/v1/orgs/acme/events", event.to_string()).await.is(202);
        assert_eq!(answer["deliveries"], deliveries, "{event}");
    }
}

#[tokio::test]
async fn a_signing_secret_is_rotated_and_shown_once() {
    let f = Fixture::new();
    f.put("/v1/orgs/acme", json!({})).await.is(201);
    let path = "/v1/orgs/acme/webhooks/w";
    let rotate = format!("{path}/rotate-secret");
    f.put(path, json!({"url": "https://a.example/"})).await.is(201);
    f.post(&rotate, "").await.is_problem(409, "not-signed", None);

    let first = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signature = json!({"type": "standard", "secret": first});
    f.put(path, json!({"url": "https://a.example/", "signature": signature})).await.is(200);
    let answer = f.post(&rotate, r#"{"keep":"1h"}"#).await.is(200);
    let new = answer["secret"].as_str().unwrap();
    assert!(new.starts_with("whsec_") && new != first, "{new}");
    let until = UnixMs::parse(answer["previous_valid_until"].as_str().unwrap()).unwrap();
    assert!(until.since(clock::now()) > Duration::from_secs(3500));
    let shown = f.get(path).await.is(200);
    let secrets = shown["signature"]["secrets"].as_array().unwrap();
    assert_eq!((secrets.len(), &secrets[0]["valid_until"]), (2, &Value::Null));
    assert_eq!(secrets[1]["valid_until"], answer["previous_valid_until"]);
    assert!(!shown.to_string().contains(new) && !shown.to_string().contains(first));

    f.post(&rotate, r#"{"secret":"whsec_short"}"#).await.is_problem(422, "invalid-field", Some("/secret"));
    f.post(&rotate, r#"{"keep":"31d"}"#).await.is_problem(422, "invalid-field", Some("/keep"));
    let given = json!({"secret": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}).to_string();
    assert_eq!(
        f.post(&rotate, given).await.is(200)["secret"],
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    );

    // The one that leaked is to end at once: the same new secret again, and nothing kept.
    for keep in ["1h", "0s"] {
        let given = json!({"secret": "whsec_BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA=", "keep": keep});
        f.post(&rotate, given.to_string()).await.is(200);
    }
    let shown = f.get(path).await.is(200);
    assert_eq!(shown["signature"]["secrets"].as_array().unwrap().len(), 1, "{shown}");
}
