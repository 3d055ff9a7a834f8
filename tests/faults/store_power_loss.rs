//! The store alone under power loss, without daemon and network in between: many more commits in the same time, and so
//! cuts at moments that the slower whole path seldom meets. Same file system, same ledger, same judgement.
//!
//! The store works in a process of its own (this test binary, started again as [`host`]): a thread of this one that
//! waited for the file system which this process serves could not be killed. The two talk in lines: `@ack` says what was
//! acknowledged, `@request` what a receiver would see, and is answered before the store hears of the outcome.

use std::convert::Infallible;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use postrider::model::{
    Attempt, DeadReason, Event, FailReason, OrgId, OrgSettings, Source, SourceKind, Target, TokenHash,
    UnixMs, UrlTemplate, Webhook,
};
use postrider::queue::{
    Append, AppendChange, AppendRequest, AppendedEvent, AppendedRequest, Claim, MasterKey, Org, Queue,
    QueueLimits, Refused, RequestAnswer, StoreOptions,
};

use crate::lossyfs::{Faults, LossyFs};
use crate::rig::cut::{Cut, Report};
use crate::rig::daemon::wait_until;
use crate::rig::ledger::{Ledger, Request, event_of_change};
use crate::rig::load;
use crate::rig::receiver::{ATTEMPTS, SharedLedger, lock, planned};
use crate::rig::{alone, inspect, number_from_env};

/// Crash states of one opened store, before the next is opened on the last of them.
const STATES_PER_STORE: u64 = 50;
/// Appends wait while an org has this many deliveries waiting.
const BACKLOG_MAX: u64 = 50;

/// When everything happens.
const AT: UnixMs = UnixMs(1_700_000_000_000);

/// Where the host finds the data directory.
const DATA: &str = "POSTRIDER_TEST_HOST_DATA";
/// And the number of its first event.
const FIRST: &str = "POSTRIDER_TEST_HOST_FIRST";

/// What the host's tasks share.
#[derive(Clone)]
struct World {
    queue: Queue,
    next: Arc<AtomicU64>,
    talk: Arc<Mutex<()>>,
}

impl World {
    /// Tells the judge, and waits until it has taken note.
    fn tell(&self, line: &str) {
        let _one_at_a_time = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        println!("{line}");
        let mut noted = String::new();
        if std::io::stdin().read_line(&mut noted).unwrap_or(0) == 0 {
            std::process::exit(0); // nobody listens any more
        }
    }

    /// The org, made if it is not there yet.
    async fn org(&self, name: &str) -> Arc<Org> {
        let id: OrgId = name.parse().expect("a name");
        let settings = OrgSettings {
            plan: None,
            description: String::new(),
            max_deliveries: None,
            max_bytes: None,
            max_webhooks: None,
            created_at: AT,
            updated_at: AT,
        };
        let target = Target::Url(UrlTemplate::fixed("https://example.com/"));
        let webhook = Webhook::new("one".parse().expect("a name"), target, AT);
        if self.queue.directory().org(&id).is_none() {
            self.queue.put_org(id.clone(), settings).await.expect("an org");
            self.queue.put_webhook(&id, webhook).await.expect("a webhook");
        }
        self.queue.directory().org(&id).expect("the org")
    }

    /// Appends one to ten events at a time, or a change or a request of two to five.
    async fn produce(self, name: &'static str) -> Result<Infallible, Refused> {
        let org = self.org(name).await;
        loop {
            if self.queue.summary(org.number).depth > BACKLOG_MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            }
            match fastrand::u32(..8) {
                0 => {
                    self.change(name, &org).await?;
                    continue;
                }
                1 => {
                    self.request(name, &org).await?;
                    continue;
                }
                _ => {}
            }
            let events = (0..fastrand::usize(1..10)).map(|_| append(&org, self.next_id(name)));
            for appended in self.queue.append(events.collect()).await {
                let appended = appended?;
                let sequence = appended.sequence.expect("a delivery").0;
                self.tell(&format!("@ack {name} {} {sequence} {}", appended.id, appended.deliveries));
            }
        }
    }

    /// Appends a change. Every other one is given an id: then its seen id is written too.
    async fn change(&self, name: &str, org: &Arc<Org>) -> Result<(), Refused> {
        let (id, count) = (self.next_id(name), fastrand::usize(2..6));
        let events = (1..=count).map(|number| append(org, event_of_change(&id, number, count))).collect();
        let key = fastrand::bool().then(|| self.queue.change_key(&id.parse().expect("an id"), &[]));
        let change = AppendChange { org: Arc::clone(org), key, events, accepted_at: AT };
        let events = self.queue.append_change(change).await?.events;
        self.acknowledge(name, events);
        Ok(())
    }

    /// Appends what a request became. Every other one has an id: then it is remembered too.
    async fn request(&self, name: &str, org: &Arc<Org>) -> Result<(), Refused> {
        let (id, count) = (self.next_id(name), fastrand::usize(2..6));
        let events = (1..=count).map(|number| append(org, event_of_change(&id, number, count))).collect();
        let name_of_source = "in".parse().expect("a name");
        let source = Source::new(name_of_source, SourceKind::Token, TokenHash::of("token"), AT);
        let key = fastrand::bool().then(|| self.queue.request_key(&source, &id));
        let answer = RequestAnswer { content_type: String::new(), body: String::new() };
        let request = AppendRequest { org: Arc::clone(org), key, events, answer, accepted_at: AT };
        match self.queue.append_request(request).await? {
            AppendedRequest::Accepted(events) => self.acknowledge(name, events),
            AppendedRequest::Repeated(_) => panic!("no id is given twice"),
        }
        Ok(())
    }

    fn acknowledge(&self, name: &str, events: Vec<AppendedEvent>) {
        for event in events {
            let sequence = event.sequence.expect("a delivery").0;
            self.tell(&format!("@ack {name} {} {sequence} {}", event.id, event.deliveries));
        }
    }

    /// An id that no other event, change or request has.
    fn next_id(&self, name: &str) -> String {
        format!("{name}-{}", self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Plays scheduler and receiver: loads the head, decides as the receiver would, settles.
    async fn consume(self, name: &'static str) -> Result<Infallible, Refused> {
        let org = self.org(name).await;
        loop {
            let Some(head) = self.queue.summary(org.number).head else {
                tokio::time::sleep(Duration::from_micros(200)).await;
                continue;
            };
            let claim = Claim { org: org.number, sequence: head.sequence };
            let Some(delivery) = self.queue.load(claim).await? else { continue };
            let event = delivery.event_id.to_string();
            let number = head.attempts + 1;
            let status = planned(&event, "one", number as usize);
            self.tell(&format!("@request {name} {event} {} {status} {number}", head.sequence));
            let attempt = Attempt {
                number,
                at: AT,
                duration_ms: 1,
                status: Some(status),
                error: Some(FailReason::Status),
                detail: String::new(),
                excerpt: String::new(),
            };
            if status == 200 {
                self.queue.done(claim, delivery.size).await?;
            } else if number as usize >= ATTEMPTS {
                self.queue.bury(claim, Some(attempt), DeadReason::AttemptsExhausted, AT).await?;
            } else {
                self.queue.defer(claim, attempt, AT).await?;
            }
        }
    }
}

/// An event for the one webhook.
fn append(org: &Arc<Org>, id: impl AsRef<str>) -> Append {
    let event = Event {
        payload: load::payload_of(id.as_ref()).into(),
        id: id.as_ref().parse().expect("an id"),
        event_type: "order.created".parse().expect("a type"),
        id_given: true,
        attributes: std::collections::BTreeMap::default(),
    };
    let webhooks = vec!["one".parse().expect("a name")];
    Append { org: Arc::clone(org), event, webhooks, accepted_at: AT }
}

/// Not a test: what the other process runs. Ends when it is killed, or when the first verb is refused.
#[test]
fn host() {
    let (Ok(data), Some(first)) = (std::env::var(DATA), number_from_env(FIRST)) else { return };
    let options = StoreOptions {
        data_dir: data.into(),
        key: MasterKey(inspect::KEY),
        previous_key: None,
        cache_bytes: 16 << 20,
        reserve_bytes: Some(0),
        max_deliveries: 1_000_000,
        max_bytes: 1 << 30,
        max_total: QueueLimits::NONE,
        retention: postrider::queue::Retention::default(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let (queue, _notices) = Queue::open(&options).expect("a store that opens");
    let world = World { queue, next: Arc::new(AtomicU64::new(first)), talk: Arc::default() };
    runtime.expect("a runtime").block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for org in load::ORGS {
            tasks.spawn(world.clone().produce(org));
            tasks.spawn(world.clone().consume(org));
        }
        let ended = tasks.join_next().await;
        panic!("a task ended: {ended:?}");
    });
}

/// The other process, and the thread that listens to it.
struct Host {
    child: Child,
    listener: JoinHandle<()>,
}

impl Host {
    fn start(data: &Path, first: u64, ledger: &SharedLedger) -> Host {
        let mut command = Command::new(std::env::current_exe().expect("this binary"));
        command.args(["store_power_loss::host", "--exact", "--nocapture", "--test-threads=1"]);
        command.env(DATA, data).env(FIRST, first.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a child");
        let (mut to, from) = (child.stdin.take().expect("a pipe"), child.stdout.take().expect("a pipe"));
        let ledger = Arc::clone(ledger);
        let listener = std::thread::spawn(move || {
            for line in BufReader::new(from).lines().map_while(Result::ok) {
                if note(&line, &ledger).is_some() && to.write_all(b"noted\n").is_err() {
                    return;
                }
            }
        });
        Host { child, listener }
    }

    /// Kills it, and waits until all that it said has been noted.
    fn kill(mut self) {
        self.child.kill().expect("a killed child");
        self.child.wait().expect("a dead child");
        self.listener.join().expect("a listener that did not panic");
    }
}

/// Writes a line of the host into the ledger; `None` if it is something else.
fn note(line: &str, ledger: &SharedLedger) -> Option<()> {
    let mut words = line.split_once('@')?.1.split(' ');
    let (what, org, event) = (words.next()?, words.next()?, words.next()?);
    let mut numbers = words.map_while(|word| word.parse::<u64>().ok());
    let (sequence, number) = (numbers.next()?, numbers.next()?);
    match what {
        "ack" => lock(ledger).acknowledge(org, event, sequence, number),
        "request" => {
            let (place, status) = ((org.to_owned(), sequence), u16::try_from(number).ok()?);
            let last = numbers.next()? >= ATTEMPTS as u64;
            lock(ledger).note(Request { place, event: event.to_owned(), status }, last);
        }
        _ => return None,
    }
    Some(())
}

/// Crashes a store again and again; `sabotage` is switched on once it works.
fn crash(states: u64, seed: u64, sabotage: fn() -> Faults) -> Report {
    let mut random = fastrand::Rng::with_seed(seed);
    let ledger: SharedLedger = Arc::new(Mutex::new(Ledger::default()));
    let mut report = Report::default();
    let mut last: Option<Cut> = None;
    while report.states < states && report.broken.is_empty() {
        let fs = last.as_ref().map_or_else(LossyFs::mount, Cut::mount);
        // No id is used twice: one host never numbers so many.
        let host = Host::start(&fs.path().join("data"), report.states * 1_000_000, &ledger);
        wait_for_work(&ledger, 1);
        fs.set_faults(sabotage());
        for _ in 0..STATES_PER_STORE.min(states - report.states) {
            wait_for_work(&ledger, random.usize(1..60));
            // Locked until this state is judged: what is not going on meanwhile does not slow the judgement down.
            let ledger = lock(&ledger);
            let cut = Cut::now(&fs, &ledger, &mut random);
            report.add(&cut, Path::new("data"));
            last = Some(cut);
        }
        host.kill();
        if let Some(cut) = &last {
            *lock(&ledger) = cut.ledger_after();
        }
    }
    println!("{} crash states, {} acknowledged", report.states, lock(&ledger).acknowledged.len());
    report
}

/// Waits until acknowledgements and requests have come in since the last cut.
fn wait_for_work(ledger: &SharedLedger, work: usize) {
    let done = || {
        let ledger = lock(ledger);
        ledger.acknowledged.len() + ledger.requests.len()
    };
    let before = done();
    wait_until("the load goes on", || done() >= before + work);
}

#[test]
fn the_store_keeps_its_promises_through_power_loss() {
    let _alone = alone();
    let seed = number_from_env("POSTRIDER_TEST_SEED").unwrap_or_else(|| fastrand::u64(..));
    let states = number_from_env("POSTRIDER_TEST_CRASH_STATES").unwrap_or(60);
    let report = crash(states, seed, Faults::default);
    assert!(report.broken.is_empty(), "POSTRIDER_TEST_SEED={seed}:\n{}", report.broken.join("\n"));
}

/// The negative control. Without rule 1 (its own `sync_file_range`), sled's flush writes the pages and syncs neither the
/// disk's cache nor the file's size; a real fsync of the log comes from a timer at best. A rig in which that store lost
/// nothing would prove nothing.
#[test]
fn the_store_without_a_real_fsync_loses_acknowledged_events() {
    let _alone = alone();
    let by_timer_only =
        || Faults { only: Some("db".into()), deaf: Some(Duration::from_millis(500)), ..Faults::default() };
    let (states, losing) = (0..2).map(|seed| crash(20, seed, by_timer_only)).fold((0, 0), |sum, report| {
        report.broken.iter().take(1).for_each(|line| println!("{line}"));
        (sum.0 + report.states, sum.1 + report.lost + report.unopened)
    });
    println!("{losing} of {states} crash states lost acknowledged events");
    assert!(
        losing * 4 >= states,
        "only {losing} of {states} states lost anything: this rig would not notice"
    );
}
