//! Requests from outside of any kind: nothing panics; without the secret nothing is verified, with it every body is;
//! and what is read of a request is JSON with names that can be kept.
#![no_main]

use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use postrider::model::{Algorithm, Encoding, HmacProof, Secret, Source, SourceKind, TokenHash, UnixMs};
use postrider::sources::Arrived;
use postrider::sources::read::{self, Reading, Request};
use postrider::sources::sample;
use postrider::sources::verify::{NotVerified, check_secret, verify};

const NOW: UnixMs = UnixMs(1_714_640_000_000);
/// No input can have them: they are in no seed, and too long to be guessed.
const SECRETS: [&str; 2] =
    ["whsec_q0Z1nJ7Xr5bqfP0mM3sK9cVtE2yUwLhD", "whsec_Yy7uGv1TqWcB4zRkXj9oNf3aHs8mPd6E"];

static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
    let hmac = |algorithm, encoding, prefix: &str, time: Option<&str>| {
        SourceKind::Hmac(HmacProof {
            header: "x-signature".into(),
            algorithm,
            encoding,
            prefix: prefix.into(),
            timestamp_header: time.map(Into::into),
        })
    };
    let kinds = [
        SourceKind::Slack,
        SourceKind::Github,
        SourceKind::Stripe,
        SourceKind::Standard,
        SourceKind::Hipchat,
        SourceKind::Token,
        hmac(Algorithm::Sha1, Encoding::Hex, "sha1=", None),
        hmac(Algorithm::Sha256, Encoding::Base64, "", Some("x-time")),
        hmac(Algorithm::Sha512, Encoding::Hex, "", None),
    ];
    kinds.into_iter().map(source).collect()
});

fn source(kind: SourceKind) -> Source {
    let secrets = SECRETS.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
    let id = "fuzzed".parse().expect("a name");
    Source { secrets, ..Source::new(id, kind, TokenHash::of("token"), UnixMs(0)) }
}

// Which kind, then lines with the query (`?…`) and the headers (`name: value`), an empty line, and the body.
fuzz_target!(|data: &[u8]| {
    let Some((kind, rest)) = data.split_first() else { return };
    let Some(source) = SOURCES.get(usize::from(*kind) % SOURCES.len()) else { return };
    let end = rest.windows(2).position(|pair| pair == b"\n\n");
    let (lines, body) = end.map_or((&[][..], rest), |end| (&rest[..end], &rest[end + 2..]));
    let mut headers = HeaderMap::new();
    let mut query = None;
    for line in lines.split(|byte| *byte == b'\n').take(32) {
        if let [b'?', asked @ ..] = line {
            query = std::str::from_utf8(asked).ok();
        } else if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..colon]), value) {
                headers.append(name, value);
            }
        }
    }
    let arrived = Arrived { headers: &headers, query, body };
    unsigned(source, &arrived);
    reading(source, &arrived);
    signed(source, body);
    if let Ok(text) = std::str::from_utf8(body) {
        let kept = check_secret(&source.kind, text);
        assert!(kept.map_or_else(|why| !why.is_empty(), |()| !text.is_empty()));
    }
});

/// Whatever a request says of itself, without the secret it is nobody's.
fn unsigned(source: &Source, arrived: &Arrived<'_>) {
    match verify(source, arrived, NOW) {
        Ok(()) => assert_eq!(source.kind, SourceKind::Token, "verified without the secret"),
        Err(why) => {
            assert!(NotVerified::CODES.contains(&why.code()));
            let message = why.to_string();
            assert!(!message.is_empty() && SECRETS.iter().all(|secret| !message.contains(secret)));
        }
    }
}

/// What is read can go on.
fn reading(source: &Source, arrived: &Arrived<'_>) {
    let _probe = read::is_ssl_check(arrived.headers, arrived.body);
    match read::read(source, arrived) {
        Ok(Reading::Request(Request { event, id, json, .. })) => {
            for name in [event, id].into_iter().flatten() {
                assert!((1..=256).contains(&name.len()) && !name.chars().any(char::is_control), "{name:?}");
            }
            serde_json::from_slice::<serde_json::Value>(&json).expect("JSON");
        }
        Ok(Reading::Probe(answer)) => assert!(answer.text.len() <= arrived.body.len() + 16),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

/// Every body can be signed, and is verified then.
fn signed(source: &Source, body: &[u8]) {
    let (content_type, _, event) = sample::body(&source.kind);
    let body = body.to_vec().into();
    let sample = sample::sign(source, content_type, body, event, "msg_1", NOW).expect("it has a secret");
    let headers: HeaderMap = sample
        .headers
        .iter()
        .map(|(name, value)| {
            (name.parse::<HeaderName>().expect("a name"), value.parse::<HeaderValue>().expect("a value"))
        })
        .collect();
    let arrived = Arrived { headers: &headers, query: sample.query.as_deref(), body: &sample.body };
    assert_eq!(verify(source, &arrived, NOW), Ok(()));
    reading(source, &arrived);
}
