//! Settling heads: delivered, deferred, given up, and what operators do to them.

use super::front;
use super::history;
use super::key::{self, InDead, InQueue, Part};
use super::named::Left;
use super::record::{AttemptRecord, Body, DeadRecord, DeliveryRecord};
use super::store::{INLINE_BYTES_MAX, Row, SealedTree, Trouble};
use super::writer::{Applied, Writer};
use super::{Claim, Pause, Refused, Settled};
use crate::clock;
use crate::model::{
    Attempt, DeadLetterId, DeadReason, Delivery, Head, OrgId, OrgNumber, Sequence, UnixMs, WebhookId,
};
use crate::tail::{Fact, Happened};

/// The head that the claim names, if it still is the head, or was until another was put before it.
fn claimed(writer: &Writer, claim: Claim) -> Result<Option<Head>, Trouble> {
    let Some(queue) = writer.queues.get(&claim.org) else { return Ok(None) };
    if let Some(head) = queue.head.filter(|head| head.sequence == claim.sequence) {
        return Ok(Some(head));
    }
    let under_way = front::is_under_way(&writer.store, claim.org, queue, claim.sequence)?;
    Ok(under_way.then(|| Head::fresh(claim.sequence)))
}

/// The claimed delivery as it is stored.
fn delivery_of(tree: &SealedTree, claim: Claim) -> Result<Option<(Part, Row<'_>)>, Trouble> {
    front::find(tree, claim.org, claim.sequence)
}

/// Removes a delivered head of `size` payload bytes.
pub(super) fn done(writer: &mut Writer, claim: Claim, size: u64) -> Applied<Settled> {
    if claimed(writer, claim)?.is_none() {
        return Ok(Ok(Settled::Stale));
    }
    // Small payloads lie in the record; only a large one's chunks make reading it again worth while.
    let body = if size > INLINE_BYTES_MAX as u64 {
        let tree = writer.store.queue_for_writing(claim.org)?;
        delivery_of(tree, claim)?
            .and_then(|(_, row)| row.read::<DeliveryRecord>().ok())
            .map(|record| record.body)
    } else {
        None
    };
    writer.remove_head(claim.org, claim.sequence, size, body.as_ref())?;
    writer.count(claim.org, Left::Delivered);
    Ok(Ok(Settled::Applied))
}

/// The same, and keeps it in the history with all of its attempts.
pub(super) fn done_and_keep(
    writer: &mut Writer,
    claim: Claim,
    delivery: &Delivery,
    last: &Attempt,
    at: UnixMs,
) -> Applied<Settled> {
    let Some(head) = claimed(writer, claim)? else { return Ok(Ok(Settled::Stale)) };
    history::keep(writer, claim, delivery, (head.attempts, last), at)?;
    done(writer, claim, delivery.size)
}

/// Remembers a failed attempt of the head, and when the next may start.
pub(super) fn defer(
    writer: &mut Writer,
    claim: Claim,
    attempt: &Attempt,
    not_before: UnixMs,
) -> Applied<Settled> {
    failed(writer, claim, attempt, Some(not_before))
}

/// Remembers the last failed attempt of a head that is not to be given up: it waits until someone acts.
pub(super) fn hold(writer: &mut Writer, claim: Claim, attempt: &Attempt) -> Applied<Settled> {
    failed(writer, claim, attempt, None)
}

fn failed(
    writer: &mut Writer,
    claim: Claim,
    attempt: &Attempt,
    not_before: Option<UnixMs>,
) -> Applied<Settled> {
    if claimed(writer, claim)?.is_none() {
        return Ok(Ok(Settled::Stale));
    }
    put_attempt(writer.store.queue_for_writing(claim.org)?, InQueue::Attempt as u8, claim, attempt)?;
    let (sequence, attempts) = (claim.sequence, attempt.number);
    let held = not_before.is_none();
    writer.queue_mut(claim.org)?.head = Some(Head { sequence, attempts, not_before, held });
    writer.state_changed(claim.org);
    Ok(Ok(Settled::Applied))
}

fn put_attempt(tree: &SealedTree, kind: u8, claim: Claim, attempt: &Attempt) -> Result<(), Trouble> {
    tree.put(&key::of_part(kind, claim.org, claim.sequence, attempt.number), &AttemptRecord::from(attempt))
}

/// Why and when a head is given up.
pub(super) struct Death {
    pub(super) reason: DeadReason,
    pub(super) note: Option<String>,
    pub(super) at: UnixMs,
}

/// Moves the head to the dead letters: inserted there first, then removed here.
pub(super) fn bury(
    writer: &mut Writer,
    claim: Claim,
    last: Option<&Attempt>,
    death: Death,
) -> Applied<Settled> {
    let Some(head) = claimed(writer, claim)? else { return Ok(Ok(Settled::Stale)) };
    let store = writer.store.clone();
    let tree = store.queue_for_writing(claim.org)?;
    let Some((part, row)) = delivery_of(tree, claim)? else { return Ok(Ok(Settled::Stale)) };
    let mut record = match row.read::<DeliveryRecord>() {
        Ok(record) => record,
        Err(why) => return quarantine_head(writer, claim, &why.to_string(), death.at),
    };
    let Some(org) = writer.org_name(claim.org) else { return Ok(Ok(Settled::Stale)) };
    let (body, size) = (record.body.clone(), record.size);
    if matches!(body, Body::Chunks { .. }) {
        let payload = match store.payload(claim.org, part, &mut record)? {
            Ok(payload) => payload,
            Err(why) => return quarantine_head(writer, claim, &why.to_string(), death.at),
        };
        let parts = store.dead.put_chunks(&payload, |part| {
            key::of_part(InDead::Chunk as u8, claim.org, claim.sequence, part)
        })?;
        record.body = Body::Chunks { at: claim.sequence.0, last: claim.sequence.0, parts };
    }
    for number in 1..=head.attempts {
        let place = key::of_part(InQueue::Attempt as u8, claim.org, claim.sequence, number);
        if let Some(Ok(attempt)) = tree.row(&place)?.map(|row| row.read::<AttemptRecord>()) {
            store
                .dead
                .put(&key::of_part(InDead::Attempt as u8, claim.org, claim.sequence, number), &attempt)?;
        }
    }
    if let Some(attempt) = last {
        put_attempt(&store.dead, InDead::Attempt as u8, claim, attempt)?;
    }
    if death.reason == DeadReason::Skipped {
        let (event_id, webhook, reason) = (&record.event_id, &record.webhook, death.reason.code());
        tracing::warn!(
            org = org.as_str(),
            event_id,
            sequence = claim.sequence.0,
            webhook,
            reason,
            "dead letter"
        );
    }
    let letter = DeadRecord {
        org: org.as_str().to_owned(),
        delivery: record,
        reason: death.reason.code().to_owned(),
        note: death.note,
        died_at_ms: death.at.0,
        attempts_made: last.map_or(head.attempts, |attempt| attempt.number),
    };
    let id = DeadLetterId { org: claim.org, sequence: claim.sequence };
    store.dead.put(&key::of_sequence(InDead::Letter as u8, claim.org, claim.sequence), &letter)?;
    store.dead.mark(&key::by_time(death.at, id))?;
    writer.remove_head(claim.org, claim.sequence, size, Some(&body))?;
    writer.queue_mut(claim.org)?.dead_letters += 1;
    writer.count(claim.org, Left::Dead);
    writer.tell(|_| told_dead(&letter, claim.sequence, last, death.reason));
    Ok(Ok(Settled::Applied))
}

/// What is told of a delivery that was given up.
fn told_dead(
    letter: &DeadRecord,
    sequence: Sequence,
    last: Option<&Attempt>,
    reason: DeadReason,
) -> Option<Fact> {
    let DeadRecord { delivery, .. } = letter;
    let fact = Fact::new(Happened::Dead, UnixMs(letter.died_at_ms), letter.org.parse().ok()?);
    let fact = last.map_or(fact.clone(), |attempt| fact.after(attempt));
    Some(Fact {
        attempt: (letter.attempts_made > 0).then_some(letter.attempts_made),
        reason: Some(reason),
        ..of_record(fact, sequence, delivery)
    })
}

/// A fact of this delivery.
fn of_record(fact: Fact, sequence: Sequence, record: &DeliveryRecord) -> Fact {
    Fact {
        sequence: Some(sequence.0),
        id: record.event_id.parse().ok(),
        event_type: record.event_type.parse().ok(),
        webhook: record.webhook.parse().ok(),
        ..fact
    }
}

/// A fact of an org, and of one of its deliveries if there is one.
fn told_of(
    writer: &Writer,
    happened: Happened,
    org: OrgNumber,
    sequence: Option<Sequence>,
    at: UnixMs,
) -> Option<Fact> {
    let fact = Fact::new(happened, at, writer.org_name(org)?);
    Some(Fact { sequence: sequence.map(|sequence| sequence.0), ..fact })
}

/// Sets the head's unreadable record aside and goes on with the next delivery.
pub(super) fn quarantine_head(writer: &mut Writer, claim: Claim, why: &str, at: UnixMs) -> Applied<Settled> {
    if claimed(writer, claim)?.is_none() {
        return Ok(Ok(Settled::Stale));
    }
    let store = writer.store.clone();
    let tree = store.queue_for_writing(claim.org)?;
    if let Some((_, row)) = delivery_of(tree, claim)? {
        tracing::error!(
            org = writer.org_name(claim.org).map(String::from),
            sequence = claim.sequence.0,
            why,
            "set an unreadable delivery aside"
        );
        writer.quarantine(&row, tree.name(), why, at)?;
    }
    // Its size is unknown; the count of waiting bytes is right again when the queue has drained.
    writer.remove_head(claim.org, claim.sequence, 0, None)?;
    writer.tell(|writer| told_of(writer, Happened::Quarantined, claim.org, Some(claim.sequence), at));
    Ok(Ok(Settled::Applied))
}

/// The org's number and head.
fn head_of(writer: &Writer, org: &OrgId) -> Result<(OrgNumber, Head), Refused> {
    let number = writer.number_of(org).ok_or(Refused::UnknownOrg)?;
    let head = writer.queues.get(&number).and_then(|queue| queue.head).ok_or(Refused::QueueEmpty)?;
    Ok((number, head))
}

/// An operator gives up the head.
pub(super) fn skip(
    writer: &mut Writer,
    org: &OrgId,
    expected: Option<Sequence>,
    note: Option<String>,
    at: UnixMs,
) -> Applied<DeadLetterId> {
    let (number, head) = match (head_of(writer, org), expected) {
        (Ok((_, head)), Some(expected)) if head.sequence != expected => {
            return Ok(Err(Refused::HeadMoved(expected)));
        }
        (Err(Refused::QueueEmpty), Some(expected)) => return Ok(Err(Refused::HeadMoved(expected))),
        (Ok(found), _) => found,
        (Err(refused), _) => return Ok(Err(refused)),
    };
    let claim = Claim { org: number, sequence: head.sequence };
    let death = Death { reason: DeadReason::Skipped, note, at };
    Ok(bury(writer, claim, None, death)?.map(|_| DeadLetterId { org: number, sequence: head.sequence }))
}

/// The head's wait ends now, or its being held; its attempts stay counted.
pub(super) fn retry_now(writer: &mut Writer, org: &OrgId) -> Applied<Sequence> {
    let (number, head) = match head_of(writer, org) {
        Ok(found) => found,
        Err(refused) => return Ok(Err(refused)),
    };
    writer.queue_mut(number)?.head = Some(Head { not_before: None, held: false, ..head });
    writer.state_changed(number);
    writer.tell(|writer| told_of(writer, Happened::RetryNow, number, Some(head.sequence), clock::now()));
    Ok(Ok(head.sequence))
}

/// The settings of this webhook have changed: if the head is held for it, it gets another chance.
pub(super) fn release_held(writer: &mut Writer, org: OrgNumber, webhook: &WebhookId) -> Result<(), Trouble> {
    let Some(head) = writer.queues.get(&org).and_then(|queue| queue.head).filter(|head| head.held) else {
        return Ok(());
    };
    let row = front::find(writer.store.queue_for_writing(org)?, org, head.sequence)?;
    let its_own = row.is_some_and(|(_, row)| {
        // One that cannot be read is dealt with when it is tried.
        row.read::<DeliveryRecord>().map_or(true, |record| record.webhook == webhook.as_str())
    });
    if its_own {
        writer.queue_mut(org)?.head = Some(Head { not_before: None, held: false, ..head });
        writer.state_changed(org);
    }
    Ok(())
}

/// Sets or ends a pause. Pausing again without a reason leaves the one that was given as it is.
pub(super) fn set_pause(writer: &mut Writer, org: &OrgId, pause: Option<Pause>) -> Applied<()> {
    let Some(number) = writer.number_of(org) else { return Ok(Err(Refused::UnknownOrg)) };
    if pause.is_none() && !writer.queues.contains_key(&number) {
        return Ok(Ok(()));
    }
    let queue = writer.queue_mut(number)?;
    if queue.paused.is_some() && pause.as_ref().is_some_and(|pause| pause.reason.is_none()) {
        return Ok(Ok(()));
    }
    let happened = match (&queue.paused, &pause) {
        (None, Some(_)) => Some(Happened::Paused),
        (Some(_), None) => Some(Happened::Resumed),
        _ => None,
    };
    queue.paused = pause;
    writer.state_changed(number);
    if let Some(happened) = happened {
        writer.tell(|writer| told_of(writer, happened, number, None, clock::now()));
    }
    Ok(Ok(()))
}

/// Appends a dead letter to its org's queue, fresh. The state record names it, so that a crash before its removal does
/// not make it come twice, and nothing of it counts before that. `None` if it, or its org, is gone.
pub(super) fn revive(writer: &mut Writer, id: DeadLetterId) -> Applied<Option<u64>> {
    let store = writer.store.clone();
    let place = key::of_sequence(InDead::Letter as u8, id.org, id.sequence);
    let Some(mut letter) = store.dead.row(&place)?.and_then(|row| row.read::<DeadRecord>().ok()) else {
        return Ok(Ok(None));
    };
    let Some(org) = writer.org_name(id.org).and_then(|name| writer.org(&name)) else { return Ok(Ok(None)) };
    let size = letter.delivery.size;
    let (first, bytes_before) = match super::append::room(writer, &org, 1, size, size)? {
        Ok(place) => place,
        Err(refused) => return Ok(Err(refused)),
    };
    let Ok(payload) = super::read::dead_payload(&store, id, &mut letter.delivery)? else {
        return Ok(Ok(None));
    };
    let record = DeliveryRecord { bytes_before, alone: false, seen: None, ..letter.delivery };
    let webhook = record.webhook.clone();
    writer.tell(|writer| {
        let fact = Fact::new(Happened::Revived, clock::now(), writer.org_name(id.org)?);
        Some(of_record(fact, first, &record))
    });
    super::append::put_deliveries(writer, id.org, first, record, &[webhook], &payload)?;
    writer.queue_mut(id.org)?.last_revived = Some(id.sequence);
    writer.write_state(id.org)?;
    Ok(Ok(remove_letter(writer, id)?.then_some(size)))
}

/// Removes a dead letter: its place in time, itself, then what belonged to it. `false` if there is none.
pub(super) fn remove_letter(writer: &mut Writer, id: DeadLetterId) -> Result<bool, Trouble> {
    let removed = remove_letter_rows(&writer.store, id)?;
    if removed {
        let queue = writer.queue_mut(id.org)?;
        queue.dead_letters = queue.dead_letters.saturating_sub(1);
    }
    Ok(removed)
}

/// The rows of a dead letter, in the order that leaves no reference to what is gone.
pub(super) fn remove_letter_rows(store: &super::store::Store, id: DeadLetterId) -> Result<bool, Trouble> {
    let place = key::of_sequence(InDead::Letter as u8, id.org, id.sequence);
    let Some(row) = store.dead.row(&place)? else { return Ok(false) };
    if let Ok(letter) = row.read::<DeadRecord>() {
        store.dead.remove(&key::by_time(UnixMs(letter.died_at_ms), id))?;
    }
    store.dead.remove(&place)?;
    for kind in [InDead::Chunk, InDead::Attempt] {
        for part in store.dead.keys(&key::of_sequence(kind as u8, id.org, id.sequence)) {
            store.dead.remove(&part?)?;
        }
    }
    Ok(true)
}
