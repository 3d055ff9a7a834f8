//! JSON and names made to break parsers: refused with what is wrong and where, or taken byte for byte.

use super::*;
use crate::support::Receiver;

/// What an event is made of here, its payload first.
fn with(payload: &str, more: &str) -> Vec<u8> {
    format!(r#"{{"type":"a","payload":{payload}{more}}}"#).into_bytes()
}

fn keys(count: usize) -> String {
    let members: Vec<_> = (0..count).map(|n| format!("\"{n}\":0")).collect();
    format!("{{{}}}", members.join(","))
}

/// What is sent, under a name; the status, code and field of the refusal.
type Row = (&'static str, Vec<u8>, u16, &'static str, &'static str);

fn not_json() -> Vec<Row> {
    let utf16: Vec<u8> = r#"{"type":"a","payload":1}"#.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let attributes = |text: &str| with("1", &format!(r#","attributes":{text}"#));
    vec![
        ("nothing", Vec::new(), 400, "malformed-json", ""),
        ("no JSON", b"nonsense".to_vec(), 400, "malformed-json", ""),
        ("cut off", br#"{"type":"a","payl"#.to_vec(), 400, "malformed-json", ""),
        ("something after it", [with("1", ""), b"x".to_vec()].concat(), 400, "malformed-json", ""),
        (
            "nested 100,000 deep",
            with(&("[".repeat(100_000) + &"]".repeat(100_000)), ""),
            400,
            "malformed-json",
            "",
        ),
        ("opened 100,000 times", "[{\"a\":".repeat(100_000).into_bytes(), 400, "malformed-json", ""),
        ("a name twice", br#"{"type":"a","type":"b","payload":1}"#.to_vec(), 400, "malformed-json", ""),
        ("a payload twice", with("1", r#","payload":2"#), 400, "malformed-json", ""),
        ("an attribute twice", attributes(r#"{"a":"1","\u0061":"2"}"#), 400, "malformed-json", ""),
        ("invalid UTF-8", b"{\"type\":\"a\",\"payload\":\"\xff\"}".to_vec(), 400, "malformed-json", ""),
        ("an overlong NUL", b"{\"type\":\"a\",\"payload\":\"\xc0\x80\"}".to_vec(), 400, "malformed-json", ""),
        ("UTF-16", utf16, 400, "malformed-json", ""),
        ("a byte order mark", [b"\xef\xbb\xbf".to_vec(), with("1", "")].concat(), 400, "malformed-json", ""),
        ("NUL", with("\"\0\"", ""), 400, "malformed-json", ""),
        ("NaN", with("NaN", ""), 400, "malformed-json", ""),
        (
            "a lone surrogate as a type",
            br#"{"type":"\ud800","payload":1}"#.to_vec(),
            400,
            "malformed-json",
            "",
        ),
    ]
}

fn wrong_values() -> Vec<Row> {
    let long = "x".repeat(100_000);
    let attributes = |text: &str| with("1", &format!(r#","attributes":{text}"#));
    vec![
        ("a number as a type", br#"{"type":1,"payload":1}"#.to_vec(), 422, "invalid-field", "/type"),
        (
            "a long type",
            format!(r#"{{"type":"{long}","payload":1}}"#).into_bytes(),
            422,
            "invalid-field",
            "/type",
        ),
        (
            "a type with a line break",
            br#"{"type":"a\nb","payload":1}"#.to_vec(),
            422,
            "invalid-field",
            "/type",
        ),
        ("an array", b"[]".to_vec(), 422, "invalid-field", ""),
        ("a hundred thousand members", keys(90_000).into_bytes(), 422, "unknown-field", "/0"),
        ("a dot in an id", with("1", r#","id":"a.b""#), 422, "invalid-field", "/id"),
        ("a line break in an id", with("1", r#","id":"a\r\nb""#), 422, "invalid-field", "/id"),
        ("an empty id", with("1", r#","id":"""#), 422, "invalid-field", "/id"),
        ("a long id", with("1", &format!(r#","id":"{long}""#)), 422, "invalid-field", "/id"),
        ("another letter that looks the same", with("1", r#","id":"а""#), 422, "invalid-field", "/id"),
        (
            "an attribute named with NUL",
            attributes(r#"{"a\u0000":"x"}"#),
            422,
            "invalid-field",
            "/attributes",
        ),
        ("an attribute like a template", attributes(r#"{"{{a}}":"x"}"#), 422, "invalid-field", "/attributes"),
        ("an attribute without a name", attributes(r#"{"":"x"}"#), 422, "invalid-field", "/attributes"),
        (
            "an attribute with a long name",
            attributes(&format!(r#"{{"{long}":"x"}}"#)),
            422,
            "invalid-field",
            "/attributes",
        ),
        (
            "an attribute with a line break",
            attributes(r#"{"a":"x\r\ny"}"#),
            422,
            "invalid-field",
            "/attributes",
        ),
        (
            "a long attribute",
            attributes(&format!(r#"{{"a":"{long}"}}"#)),
            422,
            "invalid-field",
            "/attributes",
        ),
        (
            "many attributes",
            attributes(&keys(33).replace(":0", ":\"\"")),
            422,
            "invalid-field",
            "/attributes",
        ),
        ("a number as an attribute", attributes(r#"{"a":1}"#), 422, "invalid-field", "/attributes/a"),
        ("too much", with(&format!("\"{}\"", "x".repeat(1 << 20)), ""), 413, "payload-too-large", ""),
    ]
}

#[test]
fn hostile_json_is_refused_with_its_reason() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("honest");
    let rows = [not_json(), wrong_values()].concat();
    for socket in sockets(&site) {
        for (name, body, status, code, field) in &rows {
            let answer = exchange(&socket, &post("/v1/orgs/honest/events", body), false);
            let problem = assert_problem(name, &answer, *status, code);
            assert_eq!(problem["field"].as_str().unwrap_or_default(), *field, "{name}: {problem}");
            assert!(answer.len() < 1024, "{name}: what was wrong is not repeated at length");
            assert_served(&socket);
        }
    }
    assert!(!site.log().contains("panicked"), "{}", site.log());
}

#[test]
fn odd_payloads_go_out_byte_for_byte() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("honest", &receiver.url("/"), &Value::Null);
    let payloads = [
        "1e400".to_owned(),
        r#""\ud800""#.to_owned(),
        r#""\u0000\u001b[31m""#.to_owned(),
        r#"{"a":1,"a":2,"a":3}"#.to_owned(),
        r#"{"{{x}}":"${y} %7B \r\n"}"#.to_owned(),
        "9".repeat(100_000),
        keys(90_000),
        "[".repeat(127) + &"]".repeat(127),
        "-0.0".to_owned(),
        "[ ]".to_owned(),
    ];
    for payload in &payloads {
        let answer =
            exchange(&site.submit_socket(), &post("/v1/orgs/honest/events", &with(payload, "")), false);
        assert_eq!(parse(&answer).0, 202, "{answer}");
    }
    daemon.drained("honest");
    let bodies: Vec<_> = receiver.received().into_iter().map(|request| request.body).collect();
    assert_eq!(bodies.len(), payloads.len());
    for (body, payload) in bodies.iter().zip(&payloads) {
        assert!(body == payload.as_bytes(), "{:.80} became {:.80}", payload, String::from_utf8_lossy(body));
    }
}

#[test]
fn a_name_in_a_path_is_one_segment_or_nothing() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("honest");
    let long = "a".repeat(10_000);
    for name in [
        "honest%2f..%2fhonest",
        "..",
        ".",
        "%2e%2e",
        "",
        "a%2fb",
        "a%0d%0ab",
        "a%00b",
        "%D1%85onest",
        "a%3fb",
        "a%23b",
        "{org}",
        "%7B%7Borg%7D%7D",
        "honest%20",
        "%20honest",
        "HONEST",
        "honest.",
        "%ff",
        "%",
        "%zz",
        long.as_str(),
    ] {
        let path = format!("/v1/orgs/{name}/events");
        for socket in sockets(&site) {
            let answer = exchange(&socket, &post(&path, &with("1", "")), false);
            let (status, body) = parse(&answer);
            assert_eq!(status, 404, "{name:.40}: {answer}");
            assert!(body["detail"].as_str().is_some_and(|detail| detail.len() < 200), "{name:.40}: {answer}");
        }
        if !matches!(name, "HONEST" | "honest.") {
            let put = format!(
                "PUT /v1/orgs/{name} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            let answer = exchange(&site.admin_socket(), put.as_bytes(), false);
            assert!(matches!(parse(&answer).0, 404 | 405 | 422), "{name:.40}: {answer}");
        }
    }
    assert_eq!(daemon.list("/v1/orgs").len(), 1);
}

#[test]
fn lines_of_a_batch_fail_one_by_one() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("honest");
    let good = r#"{"org":"honest","type":"a","payload":1}"#;
    let lines =
        [good, "", "{", "  \t ", "\u{feff}{}", r#"{"org":"nobody","type":"a","payload":1}"#, "\0", good];
    let body = lines.join("\n");
    let reply = http::request(
        &site.submit_socket(),
        "POST",
        "/v1/events",
        Some(("application/x-ndjson", body.as_bytes())),
    );
    let text = reply.unwrap().expect(200).text();
    let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> =
        answers.iter().map(|answer| (answer["line"].as_u64(), answer["type"].as_str())).collect();
    let malformed = Some("urn:postrider:malformed-json");
    // Blank lines are passed over, and counted.
    assert_eq!(
        told,
        [
            (None, None),
            (Some(3), malformed),
            (Some(5), malformed),
            (Some(6), Some("urn:postrider:unknown-org")),
            (Some(7), malformed),
            (None, None)
        ]
    );
}
