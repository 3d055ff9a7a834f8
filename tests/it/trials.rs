//! `webhook test`: the same path and guard as deliveries, the exchange shown, nothing secret in it, nothing kept.

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::{Answer, Receiver, Site};

const PASSWORD: &str = "pw-canary-1";
const TOKEN: &str = "token-canary-2";

#[test]
fn the_exchange_is_shown_without_its_secrets() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let echo = format!("{PASSWORD} and {TOKEN}");
    receiver.then("/hook", [Answer::Full(200, vec![("x-echo", echo.clone())], echo.into())]);
    let webhook = json!({
        "url": receiver.url("/hook?key=query-canary-3"), "password": PASSWORD,
        "authorization": {"type": "bearer", "token": TOKEN}, "headers": {"x-key": "header-canary-4"},
        "enabled": false,
    });
    run_with(&site, &["webhook", "put", "acme", "w", "--file", "-"], &webhook.to_string()).exits(0);
    let ran = run_with(&site, &["webhook", "test", "acme", "w", "-"], r#"{"hello": 1}"#).exits(0);
    assert!(ran.out.contains("> POST ") && ran.out.contains("?key=***"), "{}", ran.out);
    assert!(
        ran.out.contains("> authorization: ***") && ran.out.contains("> webhook-id: test_"),
        "{}",
        ran.out
    );
    assert!(ran.out.contains("< 200") && ran.out.contains("delivered after"), "{}", ran.out);
    assert!(!ran.out.contains("canary"), "{}", ran.out);

    let received = &receiver.received()[0];
    assert_eq!(
        (received.body.as_ref(), received.header("x-tt-webhook-password")),
        (&b"{\"hello\": 1}"[..], PASSWORD)
    );
    assert_eq!(
        (received.header("authorization"), received.number_in("postrider-sequence")),
        (&*format!("Bearer {TOKEN}"), 0)
    );
    // Nothing of it is in the queue, and the queue's numbers do not know of it.
    assert!(daemon.queue("acme").is_empty() && daemon.dead_letters("acme").is_empty());
    assert!(!site.log().contains("canary"));
}

#[test]
fn a_failed_test_says_why_and_exits_1() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    receiver.always("/hook", Answer::Full(503, vec![], "busy".into()));
    daemon.webhook("acme", "down", &receiver.url("/hook"), &json!({}));
    daemon.webhook("acme", "inside", "https://10.1.2.3/", &json!({}));
    daemon.webhook("acme", "variable", &receiver.url("/{orderId}"), &json!({}));

    let ran = run(&site, &["webhook", "test", "acme", "down"]).exits(1);
    assert!(ran.out.contains("failed after") && ran.out.contains("< busy"), "{}", ran.out);
    let json = run(&site, &["webhook", "test", "acme", "down", "--json"]).exits(1).json();
    assert_eq!(
        (&json["outcome"], &json["status"], &json["excerpt"]),
        (&json!("failed"), &json!(503), &json!("busy"))
    );
    let json = run(&site, &["webhook", "test", "acme", "inside", "--json"]).exits(1).json();
    assert_eq!(json["error"], "address-not-allowed");
    run(&site, &["webhook", "test", "acme", "variable"]).exits(1).says("{orderId}");
    run(&site, &["webhook", "test", "acme", "variable", "--attribute", "orderId=a/b"]).exits(0);
    assert_eq!(receiver.at("/a%2Fb").len(), 1);
    run(&site, &["webhook", "test", "acme", "nothing"]).exits(2);
}

#[test]
fn a_client_and_a_rotated_secret_from_the_command_line() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let secret = site.dir().join("secret");
    std::fs::write(&secret, "app-secret\n").unwrap();
    let base = receiver.url("/api");
    let secret = secret.to_str().unwrap();
    run(&site, &["client", "put", "acme", "hr", "--base-url", &base, "--hmac-secret-file", secret]).exits(0);
    let put =
        ["webhook", "put", "acme", "w", "--client", "hr", "--path", "/events/{eventId}", "--method", "PUT"];
    run(&site, &[&put[..], &["--signing-secret-file", secret, "--signature-header", "x-signature"]].concat())
        .exits(0);
    run(&site, &["client", "delete", "acme", "hr"]).exits(1).says("cascade");
    // What is given beside a whole file would be lost: refused, not passed over.
    for beside in [&["--attempts", "3"][..], &["--bearer-file", secret], &["--disabled"]] {
        let put = [&["webhook", "put", "acme", "w", "--file", "-"][..], beside].concat();
        run_with(&site, &put, "{}").exits(64).says("--file holds the whole webhook");
    }
    run_with(&site, &["client", "put", "acme", "hr", "--file", "-", "--header", "a: b"], "{}").exits(64);
    let event = json!({"type": "t", "payload": {"id": 1}, "attributes": {"eventId": "7"}});
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    let received = &receiver.at("/api/events/7")[0];
    assert_eq!(received.header("authorization"), "HMAC-SHA256 kBdx/em51YwVMFrSAR1PrmhmRQ98DXyDLTGFqEZI11w=");
    let first = received.header("x-signature").to_owned();

    // One header carries one signature: the old secret signs for as long as it is kept, then the new one does.
    run(&site, &["webhook", "rotate-secret", "acme", "w", "--keep", "1h"]).exits(0);
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    assert_eq!(receiver.at("/api/events/7")[1].header("x-signature"), first);
    let new = run(&site, &["webhook", "rotate-secret", "acme", "w", "--keep", "0s"]).exits(0);
    assert_eq!(new.out.trim().len(), 64, "lowercase hex of 32 bytes: {}", new.out);
    daemon.enqueue("acme", &event);
    daemon.drained("acme");
    assert_ne!(receiver.at("/api/events/7")[2].header("x-signature"), first);
    run(&site, &["client", "delete", "acme", "hr", "--cascade"]).exits(0);
    assert!(daemon.list("/v1/orgs/acme/webhooks").is_empty());
}

#[test]
fn a_test_without_a_payload_sends_the_catalogues_example() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let settings = json!({"events": ["BookingChanged"]});
    daemon.webhook("acme", "main", &receiver.url("/{bookingId}"), &settings);
    let shown = run(&site, &["webhook", "test", "acme", "main"]).exits(0).out;
    assert!(
        shown.contains(&format!(
            "> {}",
            String::from_utf8_lossy(&receiver.received()[0].body).lines().next().unwrap()
        )),
        "{shown}"
    );
    assert!(!shown.contains("\"test\""), "what was not sent is not shown: {shown}");
    let answer = daemon.admin("POST", "/v1/orgs/acme/webhooks/main/test", &Value::Null).expect(200).json();
    assert_eq!(answer["outcome"], "delivered", "{answer}");
    let example = include_str!("../../data/catalogue/timetime/examples/timetime.booking.changed.json");
    let [_, request] = &receiver.received()[..] else { panic!("{:?}", receiver.received()) };
    assert_eq!(request.body, example.trim_end());
    let payload: Value = serde_json::from_str(example).unwrap();
    assert_eq!(request.path, format!("/{}", payload["new"]["id"].as_str().unwrap()));
}
