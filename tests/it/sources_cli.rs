//! `postrider source`: incoming webhooks from the command line, against a real daemon and real senders.

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::sources::{self, post, post_json};
use crate::support::{Receiver, Site, official};

const SECRET: &str = "source-canary-of-32-characters-x";

#[test]
fn a_new_source_prints_its_url_alone_and_where_to_paste_it() {
    let (site, address) = sources::site();
    let daemon = site.start();
    daemon.org_only("acme");
    let file = site.dir().join("secret");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let put = ["source", "put", "acme", "slack", "--kind", "slack", "--secret-file", file.to_str().unwrap()];
    let created = run(&site, &put).exits(0).says("Slash Commands > Request URL").says("shown this once");
    let token = created.out.strip_prefix(&format!("http://{address}/in/acme/slack/"));
    let token = token.unwrap_or_else(|| panic!("{created:?}")).strip_suffix('\n').unwrap();
    assert!(token.len() >= 32 && token.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));

    // Replaced, its token stays and is not shown again.
    let described = [&put[..], &["--description", "commands", "--secret-stdin"]].concat();
    let replaced = run_with(&site, &described, "second-canary\n").exits(0).says("its address stays");
    assert_eq!(replaced.out, "");
    let shown = run(&site, &["source", "show", "acme", "slack", "--json"]).exits(0).json();
    assert_eq!((&shown["kind"], &shown["secrets"]), (&json!("slack"), &json!(2)));
    assert_eq!(shown["url"], format!("http://{address}/in/acme/slack/***"));
    assert_eq!((&shown["requests"], &shown["last"]), (&json!([]), &Value::Null));
    for command in [
        &["source", "show", "acme", "slack"][..],
        &["source", "list", "acme"],
        &["source", "list", "acme", "--json"],
        &["source", "test", "acme", "slack"],
        &["source", "test", "acme", "slack", "--json"],
    ] {
        let said = run(&site, command).exits(0).out;
        assert!(!said.contains("canary") && !said.contains(token), "{command:?}: {said}");
    }
    let listed = run(&site, &["source", "list", "acme"]).exits(0).out;
    assert!(listed.starts_with("SOURCE ") && listed.contains("commands"), "{listed}");
    assert!(!site.log().contains("canary") && !site.log().contains(token));
}

#[test]
fn what_keeps_a_source_silent_is_said_at_once() {
    // No listener is configured here.
    let site = Site::with("[sources]\npublic_url = \"https://hooks.example.com\"\n");
    let daemon = site.start();
    daemon.org_only("acme");
    assert!(site.log().contains("nothing takes requests of sources"), "{}", site.log());
    let put = ["source", "put", "acme", "pay", "--kind", "stripe"];
    let created = run(&site, &put).exits(0).says("no listener").says("sources.listen").says("has no secret");
    assert!(created.out.starts_with("https://hooks.example.com/in/acme/pay/"), "{}", created.out);
    run(&site, &["source", "test", "acme", "pay"]).exits(1).says("has no secret");
    run(&site, &["source", "reset-token", "acme", "pay", "--yes"]).exits(0).says("no listener");
    let status = run(&site, &["status", "--json"]).exits(0).json();
    assert_eq!(status["sources"], json!({"listening": null, "tls": false}));
    let disabled = ["source", "put", "acme", "off", "--kind", "token", "--disabled"];
    run(&site, &disabled).exits(0).says("disabled");
    run(&site, &["source", "test", "acme", "off"]).exits(0).says("whoever posts there gets 404");
    drop(daemon);

    let (site, address) = sources::site();
    let daemon = site.start();
    daemon.org_only("acme");
    let status = run(&site, &["status", "--json"]).exits(0).json();
    assert_eq!(status["sources"], json!({"listening": address, "tls": false}));
    let put =
        run(&site, &["source", "put", "acme", "in", "--kind", "token", "--event-header", "X-Event"]).exits(0);
    assert!(!put.err.contains("no listener"), "{}", put.err);
    let headers = [("content-type", "application/json"), ("x-event", "order.paid")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(post(put.out.trim(), &headers, b"{}").unwrap().status, 200);
    let listed = run(&site, &["source", "requests", "acme", "in", "--json"]).exits(0).json();
    let one = &listed["items"][0];
    assert_eq!(
        (&one["event"], &one["events"], &one["deliveries"]),
        (&json!("order.paid"), &json!(1), &json!(0))
    );
    assert!(one["event_ids"][0].as_str().unwrap().starts_with("req_"), "{one}");
    assert!(one["detail"].as_str().unwrap().contains("no webhook of the org listens"), "{one}");
}

#[test]
fn an_address_lives_until_it_is_reset_disabled_or_deleted() {
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org_only("acme");
    let create = ["source", "create", "acme", "in", "--kind", "token", "--unmapped", "drop"];
    let first = run(&site, &create).exits(0).says("whoever has the URL can post").out;
    let first = first.trim();
    post_json(first, r#"{"n":1}"#).expect(200);

    run(&site, &["source", "reset-token", "acme", "in"]).exits(64).says("--yes");
    post_json(first, r#"{"n":2}"#).expect(200);
    let second = run(&site, &["source", "reset-token", "acme", "in", "--yes"]).exits(0).out;
    let second = second.trim();
    post_json(first, r#"{"n":3}"#).expect(404);
    post_json(second, r#"{"n":4}"#).expect(200);

    run(&site, &["source", "disable", "acme", "in"]).exits(0).says("disabled");
    post_json(second, r#"{"n":5}"#).expect(404);
    run(&site, &["source", "enable", "acme", "in"]).exits(0).says("enabled");
    post_json(second, r#"{"n":6}"#).expect(200);
    let shown = run(&site, &["source", "show", "acme", "in"]).exits(0).out;
    assert!(shown.contains("counts.unmapped") && shown.contains("\nAT "), "{shown}");

    run(&site, &["source", "delete", "acme", "in"]).exits(0).says("deleted");
    post_json(second, r#"{"n":7}"#).expect(404);
    run(&site, &["source", "show", "acme", "in"]).exits(2);
    run(&site, &["source", "test", "acme", "in"]).exits(2);
}

#[test]
fn what_was_posted_is_listed_with_its_verdict() {
    let receiver = Receiver::start();
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let put = "source put acme shop --kind hmac --header X-Sig --prefix=HMAC-SHA256~ --unmapped keep --secret-stdin";
    let put = put.split(' ').map(|word| word.replace('~', " ")).collect::<Vec<_>>();
    let put: Vec<&str> = put.iter().map(String::as_str).collect();
    let url = run_with(&site, &put, SECRET).exits(0).says("with the same secret").out;
    let send = |signature: String, body: &str| {
        let headers = [("content-type", "application/json".to_owned()), ("x-sig", signature)];
        let headers = headers.map(|(name, value)| (name.to_owned(), value));
        post(url.trim(), &headers, body.as_bytes()).unwrap().status
    };
    let body = r#"{"type":"order.paid","text":"Zürich" , "n": 1.0}"#;
    assert_eq!(send(signed(body), body), 200);
    assert_eq!(send(signed(body), &body.replace("1.0", "2.0")), 401);
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 1);
    assert_eq!(receiver.at("/hook")[0].body, body);

    let listed = run(&site, &["source", "requests", "acme", "shop", "--json"]).exits(0).json();
    let told = |request: &Value| {
        [&request["verdict"], &request["status"], &request["events"]].map(Value::to_string).join(" ")
    };
    let told: Vec<_> = listed["items"].as_array().unwrap().iter().map(told).collect();
    assert_eq!(told, [r#""signature-mismatch" 401 0"#, r#""accepted" 200 1"#]);
    let table = run(&site, &["source", "requests", "acme", "shop"]).exits(0).out;
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("AT ") && lines[1].contains(" signature-mismatch "), "{table}");
    assert!(lines[2].contains(" order.paid ") && lines[2].contains("127.0.0.1"), "{table}");
    let shown = run(&site, &["source", "show", "acme", "shop", "--json"]).exits(0).json();
    assert_eq!(shown["counts"]["accepted"], 1);
    assert_eq!((&shown["header"], &shown["prefix"]), (&json!("x-sig"), &json!("HMAC-SHA256 ")));
    assert_eq!(shown["requests"], listed["items"]);
}

/// By another implementation than the one under test.
fn signed(body: &str) -> String {
    let program = "import hmac, sys; key, body = (text.encode() for text in sys.argv[1:]); \
                   print('HMAC-SHA256 ' + hmac.new(key, body, 'sha256').hexdigest())";
    official::run("python3", &["-c", program, SECRET, body], &[], "").trim().to_owned()
}

#[test]
fn a_test_says_what_a_request_becomes_and_enqueues_only_if_told() {
    let receiver = Receiver::start();
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let keep = json!({"kind": "token", "unmapped": "keep"}).to_string();
    run_with(&site, &["source", "put", "acme", "keep", "--file", "-"], &keep).exits(0);
    run(&site, &["source", "put", "acme", "drop", "--kind", "token", "--unmapped", "drop"]).exits(0);

    let body = r#"{"n": 1.0, "text":"\u00e9"}"#;
    let test = |source, more: &[&str]| {
        run_with(&site, &[&["source", "test", "acme", source, "-"], more].concat(), body)
    };
    let tried = test("keep", &[]).exits(0).out;
    assert!(
        tried.contains("= inbound.token (1 delivery)\n= {\"n\": 1.0, \"text\":\"\\u00e9\"}\n"),
        "{tried}"
    );
    assert!(tried.contains("< 200") && tried.ends_with("accepted: 1 event, none enqueued; --enqueue does\n"));
    assert!(test("drop", &[]).exits(0).out.contains("unmapped: the rules make no event of it"));
    assert!(receiver.received().is_empty());

    let json = test("keep", &["--enqueue", "--json"]).exits(0).json();
    assert_eq!((&json["verdict"], &json["enqueued"]), (&json!("accepted"), &json!(true)));
    daemon.drained("acme");
    assert_eq!(receiver.at("/hook").len(), 1);
    assert_eq!(receiver.at("/hook")[0].body, body);

    let refused = run_with(&site, &["source", "test", "acme", "keep", "-"], "{").exits(1).out;
    assert!(refused.contains("< 400") && !refused.contains("= "), "{refused}");
    let refused = test("keep", &["--content-type", "text/html"]).exits(1).out;
    assert!(refused.contains("< 415"), "{refused}");
}

#[test]
fn what_a_source_lacks_is_said() {
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org_only("acme");
    run(&site, &["source", "put", "acme", "in", "--kind", "slack"]).exits(1).says("secret");
    run(&site, &["source", "put", "acme", "in", "--kind", "irc"]).exits(64).says("hipchat");
    run(&site, &["source", "put", "acme", "in", "--kind", "token", "--header", "x-sig"])
        .exits(1)
        .says("header");
    run(&site, &["source", "put", "nobody", "in", "--kind", "token"]).exits(2);
    let beside = ["source", "put", "acme", "in", "--file", "-", "--disabled"];
    run_with(&site, &beside, "{}").exits(64).says("--file holds the whole source");
    assert!(run(&site, &["source", "list", "acme", "--json"]).exits(0).json()["items"] == json!([]));
}
