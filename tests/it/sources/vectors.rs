//! What is published about signatures, and what must not pass for one: every vector through the listener, on the day on which
//! it was signed. The daemon's wall clock is the test's: by libfaketime it stands still where it is put.

use serde_json::{Value, json};

use crate::support::clock::Clock;
use crate::support::sources::{self, post, put};
use crate::support::{Daemon, Site};

mod hmac;
mod tokens;

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
/// 2024-05-02 08:53:20.
const MAY_2024: i64 = 1_714_640_000;

/// A request that its sender signed.
#[derive(Clone)]
struct Vector {
    kind: &'static str,
    secret: &'static str,
    /// One of the same kind that did not sign.
    other_secret: &'static str,
    content_type: &'static str,
    body: Vec<u8>,
    /// Those that prove it, each of them needed.
    headers: Vec<(&'static str, String)>,
    /// When it was signed; no time for kinds that have none.
    at: Option<i64>,
    /// What becomes of it once it is believed: GitHub's published body is no JSON.
    believed: (u16, &'static str),
}

const ACCEPTED: (u16, &str) = (200, "accepted");

fn vectors() -> Vec<Vector> {
    let vector = |kind, secret, body: &str, headers: &[(&'static str, &str)], at| Vector {
        kind,
        secret,
        other_secret: if kind == "standard" {
            "whsec_NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU="
        } else {
            "another"
        },
        content_type: if kind == "slack" { FORM } else { JSON },
        body: body.as_bytes().to_vec(),
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        at,
        believed: ACCEPTED,
    };
    let published_by_github = Vector {
        believed: (400, "malformed"),
        ..vector("github", "It's a Secret to Everybody", "Hello, World!", &[HELLO], None)
    };
    vec![
        vector(
            "slack",
            SLACK_SECRET,
            COLLECT,
            &[COLLECT_SIGNED, ("x-slack-request-timestamp", "1531420618")],
            Some(1_531_420_618),
        ),
        vector(
            "slack",
            SLACK_SECRET,
            TRACK,
            &[TRACK_SIGNED, ("x-slack-request-timestamp", "1714640000")],
            Some(MAY_2024),
        ),
        published_by_github,
        vector("github", "gh-secret", ISSUE, &[ISSUE_SIGNED], None),
        vector("stripe", "whsec_test_secret", INVOICE, &[INVOICE_SIGNED], Some(MAY_2024)),
        vector(
            "standard",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            r#"{"test": 2432232314}"#,
            &[
                ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
                ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
                ("webhook-timestamp", "1614265330"),
            ],
            Some(1_614_265_330),
        ),
    ]
}

const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// Slack's published example.
const COLLECT: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow\
    &channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
const COLLECT_SIGNED: (&str, &str) =
    ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503");
const TRACK: &str = "token=tok&team_id=T0001&team_domain=example&channel_id=C0000042&channel_name=test\
    &user_id=U0000007&user_name=dana&command=%2Ftrack&text=Landing+page+in+Website&api_app_id=A0000009\
    &is_enterprise_install=false&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT0001%2F1%2Fabc\
    &trigger_id=1714640000.42.0a1b2c3d4e5f";
const TRACK_SIGNED: (&str, &str) =
    ("x-slack-signature", "v0=272cf8802510fa018b8fce927ec000f44a73ae658da58486a10945cebd1b0bd5");
/// GitHub's published example.
const HELLO: (&str, &str) =
    ("x-hub-signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17");
const ISSUE: &str = concat!(
    r#"{"action":"closed","issue":{"id":1,"number":12,"title":"Fix footer","state":"closed","#,
    r#""html_url":"https://github.com/acme/website/issues/12","user":{"login":"dana-dev","id":1}},"#,
    r#""repository":{"id":7001,"name":"website","full_name":"acme/website","private":false},"#,
    r#""sender":{"login":"dana-dev","id":1,"type":"User"}}"#
);
const ISSUE_SIGNED: (&str, &str) =
    ("x-hub-signature-256", "sha256=74dd0e85de12720fd80ed35859f3d2b25d7a9de6b6ce1e453115f96d10456db6");
const INVOICE: &str = concat!(
    r#"{"id":"evt_1","object":"event","api_version":"2024-04-10","created":1714640000,"#,
    r#""data":{"object":{"id":"in_1","object":"invoice","status":"paid"}},"livemode":false,"pending_webhooks":1,"#,
    r#""request":{"id":null,"idempotency_key":null},"type":"invoice.paid"}"#
);
const INVOICE_SIGNED: (&str, &str) =
    ("stripe-signature", "t=1714640000,v1=9e6eaa27b55087e7165e72ca1116f089f7b9afaa3a7ad66adf932d4326f25ed3");

/// A daemon with an org, and sources there to try vectors on.
struct Bench<'a> {
    daemon: Daemon<'a>,
    clock: &'a Clock,
}

impl<'a> Bench<'a> {
    fn new(site: &'a Site, clock: &'a Clock) -> Bench<'a> {
        let daemon = clock.start(site);
        daemon.org_only("acme");
        Bench { daemon, clock }
    }

    /// The URL of a new source.
    #[track_caller]
    fn put(&self, source: &str, settings: &Value) -> String {
        put(&self.daemon, "acme", source, settings)
    }

    /// Posts what must be answered so, with this verdict.
    #[track_caller]
    fn tells(&self, what: &str, url: &str, query: &str, vector: &Vector, (status, verdict): (u16, &str)) {
        let mut headers: Vec<_> =
            vector.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        headers.push(("content-type".to_owned(), vector.content_type.to_owned()));
        let reply = post(&format!("{url}{query}"), &headers, &vector.body).unwrap();
        let source = url.rsplit('/').nth(1).unwrap();
        let seen = self.daemon.get(&format!("/v1/orgs/acme/sources/{source}/requests"));
        let seen = &seen["items"][0];
        let told = (reply.status, seen["verdict"].as_str().unwrap());
        assert_eq!(told, (status, verdict), "{source}: {what}: {seen} {}", reply.text());
        if status == 401 {
            for secret in [vector.secret, vector.other_secret] {
                assert!(!reply.text().contains(secret), "{source}: {what}: {}", reply.text());
            }
        }
    }
}

const MISMATCH: (u16, &str) = (401, "signature-mismatch");
const MISSING: (u16, &str) = (401, "signature-missing");
const MALFORMED: (u16, &str) = (401, "signature-malformed");
const STALE: (u16, &str) = (401, "timestamp-stale");
const AHEAD: (u16, &str) = (401, "timestamp-ahead");

fn site() -> Site {
    let (site, _) = sources::site();
    Site::with(&format!("{}max_rate = 100000\n", site.config()))
}

#[test]
fn every_published_vector_is_believed_on_its_day_and_nothing_else_is() {
    let site = site();
    let clock = Clock::at(&site, MAY_2024);
    let bench = Bench::new(&site, &clock);
    for (number, vector) in vectors().iter().enumerate() {
        let source = format!("{}-{number}", vector.kind);
        bench.clock.set(vector.at.unwrap_or(MAY_2024));
        let wrong = bench
            .put(&format!("{source}-wrong"), &json!({"kind": vector.kind, "secret": vector.other_secret}));
        bench.tells("another secret", &wrong, "", vector, MISMATCH);
        let url = bench.put(&source, &json!({"kind": vector.kind, "secret": vector.secret}));
        for (what, changed, told) in spoilt(vector) {
            bench.tells(&what, &url, "", &changed, told);
        }
        at_other_times(&bench, &url, vector);
        bench.clock.set(vector.at.unwrap_or(MAY_2024));
        bench.tells("as it is", &url, "", vector, vector.believed);
        // Both secrets while one takes the other's place.
        let both = json!({"kind": vector.kind, "secrets": [vector.other_secret, vector.secret]});
        let both = bench.put(&format!("{source}-both"), &both);
        bench.tells("either secret", &both, "", vector, vector.believed);
    }
}

/// A request with something wrong about it, and what it is told.
fn spoilt(vector: &Vector) -> Vec<(String, Vector, (u16, &'static str))> {
    let mut all = Vec::new();
    let last = vector.body.len() - 1;
    for place in [0, last / 2, last] {
        let mut changed = vector.clone();
        changed.body[place] ^= 1;
        all.push((format!("another byte {place} of the body"), changed, MISMATCH));
    }
    let with_body = |body: Vec<u8>| Vector { body, ..vector.clone() };
    all.push(("a shorter body".to_owned(), with_body(vector.body[..last].to_vec()), MISMATCH));
    all.push(("a longer body".to_owned(), with_body([&vector.body[..], b"\n"].concat()), MISMATCH));
    all.push(("no body".to_owned(), with_body(Vec::new()), MISMATCH));
    for (index, (name, value)) in vector.headers.iter().enumerate() {
        let mut changed = vector.clone();
        changed.headers.remove(index);
        all.push((format!("no {name}"), changed, MISSING));
        let mut changed = vector.clone();
        changed.headers.push((*name, value.clone()));
        all.push((format!("{name} twice"), changed, MALFORMED));
        let is_signature = index == 0;
        let mut changed = vector.clone();
        let other = if is_signature { &value[..value.len() - 2] } else { "" };
        other.clone_into(&mut changed.headers[index].1);
        all.push((format!("{name} cut short"), changed, MALFORMED));
        // A digit of hex or base64 before the padding, or of a time or id.
        let mut changed = vector.clone();
        let place = value.len() - if is_signature { 3 } else { 1 };
        let digit = if value.as_bytes()[place] == b'0' { "1" } else { "0" };
        changed.headers[index].1.replace_range(place..=place, digit);
        all.push((format!("another {name}"), changed, MISMATCH));
    }
    all
}

/// Five minutes to either side are right, and not a second more; without a time, every day is.
fn at_other_times(bench: &Bench<'_>, url: &str, vector: &Vector) {
    let Some(at) = vector.at else {
        for years in [-10, 10] {
            bench.clock.set(MAY_2024 + years * 365 * 86400);
            bench.tells("long ago", url, "", vector, vector.believed);
        }
        return;
    };
    for (off, told) in [(301, STALE), (-301, AHEAD), (86400 * 365, STALE), (-86400 * 365, AHEAD)] {
        bench.clock.set(at + off);
        bench.tells(&format!("{off} s later"), url, "", vector, told);
    }
    // Another source, which has not seen it yet.
    for off in [300, -300] {
        bench.clock.set(at + off);
        let source = format!("{}{}", vector.kind, at + off);
        let url = bench.put(&source, &json!({"kind": vector.kind, "secret": vector.secret}));
        bench.tells(&format!("{off} s later"), &url, "", vector, vector.believed);
    }
}
