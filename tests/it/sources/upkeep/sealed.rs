//! P8 for incoming webhooks: secrets, tokens, signatures and payloads are in no log, listing, answer or file.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::canary::{each_file, spellings};
use crate::support::sources::{self, code, post, put};
use crate::support::{Daemon, Receiver, Site};

const SECRET: &str = "kanari/secret+Zq7x";
const OLD_SECRET: &str = "kanari/old-secret+Zq7x";
const PAYLOAD: &str = "kanari/payload+Zq7x";
const ACTOR: &str = "kanari/actor+Zq7x";
const QUERY: &str = "kanari/query+Zq7x";
const HEADER: &str = "kanari/header+Zq7x";
const GUESS: &str = "kanari-guess-of-a-token-Zq7x";
/// Names and ids are no secrets in a log or to an operator, but sealed on disk like everything else.
const ORG: &str = "kanari-org-Zq7x";
const SOURCE: &str = "kanari-source-Zq7x";
const DELIVERY: &str = "kanari/delivery+Zq7x";

/// What must be found nowhere, by what it is.
struct Secrets(BTreeMap<String, Vec<String>>);

impl Secrets {
    fn add(&mut self, what: &str, secret: &str) {
        self.0.insert(what.to_owned(), spellings(secret));
    }

    #[track_caller]
    fn not_in(&self, place: &str, text: &str) {
        for (what, spellings) in &self.0 {
            for spelling in spellings {
                assert!(!text.contains(spelling), "{what} is readable in {place}, as {spelling}");
            }
        }
    }
}

type Headers = Vec<(String, String)>;

fn headers<const N: usize>(all: [(&str, &str); N]) -> Headers {
    all.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Everything that outside services may send, right and wrong: where, with what, and what it is answered.
fn requests(
    urls: &BTreeMap<&'static str, String>,
    secrets: &mut Secrets,
    round: i64,
) -> Vec<(String, Headers, String, u16)> {
    let now = (jiff::Timestamp::now().as_second() + round).to_string();
    let delivery = format!("{DELIVERY}{round}");
    let (json, form) =
        (("content-type", "application/json"), ("content-type", "application/x-www-form-urlencoded"));
    let encoded: String = url::form_urlencoded::byte_serialize(PAYLOAD.as_bytes()).collect();
    let command = format!("command=%2Ftrack&text={encoded}&user_name={ACTOR}&trigger_id={delivery}");
    let event = json!({"type": "t", "text": PAYLOAD}).to_string();
    let [slack, github, hmac, wrong] = [
        format!("v0={}", code(SECRET, &format!("v0:{now}:{command}"))),
        format!("sha256={}", code(SECRET, &event)),
        code(SECRET, &format!("{now}.{event}")),
        code("another", &event),
    ];
    for (what, signature) in
        [("slack", &slack[3..]), ("github", &github[7..]), ("hmac", &hmac), ("wrong", &wrong)]
    {
        secrets.add(&format!("the {what} signature {round}"), signature);
    }
    let stale = format!("t=1714640000,v1={}", code(SECRET, &format!("1714640000.{event}")));
    secrets.add("the stale signature", &stale[16..]);
    let url = |name: &str| urls[name].clone();
    let time = ("x-slack-request-timestamp", &*now);
    let wrong = format!("sha256={wrong}");
    let jwt = format!("JWT {HEADER}");
    let task = |parameters: Value, status| {
        let body = json!({"event_name": "task.add", "parameters": parameters});
        (url("product"), headers([json]), body.to_string(), status)
    };
    vec![
        (url("slack"), headers([form, time, ("x-slack-signature", &slack)]), command.clone(), 200),
        (url("slack"), headers([form, time, ("x-slack-signature", &slack)]), command.clone(), 200),
        (url("slack"), headers([form, time, ("x-slack-signature", &slack)]), format!("{command}x"), 401),
        (
            url("github"),
            headers([json, ("x-hub-signature-256", &github), ("x-github-delivery", &delivery)]),
            event.clone(),
            200,
        ),
        (url("github"), headers([json, ("x-hub-signature-256", &wrong)]), event.clone(), 401),
        (url("github"), headers([json, ("x-hub-signature-256", HEADER)]), event.clone(), 401),
        (url("stripe"), headers([json, ("stripe-signature", &stale)]), event.clone(), 401),
        (url("hipchat"), headers([json, ("authorization", &jwt)]), event.clone(), 401),
        (format!("{}?signed_request={QUERY}", url("hipchat")), headers([json]), event.clone(), 401),
        (url(SOURCE), headers([json, ("x-sig", &hmac), ("x-time", &now)]), event.clone(), 200),
        (url("token"), headers([json, ("x-id", &delivery), ("x-more", HEADER)]), event.clone(), 200),
        (format!("{}?q={QUERY}", url("token")), headers([json]), event.clone(), 200),
        (url("token"), headers([json]), event[1..].to_owned(), 400),
        (url("token"), headers([("content-type", "text/html")]), event.clone(), 415),
        (url("token"), headers([json]), json!({"text": PAYLOAD.repeat(4000)}).to_string(), 413),
        task(json!({"name": PAYLOAD}), 200),
        task(json!({"nam": PAYLOAD}), 422),
        task(json!(PAYLOAD), 422),
        (url("old"), headers([json]), event.clone(), 404),
        (url("disabled"), headers([json]), event.clone(), 404),
        (url("guess"), headers([json]), event.clone(), 404),
        (format!("{}/{QUERY}", url("token")), headers([json]), event, 404),
    ]
}

/// The sources' URLs, with those of some that are no longer right; their tokens are secrets.
fn set_up(daemon: &Daemon<'_>, secrets: &mut Secrets) -> BTreeMap<&'static str, String> {
    let settings = [
        ("slack", json!({"kind": "slack", "secrets": [SECRET, OLD_SECRET], "catalogue": "trackingtime"})),
        ("github", json!({"kind": "github", "secret": SECRET})),
        ("stripe", json!({"kind": "stripe", "secret": SECRET})),
        ("hipchat", json!({"kind": "hipchat", "secret": SECRET})),
        (SOURCE, json!({"kind": "hmac", "secret": SECRET, "header": "x-sig", "timestamp_header": "x-time"})),
        ("token", json!({"kind": "token", "id_header": "x-id"})),
        ("product", json!({"kind": "token", "catalogue": "trackingtime"})),
        ("disabled", json!({"kind": "token", "enabled": false})),
        ("old", json!({"kind": "token"})),
    ];
    let mut urls = BTreeMap::new();
    for (name, settings) in &settings {
        urls.insert(*name, put(daemon, ORG, name, settings));
    }
    let reset = format!("/v1/orgs/{ORG}/sources/old/reset-token");
    let reset = daemon.admin("POST", &reset, &json!({})).expect(200).json();
    urls.insert("reset", reset["url"].as_str().unwrap().to_owned());
    for (name, url) in &urls {
        secrets.add(&format!("the token of {name}"), url.rsplit('/').next().unwrap());
    }
    urls.insert("guess", urls["token"].rsplit_once('/').unwrap().0.to_owned() + "/" + GUESS);
    urls
}

#[test]
fn nothing_secret_of_sources_is_readable_in_logs_listings_answers_and_files() {
    let (site, _) = sources::site();
    let site =
        Site::with(&format!("{}max_body_bytes = \"64KiB\"\n", site.config().replace("debug", "trace")));
    let receiver = Receiver::start();
    let mut secrets = Secrets(BTreeMap::new());
    for (what, secret) in [
        ("the secret", SECRET),
        ("the old secret", OLD_SECRET),
        ("the payload", PAYLOAD),
        ("the actor", ACTOR),
        ("the query", QUERY),
        ("a header", HEADER),
        ("a guessed token", GUESS),
    ] {
        secrets.add(what, secret);
    }
    let daemon = site.start();
    daemon.org(ORG, &receiver.url("/hook"), &Value::Null);
    let urls = set_up(&daemon, &mut secrets);
    // Half is delivered, half stays in the queue.
    for round in 0..2 {
        if round == 1 {
            daemon.drained(ORG);
            daemon.admin("POST", &format!("/v1/orgs/{ORG}/pause"), &json!({})).expect(200);
        }
        for (url, headers, body, status) in &requests(&urls, &mut secrets, round) {
            let reply = post(url, headers, body.as_bytes()).unwrap();
            assert_eq!(reply.status, *status, "{url} {headers:?}: {}", reply.text());
            // Slack's answer to a command repeats it to whoever typed it.
            if !url.contains("/slack/") || *status != 200 {
                secrets.not_in(
                    &format!("the answer {status} of {url}"),
                    &format!("{}\n{}", reply.head, reply.text()),
                );
            }
        }
    }
    let bodies: Vec<_> = receiver.at("/hook").iter().map(|request| request.body.clone()).collect();
    assert!(
        bodies.len() >= 6 && daemon.queue(ORG).len() >= 6,
        "{} {}",
        bodies.len(),
        daemon.queue(ORG).len()
    );
    assert!(
        bodies.iter().all(|body| String::from_utf8_lossy(body).contains(PAYLOAD)),
        "the canaries are real"
    );
    listings(&daemon, &urls, &secrets);
    let key = std::fs::read_to_string(site.data_dir().join("postrider.key")).unwrap();
    assert!(daemon.terminate().success());

    secrets.add("the key", key.trim().trim_end_matches('='));
    secrets.not_in("the log", &site.log());
    for (what, name) in [("the org", ORG), ("the source", SOURCE), ("a delivery id", DELIVERY)] {
        secrets.add(what, name);
    }
    let mut files = 0;
    each_file(&site.data_dir(), &mut |path, bytes| {
        files += 1;
        // Latin-1: every byte is one character, so that text among binary is found. What is not used yet is zeros.
        let text: String = bytes.iter().filter(|byte| **byte != 0).map(|byte| char::from(*byte)).collect();
        if !path.ends_with("postrider.key") {
            secrets.not_in(path, &text);
        }
    });
    assert!(files > 1, "there is a store to look into");
}

/// What the API shows without being asked for payloads, and what it answers to those who change sources.
fn listings(daemon: &Daemon<'_>, urls: &BTreeMap<&'static str, String>, secrets: &Secrets) {
    let org = format!("/v1/orgs/{ORG}");
    let mut calls: Vec<String> = ["", "/sources", "/webhooks", "/queue", "/dead-letters"]
        .iter()
        .map(|below| format!("{org}{below}"))
        .collect();
    calls.extend(["/v1/status", "/v1/orgs", "/metrics"].map(str::to_owned));
    for name in urls.keys().filter(|name| !["reset", "guess"].contains(name)) {
        calls.extend([format!("{org}/sources/{name}"), format!("{org}/sources/{name}/requests")]);
    }
    for call in calls {
        let answer = daemon.admin("GET", &call, &Value::Null).expect(200).text();
        secrets.not_in(&call, &answer);
    }
    let source = format!("{org}/sources/{SOURCE}");
    let right = json!({"kind": "hmac", "secret": SECRET, "header": "x-sig", "timestamp_header": "x-time"});
    let wrong = json!({"kind": "standard", "secret": SECRET});
    let wronger = json!({"kind": "token", "secret": SECRET});
    for (method, path, body, status) in [
        ("PUT", source.clone(), &right, 200),
        ("PUT", source.clone(), &wrong, 422),
        ("PUT", source.clone(), &wronger, 422),
        ("POST", format!("{source}/disable"), &json!({}), 200),
        ("POST", format!("{source}/enable"), &json!({}), 200),
        ("POST", format!("{source}/test"), &json!({}), 200),
        ("POST", format!("{org}/sources/slack/test"), &json!({}), 200),
        ("POST", format!("{org}/sources/hipchat/test"), &json!({}), 200),
    ] {
        let reply = daemon.admin(method, &path, body);
        assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
        secrets.not_in(&format!("{method} {path}"), &format!("{}\n{}", reply.head, reply.text()));
    }
}
