//! PURE. The stored records: what is inside a sealed value. The only place where bincode is used.
//!
//! **To change a record**: raise [`super::seal::FORMAT_VERSION`], keep the old struct and its reader under a name that
//! ends in the version it had, and read either. Do it for every change, also between releases. The layout is bincode's
//! legacy one (fixed-width little-endian integers, u64 lengths), which maintained successors read as well; it is not
//! self-describing, so a field can never be added in place.

use std::collections::BTreeMap;
use std::time::Duration;

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::seal::Unreadable;
use crate::model::{
    Attempt, DeadReason, Delivery, EventPattern, FailReason, OrgId, OrgSettings, Retry, Secret, Sequence,
    UnixMs, Webhook,
};

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
    /// Hash of the given event id, under which it is remembered; absent if the id was made here.
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

/// An event id that was given and accepted, and what was answered.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct SeenRecord {
    pub accepted_at_ms: i64,
    pub content: [u8; 16],
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

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct OrgRecord {
    pub id: String,
    pub plan: Option<String>,
    pub description: String,
    pub max_deliveries: Option<u64>,
    pub max_bytes: Option<u64>,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

#[derive(Clone, PartialEq, Encode, Decode)]
pub(super) struct WebhookRecord {
    pub id: String,
    pub url: String,
    pub events: Vec<String>,
    pub password: Option<String>,
    pub attempts: u32,
    pub first_delay_ms: u64,
    pub factor: f64,
    pub max_delay_ms: u64,
    pub timeout_ms: u64,
    pub enabled: bool,
    pub description: String,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
}

/// An unreadable record, kept as it was for whoever can make something of it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct QuarantineRecord {
    pub tree: Vec<u8>,
    pub key: Vec<u8>,
    pub value: Vec<u8>,
    pub why: String,
}

fn layout() -> impl bincode::config::Config {
    bincode::config::legacy().with_limit::<RECORD_BYTES_MAX>()
}

/// Appends the record's bytes.
pub(super) fn encode(record: &impl Encode, buffer: &mut Vec<u8>) -> Result<(), Unreadable> {
    bincode::encode_into_std_write(record, buffer, layout()).map(drop).map_err(|_| Unreadable::Garbled)
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

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
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

impl OrgRecord {
    pub(super) fn new(id: &OrgId, settings: &OrgSettings) -> OrgRecord {
        OrgRecord {
            id: id.as_str().to_owned(),
            plan: settings.plan.clone(),
            description: settings.description.clone(),
            max_deliveries: settings.max_deliveries,
            max_bytes: settings.max_bytes,
            created_at_ms: settings.created_at.0,
            updated_at_ms: settings.updated_at.0,
        }
    }

    pub(super) fn into_parts(self) -> Result<(OrgId, OrgSettings), Unreadable> {
        let settings = OrgSettings {
            plan: self.plan,
            description: self.description,
            max_deliveries: self.max_deliveries,
            max_bytes: self.max_bytes,
            created_at: UnixMs(self.created_at_ms),
            updated_at: UnixMs(self.updated_at_ms),
        };
        Ok((parse(&self.id)?, settings))
    }
}

impl From<&Webhook> for WebhookRecord {
    fn from(webhook: &Webhook) -> WebhookRecord {
        WebhookRecord {
            id: webhook.id.as_str().to_owned(),
            url: webhook.url.as_str().to_owned(),
            events: webhook.events.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            password: webhook.password.as_ref().map(|password| password.expose().to_owned()),
            attempts: webhook.retry.attempts,
            first_delay_ms: ms(webhook.retry.first_delay),
            factor: webhook.retry.factor,
            max_delay_ms: ms(webhook.retry.max_delay),
            timeout_ms: ms(webhook.timeout),
            enabled: webhook.enabled,
            description: webhook.description.clone(),
            created_at_ms: webhook.created_at.0,
            updated_at_ms: webhook.updated_at.0,
        }
    }
}

impl WebhookRecord {
    pub(super) fn into_webhook(self) -> Result<Webhook, Unreadable> {
        Ok(Webhook {
            id: parse(&self.id)?,
            url: parse(&self.url)?,
            events: self.events.iter().map(|p| parse::<EventPattern>(p)).collect::<Result<_, _>>()?,
            password: self.password.map(Secret::new),
            retry: Retry {
                attempts: self.attempts,
                first_delay: Duration::from_millis(self.first_delay_ms),
                factor: self.factor,
                max_delay: Duration::from_millis(self.max_delay_ms),
            },
            timeout: Duration::from_millis(self.timeout_ms),
            enabled: self.enabled,
            description: self.description,
            created_at: UnixMs(self.created_at_ms),
            updated_at: UnixMs(self.updated_at_ms),
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

    /// The bytes of a state record as format version 1 writes them: a change here is a change of the format.
    #[test]
    fn state_record_keeps_its_bytes() {
        let record = StateRecord {
            next_sequence: 7,
            bytes_total: 1024,
            paused: None,
            head: Some(HeadRecord { sequence: 5, attempts: 2, not_before_ms: Some(-1) }),
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
        golden.push(0);
        assert_eq!(bytes, golden);
        assert_eq!(decode::<StateRecord>(&bytes), Ok(record));
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
