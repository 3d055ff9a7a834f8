//! What a webhook's body may say, and how it is shown.

use serde_json::{Value, json};

use super::*;
use crate::api::wire::read_client;
use crate::model::{Client, Method, TIMEOUT_MIN};
use crate::serving::problem::Kind;

fn read(body: &str) -> Result<Webhook, Problem> {
    read_webhook(
        "orders".parse().unwrap(),
        body.as_bytes(),
        &Catalogue::shipped(),
        &Clients::default(),
        UnixMs(0),
    )
}

#[track_caller]
fn refused(body: &str, field: &str) {
    let problem = read(body).err().unwrap_or_else(|| panic!("accepted: {body}"));
    assert_eq!((problem.kind, problem.field.as_deref()), (Kind::InvalidField, Some(field)), "{body}");
}

#[test]
fn defaults_are_filled_in_when_shown() {
    let webhook = read(r#"{"url":"https://example.com/hook"}"#).unwrap();
    assert_eq!(
        serde_json::to_string(&WebhookOut::from(&webhook)).unwrap(),
        r#"{"id":"orders","url":"https://example.com/hook","profile":null,"method":"POST","events":["*"],"match":{},"password_set":false,"password_header":"x-tt-webhook-password","authorization":null,"signature":null,"headers":{},"tls":null,"proxy":null,"proxy_credentials_set":false,"http2":null,"bind_address":null,"retry":{"attempts":10,"first_delay":"200ms","factor":2,"max_delay":"10s","jitter":0,"on_exhausted":"advance"},"retry_after_max":"1m","timeout":"10s","disable_on_gone":false,"enabled":true,"faithful":false,"description":"","created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000Z"}"#
    );
}

#[test]
fn a_password_is_taken_and_never_shown() {
    let webhook = read(r#"{"url":"https://a.example/","password":"canary-7"}"#).unwrap();
    assert_eq!(webhook.password.as_ref().unwrap().expose(), "canary-7");
    let shown = serde_json::to_string(&WebhookOut::from(&webhook)).unwrap();
    assert!(shown.contains(r#""password_set":true"#) && !shown.contains("canary"), "{shown}");
    assert!(read(r#"{"url":"https://a.example/","password":null}"#).unwrap().password.is_none());
    let long = "x".repeat(PASSWORD_MAX + 1);
    for bad in ["", " a", "a ", "a\\nb", "\u{e4}", &long] {
        let body = format!(r#"{{"url":"https://a.example/","password":"{bad}"}}"#);
        refused(&body, "/password");
        assert!(bad.len() < 4 || !read(&body).unwrap_err().detail.contains(bad));
    }
}

#[test]
fn numbers_and_durations_keep_to_their_bounds() {
    let with = |rest: &str| format!(r#"{{"url":"https://a.example/",{rest}}}"#);
    for (rest, field) in [
        (r#""timeout":"99ms""#, "/timeout"),
        (r#""timeout":"61s""#, "/timeout"),
        (r#""timeout":10"#, "/timeout"),
        (r#""timeout":"ten""#, "/timeout"),
        (r#""enabled":"yes""#, "/enabled"),
        (r#""events":[]"#, "/events"),
        (r#""events":"*""#, "/events"),
        (r#""events":["a","b*"]"#, "/events/1"),
        (r#""events":[7]"#, "/events/0"),
        (r#""retry":7"#, "/retry"),
        (r#""retry_after_max":"25h""#, "/retry_after_max"),
        (r#""method":"HEAD""#, "/method"),
        (r#""method":7"#, "/method"),
        (r#""match":7"#, "/match"),
        (r#""disable_on_gone":1"#, "/disable_on_gone"),
        (r#""faithful":"no""#, "/faithful"),
        (r#""description":"a\u001bb""#, "/description"),
    ] {
        refused(&with(rest), field);
    }
    let webhook = read(&with(r#""timeout":"100ms","method":"delete","retry_after_max":"0s""#)).unwrap();
    assert_eq!((webhook.timeout, webhook.method), (TIMEOUT_MIN, Method::Delete));
    assert!(webhook.retry_after_max.is_zero());
}

/// What a webhook with this profile and these settings is shown as.
fn profiled(profile: &str, settings: &Value) -> Value {
    let mut body = json!({"url": "https://a.example/", "profile": profile});
    body.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    serde_json::to_value(WebhookOut::from(&read(&body.to_string()).unwrap())).unwrap()
}

#[test]
fn each_product_gives_what_its_document_says() {
    let retry = |attempts: u32| {
        json!({"attempts": attempts, "first_delay": "200ms", "factor": 2, "max_delay": "10s", "jitter": 0,
            "on_exhausted": "advance"})
    };
    for (profile, attempts, timeout, password_header) in [
        ("timetime", 10, "10s", "x-tt-webhook-password"),
        ("timekit", 1, "10s", "x-tt-webhook-password"),
        ("trackingtime", 5, "30s", "x-trackingtime-token"),
        ("absence", 1, "10s", "x-tt-webhook-password"),
    ] {
        let shown = profiled(profile, &json!({}));
        for (member, expected) in [
            ("profile", json!(profile)),
            ("method", json!("POST")),
            ("retry", retry(attempts)),
            ("retry_after_max", json!("0ms")),
            ("timeout", json!(timeout)),
            ("password_header", json!(password_header)),
            ("signature", Value::Null),
            ("disable_on_gone", json!(false)),
            ("faithful", json!(true)),
            ("enabled", json!(true)),
        ] {
            assert_eq!(shown[member], expected, "{profile}: {member}");
        }
    }
}

#[test]
fn what_the_webhook_says_wins_member_by_member() {
    for (settings, pointer, expected) in [
        (json!({"method": "PUT"}), "/method", json!("PUT")),
        (json!({"timeout": "5s"}), "/timeout", json!("5s")),
        (json!({"timeout": null}), "/timeout", json!("30s")),
        (json!({"retry_after_max": "2m"}), "/retry_after_max", json!("2m")),
        (json!({"faithful": false}), "/faithful", json!(false)),
        (json!({"disable_on_gone": true}), "/disable_on_gone", json!(true)),
        (json!({"password_header": "X-Mine"}), "/password_header", json!("x-mine")),
        (json!({"retry": {"factor": 3}}), "/retry/attempts", json!(5)),
        (json!({"retry": {"attempts": 3}}), "/retry/max_delay", json!("10s")),
        (json!({"retry": {"attempts": 3}}), "/retry/attempts", json!(3)),
        (json!({"retry": {"schedule": ["1s"]}}), "/retry/attempts", json!(2)),
        (json!({"retry": {"schedule": ["1s"]}}), "/retry/schedule", json!(["1s"])),
        (json!({"retry": {"on_exhausted": "hold"}}), "/retry/on_exhausted", json!("hold")),
    ] {
        let shown = profiled("trackingtime", &settings);
        assert_eq!(shown.pointer(pointer), Some(&expected), "{settings}");
    }
}

#[test]
fn a_secret_signs_as_the_profile_says_unless_it_says_so_itself() {
    let kind = |settings: Value| {
        let shown = profiled("timekit", &json!({"signature": settings}));
        (shown["signature"]["type"].clone(), shown["signature"]["header"].clone())
    };
    let hex = |header: &str| (json!("hex"), json!(header));
    assert_eq!(kind(json!({"secret": "s"})), hex("x-timekit-signature"));
    assert_eq!(kind(json!({"type": "hex", "secret": "s"})), hex("x-timekit-signature"));
    assert_eq!(kind(json!({"hex": {"secret": "s"}})), hex("x-timekit-signature"));
    assert_eq!(kind(json!({"header": "X-Mine", "secret": "s"})), hex("x-mine"));
    let standard = json!({"type": "standard", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    assert_eq!(kind(standard), (json!("standard"), Value::Null));
    let url = r#"{"url":"https://a.example/","profile":"timekit","#;
    refused(&format!(r#"{url}"signature":{{}}}}"#), "/signature/secret");
    refused(&format!(r#"{url}"signature":{{"type":"md5"}}}}"#), "/signature/type");
    refused(
        &format!(r#"{url}"signature":{{"secret":"s"}},"headers":{{"X-Timekit-Signature":"1"}}}}"#),
        "/headers/X-Timekit-Signature",
    );
    // Without a profile that says how, the webhook has to.
    refused(r#"{"url":"https://a.example/","signature":{"secret":"s"}}"#, "/signature/type");
    refused(
        r#"{"url":"https://a.example/","profile":"timetime","signature":{"secret":"s"}}"#,
        "/signature/type",
    );
}

#[test]
fn the_profiles_password_header_is_spoken_for_once_there_is_a_password() {
    let body = |rest: &str| {
        format!(
            r#"{{"url":"https://a.example/","profile":"trackingtime","headers":{{"X-TrackingTime-Token":"1"}}{rest}}}"#
        )
    };
    refused(&body(r#","password":"p""#), "/headers/X-TrackingTime-Token");
    assert!(read(&body("")).is_ok());
    // The default one is free then.
    assert!(read(&body(r#","password":"p","password_header":"x-tt-webhook-password""#)).is_ok());
}

#[test]
fn an_unknown_profile_is_refused_with_the_nearest_and_the_list() {
    let detail = |name: &str| {
        let body = format!(r#"{{"url":"https://a.example/","profile":"{name}"}}"#);
        refused(&body, "/profile");
        read(&body).unwrap_err().detail
    };
    let known = "nown are absence, timekit, timetime, trackingtime";
    assert_eq!(
        detail("timetme"),
        format!("profile: no product \"timetme\" has one; did you mean \"timetime\"? K{known}")
    );
    assert_eq!(detail("webhooks!"), format!("profile: no product \"webhooks!\" has one; k{known}"));
    assert!(detail(&"x".repeat(5000)).len() < 300);
    refused(r#"{"url":"https://a.example/","profile":7}"#, "/profile");
    assert!(read(r#"{"url":"https://a.example/","profile":null}"#).unwrap().profile.is_none());
}

#[test]
fn without_one_of_its_own_a_webhook_takes_its_clients() {
    let client = |profile: &str| {
        let body = format!(r#"{{"base_url":"https://hr.example/","profile":{profile}}}"#);
        read_client("hr".parse().unwrap(), body.as_bytes(), &Catalogue::shipped(), UnixMs(0)).unwrap()
    };
    let read = |client: Client, rest: &str| {
        let body = format!(r#"{{"client":"hr","path":"/x"{rest}}}"#);
        let clients = std::iter::once(client).collect();
        read_webhook("a".parse().unwrap(), body.as_bytes(), &Catalogue::shipped(), &clients, UnixMs(0))
    };
    let webhook = read(client(r#""absence""#), "").unwrap();
    assert_eq!(
        (webhook.profile.as_deref(), webhook.retry.attempts, webhook.faithful),
        (Some("absence"), 1, true)
    );
    let webhook = read(client(r#""absence""#), r#","profile":"trackingtime""#).unwrap();
    assert_eq!((webhook.profile.as_deref(), webhook.retry.attempts), (Some("trackingtime"), 5));
    let webhook = read(client("null"), "").unwrap();
    assert_eq!((webhook.profile.as_deref(), webhook.retry.attempts), (None, 10));
    let gone = Client { profile: Some("gone".into()), ..client("null") };
    let problem = read(gone.clone(), "").unwrap_err();
    assert_eq!(problem.field.as_deref(), Some("/client"), "{}", problem.detail);
    assert!(read(gone, r#","profile":"absence""#).is_ok());
}
