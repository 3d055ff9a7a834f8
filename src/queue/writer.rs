//! What the committer applies changes with: the store, every org's queue, and what is to be published after the commit.
//!
//! Every prefix of the writes made here is a valid state, since sled recovers a prefix of its log: what is referred to
//! is written before what refers to it, and a reference is removed before what it refers to. Orgs whose state changed
//! get their state record last, in [`Writer::commit`]: its next sequence is the commit point of their appends, but for
//! those that are one record.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::directory::{Directory, Org};
use super::figures::{Figures, Tally};
use super::front;
use super::heads::Heads;
use super::history::HistoryWriter;
use super::key::{self, InQueue, Part};
use super::ledger::{Load, OrgQueue, Published};
use super::named::Left;
use super::read::{self, Loaded};
use super::record::{Body, QuarantineRecord};
use super::store::{Row, Store, Trouble};
use super::upkeep::Upkeep;
use super::{Claim, Notice, QueueLimits, Refused, StoreHealth};
use crate::model::{Delivery, OrgId, OrgNumber, Sequence, UnixMs};
use crate::tail::{Fact, Hub};

/// How old a reading of the disk's free space may be while events are appended.
const SPACE_AGE_MAX: Duration = Duration::from_millis(250);
/// How many payload bytes may be appended on one reading.
const SPACE_BYTES_MAX: u64 = 4 << 20;

/// A change's result: the outer error is our own trouble, the inner one a refusal.
pub(super) type Applied<T> = Result<Result<T, Refused>, Trouble>;

/// Default limits of a queue.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_deliveries: u64,
    pub(super) max_bytes: u64,
    /// Of all queues together.
    pub(super) max_total: QueueLimits,
    pub(super) reserve_bytes: u64,
}

/// See the module's documentation. Lives on the committer's thread.
pub(super) struct Writer {
    pub(super) store: Arc<Store>,
    pub(super) limits: Limits,
    pub(super) queues: HashMap<OrgNumber, OrgQueue>,
    /// What waits in all of them.
    pub(super) total: Load,
    pub(super) next_org: u32,
    pub(super) upkeep: Upkeep,
    pub(super) history: HistoryWriter,
    /// The number of the last commit.
    last_commit: u64,
    directory: Arc<Directory>,
    published: Arc<Published>,
    heads: Arc<Heads>,
    notices: mpsc::UnboundedSender<Notice>,
    /// Orgs changed by this batch, as they will be once it is durable; `None` if deleted.
    changed_orgs: HashMap<OrgId, Option<Org>>,
    /// Queues to publish after this batch.
    touched: HashSet<OrgNumber>,
    /// Queues whose state record this batch must write.
    state_changed: HashSet<OrgNumber>,
    space: Space,
    quarantines: u32,
    /// What this batch does.
    pub(super) tally: Tally,
    pub(super) figures: Arc<Figures>,
    hub: Arc<Hub>,
    /// What this batch does, for those who listen; told once it is durable.
    facts: Vec<Fact>,
}

struct Space {
    full: bool,
    read_at: Option<Instant>,
    appended_bytes: u64,
}

/// What [`Writer::new`] takes over from recovery.
pub(super) struct Recovered {
    pub(super) store: Arc<Store>,
    pub(super) queues: HashMap<OrgNumber, OrgQueue>,
    pub(super) next_org: u32,
    pub(super) last_commit: u64,
    pub(super) upkeep: Upkeep,
}

/// What readers see of the store in memory.
#[derive(Clone, Default)]
pub(super) struct Shown {
    pub(super) directory: Arc<Directory>,
    pub(super) published: Arc<Published>,
    pub(super) heads: Arc<Heads>,
    pub(super) figures: Arc<Figures>,
    pub(super) hub: Arc<Hub>,
}

impl Writer {
    pub(super) fn new(
        recovered: Recovered,
        limits: Limits,
        shown: Shown,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Writer {
        let touched = recovered.queues.keys().copied().collect();
        let total = |total: Load, queue: &OrgQueue| total.replaced(Load::default(), queue.load());
        let total = recovered.queues.values().fold(Load::default(), total);
        Writer {
            history: HistoryWriter::new(recovered.store.history.clone()),
            store: recovered.store,
            limits,
            queues: recovered.queues,
            total,
            next_org: recovered.next_org,
            upkeep: recovered.upkeep,
            last_commit: recovered.last_commit,
            directory: shown.directory,
            published: shown.published,
            heads: shown.heads,
            notices,
            changed_orgs: HashMap::new(),
            touched,
            state_changed: HashSet::new(),
            space: Space { full: false, read_at: None, appended_bytes: 0 },
            quarantines: 0,
            tally: Tally::default(),
            figures: shown.figures,
            hub: shown.hub,
            facts: Vec::new(),
        }
    }

    /// The org as this batch leaves it.
    pub(super) fn org(&self, id: &OrgId) -> Option<Org> {
        match self.changed_orgs.get(id) {
            Some(changed) => changed.clone(),
            None => self.directory.org(id).map(|org| Org::clone(&org)),
        }
    }

    /// The number of this org, if it is still there; cheaper than [`Writer::org`].
    pub(super) fn number_of(&self, id: &OrgId) -> Option<OrgNumber> {
        match self.changed_orgs.get(id) {
            Some(changed) => changed.as_ref().map(|org| org.number),
            None => self.directory.org(id).map(|org| org.number),
        }
    }

    /// The name of the org with this number, if it is still there.
    pub(super) fn org_name(&self, number: OrgNumber) -> Option<OrgId> {
        let changed = self.changed_orgs.iter().find_map(|(id, org)| match org {
            Some(org) if org.number == number => Some(id.clone()),
            _ => None,
        });
        changed.or_else(|| {
            let id = self.directory.by_number(number)?.id.clone();
            (!matches!(self.changed_orgs.get(&id), Some(None))).then_some(id)
        })
    }

    /// Puts the org in force once the batch is durable.
    pub(super) fn set_org(&mut self, org: Org) {
        self.changed_orgs.insert(org.id.clone(), Some(org));
    }

    /// Takes the org out of force once the batch is durable.
    pub(super) fn unset_org(&mut self, id: &OrgId) {
        self.changed_orgs.insert(id.clone(), None);
    }

    /// The org's queue, to be changed. Made with its state record when it is the org's first: an append that is cut off
    /// is then found and swept at open.
    pub(super) fn queue_mut(&mut self, org: OrgNumber) -> Result<&mut OrgQueue, Trouble> {
        self.touched.insert(org);
        match self.queues.entry(org) {
            std::collections::hash_map::Entry::Occupied(entry) => Ok(entry.into_mut()),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let queue = OrgQueue::empty();
                let tree = self.store.queue_for_writing(org)?;
                tree.put(&key::of_org(InQueue::State as u8, org), &queue.record())?;
                Ok(entry.insert(queue))
            }
        }
    }

    /// Changes what waits in the org's queue, and the total with it.
    pub(super) fn change_load<T>(
        &mut self,
        org: OrgNumber,
        change: impl FnOnce(&mut OrgQueue) -> T,
    ) -> Result<T, Trouble> {
        let queue = self.queue_mut(org)?;
        let before = queue.load();
        let changed = change(queue);
        let after = queue.load();
        self.total = self.total.replaced(before, after);
        Ok(changed)
    }

    /// Has the org's state record written at the end of this batch.
    pub(super) fn state_changed(&mut self, org: OrgNumber) {
        self.state_changed.insert(org);
    }

    /// Writes the org's state record now.
    pub(super) fn write_state(&mut self, org: OrgNumber) -> Result<(), Trouble> {
        self.state_changed.remove(&org);
        let Some(queue) = self.queues.get_mut(&org) else { return Ok(()) };
        queue.next_stored = queue.next;
        self.store.queue_for_writing(org)?.put(&key::of_org(InQueue::State as u8, org), &queue.record())
    }

    /// Whether enqueues must be refused to keep the reserve for deliveries.
    pub(super) fn disk_is_full(&mut self, bytes: u64) -> bool {
        self.space.appended_bytes += bytes;
        let now = Instant::now();
        let fresh = self.space.read_at.is_some_and(|at| now.duration_since(at) < SPACE_AGE_MAX);
        if !fresh || self.space.appended_bytes > SPACE_BYTES_MAX {
            self.space.read_at = Some(now);
            self.space.appended_bytes = 0;
            // A disk that does not tell is not refused for it: a write that fails is noticed all the same.
            self.space.full =
                self.store.place.free_bytes().is_ok_and(|free| free < self.limits.reserve_bytes);
        }
        self.space.full
    }

    /// Removes the delivery at the head, then what belonged to it, and makes the next one head. The same for one that was the
    /// head until another was put before it.
    pub(super) fn remove_head(
        &mut self,
        org: OrgNumber,
        sequence: Sequence,
        size: u64,
        body: Option<&Body>,
    ) -> Result<(), Trouble> {
        let queue = self.queue_mut(org)?;
        let attempts = queue.head.filter(|head| head.sequence == sequence).map_or(0, |head| head.attempts);
        let part = if queue.is_before(sequence) { Part::Front } else { Part::Main };
        let unstored = sequence >= queue.next_stored;
        let before = queue.front > 0;
        let before = if before { front::first(&self.store, org, Some(sequence))? } else { None };
        self.change_load(org, |queue| queue.leave(sequence, size, before))?;
        if unstored {
            self.write_state(org)?;
        }
        let tree = self.store.queue_for_writing(org)?;
        tree.remove(&key::of_sequence(part.delivery(), org, sequence))?;
        for number in 1..=attempts {
            tree.remove(&key::of_part(InQueue::Attempt as u8, org, sequence, number))?;
        }
        if let Some(Body::Chunks { at, last, parts }) = body
            && *last == sequence.0
        {
            let chunk = part.chunk();
            for number in 0..*parts {
                tree.remove(&key::of_part(chunk, org, Sequence(*at), number))?;
            }
        }
        Ok(())
    }

    /// Sets an unreadable record aside, as it is.
    pub(super) fn quarantine(
        &mut self,
        row: &Row<'_>,
        tree: Vec<u8>,
        why: &str,
        at: UnixMs,
    ) -> Result<(), Trouble> {
        self.quarantines += 1;
        set_aside(&self.store, row, tree, why, at, self.quarantines)
    }

    /// Counts a delivery that leaves its queue.
    pub(super) fn count(&mut self, org: OrgNumber, left: Left) {
        match left {
            Left::Delivered => self.tally.delivered += 1,
            Left::Dead => self.tally.dead += 1,
        }
        if self.figures.orgs.any() {
            let org = self.org_name(org);
            self.tally.of_orgs.extend(org.map(|org| (org, left)));
        }
    }

    /// Has those who listen told of what this batch does, once it is durable. Without an org there is nobody to tell of.
    pub(super) fn tell(&mut self, fact: impl FnOnce(&Writer) -> Option<Fact>) {
        if self.hub.is_heard() {
            let fact = fact(self);
            self.facts.extend(fact);
        }
    }

    /// Makes the batch durable.
    pub(super) fn commit(&mut self) -> Result<(), Trouble> {
        let orgs: Vec<_> = self.state_changed.drain().collect();
        for org in orgs {
            self.write_state(org)?;
        }
        self.history.write();
        self.last_commit += 1;
        let began = Instant::now();
        self.store.commit(self.last_commit)?;
        self.figures.commit.note_time(began.elapsed());
        self.figures.add(&std::mem::take(&mut self.tally));
        Ok(())
    }

    /// Shows the committed batch to readers and the scheduler, before anybody is answered.
    pub(super) fn publish(&mut self, health: &watch::Sender<StoreHealth>) {
        for fact in self.facts.drain(..) {
            self.hub.tell(|| fact);
        }
        for (id, org) in self.changed_orgs.drain() {
            match org {
                Some(org) => self.directory.put(org),
                None => self.directory.remove(&id),
            }
        }
        let queues = &mut self.queues;
        self.published.put(self.touched.iter().map(|org| (*org, queues.get(org).cloned())));
        for org in self.touched.drain() {
            let news = match queues.get_mut(&org) {
                Some(queue) => queue.news(org),
                None => Some(Notice { org, head: None, paused: false }),
            };
            if let Some(news) = news {
                self.heads.put(org, read_ahead(&self.store, news));
                // Nobody listens in an offline store.
                self.notices.send(news).ok();
            }
        }
        let now = if self.space.full { StoreHealth::DiskFull } else { StoreHealth::Accepting };
        health.send_if_modified(|was| std::mem::replace(was, now.clone()) != now);
    }

    /// Drops a deleted org's queue from memory; its rows go in upkeep.
    pub(super) fn forget_queue(&mut self, org: OrgNumber) {
        if let Some(queue) = self.queues.remove(&org) {
            self.total = self.total.replaced(queue.load(), Load::default());
        }
        self.state_changed.remove(&org);
        self.touched.insert(org);
    }
}

/// The new head of a queue that is about to be announced. An unreadable one is met again, and dealt with, by the attempt.
fn read_ahead(store: &Store, news: Notice) -> Option<Delivery> {
    let head = news.head.filter(|head| head.attempts == 0 && !news.paused)?;
    match read::load_inline(store, Claim { org: news.org, sequence: head.sequence }) {
        Ok(Loaded::Delivery(delivery)) => Some(delivery),
        _ => None,
    }
}

/// Writes an unreadable record to the quarantine. Its place and time make its key.
pub(super) fn set_aside(
    store: &Store,
    row: &Row<'_>,
    tree: Vec<u8>,
    why: &str,
    at: UnixMs,
    counter: u32,
) -> Result<(), Trouble> {
    let record =
        QuarantineRecord { tree, key: row.key.to_vec(), value: row.sealed.to_vec(), why: why.to_owned() };
    let at = u64::try_from(at.0).unwrap_or(0);
    let mut place = at.to_be_bytes().to_vec();
    place.extend_from_slice(&counter.to_be_bytes());
    store.quarantine.put(&place, &record)
}
