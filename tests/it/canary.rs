//! A canary in every secret place, every feature exercised with the log at its most talkative: no output, file, listing,
//! problem, log line or `Debug` print sings, in whatever spelling.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use postrider::model::{
    Authorization, Client, Credentials, Headers, Proxy, ProxyKind, Route, Secret, Signature, SigningSecret,
    Target, Tls, UnixMs, UrlTemplate, Webhook,
};
use serde_json::{Value, json};

use crate::cli::{Ran, run, run_with};
use crate::support::daemon::Daemon;
use crate::support::{Answer, Receiver, Site, wait_until};

/// Every secret that this test gives away, each with a word of its own.
struct Cage {
    canaries: BTreeMap<&'static str, String>,
    /// Each canary in each spelling.
    songs: Vec<(String, String)>,
}

impl Cage {
    fn new() -> Cage {
        let places = [
            "password",
            "token",
            "basic",
            "header-value",
            "static-header",
            "client-header",
            "hmac",
            "hex",
            "query",
            "client-query",
            "payload",
            "attribute",
            "variable",
            "proxy",
            "refused",
            "echo",
        ];
        // A slash and a plus: what URL and base64 spellings change.
        let canaries: BTreeMap<_, _> =
            places.iter().map(|place| (*place, format!("kanari/{place}+Zq7x"))).collect();
        let songs = |canary: &String| {
            spellings(canary).into_iter().map(|song| (canary.clone(), song)).collect::<Vec<_>>()
        };
        Cage { songs: canaries.values().flat_map(songs).collect(), canaries }
    }

    fn of(&self, place: &str) -> &str {
        &self.canaries[place]
    }

    /// In none of the spellings in which a secret leaks.
    #[track_caller]
    fn is_silent(&self, bytes: impl AsRef<[u8]>, place: &str) {
        for (canary, spelling) in &self.songs {
            let sings = memchr::memmem::find(bytes.as_ref(), spelling.as_bytes());
            assert!(sings.is_none(), "{canary} sings in {place} as {spelling}, at byte {sings:?}");
        }
    }
}

/// Raw, hex, decimal, percent-encoded, JSON within JSON, and base64 at each of the three ways in which it can lie.
pub fn spellings(canary: &str) -> Vec<String> {
    let hex: String = canary.bytes().map(|byte| format!("{byte:02x}")).collect();
    let numbers = canary.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
    let mut percent = String::new();
    for byte in canary.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            percent.push(char::from(byte));
        } else {
            write!(percent, "%{byte:02X}").unwrap();
        }
    }
    let form: String = url::form_urlencoded::byte_serialize(canary.as_bytes()).collect();
    let mut all =
        vec![canary.to_owned(), hex.to_uppercase(), hex, numbers, percent, form, canary.replace('/', "\\/")];
    for shift in 0..3 {
        let shifted = [&b"\0\0"[..shift], canary.as_bytes()].concat();
        for text in [STANDARD.encode(&shifted), URL_SAFE.encode(&shifted)] {
            // The digits at both ends hold bits of what stands beside it.
            all.push(text[4..text.len() - 4].to_owned());
        }
    }
    all
}

fn signing_secret(canary: &str) -> String {
    format!("whsec_{}", STANDARD.encode(format!("{canary:-<24}")))
}

/// Webhooks that between them carry every kind of secret, to a receiver that sends all of them back.
fn webhooks(cage: &Cage, receiver: &Receiver) -> Vec<(&'static str, Value)> {
    let url = |path: &str| receiver.url(&format!("{path}?token={}", encoded(cage.of("query"))));
    let once = json!({"attempts": 1});
    vec![
        (
            "w-password",
            json!({"url": url("/ok"), "password": cage.of("password"), "password_header": "x-pw",
            "headers": {"x-static": cage.of("static-header")}}),
        ),
        (
            "w-basic",
            json!({"url": url("/fail"), "retry": once, "authorization":
            {"type": "basic", "username": "user", "password": cage.of("basic")}}),
        ),
        (
            "w-bearer",
            json!({"url": url("/fail"), "retry": once, "authorization":
            {"type": "bearer", "token": cage.of("token")}}),
        ),
        (
            "w-header",
            json!({"url": url("/fail"), "retry": once, "authorization":
            {"type": "header", "name": "x-key", "value": cage.of("header-value")}}),
        ),
        (
            "w-client",
            json!({"client": "c", "path": format!("/fail/{{v}}?k={}", encoded(cage.of("client-query"))),
            "method": "PUT", "retry": once, "signature": {"type": "standard", "secret": signing_secret(cage.of("hmac"))}}),
        ),
        (
            "w-hex",
            json!({"url": url("/fail"), "retry": once, "faithful": true, "signature":
            {"type": "hex", "header": "x-signature", "secret": cage.of("hex")}}),
        ),
        (
            "w-proxy",
            json!({"url": url("/ok"), "retry": once, "timeout": "500ms",
            "proxy": format!("http://user:{}@127.0.0.1:9", encoded(cage.of("proxy")))}),
        ),
        ("w-missing", json!({"url": receiver.url("/{nowhere}")})),
    ]
}

fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

#[test]
fn no_secret_is_in_any_output_file_or_log_line() {
    let cage = Cage::new();
    let site = Site::with(&Site::new().config().replace("debug", "trace"));
    let receiver = Receiver::start();
    receiver.always("/ok", Answer::Echo(200));
    receiver.always("/fail", Answer::Echo(500));
    receiver.always("/fail/kanari%2Fvariable%2BZq7x", Answer::Echo(500));
    let daemon = site.start();
    let mut heard: Vec<(String, String)> = Vec::new();
    let mut hear = |what: &str, ran: Ran| heard.push((what.to_owned(), format!("{}\n{}", ran.out, ran.err)));

    hear("org put", run(&site, &["org", "put", "acme"]).exits(0));
    let client = json!({"base_url": receiver.url("/"), "headers": {"x-client": cage.of("client-header")},
        "authorization": {"type": "hmac-sha256", "secret": cage.of("hex")}});
    hear(
        "client put",
        run_with(&site, &["client", "put", "acme", "c", "--file", "-"], &client.to_string()).exits(0),
    );
    for (name, webhook) in webhooks(&cage, &receiver) {
        let put = ["webhook", "put", "acme", name, "--file", "-", "--json"];
        hear("webhook put", run_with(&site, &put, &webhook.to_string()).exits(0));
    }
    refusals(&cage, &site, &mut hear);

    let event = json!({"id": "evt-1", "type": "t", "payload": {"secret": cage.of("payload")},
        "attributes": {"a": cage.of("attribute"), "v": cage.of("variable")}});
    daemon.enqueue("acme", &event);
    wait_until("all is settled", || daemon.queue("acme").is_empty());
    assert!(daemon.dead_letters("acme").len() >= 6);
    sent_for_real(&cage, &receiver);
    everything_an_operator_looks_at(&site, &daemon, &mut hear);

    run(&site, &["queue", "pause", "acme", "--reason", "look"]).exits(0);
    daemon.enqueue(
        "acme",
        &json!({"type": "t", "payload": cage.of("payload"), "attributes": {"v": cage.of("variable")}}),
    );
    for listing in [&["queue", "list", "acme"][..], &["queue", "list", "acme", "--json"], &["why", "acme"]] {
        hear("queue", run(&site, listing).exits(0));
    }
    hear("skip", run(&site, &["queue", "skip", "acme", "--reason", "why not"]).exits(0));
    assert!(daemon.terminate().success());
    for (what, text) in &heard {
        cage.is_silent(text, what);
    }
    cage.is_silent(site.log(), "the log");
    each_file(&site.data_dir(), &mut |path, bytes| {
        cage.is_silent(bytes, path);
    });
}

/// What is refused is not quoted.
fn refusals(cage: &Cage, site: &Site, hear: &mut impl FnMut(&str, Ran)) {
    let refused = cage.of("refused");
    for body in [
        json!({"url": format!("https://user:{refused}@a.example/")}),
        json!({"url": format!("https://a.example/{{{refused}}}")}),
        json!({"url": "https://a.example/", "password": format!("{refused}\n")}),
        json!({"url": "https://a.example/", "headers": {"x": format!("{refused}\r\nx: y")}}),
        json!({"url": "https://a.example/", "authorization": {"type": "bearer", "token": format!("{refused}\n")}}),
        json!({"url": "https://a.example/", "authorization": {"type": "basic", "username": "a:b", "password": refused}}),
        json!({"url": "https://a.example/", "signature": {"type": "standard", "secret": format!("whsec_{refused}")}}),
        json!({"url": "https://a.example/", "tls": {"certificate": refused, "key": refused}}),
        json!({"url": "https://a.example/", "proxy": format!("ftp://user:{refused}@a.example")}),
        json!({"url": "https://a.example/", "proxy": format!("http://user:{refused}@a.example:x")}),
    ] {
        let put = ["webhook", "put", "acme", "refused", "--file", "-"];
        let ran = run_with(site, &put, &body.to_string());
        assert_ne!(ran.code, 0, "{body}");
        hear("a refusal", ran);
    }
    let torn = format!("{{\"type\": \"t\", \"payload\": \"{refused}");
    let reply = crate::support::http::request(
        &site.submit_socket(),
        "POST",
        "/v1/orgs/acme/events",
        Some(("application/json", torn.as_bytes())),
    );
    let text = reply.unwrap().expect(400).text();
    hear("torn JSON", Ran { code: 0, out: text, err: String::new() });
}

/// The canaries were really out there.
fn sent_for_real(cage: &Cage, receiver: &Receiver) {
    let received = receiver.received();
    let headers: Vec<&String> = received.iter().flat_map(|request| request.headers.values()).collect();
    for place in ["password", "static-header", "client-header", "header-value"] {
        assert!(headers.iter().any(|value| *value == cage.of(place)), "{place} was sent");
    }
    assert!(headers.contains(&&format!("Bearer {}", cage.of("token"))));
    assert!(
        received.iter().all(|request| String::from_utf8_lossy(&request.body).contains(cage.of("payload")))
    );
}

fn everything_an_operator_looks_at(site: &Site, daemon: &Daemon<'_>, hear: &mut impl FnMut(&str, Ran)) {
    let dead: Vec<String> =
        daemon.dead_letters("acme").iter().map(|dead| dead["id"].as_str().unwrap().to_owned()).collect();
    for id in &dead {
        hear("dead-letter show", run(site, &["dead-letter", "show", id]).exits(0));
        hear("dead-letter show --json", run(site, &["dead-letter", "show", id, "--json"]).exits(0));
    }
    for name in ["w-password", "w-basic", "w-bearer", "w-header", "w-client", "w-hex", "w-proxy"] {
        hear("webhook show", run(site, &["webhook", "show", "acme", name]).exits(0));
        let test = ["webhook", "test", "acme", name, "--attribute", "v=1"];
        hear("webhook test", run(site, &test));
        hear("webhook test --json", run(site, &[&test[..], &["--json"]].concat()));
    }
    hear("webhook disable", run(site, &["webhook", "disable", "acme", "w-hex", "--json"]).exits(0));
    for command in [
        &["webhook", "list", "acme"][..],
        &["webhook", "list", "acme", "--json"],
        &["client", "list", "acme", "--json"],
        &["client", "show", "acme", "c"],
        &["org", "show", "acme", "--json"],
        &["dead-letter", "list"],
        &["dead-letter", "list", "--json"],
        &["status", "--json"],
        &["why", "acme", "--json"],
        &["check-config"],
        &["dead-letter", "retry", "--all", "--dry-run"],
    ] {
        hear(&command.join(" "), run(site, command).exits(0));
    }
    // Given on purpose, once: not a leak. Nothing is shown of it afterwards.
    run(site, &["webhook", "rotate-secret", "acme", "w-client"]).exits(0);
    hear("webhook show", run(site, &["webhook", "show", "acme", "w-client", "--json"]).exits(0));
}

pub fn each_file(dir: &std::path::Path, look: &mut impl FnMut(&str, &[u8])) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            each_file(&path, look);
        } else if path.file_name().is_none_or(|name| name != "ballast") {
            look(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn no_debug_print_shows_a_secret() {
    let cage = Cage::new();
    let secret = |place: &str| Secret::new(cage.of(place).to_owned());
    let route = Route {
        tls: Some(Tls { ca: None, certificate: None, key: Some(secret("hex")) }),
        proxy: Some(Proxy {
            kind: ProxyKind::Socks5,
            host: "proxy.example".into(),
            port: 1080,
            credentials: Some(Credentials { username: "user".into(), password: secret("proxy") }),
        }),
        ..Route::default()
    };
    let headers = Headers([("x-static".into(), secret("static-header"))].into());
    let secrets = vec![SigningSecret { secret: Secret::new(signing_secret(cage.of("hmac"))), until: None }];
    let target = Target::Url(UrlTemplate::fixed(&format!("https://a.example/?k={}", cage.of("query"))));
    let webhook = Webhook {
        password: Some(secret("password")),
        authorization: Some(Box::new(Authorization::Basic {
            username: "user".into(),
            password: secret("basic"),
        })),
        signature: Some(Box::new(Signature::Standard { secrets })),
        headers: headers.clone(),
        route: Some(route.clone().into()),
        ..Webhook::new("w".parse().unwrap(), target, UnixMs(0))
    };
    let client = Client {
        id: "c".parse().unwrap(),
        base_url: "https://a.example/".parse().unwrap(),
        authorization: Some(Box::new(Authorization::Bearer { token: secret("token") })),
        headers,
        route,
        profile: None,
        description: String::new(),
        created_at: UnixMs(0),
        updated_at: UnixMs(0),
    };
    let event = postrider::model::Event {
        id: "e".parse().unwrap(),
        id_given: true,
        event_type: "t".parse().unwrap(),
        payload: cage.of("payload").to_owned().into(),
        attributes: BTreeMap::from([("a".to_owned(), cage.of("attribute").to_owned())]),
    };
    let delivery = postrider::model::Delivery {
        sequence: postrider::model::Sequence(1),
        event_id: event.id.clone(),
        event_type: event.event_type.clone(),
        webhook: webhook.id.clone(),
        attributes: event.attributes.clone(),
        accepted_at: UnixMs(0),
        size: 1,
        replay: false,
        payload: event.payload.clone(),
    };
    let addressed = postrider::delivery::address(
        &delivery,
        &webhook,
        Some(&client),
        &postrider::catalogue::Catalogue::shipped(),
    )
    .unwrap();
    for text in [
        format!("{webhook:?} {webhook:#?}"),
        format!("{client:?} {client:#?}"),
        format!("{event:?} {delivery:?}"),
        format!("{addressed:?}"),
        format!("{:?}", postrider::delivery::request::build(&addressed, 1, UnixMs(0)).unwrap().headers()),
    ] {
        cage.is_silent(text, "a Debug print");
    }
}
