//! How long, and how much, of dead letters and of the history is kept; said in the status.

use serde_json::{Value, json};

use crate::cli::run;
use crate::support::clock::Clock;
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// 2026-11-28 00:00:00.
const A_DAY: i64 = 1_795_824_000;
const HOUR: i64 = 3600;

fn site(settings: &str) -> Site {
    Site::with(&format!("{}{settings}", Site::new().config()))
}

fn status(daemon: &Daemon) -> Value {
    daemon.get("/v1/status")
}

/// Files of the history.
fn segments(site: &Site) -> usize {
    std::fs::read_dir(site.data_dir().join("history")).map_or(0, Iterator::count)
}

fn names(list: &[Value]) -> Vec<String> {
    list.iter().map(|item| item["event_id"].as_str().unwrap().to_owned()).collect()
}

/// Hands in events with these ids, of which each is delivered, or dies, before the next.
fn send(daemon: &Daemon, ids: impl IntoIterator<Item = String>, payload_bytes: usize) {
    for id in ids {
        daemon.enqueue("acme", &json!({"type": "t", "id": id, "payload": "x".repeat(payload_bytes)}));
        daemon.drained("acme");
    }
}

fn ids(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |n| format!("{prefix}{n}"))
}

#[test]
fn retention_by_age_goes_by_the_wall_clock() {
    let site = site("[dead_letters]\nage = \"10h\"\n[history]\nage = \"2h\"\n");
    let clock = Clock::at(&site, A_DAY);
    let receiver = Receiver::start();
    receiver.then("/hook", [200, 500].map(Answer::Status));
    let daemon = clock.start(&site);
    daemon.org("acme", &receiver.url("/hook"), &retry(1, 1, 1.0, 1));
    send(&daemon, ids("e", 2), 10);
    let shown = status(&daemon);
    let (letters, history) = (&shown["dead_letters"], &shown["history"]);
    assert_eq!(
        (&letters["count"], &letters["retention"]),
        (&json!(1), &json!({"age": "10h", "bytes": 1 << 30}))
    );
    assert_eq!(letters["oldest_at"], "2026-11-28T00:00:00.000Z");
    assert!(letters["bytes"].as_u64().is_some_and(|bytes| bytes > 100), "{letters}");
    assert_eq!(
        (&history["entries"], &history["retention"]),
        (&json!(1), &json!({"age": "2h", "bytes": 256 << 20}))
    );
    assert_eq!(history["oldest_at"], "2026-11-28T00:00:00.000Z");
    assert!(daemon.terminate().success());

    // A clock that is set back by years removes nothing.
    clock.set(A_DAY - 100_000 * HOUR);
    let daemon = clock.start(&site);
    send(&daemon, ids("back", 1), 10);
    assert_eq!(names(&daemon.list("/v1/history")), ["e0", "back0"]);
    assert!(daemon.terminate().success());

    // What is old enough goes, and nothing else.
    clock.set(A_DAY + 3 * HOUR);
    let daemon = clock.start(&site);
    wait_until("the history is old", || daemon.list("/v1/history").is_empty());
    wait_until("its files are gone", || segments(&site) == 0);
    send(&daemon, ids("new", 1), 10);
    assert_eq!(names(&daemon.dead_letters("acme")), ["e1"]);
    clock.set(A_DAY + 11 * HOUR);
    wait_until("the dead letter is old", || status(&daemon)["dead_letters"]["count"] == 0);
    assert!(daemon.dead_letters("acme").is_empty());
    assert_eq!(status(&daemon)["dead_letters"]["bytes"], 0);
    assert!(site.log().contains("dead letters expired"));
    assert_eq!(daemon.get("/v1/orgs/acme")["dead_letters"], 0);
    let metrics = daemon.admin("GET", "/metrics", &Value::Null).expect(200).text();
    assert!(metrics.contains("postrider_dead_letters_expired_total 1\n"), "{metrics}");
}

#[test]
fn retention_by_bytes_removes_the_oldest() {
    let site = site("[dead_letters]\nbytes = \"64KiB\"\n[history]\nbytes = \"256KiB\"\n");
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(1, 1, 1.0, 1));
    send(&daemon, ids("e", 60), 10_000);
    // Beyond what is kept there is the file that is written to.
    let bytes = || status(&daemon)["history"]["bytes"].as_u64().unwrap();
    wait_until("the history is within its bytes", || bytes() <= (256 + 80) << 10);
    let left = names(&daemon.list("/v1/history"));
    let all: Vec<String> = ids("e", 60).collect();
    assert!((10..40).contains(&left.len()), "{left:?}");
    assert_eq!(left, all[60 - left.len()..], "the oldest are gone");
    receiver.always("/hook", Answer::Status(500));
    send(&daemon, ids("d", 10), 10_000);
    let letters = || status(&daemon)["dead_letters"].clone();
    wait_until("dead letters are within their bytes", || letters()["bytes"].as_u64().unwrap() <= 64 << 10);
    assert_eq!(names(&daemon.dead_letters("acme")), ["d4", "d5", "d6", "d7", "d8", "d9"]);
    daemon.kill();
    // With --data nothing is removed by looking at it.
    site.configure(&site.config().replace("64KiB", "1KiB"));
    let data = site.data_dir();
    let list = ["dead-letter", "list", "--json", "--data", data.to_str().unwrap()];
    assert_eq!(run(&site, &list).exits(0).json()["items"].as_array().unwrap().len(), 6);
    let daemon = site.start();
    wait_until("less is kept", || daemon.dead_letters("acme").is_empty());
}

#[test]
fn retention_changes_with_a_reload_and_off_costs_nothing() {
    let site = site("[history]\nage = \"0s\"\n");
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    send(&daemon, ids("off", 2), 10);
    assert!(daemon.list("/v1/history").is_empty());
    assert!(!site.data_dir().join("history").exists());
    let shown = status(&daemon)["history"].clone();
    assert_eq!((&shown["on"], &shown["missed"], &shown["entries"]), (&json!(false), &json!(0), &json!(0)));
    let threads = || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
        let names = tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).unwrap());
        names.filter(|name| name.starts_with("store-history")).count()
    };
    assert_eq!(threads(), 0);

    let reload = |config: &str| {
        site.configure(config);
        daemon.admin("POST", "/v1/reload", &Value::Null).expect(200);
    };
    reload(&site.config().replace("0s", "1h"));
    send(&daemon, ids("on", 2), 10);
    assert_eq!(names(&daemon.list("/v1/history")), ["on0", "on1"]);
    assert_eq!((threads(), segments(&site)), (1, 1));
    reload(site.config());
    wait_until("nothing is kept", || daemon.list("/v1/history").is_empty() && segments(&site) == 0);
    send(&daemon, ids("end", 1), 10);
    assert!(daemon.list("/v1/history").is_empty());
    assert!(!site.log().contains("after a restart"), "{}", site.log());
}
