//! PURE. Which head starts when: a state machine over (what the queue announced, which attempts run, now).
//!
//! It knows only orgs whose queue is not empty or that have an attempt in flight, and of those only the head. Each is
//! in exactly one place:
//!
//! * ready: due; first in, first out over all orgs, and an org whose attempt ended goes to the back;
//! * delayed: by due time;
//! * in flight: one attempt runs. What the queue announces meanwhile is kept and counts once the attempt is gone;
//! * held: paused, or the head is.
//!
//! Orgs whose last attempt failed may fill three quarters of the slots, so that receivers that hang leave room for
//! those that answer. For that the numbers of such orgs are remembered, also while their queue is empty.
//!
//! Time is the monotonic time since the scheduler started; wall-clock times have been converted before they get here.
//! Every event costs O(log n) in the number of orgs known.

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use crate::model::{Head, OrgNumber, Sequence, UnixMs};
use crate::queue::Claim;

/// How long an org waits after an attempt that ended without any result: our own fault, so nobody knows what a
/// repetition at once would do. Long enough not to spin, short enough not to be an outage.
pub const FAULT_WAIT: Duration = Duration::from_secs(10);

/// What the queue announced of an org, its wait converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The org.
    pub org: OrgNumber,
    /// Its head, if its queue is not empty.
    pub head: Option<Head>,
    /// When the head may start.
    pub due: Duration,
    /// Whether the org is paused.
    pub paused: bool,
}

/// An attempt to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which head.
    pub claim: Claim,
    /// The attempt's number, 1 for the first.
    pub attempt: u32,
    /// Whether the org's last attempt failed.
    pub failing: bool,
}

/// How an attempt in flight ended. Its effect on the queue has been announced before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The receiver took it.
    Delivered,
    /// It failed and is retried.
    Deferred {
        /// What was stored as the head's not-before time: tells whether it still applies.
        not_before: UnixMs,
        /// The same on the monotonic clock, exact where the wall clock may have stepped.
        due: Duration,
    },
    /// It failed and was the last: the delivery is dead or held.
    Exhausted,
    /// There was no attempt, or it no longer counts: skipped, its org or webhook is gone, its record is unreadable.
    Void,
    /// It was cancelled while it waited for its receiver.
    Cancelled,
    /// Our own trouble: nothing is known to be settled.
    Fault,
}

/// What is to be done now, and when to ask again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Attempts to start.
    pub start: Vec<Start>,
    /// Orgs whose attempt in flight is for a delivery that is no longer the head: to be cancelled if it still waits for
    /// its receiver. It is past that point when the attempt itself has moved the head on and has yet to hear of it.
    pub abort: Vec<OrgNumber>,
    /// When the next delayed head is due; `None` if only an announcement or an end can change anything.
    pub wake_at: Option<Duration>,
}

/// How many orgs are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Attempts in flight.
    pub in_flight: u64,
    /// Heads that are due and wait for a slot.
    pub ready: u64,
    /// Heads that wait for their time.
    pub delayed: u64,
    /// Orgs with a head that are paused, or whose head is held.
    pub held: u64,
    /// When the head that has been ready for longest was due.
    pub oldest_due: Option<Duration>,
}

/// The state. See the module.
#[derive(Debug)]
pub struct Plan {
    /// Attempts that may be in flight.
    slots: usize,
    /// How many of them orgs whose last attempt failed may take.
    slots_failing: usize,
    /// False once stopped: nothing starts any more.
    choosing: bool,
    /// Every org with a head or an attempt in flight.
    orgs: HashMap<OrgNumber, Entry>,
    /// Ready orgs by ticket, and those of them whose last attempt failed apart.
    ready: BTreeSet<(u64, OrgNumber)>,
    ready_failing: BTreeSet<(u64, OrgNumber)>,
    /// The next place in the line of ready orgs.
    next_ticket: u64,
    /// Delayed orgs by due time.
    delayed: BTreeSet<(Duration, OrgNumber)>,
    in_flight: usize,
    in_flight_failing: usize,
    held: u64,
    /// Orgs whose last attempt failed.
    failing: HashSet<OrgNumber>,
    /// Collected for the next step.
    abort: Vec<OrgNumber>,
}

#[derive(Debug)]
struct Entry {
    /// As last announced; `None` only while in flight.
    head: Option<Head>,
    due: Duration,
    paused: bool,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    Ready { ticket: u64, failing: bool },
    Delayed { due: Duration },
    InFlight { claim: Claim, attempt: u32, failing: bool },
    Held,
}

impl Entry {
    /// Whether what is in flight is no longer the head.
    fn is_overtaken(&self) -> bool {
        match self.place {
            Place::InFlight { claim, .. } => self.head.map(|head| head.sequence) != Some(claim.sequence),
            _ => false,
        }
    }
}

impl Plan {
    /// A plan for `slots` attempts in flight, at least one.
    #[must_use]
    pub fn new(slots: usize) -> Plan {
        let slots = slots.max(1);
        Plan {
            slots,
            // At least one, or failed orgs would never be tried again.
            slots_failing: (slots - slots.div_ceil(4)).max(1),
            choosing: true,
            orgs: HashMap::new(),
            ready: BTreeSet::new(),
            ready_failing: BTreeSet::new(),
            next_ticket: 0,
            delayed: BTreeSet::new(),
            in_flight: 0,
            in_flight_failing: 0,
            held: 0,
            failing: HashSet::new(),
            abort: Vec::new(),
        }
    }

    /// Takes in what the queue announced: a snapshot that replaces the one before.
    pub fn announced(&mut self, now: Duration, news: &Announced) {
        let Some(mut entry) = self.orgs.remove(&news.org) else {
            if let Some(head) = news.head {
                let entry =
                    Entry { head: Some(head), due: news.due, paused: news.paused, place: Place::Held };
                self.place(now, news.org, entry, None);
            }
            return;
        };
        // An unchanged head keeps its due time: it was exact, and converting it again could only follow a clock step.
        if entry.head != news.head {
            entry.head = news.head;
            entry.due = news.due;
        }
        entry.paused = news.paused;
        if let Place::InFlight { .. } = entry.place {
            if entry.is_overtaken() {
                self.abort.push(news.org);
            }
            self.orgs.insert(news.org, entry);
            return;
        }
        let ticket = self.unplace(news.org, &entry);
        if entry.head.is_some() {
            self.place(now, news.org, entry, ticket);
        }
    }

    /// The org's attempt in flight is gone: what was announced meanwhile applies.
    pub fn ended(&mut self, now: Duration, org: OrgNumber, end: End) {
        let Some(mut entry) = self.orgs.remove(&org) else { return };
        let Place::InFlight { claim, attempt, .. } = entry.place else {
            self.orgs.insert(org, entry);
            return;
        };
        self.unplace(org, &entry);
        match end {
            End::Delivered => {
                self.failing.remove(&org);
            }
            End::Deferred { .. } | End::Exhausted => {
                self.failing.insert(org);
            }
            End::Void | End::Cancelled | End::Fault => {}
        }
        let Some(head) = entry.head else { return };
        match end {
            // Unless an operator has ended or changed the wait meanwhile.
            End::Deferred { not_before, due } if head.not_before == Some(not_before) => entry.due = due,
            // The same attempt again means that its end changed nothing: never at once, or this would spin.
            _ if head.sequence == claim.sequence && head.attempts < attempt => {
                entry.due = entry.due.max(now.saturating_add(FAULT_WAIT));
            }
            _ => {}
        }
        self.place(now, org, entry, None);
    }

    /// Nothing starts from here on; attempts in flight go on.
    pub fn stop(&mut self) {
        self.choosing = false;
    }

    /// What is to be done at `now`. Attempts in `start` count as in flight from here on.
    pub fn step(&mut self, now: Duration) -> Step {
        while let Some(&(due, org)) = self.delayed.first()
            && due <= now
        {
            self.delayed.pop_first();
            if let Some(entry) = self.orgs.remove(&org) {
                self.place(now, org, entry, None);
            }
        }
        let mut start = Vec::new();
        while self.choosing
            && let Some(next) = self.start_next()
        {
            start.push(next);
        }
        let wake_at = if self.choosing { self.delayed.first().map(|&(due, _)| due) } else { None };
        // Many have ended since: that is how a delivered head leaves.
        let mut abort = std::mem::take(&mut self.abort);
        abort.retain(|org| self.orgs.get(org).is_some_and(Entry::is_overtaken));
        Step { start, abort, wake_at }
    }

    /// The delivery of this org that is in flight.
    #[must_use]
    pub fn in_flight(&self, org: OrgNumber) -> Option<Sequence> {
        match self.orgs.get(&org)?.place {
            Place::InFlight { claim, .. } => Some(claim.sequence),
            _ => None,
        }
    }

    /// How many orgs are where.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let fronts = [self.ready.first(), self.ready_failing.first()];
        let due = |&(_, org): &(u64, OrgNumber)| self.orgs.get(&org).map(|entry| entry.due);
        Counts {
            in_flight: self.in_flight as u64,
            ready: (self.ready.len() + self.ready_failing.len()) as u64,
            delayed: self.delayed.len() as u64,
            held: self.held,
            oldest_due: fronts.into_iter().flatten().filter_map(due).min(),
        }
    }

    /// The ready org that is first in line and may have a slot.
    fn start_next(&mut self) -> Option<Start> {
        if self.in_flight >= self.slots {
            return None;
        }
        let failing_may = self.in_flight_failing < self.slots_failing;
        let failing_first = if failing_may { self.ready_failing.first() } else { None };
        let failing = match (self.ready.first(), failing_first) {
            (Some(healthy), Some(failing)) => failing < healthy,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        let line = if failing { &mut self.ready_failing } else { &mut self.ready };
        let (_, org) = line.pop_first()?;
        let entry = self.orgs.get_mut(&org)?;
        let head = entry.head?;
        let claim = Claim { org, sequence: head.sequence };
        let attempt = head.attempts.saturating_add(1);
        entry.place = Place::InFlight { claim, attempt, failing };
        self.in_flight += 1;
        self.in_flight_failing += usize::from(failing);
        Some(Start { claim, attempt, failing })
    }

    /// Puts an org with a head where it belongs. One that was ready before keeps its `ticket`.
    fn place(&mut self, now: Duration, org: OrgNumber, mut entry: Entry, ticket: Option<u64>) {
        entry.place = if entry.paused || entry.head.is_some_and(|head| head.held) {
            self.held += 1;
            Place::Held
        } else if entry.due > now {
            self.delayed.insert((entry.due, org));
            Place::Delayed { due: entry.due }
        } else {
            let ticket = ticket.unwrap_or_else(|| {
                self.next_ticket += 1;
                self.next_ticket
            });
            // After a restart only the head's attempts tell that the last one failed.
            let failing = self.failing.contains(&org) || entry.head.is_some_and(|head| head.attempts > 0);
            let line = if failing { &mut self.ready_failing } else { &mut self.ready };
            line.insert((ticket, org));
            Place::Ready { ticket, failing }
        };
        self.orgs.insert(org, entry);
    }

    /// Takes an org out of its place. Answers the ticket of one that was ready.
    fn unplace(&mut self, org: OrgNumber, entry: &Entry) -> Option<u64> {
        match entry.place {
            Place::Ready { ticket, failing } => {
                let line = if failing { &mut self.ready_failing } else { &mut self.ready };
                line.remove(&(ticket, org));
                return Some(ticket);
            }
            Place::Delayed { due } => {
                self.delayed.remove(&(due, org));
            }
            Place::InFlight { failing, .. } => {
                self.in_flight -= 1;
                self.in_flight_failing -= usize::from(failing);
            }
            Place::Held => self.held -= 1,
        }
        None
    }
}
