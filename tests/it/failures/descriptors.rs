//! File descriptors run out while deliveries are due: they are put off, which is said once and costs no attempt, and go on when
//! there are some again.

use rustix::process::{Pid, Resource, Rlimit};
use serde_json::json;

use crate::support::daemon::retry;
use crate::support::{Answer, Gate, Receiver, Site, wait_until};

const ORGS: usize = 24;

#[test]
fn attempts_without_descriptors_are_put_off_and_lose_nothing() {
    let (site, receiver) = (Site::new(), Receiver::start());
    let daemon = site.start();
    let gate = Gate::closed();
    let orgs: Vec<_> = (0..ORGS).map(|n| format!("org{n}")).collect();
    for org in &orgs {
        // The second attempt is the last: if the lack of descriptors cost one, the delivery would be dead.
        let mut settings = retry(2, 5_000, 1.0, 5_000);
        settings["timeout"] = json!("60s");
        daemon.org(org, &receiver.url(&format!("/{org}")), &settings);
        receiver.always(&format!("/{org}"), Answer::Gated(gate.clone(), 200));
        receiver.then(&format!("/{org}"), [Answer::Close]);
        daemon.admin("POST", &format!("/v1/orgs/{org}/pause"), &json!({})).expect(200);
        for n in 0..2 {
            daemon.enqueue(org, &json!({"type": "t", "id": format!("{org}-{n}"), "payload": n}));
        }
    }
    for org in &orgs {
        daemon.admin("POST", &format!("/v1/orgs/{org}/resume"), &json!({})).expect(200);
    }
    wait_until("all have failed once", || receiver.count() == ORGS && receiver.open_connections() == 0);
    // Room for a few attempts; each of those holds its connection until the gate opens.
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
    let open = std::fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count() as u64;
    let all = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current: Some(open + 8), ..all }).unwrap();
    wait_until("it has run out", || site.log().contains("attempts find no file descriptors"));
    wait_until("some are under way", || receiver.count() > ORGS);
    assert!(receiver.count() < 2 * ORGS, "{}", receiver.count());
    gate.open();
    rustix::process::prlimit(pid, Resource::Nofile, Rlimit { current: all.maximum, ..all }).unwrap();
    for org in &orgs {
        daemon.drained(org);
        assert!(daemon.dead_letters(org).is_empty(), "{org}");
        let got: Vec<_> = receiver.at(&format!("/{org}")).iter().map(|got| got.id().to_owned()).collect();
        assert_eq!(got, [0, 0, 1].map(|n| format!("{org}-{n}")));
    }
    let log = site.log();
    assert_eq!(log.matches("attempts find no file descriptors").count(), 1, "{log}");
    assert!(!log.contains("panicked"), "{log}");
    assert!(daemon.terminate().success());
}
