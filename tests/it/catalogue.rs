//! Catalogues: payloads held against their schemas, webhooks that match what stands in them, the command that shows them,
//! and a product of one's own, which is a directory of data.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::cli::{run, run_with};
use crate::support::{Receiver, Site, wait_until};

/// A configuration with more in it.
fn site_with(more: &str) -> Site {
    Site::with(&(Site::new().config().to_owned() + more))
}

/// What the shipped catalogue has as the type's example.
fn example(name: &str) -> Value {
    let product = name.split('.').next().unwrap();
    let path = format!("{}/data/catalogue/{product}/examples/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn event(event_type: &str, payload: &Value) -> Value {
    json!({"type": event_type, "payload": payload})
}

#[test]
fn a_payload_that_breaks_its_types_schema_is_refused_with_pointer_and_rule() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let mut payload = example("timetime.calendar_event.changed");
    daemon.enqueue("acme", &event("CalendarEventChanged", &payload));
    payload["new"]["status"] = json!("canary-7f");
    for name in ["CalendarEventChanged", "timetime.calendar_event.changed"] {
        let refused = daemon.try_enqueue("acme", &event(name, &payload)).unwrap().expect(422);
        let problem = refused.json();
        assert_eq!(problem["type"], "urn:postrider:schema-violation");
        assert_eq!(problem["field"], "/payload/new/status");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains("at /new/status enum: must be one of") && detail.contains("CONFIRMED"),
            "{detail}"
        );
        assert!(!refused.text().contains("canary"), "a payload's values stay out of answers: {detail}");
    }
    // Of a type that nobody knows, nothing is asked; in a batch the rest goes on.
    let batch = run_with(
        &site,
        &["enqueue", "--ndjson", "-", "--json"],
        &format!(
            "{}\n{}\n",
            json!({"org": "acme", "type": "CalendarEventChanged", "payload": payload}),
            json!({"org": "acme", "type": "own.event", "payload": payload})
        ),
    )
    .exits(1);
    assert!(batch.out.contains("schema-violation") || batch.err.contains("schema-violation"), "{batch:?}");
    daemon.enqueue("acme", &event("own.event", &json!([1])));
}

#[test]
fn validation_can_be_a_warning_or_off_and_a_reload_changes_it() {
    let site = site_with("[intake]\nvalidate = \"warn\"\n");
    let daemon = site.start();
    daemon.org_only("acme");
    let broken = event("absence.event.created", &json!({"id": "canary-7f"}));
    daemon.enqueue("acme", &broken);
    wait_until("the log warns", || {
        site.log().contains("accepted although the payload is no absence.event.created")
    });
    assert!(!site.log().contains("canary"));
    let configure = |mode: &str| {
        site.configure(&site.config().replace("\"warn\"", mode));
        daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    };
    configure("\"off\"");
    let warnings = site.log().matches("accepted although").count();
    daemon.enqueue("acme", &broken);
    assert_eq!(site.log().matches("accepted although").count(), warnings);
    configure("\"reject\"");
    daemon.try_enqueue("acme", &broken).unwrap().expect(422);
}

#[test]
fn webhooks_match_on_what_stands_in_a_payload_unless_the_event_says_otherwise() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let webhooks = [
        ("graph-and-state", json!({"match": {"graph": "instant_payment", "state": ["paid", "unpaid"]}})),
        ("email", json!({"match": {"customerEmail": "marty.mcfly@example.com"}})),
        ("other-graph", json!({"match": {"graph": "instant", "state": "paid"}})),
        ("tag", json!({"match": {"tag.tag 1": "grande"}})),
        ("user", json!({"events": ["task"], "match": {"userId": 79634}})),
        ("other-user", json!({"events": ["task"], "match": {"userId": 7}})),
        ("project", json!({"events": ["project"]})),
        ("alias", json!({"events": ["CalendarEventChanged"]})),
        ("name", json!({"events": ["timetime.calendar_event.*"]})),
    ];
    for (id, settings) in &webhooks {
        daemon.webhook("acme", id, &receiver.url(&format!("/{id}")), settings);
    }
    let reached = |event: &Value| -> Vec<String> {
        let before = receiver.count();
        daemon.enqueue("acme", event);
        daemon.drained("acme");
        receiver
            .received()
            .split_off(before)
            .into_iter()
            .map(|request| request.path[1..].to_owned())
            .collect()
    };
    let booking = example("timekit.booking.paid");
    assert_eq!(reached(&event("timekit.booking.paid", &booking)), ["email", "graph-and-state"]);
    let mut given = event("timekit.booking.paid", &booking);
    given["attributes"] = json!({"graph": "instant", "customerEmail": "someone@example.com"});
    assert_eq!(reached(&given), ["other-graph"]);
    let changed = example("timetime.calendar_event.changed");
    assert_eq!(reached(&event("CalendarEventChanged", &changed)), ["alias", "name", "tag"]);
    assert_eq!(reached(&event("timetime.calendar_event.changed", &changed)), ["alias", "name", "tag"]);
    assert_eq!(
        reached(&event("task.track", &example("trackingtime.task.tracking_started"))),
        ["user"],
        "a group covers its types, by their aliases too"
    );
    assert_eq!(
        reached(&event("trackingtime.project.closed", &example("trackingtime.project.closed"))),
        ["project"]
    );
}

/// A product that postrider has never heard of.
fn fifth_product(dir: &Path) -> PathBuf {
    let product = dir.join("catalogues/parcels");
    fs::create_dir_all(product.join("schemas")).unwrap();
    fs::create_dir_all(product.join("examples")).unwrap();
    let table = r#"
product = "parcels"
title = "Parcels"

[groups]
parcel = ["parcels.parcel.*"]

[events."parcels.parcel.sent"]
alias = "ParcelSent"
summary = "A parcel left the depot."
variables = { parcelId = "/id" }
attributes = { weight = "/weight/grams", label = { pointer = "/labels/*", keyed = true } }

[profile]
retry = { attempts = 2, first_delay = "10ms" }
password_header = "X-Parcels"
faithful = true

[[changes."parcels.parcel".rules]]
when = "old != null && new != null && old.id != new.id"
refuse = "a parcel stays the one that it is"
field = "/new/id"

[[changes."parcels.parcel".rules]]
when = "new != null && new.sent && (old == null || !old.sent)"
event = "parcels.parcel.sent"
payload = "{'id': new.id, 'weight': new.weight, 'labels': {'way': 'air'}}"
"#;
    fs::write(product.join("catalogue.toml"), table).unwrap();
    let schema = r#"{"type":"object","required":["id","weight"],"properties":{"weight":{"$ref":"common.json#/$defs/weight"}}}"#;
    fs::write(product.join("schemas/parcels.parcel.sent.json"), schema).unwrap();
    let common = r#"{"$defs":{"weight":{"type":"object","required":["grams"],"properties":{"grams":{"type":"integer","minimum":1}}}}}"#;
    fs::write(product.join("schemas/common.json"), common).unwrap();
    fs::write(
        product.join("examples/parcels.parcel.sent.json"),
        "{\"id\": \"p7\", \"weight\": {\"grams\": 1200}, \"labels\": {\"way\": \"air\"}}\n",
    )
    .unwrap();
    product
}

#[test]
fn a_fifth_product_is_a_directory_of_data() {
    let dir = tempfile::tempdir().unwrap();
    let product = fifth_product(dir.path());
    let site = site_with(&format!("[catalogue]\ndir = \"{}\"\n", dir.path().join("catalogues").display()));
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let settings = json!({"events": ["parcel"], "match": {"label.way": "air", "weight": 1200}});
    daemon.webhook("acme", "main", &receiver.url("/parcels/{parcelId}"), &settings);
    let refused = daemon
        .admin(
            "PUT",
            "/v1/orgs/acme/webhooks/wrong",
            &json!({"url": receiver.url("/{parcelid}"), "events": ["ParcelSent"]}),
        )
        .expect(422);
    assert!(refused.text().contains("did you mean {parcelId}?"), "{}", refused.text());
    let text = run(&site, &["catalogue", "example", "ParcelSent"]).exits(0).out;
    run(&site, &["enqueue", "--org", "acme", "--example", "ParcelSent"]).exits(0);
    daemon.drained("acme");
    let [request] = &receiver.at("/parcels/p7")[..] else { panic!("{:?}", receiver.received()) };
    assert_eq!(request.body, text.trim_end(), "byte for byte");
    let broken = event("ParcelSent", &json!({"id": "p8", "weight": {"grams": 0}}));
    let problem = daemon.try_enqueue("acme", &broken).unwrap().expect(422).json();
    assert_eq!(problem["field"], "/payload/weight/grams");

    // Its rules make events of changes, and its profile says how they are sent.
    let settings =
        json!({"profile": "parcels", "password": "p4ss", "events": ["ParcelSent"], "match": {"weight": 5}});
    daemon.webhook("acme", "light", &receiver.url("/light"), &settings);
    let parcel = |id: &str, sent: bool| json!({"id": id, "sent": sent, "weight": {"grams": 5}});
    let change = |old: &Value, new: &Value| {
        let body = json!({"entity": "parcels.parcel", "old": old, "new": new});
        daemon.admin("POST", "/v1/orgs/acme/changes", &body)
    };
    let fired = change(&parcel("p9", false), &parcel("p9", true)).expect(202).json();
    assert_eq!(fired["events"][0]["type"], "parcels.parcel.sent");
    assert_eq!(change(&parcel("p9", true), &parcel("p9", true)).expect(202).json()["events"], json!([]));
    let refused = change(&parcel("p9", true), &parcel("p8", true)).expect(422).json();
    assert_eq!(
        (&refused["type"], &refused["field"]),
        (&json!("urn:postrider:change-refused"), &json!("/new/id"))
    );
    daemon.drained("acme");
    let [request] = &receiver.at("/light")[..] else { panic!("{:?}", receiver.received()) };
    assert_eq!(request.body, r#"{"id":"p9","weight":{"grams":5},"labels":{"way":"air"}}"#);
    assert_eq!(request.header("x-parcels"), "p4ss");
    assert!(request.headers.iter().all(|(name, _)| name != "webhook-id"), "faithful");

    // What it says can be changed while the daemon runs; what is wrong with it changes nothing.
    let schema = product.join("schemas/common.json");
    let text = fs::read_to_string(&schema).unwrap();
    fs::write(&schema, text.replace("\"minimum\":1", "\"minimum\":\"one\"")).unwrap();
    let refused = daemon.admin("POST", "/v1/reload", &json!({})).expect(422);
    assert!(refused.text().contains("parcels/schemas/"), "{}", refused.text());
    daemon.try_enqueue("acme", &broken).unwrap().expect(422);
    fs::write(&schema, text.replace("\"minimum\":1", "\"minimum\":0")).unwrap();
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    daemon.enqueue("acme", &broken);
}

#[test]
fn a_fault_in_a_catalogue_stops_the_start_and_is_named_with_file_and_line() {
    let dir = tempfile::tempdir().unwrap();
    let product = fifth_product(dir.path());
    let site = site_with(&format!("[catalogue]\ndir = \"{}\"\n", dir.path().join("catalogues").display()));
    let checked = run(&site, &["catalogue", "check", product.to_str().unwrap()]).exits(0);
    assert!(checked.err.contains("parcels") && checked.err.contains("38 types"), "{checked:?}");
    run(&site, &["catalogue", "check"]).exits(0);
    // What is set is for the configuration's own directory.
    let set = ["--set", "catalogue.set=parcels.profile.max_webhooks=3"];
    run(&site, &[&set[..], &["catalogue", "check"]].concat()).exits(0);
    let other = tempfile::tempdir().unwrap();
    let shop = other.path().join("shop");
    fs::create_dir(&shop).unwrap();
    fs::write(shop.join("catalogue.toml"), "product = 'shop'\n[events.'shop.sold']\n").unwrap();
    run(&site, &[&set[..], &["catalogue", "check", shop.to_str().unwrap()]].concat()).exits(0);
    run(&site, &["check-config"]).exits(0);

    let table = product.join("catalogue.toml");
    let text = fs::read_to_string(&table).unwrap();
    fs::write(&table, text.replace("parcelId = \"/id\"", "parcelId = \"id\"")).unwrap();
    let place = format!("{}:11: ", table.canonicalize().unwrap().display());
    for command in [vec!["catalogue", "check"], vec!["check-config"], vec!["catalogue", "list"]] {
        run(&site, &command).exits(78).says(&place).says("JSON Pointer");
    }
    let (code, log) = site.serve_refused(|_| {});
    assert!(code == 78 && log.contains(&place), "{code}: {log}");

    fs::write(&table, text).unwrap();
    let misspelt = product.join("request.toml");
    fs::write(&misspelt, "rules = []").unwrap();
    run(&site, &["catalogue", "check"]).exits(78).says("did you mean requests.toml?");
    fs::remove_file(misspelt).unwrap();
    let folder = product.join("schema");
    fs::create_dir(&folder).unwrap();
    run(&site, &["catalogue", "check"]).exits(78).says("did you mean schemas?");
    fs::remove_dir(folder).unwrap();
    let beside = product.with_file_name("second");
    fs::create_dir(&beside).unwrap();
    fs::write(beside.join("catalog.toml"), "product = 'second'").unwrap();
    run(&site, &["catalogue", "check"]).exits(78).says("did you mean catalogue.toml?");
    fs::remove_dir_all(beside).unwrap();
    fs::write(product.join("examples/parcels.parcel.sent@none.json"), "{\n \"id\": 7,\n \"weight\": {}\n}")
        .unwrap();
    let checked = run(&site, &["catalogue", "check"]).exits(78);
    checked.says("parcels.parcel.sent@none.json:3: /weight: required: needs the member \"grams\"");
    let nothing = dir.path().join("nothing");
    fs::create_dir(&nothing).unwrap();
    run(&site, &["catalogue", "check", nothing.to_str().unwrap()]).exits(78).says("has no catalogue.toml");
    run(&site, &["--set", "catalogue.products=timtime", "catalogue", "list"])
        .exits(78)
        .says("did you mean timetime?");
}

#[test]
fn the_command_shows_what_is_known() {
    let site = Site::new();
    let list = run(&site, &["catalogue", "list"]).exits(0).out;
    let line = list.lines().find(|line| line.starts_with("timetime.calendar_event.changed "));
    assert!(line.is_some_and(|line| line.contains(" CalendarEventChanged ")), "{list}");
    let of_one = run(&site, &["catalogue", "list", "--product", "absence", "--json"]).exits(0).json();
    assert_eq!(of_one["items"].as_array().unwrap().len(), 3);
    run(&site, &["catalogue", "list", "--product", "abscence"]).exits(2);

    let shown = run(&site, &["catalogue", "show", "CalendarEventChanged"]).exits(0).out;
    for text in
        ["{eventId} at /new/id", "tag.NAME at /new/tags/*", "diff at /semanticDiff/*/type", "\"const\""]
    {
        assert!(shown.contains(text), "{text} is not in {shown}");
    }
    let shown = run(&site, &["catalogue", "show", "trackingtime.task.closed", "--json"]).exits(0).json();
    assert_eq!((&shown["alias"], &shown["groups"]), (&json!("task.close"), &json!(["task"])));
    assert!(shown["schema"].is_object() && shown["variables"]["taskId"] == "/data/id", "{shown}");
    assert!(shown["schema"].to_string().contains("is_archived"), "what it refers to is in it: {shown}");
    let product = run(&site, &["catalogue", "show", "absence", "--json"]).exits(0).json();
    assert_eq!((&product["entities"], &product["profile"]), (&json!(["absence.event"]), &json!(true)));
    run(&site, &["catalogue", "show", "timetime.bookin.changed"])
        .exits(2)
        .says("did you mean timetime.booking.changed?");

    let plain = run(&site, &["catalogue", "example", "timetime.booking.changed"]).exits(0).json();
    assert_eq!(plain, example("timetime.booking.changed"));
    let other = run(&site, &["catalogue", "example", "BookingChanged@cancelled"]).exits(0).json();
    assert_eq!(other["new"]["status"], "CANCELED");
    run(&site, &["catalogue", "example", "BookingChanged@nothing"])
        .exits(2)
        .says("timetime.booking.changed@cancelled");
}

#[test]
fn a_reload_that_would_leave_a_webhook_behind_is_refused_and_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let product = fifth_product(dir.path());
    let site = site_with(&format!("[catalogue]\ndir = \"{}\"\n", dir.path().join("catalogues").display()));
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    daemon.webhook("acme", "group", &receiver.url("/"), &json!({"events": ["parcel"]}));
    daemon.webhook("acme", "attribute", &receiver.url("/"), &json!({"match": {"weight": 1200}}));
    let table = product.join("catalogue.toml");
    let text = fs::read_to_string(&table).unwrap();
    let reload = || daemon.admin("POST", "/v1/reload", &json!({}));
    for (from, to, says) in [
        ("\nparcel = [", "\nparcels = [", "webhook group of org acme listens to parcel"),
        ("weight = ", "mass = ", "webhook attribute of org acme matches on weight"),
    ] {
        fs::write(&table, text.replace(from, to)).unwrap();
        let refused = reload().expect(422);
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    daemon.admin("PUT", "/v1/orgs/paying", &json!({"plan": "enterprise"})).expect(201);
    daemon.webhook("paying", "calendar", &receiver.url("/tt"), &json!({"profile": "timetime"}));
    fs::write(&table, &text).unwrap();
    site.configure(&(site.config().to_owned() + "products = [\"absence\"]\n"));
    let refused = reload().expect(422);
    assert!(
        refused.text().contains("webhook calendar of org paying has the profile timetime"),
        "{}",
        refused.text()
    );
    // What nobody goes by may go.
    daemon.admin("DELETE", "/v1/orgs/paying/webhooks/calendar", &Value::Null).expect(204);
    reload().expect(200);
    // What is no file is not waited for.
    let pipe = product.join("schemas/pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let refused = reload().expect(422);
    assert!(refused.text().contains("is no regular file"), "{}", refused.text());
}

#[test]
fn a_payload_with_a_member_given_twice_is_refused() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let payload = example("timetime.booking.changed").to_string();
    let twice = payload.replacen('{', "{\"type\":\"Other\",", 1);
    let post = |payload: &str| {
        let body = format!("{{\"type\":\"BookingChanged\",\"payload\":{payload}}}");
        crate::support::http::request(
            &site.submit_socket(),
            "POST",
            "/v1/orgs/acme/events",
            Some(("application/json", body.as_bytes())),
        )
        .unwrap()
    };
    post(&payload).expect(202);
    let refused = post(&twice).expect(422).json();
    assert!(refused["detail"].as_str().unwrap().contains("a member is given twice"), "{refused}");
    assert_eq!(
        (&refused["type"], &refused["field"]),
        (&json!("urn:postrider:schema-violation"), &json!("/payload"))
    );
}
