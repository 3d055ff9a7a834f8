//! Reading: straight from sled, on threads that may block.

use std::ops::Bound;

use bytes::Bytes;

use super::front;
use super::key::{self, InDead, InQueue, Part};
use super::ledger::Published;
use super::record::{AttemptRecord, Body, DeadRecord, DeliveryRecord};
use super::seal::Unreadable;
use super::store::{Row, SealedTree, Store, Trouble};
use super::{Claim, DeadCursor, DeadFilter, DeadPage, Queue, Queued, Refused};
use crate::model::{
    Attempt, DeadLetter, DeadLetterId, DeadReason, Delivery, EventId, OrgId, OrgNumber, Sequence, UnixMs,
    WebhookId,
};

/// Dead letters looked at for one page: bounds the time of a call whose filter matches little.
const LETTERS_PER_PAGE_MAX: usize = 20_000;

/// What a head turned out to be.
pub(super) enum Loaded {
    Delivery(Delivery),
    Gone,
    Unreadable(Unreadable),
}

/// Reads a delivery with its payload.
pub(super) fn load(store: &Store, claim: Claim) -> Result<Loaded, Trouble> {
    let Some(tree) = store.queue(claim.org) else { return Ok(Loaded::Gone) };
    let Some((part, row)) = front::find(tree, claim.org, claim.sequence)? else { return Ok(Loaded::Gone) };
    let mut record = match row.read::<DeliveryRecord>() {
        Ok(record) => record,
        Err(why) => return Ok(Loaded::Unreadable(why)),
    };
    let payload = match store.payload(claim.org, part, &mut record)? {
        Ok(payload) => payload,
        Err(why) => {
            // Removed meanwhile, chunks and all, is not the same as damaged.
            let gone = !tree.contains(&row.key)?;
            return Ok(if gone { Loaded::Gone } else { Loaded::Unreadable(why) });
        }
    };
    Ok(match record.into_delivery(claim.sequence, Bytes::from(payload)) {
        Ok(delivery) => Loaded::Delivery(delivery),
        Err(why) => Loaded::Unreadable(why),
    })
}

/// Reads a delivery whose payload lies in its record; any other counts as gone.
pub(super) fn load_inline(store: &Store, claim: Claim) -> Result<Loaded, Trouble> {
    let Some(tree) = store.queue(claim.org) else { return Ok(Loaded::Gone) };
    match front::find(tree, claim.org, claim.sequence)?.map(|(_, row)| row.read::<DeliveryRecord>()) {
        Some(Ok(mut record)) => match &mut record.body {
            Body::Inline(payload) => {
                let payload = Bytes::from(std::mem::take(payload));
                Ok(record
                    .into_delivery(claim.sequence, payload)
                    .map_or_else(Loaded::Unreadable, Loaded::Delivery))
            }
            Body::Chunks { .. } => Ok(Loaded::Gone),
        },
        Some(Err(why)) => Ok(Loaded::Unreadable(why)),
        None => Ok(Loaded::Gone),
    }
}

/// Which part of a queue to list.
pub(super) struct Window {
    pub(super) after: Option<Sequence>,
    pub(super) limit: usize,
    pub(super) payload: bool,
}

/// Lists deliveries, head first, up to what is committed: the head, what is before the queue, the queue.
pub(super) fn list(
    store: &Store,
    published: &Published,
    org: OrgNumber,
    window: &Window,
) -> Result<Vec<Queued>, Trouble> {
    let (Some(tree), Some((head, span))) = (store.queue(org), published.span(org)) else {
        return Ok(Vec::new());
    };
    let range = |part: Part, from: Sequence, until: Sequence| {
        let kind = part.delivery();
        key::of_sequence(kind, org, from)..key::of_sequence(kind, org, until.max(from))
    };
    let after = window.after;
    // After the head, or what is gone, comes whatever else is before the queue.
    let from = after
        .filter(|after| *after != head.sequence && *after < span.first)
        .map_or(Sequence(0), Sequence::next);
    let front = (span.front > 0 && after.is_none_or(|after| after == head.sequence || after < span.first))
        .then(|| tree.rows(range(Part::Front, from, span.first)));
    let from = after.map_or(span.first, Sequence::next).max(span.first);
    let main = tree.rows(range(Part::Main, from, span.next));
    // With something before the queue, the head need not be what has the lowest sequence.
    let first = if span.front > 0 { front::find(tree, org, head.sequence)? } else { None };
    let shown_first = first.filter(|_| after.is_none()).map(Ok);
    let is_rest = |row: &Result<Row<'_>, Trouble>| {
        span.front == 0 || row.as_ref().map_or(true, |row| key::sequence_in(&row.key) != Some(head.sequence))
    };
    let front = front.into_iter().flatten().filter(is_rest).map(|row| Ok::<_, Trouble>((Part::Front, row?)));
    let main = main.filter(is_rest).map(|row| Ok((Part::Main, row?)));
    let mut listed = Vec::new();
    for row in shown_first.into_iter().chain(front).chain(main) {
        if listed.len() == window.limit {
            break;
        }
        let (part, row) = row?;
        let Some(sequence) = key::sequence_in(&row.key) else { continue };
        // An unreadable one is set aside when it becomes the head; until then it is not shown.
        let Ok(mut record) = row.read::<DeliveryRecord>() else { continue };
        let payload = if window.payload {
            store.payload(org, part, &mut record)?.unwrap_or_default()
        } else {
            Vec::new()
        };
        let Ok(delivery) = record.into_delivery(sequence, Bytes::from(payload)) else { continue };
        let is_head = sequence == head.sequence;
        listed.push(Queued {
            delivery,
            attempts: if is_head { head.attempts } else { 0 },
            not_before: head.not_before.filter(|_| is_head),
            held: is_head && head.held,
            last: if is_head { last_attempt(tree, org, sequence, head.attempts)? } else { None },
        });
    }
    Ok(listed)
}

fn last_attempt(
    tree: &SealedTree,
    org: OrgNumber,
    sequence: Sequence,
    attempts: u32,
) -> Result<Option<Attempt>, Trouble> {
    let row = tree.row(&key::of_part(InQueue::Attempt as u8, org, sequence, attempts))?;
    Ok(row.and_then(|row| row.read::<AttemptRecord>().and_then(AttemptRecord::into_attempt).ok()))
}

/// The payload of a dead letter.
pub(super) fn dead_payload(
    store: &Store,
    id: DeadLetterId,
    record: &mut DeliveryRecord,
) -> Result<Result<Vec<u8>, Unreadable>, Trouble> {
    match &mut record.body {
        Body::Inline(payload) => Ok(Ok(std::mem::take(payload))),
        Body::Chunks { parts, .. } => store.dead.get_chunks(*parts, record.size, |part| {
            key::of_part(InDead::Chunk as u8, id.org, id.sequence, part)
        }),
    }
}

fn letter(store: &Store, id: DeadLetterId) -> Result<Option<DeadRecord>, Trouble> {
    let row = store.dead.row(&key::of_sequence(InDead::Letter as u8, id.org, id.sequence))?;
    Ok(row.and_then(|row| row.read::<DeadRecord>().ok()))
}

fn into_letter(
    id: DeadLetterId,
    record: DeadRecord,
    payload: Vec<u8>,
    attempts: Vec<Attempt>,
) -> Result<DeadLetter, Unreadable> {
    let reason = record.reason()?;
    Ok(DeadLetter {
        id,
        org: record.org.parse().map_err(|_| Unreadable::Garbled)?,
        delivery: record.delivery.into_delivery(id.sequence, Bytes::from(payload))?,
        reason,
        note: record.note,
        died_at: UnixMs(record.died_at_ms),
        attempts_made: record.attempts_made,
        attempts,
    })
}

/// One dead letter with every attempt that can be read.
pub(super) fn dead_show(
    store: &Store,
    id: DeadLetterId,
    payload: bool,
) -> Result<Option<DeadLetter>, Trouble> {
    let Some(mut record) = letter(store, id)? else { return Ok(None) };
    let payload =
        if payload { dead_payload(store, id, &mut record.delivery)?.unwrap_or_default() } else { Vec::new() };
    let mut attempts = Vec::new();
    for row in store.dead.rows_with(&key::of_sequence(InDead::Attempt as u8, id.org, id.sequence)) {
        if let Ok(attempt) = row?.read::<AttemptRecord>().and_then(AttemptRecord::into_attempt) {
            attempts.push(attempt);
        }
    }
    Ok(into_letter(id, record, payload, attempts).ok())
}

/// A page of dead letters in order of death.
pub(super) fn dead_list(
    store: &Store,
    filter: &DeadFilter,
    after: Option<DeadCursor>,
    limit: usize,
) -> Result<DeadPage, Trouble> {
    let from = match (after, filter.since) {
        (Some(cursor), _) => Bound::Excluded(key::by_time(cursor.died_at, cursor.id).to_vec()),
        (None, Some(since)) => {
            let least = DeadLetterId { org: OrgNumber(0), sequence: Sequence(0) };
            Bound::Included(key::by_time(since, least).to_vec())
        }
        (None, None) => Bound::Included(vec![InDead::ByTime as u8]),
    };
    let range = (from, Bound::Excluded(vec![InDead::ByTime as u8 + 1]));
    let mut items = Vec::new();
    let mut last = None;
    for (looked_at, row) in store.dead.rows::<Vec<u8>>(range).enumerate() {
        if items.len() == limit || looked_at == LETTERS_PER_PAGE_MAX {
            return Ok(DeadPage { items, next: last });
        }
        let Some((died_at, id)) = key::by_time_in(&row?.key) else { continue };
        if filter.until.is_some_and(|until| died_at >= until) {
            break;
        }
        last = Some(DeadCursor { died_at, id });
        let Some(record) = letter(store, id)? else { continue };
        if matches(filter, &record) {
            let attempts = last_dead_attempt(store, id, record.attempts_made)?.into_iter().collect();
            items.extend(into_letter(id, record, Vec::new(), attempts).ok());
        }
    }
    Ok(DeadPage { items, next: None })
}

/// Dead letters that match, in the order in which they were accepted: by org and sequence, whatever the clock said when they
/// died. Answers where to go on.
pub(super) fn dead_in_order(
    store: &Store,
    filter: &DeadFilter,
    org: Option<OrgNumber>,
    after: Option<DeadLetterId>,
    limit: usize,
) -> Result<(Vec<DeadLetterId>, Option<DeadLetterId>), Trouble> {
    let kind = InDead::Letter as u8;
    let from = match (after, org) {
        (Some(id), _) => Bound::Excluded(key::of_sequence(kind, id.org, id.sequence)),
        (None, Some(org)) => Bound::Included(key::of_sequence(kind, org, Sequence(0))),
        (None, None) => Bound::Included(key::of_sequence(kind, OrgNumber(0), Sequence(0))),
    };
    let until =
        Bound::Included(key::of_sequence(kind, org.unwrap_or(OrgNumber(u32::MAX)), Sequence(u64::MAX)));
    let (mut found, mut last) = (Vec::new(), None);
    for (looked_at, row) in store.dead.rows::<[u8; 13]>((from, until)).enumerate() {
        if found.len() == limit || looked_at == LETTERS_PER_PAGE_MAX {
            return Ok((found, last));
        }
        let row = row?;
        let (Some(org), Some(sequence)) = (key::org_in(&row.key), key::sequence_in(&row.key)) else {
            continue;
        };
        let id = DeadLetterId { org, sequence };
        last = Some(id);
        let Ok(record) = row.read::<DeadRecord>() else { continue };
        let died_at = UnixMs(record.died_at_ms);
        let in_time = filter.since.is_none_or(|since| died_at >= since)
            && filter.until.is_none_or(|until| died_at < until);
        if in_time && matches(filter, &record) {
            found.push(id);
        }
    }
    Ok((found, None))
}

fn last_dead_attempt(store: &Store, id: DeadLetterId, number: u32) -> Result<Option<Attempt>, Trouble> {
    let row = store.dead.row(&key::of_part(InDead::Attempt as u8, id.org, id.sequence, number))?;
    Ok(row.and_then(|row| row.read::<AttemptRecord>().and_then(AttemptRecord::into_attempt).ok()))
}

fn matches(filter: &DeadFilter, record: &DeadRecord) -> bool {
    fn is(wanted: Option<&str>, value: &str) -> bool {
        wanted.is_none_or(|wanted| wanted == value)
    }
    is(filter.org.as_ref().map(OrgId::as_str), &record.org)
        && is(filter.webhook.as_ref().map(WebhookId::as_str), &record.delivery.webhook)
        && (filter.event_types.is_empty() || filter.event_types.contains(&record.delivery.event_type))
        && is(filter.event_id.as_ref().map(EventId::as_str), &record.delivery.event_id)
        && is(filter.reason.map(DeadReason::code), &record.reason)
}

impl Queue {
    /// Dead letters that match, in the order in which they were accepted, at most `limit`; and where to go on.
    pub async fn dead_in_order(
        &self,
        filter: DeadFilter,
        after: Option<DeadLetterId>,
        limit: usize,
    ) -> Result<(Vec<DeadLetterId>, Option<DeadLetterId>), Refused> {
        // Those of a deleted org are looked for among all.
        let org = filter.org.as_ref().and_then(|org| self.directory().org(org)).map(|org| org.number);
        self.read_store(move |store| dead_in_order(store, &filter, org, after, limit)).await
    }
}
