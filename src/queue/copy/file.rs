//! The file of a backup: sealed records in blocks, each with a checksum, and an end that only the key can make.
//!
//! ```text
//! head    "postrider backup\n" | version u8 | record format u8 | keys u8 | key id [u8; 4] … | taken at, ms u64 | crc u32
//! block   kind u8 | length u32 | crc u32 | body
//!   rows      1: what was found, tree by tree
//!   changes   2: what was written meanwhile, in order; to be applied after all rows
//!   end       3: rows u64 | changes u64 | last commit u64 | HMAC-SHA256 [u8; 32] of every byte before it
//! row     tree length u8 | key length u8 | value length u32 (all ones: removed) | tree | key | value
//! ```
//!
//! Integers are big-endian. A checksum says where a file is damaged; the code at the end says that nobody changed it, and
//! that nothing is missing.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::model::UnixMs;
use crate::queue::seal::{FORMAT_VERSION, KeyId, Ring};
use crate::queue::tape::Change;

const MAGIC: &[u8] = b"postrider backup\n";
const VERSION: u8 = 1;
/// A block is closed once it has this much: what is damaged is found in pieces, and little is held at once.
const BLOCK_BYTES: usize = 128 << 10;
/// No block is longer: bounds what a damaged length makes a reader allocate.
const BLOCK_BYTES_MAX: usize = 1 << 20;
const REMOVED: u32 = u32::MAX;
const END_BYTES: usize = 8 + 8 + 8 + 32;

/// What a block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Block {
    Rows = 1,
    Changes = 2,
    End = 3,
}

/// Makes the bytes of a backup, block by block.
pub(super) struct Writer {
    mac: Hmac<Sha256>,
    /// The block that is being filled.
    body: Vec<u8>,
    kind: Block,
    rows: u64,
    changes: u64,
}

impl Writer {
    /// A writer, and the head that comes first. The first of `keys` authenticates the whole. `None` if the ring lacks it.
    pub(super) fn new(ring: &Ring, keys: &[KeyId], taken_at: UnixMs) -> Option<(Writer, Vec<u8>)> {
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&[VERSION, FORMAT_VERSION, u8::try_from(keys.len()).ok()?]);
        for key in keys {
            head.extend_from_slice(&key.0);
        }
        head.extend_from_slice(&u64::try_from(taken_at.0).unwrap_or(0).to_be_bytes());
        head.extend_from_slice(&crc32fast::hash(&head).to_be_bytes());
        let mut mac = ring.backup_mac(*keys.first()?)?;
        mac.update(&head);
        Some((Writer { mac, body: Vec::new(), kind: Block::Rows, rows: 0, changes: 0 }, head))
    }

    /// Adds a row; answers a block that is full.
    pub(super) fn row(&mut self, tree: &[u8], key: &[u8], value: &[u8]) -> Option<Vec<u8>> {
        self.rows += 1;
        self.entry(Block::Rows, tree, key, Some(value))
    }

    /// Adds a change; answers a block that is full.
    pub(super) fn change(&mut self, change: &Change) -> Option<Vec<u8>> {
        self.changes += 1;
        self.entry(Block::Changes, &change.tree, &change.key, change.value.as_deref())
    }

    fn entry(&mut self, kind: Block, tree: &[u8], key: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
        let full = (self.kind != kind || self.body.len() >= BLOCK_BYTES).then(|| self.close()).flatten();
        self.kind = kind;
        // Trees and keys are ours: short.
        let [tree_bytes, key_bytes] = [tree, key].map(|name| u8::try_from(name.len()).unwrap_or(u8::MAX));
        let length = value.map_or(REMOVED, |value| u32::try_from(value.len()).unwrap_or(REMOVED - 1));
        self.body.extend_from_slice(&[tree_bytes, key_bytes]);
        self.body.extend_from_slice(&length.to_be_bytes());
        for part in [tree, key, value.unwrap_or_default()] {
            self.body.extend_from_slice(part);
        }
        full
    }

    /// What has not been answered yet, as a block.
    pub(super) fn close(&mut self) -> Option<Vec<u8>> {
        if self.body.is_empty() {
            return None;
        }
        let body = std::mem::take(&mut self.body);
        let block = framed(self.kind, &body);
        self.mac.update(&block);
        Some(block)
    }

    /// The end, after everything else. `commit` is the last one that is in it.
    pub(super) fn end(mut self, commit: u64) -> Vec<u8> {
        let mut body: Vec<u8> = [self.rows, self.changes, commit].map(u64::to_be_bytes).concat();
        self.mac.update(&body);
        body.extend_from_slice(&self.mac.finalize().into_bytes());
        framed(Block::End, &body)
    }
}

fn framed(kind: Block, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let mut crc = crc32fast::Hasher::new();
    for part in [&[kind as u8][..], &length, body] {
        crc.update(part);
    }
    [&[kind as u8][..], &length, &crc.finalize().to_be_bytes(), body].concat()
}

/// Why a file is not taken for a backup.
#[derive(Debug, thiserror::Error)]
pub(super) enum Bad {
    #[error("cannot read {0}: {1}")]
    Unreadable(String, io::Error),
    #[error("{0} is not a backup of postrider")]
    Foreign(String),
    #[error(
        "{0} was written by a newer postrider (backup {1}, records {2}; this one reads {VERSION} and {FORMAT_VERSION}): \
         install that version"
    )]
    Newer(String, u8, u8),
    #[error("{0} is cut off at byte {1}: it is not the whole backup")]
    Cut(String, u64),
    #[error("{0} is damaged at byte {1}")]
    Damaged(String, u64),
    #[error(
        "{path} is sealed with the key {missing}, and the key given is {given}: give the right one with --key-file (and, for a \
         backup that names two, the other with --previous-key-file)"
    )]
    OtherKey { path: String, missing: String, given: String },
    #[error("{0} was altered: its end does not belong to what comes before it")]
    Forged(String),
    #[error("{0} goes on behind its end")]
    Longer(String),
}

/// A backup that is read.
pub(super) struct Backup {
    path: PathBuf,
    /// The keys that sealed it; the first is the current one of the store it was taken of.
    pub(super) keys: Vec<KeyId>,
}

/// What the end of a backup says.
#[derive(Debug, Clone, Copy)]
pub(super) struct End {
    pub(super) rows: u64,
    pub(super) changes: u64,
    pub(super) commit: u64,
}

/// Reads blocks, and knows how far it is.
struct Reader {
    name: String,
    file: BufReader<File>,
    at: u64,
}

impl Reader {
    fn open(path: &Path) -> Result<Reader, Bad> {
        let name = path.display().to_string();
        match File::open(path) {
            Ok(file) => Ok(Reader { name, file: BufReader::with_capacity(BLOCK_BYTES, file), at: 0 }),
            Err(error) => Err(Bad::Unreadable(name, error)),
        }
    }

    fn take(&mut self, length: usize) -> Result<Vec<u8>, Bad> {
        let mut bytes = vec![0; length];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => self.at += length as u64,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Bad::Cut(self.name.clone(), self.at));
            }
            Err(error) => return Err(Bad::Unreadable(self.name.clone(), error)),
        }
        Ok(bytes)
    }

    fn damaged(&self, at: u64) -> Bad {
        Bad::Damaged(self.name.clone(), at)
    }

    /// The head's bytes, and the keys that it names.
    fn head(&mut self) -> Result<(Vec<u8>, Vec<KeyId>), Bad> {
        let mut head = self.take(MAGIC.len() + 3).map_err(|bad| match bad {
            Bad::Cut(name, _) => Bad::Foreign(name),
            other => other,
        })?;
        let Some([version, format, count]) = head.strip_prefix(MAGIC) else {
            return Err(Bad::Foreign(self.name.clone()));
        };
        let (version, format, count) = (*version, *format, usize::from(*count));
        if version > VERSION || format > FORMAT_VERSION {
            return Err(Bad::Newer(self.name.clone(), version, format));
        }
        head.extend(self.take(count * 4 + 8)?);
        let crc = self.take(4)?;
        if crc != crc32fast::hash(&head).to_be_bytes() {
            return Err(self.damaged(0));
        }
        head.extend(crc);
        let ids = head.get(MAGIC.len() + 3..).unwrap_or_default().chunks_exact(4).take(count);
        let keys = ids.filter_map(|id| Some(KeyId(id.try_into().ok()?))).collect();
        Ok((head, keys))
    }

    /// The next block: its kind, its body, and its bytes before the body.
    fn block(&mut self) -> Result<(Block, Vec<u8>, Vec<u8>), Bad> {
        let at = self.at;
        let frame = self.take(9)?;
        let [kind, l0, l1, l2, l3, crc @ ..] = frame.as_slice() else { return Err(self.damaged(at)) };
        let length = u32::from_be_bytes([*l0, *l1, *l2, *l3]) as usize;
        let kind = match kind {
            1 => Block::Rows,
            2 => Block::Changes,
            3 => Block::End,
            _ => return Err(self.damaged(at)),
        };
        if length > BLOCK_BYTES_MAX {
            return Err(self.damaged(at));
        }
        let body = self.take(length)?;
        let mut counted = crc32fast::Hasher::new();
        counted.update(frame.get(..5).unwrap_or_default());
        counted.update(&body);
        if crc != counted.finalize().to_be_bytes() {
            return Err(self.damaged(at));
        }
        Ok((kind, body, frame))
    }

    fn is_at_end(&mut self) -> Result<bool, Bad> {
        let mut one = [0];
        let read = self.file.read(&mut one).map_err(|error| Bad::Unreadable(self.name.clone(), error))?;
        Ok(read == 0)
    }
}

impl Backup {
    /// Reads the whole file, and takes it for a backup only if nothing of it is missing or altered.
    pub(super) fn open(path: &Path, ring: &Ring) -> Result<(Backup, End), Bad> {
        let mut reader = Reader::open(path)?;
        let name = reader.name.clone();
        let (head, keys) = reader.head()?;
        let given: Vec<_> = ring.ids().collect();
        if let Some(missing) = keys.iter().find(|key| !given.contains(key)) {
            let given = given.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" and ");
            return Err(Bad::OtherKey { path: name, missing: missing.to_string(), given });
        }
        let mac = keys.first().and_then(|key| ring.backup_mac(*key));
        let mut mac = mac.ok_or_else(|| Bad::Foreign(name.clone()))?;
        mac.update(&head);
        loop {
            let (kind, body, frame) = reader.block()?;
            if kind != Block::End {
                mac.update(&frame);
                mac.update(&body);
                continue;
            }
            let (numbers, code) = body
                .split_at_checked(END_BYTES - 32)
                .filter(|_| body.len() == END_BYTES)
                .ok_or_else(|| reader.damaged(reader.at))?;
            mac.update(numbers);
            mac.verify_slice(code).map_err(|_| Bad::Forged(name.clone()))?;
            let mut numbers = numbers
                .chunks_exact(8)
                .map(|number| number.iter().fold(0, |sum, byte| (sum << 8) | u64::from(*byte)));
            let mut next = || numbers.next().unwrap_or(0);
            let end = End { rows: next(), changes: next(), commit: next() };
            if !reader.is_at_end()? {
                return Err(Bad::Longer(name));
            }
            return Ok((Backup { path: path.to_owned(), keys }, end));
        }
    }

    /// Hands over every entry of the blocks of this kind, in order.
    pub(super) fn each<E: From<Bad>>(
        &self,
        wanted: Block,
        mut with: impl FnMut(&[u8], &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = Reader::open(&self.path)?;
        reader.head()?;
        loop {
            let at = reader.at;
            let (kind, body, _) = reader.block()?;
            if kind == Block::End {
                return Ok(());
            }
            let mut rest = body.as_slice();
            while kind == wanted && !rest.is_empty() {
                let entry = entry(&mut rest).ok_or_else(|| reader.damaged(at))?;
                with(entry.0, entry.1, entry.2)?;
            }
        }
    }
}

/// A tree, a key, and the value there; none if it was removed.
type Entry<'a> = (&'a [u8], &'a [u8], Option<&'a [u8]>);

/// Takes one entry off the front of a block's body.
fn entry<'a>(rest: &mut &'a [u8]) -> Option<Entry<'a>> {
    let take = |rest: &mut &'a [u8], length: usize| {
        let (taken, left) = rest.split_at_checked(length)?;
        *rest = left;
        Some(taken)
    };
    let head: [u8; 6] = take(rest, 6)?.try_into().ok()?;
    let [tree, key, length @ ..] = head;
    let (tree, key) = (take(rest, usize::from(tree))?, take(rest, usize::from(key))?);
    let value = match u32::from_be_bytes(length) {
        REMOVED => None,
        length => Some(take(rest, length as usize)?),
    };
    Some((tree, key, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::MasterKey;

    fn ring(byte: u8) -> Ring {
        Ring::new(&MasterKey([byte; 32]), None)
    }

    fn backup() -> Vec<u8> {
        let ring = ring(1);
        let (mut writer, mut bytes) = Writer::new(&ring, &[ring.current()], UnixMs(9)).unwrap();
        let large = vec![7; 60_000];
        for number in 0..5u8 {
            bytes.extend(writer.row(b"tree", &[number], &large).unwrap_or_default());
        }
        let removed = Change { tree: b"tree".to_vec(), key: vec![1], value: None };
        bytes.extend(writer.change(&removed).unwrap_or_default());
        bytes.extend(writer.row(b"other", b"mark", b"").unwrap_or_default());
        bytes.extend(writer.close().unwrap());
        bytes.extend(writer.end(12));
        bytes
    }

    fn read(bytes: &[u8], ring: &Ring) -> Result<(Vec<String>, End), Bad> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        std::fs::write(&path, bytes).unwrap();
        let (backup, end) = Backup::open(&path, ring)?;
        let mut found = Vec::new();
        for kind in [Block::Rows, Block::Changes] {
            backup.each::<Bad>(kind, |tree, key, value| {
                found.push(format!("{} {key:?} {:?}", String::from_utf8_lossy(tree), value.map(<[u8]>::len)));
                Ok(())
            })?;
        }
        Ok((found, end))
    }

    #[test]
    fn what_was_written_is_read_rows_first() {
        let (found, end) = read(&backup(), &ring(1)).unwrap();
        let rows = (0..5).map(|number| format!("tree [{number}] Some(60000)"));
        let rest = ["other [109, 97, 114, 107] Some(0)", "tree [1] None"].map(str::to_owned);
        assert_eq!(found, rows.chain(rest).collect::<Vec<_>>());
        assert_eq!((end.rows, end.changes, end.commit), (6, 1, 12));
        assert!(matches!(read(&backup(), &ring(2)), Err(Bad::OtherKey { .. })));
    }

    #[test]
    fn every_cut_and_every_altered_byte_is_refused() {
        let (whole, ring) = (backup(), ring(1));
        let places =
            |step: usize| (0..whole.len()).step_by(step).chain(0..60).chain(whole.len() - 80..whole.len());
        for cut in places(9973) {
            assert!(read(&whole[..cut], &ring).is_err(), "cut at {cut}");
        }
        for at in places(997) {
            let mut altered = whole.clone();
            altered[at] ^= 0x10;
            assert!(read(&altered, &ring).is_err(), "altered at {at}");
        }
        assert!(read(&[&whole[..], b"x"].concat(), &ring).is_err());
    }

    #[test]
    fn a_block_left_out_is_noticed_though_its_neighbours_are_whole() {
        let (whole, ring) = (backup(), ring(1));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("backup");
        std::fs::write(&path, &whole).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        reader.head().unwrap();
        let from = usize::try_from(reader.at).unwrap();
        reader.block().unwrap();
        let until = usize::try_from(reader.at).unwrap();
        let without = [&whole[..from], &whole[until..]].concat();
        assert!(matches!(read(&without, &ring), Err(Bad::Forged(_))));
    }
}
