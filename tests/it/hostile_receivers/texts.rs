//! Answers made to be read by people and programs: they end up in attempts and dead letters, cut, escaped, and without
//! what we sent.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::raw::{Turn, after_request, says};
use super::*;

fn refusal(body: &[u8]) -> Script {
    let head = format!("HTTP/1.1 500 no\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    says([head.as_bytes(), body].concat())
}

#[test]
fn hostile_text_is_escaped_and_cut() {
    let forged = "\r\n2026-01-01T00:00:00Z ERROR forged: level=error msg=\"forged\"\r\n";
    let answered = || Expect::Fails("status", Some(500), "the receiver answered 500");
    let header = |value: &[u8]| {
        says(
            [b"HTTP/1.1 500 no\r\nx: ", value, b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"]
                .concat(),
        )
    };
    let reason = |text: &[u8]| {
        says([b"HTTP/1.1 500 ", text, b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"].concat())
    };
    let refused = || Expect::Fails("protocol", None, "did not answer in HTTP/1.1");
    let ways = [
        way("body-escape", refusal(b"\x1b[31m\x1b]0;title\x07\x9b31m"), answered()),
        way("body-lines", refusal(forged.as_bytes()), answered()),
        way("body-nul", refusal(b"a\0b\x08\x7f"), answered()),
        way("body-not-utf8", refusal(b"\xff\xfe\xc3\x28\xed\xa0\x80"), answered()),
        way("body-reordered", refusal("\u{202e}gnp.exe\u{2066}\u{feff}\u{2028}".as_bytes()), answered()),
        way("body-large", refusal(&vec![0x1b; 500_000]), answered()),
        way("header-bytes", header(b"\xff\xfe\x80"), answered()),
        way("header-escape", header(b"\x1b[31m"), refused()),
        way("reason-bytes", reason(b"\xff\xfe"), answered()),
        way("reason-escape", reason(b"\x1b[31m"), refused()),
        way("reason-words", reason(b"no ERROR forged level=error"), answered()),
    ];
    let site = Site::new();
    run(&site, &ways);
    assert!(!site.log().contains("forged"), "{}", site.log());
}

/// A way of writing what came.
type Write = fn(&[u8]) -> String;

/// Sends everything back that it got, written by `write`.
fn echoes(write: Write) -> Script {
    after_request(move |mut turn: Turn| async move {
        // The connection's only request is the last that was noted; its text is head and body as they came.
        let text = write(&turn.last());
        let head = format!("HTTP/1.1 500 no\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", text.len());
        turn.say(format!("{head}{text}")).await;
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn percent(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

#[test]
fn what_is_echoed_gives_nothing_away() {
    const PASSWORD: &str = "canary-password";
    const PAYLOAD: &str = "canary-payload, as long as payloads are and a little more";
    let writes: [(&str, Write); 7] = [
        ("raw", |bytes| String::from_utf8_lossy(bytes).into_owned()),
        ("json", |bytes| json!({ "got": String::from_utf8_lossy(bytes) }).to_string()),
        ("base64", |bytes| STANDARD.encode(bytes)),
        ("base64-url", |bytes| URL_SAFE_NO_PAD.encode(&bytes[1..])),
        ("hex", hex),
        ("url", percent),
        ("form", |bytes| url::form_urlencoded::byte_serialize(bytes).collect()),
    ];
    let site = Site::new();
    let daemon = site.start();
    let servers: Vec<_> = writes.iter().map(|(_, write)| Server::start(echoes(*write))).collect();
    for ((org, _), server) in writes.iter().zip(&servers) {
        let mut settings = retry(1, 10, 1.0, 10);
        settings["password"] = json!(PASSWORD);
        daemon.org(org, &format!("http://127.0.0.1:{}/hook?key={CANARY}", server.port()), &settings);
        daemon.enqueue(org, &json!({"type": "t", "payload": {"text": PAYLOAD}}));
    }
    let mut told = String::new();
    for (org, _) in &writes {
        wait_until("it is given up", || !daemon.dead_letters(org).is_empty());
        let id = daemon.dead_letters(org)[0]["id"].as_str().unwrap().to_owned();
        let whole = daemon.get(&format!("/v1/dead-letters/{id}"));
        assert_eq!(whole["attempts"][0]["status"], 500, "{whole:#}");
        let excerpt = whole["attempts"][0]["excerpt"].as_str().unwrap();
        assert!(excerpt.len() > 20, "{org}: something of the answer is kept: {excerpt}");
        told += &format!("{org}: {whole}\n");
    }
    told += &site.log();
    for canary in [PASSWORD, CANARY, PAYLOAD] {
        // Whatever the alignment in a larger text, the middle of a word is there as it is.
        let middle = &canary.as_bytes()[3..];
        let base64 =
            |skip: usize| STANDARD.encode(&canary.as_bytes()[skip..]).chars().take(10).collect::<String>();
        let forms = [canary.to_owned(), hex(middle), percent(middle), base64(3), base64(4), base64(5)];
        for form in forms {
            let found = told.lines().find(|line| line.to_lowercase().contains(&form.to_lowercase()));
            assert!(found.is_none(), "{canary} as {form}: {found:?}");
        }
    }
}
