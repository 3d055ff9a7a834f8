//! P1: an accepted event is on disk before the answer. Here it is shown through kill -9; the power goes in `tests/faults`.

use serde_json::{Value, json};

use crate::support::{Answer, Receiver, Site, http, wait_until};

#[test]
fn p1_an_accepted_event_survives_kill_9() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    let ids: Vec<_> = (0..50).map(|n| daemon.enqueue("acme", &event(n))["id"].clone()).collect();
    // The very next thing after the last answer.
    daemon.kill();

    let daemon = site.start();
    let queue = daemon.queue("acme");
    assert_eq!(queue.iter().map(|item| item["id"].clone()).collect::<Vec<_>>(), ids);
    daemon.admin("POST", "/v1/orgs/acme/resume", &json!({})).expect(200);
    wait_until("all is delivered", || receiver.count() >= ids.len());
    let bodies: Vec<_> = receiver.received().iter().map(|request| request.body.clone()).collect();
    let expected: Vec<_> = (0..50).map(|n| event(n)["payload"].to_string().into_bytes()).collect();
    assert_eq!(bodies, expected);
}

#[test]
fn p1_every_acknowledged_line_of_a_batch_survives_kill_9() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Hang);
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({"timeout": "60s"}));
    let lines: String = (0..500)
        .map(|n| {
            let mut line = event(n);
            line["org"] = json!("acme");
            format!("{line}\n")
        })
        .collect();
    let body = Some(("application/x-ndjson", lines.as_bytes()));
    let reply = http::request(&site.submit_socket(), "POST", "/v1/events", body).unwrap().expect(200);
    daemon.kill();

    let answers = reply.text();
    let ids: Vec<_> =
        answers.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].clone()).collect();
    assert_eq!(ids.len(), 500, "one answer per line");
    let daemon = site.start();
    let kept: Vec<_> = daemon.queue("acme").iter().map(|item| item["id"].clone()).collect();
    assert_eq!(kept, ids);
}

#[test]
fn p1_orgs_and_webhooks_survive_kill_9() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", "https://example.com/hook", &json!({"description": "the shop", "timeout": "3s"}));
    let before = daemon.get("/v1/orgs/acme/webhooks/main");
    daemon.kill();
    let daemon = site.start();
    assert_eq!(daemon.get("/v1/orgs/acme/webhooks/main"), before);
}

fn event(n: usize) -> Value {
    json!({"type": "order.placed", "payload": {"n": n}})
}
