//! P8: payloads, passwords and keys are encrypted at rest and never shown unless a privileged caller asks; never in logs.
//!
//! Words that occur nowhere else are put everywhere an operator or an application may put something, everything that can
//! happen to them happens, with the log at its most talkative, and then they are looked for.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

const PAYLOAD: &str = "canary-payload-Qx7";
const ATTRIBUTE: &str = "canary-attribute-Qx7";
const PASSWORD: &str = "canary-password-Qx7";
const QUERY: &str = "canary-query-Qx7";
/// Names are no secrets in a log, but sealed on disk like everything else.
const ORG: &str = "canary-org-Qx7";
const EVENT_ID: &str = "canary-id-Qx7";

#[test]
fn p8_nothing_is_readable_on_disk_or_in_the_log() {
    let site = Site::with(&Site::new().config().replace("debug", "trace"));
    let receiver = Receiver::start();
    // One receiver is so kind as to send the password and the payload back.
    let payload = json!({"secret": PAYLOAD});
    let echo = Bytes::from(format!("you sent {PASSWORD} and {payload}"));
    receiver.always("/dead", Answer::Full(500, vec![("x-echo", PASSWORD.to_owned())], echo));
    let daemon = site.start();
    let mut settings = retry(2, 10, 1.0, 10);
    settings["password"] = json!(PASSWORD);
    daemon.org(ORG, &receiver.url(&format!("/dead?token={QUERY}")), &settings);
    let event = json!({
        "id": EVENT_ID, "type": "t", "payload": payload, "attributes": {"a": ATTRIBUTE},
    });
    daemon.enqueue(ORG, &event);
    wait_until("it is a dead letter", || daemon.dead_letters(ORG).len() == 1);
    daemon.admin("POST", &format!("/v1/orgs/{ORG}/pause"), &json!({}));
    let waiting = json!({"type": "t", "payload": {"secret": PAYLOAD}, "attributes": {"a": ATTRIBUTE}});
    daemon.enqueue(ORG, &waiting);
    let sent = receiver.received().remove(0);
    assert_eq!(sent.header("x-tt-webhook-password"), PASSWORD);
    assert!(String::from_utf8_lossy(&sent.body).contains(PAYLOAD), "the canaries are real");

    shown_only_when_asked_for(&site, &daemon);
    assert!(daemon.terminate().success());

    let key = std::fs::read_to_string(site.data_dir().join("postrider.key")).unwrap();
    let key = key.trim().trim_end_matches('=');
    for canary in [PAYLOAD, ATTRIBUTE, PASSWORD, QUERY, key] {
        assert_not_in(&site.log(), canary, "the log");
    }
    let mut files = 0;
    each_file(&site.data_dir(), &mut |path, bytes| {
        files += 1;
        let canaries = [PAYLOAD, ATTRIBUTE, PASSWORD, QUERY, ORG, EVENT_ID, key];
        // Latin-1: every byte is one character, so that text among binary is found.
        let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
        for canary in canaries.iter().filter(|_| path.file_name().unwrap() != "postrider.key") {
            assert_not_in(&text, canary, &path.display().to_string());
        }
    });
    assert!(files > 1, "there is a store to look into");
}

/// What the API shows without being asked for payloads, and with.
fn shown_only_when_asked_for(site: &Site, daemon: &crate::support::Daemon<'_>) {
    let dead = daemon.dead_letters(ORG)[0]["id"].as_str().unwrap().to_owned();
    let calls = [
        format!("/v1/orgs/{ORG}"),
        format!("/v1/orgs/{ORG}/webhooks"),
        format!("/v1/orgs/{ORG}/webhooks/main"),
        format!("/v1/orgs/{ORG}/queue"),
        format!("/v1/orgs/{ORG}/dead-letters"),
        "/v1/dead-letters".to_owned(),
        format!("/v1/dead-letters/{dead}"),
        "/v1/status".to_owned(),
    ];
    for call in calls {
        let text = daemon.get(&call).to_string();
        for canary in [PAYLOAD, ATTRIBUTE, PASSWORD] {
            assert_not_in(&text, canary, &call);
        }
    }
    assert_eq!(daemon.get(&format!("/v1/orgs/{ORG}/webhooks/main"))["password_set"], true);
    let asked = daemon.get(&format!("/v1/dead-letters/{dead}?payload=true"));
    assert_eq!(asked["payload"]["secret"], PAYLOAD);
    assert_not_in(&asked.to_string(), PASSWORD, "a dead letter with its payload");
    let asked = daemon.get(&format!("/v1/orgs/{ORG}/queue?payload=true"));
    assert_eq!(asked["items"][0]["payload"]["secret"], PAYLOAD);
    // The submit socket shows nothing at all.
    for path in ["/v1/dead-letters?payload=true", &format!("/v1/orgs/{ORG}/queue?payload=true")] {
        let reply = crate::support::http::request(&site.submit_socket(), "GET", path, None).unwrap();
        assert!(matches!(reply.status, 403 | 404), "{}", reply.status);
        assert_not_in(&reply.text(), PAYLOAD, "an answer of the submit socket");
    }
}

#[test]
fn p8_a_refused_request_does_not_quote_what_it_carried() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only(ORG);
    for body in [
        json!({"url": "not a url", "password": PASSWORD}),
        json!({"url": "https://example.com/", "password": format!("{PASSWORD}\n")}),
        json!({"url": "https://example.com/", "password": PASSWORD, "pasword": PASSWORD}),
        json!({"url": format!("https://user:{PASSWORD}@example.com/")}),
    ] {
        let reply = daemon.admin("PUT", &format!("/v1/orgs/{ORG}/webhooks/main"), &body);
        assert!((400..500).contains(&reply.status), "{body} was answered with {}", reply.status);
        assert_not_in(&reply.text(), PASSWORD, "a problem answer");
    }
    let reply = daemon.try_enqueue(ORG, &json!({"type": "not a type", "payload": PAYLOAD})).unwrap();
    assert!((400..500).contains(&reply.status));
    assert_not_in(&reply.text(), PAYLOAD, "a problem answer");
    assert!(daemon.terminate().success());
    for canary in [PASSWORD, PAYLOAD] {
        assert_not_in(&site.log(), canary, "the log");
    }
}

#[test]
fn p8_the_memory_image_is_not_dumped_and_files_are_for_their_owner() {
    use std::os::unix::fs::MetadataExt as _;
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", "https://example.com/", &Value::Null);
    assert!(daemon.terminate().success());
    assert_eq!(site.data_dir().metadata().unwrap().mode() & 0o077, 0);
    each_file(&site.data_dir(), &mut |path, _| {
        assert_eq!(path.metadata().unwrap().mode() & 0o077, 0, "{}", path.display());
    });
}

/// In none of the forms in which text leaks.
#[track_caller]
fn assert_not_in(text: &str, canary: &str, place: &str) {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let base64 = STANDARD_NO_PAD.encode(canary);
    // The last digits of base64 depend on what follows.
    let base64 = &base64[..base64.len() - 2];
    let numbers = canary.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    for form in [canary, &hex, base64, &numbers] {
        assert!(!text.contains(form), "{canary} is readable in {place}");
    }
}

fn each_file(dir: &Path, look: &mut impl FnMut(&Path, &[u8])) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else if path.is_file() {
            look(&path, &std::fs::read(&path).unwrap());
        }
    }
}
