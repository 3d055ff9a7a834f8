//! The judge of every run with crashes: what was acknowledged against what arrived and what is left.
//!
//! Producers note what was acknowledged, one producer per org, so that the order of acknowledgements is the order of
//! acceptance. The rest is read from the receiver and from the daemon at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use super::{Daemon, Received, Receiver};

/// An acknowledged event.
#[derive(Debug, Clone)]
pub struct Accepted {
    pub id: String,
    pub payload: String,
}

/// What was acknowledged, by org.
#[derive(Default)]
pub struct Ledger(Mutex<BTreeMap<String, Vec<Accepted>>>);

/// What is known about the run.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Attempts per delivery.
    pub attempts: usize,
    /// How often the daemon was killed.
    pub crashes: usize,
}

impl Ledger {
    /// Notes an acknowledgement.
    pub fn accepted(&self, org: &str, id: &str, payload: &str) {
        let event = Accepted { id: id.to_owned(), payload: payload.to_owned() };
        self.0.lock().unwrap().entry(org.to_owned()).or_default().push(event);
    }

    /// How many were acknowledged.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().values().map(Vec::len).sum()
    }

    /// Holds the run against the promises; the queues may still hold something. `path` is where an org's events go.
    #[track_caller]
    pub fn check(
        &self,
        daemon: &Daemon<'_>,
        receiver: &Receiver,
        path: impl Fn(&str) -> String,
        terms: Terms,
    ) {
        for (org, accepted) in self.0.lock().unwrap().iter() {
            let received = receiver.at(&path(org));
            nothing_is_lost(daemon, org, accepted, &received);
            first_seen_order(org, accepted, &received);
            repeats_and_tries(org, &received, terms);
            one_at_a_time(org, &received);
        }
    }
}

/// Every acknowledged event is delivered, queued or dead.
#[track_caller]
fn nothing_is_lost(daemon: &Daemon<'_>, org: &str, accepted: &[Accepted], received: &[Received]) {
    let delivered = received.iter().filter(|request| request.ended.is_some_and(|(_, status)| status == 200));
    let mut found: BTreeSet<String> = delivered.map(|request| request.id().to_owned()).collect();
    found.extend(daemon.queue(org).iter().map(|item| item["id"].as_str().unwrap().to_owned()));
    found.extend(daemon.dead_letters(org).iter().map(|dead| dead["event_id"].as_str().unwrap().to_owned()));
    let lost: Vec<_> = accepted.iter().filter(|event| !found.contains(&event.id)).collect();
    assert!(lost.is_empty(), "{org} lost {lost:?}");
}

/// The order of first arrival is the order of acceptance, with the bodies that were handed in and without a gap.
#[track_caller]
fn first_seen_order(org: &str, accepted: &[Accepted], received: &[Received]) {
    let mut seen = BTreeSet::new();
    let first: Vec<_> = received.iter().filter(|request| seen.insert(request.id().to_owned())).collect();
    assert!(first.len() <= accepted.len(), "{org}: something arrived that was never acknowledged");
    for (request, event) in first.iter().zip(accepted) {
        assert_eq!(request.id(), event.id, "{org}: out of order");
    }
    let bodies: BTreeMap<_, _> =
        accepted.iter().map(|event| (event.id.as_str(), event.payload.as_str())).collect();
    for request in received {
        assert_eq!(request.body, bodies[request.id()], "{org}: a body changed");
    }
}

/// At most one repeat per org and crash; never more than attempts + crashes tries; no way back.
#[track_caller]
fn repeats_and_tries(org: &str, received: &[Received], terms: Terms) {
    let mut made = BTreeSet::new();
    let again =
        |request: &&Received| !made.insert((request.id().to_owned(), request.number_in("postrider-attempt")));
    let repeats: Vec<_> = received.iter().filter(again).map(Received::id).collect();
    assert!(repeats.len() <= terms.crashes, "{org}: {} crashes, but repeated {repeats:?}", terms.crashes);

    let mut tries = BTreeMap::<&str, usize>::new();
    for request in received {
        *tries.entry(request.id()).or_default() += 1;
    }
    let too_many: Vec<_> =
        tries.iter().filter(|(_, tries)| **tries > terms.attempts + terms.crashes).collect();
    assert!(too_many.is_empty(), "{org}: tried too often: {too_many:?}");

    for pair in received.windows(2) {
        let [before, after] = [&pair[0], &pair[1]].map(|request| request.number_in("postrider-sequence"));
        assert!(before <= after, "{org}: sequence {after} came after {before}");
    }
}

/// Never two in flight. Requests cut off by a crash have no end.
#[track_caller]
fn one_at_a_time(org: &str, received: &[Received]) {
    for pair in received.windows(2) {
        if let Some((ended, _)) = pair[0].ended {
            assert!(ended <= pair[1].began, "{org}: two in flight: {pair:?}");
        }
    }
}
