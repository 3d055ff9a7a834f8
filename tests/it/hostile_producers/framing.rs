//! What is not HTTP/1.1, or lies about its length, or does not come: an answer that says so, and nothing else happens.

use super::*;

/// What a producer sends.
enum Sent {
    /// This, and then it waits.
    Bytes(Vec<u8>),
    /// This, and then it closes its side.
    HalfClosed(Vec<u8>),
    /// This, and then one more byte now and then.
    Drip(&'static str),
    /// This, and then that without end.
    Endless(&'static str, Vec<u8>),
}

/// What it gets.
enum Got {
    /// A problem of this status and code.
    Problem(u16, &'static str),
    /// An answer with this status.
    Status(u16),
    /// Nothing: it asked for nothing.
    Nothing,
}

type Row = (&'static str, Sent, Got);

const EVENTS: &str = "POST /v1/orgs/honest/events HTTP/1.1\r\nhost: x\r\n";

/// The head of an event, with these fields, and this body.
fn event(fields: &str, body: &str) -> Sent {
    Sent::Bytes(format!("{EVENTS}{fields}\r\n{body}").into_bytes())
}

fn get(fields: &str) -> Sent {
    Sent::Bytes(format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{fields}\r\n").into_bytes())
}

fn bytes(bytes: &[u8]) -> Sent {
    Sent::Bytes(bytes.to_vec())
}

const MALFORMED: Got = Got::Problem(400, "malformed-request");
const INCOMPLETE: Got = Got::Problem(400, "incomplete-body");
const TOO_LARGE: Got = Got::Problem(413, "payload-too-large");
const HEAD_TOO_LARGE: Got = Got::Problem(431, "head-too-large");
const TOO_SLOW: Got = Got::Problem(408, "request-timeout");

fn not_http() -> Vec<Row> {
    let tls = [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 500]].concat();
    vec![
        ("noise", bytes(b"\0\x01\x02\xff\r\n\r\n"), MALFORMED),
        ("a TLS hello", Sent::Bytes(tls), MALFORMED),
        ("an HTTP/2 preface", bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"), MALFORMED),
        ("HTTP/0.9", bytes(b"GET /healthz\r\n\r\n"), MALFORMED),
        ("HTTP/3.0", bytes(b"GET /healthz HTTP/3.0\r\nhost: x\r\n\r\n"), MALFORMED),
        ("another protocol", bytes(b"EHLO example.com\r\n\r\n"), MALFORMED),
        ("a method that is none", bytes(b"G@T /healthz HTTP/1.1\r\nhost: x\r\n\r\n"), MALFORMED),
        ("a raw byte in the path", bytes(b"GET /v1/orgs/\xff HTTP/1.1\r\nhost: x\r\n\r\n"), MALFORMED),
        ("a folded header", get("a: b\r\n c\r\n"), MALFORMED),
        ("a header without a name", get(": b\r\n"), MALFORMED),
        ("NUL in a header", get("a: b\0c\r\n"), MALFORMED),
        ("a head that ends early", Sent::HalfClosed(b"GET /heal".to_vec()), MALFORMED),
        (
            "a long path",
            Sent::Bytes(format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(40_000)).into()),
            HEAD_TOO_LARGE,
        ),
        ("a long header", get(&format!("a: {}\r\n", "b".repeat(300_000))), HEAD_TOO_LARGE),
        ("many headers", get(&"a: b\r\n".repeat(100)), HEAD_TOO_LARGE),
        ("very many headers", get(&"a: b\r\n".repeat(100_000)), HEAD_TOO_LARGE),
        ("headers without end", Sent::Endless("GET / HTTP/1.1\r\n", b"a: b\r\n".to_vec()), HEAD_TOO_LARGE),
        ("HTTP/1.0", bytes(b"GET /healthz HTTP/1.0\r\n\r\n"), Got::Status(200)),
        ("a wish to upgrade", get("connection: upgrade\r\nupgrade: websocket\r\n"), Got::Status(200)),
        (
            "CONNECT",
            bytes(b"CONNECT evil:443 HTTP/1.1\r\nhost: evil:443\r\nconnection: close\r\n\r\n"),
            Got::Problem(404, "not-found"),
        ),
    ]
}

fn lengths() -> Vec<Row> {
    let chunked = "transfer-encoding: chunked\r\n";
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000)).into_bytes();
    vec![
        ("a negative length", event("content-length: -1\r\n", ""), MALFORMED),
        ("a signed length", event("content-length: +2\r\n", "{}"), MALFORMED),
        ("a list of lengths", event("content-length: 2, 2\r\n", "{}"), MALFORMED),
        ("two lengths", event("content-length: 1\r\ncontent-length: 2\r\n", "{}"), MALFORMED),
        ("2^64", event("content-length: 18446744073709551616\r\n", "{}"), MALFORMED),
        ("2^64-1", event("content-length: 18446744073709551615\r\n", "{}"), TOO_LARGE),
        ("2^63", event("content-length: 9223372036854775808\r\n", "{}"), TOO_LARGE),
        ("1 GB announced", event("content-length: 1000000000\r\n", "{}"), TOO_LARGE),
        (
            "1 GB announced and sent",
            Sent::Endless(
                "POST /v1/orgs/honest/events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000000\r\n\r\n",
                vec![b'x'; 65_536],
            ),
            TOO_LARGE,
        ),
        (
            "chunks without end",
            Sent::Endless(
                "POST /v1/orgs/honest/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
                chunk,
            ),
            TOO_LARGE,
        ),
        ("another coding", event("transfer-encoding: gzip\r\n", "abc"), MALFORMED),
        (
            "chunks in HTTP/1.0",
            bytes(b"POST /v1/events HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            MALFORMED,
        ),
        ("a chunk's size that is none", event(chunked, "zz\r\nabc"), INCOMPLETE),
        ("a chunk's size beyond counting", event(chunked, "fffffffffffffffff\r\nabc"), INCOMPLETE),
        ("a huge chunk that does not come", event(chunked, "fffffffffffffff\r\nabc"), TOO_SLOW),
        ("a chunk that is longer than it says", event(chunked, "2\r\n{}xx\r\n0\r\n\r\n"), INCOMPLETE),
        (
            "a long chunk extension",
            event(chunked, &format!("2;{}\r\n{{}}\r\n0\r\n\r\n", "x".repeat(100_000))),
            INCOMPLETE,
        ),
        (
            "many trailers",
            event(chunked, &format!("2\r\n{{}}\r\n0\r\n{}\r\n", "a: b\r\n".repeat(10_000))),
            INCOMPLETE,
        ),
        (
            "a body that ends early",
            Sent::HalfClosed(format!("{EVENTS}content-length: 9\r\n\r\n{{").into()),
            INCOMPLETE,
        ),
        (
            "chunks that end early",
            Sent::HalfClosed(format!("{EVENTS}{chunked}\r\n2\r\n{{").into()),
            INCOMPLETE,
        ),
    ]
}

fn slow() -> Vec<Row> {
    vec![
        ("silence", bytes(b""), Got::Nothing),
        ("an empty line", bytes(b"\r\n"), Got::Nothing),
        ("half a head", bytes(b"GET /healthz HTTP/1.1\r\nx: "), TOO_SLOW),
        ("a head byte by byte", Sent::Drip("GET /healthz HTTP/1.1\r\nx: "), TOO_SLOW),
        ("half a body", event("content-length: 99\r\n", "{"), TOO_SLOW),
        (
            "a body byte by byte",
            Sent::Drip("POST /v1/orgs/honest/events HTTP/1.1\r\nhost: x\r\ncontent-length: 999\r\n\r\n"),
            TOO_SLOW,
        ),
        ("leave to send, unused", event("expect: 100-continue\r\ncontent-length: 9\r\n", ""), TOO_SLOW),
        (
            "leave to send lines, unused",
            bytes(
                b"POST /v1/events HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
            ),
            TOO_SLOW,
        ),
        (
            "leave to send too much",
            event("expect: 100-continue\r\ncontent-length: 99999999\r\n", ""),
            TOO_LARGE,
        ),
    ]
}

fn send(socket: &Path, sent: &Sent) -> String {
    match sent {
        Sent::Bytes(bytes) => exchange(socket, bytes, false),
        Sent::HalfClosed(bytes) => exchange(socket, bytes, true),
        Sent::Drip(head) => {
            let mut stream = connect(socket);
            stream.write_all(head.as_bytes()).unwrap();
            let mut trickle = stream.try_clone().unwrap();
            std::thread::spawn(move || {
                while trickle.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(50));
                }
            });
            rest(&mut stream)
        }
        Sent::Endless(head, piece) => {
            let mut stream = connect(socket);
            stream.write_all(head.as_bytes()).unwrap();
            while stream.write_all(piece).is_ok() {}
            rest(&mut stream)
        }
    }
}

fn check(socket: &Path, (name, sent, got): &Row) {
    let answer = send(socket, sent);
    match got {
        Got::Problem(status, code) => drop(assert_problem(name, &answer, *status, code)),
        Got::Status(status) => assert_eq!(parse(&answer).0, *status, "{name}: {answer:?}"),
        Got::Nothing => assert_eq!(answer, "", "{name}"),
    }
    assert_served(socket);
}

#[test]
fn hostile_framing_is_answered_and_harms_nobody() {
    let site = site_with("[api]\nheader_timeout = \"1s\"\nbody_timeout = \"1s\"\n");
    let daemon = site.start();
    daemon.org_only("honest");
    let rows: Vec<Row> = [not_http(), lengths(), slow()].into_iter().flatten().collect();
    let sockets = sockets(&site);
    // Once for what the daemon needs at all, and once more.
    let mut before = 0;
    for socket in [&sockets[..1], &sockets] {
        before = resident(&daemon);
        std::thread::scope(|scope| {
            for (socket, row) in socket.iter().flat_map(|socket| rows.iter().map(move |row| (socket, row))) {
                scope.spawn(move || check(socket, row));
            }
        });
    }
    assert_flat(&daemon, before, 64 * MIB);
    // In the log, but not a line for each.
    let refused =
        site.log().lines().filter(|line| line.contains("INFO") && line.contains("could not be read")).count();
    assert!((1..=6).contains(&refused), "{refused} lines");
    assert!(daemon.terminate().success());
}

#[test]
fn what_follows_a_request_is_the_next_request_and_nothing_else() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("honest");
    let last = "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    // Chunks decide where both are given, and the connection ends with it: what the other reading would have left over is not
    // taken for a request.
    for fields in [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 4\r\n",
    ] {
        let smuggled = format!("{EVENTS}{fields}\r\n2\r\n{{}}\r\n0\r\n\r\n{last}");
        let answer = exchange(&site.submit_socket(), smuggled.as_bytes(), false);
        assert!(answer.starts_with("HTTP/1.1 422 ") && answer.contains("\"field\":\"/type\""), "{answer}");
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    // A hundred in a row, the last one broken: a hundred answers, and a refusal at the end.
    let event = r#"{"type":"a","payload":1}"#;
    let one = format!("{EVENTS}content-length: {}\r\n\r\n{event}", event.len());
    let answer =
        exchange(&site.admin_socket(), format!("{}\0\r\n\r\n{last}", one.repeat(100)).as_bytes(), false);
    assert_eq!(answer.matches("HTTP/1.1 202 Accepted\r\n").count(), 100, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 4").count(), 1, "{answer}");
}
