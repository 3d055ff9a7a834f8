//! What the store has done since it was opened, in numbers. Only what is durable is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::named::Left;
use super::{NamedOrgs, Queue, Refused};
use crate::measure::{Histogram, TIMES_US};
use crate::model::OrgId;
use crate::tail::Hub;

/// Upper bounds for the size of a batch.
const BATCHES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// See the module's documentation.
#[derive(Debug)]
pub struct Figures {
    events_accepted: AtomicU64,
    delivered: AtomicU64,
    dead: AtomicU64,
    /// Of orgs that are counted by name.
    pub orgs: NamedOrgs,
    expired: AtomicU64,
    /// From handing an event, or several at once, to the store until they are durable.
    pub enqueue: Histogram,
    /// Flushing a batch.
    pub commit: Histogram,
    /// Changes in a batch.
    pub batch: Histogram,
}

/// What a batch will have done once it is durable.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) events_accepted: u64,
    pub(super) delivered: u64,
    pub(super) dead: u64,
    /// Of orgs that are counted by name.
    pub(super) of_orgs: Vec<(OrgId, Left)>,
    /// Dead letters that were kept long enough.
    pub(super) expired: u64,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            events_accepted: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            orgs: NamedOrgs::default(),
            expired: AtomicU64::new(0),
            enqueue: Histogram::new(TIMES_US),
            commit: Histogram::new(TIMES_US),
            batch: Histogram::new(BATCHES),
        }
    }
}

impl Figures {
    /// Events that were accepted, repeats not counted.
    #[must_use]
    pub fn events_accepted(&self) -> u64 {
        self.events_accepted.load(Ordering::Relaxed)
    }

    /// Deliveries by how they ended, each with its word.
    #[must_use]
    pub fn deliveries(&self) -> [(&'static str, u64); 2] {
        [("delivered", &self.delivered), ("dead", &self.dead)]
            .map(|(outcome, count)| (outcome, count.load(Ordering::Relaxed)))
    }

    /// Dead letters that were removed because of their age or what all of them take.
    #[must_use]
    pub fn dead_letters_expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, tally: &Tally) {
        let Tally { events_accepted, delivered, dead, expired, of_orgs } = tally;
        for (org, left) in of_orgs {
            self.orgs.note(org, *left);
        }
        for (total, more) in [
            (&self.events_accepted, events_accepted),
            (&self.delivered, delivered),
            (&self.dead, dead),
            (&self.expired, expired),
        ] {
            total.fetch_add(*more, Ordering::Relaxed);
        }
    }
}

impl Queue {
    /// Where what happens is told: by this room what it makes durable, by the others the rest.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.shown().hub
    }

    /// What was done since the store was opened.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.shown().figures
    }

    /// Notes how long it took to make something durable that was handed in at `began`.
    pub(super) fn enqueued<T>(&self, began: Instant, appended: &Result<T, Refused>) {
        if appended.is_ok() {
            self.figures().enqueue.note_time(began.elapsed());
        }
    }
}
