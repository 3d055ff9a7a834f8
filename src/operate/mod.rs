//! The outer shell of the daemon: logs, key, sockets, signals, systemd, limits, shutdown.
//!
//! Nothing here knows what an event is. `cli/serve.rs` puts these pieces and the rooms of the path together.

mod journal;
pub mod key;
pub mod limits;
pub mod logs;
pub mod notify;
pub mod panics;
pub mod reload;
pub mod shutdown;
pub mod signals;
pub mod sockets;
