//! What the committer knows of every org's queue, in memory: numbers only, whatever the backlog.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::record::{HeadRecord, PauseRecord, StateRecord};
use super::{Notice, Pause, QueueSummary};
use crate::model::{Head, OrgNumber, Sequence, UnixMs};

/// An org's queue. Deliveries have consecutive sequences and leave from the head only, so the depth is a difference, and a
/// count of those before the queue (see `front.rs`).
#[derive(Debug, Clone)]
pub(super) struct OrgQueue {
    /// The first delivery of the queue itself, or `next`; what is below it and still there is before the queue.
    pub(super) first: Sequence,
    /// Deliveries before the queue.
    pub(super) front: u64,
    /// The sequence of the next delivery to be appended.
    pub(super) next: Sequence,
    /// The next sequence in the state record as it was written last: no delivery at or beyond it may leave before that
    /// is raised, or its sequence could be given again after a crash.
    pub(super) next_stored: Sequence,
    /// Payload bytes ever accepted, for `bytes_before` of the next delivery.
    pub(super) bytes_total: u64,
    /// Payload bytes waiting.
    pub(super) bytes: u64,
    pub(super) head: Option<Head>,
    pub(super) paused: Option<Pause>,
    pub(super) last_revived: Option<Sequence>,
    pub(super) dead_letters: u64,
    /// A day, and what the requests of sources that are remembered of it take, in bytes.
    pub(super) requests: (u32, u64),
    /// What the scheduler was told last.
    announced: Option<Notice>,
}

impl OrgQueue {
    pub(super) fn empty() -> OrgQueue {
        OrgQueue {
            first: Sequence::FIRST,
            front: 0,
            next: Sequence::FIRST,
            next_stored: Sequence::FIRST,
            bytes_total: 0,
            bytes: 0,
            head: None,
            paused: None,
            last_revived: None,
            dead_letters: 0,
            requests: (0, 0),
            announced: None,
        }
    }

    pub(super) fn from_record(record: StateRecord) -> OrgQueue {
        OrgQueue {
            first: Sequence(record.next_sequence),
            next: Sequence(record.next_sequence),
            next_stored: Sequence(record.next_sequence),
            bytes_total: record.bytes_total,
            paused: record.paused.map(|pause| Pause { reason: pause.reason, at: UnixMs(pause.at_ms) }),
            last_revived: record.last_revived.map(Sequence),
            ..OrgQueue::empty()
        }
    }

    pub(super) fn record(&self) -> StateRecord {
        StateRecord {
            next_sequence: self.next.0,
            bytes_total: self.bytes_total,
            paused: self.paused.as_ref().map(|p| PauseRecord { reason: p.reason.clone(), at_ms: p.at.0 }),
            head: self.head.filter(|head| head.attempts > 0).map(|head| HeadRecord {
                sequence: head.sequence.0,
                attempts: head.attempts,
                not_before_ms: head.not_before.map(|at| at.0),
                held: head.held,
            }),
            last_revived: self.last_revived.map(|sequence| sequence.0),
        }
    }

    pub(super) fn depth(&self) -> u64 {
        self.front + (self.next.0 - self.first.0)
    }

    /// Deliveries and payload bytes that wait.
    pub(super) fn load(&self) -> Load {
        Load { deliveries: self.depth(), bytes: self.bytes }
    }

    /// Whether a delivery with this sequence is before the queue, if it is anywhere.
    pub(super) fn is_before(&self, sequence: Sequence) -> bool {
        sequence < self.first
    }

    /// The delivery `sequence` has left with `size` payload bytes; what is first before the queue then. It was the head, or
    /// it had been until another was put before it.
    pub(super) fn leave(&mut self, sequence: Sequence, size: u64, first_before: Option<Sequence>) {
        if self.is_before(sequence) {
            self.front = self.front.saturating_sub(1);
        } else {
            self.first = sequence.next();
        }
        if self.head.is_none_or(|head| head.sequence == sequence) {
            let first = (self.first < self.next).then_some(self.first);
            self.head = first_before.or(first).map(Head::fresh);
        }
        // An empty queue holds nothing, whatever was counted before.
        self.bytes = if self.depth() > 0 { self.bytes.saturating_sub(size) } else { 0 };
    }

    /// What the scheduler must be told, if it does not know it already.
    pub(super) fn news(&mut self, org: OrgNumber) -> Option<Notice> {
        let notice = Notice { org, head: self.head, paused: self.paused.is_some() };
        let silent = self.announced.is_none() && notice.head.is_none();
        if silent || self.announced == Some(notice) {
            return None;
        }
        self.announced = Some(notice);
        Some(notice)
    }

    fn span(&self) -> Span {
        Span { front: self.front, first: self.first, next: self.next }
    }

    fn summary(&self) -> QueueSummary {
        QueueSummary {
            depth: self.depth(),
            bytes: self.bytes,
            head: self.head,
            paused: self.paused.clone(),
            dead_letters: self.dead_letters,
        }
    }
}

/// A queue that is not empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) org: OrgNumber,
    pub(super) span: Span,
    /// Of the head.
    pub(super) attempts: u32,
}

impl Waiting {
    pub(super) fn depth(&self) -> u64 {
        self.span.front + self.span.next.0.saturating_sub(self.span.first.0)
    }
}

/// What waits, in one queue or in all of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) deliveries: u64,
    pub(super) bytes: u64,
}

impl Load {
    /// With `after` in place of `before`, which was counted in.
    pub(super) fn replaced(self, before: Load, after: Load) -> Load {
        Load {
            deliveries: (self.deliveries + after.deliveries).saturating_sub(before.deliveries),
            bytes: (self.bytes + after.bytes).saturating_sub(before.bytes),
        }
    }
}

/// Where deliveries of an org may be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    /// How many are before the queue.
    pub(super) front: u64,
    /// The first of the queue itself, or `next`.
    pub(super) first: Sequence,
    /// Everything below this sequence is committed.
    pub(super) next: Sequence,
}

/// What readers may know: every org's queue as of the last commit.
#[derive(Debug, Default)]
pub(super) struct Published {
    orgs: RwLock<HashMap<OrgNumber, (QueueSummary, Span)>>,
}

impl Published {
    pub(super) fn put(&self, changed: impl IntoIterator<Item = (OrgNumber, Option<OrgQueue>)>) {
        let mut orgs = self.orgs.write().unwrap_or_else(PoisonError::into_inner);
        for (org, queue) in changed {
            match queue {
                Some(queue) => orgs.insert(org, (queue.summary(), queue.span())),
                None => orgs.remove(&org),
            };
        }
    }

    pub(super) fn summary(&self, org: OrgNumber) -> QueueSummary {
        self.read(|orgs| orgs.get(&org).map(|(summary, _)| summary.clone())).unwrap_or_default()
    }

    /// The org's head and where its deliveries are; `None` if nothing waits.
    pub(super) fn span(&self, org: OrgNumber) -> Option<(Head, Span)> {
        self.read(|orgs| orgs.get(&org).and_then(|(summary, span)| Some((summary.head?, *span))))
    }

    /// Every queue that is not empty.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        self.read(|orgs| {
            let waiting = |(org, (summary, span)): (&OrgNumber, &(QueueSummary, Span))| {
                Some(Waiting { org: *org, span: *span, attempts: summary.head?.attempts })
            };
            orgs.iter().filter_map(waiting).collect()
        })
    }

    /// Deliveries and their payload bytes waiting, and dead letters kept, in all orgs.
    pub(super) fn totals(&self) -> (u64, u64, u64) {
        self.read(|orgs| {
            orgs.values().fold((0, 0, 0), |(depth, bytes, dead), (summary, _)| {
                (depth + summary.depth, bytes + summary.bytes, dead + summary.dead_letters)
            })
        })
    }

    fn read<T>(&self, look: impl FnOnce(&HashMap<OrgNumber, (QueueSummary, Span)>) -> T) -> T {
        look(&self.orgs.read().unwrap_or_else(PoisonError::into_inner))
    }
}
