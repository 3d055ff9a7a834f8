//! Serve HTTP/1.1, for those who accept something: `api` on Unix sockets, `sources` on TCP. The accept loop, what
//! connections may use, how a body is read, and the problems that are answered. Not here: what is served.
//!
//! Limits, each with its constant or setting: a head 32 KiB and 64 headers, connections per door, bytes of bodies that are
//! held at once; a head, a body and a reader of answers each have a time limit. When a door's connections are all taken
//! one that is idle makes room, and nobody keeps another out by having most of them.

pub mod body;
mod crowd;
mod door;
mod listen;
mod lobby;
mod per_org;
pub mod problem;
mod refused;
mod stall;
mod turns;

pub use door::{Door, Peer, Process};
pub use listen::{ConnectionLimits, serve};
pub use per_org::PerOrg;
pub use turns::{Turn, Turns};
