//! Receivers that are broken or hostile, through the real binary: each way of misbehaving has an org of its own in one
//! daemon, fails with its own reason (or does no harm), and an honest org beside them notices nothing.

mod bodies;
mod heads;
mod kept;
mod raw;
mod texts;
mod tls;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Daemon, PATIENCE, Receiver, Site, resident, wait_until};
use raw::{Script, Seen, Server};

/// What becomes of deliveries to a receiver.
enum Expect {
    /// Delivered, at the first attempt.
    Delivered,
    /// Every attempt fails with this reason (or the one after the bar: who is first decides), this status and these words in its detail (in
    /// capitals or not).
    Fails(&'static str, Option<u16>, &'static str),
}

/// One way of misbehaving.
struct Way {
    name: &'static str,
    script: Script,
    expect: Expect,
    /// How long an attempt may take.
    timeout: &'static str,
    /// Bytes of payload.
    payload: usize,
    /// The URL's beginning; the port and the path follow.
    base: &'static str,
}

/// Time enough on a busy machine, for ways that do not keep us waiting.
const AMPLE: &str = "30s";
/// For those that do.
const SHORT: &str = "500ms";

fn way(name: &'static str, script: Script, expect: Expect) -> Way {
    Way { name, script, expect, timeout: AMPLE, payload: 20, base: "http://127.0.0.1" }
}

fn stalls(name: &'static str, script: Script, words: &'static str) -> Way {
    Way { timeout: SHORT, ..way(name, script, Expect::Fails("timeout", None, words)) }
}

/// Memory that a whole table may cost beyond what was held before, in bytes.
const FLAT: u64 = 64 << 20;

/// What no detail and no log line may show.
const CANARY: &str = "canary-in-the-query";

/// Two deliveries to each receiver, while an honest org is served; then each is held against what is expected.
#[track_caller]
fn run(site: &Site, ways: &[Way]) {
    let servers: Vec<Server> = ways.iter().map(|way| Server::start(way.script.clone())).collect();
    let honest = Receiver::start();
    let daemon = site.start();
    daemon.org("honest", &honest.url("/"), &Value::Null);
    for (way, server) in ways.iter().zip(&servers) {
        let mut settings = retry(2, 20, 1.0, 20);
        settings["timeout"] = json!(way.timeout);
        let url = format!("{}:{}/hook?token={CANARY}", way.base, server.port());
        daemon.org(way.name, &url, &settings);
    }
    let before = resident(&daemon);
    for way in ways {
        for id in ["first", "second"] {
            daemon.enqueue(way.name, &json!({"type": "t", "id": id, "payload": "x".repeat(way.payload)}));
        }
    }
    serve_the_honest(&daemon, &honest);
    let after = resident(&daemon);
    assert!(after < before + FLAT, "{} KiB, and {} KiB before", after >> 10, before >> 10);
    for (way, server) in ways.iter().zip(&servers) {
        check(&daemon, way, &server.seen());
    }
    let log = site.log();
    assert!(!log.contains(CANARY) && !log.contains("panicked"), "{log}");
    assert!(log.chars().all(|c| c == '\n' || !c.is_control()), "the log holds control characters");
    assert!(daemon.terminate().success());
}

/// One honest event after the other, each delivered in no time, until the others have nothing left.
#[track_caller]
fn serve_the_honest(daemon: &Daemon<'_>, honest: &Receiver) {
    let start = Instant::now();
    let mut took = Vec::new();
    while took.is_empty() || daemon.get("/v1/status")["counts"]["deliveries"] != 0 {
        assert!(start.elapsed() < PATIENCE, "some receiver still holds its org: {}", held(daemon));
        let sent = Instant::now();
        daemon.enqueue("honest", &json!({"type": "t", "payload": took.len()}));
        wait_until("the honest org is served", || honest.count() > took.len());
        took.push(sent.elapsed());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Commonly a few milliseconds. A disk or a processor that others use may hold one up for long, but not half of them.
    took.sort();
    assert!(took[took.len() / 2] < Duration::from_secs(1), "{took:?}");
    assert!(honest.received().iter().all(|request| request.header("postrider-attempt") == "1"));
}

/// The orgs that still wait for their receiver.
fn held(daemon: &Daemon<'_>) -> String {
    let orgs = daemon.list("/v1/orgs");
    orgs.iter().filter(|org| org["queue"]["depth"] != 0).map(|org| format!("{} ", org["id"])).collect()
}

#[track_caller]
fn check(daemon: &Daemon<'_>, way: &Way, seen: &[Seen]) {
    let name = way.name;
    let dead = daemon.dead_letters(name);
    let tries: Vec<(&str, u32)> = seen.iter().map(|seen| (seen.id.as_str(), seen.attempt)).collect();
    let Expect::Fails(reason, status, words) = way.expect else {
        assert!(dead.is_empty(), "{name}: {dead:#?}");
        assert_eq!(tries, [("first", 1), ("second", 1)], "{name}");
        return;
    };
    let ids: Vec<_> = dead.iter().map(|dead| dead["event_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["first", "second"], "{name}");
    // Who looks at requests sees the first delivery again before the second.
    if !tries.is_empty() {
        assert_eq!(tries, [("first", 1), ("first", 2), ("second", 1), ("second", 2)], "{name}");
    }
    for dead in &dead {
        let whole = daemon.get(&format!("/v1/dead-letters/{}", dead["id"].as_str().unwrap()));
        let attempts = whole["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), 2, "{name}: {whole:#}");
        for attempt in attempts {
            assert_eq!(attempt["status"], json!(status), "{name}: {attempt}");
            let error = attempt["error"].as_str().unwrap();
            assert!(reason.split('|').any(|reason| reason == error), "{name}: {attempt}");
            let detail = attempt["detail"].as_str().unwrap();
            assert!(
                detail.to_lowercase().contains(&words.to_lowercase()) && detail.len() <= 256,
                "{name}: {attempt}"
            );
            assert!(!whole.to_string().contains(CANARY), "{name}: {whole:#}");
            let excerpt = attempt["excerpt"].as_str().unwrap();
            assert!(
                !detail.contains(char::is_control) && !excerpt.contains(char::is_control),
                "{name}: {attempt}"
            );
        }
    }
}
