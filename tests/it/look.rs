//! Looking at a daemon: `shape`, the orgs that stand worst, and `top`, in a terminal and without.

use std::io::{Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use serde_json::{Value, json};

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

fn events(daemon: &Daemon<'_>, org: &str, count: usize) {
    for n in 0..count {
        daemon.enqueue(org, &json!({"type": "t", "payload": n}));
    }
}

/// Three orgs: one whose head has failed, one that is paused over more, and one with a dead letter.
fn troubled(receiver: &Receiver, daemon: &Daemon<'_>) {
    receiver.always("/down", Answer::Status(503));
    daemon.org("failing", &receiver.url("/down"), &retry(9, 3_600_000, 1.0, 3_600_000));
    daemon.org("paused", &receiver.url("/"), &Value::Null);
    daemon.org("buried", &receiver.url("/down"), &retry(1, 1, 1.0, 1));
    daemon.admin("POST", "/v1/orgs/paused/pause", &json!({})).expect(200);
    events(daemon, "failing", 2);
    events(daemon, "paused", 3);
    events(daemon, "buried", 1);
    wait_until("it is given up", || daemon.get("/v1/orgs/buried")["queue"]["depth"] == 0);
    wait_until("a head has failed", || daemon.queue("failing")[0]["attempts"] == 1);
}

#[test]
fn shape_shows_what_waits_by_org_and_age() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    troubled(&receiver, &daemon);
    let shape = daemon.get("/v1/shape");
    let new = |count: u64| json!([count, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(shape["total"], json!({"orgs": 2, "count": 5, "by_age": new(5)}));
    assert_eq!(shape["items"][0], json!({"org": "paused", "count": 3, "by_age": new(3)}));
    assert_eq!((&shape["items"][1]["org"], &shape["left_out"]["count"]), (&"failing".into(), &0.into()));
    assert_eq!(
        daemon.get("/v1/shape?dead=true")["items"],
        json!([{"org": "buried", "count": 1, "by_age": new(1)}])
    );
    assert_eq!(daemon.get("/v1/shape?limit=1")["items"].as_array().unwrap().len(), 1);
    daemon.admin("GET", "/v1/shape?limit=0", &Value::Null).expect(422);
    let shown = run(&site, &["shape"]).exits(0).out;
    let lines: Vec<Vec<_>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0][..4], ["ORG", "T", "5m", "10m"]);
    assert_eq!(lines[0][9..], ["640m", "1280m", "1280m+"]);
    assert_eq!(
        (lines[1][..3].to_vec(), lines[2][..3].to_vec()),
        (vec!["TOTAL", "5", "5"], vec!["paused", "3", "3"])
    );
    let widths: Vec<_> = shown.lines().map(str::len).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "numbers stand right: {shown}");
    daemon.kill();
    let data = site.data_dir();
    let offline =
        run(&site, &["shape", "--dead", "--json", "--data", data.to_str().unwrap()]).exits(0).json();
    assert_eq!((&offline["of"], &offline["total"]["count"]), (&"dead-letters".into(), &1.into()));
}

#[test]
fn status_says_how_it_is_and_exits_so() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    troubled(&receiver, &daemon);
    let status = run(&site, &["status", "--json"]).exits(0).json();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    for (pointer, value) in [
        ("/counts/orgs", json!(3)),
        ("/counts/webhooks", json!(3)),
        ("/counts/deliveries", json!(5)),
        ("/counts/dead_letters", json!(1)),
        ("/counts/quarantined", json!(0)),
        ("/in_flight", json!(0)),
        ("/queues/held", json!(1)),
        ("/queues/delayed", json!(1)),
        ("/oldest_due_age_ms", Value::Null),
        ("/store/health", json!("accepting")),
        ("/draining", json!(false)),
        ("/last_error", Value::Null),
    ] {
        assert_eq!(status.pointer(pointer), Some(&value), "{pointer} of {status}");
    }
    for number in
        ["/uptime_ms", "/resident_bytes", "/disk/live_bytes", "/disk/allocated_bytes", "/disk/free_bytes"]
    {
        assert!(status.pointer(number).unwrap().as_u64().unwrap() > 0, "{number} of {status}");
    }
    daemon.kill();
    run(&site, &["status"]).exits(69).says("not reachable");
}

#[test]
fn orgs_that_stand_worst_come_first_when_asked_for() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    troubled(&receiver, &daemon);
    let worst = daemon.get("/v1/orgs?sort=worst");
    let names: Vec<_> =
        worst["items"].as_array().unwrap().iter().map(|org| org["id"].as_str().unwrap()).collect();
    assert_eq!((names, &worst["next"]), (vec!["failing", "paused"], &Value::Null));
    assert_eq!(worst["items"][0]["queue"]["head"]["last"]["status"], 503);
    assert_eq!(daemon.get("/v1/orgs?sort=worst&limit=1")["items"].as_array().unwrap().len(), 1);
    for (query, field) in [("sort=best", "/sort"), ("sort=worst&after=x", "/after")] {
        let problem = daemon.admin("GET", &format!("/v1/orgs?{query}"), &Value::Null).expect(422).json();
        assert_eq!(problem["field"], field);
    }
}

#[test]
fn top_prints_one_frame_without_a_terminal_and_objects_for_machines() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    troubled(&receiver, &daemon);
    let shown = run(&site, &["top", "--every", "100ms"]).exits(0).out;
    for words in
        ["postrider ", "store accepting", "per second  accepted ", "held 1", "dead letters 1", "memory "]
    {
        assert!(shown.contains(words), "{words} is not in {shown}");
    }
    let orgs: Vec<_> = shown.lines().rev().take(2).collect();
    assert!(orgs[1].starts_with("failing ") && orgs[1].ends_with("503"), "{shown}");
    assert!(orgs[0].starts_with("paused "), "{shown}");
    assert!(!shown.contains('\x1b'), "a pipe is no terminal: {shown}");

    let frame = run(&site, &["top", "--once", "--json", "--every", "100ms", "--limit", "1"]).exits(0);
    assert_eq!(frame.out.lines().count(), 1);
    let frame = frame.json();
    assert_eq!((&frame["queues"]["held"], &frame["orgs"][0]["org"]), (&1.into(), &"failing".into()));
    assert_eq!(frame["orgs"].as_array().unwrap().len(), 1);
    assert!(
        frame["resident_bytes"].as_u64().unwrap() > 1 << 20 && frame["interval_ms"].as_u64().unwrap() >= 100
    );
    run(&site, &["top", "--every", "1ms"]).exits(64).says("must be from 100ms to 1h");
    daemon.kill();
    run(&site, &["top", "--once"]).exits(69).says("not reachable");
}

#[test]
fn top_for_machines_goes_on_and_counts_what_happens() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    let mut command = site.command("top");
    command.args(["--json", "--every", "100ms"]).stdout(Stdio::piped());
    let mut top = command.spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(top.stdout.take().unwrap()));
    let mut frame = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(frame()["per_second"]["accepted"], 0.0);
    wait_until("what happens is seen", || {
        events(&daemon, "acme", 5);
        let seen = frame()["per_second"].clone();
        seen["accepted"].as_f64().unwrap() > 0.0
            && seen["attempts"]["2xx"].as_f64().is_some_and(|rate| rate > 0.0)
    });
    kill_process(Pid::from_child(&top), Signal::INT).unwrap();
    assert!(top.wait().unwrap().success());
}

/// `postrider top` in a terminal of its own, and what it has drawn there.
struct Terminal {
    master: std::fs::File,
    slave: OwnedFd,
    top: Child,
    drawn: Arc<Mutex<String>>,
}

impl Terminal {
    fn start(site: &Site) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let open = || -> OwnedFd {
            let name = name.to_str().unwrap();
            std::fs::File::options().read(true).write(true).open(name).unwrap().into()
        };
        let slave = open();
        tcsetwinsize(&slave, Winsize { ws_row: 30, ws_col: 60, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let mut command = site.command("top");
        command.args(["--every", "100ms"]).stdin(open()).stdout(open()).stderr(open());
        let top = command.spawn().unwrap();
        let master = std::fs::File::from(master);
        let drawn = Arc::new(Mutex::new(String::new()));
        let (mut reading, into) = (master.try_clone().unwrap(), drawn.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length) = reading.read(&mut piece) {
                into.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        Terminal { master, slave, top, drawn }
    }

    fn drawn(&self) -> String {
        self.drawn.lock().unwrap().clone()
    }

    fn keys_are_shown(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO)
    }

    /// Ends well, with the terminal as it was.
    #[track_caller]
    fn ends(mut self) {
        let mut status = None;
        wait_until("top ends", || {
            status = self.top.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success(), "{}", self.drawn());
        assert!(self.keys_are_shown(), "descriptor {} is not as it was", self.slave.as_raw_fd());
        wait_until("the screen is given back", || self.drawn().ends_with("\x1b[?25h\x1b[?1049l"));
    }
}

#[test]
fn top_draws_on_a_terminal_and_gives_it_back() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    troubled(&receiver, &daemon);
    let mut terminal = Terminal::start(&site);
    wait_until("it has drawn", || terminal.drawn().contains("failing"));
    let drawn = terminal.drawn();
    assert!(drawn.starts_with("\x1b[?1049h\x1b[?25l"), "{drawn:?}");
    assert!(!terminal.keys_are_shown());
    let widest = drawn.split("\r\n").map(|line| line.split('\x1b').next().unwrap().chars().count()).max();
    assert!(widest.unwrap() <= 60, "lines are cut to the width: {widest:?}");
    terminal.master.write_all(b"xq").unwrap();
    terminal.ends();

    let terminal = Terminal::start(&site);
    wait_until("it has drawn", || terminal.drawn().contains("failing"));
    // A daemon that goes away is waited for.
    daemon.kill();
    wait_until("it says so", || terminal.drawn().contains("not reachable"));
    let seen = terminal.drawn().len();
    let _daemon = site.start();
    wait_until("it goes on", || terminal.drawn()[seen..].contains("failing"));
    kill_process(Pid::from_child(&terminal.top), Signal::INT).unwrap();
    terminal.ends();
}
