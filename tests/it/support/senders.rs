//! Outside services: each signs as its documentation says, and asks for a task in its own words.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use super::daemon::items;
use super::http::Reply;
use super::{Daemon, Site, sources};

pub const KINDS: [&str; 7] = ["slack", "github", "stripe", "standard", "hipchat", "token", "hmac"];
pub const JSON: &str = "application/json";
pub const FORM: &str = "application/x-www-form-urlencoded";

const SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
/// The base64 of 24 bytes, as Standard Webhooks gives them out.
const KEY: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A site that takes incoming webhooks, with these lines after those of `[sources]`.
pub fn site_with(lines: &str) -> Site {
    let (base, _) = sources::site();
    Site::with(&format!("{}{lines}", base.config()))
}

/// Who posts to one source.
#[derive(Clone)]
pub struct Sender {
    pub kind: &'static str,
    pub url: String,
}

/// What it posts.
#[derive(Clone)]
pub struct Call {
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Call {
    pub fn with(mut self, name: &str, value: &str) -> Call {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// What a source of this kind is created with, by TrackingTime's rules.
fn settings(kind: &str) -> Value {
    let mut settings = json!({"kind": kind, "catalogue": "trackingtime"});
    let mut set = |name: &str, value: Value| settings[name] = value;
    match kind {
        "token" => set("id_header", json!("X-Id")),
        "hmac" => {
            set("id_header", json!("X-Id"));
            set("header", json!("X-Signature"));
            set("prefix", json!("sha256="));
        }
        _ => {}
    }
    match kind {
        "token" => {}
        "standard" => set("secret", json!(format!("whsec_{KEY}"))),
        _ => set("secret", json!(SECRET)),
    }
    settings
}

fn code(key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    for part in message {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

/// The code of a message under the secret that most kinds share.
pub fn hex_code(message: &[&[u8]]) -> String {
    code(SECRET.as_bytes(), message).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn token(now: i64) -> String {
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let claims = part(json!({"iss": "room", "iat": now, "exp": now + 600}));
    let message = format!("{}.{claims}", part(json!({"alg": "HS256", "typ": "JWT"})));
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(code(SECRET.as_bytes(), &[message.as_bytes()])))
}

/// What proves a body now, and names the request where a header does.
fn proof(kind: &str, id: &str, body: &[u8]) -> Vec<(&'static str, String)> {
    let now = jiff::Timestamp::now().as_second();
    let at = now.to_string();
    match kind {
        "slack" => {
            let code = hex_code(&[b"v0:", at.as_bytes(), b":", body]);
            vec![("x-slack-signature", format!("v0={code}")), ("x-slack-request-timestamp", at)]
        }
        "github" => {
            let code = hex_code(&[body]);
            vec![("x-hub-signature-256", format!("sha256={code}")), ("x-github-delivery", id.to_owned())]
        }
        "stripe" => {
            let code = hex_code(&[at.as_bytes(), b".", body]);
            vec![("stripe-signature", format!("t={at},v1={code}"))]
        }
        "standard" => {
            let key = STANDARD.decode(KEY).unwrap();
            let code = STANDARD.encode(code(&key, &[id.as_bytes(), b".", at.as_bytes(), b".", body]));
            let id = ("webhook-id", id.to_owned());
            vec![id, ("webhook-timestamp", at), ("webhook-signature", format!("v1,{code}"))]
        }
        "hipchat" => vec![("authorization", format!("JWT {}", token(now)))],
        "token" => vec![("x-id", id.to_owned())],
        "hmac" => {
            vec![("x-signature", format!("sha256={}", hex_code(&[body]))), ("x-id", id.to_owned())]
        }
        other => panic!("{other}"),
    }
}

/// The fields of a form.
pub fn form(fields: &[(&str, &str)]) -> Vec<u8> {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish().into_bytes()
}

impl Sender {
    /// Creates a source with these settings beside those of its kind, and answers who posts there.
    #[track_caller]
    pub fn put(daemon: &Daemon<'_>, org: &str, source: &str, kind: &'static str, more: &Value) -> Sender {
        let mut settings = settings(kind);
        settings.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        Sender { kind, url: sources::put(daemon, org, source, &settings) }
    }

    /// A body with its proof.
    pub fn sign(&self, content_type: &str, id: &str, body: &[u8]) -> Call {
        let headers = proof(self.kind, id, body);
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Call { headers, body: body.to_vec() }.with("content-type", content_type)
    }

    /// A request with this id that asks for a task of this name.
    pub fn call(&self, id: &str, task: &str) -> Call {
        let json = match self.kind {
            "slack" => return self.command(id, "/task", &format!("add {task}")),
            "github" => json!({"action": "opened", "issue": {"title": task}, "repository": {"name": "site"}}),
            "hipchat" => {
                json!({"event": "room_message", "item": {"message": {
                    "id": id, "message": format!("/task add {task}"), "from": {"mention_name": "dana"},
                }}})
            }
            _ => json!({"id": id, "event_name": "task.add", "parameters": {"name": task}}),
        };
        let call = self.sign(JSON, id, json.to_string().as_bytes());
        if self.kind == "github" { call.with("x-github-event", "issues") } else { call }
    }

    /// A command as it is typed in Slack.
    pub fn command(&self, id: &str, command: &str, text: &str) -> Call {
        let response_url = "https://hooks.slack.com/commands/T0001/1/abc";
        self.sign(FORM, id, &form(&slash(id, command, text, response_url)))
    }

    /// Posts, and answers what came back.
    #[track_caller]
    pub fn post(&self, call: &Call) -> Reply {
        self.try_post(call).unwrap()
    }

    /// The same, for when nobody may be there.
    pub fn try_post(&self, call: &Call) -> Result<Reply, std::io::Error> {
        sources::post(&self.url, &call.headers, &call.body)
    }

    /// Where it connects to, and the path.
    pub fn place(&self) -> (&str, String) {
        let (address, path) = self.url.strip_prefix("http://").unwrap().split_once('/').unwrap();
        (address, format!("/{path}"))
    }
}

/// The fields of a slash command.
pub fn slash<'a>(
    id: &'a str,
    command: &'a str,
    text: &'a str,
    response_url: &'a str,
) -> [(&'a str, &'a str); 7] {
    [
        ("token", "tok"),
        ("team_id", "T0001"),
        ("user_name", "dana"),
        ("command", command),
        ("text", text),
        ("response_url", response_url),
        ("trigger_id", id),
    ]
}

/// Requests of a source, the newest first: verdict and status of each.
pub fn verdicts(daemon: &Daemon<'_>, org: &str, source: &str) -> Vec<(String, u64)> {
    let requests = items(&daemon.get(&format!("/v1/orgs/{org}/sources/{source}/requests")));
    let verdict =
        |seen: &Value| (seen["verdict"].as_str().unwrap().to_owned(), seen["status"].as_u64().unwrap());
    requests.iter().map(verdict).collect()
}
