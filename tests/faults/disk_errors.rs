//! Errors of the disk under load: the daemon acknowledges nothing that it could not sync, ends with an error instead of
//! trying again, and finds everything acknowledged on the next start. A full disk refuses events and goes on delivering.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::lossyfs::{Counters, CrashState, Faults, LossyFs};
use crate::rig::daemon::{Daemon, Options, wait_until};
use crate::rig::http::Connection;
use crate::rig::ledger::Ledger;
use crate::rig::load::{self, Load, Numbers};
use crate::rig::receiver::{ATTEMPTS, Receiver, SharedLedger, lock};
use crate::rig::{alone, inspect};

/// What sled calls its log.
const LOG: &str = "db";

/// A daemon on a file system that can fail, with a receiver and a ledger.
pub struct Bench {
    pub fs: LossyFs,
    pub ledger: SharedLedger,
    pub receiver: Receiver,
    numbers: Numbers,
    pub options: Options,
    _keys: TempDir,
}

impl Bench {
    pub fn new(reserve_bytes: &str) -> Bench {
        let keys = tempfile::tempdir().expect("a directory");
        let key_file = keys.path().join("key");
        inspect::write_key(&key_file);
        let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
        Bench {
            fs: LossyFs::mount(),
            receiver: Receiver::start(Arc::clone(&ledger)),
            ledger,
            numbers: Numbers::default(),
            options: Options {
                key_file: Some(key_file),
                reserve_bytes: Some(reserve_bytes.to_owned()),
                ..Options::default()
            },
            _keys: keys,
        }
    }

    pub fn data(&self) -> PathBuf {
        self.fs.path().join("data")
    }

    pub fn start_configured(&self) -> Daemon {
        let daemon = Daemon::start(&self.data(), &self.options);
        load::configure(&daemon, &self.receiver);
        daemon
    }

    pub fn load(&self, daemon: &Daemon) -> Load {
        Load::start(&daemon.submit_socket(), &self.ledger, &self.numbers)
    }

    /// Enqueues one event; `None` if the connection broke.
    pub fn enqueue(&self, daemon: &Daemon, id: &str) -> Option<u16> {
        let mut connection = Connection::open(&daemon.submit_socket()).ok()?;
        load::enqueue(&mut connection, &self.ledger, "acme", id).ok()
    }

    /// Everything acknowledged is in this state of the disk.
    pub fn check(&self, what: &str, state: &CrashState) {
        let dir = tempfile::tempdir().expect("a directory");
        state.write_to(dir.path()).expect("a state written");
        let found = inspect::inspect(&dir.path().join("data"));
        let found = found.unwrap_or_else(|error| panic!("{what}: the store does not open: {error}"));
        let broken = lock(&self.ledger).judge(&found, ATTEMPTS);
        assert!(broken.is_empty(), "{what}: {broken:?}");
    }

    /// As the program sees it, and as two power cuts would leave it.
    pub fn check_all(&self, what: &str) {
        self.check(&format!("{what}, live"), &self.fs.live());
        self.check(&format!("{what}, only what was synced"), &self.fs.after_cut(1, 0.0));
        self.check(&format!("{what}, torn"), &self.fs.after_cut(2, 0.5));
    }

    /// The daemon starts again and delivers all that is left.
    pub fn drain(&self, what: &str) {
        let daemon = Daemon::start(&self.data(), &self.options);
        wait_until(&format!("{what}: all queues are empty"), || {
            let depth =
                |org| daemon.admin("GET", &format!("/v1/orgs/{org}"), "").body["queue"]["depth"].clone();
            load::ORGS.into_iter().all(|org| depth(org) == 0)
        });
    }
}

/// Runs a load into a fault, and checks what is left. Answers what the daemon asked of the disk.
fn fail(what: &str, faults: Faults) -> Counters {
    let bench = Bench::new("0");
    let mut daemon = bench.start_configured();
    let load = bench.load(&daemon);
    wait_until("some events are in", || lock(&bench.ledger).acknowledged.len() > 20);
    bench.fs.set_faults(faults);
    let status = daemon.wait_for_exit();
    let counters = bench.fs.counters();
    load.stop();
    assert!(!status.success(), "{what}: ended as if nothing had happened:\n{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{what}: {}", daemon.log());
    bench.fs.set_faults(Faults::default());
    bench.check_all(what);
    lock(&bench.ledger).crashes += 1;
    bench.drain(what);
    counters
}

#[test]
fn a_failed_fsync_ends_the_daemon_and_is_never_tried_again() {
    let _alone = alone();
    for nth in [1, 2, 3, 5, 9] {
        let what = format!("EIO on fsync {nth}");
        let faults = Faults { only: Some(LOG.into()), fail_fsync: Some(nth), ..Faults::default() };
        let counters = fail(&what, faults);
        assert_eq!(counters.failed_fsyncs, 1, "{what}");
        assert_eq!(counters.fsyncs_after_failure, 0, "{what}: the fsync was tried again");
    }
}

#[test]
fn a_failed_write_ends_the_daemon_and_loses_nothing() {
    let _alone = alone();
    for nth in [1, 2, 3, 7, 20] {
        let faults = Faults { only: Some(LOG.into()), fail_write: Some(nth), ..Faults::default() };
        fail(&format!("EIO on write {nth}"), faults);
    }
}

#[test]
fn below_the_reserve_events_are_refused_and_deliveries_go_on() {
    const MIB: u64 = 1 << 20;
    let _alone = alone();
    let bench = Bench::new("64MiB");
    bench.receiver.refuse_all(true);
    let daemon = bench.start_configured();
    assert_eq!(daemon.admin("POST", "/v1/orgs/acme/pause", "{}").status, 200);
    for number in 0..50 {
        assert_eq!(bench.enqueue(&daemon, &format!("acme-{number}")), Some(202));
    }
    bench.fs.set_faults(Faults { limit: Some(bench.fs.used() + 32 * MIB), ..Faults::default() });
    let mut number = 50;
    wait_until("events are refused with 507", || {
        number += 1;
        let status = bench.enqueue(&daemon, &format!("acme-{number}"));
        assert!(matches!(status, Some(202 | 507)), "{status:?}");
        status == Some(507)
    });
    bench.receiver.refuse_all(false);
    assert_eq!(daemon.admin("POST", "/v1/orgs/acme/resume", "{}").status, 200);
    wait_until("the queue is delivered all the same", || {
        daemon.admin("GET", "/v1/orgs/acme", "").body["queue"]["depth"] == 0
    });
    assert_eq!(bench.enqueue(&daemon, "acme-still-full"), Some(507));
    bench.fs.set_faults(Faults::default());
    wait_until("events are taken again", || {
        number += 1;
        bench.enqueue(&daemon, &format!("acme-{number}")) == Some(202)
    });
    assert!(daemon.stop().success());
    bench.check_all("after the disk was full");
}

#[test]
fn an_error_of_the_disk_in_the_history_holds_nothing_up() {
    let _alone = alone();
    for faults in [
        Faults { fail_write: Some(1), ..Faults::default() },
        Faults { fail_fsync: Some(1), ..Faults::default() },
    ] {
        let bench = Bench::new("0");
        let mut daemon = bench.start_configured();
        let load = bench.load(&daemon);
        let history = |daemon: &Daemon| daemon.admin("GET", "/v1/status", "").body["history"].clone();
        wait_until("there is a history", || history(&daemon)["entries"].as_u64() > Some(10));
        let mut files = std::fs::read_dir(bench.data().join("history")).expect("a directory");
        let segment = files.next().expect("a segment").expect("its name").file_name();
        bench.fs.set_faults(Faults { only: Some(segment.into_string().expect("text")), ..faults.clone() });
        wait_until("it is said that something is wrong", || {
            daemon.log().contains("deliveries go on as ever")
        });
        if faults.fail_write.is_some() {
            let history = history(&daemon);
            assert!(history["missed"].as_u64() > Some(0), "{history}");
            assert!(history["trouble"].as_str().is_some_and(|why| why.contains("cannot write")), "{history}");
        }
        let so_far = lock(&bench.ledger).acknowledged.len();
        wait_until("events are taken as ever", || lock(&bench.ledger).acknowledged.len() > so_far + 50);
        load.stop();
        wait_until("and delivered", || {
            let depth =
                |org| daemon.admin("GET", &format!("/v1/orgs/{org}"), "").body["queue"]["depth"].clone();
            load::ORGS.into_iter().all(|org| depth(org) == 0)
        });
        assert!(daemon.exited().is_none() && daemon.stop().success());
        bench.check_all("after an error in the history");
    }
}

#[test]
fn a_disk_that_is_full_to_the_last_byte_loses_nothing() {
    let _alone = alone();
    let bench = Bench::new("0");
    let mut daemon = bench.start_configured();
    let load = bench.load(&daemon);
    wait_until("some events are in", || lock(&bench.ledger).acknowledged.len() > 20);
    bench.fs.set_faults(Faults { limit: Some(bench.fs.used() + 10_000), ..Faults::default() });
    wait_until("a write has failed for want of space, or events are refused", || {
        bench.fs.counters().no_space > 0 || bench.enqueue(&daemon, "acme-probe") == Some(507)
    });
    wait_until("nothing is accepted any more", || {
        daemon.exited().is_some() || bench.enqueue(&daemon, "acme-after") != Some(202)
    });
    load.stop();
    let ended = daemon.exited();
    assert!(ended.is_none_or(|status| !status.success()), "ended as if nothing had happened");
    drop(daemon);
    bench.check_all("on a full disk");
    lock(&bench.ledger).crashes += 1;

    // On the full disk it starts, or says why not; with space it starts and delivers.
    let mut daemon = Daemon::spawn(&bench.data(), &bench.options);
    wait_until("it is ready or has said why not", || daemon.is_ready() || daemon.exited().is_some());
    let told = daemon.log().contains("disk") || daemon.log().contains("space");
    assert!(daemon.exited().is_none() || told, "ended without a word on the disk:\n{}", daemon.log());
    drop(daemon);
    lock(&bench.ledger).crashes += 1;
    bench.fs.set_faults(Faults::default());
    bench.drain("with space again");
}
