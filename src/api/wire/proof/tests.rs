use serde_json::{Value, json};

use super::*;
use crate::serving::problem::Kind as Refusal;

const KNOWN: &[&str] = &["password", "password_header", "authorization", "signature", "headers"];
/// 24 bytes.
const SHARED: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// The first test vector of RFC 8032: seed, and seed with public key.
const PRIVATE: &str = "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PAIR: &str =
    "whsk_nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
const PUBLIC: &str = "whpk_11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

fn read(body: &Value) -> Result<Proof, Problem> {
    Proof::read(&Members::parse(body.to_string().as_bytes(), KNOWN)?, &Profile::default())
}

#[track_caller]
fn refused(body: &Value, field: &str, says: &str) {
    let problem = read(body).err().unwrap_or_else(|| panic!("accepted: {body}"));
    assert_eq!(problem.field.as_deref(), Some(field), "{body}: {}", problem.detail);
    assert!(problem.detail.contains(says), "{body}: {}", problem.detail);
}

fn shown(authorization: &Value) -> Value {
    let proof = read(&json!({ "authorization": authorization })).unwrap();
    serde_json::to_value(AuthorizationOut::from(&*proof.authorization.unwrap())).unwrap()
}

fn signature(value: &Value) -> Signature {
    *read(&json!({ "signature": value })).unwrap().signature.unwrap()
}

#[test]
fn authorizations_are_taken_in_both_spellings_and_shown_without_their_secrets() {
    for (word, members, out) in [
        (
            "basic",
            json!({"username":"Aladdin","password":"open sesame"}),
            json!({"type":"basic","username":"Aladdin","password_set":true}),
        ),
        ("bearer", json!({"token":"t0ken"}), json!({"type":"bearer","token_set":true})),
        (
            "header",
            json!({"name":"X-Api-Key","value":"k3y"}),
            json!({"type":"header","name":"x-api-key","value_set":true}),
        ),
        ("hmac-sha256", json!({"secret":"app-secret"}), json!({"type":"hmac-sha256","secret_set":true})),
    ] {
        let mut flat = members.clone();
        flat["type"] = word.into();
        assert_eq!(shown(&flat), out);
        assert_eq!(shown(&json!({ word: members })), out);
        let both = [flat, json!({ word: members })]
            .map(|value| *read(&json!({ "authorization": value })).unwrap().authorization.unwrap());
        assert_eq!(both[0], both[1]);
    }
    assert!(read(&json!({"authorization":null,"signature":null})).unwrap().authorization.is_none());
    let raw = shown(&json!({"type":"header","name":"Authorization","value":"Token abc"}));
    assert_eq!(raw["name"], "authorization");
}

#[test]
fn a_wrong_authorization_is_refused_by_its_field() {
    let with = |value: Value| json!({ "authorization": value });
    refused(&with(json!("Basic x")), "/authorization", "object");
    refused(&with(json!({})), "/authorization/type", "\"basic\", \"bearer\"");
    refused(&with(json!({"type":"digest"})), "/authorization/type", "must be one of");
    refused(&with(json!({"username":"a","password":"b"})), "/authorization/type", "missing");
    refused(&with(json!({"basic":{},"bearer":{}})), "/authorization/type", "missing");
    refused(
        &with(json!({"basic":{"username":"a","password":"b"},"secret":"c"})),
        "/authorization/type",
        "missing",
    );
    refused(&with(json!({"basic":{"type":"basic"}})), "/authorization/basic/type", "not known");
    refused(&with(json!({"basic":{"username":"a"}})), "/authorization/basic/password", "missing");
    refused(&with(json!({"type":"basic","username":"a"})), "/authorization/password", "missing");
    refused(&with(json!({"type":"basic","user_name":"a"})), "/authorization/user_name", "\"username\"");
    refused(&with(json!({"type":"bearer","token":"a","secret":"b"})), "/authorization/secret", "not known");
    refused(
        &with(json!({"type":"basic","username":"a:b","password":"c"})),
        "/authorization/username",
        "colon",
    );
    refused(
        &with(json!({"type":"basic","username":"a","password":"c\n"})),
        "/authorization/password",
        "control",
    );
    refused(&with(json!({"type":"basic","username":"","password":""})), "/authorization/username", "empty");
    refused(
        &with(json!({"type":"basic","username":"a","password_set":true})),
        "/authorization/password_set",
        "known",
    );
    for bad in ["", "a b", "a\r\nx: y", "ä"] {
        refused(&with(json!({"type":"bearer","token":bad})), "/authorization/token", "visible ASCII");
    }
    refused(&with(json!({"type":"hmac-sha256","secret":""})), "/authorization/secret", "1 to");
    refused(&with(json!({"type":"hmac-sha256","secret":"a\n"})), "/authorization/secret", "control");
    refused(&with(json!({"type":"header","name":"a b","value":"c"})), "/authorization/name", "header's name");
    refused(&with(json!({"type":"header","name":"Host","value":"c"})), "/authorization/name", "connection");
    refused(&with(json!({"type":"header","name":"x-a","value":""})), "/authorization/value", "empty");
    refused(
        &with(json!({"type":"header","name":"x-a","value":"b\r\nc: d"})),
        "/authorization/value",
        "line breaks",
    );
    // An empty password is how some services take a key as the user's name.
    assert_eq!(shown(&json!({"type":"basic","username":"sk_live","password":""}))["username"], "sk_live");
}

#[test]
fn secrets_of_a_signature_are_checked_and_only_their_kinds_are_shown() {
    let read_out = |value: Value| serde_json::to_value(SignatureOut::from(&signature(&value))).unwrap();
    let shared = json!({"kind":"hmac-sha256","valid_until":null});
    assert_eq!(
        read_out(json!({"type":"standard","secret":SHARED})),
        json!({"type":"standard","secrets":[shared]})
    );
    assert_eq!(
        read_out(json!({"standard":{"secrets":[PRIVATE, SHARED]}})),
        json!({"type":"standard","secrets":[{"kind":"ed25519","valid_until":null}, shared],"public_keys":[PUBLIC]})
    );
    assert_eq!(read_out(json!({"standard":{"secret":PAIR}}))["public_keys"], json!([PUBLIC]));
    assert_eq!(
        read_out(json!({"hex":{"header":"X-Timekit-Signature","secret":"our-shared-secret"}})),
        json!({"type":"hex","header":"x-timekit-signature","secrets":[shared]})
    );
    // What the official libraries take, too: no prefix; and base64 that was not padded.
    for good in [SHARED.trim_start_matches("whsec_"), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"] {
        signature(&json!({"type":"standard","secret":good}));
    }
    let Signature::Standard { mut secrets } = signature(&json!({"standard":{"secrets":[PRIVATE, SHARED]}}))
    else {
        panic!("standard")
    };
    secrets[1].until = Some(crate::model::UnixMs(0));
    let out = serde_json::to_value(SignatureOut::from(&Signature::Standard { secrets })).unwrap();
    assert_eq!(out["secrets"][1]["valid_until"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn a_wrong_signature_is_refused_by_its_field() {
    let with = |value: Value| json!({ "signature": value });
    let long = format!("whsec_{}", "AAAA".repeat(22));
    for bad in [
        "",
        "whsec_",
        "whsec_c2hvcnQ=",
        "whsec_not base64 at all!!!!!!!!!!!!!!!!",
        "our-shared-secret",
        "whsk_c2hvcnQ=",
        "whsk_nWGxne",
        &long,
        PUBLIC,
        // The public half is another one.
        &PAIR.replace("dRGg==", "dRGw=="),
        &PAIR.replace("DXWpgB", "DXWpgC"),
    ] {
        let problem =
            read(&with(json!({"type":"standard","secret":bad}))).err().unwrap_or_else(|| panic!("{bad}"));
        assert_eq!(
            (problem.kind, problem.field.as_deref()),
            (Refusal::InvalidField, Some("/signature/secret"))
        );
        assert!(bad.len() < 7 || !problem.detail.contains(bad), "{}", problem.detail);
    }
    refused(&with(json!({"type":"standard"})), "/signature/secret", "missing");
    refused(
        &with(json!({"type":"standard","secret":SHARED,"secrets":[SHARED]})),
        "/signature/secrets",
        "not both",
    );
    refused(&with(json!({"type":"standard","secrets":[]})), "/signature/secrets", "1 to 10");
    refused(&with(json!({"type":"standard","secrets":vec![SHARED; 11]})), "/signature/secrets", "1 to 10");
    refused(&with(json!({"type":"standard","secrets":[SHARED, SHARED]})), "/signature/secrets/1", "twice");
    refused(&with(json!({"type":"standard","secrets":[SHARED, "x"]})), "/signature/secrets/1", "whsec_");
    refused(&with(json!({"standard":{"secrets":[SHARED, 7]}})), "/signature/standard/secrets/1", "string");
    refused(
        &with(json!({"type":"standard","secrets":[{"kind":"ed25519"}]})),
        "/signature/secrets/0",
        "string",
    );
    refused(&with(json!({"type":"v1","secret":SHARED})), "/signature/type", "\"standard\", \"hex\"");
    refused(&with(json!({"type":"hex","secret":"a"})), "/signature/header", "missing");
    refused(
        &with(json!({"type":"hex","header":"webhook-signature","secret":"a"})),
        "/signature/header",
        "ours",
    );
    refused(&with(json!({"type":"hex","header":"x-sig","secret":""})), "/signature/secret", "1 to");
    refused(
        &with(json!({"type":"hex","header":"x-sig","secrets":["a"]})),
        "/signature/secrets",
        "\"secret\"",
    );
}

#[test]
fn static_headers_keep_out_of_the_transport_and_of_each_other() {
    let with = |name: &str, value: &str| json!({ "headers": { name: value } });
    for bad in [
        "",
        "a b",
        "a:",
        "ä",
        "x\r\ny",
        "Connection",
        "keep-alive",
        "Proxy-Authorization",
        "TE",
        "trailer",
        "Transfer-Encoding",
        "upgrade",
        "Host",
        "content-length",
        "Expect",
        "webhook-id",
        "Webhook-Signature",
        "postrider-attempt",
        "Authorization",
    ] {
        refused(&with(bad, "x"), &format!("/headers/{bad}"), "must");
    }
    assert!(read(&with("Authorization", "x")).unwrap_err().detail.contains("give \"authorization\""));
    for bad in ["a\r\nb: c", "a\nb", "a\0", "\u{7f}", "a\tb", " a", "a ", "***"] {
        let problem = read(&with("x-a", bad)).unwrap_err();
        assert_eq!(problem.field.as_deref(), Some("/headers/x-a"), "{bad:?}");
    }
    assert!(read(&with("x-a", "***")).unwrap_err().detail.contains("is masked: give the real value"));
    refused(&json!({"headers":{"x-a":7}}), "/headers/x-a", "must be a string");
    refused(&json!({"headers":["x-a"]}), "/headers", "object");
    refused(&json!({"headers":{"X-A":"1","x-a":"2"}}), "/headers/x-a", "another header");
    refused(&json!({"headers":{"a/~b":"1"}}), "/headers/a~1~0b", "header's name");
    let many: serde_json::Map<_, _> = (0..33).map(|n| (format!("x-{n}"), json!("v"))).collect();
    refused(&json!({ "headers": many }), "/headers", "at most 32");
    let large: serde_json::Map<_, _> = (0..8).map(|n| (format!("x-{n}"), json!("v".repeat(1024)))).collect();
    refused(&json!({ "headers": large }), "/headers", "at most 8192 bytes");

    let proof =
        read(&json!({"headers":{"Content-Type":"text/json","User-Agent":"us","X-Empty":"","x-ä":"no"}}));
    assert!(proof.is_err());
    let proof =
        read(&json!({"headers":{"Content-Type":"text/json","User-Agent":"canary","X-Empty":"ä"}})).unwrap();
    assert_eq!(
        serde_json::to_string(&HeadersOut(&proof.headers)).unwrap(),
        r#"{"content-type":"***","user-agent":"***","x-empty":"***"}"#
    );
    assert!(!format!("{proof:?}").contains("canary"));
}

#[test]
fn two_things_cannot_want_the_same_header() {
    refused(
        &json!({"password":"pw","headers":{"X-TT-Webhook-Password":"x"}}),
        "/headers/X-TT-Webhook-Password",
        "the password",
    );
    assert!(read(&json!({"headers":{"X-TT-Webhook-Password":"x"}})).is_ok(), "there is no password");
    refused(
        &json!({"password_header":"X-Key","authorization":{"header":{"name":"x-key","value":"v"}}}),
        "/authorization/header/name",
        "the password",
    );
    refused(
        &json!({"authorization":{"header":{"name":"x-key","value":"v"}},"signature":{"hex":{"header":"X-Key","secret":"s"}}}),
        "/signature/hex/header",
        "the authorization",
    );
    refused(
        &json!({"signature":{"hex":{"header":"X-Sig","secret":"s"}},"headers":{"x-sig":"v"}}),
        "/headers/x-sig",
        "the signature",
    );
    refused(&json!({"password_header":"authorization"}), "/password_header", "authorization");
    refused(&json!({"password_header":"webhook-password"}), "/password_header", "ours");
    let proof = read(&json!({"password":"pw","password_header":"X-Secret"})).unwrap();
    assert_eq!(proof.password_header.as_deref(), Some("x-secret"));
}
