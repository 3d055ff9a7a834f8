//! `rekey`: another key, without a stop and without a record that is lost to it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{fill, key_file, seen, text, with_keys};
use crate::cli::{Ran, run_command};
use crate::support::{Daemon, Receiver, Site, kills, wait_until};

fn start<'site>(site: &'site Site, key: &Path, previous: Option<&Path>) -> Daemon<'site> {
    site.start_command(with_keys(site.serve_command(), key, previous))
}

/// Runs a command on the stopped store with one key.
fn stopped(site: &Site, arguments: &[&str], key: &Path) -> Ran {
    let mut command = with_keys(site.command(arguments[0]), key, None);
    command.args(&arguments[1..]).args(["--data", text(&site.data_dir())]);
    run_command(command, "")
}

#[test]
fn another_key_takes_over_while_everything_goes_on() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let (first, second) = (key_file(&site, "first.key", 1), key_file(&site, "second.key", 2));
    let daemon = start(&site, &first, None);
    fill(&daemon, &receiver);
    daemon.org("kept", &receiver.url("/kept"), &Value::Null);
    daemon.enqueue("kept", &json!({"type": "order.placed", "payload": {"canary": "was delivered"}}));
    let delivered = |daemon: &Daemon<'_>| daemon.list("/v1/orgs/kept/history");
    wait_until("a delivery is in the history", || delivered(&daemon).len() == 1);
    let entry = format!("/v1/history/{}?payload=true", delivered(&daemon)[0]["id"].as_str().unwrap());
    let kept = daemon.get(&entry);
    assert_eq!(kept["payload"]["canary"], "was delivered");
    let before = seen(&daemon);
    let id = |daemon: &Daemon<'_>, which: &str| daemon.get("/v1/status")["store"]["keys"][which].clone();
    let first_id = id(&daemon, "current");
    daemon.kill();
    // The new key alone does not open it, and the daemon says which key is missing.
    let (code, said) = site.serve_refused(|command| {
        command.env("POSTRIDER_KEY_FILE", &second);
    });
    assert!(code == 1 && said.contains(first_id.as_str().unwrap()), "{said}");
    assert!(said.contains("--previous-key-file") && said.contains("nothing was changed"), "{said}");

    let daemon = start(&site, &second, Some(&first));
    assert_eq!(id(&daemon, "previous"), first_id);
    let second_id = id(&daemon, "current");
    assert_eq!(seen(&daemon), before);
    // Names and ids are found as before: nothing is made twice.
    let source = json!({"kind": "token", "id_header": "X-Id"});
    daemon.admin("PUT", "/v1/orgs/acme/sources/in", &source).expect(200);
    let known = json!({"type": "order.placed", "id": "evt-1", "payload": {"n": 1}});
    assert_eq!(daemon.try_enqueue("acme", &known).unwrap().expect(200).json()["duplicate"], true);
    daemon.enqueue("acme", &json!({"type": "order.placed", "id": "new", "payload": {"n": 1}}));
    let before = seen(&daemon);

    let ran = crate::cli::run(&site, &["rekey", "--json"]).exits(0).json();
    assert!(ran["done"] == true && ran["unreadable"] == 0, "{ran}");
    assert!(ran["rewritten"].as_u64() > Some(100), "{ran}");
    assert_eq!((id(&daemon, "current"), id(&daemon, "previous")), (second_id.clone(), Value::Null));
    crate::cli::run(&site, &["rekey"]).exits(0).says("0 records sealed anew");
    assert_eq!(seen(&daemon), before);
    daemon.kill();

    let (code, said) = site.serve_refused(|command| {
        command.env("POSTRIDER_KEY_FILE", &first);
    });
    assert!(code == 1 && said.contains(second_id.as_str().unwrap()), "{said}");
    stopped(&site, &["verify"], &second).exits(0);
    let daemon = start(&site, &second, None);
    assert_eq!(seen(&daemon), before);
    assert_eq!(daemon.get(&entry), kept, "the history is sealed anew as well");
    assert_eq!(daemon.try_enqueue("acme", &known).unwrap().expect(200).json()["duplicate"], true);
    assert_eq!(daemon.get("/v1/status")["counts"]["quarantined"], 0);
}

#[test]
fn rekeying_goes_on_after_kill_9_under_load() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let (first, second) = (key_file(&site, "first.key", 1), key_file(&site, "second.key", 2));
    let daemon = start(&site, &first, None);
    fill(&daemon, &receiver);
    daemon.org("moving", &receiver.url("/moving"), &Value::Null);
    let before = seen(&daemon);
    daemon.kill();
    let (kills, seed) = kills::asked(6);
    let mut rng = fastrand::Rng::with_seed(seed);
    println!("seed {seed}");
    let (end, mut accepted) = (AtomicBool::new(false), 0);
    std::thread::scope(|scope| {
        let producer = scope.spawn(|| {
            let mut accepted = 0;
            while !end.load(Ordering::Relaxed) {
                let event = json!({"type": "t", "id": format!("moving-{accepted}"), "payload": accepted});
                let answer = crate::support::daemon::enqueue(&site.submit_socket(), "moving", &event);
                // While the daemon is down, the same again.
                accepted += usize::from(answer.is_ok_and(|reply| matches!(reply.status, 200 | 202)));
            }
            accepted
        });
        for _ in 0..kills {
            let daemon = start(&site, &second, Some(&first));
            let mut rekey = site.command("rekey").stderr(std::process::Stdio::null()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
            daemon.kill();
            rekey.wait().unwrap();
        }
        let daemon = start(&site, &second, Some(&first));
        let ran = crate::cli::run(&site, &["rekey", "--json"]).exits(0).json();
        assert!(ran["done"] == true && ran["unreadable"] == 0, "{ran}");
        end.store(true, Ordering::Relaxed);
        accepted = producer.join().unwrap();
        daemon.kill();
    });
    stopped(&site, &["verify"], &second).exits(0);
    let daemon = start(&site, &second, None);
    assert_eq!(seen(&daemon), before);
    wait_until("everything accepted is delivered", || {
        let ids: std::collections::BTreeSet<_> =
            receiver.at("/moving").iter().map(|got| got.id().to_owned()).collect();
        ids.len() >= accepted
    });
    assert!(accepted > 0);
}
