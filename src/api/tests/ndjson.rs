//! Streams of events: one durable answer per line, in order, whatever the lines are.

use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, header};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{Fixture, send};
use crate::api::Settings;

fn request(body: impl Into<Body>) -> Request<Body> {
    Request::post("/v1/events")
        .header(header::CONTENT_TYPE, "application/x-ndjson")
        .body(body.into())
        .unwrap()
}

async fn answers(f: &Fixture, body: impl Into<Body>) -> Vec<Value> {
    let answer = send(&f.submit, request(body)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/x-ndjson");
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn every_line_gets_its_answer_and_a_bad_one_does_not_stop_the_rest() {
    let settings = Settings { max_line_bytes: 200, ..Settings::default() };
    let f = Fixture::with(settings).with_acme().await;
    f.put("/v1/orgs/other", json!({})).await.is(201);
    let long = format!(r#"{{"org":"acme","type":"a","payload":"{}"}}"#, "x".repeat(300));
    let body = [
        r#"{"org":"acme","type":"a","payload":1,"id":"one"}"#,
        "",
        "not json",
        r#"{"org":"none","type":"a","payload":1,"id":"two"}"#,
        r#"{"org":"other","type":"a","payload":1,"id":"three"}"#,
        r#"{"org":"acme","type":"a","payload":1,"id":"one"}"#,
        r#"{"org":"acme","type":"a","payload":2,"id":"one"}"#,
        &long,
        r#"{"type":"a","payload":1}"#,
        r#"{"org":"acme","type":"a b","payload":1}"#,
        "   ",
        r#"{"org":"acme","type":"a","payload":1,"id":"last"}"#,
    ]
    .join("\n");
    let answers = answers(&f, body).await;
    let code = |n: usize| answers[n]["type"].as_str().unwrap().strip_prefix("urn:postrider:").unwrap();
    assert_eq!(answers.len(), 10);
    assert_eq!(answers[0], json!({"id": "one", "sequence": 1, "deliveries": 1}));
    assert_eq!(
        (code(1), &answers[1]["status"], &answers[1]["line"]),
        ("malformed-json", &json!(400), &json!(3))
    );
    assert_eq!(
        (code(2), &answers[2]["status"], &answers[2]["id"]),
        ("unknown-org", &json!(404), &json!("two"))
    );
    assert_eq!(answers[3], json!({"id": "three", "sequence": null, "deliveries": 0}));
    assert_eq!(answers[4], json!({"id": "one", "sequence": 1, "deliveries": 1, "duplicate": true}));
    assert_eq!((code(5), &answers[5]["field"]), ("id-reused", &json!("/id")));
    assert_eq!((code(6), &answers[6]["line"]), ("payload-too-large", &json!(8)));
    assert_eq!((code(7), &answers[7]["field"]), ("invalid-field", &json!("/org")));
    assert_eq!((code(8), &answers[8]["field"]), ("invalid-field", &json!("/type")));
    assert_eq!(answers[9], json!({"id": "last", "sequence": 2, "deliveries": 1}));
    let refused = send(
        &f.submit,
        Request::post("/v1/events")
            .header("content-type", "application/json")
            .body(Body::from("{}"))
            .unwrap(),
    );
    refused.await.is_problem(415, "unsupported-media-type", None);
    assert!(super::ndjson::answers(&f, "").await.is_empty());
}

#[tokio::test]
async fn the_order_of_lines_is_the_order_of_the_queue() {
    let f = Fixture::new().with_acme().await;
    let line = |n| format!("{{\"org\":\"acme\",\"type\":\"a\",\"payload\":{n},\"id\":\"n{n}\"}}");
    let lines = (0..2000).map(line).collect::<Vec<_>>().join("\n");
    // Pieces that end anywhere.
    let pieces: Vec<_> =
        lines.as_bytes().chunks(997).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect();
    let answers = answers(&f, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(answers.len(), 2000);
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, json!({"id": format!("n{n}"), "sequence": n + 1, "deliveries": 1}));
    }
    assert_eq!(f.app.unanswered.load(Ordering::Relaxed), 0);
    assert_eq!(f.app.unread.load(Ordering::Relaxed), 0);
}

/// Sends line by line and reads each answer before the next line.
#[tokio::test]
async fn a_line_is_answered_before_the_stream_ends() {
    let f = Fixture::new().with_acme().await;
    let (lines, body) = fed_by_hand();
    let response = f.submit.clone().oneshot(request(body)).await.unwrap();
    let mut answers = response.into_body().into_data_stream();
    for n in 1..=3 {
        lines
            .send(Bytes::from(format!("{{\"org\":\"acme\",\"type\":\"a\",\"payload\":{n}}}\n")))
            .await
            .unwrap();
        let answer: Value = serde_json::from_slice(&answers.next().await.unwrap().unwrap()).unwrap();
        assert_eq!(answer["sequence"], n);
    }
    drop(lines);
    assert!(answers.next().await.is_none());
}

/// A body that is fed by hand.
fn fed_by_hand() -> (tokio::sync::mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), receiver))
    });
    (sender, Body::from_stream(body))
}

#[tokio::test]
async fn a_stream_that_breaks_off_hands_in_whole_lines_only() {
    let f = Fixture::new().with_acme().await;
    let pieces = [
        Ok(Bytes::from_static(b"{\"org\":\"acme\",\"type\":\"a\",\"payload\":1}\n{\"org\":\"acme\",\"type\":\"a\",\"payload\":2}")),
        Err(std::io::Error::other("gone")),
    ];
    let answers = answers(&f, Body::from_stream(stream::iter(pieces))).await;
    assert_eq!(answers.len(), 1);
    assert_eq!(f.get("/v1/orgs/acme/queue").await.is(200)["depth"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_line_that_has_begun_must_end_and_a_silent_stream_is_ended() {
    let f = Fixture::new();
    let started = tokio::time::Instant::now();
    let half = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"nonsense\n{\"org\":"))])
        .chain(stream::pending());
    let late = answers(&f, Body::from_stream(half)).await;
    assert_eq!(started.elapsed(), Settings::default().body_timeout);
    assert_eq!(
        (late.len(), &late[1]["type"], &late[1]["line"]),
        (2, &json!("urn:postrider:request-timeout"), &json!(2))
    );
    let started = tokio::time::Instant::now();
    let silent = stream::pending::<Result<Bytes, std::io::Error>>();
    assert!(answers(&f, Body::from_stream(silent)).await.is_empty());
    assert_eq!(started.elapsed(), Settings::default().stream_idle);
}

/// A stream that always has a line under way is not taken for a slow one.
#[tokio::test(start_paused = true)]
async fn a_slow_stream_that_goes_on_is_not_given_up() {
    let f = Fixture::new();
    let pieces = stream::iter(0..20).then(async |_| {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Ok::<_, std::io::Error>(Bytes::from_static(b"x}\n{\"half"))
    });
    assert_eq!(answers(&f, Body::from_stream(pieces)).await.len(), 21);
}

#[tokio::test]
async fn stopping_ends_a_stream_after_the_answers_to_what_was_read() {
    let f = Fixture::new().with_acme().await;
    let (lines, body) = fed_by_hand();
    let response = f.submit.clone().oneshot(request(body)).await.unwrap();
    let mut answers = response.into_body().into_data_stream();
    lines.send(Bytes::from_static(b"{\"org\":\"acme\",\"type\":\"a\",\"payload\":1}\n")).await.unwrap();
    assert!(answers.next().await.unwrap().is_ok());
    f.app.draining().cancel();
    assert!(answers.next().await.is_none(), "the stream ends although its client has not");
}

/// Answers that nobody reads are bounded: the stream stops reading, and goes on once they are read.
#[tokio::test]
async fn a_client_that_does_not_read_its_answers_is_not_read_either() {
    let f = Fixture::new();
    // No org: every line is refused at once, with an answer longer than the line.
    let piece = Bytes::from("x\n".repeat(10_000));
    let endless = stream::repeat_with(move || Ok::<_, std::io::Error>(piece.clone()));
    let response = f.submit.clone().oneshot(request(Body::from_stream(endless))).await.unwrap();
    let mut seen = 0;
    loop {
        let unread = f.app.unread.load(Ordering::Relaxed);
        if unread > 0 && unread == seen {
            break;
        }
        seen = unread;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!((8 << 20..16 << 20).contains(&seen), "{seen}");
    let mut answers = response.into_body().into_data_stream();
    for _ in 0..20 {
        answers.next().await.unwrap().unwrap();
    }
    drop(answers);
    super::wait_until("what was left is given back", || f.app.unread.load(Ordering::Relaxed) == 0).await;
}
