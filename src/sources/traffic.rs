//! What came to each source lately, how often it was judged how, and how fast it may come. In memory: it begins anew with
//! the daemon.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::verdict::Verdict;
use crate::model::{EventId, OrgNumber, SourceId, UnixMs};
use crate::serving::Peer;

/// Requests that are remembered of each source.
const RECENT_MAX: usize = 32;
/// Sources of which something is remembered; of more, those that were quiet for longest are forgotten.
const SOURCES_MAX: usize = 4096;
/// A source whose verdicts change all the time is logged this often at most.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// A request, as an operator sees it afterwards: no header, no payload.
#[derive(Debug, Clone)]
pub struct Seen {
    /// When it was judged.
    pub at: UnixMs,
    /// How.
    pub verdict: Verdict,
    /// The status that it was answered with.
    pub status: u16,
    /// Who posted it.
    pub peer: Option<Peer>,
    /// What its sender calls it.
    pub event: Option<String>,
    /// What its sender knows it by.
    pub delivery_id: Option<String>,
    /// The events that it became, durable now: the first [`EVENT_IDS_MAX`] of them by id.
    pub event_ids: Vec<EventId>,
    /// How many events it became.
    pub events: usize,
    /// How many deliveries they have.
    pub deliveries: u64,
    /// How many such requests came one after another, this one the last: of those that came too fast, from one machine.
    pub times: u64,
    /// From its head to its answer.
    pub duration: Duration,
    /// Of its body, as far as it came.
    pub bytes: usize,
    /// Why it was not accepted, or why nothing is delivered, as far as it fits a line; empty if all is well.
    pub detail: String,
}

/// Event ids that are kept of a request.
pub const EVENT_IDS_MAX: usize = 8;
/// Characters of a detail that are kept.
const DETAIL_MAX: usize = 512;

impl Seen {
    /// Whether this is one more of the same that says nothing new. Else a flood would push out all that came before it.
    fn is_more_of(&self, last: &Seen) -> bool {
        let is_flood = matches!((self.verdict, last.verdict), (Verdict::RateLimited, Verdict::RateLimited));
        is_flood && self.peer == last.peer
    }

    /// What is kept of a detail.
    pub(super) fn detail(problem: &str) -> String {
        problem.chars().take(DETAIL_MAX).collect()
    }
}

/// What is known of one source's requests.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// The newest first.
    pub recent: Vec<Seen>,
    /// Requests by verdict, since the start.
    pub counts: BTreeMap<&'static str, u64>,
}

/// The requests of all sources.
#[derive(Default)]
pub struct Traffic {
    sources: Mutex<HashMap<(OrgNumber, SourceId), OfSource>>,
    totals: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

struct OfSource {
    recent: VecDeque<Seen>,
    counts: BTreeMap<&'static str, u64>,
    bucket: Bucket,
    used: Instant,
    logged: Option<(Verdict, Instant)>,
    warned: Option<Instant>,
}

/// A request's source, and the kind that it is counted under.
#[derive(Clone, Copy)]
pub struct To<'a> {
    /// The org.
    pub org: OrgNumber,
    /// The source.
    pub source: &'a SourceId,
    /// Its kind's word.
    pub kind: &'static str,
}

impl Traffic {
    /// Whether one more request to this source is within `rate` per second.
    pub fn admit(&self, to: To<'_>, rate: u64, now: Instant) -> bool {
        let mut sources = lock(&self.sources);
        of(&mut sources, to, now).bucket.take(rate, now)
    }

    /// Notes what became of a request. Whether that is worth a line of the log: it is judged otherwise than the last one.
    pub fn note(&self, to: To<'_>, seen: Seen, now: Instant) -> bool {
        *lock(&self.totals).entry((to.kind, seen.verdict.code())).or_default() += 1;
        let mut sources = lock(&self.sources);
        let known = of(&mut sources, to, now);
        *known.counts.entry(seen.verdict.code()).or_default() += 1;
        let verdict = seen.verdict;
        match known.recent.front_mut() {
            Some(last) if seen.is_more_of(last) => *last = Seen { times: last.times + 1, ..seen },
            _ => {
                known.recent.truncate(RECENT_MAX - 1);
                known.recent.push_front(seen);
            }
        }
        let changed = match known.logged {
            None => !verdict.is_good(),
            Some((last, at)) => {
                let differs = last.code() != verdict.code() && !(last.is_good() && verdict.is_good());
                differs && now.duration_since(at) >= LOG_PAUSE
            }
        };
        if changed || known.logged.is_none() {
            known.logged = Some((verdict, now));
        }
        changed
    }

    /// Whether a warning about a request of this source may be logged: whoever posts does not get to fill the log.
    pub fn may_warn(&self, to: To<'_>, now: Instant) -> bool {
        let mut sources = lock(&self.sources);
        let known = of(&mut sources, to, now);
        let may = known.warned.is_none_or(|last| now.duration_since(last) >= LOG_PAUSE);
        if may {
            known.warned = Some(now);
        }
        may
    }

    /// Counts a request to an address where nobody is.
    pub fn nowhere(&self) {
        *lock(&self.totals).entry(("none", Verdict::Nowhere.code())).or_default() += 1;
    }

    /// What came to a source.
    pub fn of(&self, org: OrgNumber, source: &SourceId) -> Summary {
        let sources = lock(&self.sources);
        sources.get(&(org, source.clone())).map_or_else(Summary::default, |known| Summary {
            recent: known.recent.iter().cloned().collect(),
            counts: known.counts.clone(),
        })
    }

    /// Forgets a source that is no more.
    pub fn forget(&self, org: OrgNumber, source: &SourceId) {
        lock(&self.sources).remove(&(org, source.clone()));
    }

    /// All requests by kind of source and verdict, since the start.
    pub fn totals(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        lock(&self.totals).clone()
    }
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

fn of<'a>(
    sources: &'a mut HashMap<(OrgNumber, SourceId), OfSource>,
    to: To<'_>,
    now: Instant,
) -> &'a mut OfSource {
    let key = (to.org, to.source.clone());
    if sources.len() >= SOURCES_MAX && !sources.contains_key(&key) {
        let quiet = sources.iter().min_by_key(|(_, known)| known.used).map(|(key, _)| key.clone());
        quiet.map(|key| sources.remove(&key));
    }
    let known = sources.entry(key).or_insert_with(|| OfSource {
        recent: VecDeque::new(),
        counts: BTreeMap::new(),
        bucket: Bucket { used: Duration::ZERO, at: now },
        used: now,
        logged: None,
        warned: None,
    });
    known.used = now;
    known
}

/// Lets a second's worth of requests through at once, and after that as many as the rate says.
struct Bucket {
    /// What is used of the second.
    used: Duration,
    at: Instant,
}

impl Bucket {
    fn take(&mut self, rate: u64, now: Instant) -> bool {
        const FULL: Duration = Duration::from_secs(1);
        let used = self.used.saturating_sub(now.duration_since(self.at));
        self.at = now;
        let one = FULL / u32::try_from(rate).unwrap_or(u32::MAX).max(1);
        let fits = used + one <= FULL;
        self.used = if fits { used + one } else { used };
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceId {
        "in".parse().unwrap()
    }

    fn seen(verdict: Verdict) -> Seen {
        Seen {
            at: UnixMs(0),
            verdict,
            status: 200,
            peer: None,
            event: None,
            delivery_id: None,
            event_ids: Vec::new(),
            events: 0,
            deliveries: 0,
            times: 1,
            duration: Duration::ZERO,
            bytes: 0,
            detail: String::new(),
        }
    }

    #[test]
    fn a_second_s_worth_comes_at_once_and_then_as_many_as_the_rate_says() {
        let (traffic, source, start) = (Traffic::default(), source(), Instant::now());
        let to = To { org: OrgNumber(1), source: &source, kind: "token" };
        let admitted = |at: Duration| (0..100).filter(|_| traffic.admit(to, 10, start + at)).count();
        assert_eq!(admitted(Duration::ZERO), 10);
        assert_eq!(admitted(Duration::from_millis(99)), 0);
        assert_eq!(admitted(Duration::from_millis(250)), 2);
        assert_eq!(admitted(Duration::from_secs(60)), 10);
        // Another source has a rate of its own.
        let other = To { org: OrgNumber(2), ..to };
        assert!(traffic.admit(other, 10, start));
    }

    #[test]
    fn only_so_many_requests_and_sources_are_remembered() {
        let (traffic, now) = (Traffic::default(), Instant::now());
        for number in 0..5000 {
            let source = format!("in-{number}").parse().unwrap();
            let to = To { org: OrgNumber(1), source: &source, kind: "token" };
            traffic.note(to, seen(Verdict::Accepted), now + Duration::from_millis(number));
        }
        assert_eq!(lock(&traffic.sources).len(), SOURCES_MAX);
        assert!(traffic.of(OrgNumber(1), &"in-0".parse().unwrap()).recent.is_empty());
        let last: SourceId = "in-4999".parse().unwrap();
        for _ in 0..100 {
            traffic.note(To { org: OrgNumber(1), source: &last, kind: "token" }, seen(Verdict::Probe), now);
        }
        let summary = traffic.of(OrgNumber(1), &last);
        assert_eq!((summary.recent.len(), summary.counts["probe"]), (RECENT_MAX, 100));
        assert_eq!(traffic.totals()[&("token", "accepted")], 5000);
    }

    #[test]
    fn a_flood_is_one_line_of_the_last_requests() {
        let (traffic, source, now) = (Traffic::default(), source(), Instant::now());
        let to = To { org: OrgNumber(1), source: &source, kind: "token" };
        let from =
            |verdict, last: u8| Seen { peer: Some(Peer::at([10, 0, 0, last].into())), ..seen(verdict) };
        traffic.note(to, from(Verdict::Accepted, 1), now);
        for _ in 0..1000 {
            traffic.note(to, from(Verdict::RateLimited, 1), now);
        }
        traffic.note(to, from(Verdict::RateLimited, 2), now);
        let lines: Vec<_> =
            traffic.of(to.org, &source).recent.iter().map(|seen| (seen.verdict.code(), seen.times)).collect();
        assert_eq!(lines, [("rate-limited", 1), ("rate-limited", 1000), ("accepted", 1)]);
    }

    #[test]
    fn a_change_of_verdict_is_a_line_now_and_then() {
        let (traffic, source, start) = (Traffic::default(), source(), Instant::now());
        let to = To { org: OrgNumber(1), source: &source, kind: "token" };
        let note = |verdict, second| traffic.note(to, seen(verdict), start + Duration::from_secs(second));
        assert!(!note(Verdict::Accepted, 0), "all is well");
        assert!(!note(Verdict::Repeated, 20));
        assert!(note(Verdict::NotVerified("signature-mismatch"), 21));
        assert!(!note(Verdict::NotVerified("signature-mismatch"), 50));
        assert!(note(Verdict::Accepted, 51), "well again");
        assert!(!note(Verdict::Refused, 55), "too soon");
        assert!(note(Verdict::Refused, 62));
    }
}
