//! 3. Keep: the durable per-org queues and dead letters. The only room that names sled.
//!
//! **What is promised.** A verb that changes something answers once that is on disk, through fsync: it survives kill -9
//! and power loss. A delivered head is gone, a deferred one has its attempts and its time, before the answer. What a
//! crash may undo is only what nobody was told.
//!
//! **How.** One committer thread applies changes in batches and flushes once for each (`committer.rs`, `writer.rs`).
//! sled recovers a prefix of its log, so writes are ordered such that every prefix is a valid state: what is referred
//! to before what refers to it; a removal of the reference before what it referred to; the org's state record, whose
//! next sequence is the commit point of its appends, last. (An event that is one record needs none; the state follows
//! before that record is removed. The events of a change always have it: they count together or not at all.) There are no transactions and no batches of sled's: both
//! take a lock of the whole process. At open, `recovery.rs` finishes or sweeps what was cut off.
//!
//! **Where.** Keys and trees are listed in `key.rs`, records in `record.rs`, what is around a record in `seal.rs`, files
//! in `place.rs`, copies of the whole in `copy`. What was delivered is kept for a while beside the store, in `history/`.
//! Deliveries of an org have consecutive sequences and only the head leaves, so depth and bytes are differences, and memory does
//! not grow with the backlog. What is revived at the head lies before them: see `front.rs`.
//!
//! **Limits.** A stored value is at most 64 KiB: payloads over 16 KiB lie in chunks of 48 KiB, so sled's blob files,
//! which it never syncs, stay unused. Segments are 8 MiB. Up to 1,024 orgs have a tree of their own; beyond that a tree
//! holds several, each in its own range of keys.
//!
//! **Assumed of the disk.** fsync reaches the medium; a file system that keeps what was fsynced (ext4, XFS, Btrfs). One
//! host, one process: the lock is the kernel's.
//!
//! **After a failed write** the store is poisoned: every verb refuses, [`Queue::health`] says why, and only a new process
//! may open it again. An fsync is never retried: the kernel may have dropped the pages that failed.
//!
//! **Format versions.** 1: the first. 2: webhooks have many more settings, there are clients, a head can be held, and the
//! version is bound to the record. 3: changes are remembered by their ids, webhooks and clients have a profile,
//! orgs a limit of webhooks. 4: orgs have sources, and requests that came there are remembered. 5: this one; dead letters may be
//! revived before the queue, and a delivery says whether it is a replay. Records of earlier formats are read as they are and
//! written anew in this one.

mod append;
pub mod bare;
mod by_name;
mod change;
mod committer;
mod copy;
mod directory;
mod durable;
mod figures;
mod format;
mod front;
#[cfg(fuzzing)]
pub mod fuzzing;
mod heads;
mod history;
mod key;
mod ledger;
mod letters;
mod mark;
mod named;
mod names;
mod opening;
mod place;
mod read;
mod record;
mod recovery;
mod request;
mod retention;
mod seal;
mod settings;
mod settle;
mod shape;
mod snapshots;
mod sources;
mod store;
mod swap;
mod tape;
#[cfg(test)]
mod tests;
mod tree;
mod upkeep;
mod usage;
mod verbs;
mod worst;
mod writer;

use std::path::PathBuf;
use std::sync::Arc;

pub use by_name::{ByName, Clients, Named, Sources, Webhooks};
pub use change::{AppendChange, AppendedChange, AppendedEvent, ChangeKey};
pub use copy::{BackupFailed, Compacted, Fault, KeysInUse, Kind, Part, Rekeyed, Restored, Verified};
pub use directory::{Directory, Org};
pub use figures::Figures;
pub use history::{HistoryFilter, HistoryPage, HistoryUsage, Replay, ReplayRun};
pub use letters::Changed;
pub use named::NamedOrgs;
pub use request::{AppendRequest, AppendedRequest, RequestAnswer, RequestKey};
pub use retention::{Kept, Retention};
pub use shape::{AGES_MIN, Ages, Shape};
pub use usage::StoreUsage;
pub use verbs::Queue;

use crate::model::{
    Attempt, DeadLetter, DeadLetterId, DeadReason, Delivery, Event, EventId, Head, OrgId, OrgNumber,
    Sequence, UnixMs, WebhookId,
};

/// What [`Queue::open`] needs to know.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// The state directory; the store lives in `store/` below it.
    pub data_dir: PathBuf,
    /// The master key's bytes: 32.
    pub key: MasterKey,
    /// The master key before it: what it sealed is still opened.
    pub previous_key: Option<MasterKey>,
    /// What sled may keep in memory, in bytes.
    pub cache_bytes: u64,
    /// Free space below which enqueues are refused, in bytes; `None` means 512 MiB or 5 % of the disk, whichever is less.
    pub reserve_bytes: Option<u64>,
    /// Deliveries that may wait per org unless the org says otherwise.
    pub max_deliveries: u64,
    /// Payload bytes that may wait per org unless the org says otherwise.
    pub max_bytes: u64,
    /// What may wait in all queues together.
    pub max_total: QueueLimits,
    /// What is kept of dead letters and history.
    pub retention: Retention,
}

/// What may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Deliveries.
    pub deliveries: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

impl QueueLimits {
    /// None that is ever reached.
    pub const NONE: QueueLimits = QueueLimits { deliveries: u64::MAX / 2, bytes: u64::MAX / 2 };
}

impl Default for QueueLimits {
    fn default() -> QueueLimits {
        QueueLimits::NONE
    }
}

impl StoreOptions {
    fn ring(&self) -> seal::Ring {
        seal::Ring::new(&self.key, self.previous_key.as_ref())
    }
}

/// The key that seals every record. Wiped on drop, never printed.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct MasterKey(pub [u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("[key]")
    }
}

/// Why a store was not opened. Each says what to do; the store is untouched.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "{path} is in use by process {holder}: stop that daemon first, or choose another --data directory"
    )]
    Locked {
        /// The state directory.
        path: String,
        /// The process id in its lock file.
        holder: String,
    },
    /// Everything else, in words that say what to do.
    #[error("{0}")]
    Refused(String),
    /// The disk is too full even to open; free space and start again.
    #[error("{0}")]
    DiskFull(String),
}

/// One event with the webhooks it is to be delivered to: all of its deliveries are appended, or none.
#[derive(Debug, Clone)]
pub struct Append {
    /// The org it belongs to.
    pub org: Arc<Org>,
    /// The event.
    pub event: Event,
    /// One delivery each, in this order. Empty: the event is accepted and remembered, and nothing is queued.
    pub webhooks: Vec<WebhookId>,
    /// When it was accepted.
    pub accepted_at: UnixMs,
}

/// The durable answer to an [`Append`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// The event's id.
    pub id: EventId,
    /// Its first delivery's sequence; `None` if no webhook matched.
    pub sequence: Option<Sequence>,
    /// How many deliveries it has.
    pub deliveries: u32,
    /// The id had been accepted before with the same content: nothing was appended.
    pub duplicate: bool,
}

/// Why something was not accepted. Nothing of it is stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The org is not there (any more).
    #[error("there is no such org")]
    UnknownOrg,
    /// The org has no such webhook.
    #[error("the org has no such webhook")]
    UnknownWebhook,
    /// The org has no such client.
    #[error("the org has no such client")]
    UnknownClient,
    /// The org has no such source.
    #[error("the org has no such source")]
    UnknownSource,
    /// Webhooks use the client; say cascade to delete them with it.
    #[error("its webhooks: {0}")]
    ClientInUse(u64),
    /// There is no such dead letter.
    #[error("there is no such dead letter")]
    UnknownDeadLetter,
    /// The id was accepted within the last 24 h with other content.
    #[error("this id was accepted within the last 24 h with other content")]
    IdReused,
    /// The org's queue is at its limit.
    #[error("the org's queue is full: {deliveries} deliveries and {bytes} bytes are waiting")]
    QueueFull {
        /// Deliveries waiting.
        deliveries: u64,
        /// Their payload bytes.
        bytes: u64,
    },
    /// All queues together are at their limit.
    #[error(
        "the whole daemon is at its limit: {deliveries} deliveries and {bytes} bytes are waiting in the queues of all orgs"
    )]
    AllQueuesFull {
        /// Deliveries waiting.
        deliveries: u64,
        /// Their payload bytes.
        bytes: u64,
    },
    /// What is remembered of today's requests of sources is as much as the org may have.
    #[error("the requests that are remembered of today take {0} bytes, which is all that the org may have")]
    RequestsFull(u64),
    /// Deliveries are waiting; say discard to drop them.
    #[error("{0} deliveries are waiting in the org's queue")]
    QueueNotEmpty(u64),
    /// Dead letters are kept; say discard to drop them.
    #[error("{0} dead letters of the org are kept")]
    DeadLettersKept(u64),
    /// The delivery that was meant has left the queue meanwhile.
    #[error("delivery {0} has left the queue meanwhile")]
    HeadMoved(Sequence),
    /// There is no head to act on.
    #[error("the org's queue is empty")]
    QueueEmpty,
    /// What is to be stored beside the payload does not fit a record.
    #[error("names, attributes and texts beside the payload take more than {0} bytes")]
    TooLarge(usize),
    /// Free space is below the reserve.
    #[error("free disk space is below the reserve")]
    DiskFull,
    /// The store has failed or is closing; the reason is bland on purpose.
    #[error("the store does not accept writes: {0}")]
    Unavailable(String),
}

/// Fences a result: an outcome counts only while this delivery is still its org's head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The org.
    pub org: OrgNumber,
    /// The delivery that was head when the attempt started.
    pub sequence: Sequence,
}

/// What became of a settled claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The outcome is durable.
    Applied,
    /// The delivery was no longer the head (skipped, or its org deleted meanwhile): nothing was changed.
    Stale,
}

/// A snapshot of an org's queue, sent whenever its head or pause changes, in the order of commits. Every notice is sent
/// before the verb that caused it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// The org.
    pub org: OrgNumber,
    /// Its head, or `None` when its queue is empty.
    pub head: Option<Head>,
    /// Whether it is paused.
    pub paused: bool,
}

/// Why an org is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// What the operator said.
    pub reason: Option<String>,
    /// Since when.
    pub at: UnixMs,
}

/// An org's queue in numbers, from memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSummary {
    /// Deliveries waiting, the head included.
    pub depth: u64,
    /// Their payload bytes.
    pub bytes: u64,
    /// The head.
    pub head: Option<Head>,
    /// Set while the org is paused.
    pub paused: Option<Pause>,
    /// Dead letters kept.
    pub dead_letters: u64,
}

/// A delivery in a queue listing.
#[derive(Debug, Clone)]
pub struct Queued {
    /// The delivery; its payload is empty unless asked for.
    pub delivery: Delivery,
    /// Attempts made: 0 for all but the head.
    pub attempts: u32,
    /// The head's next attempt is not before this.
    pub not_before: Option<UnixMs>,
    /// Whether it is the head and its last attempt has failed: it waits until someone acts.
    pub held: bool,
    /// The head's last attempt.
    pub last: Option<Attempt>,
}

/// Which dead letters; what is left out means any.
#[derive(Debug, Clone, Default)]
pub struct DeadFilter {
    /// Of this org.
    pub org: Option<OrgId>,
    /// For this webhook.
    pub webhook: Option<WebhookId>,
    /// Events of one of these types; none at all means any.
    pub event_types: Vec<String>,
    /// The event with this id.
    pub event_id: Option<EventId>,
    /// Given up for this reason.
    pub reason: Option<DeadReason>,
    /// Given up at or after this.
    pub since: Option<UnixMs>,
    /// Given up before this.
    pub until: Option<UnixMs>,
}

/// A place in the list of dead letters, in order of death; opaque outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadCursor {
    /// When the last one listed died.
    pub died_at: UnixMs,
    /// Which one it was.
    pub id: DeadLetterId,
}

/// One page of dead letters, oldest death first.
#[derive(Debug, Clone)]
pub struct DeadPage {
    /// The dead letters, without payload, with their last attempt only.
    pub items: Vec<DeadLetter>,
    /// Where the next page starts; `None` at the end.
    pub next: Option<DeadCursor>,
}

/// Whether the store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreHealth {
    /// It does.
    Accepting,
    /// Free space is below the reserve: enqueues are refused, deliveries go on.
    DiskFull,
    /// A write failed: nothing is accepted or settled any more, the process must exit and reopen.
    Failed(String),
}
