//! The store in numbers, for status and metrics.

use super::history::HistoryUsage;
use super::key::{self, InDead};
use super::store::Store;
use super::{Queue, QueueLimits, Retention};
use crate::model::UnixMs;

/// The store in numbers.
#[derive(Debug, Clone, Default)]
pub struct StoreUsage {
    /// Orgs configured.
    pub orgs: u64,
    /// Webhooks configured.
    pub webhooks: u64,
    /// Deliveries waiting in all queues.
    pub deliveries: u64,
    /// Dead letters kept.
    pub dead_letters: u64,
    /// What they take in the store, sealed, in bytes.
    pub dead_letter_bytes: u64,
    /// When the oldest of them died.
    pub oldest_dead_letter: Option<UnixMs>,
    /// The history.
    pub history: HistoryUsage,
    /// What is kept of dead letters and history.
    pub retention: Retention,
    /// Payload bytes of waiting deliveries.
    pub live_bytes: u64,
    /// Bytes the store takes on disk.
    pub allocated_bytes: u64,
    /// Free bytes on its disk.
    pub free_bytes: u64,
    /// The reserve in force.
    pub reserve_bytes: u64,
    /// What may wait in all queues together.
    pub max_total: QueueLimits,
    /// Unreadable records set aside.
    pub quarantined: u64,
    /// Files in sled's blob directory; anything but 0 is a fault.
    pub blob_files: u64,
}

impl Queue {
    /// Numbers for status.
    pub fn usage(&self) -> StoreUsage {
        let (store, shown) = (self.store(), self.shown());
        let (orgs, webhooks) = shown.directory.counts();
        let (deliveries, live_bytes, dead_letters) = shown.published.totals();
        StoreUsage {
            orgs,
            webhooks,
            deliveries,
            dead_letters,
            dead_letter_bytes: store.dead.counted_bytes(),
            oldest_dead_letter: oldest_dead_letter(store),
            history: store.history.usage(),
            retention: store.retention.get(),
            live_bytes,
            allocated_bytes: store.place.allocated_bytes(),
            free_bytes: store.place.free_bytes().unwrap_or(0),
            reserve_bytes: self.limits().reserve_bytes,
            max_total: self.limits().max_total,
            quarantined: store.quarantine.len(),
            blob_files: store.place.blob_files(),
        }
    }
}

fn oldest_dead_letter(store: &Store) -> Option<UnixMs> {
    let first = store.dead.keys(&[InDead::ByTime as u8]).next()?.ok()?;
    key::by_time_in(&first).map(|(died_at, _)| died_at)
}
