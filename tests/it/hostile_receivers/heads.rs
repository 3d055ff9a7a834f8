//! Heads that do not come, do not end, or are not HTTP/1.1; connections that end before one.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::raw::{after_request, goes_on, hold, says, script};
use super::*;

const NOW: Duration = Duration::ZERO;
const DRIP: Duration = Duration::from_millis(20);
const NO_ANSWER: &str = "did not answer within 500ms";
const PAST_LIMIT: Expect = Expect::Fails("protocol", None, "answered with headers past the limit");
const NOT_HTTP: Expect = Expect::Fails("protocol", None, "did not answer in HTTP/1.1");
const CLOSED: Expect = Expect::Fails("reset", None, "before it answered");

fn silent() -> Vec<Way> {
    let large = |way| Way { payload: 1_000_000, ..way };
    vec![
        stalls("never-answers", after_request(|turn| hold(turn.stream)), NO_ANSWER),
        large(stalls(
            "never-reads",
            script(|turn| async move {
                tokio::time::sleep(PATIENCE).await;
                drop(turn);
            }),
            NO_ANSWER,
        )),
        large(stalls(
            "reads-slowly",
            script(|mut turn| async move {
                while turn.stream.read_u8().await.is_ok() {
                    tokio::time::sleep(DRIP).await;
                }
            }),
            NO_ANSWER,
        )),
        stalls("slow-head", goes_on(b"HTTP/1.1 200 OK\r\nx: ", "y", DRIP), NO_ANSWER),
        stalls("slow-status", goes_on(b"HTTP/1.1 200 ", "O", DRIP), NO_ANSWER),
        stalls("empty-lines", goes_on(b"", "\r\n", DRIP), NO_ANSWER),
        stalls("continue-only", goes_on(b"HTTP/1.1 100 Continue\r\n\r\n", "", PATIENCE), NO_ANSWER),
        stalls("hints-only", goes_on(b"", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", DRIP), NO_ANSWER),
    ]
}

fn endless() -> Vec<Way> {
    vec![
        way(
            "hints-flood",
            goes_on(b"", "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n".repeat(1000), NOW),
            Expect::Fails("protocol", None, "1024 KiB for one answer"),
        ),
        way(
            "empty-lines-flood",
            goes_on(b"", "\r\n".repeat(10_000), NOW),
            Expect::Fails("protocol", None, ""),
        ),
        way("endless-header", goes_on(b"HTTP/1.1 200 OK\r\nx: ", vec![b'x'; 65_536], NOW), PAST_LIMIT),
        way("endless-headers", goes_on(b"HTTP/1.1 200 OK\r\n", "x: y\r\n".repeat(1000), NOW), PAST_LIMIT),
        way("endless-reason", goes_on(b"HTTP/1.1 200 ", vec![b'x'; 65_536], NOW), PAST_LIMIT),
        way(
            "ten-thousand-headers",
            says(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(10_000))),
            PAST_LIMIT,
        ),
        way("101-headers", says(format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(101))), PAST_LIMIT),
        way("garbage-without-end", goes_on(b"", vec![b'x'; 65_536], NOW), NOT_HTTP),
    ]
}

fn not_http() -> Vec<Way> {
    let head = |fields: &str| says(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\nok"));
    let status = |status: &str| says(format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n"));
    vec![
        way("garbage", says("garbage\r\n\r\n"), NOT_HTTP),
        way("binary", says([0, 1, 2, 0xff, 0xfe, 13, 10, 13, 10]), NOT_HTTP),
        way("tls-alert", says([0x15, 3, 1, 0, 2, 2, 70]), NOT_HTTP),
        way("http2-settings", says(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"), NOT_HTTP),
        way("http-0.9", says("<html>hello</html>\r\n"), NOT_HTTP),
        way("http-0.9-version", says("HTTP/0.9 200 OK\r\n\r\n"), NOT_HTTP),
        way("http-2.0-version", says("HTTP/2.0 200 OK\r\n\r\n"), NOT_HTTP),
        way("status-2000", status("2000"), NOT_HTTP),
        way("status-20", status("20"), NOT_HTTP),
        way("status-099", status("099"), NOT_HTTP),
        way("status-negative", status("-200"), NOT_HTTP),
        way("status-words", status("OK"), NOT_HTTP),
        way("two-lengths", head("content-length: 2\r\ncontent-length: 3"), NOT_HTTP),
        way("negative-length", head("content-length: -1"), NOT_HTTP),
        way("huge-length", head("content-length: 18446744073709551616"), NOT_HTTP),
        way("no-header", head("nonsense"), NOT_HTTP),
        way("spaced-header", head("content-length : 2"), NOT_HTTP),
        way("nul-in-header", head("x: a\0b"), NOT_HTTP),
        way("escape-in-header-name", head("x\x1b[31m: y"), NOT_HTTP),
        // Not even asked: what it says first is no answer.
        way(
            "talks-first",
            script(|mut turn| async move {
                turn.say("220 smtp.example ESMTP\r\n").await;
                hold(turn.stream).await;
            }),
            Expect::Fails("protocol", None, ""),
        ),
    ]
}

fn ends_early() -> Vec<Way> {
    vec![
        way("closes", after_request(|turn| async move { drop(turn) }), CLOSED),
        way("closes-at-once", script(|turn| async move { drop(turn) }), CLOSED),
        way("resets", after_request(|turn| async move { turn.stream.set_zero_linger().unwrap() }), CLOSED),
        way(
            "resets-at-once",
            script(|turn| async move { turn.stream.set_zero_linger().unwrap() }),
            Expect::Fails("reset|connect", None, ""),
        ),
        way("closes-in-head", says("HTTP/1.1 200 OK\r\ncontent-"), CLOSED),
        way(
            "resets-in-head",
            after_request(|mut turn| async move {
                turn.say("HTTP/1.1 200 OK\r\ncontent-").await;
                turn.stream.set_zero_linger().unwrap();
            }),
            CLOSED,
        ),
        Way {
            payload: 1_000_000,
            ..way(
                "resets-in-upload",
                script(|mut turn| async move {
                    turn.stream.read_u8().await.ok();
                }),
                CLOSED,
            )
        },
        way(
            "closes-its-side-only",
            after_request(|mut turn| async move {
                turn.stream.shutdown().await.ok();
                hold(turn.stream).await;
            }),
            CLOSED,
        ),
    ]
}

fn statuses() -> Vec<Way> {
    let status = |line: &str| says(format!("HTTP/1.1 {line}\r\ncontent-length: 0\r\n\r\n"));
    let answered = |code, words| Expect::Fails("status", Some(code), words);
    vec![
        way("status-999", status("999 x"), answered(999, "answered 999")),
        way("status-304", status("304 x"), answered(304, "a redirect; redirects are not followed")),
        way(
            "upgrade",
            says(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n\x01\x02",
            ),
            answered(101, "answered 101"),
        ),
        way("no-reason", says("HTTP/1.1 500\r\ncontent-length: 0\r\n\r\n"), answered(500, "answered 500")),
        way("http-1.0", says("HTTP/1.0 503 x\r\n\r\nbusy"), answered(503, "answered 503")),
    ]
}

#[test]
fn heads_that_cannot_be_read_fail_with_their_reason() {
    run(
        &Site::new(),
        &[silent(), endless(), not_http(), ends_early(), statuses()]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>(),
    );
}
