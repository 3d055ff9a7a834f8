//! P1 to P4 through power loss: the real daemon works on a file system that forgets what was not synced, under a load of
//! enqueues, deliveries, retries and dead letters. At random moments the power goes: what the disk may then hold is
//! written out, opened and compared with what producers and receivers had seen until that very moment. Every so often
//! the daemon itself is started again on such a state, and its crashes are crashed into.
//!
//! `POSTRIDER_TEST_CRASH_STATES=N` asks for more states, `POSTRIDER_TEST_SEED=N` for those of an earlier run (the seed
//! fixes what survives; when the cuts fall is up to the machine), `POSTRIDER_TEST_KEEP=DIR` keeps the broken ones.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::lossyfs::{Faults, LossyFs};
use crate::rig::cut::{Cut, Report};
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::inspect;
use crate::rig::ledger::Ledger;
use crate::rig::load::{self, Load, Numbers};
use crate::rig::receiver::{ATTEMPTS, Receiver, SharedLedger, lock};
use crate::rig::{alone, number_from_env};

/// Crash states of one daemon, before the next one starts on the last of them.
const STATES_PER_DAEMON: u64 = 20;
/// Crashes a daemon again and again; `sabotage` is switched on once it is ready.
fn crash(states: u64, seed: u64, sabotage: fn() -> Faults) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let keys = tempfile::tempdir().expect("a directory");
    let key_file = keys.path().join("key");
    inspect::write_key(&key_file);
    let options = Options { key_file: Some(key_file), ..Options::default() };
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let receiver = Receiver::start(Arc::clone(&ledger));
    let numbers = Numbers::default();
    let mut report = Report::default();
    let mut last: Option<Cut> = None;
    while report.states < states {
        let fs = last.as_ref().map_or_else(LossyFs::mount, Cut::mount);
        let daemon = Daemon::start(&fs.path().join("data"), &options);
        if last.is_none() {
            load::configure(&daemon, &receiver);
        }
        fs.set_faults(sabotage());
        let load = Load::start(&daemon.submit_socket(), &ledger, &numbers);
        for _ in 0..STATES_PER_DAEMON.min(states - report.states) {
            wait_for_work(&ledger, random.usize(1..40));
            std::thread::sleep(Duration::from_micros(random.u64(..3_000)));
            // Locked until this state is judged: what is not going on meanwhile does not slow the judgement down.
            let ledger = lock(&ledger);
            let cut = Cut::now(&fs, &ledger, &mut random);
            report.add(&cut, Path::new("data"));
            last = Some(cut);
        }
        drop(daemon);
        load.stop();
        if let Some(cut) = &last {
            *lock(&ledger) = cut.ledger_after();
        }
        if !report.broken.is_empty() {
            break;
        }
    }
    let acknowledged = lock(&ledger).acknowledged.len();
    println!("{} crash states, {acknowledged} acknowledged, seed {seed}", report.states);
    assert!(acknowledged > 20, "hardly anything was acknowledged");
    if let (Some(cut), true) = (&last, report.broken.is_empty()) {
        drain(cut, &options, &ledger);
    }
    report
}

/// Waits until acknowledgements and requests have come in since the last cut.
fn wait_for_work(ledger: &SharedLedger, work: usize) {
    let done = || {
        let ledger = lock(ledger);
        ledger.acknowledged.len() + ledger.requests.len()
    };
    let before = done();
    wait_until("the load goes on", || done() >= before + work);
}

/// The daemon, started on the last state, delivers what is left: in the end every acknowledged event is taken or dead.
fn drain(cut: &Cut, options: &Options, ledger: &SharedLedger) {
    let fs = cut.mount();
    let data = fs.path().join("data");
    let daemon = Daemon::start(&data, options);
    wait_until("all queues are empty", || {
        load::ORGS
            .iter()
            .all(|org| daemon.admin("GET", &format!("/v1/orgs/{org}"), "").body["queue"]["depth"] == 0)
    });
    assert!(daemon.stop().success(), "SIGTERM ends it well");
    let found = inspect::inspect(&data).expect("a store that opens");
    assert_eq!(found.queued.len(), 0);
    let broken = lock(ledger).judge(&found, ATTEMPTS);
    assert!(broken.is_empty(), "after all was delivered: {broken:?}");
}

#[test]
fn p1_to_p4_hold_through_power_loss() {
    let _alone = alone();
    let seed = number_from_env("POSTRIDER_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let states = number_from_env("POSTRIDER_TEST_CRASH_STATES").unwrap_or(140);
    let report = crash(states, seed, Faults::default);
    assert!(report.broken.is_empty(), "POSTRIDER_TEST_SEED={seed}:\n{}", report.broken.join("\n"));
}

/// The negative control, see `store_power_loss.rs`: the same daemon, whose fsyncs of the log do nothing but for one every
/// 500 ms.
#[test]
fn the_daemon_without_a_real_fsync_loses_acknowledged_events() {
    let _alone = alone();
    let by_timer_only =
        || Faults { only: Some("db".into()), deaf: Some(Duration::from_millis(500)), ..Faults::default() };
    let reports = (0..2).map(|seed| crash(STATES_PER_DAEMON, seed, by_timer_only));
    let (states, losing) =
        reports.fold((0, 0), |sum, report| (sum.0 + report.states, sum.1 + report.lost + report.unopened));
    println!("{losing} of {states} crash states lost acknowledged events");
    assert!(
        losing * 8 >= states,
        "only {losing} of {states} states lost anything: this rig would not notice"
    );
}
