//! One change of an org at a time: an org with many costly ones waits for itself, not others for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::model::OrgNumber;

/// Beyond so many orgs, those that have no change under way are forgotten.
const KEPT: usize = 1024;

/// Whose turn it is, by org.
#[derive(Default)]
pub(super) struct Turns(Mutex<HashMap<OrgNumber, Weak<Semaphore>>>);

impl Turns {
    /// The org's own turn, to be waited for; it lasts as long as someone holds it.
    pub(super) fn of(&self, org: OrgNumber) -> Arc<Semaphore> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
    fn orgs_without_a_change_are_forgotten() {
        let turns = Turns::default();
        let kept = turns.of(OrgNumber(0));
        for number in 1..5000 {
            turns.of(OrgNumber(number));
        }
        assert!(turns.0.lock().unwrap().len() <= KEPT);
        assert!(Arc::ptr_eq(&kept, &turns.of(OrgNumber(0))));
    }
}
