//! `verify`: finds what is wrong, by its place, and only that; and changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{fill, in_queue, stopped, tamper};
use crate::cli::run;
use crate::support::{Receiver, Site, wait_until};

/// Names, lengths and bytes of all files.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else {
                found.insert(path.display().to_string(), std::fs::read(path).unwrap());
            }
        }
    }
    found
}

#[test]
fn verify_counts_every_record_of_a_whole_store_and_changes_none() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    let online = run(&site, &["verify", "--json"]).exits(0).json();
    assert_eq!((&online["faults"], &online["faults_total"]), (&json!([]), &json!(0)));
    let counts = &online["counts"];
    let expected = [("org", 3), ("webhook", 4), ("client", 1), ("source", 1), ("delivery", 41)];
    for (kind, count) in expected.into_iter().chain([("dead_letter", 6), ("dead_letter_time", 6)]) {
        assert_eq!(counts[kind], count, "{kind}: {online}");
    }
    assert!(counts["chunk"].as_u64() > Some(0) && counts["seen_id"] == 20 && counts["attempt"] == 13);
    assert!(run(&site, &["verify"]).exits(0).out.contains("counts.delivery "));
    stopped(&site, &["verify"]).exits(1).says("in use by process");
    // Not even ended in order.
    daemon.kill();
    let before = files(&site.data_dir().join("store"));
    let verified = stopped(&site, &["verify", "--json"]).exits(0).json();
    assert_eq!(verified["counts"], *counts);
    assert!(files(&site.data_dir().join("store")) == before, "verifying changed the store");
    assert!(!site.data_dir().join(".verify").exists());
}

#[test]
fn verify_finds_no_fault_while_everything_moves() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    for org in ["one", "two"] {
        daemon.org(org, &receiver.url("/hook"), &Value::Null);
    }
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for org in ["one", "two"] {
            let (daemon, end) = (&daemon, &end);
            scope.spawn(move || {
                for number in 0.. {
                    let payload = if number % 7 == 0 { "x".repeat(60_000) } else { number.to_string() };
                    daemon.enqueue(
                        org,
                        &json!({"type": "t", "id": format!("{org}-{number}"), "payload": payload}),
                    );
                    if end.load(Ordering::Relaxed) {
                        break;
                    }
                }
            });
        }
        wait_until("there is load", || receiver.count() > 20);
        let mut most = 0;
        for _ in 0..10 {
            let verified = daemon.get("/v1/verify");
            assert_eq!(verified["faults"], json!([]));
            most = most.max(verified["counts"]["seen_id"].as_u64().unwrap());
        }
        end.store(true, Ordering::Relaxed);
        assert!(most > 20, "nothing moved");
    });
}

/// Damages the store of a stopped daemon and says what verify finds.
fn found_after(damage: impl FnOnce(&Site)) -> Vec<String> {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    assert!(daemon.terminate().success());
    stopped(&site, &["verify"]).exits(0);
    damage(&site);
    let ran = stopped(&site, &["verify"]).exits(1);
    assert!(!ran.out.contains("canary") && !ran.err.contains("canary"), "{}", ran.out);
    let json = stopped(&site, &["verify", "--json"]).exits(1).json();
    let faults: Vec<_> = ran.out.lines().filter(|line| line.contains(": ")).map(str::to_owned).collect();
    assert_eq!(json["faults_total"], faults.len());
    faults
}

/// With a bit of its middle turned.
#[expect(clippy::unnecessary_wraps, reason = "what tampering takes")]
fn turned(mut value: Vec<u8>) -> Option<Vec<u8>> {
    let middle = value.len() / 2;
    value[middle] ^= 1;
    Some(value)
}

#[test]
fn verify_finds_an_altered_record() {
    let (tree, key) = in_queue(2, 1);
    let found = found_after(|site| tamper(&site.data_dir(), &tree, &key, turned));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("queue/0001: delivery of org 1, sequence 1: altered"), "{found:?}");
}

#[test]
fn verify_finds_what_is_missing_by_what_refers_to_it() {
    // A chunk of a payload, with the deliveries that share it.
    let (tree, key) = in_queue(3, 1);
    let found = found_after(|site| tamper(&site.data_dir(), &tree, &key, |_| None));
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found.iter().all(|fault| fault.contains("delivery of org 1, sequence ")), "{found:?}");
    // A delivery from the middle of a queue.
    let (tree, mut key) = in_queue(2, 1);
    key.extend_from_slice(&17u64.to_be_bytes());
    let found = found_after(|site| tamper(&site.data_dir(), &tree, &key, |_| None));
    assert_eq!(
        found,
        ["queue/0001: delivery of org 1, sequence 18: the deliveries after 16 up to 17 are missing"]
    );
    // The last attempt of a dead letter; a client that a webhook goes to.
    let found = found_after(|site| {
        let key = [&[4][..], &2u32.to_be_bytes(), &1u64.to_be_bytes(), &2u32.to_be_bytes()].concat();
        tamper(&site.data_dir(), "dead", &key, |_| None);
        tamper(&site.data_dir(), "orgs", &[3], |_| None);
    });
    assert_eq!(
        found,
        [
            "orgs: webhook of org 1: its client is not there",
            "dead: dead letter of org 2, sequence 1: its attempt 2 is missing"
        ]
    );
}
