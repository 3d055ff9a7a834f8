//! Tokens of `HipChat`: what is signed by HS256 in time, in one place, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{AT, JWT, hipchat};
use crate::model::Algorithm;
use crate::sources::verify::mac;

/// A token of these parts, signed with the right secret.
fn token(head: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
    let code = mac::make(Algorithm::Sha256, hipchat().secret.as_bytes(), &[message.as_bytes()]);
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(code))
}

#[test]
fn a_token_is_signed_by_hs256_and_has_an_end() {
    const HEAD: &str = r#"{"alg":"HS256"}"#;
    let fine = format!(r#"{{"exp":{AT}}}"#);
    let [head, claims, code] = *JWT.split('.').collect::<Vec<_>>().as_slice() else { panic!() };
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let long = URL_SAFE_NO_PAD.encode(mac::make(
        Algorithm::Sha512,
        hipchat().secret.as_bytes(),
        &[format!("{}.{claims}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512"}"#)).as_bytes()],
    ));
    for (token, expected) in [
        (token(HEAD, &fine), "ok"),
        (token(HEAD, &format!(r#"{{"exp":{AT}.9,"iat":{AT}.5,"nbf":1e9}}"#)), "ok"),
        (token(HEAD, &format!(r#"{{"exp":{}}}"#, AT - 1)), "timestamp-stale"),
        (token(HEAD, r#"{"exp":-9}"#), "timestamp-stale"),
        (token(HEAD, &format!(r#"{{"exp":{AT},"iat":{}}}"#, AT + 300)), "ok"),
        (token(HEAD, &format!(r#"{{"exp":{AT},"iat":{}}}"#, AT + 301)), "timestamp-ahead"),
        (token(HEAD, &format!(r#"{{"exp":{AT},"nbf":{}}}"#, AT + 301)), "timestamp-ahead"),
        (token(HEAD, "{}"), "signature-malformed"),
        (token(HEAD, r#"{"exp":"1714640000"}"#), "signature-malformed"),
        (token(HEAD, r#"{"exp":1e300}"#), "signature-malformed"),
        (token(HEAD, &format!(r#"{{"exp":{AT},"exp":{AT}}}"#)), "signature-malformed"),
        (token(HEAD, "no JSON"), "signature-malformed"),
        (token("no JSON", &fine), "signature-malformed"),
        (token(r#"{"alg":"none"}"#, &fine), "signature-malformed"),
        (token(r#"{"alg":"HS512"}"#, &fine), "signature-malformed"),
        (token(r#"{"alg":"hs256"}"#, &fine), "signature-malformed"),
        (token(r#"{"typ":"JWT"}"#, &fine), "signature-malformed"),
        (token(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#, &fine), "signature-malformed"),
        (format!("{none}.{claims}."), "signature-malformed"),
        (format!("{}.{claims}.{long}", URL_SAFE_NO_PAD.encode(r#"{"alg":"HS512"}"#)), "signature-malformed"),
        (format!("{head}.{claims}"), "signature-malformed"),
        (format!("{head}.{claims}.{code}.{code}"), "signature-malformed"),
        (format!("{head}.{claims}.{code}="), "signature-malformed"),
        (format!("{head}.{claims}.!!!"), "signature-malformed"),
        ("garbage".to_owned(), "signature-malformed"),
        (String::new(), "signature-malformed"),
    ] {
        let header = format!("JWT {token}");
        assert_eq!(hipchat().with("Authorization", Some(header.as_bytes())).verdict(), expected, "{token}");
    }
}

#[test]
fn a_token_comes_in_one_place_or_the_same_in_both() {
    let other = token(r#"{"alg":"HS256"}"#, &format!(r#"{{"exp":{AT}}}"#));
    let both = |query: Option<String>, header: Option<String>| {
        let mut vector = hipchat().with("Authorization", header.as_ref().map(String::as_bytes));
        vector.query = query;
        vector.verdict()
    };
    let (query, header) = (format!("a=b&signed_request={JWT}"), format!("jwt {JWT}"));
    for (query, header, expected) in [
        (Some(query.clone()), None, "ok"),
        (Some(query.clone()), Some(header.clone()), "ok"),
        (Some(query.clone()), Some("Basic dTpw".to_owned()), "ok"),
        (Some(query.clone()), Some(format!("JWT {other}")), "signature-malformed"),
        (Some(format!("{query}&signed_request={JWT}")), None, "signature-malformed"),
        (Some("signed_request=".to_owned()), None, "signature-malformed"),
        (Some("a=b".to_owned()), None, "signature-missing"),
        (None, Some(format!("Bearer {JWT}")), "signature-malformed"),
        (None, Some(JWT.to_owned()), "signature-malformed"),
    ] {
        assert_eq!(both(query, header), expected);
    }
}
