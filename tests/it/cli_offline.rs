//! `--data`: commands on the store of a stopped daemon, and never on one that is in use.

use serde_json::json;

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

#[test]
fn the_store_of_a_stopped_daemon_can_be_worked_on() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/dead", Answer::Status(500));
    receiver.always("/in", Answer::Status(503));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(9, 3_600_000, 1.0, 3_600_000));
    daemon.org("other", &receiver.url("/dead"), &retry(1, 1, 1.0, 1));
    daemon.enqueue("acme", &json!({"type": "t", "id": "waits", "payload": 1}));
    daemon.enqueue("other", &json!({"type": "t", "id": "died", "payload": {"n": 1}}));
    wait_until("one waits and one is dead", || {
        daemon.queue("acme")[0]["not_before"].is_string() && daemon.dead_letters("other").len() == 1
    });
    let data = site.data_dir();
    let at = ["--data", data.to_str().unwrap()];
    let offline = |arguments: &[&str]| run(&site, &[arguments, &at[..]].concat());
    let pid = daemon.pid().to_string();
    offline(&["queue", "list", "acme"]).exits(1).says("in use by process").says(&pid);
    daemon.kill();
    let queue = offline(&["queue", "list", "acme", "--json"]).exits(0).json();
    assert_eq!((&queue["items"][0]["id"], &queue["items"][0]["attempts"]), (&json!("waits"), &json!(1)));
    assert!(offline(&["why", "acme"]).exits(0).out.contains("head waits, webhook main, attempt 2 of 9"));
    offline(&["queue", "list", "nobody"]).exits(2);
    offline(&["queue", "pause", "acme", "--reason", "by hand"]).exits(0);
    assert_eq!(offline(&["dead-letter", "list", "--json"]).exits(0).json()["items"][0]["event_id"], "died");
    assert!(offline(&["dead-letter", "export", "--all"]).exits(0).out.contains(r#""payload":{"n":1}"#));
    offline(&["dead-letter", "retry", "died"]).exits(0);
    receiver.always("/dead", Answer::Status(200));
    let daemon = site.start();
    daemon.drained("other");
    assert_eq!(receiver.at("/dead").len(), 2);
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["paused"]["reason"], "by hand");
}

#[test]
fn a_directory_without_a_store_is_not_made_into_one() {
    let site = Site::new();
    let nowhere = site.dir().join("nowhere");
    run(&site, &["queue", "list", "acme", "--data", nowhere.to_str().unwrap()]).exits(1).says("nowhere");
    assert!(!nowhere.exists());
    let empty = site.dir().join("empty");
    std::fs::create_dir(&empty).unwrap();
    run(&site, &["dead-letter", "list", "--data", empty.to_str().unwrap()]).exits(1);
    assert_eq!(std::fs::read_dir(&empty).unwrap().count(), 0, "looking leaves nothing behind");
}
