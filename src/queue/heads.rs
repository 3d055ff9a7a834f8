//! Deliveries that have just become heads, read ahead by the committer.
//!
//! Settling a head has just brought the leaf of sled's tree into memory that most often holds the next one too, and an
//! append to an empty queue has just written it; reading it there and then saves the attempt a trip to a thread that may
//! block. An optimisation and nothing else: what is not here is read from the store.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::Claim;
use crate::model::{Delivery, OrgNumber};

/// Payload bytes kept at most: orgs beyond that are read when their attempt starts.
const BYTES_MAX: usize = 16 << 20;

/// At most one delivery per org.
#[derive(Debug, Default)]
pub(super) struct Heads {
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    by_org: HashMap<OrgNumber, Delivery>,
    bytes: usize,
}

impl Kept {
    fn remove(&mut self, org: OrgNumber) -> Option<Delivery> {
        let delivery = self.by_org.remove(&org)?;
        self.bytes -= delivery.payload.len();
        Some(delivery)
    }
}

impl Heads {
    /// Keeps the org's head, if there is room; forgets what was kept before.
    pub(super) fn put(&self, org: OrgNumber, delivery: Option<Delivery>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.remove(org);
        if let Some(delivery) = delivery
            && kept.bytes + delivery.payload.len() <= BYTES_MAX
        {
            kept.bytes += delivery.payload.len();
            kept.by_org.insert(org, delivery);
        }
    }

    /// Gives the claimed head away, if it is the one that is kept.
    pub(super) fn take(&self, claim: Claim) -> Option<Delivery> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let kept_is_claimed = kept.by_org.get(&claim.org).is_some_and(|head| head.sequence == claim.sequence);
        if kept_is_claimed { kept.remove(claim.org) } else { None }
    }
}
