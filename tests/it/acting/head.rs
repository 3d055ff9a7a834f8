//! Dead letters retried at the head: before what waits, in their original order, through a crash at any moment.

use serde_json::{Value, json};

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::kills::asked;
use crate::support::{Answer, Daemon, Gate, Receiver, Site, wait_until};

/// Enqueues `count` events from `e{from}` on.
fn enqueue(daemon: &Daemon<'_>, from: usize, count: usize) {
    for n in from..from + count {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("e{n}"), "payload": n}));
    }
}

/// The events that wait, head first.
fn waiting(daemon: &Daemon<'_>) -> Vec<String> {
    let id = |delivery: &Value| delivery["id"].as_str().unwrap().to_owned();
    daemon.queue("acme").iter().map(id).collect()
}

fn ids(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("e{n}")).collect()
}

#[test]
fn an_outage_is_made_up_for_in_the_original_order() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(1, 1, 1.0, 1));
    enqueue(&daemon, 0, 1);
    daemon.drained("acme");
    receiver.always("/in", Answer::Status(500));
    enqueue(&daemon, 1, 3);
    wait_until("three are dead", || daemon.dead_letters("acme").len() == 3);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    enqueue(&daemon, 4, 2);

    run(&site, &["dead-letter", "retry", "--org", "acme", "--at", "front"]).exits(64).says("tail");
    let dry = ["dead-letter", "retry", "--org", "acme", "--at", "head", "--dry-run"];
    run(&site, &dry).exits(0).says("3 dead letters would be retried");
    assert_eq!((daemon.dead_letters("acme").len(), waiting(&daemon)), (3, ids(4..6)));
    // One by its id, the rest by filter: the order is the original one either way.
    run(&site, &["dead-letter", "retry", "e3", "--at", "head"]).exits(0);
    run(&site, &["dead-letter", "retry", "--org", "acme", "--at", "head", "--yes"])
        .exits(0)
        .says("2 dead letters retried");
    assert_eq!((daemon.dead_letters("acme").len(), waiting(&daemon)), (0, ids(1..6)));
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["depth"], 5);
    let first = daemon.queue("acme").remove(0);
    assert_eq!((&first["sequence"], &first["attempts"]), (&json!(2), &json!(0)));

    // They are there after a restart as well, and nothing else is tried before them.
    assert!(daemon.terminate().success());
    let daemon = site.start();
    receiver.always("/in", Answer::Status(200));
    daemon.admin("POST", "/v1/orgs/acme/resume", &json!({})).expect(200);
    daemon.drained("acme");
    let good: Vec<_> = receiver
        .received()
        .into_iter()
        .filter(|got| got.ended.is_some_and(|(_, status)| status == 200))
        .collect();
    let came: Vec<_> = good.iter().map(|got| got.id().to_owned()).collect();
    assert_eq!(came, ids(0..6));
    let sequences: Vec<_> = good.iter().map(|got| got.number_in("postrider-sequence")).collect();
    assert_eq!(sequences, [1, 2, 3, 4, 5, 6], "each has the number that it was accepted with");
}

#[test]
fn what_is_under_way_or_was_tried_stays_before_them() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(2, 1, 1.0, 1));
    receiver.then("/in", [500, 500, 500, 500].map(Answer::Status));
    enqueue(&daemon, 0, 2);
    wait_until("two are dead", || daemon.dead_letters("acme").len() == 2);
    let gate = Gate::closed();
    receiver.then("/in", [Answer::Gated(gate.clone(), 503)]);
    enqueue(&daemon, 2, 2);
    wait_until("the attempt of e2 is under way", || receiver.count() == 5);
    let retry = daemon.admin("POST", "/v1/dead-letters/e1/retry", &json!({"at": "head"})).expect(200);
    assert_eq!(retry.json()["retried"], 1);
    daemon.admin("POST", "/v1/dead-letters/retry", &json!({"org": "acme", "at": "head"})).expect(200);
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["state"], "in-flight");
    daemon.admin("POST", "/v1/dead-letters/retry", &json!({"all": true, "at": "end"})).expect(422);
    gate.open();
    daemon.drained("acme");
    let came: Vec<_> = receiver.received().iter().skip(4).map(|got| got.id().to_owned()).collect();
    assert_eq!(came, ids([2, 2, 0, 1, 3]), "the retry of e2 is overtaken by nothing");
    let all = receiver.received();
    for (one, next) in all.iter().zip(&all[1..]) {
        let (answered, _) = one.ended.unwrap();
        assert!(answered <= next.began, "two at once: {} and {}", one.id(), next.id());
    }
}

#[test]
fn a_crash_while_they_are_put_there_loses_and_doubles_none() {
    const EVENTS: usize = 120;
    let (kills, seed) = asked(6);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (site, receiver) = (Site::new(), Receiver::start());
    receiver.always("/in", Answer::Status(500));
    let mut daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(1, 1, 1.0, 1));
    enqueue(&daemon, 0, EVENTS);
    wait_until("all are dead", || daemon.dead_letters("acme").len() == EVENTS);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    enqueue(&daemon, EVENTS, 3);
    for kill in 0..kills {
        let admin = site.admin_socket();
        // Each by a call of its own, in any order, until the daemon is gone.
        let mut left: Vec<usize> = (0..EVENTS).collect();
        rng.shuffle(&mut left);
        let done = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let count = done.clone();
        let caller = std::thread::spawn(move || {
            for n in left {
                let path = format!("/v1/dead-letters/e{n}/retry");
                let body = Some(("application/json", br#"{"at":"head"}"#.as_slice()));
                if crate::support::http::request(&admin, "POST", &path, body).is_err() {
                    return;
                }
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        });
        let enough = rng.usize(1..EVENTS / 2);
        wait_until("some are back", || done.load(std::sync::atomic::Ordering::Relaxed) >= enough);
        std::thread::sleep(std::time::Duration::from_micros(rng.u64(0..5_000)));
        daemon.kill();
        caller.join().unwrap();
        daemon = site.start();
        let back = waiting(&daemon);
        let mut all: Vec<usize> = back.iter().map(|id| id[1..].parse().unwrap()).collect();
        assert!(all.is_sorted(), "seed {seed}, kill {kill}: {back:?}");
        assert!(all.len() >= enough + 3, "seed {seed}, kill {kill}: what was answered is there");
        let dead = daemon.dead_letters("acme");
        assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["depth"], all.len());
        assert_eq!(daemon.get("/v1/orgs/acme")["dead_letters"], dead.len());
        all.extend(dead.iter().map(|dead| dead["event_id"].as_str().unwrap()[1..].parse::<usize>().unwrap()));
        all.sort_unstable();
        assert_eq!(all, (0..EVENTS + 3).collect::<Vec<_>>(), "seed {seed}, kill {kill}: each is there once");
        // All that is back dies again, for the next round.
        for _ in 0..back.len() - 3 {
            daemon.admin("POST", "/v1/orgs/acme/queue/skip", &json!({})).expect(200);
        }
    }
}
