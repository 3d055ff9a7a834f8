//! What the committer knows of every org's queue, in memory: numbers only, whatever the backlog.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use super::record::{HeadRecord, PauseRecord, StateRecord};
use super::{Notice, Pause, QueueSummary};
use crate::model::{Head, OrgNumber, Sequence, UnixMs};

/// An org's queue. Deliveries have consecutive sequences and only the head ever leaves, so the depth is a difference.
#[derive(Debug, Clone)]
pub(super) struct OrgQueue {
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
        self.head.map_or(0, |head| self.next.0 - head.sequence.0)
    }

    /// Takes the delivery `sequence` as head, fresh.
    pub(super) fn set_head(&mut self, sequence: Sequence) {
        self.head = (sequence < self.next).then(|| Head::fresh(sequence));
    }

    /// The head has left with `size` payload bytes.
    pub(super) fn advance(&mut self, size: u64) {
        if let Some(head) = self.head {
            self.set_head(head.sequence.next());
        }
        // An empty queue holds nothing, whatever was counted before.
        self.bytes = if self.head.is_some() { self.bytes.saturating_sub(size) } else { 0 };
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
    pub(super) head: Sequence,
    /// The one after the last.
    pub(super) next: Sequence,
    /// Of the head.
    pub(super) attempts: u32,
}

impl Waiting {
    pub(super) fn depth(&self) -> u64 {
        self.next.0.saturating_sub(self.head.0)
    }
}

/// What readers may know: every org's queue as of the last commit.
#[derive(Debug, Default)]
pub(super) struct Published {
    orgs: RwLock<HashMap<OrgNumber, (QueueSummary, Sequence)>>,
}

impl Published {
    pub(super) fn put(&self, changed: impl IntoIterator<Item = (OrgNumber, Option<OrgQueue>)>) {
        let mut orgs = self.orgs.write().unwrap_or_else(PoisonError::into_inner);
        for (org, queue) in changed {
            match queue {
                Some(queue) => orgs.insert(org, (queue.summary(), queue.next)),
                None => orgs.remove(&org),
            };
        }
    }

    pub(super) fn summary(&self, org: OrgNumber) -> QueueSummary {
        self.read(|orgs| orgs.get(&org).map(|(summary, _)| summary.clone())).unwrap_or_default()
    }

    /// Everything below this sequence is committed.
    pub(super) fn next(&self, org: OrgNumber) -> Sequence {
        self.read(|orgs| orgs.get(&org).map_or(Sequence::FIRST, |(_, next)| *next))
    }

    /// Every queue that is not empty.
    pub(super) fn waiting(&self) -> Vec<Waiting> {
        self.read(|orgs| {
            let waiting = |(org, (summary, next)): (&OrgNumber, &(QueueSummary, Sequence))| {
                let Head { sequence: head, attempts, .. } = summary.head?;
                Some(Waiting { org: *org, head, next: *next, attempts })
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

    fn read<T>(&self, look: impl FnOnce(&HashMap<OrgNumber, (QueueSummary, Sequence)>) -> T) -> T {
        look(&self.orgs.read().unwrap_or_else(PoisonError::into_inner))
    }
}
