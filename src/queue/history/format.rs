//! PURE. A segment's bytes.
//!
//! ```text
//! segment   "postrider hist 1", then entries
//! entry     length of what is sealed u32 | org u32 | delivered_at ms i64 | CRC-32 of these 16 bytes u32 | sealed
//! ```
//!
//! All numbers are big-endian. What is sealed is a record with its payload, bound to the number of the segment, to the
//! place of the entry in it, and to the org and time in its header.

use crate::model::{OrgNumber, UnixMs};

/// How a segment begins.
pub(super) const MAGIC: [u8; 16] = *b"postrider hist 1";
/// What stands before the sealed part of an entry, in bytes.
pub(super) const HEADER: usize = 20;
/// No sealed part is larger: a payload of 1 MiB with its record. Bounds what is read for a length that is not one.
pub(super) const SEALED_BYTES_MAX: u32 = 2 << 20;

/// What an entry says in the clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// Of the sealed part, in bytes.
    pub(super) length: u32,
    pub(super) org: OrgNumber,
    pub(super) delivered_at: UnixMs,
}

impl Header {
    pub(super) fn to_bytes(self) -> [u8; HEADER] {
        let numbers = (u128::from(self.length) << 96)
            | (u128::from(self.org.0) << 64)
            | u128::from(self.delivered_at.0.cast_unsigned());
        let numbers = numbers.to_be_bytes();
        let mut bytes = [0; HEADER];
        let all = numbers.into_iter().chain(crc32fast::hash(&numbers).to_be_bytes());
        bytes.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Reads a header; `None` if these bytes are none.
    pub(super) fn read(bytes: &[u8; HEADER]) -> Option<Header> {
        let (numbers, sum) = bytes.split_first_chunk::<16>()?;
        if crc32fast::hash(numbers).to_be_bytes() != sum {
            return None;
        }
        let (length, rest) = numbers.split_first_chunk()?;
        let (org, rest) = rest.split_first_chunk()?;
        let header = Header {
            length: u32::from_be_bytes(*length),
            org: OrgNumber(u32::from_be_bytes(*org)),
            delivered_at: UnixMs(i64::from_be_bytes(*rest.first_chunk()?)),
        };
        (header.length <= SEALED_BYTES_MAX).then_some(header)
    }

    /// Where the entry at `offset` ends.
    pub(super) fn end(&self, offset: u64) -> u64 {
        offset + HEADER as u64 + u64::from(self.length)
    }
}

/// What an entry is sealed for instead of a tree: its segment.
pub(super) fn tree(segment: u64) -> String {
    format!("history/{segment:016x}")
}

/// What it is sealed for instead of a key: its place, its org and its time.
pub(super) fn key(offset: u64, org: OrgNumber, delivered_at: UnixMs) -> [u8; 20] {
    let mut key = [0; 20];
    let parts =
        offset.to_be_bytes().into_iter().chain(org.0.to_be_bytes()).chain(delivered_at.0.to_be_bytes());
    key.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    key
}

/// The name of a segment's file.
pub(super) fn file_name(segment: u64) -> String {
    format!("{segment:016x}")
}

/// The number in the name of a file, if it is a segment's.
pub(super) fn number_in(name: &str) -> Option<u64> {
    u64::from_str_radix(name, 16).ok().filter(|number| file_name(*number) == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Header = Header { length: 0x0102, org: OrgNumber(7), delivered_at: UnixMs(-2) };

    #[test]
    fn a_header_keeps_its_bytes_and_a_changed_one_is_none() {
        let bytes = ONE.to_bytes();
        let numbers = [0, 0, 1, 2, 0, 0, 0, 7, 255, 255, 255, 255, 255, 255, 255, 254];
        assert_eq!(bytes[..16], numbers);
        assert_eq!(bytes[16..], crc32fast::hash(&numbers).to_be_bytes());
        assert_eq!(Header::read(&bytes), Some(ONE));
        for bit in 0..HEADER * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::read(&flipped), None, "bit {bit}");
        }
        let endless = Header { length: SEALED_BYTES_MAX + 1, ..ONE };
        assert_eq!(Header::read(&endless.to_bytes()), None);
    }

    #[test]
    fn files_have_names_that_sort_and_read_back() {
        assert_eq!(file_name(0x19b), "000000000000019b");
        assert_eq!(number_in("000000000000019b"), Some(0x19b));
        for other in ["19b", "000000000000019B", "+00000000000019b", "000000000000019b.old", ""] {
            assert_eq!(number_in(other), None, "{other}");
        }
        assert_eq!((tree(1).len(), key(1, OrgNumber(2), UnixMs(3)).len()), (24, 20), "a place holds both");
        assert_eq!(key(1, OrgNumber(2), UnixMs(3))[7..], [1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3]);
    }
}
