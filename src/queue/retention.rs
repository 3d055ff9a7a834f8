//! How long, and how much, of what is over is kept: dead letters here, the history in `history/`.
//!
//! Dead letters go oldest first, a few at a time, in the committer's upkeep: those that are older than they may be, then
//! as many as it takes to be within the bytes. What they take is counted in memory as they come and go, and put together
//! at open from the rows that recovery looks at anyway.

use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use super::Queue;
use super::key::{self, InDead};
use super::settle::remove_letter_rows;
use super::store::Trouble;
use super::writer::Writer;
use crate::clock;
use crate::model::UnixMs;

/// Dead letters removed between two batches: bounds how long a change waits for them.
const LETTERS_PER_STEP: usize = 64;

/// How long, and how much, of something is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What is older goes.
    pub age: Duration,
    /// Of more than this the oldest goes.
    pub bytes: u64,
}

/// What is kept of what is over. `None` leaves it alone: nothing is removed for its age or size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Of dead letters.
    pub dead_letters: Option<Kept>,
    /// Of the history; it is written while both its age and its bytes are more than nothing.
    pub history: Option<Kept>,
}

/// The retention in force; a reload changes it.
#[derive(Debug, Default)]
pub(super) struct InForce(RwLock<Retention>);

impl InForce {
    pub(super) fn get(&self) -> Retention {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set(&self, retention: Retention) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = retention;
    }
}

/// Why a dead letter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Age,
    Bytes,
}

/// Whether the oldest dead letter goes, when all of them take `bytes`. One that died in the future, after the clock was
/// set back, waits until that has passed; its bytes count all the same.
fn judge(died_at: UnixMs, bytes: u64, kept: Kept, now: UnixMs) -> Option<Why> {
    if now.since(died_at) > kept.age {
        Some(Why::Age)
    } else if bytes > kept.bytes {
        Some(Why::Bytes)
    } else {
        None
    }
}

impl Queue {
    /// Puts another retention in force; what is over it goes within seconds.
    pub fn set_retention(&self, retention: Retention) {
        self.store().retention.set(retention);
    }
}

impl Writer {
    /// Removes a few dead letters that are no longer kept. Whether there was one; more may follow at once.
    pub(super) fn expire_dead_letters(&mut self) -> Result<bool, Trouble> {
        self.upkeep.expiring = false;
        let Some(kept) = self.store.retention.get().dead_letters else { return Ok(false) };
        let store = self.store.clone();
        let now = clock::now();
        let (mut by_age, mut by_bytes) = (0u64, 0u64);
        for place in store.dead.keys(&[InDead::ByTime as u8]).take(LETTERS_PER_STEP) {
            let place = place?;
            let Some((died_at, id)) = key::by_time_in(&place) else { continue };
            match judge(died_at, store.dead.counted_bytes(), kept, now) {
                None => break,
                Some(Why::Age) => by_age += 1,
                Some(Why::Bytes) => by_bytes += 1,
            }
            store.dead.remove(&place)?;
            let was_there = remove_letter_rows(&store, id)?;
            // Of an org that was deleted nothing is counted any more.
            if was_there && self.queues.contains_key(&id.org) {
                let queue = self.queue_mut(id.org)?;
                queue.dead_letters = queue.dead_letters.saturating_sub(1);
            }
        }
        let expired = by_age + by_bytes;
        if expired > 0 {
            self.upkeep.expiring = true;
            self.tally.expired += expired;
            tracing::info!(by_age, by_bytes, "dead letters expired");
        }
        Ok(expired > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_letter_goes_by_its_age_and_by_what_all_take() {
        let kept = Kept { age: Duration::from_secs(60), bytes: 1000 };
        let died = |ms: i64| UnixMs(1_000_000 + ms);
        let now = died(60_000);
        assert_eq!(judge(died(0), 1000, kept, now), None);
        assert_eq!(judge(died(-1), 1000, kept, now), Some(Why::Age));
        assert_eq!(judge(died(0), 1001, kept, now), Some(Why::Bytes));
        // The clock was set back by a year since.
        let died_next_year = died(365 * 86_400_000);
        assert_eq!(judge(died_next_year, 1000, kept, now), None);
        assert_eq!(judge(died_next_year, 1001, kept, now), Some(Why::Bytes));
    }
}
