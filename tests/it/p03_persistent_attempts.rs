//! P3: the attempt count and the not-before time survive a restart: never more than the configured attempts per delivery,
//! plus at most one per crash that hit while an attempt was in flight.

use serde_json::json;

use crate::support::daemon::retry;
use crate::support::{Answer, Gate, Receiver, Site, wait_until};

#[test]
fn p3_attempts_and_waits_go_on_after_a_crash_where_they_stood() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Status(500));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(3, 4_000, 1.0, 4_000));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    wait_until("the first attempt is on record", || daemon.queue("acme")[0]["attempts"] == 1);
    let head = daemon.queue("acme").remove(0);
    assert_eq!(head["last"]["status"], 500);
    let not_before: jiff::Timestamp = head["not_before"].as_str().unwrap().parse().unwrap();
    daemon.kill();
    // Most of the wait passes without a daemon: one that began the wait anew would be late by as much.
    wait_until("the wait is nearly over", || left_ms(not_before) < 1_500);
    let daemon = site.start();
    let ready = jiff::Timestamp::now();
    let again = daemon.queue("acme").remove(0);
    assert_eq!((&again["attempts"], &again["not_before"]), (&head["attempts"], &head["not_before"]));
    wait_until("the second attempt", || receiver.count() == 2);
    let second = receiver.received().remove(1);
    assert_eq!(second.number_in("postrider-attempt"), 2);
    assert!(second.at >= not_before, "{} is before {not_before}", second.at);
    let late_ms = second.at.duration_since(not_before.max(ready)).as_millis();
    assert!(late_ms < 2_000, "the wait was {late_ms} ms too long");
    assert_eq!(second.id(), receiver.received()[0].id());

    wait_until("the second attempt is on record", || daemon.queue("acme")[0]["attempts"] == 2);
    assert!(daemon.terminate().success());
    let daemon = site.start();
    wait_until("it is given up", || daemon.dead_letters("acme").len() == 1);
    assert_eq!(receiver.count(), 3, "three attempts over three lives of the daemon");
    assert_eq!(daemon.dead_letters("acme")[0]["attempts"], 3);
}

fn left_ms(until: jiff::Timestamp) -> i128 {
    until.duration_since(jiff::Timestamp::now()).as_millis()
}

#[test]
fn p3_a_crash_in_flight_costs_at_most_one_more_try() {
    const CRASHES: usize = 2;
    const ATTEMPTS: u32 = 3;
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 500));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(ATTEMPTS, 50, 1.0, 50));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    let mut daemon = daemon;
    for crash in 1..=CRASHES {
        wait_until("an attempt is in flight", || receiver.count() == crash);
        daemon.kill();
        daemon = site.start();
    }
    wait_until("an attempt is in flight", || receiver.count() == CRASHES + 1);
    gate.open();
    wait_until("it is given up", || daemon.dead_letters("acme").len() == 1);
    assert!(receiver.count() <= ATTEMPTS as usize + CRASHES, "{} tries", receiver.count());
    let dead = daemon.dead_letters("acme").remove(0);
    assert_eq!(dead["attempts"], ATTEMPTS);
}
