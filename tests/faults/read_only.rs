//! The file system turns read-only under load, as the kernel does it to a disk with errors, or is it when the daemon starts:
//! nothing is accepted or sent that could not be kept, the daemon ends and says what to do, and nothing accepted is lost.

use std::process::Command;

use crate::disk_errors::Bench;
use crate::lossyfs::Faults;
use crate::rig::alone;
use crate::rig::daemon::{Daemon, wait_until};
use crate::rig::receiver::lock;

#[test]
fn a_file_system_that_turns_read_only_ends_the_daemon_and_loses_nothing() {
    let _alone = alone();
    let bench = Bench::new("0");
    let mut daemon = bench.start_configured();
    let load = bench.load(&daemon);
    wait_until("some events are in", || lock(&bench.ledger).acknowledged.len() > 20);
    bench.fs.set_faults(Faults { read_only: true, ..Faults::default() });
    let status = daemon.wait_for_exit();
    load.stop();
    assert_eq!(status.code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains("a write to the store failed"), "{}", daemon.log());
    assert!(daemon.log().contains("Read-only file system"), "{}", daemon.log());
    assert!(!daemon.log().contains("panicked"), "{}", daemon.log());
    bench.check_all("after it turned read-only");
    lock(&bench.ledger).crashes += 1;

    // Started again by its service manager, it says what is the matter, each time, and changes nothing.
    for _ in 0..2 {
        let mut daemon = Daemon::spawn(&bench.data(), &bench.options);
        assert_eq!(daemon.wait_for_exit().code(), Some(1), "{}", daemon.log());
        let words = "the file system is read-only: make it writable (mount -o remount,rw) and start again";
        assert!(daemon.log().contains(words), "{}", daemon.log());
    }
    bench.fs.set_faults(Faults::default());
    bench.drain("writable again");
}

#[test]
fn a_file_system_that_is_mounted_read_only_is_named_at_the_start() {
    let _alone = alone();
    let bench = Bench::new("0");
    // Without a helper of FUSE's: only the flag changes.
    let remount = |how: &str| {
        let mount = Command::new("mount").args(["-i", "-o", how]).arg(bench.fs.path()).status();
        assert!(mount.expect("mount(8) is there").success(), "mount -o {how}");
    };
    // A first start, without anything there, can create nothing; then one on a store.
    let words = "the file system is read-only: make it writable (mount -o remount,rw) and start again";
    for (what, exit, words) in
        [("nothing is there", 73, "Read-only file system"), ("a store is there", 1, words)]
    {
        remount("remount,ro");
        let mut daemon = Daemon::spawn(&bench.data(), &bench.options);
        assert_eq!(daemon.wait_for_exit().code(), Some(exit), "{what}: {}", daemon.log());
        assert!(daemon.log().contains(words), "{what}: {}", daemon.log());
        assert!(daemon.log().contains(&bench.data().display().to_string()), "{what}: {}", daemon.log());
        remount("remount,rw");
        let daemon = Daemon::start(&bench.data(), &bench.options);
        assert!(daemon.stop().success(), "{what}");
    }
}
