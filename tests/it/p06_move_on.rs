//! P6: after its last attempt a delivery becomes a dead letter, whole, and the next one starts at once.

use std::time::Duration;

use serde_json::json;

use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

#[test]
fn p6_after_the_last_attempt_the_next_delivery_starts_at_once() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.then("/hook", [500, 503].map(Answer::Status));
    let daemon = site.start();
    // Were there a third attempt, it would come 20 s later.
    daemon.org("acme", &receiver.url("/hook"), &retry(2, 200, 100.0, 20_000));
    let lost = daemon.enqueue("acme", &json!({"type": "t", "payload": "lost"}));
    daemon.enqueue("acme", &json!({"type": "t", "payload": "next"}));
    wait_until("the next is delivered", || receiver.count() == 3);
    let received = receiver.received();
    assert_eq!(received[2].body, "\"next\"");
    let (given_up, _) = received[1].ended.unwrap();
    let gap = received[2].began - given_up;
    assert!(gap < Duration::from_secs(2), "the next one waited {gap:?}");
    let wait = received[1].began - received[0].ended.unwrap().0;
    assert!(wait >= Duration::from_millis(200), "the second attempt came after {wait:?}");

    let dead = daemon.dead_letters("acme").remove(0);
    assert_eq!(dead["event_id"], lost["id"]);
    assert_eq!(dead["reason"], "attempts-exhausted");
    let whole = daemon.get(&format!("/v1/dead-letters/{}?payload=true", dead["id"].as_str().unwrap()));
    assert_eq!(whole["payload"], "lost");
    let statuses: Vec<_> =
        whole["attempts"].as_array().unwrap().iter().map(|attempt| attempt["status"].clone()).collect();
    assert_eq!(statuses, [500, 503]);
}

#[test]
fn p6_a_dead_letter_can_be_delivered_again_with_the_same_id_and_fresh_attempts() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.then("/hook", [500, 500, 500].map(Answer::Status));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(2, 10, 1.0, 10));
    let id = daemon.enqueue("acme", &json!({"type": "t", "payload": "again"}))["id"].clone();
    wait_until("it is given up", || daemon.dead_letters("acme").len() == 1);
    let dead = daemon.dead_letters("acme")[0]["id"].as_str().unwrap().to_owned();
    daemon.admin("POST", &format!("/v1/dead-letters/{dead}/retry"), &json!({})).expect(200);
    wait_until("it is delivered", || receiver.count() == 4);
    daemon.drained("acme");
    assert!(daemon.dead_letters("acme").is_empty());
    let received = receiver.received();
    assert!(received.iter().all(|request| id == request.id() && request.body == "\"again\""));
    let attempts: Vec<_> = received.iter().map(|request| request.number_in("postrider-attempt")).collect();
    assert_eq!(attempts, [1, 2, 1, 2]);
}
