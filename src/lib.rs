//! postrider delivers webhooks, in order per org, from one binary.
//!
//! # Promises
//!
//! Accepted is on disk (P1). Deliveries of an org start in the order of their events, one at a time (P2). Attempts and
//! waits survive a restart (P3), and after a crash at most the one delivery in flight is repeated (P4). Nothing is
//! dropped (P5); after its last attempt a delivery becomes a dead letter and the next one starts (P6). A bad receiver
//! costs its own org only (P7). What is stored is sealed (P8), what goes out is byte for byte what came in (P9), and
//! nobody else gets in or anywhere (P10). Each has a test of its name in `tests/it`.
//!
//! # The path of an event
//!
//! ```text
//!  app --unix socket--> api --> intake --> queue (sled) --> scheduler --> delivery --> the customer's endpoint
//!  GitHub, Slack --tcp--> sources --^          ^   |            ^            |
//!                                              |   +-> dead letters          |
//!                                              +---- outcome: done / defer / bury
//! ```
//!
//! # Map, in the order of the path
//!
//! * [`model`]: the vocabulary. PURE.
//! * [`config`]: what was typed becomes settings, one part per component.
//! * [`serving`]: HTTP, for those who accept: connections, bodies, problem answers.
//! * [`api`]: accept. Routes and wire types of the two sockets.
//! * [`sources`]: accept from outside. What Slack, GitHub and others post: proved, read, and told what became of it.
//! * [`intake`]: check that the org is entitled and the payload as its type's schema says, derive the events that a change
//!   fires or a request means, match webhooks, keep to the limits of profiles. PURE.
//! * [`catalogue`]: what is known of products: event types with schemas and attributes, rules for changes and requests, profiles; loaded
//!   from `data/catalogue`. PURE but for reading directories.
//! * [`queue`]: keep. The committer, keys, records, sealing, recovery, and the history of what was delivered; the only room
//!   that names sled.
//! * [`scheduler`]: choose. Plan and backoff are PURE; one loop for all orgs.
//! * [`delivery`]: send. One attempt; the address guard is PURE, the client the only outgoing HTTP.
//! * [`dead_letters`]: give up. Bulk retry and discard over the queue's verbs.
//! * [`operate`]: logs, key, sockets, signals, systemd, shutdown.
//! * [`cli`]: one file per command; `serve` puts everything together.
//!
//! # Invariants
//!
//! * `api` and `sources` never send: they meet `delivery` in the queue only.
//! * Nothing of a request from outside is parsed before it is proved, and none is answered as accepted before it is durable.
//! * The committer's thread alone writes to the store, and answers only after its flush.
//! * The scheduler hears of every change of a head before whoever caused it is answered.
//! * At most one attempt per org is in flight; its result counts only while its delivery is the head.
//! * A refused delivery is a value. An `Err` is our own trouble, and after a failed write the process ends.
//!
//! # Across all rooms
//!
//! Wall-clock time is read in [`clock`] alone and is what is stored; waiting uses tokio's monotonic clock. What is measured for
//! `/metrics` is counted where it happens, by means of [`measure`], and what whoever listens hears is told where it happens, by means of
//! [`tail`]: both lie below all other rooms. Decisions take
//! the time as a value. Errors say what to do next; secrets and payloads are in no log, error or `Debug`. Shutdown goes
//! from the outside in: sockets, requests, attempts, store. `tests/it/tidy.rs` checks the rules that can be checked.

pub mod model;
pub mod clock;
pub mod measure;
pub mod tail;
pub mod config;
pub mod serving;
pub mod api;
pub mod sources;
pub mod intake;
pub mod catalogue;
pub mod queue;
pub mod scheduler;
pub mod delivery;
pub mod dead_letters;
pub mod operate;
pub mod cli;
