//! What was delivered: listed with every attempt, sealed on disk, sent again as a replay; kept through kill -9.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::daemon::{items, retry};
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// The history, oldest first.
fn history(daemon: &Daemon) -> Vec<Value> {
    daemon.list("/v1/history")
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_else(|| panic!("no {name} in {value}")).to_owned()
}

/// Every file of the history with what is in it.
fn files(site: &Site) -> Vec<Vec<u8>> {
    let dir = site.data_dir().join("history");
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    entries.collect()
}

fn holds(bytes: &[u8], word: &str) -> bool {
    bytes.windows(word.len()).any(|window| window == word.as_bytes())
}

#[test]
fn history_lists_what_was_delivered_and_replays_it_with_the_same_id() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.then("/hook", [503, 200].map(Answer::Status));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(3, 5, 1.0, 5));
    let event = json!({"type": "order.placed", "id": "canary-id", "payload": {"card": "canary-payload"},
        "attributes": {"user": "canary-attribute"}});
    daemon.enqueue("acme", &event);
    daemon.drained("acme");

    let listed = history(&daemon);
    let [entry] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(
        (&entry["event_id"], &entry["org"], &entry["webhook"]),
        (&json!("canary-id"), &json!("acme"), &json!("main"))
    );
    assert_eq!((&entry["attempts"], &entry["last"]["status"]), (&json!(2), &json!(200)));
    assert_eq!(
        (&entry["sequence"], &entry["replay"], entry.get("payload")),
        (&json!(1), &json!(false), None)
    );
    let id = text(entry, "id");
    let shown = daemon.get(&format!("/v1/history/{id}"));
    let statuses: Vec<_> =
        shown["attempts"].as_array().unwrap().iter().map(|attempt| &attempt["status"]).collect();
    assert_eq!((statuses, shown.get("payload")), (vec![&json!(503), &json!(200)], None));
    let shown = daemon.get(&format!("/v1/history/{id}?payload=true"));
    assert_eq!((&shown["payload"], &shown["attributes"]), (&event["payload"], &event["attributes"]));
    for bytes in files(&site) {
        for canary in ["canary-payload", "canary-attribute", "canary-id", "acme", "order.placed"] {
            assert!(!holds(&bytes, canary), "{canary} is readable on disk");
        }
    }

    let answer = daemon.admin("POST", &format!("/v1/history/{id}/replay"), &Value::Null).expect(200).json();
    assert_eq!(answer, json!({"matched": 1, "replayed": 1, "dry_run": false}));
    daemon.drained("acme");
    let received = receiver.received();
    let replay = received.last().unwrap();
    assert_eq!((received.len(), replay.id(), &replay.body), (3, "canary-id", &received[0].body));
    assert_eq!((replay.header("postrider-replay"), replay.number_in("postrider-attempt")), ("true", 1));
    assert_eq!(replay.number_in("postrider-sequence"), 2);
    assert!(received[..2].iter().all(|request| !request.headers.contains_key("postrider-replay")));
    let listed = history(&daemon);
    assert_eq!(listed.iter().map(|entry| entry["replay"] == true).collect::<Vec<_>>(), [false, true]);

    let problem = daemon.admin("POST", "/v1/history/1-10/replay", &Value::Null).expect(404).json();
    assert_eq!(problem["type"], "urn:postrider:unknown-history-entry");
    daemon.admin("GET", "/v1/history/nothing", &Value::Null).expect(404);
    for (filter, count) in [
        ("org=acme", 2),
        ("org=nobody", 0),
        ("webhook=main", 2),
        ("webhook=other", 0),
        ("type=order.placed", 2),
        ("type=order.lost", 0),
        ("event_id=canary-id", 2),
        ("event_id=e", 0),
        ("replay=true", 1),
        ("replay=false", 1),
        ("since=2020-01-01T00:00:00Z", 2),
        ("until=2020-01-01T00:00:00Z", 0),
    ] {
        assert_eq!(items(&daemon.get(&format!("/v1/history?{filter}"))).len(), count, "{filter}");
    }
    assert_eq!(daemon.list("/v1/orgs/acme/history").len(), 2);
    daemon.admin("GET", "/v1/history?reason=skipped", &Value::Null).expect(422);
}

#[test]
fn history_loses_nothing_to_kill_9() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    for n in 0..100 {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("e{n}"), "payload": n}));
    }
    daemon.drained("acme");
    daemon.kill();
    let daemon = site.start();
    let ids: Vec<String> = history(&daemon).iter().map(|entry| text(entry, "event_id")).collect();
    assert_eq!(ids, (0..100).map(|n| format!("e{n}")).collect::<Vec<_>>(), "in the order of delivery");
    // Pages follow each other.
    let page = daemon.get("/v1/history?limit=70");
    assert_eq!(items(&page).len(), 70);
    let rest = daemon.get(&format!("/v1/history?limit=70&after={}", text(&page, "next")));
    assert_eq!((items(&rest).len(), &rest["next"]), (30, &Value::Null));
    wait_until("what an earlier daemon wrote is counted", || {
        daemon.get("/v1/status")["history"]["entries"] == 100
    });
}

#[test]
fn history_is_replayed_by_filter_in_order_up_to_the_limits_of_the_queue() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    daemon.org("other", &receiver.url("/other"), &json!({}));
    for n in 0..5 {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("e{n}"), "payload": n}));
        daemon.enqueue("other", &json!({"type": "t", "payload": n}));
    }
    for org in ["acme", "other"] {
        daemon.drained(org);
    }
    let replay = |body: &Value| daemon.admin("POST", "/v1/history/replay", body);
    replay(&json!({})).expect(422);
    let counted = replay(&json!({"org": "acme", "dry_run": true})).expect(200).json();
    assert_eq!(counted, json!({"matched": 5, "replayed": 0, "dry_run": true}));
    let answer = replay(&json!({"filter": {"org": "acme"}})).expect(200).json();
    assert_eq!(answer, json!({"matched": 5, "replayed": 5, "dry_run": false}));
    daemon.drained("acme");
    let ids: Vec<_> = receiver.at("/hook").iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids, ["e0", "e1", "e2", "e3", "e4"].repeat(2));
    assert_eq!(receiver.at("/other").len(), 5);

    // Of those that do not fit none is lost sight of.
    daemon.admin("PUT", "/v1/orgs/acme", &json!({"limits": {"deliveries": 3}})).expect(200);
    daemon.admin("POST", "/v1/orgs/acme/pause", &Value::Null).expect(200);
    let problem = replay(&json!({"org": "acme", "replay": false})).expect(429);
    assert!(problem.header("retry-after").is_some());
    let problem = problem.json();
    assert_eq!(problem["type"], "urn:postrider:queue-full");
    let fourth = text(&items(&daemon.get("/v1/history?org=acme"))[3], "id");
    let detail = text(&problem, "detail");
    assert!(detail.contains("3 of those that match were replayed") && detail.contains(&fourth), "{detail}");
    let queue = daemon.queue("acme");
    assert_eq!(queue.iter().map(|queued| text(queued, "id")).collect::<Vec<_>>(), ["e0", "e1", "e2"]);
    assert!(queue.iter().all(|queued| queued["replay"] == true));

    // A webhook that is gone is met by the replay as by any delivery.
    daemon.admin("DELETE", "/v1/orgs/acme/webhooks/main", &Value::Null).expect(204);
    daemon.admin("POST", "/v1/orgs/acme/resume", &Value::Null).expect(200);
    daemon.drained("acme");
    let dead = daemon.dead_letters("acme");
    assert!(
        dead.len() == 3
            && dead.iter().all(|letter| letter["reason"] == "webhook-deleted" && letter["replay"] == true)
    );
    daemon.admin("DELETE", "/v1/orgs/acme?discard=true", &Value::Null).expect(204);
    assert!(
        history(&daemon).iter().all(|entry| entry["org"] == "other"),
        "of an org that is gone nothing is shown"
    );
    daemon.admin("POST", &format!("/v1/history/{fourth}/replay"), &Value::Null).expect(404);
}

#[test]
fn history_that_cannot_be_written_holds_nothing_up_and_says_so() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    std::fs::write(site.data_dir().join("history"), "in the way").unwrap();
    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    daemon.drained("acme");
    assert_eq!(receiver.count(), 3);
    let status = daemon.get("/v1/status")["history"].clone();
    assert_eq!((&status["on"], &status["entries"], &status["missed"]), (&json!(true), &json!(0), &json!(3)));
    assert!(text(&status, "trouble").contains("cannot write"), "{status}");
    assert_eq!(site.log().matches("is not kept in the history").count(), 1, "{}", site.log());
    daemon.kill();
    // Nor does it keep the daemon from starting.
    let daemon = site.start();
    assert!(history(&daemon).is_empty());
    drop(daemon);
    std::fs::remove_file(site.data_dir().join("history")).unwrap();
    let daemon = site.start();
    daemon.enqueue("acme", &json!({"type": "t", "payload": 4}));
    daemon.drained("acme");
    assert_eq!(history(&daemon).len(), 1);
}

#[test]
fn history_from_the_command_line() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    run(&site, &["history", "list"]).exits(0).says("the history is empty");
    run(&site, &["history", "list", "--org", "acme"]).exits(2);
    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "id": format!("e{n}"), "payload": {"card": n}}));
    }
    daemon.drained("acme");
    let table = run(&site, &["history", "list", "--org", "acme", "--since", "1h"]).exits(0).out;
    assert!(table.lines().count() == 4 && table.contains("200 after ") && !table.contains("card"), "{table}");
    run(&site, &["history", "list", "--limit", "1"]).exits(0).says("--after");
    let listed = run(&site, &["history", "list", "--json"]).exits(0).json();
    let ids: Vec<String> = items(&listed).iter().map(|entry| text(entry, "id")).collect();
    let shown = run(&site, &["history", "show", &ids[1]]).exits(0).out;
    assert!(shown.contains("ATTEMPT") && shown.contains("e1") && !shown.contains("card"), "{shown}");
    assert!(run(&site, &["history", "show", &ids[1], "--payload"]).exits(0).out.contains(r#"{"card":1}"#));
    run(&site, &["history", "show", "1-10"]).exits(2);

    run(&site, &["history", "replay"]).exits(64).says("--all");
    run(&site, &["history", "replay", "--type", "t", "--dry-run"])
        .exits(0)
        .says("3 deliveries would be replayed");
    run(&site, &["history", "replay", "--all"]).exits(64).says("--yes");
    run_with(&site, &["history", "replay", "-"], &format!("{}\n{}\n", ids[2], ids[0]))
        .exits(0)
        .says("2 deliveries replayed");
    daemon.drained("acme");
    let got: Vec<_> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(got, ["e0", "e1", "e2", "e2", "e0"]);
    run(&site, &["history", "replay", "--replay", "true", "--yes"]).exits(0).says("2 deliveries replayed");
    run(&site, &["history", "replay", &ids[0], "1-10"]).exits(2).says("1 delivery replayed");
    daemon.drained("acme");

    daemon.kill();
    let data = site.data_dir();
    let offline = |arguments: &[&str]| run(&site, &[arguments, &["--data", path(&data)]].concat());
    assert_eq!(items(&offline(&["history", "list", "--json"]).exits(0).json()).len(), 8);
    assert!(offline(&["history", "show", &ids[1], "--payload"]).exits(0).out.contains(r#"{"card":1}"#));
    offline(&["history", "replay", &ids[1]]).exits(0);
    let daemon = site.start();
    daemon.drained("acme");
    assert_eq!(receiver.received().last().unwrap().id(), "e1");
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn history_says_where_a_file_cannot_be_read_to_its_end() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    daemon.drained("acme");
    daemon.kill();
    let file = std::fs::read_dir(site.data_dir().join("history")).unwrap().next().unwrap().unwrap().path();
    let torn = [std::fs::read(&file).unwrap(), vec![b'x'; 40]].concat();
    std::fs::write(&file, torn).unwrap();

    let daemon = site.start();
    daemon.enqueue("acme", &json!({"type": "t", "payload": 2}));
    daemon.drained("acme");
    let said = "the end of a file of the history cannot be read and is not shown";
    wait_until("it is said", || site.log().contains(said));
    assert!(site.log().contains("bytes=40"), "{}", site.log());
    assert_eq!(history(&daemon).len(), 2, "what is whole is shown");
}
