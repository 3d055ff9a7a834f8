//! `GET /metrics`: what was accepted, tried and delivered, as Prometheus reads it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site};

/// Every sample, by its name and labels as they are written.
fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let reply = daemon.admin("GET", "/metrics", &Value::Null).expect(200);
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.text();
    let mut typed = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            typed.push(metric.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = typed.last().unwrap();
            assert!(name.starts_with(family), "{name} stands with the samples of {family}");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_count_what_is_durable_and_what_came_of_attempts() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(2, 5, 1.0, 5));
    let before = scrape(&daemon);
    assert_eq!((before["postrider_events_accepted_total"], before["postrider_queue_depth"]), (0.0, 0.0));

    // One that fails once, one that is given up, one that goes through; and one that is sent twice and counts once.
    receiver.then("/hook", [503, 200, 500, 404, 200].map(Answer::Status));
    for id in ["a", "b", "c"] {
        let event = json!({"type": "order.placed", "payload": {"n": 1}, "id": id});
        for status in [202, 200] {
            daemon.try_enqueue("acme", &event).unwrap().expect(status);
        }
    }
    daemon.drained("acme");
    let after = scrape(&daemon);
    for (sample, value) in [
        ("events_accepted_total", 3.0),
        ("deliveries_total{outcome=\"delivered\"}", 2.0),
        ("deliveries_total{outcome=\"dead\"}", 1.0),
        ("attempts_total{class=\"2xx\"}", 2.0),
        ("attempts_total{class=\"4xx\"}", 1.0),
        ("attempts_total{class=\"5xx\"}", 2.0),
        ("attempts_total{class=\"timeout\"}", 0.0),
        ("attempt_duration_seconds_count", 5.0),
        ("attempt_duration_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("enqueue_duration_seconds_count", 6.0),
        ("queue_depth", 0.0),
        ("dead_letters", 1.0),
        ("in_flight", 0.0),
        ("orgs{state=\"delayed\"}", 0.0),
        ("oldest_due_age_seconds", 0.0),
    ] {
        assert_eq!(after.get(&format!("postrider_{sample}")), Some(&value), "{sample}");
    }
    let commits = after["postrider_commit_duration_seconds_count"];
    assert!(commits >= 6.0 && after["postrider_commit_batch_size_count"] <= commits, "{after:?}");
    assert!(after["postrider_commit_duration_seconds_sum"] > 0.0);
    // Labels are of small fixed sets: no org, address or id.
    assert!(!after.keys().any(|name| name.contains("acme") || name.contains("127.0.0.1")));

    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    daemon.enqueue("acme", &json!({"type": "a", "payload": 1}));
    assert_eq!(scrape(&daemon).get("postrider_orgs{state=\"held\"}"), Some(&1.0));
}
