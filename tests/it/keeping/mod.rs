//! The store as a whole: verified, backed up, restored, compacted, rekeyed, while it works and when it does not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cli::{Ran, run};
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

mod backup;
mod compact;
mod export;
mod interrupted;
mod rekey;
mod verify;

/// Puts something of every kind into the store: two orgs, a client, a source, webhooks with secrets, deliveries small and
/// in chunks, a head that has been tried, dead letters small and in chunks, ids that were given. `acme` waits.
fn fill(daemon: &Daemon<'_>, receiver: &Receiver) {
    receiver.always("/dead", Answer::Status(500));
    receiver.always("/tried", Answer::Status(503));
    daemon.org("acme", &receiver.url("/hook"), &json!({"password": "canary-password"}));
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({"reason": "by the test"})).expect(200);
    let client = json!({"base_url": receiver.url(""), "headers": {"x-from": "client"}});
    daemon.admin("PUT", "/v1/orgs/acme/clients/shop", &client).expect(201);
    let webhook = json!({"client": "shop", "path": "/second", "events": ["order.*"]});
    daemon.admin("PUT", "/v1/orgs/acme/webhooks/second", &webhook).expect(201);
    let source = json!({"kind": "token", "id_header": "X-Id"});
    daemon.admin("PUT", "/v1/orgs/acme/sources/in", &source).expect(201);
    daemon.org("dead", &receiver.url("/dead"), &retry(2, 1, 1.0, 1));
    daemon.org("tried", &receiver.url("/tried"), &retry(9, 3_600_000, 1.0, 3_600_000));
    for number in 0..20 {
        let (large, id) = ("x".repeat(70_000), format!("evt-{number}"));
        let payload = if number % 5 == 0 { json!({"large": large}) } else { json!({"n": number}) };
        daemon.enqueue("acme", &json!({"type": "order.placed", "id": id, "payload": payload}));
        if number < 6 {
            daemon.enqueue("dead", &json!({"type": "t", "payload": payload}));
        }
    }
    daemon.enqueue("tried", &json!({"type": "t", "payload": {"canary": "canary-payload"}}));
    wait_until("some are dead, and one has been tried", || {
        daemon.dead_letters("dead").len() == 6 && daemon.queue("tried")[0]["not_before"].is_string()
    });
}

/// What can be seen of a store: settings, queues with payloads, dead letters.
fn seen(daemon: &Daemon<'_>) -> Value {
    let mut seen = BTreeMap::new();
    for org in ["acme", "dead", "tried"] {
        let list = |what: &str| daemon.list(&format!("/v1/orgs/{org}/{what}"));
        let queue = daemon.get(&format!("/v1/orgs/{org}/queue?payload=true&limit=1000"));
        let dead: Vec<_> = daemon
            .dead_letters(org)
            .iter()
            .map(|dead| {
                daemon.get(&format!("/v1/dead-letters/{}?payload=true", dead["id"].as_str().unwrap()))
            })
            .collect();
        let own = daemon.get(&format!("/v1/orgs/{org}"));
        seen.insert(
            org,
            json!([own, list("webhooks"), list("clients"), list("sources"), queue["items"], dead]),
        );
    }
    json!(seen)
}

/// Runs a command on the store of a stopped daemon.
fn stopped(site: &Site, arguments: &[&str]) -> Ran {
    let data = site.data_dir();
    run(site, &[arguments, &["--data", data.to_str().unwrap()]].concat())
}

/// Changes stored bytes behind everybody's back: what `change` makes of a value of this tree whose key begins with `prefix`;
/// `None` removes it.
fn tamper(data: &Path, tree: &str, prefix: &[u8], change: impl FnOnce(Vec<u8>) -> Option<Vec<u8>>) {
    let open =
        || sled::Config::new().path(data.join("store")).segment_size(8 << 20).flush_every_ms(None).open();
    let mut opened = open();
    // A process that has just ended may still hold its lock.
    wait_until("the store's files are free", || {
        if opened.is_err() {
            opened = open();
        }
        opened.is_ok()
    });
    let db = opened.unwrap();
    let tree = db.open_tree(tree).unwrap();
    let (key, value) = tree.scan_prefix(prefix).next().expect("there is such a record").unwrap();
    match change(value.to_vec()) {
        Some(value) => drop(tree.insert(key, value).unwrap()),
        None => drop(tree.remove(key).unwrap()),
    }
    db.flush().unwrap();
}

/// The tree of an org's queue, and the beginning of the keys of this kind there.
fn in_queue(kind: u8, org: u32) -> (String, Vec<u8>) {
    (format!("queue/{org:04}"), [&[kind][..], &org.to_be_bytes()].concat())
}

/// Another key, in a file of its own.
fn key_file(site: &Site, name: &str, byte: u8) -> PathBuf {
    let path = site.dir().join(name);
    std::fs::write(&path, format!("{byte:02x}").repeat(32)).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// This command with a key, and perhaps the one before it.
fn with_keys(mut command: Command, key: &Path, previous: Option<&Path>) -> Command {
    command.env("POSTRIDER_KEY_FILE", key);
    if let Some(previous) = previous {
        command.env("POSTRIDER_PREVIOUS_KEY_FILE", previous);
    }
    command
}

/// What is text for a command line.
fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
