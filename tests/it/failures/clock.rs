//! The clock steps, back and forward, while retries wait and between two runs of the daemon: no queue is frozen, no retry comes
//! early, and the order stays.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::clock::Clock;
use crate::support::daemon::retry;
use crate::support::{Answer, Daemon, Receiver, Site, wait_until};

const HOUR: i64 = 3600;
/// Between two attempts: long enough to step the clock in, short enough to be waited for.
const WAIT: Duration = Duration::from_millis(1500);

/// Two orgs with two events each, whose first attempts have failed.
fn with_waiting_retries<'site>(site: &'site Site, clock: &Clock, receiver: &Receiver) -> Daemon<'site> {
    let daemon = clock.start(site);
    receiver.always("/a", Answer::Status(503));
    receiver.always("/b", Answer::Status(503));
    let wait = u64::try_from(WAIT.as_millis()).unwrap();
    for org in ["a", "b"] {
        let mut settings = retry(9, wait, 1.0, wait);
        // The longest wait that a stored time is held against.
        settings["retry_after_max"] = json!("1s");
        daemon.org(org, &receiver.url(&format!("/{org}")), &settings);
        for n in 0..2 {
            daemon.enqueue(org, &json!({"type": "t", "id": format!("{org}{n}"), "payload": n}));
        }
    }
    wait_until("both wait for their retry", || {
        ["a", "b"].into_iter().all(|org| daemon.queue(org)[0]["attempts"] == 1)
    });
    daemon
}

/// The attempts of an org's first event: none sooner after the one before it than it may.
#[track_caller]
fn check_waits(receiver: &Receiver, org: &str) {
    let got = receiver.at(&format!("/{org}"));
    let firsts: Vec<_> = got.iter().filter(|request| request.id() == format!("{org}0")).collect();
    for pair in firsts.windows(2) {
        let waited = pair[1].began - pair[0].ended.unwrap().0;
        assert!(waited >= WAIT, "{org}: a retry after {waited:?}");
    }
    let in_order = got
        .windows(2)
        .all(|pair| pair[0].number_in("postrider-sequence") <= pair[1].number_in("postrider-sequence"));
    assert!(in_order, "{org}: out of order");
}

#[test]
fn a_step_while_retries_wait_neither_freezes_nor_hurries_them() {
    for step in [-HOUR, HOUR] {
        let (site, receiver) = (Site::new(), Receiver::start());
        let clock = Clock::of(&site);
        let daemon = with_waiting_retries(&site, &clock, &receiver);
        clock.step_to(step);
        // Commits, notices and calls go on in the other time.
        daemon.enqueue("a", &json!({"type": "t", "id": "a2", "payload": 2}));
        let stepped = Instant::now();
        wait_until("both are retried twice", || {
            ["a", "b"].into_iter().all(|org| receiver.at(&format!("/{org}")).len() >= 3)
        });
        assert!(stepped.elapsed() < Duration::from_secs(30), "{step}: frozen for {:?}", stepped.elapsed());
        clock.step_to(0);
        receiver.always("/a", Answer::Status(200));
        receiver.always("/b", Answer::Status(200));
        daemon.drained("a");
        daemon.drained("b");
        for org in ["a", "b"] {
            check_waits(&receiver, org);
        }
        assert_eq!(receiver.at("/a").last().unwrap().id(), "a2");
        assert!(daemon.terminate().success());
    }
}

#[test]
fn a_step_between_two_runs_neither_freezes_a_queue_nor_loses_its_place() {
    for step in [-24 * HOUR, 24 * HOUR] {
        let (site, receiver) = (Site::new(), Receiver::start());
        let clock = Clock::of(&site);
        let daemon = with_waiting_retries(&site, &clock, &receiver);
        assert!(daemon.terminate().success());
        let before = receiver.count();
        clock.step_to(step);
        let daemon = clock.start(&site);
        for org in ["a", "b"] {
            assert!(daemon.queue(org)[0]["attempts"].as_u64().unwrap() >= 1, "attempts are kept");
        }
        // Set back, the stored time would be a day away; it counts for no longer than the longest wait.
        let started = Instant::now();
        wait_until("both are retried twice", || {
            ["a", "b"].into_iter().all(|org| receiver.at(&format!("/{org}")).len() >= 3)
        });
        assert!(started.elapsed() < Duration::from_secs(30), "{step}: frozen for {:?}", started.elapsed());
        // Set forward, what waits is due at once, and once only: what follows is a wait apart again.
        for org in ["a", "b"] {
            let got = receiver.at(&format!("/{org}"));
            let waited = got[2].began - got[1].ended.unwrap().0;
            assert!(waited >= WAIT, "{step}: {org} was tried again after {waited:?}");
            let numbers: Vec<_> = got.iter().map(|request| request.number_in("postrider-attempt")).collect();
            assert_eq!(numbers[..3], [1, 2, 3], "{step}: {org}");
        }
        assert!(receiver.count() > before);
        receiver.always("/a", Answer::Status(200));
        receiver.always("/b", Answer::Status(200));
        for org in ["a", "b"] {
            daemon.drained(org);
            let ids: Vec<_> = receiver.at(&format!("/{org}")).iter().map(|got| got.id().to_owned()).collect();
            assert!(ids.is_sorted() && ids.last() == Some(&format!("{org}1")), "{step}: {ids:?}");
        }
        assert!(daemon.terminate().success());
    }
}
