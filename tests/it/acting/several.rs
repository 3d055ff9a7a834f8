//! Several queues with one command: by name, from stdin, or all.

use serde_json::json;

use crate::cli::{run, run_with};
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

#[test]
fn several_queues_are_acted_on_at_once_and_counted() {
    let (site, receiver) = (Site::new(), Receiver::start());
    receiver.always("/in", Answer::Status(503));
    let daemon = site.start();
    for org in ["a", "b", "c"] {
        daemon.org(org, &receiver.url("/in"), &retry(5, 3_600_000, 1.0, 3_600_000));
        daemon.enqueue(org, &json!({"type": "t", "payload": org}));
        daemon.enqueue(org, &json!({"type": "t", "payload": "next"}));
    }
    daemon.org("idle", &receiver.url("/in"), &json!({}));
    let waits = |org: &str| daemon.get(&format!("/v1/orgs/{org}"))["queue"]["state"] == "delayed";
    wait_until("all three wait an hour for their retry", || ["a", "b", "c"].into_iter().all(waits));

    let paused =
        run_with(&site, &["queue", "pause", "a", "-", "--reason", "their move"], "b\nnobody\n").exits(2);
    paused.says("nobody: ").says("2 queues paused");
    run(&site, &["queue", "retry-now"]).exits(64);
    run(&site, &["queue", "retry-now", "a", "--all"]).exits(64);
    // Only what waits: neither the paused ones nor the idle one.
    let tried = run(&site, &["queue", "retry-now", "--all", "--json"]).exits(0).json();
    assert_eq!((&tried["done"], &tried["items"][0]["org"]), (&json!(1), &json!("c")), "{tried}");
    wait_until("c was tried again", || receiver.received().len() == 4);

    let resumed = run(&site, &["queue", "resume", "--all", "--yes"]).exits(0);
    resumed.says("2 queues resumed");
    run(&site, &["queue", "retry-now", "a", "idle"])
        .exits(2)
        .says("idle: ")
        .says("1 queue to be retried now");
    wait_until("a was tried again", || receiver.received().len() == 5);
    run_with(&site, &["queue", "skip", "-", "--yes"], "a b").exits(0).says("2 queues skipped by one");
    for org in ["a", "b"] {
        let dead = daemon.dead_letters(org);
        assert_eq!((dead.len(), &dead[0]["reason"]), (1, &json!("skipped")));
    }
    run(&site, &["queue", "pause", "--all", "--yes"]).exits(0).says("4 queues paused");
    let named = run(&site, &["queue", "resume", "a", "--json"]).exits(0).json();
    assert!(named["state"].is_string() && named.get("items").is_none(), "one is answered by itself: {named}");
    run(&site, &["queue", "resume", "../a"]).exits(64);
}
