//! PURE. What the outside has seen, and the one judgement over it: every acknowledged event is delivered, queued or dead;
//! per org, nothing ran ahead of what is still queued; at most the delivery that was in flight may be sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An org's name and a delivery's sequence in it.
pub type Place = (String, u64);

/// One request that reached the receiver, written down before it was answered.
#[derive(Debug, Clone)]
pub struct Request {
    /// Where in which queue.
    pub place: Place,
    /// The event.
    pub event: String,
    /// What it was answered with.
    pub status: u16,
}

impl Request {
    fn took(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// What producers and receivers have seen so far.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// The event of each delivery that was acknowledged.
    pub acknowledged: BTreeMap<Place, String>,
    /// Requests in order of arrival.
    pub requests: Vec<Request>,
    /// Requests whose body or headers were wrong.
    pub wrong: Vec<String>,
    /// Crashes that the store has been through.
    pub crashes: usize,
    /// Deliveries that wait per org, roughly: acknowledged, and not yet taken or given up.
    pub waiting: BTreeMap<String, i64>,
}

/// A delivery that a store still has.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Where in which queue.
    pub place: Place,
    /// The event.
    pub event: String,
    /// Attempts that were counted.
    pub attempts: usize,
    /// Whether the payload is the one that was handed in.
    pub whole: bool,
}

/// What a store holds after a crash.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// Deliveries waiting, each org's in order.
    pub queued: Vec<Kept>,
    /// Dead letters.
    pub dead: Vec<Kept>,
    /// Records that could not be read.
    pub quarantined: u64,
    /// Files in sled's blob directory.
    pub blob_files: u64,
}

/// A broken promise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Broken {
    /// The store did not open.
    NotOpened(String),
    /// Acknowledged (or already attempted), and neither delivered nor kept.
    Lost(Place),
    /// In the queue and in the dead letters, or twice in one.
    Twice(Place),
    /// Delivered and still queued behind another head: it would be sent again out of order.
    Repeats(Place),
    /// Delivered, and a dead letter all the same.
    DeadThoughDelivered(Place),
    /// Attempted or given up although an earlier delivery still waits.
    RanAhead(Place),
    /// Not in the order of sequences.
    Disorder(Place),
    /// Some of a change's events and not the others.
    InPart(String),
    /// Another event or payload than was handed in.
    Altered(Place),
    /// The count of attempts is not what the receiver saw.
    Miscounted { place: Place, counted: usize, seen: usize },
    /// Something could not be read.
    Unreadable(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self:?}")
    }
}

/// The id of one of the events of a change, with how many it has in it.
pub fn event_of_change(change: &str, number: usize, of: usize) -> String {
    format!("{change}-of{of}_{number}")
}

/// The change that an event is of, and how many events it has; `None` for an event by itself.
fn change_of(event: &str) -> Option<(&str, usize)> {
    let (change, _) = event.rsplit_once('_')?;
    Some((change, change.rsplit_once("-of")?.1.parse().ok()?))
}

impl Ledger {
    /// Notes an acknowledgement: an event's deliveries have consecutive sequences.
    pub fn acknowledge(&mut self, org: &str, event: &str, sequence: u64, deliveries: u64) {
        for sequence in sequence..sequence + deliveries {
            self.acknowledged.insert((org.to_owned(), sequence), event.to_owned());
            *self.waiting.entry(org.to_owned()).or_default() += 1;
        }
    }

    /// Notes a request; `last` says that no attempt follows, whatever the answer.
    pub fn note(&mut self, request: Request, last: bool) {
        if last || request.took() {
            *self.waiting.entry(request.place.0.clone()).or_default() -= 1;
        }
        self.requests.push(request);
    }

    /// Compares with what a store holds after a crash. `attempts_max` is what every webhook allows.
    pub fn judge(&self, found: &Found, attempts_max: usize) -> Vec<Broken> {
        let taken: BTreeSet<&Place> =
            self.requests.iter().filter(|request| request.took()).map(|request| &request.place).collect();
        let queued: BTreeSet<&Place> = found.queued.iter().map(|kept| &kept.place).collect();
        let dead: BTreeSet<&Place> = found.dead.iter().map(|kept| &kept.place).collect();
        let mut broken = Vec::new();

        // What a receiver has seen was in the store before: it counts like what was acknowledged.
        let known = self.acknowledged.keys().chain(self.requests.iter().map(|request| &request.place));
        for place in known.collect::<BTreeSet<_>>() {
            if !(taken.contains(place) || queued.contains(place) || dead.contains(place)) {
                broken.push(Broken::Lost(place.clone()));
            }
        }
        if found.queued.len() + found.dead.len() > queued.union(&dead).count() {
            broken.extend(queued.intersection(&dead).map(|place| Broken::Twice((*place).clone())));
        }
        broken.extend(taken.intersection(&dead).map(|place| Broken::DeadThoughDelivered((*place).clone())));

        let mut heads: BTreeMap<&str, &Kept> = BTreeMap::new();
        let mut last: BTreeMap<&str, u64> = BTreeMap::new();
        for kept in &found.queued {
            let (org, sequence) = (kept.place.0.as_str(), kept.place.1);
            let is_head = heads.insert(org, heads.get(org).copied().unwrap_or(kept)).is_none();
            if last.insert(org, sequence).is_some_and(|before| before >= sequence) {
                broken.push(Broken::Disorder(kept.place.clone()));
            }
            if taken.contains(&kept.place) && !is_head {
                broken.push(Broken::Repeats(kept.place.clone()));
            }
        }
        for place in self.requests.iter().map(|request| &request.place).chain(dead) {
            if heads.get(place.0.as_str()).is_some_and(|head| place.1 > head.place.1) {
                broken.push(Broken::RanAhead(place.clone()));
            }
        }
        for kept in found.queued.iter().chain(&found.dead) {
            let other = self.acknowledged.get(&kept.place).is_some_and(|event| *event != kept.event);
            if other || !kept.whole {
                broken.push(Broken::Altered(kept.place.clone()));
            }
        }
        for request in &self.requests {
            if self.acknowledged.get(&request.place).is_some_and(|event| *event != request.event) {
                broken.push(Broken::Altered(request.place.clone()));
            }
        }
        self.judge_changes(found, &mut broken);
        self.judge_attempts(heads.into_values(), found, attempts_max, &mut broken);
        if found.quarantined + found.blob_files > 0 {
            let (records, blobs) = (found.quarantined, found.blob_files);
            broken.push(Broken::Unreadable(format!("{records} records quarantined, {blobs} blob files")));
        }
        broken.extend(self.wrong.iter().map(|what| Broken::Unreadable(what.clone())));
        broken.sort();
        broken.dedup();
        broken
    }

    /// What was delivered or is kept of a change is all of it: one that was cut off has left nothing.
    fn judge_changes(&self, found: &Found, broken: &mut Vec<Broken>) {
        let kept = found.queued.iter().chain(&found.dead).map(|kept| kept.event.as_str());
        let events: BTreeSet<&str> =
            kept.chain(self.requests.iter().map(|request| request.event.as_str())).collect();
        let mut changes: BTreeMap<(&str, usize), usize> = BTreeMap::new();
        for change in events.into_iter().filter_map(change_of) {
            *changes.entry(change).or_default() += 1;
        }
        let in_part = changes.into_iter().filter(|((_, of), events)| events != of);
        broken.extend(in_part.map(|((change, _), _)| Broken::InPart(change.to_owned())));
    }

    /// Each crash may cost the count of the one attempt that was in flight.
    fn judge_attempts<'a>(
        &self,
        heads: impl Iterator<Item = &'a Kept>,
        found: &Found,
        attempts_max: usize,
        broken: &mut Vec<Broken>,
    ) {
        let mut counts: BTreeMap<&Place, usize> = BTreeMap::new();
        for request in &self.requests {
            *counts.entry(&request.place).or_default() += 1;
        }
        let seen = |place| counts.get(place).copied().unwrap_or(0);
        let crashes = self.crashes + 1;
        for head in heads {
            let (counted, seen) = (head.attempts, seen(&head.place));
            if counted > seen || seen > counted + crashes {
                broken.push(Broken::Miscounted { place: head.place.clone(), counted, seen });
            }
        }
        for dead in &found.dead {
            let (counted, seen) = (dead.attempts, seen(&dead.place));
            if counted != attempts_max || seen < attempts_max || seen > attempts_max + crashes {
                broken.push(Broken::Miscounted { place: dead.place.clone(), counted, seen });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(sequence: u64) -> Place {
        ("acme".to_owned(), sequence)
    }

    fn kept(sequence: u64, attempts: usize) -> Kept {
        Kept { place: place(sequence), event: format!("e{sequence}"), attempts, whole: true }
    }

    fn request(sequence: u64, status: u16) -> Request {
        Request { place: place(sequence), event: format!("e{sequence}"), status }
    }

    /// Four acknowledged events: the first delivered, the second dead after two attempts, the third refused once.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        for sequence in 1..=4 {
            ledger.acknowledge("acme", &format!("e{sequence}"), sequence, 1);
        }
        ledger.requests = vec![request(1, 200), request(2, 500), request(2, 500), request(3, 500)];
        ledger
    }

    fn found() -> Found {
        Found { queued: vec![kept(3, 1), kept(4, 0)], dead: vec![kept(2, 2)], ..Found::default() }
    }

    #[test]
    fn a_faithful_store_is_in_order() {
        assert_eq!(ledger().judge(&found(), 2), []);
        let not_yet_counted = Found { queued: vec![kept(3, 0), kept(4, 0)], ..found() };
        assert_eq!(ledger().judge(&not_yet_counted, 2), []);
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let check = |found: Found, expected: Broken| {
            let broken = ledger().judge(&found, 2);
            assert!(broken.contains(&expected), "{expected} not in {broken:?}");
        };
        check(Found { queued: vec![kept(3, 1)], ..found() }, Broken::Lost(place(4)));
        check(Found { queued: vec![kept(4, 0)], ..found() }, Broken::Lost(place(3)));
        check(Found { dead: vec![], ..found() }, Broken::Lost(place(2)));
        check(
            Found { queued: vec![kept(2, 0), kept(3, 1), kept(4, 0)], ..found() },
            Broken::RanAhead(place(3)),
        );
        check(Found { queued: vec![kept(2, 1), kept(3, 0), kept(4, 0)], ..found() }, Broken::Twice(place(2)));
        check(Found { queued: vec![kept(4, 0), kept(3, 0)], ..found() }, Broken::Disorder(place(3)));
        check(
            Found { queued: vec![kept(0, 0), kept(1, 0), kept(3, 0), kept(4, 0)], ..found() },
            Broken::Repeats(place(1)),
        );
        check(Found { dead: vec![kept(1, 2), kept(2, 2)], ..found() }, Broken::DeadThoughDelivered(place(1)));
        let altered = Kept { whole: false, ..kept(3, 1) };
        check(Found { queued: vec![altered, kept(4, 0)], ..found() }, Broken::Altered(place(3)));
        check(
            Found { queued: vec![kept(3, 2), kept(4, 0)], ..found() },
            Broken::Miscounted { place: place(3), counted: 2, seen: 1 },
        );
    }

    #[test]
    fn a_part_of_a_change_is_seen() {
        let part = |number: usize| {
            let sequence = u64::try_from(number + 4).expect("a small number");
            Kept { event: event_of_change("c7", number, 3), ..kept(sequence, 0) }
        };
        let with = |parts: &[usize]| {
            let queued = [vec![kept(3, 1), kept(4, 0)], parts.iter().copied().map(part).collect()].concat();
            ledger().judge(&Found { queued, ..found() }, 2)
        };
        let in_part = [Broken::InPart("c7-of3".to_owned())];
        assert_eq!(with(&[]), []);
        assert_eq!(with(&[1]), in_part);
        assert_eq!(with(&[1, 2]), in_part);
        assert_eq!(with(&[1, 2, 3]), []);
    }
}
