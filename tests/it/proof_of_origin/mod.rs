//! Proof of origin, as receivers check it: what the real binary delivers, under the official libraries of Standard
//! Webhooks for Rust, Python and JavaScript.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::support;
use crate::support::daemon::retry;
use crate::support::official;
use crate::support::{Answer, Daemon, Received, Receiver, Site, wait_until};

/// 24 bytes, as in the library's own example, and 64 bytes.
const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PAYLOAD: &str = r#"{"n":1,"text":"Zürich 😀 \u00e9\/ \"quoted\"" , "spaced" : [ ] }"#;

/// Where the libraries are installed.
const PLACE: &str = "standardwebhooks";

/// A delivery, and what its receiver may check it with.
struct Delivered {
    request: Received,
    secrets: Vec<String>,
    public_keys: Vec<String>,
    /// Do not sign it.
    others: Vec<String>,
}

impl Delivered {
    fn new(request: Received, secrets: &[&str], public_keys: &[&str], others: &[&str]) -> Delivered {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Delivered { request, secrets: owned(secrets), public_keys: owned(public_keys), others: owned(others) }
    }

    fn json(&self) -> Value {
        json!({
            "headers": self.request.headers,
            "body": STANDARD.encode(&self.request.body),
            "secrets": self.secrets,
            "public_keys": self.public_keys,
            "others": self.others,
        })
    }
}

/// Delivers one event of `org` and answers the request that came in.
fn deliver(site: &Site, receiver: &Receiver, org: &str) -> Received {
    let path = format!("/{org}");
    let before = receiver.at(&path).len();
    let body = format!(r#"{{"type":"t","payload":{PAYLOAD}}}"#);
    let events = format!("/v1/orgs/{org}/events");
    let body = Some(("application/json", body.as_bytes()));
    support::http::request(&site.submit_socket(), "POST", &events, body).unwrap().expect(202);
    wait_until("it is delivered", || receiver.at(&path).len() > before);
    receiver.at(&path).swap_remove(before)
}

fn rotate(daemon: &Daemon<'_>, org: &str, body: &Value) -> String {
    let path = format!("/v1/orgs/{org}/webhooks/main/rotate-secret");
    daemon.admin("POST", &path, body).expect(200).json()["secret"].as_str().unwrap().to_owned()
}

fn signature(daemon: &Daemon<'_>, org: &str) -> Value {
    daemon.get(&format!("/v1/orgs/{org}/webhooks/main"))["signature"].take()
}

/// Deliveries before, during and after rotations, with both kinds of keys, the first attempt and a later one.
fn deliveries() -> Vec<Delivered> {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    let with = |value: &Value| {
        let mut settings = retry(3, 10, 1.0, 10);
        settings["signature"] = value.clone();
        settings
    };
    let mut all = Vec::new();

    daemon.org("acme", &receiver.url("/acme"), &with(&json!({"type":"standard","secret":FIRST})));
    let request = deliver(&site, &receiver, "acme");
    all.push(Delivered::new(request, &[FIRST], &[], &[&STANDARD.encode([0; 32])]));
    let second = rotate(&daemon, "acme", &json!({"keep":"1h"}));
    let request = deliver(&site, &receiver, "acme");
    all.push(Delivered::new(request, &[FIRST, &second], &[], &[]));
    // Not kept at all: from the next attempt on, the new one alone.
    let third = rotate(&daemon, "acme", &json!({"keep":"0s"}));
    receiver.then("/acme", [500, 500].map(Answer::Status));
    deliver(&site, &receiver, "acme");
    wait_until("the last attempt", || receiver.at("/acme").len() == 5);
    let request = receiver.at("/acme").pop().unwrap();
    assert_eq!(request.header("postrider-attempt"), "3");
    all.push(Delivered::new(request, &[&third], &[], &[FIRST, &second]));

    // ed25519, and a rotation from it to a shared key and back.
    let seed = format!("whsk_{}", STANDARD.encode([42; 32]));
    daemon.org("bolt", &receiver.url("/bolt"), &with(&json!({"standard":{"secret":seed}})));
    let public = |index: usize| {
        let keys = signature(&daemon, "bolt")["public_keys"].take();
        keys[index].as_str().unwrap().to_owned()
    };
    let first = public(0);
    all.push(Delivered::new(deliver(&site, &receiver, "bolt"), &[], &[&first], &[FIRST]));
    rotate(&daemon, "bolt", &json!({}));
    let second = public(0);
    assert_ne!(second, first);
    assert_eq!(public(1), first);
    rotate(&daemon, "bolt", &json!({"secret":FIRST}));
    all.push(Delivered::new(deliver(&site, &receiver, "bolt"), &[FIRST], &[&second, &first], &[&third]));
    assert!(!site.log().contains(&FIRST[6..]) && !site.log().contains(&seed[5..]));
    all
}

#[test]
fn the_official_libraries_take_what_is_delivered_and_nothing_else() {
    let all = deliveries();
    let input = Value::from(all.iter().map(Delivered::json).collect::<Vec<_>>()).to_string();
    let count = |keys: fn(&Delivered) -> usize| all.iter().map(keys).sum::<usize>();
    let shared = count(|one| one.secrets.len() * 5 + one.others.len());
    let public = count(|one| one.public_keys.len() * 5);
    let checks = |output: String| output.trim().parse::<usize>().unwrap();
    let [python, node] = [[("standardwebhooks", "1.1.0")], [("standardwebhooks", "1.1.1")]];
    let said = official::python(PLACE, &python, "proof_of_origin/verify.py", &input);
    assert_eq!(checks(said), shared);
    let said = official::node(PLACE, &node, "proof_of_origin/verify.cjs", &input);
    assert_eq!(checks(said), shared + public);
    for one in &all {
        rust(one);
    }
}

/// The same checks with the official crate.
fn rust(delivered: &Delivered) {
    let accepted = |secret: &str, body: &[u8], changed: &[(&str, String)]| {
        let mut headers: BTreeMap<&str, String> =
            delivered.request.headers.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        headers.extend(changed.iter().cloned());
        let headers: http::HeaderMap = headers
            .into_iter()
            .map(|(name, value)| (name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap()))
            .collect();
        standardwebhooks::Webhook::new(secret).unwrap().verify(body, &headers).is_ok()
    };
    let body = &delivered.request.body;
    let other = [body, &b" "[..]].concat();
    let seconds = delivered.request.number_in("webhook-timestamp");
    for secret in &delivered.secrets {
        assert!(accepted(secret, body, &[]));
        assert!(!accepted(secret, &other, &[]));
        assert!(!accepted(secret, body, &[("webhook-id", "evt_x".into())]));
        assert!(!accepted(secret, body, &[("webhook-timestamp", (seconds - 1).to_string())]));
    }
    for secret in &delivered.others {
        assert!(!accepted(secret, body, &[]));
    }
}

#[test]
fn what_a_webhook_and_its_client_configure_is_what_a_receiver_sees() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org_only("acme");
    let client = json!({
        "base_url": receiver.url(""),
        "authorization": {"type":"basic","username":"Aladdin","password":"open sesame"},
        "headers": {"X-Shared":"client","X-Both":"client"},
    });
    daemon.admin("PUT", "/v1/orgs/acme/clients/shop", &client).expect(201);
    let webhook = json!({
        "client": "shop",
        "path": "/acme",
        "method": "PUT",
        "password": "pw-canary",
        "password_header": "X-Secret",
        "signature": {"type":"hex","header":"X-Timekit-Signature","secret":"hex-canary"},
        "headers": {"X-Both":"webhook","User-Agent":"acme/1"},
        "faithful": true,
    });
    daemon.admin("PUT", "/v1/orgs/acme/webhooks/main", &webhook).expect(201);
    let request = deliver(&site, &receiver, "acme");
    assert_eq!(request.method, "PUT");
    let headers: Vec<_> =
        request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        headers,
        [
            ("authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("content-length", &*PAYLOAD.len().to_string()),
            ("content-type", "application/json"),
            ("host", &*format!("127.0.0.1:{}", receiver.port())),
            ("user-agent", "acme/1"),
            ("x-both", "webhook"),
            ("x-secret", "pw-canary"),
            ("x-shared", "client"),
            ("x-timekit-signature", &*hex("hex-canary", PAYLOAD)),
        ]
    );
    // Neither listings nor the log tell what the secrets are.
    let shown =
        daemon.get("/v1/orgs/acme/webhooks").to_string() + &daemon.get("/v1/orgs/acme/clients").to_string();
    for secret in ["canary", "sesame", "QWxh", "acme/1"] {
        assert!(!shown.contains(secret) && !site.log().contains(secret), "{secret}: {shown}");
    }
}

/// By another implementation than the one under test.
fn hex(key: &str, body: &str) -> String {
    let program = "import hmac, sys; key, body = (text.encode() for text in sys.argv[1:]); \
                   print(hmac.new(key, body, 'sha256').hexdigest())";
    official::run("python3", &["-c", program, key, body], &[], "").trim().to_owned()
}

#[test]
fn a_receiver_that_sends_secrets_back_leaves_none_in_what_is_kept() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    let key = "canary-key-of-24-bytes!!";
    let secrets = ["canary/pass word\"", "canary.token", "canary-header", "canary-query", key];
    daemon.org_only("acme");
    let mut settings = retry(1, 10, 1.0, 10);
    settings["password"] = secrets[0].into();
    settings["authorization"] = json!({"type":"bearer","token":secrets[1]});
    settings["headers"] = json!({"x-shop":secrets[2]});
    settings["signature"] = json!({"type":"standard","secret":format!("whsec_{}", STANDARD.encode(key))});
    daemon.webhook("acme", "main", &receiver.url("/acme?key=canary-query"), &settings);
    let hex = |text: &str| text.bytes().map(|b| format!("{b:02x}")).collect::<String>();
    let spellings: Vec<String> = secrets
        .iter()
        .flat_map(|secret| {
            let form = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            let around = format!("x{secret}x");
            [(*secret).to_owned(), json!(secret).to_string(), form, hex(secret), STANDARD.encode(around)]
        })
        .collect();
    let echoed = || vec![("x-echo", spellings[0].clone()), ("x-hex", spellings[3].clone())];
    let body = format!("echo: {}", spellings.join(" "));
    receiver.always("/acme", Answer::Full(500, echoed(), body.clone().into()));
    deliver(&site, &receiver, "acme");
    wait_until("it is given up", || daemon.dead_letters("acme").len() == 1);
    let id = daemon.dead_letters("acme")[0]["id"].as_str().unwrap().to_owned();
    let letter = daemon.get(&format!("/v1/dead-letters/{id}"));
    let trial = daemon.admin("POST", "/v1/orgs/acme/webhooks/main/test", &json!({})).expect(200).json();
    let excerpts = [&letter["attempts"][0]["excerpt"], &trial["excerpt"]];
    for excerpt in excerpts {
        assert!(excerpt.as_str().unwrap().starts_with("echo: [password] "), "{excerpt}");
    }
    let kept = format!("{letter} {trial} {}", site.log());
    for (index, spelling) in spellings.iter().enumerate() {
        // Of base64 the characters that also hold bits of what is beside it may stay.
        let hidden = if index % 5 == 4 { &spelling[2..spelling.len() - 4] } else { spelling };
        assert!(body.contains(hidden) && !kept.contains(hidden), "{hidden} in {kept}");
    }
}
