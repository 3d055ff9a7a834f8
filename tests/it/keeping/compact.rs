//! `compact`: the same store, in less space.

use serde_json::{Value, json};

use super::{fill, seen, stopped};
use crate::cli::run;
use crate::support::{Daemon, Receiver, Site, wait_until};

/// Lets a backlog come and go, of two dozen deliveries of 900 KB.
fn swell(daemon: &Daemon<'_>, receiver: &Receiver) {
    daemon.org("swollen", &receiver.url("/swollen"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/swollen/pause", &json!({})).expect(200);
    let payload = "x".repeat(900_000);
    for _ in 0..24 {
        daemon.enqueue("swollen", &json!({"type": "t", "payload": payload}));
    }
    daemon.admin("POST", "/v1/orgs/swollen/resume", &json!({})).expect(200);
    daemon.drained("swollen");
}

#[test]
fn compacting_a_stopped_store_keeps_everything_and_takes_less_space() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    swell(&daemon, &receiver);
    let before = seen(&daemon);
    stopped(&site, &["compact"]).exits(1).says("in use by process");
    daemon.kill();
    let sizes = stopped(&site, &["compact", "--json"]).exits(0).json();
    let bytes = |name: &str| sizes[name].as_u64().unwrap();
    assert!(bytes("after_bytes") < bytes("before_bytes") / 2, "{sizes}");
    stopped(&site, &["verify"]).exits(0);
    let daemon = site.start();
    assert_eq!(seen(&daemon), before);
    assert_eq!(daemon.get("/v1/status")["counts"]["quarantined"], 0);
    for left in [".compact-old", ".compact-new", "compact.asked"] {
        assert!(!site.data_dir().join(left).exists(), "{left} is left");
    }
    stopped(&Site::new(), &["compact"]).exits(1).says("holds no store");
}

#[test]
fn a_store_that_takes_much_more_than_it_holds_is_compacted_at_the_next_start() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    let allocated =
        |daemon: &Daemon<'_>| daemon.get("/v1/status")["disk"]["allocated_bytes"].as_u64().unwrap();
    daemon.org("swollen", &receiver.url("/swollen"), &Value::Null);
    daemon.admin("POST", "/v1/orgs/swollen/pause", &json!({})).expect(200);
    let event = json!({"type": "t", "payload": "x".repeat(1_000_000)});
    while allocated(&daemon) <= 128 << 20 {
        daemon.enqueue("swollen", &event);
    }
    daemon.admin("DELETE", "/v1/orgs/swollen?discard=true", &Value::Null).expect(204);
    let due = site.data_dir().join("compact.due");
    wait_until("it is seen that most of the store is nothing", || due.exists());
    let before = seen(&daemon);
    daemon.kill();
    let daemon = site.start();
    assert!(site.log().contains("compacted the store") && !due.exists(), "{}", site.log());
    assert!(allocated(&daemon) < 64 << 20, "{}", allocated(&daemon));
    assert_eq!(seen(&daemon), before);
    daemon.kill();
    stopped(&site, &["verify"]).exits(0);
}

#[test]
fn a_running_daemon_compacts_at_its_next_start_and_only_then() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    fill(&daemon, &receiver);
    swell(&daemon, &receiver);
    let allocated =
        |daemon: &Daemon<'_>| daemon.get("/v1/status")["disk"]["allocated_bytes"].as_u64().unwrap();
    let (before, large) = (seen(&daemon), allocated(&daemon));
    run(&site, &["compact"]).exits(0).says("at the next start: systemctl restart postrider");
    assert!(site.data_dir().join("compact.asked").exists());
    daemon.kill();
    let daemon = site.start();
    assert!(site.log().contains("compacting the store") && site.log().contains("compacted the store"));
    assert!(allocated(&daemon) < large / 2);
    assert_eq!(seen(&daemon), before);
    assert!(daemon.terminate().success());
    let daemon = site.start();
    wait_until("it has started", || site.log().matches("INFO ready").count() == 3);
    assert_eq!(site.log().matches("compacted the store").count(), 1);
    assert_eq!(seen(&daemon), before);
}
