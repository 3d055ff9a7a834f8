//! The very first start, cut short: whatever a power loss leaves of a data directory that was just being made, the next
//! start works, and what had been acknowledged by then is there. The key is the daemon's own here: losing it would lose
//! everything.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::lossyfs::LossyFs;
use crate::rig::alone;
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::http::Connection;
use crate::rig::ledger::Ledger;
use crate::rig::load;
use crate::rig::receiver::{Receiver, SharedLedger, lock};

/// Events handed in during the first start.
const EVENTS: usize = 5;
/// States that are looked at, out of all that were taken: each costs a start of the daemon.
const STATES: usize = 12;

/// A state of the data directory's parent, and what had been acknowledged before the power went.
struct Cut {
    dir: TempDir,
    ready: bool,
    acknowledged: usize,
    keep: f64,
}

/// Starts a daemon on nothing and cuts whenever it has written or synced something.
fn cuts_of_a_first_start(seed: u64) -> Vec<Cut> {
    let fs = LossyFs::mount();
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let receiver = Receiver::start(Arc::clone(&ledger));
    receiver.refuse_all(true);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut daemon = Daemon::spawn(&fs.path().join("data"), &Options::default());
    let mut cuts = Vec::new();
    let mut configured = false;
    let mut before = fs.counters();
    let mut next_event = 0;
    wait_until("the first events are in", || {
        assert!(daemon.exited().is_none(), "the first start failed:\n{}", daemon.log());
        if fs.counters() != before {
            before = fs.counters();
            let keep = [0.0, 0.5, 0.9][random.usize(..3)];
            let acknowledged = lock(&ledger).acknowledged.len();
            let dir = tempfile::tempdir().expect("a directory");
            fs.after_cut(random.u64(..), keep).write_to(dir.path()).expect("a state written");
            cuts.push(Cut { dir, ready: configured, acknowledged, keep });
        } else if !configured && daemon.is_ready() {
            load::configure(&daemon, &receiver);
            configured = true;
        } else if configured {
            let mut connection = Connection::open(&daemon.submit_socket()).expect("a socket");
            let id = format!("acme-{next_event}");
            assert_eq!(load::enqueue(&mut connection, &ledger, "acme", &id).expect("an answer"), 202);
            next_event += 1;
        }
        next_event == EVENTS
    });
    random.shuffle(&mut cuts);
    // Half of them from before the daemon was ready, if there are so many.
    let (before, after): (Vec<_>, Vec<_>) = cuts.into_iter().partition(|cut| !cut.ready);
    let early = before.len().min(STATES / 2);
    before.into_iter().take(early).chain(after.into_iter().take(STATES - early)).collect()
}

#[test]
fn a_first_start_may_be_cut_at_any_moment() {
    let _alone = alone();
    let seed = fastrand::u64(..);
    let cuts = cuts_of_a_first_start(seed);
    assert!(cuts.iter().any(|cut| !cut.ready) && cuts.iter().any(|cut| cut.ready));
    for (number, cut) in cuts.iter().enumerate() {
        let data = cut.dir.path().join("data");
        let what = format!("state {number} of seed {seed} (keep {}, ready {})", cut.keep, cut.ready);
        let mut daemon = Daemon::spawn(&data, &Options::default());
        wait_until(&format!("{what} starts"), || {
            assert!(daemon.exited().is_none(), "{what} does not start:\n{}", daemon.log());
            daemon.is_ready()
        });
        if cut.ready {
            let queue = daemon.admin("GET", "/v1/orgs/acme/queue?limit=1000", "");
            assert_eq!(queue.status, 200, "{what}: the org is gone");
            let dead = daemon.admin("GET", "/v1/orgs/acme/dead-letters?limit=1000", "");
            let items =
                |answer: &crate::rig::http::Answer| answer.body["items"].as_array().map_or(0, Vec::len);
            let kept = items(&queue) + items(&dead);
            assert!(kept >= cut.acknowledged, "{what}: {kept} kept of {}", cut.acknowledged);
        }
    }
}
