//! Appending a change: every event that it fires with all of its deliveries, or nothing at all.
//!
//! Everything is settled before the first write: whether the id was seen, whether queue and disk have room for the whole,
//! whether each record fits. Then the events follow each other as in `append.rs`, the seen id comes after them, and the
//! state record at the end of the batch commits them together: none of their deliveries is ever `alone`. Ids of changes
//! are hashed with a word before them, so that a change and an event may have the same id.

use std::sync::Arc;
use std::time::Instant;

use super::append::{day_of, find_seen, put_deliveries, room, told};
use super::key::{self, KeyHash};
use super::record::{Body, DeliveryRecord, FiredRecord, Record, SeenRecord, encoded_len};
use super::seal::{OVERHEAD, Unreadable};
use super::store::{INLINE_BYTES_MAX, Trouble, VALUE_BYTES_MAX};
use super::writer::{Applied, Writer};
use super::{Append, Org, Queue, Refused};
use crate::model::{EventId, EventType, Sequence, UnixMs};

/// What tells the hash of a change's id from that of an event's.
const CHANGE: &[u8] = b"change";

/// What a change that was given an id is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeKey {
    id: KeyHash,
    content: KeyHash,
}

/// The events that one change fires: all of them are appended, in this order, or none.
#[derive(Debug, Clone)]
pub struct AppendChange {
    /// The org it belongs to.
    pub org: Arc<Org>,
    /// Only for an id that was given: a change without events is then remembered too.
    pub key: Option<ChangeKey>,
    /// Its events. Their own ids are not remembered, whatever they say: the change's is.
    pub events: Vec<Append>,
    /// When it was accepted.
    pub accepted_at: UnixMs,
}

/// The durable answer to an [`AppendChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedChange {
    /// Its events, in order.
    pub events: Vec<AppendedEvent>,
    /// The id had been accepted before with the same content: nothing was appended.
    pub duplicate: bool,
}

/// An event of a change, as it was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedEvent {
    /// Its id.
    pub id: EventId,
    /// Its type.
    pub event_type: EventType,
    /// Its first delivery's sequence; `None` if no webhook matched.
    pub sequence: Option<Sequence>,
    /// How many deliveries it has.
    pub deliveries: u32,
}

impl Queue {
    /// What a change with this id is remembered by; `content` is all that must be the same when it comes again, in parts.
    #[must_use]
    pub fn change_key(&self, id: &EventId, content: &[&[u8]]) -> ChangeKey {
        let sealer = self.sealer();
        ChangeKey {
            id: sealer.hash([CHANGE, id.as_str().as_bytes()]),
            content: sealer.hash(std::iter::once(CHANGE).chain(content.iter().copied())),
        }
    }

    /// What was answered to the change with this id, if it was accepted within the last 24 h.
    pub async fn repeated_change(
        &self,
        org: &Arc<Org>,
        key: ChangeKey,
        at: UnixMs,
    ) -> Result<Option<AppendedChange>, Refused> {
        let number = org.number;
        if !self.read_store(move |store| Ok(find_seen(store, number, &key.id, at)?.is_some())).await? {
            return Ok(None);
        }
        // What was found may not be on disk yet: a commit after it is.
        let org = org.clone();
        self.commit(0, move |writer| repeated(writer, &org, key, at)).await
    }

    /// Appends the events of a change, all or none; the answer comes once they are durable.
    pub async fn append_change(&self, change: AppendChange) -> Result<AppendedChange, Refused> {
        let bytes = |event: &Append| event.event.payload.len() * event.webhooks.len().max(1);
        let bytes = change.events.iter().map(bytes).sum();
        let began = Instant::now();
        let appended = self.commit(bytes, move |writer| append_change(writer, change)).await;
        self.enqueued(began, &appended);
        appended
    }
}

fn repeated(writer: &Writer, org: &Org, key: ChangeKey, at: UnixMs) -> Applied<Option<AppendedChange>> {
    if writer.number_of(&org.id) != Some(org.number) {
        return Ok(Err(Refused::UnknownOrg));
    }
    let Some(before) = find_seen(&writer.store, org.number, &key.id, at)? else { return Ok(Ok(None)) };
    if before.content != key.content {
        return Ok(Err(Refused::IdReused));
    }
    let answer = |fired: FiredRecord| -> Result<AppendedEvent, Trouble> {
        let garbled = || Trouble::Unreadable { tree: key::queue_tree(org.number), why: Unreadable::Garbled };
        Ok(AppendedEvent {
            id: fired.id.parse().map_err(|_| garbled())?,
            event_type: fired.event_type.parse().map_err(|_| garbled())?,
            sequence: fired.first_sequence.map(Sequence),
            deliveries: fired.deliveries,
        })
    };
    let events = before.fired.unwrap_or_default().into_iter().map(answer).collect::<Result<_, _>>()?;
    Ok(Ok(Some(AppendedChange { events, duplicate: true })))
}

/// An event of a change that only has to be written.
struct Planned {
    answer: AppendedEvent,
    first: Sequence,
    record: DeliveryRecord,
    webhooks: Vec<String>,
    payload: bytes::Bytes,
}

/// Appends the events of one change.
fn append_change(writer: &mut Writer, change: AppendChange) -> Applied<AppendedChange> {
    let AppendChange { org, key, events, accepted_at } = change;
    let number = org.number;
    if writer.number_of(&org.id) != Some(number) {
        return Ok(Err(Refused::UnknownOrg));
    }
    if let Some(key) = key {
        match repeated(writer, &org, key, accepted_at)? {
            Ok(None) => {}
            Ok(Some(before)) => return Ok(Ok(before)),
            Err(refused) => return Ok(Err(refused)),
        }
    }
    let seen = key.map(|key| (day_of(accepted_at), key.id));
    let remembered = |events: &[AppendedEvent], first: Option<u64>| {
        let key = key?;
        let deliveries = events.iter().map(|event| event.deliveries).sum();
        Some(SeenRecord {
            accepted_at_ms: accepted_at.0,
            content: key.content,
            first_sequence: first,
            deliveries,
            fired: Some(events.iter().map(FiredRecord::from).collect()),
        })
    };
    let place = seen.map(|(day, id)| key::seen(number, day, &id));
    let appended = append_all(writer, &org, events, accepted_at, (seen, place), remembered)?;
    Ok(appended.map(|events| AppendedChange { events, duplicate: false }))
}

/// Appends events one behind the other, all or none, and what is remembered of where they came from: `seen` is its day and
/// hash, `place` its key, and `remembered` makes its record from the events and the sequence of the first delivery.
pub(super) fn append_all<R: Record>(
    writer: &mut Writer,
    org: &Org,
    events: Vec<Append>,
    accepted_at: UnixMs,
    (seen, place): (Option<(u32, KeyHash)>, Option<[u8; 25]>),
    remembered: impl FnOnce(&[AppendedEvent], Option<u64>) -> Option<R>,
) -> Applied<Vec<AppendedEvent>> {
    let number = org.number;
    let size = |event: &Append| event.event.payload.len() as u64;
    let deliveries = events.iter().map(|event| event.webhooks.len() as u64).sum();
    let bytes = events.iter().map(|event| size(event) * event.webhooks.len() as u64).sum();
    let (first, bytes_total) = match room(writer, org, deliveries, bytes, events.iter().map(size).sum())? {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let planned = plan(events, (first, bytes_total), seen, accepted_at);
    let answer: Vec<_> = planned.iter().map(|planned| planned.answer.clone()).collect();
    let record = remembered(&answer, (deliveries > 0).then_some(first.0));
    let record_fits = record.as_ref().is_none_or(|record| fits(encoded_len(record), 0));
    if !(record_fits && planned.iter().all(Planned::fits)) {
        return Ok(Err(Refused::TooLarge(VALUE_BYTES_MAX)));
    }
    for Planned { answer, first, record, webhooks, payload } in planned {
        put_deliveries(writer, number, first, record, &webhooks, &payload)?;
        writer.tally.events_accepted += 1;
        let named = (&answer.id, &answer.event_type);
        writer.tell(|_| Some(told(org, named, answer.sequence, &webhooks, accepted_at)));
    }
    if let Some((place, record)) = place.zip(record) {
        writer.store.queue_for_writing(number)?.put(&place, &record)?;
    }
    Ok(Ok(answer))
}

/// Gives every event its place, one behind the other from `start` on: the first sequence, and the payload bytes before it.
fn plan(
    events: Vec<Append>,
    start: (Sequence, u64),
    seen: Option<(u32, KeyHash)>,
    accepted_at: UnixMs,
) -> Vec<Planned> {
    let (mut first, mut bytes_before) = start;
    let place = |Append { event, webhooks, .. }: Append| {
        let size = event.payload.len() as u64;
        let record = DeliveryRecord {
            event_id: event.id.as_str().to_owned(),
            event_type: event.event_type.as_str().to_owned(),
            webhook: String::new(),
            attributes: event.attributes.into_iter().collect(),
            accepted_at_ms: accepted_at.0,
            size,
            bytes_before,
            alone: false,
            replay: false,
            seen,
            body: Body::Inline(Vec::new()),
        };
        let webhooks: Vec<_> = webhooks.iter().map(|webhook| webhook.as_str().to_owned()).collect();
        let count = webhooks.len() as u64;
        let answer = AppendedEvent {
            id: event.id,
            event_type: event.event_type,
            sequence: (count > 0).then_some(first),
            deliveries: u32::try_from(count).unwrap_or(u32::MAX),
        };
        let planned = Planned { answer, first, record, webhooks, payload: event.payload };
        first = Sequence(first.0 + count);
        bytes_before += size * count;
        planned
    };
    events.into_iter().map(place).collect()
}

impl Planned {
    /// Whether each of its records fits. Their bodies are still empty: a payload of chunks takes a reference, which is
    /// counted as if it came on top.
    fn fits(&self) -> bool {
        let name = self.webhooks.iter().map(String::len).max().unwrap_or(0);
        let body = if self.payload.len() <= INLINE_BYTES_MAX { self.payload.len() } else { CHUNKS_BYTES };
        fits(encoded_len(&self.record), name + body)
    }
}

/// What is written of a payload that lies in chunks.
const CHUNKS_BYTES: usize = 8 + 8 + 4;

/// Whether a record of this length and so many bytes more can be stored.
fn fits(encoded: Result<usize, Unreadable>, more: usize) -> bool {
    encoded.is_ok_and(|bytes| bytes + more + OVERHEAD <= VALUE_BYTES_MAX)
}

impl From<&AppendedEvent> for FiredRecord {
    fn from(event: &AppendedEvent) -> FiredRecord {
        FiredRecord {
            id: event.id.as_str().to_owned(),
            event_type: event.event_type.as_str().to_owned(),
            first_sequence: event.sequence.map(|sequence| sequence.0),
            deliveries: event.deliveries,
        }
    }
}
