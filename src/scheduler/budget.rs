//! How many payload bytes may be in memory at once: the second bound on attempts in flight, beside their number.
//!
//! A payload's size is known only once it has been read, so an attempt first takes a charge for the largest one there
//! is, reads, and then gives back what it does not need. The bound therefore holds at every moment, and it also limits
//! how many reads run at once. As with the slots, orgs get a share by their standing: receivers that hang on to large
//! payloads leave room for those that answer.

use tokio::sync::{Semaphore, SemaphorePermit};

use super::plan::Standing;

/// Permits are counted in these, since a semaphore takes a `u32` at a time.
const UNIT_BYTES: u64 = 1024;

/// What is charged before the size is known: the largest payload that is accepted.
const PAYLOAD_BYTES_MAX: u64 = 1024 * 1024;

/// The bytes that are free. Waiting is first come, first served.
#[derive(Debug)]
pub struct Budget {
    /// What each standing and those after it may take together, in their order.
    shares: [Semaphore; 3],
    /// Units charged up front; less than the largest payload only if the whole budget is.
    upfront: u32,
}

/// Bytes taken; given back when dropped.
#[derive(Debug)]
pub struct Charge<'a> {
    permits: [Option<SemaphorePermit<'a>>; 3],
}

impl Budget {
    /// A budget of `bytes`; at least one attempt is always possible.
    #[must_use]
    pub fn new(bytes: u64) -> Budget {
        let units =
            usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX).clamp(2, Semaphore::MAX_PERMITS);
        let least = u32::try_from(Standing::Failing.share(units)).unwrap_or(u32::MAX);
        let shares = Standing::ALL.map(|standing| Semaphore::new(standing.share(units)));
        Budget { shares, upfront: least.min(units_of(PAYLOAD_BYTES_MAX)) }
    }

    /// Waits until a payload of any size may be read. `None` only if the budget was closed, which nothing does.
    pub async fn charge(&self, standing: Standing) -> Option<Charge<'_>> {
        let mut permits = [None, None, None];
        // The smallest share first: whoever waits for it holds nothing that better ones need.
        for (permit, (share, bound)) in permits.iter_mut().zip(self.shares.iter().zip(Standing::ALL)).rev() {
            if bound <= standing {
                *permit = Some(share.acquire_many(self.upfront).await.ok()?);
            }
        }
        Some(Charge { permits })
    }
}

impl Charge<'_> {
    /// The payload has been read and has this size: gives back the rest.
    pub fn keep(&mut self, bytes: u64) {
        let units = units_of(bytes) as usize;
        for permit in self.permits.iter_mut().flatten() {
            drop(permit.split(permit.num_permits().saturating_sub(units)));
        }
    }
}

/// Units that hold `bytes`, at least one: nothing is free.
fn units_of(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES).max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    const MIB: u64 = 1024 * 1024;

    fn charge(budget: &Budget, standing: Standing) -> Option<Charge<'_>> {
        budget.charge(standing).now_or_never().flatten()
    }

    /// Units that are free for each standing.
    fn free(budget: &Budget) -> Vec<usize> {
        budget.shares.iter().map(Semaphore::available_permits).collect()
    }

    #[test]
    fn a_payload_is_charged_in_full_until_its_size_is_known() {
        let budget = Budget::new(8 * MIB);
        let mut held: Vec<_> = (0..8).map(|_| charge(&budget, Standing::Proven).unwrap()).collect();
        assert!(charge(&budget, Standing::Proven).is_none(), "8 MiB are taken");
        held[0].keep(MIB / 2);
        assert!(charge(&budget, Standing::Proven).is_none(), "half a MiB does not hold every payload");
        held[1].keep(1000);
        held[2].keep(0);
        drop((charge(&budget, Standing::Proven).unwrap(), charge(&budget, Standing::Proven).unwrap()));
        drop(held);
        assert_eq!(free(&budget), [8 * 1024, 7 * 1024, 6 * 1024], "all is given back");
    }

    #[test]
    fn each_standing_leaves_something_for_the_better_ones() {
        let budget = Budget::new(8 * MIB);
        let held: Vec<_> = (0..6).map(|_| charge(&budget, Standing::Failing).unwrap()).collect();
        assert!(charge(&budget, Standing::Failing).is_none());
        let unknown = charge(&budget, Standing::Unknown).unwrap();
        assert!(charge(&budget, Standing::Unknown).is_none());
        let proven = charge(&budget, Standing::Proven).unwrap();
        assert!(charge(&budget, Standing::Proven).is_none(), "8 MiB are taken");
        drop((held, unknown, proven));
        assert_eq!(free(&budget), [8 * 1024, 7 * 1024, 6 * 1024], "all is given back");
    }

    #[test]
    fn the_smallest_and_the_largest_budget_work() {
        for bytes in [0, 1, 1024, 4096, u64::MAX] {
            let budget = Budget::new(bytes);
            for standing in Standing::ALL {
                let mut charge = charge(&budget, standing).unwrap();
                charge.keep(MIB);
                charge.keep(u64::MAX);
            }
        }
    }
}
