//! PURE. Records as earlier formats had them, and how they are read.

use bincode::{Decode, Encode};

use super::{
    Body, DeadRecord, DeliveryRecord, HeadRecord, PauseRecord, Record, SeenRecord, StateRecord, decode,
};
use crate::queue::seal::Unreadable;

/// Of formats 1 to 4: nothing was replayed.
#[derive(Debug, Clone, Encode, Decode)]
pub(in crate::queue) struct DeliveryRecord4 {
    pub event_id: String,
    pub event_type: String,
    pub webhook: String,
    pub attributes: Vec<(String, String)>,
    pub accepted_at_ms: i64,
    pub size: u64,
    pub bytes_before: u64,
    pub alone: bool,
    pub seen: Option<(u32, [u8; 16])>,
    pub body: Body,
}

impl From<DeliveryRecord4> for DeliveryRecord {
    fn from(record: DeliveryRecord4) -> DeliveryRecord {
        DeliveryRecord {
            event_id: record.event_id,
            event_type: record.event_type,
            webhook: record.webhook,
            attributes: record.attributes,
            accepted_at_ms: record.accepted_at_ms,
            size: record.size,
            bytes_before: record.bytes_before,
            alone: record.alone,
            replay: false,
            seen: record.seen,
            body: record.body,
        }
    }
}

/// Of format 1: no head was ever held.
#[derive(Debug, Encode, Decode)]
struct StateRecord1 {
    next_sequence: u64,
    bytes_total: u64,
    paused: Option<PauseRecord>,
    head: Option<HeadRecord1>,
    last_revived: Option<u64>,
}

#[derive(Debug, Encode, Decode)]
struct HeadRecord1 {
    sequence: u64,
    attempts: u32,
    not_before_ms: Option<i64>,
}

impl From<StateRecord1> for StateRecord {
    fn from(record: StateRecord1) -> StateRecord {
        let StateRecord1 { next_sequence, bytes_total, paused, head, last_revived } = record;
        let head = head.map(|HeadRecord1 { sequence, attempts, not_before_ms }| HeadRecord {
            sequence,
            attempts,
            not_before_ms,
            held: false,
        });
        StateRecord { next_sequence, bytes_total, paused, head, last_revived }
    }
}

/// Of formats 1 and 2: there were no changes.
#[derive(Debug, Encode, Decode)]
pub(in crate::queue) struct SeenRecord2 {
    pub accepted_at_ms: i64,
    pub content: [u8; 16],
    pub first_sequence: Option<u64>,
    pub deliveries: u32,
}

impl From<SeenRecord2> for SeenRecord {
    fn from(record: SeenRecord2) -> SeenRecord {
        let SeenRecord2 { accepted_at_ms, content, first_sequence, deliveries } = record;
        SeenRecord { accepted_at_ms, content, first_sequence, deliveries, fired: None }
    }
}

/// Of formats 1 to 4.
#[derive(Debug, Clone, Encode, Decode)]
pub(in crate::queue) struct DeadRecord4 {
    pub org: String,
    pub delivery: DeliveryRecord4,
    pub reason: String,
    pub note: Option<String>,
    pub died_at_ms: i64,
    pub attempts_made: u32,
}

impl From<DeadRecord4> for DeadRecord {
    fn from(record: DeadRecord4) -> DeadRecord {
        let DeadRecord4 { org, delivery, reason, note, died_at_ms, attempts_made } = record;
        DeadRecord { org, delivery: delivery.into(), reason, note, died_at_ms, attempts_made }
    }
}

impl Record for DeliveryRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version <= 4 { decode::<DeliveryRecord4>(bytes).map(Into::into) } else { decode(bytes) }
    }
}

impl Record for DeadRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version <= 4 { decode::<DeadRecord4>(bytes).map(Into::into) } else { decode(bytes) }
    }
}

impl Record for StateRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version == 1 { decode::<StateRecord1>(bytes).map(Into::into) } else { decode(bytes) }
    }
}

impl Record for SeenRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version <= 2 { decode::<SeenRecord2>(bytes).map(Into::into) } else { decode(bytes) }
    }
}

#[cfg(test)]
impl From<DeliveryRecord> for DeliveryRecord4 {
    fn from(record: DeliveryRecord) -> DeliveryRecord4 {
        DeliveryRecord4 {
            event_id: record.event_id,
            event_type: record.event_type,
            webhook: record.webhook,
            attributes: record.attributes,
            accepted_at_ms: record.accepted_at_ms,
            size: record.size,
            bytes_before: record.bytes_before,
            alone: record.alone,
            seen: record.seen,
            body: record.body,
        }
    }
}

#[cfg(test)]
impl From<DeadRecord> for DeadRecord4 {
    fn from(record: DeadRecord) -> DeadRecord4 {
        let DeadRecord { org, delivery, reason, note, died_at_ms, attempts_made } = record;
        DeadRecord4 { org, delivery: delivery.into(), reason, note, died_at_ms, attempts_made }
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    fn encoded(record: &impl Encode) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(record, &mut bytes).unwrap();
        bytes
    }

    /// The same of a delivery, and of the dead letter that it may become: until format 4 nothing was replayed.
    #[test]
    fn delivery_record_keeps_its_bytes() {
        let record = DeliveryRecord {
            event_id: "e".to_owned(),
            event_type: "a.b".to_owned(),
            webhook: "w".to_owned(),
            attributes: Vec::new(),
            accepted_at_ms: 9,
            size: 2,
            bytes_before: 40,
            alone: true,
            replay: false,
            seen: None,
            body: Body::Inline(b"{}".to_vec()),
        };
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut golden = [text("e"), text("a.b"), text("w")].concat();
        for number in [0u64, 9, 2, 40] {
            golden.extend_from_slice(&number.to_le_bytes());
        }
        golden.push(1);
        let mut old = golden.clone();
        golden.push(0);
        for bytes in [&mut golden, &mut old] {
            bytes.push(0);
            bytes.extend_from_slice(&0u32.to_le_bytes());
            bytes.extend_from_slice(&text("{}"));
        }
        assert_eq!(encoded(&record), golden);
        assert_eq!(DeliveryRecord::read(5, &golden), Ok(record.clone()));
        for version in 1..=4 {
            assert_eq!(DeliveryRecord::read(version, &old), Ok(record.clone()), "format {version}");
            assert_eq!(DeliveryRecord::read(version, &golden), Err(Unreadable::Garbled), "format {version}");
        }
        let letter = DeadRecord {
            org: "acme".to_owned(),
            delivery: record,
            reason: "skipped".to_owned(),
            note: None,
            died_at_ms: 10,
            attempts_made: 0,
        };
        let rest = [&text("skipped")[..], &[0], &10i64.to_le_bytes(), &0u32.to_le_bytes()].concat();
        assert_eq!(encoded(&letter), [text("acme"), golden, rest.clone()].concat());
        for version in 1..=4 {
            let old = [text("acme"), old.clone(), rest.clone()].concat();
            assert_eq!(DeadRecord::read(version, &old), Ok(letter.clone()), "format {version}");
        }
    }
}
