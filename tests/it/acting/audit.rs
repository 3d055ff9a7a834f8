//! What is left in the log of whoever has something changed: one line for each call, and none for reads and events.

use serde_json::{Value, json};

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

/// The audit lines so far.
fn lines(site: &Site) -> Vec<Value> {
    let log = site.log();
    let parsed = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    parsed.filter(|line| line["audit"] == json!(true)).collect()
}

#[test]
fn every_change_leaves_one_line_and_reads_leave_none() {
    let site = Site::with(&Site::new().config().replace("\"text\"", "\"json\""));
    let receiver = Receiver::start();
    receiver.always("/in", Answer::Status(500));
    let daemon = site.start();
    let secret = json!({"url": receiver.url("/in?token=canary"), "password": "canary", "retry": retry(1, 1, 1.0, 1)["retry"]});
    let none = Value::Null;
    // Who calls: this very process.
    let me = (rustix::process::getuid().as_raw(), std::process::id());
    let mut seen = 0;
    let mut expect = |method: &str, path: &str, body: &Value, status: u16, fields: Value| {
        let reply = daemon.admin(method, path, body);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        // The line is written before the answer.
        let all = lines(&site);
        let new = &all[seen..];
        seen = all.len();
        let [line] = new else { panic!("{method} {path} left {new:#?}") };
        assert_eq!(
            (line["status"].as_u64(), line["level"].as_str()),
            (Some(u64::from(status)), Some("INFO"))
        );
        assert_eq!((&line["uid"], &line["pid"]), (&json!(me.0), &json!(me.1)), "{line}");
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&line[name], value, "{name} of {method} {path}: {line}");
        }
    };
    expect(
        "PUT",
        "/v1/orgs/acme",
        &json!({}),
        201,
        json!({"call": "PUT /v1/orgs/{org}", "org": "acme", "touched": 1}),
    );
    expect("PUT", "/v1/orgs/acme/webhooks/main", &secret, 201, json!({"org": "acme", "id": "main"}));
    let refused = json!({"problem": "unknown-field", "touched": null});
    expect("PUT", "/v1/orgs/acme/webhooks/main", &json!({"ulr": "canary"}), 422, refused);
    expect(
        "POST",
        "/v1/orgs/nobody/pause",
        &json!({}),
        404,
        json!({"org": "nobody", "problem": "unknown-org"}),
    );

    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("e{n}"), "payload": "canary"}));
        let event = json!({"type": "t", "payload": "canary"});
        daemon.admin("POST", "/v1/orgs/acme/events", &event).expect(202);
    }
    wait_until("all are dead", || daemon.dead_letters("acme").len() == 6);
    daemon.get("/v1/orgs/acme");
    daemon.admin("POST", "/v1/orgs/acme/webhooks/main/test", &json!({"payload": 1})).expect(200);
    let all = json!({"filter": {"org": "acme"}, "dry_run": true});
    daemon.admin("POST", "/v1/dead-letters/discard", &all).expect(200);

    let why = json!({"reason": "their parser is down"});
    let told = json!({"touched": 1, "reason": "their parser is down"});
    expect("POST", "/v1/orgs/acme/pause", &why, 200, told);
    let three = json!({"filter": {"org": "acme", "event_id": "e0"}});
    let one = json!({"call": "POST /v1/dead-letters/retry", "org": "acme", "touched": 1});
    expect("POST", "/v1/dead-letters/retry", &three, 200, one);
    expect("POST", "/v1/dead-letters/e1/retry", &none, 200, json!({"id": "e1", "touched": 1}));
    expect("DELETE", "/v1/dead-letters/e2", &none, 204, json!({"id": "e2"}));
    expect("POST", "/v1/dead-letters/discard", &json!({"reason": "skipped"}), 200, json!({"touched": 0}));
    expect("POST", "/v1/orgs/acme/queue/skip", &none, 200, json!({"org": "acme", "reason": null}));
    expect("POST", "/v1/reload", &none, 200, json!({"call": "POST /v1/reload", "touched": 1}));
    expect("DELETE", "/v1/orgs/acme", &none, 409, json!({"problem": "queue-not-empty"}));
    let whole = json!({"touched": 1, "dropped": 5});
    expect("DELETE", "/v1/orgs/acme?discard=true", &none, 204, whole);

    // A command is one call, by a process of its own.
    run(&site, &["org", "put", "other"]).exits(0);
    let all = lines(&site);
    assert_eq!(all.len(), seen + 1);
    assert_ne!(all[seen]["pid"], json!(me.1));
    assert!(!site.log().contains("canary"), "nothing of bodies but what was said as a reason");
}
