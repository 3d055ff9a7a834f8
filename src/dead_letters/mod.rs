//! Give up, the last step of the path: what is done with dead letters afterwards. Finding one by name, and retrying or discarding many by
//! filter, in the order in which they were accepted. Not here: burying (the queue does it in the commit that takes the delivery
//! off its queue) and showing (`api`).

#[cfg(test)]
mod tests;

use crate::model::{DeadLetterId, EventId, UnixMs};
use crate::queue::{Changed, DeadFilter, Queue, Refused};

/// Dead letters looked for at a time.
const STEP: usize = 500;
/// The most candidates named when an event's id is not enough to tell.
const CANDIDATES_MAX: usize = 20;

/// What to do with the dead letters that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Put them into their orgs' queues again, in their original order, with fresh attempts.
    Retry(At),
    /// Remove them for good.
    Discard,
    /// Only count them.
    Count,
}

/// Where in its queue what is retried goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum At {
    /// Behind all that waits, with sequences of its own.
    #[default]
    Tail,
    /// Before all that waits and has not been tried, with the sequences that it had.
    Head,
}

impl At {
    /// Every place.
    pub const ALL: [At; 2] = [At::Tail, At::Head];

    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            At::Tail => "tail",
            At::Head => "head",
        }
    }
}

impl std::str::FromStr for At {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<At, &'static str> {
        At::ALL.into_iter().find(|at| at.word() == text).ok_or("must be \"tail\" or \"head\"")
    }
}

/// Puts dead letters into their orgs' queues again.
pub async fn retry(queue: &Queue, ids: Vec<DeadLetterId>, at: At) -> Result<Changed, Refused> {
    match at {
        At::Tail => queue.revive(ids).await,
        At::Head => queue.revive_at_head(ids).await,
    }
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Run {
    /// Dead letters that matched.
    pub matched: u64,
    /// Those among them that were retried or discarded. Fewer than `matched` when some went away meanwhile, or when
    /// their org has been deleted.
    pub done: u64,
    /// Why the run ended before its end.
    pub refused: Option<Refused>,
}

/// Applies `action` to every dead letter that matches and had died by `now`, in the order in which they were accepted. One that
/// dies again while the run goes on is not met a second time. Ends at the first that is refused.
pub async fn run(queue: &Queue, filter: &DeadFilter, action: Action, now: UnixMs) -> Result<Run, Refused> {
    let end = UnixMs(now.0.saturating_add(1));
    let until = Some(filter.until.map_or(end, |until| until.min(end)));
    let filter = DeadFilter { until, ..filter.clone() };
    let mut total = Run::default();
    let mut after: Option<DeadLetterId> = None;
    loop {
        let (ids, next) = queue.dead_in_order(filter.clone(), after, STEP).await?;
        total.matched += ids.len() as u64;
        let step = match action {
            Action::Retry(at) => retry(queue, ids, at).await,
            Action::Discard => queue.discard(ids).await,
            Action::Count => Ok(Changed::default()),
        };
        match step {
            Ok(step) => {
                total.done += step.done;
                total.refused = step.refused;
            }
            Err(refused) if total.done == 0 => return Err(refused),
            Err(refused) => total.refused = Some(refused),
        }
        match next {
            Some(next) if total.refused.is_none() => after = Some(next),
            _ => return Ok(total),
        }
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    None,
    /// This one.
    One(DeadLetterId),
    /// An event's id that several dead letters share, one for each webhook that gave up: the first of them.
    Several(Vec<DeadLetterId>),
}

/// Finds a dead letter by its own id, or by its event's id if that is enough.
pub async fn find(queue: &Queue, name: &str) -> Result<Found, Refused> {
    // An event's id may look like a dead letter's: the dead letter's own id goes first.
    if let Ok(id) = name.parse::<DeadLetterId>()
        && queue.dead_show(id, false).await?.is_some()
    {
        return Ok(Found::One(id));
    }
    let Ok(event_id) = name.parse::<EventId>() else { return Ok(Found::None) };
    let filter = DeadFilter { event_id: Some(event_id), ..DeadFilter::default() };
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = queue.dead_list(filter.clone(), after, CANDIDATES_MAX).await?;
        found.extend(page.items.iter().map(|dead_letter| dead_letter.id));
        if page.next.is_none() || found.len() >= CANDIDATES_MAX {
            break;
        }
        after = page.next;
    }
    Ok(match found.as_slice() {
        [] => Found::None,
        [id] => Found::One(*id),
        _ => Found::Several(found),
    })
}
