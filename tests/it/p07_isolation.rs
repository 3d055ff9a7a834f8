//! P7: a slow, hanging or dead receiver costs its own org only.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, PATIENCE, Receiver, Site, http, wait_until};

#[test]
fn p7_a_hanging_a_slow_and_a_dead_receiver_cost_their_own_orgs_only() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hanging", Answer::Hang);
    receiver.always("/slow", Answer::Late(Duration::from_secs(2), 200));
    // A port that nobody listens on: taken once, so that no other test gets it at this moment.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let daemon = site.start();
    daemon.org("hanging", &receiver.url("/hanging"), &json!({"timeout": "60s"}));
    daemon.org("slow", &receiver.url("/slow"), &Value::Null);
    daemon.org("dead", &format!("http://{dead}/"), &Value::Null);
    daemon.org("healthy", &receiver.url("/healthy"), &Value::Null);
    for org in ["hanging", "slow", "dead"] {
        for n in 0..20 {
            daemon.enqueue(org, &json!({"type": "t", "payload": n}));
        }
    }
    wait_until("the hanging one hangs", || !receiver.at("/hanging").is_empty());
    let start = Instant::now();
    for n in 0..50 {
        daemon.enqueue("healthy", &json!({"type": "t", "payload": n}));
    }
    daemon.drained("healthy");
    assert_eq!(receiver.at("/healthy").len(), 50);
    // Not even one slow answer fits into this time; on its own it takes a tenth of a second.
    assert!(start.elapsed() < PATIENCE / 10, "{:?}", start.elapsed());
    assert_eq!(receiver.at("/hanging").len(), 1, "still its first attempt");
}

#[test]
fn p7_a_thousand_hanging_receivers_do_not_keep_a_healthy_one_waiting() {
    const HANGING: usize = 1_000;
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    let mut lines = String::new();
    for org in 0..HANGING {
        let path = format!("/hanging/{org}");
        receiver.always(&path, Answer::Hang);
        daemon.org(&format!("org{org}"), &receiver.url(&path), &json!({"timeout": "60s"}));
        lines += &format!("{}\n", json!({"org": format!("org{org}"), "type": "t", "payload": org}));
    }
    daemon.org("healthy", &receiver.url("/healthy"), &Value::Null);
    let body = Some(("application/x-ndjson", lines.as_bytes()));
    http::request(&site.submit_socket(), "POST", "/v1/events", body).unwrap().expect(200);
    wait_until("all thousand hang", || receiver.count() == HANGING);
    assert_eq!(daemon.get("/v1/status")["in_flight"], HANGING);

    for n in 0..20 {
        let start = Instant::now();
        daemon.enqueue("healthy", &json!({"type": "t", "payload": n}));
        wait_until("it is delivered", || receiver.at("/healthy").len() > n);
        let took = start.elapsed();
        // A thirtieth of what the hanging ones take, for a busy machine; commonly it is a few milliseconds.
        assert!(took < Duration::from_secs(2), "event {n} took {took:?}");
    }
    assert_eq!(receiver.count(), HANGING + 20);
}

#[test]
fn p7_with_every_slot_hanging_a_healthy_org_still_gets_one() {
    let mut config = Site::new().config().to_owned();
    config += "[scheduler]\nmax_in_flight = 8\n";
    let site = Site::with(&config);
    let receiver = Receiver::start();
    let daemon = site.start();
    for org in 0..20 {
        let path = format!("/hanging/{org}");
        receiver.always(&path, Answer::Hang);
        // The first attempts may take every slot; once they have timed out their orgs may have three quarters.
        daemon.org(&format!("org{org}"), &receiver.url(&path), &json!({"timeout": "2s"}));
        daemon.enqueue(&format!("org{org}"), &json!({"type": "t", "payload": 1}));
    }
    daemon.org("healthy", &receiver.url("/healthy"), &Value::Null);
    wait_until("every org has failed once", || {
        (0..20).all(|org| daemon.queue(&format!("org{org}"))[0]["attempts"].as_u64() >= Some(1))
    });
    for n in 0..10 {
        let start = Instant::now();
        daemon.enqueue("healthy", &json!({"type": "t", "payload": n}));
        wait_until("it is delivered", || receiver.at("/healthy").len() > n);
        assert!(start.elapsed() < Duration::from_secs(1), "event {n} took {:?}", start.elapsed());
    }
}
