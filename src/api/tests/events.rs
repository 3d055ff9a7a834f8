//! Single events: accepted once durable, exact in their bytes, idempotent by id, refused with the field at fault.

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, header};
use serde_json::{Value, json};

use super::Fixture;
use crate::api::Settings;
use crate::intake::Entitlement;

const PATH: &str = "/v1/orgs/acme/events";

#[tokio::test]
async fn an_event_is_queued_for_every_webhook_that_wants_it() {
    let f = Fixture::new().with_acme().await;
    let webhook = json!({"url": "https://example.com/2", "events": ["invoice.*"]});
    f.put("/v1/orgs/acme/webhooks/invoices", webhook).await.is(201);
    let first = f.post(PATH, r#"{"type":"invoice.paid","payload":{}}"#).await.is(202);
    assert_eq!((&first["sequence"], &first["deliveries"]), (&json!(1), &json!(2)));
    assert!(first["id"].as_str().unwrap().starts_with("evt_") && first.get("duplicate").is_none());
    let second = f.post(PATH, r#"{"type":"order.paid","payload":{}}"#).await.is(202);
    assert_eq!((&second["sequence"], &second["deliveries"]), (&json!(3), &json!(1)));
    f.delete("/v1/orgs/acme/webhooks/orders").await.is(204);
    let third = f.post(PATH, r#"{"type":"order.paid","payload":{}}"#).await.is(202);
    assert_eq!((&third["sequence"], &third["deliveries"]), (&Value::Null, &json!(0)));
}

#[tokio::test]
async fn p9_the_payload_is_stored_byte_for_byte() {
    let f = Fixture::new().with_acme().await;
    let payload = "{ \"z\":1e400 ,\"a\" : \"\\u00e4\\/\u{e4}\",\"a\":[ 1.0,-0 ]\t}";
    f.event("acme", payload).await;
    let delivery = f.queue.load(f.claim("acme")).await.unwrap().unwrap();
    assert_eq!(delivery.payload, payload);
    assert_eq!(delivery.size, payload.len() as u64);
}

#[tokio::test]
async fn an_id_makes_enqueueing_idempotent() {
    let f = Fixture::new().with_acme().await;
    let body = r#"{"type":"a","payload":{"n":1},"id":"order-7"}"#;
    let first = f.post(PATH, body).await.is(202);
    let again = f.post(PATH, body).await.is(200);
    assert_eq!((&again["duplicate"], &again["sequence"]), (&json!(true), &first["sequence"]));
    let other = f.post(PATH, r#"{"type":"a","payload":{"n":2},"id":"order-7"}"#).await;
    other.is_problem(409, "id-reused", Some("/id"));
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 1);
}

#[tokio::test]
async fn what_cannot_be_accepted_is_refused_with_a_reason() {
    let f = Fixture::new().with_acme().await;
    f.post("/v1/orgs/none/events", r#"{"type":"a","payload":1}"#).await.is_problem(404, "unknown-org", None);
    for (body, status, code, field) in [
        ("", 400, "malformed-json", None),
        ("{", 400, "malformed-json", None),
        ("nonsense", 400, "malformed-json", None),
        (r#"{"type":"a","type":"b","payload":1}"#, 400, "malformed-json", None),
        (r#"{"type":"a","payload":{"x":}}"#, 400, "malformed-json", None),
        (r#"{"type":"a","payload":1,"extra":1}"#, 422, "unknown-field", Some("/extra")),
        (r#"{"payload":1}"#, 422, "invalid-field", Some("/type")),
        (r#"{"type":"a"}"#, 422, "invalid-field", Some("/payload")),
        (r#"{"type":"a","payload":1,"id":"no spaces"}"#, 422, "invalid-field", Some("/id")),
        ("[]", 422, "invalid-field", Some("")),
    ] {
        f.post(PATH, body).await.is_problem(status, code, field);
    }
    let deep = format!(r#"{{"type":"a","payload":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    f.post(PATH, deep).await.is_problem(400, "malformed-json", None);
    let attributes: serde_json::Map<_, _> = (0..33).map(|n| (n.to_string(), json!("x"))).collect();
    let body = json!({"type": "a", "payload": 1, "attributes": attributes}).to_string();
    f.post(PATH, body).await.is_problem(422, "invalid-field", Some("/attributes"));
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 0);
}

#[tokio::test]
async fn another_type_of_body_is_refused() {
    let f = Fixture::new().with_acme().await;
    let call = async |kind: Option<&str>| {
        let mut request = Request::post(PATH);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        f.call(request.body(Body::from(r#"{"type":"a","payload":1}"#)).unwrap()).await
    };
    call(Some("text/plain")).await.is_problem(415, "unsupported-media-type", None);
    call(Some("application/x-www-form-urlencoded")).await.is_problem(415, "unsupported-media-type", None);
    call(Some("application/json; charset=utf-8")).await.is(202);
    call(None).await.is(202);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_announced_or_not() {
    let f = Fixture::with(Settings { max_body_bytes: 1000, ..Settings::default() }).with_acme().await;
    let body = |payload: usize| format!(r#"{{"type":"a","payload":"{}"}}"#, "x".repeat(payload));
    let fits = body(1000 - body(0).len());
    f.post(PATH, fits.clone()).await.is(202);
    let large = body(1001 - body(0).len());
    f.post(PATH, large.clone()).await.is_problem(413, "payload-too-large", None);
    for (text, expected) in [(fits, 202), (large, 413)] {
        let pieces: Vec<_> =
            text.as_bytes().chunks(7).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
        let answer = f.post(PATH, Body::from_stream(stream::iter(pieces))).await;
        assert_eq!(answer.status, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let f = Fixture::new();
    let started = tokio::time::Instant::now();
    let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let request = Request::put("/v1/orgs/acme").body(body).unwrap();
    f.call(request).await.is_problem(408, "request-timeout", None);
    assert_eq!(started.elapsed(), Settings::default().body_timeout);
}

/// The budget is for all large bodies together; small ones do not need it.
#[tokio::test(start_paused = true)]
async fn large_bodies_wait_for_each_other_and_small_ones_do_not() {
    let f = Fixture::with(Settings { budget_bytes: 1 << 20, ..Settings::default() });
    // A little more than what is read without asking, and then nothing.
    let begun = || stream::iter([Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 20 << 10]))]);
    let hanging = || Body::from_stream(StreamExt::chain(begun(), stream::pending()));
    let first = f.call(Request::put("/v1/orgs/a").body(hanging()).unwrap());
    let second = async {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        f.call(Request::put("/v1/orgs/b").body(hanging()).unwrap()).await
    };
    let small = async {
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        f.app.budget.left()
    };
    let (first, second, free) = tokio::join!(first, second, small);
    assert_eq!(free, 0, "the first holds all of it");
    first.is_problem(408, "request-timeout", None);
    second.is_problem(408, "request-timeout", None);
    assert_eq!(f.app.budget.left(), 1 << 20, "all of it is given back");
}

#[tokio::test]
async fn only_entitled_plans_and_queues_with_room_take_events() {
    let entitlement = Entitlement::of_plans(["pro".to_owned()]);
    let f = Fixture::with(Settings { entitlement, ..Settings::default() }).with_acme().await;
    let body = r#"{"type":"a","payload":1}"#;
    f.post(PATH, body).await.is_problem(403, "org-not-entitled", None);
    f.put("/v1/orgs/acme", json!({"plan": "pro", "limits": {"deliveries": 1}})).await.is(200);
    f.post(PATH, body).await.is(202);
    let full = f.post(PATH, body).await;
    full.is_problem(429, "queue-full", None);
    assert!(full.headers.contains_key(header::RETRY_AFTER));
}
