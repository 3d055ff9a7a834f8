//! Start, stop, reload and restart: nothing is lost, nothing is done twice, and what is wrong is said.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Gate, PATIENCE, Receiver, Site, http, wait_until};

#[test]
fn lifecycle_sigterm_lets_the_attempt_in_flight_end_and_starts_no_other() {
    let site = Site::new();
    let receiver = Receiver::start();
    let gate = Gate::closed();
    receiver.always("/hook", Answer::Gated(gate.clone(), 200));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    for n in 0..2 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    wait_until("the first is in flight", || receiver.count() == 1);
    daemon.signal(Signal::TERM);
    wait_until("nobody is let in any more", || {
        http::request(&site.submit_socket(), "GET", "/readyz", None).is_err()
    });
    gate.open();
    assert!(daemon.wait().success());
    assert_eq!(receiver.count(), 1, "the second was not started");
    assert!(
        !site.submit_socket().exists() && !site.admin_socket().exists(),
        "the sockets go with the daemon"
    );

    let daemon = site.start();
    daemon.drained("acme");
    let bodies: Vec<_> = receiver.received().iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies, ["0", "1"], "the first had been completed");
}

#[test]
fn lifecycle_an_attempt_that_outlasts_the_grace_is_left_and_not_counted() {
    let site = Site::with(&format!("{}[shutdown]\ngrace = \"300ms\"\n", Site::new().config()));
    let receiver = Receiver::start();
    receiver.then("/hook", [Answer::Hang]);
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({"timeout": "60s"}));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 0}));
    wait_until("it is in flight", || receiver.count() == 1);
    let start = Instant::now();
    assert!(daemon.terminate().success());
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
    let daemon = site.start();
    wait_until("it is delivered", || receiver.count() == 2);
    assert_eq!(receiver.received()[1].number_in("postrider-attempt"), 1, "what was left does not count");
    daemon.drained("acme");
}

#[test]
fn lifecycle_a_second_interrupt_does_not_wait() {
    let site = Site::with(&format!("{}[shutdown]\ngrace = \"1h\"\n", Site::new().config()));
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Hang);
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &json!({"timeout": "60s"}));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 0}));
    wait_until("it is in flight", || receiver.count() == 1);
    daemon.signal(Signal::INT);
    wait_until("it is stopping", || site.log().contains("stopping"));
    daemon.signal(Signal::INT);
    let start = Instant::now();
    assert!(daemon.wait().success());
    assert!(start.elapsed() < PATIENCE / 4, "{:?}", start.elapsed());
}

#[test]
fn lifecycle_a_reload_puts_the_new_configuration_in_force() {
    let site = Site::with("[store]\nreserve_bytes = \"1MiB\"\n");
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(1, 10, 1.0, 10));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 0}));
    wait_until("it is refused by the guard", || daemon.dead_letters("acme").len() == 1);

    site.configure(Site::new().config());
    daemon.signal(Signal::HUP);
    wait_until("the reload is done", || site.log().contains("configuration reloaded"));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    wait_until("it is delivered", || receiver.count() == 1);

    let strict = format!("{}[intake]\nentitled_plans = [\"enterprise\"]\n", Site::new().config());
    site.configure(&strict);
    let reply = daemon.admin("POST", "/v1/reload", &json!({}));
    assert!((200..300).contains(&reply.status), "{}", reply.text());
    let refused = daemon.try_enqueue("acme", &json!({"type": "t", "payload": 2})).unwrap().expect(403);
    assert!(refused.json()["type"].as_str().unwrap().ends_with("org-not-entitled"));
}

#[test]
fn lifecycle_the_reload_command_waits_for_the_verdict() {
    let site = Site::new();
    let daemon = site.start();
    site.configure(&format!("{}[limits]\nmax_attributes = 1\n[queue]\nmax_deliveries = 7\n", site.config()));
    let said = run(&site, &["reload", "--json"]).exits(0).json();
    assert_eq!(said, json!({"reloaded": true, "waiting_for_restart": ["queue.max_deliveries"]}));
    // In force by the time that the command ends.
    let attributes = json!({"type": "t", "payload": 1, "attributes": {"a": "1", "b": "2"}});
    daemon.org_only("acme");
    daemon.try_enqueue("acme", &attributes).unwrap().expect(422);

    site.configure("[limits]\nmax_attributs = 3\n");
    run(&site, &["reload"]).exits(78).says("max_attributs").says("max_attributes");
    daemon.try_enqueue("acme", &attributes).unwrap().expect(422);
    drop(daemon);
    run(&site, &["reload"]).exits(69);
}

#[test]
fn lifecycle_a_reload_of_a_bad_configuration_changes_nothing_and_says_why() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &Value::Null);
    // One good change and one bad one: neither is taken.
    site.configure("[egress]\nallow_http = []\n[limits]\nmax_attributs = 3\n");
    daemon.signal(Signal::HUP);
    wait_until("the reload is refused", || site.log().contains("max_attributs"));
    let reply = daemon.admin("POST", "/v1/reload", &json!({}));
    assert!((400..500).contains(&reply.status), "{}", reply.status);
    assert!(reply.text().contains("max_attributs"), "{}", reply.text());
    daemon.enqueue("acme", &json!({"type": "t", "payload": 0}));
    wait_until("it is delivered as before", || receiver.count() == 1);
}

#[test]
fn lifecycle_a_bad_configuration_is_refused_before_anything_is_touched() {
    let site = Site::with("[egress]\nallow_http = [\"not an address\"]\n");
    let (code, said) = site.serve_refused(|_| {});
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("allow_http"), "{said}");
    site.configure("[quue]\nmax_deliveries = 3\n");
    let (code, said) = site.serve_refused(|_| {});
    assert_eq!(code, 78, "{said}");
    assert!(said.contains("quue") && said.contains("queue"), "{said}");
    assert!(!site.data_dir().exists());
}

#[test]
fn lifecycle_a_second_daemon_on_the_same_store_is_refused_and_told_who_has_it() {
    let site = Site::new();
    let daemon = site.start();
    let elsewhere = site.dir().join("run2");
    let (code, said) = site.serve_refused(|command| {
        command.env("POSTRIDER_RUNTIME_DIR", &elsewhere);
    });
    assert_eq!(code, 1, "{said}");
    assert!(said.contains(&daemon.pid().to_string()), "{said} does not name {}", daemon.pid());
    assert!(!elsewhere.join("admin.sock").exists());
    daemon.get("/v1/status");
}

#[test]
fn lifecycle_a_second_daemon_on_the_same_sockets_is_refused() {
    let site = Site::new();
    let daemon = site.start();
    let (code, said) = site.serve_refused(|command| {
        command.env("POSTRIDER_DATA", site.dir().join("data2"));
    });
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("in use"), "{said}");
    daemon.get("/v1/status");
}

#[test]
fn lifecycle_the_sockets_of_a_killed_daemon_are_taken_over() {
    let site = Site::new();
    site.start().kill();
    assert!(site.admin_socket().exists(), "kill -9 leaves them behind");
    site.start().get("/v1/status");
}

#[test]
fn lifecycle_the_daemon_says_that_it_is_alive_and_ready() {
    let site = Site::new();
    let daemon = site.start();
    for socket in [site.submit_socket(), site.admin_socket()] {
        http::request(&socket, "GET", "/healthz", None).unwrap().expect(200);
        http::request(&socket, "GET", "/readyz", None).unwrap().expect(200);
    }
    wait_until("it says that it is ready", || site.log().contains("ready"));
    // Nobody finds secrets in a core file.
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}

#[test]
fn lifecycle_few_file_descriptors_mean_fewer_attempts_at_once_not_failures() {
    const ORGS: usize = 100;
    let site = Site::new();
    let receiver = Receiver::start();
    // The limit is set by a shell that then becomes the daemon.
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 128; exec \"$0\" serve", crate::support::daemon::BINARY]).env_clear();
    let serve = site.serve_command();
    command.envs(serve.get_envs().filter_map(|(key, value)| Some((key.to_owned(), value?.to_owned()))));
    command.stdin(std::process::Stdio::null()).stderr(site.log_append());
    let daemon = site.start_command(command);
    for org in 0..ORGS {
        let path = format!("/{org}");
        receiver.always(&path, Answer::Late(Duration::from_millis(20), 200));
        daemon.org(&format!("org{org}"), &receiver.url(&path), &retry(1, 10, 1.0, 10));
    }
    for org in 0..ORGS {
        daemon.enqueue(&format!("org{org}"), &json!({"type": "t", "payload": org}));
    }
    wait_until("all are delivered", || receiver.count() == ORGS);
    let dead = daemon.list("/v1/dead-letters");
    assert!(dead.is_empty(), "{dead:?}");
}
