//! `backup` and `restore`: what comes back is what was there, or nothing.

use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::{fill, seen, stopped, text};
use crate::cli::run;
use crate::support::{Receiver, Site, wait_until};

/// A site with the key of another and no store.
fn empty_site_with_key_of(site: &Site) -> Site {
    let other = Site::with(site.config());
    std::fs::create_dir(other.data_dir()).unwrap();
    std::fs::copy(site.data_dir().join("postrider.key"), other.data_dir().join("postrider.key")).unwrap();
    other
}

/// A site that was filled, its daemon gone, and its backup.
fn backed_up() -> (Site, PathBuf) {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    let file = site.dir().join("backup");
    run(&site, &["backup", text(&file)]).exits(0);
    daemon.kill();
    (site, file)
}

#[test]
fn a_restored_backup_is_the_store_as_it_was() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    let before = seen(&daemon);
    let file = site.dir().join("backup");
    run(&site, &["backup", text(&file)]).exits(0).says("the key is not in it");
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o600);
    assert!(!site.dir().join("backup.partial").exists());
    run(&site, &["backup", text(&file)]).exits(73).says("is there already");
    let bytes = std::fs::read(&file).unwrap();
    for secret in ["canary", "acme", "order.placed", "xxxxxxxx"] {
        assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{secret} is in it");
    }
    run(&site, &["verify", "--backup", text(&file)]).exits(0);
    // What comes later is not in it.
    daemon.enqueue("acme", &json!({"type": "order.placed", "id": "later", "payload": 1}));
    daemon.kill();
    stopped(&site, &["restore", text(&file)]).exits(1).says("has a store");

    let other = Site::with(site.config());
    stopped(&other, &["restore", text(&file)]).exits(1).says("--key-file");
    assert!(!other.data_dir().join("store").exists());
    let other = empty_site_with_key_of(&site);
    stopped(&other, &["restore", text(&file)]).exits(0).says("sent again");
    stopped(&other, &["verify"]).exits(0);
    let daemon = other.start();
    assert_eq!(seen(&daemon), before);
    // Names and ids are found again, and new sequences follow the old.
    let again = json!({"type": "order.placed", "id": "evt-1", "payload": {"n": 1}});
    assert_eq!(daemon.try_enqueue("acme", &again).unwrap().expect(200).json()["duplicate"], true);
    let next = daemon.enqueue("acme", &json!({"type": "order.placed", "payload": 1}));
    assert_eq!(next["sequence"], 41);
    // And of a stopped daemon, to stdout.
    assert!(daemon.terminate().success());
    let data = other.data_dir();
    let output = other.command("backup").args(["-", "--data", text(&data)]).output().unwrap();
    assert!(output.status.success());
    let piped = other.dir().join("piped");
    std::fs::write(&piped, output.stdout).unwrap();
    let verified = stopped(&other, &["verify", "--json", "--backup", text(&piped)]).exits(0).json();
    assert_eq!(verified["counts"]["delivery"], 43);
}

#[test]
fn a_damaged_or_foreign_backup_is_refused_and_nothing_is_made_of_it() {
    let (site, file) = backed_up();
    let whole = std::fs::read(&file).unwrap();
    let other = empty_site_with_key_of(&site);
    let refused = |bytes: &[u8], said: &str| {
        let damaged = other.dir().join("damaged");
        std::fs::write(&damaged, bytes).unwrap();
        stopped(&other, &["restore", text(&damaged)]).exits(1).says(said);
        run(&site, &["verify", "--backup", text(&damaged), "--data", text(&site.data_dir())])
            .exits(1)
            .says(said);
        assert!(!other.data_dir().join("store").exists() && !other.data_dir().join("store.new").exists());
    };
    for at in [whole.len() / 3, whole.len() - 1] {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        refused(&altered, "damaged at byte");
    }
    refused(&whole[..whole.len() - 1], "cut off at byte");
    refused(&whole[..whole.len() / 2], "cut off at byte");
    refused(b"something else", "is not a backup of postrider");
    let key = super::key_file(&other, "other.key", 7);
    let at = ["--data", text(&other.data_dir()), "--key-file", text(&key)].map(str::to_owned);
    let arguments: Vec<_> =
        ["restore", text(&file)].into_iter().chain(at.iter().map(String::as_str)).collect();
    run(&other, &arguments).exits(1).says("is sealed with the key");
    stopped(&other, &["restore", text(&file)]).exits(0);
}

#[test]
fn a_backup_under_load_holds_everything_accepted_until_one_moment() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    for org in ["kept", "moving"] {
        daemon.org(org, &receiver.url(&format!("/{org}")), &Value::Null);
    }
    daemon.admin("POST", "/v1/orgs/kept/pause", &json!({})).expect(200);
    let file = site.dir().join("backup");
    let (end, accepted) = (AtomicBool::new(false), [AtomicUsize::new(0), AtomicUsize::new(0)]);
    let mut bounds = (0, 0);
    std::thread::scope(|scope| {
        for (org, accepted) in ["kept", "moving"].into_iter().zip(&accepted) {
            let (daemon, end) = (&daemon, &end);
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let number = accepted.load(Ordering::Relaxed);
                    let payload = if number % 9 == 0 { "x".repeat(60_000) } else { number.to_string() };
                    let event = json!({"type": "t", "id": format!("{org}-{number}"), "payload": payload});
                    daemon.enqueue(org, &event);
                    accepted.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let count = || accepted[0].load(Ordering::Relaxed);
        wait_until("there is load", || count() > 100 && receiver.count() > 50);
        bounds.0 = count();
        run(&site, &["backup", text(&file)]).exits(0);
        bounds.1 = count() + 1;
        wait_until("more came after it", || count() > bounds.1);
        end.store(true, Ordering::Relaxed);
    });
    daemon.drained("moving");
    let delivered = receiver.at("/moving").len();
    daemon.kill();

    run(&site, &["verify", "--backup", text(&file)]).exits(0);
    let other = empty_site_with_key_of(&site);
    stopped(&other, &["restore", text(&file)]).exits(0);
    let daemon = other.start();
    daemon.drained("moving");
    let kept: Vec<_> =
        daemon.queue("kept").iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept, (0..kept.len()).map(|number| format!("kept-{number}")).collect::<Vec<_>>());
    assert!((bounds.0..=bounds.1).contains(&kept.len()), "{} are kept, not {bounds:?}", kept.len());
    // What was not delivered by then is delivered now, in order, without a gap, and nothing that came later.
    let again: Vec<_> = receiver.at("/moving")[delivered..].iter().map(|got| got.id().to_owned()).collect();
    let number = |id: &String| id.strip_prefix("moving-").unwrap().parse::<usize>().unwrap();
    if let (Some(first), Some(last)) = (again.first().map(number), again.last().map(number)) {
        assert_eq!(again, (first..=last).map(|number| format!("moving-{number}")).collect::<Vec<_>>());
        assert!(last < accepted[1].load(Ordering::Relaxed));
    }
}

#[test]
fn a_reader_that_does_not_read_holds_up_nobody() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    let payload = "x".repeat(900_000);
    let enqueue = || daemon.enqueue("acme", &json!({"type": "t", "payload": payload}));
    (0..8).for_each(|_| drop(enqueue()));
    let mut reader = UnixStream::connect(site.admin_socket()).unwrap();
    reader.write_all(b"GET /v1/backup HTTP/1.1\r\nhost: postrider\r\n\r\n").unwrap();
    let mut start = [0; 100];
    reader.read_exact(&mut start).unwrap();
    daemon.admin("GET", "/v1/verify", &Value::Null).expect(409);
    // More is written meanwhile than is kept for it, and nobody waits.
    (0..40).for_each(|_| drop(enqueue()));
    // It takes what is there: the end is not.
    let mut rest = Vec::new();
    reader.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
    let read = reader.read_to_end(&mut rest);
    assert!(read.is_err() || !rest.ends_with(b"0\r\n\r\n"), "it looks whole");
    wait_until("the daemon says so", || site.log().contains("a backup broke off"));
    let file = site.dir().join("backup");
    run(&site, &["backup", text(&file)]).exits(0);
}
