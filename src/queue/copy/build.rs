//! Building a store beside its place from sealed records.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::queue::OpenError;
use crate::queue::mark::Mark;
use crate::queue::opening::{cannot_open, open_sled};
use crate::queue::place::Place;
use crate::queue::snapshots;

/// A store that is being built.
pub(super) struct Builder {
    dir: PathBuf,
    cache_bytes: u64,
    db: sled::Db,
    trees: HashMap<Vec<u8>, sled::Tree>,
}

impl Builder {
    /// Begins with an empty one in this directory, which must not be there.
    pub(super) fn new(dir: &Path, cache_bytes: u64) -> Result<Builder, OpenError> {
        let db = open_sled(dir, cache_bytes).map_err(cannot_open)?;
        Ok(Builder { dir: dir.to_owned(), cache_bytes, db, trees: HashMap::new() })
    }

    /// Writes a sealed value, or removes the key.
    pub(super) fn write(&mut self, tree: &[u8], key: &[u8], value: Option<&[u8]>) -> Result<(), OpenError> {
        if !self.trees.contains_key(tree) {
            self.trees.insert(tree.to_vec(), self.db.open_tree(tree).map_err(cannot_open)?);
        }
        let Some(tree) = self.trees.get(tree) else { return Ok(()) };
        let written = match value {
            Some(value) => tree.insert(key, value),
            None => tree.remove(key),
        };
        written.map(drop).map_err(cannot_open)
    }

    /// Writes what is still in memory, closes the store, and says beside it how far its log must reach. Syncing the files is
    /// for whoever puts them in their place.
    pub(super) fn finish(self, last_commit: u64) -> Result<(), OpenError> {
        let Builder { dir, cache_bytes, db, trees } = self;
        db.flush().map_err(cannot_open)?;
        drop((db, trees));
        // A store that has had commits is opened only with a snapshot, and sled makes one when it opens.
        Place::wait_for_sled_in(&dir)?;
        drop(open_sled(&dir, cache_bytes).map_err(cannot_open)?);
        Place::wait_for_sled_in(&dir)?;
        let io = |error| cannot_open(sled::Error::Io(error));
        if snapshots::settle(&dir).map_err(io)? {
            let mark = Mark::open(&dir).map_err(io)?;
            mark.write(last_commit).and_then(|()| mark.sync()).map_err(io)?;
        }
        Ok(())
    }
}
