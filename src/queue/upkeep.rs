//! Upkeep: what the committer does a little of between batches. Rows of deleted orgs, what was seen so long ago that it
//! need not be remembered, and dead letters that were kept long enough.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::append::day_of;
use super::copy::{bytes_after_last, is_wasteful, set_due};
use super::key::{self, InDead, InQueue};
use super::request::REQUEST_DAYS;
use super::settle::remove_letter_rows;
use super::store::Trouble;
use super::writer::Writer;
use crate::clock;
use crate::model::{DeadLetterId, OrgNumber};

/// Rows removed between two batches: bounds how long a change waits for them.
const ROWS_PER_STEP: usize = 128;

/// How often the store's size is looked at.
const WEIGH_EVERY: Duration = Duration::from_secs(5);

/// What is left to do.
#[derive(Debug, Default)]
pub(super) struct Upkeep {
    /// Orgs whose rows are to go, dead letters and all.
    deleted: VecDeque<OrgNumber>,
    /// Orgs whose seen ids of past days are to go.
    sweep: VecDeque<OrgNumber>,
    /// The day on which every org was put on `sweep` last.
    swept_on_day: Option<u32>,
    /// Dead letters have just expired, and more may have to.
    pub(super) expiring: bool,
    /// When the store's size was looked at last, and whether it is to be compacted at the next start.
    weighed: Option<(Instant, bool)>,
}

impl Upkeep {
    pub(super) fn delete(&mut self, org: OrgNumber) {
        self.deleted.push_back(org);
    }
}

impl Writer {
    /// Whether there is upkeep to do right away.
    pub(super) fn has_upkeep(&self) -> bool {
        !self.upkeep.deleted.is_empty() || !self.upkeep.sweep.is_empty() || self.upkeep.expiring
    }

    /// Does a step of it, and looks at the disk. Whether there was anything to do.
    pub(super) fn upkeep(&mut self) -> Result<bool, Trouble> {
        if !self.disk_is_full(0) {
            self.store.place.lay_ballast(self.limits.reserve_bytes);
        }
        let today = day_of(clock::now());
        if self.upkeep.swept_on_day != Some(today) {
            self.upkeep.swept_on_day = Some(today);
            self.upkeep.sweep = self.queues.keys().copied().collect();
        }
        self.history.tick();
        self.weigh();
        let expired = self.expire_dead_letters()?;
        let mut budget = ROWS_PER_STEP;
        while budget > 0 {
            if let Some(deleted) = self.upkeep.deleted.front().copied() {
                if self.remove_rows_of(deleted, &mut budget)? {
                    self.store.meta.remove(&key::deleted(deleted))?;
                    self.upkeep.deleted.pop_front();
                }
            } else if let Some(org) = self.upkeep.sweep.front().copied() {
                if self.sweep_seen(org, today, &mut budget)? {
                    self.upkeep.sweep.pop_front();
                }
            } else {
                break;
            }
        }
        Ok(expired || budget < ROWS_PER_STEP)
    }

    /// Notes whether the store takes so much more than it holds that the next start is to compact it.
    fn weigh(&mut self) {
        let now = Instant::now();
        let before = self.upkeep.weighed;
        if before.is_some_and(|(at, _)| now.duration_since(at) < WEIGH_EVERY) {
            return;
        }
        let (place, kept) = (&self.store.place, self.total.bytes + self.store.dead.counted_bytes());
        let due = is_wasteful(place.allocated_bytes(), kept, bytes_after_last(&place.store_dir()));
        if before.is_none_or(|(_, was)| was != due)
            && let Err(error) = set_due(place.dir(), due)
        {
            tracing::debug!(%error, "cannot note whether the store is to be compacted");
        }
        self.upkeep.weighed = Some((now, due));
    }

    /// Removes rows of a deleted org. `true` when none is left.
    fn remove_rows_of(&self, org: OrgNumber, budget: &mut usize) -> Result<bool, Trouble> {
        if let Some(tree) = self.store.queue(org) {
            let kinds = [
                InQueue::Front,
                InQueue::FrontChunk,
                InQueue::Delivery,
                InQueue::Chunk,
                InQueue::Attempt,
                InQueue::Seen,
                InQueue::Request,
                InQueue::Requests,
                InQueue::State,
            ];
            for row in kinds.into_iter().flat_map(|kind| tree.keys(&key::of_org(kind as u8, org))) {
                if *budget == 0 {
                    return Ok(false);
                }
                tree.remove(&row?)?;
                *budget -= 1;
            }
        }
        for row in self.store.dead.keys(&key::of_org(InDead::Letter as u8, org)) {
            if *budget == 0 {
                return Ok(false);
            }
            if let Some(sequence) = key::sequence_in(&row?) {
                remove_letter_rows(&self.store, DeadLetterId { org, sequence })?;
            }
            *budget -= 1;
        }
        *budget = budget.saturating_sub(1);
        Ok(true)
    }

    /// Forgets what the org has seen on days that no repeat is looked for on. `true` when none is left.
    fn sweep_seen(&self, org: OrgNumber, today: u32, budget: &mut usize) -> Result<bool, Trouble> {
        *budget = budget.saturating_sub(1);
        let Some(tree) = self.store.queue(org) else { return Ok(true) };
        for (kind, days) in [(InQueue::Seen, 1), (InQueue::Request, REQUEST_DAYS)] {
            for row in tree.keys(&key::of_org(kind as u8, org)) {
                let row = row?;
                if key::day_in(&row).is_none_or(|day| day.saturating_add(days) >= today) {
                    break;
                }
                if *budget == 0 {
                    return Ok(false);
                }
                tree.remove(&row)?;
                *budget -= 1;
            }
        }
        Ok(true)
    }
}
