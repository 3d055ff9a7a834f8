//! Before the queue: dead letters that are retried at the head.
//!
//! A delivery that is revived there keeps the sequence that it had, which is below those of all that wait in the queue itself:
//! so the order of sequences stays the order in which deliveries start, and what was accepted first comes first. It lies under
//! a key kind of its own, since the queue's own deliveries are consecutive and these are not. Two things come before it: a head
//! that has failed already, for a retry is never overtaken, and a head whose attempt is under way. The committer does not
//! know of the latter: it makes the revived delivery the head, and lets the result of what was head until then count
//! ([`is_under_way`]); the scheduler does not start the new head before that.
//!
//! Order of writes, the reverse of burying: chunks, the delivery, the org's state (which forgets attempts of an earlier life),
//! and then the letter is removed, which is the commit point: where both are found at open, the letter counts.

use super::append::room;
use super::key::{self, InDead, InQueue, Part};
use super::ledger::OrgQueue;
use super::read::dead_payload;
use super::record::{Body, DeadRecord, DeliveryRecord};
use super::recovery::Recovery;
use super::store::{INLINE_BYTES_MAX, Row, SealedTree, Store, Trouble};
use super::writer::{Applied, Writer};
use super::{Changed, Queue, Refused, settle};
use crate::model::{DeadLetterId, Head, OrgNumber, Sequence};

impl Queue {
    /// Puts these dead letters before what waits in their orgs' queues, with fresh attempts and the sequences that they had;
    /// among themselves they are in the order of those. For the rest as [`Queue::revive`].
    pub async fn revive_at_head(&self, ids: Vec<DeadLetterId>) -> Result<Changed, Refused> {
        self.each(ids, revive).await
    }
}

/// The delivery's row, and which part of the queue it is in.
pub(super) fn find(
    tree: &SealedTree,
    org: OrgNumber,
    sequence: Sequence,
) -> Result<Option<(Part, Row<'_>)>, Trouble> {
    for part in [Part::Main, Part::Front] {
        if let Some(row) = tree.row(&key::of_sequence(part.delivery(), org, sequence))? {
            return Ok(Some((part, row)));
        }
    }
    Ok(None)
}

/// The first delivery before the queue, but for the one that is about to leave.
pub(super) fn first(
    store: &Store,
    org: OrgNumber,
    leaving: Option<Sequence>,
) -> Result<Option<Sequence>, Trouble> {
    let Some(tree) = store.queue(org) else { return Ok(None) };
    for row in tree.keys(&key::of_org(InQueue::Front as u8, org)) {
        let sequence = key::sequence_in(&row?);
        if sequence.is_some() && sequence != leaving {
            return Ok(sequence);
        }
    }
    Ok(None)
}

/// Whether a delivery that is not the head was it until one was revived before it, so that its attempt may be under way.
pub(super) fn is_under_way(
    store: &Store,
    org: OrgNumber,
    queue: &OrgQueue,
    sequence: Sequence,
) -> Result<bool, Trouble> {
    match queue.head {
        Some(head) if head.sequence < sequence => {
            if !queue.is_before(sequence) {
                return Ok(sequence == queue.first && queue.first < queue.next);
            }
            let Some(tree) = store.queue(org) else { return Ok(false) };
            tree.contains(&key::of_sequence(InQueue::Front as u8, org, sequence))
        }
        _ => Ok(false),
    }
}

/// Puts a dead letter before its org's queue. `None` if it, or its org, is gone.
fn revive(writer: &mut Writer, id: DeadLetterId) -> Applied<Option<u64>> {
    let DeadLetterId { org, sequence } = id;
    let store = writer.store.clone();
    let place = key::of_sequence(InDead::Letter as u8, org, sequence);
    let Some(mut letter) = store.dead.row(&place)?.and_then(|row| row.read::<DeadRecord>().ok()) else {
        return Ok(Ok(None));
    };
    let Some(settings) = writer.org_name(org).and_then(|name| writer.org(&name)) else { return Ok(Ok(None)) };
    if !writer.queue_mut(org)?.is_before(sequence) {
        // Only a state that was made anew can know less of sequences than the letter does.
        return settle::revive(writer, id);
    }
    let size = letter.delivery.size;
    if let Err(refused) = room(writer, &settings, 1, size, size)? {
        return Ok(Err(refused));
    }
    let Ok(payload) = dead_payload(&store, id, &mut letter.delivery)? else { return Ok(Ok(None)) };
    let tree = store.queue_for_writing(org)?;
    let body = if payload.len() <= INLINE_BYTES_MAX {
        Body::Inline(payload)
    } else {
        let chunk = Part::Front.chunk();
        let parts = tree.put_chunks(&payload, |part| key::of_part(chunk, org, sequence, part))?;
        Body::Chunks { at: sequence.0, last: sequence.0, parts }
    };
    let record = DeliveryRecord { bytes_before: 0, alone: false, seen: None, body, ..letter.delivery };
    tree.put(&key::of_sequence(Part::Front.delivery(), org, sequence), &record)?;
    writer.change_load(org, |queue| {
        queue.front += 1;
        queue.bytes += record.size;
        if queue.head.is_none_or(|head| head.attempts == 0 && sequence < head.sequence) {
            queue.head = Some(Head::fresh(sequence));
        }
    })?;
    writer.write_state(org)?;
    Ok(Ok(settle::remove_letter(writer, id)?.then_some(size)))
}

impl Recovery<'_> {
    /// Counts in what is before the queue, and answers its sequences in order. One that is a dead letter has not been revived
    /// yet, or lacks only its removal.
    pub(super) fn load_front(
        &mut self,
        tree: &SealedTree,
        org: OrgNumber,
        queue: &mut OrgQueue,
    ) -> Result<Vec<Sequence>, Trouble> {
        let mut found = Vec::new();
        for row in tree.rows_with(&key::of_org(InQueue::Front as u8, org)) {
            let row = row?;
            let Some(sequence) = key::sequence_in(&row.key) else { continue };
            if self.is_dead(DeadLetterId { org, sequence })? {
                tree.remove(&row.key)?;
                continue;
            }
            match row.read::<DeliveryRecord>() {
                Ok(record) => {
                    queue.front += 1;
                    queue.bytes += record.size;
                    found.push(sequence);
                }
                Err(why) => self.quarantine(tree, &row, why)?,
            }
        }
        for row in tree.keys(&key::of_org(InQueue::FrontChunk as u8, org)) {
            let row = row?;
            if key::sequence_in(&row).is_none_or(|sequence| found.binary_search(&sequence).is_err()) {
                tree.remove(&row)?;
            }
        }
        Ok(found)
    }
}
