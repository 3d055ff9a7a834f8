//! What may wait in all queues together: a clear refusal beyond it, and how near it is.

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

#[test]
fn the_whole_daemon_has_a_limit_and_says_so() {
    let config =
        Site::new().config().to_owned() + "[queue]\nmax_total_deliveries = 3\nmax_total_bytes = \"1KiB\"\n";
    let (site, receiver) = (Site::with(&config), Receiver::start());
    let daemon = site.start();
    for org in ["a", "b"] {
        daemon.org(org, &receiver.url("/in"), &json!({}));
        daemon.admin("POST", &format!("/v1/orgs/{org}/pause"), &json!({})).expect(200);
    }
    for (org, payload) in [("a", "x"), ("b", "y"), ("b", "z")] {
        daemon.enqueue(org, &json!({"type": "t", "payload": payload}));
    }
    let status = daemon.get("/v1/status");
    assert_eq!(status["limits"], json!({"deliveries": 3, "bytes": 1024, "used": 1.0}));
    let refused = daemon.try_enqueue("a", &json!({"type": "t", "payload": 1})).unwrap().expect(429);
    assert_eq!(refused.header("retry-after"), Some("5"));
    let problem = refused.json();
    assert_eq!(problem["type"], "urn:postrider:queue-full");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("the whole daemon is at its limit: 3 deliveries"), "{detail}");
    run_with(&site, &["enqueue", "--org", "a", "--type", "t"], "1").exits(75).says("whole daemon");
    run(&site, &["status"]).exits(2).says("the queues of all orgs together are full");
    // What the org itself may have is said as before.
    daemon.admin("PUT", "/v1/orgs/a", &json!({"limits": {"deliveries": 1}})).expect(200);
    let own = daemon.try_enqueue("a", &json!({"type": "t", "payload": 1})).unwrap().expect(429);
    assert_eq!(own.header("retry-after"), Some("5"));
    assert!(
        own.json()["detail"].as_str().unwrap().contains("the org's queue is full: 1 deliveries"),
        "{}",
        own.text()
    );

    let metrics = daemon.admin("GET", "/metrics", &Value::Null).expect(200).text();
    for line in ["queue_depth 3", "queue_depth_max 3", "queue_bytes 9", "queue_bytes_max 1024"] {
        assert!(metrics.contains(&format!("\npostrider_{line}\n")), "{line} is not in {metrics}");
    }
    // As soon as something has left, there is room, for bytes as well as for deliveries.
    daemon.admin("POST", "/v1/orgs/b/resume", &json!({})).expect(200);
    daemon.drained("b");
    run(&site, &["status"]).exits(0);
    let large = "x".repeat(1024);
    daemon.try_enqueue("b", &json!({"type": "t", "payload": large})).unwrap().expect(429);
    daemon.enqueue("b", &json!({"type": "t", "payload": 1}));
}

/// What was given up comes back within the limits only, from either side, and what was done before the refusal is said.
#[test]
fn dead_letters_come_back_within_the_limits_and_a_part_is_said() {
    let (site, receiver) = (Site::new(), Receiver::start());
    receiver.always("/in", Answer::Status(500));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(1, 1, 1.0, 1));
    for n in 0..5 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    wait_until("all are dead", || daemon.dead_letters("acme").len() == 5);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 2}})).expect(200);
    for at in ["head", "tail"] {
        let done = if at == "head" { 2 } else { 0 };
        let all = json!({"org": "acme", "at": at});
        let refused = daemon.admin("POST", "/v1/dead-letters/retry", &all).expect(429).json();
        assert_eq!(refused["type"], "urn:postrider:queue-full");
        if done > 0 {
            let said = format!("{done} of those that match were retried before");
            assert!(refused["detail"].as_str().unwrap().contains(&said), "{refused}");
            assert!(site.log().contains("changed in part by a caller"), "{}", site.log());
        }
        assert_eq!((daemon.queue("acme").len(), daemon.dead_letters("acme").len()), (2, 3), "{at}");
    }
}
