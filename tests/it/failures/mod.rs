//! What can go wrong around the daemon, row by row of the table "What happens when" in README.md, and the test that makes it
//! happen. Those in `tests/faults` stand on a file system of their own.
//!
//! | what happens | made to happen by |
//! |---|---|
//! | a receiver is down, slow, hangs, answers garbage or without end | `hostile_receivers`, `p07_isolation`, `p07_dead_names`, `answers` |
//! | kill -9 at any instant | `crash`, `sources/crash`, `acting/head`, `p01_durable` to `p04_at_most_one_repeat` |
//! | power loss at any instant | `faults/power_loss`, `faults/store_power_loss`, `faults/sync_before_ack`, `faults/first_start` |
//! | a write or an fsync fails | `faults/disk_errors` |
//! | the file system turns read-only, or is it at the start | `faults/read_only` |
//! | fsync is slow, or hangs | `faults/slow_disk` |
//! | the disk is full | `faults/disk_errors`: below the reserve, and to the last byte |
//! | the store is damaged, its key is wrong, a record is unreadable | `store_refused`, `faults/corruption`, `faults/reopening` |
//! | the clock steps back or forward | `failures/clock` |
//! | requests on the sockets are malformed, huge or slow | `hostile_producers` |
//! | a second daemon is started on the same store | `store_refused` |
//! | file descriptors run out | `failures/descriptors` (attempts), `hostile_producers/crowds` (connections) |
//! | memory is bounded | `failures/memory`, `hostile_producers/crowds` |

mod clock;
mod descriptors;
mod memory;
