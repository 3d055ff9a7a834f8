//! 4. Choose: which head is attempted when. One loop for all orgs; an idle org costs nothing.
//!
//! ```text
//!  queue --Notice--> loop --plan (PURE)--> attempt task: load, send, judge, done / defer / bury
//!                     ^                                                     |
//!                     +------------------------- ended ---------------------+
//! ```
//!
//! * `plan` knows where each org stands: ready, delayed, in flight or held, and says what starts now.
//! * `backoff` (PURE) is the schedule: how long to wait.
//! * `run` is the loop, `attempt` one attempt, `budget` the bound on payload bytes in flight.
//!
//! Limits: [`Settings::max_in_flight`] attempts and [`Settings::max_payload_bytes`] of payloads at once, of both at
//! most three quarters for orgs whose last attempt failed, and seven eighths for these and those that were not attempted
//! since the start. Memory grows with the number of orgs that have a head, not
//! with the length of their queues.
//!
//! Waiting uses the monotonic clock. A stored not-before time is converted once, when it is announced, and clamped to
//! the longest delay that the org's webhooks allow. The wait after an attempt made by this process is never converted:
//! it is counted from the monotonic end of that attempt.
//!
//! Not here: HTTP (that is `delivery`) and what is durable (that is `queue`).

mod attempt;
mod backoff;
mod budget;
mod figures;
mod label;
mod plan;
mod run;
mod starving;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::catalogue::Current;
use crate::clock;
use crate::delivery::{Addressed, Client, Trial};
use crate::model::{OrgNumber, Sequence, UnixMs};
use crate::queue::{Notice, Queue};
use attempt::{Context, Sender};
use budget::Budget;
pub use figures::Figures;
use plan::Plan;
use run::{Drain, Loop};
use starving::Starving;

/// What bounds the attempts in flight.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Attempts at once in the whole daemon; at least 1.
    pub max_in_flight: usize,
    /// Payload bytes of those attempts together; too little for one payload still lets one through.
    pub max_payload_bytes: u64,
    /// Where a payload has the values of a URL's variables.
    pub catalogue: Current,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { max_in_flight: 4096, max_payload_bytes: 256 * 1024 * 1024, catalogue: Current::default() }
    }
}

/// Where the orgs stand, for status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Attempts in flight.
    pub in_flight: u64,
    /// Heads that are due and wait for a slot.
    pub ready: u64,
    /// Heads that wait for their time.
    pub delayed: u64,
    /// Orgs that are paused or whose head is held, with something in their queue.
    pub held: u64,
    /// When the head that has been waiting for a slot for longest became due.
    pub oldest_due: Option<UnixMs>,
}

/// A handle on the running loop; cheap to clone. The loop runs until [`Scheduler::drain`].
#[derive(Debug, Clone)]
pub struct Scheduler {
    shared: Arc<Shared>,
    /// What the loop works with, while it does: a handle keeps no store open.
    context: Weak<Context>,
    commands: mpsc::UnboundedSender<Drain>,
}

/// What the loop and its handles share.
#[derive(Debug)]
struct Shared {
    /// Locked for one turn of the loop or one look at it, never over an await.
    plan: Mutex<Plan>,
    /// Turns of the loop.
    progress: AtomicU64,
    /// Where the plan's time starts.
    epoch: Instant,
    figures: Arc<Figures>,
}

impl Shared {
    fn plan<T>(&self, with: impl FnOnce(&mut Plan) -> T) -> T {
        with(&mut self.plan.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Scheduler {
    /// Starts the loop on the current tokio runtime. `notices` is what [`Queue::open`] gave.
    pub fn start(
        queue: Queue,
        notices: mpsc::UnboundedReceiver<Notice>,
        client: Client,
        settings: Settings,
    ) -> Scheduler {
        Scheduler::start_with(queue, notices, Sender::Http(Box::new(client)), settings)
    }

    fn start_with(
        queue: Queue,
        notices: mpsc::UnboundedReceiver<Notice>,
        sender: Sender,
        settings: Settings,
    ) -> Scheduler {
        let epoch = Instant::now();
        let plan = Mutex::new(Plan::new(settings.max_in_flight));
        let figures = Arc::new(Figures::default());
        let shared = Arc::new(Shared { plan, progress: AtomicU64::new(0), epoch, figures: figures.clone() });
        let budget = Budget::new(settings.max_payload_bytes);
        let (commands, received) = mpsc::unbounded_channel();
        let catalogue = settings.catalogue;
        let starving = Starving::default();
        let context = Arc::new(Context { queue, sender, budget, catalogue, epoch, figures, starving });
        let for_trials = Arc::downgrade(&context);
        let run = Loop {
            shared: shared.clone(),
            context,
            notices,
            commands: received,
            tasks: JoinSet::new(),
            cancels: HashMap::new(),
            draining: None,
        };
        tokio::spawn(run.run());
        Scheduler { shared, context: for_trials, commands }
    }

    /// The delivery of this org that is in flight, and which attempt of it.
    pub fn in_flight(&self, org: OrgNumber) -> Option<(Sequence, u32)> {
        self.shared.plan(|plan| plan.in_flight(org))
    }

    /// Makes one attempt outside the queue: no order, no retry, nothing kept. `None` if nothing can be sent any more.
    pub async fn trial(&self, addressed: &Addressed<'_>) -> Option<Trial> {
        let context = self.context.upgrade()?;
        attempt::caught(context.sender.trial(addressed)).await.flatten()
    }

    /// Where the orgs stand at this moment.
    pub fn snapshot(&self) -> Snapshot {
        let counts = self.shared.plan(|plan| plan.counts());
        let now = attempt::since(self.shared.epoch);
        Snapshot {
            in_flight: counts.in_flight,
            ready: counts.ready,
            delayed: counts.delayed,
            held: counts.held,
            oldest_due: counts.oldest_due.map(|due| run::wall_time(due, now, clock::now())),
        }
    }

    /// The attempts since the start.
    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.shared.figures
    }

    /// A number that grows at least once a second while the loop is alive.
    pub fn progress(&self) -> u64 {
        self.shared.progress.load(Ordering::Relaxed)
    }

    /// Starts no new attempt, waits up to `grace` for those in flight, cancels the rest and ends the loop. Answers how
    /// many were cancelled: their deliveries stay heads, with the attempt not counted.
    pub async fn drain(&self, grace: Duration) -> usize {
        let (answer, answered) = oneshot::channel();
        if self.commands.send(Drain { grace, answer }).is_err() {
            return 0;
        }
        answered.await.unwrap_or(0)
    }

    /// Resolves when the loop is gone: after [`Scheduler::drain`], or because of a fault, upon which nothing is
    /// delivered any more and the process should end.
    pub async fn gone(&self) {
        self.commands.closed().await;
    }
}
