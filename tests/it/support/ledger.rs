//! The judge of every run with crashes: what was acknowledged against what arrived and what is left.
//!
//! Producers note what was acknowledged, one producer per org, so that the order of acknowledgements is the order of
//! acceptance. The rest is read from the receiver and from the daemon at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use serde_json::Value;

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
            let ids = |list: Vec<Value>, key: &str| -> Vec<String> {
                list.iter().map(|item| item[key].as_str().unwrap().to_owned()).collect()
            };
            let queued = ids(daemon.queue(org), "id");
            let dead = ids(daemon.dead_letters(org), "event_id");
            nothing_is_lost(org, accepted, &received, &queued, &dead);
            first_seen_order(org, accepted, &received, &dead);
            repeats_and_tries(org, &received, terms);
            one_at_a_time(org, &received);
        }
    }
}

/// Every acknowledged event is delivered, queued or dead.
#[track_caller]
fn nothing_is_lost(
    org: &str,
    accepted: &[Accepted],
    received: &[Received],
    queued: &[String],
    dead: &[String],
) {
    let delivered = received.iter().filter(|request| request.ended.is_some_and(|(_, status)| status == 200));
    let mut found: BTreeSet<&str> = delivered.map(Received::id).collect();
    found.extend(queued.iter().chain(dead).map(String::as_str));
    let lost: Vec<_> = accepted.iter().filter(|event| !found.contains(event.id.as_str())).collect();
    assert!(lost.is_empty(), "{org} lost {lost:?}");
}

/// The order of first arrival is the order of acceptance, with the bodies that were handed in. Only what was given up
/// before it ever arrived whole (on a machine so slow that its attempts timed out) may be missing.
#[track_caller]
fn first_seen_order(org: &str, accepted: &[Accepted], received: &[Received], dead: &[String]) {
    let mut seen = BTreeSet::new();
    let first: Vec<_> = received.iter().filter(|request| seen.insert(request.id())).collect();
    let given_up = |event: &&Accepted| !seen.contains(event.id.as_str()) && dead.contains(&event.id);
    let mut expected = accepted.iter().filter(|event| !given_up(event));
    for request in first {
        let next =
            expected.next().unwrap_or_else(|| panic!("{org}: {} was never acknowledged", request.id()));
        if request.id() != next.id {
            let around = received.iter().filter(|near| near.number + 40 > request.number).take(60);
            panic!(
                "{org}: {} arrived where {} was next; around it: {:#?}",
                request.id(),
                next.id,
                brief(around)
            );
        }
    }
    let bodies: BTreeMap<_, _> =
        accepted.iter().map(|event| (event.id.as_str(), event.payload.as_str())).collect();
    for request in received {
        assert_eq!(request.body, bodies[request.id()], "{org}: a body changed");
    }
}

/// What a person needs to see of requests.
fn brief<'a>(requests: impl Iterator<Item = &'a Received>) -> Vec<String> {
    let line = |request: &Received| {
        let (sequence, attempt) = (request.header("postrider-sequence"), request.header("postrider-attempt"));
        let status = request.ended.map(|(_, status)| status);
        format!("{} {} sequence {sequence} attempt {attempt} {status:?}", request.at, request.id())
    };
    requests.map(line).collect()
}

/// At most one repeat per org and crash; never more than attempts + crashes tries; no way back. A request that is sent
/// again because the receiver closed a kept connection under it counts for nothing.
#[track_caller]
pub fn repeats_and_tries(org: &str, received: &[Received], terms: Terms) {
    let try_of = |request: &Received| (request.id().to_owned(), request.number_in("postrider-attempt"));
    let mut made = BTreeSet::new();
    let mut repeats = Vec::new();
    let mut tries = BTreeMap::<&str, usize>::new();
    let mut before: Option<&Received> = None;
    for request in received {
        let resent = before.is_some_and(|before| {
            before.kept && before.closed && !request.kept && try_of(before) == try_of(request)
        });
        if !resent {
            *tries.entry(request.id()).or_default() += 1;
            if !made.insert(try_of(request)) {
                repeats.push(request.id());
            }
        }
        before = Some(request);
    }
    assert!(repeats.len() <= terms.crashes, "{org}: {} crashes, but repeated {repeats:?}", terms.crashes);
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
pub fn one_at_a_time(org: &str, received: &[Received]) {
    for pair in received.windows(2) {
        if let Some((ended, _)) = pair[0].ended {
            assert!(ended <= pair[1].began, "{org}: two in flight: {pair:?}");
        }
    }
}
