//! Faults below the process: power loss, disk errors, full disks, damaged files.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code: a panic is its report")]
#![expect(clippy::print_stdout, reason = "a run says how many states it saw, and with which seed")]

mod corruption; // damaged files are refused or set aside
mod disk_errors; // failed writes and fsyncs, full disks
mod first_start; // the very first start may be cut at any moment
mod keeping; // compacting and restoring may be cut at any moment
mod lossyfs; // a file system that forgets what was not synced, fails and fills up on demand
mod power_loss; // P1 to P4 hold after power loss at any moment; the negative control
mod read_only; // the file system turns read-only, or is it at the start
mod reopening; // opening a used store may be cut at any moment
mod rig; // the daemon, producers, a receiver, the ledger
mod slow_disk; // fsync is slow, and when it hangs
mod sources; // what is posted from outside on failing and slow disks
mod store_power_loss; // the same as power_loss for the store alone, with many more commits
mod sync_before_ack; // no answer before a successful fsync, at the system calls
