//! Deliveries of orgs that are counted by name: those that an operator asked for, and no others, since each is a series of
//! its own wherever the numbers go.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::model::OrgId;

/// How a delivery left its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Delivered,
    Dead,
}

/// What an org's deliveries came to.
#[derive(Debug, Default)]
struct Counts {
    delivered: AtomicU64,
    dead: AtomicU64,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub struct NamedOrgs {
    /// Whether there is any; read for every delivery.
    any: AtomicBool,
    counts: RwLock<BTreeMap<OrgId, Arc<Counts>>>,
}

impl NamedOrgs {
    /// Counts these from now on. Those that were counted already go on.
    pub fn set(&self, orgs: &[OrgId]) {
        let mut counts = self.counts.write().unwrap_or_else(PoisonError::into_inner);
        let kept = |org: &OrgId| (org.clone(), counts.get(org).cloned().unwrap_or_default());
        let next: BTreeMap<_, _> = orgs.iter().map(kept).collect();
        *counts = next;
        self.any.store(!orgs.is_empty(), Ordering::Relaxed);
    }

    /// Each with how many were delivered and how many died, in order of name.
    #[must_use]
    pub fn read(&self) -> Vec<(OrgId, [(&'static str, u64); 2])> {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let read = |(org, counts): (&OrgId, &Arc<Counts>)| {
            let Counts { delivered, dead } = &**counts;
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            (org.clone(), [("delivered", of(delivered)), ("dead", of(dead))])
        };
        counts.iter().map(read).collect()
    }

    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(super) fn note(&self, org: &OrgId, left: Left) {
        let counts = self.counts.read().unwrap_or_else(PoisonError::into_inner);
        let Some(counts) = counts.get(org) else { return };
        let count = match left {
            Left::Delivered => &counts.delivered,
            Left::Dead => &counts.dead,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_that_were_named_are_counted_and_they_keep_their_counts() {
        let [acme, other]: [OrgId; 2] = ["acme", "other"].map(|name| name.parse().unwrap());
        let named = NamedOrgs::default();
        assert!(!named.any() && named.read().is_empty());
        named.set(std::slice::from_ref(&acme));
        named.note(&acme, Left::Delivered);
        named.note(&acme, Left::Dead);
        named.note(&other, Left::Dead);
        named.set(&[other.clone(), acme.clone()]);
        named.note(&acme, Left::Delivered);
        let read = named.read();
        assert_eq!(read[0], (acme, [("delivered", 2), ("dead", 1)]));
        assert_eq!(read[1], (other, [("delivered", 0), ("dead", 0)]));
        named.set(&[]);
        assert!(!named.any() && named.read().is_empty());
    }
}
