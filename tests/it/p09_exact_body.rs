//! P9: the payload goes out byte for byte as it came in, the same bytes on every attempt.

use serde_json::Value;

use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, http, wait_until};

/// JSON that a parser would write differently: spaces, key order, twins, escapes, numbers that no float holds.
const PAYLOADS: [&str; 8] = [
    r#"{ "b" : 1.0e0 ,"a":	[ ] , "a":"\u00e9\/é" }"#,
    r"123456789012345678901234567890.000000000000000000010",
    r"-0",
    r"1E400",
    r#""\ud83d\ude00 😀 \u0000""#,
    "{\r\n\t\"nested\": {\"deep\": [1 , 2,\n3]}\n}",
    r"null",
    r#"{"":""}"#,
];

#[test]
fn p9_the_body_is_the_payload_byte_for_byte_on_every_attempt() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(3, 10, 1.0, 10));
    for payload in PAYLOADS {
        receiver.then("/hook", [500, 500, 200].map(Answer::Status));
        let body = format!(r#"{{"type":"t","payload":{payload}}}"#);
        let body = Some(("application/json", body.as_bytes()));
        http::request(&site.submit_socket(), "POST", "/v1/orgs/acme/events", body).unwrap().expect(202);
    }
    wait_until("all is delivered", || receiver.count() == PAYLOADS.len() * 3);
    for (request, expected) in
        receiver.received().iter().zip(PAYLOADS.iter().flat_map(|payload| [payload; 3]))
    {
        assert_eq!(request.body, *expected);
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.method, "POST");
    }
}

#[test]
fn p9_a_batch_and_a_restart_and_a_large_payload_change_no_byte() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &serde_json::json!({})).expect(200);
    // As large as it may be, and larger than any piece the store keeps it in.
    let large = format!(r#"{{ "large" : "{}" }}"#, "0123456789abcdef".repeat(65_000));
    let lines = [PAYLOADS[0], PAYLOADS[1], &large, PAYLOADS[4]];
    let body: String = lines
        .iter()
        .map(|payload| format!("{{\"org\":\"acme\",\"type\":\"t\",\"payload\":{payload}}}\n"))
        .collect();
    let body = Some(("application/x-ndjson", body.as_bytes()));
    http::request(&site.submit_socket(), "POST", "/v1/events", body).unwrap().expect(200);
    daemon.kill();
    let daemon = site.start();
    daemon.admin("POST", "/v1/orgs/acme/resume", &serde_json::json!({})).expect(200);
    wait_until("all is delivered", || receiver.count() == lines.len());
    for (request, expected) in receiver.received().iter().zip(lines) {
        assert!(request.body == expected, "{} bytes instead of {}", request.body.len(), expected.len());
    }
}
