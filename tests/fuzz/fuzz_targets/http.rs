//! Bytes on a socket of the daemon: through the real accept loop, connection code, routes, queue and store. Whatever
//! comes, nothing panics, every answer is a whole HTTP answer with JSON inside, and none says that the fault is ours.
#![no_main]

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use postrider::api::{App, Settings, Socket, router};
use postrider::queue::{MasterKey, Queue, QueueLimits, StoreOptions};
use postrider::serving::{ConnectionLimits, serve};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

/// After so many inputs the store is left behind for a new one.
const INPUTS_PER_STORE: usize = 20_000;
/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(25);

/// Calls whose bodies and queries are worth as much as the HTTP around them. Seeds name them by their place: new ones go to the end.
const CALLS: [(&str, &str); 46] = [
    ("PUT", "/v1/orgs/acme"),
    ("PUT", "/v1/orgs/acme/webhooks/orders"),
    ("PUT", "/v1/orgs/acme/clients/shared"),
    ("POST", "/v1/orgs/acme/events"),
    ("POST", "/v1/events"),
    ("GET", "/v1/orgs"),
    ("GET", "/v1/orgs/acme"),
    ("GET", "/v1/orgs/acme/webhooks"),
    ("GET", "/v1/orgs/acme/queue"),
    ("POST", "/v1/orgs/acme/queue/skip"),
    ("POST", "/v1/orgs/acme/queue/retry-now"),
    ("POST", "/v1/orgs/acme/pause"),
    ("POST", "/v1/orgs/acme/resume"),
    ("GET", "/v1/dead-letters"),
    ("GET", "/v1/orgs/acme/dead-letters"),
    ("POST", "/v1/dead-letters/retry"),
    ("POST", "/v1/dead-letters/discard"),
    ("GET", "/v1/dead-letters/"),
    ("DELETE", "/v1/dead-letters/"),
    ("DELETE", "/v1/orgs/acme/webhooks/"),
    ("DELETE", "/v1/orgs/"),
    ("GET", "/v1/orgs/acme/clients"),
    ("GET", "/v1/orgs/acme/clients/shared"),
    ("DELETE", "/v1/orgs/acme/clients/"),
    ("GET", "/v1/orgs/acme/webhooks/orders"),
    ("POST", "/v1/orgs/acme/webhooks/orders/test"),
    ("POST", "/v1/orgs/acme/webhooks/orders/rotate-secret"),
    ("POST", "/v1/orgs/acme/webhooks/orders/enable"),
    ("POST", "/v1/orgs/acme/webhooks/orders/disable"),
    ("GET", "/v1/status"),
    ("GET", "/readyz"),
    ("GET", "/"),
    ("PUT", "/v1/orgs/acme/sources/in"),
    ("GET", "/v1/orgs/acme/sources"),
    ("POST", "/v1/orgs/acme/sources/in/reset-token"),
    ("GET", "/metrics"),
    ("GET", "/v1/shape"),
    ("POST", "/v1/orgs/acme/changes"),
    ("GET", "/v1/history"),
    ("GET", "/v1/history/"),
    ("GET", "/v1/orgs/acme/history"),
    ("POST", "/v1/history/replay"),
    ("GET", "/v1/verify"),
    ("GET", "/v1/backup"),
    ("POST", "/v1/rekey"),
    ("POST", "/v1/compact"),
];

/// The call whose answer goes on until the daemon stops.
const ENDLESS: &[u8] = b"/v1/tail";

/// The daemon that is fuzzed, and how many inputs it has seen.
static DAEMON: Mutex<Option<(Daemon, usize)>> = Mutex::new(None);

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let request = if mode & 2 == 0 { rest.to_vec() } else { framed(rest) };
    if request.windows(ENDLESS.len()).any(|part| part == ENDLESS) {
        return;
    }
    let mut daemon = DAEMON.lock().expect("a panic ends the process");
    if daemon.as_ref().is_none_or(|(_, seen)| *seen >= INPUTS_PER_STORE) {
        *daemon = None;
        *daemon = Some((Daemon::start(), 0));
    }
    let Some((daemon, seen)) = daemon.as_mut() else { return };
    *seen += 1;
    let answers = exchange(if mode & 1 == 0 { &daemon.admin } else { &daemon.submit }, &request);
    check(&answers);
});

/// A request that is well-formed around what is fuzzed: a call, what follows its path, and its body.
fn framed(data: &[u8]) -> Vec<u8> {
    let (call, rest) = data.split_first().unwrap_or((&0, &[]));
    let (method, path) = CALLS[usize::from(*call) % CALLS.len()];
    let mut parts = rest.splitn(2, |byte| *byte == 0);
    let (suffix, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let kind = if path == "/v1/events" { "application/x-ndjson" } else { "application/json" };
    let mut request = format!("{method} {path}").into_bytes();
    request.extend_from_slice(suffix);
    request.extend_from_slice(
        format!(" HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", body.len())
            .as_bytes(),
    );
    request.extend_from_slice(body);
    request
}

/// Sends all of it, then nothing more, and reads until the other side closes.
fn exchange(socket: &Path, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).expect("the daemon accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    // It may close before it has read what it refuses.
    let _refused = stream.write_all(request);
    let _refused = stream.shutdown(Shutdown::Write);
    let mut answers = Vec::new();
    match stream.read_to_end(&mut answers) {
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
            panic!(
                "neither answered nor closed within {PATIENCE:?}, after {:?}",
                String::from_utf8_lossy(&answers)
            )
        }
        _ended => answers,
    }
}

/// Every answer is whole and means something.
fn check(mut answers: &[u8]) {
    while !answers.is_empty() {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Response::new(&mut headers);
        let parsed =
            head.parse(answers).unwrap_or_else(|error| panic!("{error}: {}", answers.escape_ascii()));
        assert!(parsed.is_complete(), "the head is cut short: {}", answers.escape_ascii());
        let rest = &answers[parsed.unwrap()..];
        let header = |name: &str| {
            let found = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.map(|header| std::str::from_utf8(header.value).expect("ours are text"))
        };
        let status = head.code.unwrap_or(0);
        assert!(matches!(status, 100 | 200..=299 | 400..=499 | 503), "{}", answers.escape_ascii());
        let (body, after) = if header("transfer-encoding").is_some() {
            chunks(rest)
        } else {
            let length = header("content-length").map_or(0, |text| text.parse().expect("a number"));
            // The answer to HEAD announces a body and has none.
            if rest.is_empty() || rest.starts_with(b"HTTP/1.") {
                (Vec::new(), rest)
            } else {
                let (body, after) = rest.split_at_checked(length).expect("the body is whole");
                (body.to_vec(), after)
            }
        };
        let kind = header("content-type").unwrap_or_default();
        if !body.is_empty() {
            check_body(kind, status, &body);
        }
        answers = after;
    }
}

fn check_body(kind: &str, status: u16, body: &[u8]) {
    let shown = body.escape_ascii();
    match kind {
        // By JSON's grammar alone: a payload goes out as it came in, and that may hold half a surrogate pair.
        "application/json" => {
            serde_json::from_slice::<&serde_json::value::RawValue>(body).expect("JSON");
        }
        "application/problem+json" => {
            let problem: serde_json::Value = serde_json::from_slice(body).expect("JSON");
            let code = problem["type"].as_str().unwrap_or_default();
            assert!(code.starts_with("urn:postrider:") && problem["status"] == status, "{shown}");
            assert!(problem["title"].is_string() && problem["detail"].is_string(), "{shown}");
            assert!(
                status != 503 || code.ends_with(":overloaded") || code.ends_with(":not-ready"),
                "{shown}"
            );
        }
        "application/x-ndjson" => {
            for line in body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line: serde_json::Value = serde_json::from_slice(line).expect("a line of JSON");
                assert!(!line["type"].as_str().unwrap_or_default().ends_with(":internal"), "{shown}");
            }
        }
        "text/plain; version=0.0.4; charset=utf-8" => {
            let text = std::str::from_utf8(body).expect("text");
            assert!(
                text.lines().all(|line| {
                    ["# ", "postrider_", "process_"].iter().any(|start| line.starts_with(start))
                }),
                "{shown}"
            );
        }
        // Sealed records.
        "application/octet-stream" => {}
        other => panic!("{other}: {shown}"),
    }
}

/// A chunked body, and what follows it. A stream that was cut off mid-line has no last chunk.
fn chunks(mut rest: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut body = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(rest) else {
            assert!(rest.is_empty(), "no chunk: {}", rest.escape_ascii());
            return (body, rest);
        };
        let size = usize::try_from(size).expect("small");
        let (chunk, after) = rest[start..].split_at_checked(size).expect("the chunk is whole");
        body.extend_from_slice(chunk);
        rest = after.strip_prefix(b"\r\n").expect("a chunk ends its line");
        if size == 0 {
            return (body, rest);
        }
    }
}

/// Both sockets over a store of their own.
struct Daemon {
    runtime: Option<tokio::runtime::Runtime>,
    queue: Queue,
    stop: CancellationToken,
    admin: PathBuf,
    submit: PathBuf,
    _dir: TempDir,
}

impl Daemon {
    fn start() -> Daemon {
        let dir = tempfile::tempdir().expect("a directory");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let options = StoreOptions {
            data_dir: dir.path().join("data"),
            key: MasterKey([7; 32]),
            previous_key: None,
            cache_bytes: 4 << 20,
            reserve_bytes: Some(0),
            max_deliveries: 100,
            max_bytes: 1 << 20,
            max_total: QueueLimits::NONE,
            retention: postrider::queue::Retention::default(),
        };
        std::fs::create_dir(&options.data_dir).expect("a directory");
        let (queue, _notices) = Queue::open(&options).expect("a new store opens");
        let app = Arc::new(App::new(queue.clone(), None, Settings::default()));
        let stop = CancellationToken::new();
        let listen = |name: &str, socket| {
            let path = dir.path().join(name);
            let _inside = runtime.enter();
            let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
            let limits =
                ConnectionLimits { header_timeout: Duration::from_secs(2), ..ConnectionLimits::default() };
            runtime.spawn(serve(listener, router(app.clone(), socket), limits, stop.clone()));
            path
        };
        let (admin, submit) = (listen("admin.sock", Socket::Admin), listen("postrider.sock", Socket::Submit));
        let daemon = Daemon { runtime: Some(runtime), queue, stop, admin, submit, _dir: dir };
        daemon.furnish();
        daemon
    }

    /// Something to list, to skip and to give up.
    fn furnish(&self) {
        let event = br#"{"type":"order.placed","payload":{"n":1}}"#;
        for (call, body) in
            [(0, &b"{}"[..]), (1, br#"{"url":"https://example.com/"}"#), (3, event), (3, event), (9, b"{}")]
        {
            let request = framed(&[&[call, 0], body].concat());
            let answer = exchange(&self.admin, &request);
            assert!(answer.starts_with(b"HTTP/1.1 20"), "{}", answer.escape_ascii());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.block_on(self.queue.close());
            runtime.shutdown_timeout(PATIENCE);
        }
    }
}
