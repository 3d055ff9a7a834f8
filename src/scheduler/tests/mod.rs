//! The whole path in virtual time: the real store in a temporary directory, the real loop, and receivers that answer
//! by a script instead of a network. Time jumps ahead whenever only timers are waited for, so minutes of waiting take
//! milliseconds and every start is seen to the millisecond.
//!
//! The store's committer is a thread that paused time knows nothing of: whoever awaits the store holds time meanwhile
//! ([`HeldTime`]).

mod answers;
mod endings;
mod operators;
mod order;
mod schedule;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::time::Instant;

use super::attempt::Sender;
use super::{Scheduler, Settings};
use crate::clock;
use crate::delivery::{Addressed, Made};
use crate::model::{
    Attempt, DeadLetter, Event, FailReason, OrgNumber, OrgSettings, Retry, Sequence, Target, UrlTemplate,
    Webhook,
};
use crate::queue::{Append, DeadFilter, MasterKey, Org, Queue, QueueLimits, StoreOptions};

/// Keeps paused time from jumping ahead while it is alive.
pub(super) struct HeldTime {
    _release: std::sync::mpsc::Sender<()>,
}

impl HeldTime {
    pub(super) fn new() -> HeldTime {
        let (release, released) = std::sync::mpsc::channel::<()>();
        // Tokio does not advance paused time while a blocking task runs; this one ends when its sender is dropped.
        tokio::task::spawn_blocking(move || released.recv().ok());
        HeldTime { _release: release }
    }
}

/// Awaits the store with time held.
async fn held<T>(verb: impl Future<Output = T>) -> T {
    let _held = HeldTime::new();
    verb.await
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// What a receiver does with an attempt.
#[derive(Debug, Clone, Copy)]
enum Answer {
    Ok,
    Fail,
    /// 410.
    Gone,
    /// Fails, and asks to be left alone for this long.
    RetryAfter(Duration),
    Panic,
    /// Answers after this time with this status.
    Late(Duration, u16),
    Hang,
}

/// An attempt that reached a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    org: String,
    sequence: u64,
    attempt: u32,
    /// When it started, since the script was made.
    at: Duration,
}

/// The receivers of all orgs.
#[derive(Clone)]
pub(super) struct Script(Arc<Receivers>);

type Rule = dyn FnMut(&Seen) -> Answer + Send;

struct Receivers {
    epoch: Instant,
    rule: Mutex<Box<Rule>>,
    seen: Mutex<Vec<Seen>>,
    /// Attempts that wait for their answer, by org.
    open: Mutex<HashMap<String, u32>>,
}

impl fmt::Debug for Script {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Script")
    }
}

/// Counts an org's open attempts down however the attempt ends.
struct Open<'a>(&'a Receivers, &'a str);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        *self.0.open.lock().unwrap().get_mut(self.1).unwrap() -= 1;
    }
}

impl Script {
    fn new(rule: impl FnMut(&Seen) -> Answer + Send + 'static) -> Script {
        Script(Arc::new(Receivers {
            epoch: Instant::now(),
            rule: Mutex::new(Box::new(rule)),
            seen: Mutex::default(),
            open: Mutex::default(),
        }))
    }

    pub(super) async fn attempt(&self, addressed: &Addressed<'_>, number: u32) -> Made {
        let Addressed { delivery, webhook, .. } = addressed;
        let org = webhook.description.clone();
        let began = Instant::now();
        let seen = Seen {
            org: org.clone(),
            sequence: delivery.sequence.0,
            attempt: number,
            at: began.duration_since(self.0.epoch),
        };
        assert_eq!(delivery.payload.len() as u64, delivery.size, "the payload is there");
        let open = {
            let mut open = self.0.open.lock().unwrap();
            let count = open.entry(org.clone()).or_default();
            *count += 1;
            assert_eq!(*count, 1, "never two in flight for {org}");
            Open(&self.0, &org)
        };
        let answer = self.0.rule.lock().unwrap()(&seen);
        self.0.seen.lock().unwrap().push(seen);
        let mut retry_after = None;
        let status = match answer {
            Answer::Ok => 200,
            Answer::Fail => 503,
            Answer::Gone => 410,
            Answer::RetryAfter(after) => {
                retry_after = Some(after);
                503
            }
            Answer::Panic => panic!("as the script says"),
            Answer::Late(after, status) => {
                tokio::time::sleep(after).await;
                status
            }
            Answer::Hang => std::future::pending().await,
        };
        drop(open);
        let attempt = Attempt {
            number,
            at: clock::now(),
            duration_ms: u32::try_from(began.elapsed().as_millis()).unwrap(),
            status: Some(status),
            error: (status != 200).then_some(FailReason::Status),
            detail: String::new(),
            excerpt: String::new(),
        };
        Made { attempt, retry_after, headers: http::HeaderMap::new(), starved: false }
    }

    fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().unwrap().clone()
    }

    /// The org's attempts: (sequence, attempt, start in ms).
    fn seen_of(&self, org: &str) -> Vec<(u64, u32, u128)> {
        let seen = self.seen();
        seen.iter().filter(|s| s.org == org).map(|s| (s.sequence, s.attempt, s.at.as_millis())).collect()
    }
}

/// A store, a running scheduler and scripted receivers.
struct Rig {
    dir: TempDir,
    queue: Queue,
    scheduler: Scheduler,
    script: Script,
    settings: Settings,
}

impl Rig {
    async fn new(settings: Settings, rule: impl FnMut(&Seen) -> Answer + Send + 'static) -> Rig {
        let dir = TempDir::new().unwrap();
        let script = Script::new(rule);
        let (queue, scheduler) = open(&dir, &script, settings.clone()).await;
        Rig { dir, queue, scheduler, script, settings }
    }

    /// Ends scheduler and store, as a shutdown without patience does, and opens the same directory again.
    async fn restart(mut self, rule: impl FnMut(&Seen) -> Answer + Send + 'static) -> Rig {
        self.scheduler.drain(Duration::ZERO).await;
        held(self.queue.close()).await;
        drop(self.queue);
        self.script = Script::new(rule);
        let (queue, scheduler) = open(&self.dir, &self.script, self.settings.clone()).await;
        Rig { queue, scheduler, ..self }
    }

    /// Creates an org with one webhook and this retry schedule.
    async fn org(&self, name: &str, retry: Retry) -> Arc<Org> {
        let at = clock::now();
        let settings = OrgSettings {
            plan: None,
            description: String::new(),
            max_deliveries: None,
            max_bytes: None,
            max_webhooks: None,
            created_at: at,
            updated_at: at,
        };
        assert!(held(self.queue.put_org(name.parse().unwrap(), settings)).await.unwrap());
        self.put_webhook(name, retry, true).await;
        self.queue.directory().org(&name.parse().unwrap()).unwrap()
    }

    async fn put_webhook(&self, org: &str, retry: Retry, enabled: bool) {
        let target = Target::Url(UrlTemplate::fixed("https://receiver.example/"));
        let webhook = Webhook {
            retry,
            enabled,
            // Tells the script whose it is: a delivery does not name its org.
            description: org.into(),
            ..Webhook::new("orders".parse().unwrap(), target, clock::now())
        };
        held(self.queue.put_webhook(&org.parse().unwrap(), webhook)).await.unwrap();
    }

    /// Appends `count` events; answers the sequence of the first.
    async fn append(&self, org: &Arc<Org>, count: usize) -> Sequence {
        let event = |_| Append {
            org: org.clone(),
            event: Event {
                id: format!("evt_{}", uuid::Uuid::now_v7().simple()).parse().unwrap(),
                id_given: false,
                event_type: "order.paid".parse().unwrap(),
                payload: Bytes::from_static(b"{\"n\":1}"),
                attributes: BTreeMap::new(),
            },
            webhooks: vec!["orders".parse().unwrap()],
            accepted_at: clock::now(),
        };
        let appended = held(self.queue.append((0..count).map(event).collect())).await;
        appended.into_iter().next().unwrap().unwrap().sequence.unwrap()
    }

    /// Waits, in virtual time, until nothing of the org is left in its queue.
    async fn drained(&self, org: OrgNumber) {
        wait_until(|| self.queue.summary(org).depth == 0).await;
    }

    async fn dead(&self) -> Vec<DeadLetter> {
        held(self.queue.dead_list(DeadFilter::default(), None, 1000)).await.unwrap().items
    }
}

async fn open(dir: &TempDir, script: &Script, settings: Settings) -> (Queue, Scheduler) {
    let options = StoreOptions {
        data_dir: dir.path().to_owned(),
        key: MasterKey([7; 32]),
        previous_key: None,
        cache_bytes: 16 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1_000_000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: crate::queue::Retention::default(),
    };
    let (queue, notices) =
        held(tokio::task::spawn_blocking(move || Queue::open(&options))).await.unwrap().unwrap();
    let scheduler = Scheduler::start_with(queue.clone(), notices, Sender::Scripted(script.clone()), settings);
    (queue, scheduler)
}

/// Looks every virtual 10 ms, for at most a virtual day.
async fn wait_until(mut condition: impl FnMut() -> bool) {
    for _ in 0..8_640_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(ms(10)).await;
    }
    panic!("the condition did not come true within a day");
}

/// One attempt, then dead.
fn once() -> Retry {
    Retry { attempts: 1, ..Retry::default() }
}
