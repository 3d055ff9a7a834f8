use http::HeaderValue;

use super::*;
use crate::model::{Algorithm, Encoding, HmacProof, TokenHash, UnixMs};

const FORM: &str = "application/x-www-form-urlencoded";

fn source(kind: SourceKind) -> Source {
    Source::new("in".parse().unwrap(), kind, TokenHash::of("token"), UnixMs(0))
}

fn reading(source: &Source, headers: &[(&'static str, &str)], body: &[u8]) -> Result<Reading, Unreadable> {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    read(source, &Arrived { headers: &map, query: None, body })
}

/// Event, id and JSON of a request.
#[track_caller]
fn read_as(
    source: &Source,
    headers: &[(&'static str, &str)],
    body: &str,
) -> (Option<String>, Option<String>, String) {
    match reading(source, headers, body.as_bytes()) {
        Ok(Reading::Request(Request { event, id, json, .. })) => {
            (event, id, String::from_utf8(json.to_vec()).unwrap())
        }
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn probe(source: &Source, headers: &[(&'static str, &str)], body: &str) -> (&'static str, String) {
    match reading(source, headers, body.as_bytes()) {
        Ok(Reading::Probe(answer)) => (answer.content_type, answer.text),
        other => panic!("{other:?}"),
    }
}

fn named(event: &str, id: &str, json: &str) -> (Option<String>, Option<String>, String) {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    (some(event), some(id), json.to_owned())
}

#[test]
fn slack_sends_commands_components_and_events() {
    let slack = source(SourceKind::Slack);
    let form = [("content-type", "application/x-www-form-urlencoded; charset=utf-8")];
    let command = "command=%2Ftrack&text=Landing+page+in+Website&trigger_id=17.42.0a";
    let json = r#"{"command":"/track","text":"Landing page in Website","trigger_id":"17.42.0a"}"#;
    assert_eq!(read_as(&slack, &form, command), named("/track", "17.42.0a", json));
    assert_eq!(read_as(&slack, &form, "text=x"), named("", "", r#"{"text":"x"}"#));
    let component = "payload=%7B%22type%22%3A%22block_actions%22%2C+%22trigger_id%22%3A%22t%22%7D";
    let json = r#"{"type":"block_actions", "trigger_id":"t"}"#;
    assert_eq!(read_as(&slack, &form, component), named("block_actions", "t", json));

    let event = r#" {"type":"event_callback","event_id":"Ev1","event":{"type":"app_mention"}} "#;
    for headers in [&[("content-type", "Application/JSON")][..], &[]] {
        assert_eq!(read_as(&slack, headers, event), named("app_mention", "Ev1", event));
    }
    let outer = r#"{"type":"app_rate_limited","event":"no object"}"#;
    assert_eq!(read_as(&slack, &[], outer), named("app_rate_limited", "", outer));
}

#[test]
fn slack_looks_whether_someone_is_there() {
    let slack = source(SourceKind::Slack);
    let form = [("content-type", FORM)];
    assert_eq!(probe(&slack, &form, "ssl_check=1&token=x"), ("text/plain", String::new()));
    let challenge = r#"{"type":"url_verification","token":"x","challenge":"3eZbrw1"}"#;
    assert_eq!(probe(&slack, &[], challenge), ("text/plain", "3eZbrw1".to_owned()));
    assert!(reading(&slack, &[], br#"{"type":"url_verification","challenge":1}"#).is_err());

    let mut headers = HeaderMap::new();
    assert!(!is_ssl_check(&headers, b"ssl_check=1"));
    headers.insert("content-type", HeaderValue::from_static(FORM));
    assert!(is_ssl_check(&headers, b"ssl_check=1"));
    assert!(is_ssl_check(&headers, b"token=x&ssl_check=1"));
    for body in
        [&b""[..], b"ssl_check=0", b"ssl_check=11", b"xssl_check=1", b"text=%26ssl_check=1", b"ssl%5Fcheck=1"]
    {
        assert!(!is_ssl_check(&headers, body), "{}", String::from_utf8_lossy(body));
    }
    headers.insert("x-slack-signature", HeaderValue::from_static("v0="));
    assert!(!is_ssl_check(&headers, b"ssl_check=1"));
}

#[test]
fn github_says_in_headers_what_happened() {
    let github = source(SourceKind::Github);
    let both = [("x-github-event", "issues"), ("x-github-delivery", "72d3162e-cc78")];
    let json = r#"{"action": "opened"}"#;
    assert_eq!(read_as(&github, &both, json), named("issues", "72d3162e-cc78", json));
    assert_eq!(read_as(&github, &[], json), named("", "", json));
    let form = [both[0], both[1], ("content-type", FORM)];
    let body = "payload=%7B%22action%22%3A+%22opened%22%7D";
    assert_eq!(read_as(&github, &form, body), named("issues", "72d3162e-cc78", json));
    let ping = [("x-github-event", "ping")];
    assert_eq!(probe(&github, &ping, "{}"), ("application/json", r#"{"ok":true}"#.to_owned()));

    for (headers, body) in [
        (&form[..], "payload=%7B%7D&more=1"),
        (&form[..], "other=%7B%7D"),
        (&form[..], "payload=%7B"),
        (&ping[..], "no JSON"),
        (&[both[0], both[0]][..], "{}"),
    ] {
        assert!(matches!(reading(&github, headers, body.as_bytes()), Err(Unreadable::Body(_))), "{body}");
    }
}

#[test]
fn others_say_it_in_the_body() {
    let stripe = r#"{"id":"evt_1","type":"invoice.paid","data":{"id":"no","type":"no"}}"#;
    assert_eq!(read_as(&source(SourceKind::Stripe), &[], stripe), named("invoice.paid", "evt_1", stripe));
    assert_eq!(read_as(&source(SourceKind::Stripe), &[], "[7]"), named("", "", "[7]"));
    assert_eq!(read_as(&source(SourceKind::Stripe), &[], r#"{"id":7}"#), named("", "", r#"{"id":7}"#));
    let standard = r#"{"type":"contact.created","id":"no"}"#;
    let headers = [("webhook-id", "msg_1"), ("content-type", "application/cloudevents+json")];
    assert_eq!(
        read_as(&source(SourceKind::Standard), &headers, standard),
        named("contact.created", "msg_1", standard)
    );
    for (id, read) in [("7", "7"), ("\"4c6d\"", "4c6d"), ("null", ""), ("1.5", ""), ("{}", "")] {
        let room = format!(r#"{{"event":"room_message","item":{{"message":{{"id":{id}}}}}}}"#);
        assert_eq!(read_as(&source(SourceKind::Hipchat), &[], &room), named("room_message", read, &room));
    }
}

#[test]
fn senders_of_no_standard_are_read_by_what_is_usual() {
    let mut token = source(SourceKind::Token);
    for (body, event) in [
        (r#"{"event":"c","event_name":"b","type":"a"}"#, "a"),
        (r#"{"event":"c","event_name":"b","type":1}"#, "b"),
        (r#"{"event":"c"}"#, "c"),
        (r#"{"event":{"type":"no"}}"#, ""),
        ("7", ""),
    ] {
        assert_eq!(read_as(&token, &[("x-id", "1")], body), named(event, "", body));
    }
    let form = [("content-type", FORM), ("x-id", "1")];
    assert_eq!(
        read_as(&token, &form, "event=c&event_name=b&x="),
        named("b", "", r#"{"event":"c","event_name":"b","x":""}"#)
    );
    token.id_header = Some("x-id".into());
    assert_eq!(read_as(&token, &form, "x="), named("", "1", r#"{"x":""}"#));
    assert_eq!(read_as(&token, &[], "{}"), named("", "", "{}"));
    let text = [("content-type", "text/plain; charset=utf-8"), ("x-id", "2")];
    assert_eq!(read_as(&token, &text, "{}"), named("", "2", "{}"));
    token.event_header = Some("x-event".into());
    let said = r#"{"type":"a"}"#;
    assert_eq!(read_as(&token, &[("x-event", "order.paid")], said), named("order.paid", "", said));
    assert_eq!(read_as(&token, &[], said), named("a", "", said));
}

#[test]
fn an_id_is_told_apart_however_long_it_is_and_refused_if_it_can_mean_two_things() {
    let token = Source { id_header: Some("x-id".into()), ..source(SourceKind::Token) };
    let github = source(SourceKind::Github);
    for (source, name) in [(&token, "x-id"), (&github, "x-github-delivery")] {
        let (long, other) = ("7".repeat(5000), "7".repeat(5001));
        let known = known_by(source, &[(name, &long)], "{}");
        assert_eq!(known_by(source, &[(name, &long)], "{}"), known);
        assert!(known.is_some_and(|known| known.len() < 200));
        assert_ne!(known_by(source, &[(name, &other)], "{}"), known_by(source, &[(name, &long)], "{}"));
        assert_eq!(known_by(source, &[(name, "")], "{}"), None);
        for doubtful in [&[(name, "1"), (name, "1")][..], &[(name, "é")]] {
            let why = reading(source, doubtful, b"{}").unwrap_err();
            assert!(matches!(why, Unreadable::Body(_)), "{why}");
            assert!(why.to_string().to_ascii_lowercase().starts_with(name), "{why}");
        }
    }
}

#[test]
fn a_compressed_body_is_refused_as_such() {
    let token = source(SourceKind::Token);
    let why = reading(&token, &[("content-encoding", "gzip")], b"\x1f\x8b").unwrap_err();
    assert!(matches!(&why, Unreadable::ContentType(rule) if rule.contains("not compressed")), "{why}");
    assert_eq!(read_as(&token, &[("content-encoding", "identity")], "{}"), named("", "", "{}"));
}

/// What a repeat of a request would have in common with it.
#[track_caller]
fn known_by(source: &Source, headers: &[(&'static str, &str)], body: &str) -> Option<String> {
    match reading(source, headers, body.as_bytes()) {
        Ok(Reading::Request(request)) => request.known_by,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repeat_is_told_by_the_id_or_by_what_was_signed_at_a_time() {
    let hmac = |timestamp: bool, id_header: bool| Source {
        id_header: id_header.then(|| "x-id".into()),
        ..source(SourceKind::Hmac(HmacProof {
            header: "x-signature".into(),
            algorithm: Algorithm::Sha1,
            encoding: Encoding::Hex,
            prefix: "".into(),
            timestamp_header: timestamp.then(|| "x-time".into()),
        }))
    };
    let (id, time) = (("x-id", "7"), ("x-time", "1714640000"));
    // However the signature is spelled, it was made of these.
    let timed = known_by(&hmac(true, false), &[time], "{}").unwrap();
    assert_eq!(known_by(&hmac(true, false), &[time, ("x-signature", "AB")], "{}"), Some(timed.clone()));
    assert_ne!(known_by(&hmac(true, false), &[("x-time", "1714640001")], "{}"), Some(timed.clone()));
    assert_ne!(known_by(&hmac(true, false), &[time], "[]"), Some(timed.clone()));
    // An id that is left out does not let it run again, and one that nobody signed does not stand for another body.
    assert_eq!(known_by(&hmac(true, true), &[time], "{}"), Some(timed));
    let named = known_by(&hmac(true, true), &[time, id], "{}").unwrap();
    assert_eq!(known_by(&hmac(false, true), &[("x-time", "2"), id], "{}"), Some(named.clone()));
    assert_ne!(known_by(&hmac(true, true), &[time, id], "[]"), Some(named.clone()));
    assert_ne!(known_by(&hmac(true, true), &[time, ("x-id", "8")], "{}"), Some(named));
    assert_eq!(known_by(&hmac(false, false), &[id], "{}"), None);
    // What is signed has its id within, or is known by when it was signed.
    let stripe = source(SourceKind::Stripe);
    assert_eq!(known_by(&stripe, &[], r#"{"id":"evt_1"}"#).as_deref(), Some("id evt_1"));
    let signed = |text| known_by(&stripe, &[("stripe-signature", text)], "{}");
    assert!(signed("t=1,v1=aa").is_some() && signed("v1=bb, t=1") == signed("t=1,v1=aa"));
    assert_ne!(signed("t=2,v1=aa"), signed("t=1,v1=aa"));
    let slack = source(SourceKind::Slack);
    let form = [("content-type", FORM), ("x-slack-request-timestamp", "5")];
    assert_eq!(known_by(&slack, &form, "trigger_id=4").as_deref(), Some("id 4"));
    assert!(known_by(&slack, &form, "command=/a").is_some_and(|known| known.starts_with("at ")));
    let github = source(SourceKind::Github);
    assert_eq!(known_by(&github, &[("x-github-delivery", "d")], "{}").as_deref(), Some("id d"));
    assert_eq!(known_by(&github, &[], "{}"), None);
}

#[test]
fn more_fields_or_members_than_anyone_sends_are_refused() {
    let token = source(SourceKind::Token);
    let form = |count: usize| (0..count).map(|n| format!("f{n}=")).collect::<Vec<_>>().join("&");
    let json = |count: usize| {
        let members: Vec<_> = (0..count).map(|n| format!(r#""m{n}":0"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let read = |kind, body: &str| reading(&token, &[("content-type", kind)], body.as_bytes()).is_ok();
    assert!(read(FORM, &form(1024)) && !read(FORM, &form(1025)));
    assert!(read("application/json", &json(4096)) && !read("application/json", &json(4097)));
    // Further in nothing is looked at.
    assert!(read("application/json", &format!(r#"{{"in":{}}}"#, json(5000))));
}

#[test]
fn json_that_is_called_a_form_is_none() {
    for kind in [SourceKind::Slack, SourceKind::Token] {
        let body = br#"{"text":"&command=/stop&trigger_id=1&x="}"#;
        let read = reading(&source(kind), &[("content-type", FORM)], body);
        assert!(matches!(&read, Err(Unreadable::Body(why)) if why.contains("JSON")), "{read:?}");
    }
}

#[test]
fn a_name_that_is_none_is_left_out() {
    let standard = source(SourceKind::Standard);
    let longest = "x".repeat(256);
    assert_eq!(read_as(&standard, &[("webhook-id", &longest)], "{}"), named("", &longest, "{}"));
    assert_eq!(read_as(&standard, &[("webhook-id", "")], "{}"), named("", "", "{}"));
    // One that no list can show still tells a repeat.
    let stripe = source(SourceKind::Stripe);
    let body = r#"{"id":"a\tb"}"#;
    let (_, id, _) = read_as(&stripe, &[], body);
    assert!(id.is_some_and(|id| id.starts_with("sha256:")));
    for body in
        [r#"{"type":"a\nb"}"#.to_owned(), r#"{"type":""}"#.to_owned(), format!(r#"{{"type":"{longest}x"}}"#)]
    {
        assert_eq!(read_as(&standard, &[], &body), named("", "", &body));
    }
}

#[test]
fn a_body_of_another_type_is_told_apart_from_a_wrong_one() {
    let all = [SourceKind::Slack, SourceKind::Github, SourceKind::Stripe, SourceKind::Standard];
    for kind in all.into_iter().chain([SourceKind::Hipchat, SourceKind::Token]) {
        let source = source(kind);
        let text = (source.kind != SourceKind::Token).then_some("text/plain");
        for said in ["multipart/form-data", "", "application/jsonx", "text/x+json"].into_iter().chain(text) {
            let read = reading(&source, &[("content-type", said)], b"{}");
            assert!(matches!(read, Err(Unreadable::ContentType(_))), "{said}: {read:?}");
        }
        for body in [&b""[..], b"{", b"hidden", br#"{"hidden":1,"hidden":2}"#, b"{\"a\":\"\xff\"}"] {
            let why = reading(&source, &[], body).unwrap_err();
            assert!(matches!(why, Unreadable::Body(_)) && !why.to_string().contains("hidden"), "{why}");
        }
        let form = reading(&source, &[("content-type", FORM)], b"payload={}");
        let takes_forms = matches!(source.kind, SourceKind::Slack | SourceKind::Github | SourceKind::Token);
        assert_eq!(form.is_ok(), takes_forms, "{:?}", source.kind);
    }
}

#[test]
fn nothing_of_a_request_is_shown() {
    let read = reading(&source(SourceKind::Stripe), &[], br#"{"id":"hidden","type":"seen"}"#).unwrap();
    assert_eq!(format!("{read:?}"), r#"Request(Request { event: Some("seen"), .. })"#);
}
