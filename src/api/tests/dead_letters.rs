//! Dead letters over the API: listed, shown, retried and discarded, one by one and by filter.

use serde_json::{Value, json};

use super::{Fixture, failed_attempt};
use crate::model::{DeadReason, UnixMs};

/// Three dead letters of `acme` (payloads 1, 2, 3, given up at 1, 2 and 3 seconds) and one of `other`, at 4 seconds.
async fn fixture() -> Fixture {
    let f = Fixture::new().with_acme().await;
    f.put("/v1/orgs/other", json!({})).await.is(201);
    f.put("/v1/orgs/other/webhooks/w", json!({"url": "https://a.example/"})).await.is(201);
    for (org, payload) in [("acme", 1), ("acme", 2), ("acme", 3), ("other", 4)] {
        f.event(org, &payload.to_string()).await;
        let claim = f.claim(org);
        f.queue.defer(claim, failed_attempt(1), UnixMs(0)).await.unwrap();
        let reason = if payload == 3 { DeadReason::WebhookDisabled } else { DeadReason::AttemptsExhausted };
        f.queue.bury(claim, Some(failed_attempt(2)), reason, UnixMs(payload * 1000)).await.unwrap();
    }
    f
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn they_are_listed_newest_last_and_by_filter() {
    let f = fixture().await;
    let all = f.get("/v1/dead-letters").await.is(200);
    assert_eq!(ids(&all), ["1-1", "1-2", "1-3", "2-1"]);
    let first = &all["items"][0];
    assert_eq!(
        (&first["org"], &first["reason"], &first["attempts"]),
        (&json!("acme"), &json!("attempts-exhausted"), &json!(2))
    );
    assert_eq!(
        (&first["died_at"], &first["last"]["number"]),
        (&json!("1970-01-01T00:00:01.000Z"), &json!(2))
    );
    assert!(first.get("payload").is_none() && first["event_id"].as_str().unwrap().starts_with("evt_"));
    let event_id = all["items"][1]["event_id"].as_str().unwrap();
    for (query, expected) in [
        ("org=acme".to_owned(), vec!["1-1", "1-2", "1-3"]),
        ("org=acme&reason=webhook-disabled".to_owned(), vec!["1-3"]),
        ("webhook=w".to_owned(), vec!["2-1"]),
        (
            "type=order.created&since=1970-01-01T00:00:02Z&until=1970-01-01T00:00:04Z".to_owned(),
            vec!["1-2", "1-3"],
        ),
        (format!("event_id={event_id}"), vec!["1-2"]),
        ("org=nobody".to_owned(), vec![]),
    ] {
        assert_eq!(ids(&f.get(&format!("/v1/dead-letters?{query}")).await.is(200)), expected, "{query}");
    }
    assert_eq!(ids(&f.get("/v1/orgs/other/dead-letters").await.is(200)), ["2-1"]);
    f.get("/v1/orgs/none/dead-letters").await.is_problem(404, "unknown-org", None);
    f.get("/v1/dead-letters?reason=tired").await.is_problem(422, "invalid-field", Some("/reason"));
    f.get("/v1/dead-letters?since=noon").await.is_problem(422, "invalid-field", Some("/since"));
    f.get("/v1/dead-letters?orgs=a").await.is_problem(422, "unknown-field", Some("/orgs"));
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let page = f.get(&format!("/v1/dead-letters?limit=1{after}")).await.is(200);
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(seen, ["1-1", "1-2", "1-3", "2-1"]);
}

#[tokio::test]
async fn one_is_shown_whole_and_its_payload_only_when_asked_for() {
    let f = fixture().await;
    let shown = f.get("/v1/dead-letters/1-2").await.is(200);
    assert_eq!((&shown["attempts_made"], shown["attempts"].as_array().unwrap().len()), (&json!(2), 2));
    let attempt = json!({"number": 1, "at": "1970-01-01T00:00:01.000Z", "status": 503, "error": "status",
        "duration_ms": 7, "detail": "answered 503", "excerpt": "busy"});
    assert_eq!(shown["attempts"][0], attempt);
    assert!(shown.get("payload").is_none());
    let shown = f.get("/v1/dead-letters/1-2?payload=true").await.is(200);
    assert_eq!(shown["payload"], 2);
    // The event's id is a name as long as it stands for one.
    let event_id = shown["event_id"].as_str().unwrap();
    assert_eq!(f.get(&format!("/v1/dead-letters/{event_id}")).await.is(200)["id"], "1-2");
    for unknown in ["1-9", "9-1", "evt_x", "a.b", "1-2-3", "%2e"] {
        f.get(&format!("/v1/dead-letters/{unknown}")).await.is_problem(404, "unknown-dead-letter", None);
    }
}

#[tokio::test]
async fn an_events_id_that_stands_for_several_names_them() {
    let f = Fixture::new().with_acme().await;
    f.put("/v1/orgs/acme/webhooks/second", json!({"url": "https://a.example/"})).await.is(201);
    let id = f.event("acme", "1").await;
    f.post("/v1/orgs/acme/queue/skip", "").await.is(200);
    f.post("/v1/orgs/acme/queue/skip", "").await.is(200);
    for answer in [
        f.get(&format!("/v1/dead-letters/{id}")).await,
        f.delete(&format!("/v1/dead-letters/{id}")).await,
        f.post(&format!("/v1/dead-letters/{id}/retry"), "").await,
    ] {
        answer.is_problem(409, "ambiguous-id", None);
        assert_eq!(answer.json()["candidates"], json!(["1-1", "1-2"]));
    }
}

#[tokio::test]
async fn one_is_retried_or_discarded() {
    let f = fixture().await;
    let event_id = f.get("/v1/dead-letters/1-1").await.is(200)["event_id"].clone();
    let answer = f.post("/v1/dead-letters/1-1/retry", "").await.is(200);
    assert_eq!(answer, json!({"matched": 1, "retried": 1, "dry_run": false}));
    let head = f.get("/v1/orgs/acme").await.is(200)["queue"]["head"].clone();
    assert_eq!((&head["id"], &head["attempts"]), (&event_id, &json!(0)));
    f.post("/v1/dead-letters/1-1/retry", "").await.is_problem(404, "unknown-dead-letter", None);
    f.delete("/v1/dead-letters/1-2").await.is(204);
    f.delete("/v1/dead-letters/1-2").await.is_problem(404, "unknown-dead-letter", None);
    f.delete("/v1/orgs/other").await.is_problem(409, "dead-letters-kept", None);
    f.delete("/v1/orgs/other?discard=true").await.is(204);
    // Its rows go little by little: until then it is the org that is not there.
    f.post("/v1/dead-letters/2-1/retry", "").await.is(404);
}

#[tokio::test]
async fn many_are_retried_in_order_and_a_dry_run_only_counts() {
    let f = fixture().await;
    let body = json!({"org": "acme", "reason": "attempts-exhausted", "dry_run": true}).to_string();
    let answer = f.post("/v1/dead-letters/retry", body).await.is(200);
    assert_eq!(answer, json!({"matched": 2, "retried": 0, "dry_run": true}));
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 0);
    let body = json!({"filter": {"org": "acme"}}).to_string();
    let answer = f.post("/v1/dead-letters/retry", body).await.is(200);
    assert_eq!(answer, json!({"matched": 3, "retried": 3, "dry_run": false}));
    let page = f.get("/v1/orgs/acme/queue?payload=true").await.is(200);
    let payloads: Vec<_> =
        page["items"].as_array().unwrap().iter().map(|item| item["payload"].clone()).collect();
    assert_eq!(payloads, [json!(1), json!(2), json!(3)]);
    f.post("/v1/dead-letters/discard", "{}").await.is_problem(422, "invalid-field", Some("/all"));
    let answer = f.post("/v1/dead-letters/discard", r#"{"all":true}"#).await.is(200);
    assert_eq!(answer, json!({"matched": 1, "discarded": 1, "dry_run": false}));
    assert!(ids(&f.get("/v1/dead-letters").await.is(200)).is_empty());
}
