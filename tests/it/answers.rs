//! What receivers' answers do, through the real binary: Retry-After, 410 Gone, and a queue that is held rather than moved
//! on.

use std::time::Duration;

use serde_json::json;

use crate::cli::run;
use crate::support::daemon::retry;
use crate::support::{Answer, Receiver, Site, wait_until};

fn busy(retry_after: &str) -> Answer {
    Answer::Full(503, vec![("retry-after", retry_after.to_owned())], "busy".into())
}

#[test]
fn a_wait_is_lengthened_to_what_retry_after_says_within_the_webhooks_bound() {
    let site = Site::new();
    let receiver = Receiver::start();
    let daemon = site.start();
    let soon = json!({"retry": {"attempts": 2, "schedule": ["0ms"]}});
    for (path, asked, max, at_least_ms, at_most_ms) in [
        ("/asked", "1", "60s", 1000, 20_000),
        ("/bounded", "86400", "300ms", 300, 20_000),
        ("/ignored", "86400", "0s", 0, 20_000),
        ("/garbage", "soon", "60s", 0, 20_000),
    ] {
        receiver.then(path, [busy(asked)]);
        let mut settings = soon.clone();
        settings["retry_after_max"] = json!(max);
        let org = path.trim_start_matches('/');
        daemon.org(org, &receiver.url(path), &settings);
        daemon.enqueue(org, &json!({"type": "t", "payload": 1}));
        wait_until("it is delivered", || receiver.at(path).len() == 2);
        let tries = receiver.at(path);
        let wait = tries[1].began - tries[0].ended.unwrap().0;
        let (least, most) = (Duration::from_millis(at_least_ms), Duration::from_millis(at_most_ms));
        assert!((least..most).contains(&wait), "{path}: {wait:?}");
    }
}

#[test]
fn a_receiver_that_is_gone_disables_its_webhook_and_loses_nothing() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Status(410));
    let daemon = site.start();
    let mut settings = json!({"retry": retry(3, 1, 1.0, 1)["retry"]});
    settings["disable_on_gone"] = json!(true);
    daemon.org("acme", &receiver.url("/hook"), &settings);
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    wait_until("it is a dead letter", || daemon.dead_letters("acme").len() == 1);
    assert_eq!(receiver.count(), 1, "a receiver that is gone is left alone");
    let dead = &daemon.dead_letters("acme")[0];
    assert_eq!((&dead["reason"], &dead["attempts"]), (&json!("webhook-disabled"), &json!(1)));
    let webhook = daemon.list("/v1/orgs/acme/webhooks").remove(0);
    assert_eq!(webhook["enabled"], false);

    // Back again: what died goes out, in the same order, with the same id.
    receiver.always("/hook", Answer::Status(204));
    let name = webhook["id"].as_str().unwrap();
    run(&site, &["webhook", "enable", "acme", name]).exits(0);
    run(&site, &["dead-letter", "retry", "--org", "acme", "--yes"]).exits(0);
    wait_until("it is delivered", || receiver.count() == 2);
    let received = receiver.received();
    assert_eq!(received[0].id(), received[1].id());
    daemon.drained("acme");
}

#[test]
fn a_held_queue_waits_through_a_crash_until_someone_acts() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Status(500));
    let daemon = site.start();
    let mut settings = json!({"retry": retry(2, 1, 1.0, 1)["retry"]});
    settings["retry"]["on_exhausted"] = json!("hold");
    daemon.org("acme", &receiver.url("/hook"), &settings);
    for n in 0..3 {
        daemon.enqueue("acme", &json!({"type": "t", "payload": n}));
    }
    let state = |daemon: &crate::support::daemon::Daemon<'_>| {
        daemon.get("/v1/orgs/acme")["queue"]["state"].as_str().unwrap().to_owned()
    };
    wait_until("it is held", || state(&daemon) == "held");
    let why = run(&site, &["why", "acme"]).exits(0).out;
    assert!(why.contains("held after its last attempt") && why.contains("last 500"), "{why}");
    daemon.kill();

    let daemon = site.start();
    wait_until("it is held again", || state(&daemon) == "held");
    assert_eq!(receiver.count(), 2, "nothing is tried until someone acts");
    run(&site, &["queue", "retry-now", "acme"]).exits(0);
    wait_until("it was tried once more", || receiver.count() == 3 && state(&daemon) == "held");
    receiver.always("/hook", Answer::Status(200));
    run(&site, &["queue", "retry-now", "acme"]).exits(0);
    daemon.drained("acme");
    let bodies: Vec<_> = receiver.received().iter().map(|request| request.body.clone()).collect();
    assert_eq!(bodies, ["0", "0", "0", "0", "1", "2"]);
    assert!(daemon.dead_letters("acme").is_empty());
}

#[test]
fn a_skip_takes_effect_between_attempts_that_follow_at_once() {
    let site = Site::new();
    let receiver = Receiver::start();
    receiver.always("/hook", Answer::Late(Duration::from_millis(200), 500));
    let daemon = site.start();
    daemon.org("acme", &receiver.url("/hook"), &retry(100, 0, 1.0, 0));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    wait_until("it is in flight", || receiver.count() > 0);
    run(&site, &["queue", "skip", "acme"]).exits(0);
    let dead = daemon.dead_letters("acme").remove(0);
    assert_eq!(dead["reason"], "skipped");
    assert!(dead["attempts"].as_u64().unwrap() < 50, "{dead}");
}
