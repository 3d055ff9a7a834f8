//! Rules of a catalogue take time and memory that those who post decide, within their budget: they run on threads that may
//! block, a few at once, and one of an org at a time. An org with many costly ones waits for itself, not others for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::model::OrgNumber;

/// Beyond so many orgs, those that have nothing under way are forgotten.
const KEPT: usize = 1024;

/// Rules that run at once: more would only take memory from each other.
const AT_ONCE: usize = 4;

/// Whose turn it is to have rules evaluated.
pub struct Turns {
    orgs: Mutex<HashMap<OrgNumber, Weak<Semaphore>>>,
    all: Arc<Semaphore>,
}

/// A turn; it lasts until it is dropped.
pub struct Turn(#[expect(dead_code, reason = "held for its end")] [OwnedSemaphorePermit; 2]);

impl Default for Turns {
    fn default() -> Turns {
        Turns { orgs: Mutex::default(), all: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Turns {
    /// Waits for a turn of this org; `None` if none came in time.
    pub async fn take(&self, org: OrgNumber, deadline: Instant) -> Option<Turn> {
        // The org's own turn first: what else it has to do does not stand before what others have.
        let turns = async {
            let own = self.of(org).acquire_owned().await.ok()?;
            Some(Turn([own, self.all.clone().acquire_owned().await.ok()?]))
        };
        timeout_at(deadline, turns).await.ok().flatten()
    }

    /// All turns at once, so that there is none.
    #[cfg(test)]
    pub(crate) async fn take_all(&self) -> Option<OwnedSemaphorePermit> {
        let all = u32::try_from(AT_ONCE).ok()?;
        self.all.clone().acquire_many_owned(all).await.ok()
    }

    /// The org's own turn.
    pub(crate) fn of(&self, org: OrgNumber) -> Arc<Semaphore> {
        let mut turns = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&org).and_then(Weak::upgrade) {
            return turn;
        }
        if turns.len() >= KEPT {
            turns.retain(|_, turn| turn.strong_count() > 0);
        }
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(org, Arc::downgrade(&turn));
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_has_one_turn_and_others_have_theirs() {
        let turns = Turns::default();
        let (a, again, b) = (turns.of(OrgNumber(1)), turns.of(OrgNumber(1)), turns.of(OrgNumber(2)));
        let held = a.try_acquire().unwrap();
        assert!(again.try_acquire().is_err() && b.try_acquire().is_ok());
        drop(held);
        assert!(again.try_acquire().is_ok());
    }

    #[test]
    fn orgs_without_anything_under_way_are_forgotten() {
        let turns = Turns::default();
        let kept = turns.of(OrgNumber(0));
        for number in 1..5000 {
            turns.of(OrgNumber(number));
        }
        assert!(turns.orgs.lock().unwrap().len() <= KEPT);
        assert!(Arc::ptr_eq(&kept, &turns.of(OrgNumber(0))));
    }
}
