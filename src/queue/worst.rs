//! The orgs that stand worst, found in memory whatever their number.

use std::cmp::Reverse;
use std::sync::Arc;

use super::{Org, Queue};

impl Queue {
    /// At most `limit` orgs in whose queue something waits: those whose head has failed before the others, and among
    /// each the deepest queue first.
    #[must_use]
    pub fn worst(&self, limit: usize) -> Vec<Arc<Org>> {
        let mut waiting = self.shown().published.waiting();
        let rank = |one: &super::ledger::Waiting| (Reverse((one.attempts > 0, one.depth())), one.org.0);
        if waiting.len() > limit {
            waiting.select_nth_unstable_by_key(limit, rank);
            waiting.truncate(limit);
        }
        waiting.sort_unstable_by_key(rank);
        waiting.iter().filter_map(|one| self.directory().by_number(one.org)).collect()
    }
}
