//! A bad receiver, and bad peers at the listener, cost nobody else anything.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::http::read_reply;
use crate::support::senders::{JSON, Sender, site_with, verdicts};
use crate::support::{Answer, Daemon, PATIENCE, Receiver, Site, wait_until};

/// Connections at once.
const CONNECTIONS: usize = 8;
/// Far less than any timeout of the site below, and more than a busy machine needs.
const SOON: Duration = Duration::from_secs(8);

/// A site with few connections, that nobody leaves for being silent.
fn small_site(lines: &str) -> Site {
    site_with(&format!("max_connections = {CONNECTIONS}\nheader_timeout = \"600s\"\n{lines}"))
}

#[test]
fn a_receiver_that_hangs_keeps_no_sender_waiting() {
    let (receiver, site) = (Receiver::start(), site_with(""));
    receiver.always("/hangs", Answer::Hang);
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hangs"), &json!({"timeout": "1m"}));
    daemon.org("good", &receiver.url("/good"), &json!({}));
    let senders =
        ["stripe", "github", "standard"].map(|kind| Sender::put(&daemon, "acme", kind, kind, &json!({})));
    let good = Sender::put(&daemon, "good", "in", "slack", &json!({}));
    let mut expected = Vec::new();
    for number in 0..50 {
        let sender = &senders[number % senders.len()];
        let call = sender.call(&format!("d-{number}"), &format!("task {number}"));
        let begun = Instant::now();
        let answer = sender.post(&call).expect(200).json();
        assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
        expected.push(answer["events"][0]["id"].clone());
        if number == 25 {
            wait_until("the head is in flight", || receiver.at("/hangs").len() == 1);
        }
    }
    let queued: Vec<_> = daemon.queue("acme").iter().map(|queued| queued["id"].clone()).collect();
    assert_eq!(queued, expected);
    good.post(&good.call("t-1", "x")).expect(200);
    daemon.drained("good");
    assert_eq!((receiver.at("/hangs").len(), receiver.at("/good").len()), (1, 1));
}

/// A connection from another machine, as far as addresses tell.
fn connect_from_elsewhere(address: &str) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        socket.connect(address.parse().unwrap()).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    stream
}

/// Opens connections again and again: each says `first`, and then a byte now and then for as long as it is let.
fn hold(address: &str, first: &str, more: &[u8], done: &AtomicBool, opened: &AtomicUsize) {
    while !done.load(Ordering::Relaxed) {
        let mut stream = connect_from_elsewhere(address);
        let _closed = stream.write_all(first.as_bytes());
        opened.fetch_add(1, Ordering::Relaxed);
        // A read that times out means that it is still open.
        while !done.load(Ordering::Relaxed)
            && stream.write_all(more).is_ok()
            && stream.read(&mut [0; 1024]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
        {
        }
    }
}

/// The sockets of the API and a sender of good will are served.
#[track_caller]
fn all_served(daemon: &Daemon<'_>, sender: &Sender, number: usize) {
    let begun = Instant::now();
    sender.post(&sender.call(&format!("d-{number}"), "x")).expect(200);
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
    let begun = Instant::now();
    daemon.enqueue("acme", &json!({"type": "t", "payload": number}));
    daemon.get("/v1/orgs/acme");
    assert!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
}

#[test]
fn peers_that_hold_on_to_connections_keep_no_other_out() {
    let site = small_site("");
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "github", &json!({}));
    // Who knows an address and has as long as its kind waits.
    let held = Sender::put(&daemon, "acme", "held", "token", &json!({}));
    let ((address, path), done) = (held.place(), AtomicBool::new(false));
    let body = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n");
    let [silent, heads, bodies] = [(); 3].map(|()| AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| hold(address, "", b"", &done, &silent));
            scope.spawn(|| hold(address, "POST /in/", b"x", &done, &heads));
            scope.spawn(|| hold(address, &body, b" ", &done, &bodies));
        }
        // Else they would hold on for ever.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_until("all of them came", || {
                [&silent, &heads, &bodies].iter().all(|opened| opened.load(Ordering::Relaxed) >= CONNECTIONS)
            });
            (0..6).for_each(|number| all_served(&daemon, &sender, number));
        }));
        done.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    assert_eq!(verdicts(&daemon, "acme", "in"), vec![("accepted".to_owned(), 200); 6]);
    all_served(&daemon, &sender, 6);
    assert!(daemon.terminate().success());
}

#[test]
fn busy_connections_of_one_machine_are_broken_off_for_another() {
    let site = small_site("");
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "github", &json!({}));
    let held = Sender::put(&daemon, "acme", "held", "token", &json!({}));
    let ((address, path), body) = (held.place(), "content-length: 100000\r\n\r\n ");
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\n{body}");
    let mut crowd: Vec<_> = (0..CONNECTIONS).map(|_| connect_from_elsewhere(address)).collect();
    for stream in &mut crowd {
        stream.write_all(head.as_bytes()).unwrap();
    }
    all_served(&daemon, &sender, 0);
    assert!(site.log().contains("broken off to make room for another peer"), "{}", site.log());
    // No more than it takes: the others are still waited for.
    let open = |stream: &mut TcpStream| {
        stream.read(&mut [0]).is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    let still = crowd.iter_mut().filter_map(|stream| open(stream).then_some(())).count();
    assert_eq!(still, CONNECTIONS - 1);
}

/// Posts by TLS to the one that is called localhost, trusting this certificate; the status.
fn curl(certificate: &Path, address: &str, path: &str) -> String {
    let mut curl = Command::new("curl");
    let limit = SOON.as_secs().to_string();
    curl.args(["--silent", "--show-error", "--max-time", &limit, "--write-out", "%{http_code}"]);
    curl.args(["--output", "/dev/null", "--noproxy", "*", "--data", "{}", "--cacert"]).arg(certificate);
    let port = address.split(':').nth(1).unwrap();
    curl.args(["--connect-to", &format!("localhost:{port}:{address}")]);
    let url = format!("https://localhost:{port}{path}");
    curl.args(["--header", &format!("content-type: {JSON}"), &url]).stdin(Stdio::null());
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn handshakes_that_never_come_keep_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let [certificate, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let site = small_site(&format!(
        "tls_certificate_file = \"{}\"\ntls_key_file = \"{}\"\n",
        certificate.display(),
        key.display()
    ));
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "token", &json!({"id_header": null}));
    let (address, path) = sender.url.strip_prefix("https://").unwrap().split_once('/').unwrap();
    let silent: Vec<_> = (0..CONNECTIONS).map(|_| connect_from_elsewhere(address)).collect();
    let begun: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut stream = connect_from_elsewhere(address);
            // A record of a handshake of 512 bytes, and the first of them.
            stream.write_all(&[0x16, 3, 1, 2, 0, 1]).unwrap();
            stream
        })
        .collect();
    for _ in 0..6 {
        assert_eq!(curl(&certificate, address, &format!("/{path}")), "200");
    }
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    drop((silent, begun));
    assert!(daemon.terminate().success());
}

#[test]
fn what_is_no_request_is_told_what_would_be() {
    let site = site_with("");
    let daemon = site.start();
    daemon.org_only("acme");
    let sender = Sender::put(&daemon, "acme", "in", "github", &json!({}));
    let large = format!("POST / HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    let many = format!("POST / HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(100));
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    let garbage: Vec<u8> = (0..=255).cycle().take(5000).collect();
    let cases: [(&[u8], u16, &str, &str); 8] = [
        (&hello, 400, "malformed-request", "TLS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", 400, "malformed-request", "HTTP/2"),
        (&garbage, 400, "malformed-request", "HTTP/1.1"),
        (b"\0\0\0\0\r\n\r\n", 400, "malformed-request", "HTTP/1.1"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", 400, "malformed-request", "HTTP/1.1"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "malformed-request", "HTTP/1.1"),
        (large.as_bytes(), 431, "head-too-large", "KiB"),
        (many.as_bytes(), 431, "head-too-large", "fields"),
    ];
    for (number, (bytes, status, code, hint)) in cases.into_iter().enumerate() {
        let mut stream = TcpStream::connect(sender.place().0).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        let reply =
            read_reply(&mut stream).unwrap_or_else(|error| panic!("{number}: {error}")).expect(status);
        assert_eq!(reply.header("content-type"), Some("application/problem+json"), "{number}");
        let problem: Value = reply.json();
        assert_eq!(problem["type"], format!("urn:postrider:{code}"), "{number}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(hint), "{number}: {detail}");
        all_served(&daemon, &sender, number);
    }
}
