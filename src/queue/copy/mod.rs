//! The store as a whole: checked, and copied.
//!
//! A record is bound to its place by its seal, so whatever copies the store moves sealed bytes from place to same place
//! and opens none: what a copy holds is as secret as the store, and is refused where anything of it was changed.
//!
//! * `verify` opens every record and checks what refers to what, and changes nothing (`judge`: one record).
//! * `backup` sends everything while the work goes on, in the layout of `file`; `restore` makes a store of it.
//! * `compact` rewrites a store into a fresh one, which takes its place.
//! * `rekey` seals everything with the current key, while the work goes on.
//!
//! Stores are built by `build`, beside their place, and put there by a rename once all of it is on disk.

mod backup;
mod build;
mod compact;
mod file;
mod judge;
mod kind;
mod rekey;
mod restore;
mod verify;

use std::path::Path;

pub use backup::{BackupFailed, Part};
pub use compact::Compacted;
pub(super) use compact::{bytes_after_last, compact_if_asked, is_wasteful, set_due};
pub use kind::{Fault, Kind};
pub use rekey::{KeysInUse, Rekeyed};
pub use restore::Restored;
pub use verify::Verified;

use super::place::Place;
use super::{Queue, swap};

/// Removes what a verification that was cut off left in the state directory. What cannot be removed only takes space.
pub(super) fn sweep(place: &Place) {
    if let Err(error) = verify::remove_dir(&place.dir().join(verify::COPY)) {
        tracing::warn!(%error, "cannot remove the remains of a verification");
    }
}

impl Queue {
    /// Whether this state directory has a store.
    #[must_use]
    pub fn has_store(data_dir: &Path) -> bool {
        swap::has_store(data_dir)
    }
}
