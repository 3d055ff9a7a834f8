//! The history: what was delivered, kept for a while so that it can be looked at and sent again.
//!
//! It lies beside the store and not in it, where it would double what every delivery writes: in `history/`, append-only
//! files that are called segments, each of at most some MiB or an hour. The committer seals an entry when it settles a
//! delivery, and writes those of a batch at once, before the batch's flush: kill -9 loses nothing of it. It is synced
//! once a second, and at the end of a segment, by a thread of its own (`keeper.rs`): a power cut loses the last second.
//! Of deliveries nothing is ever lost for it, and nothing waits for it: when it cannot be written, it has a gap, and
//! that is said.
//!
//! A segment that an earlier process wrote is never written to again. One that ends in the middle of an entry ends
//! there. Whole segments go when they are too old or the history too large (`expiry.rs`). Entries say in the clear of
//! which org they are and when they were delivered, so that they are passed over without being opened (`format.rs`); an
//! entry opens only where it was written, and as what its header says. Orgs are told apart by number and name: of one
//! that was deleted nothing is shown.

mod expiry;
mod format;
mod keeper;
mod read;
mod replay;
mod reseal;
#[cfg(test)]
mod tests;
mod verbs;
mod writer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use read::{HistoryFilter, HistoryPage};
pub use replay::{Replay, ReplayRun};
pub(super) use verbs::keep;
pub(super) use writer::HistoryWriter;

use super::retention::{InForce, Kept};
use super::seal::Sealer;
use crate::model::UnixMs;

/// The history in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryUsage {
    /// Whether what is delivered is kept.
    pub on: bool,
    /// Deliveries in it.
    pub entries: u64,
    /// What they take on disk, in bytes.
    pub bytes: u64,
    /// When the oldest was delivered.
    pub oldest: Option<UnixMs>,
    /// Deliveries since the start that could not be kept.
    pub missed: u64,
    /// Why the last of them could not be kept, until one is kept again.
    pub trouble: Option<String>,
}

/// What the history's writer, keeper and readers share.
pub(super) struct History {
    dir: PathBuf,
    sealer: Arc<Sealer>,
    retention: Arc<InForce>,
    segments: Mutex<BTreeMap<u64, Segment>>,
    missed: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// A file of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Segment {
    /// Where what is written of it ends, in bytes.
    end: u64,
    entries: u64,
    /// When its oldest and its newest entry were delivered.
    times: Option<(UnixMs, UnixMs)>,
    state: State,
    /// When its newest entry was first seen to be in the future, as time that the keeper has been running.
    ahead_since: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// An earlier process wrote it, and its entries have not been counted yet.
    Unread,
    /// It is written to.
    Open,
    /// It is not written to any more.
    Ended,
}

impl Segment {
    fn new(end: u64, state: State) -> Segment {
        Segment { end, entries: 0, times: None, state, ahead_since: None }
    }

    /// Counts an entry in.
    fn note(&mut self, delivered_at: UnixMs) {
        self.entries += 1;
        let (oldest, newest) = self.times.unwrap_or((delivered_at, delivered_at));
        self.times = Some((oldest.min(delivered_at), newest.max(delivered_at)));
    }
}

impl History {
    /// Looks what is there. Nothing is made and nothing is read before it is needed.
    pub(super) fn open(dir: PathBuf, sealer: Arc<Sealer>, retention: Arc<InForce>) -> History {
        let segments = find_segments(&dir).unwrap_or_else(|error| {
            tracing::warn!(%error, dir = %dir.display(), "the history cannot be read; deliveries go on as ever");
            BTreeMap::new()
        });
        History {
            dir,
            sealer,
            retention,
            segments: Mutex::new(segments),
            missed: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format::file_name(segment))
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<u64, Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much is kept, while anything is.
    fn kept(&self) -> Option<Kept> {
        self.retention.get().history.filter(|kept| !kept.age.is_zero() && kept.bytes > 0)
    }

    /// Whether what is delivered is kept.
    pub(super) fn is_on(&self) -> bool {
        self.kept().is_some()
    }

    /// Counts deliveries that are not kept, and says why, once until one is kept again.
    fn miss(&self, entries: u64, why: &str) {
        self.missed.fetch_add(entries, Ordering::Relaxed);
        let mut trouble = self.trouble();
        if trouble.as_deref() != Some(why) {
            tracing::warn!(why, "what is delivered is not kept in the history; deliveries go on as ever");
            *trouble = Some(why.to_owned());
        }
    }

    /// The history is written.
    fn well(&self) {
        if self.trouble().take().is_some() {
            tracing::info!("what is delivered is kept in the history again");
        }
    }

    pub(super) fn usage(&self) -> HistoryUsage {
        let segments = self.segments();
        HistoryUsage {
            on: self.is_on(),
            entries: segments.values().map(|segment| segment.entries).sum(),
            bytes: segments.values().map(|segment| segment.end).sum(),
            oldest: segments.values().filter_map(|segment| segment.times).map(|(oldest, _)| oldest).min(),
            missed: self.missed.load(Ordering::Relaxed),
            trouble: self.trouble().clone(),
        }
    }
}

fn find_segments(dir: &Path) -> io::Result<BTreeMap<u64, Segment>> {
    let mut segments = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(segments),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if let Some(number) = format::number_in(&name) {
            segments.insert(number, Segment::new(entry.metadata()?.len(), State::Unread));
        } else if reseal::is_left_over(&name) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(segments)
}
