//! PURE. The stored records: what is inside a sealed value. The only place where bincode is used.
//!
//! **To change a record**: raise [`super::seal::FORMAT_VERSION`], keep the old struct under a name that ends in the
//! version it had, and read either ([`Record::read`]). Do it for every change, also between releases. The layout is
//! bincode's legacy one (fixed-width little-endian integers, u64 lengths), which maintained successors read as well; it
//! is not self-describing, so a field can never be added in place.

mod history;
mod older;
mod proof;
mod route;
mod settings;
mod source;

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::seal::Unreadable;
use crate::model::{Attempt, DeadReason, Delivery, FailReason, Sequence, UnixMs};
pub(super) use history::HistoryRecord;
#[cfg(test)]
pub(super) use older::{DeadRecord4, DeliveryRecord4, SeenRecord2};
pub(super) use settings::{ClientRecord, OrgRecord, WebhookRecord};
pub(super) use source::{RequestRecord, RequestsRecord, SourceRecord};

/// No record is larger: bounds what a hostile length prefix can make the decoder allocate.
const RECORD_BYTES_MAX: usize = 128 * 1024;

/// Where a payload is.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) enum Body {
    /// In the record itself.
    Inline(Vec<u8>),
    /// In `parts` chunks under the sequence `at`, shared by all deliveries of the event up to the sequence `last`.
    Chunks { at: u64, last: u64, parts: u32 },
}

/// A delivery as it waits; written once, never rewritten.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct DeliveryRecord {
    pub event_id: String,
    pub event_type: String,
    pub webhook: String,
    pub attributes: Vec<(String, String)>,
    pub accepted_at_ms: i64,
    pub size: u64,
    /// Payload bytes of all deliveries that the org accepted before this one: the queue's bytes are a difference.
    pub bytes_before: u64,
    /// The event's only delivery, with its payload inside: it needs no commit point but itself.
    pub alone: bool,
    /// It was delivered before, and is to be delivered again because someone said so.
    pub replay: bool,
    /// Day and hash under which the given id, of the event, of the change that fired it or of the request that it came
    /// from, is remembered; absent if the id was made here.
    pub seen: Option<(u32, [u8; 16])>,
    pub body: Body,
}

/// The state of an org's queue. Its `next_sequence` is the commit point of every append that takes several records; a
/// delivery at or beyond it counts only if it is `alone`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct StateRecord {
    pub next_sequence: u64,
    /// Payload bytes of all deliveries ever accepted.
    pub bytes_total: u64,
    pub paused: Option<PauseRecord>,
    /// Of the head with this sequence; says nothing once another is head.
    pub head: Option<HeadRecord>,
    /// The dead letter revived last: if it is still there at open, its removal is finished.
    pub last_revived: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct PauseRecord {
    pub reason: Option<String>,
    pub at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct HeadRecord {
    pub sequence: u64,
    pub attempts: u32,
    pub not_before_ms: Option<i64>,
    pub held: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct AttemptRecord {
    pub number: u32,
    pub at_ms: i64,
    pub duration_ms: u32,
    pub status: Option<u16>,
    pub error: Option<String>,
    pub detail: String,
    pub excerpt: String,
}

/// An id that was given and accepted, of an event or of a change, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SeenRecord {
    pub accepted_at_ms: i64,
    pub content: [u8; 16],
    /// Of the first delivery, whichever event it is of.
    pub first_sequence: Option<u64>,
    /// Of all events together.
    pub deliveries: u32,
    /// The events of a change; absent for an event.
    pub fired: Option<Vec<FiredRecord>>,
}

/// An event that a change fired.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct FiredRecord {
    pub id: String,
    pub event_type: String,
    pub first_sequence: Option<u64>,
    pub deliveries: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct DeadRecord {
    pub org: String,
    pub delivery: DeliveryRecord,
    pub reason: String,
    pub note: Option<String>,
    pub died_at_ms: i64,
    pub attempts_made: u32,
}

/// An unreadable record, kept as it was for whoever can make something of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct QuarantineRecord {
    pub tree: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub why: String,
}

/// What can be stored, and read back in every format that this binary knows.
pub(super) trait Record: Encode + Decode<()> {
    /// Reads what was written in format `version`.
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable>;
}

/// Records that have not changed since the first format.
macro_rules! unchanged {
    ($($record:ty),+) => {
        $(impl Record for $record {
            fn read(_: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
                decode(bytes)
            }
        })+
    };
}

unchanged!(u32, u64, AttemptRecord, QuarantineRecord);

fn layout() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>()
}

/// Appends the record's bytes.
pub(super) fn encode(record: &impl Encode, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
    bincode::encode_into_std_write(record, buffer, layout()).map(drop).map_err(|_| Unreadable::Garbled)
}

/// How many bytes [`encode`] appends.
pub(super) fn encoded_len(record: &impl Encode) -> Result<usize, Unreadable> {
    let mut counted = bincode::enc::EncoderImpl::new(bincode::enc::write::SizeWriter::default(), layout());
    record.encode(&mut counted).map_err(|_| Unreadable::Garbled)?;
    Ok(counted.into_writer().bytes_written)
}

/// Reads a record; all bytes must belong to it.
pub(super) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, Unreadable> {
    match bincode::decode_from_slice(bytes, layout()) {
        Ok((record, consumed)) if consumed == bytes.len() => Ok(record),
        _ => Err(Unreadable::Garbled),
    }
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, Unreadable> {
    text.parse().map_err(|_| Unreadable::Garbled)
}

impl DeliveryRecord {
    /// The delivery with `payload` as its payload.
    pub(super) fn into_delivery(self, sequence: Sequence, payload: Bytes) -> Result<Delivery, Unreadable> {
        Ok(Delivery {
            sequence,
            event_id: parse(&self.event_id)?,
            event_type: parse(&self.event_type)?,
            webhook: parse(&self.webhook)?,
            attributes: BTreeMap::from_iter(self.attributes),
            accepted_at: UnixMs(self.accepted_at_ms),
            size: self.size,
            replay: self.replay,
            payload,
        })
    }
}

impl From<&Attempt> for AttemptRecord {
    fn from(attempt: &Attempt) -> AttemptRecord {
        AttemptRecord {
            number: attempt.number,
            at_ms: attempt.at.0,
            duration_ms: attempt.duration_ms,
            status: attempt.status,
            error: attempt.error.map(|reason| reason.code().to_owned()),
            detail: attempt.detail.clone(),
            excerpt: attempt.excerpt.clone(),
        }
    }
}

impl AttemptRecord {
    pub(super) fn into_attempt(self) -> Result<Attempt, Unreadable> {
        Ok(Attempt {
            number: self.number,
            at: UnixMs(self.at_ms),
            duration_ms: self.duration_ms,
            status: self.status,
            error: self.error.as_deref().map(parse::<FailReason>).transpose()?,
            detail: self.detail,
            excerpt: self.excerpt,
        })
    }
}

impl DeadRecord {
    pub(super) fn reason(&self) -> Result<DeadReason, Unreadable> {
        parse(&self.reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(record: &impl Encode) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(record, &mut bytes).unwrap();
        bytes
    }

    /// The bytes of a state record as it is written from format 2 on, and as format 1 did: a change here is a change of the format.
    #[test]
    fn state_record_keeps_its_bytes() {
        let record = StateRecord {
            next_sequence: 7,
            bytes_total: 1024,
            paused: None,
            head: Some(HeadRecord { sequence: 5, attempts: 2, not_before_ms: Some(-1), held: false }),
            last_revived: None,
        };
        let bytes = encoded(&record);
        let mut golden = Vec::new();
        golden.extend_from_slice(&7u64.to_le_bytes());
        golden.extend_from_slice(&1024u64.to_le_bytes());
        golden.push(0);
        golden.push(1);
        golden.extend_from_slice(&5u64.to_le_bytes());
        golden.extend_from_slice(&2u32.to_le_bytes());
        golden.push(1);
        golden.extend_from_slice(&(-1i64).to_le_bytes());
        let mut old = golden.clone();
        golden.extend_from_slice(&[0, 0]);
        old.push(0);
        assert_eq!(bytes, golden);
        assert_eq!(StateRecord::read(2, &bytes), Ok(record.clone()));
        assert_eq!(StateRecord::read(1, &old), Ok(record));
    }

    /// The same of a seen id: until format 2 there were events only.
    #[test]
    fn seen_record_keeps_its_bytes() {
        let event = SeenRecord {
            accepted_at_ms: 9,
            content: [7; 16],
            first_sequence: Some(5),
            deliveries: 2,
            fired: None,
        };
        let mut golden = Vec::new();
        golden.extend_from_slice(&9i64.to_le_bytes());
        golden.extend_from_slice(&[7; 16]);
        golden.push(1);
        golden.extend_from_slice(&5u64.to_le_bytes());
        golden.extend_from_slice(&2u32.to_le_bytes());
        for version in [1, 2] {
            assert_eq!(SeenRecord::read(version, &golden), Ok(event.clone()));
        }
        golden.push(0);
        assert_eq!(encoded(&event), golden);
        assert_eq!(SeenRecord::read(3, &golden), Ok(event.clone()));

        let fired = FiredRecord {
            id: "c_1".to_owned(),
            event_type: "a.b".to_owned(),
            first_sequence: None,
            deliveries: 0,
        };
        let change = SeenRecord { fired: Some(vec![fired]), ..event };
        golden.pop();
        golden.push(1);
        golden.extend_from_slice(&1u64.to_le_bytes());
        for text in ["c_1", "a.b"] {
            golden.extend_from_slice(&3u64.to_le_bytes());
            golden.extend_from_slice(text.as_bytes());
        }
        golden.push(0);
        golden.extend_from_slice(&0u32.to_le_bytes());
        assert_eq!(encoded(&change), golden);
        assert_eq!(encoded_len(&change), Ok(golden.len()));
        assert_eq!(SeenRecord::read(3, &golden), Ok(change));
    }

    #[test]
    fn trailing_bytes_and_hostile_lengths_are_refused() {
        let mut bytes = encoded(&Body::Inline(b"x".to_vec()));
        bytes.push(0);
        assert_eq!(decode::<Body>(&bytes), Err(Unreadable::Garbled));
        let mut hostile = vec![0, 0, 0, 0];
        hostile.extend_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(decode::<Body>(&hostile), Err(Unreadable::Garbled));
    }
}
