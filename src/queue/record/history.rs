//! PURE. What is kept of a delivery that its receiver took.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{AttemptRecord, parse};
use crate::model::{Attempt, Delivered, Delivery, HistoryId, Sequence, UnixMs};
use crate::queue::seal::Unreadable;

/// No record is larger: as many attempts as a delivery can have, with as much as is kept of each, beside its attributes.
const HISTORY_BYTES_MAX: usize = 512 * 1024;
/// The format in which there was a history first.
const FIRST_FORMAT: u8 = 5;

/// A delivery that its receiver took. The payload lies behind it. New in format 5.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct HistoryRecord {
    /// The org's name: its number in the entry's header says which org of that name.
    pub org: String,
    pub event_id: String,
    pub event_type: String,
    pub webhook: String,
    pub attributes: Vec<(String, String)>,
    pub accepted_at_ms: i64,
    pub sequence: u64,
    pub size: u64,
    pub replay: bool,
    pub attempts: Vec<AttemptRecord>,
}

fn layout() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<HISTORY_BYTES_MAX>()
}

impl HistoryRecord {
    pub(in crate::queue) fn new(
        org: &str,
        delivery: &Delivery,
        attempts: Vec<AttemptRecord>,
    ) -> HistoryRecord {
        let own = |(name, value): (&String, &String)| (name.clone(), value.clone());
        HistoryRecord {
            org: org.to_owned(),
            event_id: delivery.event_id.as_str().to_owned(),
            event_type: delivery.event_type.as_str().to_owned(),
            webhook: delivery.webhook.as_str().to_owned(),
            attributes: delivery.attributes.iter().map(own).collect(),
            accepted_at_ms: delivery.accepted_at.0,
            sequence: delivery.sequence.0,
            size: delivery.payload.len() as u64,
            replay: delivery.replay,
            attempts,
        }
    }

    /// Appends the record's bytes and the payload's.
    pub(in crate::queue) fn write(&self, payload: &[u8], buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
        bincode::encode_into_std_write(self, buffer, layout()).map_err(|_| Unreadable::Garbled)?;
        buffer.extend_from_slice(payload);
        Ok(())
    }

    /// Reads what was written in format `version`: the record, and the payload behind it.
    pub(in crate::queue) fn read(version: u8, bytes: &[u8]) -> Result<(HistoryRecord, &[u8]), Unreadable> {
        if version < FIRST_FORMAT {
            return Err(Unreadable::Version(version));
        }
        let decoded: Result<(HistoryRecord, usize), _> = bincode::decode_from_slice(bytes, layout());
        let (record, length) = decoded.map_err(|_| Unreadable::Garbled)?;
        let payload = bytes.get(length..).unwrap_or_default();
        if payload.len() as u64 == record.size { Ok((record, payload)) } else { Err(Unreadable::Garbled) }
    }

    /// The entry that this is the record of, with `payload` as its payload.
    pub(in crate::queue) fn into_delivered(
        self,
        id: HistoryId,
        delivered_at: UnixMs,
        payload: Bytes,
    ) -> Result<Delivered, Unreadable> {
        let attempts: Result<Vec<Attempt>, _> =
            self.attempts.into_iter().map(AttemptRecord::into_attempt).collect();
        Ok(Delivered {
            id,
            org: parse(&self.org)?,
            delivery: Delivery {
                sequence: Sequence(self.sequence),
                event_id: parse(&self.event_id)?,
                event_type: parse(&self.event_type)?,
                webhook: parse(&self.webhook)?,
                attributes: self.attributes.into_iter().collect(),
                accepted_at: UnixMs(self.accepted_at_ms),
                size: self.size,
                replay: self.replay,
                payload,
            },
            delivered_at,
            attempts: attempts?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_its_bytes_and_its_payload() {
        let attempt = AttemptRecord {
            number: 1,
            at_ms: 8,
            duration_ms: 5,
            status: Some(200),
            error: None,
            detail: String::new(),
            excerpt: "ok".to_owned(),
        };
        let record = HistoryRecord {
            org: "acme".to_owned(),
            event_id: "e".to_owned(),
            event_type: "a.b".to_owned(),
            webhook: "w".to_owned(),
            attributes: Vec::new(),
            accepted_at_ms: 7,
            sequence: 3,
            size: 2,
            replay: true,
            attempts: vec![attempt],
        };
        let mut bytes = Vec::new();
        record.write(b"{}", &mut bytes).unwrap();
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let mut golden = [text("acme"), text("e"), text("a.b"), text("w")].concat();
        for number in [0u64, 7, 3, 2] {
            golden.extend_from_slice(&number.to_le_bytes());
        }
        golden.push(1);
        golden.extend_from_slice(&1u64.to_le_bytes());
        golden.extend_from_slice(&1u32.to_le_bytes());
        golden.extend_from_slice(&8i64.to_le_bytes());
        golden.extend_from_slice(&5u32.to_le_bytes());
        golden.extend_from_slice(&[1, 200, 0, 0]);
        golden.extend_from_slice(&[text(""), text("ok"), b"{}".to_vec()].concat());
        assert_eq!(bytes, golden);
        assert_eq!(HistoryRecord::read(5, &bytes), Ok((record, &b"{}"[..])));
        assert_eq!(HistoryRecord::read(4, &bytes), Err(Unreadable::Version(4)));
        for length in 0..bytes.len() {
            assert!(HistoryRecord::read(5, &bytes[..length]).is_err(), "length {length}");
        }
        bytes.push(b' ');
        assert_eq!(HistoryRecord::read(5, &bytes), Err(Unreadable::Garbled));
    }
}
