//! The command line against a real daemon: what it prints, where, and how it exits.
//!
//! Each command runs as a process of its own, with pipes for stdin, stdout and stderr.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    /// This, if it exited so.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// This, if it says so on stderr.
    #[track_caller]
    pub fn says(self, text: &str) -> Ran {
        assert!(self.err.contains(text), "\"{text}\" is not in: {}", self.err);
        self
    }
}

/// Runs `postrider` at this site.
#[track_caller]
pub fn run(site: &Site, arguments: &[&str]) -> Ran {
    run_with(site, arguments, "")
}

/// The same with text on stdin.
#[track_caller]
pub fn run_with(site: &Site, arguments: &[&str], input: &str) -> Ran {
    let mut command = site.command(arguments[0]);
    command.args(&arguments[1..]);
    run_command(command, input)
}

#[track_caller]
pub fn run_command(mut command: Command, input: &str) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // A command that does not read its stdin closes it; that is no fault of the test.
    let writer = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn an_org_and_its_webhooks_from_birth_to_death() {
    let site = Site::new();
    let _daemon = site.start();
    run(
        &site,
        &["org", "put", "acme", "--plan", "pro", "--description", "A\u{1b}[31m", "--max-bytes", "64MiB"],
    )
    .exits(1)
    .says("/description");
    run(&site, &["org", "put", "acme", "--plan", "pro", "--description", "first", "--max-bytes", "64MiB"])
        .exits(0);
    let org = run(&site, &["org", "show", "acme", "--json"]).exits(0).json();
    assert_eq!(org["plan"], "pro");
    assert_eq!(org["limits"]["bytes"], 64 << 20);
    assert_eq!(org["queue"]["state"], "idle");
    let listed = run(&site, &["org", "list"]).exits(0).out;
    assert!(listed.starts_with("ORG ") && listed.contains("acme") && listed.contains("first"), "{listed}");

    let secret = site.dir().join("password");
    std::fs::write(&secret, "hunter2\n").unwrap();
    run(
        &site,
        &[
            "webhook",
            "put",
            "acme",
            "hook",
            "--url",
            "https://example.com/in",
            "--event",
            "a.b",
            "--event",
            "c.*",
            "--password-file",
            secret.to_str().unwrap(),
            "--attempts",
            "3",
            "--first-delay",
            "1s",
            "--factor",
            "1.5",
            "--max-delay",
            "5s",
            "--timeout",
            "2s",
            "--disabled",
            "--description",
            "orders",
        ],
    )
    .exits(0);
    let hook = run(&site, &["webhook", "show", "acme", "hook", "--json"]).exits(0).json();
    assert_eq!(hook["url"], "https://example.com/in");
    assert_eq!(hook["events"], json!(["a.b", "c.*"]));
    let retry = json!({"attempts": 3, "first_delay": "1s", "factor": 1.5, "max_delay": "5s", "jitter": 0,
        "on_exhausted": "advance"});
    assert_eq!(hook["retry"], retry);
    assert_eq!((&hook["timeout"], &hook["enabled"]), (&json!("2s"), &json!(false)));
    assert_eq!(hook["password_set"], true);
    for output in [
        run(&site, &["webhook", "show", "acme", "hook"]),
        run(&site, &["webhook", "list", "acme"]),
        run(&site, &["webhook", "list", "acme", "--json"]),
    ] {
        let output = output.exits(0);
        assert!(output.out.contains("hook") && !output.out.contains("hunter2"), "{output:?}");
    }
    run(&site, &["webhook", "delete", "acme", "hook"]).exits(0);
    run(&site, &["webhook", "show", "acme", "hook"]).exits(2);
    run(&site, &["org", "delete", "acme"]).exits(0);
    run(&site, &["org", "show", "acme"]).exits(2).says("there is no org \"");
}

#[test]
fn a_webhook_may_come_as_json_and_its_password_from_stdin() {
    let site = Site::new();
    let _daemon = site.start();
    run(&site, &["org", "put", "acme"]).exits(0);
    let put = ["webhook", "put", "acme", "hook"];
    let json = r#"{"url":"https://example.com","events":["x"],"password":"p"}"#;
    run_with(&site, &[&put[..], &["--file", "-"]].concat(), json).exits(0);
    let show = || run(&site, &["webhook", "show", "acme", "hook", "--json"]).exits(0).json();
    assert_eq!((&show()["events"], &show()["password_set"]), (&json!(["x"]), &json!(true)));
    let url = ["--url", "https://example.com"];
    run_with(&site, &[&put[..], &url[..], &["--password-stdin"]].concat(), "secret\n").exits(0);
    assert_eq!(show()["password_set"], true);
    run(&site, &[&put[..], &url[..]].concat()).exits(0);
    assert_eq!(show()["password_set"], false, "what is not given goes back to its default");
    let bad = r#"{"url":"https://example.com","retry":{"attempts":0}}"#;
    run_with(&site, &[&put[..], &["--file", "-"]].concat(), bad).exits(1).says("/retry/attempts");
    run_with(&site, &[&put[..], &["--file", "-"]].concat(), "{").exits(1).says("not JSON");
}

#[test]
fn an_event_from_a_file_or_stdin_goes_out_as_it_is() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &json!({"password": "sesame"}));
    let payload = "{ \"b\" : 1.50,\n  \"a\":[\"\\u00e9\", 1e2] }";
    let file = site.dir().join("payload.json");
    std::fs::write(&file, payload).unwrap();
    let enqueue = ["enqueue", "--org", "acme", "--type", "order.created"];
    let by_file =
        [&enqueue[..], &["--id", "order-1", "--attribute", "user=7", file.to_str().unwrap()]].concat();
    let ran = run(&site, &by_file).exits(0).says("accepted: 1 delivery, sequence 1");
    assert_eq!(ran.out, "order-1\n");
    let again = run(&site, &by_file).exits(0).says("accepted before");
    assert_eq!(again.out, "order-1\n");
    let other = [&enqueue[..], &["--id", "order-1"]].concat();
    run_with(&site, &other, "{}").exits(1);
    let made = run_with(&site, &[&enqueue[..], &["--json"]].concat(), payload).exits(0).json();
    assert_eq!((&made["sequence"], &made["deliveries"]), (&json!(2), &json!(1)));
    wait_until("both arrive", || receiver.at("/in").len() == 2);
    for received in receiver.at("/in") {
        assert_eq!(received.body, payload);
    }
    assert_eq!(receiver.at("/in")[0].id(), "order-1");
    assert_eq!(receiver.at("/in")[1].id(), made["id"]);
}

#[test]
fn what_is_refused_says_why_and_exits_so() {
    let site = Site::new();
    let daemon = site.start();
    run_with(&site, &["enqueue", "--org", "nobody", "--type", "t"], "{}").exits(2).says("there is no org \"");
    daemon.org_only("acme");
    run_with(&site, &["enqueue", "--org", "acme", "--type", "t"], "{\"a\":").exits(1).says("not JSON");
    run(&site, &["enqueue", "--org", "acme", "--type", "t", "/nowhere"]).exits(1).says("/nowhere");
    run(&site, &["enqueue", "--org", "acme"]).exits(64);
    run(&site, &["queue", "retry-now", "acme"]).exits(2).says("No delivery is waiting");
    run(&site, &["nonsense"]).exits(64);
    run(&site, &["--version"]).exits(0);
    daemon.kill();
    run(&site, &["status"]).exits(69).says("postrider serve");
    run_with(&site, &["enqueue", "--org", "acme", "--type", "t"], "{}").exits(69);
    run_with(&site, &["enqueue", "--ndjson", "-"], "{}\n").exits(69);
}

#[test]
fn a_full_queue_means_try_again() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/in", Answer::Hang);
    let daemon = site.start();
    run(&site, &["org", "put", "acme", "--max-deliveries", "1"]).exits(0);
    daemon.webhook("acme", "main", &receiver.url("/in"), &Value::Null);
    let enqueue = ["enqueue", "--org", "acme", "--type", "t"];
    run_with(&site, &enqueue, "1").exits(0);
    run_with(&site, &enqueue, "2").exits(75).says("queue is full");
    let batch = "{\"org\":\"acme\",\"type\":\"t\",\"payload\":3}\n";
    run_with(&site, &["enqueue", "--ndjson", "-"], batch).exits(75).says("1 of them only for now");
}

#[test]
fn a_batch_is_answered_line_by_line() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &Value::Null);
    let line = |n: u32| json!({"org": "acme", "type": "t", "id": format!("e{n}"), "payload": n}).to_string();
    let batch: String = (0..2000).map(|n| line(n) + "\n").collect();
    let file = site.dir().join("batch.ndjson");
    std::fs::write(&file, &batch).unwrap();
    run(&site, &["enqueue", "--ndjson", file.to_str().unwrap()]).exits(0).says("2000 accepted, 0 refused");
    // The same batch again, as after an interruption, with something wrong in the middle.
    let mixed =
        format!("{batch}\n\n{{\"org\":\"nobody\",\"type\":\"t\",\"payload\":1}}\nnonsense\n{}\n", line(2000));
    let ran = run_with(&site, &["enqueue", "--ndjson", "-"], &mixed).exits(1);
    let ran = ran.says("1 accepted, 2000 accepted before, 2 refused");
    let ran = ran.says("line 2003: there is no org").says("line 2004: The JSON cannot be read");
    assert_eq!(ran.out, "");
    let answers = run_with(&site, &["enqueue", "--ndjson", "-", "--json"], &line(3000)).exits(0).json();
    assert_eq!((&answers["id"], &answers["deliveries"]), (&json!("e3000"), &json!(1)));
    wait_until("all arrive", || receiver.count() == 2002);
    let order: Vec<String> = receiver.received().iter().map(|received| received.id().to_owned()).collect();
    let mut expected: Vec<String> = (0..=2000).map(|n| format!("e{n}")).collect();
    expected.push("e3000".to_owned());
    assert_eq!(order, expected);
}

/// A batch that is typed, so to speak: one line has gone in and was answered, and stdin stays open.
fn open_batch(site: &Site) -> (Child, ChildStdin) {
    let mut command = site.command("enqueue");
    command.args(["--ndjson", "-", "--json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, r#"{{"org":"acme","type":"t","id":"e1","payload":1}}"#).unwrap();
    let mut answer = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut answer).unwrap();
    assert!(answer.contains("e1"), "{answer}");
    (child, stdin)
}

#[test]
fn a_batch_that_is_cut_short_never_looks_whole() {
    let site = Site::new();
    let daemon = site.start();
    daemon.org_only("acme");
    let (killed, kept_open) = open_batch(&site);
    daemon.kill();
    let output = killed.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    assert!(said.contains("1 accepted") && said.contains("Send the batch again"), "{said}");
    drop(kept_open);

    let daemon = site.start();
    let (stopped, kept_open) = open_batch(&site);
    assert!(daemon.terminate().success());
    let output = stopped.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{said}");
    drop(kept_open);
}

#[test]
fn a_queue_is_seen_explained_and_worked_on() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/in", Answer::Status(503));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/in"), &retry(10, 3_600_000, 1.0, 3_600_000));
    assert_eq!(run(&site, &["why", "acme"]).exits(0).out, "acme: nothing waits\n");
    run(&site, &["queue", "list", "acme"]).exits(0).says("nothing waits");
    for id in ["first", "second", "third"] {
        daemon.enqueue("acme", &json!({"type": "t", "id": id, "payload": {"secret": "payload"}}));
    }
    wait_until("the head waits", || daemon.queue("acme")[0]["not_before"].is_string());
    let why = run(&site, &["why", "acme"]).exits(0).out;
    let start = "acme: head first, webhook main, attempt 2 of 10, last 503 after ";
    assert!(
        why.starts_with(start) && why.contains(" ms, next in ") && why.ends_with(", 2 behind it\n"),
        "{why}"
    );
    let table = run(&site, &["queue", "list", "acme"]).exits(0).out;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[1].contains("first") && rows[2].contains("second") && !table.contains("payload"), "{table}");
    let page = run(&site, &["queue", "list", "acme", "--limit", "1", "--json"]).exits(0).json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["items"][0]["id"]), (1, &json!("first")));
    let rest = ["queue", "list", "acme", "--after", page["next"].as_str().unwrap(), "--json", "--payload"];
    let rest = run(&site, &rest).exits(0).json();
    assert_eq!(rest["items"][0]["payload"]["secret"], "payload");
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);

    run(&site, &["queue", "pause", "acme", "--reason", "maintenance"]).exits(0).says("paused");
    let why = run(&site, &["why", "acme"]).exits(0).out;
    assert!(why.starts_with("acme: paused since ") && why.contains("(maintenance), head first"), "{why}");
    run(&site, &["queue", "resume", "acme"]).exits(0);
    receiver.then("/in", [Answer::Status(200)]);
    run(&site, &["queue", "retry-now", "acme"]).exits(0);
    wait_until("second is head and waits", || {
        let queue = daemon.queue("acme");
        queue[0]["id"] == "second" && queue[0]["not_before"].is_string()
    });
    run(&site, &["queue", "skip", "acme", "--reason", "poison"]).exits(0);
    let dead = run(&site, &["dead-letter", "list", "--org", "acme", "--json"]).exits(0).json();
    assert_eq!(dead["items"][0]["event_id"], "second");
    assert_eq!(
        (&dead["items"][0]["reason"], &dead["items"][0]["note"]),
        (&json!("skipped"), &json!("poison"))
    );
    run(&site, &["org", "delete", "acme"]).exits(1).says("Deliveries are waiting");
    run(&site, &["org", "delete", "acme", "--discard"]).exits(0);
    assert_eq!(run(&site, &["status", "--json"]).exits(0).json()["counts"]["dead_letters"], 0);
}

#[test]
fn check_config_tells_every_fault_and_every_origin() {
    let site = Site::with("[log]\nlevel = \"debug\"\n");
    let mut command = site.command("check-config");
    command.env("POSTRIDER_SHUTDOWN_GRACE", "3s").args(["--set", "queue.max_bytes=2GiB"]);
    let table = run_command(command, "").exits(0).out;
    let row = |key: &str| table.lines().find(|line| line.starts_with(key)).unwrap().to_owned();
    assert!(
        row("log.level").contains("\"debug\"") && row("log.level").ends_with("postrider.toml:2"),
        "{table}"
    );
    assert!(row("shutdown.grace").ends_with("environment POSTRIDER_SHUTDOWN_GRACE"), "{table}");
    assert!(row("queue.max_bytes").ends_with("flag --set"), "{table}");
    assert!(row("log.format").ends_with("default"), "{table}");
    assert!(row("runtime directory").ends_with("POSTRIDER_RUNTIME_DIR"), "{table}");
    let json = run(&site, &["check-config", "--json"]).exits(0).json();
    assert_eq!(json["settings"]["log.level"]["value"], "debug");

    site.configure("[log]\nlevle = \"debug\"\n[egress]\nallow = [\"everything\"]\n[queue]\nmax_bytes = 1\n");
    let ran = run(&site, &["check-config"]).exits(78);
    let ran = ran.says("postrider.toml:2: log.levle: unknown key; did you mean level?");
    ran.says("postrider.toml:4: egress.allow").says("postrider.toml:6: queue.max_bytes");
    let problems = run(&site, &["check-config", "--json"]).exits(78).json();
    assert_eq!(problems["problems"].as_array().unwrap().len(), 3);
    run(&site, &["check-config", "--config", "/nowhere.toml"]).exits(78).says("/nowhere.toml");
}

#[test]
fn a_reader_that_has_seen_enough_ends_the_command_quietly() {
    let site = Site::new();
    let daemon = site.start();
    for n in 0..300 {
        daemon.org_only(&format!("org-with-a-rather-long-name-so-that-the-list-fills-the-pipe-{n}"));
    }
    let mut command = site.command("org");
    command.args(["list", "--limit", "1000", "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Nobody reads: the pipe is closed before the list, which is longer than a pipe holds, is written.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
