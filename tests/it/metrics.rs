//! `GET /metrics`: what was accepted, tried and delivered, as Prometheus reads it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::daemon::{BINARY, retry};
use crate::support::http::{self, Reply};
use crate::support::sources::free_address;
use crate::support::{Answer, Daemon, PATIENCE, Receiver, Site, wait_until};

/// Every sample, by its name and labels as they are written.
fn scrape(daemon: &Daemon) -> BTreeMap<String, f64> {
    let reply = daemon.admin("GET", "/metrics", &Value::Null).expect(200);
    assert!(reply.header("content-type").unwrap().starts_with("text/plain; version=0.0.4"));
    let text = reply.text();
    let mut typed = Vec::new();
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(metric) = line.strip_prefix("# TYPE ") {
            typed.push(metric.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with("# HELP ") {
            let (name, value) = line.rsplit_once(' ').unwrap();
            let family = typed.last().unwrap();
            assert!(name.starts_with(family), "{name} stands with the samples of {family}");
            assert!(samples.insert(name.to_owned(), value.parse().unwrap()).is_none(), "{name} twice");
        }
    }
    samples
}

#[test]
fn metrics_count_what_is_durable_and_what_came_of_attempts() {
    let receiver = Receiver::start();
    let site = Site::new();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(2, 5, 1.0, 5));
    let before = scrape(&daemon);
    assert_eq!((before["postrider_events_accepted_total"], before["postrider_queue_depth"]), (0.0, 0.0));

    // One that fails once, one that is given up, one that goes through; and one that is sent twice and counts once.
    receiver.then("/hook", [503, 200, 500, 404, 200].map(Answer::Status));
    for id in ["a", "b", "c"] {
        let event = json!({"type": "order.placed", "payload": {"n": 1}, "id": id});
        for status in [202, 200] {
            daemon.try_enqueue("acme", &event).unwrap().expect(status);
        }
    }
    daemon.drained("acme");
    // The scheduler hears of what is durable a little later.
    wait_until("nothing is in flight", || scrape(&daemon)["postrider_in_flight"] == 0.0);
    let after = scrape(&daemon);
    for (sample, value) in [
        ("events_accepted_total", 3.0),
        ("deliveries_total{outcome=\"delivered\"}", 2.0),
        ("deliveries_total{outcome=\"dead\"}", 1.0),
        ("attempts_total{class=\"2xx\"}", 2.0),
        ("attempts_total{class=\"4xx\"}", 1.0),
        ("attempts_total{class=\"5xx\"}", 2.0),
        ("attempts_total{class=\"timeout\"}", 0.0),
        ("attempt_duration_seconds_count", 5.0),
        ("attempt_duration_seconds_bucket{le=\"+Inf\"}", 5.0),
        ("enqueue_duration_seconds_count", 6.0),
        ("queue_depth", 0.0),
        ("dead_letters", 1.0),
        ("in_flight", 0.0),
        ("orgs{state=\"delayed\"}", 0.0),
        ("oldest_due_age_seconds", 0.0),
    ] {
        assert_eq!(after.get(&format!("postrider_{sample}")), Some(&value), "{sample}");
    }
    let commits = after["postrider_commit_duration_seconds_count"];
    assert!(commits >= 6.0 && after["postrider_commit_batch_size_count"] <= commits, "{after:?}");
    assert!(after["postrider_commit_duration_seconds_sum"] > 0.0);
    // Labels are of small fixed sets: no org, address or id.
    assert!(!after.keys().any(|name| name.contains("acme") || name.contains("127.0.0.1")));

    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    daemon.enqueue("acme", &json!({"type": "a", "payload": 1}));
    wait_until("it is held", || scrape(&daemon)["postrider_orgs{state=\"held\"}"] > 0.0);
}

/// Asks over TCP.
fn ask(at: SocketAddr, method: &str, path: &str) -> Reply {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    http::read_reply(&mut stream).unwrap()
}

#[test]
fn metrics_are_read_over_tcp_where_that_is_configured_and_nothing_else_is() {
    let site = Site::new();
    let at: SocketAddr = free_address().parse().unwrap();
    site.configure(&format!("{}[metrics]\nlisten = \"{at}\"\n", site.config()));
    let daemon = site.start();
    let text = ask(at, "GET", "/metrics").expect(200).text();
    for line in
        ["postrider_store_accepting 1", "postrider_quarantined 0", "# TYPE process_start_time_seconds gauge"]
    {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    ask(at, "GET", "/healthz").expect(200);
    ask(at, "GET", "/readyz").expect(200);
    for path in ["/v1/status", "/v1/orgs", "/v1/tail", "/v1/orgs/acme/events"] {
        assert!(ask(at, "GET", path).expect(404).text().contains("not-found"));
    }
    ask(at, "POST", "/metrics").expect(405);
    // Connections that say nothing are held to the limits of every other door.
    let silent: Vec<_> = (0..64).map(|_| TcpStream::connect(at).unwrap()).collect();
    ask(at, "GET", "/metrics").expect(200);
    drop(silent);
    let (code, said) = site.serve_refused(|command| {
        command.env("POSTRIDER_RUNTIME_DIR", site.dir()).env("POSTRIDER_DATA", site.dir().join("other"));
    });
    assert_eq!(code, 1);
    assert!(said.contains(&format!("cannot listen on {at} (metrics.listen)")), "{said}");
    assert!(daemon.terminate().success());
    assert!(TcpStream::connect(at).is_err());
}

#[test]
fn metrics_of_orgs_are_those_that_were_named() {
    let receiver = Receiver::start();
    let site = Site::new();
    let named = |orgs: &str| site.configure(&format!("{}[metrics]\norgs = {orgs}\n", site.config()));
    named("[\"acme\", \"nobody\"]");
    let daemon = site.start();
    for org in ["acme", "other"] {
        daemon.org(org, &receiver.url(&format!("/{org}")), &retry(1, 1, 1.0, 1));
    }
    receiver.then("/acme", [200, 200, 500].map(Answer::Status));
    for org in ["acme", "acme", "acme", "other"] {
        daemon.enqueue(org, &json!({"type": "a", "payload": 1}));
    }
    daemon.drained("acme");
    daemon.drained("other");
    daemon.admin("POST", "/v1/orgs/acme/pause", &json!({})).expect(200);
    daemon.enqueue("acme", &json!({"type": "a", "payload": 1}));
    let seen = scrape(&daemon);
    for (sample, value) in [
        ("org_deliveries_total{org=\"acme\",outcome=\"delivered\"}", 2.0),
        ("org_deliveries_total{org=\"acme\",outcome=\"dead\"}", 1.0),
        ("org_queue_depth{org=\"acme\"}", 1.0),
    ] {
        assert_eq!(seen.get(&format!("postrider_{sample}")), Some(&value), "{sample}");
    }
    assert!(seen["postrider_org_oldest_age_seconds{org=\"acme\"}"] < 600.0);
    assert!(!seen.keys().any(|name| name.contains("other") || name.contains("nobody")));

    // A reload names others at once; whoever stays goes on counting.
    named("[\"acme\", \"other\"]");
    daemon.admin("POST", "/v1/reload", &Value::Null).expect(200);
    daemon.enqueue("other", &json!({"type": "a", "payload": 1}));
    daemon.drained("other");
    let seen = scrape(&daemon);
    for (org, count) in [("other", 1.0), ("acme", 2.0)] {
        let sample = format!("postrider_org_deliveries_total{{org=\"{org}\",outcome=\"delivered\"}}");
        assert_eq!(seen.get(&sample), Some(&count), "{org}");
    }
    assert!(!site.log().contains("in force after a restart"), "{}", site.log());
    named("[\"a b\"]");
    let refused = daemon.admin("POST", "/v1/reload", &Value::Null).expect(422).text();
    assert!(refused.contains("metrics.orgs") && refused.contains("a b"), "{refused}");
    let last_error = daemon.get("/v1/status")["last_error"].clone();
    assert!(
        last_error["message"].as_str().unwrap().starts_with("the configuration was not reloaded: "),
        "{last_error}"
    );
}

#[test]
fn metrics_are_read_from_a_socket_that_the_service_manager_passed() {
    const SCRIPT: &str =
        "export LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=metrics; exec \"$0\" serve 3<&0 0</dev/null";
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let serve = site.serve_command();
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, BINARY]).env_clear();
    command.envs(serve.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
    command.stdin(Stdio::from(OwnedFd::from(listener))).stderr(site.log_append());
    let _daemon = site.start_command(command);
    assert!(ask(at, "GET", "/metrics").expect(200).text().contains("postrider_build_info"));
}
