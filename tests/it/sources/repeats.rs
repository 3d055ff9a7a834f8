//! A sender repeats what it saw no answer to: it gets the answer that it would have had, and nothing runs again.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::support::http::Reply;
use crate::support::senders::{Call, JSON, KINDS, Sender, hex_code, site_with, verdicts};
use crate::support::{Daemon, Receiver};

/// What a sender gets, its time aside.
fn got(reply: &Reply) -> (String, Vec<u8>) {
    let head = reply.head.lines().filter(|line| !line.to_ascii_lowercase().starts_with("date:"));
    (head.collect::<Vec<_>>().join("\n"), reply.body.clone())
}

/// Posts the same request as it was, five times, and with other content: each gets this answer. Other content under an id
/// that nobody signs is another request.
#[track_caller]
fn repeated(sender: &Sender, id: &str, first: &Call, answer: &Reply) {
    let others = [
        ("with other content", sender.call(id, "Something else")),
        ("that the rules refuse", sender.call(id, "")),
        ("that means nothing", meaningless(sender, id)),
    ];
    let as_it_was = ["once", "twice", "three times"].map(|times| (times, first.clone()));
    for (what, call) in if sender.kind == "hmac" { as_it_was } else { others } {
        assert_eq!(got(&sender.post(&call)), got(answer), "{} {what}", sender.kind);
    }
    for (what, call) in [("as it was", first.clone()), ("again", first.clone())] {
        assert_eq!(got(&sender.post(&call)), got(answer), "{} {what}", sender.kind);
    }
}

/// A request with this id that the rules have nothing for.
fn meaningless(sender: &Sender, id: &str) -> Call {
    if sender.kind == "slack" {
        return sender.command(id, "/other", "x");
    }
    let body = json!({"id": id, "item": {"message": {"id": id, "message": "hello"}}}).to_string();
    sender.sign(JSON, id, body.as_bytes())
}

/// The names of the tasks that arrived, in order.
fn tasks(receiver: &Receiver, path: &str) -> Vec<String> {
    let name = |body: &[u8]| {
        let payload: Value = serde_json::from_slice(body).unwrap();
        let name = &payload["parameters"]["name"];
        format!("{} {}", payload["source"]["service"].as_str().unwrap(), name.as_str().unwrap())
    };
    receiver.at(path).iter().map(|request| name(&request.body)).collect()
}

fn put(daemon: &Daemon<'_>, org: &str, source: &str, kind: &'static str) -> Sender {
    Sender::put(daemon, org, source, kind, &Value::Null)
}

#[test]
fn a_repeat_runs_nothing_and_gets_the_same_answer_also_after_a_restart_and_a_crash() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let mut all = Vec::new();
    for kind in KINDS {
        let sender = put(&daemon, "acme", kind, kind);
        let (call, id) = (sender.call("d-1", "Landing page"), format!("{kind}-2"));
        let answer = sender.post(&call).expect(200);
        let (silent, nothing) = (meaningless(&sender, &id), meaningless(&sender, &id));
        let told = sender.post(&silent).expect(200);
        assert_ne!(told.body, answer.body, "{kind}");
        all.push((sender, call, answer, id, nothing, told));
    }
    let check = |daemon: &Daemon<'_>| {
        for (sender, call, answer, id, nothing, told) in &all {
            repeated(sender, "d-1", call, answer);
            // What meant nothing means nothing for ever.
            repeated(sender, id, nothing, told);
            let judged = verdicts(daemon, "acme", sender.kind);
            assert_eq!(judged[..10], vec![("repeated".to_owned(), 200); 10], "{}", sender.kind);
        }
    };
    check(&daemon);
    assert!(daemon.terminate().success());
    let daemon = site.start();
    check(&daemon);
    daemon.kill();
    let daemon = site.start();
    check(&daemon);
    daemon.drained("acme");
    let services = ["SLACK", "GITHUB", "STRIPE", "STANDARD_WEBHOOKS", "HIPCHAT", "JSON", "JSON"];
    assert_eq!(tasks(&receiver, "/hook"), services.map(|service| format!("{service} Landing page")));
}

#[test]
fn what_was_accepted_is_remembered_before_its_answer_goes_out() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let mut daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let sender = put(&daemon, "acme", "in", "github");
    for number in 0..5 {
        let call = sender.call(&format!("d-{number}"), &format!("task {number}"));
        let answer = sender.post(&call).expect(200);
        daemon.kill();
        daemon = site.start();
        assert_eq!(got(&sender.post(&call)), got(&answer));
    }
    daemon.drained("acme");
    // A delivery that was under way may come twice, with the same id.
    let mut received = receiver.at("/hook");
    received.dedup_by(|again, first| again.id() == first.id());
    assert_eq!(received.len(), 5);
}

#[test]
fn stripe_counts_its_attempts_in_the_body_and_is_known_all_the_same() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let plain = json!({"catalogue": null, "unmapped": "keep"});
    let sender = Sender::put(&daemon, "acme", "pay", "stripe", &plain);
    let invoice = |pending: u32, id: &str| {
        let body = json!({"id": id, "object": "event", "type": "invoice.paid", "pending_webhooks": pending});
        sender.sign(JSON, "", body.to_string().as_bytes())
    };
    let answers: Vec<_> =
        (1..=3).map(|pending| got(&sender.post(&invoice(pending, "evt_1")).expect(200))).collect();
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_ne!(got(&sender.post(&invoice(1, "evt_2")).expect(200)), answers[0]);
    daemon.drained("acme");
    let pending = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap()["pending_webhooks"].clone();
    let received: Vec<_> = receiver.at("/hook").iter().map(|request| pending(&request.body)).collect();
    assert_eq!(received, [json!(1), json!(1)]);
}

#[test]
fn sixteen_at_once_with_one_id_are_one_event() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let senders = KINDS.map(|kind| put(&daemon, "acme", kind, kind));
    for sender in &senders {
        let start = Barrier::new(16);
        let answers: Vec<_> = std::thread::scope(|scope| {
            let posting: Vec<_> = (0..16)
                .map(|number| {
                    let start = &start;
                    scope.spawn(move || {
                        // Under an id that nobody signs, other content is another request.
                        let number = if sender.kind == "hmac" { 0 } else { number };
                        let call = sender.call("d-1", &format!("task {number}"));
                        start.wait();
                        got(&sender.post(&call).expect(200))
                    })
                })
                .collect();
            posting.into_iter().map(|posting| posting.join().unwrap()).collect()
        });
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{} {answers:?}", sender.kind);
        let counts = &daemon.get(&format!("/v1/orgs/acme/sources/{}", sender.kind))["counts"];
        assert_eq!((&counts["accepted"], &counts["repeated"]), (&json!(1), &json!(15)), "{}", sender.kind);
    }
    daemon.drained("acme");
    assert_eq!(receiver.count(), KINDS.len());
    // The answer is about the one that ran.
    let slack = String::from_utf8(senders[0].post(&senders[0].call("d-1", "x")).body).unwrap();
    let first = tasks(&receiver, "/hook").swap_remove(0);
    assert!(slack.contains(&format!("Added task {}\"", first.strip_prefix("SLACK ").unwrap())), "{slack}");
}

#[test]
fn an_id_is_known_to_its_own_source_only() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    for org in ["acme", "beta"] {
        daemon.org(org, &receiver.url(&format!("/{org}")), &json!({}));
    }
    for (org, source) in [("acme", "one"), ("acme", "two"), ("beta", "one")] {
        let sender = put(&daemon, org, source, "github");
        for _ in 0..2 {
            sender.post(&sender.call("72d3162e-cc78-11e3-81ab-4c9367dc0958", source)).expect(200);
        }
        assert_eq!(verdicts(&daemon, org, source), [("repeated".into(), 200), ("accepted".into(), 200)]);
    }
    for org in ["acme", "beta"] {
        daemon.drained(org);
    }
    assert_eq!(tasks(&receiver, "/acme"), ["GITHUB one", "GITHUB two"]);
    assert_eq!(tasks(&receiver, "/beta"), ["GITHUB one"]);
}

#[test]
fn a_new_address_ends_the_old_one_at_once_and_forgets_nothing() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let old = put(&daemon, "acme", "in", "standard");
    let answer = got(&old.post(&old.call("d-1", "x")).expect(200));
    let mut last = old.clone();
    for _ in 0..3 {
        let reset = daemon.admin("POST", "/v1/orgs/acme/sources/in/reset-token", &Value::Null).expect(200);
        let new = Sender { url: reset.json()["url"].as_str().unwrap().to_owned(), ..old.clone() };
        assert_ne!(new.url, last.url);
        for gone in [&old, &last] {
            gone.post(&gone.call("d-1", "x")).expect(404);
            gone.post(&gone.call("d-2", "x")).expect(404);
        }
        assert_eq!(got(&new.post(&new.call("d-1", "y")).expect(200)), answer);
        last = new;
    }
    daemon.kill();
    let daemon = site.start();
    old.post(&old.call("d-1", "x")).expect(404);
    assert_eq!(got(&last.post(&last.call("d-1", "y")).expect(200)), answer);
    last.post(&last.call("d-2", "z")).expect(200);
    daemon.drained("acme");
    assert_eq!(tasks(&receiver, "/hook"), ["STANDARD_WEBHOOKS x", "STANDARD_WEBHOOKS z"]);
}

#[test]
fn what_names_no_request_runs_each_time_unless_it_was_signed_at_a_time() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    // Its settings name no header, and it says none.
    let token = Sender::put(&daemon, "acme", "token", "token", &json!({"id_header": null}));
    let github = put(&daemon, "acme", "github", "github");
    for sender in [&token, &github] {
        let mut call = sender.call("d-1", sender.kind);
        call.headers.retain(|(name, _)| name != "x-github-delivery");
        for _ in 0..2 {
            sender.post(&call).expect(200);
        }
    }
    let timed = json!({"id_header": null, "timestamp_header": "X-Time"});
    let timed = Sender::put(&daemon, "acme", "timed", "hmac", &timed);
    let body = timed.call("", "timed").body;
    let now = jiff::Timestamp::now().as_second();
    for at in [now, now, now - 1] {
        let code = hex_code(&[at.to_string().as_bytes(), b".", &body]);
        for signature in [format!("sha256={code}"), format!("sha256={}", code.to_uppercase())] {
            let call = Call { headers: vec![], body: body.clone() }.with("x-signature", &signature);
            timed.post(&call.with("x-time", &at.to_string())).expect(200);
        }
    }
    daemon.drained("acme");
    let expected = ["JSON token", "JSON token", "GITHUB github", "GITHUB github", "JSON timed", "JSON timed"];
    assert_eq!(tasks(&receiver, "/hook"), expected);
    let ids: std::collections::BTreeSet<_> =
        receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids.len(), 6);
}
