//! Compacting: sled never gives disk space back, so the store is rewritten into a fresh one, which takes its place by a swap
//! that every crash leaves finished or undone (`swap.rs`). Records stay sealed.
//!
//! Nothing may work on the store meanwhile: a running daemon is asked, by a file in its state directory, to do it when it
//! starts next.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Serialize;

use super::build::Builder;
use super::verify::remove_dir;
use crate::queue::opening::{cannot_open, check_linked};
use crate::queue::place::{FORMAT, Found, Place, allocated_in, sync_dir, sync_tree};
use crate::queue::store::Store;
use crate::queue::swap::{self, COMPACT};
use crate::queue::{OpenError, Queue, StoreOptions};

/// Says that the store is to be compacted at the next start.
pub(super) const ASKED: &str = "compact.asked";
/// Says the same, since the running daemon has found that it is worth while.
pub(super) const DUE: &str = "compact.due";
/// In the store: what it took after it was compacted last, in bytes.
const COMPACTED: &str = "COMPACTED";
/// A store that takes no more is left as it is.
const SMALL_BYTES: u64 = 128 << 20;

/// What the store took on disk, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Compacted {
    /// Before.
    pub before_bytes: u64,
    /// After.
    pub after_bytes: u64,
}

impl Queue {
    /// Compacts the store of a stopped daemon. Blocking.
    pub fn compact_stopped(options: &StoreOptions) -> Result<Compacted, OpenError> {
        check_linked()?;
        let place = Place::claim(&options.data_dir)?;
        if place.inspect(&options.ring())? == Found::Nothing {
            return Err(OpenError::Refused(format!("{} holds no store", options.data_dir.display())));
        }
        forget(&options.data_dir).map_err(|error| trouble("remove", &error))?;
        let (_place, compacted) = compact(place, options)?;
        compacted
    }

    /// Has the store compacted when it is opened next.
    pub async fn ask_to_compact(&self) -> io::Result<()> {
        let dir = self.store().place.dir().to_owned();
        let asked = tokio::task::spawn_blocking(move || {
            File::create(dir.join(ASKED))?.sync_all()?;
            sync_dir(&dir)
        });
        asked.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Whether the store in this state directory is to be compacted when it is opened next.
    #[must_use]
    pub fn is_to_be_compacted(data_dir: &Path) -> bool {
        [ASKED, DUE].iter().any(|name| data_dir.join(name).exists())
    }
}

/// PURE. Whether a store that takes `allocated` bytes is to be compacted at the next start: most of it is neither waiting nor
/// dead letters, and it has grown a good deal since that was done last, so that remembered ids, which are not counted, do
/// not make every start a long one.
pub(in crate::queue) fn is_wasteful(allocated: u64, kept: u64, after_last: u64) -> bool {
    allocated > SMALL_BYTES && kept < allocated / 8 && after_last < allocated / 4
}

/// What the store took after it was compacted last; 0 if it never was.
pub(in crate::queue) fn bytes_after_last(store: &Path) -> u64 {
    fs::read_to_string(store.join(COMPACTED)).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Has the store compacted at the next start, or not, as the running daemon sees it now. It is advice: nothing is synced.
pub(in crate::queue) fn set_due(dir: &Path, due: bool) -> io::Result<()> {
    let place = dir.join(DUE);
    if due {
        return File::create(place).map(drop);
    }
    match fs::remove_file(place) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn trouble(what: &str, error: &io::Error) -> OpenError {
    let text = format!("cannot {what} the store that is compacted: {error}");
    if error.kind() == io::ErrorKind::StorageFull {
        OpenError::DiskFull(text)
    } else {
        OpenError::Refused(text)
    }
}

/// Nobody asks any more: durably.
fn forget(dir: &Path) -> io::Result<()> {
    for name in [ASKED, DUE] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    sync_dir(dir)
}

/// Compacts the store before it is opened, if that was asked for or is due. It is tried once: a start that does not survive it is not
/// followed by another such start. What fails leaves the store as it was.
pub(in crate::queue) fn compact_if_asked(place: Place, options: &StoreOptions) -> Result<Place, OpenError> {
    if !Queue::is_to_be_compacted(place.dir()) {
        return Ok(place);
    }
    forget(place.dir()).map_err(|error| trouble("remove", &error))?;
    if place.inspect(&options.ring())? == Found::Nothing {
        return Ok(place);
    }
    let bytes = place.allocated_bytes();
    tracing::info!(bytes, "compacting the store: nothing is accepted until that is done");
    let (place, compacted) = compact(place, options)?;
    match compacted {
        Ok(Compacted { before_bytes, after_bytes }) => {
            tracing::info!(before_bytes, after_bytes, "compacted the store");
        }
        Err(error) => tracing::error!(%error, "the store was not compacted, and is as it was: ask again"),
    }
    Ok(place)
}

/// Rewrites the store and swaps. The outer error is of the store itself; the inner one leaves it as it was.
fn compact(place: Place, options: &StoreOptions) -> Result<(Place, Result<Compacted, OpenError>), OpenError> {
    let store = Store::open_in(place, options)?;
    let before_bytes = store.place.allocated_bytes();
    let new = store.place.dir().join(COMPACT);
    let rewritten = rewrite(&store, &new, options);
    let place = store.close();
    place.wait_for_sled()?;
    let compacted = rewritten.and_then(|()| {
        swap::swap(place.dir()).map_err(|error| trouble("swap", &error))?;
        Ok(Compacted { before_bytes, after_bytes: place.allocated_bytes() })
    });
    if compacted.is_err() {
        swap::settle(place.dir()).map_err(|error| trouble("remove", &error))?;
    }
    Ok((place, compacted))
}

/// Writes everything anew beside the store, and to disk.
fn rewrite(store: &Store, new: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let io = |error: io::Error| trouble("write", &error);
    let refused =
        |error: &dyn std::fmt::Display| OpenError::Refused(format!("the store is not whole: {error}"));
    // What is missing at the end of its log would be missing without a word afterwards.
    let last_commit = store.last_commit().map_err(|error| refused(&error))?;
    if let Some(name) = store.foreign_trees().first() {
        return Err(refused(&format!("it has a tree \"{}\"", name.escape_debug())));
    }
    remove_dir(new).map_err(io)?;
    let mut builder = Builder::new(new, options.cache_bytes)?;
    for tree in store.all_trees() {
        let name = tree.name();
        for row in tree.rows::<[u8; 0]>(..) {
            let row = row.map_err(|error| match error {
                crate::queue::store::Trouble::Sled(error) => cannot_open(error),
                error => refused(&error),
            })?;
            builder.write(&name, &row.key, Some(&row.sealed))?;
        }
    }
    builder.finish(last_commit)?;
    fs::copy(store.place.store_dir().join(FORMAT), new.join(FORMAT)).map_err(io)?;
    fs::write(new.join(COMPACTED), allocated_in(new).to_string()).map_err(io)?;
    sync_tree(new).map_err(io)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_rewritten_when_most_of_it_is_nothing() {
        const MIB: u64 = 1 << 20;
        assert!(!is_wasteful(128 * MIB, 0, 0), "a small one never is");
        assert!(is_wasteful(129 * MIB, 16 * MIB, 32 * MIB));
        assert!(!is_wasteful(129 * MIB, 17 * MIB, 0), "much waits");
        assert!(!is_wasteful(129 * MIB, 0, 33 * MIB), "it has not grown much since");
    }
}
