//! Fsync is slow: answers and deliveries slow down with it and nothing else happens. Fsync hangs: the daemon ends, so that it
//! is started again on what is on disk.

use std::time::{Duration, Instant};

use crate::disk_errors::Bench;
use crate::lossyfs::Faults;
use crate::rig::alone;
use crate::rig::daemon::wait_until;
use crate::rig::receiver::lock;

/// Slower than any disk that works.
const SLOW: Duration = Duration::from_millis(1500);
/// After this a commit counts as hung.
const HANGS: Duration = Duration::from_secs(30);
/// The disk hangs for longer. No process ends before its last call of the kernel has.
const HUNG_FOR: Duration = Duration::from_secs(42);

#[test]
fn deliveries_do_not_run_ahead_of_a_slow_disk_and_nothing_is_given_up() {
    let _alone = alone();
    let bench = Bench::new("0");
    let daemon = bench.start_configured();
    assert_eq!(daemon.admin("POST", "/v1/orgs/acme/pause", "{}").status, 200);
    for number in 0..3 {
        assert_eq!(bench.enqueue(&daemon, &format!("acme-before-{number}")), Some(202));
    }
    bench.fs.set_faults(Faults { fsync_delay: SLOW, ..Faults::default() });
    let began = Instant::now();
    assert_eq!(bench.enqueue(&daemon, "acme-slow"), Some(202));
    assert!(began.elapsed() >= SLOW, "answered after {:?}", began.elapsed());
    // Calls that read are answered meanwhile, and health is as it was.
    for path in ["/readyz", "/healthz", "/v1/status", "/v1/orgs/acme/queue"] {
        let began = Instant::now();
        assert_eq!(daemon.admin("GET", path, "").status, 200, "{path}");
        assert!(began.elapsed() < SLOW, "{path} took {:?}", began.elapsed());
    }
    assert_eq!(daemon.admin("POST", "/v1/orgs/acme/resume", "{}").status, 200);
    let began = Instant::now();
    wait_until("all four are delivered", || {
        daemon.admin("GET", "/v1/orgs/acme", "").body["queue"]["depth"] == 0
    });
    // Each of the four goes out only once it is on disk that the one before it has left.
    assert!(began.elapsed() >= 3 * SLOW, "all were delivered after {:?}", began.elapsed());
    bench.fs.set_faults(Faults::default());
    // Fast again as soon as the disk is.
    let began = Instant::now();
    assert_eq!(bench.enqueue(&daemon, "acme-fast"), Some(202));
    assert!(began.elapsed() < SLOW, "answered after {:?}", began.elapsed());
    assert!(!daemon.log().contains("a write to the store failed"), "{}", daemon.log());
    assert!(daemon.stop().success());
    bench.check_all("after the disk was slow");
}

#[test]
fn a_commit_that_hangs_ends_the_daemon_within_a_minute() {
    // Not alone: for most of a minute nothing happens.
    let bench = Bench::new("0");
    let mut daemon = bench.start_configured();
    assert_eq!(bench.enqueue(&daemon, "acme-before"), Some(202));
    bench.fs.set_faults(Faults { fsync_delay: HUNG_FOR, ..Faults::default() });
    let hung = Instant::now();
    // Nobody is answered.
    assert_eq!(bench.enqueue(&daemon, "acme-hangs"), None);
    let took = hung.elapsed();
    assert!(took >= HANGS, "{took:?}");
    bench.fs.set_faults(Faults::default());
    assert!(!daemon.wait_for_exit().success(), "{}", daemon.log());
    assert!(daemon.log().contains("a commit hangs"), "{}", daemon.log());
    bench.check_all("after a commit hung");
    lock(&bench.ledger).crashes += 1;
    bench.drain("fast again");
}
