//! Profiles: a webhook that names a product goes out as that product's own do, and keeps to its limits.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::cli::{run, run_with};
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

/// Of a type that is in no catalogue.
fn event() -> Value {
    json!({"type": "order.placed", "payload": {"order": 7}})
}

#[track_caller]
fn put_org(daemon: &Daemon<'_>, plan: &str) {
    let reply = daemon.admin("PUT", "/v1/orgs/acme", &json!({"plan": plan}));
    assert!(matches!(reply.status, 200 | 201), "{}", reply.text());
}

/// Saves a webhook; status and answer.
fn put(daemon: &Daemon<'_>, webhook: &str, body: &Value) -> (u16, Value) {
    let reply = daemon.admin("PUT", &format!("/v1/orgs/acme/webhooks/{webhook}"), body);
    (reply.status, reply.json())
}

#[track_caller]
fn saved(daemon: &Daemon<'_>, webhook: &str, body: &Value) -> Value {
    let (status, answer) = put(daemon, webhook, body);
    assert!(matches!(status, 200 | 201), "{answer}");
    answer
}

#[track_caller]
fn refused(daemon: &Daemon<'_>, webhook: &str, body: &Value, status: u16, code: &str, field: Option<&str>) {
    let (answered, problem) = put(daemon, webhook, body);
    let kind = format!("urn:postrider:{code}");
    assert_eq!((answered, problem["type"].as_str()), (status, Some(&*kind)), "{problem}");
    assert_eq!(problem["field"].as_str(), field, "{problem}");
}

#[test]
fn receivers_see_the_documented_headers_and_what_http_needs_and_nothing_else() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    put_org(&daemon, "enterprise");
    let client = json!({
        "base_url": receiver.url("/"),
        "profile": "absence",
        "authorization": {"type": "basic", "username": "u", "password": "p"},
    });
    daemon.admin("PUT", "/v1/orgs/acme/clients/jira", &client).expect(201);
    let url = |product: &str| receiver.url(&format!("/{product}"));
    for (product, body) in [
        ("absence", json!({"client": "jira", "path": "/absence"})),
        ("timekit", json!({"url": url("timekit"), "profile": "timekit", "signature": {"secret": "k3y"}})),
        ("timetime", json!({"url": url("timetime"), "profile": "timetime", "password": "pw"})),
        ("trackingtime", json!({"url": url("trackingtime"), "profile": "trackingtime", "password": "t0ken"})),
    ] {
        assert_eq!(saved(&daemon, product, &body)["profile"], product);
    }
    assert_eq!(daemon.enqueue("acme", &event())["deliveries"], 4);
    daemon.drained("acme");
    let payload = event()["payload"].to_string();
    let mut mac = Hmac::<Sha256>::new_from_slice(b"k3y").unwrap();
    mac.update(payload.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for (product, header, value) in [
        ("absence", "authorization", "Basic dTpw"),
        ("timekit", "x-timekit-signature", &*signature),
        ("timetime", "x-tt-webhook-password", "pw"),
        ("trackingtime", "x-trackingtime-token", "t0ken"),
    ] {
        let [request] = &receiver.at(&format!("/{product}"))[..] else { panic!("{product}") };
        let expected: BTreeMap<String, String> = [
            ("host", format!("127.0.0.1:{}", receiver.port())),
            ("content-type", "application/json".to_owned()),
            ("content-length", payload.len().to_string()),
            (header, value.to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(request.headers, expected, "{product}");
        assert_eq!((&*request.method, &*request.body), ("POST", payload.as_bytes()));
    }
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn a_products_schedule_is_kept_and_retry_after_ignored() {
    let site = Site::new();
    let receiver = Receiver::start();
    let busy = Answer::Full(503, vec![("retry-after", "30".to_owned())], Bytes::new());
    for path in ["/timetime", "/timekit"] {
        receiver.always(path, busy.clone());
    }
    receiver.then("/timetime", [busy.clone(), busy.clone(), busy, Answer::Status(200)]);
    let daemon = site.start();
    put_org(&daemon, "enterprise");
    let shown = saved(&daemon, "a", &json!({"url": receiver.url("/timetime"), "profile": "timetime"}));
    assert_eq!(
        shown["retry"],
        json!({"attempts": 10, "first_delay": "200ms", "factor": 2, "max_delay": "10s", "jitter": 0,
            "on_exhausted": "advance"})
    );
    let shown = saved(&daemon, "b", &json!({"url": receiver.url("/timekit"), "profile": "timekit"}));
    assert_eq!(shown["retry"]["attempts"], 1);
    daemon.enqueue("acme", &event());
    daemon.drained("acme");
    let attempts = receiver.at("/timetime");
    let waits: Vec<_> =
        attempts.windows(2).map(|pair| pair[1].began.duration_since(pair[0].ended.unwrap().0)).collect();
    assert_eq!(waits.len(), 3);
    for (wait, documented) in waits.iter().zip([200, 400, 800]) {
        let documented = Duration::from_millis(documented);
        assert!(*wait >= documented && *wait < Duration::from_secs(20), "{waits:?}");
    }
    assert_eq!(receiver.at("/timekit").len(), 1);
    let [dead] = &daemon.dead_letters("acme")[..] else { panic!() };
    assert_eq!((&dead["webhook"], &dead["attempts"]), (&json!("b"), &json!(1)));
}

#[test]
fn an_org_has_as_many_webhooks_as_the_product_allows_or_as_it_is_given_itself() {
    let site = Site::new();
    let daemon = site.start();
    put_org(&daemon, "enterprise");
    let body = |n: u32| json!({"url": format!("https://a.example/{n}"), "profile": "timetime"});
    for n in 0..14 {
        saved(&daemon, &format!("w{n}"), &body(n));
    }
    // Eight at once for the last two places.
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let saving: Vec<_> = (14..22)
            .map(|n| {
                scope.spawn({
                    let daemon = &daemon;
                    move || put(daemon, &format!("w{n}"), &body(n)).0
                })
            })
            .collect();
        saving.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 2, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 422).count(), 6, "{statuses:?}");
    refused(&daemon, "more", &body(99), 422, "too-many-webhooks", Some("/profile"));
    // In the place of another, and without the profile, there is room.
    saved(&daemon, "w3", &body(99));
    saved(&daemon, "plain", &json!({"url": "https://a.example/"}));
    let org = json!({"plan": "enterprise", "limits": {"webhooks": 18}});
    let shown = daemon.admin("PUT", "/v1/orgs/acme", &org).expect(200).json();
    assert_eq!(shown["limits"]["webhooks"], 18);
    saved(&daemon, "more", &body(100));
    refused(&daemon, "again", &body(101), 422, "too-many-webhooks", Some("/profile"));
}

#[test]
fn a_url_is_had_once_and_is_not_too_long() {
    let site = Site::new();
    let daemon = site.start();
    put_org(&daemon, "enterprise");
    let body = json!({"url": "https://a.example/x", "profile": "timetime", "enabled": false});
    saved(&daemon, "first", &body);
    saved(&daemon, "first", &body);
    refused(&daemon, "second", &body, 422, "invalid-field", Some("/url"));
    assert!(put(&daemon, "second", &body).1["detail"].as_str().unwrap().contains("\"first\""));
    saved(&daemon, "second", &json!({"url": "https://a.example/x"}));
    let long = |length: usize| format!("https://a.example/{}", "x".repeat(length - 18));
    saved(&daemon, "long", &json!({"url": long(2048), "profile": "timetime"}));
    let (_, problem) = put(&daemon, "longer", &json!({"url": long(2049), "profile": "timetime"}));
    assert_eq!(problem["field"], "/url");
    assert!(problem["detail"].as_str().unwrap().contains("2048"), "{problem}");
    let password = json!({"url": "https://b.example/", "profile": "timetime", "password": "x".repeat(2049)});
    refused(&daemon, "secret", &password, 422, "invalid-field", Some("/password"));
    refused(
        &daemon,
        "unknown",
        &json!({"url": "https://b.example/", "profile": "timtime"}),
        422,
        "invalid-field",
        Some("/profile"),
    );
}

#[test]
fn a_plan_entitles_and_without_it_nothing_is_accepted_for_such_a_webhook() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    put_org(&daemon, "free");
    let body = json!({"url": receiver.url("/"), "profile": "timetime", "events": ["order.*"]});
    refused(&daemon, "main", &body, 403, "org-not-entitled", None);
    let client = json!({"base_url": receiver.url("/"), "profile": "timetime"});
    let reply = daemon.admin("PUT", "/v1/orgs/acme/clients/tt", &client).expect(403);
    assert_eq!(reply.json()["type"], "urn:postrider:org-not-entitled");
    saved(&daemon, "all", &json!({"url": receiver.url("/all")}));

    put_org(&daemon, "enterprise");
    saved(&daemon, "main", &body);
    assert_eq!(daemon.enqueue("acme", &event())["deliveries"], 2);
    daemon.drained("acme");

    put_org(&daemon, "free");
    let problem = daemon.try_enqueue("acme", &event()).unwrap().expect(403).json();
    // Switched off it asks for nothing; switched on again it would.
    daemon.admin("POST", "/v1/orgs/acme/webhooks/main/disable", &Value::Null).expect(200);
    let reply = daemon.admin("POST", "/v1/orgs/acme/webhooks/main/enable", &Value::Null).expect(403);
    assert_eq!(reply.json()["type"], "urn:postrider:org-not-entitled");
    put_org(&daemon, "enterprise");
    daemon.admin("POST", "/v1/orgs/acme/webhooks/main/enable", &Value::Null).expect(200);
    put_org(&daemon, "free");
    assert_eq!(problem["type"], "urn:postrider:org-not-entitled");
    assert!(problem["detail"].as_str().unwrap().contains("profile timetime"), "{problem}");
    let line = json!({"org": "acme", "type": "order.placed", "payload": 1}).to_string();
    let lines = run_with(&site, &["enqueue", "--ndjson", "-", "--json"], &line);
    assert!(lines.out.contains("org-not-entitled") || lines.err.contains("org-not-entitled"), "{lines:?}");
    // What such a webhook would not be given is accepted.
    let other = json!({"type": "invoice.sent", "payload": 2});
    assert_eq!(daemon.enqueue("acme", &other)["deliveries"], 1);
    daemon.drained("acme");
    assert_eq!(receiver.count(), 3);

    put_org(&daemon, "enterprise");
    assert_eq!(daemon.enqueue("acme", &event())["deliveries"], 2);
}

#[test]
fn a_profile_outlives_restarts_and_so_does_a_clients() {
    let site = Site::new();
    let daemon = site.start();
    put_org(&daemon, "enterprise");
    let client = json!({"base_url": "https://hr.example/", "profile": "absence"});
    let client = daemon.admin("PUT", "/v1/orgs/acme/clients/hr", &client).expect(201).json();
    assert_eq!(client["profile"], "absence");
    saved(&daemon, "hr", &json!({"client": "hr", "path": "/x"}));
    saved(&daemon, "tt", &json!({"url": "https://a.example/", "profile": "timetime"}));
    saved(&daemon, "own", &json!({"client": "hr", "path": "/y", "profile": "timekit"}));
    saved(&daemon, "none", &json!({"url": "https://a.example/"}));
    let known = daemon.list("/v1/orgs/acme/webhooks");
    let profiles: Vec<_> = known.iter().map(|webhook| webhook["profile"].clone()).collect();
    assert_eq!(profiles, [json!("absence"), Value::Null, json!("timekit"), json!("timetime")]);
    daemon.kill();

    let daemon = site.start();
    assert_eq!(daemon.list("/v1/orgs/acme/webhooks"), known);
    assert_eq!(daemon.list("/v1/orgs/acme/clients")[0]["profile"], "absence");
    // A client's other profile is for webhooks that are saved from now on.
    let client = json!({"base_url": "https://hr.example/", "profile": "trackingtime"});
    daemon.admin("PUT", "/v1/orgs/acme/clients/hr", &client).expect(200);
    assert_eq!(daemon.list("/v1/orgs/acme/webhooks"), known);
    assert_eq!(saved(&daemon, "hr", &json!({"client": "hr", "path": "/x"}))["retry"]["attempts"], 5);
    let switched = daemon.admin("POST", "/v1/orgs/acme/webhooks/tt/disable", &json!({})).expect(200).json();
    assert_eq!((&switched["profile"], &switched["enabled"]), (&json!("timetime"), &json!(false)));
    assert!(!site.log().contains("in no catalogue in force"));
    daemon.kill();

    // Whose limits cannot be asked for any more is said.
    site.configure(&(site.config().to_owned() + "[catalogue]\nproducts = [\"trackingtime\", \"timekit\"]\n"));
    let daemon = site.start();
    assert_eq!(daemon.list("/v1/orgs/acme/webhooks").len(), 4);
    let log = site.log();
    assert!(
        log.contains("webhook tt of org acme has the profile timetime, which is in no catalogue in force"),
        "{log}"
    );
}

#[test]
fn a_product_of_ones_own_has_a_profile_as_good_as_any() {
    let site = Site::new();
    let receiver = Receiver::start();
    let product = site.dir().join("products/shop");
    std::fs::create_dir_all(&product).unwrap();
    let catalogue = |rest: &str| {
        let text = format!("product = 'shop'\n[events.'shop.sold']\n[profile]\n{rest}\n");
        std::fs::write(product.join("catalogue.toml"), text).unwrap();
    };
    site.configure(&format!("{}\n[catalogue]\ndir = {:?}\n", site.config(), site.dir().join("products")));
    catalogue("retry.attempts = 0");
    let (code, said) = site.serve_refused(|_| {});
    assert!(
        code == 78 && said.contains("shop/catalogue.toml:4: retry.attempts: must be from 1 to 100"),
        "{said}"
    );

    catalogue(
        "method = 'PUT'\nsignature = { type = 'hex', header = 'X-Shop-Signature' }\nretry = { schedule = ['10ms'] }\n\
         faithful = true\nplans = ['pro']\nmax_webhooks = 1",
    );
    let daemon = site.start();
    put_org(&daemon, "free");
    let body = json!({"url": receiver.url("/"), "profile": "shop", "signature": {"secret": "k3y"}});
    refused(&daemon, "a", &body, 403, "org-not-entitled", None);
    put_org(&daemon, "pro");
    let shown = saved(&daemon, "a", &body);
    assert_eq!((&shown["method"], &shown["retry"]["attempts"]), (&json!("PUT"), &json!(2)));
    refused(&daemon, "b", &body, 422, "too-many-webhooks", Some("/profile"));
    daemon.enqueue("acme", &json!({"type": "shop.sold", "payload": 7}));
    daemon.drained("acme");
    let [request] = &receiver.received()[..] else { panic!() };
    let names: Vec<_> = request.headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["content-length", "content-type", "host", "x-shop-signature"]);
    assert_eq!((&*request.method, request.header("x-shop-signature").len()), ("PUT", 64));
}

#[test]
fn a_change_that_fires_an_event_for_such_a_webhook_is_refused_whole() {
    let site = Site::new();
    let receiver = Receiver::start();
    let shop = site.dir().join("products/shop");
    std::fs::create_dir_all(&shop).unwrap();
    let text = "product = 'shop'\n[events.'shop.placed']\n[events.'shop.paid']\n[changes.'shop.order']\nrules = [\n\
        { when = 'old == null', event = 'shop.placed', payload = 'new' },\n\
        { when = 'new.paid', event = 'shop.paid', payload = 'new' },\n]\n[profile]\nplans = ['pro']\n";
    std::fs::write(shop.join("catalogue.toml"), text).unwrap();
    site.configure(&format!("{}\n[catalogue]\ndir = {:?}\n", site.config(), site.dir().join("products")));
    let daemon = site.start();
    put_org(&daemon, "pro");
    saved(&daemon, "all", &json!({"url": receiver.url("/all")}));
    saved(
        &daemon,
        "paid",
        &json!({"url": receiver.url("/paid"), "profile": "shop", "events": ["shop.paid"]}),
    );
    put_org(&daemon, "free");
    let order = |paid: bool| json!({"entity": "shop.order", "old": null, "new": {"paid": paid}});
    let problem = daemon.admin("POST", "/v1/orgs/acme/changes", &order(true)).expect(403).json();
    assert_eq!(problem["type"], "urn:postrider:org-not-entitled");
    // The other event of that change is not there either.
    assert!(daemon.queue("acme").is_empty());
    daemon.admin("POST", "/v1/orgs/acme/changes", &order(false)).expect(202);
    daemon.drained("acme");
    assert_eq!(receiver.received().iter().map(|request| &*request.path).collect::<Vec<_>>(), ["/all"]);
}

#[test]
fn an_operator_sets_plans_and_limits_without_a_catalogue_of_his_own() {
    let site = Site::new();
    let daemon = site.start();
    put_org(&daemon, "free");
    let body = |n: u32| json!({"url": format!("https://a.example/{n}"), "profile": "timetime"});
    refused(&daemon, "a", &body(1), 403, "org-not-entitled", None);
    let set = r#"set = ["timetime.profile.plans=free enterprise", "timetime.profile.max_webhooks=2",
        "timetime.profile.distinct_urls=false"]"#;
    site.configure(&format!("{}\n[catalogue]\n{set}\n", site.config()));
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    saved(&daemon, "a", &body(1));
    saved(&daemon, "b", &body(1));
    refused(&daemon, "c", &body(3), 422, "too-many-webhooks", Some("/profile"));
    // Back to what the product says: what is saved stays, and what is sent to it is asked for again.
    site.configure(site.config());
    daemon.admin("POST", "/v1/reload", &json!({})).expect(200);
    assert_eq!(daemon.list("/v1/orgs/acme/webhooks").len(), 2);
    daemon.try_enqueue("acme", &event()).unwrap().expect(403);
}

#[test]
fn profiles_are_given_and_shown_on_the_command_line() {
    let site = Site::new();
    let _daemon = site.start();
    std::fs::write(site.dir().join("secret"), "k3y").unwrap();
    let secret = site.dir().join("secret").to_str().unwrap().to_owned();
    run(&site, &["org", "put", "acme", "--plan", "enterprise", "--max-webhooks", "3"]).exits(0);
    run(&site, &["client", "put", "acme", "hr", "--base-url", "https://hr.example/", "--profile", "timekit"])
        .exits(0);
    let put = ["webhook", "put", "acme"];
    let with = |rest: &[&str]| run(&site, &[&put[..], rest].concat());
    with(&["tt", "--url", "https://a.example/", "--profile", "timetime", "--faithful=false"]).exits(0);
    // The client's profile says how the secret signs.
    with(&["hr", "--client", "hr", "--path", "/x", "--signing-secret-file", &secret]).exits(0);
    with(&["tk", "--url", "https://a.example/", "--profile", "timekit", "--signing-secret-file", &secret])
        .exits(0);
    with(&["more", "--url", "https://a.example/"]).exits(1).says("3 webhooks");
    with(&["tt", "--url", "https://a.example/", "--profile", "tt"]).exits(1).says("known are absence");
    for webhook in ["hr", "tk"] {
        let shown = run(&site, &["webhook", "show", "acme", webhook, "--json"]).exits(0).json();
        assert_eq!(
            (&shown["profile"], &shown["signature"]["header"]),
            (&json!("timekit"), &json!("x-timekit-signature"))
        );
    }
    let shown = run(&site, &["webhook", "show", "acme", "tt", "--json"]).exits(0).json();
    assert_eq!((&shown["profile"], &shown["faithful"]), (&json!("timetime"), &json!(false)));
    let list = run(&site, &["webhook", "list", "acme"]).exits(0).out;
    assert!(list.contains("PROFILE") && list.contains("timetime"), "{list}");
    let list = run(&site, &["client", "list", "acme"]).exits(0).out;
    assert!(list.contains("PROFILE") && list.contains("timekit"), "{list}");
    wait_until("the log has the saves", || site.log().contains("PUT /v1/orgs/{org}/webhooks/{webhook}"));
    assert!(!site.log().contains("k3y"));
}
