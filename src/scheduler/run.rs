//! The loop: announcements and ended attempts in, attempts and a wake-up time out. The plan decides; this only waits,
//! starts and cancels.
//!
//! Cause before effect: the queue announces what an outcome changed before it answers the attempt that handed it in.
//! So when an attempt has ended, its announcement is in the channel already, and every announcement that is there is
//! taken in before any end that was seen before looking.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::Shared;
use super::attempt::{self, Context};
use super::backoff;
use super::plan::{Announced, End, Start};
use crate::clock;
use crate::model::{OrgNumber, UnixMs};
use crate::queue::{Notice, Refused};

/// The loop turns at least this often, so that its progress can be watched.
const TURN_MAX: Duration = Duration::from_secs(1);
/// Announcements taken from the channel at a time; bounds the buffer, not the work.
const NEWS_MAX: usize = 1024;
/// What a grace beyond the range of the clock is taken for: a day.
const GRACE_MAX: Duration = Duration::from_secs(86_400);
/// How long after a drain's grace attempts may take to hand in an answer they already have. A commit takes
/// milliseconds; a disk that hangs for longer must not hold up the shutdown.
const SETTLE_MAX: Duration = Duration::from_secs(5);

/// Ends the loop: wait `grace` for the attempts in flight, cancel the rest, answer how many those were.
#[derive(Debug)]
pub(super) struct Drain {
    pub grace: Duration,
    pub answer: oneshot::Sender<usize>,
}

/// An ended task: which org's, and the result unless it panicked.
type Ended = (OrgNumber, Option<Result<End, Refused>>);

pub(super) struct Loop {
    pub shared: Arc<Shared>,
    pub context: Arc<Context>,
    pub notices: mpsc::UnboundedReceiver<Notice>,
    pub commands: mpsc::UnboundedReceiver<Drain>,
    /// The attempts in flight.
    pub tasks: JoinSet<Ended>,
    /// Dropping an org's cancels its attempt.
    pub cancels: HashMap<OrgNumber, oneshot::Sender<()>>,
    pub draining: Option<Draining>,
}

/// A shutdown under way.
pub(super) struct Draining {
    /// When patience ends: first with receivers, then with the store.
    deadline: Instant,
    cancelled: bool,
    abandoned: usize,
    answers: Vec<oneshot::Sender<usize>>,
}

impl Loop {
    pub(super) async fn run(mut self) {
        let mut news = Vec::with_capacity(NEWS_MAX);
        let mut ends = Vec::new();
        let mut announcing = true;
        let mut tick = Instant::now() + TURN_MAX;
        let mut wake_at = tick;
        let mut sleep = std::pin::pin!(sleep_until(tick));
        loop {
            if sleep.deadline() != wake_at {
                sleep.as_mut().reset(wake_at);
            }
            tokio::select! {
                biased;
                Some(drain) = self.commands.recv() => self.drain(drain),
                count = self.notices.recv_many(&mut news, NEWS_MAX), if announcing => announcing = count > 0,
                Some(ended) = self.tasks.join_next() => ends.push(ended),
                () = &mut sleep => {}
            }
            while let Some(ended) = self.tasks.try_join_next() {
                ends.push(ended);
            }
            for _ in 0..self.notices.len() {
                news.extend(self.notices.try_recv());
            }
            let due = self.turn(&mut news, &mut ends);
            self.shared.progress.fetch_add(1, Ordering::Relaxed);
            if self.drained() {
                return;
            }
            let now = Instant::now();
            if tick <= now {
                tick = now + TURN_MAX;
            }
            let deadline = self.draining.as_ref().map(|draining| draining.deadline);
            wake_at = [due, deadline].into_iter().flatten().fold(tick, Instant::min);
        }
    }

    /// Takes in what happened and does what follows. Answers when the next head is due.
    fn turn(&mut self, news: &mut Vec<Notice>, ends: &mut Vec<Result<Ended, JoinError>>) -> Option<Instant> {
        let now = attempt::since(self.context.epoch);
        let announced: Vec<_> = news.drain(..).map(|notice| self.convert(now, &notice)).collect();
        let ended: Vec<_> = ends.drain(..).filter_map(|ended| self.ended(ended)).collect();
        let step = self.shared.plan(|plan| {
            for announced in &announced {
                plan.announced(now, announced);
            }
            for (org, end, store_failed) in ended {
                if store_failed {
                    plan.stop();
                }
                plan.ended(now, org, end);
            }
            plan.step(now)
        });
        // Before anything starts, so that nobody is cancelled in place of an attempt that has just ended.
        for org in step.abort {
            self.cancels.remove(&org);
        }
        for start in step.start {
            self.start(start);
        }
        step.wake_at.and_then(|at| self.context.epoch.checked_add(at))
    }

    /// The stored wait becomes one on the monotonic clock.
    fn convert(&self, now: Duration, notice: &Notice) -> Announced {
        let due = match notice.head.and_then(|head| head.not_before) {
            None => now,
            not_before => {
                let org = self.context.queue.directory().by_number(notice.org);
                let longest = org.and_then(|org| org.webhooks.values().map(|hook| hook.longest_wait()).max());
                backoff::due(now, not_before, clock::now(), longest.unwrap_or(Duration::ZERO))
            }
        };
        Announced { org: notice.org, head: notice.head, due, paused: notice.paused }
    }

    /// What an ended task means to the plan, and whether the store has failed.
    fn ended(&mut self, joined: Result<Ended, JoinError>) -> Option<(OrgNumber, End, bool)> {
        // Tasks catch their panics and nobody aborts them, except the runtime when it goes down.
        let (org, result) = joined.ok()?;
        self.cancels.remove(&org);
        let (end, store_failed) = match result {
            Some(Ok(end)) => (end, false),
            Some(Err(Refused::Unavailable(reason))) => {
                error!(reason, "the store has failed: no attempt is started any more");
                (End::Fault, true)
            }
            // Its org was deleted meanwhile.
            Some(Err(Refused::UnknownOrg)) => (End::Void, false),
            Some(Err(error)) => {
                error!(org_number = org.0, %error, "the store refused an outcome: the attempt will be repeated");
                (End::Fault, false)
            }
            None => (End::Fault, false),
        };
        if end == End::Cancelled
            && let Some(draining) = &mut self.draining
            && draining.cancelled
        {
            draining.abandoned += 1;
        }
        Some((org, end, store_failed))
    }

    fn start(&mut self, start: Start) {
        let org = start.claim.org;
        let (cancel, cancelled) = oneshot::channel();
        self.cancels.insert(org, cancel);
        let run = attempt::run(self.context.clone(), start, cancelled);
        self.tasks.spawn(async move { (org, attempt::caught(run).await) });
    }

    fn drain(&mut self, drain: Drain) {
        self.shared.plan(super::plan::Plan::stop);
        let now = Instant::now();
        let deadline = now.checked_add(drain.grace).unwrap_or(now + GRACE_MAX);
        let draining = self.draining.get_or_insert_with(|| {
            info!(
                in_flight = self.tasks.len(),
                grace_ms = drain.grace.as_millis(),
                "no new attempts; waiting for those in flight"
            );
            Draining { deadline, cancelled: false, abandoned: 0, answers: Vec::new() }
        });
        if !draining.cancelled {
            // Whoever asks last is the most impatient.
            draining.deadline = draining.deadline.min(deadline);
        }
        draining.answers.push(drain.answer);
    }

    /// Moves a shutdown on. True when it is complete and the loop is to end.
    fn drained(&mut self) -> bool {
        let Some(draining) = &mut self.draining else { return false };
        if Instant::now() >= draining.deadline && !self.tasks.is_empty() {
            if draining.cancelled {
                warn!(attempts = self.tasks.len(), "the store did not take the outcome of attempts in time");
                draining.abandoned += self.tasks.len();
                self.tasks.abort_all();
                self.tasks.detach_all();
            } else {
                draining.cancelled = true;
                draining.deadline = Instant::now() + SETTLE_MAX;
                self.cancels.clear();
            }
        }
        if !self.tasks.is_empty() {
            return false;
        }
        for answer in draining.answers.drain(..) {
            // Whoever asked may have stopped waiting.
            answer.send(draining.abandoned).ok();
        }
        true
    }
}

/// The wall-clock time of `at` on the plan's clock, as seen at `now`.
pub(super) fn wall_time(at: Duration, now: Duration, wall_now: UnixMs) -> UnixMs {
    let age = i64::try_from(now.saturating_sub(at).as_millis()).unwrap_or(i64::MAX);
    UnixMs(wall_now.0.saturating_sub(age))
}
