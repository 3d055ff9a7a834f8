//! Sealed trees: sled with every value sealed and typed. Blocking; called from the committer and from reader threads.

use std::ops::RangeBounds;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bincode::Encode;

use super::record::{self, Record};
use super::seal::{Sealer, Unreadable};
use super::store::Trouble;
use super::tape::Tape;

/// No stored value is larger, so that no leaf of sled's tree ever reaches a quarter of a segment.
pub(super) const VALUE_BYTES_MAX: usize = 64 << 10;
/// What most records take: a delivery with a payload of 1 KiB. Larger ones grow their buffer.
const PUT_BYTES_HINT: usize = 1536;
/// Larger payloads lie in chunks of this size.
const CHUNK_BYTES: usize = 48 << 10;

/// A tree whose values are sealed.
pub(super) struct SealedTree {
    tree: sled::Tree,
    name: Vec<u8>,
    sealer: Arc<Sealer>,
    /// What its values take, in bytes, once it is counted.
    bytes: OnceLock<AtomicU64>,
    tape: Arc<Tape>,
}

/// A value that has not been opened yet.
pub(super) struct Row<'a> {
    pub(super) key: sled::IVec,
    pub(super) sealed: sled::IVec,
    tree: &'a SealedTree,
}

impl Row<'_> {
    /// Opens the value.
    pub(super) fn read<T: Record>(&self) -> Result<T, Unreadable> {
        self.tree.unseal(&self.key, &self.sealed)
    }

    /// Whether the seal is whole, whatever is inside.
    pub(super) fn opens(&self) -> Result<(), Unreadable> {
        self.tree.sealer.open(&self.tree.name, &self.key, &self.sealed).map(drop)
    }
}

impl SealedTree {
    pub(super) fn new(tree: sled::Tree, sealer: Arc<Sealer>, tape: Arc<Tape>) -> SealedTree {
        SealedTree { name: tree.name().to_vec(), tree, sealer, tape, bytes: OnceLock::new() }
    }

    pub(super) fn name(&self) -> Vec<u8> {
        self.name.clone()
    }

    fn unreadable(&self, why: Unreadable) -> Trouble {
        Trouble::Unreadable { tree: String::from_utf8_lossy(&self.name).into_owned(), why }
    }

    fn unseal<T: Record>(&self, key: &[u8], sealed: &[u8]) -> Result<T, Unreadable> {
        let (version, plain) = self.sealer.open(&self.name, key, sealed)?;
        T::read(version, &plain)
    }

    /// Reads one record; an unreadable one is [`Trouble`].
    pub(super) fn get<T: Record>(&self, key: &[u8]) -> Result<Option<T>, Trouble> {
        match self.tree.get(key)? {
            Some(sealed) => self.unseal(key, &sealed).map(Some).map_err(|why| self.unreadable(why)),
            None => Ok(None),
        }
    }

    /// Reads one record unopened.
    pub(super) fn row(&self, key: &[u8]) -> Result<Option<Row<'_>>, Trouble> {
        Ok(self.tree.get(key)?.map(|sealed| Row { key: key.into(), sealed, tree: self }))
    }

    /// How many records there are; reads them all.
    pub(super) fn len(&self) -> u64 {
        self.tree.len() as u64
    }

    pub(super) fn contains(&self, key: &[u8]) -> Result<bool, Trouble> {
        Ok(self.tree.contains_key(key)?)
    }

    pub(super) fn put(&self, key: &[u8], value: &impl Encode) -> Result<(), Trouble> {
        self.put_written(key, PUT_BYTES_HINT, |buffer| record::encode(value, buffer))
    }

    /// Writes a record as format `version` did.
    #[cfg(test)]
    pub(super) fn put_in(&self, version: u8, key: &[u8], value: &impl Encode) {
        let write = |buffer: &mut Vec<u8>| record::encode(value, buffer);
        self.tree
            .insert(key, self.sealer.ring().seal_in(version, &self.name, key, 0, write).unwrap())
            .unwrap();
    }

    fn put_written(
        &self,
        key: &[u8],
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<(), Trouble> {
        let sealed =
            self.sealer.seal(&self.name, key, size_hint, write).map_err(|why| self.unreadable(why))?;
        if sealed.len() > VALUE_BYTES_MAX {
            let tree = String::from_utf8_lossy(&self.name).into_owned();
            return Err(Trouble::TooLarge { tree, bytes: sealed.len() });
        }
        #[cfg(test)]
        super::tests::cuts::before_write()?;
        self.put_sealed(key, sealed)
    }

    /// Writes a value that is sealed for this place.
    pub(super) fn put_sealed(&self, key: &[u8], sealed: Vec<u8>) -> Result<(), Trouble> {
        self.tape.note(&self.name, key, Some(&sealed));
        let bytes = sealed.len();
        let before = self.tree.insert(key, sealed)?;
        self.count(bytes, before.as_deref());
        Ok(())
    }

    /// From now on what the values take is counted. Rows that are there already count once they are [noted].
    ///
    /// [noted]: SealedTree::note
    pub(super) fn start_counting(&self) {
        self.bytes.get_or_init(AtomicU64::default);
    }

    /// Counts a row that was there when the counting began.
    pub(super) fn note(&self, row: &Row<'_>) {
        self.count(row.sealed.len(), None);
    }

    fn count(&self, more: usize, gone: Option<&[u8]>) {
        if let Some(bytes) = self.bytes.get() {
            bytes.fetch_add(more as u64, Ordering::Relaxed);
            bytes.fetch_sub(gone.map_or(0, <[u8]>::len) as u64, Ordering::Relaxed);
        }
    }

    /// What the values take; 0 of a tree that is not counted.
    pub(super) fn counted_bytes(&self) -> u64 {
        self.bytes.get().map_or(0, |bytes| bytes.load(Ordering::Relaxed))
    }

    /// Writes a key that says all there is to say.
    pub(super) fn mark(&self, key: &[u8]) -> Result<(), Trouble> {
        #[cfg(test)]
        super::tests::cuts::before_write()?;
        self.tape.note(&self.name, key, Some(&[]));
        self.tree.insert(key, &[])?;
        Ok(())
    }

    pub(super) fn remove(&self, key: &[u8]) -> Result<(), Trouble> {
        #[cfg(test)]
        super::tests::cuts::before_write()?;
        self.tape.note(&self.name, key, None);
        let gone = self.tree.remove(key)?;
        self.count(0, gone.as_deref());
        Ok(())
    }

    /// Rows of a range of keys, in order, from either end.
    pub(super) fn rows<K: AsRef<[u8]>>(
        &self,
        range: impl RangeBounds<K>,
    ) -> impl DoubleEndedIterator<Item = Result<Row<'_>, Trouble>> {
        self.tree.range(range).map(|row| {
            let (key, sealed) = row?;
            Ok(Row { key, sealed, tree: self })
        })
    }

    /// Keys that begin with `prefix`, in order.
    pub(super) fn keys(&self, prefix: &[u8]) -> impl Iterator<Item = Result<sled::IVec, Trouble>> + use<> {
        self.tree.scan_prefix(prefix).keys().map(|key| Ok(key?))
    }

    /// Rows whose keys begin with `prefix`, in order.
    pub(super) fn rows_with(&self, prefix: &[u8]) -> impl Iterator<Item = Result<Row<'_>, Trouble>> {
        self.tree.scan_prefix(prefix).map(|row| {
            let (key, sealed) = row?;
            Ok(Row { key, sealed, tree: self })
        })
    }

    /// Writes a payload's chunks with keys that `key_of` makes of their numbers.
    pub(super) fn put_chunks(
        &self,
        payload: &[u8],
        key_of: impl Fn(u32) -> [u8; 17],
    ) -> Result<u32, Trouble> {
        let mut parts = 0;
        for chunk in payload.chunks(CHUNK_BYTES) {
            self.put_written(&key_of(parts), chunk.len(), |buffer| {
                buffer.extend_from_slice(chunk);
                Ok(())
            })?;
            parts += 1;
        }
        Ok(parts)
    }

    /// Reads a payload back from its chunks; a missing one makes the whole unreadable.
    pub(super) fn get_chunks(
        &self,
        parts: u32,
        size: u64,
        key_of: impl Fn(u32) -> [u8; 17],
    ) -> Result<Result<Vec<u8>, Unreadable>, Trouble> {
        let mut payload =
            Vec::with_capacity(usize::try_from(size).unwrap_or(0).min(parts as usize * CHUNK_BYTES));
        for part in 0..parts {
            let key = key_of(part);
            let Some(sealed) = self.tree.get(key)? else { return Ok(Err(Unreadable::Short)) };
            match self.sealer.open(&self.name, &key, &sealed) {
                Ok((_, chunk)) => payload.extend_from_slice(&chunk),
                Err(why) => return Ok(Err(why)),
            }
        }
        Ok(if payload.len() as u64 == size { Ok(payload) } else { Err(Unreadable::Short) })
    }
}
