//! Orgs and webhooks in force, in memory: what intake matches and delivery renders with.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock};

use super::{Clients, Sources, Webhooks};
use crate::model::{OrgId, OrgNumber, OrgSettings};

/// An org as configured. Replaced whole on every change.
#[derive(Debug, Clone)]
pub struct Org {
    /// Its number in the store.
    pub number: OrgNumber,
    /// Its name.
    pub id: OrgId,
    /// Plan, limits, description.
    pub settings: OrgSettings,
    /// Its clients by name.
    pub clients: Clients,
    /// Its webhooks by name.
    pub webhooks: Webhooks,
    /// Its sources by name.
    pub sources: Sources,
}

/// Every org. Only what is durable gets in; only the committer puts it there.
#[derive(Debug, Default)]
pub struct Directory {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    by_id: BTreeMap<OrgId, Arc<Org>>,
    by_number: HashMap<OrgNumber, OrgId>,
}

impl Directory {
    /// The org of this name.
    pub fn org(&self, id: &OrgId) -> Option<Arc<Org>> {
        self.read(|inner| inner.by_id.get(id).cloned())
    }

    /// The org of this number.
    pub fn by_number(&self, number: OrgNumber) -> Option<Arc<Org>> {
        self.read(|inner| inner.by_id.get(inner.by_number.get(&number)?).cloned())
    }

    /// At most `limit` orgs in order of name, those after `after`.
    pub fn list(&self, after: Option<&OrgId>, limit: usize) -> Vec<Arc<Org>> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|inner| {
            inner
                .by_id
                .range::<OrgId, _>((start, Bound::Unbounded))
                .take(limit)
                .map(|(_, org)| org.clone())
                .collect()
        })
    }

    /// How many orgs and webhooks there are.
    pub fn counts(&self) -> (u64, u64) {
        self.read(|inner| {
            let webhooks = inner.by_id.values().map(|org| org.webhooks.len() as u64).sum();
            (inner.by_id.len() as u64, webhooks)
        })
    }

    pub(super) fn put(&self, org: Org) {
        self.write(|inner| {
            inner.by_number.insert(org.number, org.id.clone());
            inner.by_id.insert(org.id.clone(), Arc::new(org));
        });
    }

    pub(super) fn remove(&self, id: &OrgId) {
        self.write(|inner| {
            if let Some(org) = inner.by_id.remove(id) {
                inner.by_number.remove(&org.number);
            }
        });
    }

    // A panic while the lock is held cannot leave the maps half changed in a way that matters: each holds whole orgs.
    fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write(&self, change: impl FnOnce(&mut Inner)) {
        change(&mut self.inner.write().unwrap_or_else(PoisonError::into_inner));
    }
}
