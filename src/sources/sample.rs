//! Requests as the outside services would sign them, to try a source without the service. PURE.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::json;

use super::verify::{NO_SECRET, mac, standard};
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
        SourceKind::Hipchat => (include_str!("../../data/sources/hipchat.json"), None),
        // Those who may say anything say it as a product does that is known here.
        SourceKind::Standard | SourceKind::Token | SourceKind::Hmac(_) => {
            (include_str!("../../data/sources/task.json"), None)
        }
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
    let own = [(&source.id_header, Some(id)), (&source.event_header, event)];
    headers.extend(
        own.into_iter().filter_map(|(name, value)| Some((name.as_ref()?.to_string(), value?.to_owned()))),
    );
    Ok(Sample { headers, query: None, body })
}

/// The newest secret comes first.
fn newest(source: &Source) -> Result<&Secret, String> {
    source.secrets.first().ok_or_else(|| NO_SECRET.to_owned())
}

/// The newest secret that can sign: with a public key only its owner can.
fn shared_key(source: &Source) -> Result<zeroize::Zeroizing<Vec<u8>>, String> {
    let shared = |secret: &Secret| match standard::Key::parse(secret.expose()) {
        Ok(standard::Key::Shared(key)) => Some(key),
        _ => None,
    };
    source.secrets.iter().find_map(shared).ok_or_else(|| {
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

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::model::TokenHash;
    use crate::sources::read::{Reading, read};
    use crate::sources::verify::{check_secret, verify};
    use crate::sources::{Arrived, verify::NotVerified};

    const NOW: UnixMs = UnixMs(1_714_640_000_000);
    const OLD: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const NEW: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn kinds() -> Vec<SourceKind> {
        let mut all = vec![
            SourceKind::Slack,
            SourceKind::Github,
            SourceKind::Stripe,
            SourceKind::Standard,
            SourceKind::Hipchat,
            SourceKind::Token,
        ];
        for algorithm in [Algorithm::Sha1, Algorithm::Sha256, Algorithm::Sha512] {
            for (encoding, time) in [(Encoding::Hex, None), (Encoding::Base64, Some("x-time".into()))] {
                all.push(SourceKind::Hmac(HmacProof {
                    header: "x-signature".into(),
                    algorithm,
                    encoding,
                    prefix: "s=".into(),
                    timestamp_header: time,
                }));
            }
        }
        all
    }

    fn source(kind: SourceKind, secrets: &[&str]) -> Source {
        for secret in secrets.iter().filter(|_| kind != SourceKind::Token) {
            check_secret(&kind, secret).unwrap();
        }
        let secrets = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        let plain = Source::new("in".parse().unwrap(), kind, TokenHash::of("token"), UnixMs(0));
        Source { secrets, id_header: Some("x-id".into()), ..plain }
    }

    fn signed(source: &Source, bytes: &[u8]) -> (HeaderMap, Bytes) {
        let (content_type, _, event) = body(&source.kind);
        let sample = sign(source, content_type, Bytes::copy_from_slice(bytes), event, "msg_1", NOW).unwrap();
        assert!(sample.query.is_none());
        let headers = sample.headers.iter().map(|(name, value)| {
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        });
        (headers.collect(), sample.body)
    }

    fn verdict(source: &Source, headers: &HeaderMap, body: &[u8]) -> Result<(), NotVerified> {
        verify(source, &Arrived { headers, query: None, body }, NOW)
    }

    #[test]
    fn a_sample_of_every_kind_is_verified_and_read() {
        for kind in kinds() {
            let (event, id) = match kind {
                SourceKind::Slack => ("/track", "1714640000.42.0a1b2c3d4e5f"),
                SourceKind::Github => ("issues", "msg_1"),
                SourceKind::Stripe => ("invoice.paid", "evt_1"),
                SourceKind::Hipchat => ("room_message", "4c6d9a52-3f0b-4a57-9a5c-6a0f1b2c3d4e"),
                SourceKind::Standard => ("", "msg_1"),
                SourceKind::Token | SourceKind::Hmac(_) => ("task.add", "msg_1"),
            };
            let source = source(kind, &[NEW, OLD]);
            let (headers, bytes) = signed(&source, body(&source.kind).1.as_bytes());
            assert_eq!(verdict(&source, &headers, &bytes), Ok(()), "{:?}", source.kind);
            let arrived = Arrived { headers: &headers, query: None, body: &bytes };
            let Ok(Reading::Request(request)) = read(&source, &arrived) else { panic!("{:?}", source.kind) };
            assert_eq!(request.event.unwrap_or_default(), event);
            assert_eq!(request.id.unwrap_or_default(), id);
        }
    }

    #[test]
    fn the_newest_secret_signs() {
        for kind in kinds().into_iter().filter(|kind| *kind != SourceKind::Token) {
            let (headers, bytes) = signed(&source(kind.clone(), &[NEW, OLD]), b"x");
            assert_eq!(verdict(&source(kind.clone(), &[NEW]), &headers, &bytes), Ok(()), "{kind:?}");
            let old = verdict(&source(kind.clone(), &[OLD]), &headers, &bytes);
            assert_eq!(old.unwrap_err().code(), "signature-mismatch", "{kind:?}");
        }
        let standard = source(SourceKind::Standard, &[PUBLIC, OLD]);
        let (headers, bytes) = signed(&standard, b"x");
        assert_eq!(verdict(&standard, &headers, &bytes), Ok(()));
    }

    #[test]
    fn what_cannot_sign_says_so() {
        let why = |kind, secrets: &[&str]| {
            let empty = Bytes::new();
            sign(&source(kind, secrets), "application/json", empty, None, "1", NOW).map(drop).unwrap_err()
        };
        assert!(why(SourceKind::Standard, &[PUBLIC]).contains("whpk_"));
        assert_eq!(why(SourceKind::Slack, &[]), NO_SECRET);
    }

    proptest! {
        #[test]
        fn every_body_is_signed_and_no_other_has_its_signature(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            at in any::<proptest::sample::Index>(),
            other in 1..=u8::MAX,
        ) {
            for kind in kinds() {
                let source = source(kind, &[NEW, OLD]);
                let (headers, body) = signed(&source, &bytes);
                prop_assert_eq!(verdict(&source, &headers, &body), Ok(()));
                let mut changed = bytes.clone();
                if changed.is_empty() {
                    changed.push(other);
                } else {
                    let at = at.index(changed.len());
                    changed[at] ^= other;
                }
                let expected = match source.kind {
                    SourceKind::Token | SourceKind::Hipchat => Ok(()),
                    _ => Err("signature-mismatch"),
                };
                prop_assert_eq!(verdict(&source, &headers, &changed).map_err(|why| why.code()), expected);
            }
        }
    }
}
