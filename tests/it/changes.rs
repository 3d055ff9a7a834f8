//! Changes of entities, through the real binary: what rules say fires, whole or not at all, in order with everything else,
//! once per id through kill -9. The rules are those of a catalogue of the operator's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::http::{self, Reply};
use crate::support::ledger::{Ledger, Terms};
use crate::support::{Answer, Gate, Receiver, Site, wait_until};

/// A shop whose orders fire one event when they are placed, another when they are paid, and more if they are large.
const CATALOGUE: &str = r#"
product = "shop"
title = "Shop"
[events."shop.placed"]
summary = "An order was placed."
[events."shop.paid"]
summary = "An order was paid."
[events."shop.gone"]
summary = "An order is gone."
[changes."shop.order"]
rules = [
  { when = "old != null && new != null && old.total != new.total", refuse = "the total of an order stays", field = "/new/total" },
  { when = "new != null && old == null", event = "shop.placed", payload = "new" },
  { when = "new != null && new.paid && (old == null || !old.paid)", event = "shop.paid", payload = "{'order': new, 'by': actor}" },
  { when = "new == null", event = "shop.gone", payload = "old" },
]
"#;
const PAID: &str = r#"{"type":"object","properties":{"by":{"type":["object","null"]}}}"#;

/// A site whose catalogue is in a directory of its own.
fn site() -> Site {
    let site = Site::new();
    let shop = site.dir().join("catalogues/shop");
    std::fs::create_dir_all(shop.join("schemas")).unwrap();
    std::fs::write(shop.join("catalogue.toml"), CATALOGUE).unwrap();
    std::fs::write(shop.join("schemas/shop.paid.json"), PAID).unwrap();
    site.configure(&config(&site, ""));
    site
}

fn config(site: &Site, more: &str) -> String {
    let dir = site.dir().join("catalogues");
    format!("{}[catalogue]\ndir = {:?}\n{more}", site.config(), dir.display().to_string())
}

fn order(n: usize, paid: bool) -> Value {
    json!({"n": n, "total": 10, "paid": paid})
}

fn change(old: &Value, new: &Value) -> Value {
    json!({"entity": "shop.order", "old": old, "new": new})
}

/// Posts a change to the submit socket.
fn post(site: &Site, org: &str, change: &Value) -> Result<Reply, std::io::Error> {
    let path = format!("/v1/orgs/{org}/changes");
    let body = change.to_string();
    http::request(&site.submit_socket(), "POST", &path, Some(("application/json", body.as_bytes())))
}

#[track_caller]
fn refused(reply: Reply, status: u16, code: &str, field: Option<&str>) {
    let problem = reply.expect(status).json();
    assert_eq!(problem["type"], format!("urn:postrider:{code}"), "{problem}");
    assert_eq!(problem.get("field").and_then(Value::as_str), field, "{problem}");
}

#[test]
fn changes_and_events_arrive_in_the_order_in_which_they_were_accepted() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let mut expected = Vec::new();
    for n in 0..10 {
        let event = daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
        expected.push((event["id"].clone(), n.to_string()));
        let (new, actor) = (order(n, true).to_string(), r#"{ "id" : 7 }"#);
        let id = format!("order-{n}");
        let body = format!(r#"{{"entity":"shop.order","old":null,"new":{new},"actor":{actor},"id":"{id}"}}"#);
        let body = Some(("application/json", body.as_bytes()));
        let reply = http::request(&site.submit_socket(), "POST", "/v1/orgs/acme/changes", body).unwrap();
        let answer = reply.expect(202).json();
        let sequence = event["sequence"].as_u64().unwrap();
        assert_eq!(
            answer,
            json!({"events": [
                {"id": format!("{id}_1"), "type": "shop.placed", "sequence": sequence + 1, "deliveries": 1},
                {"id": format!("{id}_2"), "type": "shop.paid", "sequence": sequence + 2, "deliveries": 1},
            ]})
        );
        expected.push((json!(format!("{id}_1")), new.clone()));
        expected.push((json!(format!("{id}_2")), format!(r#"{{"order":{new},"by":{actor}}}"#)));
    }
    daemon.drained("acme");
    let received: Vec<_> = receiver.received();
    let received: Vec<_> = received
        .iter()
        .map(|request| (json!(request.id()), String::from_utf8(request.body.to_vec()).unwrap()))
        .collect();
    assert_eq!(received, expected);
}

#[test]
fn a_change_is_refused_whole_with_the_field_at_fault() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let mut other_total = order(1, true);
    other_total["total"] = json!(11);
    let refuse = |change: &Value, code: &str, field: Option<&str>| {
        refused(post(&site, "acme", change).unwrap(), 422, code, field);
    };
    refuse(&change(&order(1, true), &other_total), "change-refused", Some("/new/total"));
    refuse(&json!({"entity": "shop.ordre", "new": {}}), "unknown-entity", Some("/entity"));
    refuse(&change(&Value::Null, &Value::Null), "invalid-field", Some("/new"));
    refuse(&json!({"entity": "shop.order", "new": {}, "od": {}}), "unknown-field", Some("/od"));
    // The event before the one at fault is fine.
    let by = json!({"entity": "shop.order", "old": null, "new": order(1, true), "actor": "me", "id": "by"});
    refuse(&by, "schema-violation", Some("/actor"));
    let failed = post(&site, "acme", &change(&json!({"n": 1}), &order(1, true))).unwrap().expect(422).json();
    assert_eq!(failed["type"], "urn:postrider:change-failed");
    refused(post(&site, "nobody", &by).unwrap(), 404, "unknown-org", None);
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["depth"], 0);
    assert_eq!(receiver.count(), 0);
    assert!(!site.log().contains("\"me\""), "what changes hold stays out of the log");
}

#[test]
fn a_change_that_does_not_fit_the_queue_whole_is_refused_until_it_does() {
    let site = site();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let daemon = site.start();
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 2}})).expect(201);
    daemon.webhook("acme", "main", &receiver.url("/hook"), &Value::Null);
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    let both = change(&Value::Null, &order(1, true));
    let full = post(&site, "acme", &both).unwrap();
    assert!(full.header("retry-after").is_some(), "{}", full.head);
    refused(full, 429, "queue-full", None);
    assert_eq!(daemon.get("/v1/orgs/acme")["queue"]["depth"], 1, "there was room for half of it");
    // One that fires nothing has room everywhere, one that fires one event fits.
    assert_eq!(
        post(&site, "acme", &change(&order(1, true), &order(1, true))).unwrap().expect(202).json(),
        json!({"events": []})
    );
    post(&site, "acme", &change(&order(1, true), &Value::Null)).unwrap().expect(202);
    gate.open();
    daemon.drained("acme");
    assert_eq!(post(&site, "acme", &both).unwrap().expect(202).json()["events"].as_array().unwrap().len(), 2);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 4);
}

#[test]
fn plans_and_limits_of_changes_are_the_operators_and_a_reload_puts_them_in_force() {
    let site = site();
    let daemon = site.start();
    daemon.org_only("acme");
    let both = change(&Value::Null, &order(1, true));
    post(&site, "acme", &both).unwrap().expect(202);
    let reload = |more: &str| {
        site.configure(&config(&site, more));
        let before = site.log().matches("configuration reloaded").count();
        daemon.signal(Signal::HUP);
        wait_until("it is reloaded", || site.log().matches("configuration reloaded").count() > before);
    };
    reload("[changes]\nmax_events = 1\n");
    refused(post(&site, "acme", &both).unwrap(), 422, "change-too-costly", None);
    reload("[changes]\nmax_cost = 1_000\n");
    let mut large = order(1, true);
    large["lines"] = (0..10_000).collect();
    refused(post(&site, "acme", &change(&large, &large)).unwrap(), 422, "change-too-costly", None);
    reload("[intake]\nentitled_plans = [\"pro\"]\n");
    refused(post(&site, "acme", &both).unwrap(), 403, "org-not-entitled", None);
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"plan": "pro"})).expect(200);
    post(&site, "acme", &both).unwrap().expect(202);
}

#[test]
fn a_change_is_accepted_once_per_id_through_kill_9() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let mut both = change(&Value::Null, &order(1, true));
    both["id"] = json!("c");
    let mut quiet = change(&order(1, true), &order(1, true));
    quiet["id"] = json!("quiet");
    let answers = [&both, &quiet].map(|change| post(&site, "acme", change).unwrap().expect(202).json());
    daemon.kill();
    let daemon = site.start();
    for (change, mut answer) in [&both, &quiet].into_iter().zip(answers) {
        answer["duplicate"] = json!(true);
        assert_eq!(post(&site, "acme", change).unwrap().expect(200).json(), answer);
    }
    both["actor"] = json!({"id": 1});
    refused(post(&site, "acme", &both).unwrap(), 409, "id-reused", Some("/id"));
    daemon.drained("acme");
    let ids: Vec<_> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert!(ids.len() <= 3, "at most the one that was in flight comes twice: {ids:?}");
    assert_eq!((ids.first().unwrap().as_str(), ids.last().unwrap().as_str()), ("c_1", "c_2"));
}

/// One producer of changes and events, a daemon that is killed under it, and the judge of all such runs. That the events of
/// a change stand together follows from their order and their number.
#[test]
fn changes_are_whole_and_in_order_through_kill_9() {
    const KILLS: usize = 4;
    let site = site();
    let receiver = Receiver::start();
    let ledger = Arc::new(Ledger::default());
    let mut daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (ledger, stop, socket) = (ledger.clone(), stop.clone(), site.submit_socket());
        std::thread::spawn(move || {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                produce(&socket, &ledger, n);
            }
        })
    };
    for kill in 0..KILLS {
        let enough = ledger.count() + 30 + 7 * kill;
        wait_until("there is load", || ledger.count() >= enough);
        daemon.kill();
        wait_until("its connections are closed", || receiver.open_connections() == 0);
        daemon = site.start();
    }
    stop.store(true, Ordering::Relaxed);
    producer.join().unwrap();
    daemon.drained("acme");
    let terms = Terms { attempts: 10, crashes: KILLS };
    ledger.check(&daemon, &receiver, |_| "/hook".to_owned(), terms);
    assert!(ledger.count() > 100);
}

/// Hands in the `n`th thing, again and again under its id until it is acknowledged: an event, or a change of two events.
fn produce(socket: &std::path::Path, ledger: &Ledger, n: usize) {
    let (path, body) = if n.is_multiple_of(3) {
        ("/v1/orgs/acme/events", json!({"type": "t", "payload": n, "id": format!("e{n}")}))
    } else {
        let mut change = change(&Value::Null, &order(n, true));
        change["id"] = json!(format!("c{n}"));
        ("/v1/orgs/acme/changes", change)
    };
    let text = body.to_string();
    wait_until("it is acknowledged", || {
        let reply = http::request(socket, "POST", path, Some(("application/json", text.as_bytes())));
        reply.is_ok_and(|reply| {
            assert!(matches!(reply.status, 200 | 202), "{}", reply.text());
            true
        })
    });
    if path.ends_with("events") {
        ledger.accepted("acme", &format!("e{n}"), &n.to_string());
    } else {
        let new = order(n, true).to_string();
        ledger.accepted("acme", &format!("c{n}_1"), &new);
        ledger.accepted("acme", &format!("c{n}_2"), &format!(r#"{{"order":{new},"by":null}}"#));
    }
}

#[test]
fn a_change_from_the_command_line_says_what_it_fires() {
    let site = site();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    let text = "{ \"n\" : 1,\n \"total\":1.50, \"paid\":true }";
    let file = site.dir().join("order.json");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    let file = file.to_str().unwrap();
    let create = ["change", "--org", "acme", "--entity", "shop.order", "--new", file, "--id", "c"];
    let ran = run(&site, &create).exits(0).says("accepted: it fires 2 events");
    let cells: Vec<Vec<&str>> = ran.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells[0], ["EVENT", "TYPE", "SEQUENCE", "DELIVERIES"]);
    assert_eq!(cells[1], ["c_1", "shop.placed", "1", "1"]);
    assert_eq!(cells[2], ["c_2", "shop.paid", "2", "1"]);
    let again = run(&site, &create).exits(0).says("accepted before");
    assert_eq!(again.out, ran.out);
    let quiet =
        run(&site, &["change", "--org", "acme", "--entity", "shop.order", "--old", file, "--new", file]);
    assert_eq!(quiet.exits(0).says("it fires no event").out, "");
    // A whole change, from stdin.
    let whole = change(&order(2, true), &Value::Null).to_string();
    let gone = run_with(&site, &["change", "--org", "acme", "--json"], &whole).exits(0).json();
    assert_eq!(
        (&gone["events"][0]["type"], &gone["events"][0]["sequence"]),
        (&json!("shop.gone"), &json!(3))
    );
    daemon.drained("acme");
    let received = receiver.received();
    assert_eq!(received[0].body, text);
    assert_eq!(received[1].body, format!(r#"{{"order":{text},"by":null}}"#));
    assert_eq!(received[2].body, order(2, true).to_string());
}

#[test]
fn a_change_that_is_refused_says_why_and_exits_so() {
    let site = site();
    let daemon = site.start();
    let stdin = ["change", "--org", "acme", "-"];
    let both = change(&Value::Null, &order(1, true)).to_string();
    run_with(&site, &stdin, &both).exits(2).says("there is no org \"");
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 1}})).expect(201);
    daemon.webhook("acme", "main", "http://127.0.0.1:9/", &Value::Null);
    run_with(&site, &stdin, &both).exits(75).says("queue is full");
    run_with(&site, &stdin, r#"{"entity":"shop.order"}"#).exits(1).says("/new");
    let other = change(&order(1, true), &json!({"total": 1})).to_string();
    run_with(&site, &stdin, &other).exits(1).says("the total of an order stays").says("/new/total");
    run_with(&site, &stdin, "{").exits(1).says("JSON");
    run(&site, &["change", "--org", "acme", "--entity", "shop.order"]).exits(64).says("--old, --new or both");
    run(&site, &["change", "--org", "acme", "--entity", "e", "--new", "/nowhere"]).exits(1).says("/nowhere");
    run(&site, &["change", "--entity", "e"]).exits(64);
    daemon.kill();
    run_with(&site, &stdin, &both).exits(69);
}
