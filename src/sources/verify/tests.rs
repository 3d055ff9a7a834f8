mod tokens;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, SigningKey};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::*;
use crate::model::{Encoding, HmacProof, Secret, TokenHash};

const AT: i64 = 1_714_640_000;
const JWT: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiIwZTBhNWYwYy03YzU1LTRmMWUtOGY1ZS0xZDJjM2I0YTVmNjAiLCJpYXQiOjE3MTQ2NDAwMDAsImV4cCI6MTcxNDY0MDkwMH0.tJgae1rRotnqRxMQ8ts_YRYMNlJkgNvZeiBkLLdvu6E";

/// A request that is right, and the source that it is right for.
#[derive(Clone)]
struct Vector {
    kind: SourceKind,
    secret: String,
    at: i64,
    headers: Vec<(String, Vec<u8>)>,
    query: Option<String>,
    body: Vec<u8>,
}

impl Vector {
    fn new(kind: SourceKind, secret: &str, at: i64, headers: &[(&str, &str)], body: &str) -> Vector {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec()));
        let (secret, body) = (secret.to_owned(), body.as_bytes().to_vec());
        Vector { kind, secret, at, headers: headers.collect(), query: None, body }
    }

    fn source(&self, secrets: &[&str]) -> Source {
        let kind = self.kind.clone();
        let secrets = secrets.iter().map(|secret| Secret::new((*secret).to_owned())).collect();
        Source { secrets, ..Source::new("in".parse().unwrap(), kind, TokenHash::of("token"), UnixMs(0)) }
    }

    /// `ok`, or the code; and no message says what came or what is secret.
    fn verdict_with(&self, secrets: &[&str], at: i64) -> &'static str {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
        }
        let arrived = Arrived { headers: &headers, query: self.query.as_deref(), body: &self.body };
        match verify(&self.source(secrets), &arrived, UnixMs(at * 1000 + 999)) {
            Ok(()) => "ok",
            Err(why) => {
                assert!(NotVerified::CODES.contains(&why.code()));
                let message = format!("{why} {why:?}");
                let values =
                    self.headers.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
                for hidden in values.chain(secrets.iter().map(|secret| (*secret).to_owned())) {
                    assert!(hidden.len() < 16 || !message.contains(&hidden), "{message}");
                }
                why.code()
            }
        }
    }

    fn verdict(&self) -> &'static str {
        self.verdict_with(&[&self.secret], self.at)
    }

    /// With another value of a header, or none.
    fn with(&self, name: &str, value: Option<&[u8]>) -> Vector {
        let mut other = self.clone();
        assert!(other.headers.iter().any(|(header, _)| header == name), "{name}");
        other.headers.retain(|(header, _)| header != name);
        other.headers.extend(value.map(|value| (name.to_owned(), value.to_vec())));
        other
    }
}

fn hmac(algorithm: Algorithm, encoding: Encoding, prefix: &str, timestamp: bool) -> SourceKind {
    SourceKind::Hmac(HmacProof {
        header: "x-signature".into(),
        algorithm,
        encoding,
        prefix: prefix.into(),
        timestamp_header: timestamp.then(|| "x-time".into()),
    })
}

/// What the services publish, and what other implementations have signed.
fn vectors() -> Vec<Vector> {
    let slack = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let slack_code = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
    let stripe = r#"{"id":"evt_1","object":"event","api_version":"2024-04-10","created":1714640000,"data":{"object":{"id":"in_1","object":"invoice","status":"paid"}},"livemode":false,"pending_webhooks":1,"request":{"id":null,"idempotency_key":null},"type":"invoice.paid"}"#;
    let stripe_code = "t=1714640000,v1=9e6eaa27b55087e7165e72ca1116f089f7b9afaa3a7ad66adf932d4326f25ed3";
    let github_code = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let standard = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ];
    let mut all = vec![
        Vector::new(
            SourceKind::Slack,
            "8f742231b10e8888abcd99yyyzzz85a5",
            1_531_420_618,
            &[("X-Slack-Signature", slack_code), ("X-Slack-Request-Timestamp", "1531420618")],
            slack,
        ),
        Vector::new(
            SourceKind::Github,
            "It's a Secret to Everybody",
            AT,
            &[("X-Hub-Signature-256", &format!("sha256={github_code}"))],
            "Hello, World!",
        ),
        Vector::new(
            SourceKind::Stripe,
            "whsec_test_secret",
            AT,
            &[("Stripe-Signature", stripe_code)],
            stripe,
        ),
        Vector::new(
            SourceKind::Standard,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            1_614_265_330,
            &standard,
            r#"{"test": 2432232314}"#,
        ),
        hipchat(),
        Vector::new(
            hmac(Algorithm::Sha256, Encoding::Hex, "sha256=", false),
            "It's a Secret to Everybody",
            AT,
            &[("x-signature", &format!("sha256={}", github_code.to_uppercase()))],
            "Hello, World!",
        ),
        // RFC 2202, test case 2.
        Vector::new(
            hmac(Algorithm::Sha1, Encoding::Base64, "", false),
            "Jefe",
            AT,
            &[("x-signature", "7/zfauXrL6LSdBbV8YTfnCWafHk=")],
            "what do ya want for nothing?",
        ),
    ];
    // Signed as Stripe signs, but in two headers.
    let code = stripe_code.split("v1=").last().unwrap();
    all.push(Vector::new(
        hmac(Algorithm::Sha256, Encoding::Hex, "", true),
        "whsec_test_secret",
        AT,
        &[("x-signature", code), ("x-time", "1714640000")],
        stripe,
    ));
    all.push(asymmetric());
    all
}

fn hipchat() -> Vector {
    let header = format!("JWT {JWT}");
    Vector::new(SourceKind::Hipchat, "hipchat-shared-secret", AT, &[("Authorization", &header)], "{}")
}

fn signing_key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

fn asymmetric() -> Vector {
    let signature = signing_key().sign(format!("msg_1.{AT}.{{}}").as_bytes());
    let headers = [
        ("webhook-id", "msg_1"),
        ("webhook-timestamp", &AT.to_string()),
        ("webhook-signature", &format!("v1a,{}", STANDARD.encode(signature.to_bytes()))),
    ];
    let secret = format!("whpk_{}", STANDARD.encode(signing_key().verifying_key().as_bytes()));
    Vector::new(SourceKind::Standard, &secret, AT, &headers, "{}")
}

/// Keys of Standard Webhooks that are another's.
fn other_secret(kind: &SourceKind) -> &'static str {
    if *kind == SourceKind::Standard { "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD" } else { "another secret" }
}

#[test]
fn what_the_services_sign_is_verified() {
    for vector in vectors() {
        assert_eq!(vector.verdict(), "ok", "{:?}", vector.kind);
        let (right, other) = (vector.secret.as_str(), other_secret(&vector.kind));
        for secrets in [[right, other], [other, right]] {
            assert_eq!(vector.verdict_with(&secrets, vector.at), "ok", "{:?}", vector.kind);
        }
        assert_eq!(vector.verdict_with(&[other], vector.at), "signature-mismatch", "{:?}", vector.kind);
        assert_eq!(vector.verdict_with(&[], vector.at), "signature-mismatch", "{:?}", vector.kind);
        assert_ne!(vector.verdict_with(&["", "whsec_"], vector.at), "ok", "{:?}", vector.kind);
    }
}

#[test]
fn nothing_else_is_verified_when_a_bit_differs() {
    for vector in vectors() {
        for at in 0..vector.body.len() {
            let mut other = vector.clone();
            other.body[at] ^= 1 << (at % 8);
            let expected = if vector.kind == SourceKind::Hipchat { "ok" } else { "signature-mismatch" };
            assert_eq!(other.verdict(), expected, "{:?}, byte {at} of the body", vector.kind);
        }
        for (name, value) in &vector.headers {
            for at in 0..value.len() {
                let mut other = value.clone();
                // The lowest bit: another one may only change a letter's case, which means nothing.
                other[at] ^= 1;
                let verdict = vector.with(name, Some(&other)).verdict();
                assert_ne!(verdict, "ok", "{:?}, byte {at} of {name}", vector.kind);
            }
        }
        let mut longer = vector.clone();
        longer.body.push(b'\n');
        assert!(longer.verdict() == "signature-mismatch" || vector.kind == SourceKind::Hipchat);
    }
}

#[test]
fn every_header_must_be_there_once_and_readable() {
    for vector in vectors() {
        for (name, value) in &vector.headers {
            let verdict = |value: Option<&[u8]>| vector.with(name, value).verdict();
            assert_eq!(verdict(None), "signature-missing", "{name}");
            assert_eq!(verdict(Some(b"")), "signature-malformed", "{name}");
            assert_eq!(verdict(Some(b"\xc3\xa4")), "signature-malformed", "{name}");
            assert_eq!(verdict(Some(&[value, &b"\xff"[..]].concat())), "signature-malformed", "{name}");
            assert_ne!(verdict(Some(&[value, &b"00"[..]].concat())), "ok", "{name}");
            let mut twice = vector.clone();
            twice.headers.push((name.clone(), value.clone()));
            assert_eq!(twice.verdict(), "signature-malformed", "{name}");
        }
    }
}

#[test]
fn a_request_is_good_for_five_minutes_before_and_after() {
    let mut timed = 0;
    for vector in vectors() {
        let at = |offset: i64| vector.verdict_with(&[&vector.secret], vector.at + offset);
        let expected = match &vector.kind {
            SourceKind::Github => ["ok"; 4],
            SourceKind::Hmac(proof) if proof.timestamp_header.is_none() => ["ok"; 4],
            // Until its exp, which is 900 s later.
            SourceKind::Hipchat => ["timestamp-ahead", "ok", "ok", "ok"],
            _ => ["timestamp-ahead", "ok", "ok", "timestamp-stale"],
        };
        assert_eq!([-301, -300, 300, 301].map(at), expected, "{:?}", vector.kind);
        timed += usize::from(expected[0] != "ok");
    }
    assert_eq!(timed, 6);
    let token = hipchat();
    let at = |offset: i64| token.verdict_with(&[&token.secret], AT + offset);
    assert_eq!([900, 901].map(at), ["ok", "timestamp-stale"]);
}

#[test]
fn who_has_the_address_of_a_token_source_is_right() {
    let vector = Vector::new(SourceKind::Token, "", AT, &[], "");
    assert_eq!(vector.verdict_with(&[], AT), "ok");
}

#[test]
fn prefixes_and_lengths_are_part_of_a_signature() {
    for (name, value, wrong) in [
        ("X-Slack-Signature", "v0=", "v1="),
        ("X-Hub-Signature-256", "sha256=", "sha1="),
        ("x-signature", "sha256=", "SHA256="),
    ] {
        for vector in vectors() {
            let Some((_, right)) = vector
                .headers
                .iter()
                .find(|(header, right)| header == name && right.starts_with(value.as_bytes()))
            else {
                continue;
            };
            let code = &right[value.len()..];
            for other in [code.to_vec(), [wrong.as_bytes(), code].concat(), right[..right.len() - 2].to_vec()]
            {
                assert_eq!(vector.with(name, Some(&other)).verdict(), "signature-malformed", "{name}");
            }
        }
    }
}

#[test]
fn github_with_sha_1_alone_says_that_sha_256_is_wanted() {
    let mut headers = HeaderMap::new();
    headers.insert("x-hub-signature", HeaderValue::from_static("sha1=00"));
    let source = vectors()[1].source(&["s"]);
    let why = verify(&source, &Arrived { headers: &headers, query: None, body: b"" }, UnixMs(0)).unwrap_err();
    assert_eq!(why.code(), "signature-missing");
    assert!(why.to_string().contains("SHA-256 is wanted"), "{why}");
}

#[test]
fn stripe_has_one_time_and_any_v1() {
    let vector = vectors().into_iter().find(|vector| vector.kind == SourceKind::Stripe).unwrap();
    let right = String::from_utf8(vector.headers[0].1.clone()).unwrap();
    let code = right.split("v1=").last().unwrap();
    let zeros = "0".repeat(64);
    let many = |count: usize| format!("t={AT}{}", format!(",v1={code}").repeat(count));
    for (header, expected) in [
        (format!("t={AT},v1={zeros},v1={code}"), "ok"),
        (format!("t={AT},v1={code},v1={zeros},v0={zeros},v9=x,odd"), "ok"),
        (format!("v1={code}, t={AT}"), "ok"),
        (format!("t={AT},v1=odd,v1={code}"), "ok"),
        (many(SIGNATURES_MAX), "ok"),
        (many(SIGNATURES_MAX + 1), "signature-malformed"),
        (format!("t={AT},v0={code}"), "signature-missing"),
        (format!("t={AT}"), "signature-missing"),
        (format!("v1={code}"), "signature-malformed"),
        (format!("t={AT},t={AT},v1={code}"), "signature-malformed"),
        (format!("t=,v1={code}"), "signature-malformed"),
        (format!("t=+{AT},v1={code}"), "signature-malformed"),
        (format!("t={AT},v1={code}00"), "signature-malformed"),
        (format!("t={AT},v1={zeros}"), "signature-mismatch"),
    ] {
        let verdict = vector.with("Stripe-Signature", Some(header.as_bytes())).verdict();
        assert_eq!(verdict, expected, "{header}");
    }
}

#[test]
fn one_signature_of_standard_webhooks_is_enough() {
    let (shared, public) = (vectors()[3].clone(), asymmetric());
    let of = |vector: &Vector| {
        let (_, value) = vector.headers.iter().find(|(name, _)| name == "webhook-signature").unwrap();
        String::from_utf8(value.clone()).unwrap()
    };
    let zeros = format!("v1,{}", STANDARD.encode([0; 32]));
    let (v1, v1a) = (of(&shared), of(&public));
    for (vector, header, expected) in [
        (&shared, format!("{zeros} {v1a} {v1}"), "ok"),
        (&shared, format!("{v1} {zeros} v2,x"), "ok"),
        (&shared, format!("v1,odd {v1}"), "ok"),
        (&shared, v1.trim_end_matches('=').to_owned(), "ok"),
        (&shared, v1a.clone(), "signature-mismatch"),
        (&shared, zeros.clone(), "signature-mismatch"),
        (&shared, v1.replace("v1,", "v2,"), "signature-missing"),
        (&shared, v1.replace("v1,", "v1a,"), "signature-malformed"),
        (&shared, v1.replace("v1,", ""), "signature-missing"),
        (&shared, v1.replace("v1,", "v1="), "signature-missing"),
        (&shared, vec![v1.as_str(); SIGNATURES_MAX + 1].join(" "), "signature-malformed"),
        (&public, format!("{v1} {v1a}"), "ok"),
        (&public, v1.clone(), "signature-mismatch"),
    ] {
        assert_eq!(vector.with("webhook-signature", Some(header.as_bytes())).verdict(), expected, "{header}");
    }
    assert_eq!(shared.verdict_with(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], shared.at), "ok");
    // A public key is no shared one: what everybody knows signs nothing.
    let known = STANDARD.decode(public.secret.strip_prefix("whpk_").unwrap()).unwrap();
    let code = mac::make(Algorithm::Sha256, &known, &[format!("msg_1.{AT}.{{}}").as_bytes()]);
    let forged = format!("v1,{}", STANDARD.encode(code));
    assert_eq!(public.with("webhook-signature", Some(forged.as_bytes())).verdict(), "signature-mismatch");
}
