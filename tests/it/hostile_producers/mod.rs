//! Producers that are broken or hostile, on both sockets of the real binary: what each gets for an answer, and that an
//! honest one is served all the same, then and meanwhile.

mod content;
mod crowds;
mod framing;
mod ids;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, Site, http, resident};

/// With these lines in addition to what every site has.
fn site_with(lines: &str) -> Site {
    Site::with(&format!("{}{lines}", Site::new().config()))
}

/// A connection to a socket, with patience.
fn connect(socket: &Path) -> UnixStream {
    let stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// What comes until the other side closes, or breaks off.
fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // What was not read of us when it closed.
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {}
        Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&bytes)),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Sends all of it, as far as it is taken, and answers what came back.
fn exchange(socket: &Path, bytes: &[u8], half_close: bool) -> String {
    let mut stream = connect(socket);
    // Whoever has seen enough may close before all is sent; the answer is there all the same.
    let _refused = stream.write_all(bytes);
    if half_close {
        stream.shutdown(Shutdown::Write).ok();
    }
    rest(&mut stream)
}

/// A request with a JSON body, after which the connection is closed.
fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

/// The answer's status and its body, if that is JSON. Interim answers are passed over.
fn parse(answer: &str) -> (u16, Value) {
    let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(answer);
    let status = answer.split(' ').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// The answer is this problem, as a problem is to look: with a body that says so.
#[track_caller]
fn assert_problem(name: &str, answer: &str, status: u16, code: &str) -> Value {
    let (got, body) = parse(answer);
    assert_eq!(got, status, "{name}: {answer:?}");
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{name}: {answer:?}");
    assert_eq!(body["type"], format!("urn:postrider:{code}"), "{name}: {answer:?}");
    assert_eq!(body["status"], status, "{name}: {answer:?}");
    let detail = body["detail"].as_str().unwrap_or_default();
    assert!(!detail.is_empty() && !detail.contains(char::is_control), "{name}: {answer:?}");
    body
}

/// An honest event is accepted on this socket.
#[track_caller]
fn assert_served(socket: &Path) {
    let event = json!({"type": "order.created", "payload": {"n": 1}}).to_string();
    let body = Some(("application/json", event.as_bytes()));
    http::request(socket, "POST", "/v1/orgs/honest/events", body).unwrap().expect(202);
}

#[track_caller]
fn assert_both_serve(site: &Site) {
    for socket in sockets(site) {
        assert_served(&socket);
    }
}

fn sockets(site: &Site) -> [PathBuf; 2] {
    [site.submit_socket(), site.admin_socket()]
}

/// It holds no more than `bytes` more than it did.
#[track_caller]
fn assert_flat(daemon: &Daemon<'_>, before: u64, bytes: u64) {
    let after = resident(daemon);
    assert!(after < before + bytes, "{} KiB, and {} KiB before", after >> 10, before >> 10);
}

const MIB: u64 = 1 << 20;

/// Long enough that a busy machine does not take an honest request for a slow one.
const SLOW: Duration = Duration::from_secs(1);
