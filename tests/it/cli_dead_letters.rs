//! `postrider dead-letter` against a real daemon: found, shown, exported, sent again, thrown away.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

#[test]
fn dead_letters_are_found_kept_and_sent_again() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/in", Answer::Status(500));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(1, 1, 1.0, 1));
    daemon.org("other", &receiver.url("/in"), &retry(1, 1, 1.0, 1));
    run(&site, &["dead-letter", "list"]).exits(0).says("there are no dead letters");
    run(&site, &["dead-letter", "list", "--org", "acme"]).exits(2);
    for n in 0..4 {
        let payload = json!({"type": "t", "id": format!("e{n}"), "payload": {"n": n, "secret": "card"}});
        daemon.enqueue("acme", &payload);
    }
    daemon.enqueue("other", &json!({"type": "u", "id": "o0", "payload": 1}));
    wait_until("all are dead", || {
        daemon.dead_letters("acme").len() == 4 && daemon.dead_letters("other").len() == 1
    });

    let table = run(&site, &["dead-letter", "list", "--org", "acme"]).exits(0).out;
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.contains("attempts-exhausted") && table.contains("500 after ") && !table.contains("card"));
    run(&site, &["dead-letter", "list", "--type", "u", "--since", "1h"]).exits(0);
    run(&site, &["dead-letter", "list", "--until", "1h"]).exits(2);
    run(&site, &["dead-letter", "list", "--reason", "skipped"]).exits(2);
    run(&site, &["dead-letter", "show", "99-99"]).exits(2);
    let shown = run(&site, &["dead-letter", "show", "e1"]).exits(0).out;
    assert!(
        shown.contains("attempts-exhausted") && shown.contains("ATTEMPT") && !shown.contains("card"),
        "{shown}"
    );
    let shown = run(&site, &["dead-letter", "show", "e1", "--payload"]).exits(0).out;
    assert!(shown.contains(r#"{"n":1,"secret":"card"}"#), "{shown}");

    export_is_whole_and_private(&site);

    run(&site, &["dead-letter", "retry"]).exits(64).says("--all");
    run(&site, &["dead-letter", "retry", "--org", "acme"]).exits(64).says("--yes");
    run(&site, &["dead-letter", "retry", "--org", "acme", "--dry-run"])
        .exits(0)
        .says("4 dead letters would be");
    assert_eq!(daemon.dead_letters("acme").len(), 4);
    receiver.always("/in", Answer::Status(200));
    run_with(&site, &["dead-letter", "retry", "-"], "e0\ne1\n").exits(0).says("2 dead letters retried");
    wait_until("they arrive", || daemon.queue("acme").is_empty());
    run(&site, &["dead-letter", "retry", "e0", "e2"]).exits(2).says("1 dead letter retried");
    run(&site, &["dead-letter", "discard", "--org", "acme", "--yes"])
        .exits(0)
        .says("1 dead letter discarded");
    run(&site, &["dead-letter", "discard", "--org", "acme", "--yes"]).exits(2);
    assert_eq!(daemon.dead_letters("other").len(), 1, "the other org is untouched");
    let all = run(&site, &["dead-letter", "discard", "--all", "--yes", "--json"]).exits(0).json();
    assert_eq!(all["discarded"], 1);
}

fn export_is_whole_and_private(site: &Site) {
    let file = site.dir().join("dead.jsonl");
    let export = ["dead-letter", "export", "--org", "acme", "--out", file.to_str().unwrap()];
    run(site, &["dead-letter", "export"]).exits(64);
    run(site, &["dead-letter", "export", "--org", "nobody"]).exits(2);
    run(site, &export).exits(0).says("4 dead letters exported");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let lines: Vec<Value> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let payloads: Vec<_> = lines.iter().map(|line| line["payload"]["n"].as_u64().unwrap()).collect();
    assert_eq!(payloads, [0, 1, 2, 3]);
    run(site, &export).exits(73).says("cannot create");
    let all = run(site, &["dead-letter", "export", "--all"]).exits(0).out;
    assert_eq!(all.lines().count(), 5);
}
