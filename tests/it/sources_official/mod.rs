//! Incoming webhooks as their senders sign them: what official libraries for Python and JavaScript signed is taken, and
//! nothing else is. Slack's SDK, Octokit, Stripe's libraries, Standard Webhooks, and for `HipChat`, which has ended, `PyJWT`.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support::sources::{self, post};
use crate::support::{Daemon, Receiver, official};

const PYTHON: [official::Package; 4] =
    [("slack_sdk", "3.48.0"), ("stripe", "16.1.0"), ("standardwebhooks", "1.1.0"), ("PyJWT", "2.15.1")];
const NODE: [official::Package; 3] =
    [("@octokit/webhooks-methods", "6.0.0"), ("stripe", "23.1.0"), ("standardwebhooks", "1.1.1")];

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";
/// Seconds that no sender may be off by.
const TOO_FAR: i64 = 400;

/// A kind's secret, and one that does not sign.
fn secrets(kind: &str) -> [&'static str; 2] {
    match kind {
        "standard" => {
            ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU="]
        }
        "stripe" => ["whsec_4eC39HqLyjWDarjtT1zdp7dc", "whsec_4eC39HqLyjWDarjtT1zdp7dd"],
        _ => ["8f742231b10e8888abcd99yyyzzz85a5", "8f742231b10e8888abcd99yyyzzz85a6"],
    }
}

/// A request that is to be signed.
struct Case {
    kind: &'static str,
    content_type: &'static str,
    body: String,
    id: String,
    /// What the service sends beside what it signs.
    more: Vec<(String, String)>,
    /// How many seconds ago it is signed.
    age: i64,
}

impl Case {
    fn new(kind: &'static str, content_type: &'static str, id: &str, body: &str) -> Case {
        let more = match kind {
            "github" => vec![("x-github-event", "issues"), ("x-github-delivery", id)],
            _ => vec![],
        };
        let more = more.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Case { kind, content_type, body: body.replace("ID", id), id: id.to_owned(), more, age: 0 }
    }

    fn json(&self) -> Value {
        let body = STANDARD.encode(&self.body);
        json!({"kind": self.kind, "secret": secrets(self.kind)[0], "body": body, "id": self.id, "age": self.age})
    }

    /// Stale, and ahead; of a kind that has no time, nothing.
    fn at_other_times(&self) -> Vec<Case> {
        let ages = if self.kind == "github" { vec![] } else { vec![TOO_FAR, -TOO_FAR] };
        let other = |age| Case {
            age,
            more: self.more.clone(),
            body: self.body.clone(),
            id: self.id.clone(),
            ..*self
        };
        ages.into_iter().map(other).collect()
    }
}

/// What a library made of a request.
#[derive(Deserialize)]
struct Signed {
    headers: BTreeMap<String, String>,
    query: Option<String>,
}

impl Signed {
    fn post(&self, url: &str, case: &Case, body: &str) -> u16 {
        let mut headers = case.more.clone();
        headers.push(("content-type".to_owned(), case.content_type.to_owned()));
        headers.extend(self.headers.clone());
        let query = self.query.as_ref().map(|query| format!("?{query}")).unwrap_or_default();
        post(&format!("{url}{query}"), &headers, body.as_bytes()).unwrap().status
    }

    /// The same with each header, or the query, left out, and with each changed.
    fn tampered(&self) -> Vec<(String, Signed)> {
        let mut all = Vec::new();
        let with = |name: &str, value: Option<String>| {
            let mut headers = self.headers.clone();
            headers.remove(name);
            headers.extend(value.map(|value| (name.to_owned(), value)));
            Signed { headers, query: self.query.clone() }
        };
        for (name, value) in &self.headers {
            all.push((format!("without {name}"), with(name, None)));
            for changed in changes(name, value) {
                all.push((format!("{name}: {changed}"), with(name, Some(changed))));
            }
        }
        if let Some(query) = &self.query {
            for other in [None, Some(altered(query, query.len() / 2)), Some(altered(query, query.len() - 9))]
            {
                all.push((
                    format!("query {other:?}"),
                    Signed { headers: self.headers.clone(), query: other },
                ));
            }
        }
        all
    }
}

/// What a header may be changed to: in the middle, and where a time or an id ends.
fn changes(name: &str, value: &str) -> Vec<String> {
    let mut places = vec![value.len() / 2];
    match name {
        "stripe-signature" => places.push(value.find(',').unwrap() - 1),
        "authorization" => places.push(value.len() - 9),
        name if name.ends_with("timestamp") || name.ends_with("id") => places.push(value.len() - 1),
        _ => {}
    }
    places.into_iter().map(|place| altered(value, place)).collect()
}

/// With another character at one place: of hex another hex, of base64 another of base64.
fn altered(text: &str, place: usize) -> String {
    let other = match text.as_bytes()[place] {
        b'9' => '8',
        b'f' => 'e',
        byte @ (b'0'..=b'8' | b'a'..=b'e') => char::from(byte + 1),
        b'A' => 'B',
        _ => 'A',
    };
    format!("{}{other}{}", &text[..place], &text[place + 1..])
}

const COMMAND: &str = "token=x&team_id=T0001&user_name=dana&command=%2Ftrack&text=Z%C3%BCrich+%26+Website\
    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT0001%2F1%2Fabc&trigger_id=ID";
const MENTION: &str =
    r#"{"type":"event_callback","event_id":"ID","event":{"type":"app_mention","text":"Zürich \u00e9 😀"}}"#;
const ISSUE: &str =
    r#"{"action":"opened","issue":{"number":1,"title":"Größe \/ 😀"} , "repository":{"name":"site"}}"#;
const PAYLOAD: &str = "payload=%7B%22action%22%3A%22opened%22%2C%22issue%22%3A%7B%22number%22%3A1%7D%7D";
const INVOICE: &str =
    "{\n  \"id\": \"ID\",\n  \"type\": \"invoice.paid\",\n  \"data\": {\"object\": {\"name\": \"Zoë\"}}\n}";
const USER: &str = r#"{"type":"user.created","data":{"id":"1f81eb52","name":"Zoë"}}"#;
const MESSAGE: &str =
    r#"{"event":"room_message","item":{"message":{"id":"ID","message":"/track Zürich"},"room":{"id":77}}}"#;

fn python() -> Vec<Case> {
    vec![
        Case::new("slack", FORM, "py-command", COMMAND),
        Case::new("slack", JSON, "py-mention", MENTION),
        Case::new("stripe", JSON, "evt_py", INVOICE),
        Case::new("standard", JSON, "msg_py", USER),
        Case::new("hipchat", JSON, "py-message", MESSAGE),
    ]
}

fn node() -> Vec<Case> {
    vec![
        Case::new("github", JSON, "72d3162e-cc78-11e3-81ab-4c9367dc0958", ISSUE),
        Case::new("github", FORM, "72d3162e-cc78-11e3-81ab-4c9367dc0959", PAYLOAD),
        Case::new("stripe", JSON, "evt_js", INVOICE),
        Case::new("standard", JSON, "msg_js", USER),
    ]
}

/// Signs what is to be taken and what is too old or too new: each beside what was made of it.
fn signed(cases: Vec<Case>, sign: impl Fn(&str) -> String) -> Vec<(Case, Vec<Signed>)> {
    let mut all: Vec<Case> = cases.iter().flat_map(Case::at_other_times).collect();
    all.extend(cases);
    let input = Value::from(all.iter().map(Case::json).collect::<Vec<_>>()).to_string();
    let signed: Vec<Vec<Signed>> = serde_json::from_str(&sign(&input)).unwrap();
    assert_eq!(signed.len(), all.len());
    all.into_iter().zip(signed).collect()
}

/// A source that knows both secrets, and one that knows the wrong one.
fn put(daemon: &Daemon<'_>, kind: &str) -> [String; 2] {
    let [right, wrong] = secrets(kind);
    let both = json!({"kind": kind, "secrets": [wrong, right], "unmapped": "keep"});
    let other = json!({"kind": kind, "secret": wrong, "unmapped": "keep"});
    [
        sources::put(daemon, "acme", kind, &both),
        sources::put(daemon, "acme", &format!("{kind}-other"), &other),
    ]
}

/// Posts everything that must be refused, then what must be taken; whether it was to be taken.
fn check(urls: &[String; 2], case: &Case, signed: &Signed) -> bool {
    let [url, other] = urls;
    let refused = |what: &str, status: u16| assert_eq!(status, 401, "{} {}: {what}", case.kind, case.id);
    if case.age != 0 {
        refused(&format!("signed {} s ago", case.age), signed.post(url, case, &case.body));
        return false;
    }
    for (what, tampered) in signed.tampered() {
        refused(&what, tampered.post(url, case, &case.body));
    }
    refused("by another secret", signed.post(other, case, &case.body));
    // HipChat proves who posts, not what.
    if case.kind != "hipchat" {
        refused("another body", signed.post(url, case, &altered(&case.body, case.body.len() - 3)));
        refused("a longer body", signed.post(url, case, &format!("{} ", case.body)));
    }
    assert_eq!(signed.post(url, case, &case.body), 200, "{} {}", case.kind, case.id);
    true
}

#[test]
fn what_official_libraries_sign_is_taken_and_nothing_else() {
    let receiver = Receiver::start();
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({}));
    let kinds = ["slack", "github", "stripe", "standard", "hipchat"];
    let urls: BTreeMap<&str, _> = kinds.into_iter().map(|kind| (kind, put(&daemon, kind))).collect();
    let mut all =
        signed(python(), |input| official::python("sources", &PYTHON, "sources_official/sign.py", input));
    all.extend(signed(node(), |input| official::node("sources", &NODE, "sources_official/sign.cjs", input)));
    let mut taken = Vec::new();
    for (case, signed) in &all {
        assert!(!signed.is_empty());
        for one in signed {
            if check(&urls[case.kind], case, one) {
                taken.push(case);
            }
        }
    }
    // Nothing is left out, and a repeat (HipChat's other place for the token) is one event.
    taken.dedup_by_key(|case| &case.id);
    assert_eq!(taken.len(), python().len() + node().len());
    daemon.drained("acme");
    let received = receiver.at("/hook");
    assert_eq!(received.len(), taken.len(), "{}", site.log());
    for (case, request) in taken.iter().zip(&received) {
        if case.content_type == JSON {
            assert_eq!(request.body, case.body, "{} {}", case.kind, case.id);
        }
    }
    for kind in kinds {
        for secret in secrets(kind) {
            assert!(!site.log().contains(secret.trim_start_matches("whsec_")), "{kind}");
        }
    }
}
