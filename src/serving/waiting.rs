//! Connections that were accepted while every place was taken. Who has fewest connections comes first, so that a peer with
//! many does not stand before one with none.

use std::collections::{HashMap, VecDeque};

use tokio::time::Instant;

use super::door::Peer;

/// Connections in the order in which they came. What is behind a full room waits in the kernel.
pub(super) struct Waiting<A> {
    all: VecDeque<One<A>>,
    room: usize,
}

/// A connection that waits.
pub(super) struct One<A> {
    pub(super) accepted: A,
    pub(super) peer: Peer,
    /// Since when.
    pub(super) since: Instant,
}

impl<A> Waiting<A> {
    /// Room for so many.
    pub(super) fn new(room: usize) -> Waiting<A> {
        Waiting { all: VecDeque::new(), room }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= self.room
    }

    pub(super) fn add(&mut self, accepted: A, peer: Peer) {
        self.all.push_back(One { accepted, peer, since: Instant::now() });
    }

    /// The one whose turn it is; `connected` says how many connections each peer has.
    pub(super) fn first(&self, connected: impl FnOnce() -> HashMap<Peer, usize>) -> Option<&One<A>> {
        self.all.get(self.place_of_first(connected))
    }

    /// Takes out the one whose turn it is.
    pub(super) fn take_first(&mut self, connected: impl FnOnce() -> HashMap<Peer, usize>) -> Option<One<A>> {
        let place = self.place_of_first(connected);
        self.all.remove(place)
    }

    fn place_of_first(&self, connected: impl FnOnce() -> HashMap<Peer, usize>) -> usize {
        // Mostly there is one at most, and nothing is to be counted.
        if self.all.len() <= 1 {
            return 0;
        }
        let connected = connected();
        let has = |one: &One<A>| connected.get(&one.peer).copied().unwrap_or_default();
        // Of equals the first, which came before the others.
        self.all.iter().enumerate().min_by_key(|(_, one)| has(one)).map_or(0, |(place, _)| place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_fewest_connections_comes_first_and_of_equals_who_came_first() {
        let [many, few, none] = [7, 8, 9].map(Peer::User);
        let connected = || HashMap::from([(many, 5), (few, 1)]);
        let mut waiting = Waiting::new(5);
        for (number, peer) in [many, many, few, none, none].into_iter().enumerate() {
            assert!(!waiting.is_full());
            waiting.add(number, peer);
        }
        assert!(waiting.is_full());
        let mut order = Vec::new();
        while let Some(place) = waiting.first(connected).map(|one| one.accepted) {
            assert_eq!(waiting.take_first(connected).map(|one| one.accepted), Some(place));
            order.push(place);
        }
        assert_eq!(order, [3, 4, 2, 0, 1]);
        assert!(waiting.is_empty() && waiting.take_first(connected).is_none());
    }
}
