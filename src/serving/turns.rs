//! Rules of a catalogue, and large bodies, take time and memory that those who post decide, within their budget: they are
//! worked on by threads that may block, a few at once, and one of an org at a time.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::per_org::PerOrg;
use crate::model::OrgNumber;

/// What is worked on at once: more would only take memory from each other.
const AT_ONCE: usize = 4;

/// Whose turn it is.
pub struct Turns {
    orgs: PerOrg,
    all: Arc<Semaphore>,
}

/// A turn; it lasts until it is dropped.
pub struct Turn(#[expect(dead_code, reason = "held for its end")] [OwnedSemaphorePermit; 2]);

impl Default for Turns {
    fn default() -> Turns {
        Turns { orgs: PerOrg::new(1), all: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Turns {
    /// Waits for a turn of this org; `None` if none came in time.
    pub async fn take(&self, org: OrgNumber, deadline: Instant) -> Option<Turn> {
        // The org's own turn first: what else it has to do does not stand before what others have.
        let turns = async {
            let own = self.orgs.of(org).acquire_owned().await.ok()?;
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
    #[cfg(test)]
    pub(crate) fn of(&self, org: OrgNumber) -> Arc<Semaphore> {
        self.orgs.of(org)
    }
}
