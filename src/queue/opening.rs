//! Opening sled: with the sizes that everything else relies on, on a thread of its own, and on a full disk too.

use std::path::Path;

use super::place::Place;
use super::{OpenError, durable};

/// sled's segment: nodes above a quarter of it would go to blob files, which sled never syncs. Fixed for the life of a
/// store; below 512 KiB sled's recovery is broken.
const SEGMENT_BYTES: usize = 8 << 20;

/// Opens or makes what sled keeps in this directory.
pub(super) fn open_sled(dir: &Path, cache_bytes: u64) -> Result<sled::Db, sled::Error> {
    sled::Config::new()
        .path(dir)
        .segment_size(SEGMENT_BYTES)
        .cache_capacity(cache_bytes)
        .flush_every_ms(None)
        .open()
}

/// sled can panic while opening a damaged store: that happens on a thread of its own and becomes an error.
fn open_guarded(dir: &Path, cache_bytes: u64) -> Result<sled::Db, sled::Error> {
    let dir = dir.to_owned();
    let thread =
        std::thread::Builder::new().name("store-open".to_owned()).spawn(move || open_sled(&dir, cache_bytes));
    match thread.map(std::thread::JoinHandle::join) {
        Ok(Ok(result)) => result,
        Ok(Err(_panic)) => Err(sled::Error::Corruption { at: None, bt: () }),
        Err(error) => Err(error.into()),
    }
}

/// Opens sled's directory; on a full disk, with the space that was set aside for it.
pub(super) fn open_on_any_disk(place: &Place, cache_bytes: u64) -> Result<sled::Db, OpenError> {
    let dir = place.store_dir();
    match open_guarded(&dir, cache_bytes) {
        Err(sled::Error::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull => {
            if !place.drop_ballast() {
                return Err(OpenError::DiskFull(format!(
                    "the disk of {} is too full to open the store: free some space and start again",
                    dir.display()
                )));
            }
            tracing::warn!("the disk is full: gave up the ballast to open the store");
            open_guarded(&dir, cache_bytes).map_err(cannot_open)
        }
        other => other.map_err(cannot_open),
    }
}

pub(super) fn cannot_open(error: sled::Error) -> OpenError {
    match error {
        sled::Error::Io(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            OpenError::DiskFull(format!("the disk is too full to open the store: {error}"))
        }
        error => OpenError::Refused(format!(
            "the store cannot be read ({error}): keep a copy of the directory, then restore it from a backup, or move it \
             away to start empty"
        )),
    }
}

/// A binary without its override would lose what it acknowledges: it opens nothing.
pub(super) fn check_linked() -> Result<(), OpenError> {
    if durable::check_override() {
        return Ok(());
    }
    Err(OpenError::Refused(
        "this binary was linked without its sync_file_range override, so nothing it stores would survive a power cut: build \
         it again with the project's own settings"
            .to_owned(),
    ))
}
