//! `GET /v1/tail` and `postrider tail`: what happens is told as it happens, to whoever listens and to nobody's cost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, PATIENCE, Receiver, Site, sources, wait_until};

/// A reader of the stream, listening once it is made.
struct Reader(BufReader<UnixStream>);

impl Reader {
    fn new(site: &Site, query: &str) -> Reader {
        let mut stream = UnixStream::connect(site.admin_socket()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /v1/tail{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let mut reader = Reader(BufReader::new(stream));
        assert_eq!(reader.line(), "HTTP/1.1 200 OK");
        let head: Vec<_> =
            std::iter::from_fn(|| Some(reader.line()).filter(|line| !line.is_empty())).collect();
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        reader
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The next event: its name and its data. Lines of the chunks around it, comments and blank lines are passed over.
    fn next(&mut self) -> (String, Value) {
        loop {
            if let Some(event) = self.line().strip_prefix("event: ") {
                let data = self.line();
                let data = data.strip_prefix("data: ").unwrap_or_else(|| panic!("after {event}: {data}"));
                return (event.to_owned(), serde_json::from_str(data).unwrap());
            }
        }
    }

    /// The next so many events' names.
    fn names(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.next().0).collect()
    }

    /// Reads to the end of the stream.
    fn rest(mut self) -> String {
        let mut rest = String::new();
        self.0.read_to_string(&mut rest).unwrap();
        rest
    }
}

fn event(id: &str) -> Value {
    json!({"type": "order.placed", "payload": {"secret": "c4nary"}, "id": id})
}

#[test]
fn tail_tells_the_path_of_a_delivery_in_order() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook?key=c4nary"), &retry(2, 5, 1.0, 5));
    let mut reader = Reader::new(&site, "");
    receiver.then("/hook", [503, 200, 500, 404].map(Answer::Status));
    daemon.enqueue("acme", &event("a"));
    let (accepted, fact) = reader.next();
    assert_eq!((accepted.as_str(), &fact["event"]), ("accepted", &"accepted".into()));
    assert_eq!(
        (&fact["org"], &fact["id"], &fact["type"], &fact["sequence"], &fact["webhooks"], &fact["deliveries"]),
        (&"acme".into(), &"a".into(), &"order.placed".into(), &1.into(), &json!(["main"]), &1.into())
    );
    assert_eq!(reader.names(1), ["attempt"]);
    let (retry, fact) = reader.next();
    assert_eq!((retry.as_str(), &fact["attempt"], &fact["status"]), ("retry", &1.into(), &503.into()));
    assert!(
        fact["not_before"].as_str().unwrap() > fact["at"].as_str().unwrap() || fact["duration_ms"].is_u64()
    );
    assert_eq!(reader.names(1), ["attempt"]);
    let (delivered, fact) = reader.next();
    assert_eq!(
        (delivered.as_str(), &fact["attempt"], &fact["webhook"]),
        ("delivered", &2.into(), &"main".into())
    );

    daemon.enqueue("acme", &event("b"));
    assert_eq!(reader.names(4), ["accepted", "attempt", "retry", "attempt"]);
    let (dead, fact) = reader.next();
    assert_eq!(
        (dead.as_str(), &fact["reason"], &fact["attempt"], &fact["status"], &fact["error"]),
        ("dead", &"attempts-exhausted".into(), &2.into(), &404.into(), &"status".into())
    );
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    daemon.admin("POST", "/v1/dead-letters/b/retry", &json!({})).expect(200);
    daemon.admin("POST", "/v1/orgs/acme/queue/skip", &json!({})).expect(200);
    daemon.admin("POST", "/v1/orgs/acme/resume", &json!({})).expect(200);
    assert_eq!(reader.names(2), ["paused", "revived"]);
    let (dead, fact) = reader.next();
    assert_eq!((dead.as_str(), &fact["reason"], &fact["sequence"]), ("dead", &"skipped".into(), &3.into()));
    assert_eq!(reader.names(1), ["resumed"]);

    // The end of the daemon is the end of the stream, at once.
    let begun = Instant::now();
    assert!(daemon.terminate().success());
    let rest = reader.rest();
    assert!(begun.elapsed() < Duration::from_secs(8), "the stream held up the end");
    assert!(!rest.contains("c4nary") && !rest.contains("127.0.0.1"), "{rest}");
}

#[test]
fn tail_filters_and_refuses_what_would_be_silence() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    for org in ["acme", "other"] {
        daemon.org(org, &receiver.url("/"), &Value::Null);
    }
    daemon.webhook("acme", "audit", &receiver.url("/audit"), &Value::Null);
    let mut of_webhook = Reader::new(&site, "?org=acme&webhook=audit&event=delivered,dead");
    let mut of_type = Reader::new(&site, "?type=BookingChanged&event=accepted");
    let unchecked = json!({"type": "timetime.booking.other", "payload": 1});
    daemon.enqueue("other", &unchecked);
    daemon.enqueue("acme", &unchecked);
    let (delivered, fact) = of_webhook.next();
    assert_eq!(
        (delivered.as_str(), &fact["org"], &fact["webhook"]),
        ("delivered", &"acme".into(), &"audit".into())
    );
    let example = site.command("catalogue").args(["example", "BookingChanged"]).output().unwrap();
    let payload: Value = serde_json::from_slice(&example.stdout).unwrap();
    daemon.enqueue("other", &json!({"type": "timetime.booking.changed", "payload": payload}));
    assert_eq!(of_type.next().1["type"], "timetime.booking.changed");
    for (query, status, field) in [
        ("?org=nobody", 404, Value::Null),
        ("?org=acme&webhook=nothing", 404, Value::Null),
        ("?event=deliverd", 422, "/event".into()),
        ("?evnt=dead", 422, "/evnt".into()),
        ("?type=a%20b", 422, "/type".into()),
    ] {
        let problem = daemon.admin("GET", &format!("/v1/tail{query}"), &Value::Null).expect(status).json();
        assert_eq!(problem["field"], field, "{problem}");
    }
}

#[test]
fn tail_tells_how_requests_of_sources_were_judged() {
    let receiver = Receiver::start();
    let (site, _) = sources::site();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    let open = sources::put(&daemon, "acme", "open", &json!({"kind": "token"}));
    let signed = sources::put(&daemon, "acme", "signed", &json!({"kind": "github", "secret": "c4nary"}));
    let mut reader = Reader::new(&site, "?event=request,accepted");
    sources::post_json(&signed, "{\"n\":\"c4nary\"}").expect(401);
    let (request, fact) = reader.next();
    assert_eq!(
        (request.as_str(), &fact["source"], &fact["status"], &fact["deliveries"]),
        ("request", &"signed".into(), &401.into(), &0.into())
    );
    assert!(fact["verdict"].as_str().is_some_and(|verdict| verdict != "accepted"), "{fact}");
    sources::post_json(&open, "{\"n\":\"c4nary\"}").expect(200);
    // Its event is durable before its sender is answered.
    let (accepted, event) = reader.next();
    let (request, fact) = reader.next();
    assert_eq!((accepted.as_str(), request.as_str()), ("accepted", "request"));
    assert_eq!(
        (&fact["verdict"], &fact["id"], &fact["deliveries"]),
        (&"accepted".into(), &event["id"], &1.into())
    );
    assert!(![event, fact].iter().any(|told| told.to_string().contains("c4nary")));
}

#[test]
fn tail_has_room_for_sixteen() {
    let site = Site::new();
    let daemon = site.start();
    let mut readers: Vec<_> = (0..16).map(|_| Reader::new(&site, "")).collect();
    let refused = daemon.admin("GET", "/v1/tail", &Value::Null).expect(503);
    assert!(refused.text().contains("too-many-listeners") && refused.header("retry-after").is_some());
    run(&site, &["tail"]).exits(75).says("16 listen already");
    // One that goes makes room, as soon as that is noticed: with the next thing that it would be told.
    readers.pop();
    daemon.org_only("acme");
    wait_until("there is room again", || {
        for action in ["pause", "resume"] {
            daemon.admin("POST", &format!("/v1/orgs/acme/{action}"), &json!({})).expect(200);
        }
        let mut stream = UnixStream::connect(site.admin_socket()).unwrap();
        stream.write_all(b"GET /v1/tail HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        status == *b"HTTP/1.1 200"
    });
}

#[test]
fn tail_that_is_not_read_loses_lines_and_slows_nobody() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    let mut slow = Reader::new(&site, "");
    // More than the daemon keeps for a reader and the socket holds.
    let lines: String =
        (0..12_000).map(|n| format!("{{\"org\":\"acme\",\"type\":\"t\",\"payload\":{n}}}\n")).collect();
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    for _ in 0..2 {
        let reply = crate::support::http::request(
            &site.submit_socket(),
            "POST",
            "/v1/events",
            Some(("application/x-ndjson", lines.as_bytes())),
        );
        assert_eq!(
            reply.unwrap().expect(200).text().lines().filter(|line| line.contains("\"id\"")).count(),
            12_000
        );
    }
    let (mut told, mut lost) = (0, 0);
    while told + lost < 24_000 {
        match slow.next() {
            (event, _) if event == "accepted" => told += 1,
            (event, fact) if event == "lost" => lost += fact["count"].as_u64().unwrap(),
            (event, _) => assert_eq!(event, "paused"),
        }
    }
    assert_eq!(told + lost, 24_000, "what is not told is counted");
    assert!(lost > 0 && told >= 8192, "{told} told, {lost} lost");
}

/// `postrider tail` as a process, with what it prints line by line.
struct Tail {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Tail {
    fn start(site: &Site, arguments: &[&str]) -> Tail {
        let mut command = site.command("tail");
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Tail { process, lines }
    }

    /// Its next line; something happens to the org until there is one, since nothing says that it listens.
    fn first(&self, daemon: &Daemon<'_>) -> String {
        let begun = Instant::now();
        loop {
            assert!(begun.elapsed() < PATIENCE, "it prints nothing");
            for action in ["pause", "resume"] {
                daemon.admin("POST", &format!("/v1/orgs/acme/{action}"), &json!({})).expect(200);
            }
            if let Ok(line) = self.lines.recv_timeout(Duration::from_millis(50)) {
                return line;
            }
        }
    }

    fn ended(mut self) -> (i32, String) {
        wait_until("it ends", || self.process.try_wait().unwrap().is_some());
        let mut said = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (self.process.wait().unwrap().code().unwrap(), said)
    }
}

#[test]
fn tail_command_prints_a_line_each_and_says_when_the_daemon_went_away() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/"), &Value::Null);
    let people = Tail::start(&site, &["--org", "acme", "--event", "delivered", "--event", "paused"]);
    let machines = Tail::start(&site, &["--json"]);
    assert!(people.first(&daemon).contains(" paused    acme"));
    let fact: Value = serde_json::from_str(&machines.first(&daemon)).unwrap();
    assert_eq!((&fact["org"], fact["at"].is_string()), (&"acme".into(), true));
    daemon.enqueue("acme", &event("a"));
    let printed = loop {
        let line = people.lines.recv_timeout(PATIENCE).unwrap();
        if !line.contains("paused") {
            break line;
        }
    };
    assert!(
        printed.contains(" delivered acme  order.placed, a, to main, sequence 1, attempt 1, 200, "),
        "{printed}"
    );
    assert!(!printed.contains("c4nary"), "{printed}");

    // Interrupted, it ends well.
    kill_process(Pid::from_child(&machines.process), Signal::INT).unwrap();
    assert_eq!(machines.ended(), (0, String::new()));
    daemon.kill();
    let (code, said) = people.ended();
    assert_eq!(code, 69);
    assert!(said.contains("the daemon went away"), "{said}");
    run(&site, &["tail"]).exits(69).says("not reachable");
    run(&site, &["tail", "--event", "deliverd"]).exits(64).says("must be one of");
}

#[test]
fn tail_command_ends_quietly_when_nobody_reads() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let mut command = site.command("tail");
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(process.stdout.take());
    wait_until("it ends", || {
        for action in ["pause", "resume"] {
            daemon.admin("POST", &format!("/v1/orgs/acme/{action}"), &json!({})).expect(200);
        }
        process.try_wait().unwrap().is_some()
    });
    let output = process.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
}
