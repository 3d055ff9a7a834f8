//! Connections that were accepted and wait for a slot. Whoever has fewest is next, so that a peer who opens many waits for
//! himself and keeps nobody else out; of one peer's the first that came.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::door::Peer;

/// See the module's documentation. `A` is a connection.
pub(super) struct Lobby<A> {
    waiting: Vec<Waiting<A>>,
    max: usize,
}

struct Waiting<A> {
    peer: Peer,
    since: Instant,
    accepted: A,
}

impl<A> Lobby<A> {
    /// With so many seats.
    pub(super) fn new(max: usize) -> Lobby<A> {
        Lobby { waiting: Vec::new(), max }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= self.max
    }

    /// Lets a connection in. When there is no seat, whoever has most of them gives up the one that came last, be it this.
    pub(super) fn enter(&mut self, peer: Peer, accepted: A, now: Instant) {
        self.waiting.push(Waiting { peer, since: now, accepted });
        if self.waiting.len() > self.max {
            self.give_one_up();
        }
    }

    /// Breaks off the connection that came last of whoever has most here.
    pub(super) fn give_one_up(&mut self) {
        let mut counts = HashMap::<Peer, usize>::new();
        for waiting in &self.waiting {
            *counts.entry(waiting.peer).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(peer, count)| (*count, *peer));
        if let Some((most, _)) = most
            && let Some(last) = self.waiting.iter().rposition(|waiting| waiting.peer == most)
        {
            self.waiting.remove(last);
        }
    }

    /// Takes out who is next, given how many connections each peer has that are served.
    pub(super) fn next(&mut self, served: &HashMap<Peer, usize>) -> Option<(Peer, A)> {
        let (at, _) = self.foremost(served)?;
        let Waiting { peer, accepted, .. } = self.waiting.remove(at);
        Some((peer, accepted))
    }

    /// Who is next, and for how long he has waited.
    pub(super) fn longest_wait(
        &self,
        served: &HashMap<Peer, usize>,
        now: Instant,
    ) -> Option<(Peer, Duration)> {
        let (_, next) = self.foremost(served)?;
        Some((next.peer, now.duration_since(next.since)))
    }

    fn foremost(&self, served: &HashMap<Peer, usize>) -> Option<(usize, &Waiting<A>)> {
        // The first of those with fewest: they stand in the order in which they came.
        self.waiting
            .iter()
            .enumerate()
            .min_by_key(|(_, waiting)| served.get(&waiting.peer).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lobby(max: usize, peers: &[u32]) -> Lobby<usize> {
        let mut lobby = Lobby::new(max);
        for (number, peer) in peers.iter().enumerate() {
            lobby.enter(Peer::User(*peer), number, Instant::now());
        }
        lobby
    }

    fn all(mut lobby: Lobby<usize>, served: &[(u32, usize)]) -> Vec<usize> {
        let served = served.iter().map(|(peer, count)| (Peer::User(*peer), *count)).collect();
        std::iter::from_fn(|| lobby.next(&served)).map(|(_, number)| number).collect()
    }

    #[test]
    fn whoever_has_fewest_is_next_and_of_these_the_first_that_came() {
        assert_eq!(all(lobby(9, &[1, 1, 2, 3, 2]), &[(1, 50), (2, 1)]), [3, 2, 4, 0, 1]);
        assert_eq!(all(lobby(9, &[1, 2, 1]), &[]), [0, 1, 2]);
    }

    #[test]
    fn when_there_is_no_seat_whoever_has_most_gives_up_the_last_that_came() {
        assert_eq!(all(lobby(3, &[1, 1, 1, 2]), &[]), [0, 1, 3]);
        assert_eq!(all(lobby(3, &[1, 1, 2, 1]), &[]), [0, 1, 2], "the newcomer himself");
        assert_eq!(all(lobby(3, &[1, 2, 3, 3]), &[]), [0, 1, 2]);
        assert!(lobby(3, &[1, 2, 3]).is_full() && !lobby(3, &[1, 2]).is_full());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_that_of_who_is_next() {
        let mut lobby = lobby(3, &[1]);
        tokio::time::advance(Duration::from_secs(1)).await;
        lobby.enter(Peer::User(2), 7, Instant::now());
        tokio::time::advance(Duration::from_secs(1)).await;
        let wait = |served: &[(Peer, usize)]| {
            lobby.longest_wait(&served.iter().copied().collect(), Instant::now()).unwrap()
        };
        assert_eq!(wait(&[]), (Peer::User(1), Duration::from_secs(2)));
        assert_eq!(wait(&[(Peer::User(1), 1)]), (Peer::User(2), Duration::from_secs(1)));
    }
}
