//! Faults below the process: power loss, disk errors, full disks, damaged files.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "test code: a panic is its report")]

mod lossyfs; // a file system that forgets what was not synced, fails and fills up on demand
