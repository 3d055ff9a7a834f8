//! The promises, through the real binary: one file per promise.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::string_slice,
    dead_code,
    reason = "a test stops where something is not as expected, and says so"
)]

mod support;

// The commands as processes of their own.
mod cli;
// What a new user sees first.
mod demo;

// The receiver that comes along, as a process of its own.
mod sink;

// The units that are shipped, by systemd's own tools.
mod systemd;
// The rules of the source tree.
mod tidy;
