//! P2: deliveries of one org start in the order in which their events were accepted, one at a time; a retry is never
//! overtaken.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Answer, Received, Receiver, Site, wait_until};

#[test]
fn p2_deliveries_of_one_org_never_overlap_and_keep_order() {
    const ORGS: usize = 4;
    const EVENTS: usize = 40;
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    for org in 0..ORGS {
        let path = format!("/{org}");
        // Slow enough to overlap if anything could, and with failures in between.
        let wait = Duration::from_millis(3);
        let failing = [2, 5, 6, 20].map(|n| (n, 503));
        let answers = (0..EVENTS + failing.len()).map(|n| {
            Answer::Late(wait, failing.iter().find(|(at, _)| *at == n).map_or(200, |(_, status)| *status))
        });
        receiver.then(&path, answers);
        daemon.org(&format!("org{org}"), &receiver.url(&path), &retry(5, 20, 1.0, 20));
    }
    for n in 0..EVENTS {
        for org in 0..ORGS {
            daemon.enqueue(&format!("org{org}"), &json!({"type": "t", "payload": n}));
        }
    }
    for org in 0..ORGS {
        daemon.drained(&format!("org{org}"));
        let received = receiver.at(&format!("/{org}"));
        assert_eq!(received.len(), EVENTS + 4, "each failure is one more attempt");
        check_order(&received);
        let delivered: Vec<_> = received
            .iter()
            .filter(|request| request.ended.is_some_and(|(_, status)| status == 200))
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        assert_eq!(delivered, (0..EVENTS).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[test]
fn p2_a_retry_is_never_overtaken() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.then("/hook", [500, 500, 500].map(Answer::Status));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(4, 100, 1.0, 100));
    for n in 0..5 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    wait_until("all is delivered", || receiver.count() == 8);
    let bodies: Vec<_> = receiver
        .received()
        .iter()
        .map(|request| String::from_utf8_lossy(&request.body).into_owned())
        .collect();
    assert_eq!(bodies, ["0", "0", "0", "0", "1", "2", "3", "4"]);
    let attempts: Vec<_> =
        receiver.received().iter().map(|request| request.number_in("postrider-attempt")).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 1, 1, 1, 1]);
    check_order(&receiver.received());
}

#[test]
fn p2_the_webhooks_of_an_org_share_its_one_queue() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    for webhook in ["a", "b", "c"] {
        receiver.always(&format!("/{webhook}"), Answer::Late(Duration::from_millis(5), 200));
    }
    daemon.org_only("acme");
    daemon.webhook("acme", "a", &receiver.url("/a"), &json!({"events": ["order.*"]}));
    daemon.webhook("acme", "b", &receiver.url("/b"), &json!({"events": ["*"]}));
    daemon.webhook("acme", "c", &receiver.url("/c"), &json!({"events": ["user.created"]}));
    let mut expected = Vec::new();
    for _ in 0..10 {
        let placed = daemon.enqueue("acme", &json!({"type": "order.placed", "payload": {}}));
        assert_eq!(placed["deliveries"], 2);
        let created = daemon.enqueue("acme", &json!({"type": "user.created", "payload": {}}));
        assert_eq!(created["deliveries"], 2);
        expected.extend([("/a", placed.clone()), ("/b", placed), ("/b", created.clone()), ("/c", created)]);
    }
    daemon.drained("acme");
    let received = receiver.received();
    check_order(&received);
    let seen: Vec<_> =
        received.iter().map(|request| (request.path.as_str(), Value::from(request.id()))).collect();
    let expected: Vec<_> = expected.iter().map(|(path, answer)| (*path, answer["id"].clone())).collect();
    assert_eq!(seen, expected);
}

/// One at a time; sequences never go back; a new one starts only when the one before was answered.
#[track_caller]
fn check_order(received: &[Received]) {
    for pair in received.windows(2) {
        let [before, after] = pair else { unreachable!() };
        let (ended, _) = before.ended.expect("answered before the next came");
        assert!(ended <= after.began, "two in flight: {before:?} and {after:?}");
        let (a, b) = (before.number_in("postrider-sequence"), after.number_in("postrider-sequence"));
        assert!(a <= b, "sequence {b} came after {a}");
    }
    let ids: BTreeSet<_> =
        received.iter().map(|request| (request.path.clone(), request.id().to_owned())).collect();
    let sequences: BTreeSet<_> =
        received.iter().map(|request| request.number_in("postrider-sequence")).collect();
    assert_eq!(ids.len(), sequences.len(), "one sequence per delivery");
}
