//! Rekeying: what the previous key sealed is sealed anew with the current one, while the work goes on.
//!
//! New records have the current key from the start, and both keys open, so this is done in portions between other changes,
//! may be cut off anywhere, and goes on where something is left. A record that cannot be opened stays as it is. Once nothing
//! is left, the store's marker names the current key alone.

use std::sync::PoisonError;

use serde::Serialize;
use tokio::sync::mpsc;

use crate::queue::format::Keys;
use crate::queue::seal::{KeyId, key_of};
use crate::queue::store::{SealedTree, Store, Trouble};
use crate::queue::writer::Writer;
use crate::queue::{Queue, Refused};

/// Records sealed between two commits: bounds how long a change waits for them, and what one commit writes.
const RECORDS_PER_STEP: usize = 128;
const BYTES_PER_STEP: usize = 256 << 10;

/// How far it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Rekeyed {
    /// Records looked at.
    pub examined: u64,
    /// Records sealed anew.
    pub rewritten: u64,
    /// Records that no key opens; they stay as they are.
    pub unreadable: u64,
}

/// The ids of the keys that the store's records are sealed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeysInUse {
    /// What is written is sealed with this one.
    pub current: String,
    /// Records may still be sealed with this one.
    pub previous: Option<String>,
}

/// Places of records that are to be sealed anew.
type Portion = Vec<(Vec<u8>, Vec<u8>)>;

impl Store {
    /// Whether records may be sealed with this key.
    pub(super) fn may_have_sealed(&self, id: KeyId) -> bool {
        let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let id = id.to_string();
        keys.current == id || keys.previous.as_ref() == Some(&id)
    }
}

impl Queue {
    /// The keys in use.
    #[must_use]
    pub fn keys(&self) -> KeysInUse {
        let keys = self.store().keys.lock().unwrap_or_else(PoisonError::into_inner);
        let Keys { current, previous } = keys.clone();
        KeysInUse { current, previous }
    }

    /// Seals everything with the current key. Says now and then how far it is, and ends early when nobody listens; the next
    /// call goes on.
    pub async fn rekey(&self, progress: &mpsc::Sender<Rekeyed>) -> Result<Rekeyed, Refused> {
        let mut done = Rekeyed::default();
        let mut trees: Vec<Vec<u8>> =
            self.read_store(|store| Ok(store.all_trees().map(SealedTree::name).collect())).await?;
        while let Some(tree) = trees.pop() {
            let mut after = Vec::new();
            loop {
                let (name, from) = (tree.clone(), after.clone());
                let found = self.read_store(move |store| find(store, &name, &from)).await?;
                done.examined += found.examined;
                let last = found.last;
                if !found.portion.is_empty() {
                    let portion = found.portion;
                    let (rewritten, unreadable) =
                        self.commit(BYTES_PER_STEP, move |writer| Ok(Ok(reseal(writer, portion)?))).await?;
                    done.rewritten += rewritten;
                    done.unreadable += unreadable;
                }
                if progress.send(done).await.is_err() {
                    return Err(Refused::Unavailable("nobody waits for the rekeying any more".to_owned()));
                }
                match last {
                    Some(last) => after = last,
                    None => break,
                }
            }
        }
        // No part of what is committed: its files are sealed anew one by one.
        done = self.reseal_history(done).await?;
        self.read_store(forget_previous).await?;
        Ok(done)
    }
}

/// What one look finds.
struct Found {
    examined: u64,
    portion: Portion,
    /// Where the next look goes on; `None` at the end.
    last: Option<Vec<u8>>,
}

/// Looks for records of this tree that another key sealed.
fn find(store: &Store, tree: &[u8], after: &[u8]) -> Result<Found, Trouble> {
    /// Records looked at before saying how far it is.
    const LOOK: u64 = 20_000;
    let mut found = Found { examined: 0, portion: Vec::new(), last: None };
    let current = store.sealer.ring().current();
    let Some(tree) = store.tree_named(tree) else { return Ok(found) };
    let mut bytes = 0;
    let beyond = (std::ops::Bound::Excluded(after.to_vec()), std::ops::Bound::Unbounded);
    for row in tree.rows::<Vec<u8>>(beyond) {
        let row = row?;
        found.examined += 1;
        if key_of(&row.sealed).is_some_and(|id| id != current) {
            bytes += row.sealed.len();
            found.portion.push((tree.name(), row.key.to_vec()));
        }
        if found.portion.len() >= RECORDS_PER_STEP || bytes >= BYTES_PER_STEP || found.examined >= LOOK {
            found.last = Some(row.key.to_vec());
            break;
        }
    }
    Ok(found)
}

/// Seals a portion anew, on the committer's thread. How many it did, and how many cannot be opened.
fn reseal(writer: &mut Writer, portion: Portion) -> Result<(u64, u64), Trouble> {
    let store = writer.store.clone();
    let (mut rewritten, mut unreadable) = (0, 0);
    for (name, key) in portion {
        let Some(tree) = store.tree_named(&name) else { continue };
        // Gone, or written anew meanwhile, there is nothing to do.
        let Some(row) = tree.row(&key)? else { continue };
        match store.sealer.ring().reseal(&name, &key, &row.sealed) {
            Ok(Some(sealed)) => {
                tree.put_sealed(&key, sealed)?;
                rewritten += 1;
            }
            Ok(None) => {}
            Err(_) => unreadable += 1,
        }
    }
    Ok((rewritten, unreadable))
}

/// Nothing is sealed with the previous key any more that could be opened with it.
fn forget_previous(store: &Store) -> Result<(), Trouble> {
    let only = Keys::only(store.sealer.ring().current());
    let mut keys = store.keys.lock().unwrap_or_else(PoisonError::into_inner);
    if *keys != only {
        store.place.mark_format(&only).map_err(|error| Trouble::Marker(error.to_string()))?;
        *keys = only;
    }
    Ok(())
}
