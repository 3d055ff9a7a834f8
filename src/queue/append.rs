//! Appending: an event's deliveries, all or none. The events of a change are in `change.rs`.
//!
//! Order of writes: chunks, deliveries, the seen id, and at the end of the batch the state record whose next sequence
//! is the commit point. A delivery knows the seen id it came with, so what a crash leaves beyond the commit point is
//! found and swept with it at open. An event with one delivery that holds its payload, as most have, is one record and
//! therefore whole or not there: it needs no state record, and recovery writes its seen id again if that is missing.

use super::key::{self, InQueue, KeyHash};
use super::ledger::Load;
use super::record::{Body, DeliveryRecord, SeenRecord};
use super::seal::Sealer;
use super::store::{INLINE_BYTES_MAX, Store, Trouble};
use super::writer::{Applied, Writer};
use super::{Append, Appended, Org, Queue, QueueLimits, Refused};
use crate::model::{Event, EventId, EventType, Head, OrgNumber, Sequence, UnixMs};
use crate::tail::{Fact, Happened};

/// How long a given event id is remembered.
pub(super) const SEEN_FOR_MS: i64 = 24 * 60 * 60 * 1000;

/// An append with its hashes, computed by the caller so that the committer need not.
pub(super) struct Prepared {
    pub(super) append: Append,
    /// Hash of the id and of the content; only for an id that was given.
    pub(super) seen: Option<(KeyHash, KeyHash)>,
}

/// The day under which a seen id is filed. A day is as long as an id is remembered, so that two of them hold it.
pub(super) fn day_of(at: UnixMs) -> u32 {
    u32::try_from(at.0.div_euclid(SEEN_FOR_MS)).unwrap_or(0)
}

impl Queue {
    /// An append with its hashes.
    pub(super) fn prepare(&self, append: Append) -> Prepared {
        let event = &append.event;
        let seen = event.id_given.then(|| {
            let sealer = self.sealer();
            let event_type = event.event_type.as_str();
            let content = content_hash(sealer, event_type, &event.payload, &event.attributes);
            (sealer.hash([event.id.as_str().as_bytes()]), content)
        });
        Prepared { append, seen }
    }
}

/// Appends one event.
pub(super) fn append(writer: &mut Writer, prepared: Prepared) -> Applied<Appended> {
    let Prepared { append: Append { org, event, webhooks, accepted_at }, seen } = prepared;
    let number = org.number;
    if writer.number_of(&org.id) != Some(number) {
        return Ok(Err(Refused::UnknownOrg));
    }
    if let Some((id, content)) = &seen
        && let Some(before) = find_seen(&writer.store, number, id, accepted_at)?
    {
        return Ok(answer_again(&event, &before, content));
    }
    let size = event.payload.len() as u64;
    let count = u32::try_from(webhooks.len()).unwrap_or(u32::MAX);
    let deliveries = u64::from(count);
    let (first, bytes_total) = match room(writer, &org, deliveries, size * deliveries, size)? {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let day = day_of(accepted_at);
    let record = DeliveryRecord {
        event_id: event.id.as_str().to_owned(),
        event_type: event.event_type.as_str().to_owned(),
        webhook: String::new(),
        attributes: event.attributes.into_iter().collect(),
        accepted_at_ms: accepted_at.0,
        size,
        bytes_before: bytes_total,
        alone: true,
        replay: false,
        seen: seen.map(|(id, _)| (day, id)),
        body: Body::Inline(Vec::new()),
    };
    let names: Vec<_> = webhooks.iter().map(|webhook| webhook.as_str().to_owned()).collect();
    put_deliveries(writer, number, first, record, &names, &event.payload)?;
    writer.tally.events_accepted += 1;
    writer.tell(|_| {
        Some(told(
            &org,
            (&event.id, &event.event_type),
            (deliveries > 0).then_some(first),
            &names,
            accepted_at,
        ))
    });
    if let Some((id, content)) = seen {
        let record = seen_record(accepted_at, content, (deliveries > 0).then_some(first), count);
        writer.store.queue_for_writing(number)?.put(&key::seen(number, day, &id), &record)?;
    }
    Ok(Ok(Appended {
        id: event.id,
        sequence: (deliveries > 0).then_some(first),
        deliveries: count,
        duplicate: false,
    }))
}

/// Whether there is room for this many deliveries with `bytes` of payloads in the org's queue, and for what is written of
/// them on the disk: `bytes`, or `bytes_at_least` where nothing is queued. Answers the sequence of the first and what the
/// org's payload bytes come to before it.
pub(super) fn room(
    writer: &mut Writer,
    org: &Org,
    deliveries: u64,
    bytes: u64,
    bytes_at_least: u64,
) -> Applied<(Sequence, u64)> {
    if writer.disk_is_full(bytes.max(bytes_at_least)) {
        return Ok(Err(Refused::DiskFull));
    }
    let (limits, total) = (writer.limits, writer.total);
    let queue = writer.queue_mut(org.number)?;
    let (waiting, waiting_bytes) = (queue.depth(), queue.bytes);
    let max_deliveries = org.settings.max_deliveries.unwrap_or(limits.max_deliveries);
    let max_bytes = org.settings.max_bytes.unwrap_or(limits.max_bytes);
    if deliveries > 0 && (waiting + deliveries > max_deliveries || waiting_bytes + bytes > max_bytes) {
        return Ok(Err(Refused::QueueFull { deliveries: waiting, bytes: waiting_bytes }));
    }
    let place = (queue.next, queue.bytes_total);
    let QueueLimits { deliveries: most, bytes: most_bytes } = limits.max_total;
    if deliveries > 0 && (total.deliveries + deliveries > most || total.bytes + bytes > most_bytes) {
        let Load { deliveries, bytes } = total;
        return Ok(Err(Refused::AllQueuesFull { deliveries, bytes }));
    }
    Ok(Ok(place))
}

/// Writes the deliveries of one event from `first` on and counts them in; the state record follows with the batch, unless
/// there is one delivery that may be `alone`, and is.
pub(super) fn put_deliveries(
    writer: &mut Writer,
    org: OrgNumber,
    first: Sequence,
    mut record: DeliveryRecord,
    webhooks: &[String],
    payload: &[u8],
) -> Result<(), Trouble> {
    let Some(last) = (webhooks.len() as u64).checked_sub(1).map(|more| first.0 + more) else {
        return Ok(());
    };
    let tree = writer.store.queue_for_writing(org)?;
    record.body = if payload.len() <= INLINE_BYTES_MAX {
        Body::Inline(payload.to_vec())
    } else {
        let parts = tree.put_chunks(payload, |part| key::of_part(InQueue::Chunk as u8, org, first, part))?;
        Body::Chunks { at: first.0, last, parts }
    };
    record.alone &= last == first.0 && matches!(record.body, Body::Inline(_));
    let mut sequence = first;
    for webhook in webhooks {
        record.webhook.clone_from(webhook);
        tree.put(&key::of_sequence(InQueue::Delivery as u8, org, sequence), &record)?;
        record.bytes_before += record.size;
        sequence = sequence.next();
    }
    writer.change_load(org, |queue| {
        queue.next = sequence;
        queue.bytes += record.bytes_before - queue.bytes_total;
        queue.bytes_total = record.bytes_before;
        if queue.head.is_none() {
            queue.head = Some(Head::fresh(first));
        }
    })?;
    if !record.alone {
        writer.state_changed(org);
    }
    Ok(())
}

/// What is told of an event that was accepted.
pub(super) fn told(
    org: &Org,
    (id, event_type): (&EventId, &EventType),
    first: Option<Sequence>,
    webhooks: &[String],
    accepted_at: UnixMs,
) -> Fact {
    Fact {
        id: Some(id.clone()),
        event_type: Some(event_type.clone()),
        sequence: first.map(|first| first.0),
        deliveries: Some(webhooks.len() as u64),
        webhooks: webhooks.iter().filter_map(|webhook| webhook.parse().ok()).collect(),
        ..Fact::new(Happened::Accepted, accepted_at, org.id.clone())
    }
}

/// What is remembered of a given id.
pub(super) fn seen_record(
    accepted_at: UnixMs,
    content: KeyHash,
    first: Option<Sequence>,
    deliveries: u32,
) -> SeenRecord {
    let first_sequence = first.map(|sequence| sequence.0);
    SeenRecord { accepted_at_ms: accepted_at.0, content, first_sequence, deliveries, fired: None }
}

/// The hash of what an id stands for: the same id with other content is refused.
pub(super) fn content_hash<'a>(
    sealer: &Sealer,
    event_type: &'a str,
    payload: &'a [u8],
    attributes: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> KeyHash {
    let attributes = attributes.into_iter().flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    sealer.hash([event_type.as_bytes(), payload].into_iter().chain(attributes))
}

/// An id accepted within the last day, under today's or yesterday's key.
pub(super) fn find_seen(
    store: &Store,
    org: OrgNumber,
    id: &KeyHash,
    now: UnixMs,
) -> Result<Option<SeenRecord>, Trouble> {
    let Some(tree) = store.queue(org) else { return Ok(None) };
    let today = day_of(now);
    for day in [today, today.wrapping_sub(1)] {
        if let Some(record) = tree.get::<SeenRecord>(&key::seen(org, day, id))?
            && now.0.saturating_sub(record.accepted_at_ms) < SEEN_FOR_MS
        {
            return Ok(Some(record));
        }
    }
    Ok(None)
}

fn answer_again(event: &Event, before: &SeenRecord, content: &KeyHash) -> Result<Appended, Refused> {
    if before.content != *content {
        return Err(Refused::IdReused);
    }
    Ok(Appended {
        id: event.id.clone(),
        sequence: before.first_sequence.map(Sequence),
        deliveries: before.deliveries,
        duplicate: true,
    })
}
