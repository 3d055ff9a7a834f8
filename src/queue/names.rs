//! What names are hashed with, where a key needs one: a key of its own, which stays when the master key changes.
//!
//! Webhooks, clients, sources and ids that were seen are found by hashes of their names, so the hash must be the same for
//! the life of a store. It lies in the meta tree, sealed as every record; a store from before that has it derived from
//! the master key that it was sealed with then.

use super::Queue;
use super::format::Keys;
use super::key::{self, META_TREE};
use super::seal::{HashKey, Ring, Sealer, Unreadable};
use super::store::Trouble;

impl Queue {
    /// What names and contents are hashed with.
    pub(super) fn sealer(&self) -> &Sealer {
        &self.store().sealer
    }
}

/// Reads the store's hash key. Where it is not a record yet, makes it one, sealed with the key that it comes from: it must
/// be on disk before the marker names another key as the store's.
pub(super) fn hash_key(db: &sled::Db, ring: &Ring, keys: &Keys) -> Result<HashKey, Trouble> {
    let meta = db.open_tree(META_TREE)?;
    let unreadable =
        |why| Trouble::Unreadable { tree: "meta, the key that names are found by".to_owned(), why };
    if let Some(sealed) = meta.get(key::HASH_KEY)? {
        let (_, plain) = ring.open(META_TREE, key::HASH_KEY, &sealed).map_err(unreadable)?;
        let plain = zeroize::Zeroizing::new(plain);
        let bytes = plain.as_slice().try_into().map_err(|_| unreadable(Unreadable::Garbled))?;
        return Ok(HashKey::new(bytes));
    }
    let first = ring.ids().find(|id| id.to_string() == keys.current);
    let first = first.ok_or_else(|| unreadable(Unreadable::OtherKey))?;
    let hash = ring.first_hash(first).ok_or_else(|| unreadable(Unreadable::OtherKey))?;
    let write = |buffer: &mut Vec<u8>| {
        buffer.extend_from_slice(hash.as_slice());
        Ok(())
    };
    let sealed = ring.seal_with(first, META_TREE, key::HASH_KEY, write).map_err(unreadable)?;
    meta.insert(key::HASH_KEY, sealed)?;
    db.flush()?;
    Ok(hash)
}
