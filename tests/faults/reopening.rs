//! Opening a store that has been used, cut short, again and again. When sled opens it writes a snapshot, renames it, and
//! overwrites the segments of the log that are free by it; a power cut may undo the rename and keep what was overwritten.
//! So much goes through the queues that a segment gets free on the way, and each opening is made on what the hardest
//! power cut left of the one before.

use std::path::Path;
use std::sync::{Arc, Mutex};

use crate::lossyfs::LossyFs;
use crate::rig::cut::{Cut, Report};
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::ledger::Ledger;
use crate::rig::load::{self, Load, Numbers};
use crate::rig::receiver::{Receiver, SharedLedger, lock};
use crate::rig::{alone, inspect};

/// Events before the first of the openings: what comes of them fills most of a segment of the log (8 MiB).
const EVENTS_FIRST: usize = 1000;
/// Events between two openings.
const EVENTS: usize = 60;
/// Openings that are cut.
const OPENINGS: usize = 12;
/// States that are looked at per opening.
const STATES: usize = 4;

/// Has a load go through the daemon.
fn fill(daemon: &Daemon, ledger: &SharedLedger, numbers: &Numbers, events: usize) {
    let before = lock(ledger).acknowledged.len();
    let load = Load::start(&daemon.submit_socket(), ledger, numbers);
    wait_until("enough has gone through", || lock(ledger).acknowledged.len() > before + events);
    load.stop();
}

/// Starts the daemon, and cuts whenever it has written or synced something until it is ready.
fn cut_start(
    fs: &LossyFs,
    options: &Options,
    ledger: &SharedLedger,
    random: &mut fastrand::Rng,
) -> (Daemon, Vec<Cut>) {
    let mut daemon = Daemon::spawn(&fs.path().join("data"), options);
    let mut cuts = Vec::new();
    let mut before = fs.counters();
    wait_until("the daemon is ready again", || {
        assert!(daemon.exited().is_none(), "it does not start:\n{}", daemon.log());
        if fs.counters() != before {
            before = fs.counters();
            cuts.push(Cut::now(fs, &lock(ledger), random));
        }
        daemon.is_ready()
    });
    (daemon, cuts)
}

#[test]
fn opening_a_used_store_may_be_cut_at_any_moment() {
    let _alone = alone();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let keys = tempfile::tempdir().expect("a directory");
    let key_file = keys.path().join("key");
    inspect::write_key(&key_file);
    let options = Options { key_file: Some(key_file), ..Options::default() };
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let receiver = Receiver::start(Arc::clone(&ledger));
    let numbers = Numbers::default();
    let mut fs = LossyFs::mount();
    let mut daemon = Daemon::start(&fs.path().join("data"), &options);
    load::configure(&daemon, &receiver);
    fill(&daemon, &ledger, &numbers, EVENTS_FIRST);
    let mut report = Report::default();
    for _ in 0..OPENINGS {
        let last = Cut::keeping(0.0, &fs, &lock(&ledger), &mut random);
        report.add(&last, Path::new("data"));
        assert!(report.broken.is_empty(), "seed {seed}:\n{}", report.broken.join("\n"));
        drop(daemon);
        fs = last.mount();
        *lock(&ledger) = last.ledger_after();
        let (started, mut cuts) = cut_start(&fs, &options, &ledger, &mut random);
        daemon = started;
        random.shuffle(&mut cuts);
        cuts.iter().take(STATES).for_each(|cut| report.add(cut, Path::new("data")));
        fill(&daemon, &ledger, &numbers, EVENTS);
    }
    println!("{} crash states of {OPENINGS} openings", report.states);
    assert!(report.broken.is_empty(), "seed {seed}:\n{}", report.broken.join("\n"));
}
