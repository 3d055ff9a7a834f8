//! P5: pausing, disabling, a full queue, a reload, a shutdown lose nothing. What cannot be accepted is refused with a
//! reason.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Answer, Gate, Receiver, Site, wait_until};

#[test]
fn p5_a_paused_queue_is_kept_in_order_through_restarts() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({"reason": "their maintenance"})).expect(200);
    for n in 0..20 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    assert!(daemon.terminate().success());
    let daemon = site.start();
    let org = daemon.get("/v1/orgs/acme");
    assert_eq!(org["queue"]["state"], "held");
    assert_eq!(org["queue"]["depth"], 20);
    assert_eq!(receiver.count(), 0, "nothing is sent while paused");
    daemon.admin("POST", "/v1/orgs/acme/resume", &json!({})).expect(200);
    daemon.drained("acme");
    assert_eq!(bodies(&receiver), (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn p5_what_waits_for_a_disabled_or_deleted_webhook_becomes_dead_letters() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/a"), &Value::Null);
    daemon.webhook("acme", "gone", &receiver.url("/b"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    let accepted = daemon.enqueue("acme", &json!({"type": "t", "payload": {"kept": true}}));
    assert_eq!(accepted["deliveries"], 2);
    // `gone` comes before `main`.
    daemon.admin("DELETE", "/v1/orgs/acme/webhooks/gone", &Value::Null).expect(204);
    daemon.webhook("acme", "main", &receiver.url("/a"), &json!({"enabled": false}));
    let unmatched = daemon.enqueue("acme", &json!({"type": "t", "payload": {}}));
    assert_eq!((&unmatched["deliveries"], &unmatched["sequence"]), (&json!(0), &Value::Null));
    daemon.admin("POST", "/v1/orgs/acme/resume", &json!({})).expect(200);

    wait_until("both are dead letters", || daemon.dead_letters("acme").len() == 2);
    let reasons: Vec<_> = daemon.dead_letters("acme").iter().map(|dead| dead["reason"].clone()).collect();
    assert_eq!(reasons, ["webhook-deleted", "webhook-disabled"]);
    for dead in daemon.dead_letters("acme") {
        let id = dead["id"].as_str().unwrap();
        let whole = daemon.get(&format!("/v1/dead-letters/{id}?payload=true"));
        assert_eq!(whole["payload"], json!({"kept": true}));
    }
    assert_eq!(receiver.count(), 0);
}

#[test]
fn p5_a_full_queue_refuses_with_a_reason_and_takes_again_once_there_is_room() {
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let daemon = site.start();
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 3}})).expect(201);
    daemon.webhook("acme", "main", &receiver.url("/hook"), &Value::Null);
    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    let refused = daemon.try_enqueue("acme", &json!({"type": "t", "payload": 3})).unwrap().expect(429);
    assert!(refused.header("retry-after").is_some());
    assert!(refused.json()["type"].as_str().unwrap().ends_with("queue-full"), "{}", refused.text());
    assert_eq!(daemon.queue("acme").len(), 3);
    gate.open();
    daemon.drained("acme");
    daemon.enqueue("acme", &json!({"type": "t", "payload": 4}));
    wait_until("what was accepted is delivered", || receiver.count() == 4);
    assert_eq!(bodies(&receiver), ["0", "1", "2", "4"]);
}

#[test]
fn p5_a_reload_loses_nothing() {
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    for n in 0..10 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    wait_until("the head is in flight", || receiver.count() == 1);
    daemon.signal(Signal::HUP);
    wait_until("the reload is done", || site.log().contains("configuration reloaded"));
    gate.open();
    daemon.drained("acme");
    assert_eq!(bodies(&receiver), (0..10).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn p5_a_shutdown_loses_nothing_that_was_accepted_while_it_went_on() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let socket = site.submit_socket();
    let producer = std::thread::spawn(move || {
        let mut accepted = Vec::new();
        for n in 0.. {
            let event = json!({"type": "t", "payload": n});
            match crate::support::daemon::enqueue(&socket, "acme", &event) {
                Ok(reply) if reply.status == 202 => accepted.push(n.to_string()),
                _ => return accepted,
            }
        }
        accepted
    });
    wait_until("some are delivered", || receiver.count() > 20);
    assert!(daemon.terminate().success());
    let accepted = producer.join().unwrap();
    let daemon = site.start();
    daemon.drained("acme");
    assert_eq!(bodies(&receiver), accepted, "exactly once each: nothing crashed");
}

fn bodies(receiver: &Receiver) -> Vec<String> {
    receiver.received().iter().map(|request| String::from_utf8_lossy(&request.body).into_owned()).collect()
}
