//! Requests as the outside services would sign them, to try a source without the service. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::json;

use super::verify::{mac, standard};
use crate::model::{Algorithm, Encoding, HmacProof, Secret, Source, SourceKind, UnixMs};

/// How long a token of `HipChat` is good for, in seconds.
const TOKEN_S: i64 = 900;

/// A signed request. It has no `Debug`: signatures are not for logs.
pub struct Sample {
    /// The headers, as their senders write the names.
    pub headers: Vec<(String, String)>,
    /// What stands after the `?` of the address.
    pub query: Option<String>,
    /// The body, as it was given.
    pub body: Bytes,
}

/// A typical request of a kind: its content type, its body, and the name of its event, where that is not in the body.
#[must_use]
pub fn body(kind: &SourceKind) -> (&'static str, &'static str, Option<&'static str>) {
    let (body, event) = match kind {
        SourceKind::Slack => (include_str!("../../data/sources/slack.form"), None),
        SourceKind::Github => (include_str!("../../data/sources/github.json"), Some("issues")),
        SourceKind::Stripe => (include_str!("../../data/sources/stripe.json"), None),
        SourceKind::Standard => (include_str!("../../data/sources/standard.json"), None),
        SourceKind::Hipchat => (include_str!("../../data/sources/hipchat.json"), None),
        SourceKind::Token => (include_str!("../../data/sources/token.json"), None),
        SourceKind::Hmac(_) => (include_str!("../../data/sources/hmac.json"), None),
    };
    let content_type =
        if *kind == SourceKind::Slack { "application/x-www-form-urlencoded" } else { "application/json" };
    // Files end with a line break, the last field of a form does not.
    (content_type, body.trim_end(), event)
}

/// Signs a body with the newest secret of a source, the way its service does. `event` and `id` go where the service has a
/// header for them.
///
/// # Errors
/// Why it cannot be signed.
pub fn sign(
    source: &Source,
    content_type: &str,
    body: Bytes,
    event: Option<&str>,
    id: &str,
    now: UnixMs,
) -> Result<Sample, String> {
    let mut headers = vec![("Content-Type".to_owned(), content_type.to_owned())];
    let mut add = |name: &str, value: String| headers.push((name.to_owned(), value));
    let seconds = now.seconds().to_string();
    match &source.kind {
        SourceKind::Slack => {
            let code = code(newest(source)?, &[b"v0:", seconds.as_bytes(), b":", &body]);
            add("X-Slack-Signature", format!("v0={code}"));
            add("X-Slack-Request-Timestamp", seconds);
        }
        SourceKind::Github => {
            add("X-Hub-Signature-256", format!("sha256={}", code(newest(source)?, &[&body])));
            add("X-GitHub-Event", event.unwrap_or("push").to_owned());
            add("X-GitHub-Delivery", id.to_owned());
        }
        SourceKind::Stripe => {
            let code = code(newest(source)?, &[seconds.as_bytes(), b".", &body]);
            add("Stripe-Signature", format!("t={seconds},v1={code}"));
        }
        SourceKind::Standard => {
            let key = shared_key(source)?;
            let message: [&[u8]; 5] = [id.as_bytes(), b".", seconds.as_bytes(), b".", &body];
            let code = STANDARD.encode(mac::make(Algorithm::Sha256, &key, &message));
            add("webhook-id", id.to_owned());
            add("webhook-timestamp", seconds);
            add("webhook-signature", format!("v1,{code}"));
        }
        SourceKind::Hipchat => add("Authorization", format!("JWT {}", token(newest(source)?, now))),
        SourceKind::Token => {}
        SourceKind::Hmac(proof) => {
            let time = proof.timestamp_header.as_deref();
            add(&proof.header, signature(proof, newest(source)?, time.map(|_| &*seconds), &body));
            if let Some(name) = time {
                add(name, seconds);
            }
        }
    }
    if let (SourceKind::Token | SourceKind::Hmac(_), Some(name)) = (&source.kind, &source.id_header) {
        headers.push((name.to_string(), id.to_owned()));
    }
    Ok(Sample { headers, query: None, body })
}

/// The newest secret comes last.
fn newest(source: &Source) -> Result<&Secret, String> {
    source.secrets.last().ok_or_else(|| "the source has no secret to sign with".to_owned())
}

/// The newest secret that can sign: with a public key only its owner can.
fn shared_key(source: &Source) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    let shared = |secret: &Secret| match standard::Key::parse(secret.expose()) {
        Ok(standard::Key::Shared(key)) => Some(key),
        _ => None,
    };
    source.secrets.iter().rev().find_map(shared).ok_or_else(|| {
        "the source has no shared secret (whsec_…): with a public key (whpk_…) nothing can be signed here"
            .to_owned()
    })
}

/// In hexadecimal.
fn code(secret: &Secret, message: &[&[u8]]) -> String {
    mac::hex(&mac::make(Algorithm::Sha256, secret.expose().as_bytes(), message))
}

fn signature(proof: &HmacProof, secret: &Secret, time: Option<&str>, body: &[u8]) -> String {
    let key = secret.expose().as_bytes();
    let code = match time {
        Some(time) => mac::make(proof.algorithm, key, &[time.as_bytes(), b".", body]),
        None => mac::make(proof.algorithm, key, &[body]),
    };
    let code = match proof.encoding {
        Encoding::Hex => mac::hex(&code),
        Encoding::Base64 => STANDARD.encode(code),
    };
    format!("{}{code}", proof.prefix)
}

fn token(secret: &Secret, now: UnixMs) -> String {
    let part = |json: serde_json::Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let (from, until) = (now.seconds(), now.seconds().saturating_add(TOKEN_S));
    let head = part(json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(json!({"iss": "postrider-sample", "iat": from, "exp": until}));
    let message = format!("{head}.{claims}");
    let code = mac::make(Algorithm::Sha256, secret.expose().as_bytes(), &[message.as_bytes()]);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(code))
}
