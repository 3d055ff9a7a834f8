//! Changes: what rules say fires, whole or not at all, once per id, and refused with the field at fault.

use std::sync::Arc;

use http::header;
use serde_json::{Value, json};

use super::{Fixture, send};
use crate::api::Settings;
use crate::catalogue::{Catalogue, ChangeLimits, Files};
use crate::config::Validate;
use crate::intake::Entitlement;

const PATH: &str = "/v1/orgs/acme/changes";

/// Orders of a shop: their total may not change, and there are two events for one that is paid at once.
const SHOP: &str = r#"
product = "shop"
title = "Shop"
[events."shop.placed"]
summary = "An order was placed."
attributes = { kind = "/kind" }
[events."shop.paid"]
summary = "An order was paid."
[events."shop.gone"]
summary = "An order is gone."
[changes."shop.order"]
rules = [
  { when = "old != null && new != null && old.total != new.total", refuse = "total must stay", field = "/new/total" },
  { when = "new != null && old == null", event = "shop.placed", payload = "new" },
  { when = "new != null && new.paid && (old == null || !old.paid)", event = "shop.paid", payload = "{'by': actor, 'order': new}" },
  { when = "new == null", event = "shop.gone", payload = "old" },
]
"#;
const PLACED: &str = r#"{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"]}"#;
const PAID: &str = r#"{"type":"object","properties":{"order":{"type":"object","properties":{"note":{"type":"string"}}},"by":{"type":["null","object"]}}}"#;

fn settings() -> Settings {
    let texts =
        [("catalogue.toml", SHOP), ("schemas/shop.placed.json", PLACED), ("schemas/shop.paid.json", PAID)];
    let catalogue = Arc::new(Catalogue::read(&[Files::of("shop", &texts)]).unwrap());
    Settings { catalogue, ..Settings::default() }
}

async fn shop() -> Fixture {
    Fixture::with(settings()).with_acme().await
}

async fn depth(f: &Fixture) -> Value {
    f.get("/v1/orgs/acme/queue").await.is(200)["depth"].clone()
}

#[tokio::test]
async fn a_change_fires_what_its_rules_say_in_order_and_to_those_who_want_it() {
    let f = shop().await;
    let hook = json!({"url": "https://example.com/2", "events": ["shop.placed"], "match": {"kind": "b2b"}});
    f.put("/v1/orgs/acme/webhooks/placed", hook).await.is(201);
    let order = r#"{"n": 1, "total":1.50, "paid":true, "kind":"b2b"}"#;
    let body = format!(r#"{{"entity":"shop.order","old":null,"new":{order},"actor":{{"id":7}},"id":"c"}}"#);
    let answer = f.post(PATH, body).await.is(202);
    assert_eq!(
        answer,
        json!({"events": [
            {"id": "c_1", "type": "shop.placed", "sequence": 1, "deliveries": 2},
            {"id": "c_2", "type": "shop.paid", "sequence": 3, "deliveries": 1},
        ]})
    );
    let queue = f.get("/v1/orgs/acme/queue?payload=true").await.is(200);
    let listed: Vec<_> = queue["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            (item["id"].as_str().unwrap(), item["webhook"].as_str().unwrap(), item["payload"].to_string())
        })
        .collect();
    assert_eq!(listed.len(), 3);
    assert_eq!((listed[0].0, listed[0].1), ("c_1", "orders"));
    assert_eq!((listed[1].0, listed[1].1), ("c_1", "placed"));
    assert_eq!((listed[2].0, listed[2].1), ("c_2", "orders"));
    let delivery = f.queue.load(f.claim("acme")).await.unwrap().unwrap();
    assert_eq!(delivery.payload, order);

    // Nothing fires, and that is fine; an id is made where none is given.
    let quiet = json!({"entity": "shop.order", "old": {"n": 1, "total": 1, "paid": true}, "new": {"n": 1, "total": 1, "paid": true}});
    assert_eq!(f.post(PATH, quiet.to_string()).await.is(202), json!({"events": []}));
    let gone = f.post(PATH, r#"{"entity":"shop.order","old":{"n":1}}"#).await.is(202);
    let id = gone["events"][0]["id"].as_str().unwrap();
    assert!(id.starts_with("chg_") && id.len() == 38 && id.ends_with("_1"), "{id}");
}

#[tokio::test]
async fn a_change_is_accepted_once_per_id_whatever_becomes_of_its_rules() {
    let f = shop().await;
    let body = r#"{"entity":"shop.order","old":{"n":1},"new":null,"id":"c"}"#;
    let mut expected = f.post(PATH, body).await.is(202);
    expected["duplicate"] = json!(true);
    assert_eq!(f.post(PATH, body).await.is(200), expected);
    // The members' own texts count, not how they are put together.
    let same =
        "{ \"id\":\"c\",\n\"actor\":null, \"new\" : null, \"old\":{\"n\":1}, \"entity\":\"shop.order\" }";
    assert_eq!(f.post(PATH, same).await.is(200), expected);
    f.app.set_settings(Settings { catalogue: Arc::default(), ..Settings::default() });
    assert_eq!(f.post(PATH, body).await.is(200), expected);
    for other in [
        r#"{"entity":"shop.order","old":{"n":2},"new":null,"id":"c"}"#,
        r#"{"entity":"shop.order","old":{"n":1},"new":{"n":1},"id":"c"}"#,
        r#"{"entity":"shop.orders","old":{"n":1},"new":null,"id":"c"}"#,
        r#"{"entity":"shop.order","old":{"n":1},"new":null,"actor":1,"id":"c"}"#,
        r#"{"entity":"shop.order","old":{"n": 1},"new":null,"id":"c"}"#,
    ] {
        f.post(PATH, other).await.is_problem(409, "id-reused", Some("/id"));
    }
    // An event may have the id of a change, and even that of one of its events.
    for id in ["c", "c_1"] {
        f.post("/v1/orgs/acme/events", format!(r#"{{"type":"a","payload":1,"id":"{id}"}}"#)).await.is(202);
    }
    assert_eq!(depth(&f).await, 3);
}

#[tokio::test]
async fn a_change_that_fired_nothing_is_remembered_too() {
    let f = shop().await;
    let body =
        r#"{"entity":"shop.order","old":{"total":1,"paid":true},"new":{"total":1,"paid":true},"id":"c"}"#;
    f.post(PATH, body).await.is(202);
    assert_eq!(f.post(PATH, body).await.is(200), json!({"events": [], "duplicate": true}));
}

#[tokio::test]
async fn what_cannot_be_accepted_is_refused_whole_and_not_remembered() {
    let f = shop().await;
    f.post("/v1/orgs/none/changes", r#"{"entity":"shop.order","new":{}}"#).await.is_problem(
        404,
        "unknown-org",
        None,
    );
    let order = |old: Value, new: Value| json!({"entity": "shop.order", "old": old, "new": new, "id": "c"});
    let good = json!({"n": 1, "total": 1, "paid": true});
    let total = json!({"n": 1, "total": 2, "paid": true});
    let no_total = json!({"n": 1, "paid": true});
    let note = json!({"n": 1, "total": 1, "paid": true, "note": 7});
    for (body, status, code, field) in [
        (json!([]), 422, "invalid-field", Some("")),
        (json!({"entity": "shop.order"}), 422, "invalid-field", Some("/new")),
        (json!({"entity": "shop.order", "new": {}, "old_": {}}), 422, "unknown-field", Some("/old_")),
        (json!({"entity": "shop.ordr", "new": {}}), 422, "unknown-entity", Some("/entity")),
        (order(good.clone(), total), 422, "change-refused", Some("/new/total")),
        (order(Value::Null, json!({"n": "x", "paid": true})), 422, "schema-violation", Some("/new/n")),
        (order(Value::Null, json!({"paid": true})), 422, "schema-violation", Some("/new")),
        (
            json!({"entity": "shop.order", "new": {"n": 1, "paid": true}, "actor": "me", "id": "c"}),
            422,
            "schema-violation",
            Some("/actor"),
        ),
        // The first event alone would be accepted.
        (order(Value::Null, note), 422, "schema-violation", Some("/new/note")),
    ] {
        f.post(PATH, body.to_string()).await.is_problem(status, code, field);
    }
    let failed = f.post(PATH, order(good.clone(), no_total).to_string()).await;
    assert_eq!(failed.json()["type"], "urn:postrider:change-failed");
    assert!(failed.json()["field"].as_str().unwrap().starts_with("/new"), "{:?}", failed.json());
    let nearest = f.post(PATH, r#"{"entity":"shop.ordr","new":{}}"#).await.json();
    assert!(nearest["detail"].as_str().unwrap().contains("did you mean \"shop.order\"?"), "{nearest}");
    f.post(PATH, "{").await.is_problem(400, "malformed-json", None);
    assert_eq!(depth(&f).await, 0);
    // The id that all of them gave is still free.
    f.post(PATH, order(Value::Null, json!({"n": 1, "paid": true})).to_string()).await.is(202);
}

#[tokio::test]
async fn a_broken_payload_is_let_through_where_that_is_configured() {
    let f = Fixture::with(Settings { validate: Validate::Warn, ..settings() }).with_acme().await;
    let body = r#"{"entity":"shop.order","new":{"n":"x","paid":false}}"#;
    assert_eq!(f.post(PATH, body).await.is(202)["events"][0]["deliveries"], 1);
}

#[tokio::test]
async fn only_entitled_plans_and_queues_with_room_for_all_of_it_take_changes() {
    let entitlement = Entitlement::of_plans(["pro".to_owned()]);
    let f = Fixture::with(Settings { entitlement, ..settings() }).with_acme().await;
    let body = r#"{"entity":"shop.order","new":{"n":1,"paid":true}}"#;
    f.post(PATH, body).await.is_problem(403, "org-not-entitled", None);
    f.put("/v1/orgs/acme", json!({"plan": "pro", "limits": {"deliveries": 3}})).await.is(200);
    assert_eq!(f.post(PATH, body).await.is(202)["events"].as_array().unwrap().len(), 2);
    let full = f.post(PATH, body).await;
    full.is_problem(429, "queue-full", None);
    assert!(full.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(depth(&f).await, 2, "there was room for one of its two events");
    f.post(PATH, r#"{"entity":"shop.order","old":{"n":1}}"#).await.is(202);
}

#[tokio::test]
async fn what_a_change_may_come_to_is_bounded() {
    let limits = settings().changes;
    let check = async |limits: ChangeLimits, body: &str, status: u16| {
        let f = Fixture::with(Settings { changes: limits, ..settings() }).with_acme().await;
        let answer = f.post(PATH, body.to_owned()).await;
        if status == 422 {
            answer.is_problem(422, "change-too-costly", None);
            assert_eq!(depth(&f).await, 0);
        } else {
            answer.is(status);
        }
    };
    let both = r#"{"entity":"shop.order","new":{"n":1,"paid":true}}"#;
    check(ChangeLimits { max_events: 2, ..limits }, both, 202).await;
    check(ChangeLimits { max_events: 1, ..limits }, both, 422).await;
    check(ChangeLimits { max_cost: 1, ..limits }, both, 422).await;
    check(ChangeLimits { max_payload_bytes: 20, ..limits }, both, 422).await;
    let f = Fixture::with(Settings { max_body_bytes: 100, ..settings() }).with_acme().await;
    let long = format!(r#"{{"entity":"shop.order","new":{{"n":1,"x":"{}"}}}}"#, "x".repeat(100));
    f.post(PATH, long).await.is_problem(413, "payload-too-large", None);
}

/// Two events of nearly 1 MiB each fit; for ten webhooks they would be too much for one commit.
#[tokio::test]
async fn what_a_change_writes_is_bounded() {
    let f = shop().await;
    let order = format!(r#"{{"n":1,"paid":true,"x":"{}"}}"#, "x".repeat(1_000_000));
    let body = format!(r#"{{"entity":"shop.order","new":{order}}}"#);
    f.post(PATH, body.clone()).await.is(202);
    for n in 0..9 {
        f.put(&format!("/v1/orgs/acme/webhooks/w{n}"), json!({"url": "https://example.com/"})).await.is(201);
    }
    f.post(PATH, body).await.is_problem(422, "change-too-costly", None);
    // One event alone is taken, as it would be if it were handed in.
    let one = format!(r#"{{"entity":"shop.order","old":{order}}}"#);
    assert_eq!(f.post(PATH, one).await.is(202)["events"][0]["deliveries"], 10);
}

#[tokio::test]
async fn producers_may_hand_in_changes() {
    let f = shop().await;
    let request = http::Request::post(PATH).body(r#"{"entity":"shop.order","old":{"n":1}}"#.into()).unwrap();
    send(&f.submit, request).await.is(202);
    let request = http::Request::get(PATH).body(axum::body::Body::empty()).unwrap();
    send(&f.submit, request).await.is_problem(405, "method-not-allowed", None);
}

#[tokio::test]
async fn rules_wait_for_each_other_but_not_for_ever() {
    let timeout = std::time::Duration::from_millis(50);
    let f = Fixture::with(Settings { body_timeout: timeout, ..settings() }).with_acme().await;
    let others = f.app.turns.take_all().await.unwrap();
    let body = r#"{"entity":"shop.order","old":{"n":1}}"#;
    let busy = f.post(PATH, body).await;
    busy.is_problem(503, "overloaded", None);
    assert!(busy.headers.contains_key(header::RETRY_AFTER));
    drop(others);
    f.post(PATH, body).await.is(202);
}

#[tokio::test]
async fn changes_of_an_org_wait_for_each_other_and_keep_no_other_org_waiting() {
    let timeout = std::time::Duration::from_millis(50);
    let f = Fixture::with(Settings { body_timeout: timeout, ..settings() }).with_acme().await;
    f.put("/v1/orgs/other", json!({})).await.is(201);
    let number = f.app.org("acme").unwrap().number;
    let turn = f.app.turns.of(number).acquire_owned().await.unwrap();
    let body = r#"{"entity":"shop.order","old":{"n":1}}"#;
    f.post(PATH, body).await.is_problem(503, "overloaded", None);
    f.post("/v1/orgs/other/changes", body).await.is(202);
    drop(turn);
    f.post(PATH, body).await.is(202);
}

#[tokio::test]
async fn the_name_of_an_entity_is_bounded_and_those_that_there_are_are_named() {
    let f = shop().await;
    let named = async |name: &str| f.post(PATH, json!({"entity": name, "new": {}}).to_string()).await;
    named(&"x".repeat(129)).await.is_problem(422, "invalid-field", Some("/entity"));
    let far = named(&"x".repeat(128)).await;
    far.is_problem(422, "unknown-entity", Some("/entity"));
    let problem = far.is(422);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.ends_with("there are rules for shop.order"), "{detail}");
}
