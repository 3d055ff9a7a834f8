//! What is set up stays as it is: through restarts, deletions and reloads.

use std::collections::BTreeSet;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::sources::{self, code, post, post_json, put};
use crate::support::{Daemon, Receiver, Site, wait_until};

mod sealed;

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
const TASK: &str = r#"{"event_name":"task.add","parameters":{"name":"Footer"}}"#;

/// A source of each kind, with everything that can be said of one.
fn all_kinds() -> Vec<(&'static str, Value)> {
    vec![
        ("chat", json!({"kind": "slack", "secrets": [SECRET, "the one before"], "description": "commands"})),
        ("code", json!({"kind": "github", "secret": SECRET, "enabled": false})),
        ("pay", json!({"kind": "stripe", "unmapped": "keep"})),
        ("shop", json!({"kind": "standard", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"})),
        ("room", json!({"kind": "hipchat", "secret": SECRET, "catalogue": "trackingtime"})),
        (
            "forms",
            json!({"kind": "token", "id_header": "x-id", "catalogue": "trackingtime", "unmapped": "drop"}),
        ),
        (
            "own",
            json!({
                "kind": "hmac", "secret": SECRET, "header": "x-sig", "algorithm": "sha512", "encoding": "base64",
                "prefix": "sig:", "timestamp_header": "x-time", "id_header": "x-id",
            }),
        ),
    ]
}

/// All sources as they are shown, but for what is counted since the start.
fn shown(daemon: &Daemon<'_>) -> Vec<Value> {
    let mut all = daemon.list("/v1/orgs/acme/sources");
    for source in &mut all {
        let source = source.as_object_mut().unwrap();
        source.remove("last").unwrap();
        source.remove("counts").unwrap();
    }
    all
}

fn with_id(id: &str) -> Vec<(String, String)> {
    [("content-type", "application/json"), ("x-id", id)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

/// A slash command, signed now.
fn command(url: &str, secret: &str, trigger: &str) -> u16 {
    let body = format!("command=%2Ftrack&text=Footer&user_name=dana&trigger_id={trigger}");
    let now = jiff::Timestamp::now().as_second();
    let headers = [
        ("content-type", "application/x-www-form-urlencoded".to_owned()),
        ("x-slack-signature", format!("v0={}", code(secret, &format!("v0:{now}:{body}")))),
        ("x-slack-request-timestamp", now.to_string()),
    ];
    post(url, &headers.map(|(name, value)| (name.to_owned(), value)), body.as_bytes()).unwrap().status
}

#[test]
fn sources_their_addresses_and_what_came_there_survive_restarts() {
    let (site, _) = sources::site();
    let receiver = Receiver::start();
    let mut daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let urls: Vec<String> =
        all_kinds().iter().map(|(name, settings)| put(&daemon, "acme", name, settings)).collect();
    let [chat, github, .., forms, _] = &urls[..] else { panic!("seven sources") };
    let reset = daemon.admin("POST", "/v1/orgs/acme/sources/chat/reset-token", &json!({})).expect(200).json();
    let new_chat = reset["url"].as_str().unwrap();
    let before = shown(&daemon);
    assert_eq!(before.len(), 7);
    let task = post(forms, &with_id("1"), TASK.as_bytes()).unwrap().expect(200);
    let nothing = post(forms, &with_id("2"), b"{}").unwrap().expect(200);
    daemon.drained("acme");

    for (round, killed) in [true, false].into_iter().enumerate() {
        if killed {
            daemon.kill();
        } else {
            assert!(daemon.terminate().success());
        }
        daemon = site.start();
        assert_eq!(shown(&daemon), before);
        for (id, told) in [("1", &task), ("2", &nothing)] {
            let again = post(forms, &with_id(id), TASK.as_bytes()).unwrap().expect(200);
            assert_eq!(again.body, told.body);
        }
        let seen = daemon.get("/v1/orgs/acme/sources/forms/requests");
        let verdicts: Vec<_> =
            seen["items"].as_array().unwrap().iter().map(|seen| &seen["verdict"]).collect();
        assert_eq!(verdicts, ["repeated", "repeated"]);
        assert_eq!(command(chat, SECRET, "x"), 404, "the address before the last");
        for secret in [SECRET, "the one before"] {
            assert_eq!(command(new_chat, secret, &format!("{round} {secret}")), 200);
        }
        assert_eq!(command(new_chat, "none of them", "x"), 401);
        assert_eq!(post_json(github, "{}").status, 404, "disabled");
    }
    daemon.drained("acme");
    // What was taken just before a kill may be sent once more, under its id.
    let received = receiver.at("/hook");
    let events: BTreeSet<_> = received.iter().map(|request| request.id()).collect();
    assert_eq!(events.len(), 5, "one task, and four commands");
    daemon.admin("POST", "/v1/orgs/acme/sources/code/enable", &json!({})).expect(200);
    let headers = [("x-hub-signature-256".to_owned(), format!("sha256={}", code(SECRET, "{}")))];
    assert_eq!(post(github, &headers, b"{}").unwrap().status, 200, "enabled, at the address that it had");
}

#[test]
fn an_org_takes_its_sources_with_it() {
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org("acme", "http://127.0.0.1:1/", &Value::Null);
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    let settings = json!({"kind": "token", "id_header": "x-id"});
    let old = put(&daemon, "acme", "in", &settings);
    let other = put(&daemon, "acme", "other", &json!({"kind": "token"}));
    post(&old, &with_id("1"), TASK.as_bytes()).unwrap().expect(200);
    // What came there is not thrown away by mistake, and neither is the way in.
    daemon.admin("DELETE", "/v1/orgs/acme", &Value::Null).expect(409);
    post(&old, &with_id("1"), TASK.as_bytes()).unwrap().expect(200);
    daemon.admin("DELETE", "/v1/orgs/acme?discard=true", &Value::Null).expect(204);
    let nobody = post_json(&old.replace("acme", "nobody"), TASK).expect(404);
    for url in [&old, &other] {
        assert_eq!(post_json(url, TASK).expect(404).body, nobody.body);
    }
    daemon.admin("GET", "/v1/orgs/acme/sources", &Value::Null).expect(404);

    // Another org of this name has none of it, not even the memory.
    daemon.org_only("acme");
    assert_eq!(daemon.get("/v1/orgs/acme/sources")["items"], json!([]));
    post_json(&old, TASK).expect(404);
    let new = put(&daemon, "acme", "in", &settings);
    post_json(&old, TASK).expect(404);
    post(&new, &with_id("1"), TASK.as_bytes()).unwrap().expect(200);
    assert_eq!(daemon.get("/v1/orgs/acme/sources/in")["counts"], json!({"accepted": 1}));
    daemon.kill();
    let daemon = site.start();
    for url in [&old, &other] {
        post_json(url, TASK).expect(404);
    }
    post_json(&new, TASK).expect(200);
    assert_eq!(daemon.list("/v1/orgs/acme/sources").len(), 1);
}

#[test]
fn a_reload_does_not_take_the_rules_of_a_source_away() {
    let (site, _) = sources::site();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let settings = json!({"kind": "token", "catalogue": "trackingtime"});
    let url = put(&daemon, "acme", "in", &settings);
    let without = format!("{}[catalogue]\nproducts = [\"timekit\"]\n", site.config());
    site.configure(&without);
    let refused = daemon.admin("POST", "/v1/reload", &json!({}));
    assert!((400..500).contains(&refused.status), "{}", refused.status);
    let problem = refused.json();
    assert!(problem["type"].as_str().unwrap().ends_with("reload-failed"), "{problem}");
    for word in ["source in of org acme", "trackingtime", "change that first"] {
        assert!(problem["detail"].as_str().unwrap().contains(word), "{problem}");
    }
    daemon.signal(Signal::HUP);
    let refusals = || site.log().matches("configuration not reloaded").count();
    wait_until("it is refused again", || refusals() == 2);
    post_json(&url, TASK).expect(200);
    daemon.drained("acme");
    let body: Value = serde_json::from_slice(&receiver.at("/hook")[0].body).unwrap();
    assert_eq!(body["parameters"]["name"], "Footer", "by the rules as before");

    // At the start nobody is there to be told: the source waits for its rules, and says so.
    assert!(daemon.terminate().success());
    let daemon = site.start();
    assert!(site.log().contains("source in of org acme goes by the catalogue trackingtime"));
    // The sender is to come again.
    assert!(post_json(&url, TASK).expect(503).header("retry-after").is_some());
    assert_eq!(daemon.get("/v1/orgs/acme/sources/in/requests")["items"][0]["verdict"], "unavailable");
    site.configure(site.config());
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    post_json(&url, TASK).expect(200);
    daemon
        .admin("PUT", "/v1/orgs/acme/sources/in", &json!({"kind": "token", "unmapped": "keep"}))
        .expect(200);
    site.configure(&without);
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    post_json(&url, TASK).expect(200);
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 3);
    assert_eq!(receiver.at("/hook")[2].body, TASK, "as it came");
}

#[test]
fn limits_and_the_public_address_change_with_a_reload() {
    let (site, address) = sources::site();
    let daemon = site.start();
    daemon.org_only("acme");
    let url = put(&daemon, "acme", "in", &json!({"kind": "token"}));
    let body = json!({"text": "x".repeat(2000)}).to_string();
    post_json(&url, &body).expect(200);
    let changed = "max_body_bytes = \"1KiB\"\npublic_url = \"https://hooks.example.com\"\nmax_rate = 1\n";
    reload(&site, &daemon, &format!("{}{changed}", site.config()));
    post_json(&url, &body).expect(413);
    wait_until("the rate is kept", || post_json(&url, "{}").status == 429);
    let shown = daemon.get("/v1/orgs/acme/sources/in");
    assert_eq!(shown["url"], "https://hooks.example.com/in/acme/in/***");
    reload(&site, &daemon, site.config());
    post_json(&url, &body).expect(200);
    assert_eq!(daemon.get("/v1/orgs/acme/sources/in")["url"], format!("http://{address}/in/acme/in/***"));
}

fn reload(site: &Site, daemon: &Daemon<'_>, config: &str) {
    site.configure(config);
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
}
