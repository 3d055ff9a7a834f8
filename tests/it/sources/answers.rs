//! Every answer that a sender can get, and what an operator is shown of it.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::{Reply, read_reply};
use crate::support::senders::{Call, FORM, JSON, Sender, form, site_with, slash, verdicts};
use crate::support::{Answer, Daemon, Gate, PATIENCE, Receiver, Site, wait_until};

fn connect(sender: &Sender) -> TcpStream {
    let stream = TcpStream::connect(sender.place().0).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends these bytes, as far as they are taken, and reads the answer.
fn exchange(sender: &Sender, bytes: &[u8]) -> Reply {
    let mut stream = connect(sender);
    stream.write_all(bytes).ok();
    read_reply(&mut stream).unwrap()
}

fn request(sender: &Sender, method: &str, path: &str, body: &str) -> Reply {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {JSON}\r\ncontent-length: {length}\r\n"
    );
    exchange(sender, format!("{head}\r\n{body}").as_bytes())
}

/// This reply, if it is this problem.
#[track_caller]
fn problem(reply: Reply, status: u16, code: &str) -> Value {
    let reply = reply.expect(status);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    let json = reply.json();
    assert_eq!(json["type"], format!("urn:postrider:{code}"), "{json}");
    assert_eq!(json["status"], status);
    json
}

/// The last request of the source was judged so.
#[track_caller]
fn judged(daemon: &Daemon<'_>, source: &str, verdict: &str, status: u64) {
    assert_eq!(verdicts(daemon, "acme", source).first(), Some(&(verdict.to_owned(), status)));
}

/// All that can be seen of an answer but its time.
fn seen(reply: &Reply) -> String {
    let head = reply.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    format!("{}\n\n{}", head.collect::<Vec<_>>().join("\n"), reply.text())
}

#[test]
fn where_nobody_is_every_answer_is_the_same_to_the_byte() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    for org in ["acme", "gone"] {
        daemon.org(org, &receiver.url("/hook"), &json!({}));
    }
    let put = |org: &str, source: &str| Sender::put(&daemon, org, source, "github", &json!({}));
    let [here, disabled, deleted] = ["here", "disabled", "deleted"].map(|source| put("acme", source));
    let of_gone = put("gone", "in");
    daemon.admin("POST", "/v1/orgs/acme/sources/disabled/disable", &Value::Null).expect(200);
    daemon.admin("DELETE", "/v1/orgs/acme/sources/deleted", &Value::Null).expect(204);
    daemon.admin("DELETE", "/v1/orgs/gone", &Value::Null).expect(204);
    let right = here.place().1;
    let token = right.rsplit('/').next().unwrap();
    let paths = [
        disabled.place().1,
        deleted.place().1,
        of_gone.place().1,
        right.replace("/acme/", "/acne/"),
        right.replace("/acme/", "/No Org/").replace(' ', "%20"),
        right.replace("/here/", "/there/"),
        right.replace("/here/", "/disabled/"),
        right.replace(token, &token.to_uppercase()),
        right.replace(token, "0"),
        right[..right.len() - 1].to_owned(),
        format!("{right}x"),
        format!("{right}/"),
        format!("{right}/{token}"),
        format!("/in/acme/here/?{token}"),
        "/in/acme/here".to_owned(),
        right.replace("/in/", "/out/"),
        right.replace("/in/", "//in/"),
        "/in".to_owned(),
        "/v1/orgs/acme".to_owned(),
        "/readyz".to_owned(),
        "/".to_owned(),
    ];
    let first = seen(&request(&here, "GET", "/", ""));
    assert!(first.starts_with("HTTP/1.1 404 Not Found\n"), "{first}");
    for path in &paths {
        for (method, body) in [("GET", ""), ("POST", "{}"), ("PUT", "{}"), ("DELETE", "")] {
            assert_eq!(seen(&request(&here, method, path, body)), first, "{method} {path}");
        }
        // Nor is a proof looked at.
        let signed = Sender { url: format!("http://{}{path}", here.place().0), ..here.clone() };
        assert_eq!(seen(&signed.post(&signed.call("d-1", "x"))), first, "{path}");
    }
    assert_eq!(verdicts(&daemon, "acme", "here"), []);
    // Whoever has the address is told of the method.
    for method in ["GET", "PUT", "DELETE", "OPTIONS"] {
        let reply = request(&here, method, &right, "");
        assert_eq!(reply.header("allow"), Some("POST"));
        problem(reply, 405, "method-not-allowed");
        judged(&daemon, "here", "malformed", 405);
    }
    here.post(&here.call("d-1", "x")).expect(200);
    judged(&daemon, "here", "accepted", 200);
    assert!(!site.log().contains(token));
}

#[test]
fn a_body_beyond_the_limit_is_refused_whether_its_length_is_announced_or_not() {
    let site = site_with("max_body_bytes = \"4KiB\"\n");
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "token", &json!({}));
    let fits = |bytes: usize| {
        let padding = "x".repeat(bytes - r#"{"x":""}"#.len());
        sender.sign(JSON, "d-1", format!(r#"{{"x":"{padding}"}}"#).as_bytes())
    };
    sender.post(&fits(4096)).expect(200);
    problem(sender.post(&fits(4097)), 413, "payload-too-large");
    judged(&daemon, "in", "too-large", 413);
    let path = sender.place().1;
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {JSON}\r\n");
    let announced = format!("{head}expect: 100-continue\r\ncontent-length: 1000000000000\r\n\r\n");
    problem(exchange(&sender, announced.as_bytes()), 413, "payload-too-large");
    let chunk = format!("800\r\n{:2048}\r\n", 7);
    let chunked =
        |chunks: usize| format!("{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(chunks));
    problem(exchange(&sender, chunked(3).as_bytes()), 413, "payload-too-large");
    judged(&daemon, "in", "too-large", 413);
    exchange(&sender, chunked(1).as_bytes()).expect(200);
}

/// Sends a byte of the body now and then; how long until the answer came.
fn trickle(sender: &Sender) -> (Reply, Duration) {
    let begun = Instant::now();
    let mut stream = connect(sender);
    let path = sender.place().1;
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 1000\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut answer = Vec::new();
    while !stream.read_to_end(&mut answer).is_ok_and(|_| !answer.is_empty()) {
        assert!(begun.elapsed() < PATIENCE, "no answer");
        // It may be gone in between: what it said is read all the same.
        let _gone = stream.write_all(b" ");
    }
    (read_reply(&mut &answer[..]).unwrap(), begun.elapsed())
}

#[test]
fn who_is_too_slow_is_told_so_within_the_time_that_its_kind_waits() {
    let site = site_with("header_timeout = \"1s\"\n");
    let daemon = site.start();
    daemon.org_only("acme");
    let slack = Sender::put(&daemon, "acme", "slack", "slack", &json!({}));
    let other = Sender::put(&daemon, "acme", "other", "github", &json!({}));
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| trickle(&other));
        problem(exchange(&slack, b"POST /in/acme HTTP/1.1\r\nhost: x\r\nx-"), 408, "request-timeout");
        let (reply, took) = trickle(&slack);
        problem(reply, 408, "request-timeout");
        // Slack gives up after 3 s.
        assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(8), "{took:?}");
        judged(&daemon, "slack", "timed-out", 408);
        let (reply, took) = slow.join().unwrap();
        problem(reply, 408, "request-timeout");
        // The others after 10 s.
        assert!(took >= Duration::from_secs(8) && took < Duration::from_secs(15), "{took:?}");
        judged(&daemon, "other", "timed-out", 408);
    });
    slack.post(&slack.call("d-1", "x")).expect(200);
}

#[test]
fn beyond_its_rate_a_source_says_when_to_come_back_and_others_have_their_own() {
    let site = site_with("max_rate = 1\n");
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "token", &json!({}));
    let other = Sender::put(&daemon, "acme", "other", "token", &json!({}));
    sender.post(&sender.call("d-0", "x")).expect(200);
    let mut number = 0;
    let mut refused = None;
    wait_until("it is refused", || {
        number += 1;
        let reply = sender.post(&sender.call(&format!("d-{number}"), "x"));
        refused = (reply.status != 200).then_some(reply);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.header("retry-after"), Some("1"));
    problem(refused, 429, "too-many-requests");
    judged(&daemon, "in", "rate-limited", 429);
    other.post(&other.call("d-0", "x")).expect(200);
    // It was not remembered, and comes through once there is room.
    wait_until("it is taken", || sender.post(&sender.call(&format!("d-{number}"), "x")).status == 200);
    judged(&daemon, "in", "accepted", 200);
}

#[test]
fn what_cannot_be_stored_is_to_be_sent_again() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let sender = Sender::put(&daemon, "acme", "in", "github", &json!({}));
    daemon.terminate();
    site.configure(&site.config().replace("\"1MiB\"", "\"1000000GiB\""));
    let daemon = site.spawn(&mut site.serve_command());
    wait_until("it serves", || daemon.try_admin("GET", "/healthz", &Value::Null).is_ok());
    let call = sender.call("d-1", "x");
    for _ in 0..2 {
        let reply = sender.post(&call);
        let wait: u32 = reply.header("retry-after").unwrap().parse().unwrap();
        assert!(wait > 0);
        problem(reply, 503, "storage-unavailable");
        judged(&daemon, "in", "unavailable", 503);
    }
    // Without a proof nobody learns how things are here.
    let unsigned = Call { headers: vec![], ..call.clone() };
    problem(sender.post(&unsigned), 401, "not-verified");
    daemon.terminate();
    site.configure(site.config());
    let daemon = site.start();
    sender.post(&call).expect(200);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 1);
}

#[test]
fn a_full_queue_and_a_plan_without_webhooks_refuse_whole_requests() {
    let (receiver, gate) = (Receiver::start(), Gate::closed());
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let site = site_with("");
    let daemon = site.start();
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 2}})).expect(201);
    daemon.webhook("acme", "main", &receiver.url("/hook"), &json!({}));
    let sender = Sender::put(&daemon, "acme", "in", "stripe", &json!({}));
    for number in 0..2 {
        sender.post(&sender.call(&format!("evt_{number}"), "x")).expect(200);
    }
    let reply = sender.post(&sender.call("evt_2", "x"));
    assert!(reply.header("retry-after").is_some());
    problem(reply, 429, "queue-full");
    judged(&daemon, "in", "queue-full", 429);
    // What had been accepted gets its answer all the same.
    sender.post(&sender.call("evt_1", "x")).expect(200);
    gate.open();
    daemon.drained("acme");
    sender.post(&sender.call("evt_2", "x")).expect(200);
    daemon.drained("acme");

    let strict = |plan: &str| {
        site.configure(&format!("{}[intake]\nentitled_plans = [\"{plan}\"]\n", site.config()));
        daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    };
    strict("pro");
    problem(sender.post(&sender.call("evt_3", "x")), 403, "org-not-entitled");
    judged(&daemon, "in", "refused", 403);
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"plan": "pro"})).expect(200);
    sender.post(&sender.call("evt_3", "x")).expect(200);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 4);
}

/// A product whose rules refuse.
fn site_that_refuses(dir: &std::path::Path) -> Site {
    let product = dir.join("shop");
    std::fs::create_dir_all(&product).unwrap();
    let text = r#"
product = "shop"
[events."shop.paid"]
[[requests.rules]]
when = "body.n < 0"
refuse = "an amount is above 0"
field = "/body/n"
[[requests.rules]]
when = "body.n > 1000"
event = "shop.paid"
payload = "{'all': body.list.map(a, body.list.map(b, body.list.map(c, a + b + c)))}"
[[requests.rules]]
when = "true"
event = "shop.paid"
payload = "body"
"#;
    std::fs::write(product.join("catalogue.toml"), text).unwrap();
    site_with(&format!("[catalogue]\ndir = \"{}\"\n[changes]\nmax_cost = 10_000\n", dir.display()))
}

#[test]
fn what_the_rules_or_a_schema_refuse_is_named_and_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let (receiver, site) = (Receiver::start(), site_that_refuses(dir.path()));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let shop = Sender::put(&daemon, "acme", "shop", "standard", &json!({"catalogue": "shop"}));
    let plain = Sender::put(&daemon, "acme", "plain", "hmac", &json!({}));
    let many: Vec<u32> = (0..100).collect();
    let empty_name = json!({"event_name": "task.add", "parameters": {"name": ""}});
    for (sender, source, body, code, field) in [
        (&shop, "shop", json!({"n": -1}), "request-refused", json!("/body/n")),
        (&shop, "shop", json!({"m": 1}), "request-failed", json!("/body/n")),
        (&shop, "shop", json!({"n": 2000, "list": many}), "request-too-costly", Value::Null),
        (&plain, "plain", json!({"event_name": "task.add"}), "request-failed", json!("/body/parameters")),
        (&plain, "plain", empty_name, "schema-violation", json!("/body/parameters/name")),
    ] {
        let said = problem(sender.post(&sender.sign(JSON, "d-1", body.to_string().as_bytes())), 422, code);
        assert_eq!(said["field"], field, "{said}");
        judged(&daemon, source, "refused", 422);
        let requests = daemon.get(&format!("/v1/orgs/acme/sources/{source}/requests"));
        assert_eq!(requests["items"][0]["detail"], said["detail"]);
    }
    shop.post(&shop.sign(JSON, "d-1", br#"{"n": 1}"#)).expect(200);
    plain.post(&plain.call("d-1", "x")).expect(200);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 2);
}

#[test]
fn what_cannot_be_read_is_refused_after_its_proof() {
    let site = site_with("");
    let daemon = site.start();
    daemon.org_only("acme");
    let twice = form(&[("payload", "{}"), ("payload", "{}")]);
    let cases: [(&str, &str, &[u8], u16, &str); 12] = [
        ("stripe", JSON, b"", 400, "malformed-body"),
        ("stripe", JSON, br#"{"id":"evt_1""#, 400, "malformed-body"),
        ("stripe", JSON, br#"{"id":"evt_1","id":"evt_2"}"#, 400, "malformed-body"),
        ("stripe", FORM, b"id=evt_1", 415, "unsupported-media-type"),
        ("github", FORM, &twice, 400, "malformed-body"),
        ("github", FORM, b"payload=no", 400, "malformed-body"),
        ("slack", JSON, br#"{"type":"url_verification"}"#, 400, "malformed-body"),
        ("slack", "text/plain", b"command=%2Fstop", 415, "unsupported-media-type"),
        ("hipchat", "application/xml", b"<x/>", 415, "unsupported-media-type"),
        ("token", "multipart/form-data; boundary=x", b"--x--", 415, "unsupported-media-type"),
        ("hmac", JSON, b"\xff", 400, "malformed-body"),
        ("standard", JSON, b"null null", 400, "malformed-body"),
    ];
    for kind in ["stripe", "github", "slack", "hipchat", "token", "hmac", "standard"] {
        let sender = Sender::put(&daemon, "acme", kind, kind, &json!({}));
        for (_, content_type, body, status, code) in cases.iter().filter(|case| case.0 == kind) {
            let mut call = sender.sign(content_type, "d-1", body);
            problem(sender.post(&call), *status, code);
            judged(&daemon, kind, "malformed", u64::from(*status));
            if kind != "token" {
                call.headers.retain(|(name, _)| name == "content-type");
                problem(sender.post(&call), 401, "not-verified");
                judged(&daemon, kind, "signature-missing", 401);
            }
        }
    }
}

#[test]
fn whoever_only_looks_whether_someone_is_there_runs_nothing() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let put = |kind| Sender::put(&daemon, "acme", kind, kind, &json!({"unmapped": "keep"}));
    let [github, slack] = ["github", "slack"].map(put);
    let ping = github.sign(JSON, "d-1", br#"{"zen":"Design for failure."}"#).with("x-github-event", "ping");
    assert_eq!(github.post(&ping).expect(200).json(), json!({"ok": true}));
    judged(&daemon, "github", "probe", 200);

    let mut fields = slash("t-1", "/stop", "", "https://hooks.slack.com/commands/T0001/1/abc").to_vec();
    fields.push(("ssl_check", "1"));
    let signed = slack.sign(FORM, "t-1", &form(&fields));
    let unsigned = Call { headers: vec![], ..signed.clone() }.with("content-type", FORM);
    for call in [&signed, &unsigned] {
        assert_eq!(slack.post(call).expect(200).body, b"");
        judged(&daemon, "slack", "probe", 200);
    }
    let wrong = unsigned.clone().with("x-slack-signature", "v0=00").with("x-slack-request-timestamp", "1");
    problem(slack.post(&wrong), 401, "not-verified");

    let challenge = "3eZbrw1aB10FEMAGAZd4FyFQ ä\"";
    let body = json!({"type": "url_verification", "token": "tok", "challenge": challenge}).to_string();
    let reply = slack.post(&slack.sign(JSON, "", body.as_bytes())).expect(200);
    assert_eq!((reply.text().as_str(), reply.header("content-type")), (challenge, Some("text/plain")));
    judged(&daemon, "slack", "probe", 200);
    let unsigned = Call { headers: vec![], body: body.into_bytes() };
    problem(slack.post(&unsigned), 401, "not-verified");
    assert_eq!(daemon.get("/v1/orgs/acme/sources/slack")["counts"]["probe"], 3);
    assert!(daemon.queue("acme").is_empty() && receiver.count() == 0);
}
