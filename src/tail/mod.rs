//! What happens, told as it happens to whoever listens: events that are accepted, attempts and what comes of them, heads
//! that are given up or held, pauses, requests of sources.
//!
//! The rooms of the path hand facts down to a [`Hub`]; nobody here knows them. A listener has a queue of its own of so many
//! facts: one that reads too slowly loses those that do not fit and is told how many, at the place where they are missing.
//! Whoever tells never waits for one who listens, and without anybody who listens telling is one load of a counter.
//!
//! What is durable is told once it is. A fact names things; it holds no payload, no secret, no address of a receiver and
//! nothing that a receiver answered.

mod fact;
mod filter;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

pub use fact::{Fact, Happened};
pub use filter::Filter;

/// Who may listen at once.
pub const LISTENERS_MAX: usize = 16;
/// Facts that wait for one listener: a second of the busiest daemon, and a few MiB at most. One that names many webhooks
/// counts as several.
const WAITING_MAX: usize = 8192;
/// As many webhooks count as one fact.
const WEBHOOKS_PER_FACT: usize = 8;

/// Where facts are told and heard. Shared by everybody.
#[derive(Debug, Default)]
pub struct Hub {
    /// How many listen; read on the hot path.
    listeners: AtomicUsize,
    lines: Mutex<Vec<Arc<Line>>>,
}

/// What waits for one listener.
#[derive(Debug)]
struct Line {
    filter: Filter,
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    heard: VecDeque<Heard>,
    /// What they count as.
    weight: usize,
}

/// What a fact counts as.
fn weight(fact: &Fact) -> usize {
    1 + fact.webhooks.len() / WEBHOOKS_PER_FACT
}

/// What a listener hears.
#[derive(Debug, Clone)]
pub enum Heard {
    /// Something happened.
    Fact(Arc<Fact>),
    /// So many facts are missing here: they came faster than they were read.
    Lost(u64),
}

/// Nobody more may listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{LISTENERS_MAX} listen already: end one of them")]
pub struct TooMany;

impl Hub {
    /// Whether anybody listens.
    #[must_use]
    pub fn is_heard(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells what happened; it is put together only if somebody listens.
    pub fn tell(&self, fact: impl FnOnce() -> Fact) {
        if self.is_heard() {
            self.pass_on(&Arc::new(fact()));
        }
    }

    fn pass_on(&self, fact: &Arc<Fact>) {
        for line in self.lines().iter().filter(|line| line.filter.lets_through(fact)) {
            line.put(fact.clone());
        }
    }

    /// Listens from now on to what the filter lets through.
    ///
    /// # Errors
    /// Too many listen already.
    pub fn listen(self: &Arc<Hub>, filter: Filter) -> Result<Listener, TooMany> {
        let line = Arc::new(Line { filter, waiting: Mutex::default(), more: Notify::new() });
        let mut lines = self.lines();
        if lines.len() >= LISTENERS_MAX {
            return Err(TooMany);
        }
        lines.push(line.clone());
        self.listeners.store(lines.len(), Ordering::Relaxed);
        Ok(Listener { hub: self.clone(), line })
    }

    fn lines(&self) -> MutexGuard<'_, Vec<Arc<Line>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn put(&self, fact: Arc<Fact>) {
        let mut waiting = self.waiting();
        if waiting.weight < WAITING_MAX {
            waiting.weight += weight(&fact);
            waiting.heard.push_back(Heard::Fact(fact));
        } else if let Some(Heard::Lost(count)) = waiting.heard.back_mut() {
            *count += 1;
        } else {
            waiting.heard.push_back(Heard::Lost(1));
        }
        self.more.notify_one();
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears until it is dropped.
#[derive(Debug)]
pub struct Listener {
    hub: Arc<Hub>,
    line: Arc<Line>,
}

impl Listener {
    /// What comes next. Nothing is lost if this is not waited for to its end.
    pub async fn next(&mut self) -> Heard {
        loop {
            if let Some(heard) = self.at_once() {
                return heard;
            }
            self.line.more.notified().await;
        }
    }

    /// What is there already.
    pub fn at_once(&mut self) -> Option<Heard> {
        let mut waiting = self.line.waiting();
        let heard = waiting.heard.pop_front();
        if let Some(Heard::Fact(fact)) = &heard {
            waiting.weight = waiting.weight.saturating_sub(weight(fact));
        }
        heard
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut lines = self.hub.lines();
        lines.retain(|line| !Arc::ptr_eq(line, &self.line));
        self.hub.listeners.store(lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMs;

    fn fact(sequence: u64) -> Fact {
        let org = "acme".parse().unwrap();
        Fact { sequence: Some(sequence), ..Fact::new(Happened::Delivered, UnixMs(0), org) }
    }

    fn sequence(heard: Option<Heard>) -> Option<u64> {
        match heard {
            Some(Heard::Fact(fact)) => fact.sequence,
            _ => None,
        }
    }

    #[test]
    fn nothing_is_put_together_when_nobody_listens() {
        let hub = Arc::new(Hub::default());
        hub.tell(|| unreachable!("nobody listens"));
        let listener = hub.listen(Filter::default()).unwrap();
        assert!(hub.is_heard());
        drop(listener);
        hub.tell(|| unreachable!("nobody listens any more"));
    }

    #[tokio::test]
    async fn everybody_hears_in_order_what_their_filter_lets_through() {
        let hub = Arc::new(Hub::default());
        let mut all = hub.listen(Filter::default()).unwrap();
        let only_dead = Filter { happened: vec![Happened::Dead], ..Filter::default() };
        let mut dead = hub.listen(only_dead).unwrap();
        let heard = tokio::spawn(async move { (all.next().await, all.next().await, all.at_once()) });
        hub.tell(|| fact(1));
        hub.tell(|| Fact { happened: Happened::Dead, ..fact(2) });
        let (first, second, third) = heard.await.unwrap();
        assert_eq!([sequence(Some(first)), sequence(Some(second))], [Some(1), Some(2)]);
        assert!(third.is_none());
        assert_eq!((sequence(dead.at_once()), sequence(dead.at_once())), (Some(2), None));
    }

    #[test]
    fn who_reads_too_slowly_is_told_how_many_are_missing_and_where() {
        let hub = Arc::new(Hub::default());
        let mut slow = hub.listen(Filter::default()).unwrap();
        let most = WAITING_MAX as u64;
        for number in 0..most + 7 {
            hub.tell(|| fact(number));
        }
        for number in 0..most {
            assert_eq!(sequence(slow.at_once()), Some(number));
        }
        hub.tell(|| fact(most + 7));
        assert!(matches!(slow.at_once(), Some(Heard::Lost(7))));
        assert_eq!(sequence(slow.at_once()), Some(most + 7));
        assert!(slow.at_once().is_none());
    }

    #[test]
    fn so_many_may_listen_and_one_who_goes_makes_room() {
        let hub = Arc::new(Hub::default());
        let mut listeners: Vec<_> =
            (0..LISTENERS_MAX).map(|_| hub.listen(Filter::default()).unwrap()).collect();
        assert_eq!(hub.listen(Filter::default()).err(), Some(TooMany));
        listeners.pop();
        assert!(hub.listen(Filter::default()).is_ok());
    }
}
