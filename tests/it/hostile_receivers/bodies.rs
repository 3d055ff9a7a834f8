//! A good head decides, whatever its body does; nothing of a body is decoded, and only a piece of it is read.

use tokio::io::AsyncReadExt as _;

use super::raw::{after_request, goes_on, hold, says, script};
use super::*;

const NOW: Duration = Duration::ZERO;
const DRIP: Duration = Duration::from_millis(50);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const UNTIL_END: &[u8] = b"HTTP/1.1 200 OK\r\n\r\n";

fn piece() -> Vec<u8> {
    vec![b'x'; 65_536]
}

fn chunk() -> Vec<u8> {
    format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes()
}

/// What a kilobyte of zeros, a million times over, is to a reader that decodes it: the start of one, which is enough for
/// that.
fn gzip() -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 500 no\r\ncontent-encoding: gzip\r\ncontent-length: 1035\r\n\r\n".to_vec();
    bytes.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xed]);
    bytes.extend_from_slice(&[0; 1024]);
    bytes
}

fn successes() -> Vec<Way> {
    let ok = |name, script| way(name, script, Expect::Delivered);
    vec![
        ok("endless-length", goes_on(OK, piece(), NOW)),
        ok("endless-chunks", goes_on(CHUNKED, chunk(), NOW)),
        ok("endless-tiny-chunks", goes_on(CHUNKED, "1\r\nx\r\n".repeat(1000), NOW)),
        ok("endless-until-end", goes_on(UNTIL_END, piece(), NOW)),
        ok("endless-chunk-size", goes_on(CHUNKED, "0".repeat(65_536), NOW)),
        ok(
            "endless-trailers",
            goes_on(
                b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n",
                "x: y\r\n".repeat(1000),
                NOW,
            ),
        ),
        ok("slow-body", goes_on(OK, "x", DRIP)),
        ok("slow-chunks", goes_on(CHUNKED, "1\r\nx\r\n", DRIP)),
        ok(
            "silent-body",
            after_request(|mut turn| async move {
                turn.say(OK).await;
                hold(turn.stream).await;
            }),
        ),
        ok("short-body", says("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc")),
        ok("short-chunks", says("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab")),
        ok(
            "reset-in-body",
            after_request(|mut turn| async move {
                turn.say("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc").await;
                // Only a head that has arrived can decide: a reset discards what is still under way.
                tokio::time::sleep(DRIP).await;
                turn.stream.set_zero_linger().unwrap();
            }),
        ),
        ok("bad-chunk-size", says([CHUNKED, b"zz\r\nabc"].concat())),
        ok("huge-chunk-size", says([CHUNKED, b"fffffffffffffffff\r\nabc"].concat())),
        ok("body-of-204", says("HTTP/1.1 204 x\r\ncontent-length: 5\r\n\r\nextra")),
        ok(
            "chunks-and-length",
            says(
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
        ),
        ok(
            "length-and-chunks",
            says(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
        ),
        ok(
            "hints-first",
            says("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: y\r\n\r\nHTTP/1.1 204 x\r\n\r\n"),
        ),
    ]
}

fn failures() -> Vec<Way> {
    let answered = |code, words| Expect::Fails("status", Some(code), words);
    let large = |way| Way { payload: 1_000_000, ..way };
    let early = "HTTP/1.1 413 no\r\nconnection: close\r\ncontent-length: 3\r\n\r\nbig";
    vec![
        way(
            "bad-chunk-in-500",
            says("HTTP/1.1 500 no\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"),
            answered(500, "answered 500"),
        ),
        way("endless-500", goes_on(b"HTTP/1.1 500 no\r\n\r\n", piece(), NOW), answered(500, "answered 500")),
        way("gzip-bomb", says(gzip()), answered(500, "answered 500")),
        // The answer to a large payload comes before all of it was read: it counts, not what became of the rest.
        large(way(
            "early-then-reads",
            script(move |mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say(early).await;
                hold(turn.stream).await;
            }),
            answered(413, "answered 413"),
        )),
        large(way(
            "early-then-closes",
            script(move |mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say(early).await;
                // A connection that is closed with something unread is reset: the answer gets a chance to arrive.
                tokio::time::sleep(DRIP).await;
            }),
            answered(413, "answered 413"),
        )),
        large(way(
            "early-then-silent",
            script(move |mut turn| async move {
                turn.stream.read_u8().await.ok();
                turn.say(early).await;
                tokio::time::sleep(PATIENCE).await;
            }),
            answered(413, "answered 413"),
        )),
    ]
}

#[test]
fn a_good_head_decides_and_an_early_answer_counts() {
    run(&Site::new(), &[successes(), failures()].into_iter().flatten().collect::<Vec<_>>());
}
