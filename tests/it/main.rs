//! The promises, through the real binary: one file per promise.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::print_stderr,
    clippy::similar_names,
    clippy::cast_possible_truncation,
    clippy::string_slice,
    reason = "a test stops where something is not as expected, and says so"
)]

mod support;

// P1: an accepted event is on disk before the answer.
mod p01_durable;
// P2: one at a time and in order per org.
mod p02_ordered;
// P3: attempts and waits survive a restart.
mod p03_persistent_attempts;
// P4: after a crash only what was in flight is sent again.
mod p04_at_most_one_repeat;
// P5: nothing is dropped; what is refused is told why.
mod p05_nothing_dropped;
// P6: after the last attempt a dead letter, and on.
mod p06_move_on;
// P7: a bad receiver costs its own org only.
mod p07_isolation;
// P7 against hundreds of names that are never answered.
mod p07_dead_names;
// P8: sealed at rest, silent in logs.
mod p08_sealed;
// P9: byte for byte.
mod p09_exact_body;
// P10: no one else on the sockets, nothing sent to the inside.
mod p10_no_one_else;
// P10 against a hostile name server, in a network namespace.
mod p10_hostile_names;

// The documents of products, point by point: TrackingTime, outgoing.
mod trackingtime;
// Team Trax: absences.
mod absence;

// Retry-After, 410 Gone, held queues.
mod answers;
// One request now, with the exchange shown; clients and rotated secrets.
mod trials;
// A canary in every secret place.
mod canary;
// Webhooks like a product's own.
mod profiles;
// Catalogues: schemas, attributes, a product of one's own, the command.
mod catalogue;
// URLs with variables, through clients and without.
mod templates;
// Changes of entities, and the events that they fire.
mod changes;
// P1 to P4 and P6 at once, under kill -9.
mod crash;
// Many events, failures, restarts and clock steps: nothing grows.
mod soak;
// Broken and hostile producers on the sockets.
mod hostile_producers;
// Broken and hostile receivers.
mod hostile_receivers;
// What receivers check requests by.
mod proof_of_origin;
// Incoming webhooks: what is promised to those who post, and to the orgs.
mod sources;
// Incoming webhooks, signed by the official libraries of those who send them.
mod sources_official;
// Proxies, certificates, resolvers.
mod routes;
// What can go wrong around the daemon, and the list of what makes it happen.
mod failures;
// Start, stop, reload, restart.
mod lifecycle;
// Sockets passed by a service manager, and what it is told.
mod activation;
// Stores that must not be opened.
mod store_refused;
// The bench, with a daemon of its own.
mod bench;
// What is asked before something is lost, acting on many, the audit line.
mod acting;
// The commands as processes of their own.
mod cli;
// Incoming webhooks from the command line.
mod sources_cli;
// What was delivered: listed, replayed, kept for a while.
mod history;
// How long dead letters and the history are kept.
mod retention;
// Dead letters from the command line.
mod cli_dead_letters;
// The store of a stopped daemon.
mod cli_offline;
// The store as a whole: verified, backed up, restored, compacted, rekeyed.
mod keeping;
// TimeTime's document, point by point.
mod timetime;
// Timekit's document, point by point.
mod timekit;
// What a new user sees first.
mod demo;
// What Prometheus reads.
mod metrics;
// What happens, as it happens.
mod tail;
// Shape, top, the orgs that stand worst.
mod look;
// The log in the journal.
mod journal;
// Alerts and dashboard.
mod operators;
// The receiver that comes along, as a process of its own.
mod sink;
// Linked statically, in an empty root.
mod static_build;
// Completions and manual pages.
mod shipped;
// What the README shows.
mod readme;
// The units that are shipped, by systemd's own tools.
mod systemd;
// The daemon under a systemd that is process 1, installed and upgraded as the README says.
mod booted;
// The rules of the source tree.
mod tidy;
