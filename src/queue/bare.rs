//! The bare loop that the bench holds the store against: plain inserts and one flush per group, nothing around them.
//! Same segment size and same sync as the store; no sealing, no state record, no limits. Never used by the daemon.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A store of its own that only this loop writes.
pub struct BareStore {
    db: sled::Db,
    next: u64,
}

/// The directory could not be opened or written; the text is sled's.
#[derive(Debug, thiserror::Error)]
#[error("bare sled store: {0}")]
pub struct BareError(#[from] sled::Error);

impl BareStore {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<BareStore, BareError> {
        let db = super::opening::open_sled(dir, CACHE_BYTES)?;
        Ok(BareStore { db, next: 0 })
    }

    /// `writers` threads each insert `value` and wait until it is durable, again and again for `time`; one committer
    /// takes what is waiting, inserts it, flushes once and answers. Answers how many were made durable.
    pub fn group_commit(&mut self, writers: usize, value: &[u8], time: Duration) -> Result<u64, BareError> {
        let end = Instant::now() + time;
        let first = self.next;
        std::thread::scope(|scope| {
            let (submit, submitted) = mpsc::channel::<mpsc::SyncSender<()>>();
            for _ in 0..writers {
                let submit = submit.clone();
                scope.spawn(move || {
                    let (done, wait) = mpsc::sync_channel(1);
                    while Instant::now() < end && submit.send(done.clone()).is_ok() && wait.recv().is_ok() {}
                });
            }
            drop(submit);
            let mut group = Vec::with_capacity(writers);
            // A failed write returns here: the channel goes, and with it every writer that waits.
            while let Ok(writer) = submitted.recv() {
                group.push(writer);
                group.extend(submitted.try_iter().take(GROUP_MAX - 1));
                for _ in &group {
                    self.next += 1;
                    self.db.insert(self.next.to_be_bytes(), value)?;
                }
                self.db.flush()?;
                for writer in group.drain(..) {
                    // A writer that has gone needs no answer.
                    writer.send(()).ok();
                }
            }
            Ok(self.next - first)
        })
    }
}

/// What sled may keep in memory; the store's own default.
const CACHE_BYTES: u64 = 64 << 20;
/// As many as the store's committer takes at once.
const GROUP_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counted_insert_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = BareStore::open(dir.path()).unwrap();
        let mut made = 0;
        for writers in [1, 8] {
            made += store.group_commit(writers, &[7; 1024], Duration::from_millis(50)).unwrap();
        }
        assert!(made > 0);
        assert_eq!(store.db.len() as u64, made);
    }
}
