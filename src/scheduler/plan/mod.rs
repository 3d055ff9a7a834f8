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
//! Receivers that hang leave room for those that answer: orgs whose last attempt failed may fill three quarters of the
//! slots, and together with those that nothing is known of yet seven eighths ([`Standing`]). So an org that was delivered
//! to is served even while every other one hangs. What is known of orgs is remembered while their queue is empty.
//!
//! Time is the monotonic time since the scheduler started; wall-clock times have been converted before they get here.
//! Every event costs O(log n) in the number of orgs known.

#[cfg(test)]
mod rules;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
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

/// What an org's last attempt says of its receivers. In this order: a later one has fewer slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It was delivered.
    Proven,
    /// There was none since the start.
    Unknown,
    /// It failed.
    Failing,
}

impl Standing {
    /// Every standing, in order.
    pub const ALL: [Standing; 3] = [Standing::Proven, Standing::Unknown, Standing::Failing];

    /// How much of `all` orgs of this standing or a later one may take together; at least 1, or they would never be tried.
    #[must_use]
    pub fn share(self, all: usize) -> usize {
        let kept_for_better = match self {
            Standing::Proven => 0,
            Standing::Unknown => all.div_ceil(8),
            Standing::Failing => all.div_ceil(4),
        };
        (all - kept_for_better).max(1)
    }
}

/// One of something for each standing.
#[derive(Debug, Clone, Default)]
struct ByStanding<T>([T; 3]);

impl<T> ByStanding<T> {
    fn of(&mut self, standing: Standing) -> &mut T {
        let [proven, unknown, failing] = &mut self.0;
        match standing {
            Standing::Proven => proven,
            Standing::Unknown => unknown,
            Standing::Failing => failing,
        }
    }

    /// In order, each with its standing.
    fn iter(&self) -> impl Iterator<Item = (Standing, &T)> {
        Standing::ALL.into_iter().zip(&self.0)
    }
}

/// An attempt to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Which head.
    pub claim: Claim,
    /// The attempt's number, 1 for the first.
    pub attempt: u32,
    /// What is known of the org's receivers.
    pub standing: Standing,
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
    /// There was no file descriptor for it.
    Starved,
    /// Our own trouble: nothing is known to be settled.
    Fault,
}

/// What is to be done now, and when to ask again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Attempts to start.
    pub start: Vec<Start>,
    /// Orgs whose attempt in flight is for a delivery that has left the queue: to be cancelled if it still waits for
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
    /// False once stopped: nothing starts any more.
    choosing: bool,
    /// Every org with a head or an attempt in flight.
    orgs: HashMap<OrgNumber, Entry>,
    /// Ready orgs by ticket.
    ready: ByStanding<BTreeSet<(u64, OrgNumber)>>,
    /// The next place in the line of ready orgs.
    next_ticket: u64,
    /// Delayed orgs by due time.
    delayed: BTreeSet<(Duration, OrgNumber)>,
    in_flight: ByStanding<usize>,
    held: u64,
    /// What is known of orgs; of others nothing is.
    standings: HashMap<OrgNumber, Standing>,
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
    Ready { ticket: u64, standing: Standing },
    Delayed { due: Duration },
    InFlight { claim: Claim, attempt: u32, standing: Standing },
    Held,
}

impl Entry {
    /// Whether what is in flight has left the queue. A head with a lower sequence has been put before it: that one waits
    /// until the attempt has ended.
    fn is_overtaken(&self) -> bool {
        match self.place {
            Place::InFlight { claim, .. } => self.head.is_none_or(|head| head.sequence > claim.sequence),
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
            choosing: true,
            orgs: HashMap::new(),
            ready: ByStanding::default(),
            next_ticket: 0,
            delayed: BTreeSet::new(),
            in_flight: ByStanding::default(),
            held: 0,
            standings: HashMap::new(),
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
                self.standings.insert(org, Standing::Proven);
            }
            End::Deferred { .. } | End::Exhausted => {
                self.standings.insert(org, Standing::Failing);
            }
            End::Void | End::Cancelled | End::Starved | End::Fault => {}
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

    /// The delivery of this org that is in flight, and which attempt of it.
    #[must_use]
    pub fn in_flight(&self, org: OrgNumber) -> Option<(Sequence, u32)> {
        match self.orgs.get(&org)?.place {
            Place::InFlight { claim, attempt, .. } => Some((claim.sequence, attempt)),
            _ => None,
        }
    }

    /// How many orgs are where.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let fronts = self.ready.iter().filter_map(|(_, line)| line.first());
        let due = |&(_, org): &(u64, OrgNumber)| self.orgs.get(&org).map(|entry| entry.due);
        Counts {
            in_flight: self.in_flight.iter().map(|(_, count)| *count as u64).sum(),
            ready: self.ready.iter().map(|(_, line)| line.len() as u64).sum(),
            delayed: self.delayed.len() as u64,
            held: self.held,
            oldest_due: fronts.filter_map(due).min(),
        }
    }

    /// The ready org that is first in line and may have a slot.
    fn start_next(&mut self) -> Option<Start> {
        let fronts = self.ready.iter().filter(|(standing, _)| self.has_slot(*standing));
        let fronts = fronts.filter_map(|(standing, line)| Some((*line.first()?, standing)));
        let ((ticket, org), standing) = fronts.min()?;
        self.ready.of(standing).remove(&(ticket, org));
        let entry = self.orgs.get_mut(&org)?;
        let head = entry.head?;
        let claim = Claim { org, sequence: head.sequence };
        let attempt = head.attempts.saturating_add(1);
        entry.place = Place::InFlight { claim, attempt, standing };
        *self.in_flight.of(standing) += 1;
        Some(Start { claim, attempt, standing })
    }

    /// Whether one more of this standing leaves what is kept for better ones.
    fn has_slot(&self, standing: Standing) -> bool {
        Standing::ALL.into_iter().filter(|bound| *bound <= standing).all(|bound| {
            let taken: usize =
                self.in_flight.iter().filter(|(one, _)| *one >= bound).map(|(_, count)| *count).sum();
            taken < bound.share(self.slots)
        })
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
            let standing = match self.standings.get(&org) {
                _ if entry.head.is_some_and(|head| head.attempts > 0) => Standing::Failing,
                Some(standing) => *standing,
                None => Standing::Unknown,
            };
            self.ready.of(standing).insert((ticket, org));
            Place::Ready { ticket, standing }
        };
        self.orgs.insert(org, entry);
    }

    /// Takes an org out of its place. Answers the ticket of one that was ready.
    fn unplace(&mut self, org: OrgNumber, entry: &Entry) -> Option<u64> {
        match entry.place {
            Place::Ready { ticket, standing } => {
                self.ready.of(standing).remove(&(ticket, org));
                return Some(ticket);
            }
            Place::Delayed { due } => {
                self.delayed.remove(&(due, org));
            }
            Place::InFlight { standing, .. } => *self.in_flight.of(standing) -= 1,
            Place::Held => self.held -= 1,
        }
        None
    }
}
