//! Semaphores by org: what each may have for itself, so that an org that wants much waits for itself and not others for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::Semaphore;

use crate::model::OrgNumber;

/// Beyond so many orgs, those that have nothing under way are forgotten.
const KEPT: usize = 1024;

/// See the module's documentation.
pub struct PerOrg {
    permits: usize,
    orgs: Mutex<HashMap<OrgNumber, Weak<Semaphore>>>,
}

impl PerOrg {
    /// So many permits for each.
    #[must_use]
    pub fn new(permits: usize) -> PerOrg {
        PerOrg { permits, orgs: Mutex::default() }
    }

    /// The org's own; it lasts as long as someone holds it.
    pub fn of(&self, org: OrgNumber) -> Arc<Semaphore> {
        let mut orgs = self.orgs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = orgs.get(&org).and_then(Weak::upgrade) {
            return own;
        }
        if orgs.len() >= KEPT {
            orgs.retain(|_, own| own.strong_count() > 0);
        }
        let own = Arc::new(Semaphore::new(self.permits));
        orgs.insert(org, Arc::downgrade(&own));
        own
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_has_its_own_and_others_have_theirs() {
        let orgs = PerOrg::new(1);
        let (a, again, b) = (orgs.of(OrgNumber(1)), orgs.of(OrgNumber(1)), orgs.of(OrgNumber(2)));
        let held = a.try_acquire().unwrap();
        assert!(again.try_acquire().is_err() && b.try_acquire().is_ok());
        drop(held);
        assert!(again.try_acquire().is_ok());
    }

    #[test]
    fn orgs_without_anything_under_way_are_forgotten() {
        let orgs = PerOrg::new(1);
        let kept = orgs.of(OrgNumber(0));
        for number in 1..5000 {
            orgs.of(OrgNumber(number));
        }
        assert!(orgs.orgs.lock().unwrap().len() <= KEPT);
        assert!(Arc::ptr_eq(&kept, &orgs.of(OrgNumber(0))));
    }
}
