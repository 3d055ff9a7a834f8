//! What the tests stand on: the real binary on directories of its own, real sockets, real HTTP receivers.

pub mod changes;
pub mod clock;
pub mod daemon;
pub mod dns;
pub mod http;
pub mod kills;
pub mod ledger;
pub mod network;
pub mod official;
pub mod receiver;
pub mod senders;
pub mod sources;

use std::time::{Duration, Instant};

pub use daemon::{Daemon, Site};
pub use receiver::{Answer, Gate, Received, Receiver};

/// How long anything may take before a test calls it broken. Generous: the machine may be busy with other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `condition` is true; panics with `what` when it does not become so.
#[track_caller]
pub fn wait_until(what: &str, condition: impl FnMut() -> bool) {
    wait_until_within(PATIENCE, what, condition);
}

/// The same with a bound of its own, where the bound is what is tested.
#[track_caller]
pub fn wait_until_within(bound: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < bound, "waited {bound:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a daemon holds in memory, in bytes.
pub fn resident(daemon: &Daemon<'_>) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}
