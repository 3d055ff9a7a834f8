//! Names to addresses: asks each name once at a time, remembers answers for a while, and keeps names that never get an
//! answer from holding up the others.
//!
//! A lookup that takes long costs sockets or a thread, so their number is bounded, in three lanes. Everyone starts in the
//! first and has to leave it soon if others want in; who is not answered by then goes on in the second if there is room. A name that was
//! not answered lately waits its turn in the third. So hundreds of dead names take up the second and third lane, and a
//! living one finds the first free.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::resolver::{Answer, Source, Unresolved};

/// How long an attempt waits for an answer.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How long a lookup may stay in the first lane.
const FIRST_LANE_MAX: Duration = Duration::from_millis(250);
/// How long a name that was not answered is known for that.
const SILENT_FOR: Duration = Duration::from_secs(60);
/// Names that are remembered.
const NAMES_MAX: usize = 4096;

/// Looks names up; shared by all connections.
pub(in crate::delivery) struct Names {
    inner: Arc<Inner>,
}

struct Inner {
    source: Source,
    lanes: [Arc<Semaphore>; 3],
    table: Mutex<HashMap<Box<str>, Entry>>,
}

/// What is known of a name.
#[derive(Default)]
struct Entry {
    /// The lookup that is going on.
    asking: Option<watch::Receiver<Option<Answer>>>,
    answer: Option<(Answer, Instant)>,
    /// Until when it counts as one that is not answered.
    silent_until: Option<Instant>,
}

impl Entry {
    fn is_of_use(&self, now: Instant) -> bool {
        let later = |until: Option<Instant>| until.is_some_and(|until| until > now);
        self.asking.is_some()
            || later(self.answer.as_ref().map(|(_, until)| *until))
            || later(self.silent_until)
    }
}

/// A lookup's place in a lane. Whoever does the work holds it, a thread that cannot be stopped too.
pub(super) type Place = Arc<Mutex<Option<OwnedSemaphorePermit>>>;

impl Names {
    /// With at most `lookups_max` lookups at once.
    pub(in crate::delivery) fn new(source: Source, lookups_max: usize) -> Names {
        let lane = |part: usize| Arc::new(Semaphore::new((lookups_max / part).max(2)));
        let lanes = [lane(2), lane(4), lane(4)];
        Names { inner: Arc::new(Inner { source, lanes, table: Mutex::default() }) }
    }

    /// All addresses of a name. Answers within seconds, one way or the other.
    pub(in crate::delivery) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, Unresolved> {
        if let Some(known) = self.inner.source.at_hand(host)? {
            return Ok(known);
        }
        let mut asking = match Inner::find_or_ask(&self.inner, &host.to_ascii_lowercase()) {
            Ok(answer) => return answer,
            Err(asking) => asking,
        };
        match timeout(WAIT_MAX, asking.wait_for(Option::is_some)).await {
            Ok(Ok(answer)) => answer.clone().unwrap_or(Err(Unresolved::SILENT)),
            Ok(Err(_broken_off)) => Err(Unresolved::BROKEN_OFF),
            Err(_elapsed) => Err(Unresolved::SILENT),
        }
    }
}

impl Inner {
    fn table(&self) -> MutexGuard<'_, HashMap<Box<str>, Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known, or where the answer will come from.
    fn find_or_ask(inner: &Arc<Inner>, name: &str) -> Result<Answer, watch::Receiver<Option<Answer>>> {
        let now = Instant::now();
        let mut table = inner.table();
        if table.len() >= NAMES_MAX && !table.contains_key(name) {
            table.retain(|_, entry| entry.is_of_use(now));
            if table.len() >= NAMES_MAX {
                table.retain(|_, entry| entry.asking.is_some());
            }
        }
        let entry = table.entry(name.into()).or_default();
        match (&entry.answer, &entry.asking) {
            (Some((answer, until)), _) if *until > now => return Ok(answer.clone()),
            (_, Some(asking)) => return Err(asking.clone()),
            _ => {}
        }
        let (sender, receiver) = watch::channel(None);
        entry.asking = Some(receiver.clone());
        let silent = entry.silent_until.is_some_and(|until| until > now);
        tokio::spawn(inner.clone().ask(name.into(), sender, silent));
        Err(receiver)
    }

    async fn ask(self: Arc<Inner>, name: Box<str>, sender: watch::Sender<Option<Answer>>, silent: bool) {
        // However this ends, nobody goes on waiting for it.
        let mut forget = Forget { inner: &self, name: &name, ended: false };
        let [first, _, third] = &self.lanes;
        let lane = if silent { third } else { first };
        // The lanes are never closed.
        let Ok(permit) = lane.clone().acquire_owned().await else { return };
        {
            let mut table = self.table();
            // The table has one receiver; without another nobody is waiting any more.
            if sender.receiver_count() <= 1 {
                forget.ended = true;
                if let Some(entry) = table.get_mut(&name) {
                    entry.asking = None;
                }
                return;
            }
        }
        let (answer, keep, cut) = match self.answer(&name, permit, silent).await {
            Some((answer, keep)) => (answer, keep, false),
            None => (Err(Unresolved::CROWDED), Duration::ZERO, true),
        };
        let now = Instant::now();
        {
            let mut table = self.table();
            forget.ended = true;
            if let Some(entry) = table.get_mut(&name) {
                let is_silent = answer == Err(Unresolved::SILENT);
                entry.asking = None;
                entry.answer = Some((answer.clone(), now + keep));
                if !cut {
                    entry.silent_until = is_silent.then(|| now + SILENT_FOR);
                }
            }
        }
        sender.send_replace(Some(answer));
    }

    /// The answer and how long it is good; `None` if the lookup had to make room.
    async fn answer(
        &self,
        name: &str,
        permit: OwnedSemaphorePermit,
        silent: bool,
    ) -> Option<(Answer, Duration)> {
        let place: Place = Arc::new(Mutex::new(Some(permit)));
        let asking = timeout(self.source.patience(), self.source.ask(name, place.clone()));
        let mut asking = std::pin::pin!(asking);
        let unanswered = |_elapsed| (Err(Unresolved::SILENT), Duration::ZERO);
        let [first, second, _] = &self.lanes;
        let mut in_first_lane = !silent;
        while in_first_lane {
            if let Ok(answered) = timeout(FIRST_LANE_MAX, &mut asking).await {
                return Some(answered.unwrap_or_else(unanswered));
            }
            match second.clone().try_acquire_owned() {
                Ok(permit) => {
                    place.lock().unwrap_or_else(PoisonError::into_inner).replace(permit);
                    in_first_lane = false;
                }
                // While nobody else needs its place it may as well stay.
                Err(_full) if first.available_permits() > 0 => {}
                Err(_full) if self.source.can_be_cut() => return None,
                Err(_full) => {}
            }
        }
        Some(asking.await.unwrap_or_else(unanswered))
    }
}

/// Takes a lookup out of the table that ended without saying so.
struct Forget<'a> {
    inner: &'a Inner,
    name: &'a str,
    ended: bool,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        if !self.ended
            && let Some(entry) = self.inner.table().get_mut(self.name)
        {
            entry.asking = None;
        }
    }
}
