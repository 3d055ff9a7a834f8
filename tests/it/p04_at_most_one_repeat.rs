//! P4: after a crash only the one delivery that was in flight in an org may be sent again: a completed delivery is durable
//! before the org's next one starts.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::{Answer, Gate, Receiver, Site, wait_until};

#[test]
fn p4_a_crash_repeats_only_what_was_in_flight() {
    const ORGS: usize = 3;
    const EVENTS: usize = 10;
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    let daemon = site.start();
    for org in 0..ORGS {
        let path = format!("/{org}");
        receiver.then(&path, (0..5).map(|_| Answer::Status(200)));
        receiver.always(&path, Answer::Gated(gate.clone(), 200));
        daemon.org(&format!("org{org}"), &receiver.url(&path), &Value::Null);
        for n in 0..EVENTS {
            daemon.enqueue(&format!("org{org}"), &json!({"type": "t", "payload": n}));
        }
    }
    wait_until("the sixth of each org is in flight", || receiver.count() == ORGS * 6);
    daemon.kill();
    gate.open();
    let daemon = site.start();
    for org in 0..ORGS {
        daemon.drained(&format!("org{org}"));
        let bodies: Vec<_> = receiver
            .at(&format!("/{org}"))
            .iter()
            .map(|request| String::from_utf8_lossy(&request.body).into_owned())
            .collect();
        assert_eq!(bodies, ["0", "1", "2", "3", "4", "5", "5", "6", "7", "8", "9"]);
        let ids: Vec<_> =
            receiver.at(&format!("/{org}")).iter().map(|request| request.id().to_owned()).collect();
        assert_eq!(ids[5], ids[6], "the repeat has the id of the first");
    }
}

#[test]
fn p4_what_was_completed_before_the_next_began_is_never_repeated() {
    const EVENTS: usize = 12;
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let mut daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    for n in 0..EVENTS {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    let mut requests = 0;
    for crash in 1..EVENTS {
        // The head is in flight; let it through, and kill the daemon the moment its successor is seen.
        requests += 1;
        wait_until("the head is in flight", || receiver.count() == requests);
        gate.let_through(1);
        requests += 1;
        wait_until("its successor is in flight", || receiver.count() == requests);
        daemon.kill();
        daemon = site.start();
        wait_until("the successor is in flight again", || receiver.count() == requests + 1);
        assert_eq!(
            receiver.received()[requests].body,
            crash.to_string(),
            "crash {crash} turned the order back"
        );
    }
    gate.open();
    daemon.drained("acme");
    let mut times = BTreeMap::<String, usize>::new();
    for request in receiver.received() {
        *times.entry(String::from_utf8_lossy(&request.body).into_owned()).or_default() += 1;
    }
    // Each but the first was in flight at one crash.
    let once_or_twice: BTreeMap<_, _> =
        (0..EVENTS).map(|n| (n.to_string(), if n == 0 { 1 } else { 2 })).collect();
    assert_eq!(times, once_or_twice);
}
