//! Seals records: XChaCha20-Poly1305 with a random nonce, bound to the tree and key they are stored under.
//!
//! A sealed value is
//!
//! ```text
//! version u8 | key id [u8; 4] | nonce [u8; 24] | ciphertext | tag [u8; 16]
//! ```
//!
//! so a torn, swapped or foreign record is detected when it is read. Names never stand in keys: where a key needs one,
//! it holds [`Sealer::hash`] of it, which nobody can compute without the master key.

use chacha20poly1305::aead::{AeadInOut, KeyInit, Nonce, Tag};
use chacha20poly1305::{Key, XChaCha20Poly1305};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::MasterKey;
use super::key::KeyHash;

/// The version of every record's outer layout and of what is inside; raised with any change to `record`.
pub(super) const FORMAT_VERSION: u8 = 5;
/// What sealing adds to a value, in bytes.
pub(super) const OVERHEAD: usize = HEADER + TAG;

const HEADER: usize = 1 + KEY_ID + NONCE;
const KEY_ID: usize = 4;
const NONCE: usize = 24;
const TAG: usize = 16;

/// Why a stored value could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("too short to be a record")]
    Short,
    #[error("record format {0}, this binary reads {FORMAT_VERSION}")]
    Version(u8),
    #[error("sealed with another key")]
    OtherKey,
    #[error("altered, torn, or moved from another place")]
    Forged,
    #[error("unsealed, but not a record of this kind")]
    Garbled,
}

/// Tells keys apart without revealing anything of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeyId(pub(super) [u8; KEY_ID]);

impl std::fmt::Display for KeyId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:08x}", u32::from_be_bytes(self.0))
    }
}

/// What one master key seals with.
struct Seal {
    id: KeyId,
    cipher: XChaCha20Poly1305,
    /// What names were hashed with when this key was a store's first.
    first_hash: HashKey,
    /// What backups are authenticated with.
    backup: HashKey,
}

/// A key that something is hashed with. Wiped on drop.
pub(super) type HashKey = zeroize::Zeroizing<[u8; 32]>;

impl Seal {
    fn new(master: &MasterKey) -> Seal {
        let id = derive(master, b"postrider key id");
        Seal {
            id: KeyId([id[0], id[1], id[2], id[3]]),
            cipher: XChaCha20Poly1305::new(&Key::from(derive(master, b"postrider seal v1"))),
            first_hash: derive(master, b"postrider name hash v1").into(),
            backup: derive(master, b"postrider backup v1").into(),
        }
    }

    fn seal_in(
        &self,
        version: u8,
        tree: &[u8],
        key: &[u8],
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<Vec<u8>, Unreadable> {
        let nonce = Nonce::<XChaCha20Poly1305>::from(random_nonce());
        let mut sealed = Vec::with_capacity(size_hint + OVERHEAD);
        sealed.push(version);
        sealed.extend_from_slice(&self.id.0);
        sealed.extend_from_slice(&nonce);
        write(&mut sealed)?;
        let (_, body) = sealed.split_at_mut(HEADER);
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, place(version, tree, key).bytes(), body.into())
            .map_err(|_| Unreadable::Forged)?;
        sealed.extend_from_slice(&tag);
        Ok(sealed)
    }
}

/// The keys that were given: what is written is sealed with the current one, what either sealed is opened.
pub(super) struct Ring {
    current: Seal,
    previous: Option<Seal>,
}

impl Ring {
    pub(super) fn new(current: &MasterKey, previous: Option<&MasterKey>) -> Ring {
        let current = Seal::new(current);
        // The same key given twice is one key.
        let previous = previous.map(Seal::new).filter(|previous| previous.id != current.id);
        Ring { current, previous }
    }

    /// The current key's, then the previous one's.
    pub(super) fn ids(&self) -> impl Iterator<Item = KeyId> {
        self.seals().map(|seal| seal.id)
    }

    pub(super) fn current(&self) -> KeyId {
        self.current.id
    }

    fn seals(&self) -> impl Iterator<Item = &Seal> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    fn seal_of(&self, id: KeyId) -> Option<&Seal> {
        self.seals().find(|seal| seal.id == id)
    }

    /// What names were hashed with in a store that was made with this key, before that was a record of its own.
    pub(super) fn first_hash(&self, id: KeyId) -> Option<HashKey> {
        self.seal_of(id).map(|seal| seal.first_hash.clone())
    }

    /// What a backup that was made with this key is authenticated with.
    pub(super) fn backup_mac(&self, id: KeyId) -> Option<Hmac<Sha256>> {
        self.seal_of(id).map(|seal| keyed(&seal.backup))
    }

    /// Seals for this place what `write` appends to the buffer; `size_hint` is about how much that is.
    pub(super) fn seal(
        &self,
        tree: &[u8],
        key: &[u8],
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<Vec<u8>, Unreadable> {
        self.seal_in(FORMAT_VERSION, tree, key, size_hint, write)
    }

    /// The same with the key of this id, if it is one of these.
    pub(super) fn seal_with(
        &self,
        id: KeyId,
        tree: &[u8],
        key: &[u8],
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<Vec<u8>, Unreadable> {
        let seal = self.seal_of(id).ok_or(Unreadable::OtherKey)?;
        seal.seal_in(FORMAT_VERSION, tree, key, 0, write)
    }

    /// The same in another format than the newest, for what is inside is in that one.
    pub(super) fn seal_in(
        &self,
        version: u8,
        tree: &[u8],
        key: &[u8],
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<Vec<u8>, Unreadable> {
        self.current.seal_in(version, tree, key, size_hint, write)
    }

    /// Opens what [`Ring::seal`] made for this place, now or in an earlier format. Answers that format's version too.
    pub(super) fn open(&self, tree: &[u8], key: &[u8], sealed: &[u8]) -> Result<(u8, Vec<u8>), Unreadable> {
        let (header, rest) = sealed.split_at_checked(HEADER).ok_or(Unreadable::Short)?;
        let (body, tag) = rest.split_at_checked(rest.len().wrapping_sub(TAG)).ok_or(Unreadable::Short)?;
        let (&version, header) = header.split_first().ok_or(Unreadable::Short)?;
        let (_, nonce) = header.split_at_checked(KEY_ID).ok_or(Unreadable::Short)?;
        if !(1..=FORMAT_VERSION).contains(&version) {
            return Err(Unreadable::Version(version));
        }
        let seal = key_of(sealed).and_then(|id| self.seal_of(id)).ok_or(Unreadable::OtherKey)?;
        let nonce = Nonce::<XChaCha20Poly1305>::try_from(nonce).map_err(|_| Unreadable::Short)?;
        let tag = Tag::<XChaCha20Poly1305>::try_from(tag).map_err(|_| Unreadable::Short)?;
        let mut plain = body.to_vec();
        seal.cipher
            .decrypt_inout_detached(
                &nonce,
                place(version, tree, key).bytes(),
                plain.as_mut_slice().into(),
                &tag,
            )
            .map_err(|_| Unreadable::Forged)?;
        Ok((version, plain))
    }

    /// What the previous key sealed, sealed for the same place with the current one, in the format it has. `None` where
    /// there is nothing to do.
    pub(super) fn reseal(
        &self,
        tree: &[u8],
        key: &[u8],
        sealed: &[u8],
    ) -> Result<Option<Vec<u8>>, Unreadable> {
        if key_of(sealed).is_none_or(|id| id == self.current.id) {
            return Ok(None);
        }
        let (version, plain) = self.open(tree, key, sealed)?;
        let plain = zeroize::Zeroizing::new(plain);
        let write = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(&plain);
            Ok(())
        };
        self.seal_in(version, tree, key, plain.len(), write).map(Some)
    }
}

/// The key that a sealed value names; `None` if it is too short for one, as what has no value is.
pub(super) fn key_of(sealed: &[u8]) -> Option<KeyId> {
    Some(KeyId(sealed.get(1..=KEY_ID)?.try_into().ok()?))
}

/// Seals, opens and hashes with keys derived from the master keys.
pub(super) struct Sealer {
    ring: Ring,
    hash: Hmac<Sha256>,
}

impl Sealer {
    /// With one key, which is the store's first.
    #[cfg(any(test, fuzzing))]
    pub(super) fn new(master: &MasterKey) -> Sealer {
        let ring = Ring::new(master, None);
        let hash = keyed(&ring.current.first_hash);
        Sealer { ring, hash }
    }

    /// With these keys, hashing with what the store's names are hashed with.
    pub(super) fn with(ring: Ring, hash: &HashKey) -> Sealer {
        Sealer { ring, hash: keyed(hash) }
    }

    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// See [`Ring::seal`].
    pub(super) fn seal(
        &self,
        tree: &[u8],
        key: &[u8],
        size_hint: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Unreadable>,
    ) -> Result<Vec<u8>, Unreadable> {
        self.ring.seal(tree, key, size_hint, write)
    }

    /// See [`Ring::open`].
    pub(super) fn open(&self, tree: &[u8], key: &[u8], sealed: &[u8]) -> Result<(u8, Vec<u8>), Unreadable> {
        self.ring.open(tree, key, sealed)
    }

    /// A keyed hash of `parts`, each with its length so that no two lists of parts run together.
    pub(super) fn hash<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> KeyHash {
        let mut mac = self.hash.clone();
        for part in parts {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        let full: [u8; 32] = mac.finalize().into_bytes().into();
        let mut short = KeyHash::default();
        short.iter_mut().zip(full).for_each(|(to, from)| *to = from);
        short
    }
}

/// What binds a record to where it lies: the tree's name, a zero, the key, and from format 2 on the format's version. On
/// the stack: every record needs one.
struct Place {
    bytes: [u8; PLACE_BYTES_MAX],
    length: usize,
}

/// The longest tree name with the longest key, and to spare.
const PLACE_BYTES_MAX: usize = 64;

impl Place {
    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

fn place(version: u8, tree: &[u8], key: &[u8]) -> Place {
    let mut bytes = [0; PLACE_BYTES_MAX];
    let version: &[u8] = if version == 1 { &[] } else { &[version] };
    let parts = tree.iter().chain(std::iter::once(&0)).chain(key).chain(version);
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = *from);
    Place { bytes, length: tree.len() + 1 + key.len() + version.len() }
}

/// Fresh from the system every time: a counter would repeat itself in two copies of one virtual machine. Panics only
/// where the system has no source of randomness at all.
fn random_nonce() -> [u8; NONCE] {
    use chacha20poly1305::aead::Generate;
    <[u8; NONCE]>::generate()
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    // HMAC pads a short key with zeros to the hash's block of 64 bytes (RFC 2104); doing it here leaves no error case.
    let mut block = [0u8; 64];
    block.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
    Hmac::<Sha256>::new(&block.into())
}

fn derive(master: &MasterKey, purpose: &[u8]) -> [u8; 32] {
    let mut mac = keyed(&master.0);
    mac.update(purpose);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealer(byte: u8) -> Sealer {
        Sealer::new(&MasterKey([byte; 32]))
    }

    fn seal(with: &Sealer) -> Vec<u8> {
        let write = |buffer: &mut Vec<u8>| {
            buffer.extend_from_slice(b"plain");
            Ok(())
        };
        with.seal(b"tree", b"key", 5, write).unwrap()
    }

    #[test]
    fn opens_what_it_value_only_in_its_place() {
        let with_one = sealer(1);
        let value = seal(&with_one);
        assert_eq!(value.len(), 5 + OVERHEAD);
        assert_eq!(with_one.open(b"tree", b"key", &value), Ok((FORMAT_VERSION, b"plain".to_vec())));
        assert_eq!(with_one.open(b"tree", b"other", &value), Err(Unreadable::Forged));
        assert_eq!(with_one.open(b"eert", b"key", &value), Err(Unreadable::Forged));
        assert_eq!(sealer(2).open(b"tree", b"key", &value), Err(Unreadable::OtherKey));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_detected() {
        let with_one = sealer(1);
        let value = seal(&with_one);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(with_one.open(b"tree", b"key", &flipped).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(with_one.open(b"tree", b"key", &value[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn hashes_do_not_run_parts_together() {
        let with_one = sealer(1);
        assert_ne!(with_one.hash([&b"ab"[..], b"c"]), with_one.hash([&b"a"[..], b"bc"]));
        assert_ne!(with_one.hash([&b"a"[..]]), sealer(2).hash([&b"a"[..]]));
    }
}
