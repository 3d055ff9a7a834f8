//! The store: its trees, and what lies beside them. Blocking; called from the committer and from reader threads.

use std::sync::{Arc, Mutex, OnceLock};

use super::format::Keys;
use super::history::History;
use super::key::{self, Part, QUEUE_TREES};
use super::mark::{COMMITTED, Mark};
use super::opening::{cannot_open, check_linked, open_on_any_disk, open_sled};
use super::place::{Found, Place};
use super::record::{Body, DeliveryRecord};
use super::retention::InForce;
use super::seal::{Sealer, Unreadable};
use super::tape::Tape;
pub(super) use super::tree::{Row, SealedTree, VALUE_BYTES_MAX};
use super::{OpenError, StoreOptions, copy, names, snapshots};
use crate::model::{OrgNumber, Sequence};

/// A payload up to this size lies in its delivery's record.
pub(super) const INLINE_BYTES_MAX: usize = 16 << 10;

/// The tree that every database of sled's has, whether it is used or not.
const SLEDS_OWN_TREE: &[u8] = b"__sled__default";

/// Our own trouble with the store. Any of these ends the store's service.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Sled(#[from] sled::Error),
    #[error("a record in {tree} is unreadable: {why}")]
    Unreadable { tree: String, why: Unreadable },
    #[error(
        "its log ends at commit {found} although {marked} were made: the file db is damaged, and the events of {} commits \
         are missing. Restore the state directory from a backup; to go on without them, remove the file {COMMITTED} in its \
         directory store",
        marked - found
    )]
    LogEndsEarly { found: u64, marked: u64 },
    #[error("cannot write {COMMITTED}: {0}")]
    Mark(std::io::Error),
    #[error("{0}")]
    Marker(String),
    #[error("a record for {tree} would take {bytes} bytes")]
    TooLarge { tree: String, bytes: usize },
}

impl Trouble {
    pub(super) fn is_disk_full(&self) -> bool {
        matches!(self, Trouble::Sled(sled::Error::Io(error)) if error.kind() == std::io::ErrorKind::StorageFull)
    }
}

/// All trees of the store.
pub(super) struct Store {
    db: sled::Db,
    pub(super) sealer: Arc<Sealer>,
    queues: Vec<OnceLock<SealedTree>>,
    pub(super) dead: SealedTree,
    pub(super) orgs: SealedTree,
    pub(super) meta: SealedTree,
    pub(super) quarantine: SealedTree,
    pub(super) history: Arc<History>,
    pub(super) retention: Arc<InForce>,
    mark: Mark,
    pub(super) tape: Arc<Tape>,
    /// What the marker says of keys.
    pub(super) keys: Mutex<Keys>,
    /// Last, so that the lock outlives the database.
    pub(super) place: Place,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the store in the state directory, or makes one where there is none.
    pub(super) fn open(options: &StoreOptions) -> Result<Store, OpenError> {
        check_linked()?;
        let place = Place::claim(&options.data_dir)?;
        copy::sweep(&place);
        let place = copy::compact_if_asked(place, options)?;
        Store::open_in(place, options)
    }

    /// Closes sled, and answers the state directory, which stays claimed.
    pub(super) fn close(self) -> Place {
        self.place
    }

    /// The same in a state directory that is claimed already.
    pub(super) fn open_in(place: Place, options: &StoreOptions) -> Result<Store, OpenError> {
        let ring = options.ring();
        let keys = match place.inspect(&ring)? {
            Found::Store(keys) => keys,
            Found::Nothing => {
                let keys = Keys::only(ring.current());
                place.create(&keys, |dir| {
                    open_sled(dir, options.cache_bytes).map(drop).map_err(cannot_open)
                })?;
                keys
            }
        };
        place.wait_for_sled()?;
        let dir = place.store_dir();
        let io = |error| cannot_open(sled::Error::Io(error));
        let has_snapshot = snapshots::settle(&dir).map_err(io)?;
        if !has_snapshot && Mark::open(&dir).map_err(io)?.read() > 0 {
            return Err(OpenError::Refused(format!(
                "{} has lost its snapshot (a file snap.…): without it the log would be taken for torn and wiped; keep a copy \
                 of the directory, then restore it from a backup; nothing was changed",
                dir.display()
            )));
        }
        let db = open_on_any_disk(&place, options.cache_bytes)?;
        // sled renames its snapshots without syncing their directory, and later reuses what only the old one needs.
        place.sync_store_dir()?;
        let cannot_read = |error: Trouble| OpenError::Refused(format!("cannot open a tree: {error}"));
        let hash = names::hash_key(&db, &ring, &keys).map_err(cannot_read)?;
        let keys_now = keys.with(&ring);
        place.mark_format(&keys_now)?;
        let sealer = Arc::new(Sealer::with(ring, &hash));
        let retention = Arc::new(InForce::default());
        retention.set(options.retention);
        let history = History::open(place.history_dir(), sealer.clone(), retention.clone());
        Store::with_trees(&db, &sealer, (keys_now, place), (Arc::new(history), retention))
            .map_err(cannot_read)
    }

    fn with_trees(
        db: &sled::Db,
        sealer: &Arc<Sealer>,
        (keys, place): (Keys, Place),
        (history, retention): (Arc<History>, Arc<InForce>),
    ) -> Result<Store, Trouble> {
        let tape = Arc::new(Tape::default());
        let tree = |name: &[u8]| -> Result<SealedTree, Trouble> {
            Ok(SealedTree::new(db.open_tree(name)?, sealer.clone(), tape.clone()))
        };
        let store = Store {
            queues: (0..QUEUE_TREES).map(|_| OnceLock::new()).collect(),
            dead: tree(key::DEAD_TREE)?,
            orgs: tree(key::ORGS_TREE)?,
            meta: tree(key::META_TREE)?,
            quarantine: tree(key::QUARANTINE_TREE)?,
            sealer: sealer.clone(),
            db: db.clone(),
            history,
            retention,
            mark: Mark::open(&place.store_dir()).map_err(Trouble::Mark)?,
            tape,
            keys: Mutex::new(keys),
            place,
        };
        let existing = db.tree_names();
        for number in 0..QUEUE_TREES {
            if existing.iter().any(|name| **name == *key::queue_tree(OrgNumber(number)).as_bytes()) {
                store.queue_for_writing(OrgNumber(number))?;
            }
        }
        Ok(store)
    }

    fn slot(&self, org: OrgNumber) -> Option<&OnceLock<SealedTree>> {
        self.queues.get((org.0 % QUEUE_TREES) as usize)
    }

    /// The tree of an org's queue; `None` if nothing was ever written to it.
    pub(super) fn queue(&self, org: OrgNumber) -> Option<&SealedTree> {
        self.slot(org)?.get()
    }

    /// The same, made if need be. Only the committer and recovery call this.
    pub(super) fn queue_for_writing(&self, org: OrgNumber) -> Result<&SealedTree, Trouble> {
        let slot = self.slot(org).ok_or_else(|| sled::Error::Unsupported("no such queue tree".to_owned()))?;
        if let Some(tree) = slot.get() {
            return Ok(tree);
        }
        let tree = self.db.open_tree(key::queue_tree(org))?;
        Ok(slot.get_or_init(|| SealedTree::new(tree, self.sealer.clone(), self.tape.clone())))
    }

    /// All queue trees that exist.
    pub(super) fn queues(&self) -> impl Iterator<Item = &SealedTree> {
        self.queues.iter().filter_map(OnceLock::get)
    }

    /// Every tree of ours that exists.
    pub(super) fn all_trees(&self) -> impl Iterator<Item = &SealedTree> {
        [&self.meta, &self.orgs, &self.dead, &self.quarantine].into_iter().chain(self.queues())
    }

    /// The tree of ours with this name, if it exists.
    pub(super) fn tree_named(&self, name: &[u8]) -> Option<&SealedTree> {
        match name {
            key::META_TREE => Some(&self.meta),
            key::ORGS_TREE => Some(&self.orgs),
            key::DEAD_TREE => Some(&self.dead),
            key::QUARANTINE_TREE => Some(&self.quarantine),
            name => self.queue(key::number_of_queue_tree(name)?),
        }
    }

    /// Names of trees that are none of ours.
    pub(super) fn foreign_trees(&self) -> Vec<String> {
        let ours = |name: &sled::IVec| {
            **name == *SLEDS_OWN_TREE || self.all_trees().any(|tree| tree.name() == **name)
        };
        let names = self.db.tree_names().into_iter().filter(|name| !ours(name));
        names.map(|name| String::from_utf8_lossy(&name).into_owned()).collect()
    }

    /// Makes everything written so far durable: one write and one fsync (see `durable.rs`).
    pub(super) fn flush(&self) -> Result<(), Trouble> {
        self.db.flush()?;
        Ok(())
    }

    /// The number of the last commit in the log, which must not end before the last one that was made. One that cannot
    /// be read says nothing and is no reason to refuse the rest.
    pub(super) fn last_commit(&self) -> Result<u64, Trouble> {
        let marked = self.mark.read();
        match self.meta.row(key::COMMITS)?.map(|row| row.read::<u64>()) {
            Some(Err(why)) => {
                tracing::error!(%why, "the number of the last commit is unreadable: the end of the log is not checked");
                Ok(marked)
            }
            Some(Ok(found)) if found >= marked => Ok(found),
            None if marked == 0 => Ok(0),
            found => Err(Trouble::LogEndsEarly { found: found.and_then(Result::ok).unwrap_or(0), marked }),
        }
    }

    /// Makes a commit durable, its number with it.
    pub(super) fn commit(&self, number: u64) -> Result<(), Trouble> {
        self.meta.put(key::COMMITS, &number)?;
        self.flush()?;
        self.tape.committed(number);
        self.mark.write(number).map_err(Trouble::Mark)
    }

    /// The last commit's number is to outlive a power cut as well.
    pub(super) fn sync_mark(&self) {
        if let Err(error) = self.mark.sync() {
            tracing::warn!(%error, "cannot sync {COMMITTED}");
        }
    }

    /// Reads a delivery's payload, wherever it is.
    pub(super) fn payload(
        &self,
        org: OrgNumber,
        part: Part,
        record: &mut DeliveryRecord,
    ) -> Result<Result<Vec<u8>, Unreadable>, Trouble> {
        match &mut record.body {
            Body::Inline(payload) => Ok(Ok(std::mem::take(payload))),
            Body::Chunks { at, parts, .. } => {
                let (at, parts) = (Sequence(*at), *parts);
                let Some(tree) = self.queue(org) else { return Ok(Err(Unreadable::Short)) };
                let chunk = part.chunk();
                tree.get_chunks(parts, record.size, |number| key::of_part(chunk, org, at, number))
            }
        }
    }
}
