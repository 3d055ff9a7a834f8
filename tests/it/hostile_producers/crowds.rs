//! Producers in great number, or that hold on to what they have: nobody is kept out, and memory stays bounded.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit};

use super::*;
use crate::support::{Answer, Receiver, wait_until};

/// No file of ours belongs to it: the user of last resort.
const NOBODY: u32 = 65_534;

/// As many descriptors for this process as it may have; answers how many.
fn raise_open_files() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    limit.maximum.map_or(1 << 20, |limit| usize::try_from(limit).unwrap())
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out() {
    let half = 5_000.min((raise_open_files() - 1_000) / 2);
    // Nothing here is closed for being slow.
    let site = site_with("[api]\nheader_timeout = \"600s\"\nbody_timeout = \"600s\"\n");
    let daemon = site.start();
    daemon.org_only("honest");
    let before = resident(&daemon);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let crowds: Vec<_> = sockets(&site)
            .into_iter()
            .map(|socket| {
                scope.spawn(move || {
                    let open = |n| {
                        let mut stream = connect(&socket);
                        if n % 2 == 0 {
                            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").ok();
                        }
                        stream
                    };
                    (0..half).map(open).collect::<Vec<_>>()
                })
            })
            .collect();
        for socket in sockets(&site) {
            let done = &done;
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert_served(&socket);
                }
            });
        }
        let crowds: Vec<_> = crowds.into_iter().map(|crowd| crowd.join().unwrap()).collect();
        done.store(true, Ordering::Relaxed);
        assert_eq!(crowds.iter().map(Vec::len).sum::<usize>(), 2 * half);
        assert_both_serve(&site);
        assert_flat(&daemon, before, 96 * MIB);
    });
    assert!(daemon.terminate().success());
}

#[test]
fn running_out_of_descriptors_is_waited_out_and_said_once() {
    let site = site_with("[api]\nheader_timeout = \"600s\"\n");
    let daemon = site.start();
    daemon.org_only("honest");
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let all = rustix::process::getrlimit(Resource::Nofile);
    let limit = |limit| rustix::process::prlimit(pid, Resource::Nofile, limit).unwrap();
    limit(Rlimit { current: Some(open + 5), ..all });
    let hold: Vec<_> = (0..40).map(|_| connect(&site.submit_socket())).collect();
    wait_until("it has run out", || site.log().contains("connections cannot be accepted"));
    // Those that are idle make room, though there are slots.
    assert_served(&site.submit_socket());
    assert_served(&site.submit_socket());
    drop(hold);
    limit(Rlimit { current: all.maximum, ..all });
    assert_both_serve(&site);
    assert_eq!(site.log().matches("connections cannot be accepted").count(), 1, "{}", site.log());
}

/// A stream of events of somebody else, under way and not ending.
fn stream_as_nobody(socket: &Path, line: &str) -> Child {
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--no-buffer",
        "-X",
        "POST",
        "-T",
        "-",
        "-H",
        "content-type: application/x-ndjson",
        "-H",
        "expect:",
    ]);
    curl.arg("--unix-socket").arg(socket).arg("http://postrider/v1/events");
    let mut child = curl
        .uid(NOBODY)
        .gid(NOBODY)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    child
}

#[test]
fn no_user_takes_every_connection() {
    if !rustix::process::geteuid().is_root() {
        // Becoming someone else takes root.
        return;
    }
    let site = site_with("[api]\nmax_connections = 8\n");
    let daemon = site.start();
    daemon.org_only("honest");
    daemon.org("nobody", "https://192.0.2.1/", &Value::Null);
    daemon.admin("POST", "/v1/orgs/nobody/pause", &json!({})).expect(200);
    for dir in [site.dir(), &site.run_dir()] {
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::fs::set_permissions(site.submit_socket(), std::fs::Permissions::from_mode(0o666)).unwrap();
    let line = json!({"org": "nobody", "type": "a", "payload": 1}).to_string() + "\n";
    let mut streams: Vec<_> = (0..8).map(|_| stream_as_nobody(&site.submit_socket(), &line)).collect();
    wait_until("every stream is under way", || daemon.queue("nobody").len() == 8);
    // None of them is idle, and none would end by itself in time.
    for _ in 0..3 {
        assert_served(&site.submit_socket());
    }
    assert!(site.log().contains("broken off to make room for another peer"));
    let ended = streams.iter_mut().filter_map(|stream| stream.try_wait().unwrap()).count();
    assert!(ended <= 3, "no more than what was needed: {ended}");
    for mut stream in streams {
        stream.kill().ok();
        stream.wait().unwrap();
    }
}

/// Writes until nothing has been taken for a while.
fn write_until_stuck(stream: &mut UnixStream, piece: &[u8], most: u64) -> u64 {
    stream.set_write_timeout(Some(SLOW)).unwrap();
    let mut written = 0;
    while written < most {
        match stream.write(piece) {
            Ok(0) | Err(_) => break,
            Ok(count) => written += count as u64,
        }
    }
    written
}

#[test]
fn producers_that_read_no_answer_cost_a_bounded_piece_of_memory() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("honest");
    let before = resident(&daemon);
    let head = "POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-length: 9000000000\r\n\r\n";
    // Each line is two bytes, and its refusal a hundred times as long.
    let piece = b"x\n".repeat(32 << 10);
    let streams: Vec<UnixStream> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..10)
            .map(|n| {
                let (site, piece) = (&site, &piece);
                scope.spawn(move || {
                    let mut stream = connect(&sockets(site)[n % 2]);
                    stream.write_all(head.as_bytes()).unwrap();
                    let written = write_until_stuck(&mut stream, piece, 64 * MIB);
                    assert!(written < 64 * MIB, "the daemon goes on reading: {written} bytes");
                    stream
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    assert_both_serve(&site);
    assert_flat(&daemon, before, 256 * MIB);
    drop(streams);
    assert_both_serve(&site);
    assert!(daemon.terminate().success());
}

#[test]
fn an_org_that_floods_meets_its_limit_and_costs_no_other() {
    let site = site_with("[queue]\nmax_deliveries = 1000\n");
    let receiver = Receiver::start();
    receiver.always("/noisy", Answer::Hang);
    let daemon = site.start();
    daemon.org("noisy", &receiver.url("/noisy"), &json!({"timeout": "60s"}));
    daemon.org("quiet", &receiver.url("/quiet"), &Value::Null);
    let line = json!({"org": "noisy", "type": "a", "payload": "x".repeat(100)}).to_string() + "\n";
    let lines = line.repeat(10_000);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let body = Some(("application/x-ndjson", lines.as_bytes()));
                    http::request(&site.submit_socket(), "POST", "/v1/events", body).unwrap().expect(200);
                }
            });
        }
        wait_until("the noisy one meets its limit", || daemon.queue("noisy").len() == 1000);
        let mut took = Vec::new();
        for n in 0..20 {
            let start = Instant::now();
            daemon.enqueue("quiet", &json!({"type": "a", "payload": n}));
            wait_until("it is delivered", || receiver.at("/quiet").len() > n);
            took.push(start.elapsed());
        }
        // Commonly a few milliseconds. A disk that others use may hold one up for long, but not half of them.
        took.sort();
        assert!(took[10] < Duration::from_secs(2), "{took:?}");
        stop.store(true, Ordering::Relaxed);
    });
    let event = json!({"type": "a", "payload": 1});
    let full = daemon.try_enqueue("noisy", &event).unwrap().expect(429);
    assert!(full.header("retry-after").is_some_and(|text| text.parse::<u32>().unwrap() > 0));
    assert_eq!(daemon.queue("noisy").len(), 1000);
}

/// Puts something at the first path; the second is that of a socket.
type Place = fn(&Path, &Path);

#[test]
fn what_lies_at_the_sockets_path_is_not_followed() {
    let site = Site::new();
    let elsewhere = site.dir().join("elsewhere.sock");
    // A link to a socket, a link to nothing, a file, a directory: each is in the way, and is left alone.
    let listener = std::os::unix::net::UnixListener::bind(&elsewhere).unwrap();
    let places: [(&str, Place); 4] = [
        ("a link to a socket", |at, elsewhere| std::os::unix::fs::symlink(elsewhere, at).unwrap()),
        ("a link to nothing", |at, _| std::os::unix::fs::symlink("/nowhere", at).unwrap()),
        ("a file", |at, _| std::fs::write(at, "mine").unwrap()),
        ("a directory", |at, _| std::fs::create_dir(at).unwrap()),
    ];
    for socket in sockets(&site) {
        for (name, place) in places {
            place(&socket, &elsewhere);
            let (code, said) = site.serve_refused(|_| {});
            assert_ne!(code, 0, "{name}");
            assert!(said.contains("is in the way"), "{name}: {said}");
            let found = socket.symlink_metadata().unwrap();
            if found.is_dir() {
                std::fs::remove_dir(&socket).unwrap();
            } else {
                std::fs::remove_file(&socket).unwrap();
            }
        }
    }
    drop(listener);
    // The sockets of a daemon that was killed are replaced.
    site.start().kill();
    assert!(sockets(&site).iter().all(|socket| socket.exists()));
    let daemon = site.start();
    daemon.org_only("honest");
    assert_both_serve(&site);
}
