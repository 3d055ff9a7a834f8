//! The committer: one thread through which everything that changes the store goes.
//!
//! It takes what is waiting (bounded by count and bytes), applies it in order with plain inserts and removals, flushes
//! once, and only then answers and tells the scheduler. While one flush runs the next batch gathers; nothing waits on
//! purpose. The first failed write ends it: what was in the batch is refused, and so is everything after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::store::Trouble;
use super::writer::Writer;
use super::{Refused, StoreHealth};

/// Changes in one batch: bounds how long the first of them waits for the others to be applied.
const BATCH_JOBS_MAX: usize = 512;
/// Payload bytes in one batch: what they become in the log stays well under a segment, and a settled head does not wait
/// long behind a stream of events. A larger batch would gain little: one flush for 256 events of 1 KiB is already a small
/// part of their cost.
const BATCH_BYTES_MAX: usize = 256 << 10;
/// Jobs that may wait for the committer before callers wait.
pub(super) const JOBS_WAITING_MAX: usize = 4096;
/// A commit that takes longer means that the disk or sled hangs: nothing but a new process helps.
const COMMIT_MAX: Duration = Duration::from_secs(30);
/// How often the watch looks at the committer and has it look after the disk and old records.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Sends an answer once it is known whether the batch is durable.
pub(super) type Answer = Box<dyn FnOnce(Result<(), Refused>) + Send>;

/// One change, to be applied by the committer.
pub(super) struct Job {
    /// Payload bytes it carries.
    pub(super) bytes: usize,
    /// Applies it. An error is our own trouble and poisons the store; a refusal travels inside the answer.
    pub(super) apply: Change,
}

/// See [`Job::apply`].
pub(super) type Change = Box<dyn FnOnce(&mut Writer) -> Result<Answer, Trouble> + Send>;

/// What the committer takes.
pub(super) enum Order {
    Change(Job),
    /// Look at the disk and forget what has expired.
    Tick,
    /// Commit what was handed in before this, then end.
    Stop(Answer),
}

/// Since when the committer has been busy with one batch, in milliseconds after `start`; 0 while it waits.
struct Pulse {
    start: Instant,
    busy_since_ms: AtomicU64,
}

impl Pulse {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX) + 1
    }

    fn stalled(&self) -> bool {
        let since = self.busy_since_ms.load(Ordering::Relaxed);
        since != 0 && Duration::from_millis(self.now_ms() - since.min(self.now_ms())) > COMMIT_MAX
    }
}

/// Starts the committer and its watch.
pub(super) fn start(
    writer: Writer,
    orders: mpsc::Receiver<Order>,
    ticks: mpsc::WeakSender<Order>,
    health: watch::Sender<StoreHealth>,
) -> std::io::Result<()> {
    let pulse = Arc::new(Pulse { start: Instant::now(), busy_since_ms: AtomicU64::new(0) });
    let watched = pulse.clone();
    std::thread::Builder::new().name("store-commit".to_owned()).spawn(move || {
        Committer { writer, orders, health, pulse }.run();
    })?;
    std::thread::Builder::new().name("store-watch".to_owned()).spawn(move || watch(&watched, &ticks))?;
    Ok(())
}

/// Ends the process when a commit hangs; otherwise has the committer tick.
fn watch(pulse: &Pulse, orders: &mpsc::WeakSender<Order>) {
    loop {
        std::thread::sleep(WATCH_EVERY);
        if pulse.stalled() {
            tracing::error!(
                seconds = COMMIT_MAX.as_secs(),
                "a commit hangs: ending the process so that it can be started again"
            );
            std::process::abort();
        }
        match orders.upgrade() {
            // A full queue of orders means that the committer is at work: the tick can wait.
            Some(orders) => drop(orders.try_send(Order::Tick)),
            None => return,
        }
    }
}

/// What was applied.
struct Batch {
    /// Whether anything was: a tick mostly finds nothing to do.
    changed: bool,
    /// Whom to tell that the store is closed.
    stop: Option<Answer>,
}

struct Committer {
    writer: Writer,
    orders: mpsc::Receiver<Order>,
    health: watch::Sender<StoreHealth>,
    pulse: Arc<Pulse>,
}

impl Committer {
    fn run(mut self) {
        let health = self.health.clone();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.serve()));
        // The writer lets go of the store before anybody hears that it is closed.
        drop(self);
        match ended {
            Ok(Some(stopped)) => {
                health.send_replace(StoreHealth::Failed("the store is closed".to_owned()));
                stopped(Ok(()));
            }
            Ok(None) => {}
            // However this thread ends, nobody may go on believing that the store takes writes.
            Err(_) => {
                health.send_replace(StoreHealth::Failed("the store's committer panicked".to_owned()));
            }
        }
    }

    /// Works until told to stop, and then returns whom to answer; or until a write fails or every handle is gone.
    fn serve(&mut self) -> Option<Answer> {
        while let Some(first) = self.next_order() {
            self.pulse.busy_since_ms.store(self.pulse.now_ms(), Ordering::Relaxed);
            let mut answers = Vec::new();
            let committed = self.apply_batch(first, &mut answers).and_then(|batch| {
                if batch.changed {
                    self.writer.commit()?;
                    if !answers.is_empty() {
                        self.writer.figures.batch.note(answers.len() as u64);
                    }
                }
                Ok(batch.stop)
            });
            self.pulse.busy_since_ms.store(0, Ordering::Relaxed);
            match committed {
                Ok(stop) => {
                    self.writer.publish(&self.health);
                    for answer in answers {
                        answer(Ok(()));
                    }
                    if stop.is_some() {
                        self.writer.store.sync_mark();
                        self.orders.close();
                        return stop;
                    }
                }
                Err(trouble) => {
                    self.fail(&trouble, answers);
                    return None;
                }
            }
        }
        None
    }

    /// Waits for an order, unless there is upkeep to go on with.
    fn next_order(&mut self) -> Option<Order> {
        if self.writer.has_upkeep() {
            match self.orders.try_recv() {
                Ok(order) => Some(order),
                Err(mpsc::error::TryRecvError::Empty) => Some(Order::Tick),
                Err(mpsc::error::TryRecvError::Disconnected) => None,
            }
        } else {
            self.orders.blocking_recv()
        }
    }

    /// Applies the first order and what else is waiting, within the bounds of a batch.
    fn apply_batch(&mut self, first: Order, answers: &mut Vec<Answer>) -> Result<Batch, Trouble> {
        let mut batch = Batch { changed: false, stop: None };
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(order) = next.take() {
            match order {
                Order::Change(job) => {
                    batch.changed = true;
                    bytes += job.bytes;
                    answers.push((job.apply)(&mut self.writer)?);
                }
                Order::Tick => batch.changed |= self.writer.upkeep()?,
                Order::Stop(stopped) => {
                    batch.stop = Some(stopped);
                    return Ok(batch);
                }
            }
            if answers.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
                next = self.orders.try_recv().ok();
            }
        }
        Ok(batch)
    }

    fn fail(&mut self, trouble: &Trouble, answers: Vec<Answer>) {
        let refusal = if trouble.is_disk_full() {
            Refused::DiskFull
        } else {
            Refused::Unavailable("a write failed".to_owned())
        };
        tracing::error!(error = %trouble, "a write to the store failed: nothing more is accepted or sent");
        self.health.send_replace(StoreHealth::Failed(trouble.to_string()));
        for answer in answers {
            answer(Err(refusal.clone()));
        }
        self.orders.close();
        // What still waits is dropped unapplied; its callers see the closed channel and refuse.
        while self.orders.try_recv().is_ok() {}
    }
}
