//! What happens at open: orgs are read, every queue's state is put together, and what a crash cut off is finished or
//! swept, so that the rest of the code only ever sees whole states. One unreadable record never stops it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;

use super::append::{content_hash, seen_record};
use super::directory::{Directory, Org};
use super::key::{self, InDead, InOrgs, InQueue, KeyHash};
use super::ledger::OrgQueue;
use super::record::{
    Body, ClientRecord, DeadRecord, DeliveryRecord, HeadRecord, OrgRecord, RequestRecord, RequestsRecord,
    SeenRecord, SourceRecord, StateRecord, WebhookRecord,
};
use super::seal::Unreadable;
use super::settle::remove_letter_rows;
use super::store::{Row, SealedTree, Store, Trouble};
use super::upkeep::Upkeep;
use super::writer::{Recovered, set_aside};
use super::{Clients, Sources, Webhooks};
use crate::clock;
use crate::model::{DeadLetterId, Head, OrgNumber, Sequence, UnixMs};

/// Puts the store's state together and makes the repairs durable.
pub(super) fn recover(store: Arc<Store>, directory: &Directory) -> Result<Recovered, Trouble> {
    let last_commit = store.last_commit()?;
    let mut recovery =
        Recovery { store: &store, known: HashSet::new(), upkeep: Upkeep::default(), set_aside: 0 };
    recovery.note_deleted()?;
    recovery.load_orgs(directory)?;
    let mut queues = HashMap::new();
    for tree in store.queues() {
        recovery.load_queues(tree, &mut queues)?;
    }
    recovery.count_dead_letters(&mut queues)?;
    let Recovery { upkeep, set_aside, .. } = recovery;
    let next_org = store.meta.get::<u32>(key::NEXT_ORG)?.unwrap_or(1);
    store.flush()?;
    if set_aside > 0 {
        tracing::error!(records = set_aside, "unreadable records were set aside in the quarantine");
    }
    Ok(Recovered { store, queues, next_org, last_commit, upkeep })
}

pub(super) struct Recovery<'a> {
    pub(super) store: &'a Store,
    /// Numbers of orgs that are there.
    known: HashSet<OrgNumber>,
    upkeep: Upkeep,
    set_aside: u32,
}

impl Recovery<'_> {
    fn note_deleted(&mut self) -> Result<(), Trouble> {
        for row in self.store.meta.keys(key::DELETED) {
            if let Some(org) = key::deleted_org_in(&row?) {
                self.upkeep.delete(org);
            }
        }
        Ok(())
    }

    /// Moves an unreadable record to the quarantine.
    pub(super) fn quarantine(
        &mut self,
        tree: &SealedTree,
        row: &Row<'_>,
        why: Unreadable,
    ) -> Result<(), Trouble> {
        self.set_aside += 1;
        set_aside(self.store, row, tree.name(), &why.to_string(), clock::now(), self.set_aside)?;
        tree.remove(&row.key)
    }

    fn load_orgs(&mut self, directory: &Directory) -> Result<(), Trouble> {
        let orgs = &self.store.orgs;
        let mut found: BTreeMap<OrgNumber, Org> = BTreeMap::new();
        for row in orgs.rows_with(&[InOrgs::Org as u8]) {
            let row = row?;
            let parts = row.read::<OrgRecord>().and_then(OrgRecord::into_parts);
            match (key::org_in(&row.key), parts) {
                (Some(number), Ok((id, settings))) => {
                    let (clients, webhooks) = (Clients::default(), Webhooks::default());
                    let sources = Sources::default();
                    found.insert(number, Org { number, id, settings, clients, webhooks, sources });
                }
                (_, Err(why)) => self.quarantine(orgs, &row, why)?,
                (None, Ok(_)) => self.quarantine(orgs, &row, Unreadable::Garbled)?,
            }
        }
        self.load_of_orgs(&mut found, InOrgs::Client, |row, org| {
            let client = row.read::<ClientRecord>()?.into_client()?;
            org.clients.insert(client);
            Ok(())
        })?;
        self.load_of_orgs(&mut found, InOrgs::Webhook, |row, org| {
            let webhook = row.read::<WebhookRecord>()?.into_webhook()?;
            org.webhooks.insert(webhook);
            Ok(())
        })?;
        self.load_of_orgs(&mut found, InOrgs::Source, |row, org| {
            let source = row.read::<SourceRecord>()?.into_source()?;
            org.sources.insert(source);
            Ok(())
        })?;
        self.known = found.keys().copied().collect();
        for org in found.into_values() {
            directory.put(org);
        }
        Ok(())
    }

    /// Reads what belongs to orgs, one row each.
    fn load_of_orgs(
        &mut self,
        found: &mut BTreeMap<OrgNumber, Org>,
        kind: InOrgs,
        read: impl Fn(&Row<'_>, &mut Org) -> Result<(), Unreadable>,
    ) -> Result<(), Trouble> {
        let orgs = &self.store.orgs;
        for row in orgs.rows_with(&[kind as u8]) {
            let row = row?;
            match key::org_in(&row.key).and_then(|number| found.get_mut(&number)) {
                Some(org) => {
                    if let Err(why) = read(&row, org) {
                        self.quarantine(orgs, &row, why)?;
                    }
                }
                // Its org was deleted; the crash came before its own removal.
                None => orgs.remove(&row.key)?,
            }
        }
        Ok(())
    }

    fn load_queues(
        &mut self,
        tree: &SealedTree,
        queues: &mut HashMap<OrgNumber, OrgQueue>,
    ) -> Result<(), Trouble> {
        for row in tree.rows_with(&[InQueue::State as u8]) {
            let row = row?;
            let Some(org) = key::org_in(&row.key).filter(|org| self.known.contains(org)) else { continue };
            let record = match row.read::<StateRecord>() {
                Ok(record) => record,
                Err(why) => {
                    self.quarantine(tree, &row, why)?;
                    rebuild_state(self.store, tree, org)?
                }
            };
            queues.insert(org, self.load_queue(tree, org, record)?);
        }
        Ok(())
    }

    fn load_queue(
        &mut self,
        tree: &SealedTree,
        org: OrgNumber,
        record: StateRecord,
    ) -> Result<OrgQueue, Trouble> {
        let head = record.head;
        let mut queue = OrgQueue::from_record(record);
        if let Some(row) = tree.row(&key::of_org(InQueue::Requests as u8, org))? {
            match row.read::<RequestsRecord>() {
                Ok(RequestsRecord { day, bytes }) => queue.requests = (day, bytes),
                Err(why) => self.quarantine(tree, &row, why)?,
            }
        }
        self.adopt_alone(tree, org, &mut queue)?;
        sweep_uncommitted(tree, org, queue.next)?;
        if let Some(sequence) = queue.last_revived {
            remove_letter_rows(self.store, DeadLetterId { org, sequence })?;
        }
        let delivery = self.find_head(tree, org, queue.next)?;
        queue.first = delivery.as_ref().map_or(queue.next, |(sequence, _)| *sequence);
        let mut chunks_from = queue.first;
        if let Some((_, record)) = &delivery {
            queue.bytes = queue.bytes_total.saturating_sub(record.bytes_before);
            if let Body::Chunks { at, .. } = record.body {
                chunks_from = Sequence(at);
            }
        }
        let before = self.load_front(tree, org, &mut queue)?;
        let first = delivery.map(|(sequence, _)| sequence);
        queue.head = before.first().copied().or(first).map(Head::fresh);
        if let Some(then) = head {
            let sequence = Sequence(then.sequence);
            if first == Some(sequence) || before.binary_search(&sequence).is_ok() {
                queue.head = Some(resume(Head::fresh(sequence), then));
            }
        }
        remove_before(tree, InQueue::Chunk, org, chunks_from)?;
        remove_attempts(tree, org, queue.head)?;
        Ok(queue)
    }

    /// Takes in the deliveries at and beyond the stored next sequence that are whole by themselves, up to the first
    /// that is not. An unreadable one may have been acknowledged: its place is kept, and it is set aside as the head.
    fn adopt_alone(
        &mut self,
        tree: &SealedTree,
        org: OrgNumber,
        queue: &mut OrgQueue,
    ) -> Result<(), Trouble> {
        let kind = InQueue::Delivery as u8;
        let range = (
            Bound::Included(key::of_sequence(kind, org, queue.next)),
            Bound::Included(key::of_sequence(kind, org, Sequence(u64::MAX))),
        );
        for row in tree.rows::<[u8; 13]>(range) {
            let row = row?;
            if key::sequence_in(&row.key) != Some(queue.next) {
                break;
            }
            match row.read::<DeliveryRecord>() {
                Ok(record) if record.alone => {
                    queue.bytes_total = record.bytes_before + record.size;
                    self.restore_seen(tree, org, queue.next, &record)?;
                }
                Ok(_) => break,
                Err(_) => {}
            }
            queue.next = queue.next.next();
        }
        Ok(())
    }

    /// Writes the seen id of an adopted delivery again if the crash came between the two.
    fn restore_seen(
        &self,
        tree: &SealedTree,
        org: OrgNumber,
        sequence: Sequence,
        record: &DeliveryRecord,
    ) -> Result<(), Trouble> {
        let (Some((day, hash)), Body::Inline(payload)) = (record.seen, &record.body) else { return Ok(()) };
        let place = key::seen(org, day, &hash);
        if tree.contains(&place)? {
            return Ok(());
        }
        let attributes = record.attributes.iter().map(|(name, value)| (name, value));
        let content = content_hash(&self.store.sealer, &record.event_type, payload, attributes);
        tree.put(&place, &seen_record(UnixMs(record.accepted_at_ms), content, Some(sequence), 1))
    }

    /// The first delivery that is really waiting: one that is already a dead letter only lacks its removal, and an
    /// unreadable one is set aside.
    fn find_head(
        &mut self,
        tree: &SealedTree,
        org: OrgNumber,
        next: Sequence,
    ) -> Result<Option<(Sequence, DeliveryRecord)>, Trouble> {
        let kind = InQueue::Delivery as u8;
        let range = key::of_sequence(kind, org, Sequence(0))..key::of_sequence(kind, org, next);
        for row in tree.rows(range) {
            let row = row?;
            let Some(sequence) = key::sequence_in(&row.key) else { continue };
            if self.is_dead(DeadLetterId { org, sequence })? {
                tree.remove(&row.key)?;
                continue;
            }
            match row.read::<DeliveryRecord>() {
                Ok(record) => return Ok(Some((sequence, record))),
                Err(why) => self.quarantine(tree, &row, why)?,
            }
        }
        Ok(None)
    }

    /// Whether there is such a dead letter; it gets its place in time back.
    pub(super) fn is_dead(&self, id: DeadLetterId) -> Result<bool, Trouble> {
        let place = key::of_sequence(InDead::Letter as u8, id.org, id.sequence);
        let Some(row) = self.store.dead.row(&place)? else { return Ok(false) };
        if let Ok(letter) = row.read::<DeadRecord>() {
            self.store.dead.mark(&key::by_time(UnixMs(letter.died_at_ms), id))?;
        }
        Ok(true)
    }

    /// Counts dead letters and what they take, and mends what a crash left of one: a letter without its place in time gets it back, parts
    /// without a letter go.
    fn count_dead_letters(&mut self, queues: &mut HashMap<OrgNumber, OrgQueue>) -> Result<(), Trouble> {
        let dead = &self.store.dead;
        dead.start_counting();
        let mut letters = 0u64;
        for row in dead.rows_with(&[InDead::Letter as u8]) {
            let row = row?;
            dead.note(&row);
            if let Some(org) = key::org_in(&row.key) {
                // Those of a deleted org are on their way out.
                if self.known.contains(&org) {
                    queues.entry(org).or_insert_with(OrgQueue::empty).dead_letters += 1;
                }
                letters += 1;
            }
        }
        let mut places = 0u64;
        for row in dead.keys(&[InDead::ByTime as u8]) {
            let row = row?;
            let Some((_, id)) = key::by_time_in(&row) else { continue };
            if dead.contains(&key::of_sequence(InDead::Letter as u8, id.org, id.sequence))? {
                places += 1;
            } else {
                dead.remove(&row)?;
            }
        }
        if places != letters {
            for row in dead.rows_with(&[InDead::Letter as u8]) {
                let row = row?;
                let (Some(org), Some(sequence)) = (key::org_in(&row.key), key::sequence_in(&row.key)) else {
                    continue;
                };
                match row.read::<DeadRecord>() {
                    Ok(letter) => {
                        dead.mark(&key::by_time(UnixMs(letter.died_at_ms), DeadLetterId { org, sequence }))?;
                    }
                    Err(why) => self.quarantine(dead, &row, why)?,
                }
            }
        }
        remove_orphans(dead, InDead::Chunk)?;
        remove_orphans(dead, InDead::Attempt)
    }
}

/// The head goes on where it was: attempts made and the time of the next.
fn resume(head: Head, then: HeadRecord) -> Head {
    Head { attempts: then.attempts, not_before: then.not_before_ms.map(UnixMs), held: then.held, ..head }
}

/// Removes what an append that was never committed left at or beyond the next sequence. The seen id goes first: it says
/// that the delivery exists.
fn sweep_uncommitted(tree: &SealedTree, org: OrgNumber, next: Sequence) -> Result<(), Trouble> {
    let kind = InQueue::Delivery as u8;
    let range = (
        Bound::Included(key::of_sequence(kind, org, next)),
        Bound::Included(key::of_sequence(kind, org, Sequence(u64::MAX))),
    );
    for row in tree.rows::<[u8; 13]>(range) {
        let row = row?;
        if let Ok(DeliveryRecord { seen: Some((day, hash)), .. }) = row.read::<DeliveryRecord>() {
            remove_seen(tree, org, day, &hash, next)?;
        }
        tree.remove(&row.key)?;
    }
    let kind = InQueue::Chunk as u8;
    let range = (
        Bound::Included(key::of_sequence(kind, org, next).to_vec()),
        Bound::Excluded(key::of_org(kind, OrgNumber(org.0.saturating_add(1))).to_vec()),
    );
    for row in tree.rows::<Vec<u8>>(range) {
        tree.remove(&row?.key)?;
    }
    Ok(())
}

/// Forgets the id, of whatever kind it is, that came with a delivery which was not committed.
fn remove_seen(
    tree: &SealedTree,
    org: OrgNumber,
    day: u32,
    hash: &KeyHash,
    next: Sequence,
) -> Result<(), Trouble> {
    let is_beyond = |first: Option<u64>| first.is_some_and(|first| first >= next.0);
    let place = key::seen(org, day, hash);
    let seen = tree.row(&place)?.and_then(|row| row.read::<SeenRecord>().ok());
    if seen.is_some_and(|seen| is_beyond(seen.first_sequence)) {
        tree.remove(&place)?;
    }
    let place = key::request(org, day, hash);
    let request = tree.row(&place)?.and_then(|row| row.read::<RequestRecord>().ok());
    if request.is_some_and(|request| is_beyond(request.first_sequence)) {
        tree.remove(&place)?;
    }
    Ok(())
}

/// Removes attempts of whatever is not the head.
fn remove_attempts(tree: &SealedTree, org: OrgNumber, head: Option<Head>) -> Result<(), Trouble> {
    let head = head.map(|head| head.sequence);
    for row in tree.keys(&key::of_org(InQueue::Attempt as u8, org)) {
        let row = row?;
        if key::sequence_in(&row) != head {
            tree.remove(&row)?;
        }
    }
    Ok(())
}

/// Removes chunks of deliveries before `from`.
fn remove_before(tree: &SealedTree, kind: InQueue, org: OrgNumber, from: Sequence) -> Result<(), Trouble> {
    let kind = kind as u8;
    let range = key::of_org(kind, org).to_vec()..key::of_sequence(kind, org, from).to_vec();
    for row in tree.rows::<Vec<u8>>(range) {
        tree.remove(&row?.key)?;
    }
    Ok(())
}

/// Counts what parts of dead letters take, and removes those of letters that are not there.
fn remove_orphans(dead: &SealedTree, kind: InDead) -> Result<(), Trouble> {
    let mut last: Option<(DeadLetterId, bool)> = None;
    for row in dead.rows_with(&[kind as u8]) {
        let row = row?;
        dead.note(&row);
        let row = row.key;
        let (Some(org), Some(sequence)) = (key::org_in(&row), key::sequence_in(&row)) else { continue };
        let id = DeadLetterId { org, sequence };
        let present = match last {
            Some((known, present)) if known == id => present,
            _ => dead.contains(&key::of_sequence(InDead::Letter as u8, org, sequence))?,
        };
        last = Some((id, present));
        if !present {
            dead.remove(&row)?;
        }
    }
    Ok(())
}

/// Makes a state for a queue whose own was unreadable: everything that is there counts as committed, since an
/// acknowledged delivery must not be lost for it. Attempts start over.
fn rebuild_state(store: &Store, tree: &SealedTree, org: OrgNumber) -> Result<StateRecord, Trouble> {
    let all = |kind: u8| {
        let place = |sequence| Bound::Included(key::of_sequence(kind, org, sequence));
        (place(Sequence(0)), place(Sequence(u64::MAX)))
    };
    let (mut next, mut bytes_total) = (Sequence::FIRST, 0);
    // What waits before the queue and what is dead have sequences too, which are not given again.
    let front = tree.rows::<[u8; 13]>(all(InQueue::Front as u8)).next_back();
    let dead = store.dead.rows::<[u8; 13]>(all(InDead::Letter as u8)).next_back();
    for row in front.into_iter().chain(dead) {
        next = key::sequence_in(&row?.key).map_or(next, |sequence| next.max(sequence.next()));
    }
    if let Some(row) = tree.rows::<[u8; 13]>(all(InQueue::Delivery as u8)).next_back() {
        let row = row?;
        next = key::sequence_in(&row.key).map_or(next, |sequence| next.max(sequence.next()));
        if let Ok(record) = row.read::<DeliveryRecord>() {
            bytes_total = record.bytes_before + record.size;
        }
    }
    let record =
        StateRecord { next_sequence: next.0, bytes_total, paused: None, head: None, last_revived: None };
    tree.put(&key::of_org(InQueue::State as u8, org), &record)?;
    Ok(record)
}
