//! Restoring a backup: into a state directory without a store, built beside its place and put there by one rename. What was
//! cut off leaves nothing, or a whole store.

use std::path::Path;

use serde::Serialize;

use super::build::Builder;
use super::file::{Backup, Bad, Block, End};
use super::verify::{Verified, remove_dir, verify_copy};
use crate::queue::format::Keys;
use crate::queue::opening::check_linked;
use crate::queue::place::{Place, refuse_foreign};
use crate::queue::{OpenError, Queue, StoreOptions};

/// What was restored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Records read while the backup was taken.
    pub rows: u64,
    /// Changes made meanwhile.
    pub changes: u64,
    /// The last commit that it holds.
    pub commit: u64,
}

impl From<Bad> for OpenError {
    fn from(bad: Bad) -> OpenError {
        OpenError::Refused(bad.to_string())
    }
}

impl Queue {
    /// Restores a backup into the state directory of the options, which must have no store. Blocking.
    pub fn restore(file: &Path, options: &StoreOptions) -> Result<Restored, OpenError> {
        check_linked()?;
        let (backup, end) = Backup::open(file, &options.ring())?;
        let place = Place::claim(&options.data_dir)?;
        if Queue::has_store(place.dir()) {
            return Err(OpenError::Refused(format!(
                "{} has a store: a backup is restored into a directory that has none; move its directory store away first, or \
                 choose another --data",
                place.dir().display()
            )));
        }
        refuse_foreign(place.dir())?;
        place.remove_unfinished()?;
        place.create(&keys_of(&backup), |dir| build(&backup, end, dir, options))?;
        Ok(Restored { rows: end.rows, changes: end.changes, commit: end.commit })
    }

    /// Restores a backup into a directory for temporary files, checks every record there, and removes it again. Blocking.
    pub fn verify_backup(
        file: &Path,
        options: &StoreOptions,
        temporary: &Path,
    ) -> Result<Verified, OpenError> {
        let dir = temporary.join(format!("postrider-verify-{}", std::process::id()));
        let options = StoreOptions { data_dir: dir.clone(), ..options.clone() };
        let verified = Queue::restore(file, &options).and_then(|_| verify_copy(&options, &dir));
        remove_dir(&dir)
            .map_err(|error| OpenError::Refused(format!("cannot remove {}: {error}", dir.display())))?;
        verified
    }
}

/// What the store's marker is to say.
fn keys_of(backup: &Backup) -> Keys {
    let mut keys = backup.keys.iter().map(ToString::to_string);
    Keys { current: keys.next().unwrap_or_default(), previous: keys.next() }
}

fn build(backup: &Backup, end: End, dir: &Path, options: &StoreOptions) -> Result<(), OpenError> {
    let mut builder = Builder::new(dir, options.cache_bytes)?;
    for kind in [Block::Rows, Block::Changes] {
        backup.each(kind, |tree, key, value| builder.write(tree, key, value))?;
    }
    builder.finish(end.commit)
}
