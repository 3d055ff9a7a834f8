//! Producers: several orgs at once, single events and NDJSON streams, payloads from a few bytes to past the size where a
//! stored value is cut into chunks. Everything about an event follows from its id.

use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::daemon::Daemon;
use super::http::Connection;
use super::receiver::{ATTEMPTS, Receiver, SharedLedger, lock};

/// The orgs; the last has two webhooks, so that an event of it is two deliveries.
pub const ORGS: [&str; 5] = ["acme", "blue", "coop", "dell", "echo"];
/// Producers wait while an org has this many deliveries waiting: a crash state stays small.
const BACKLOG_MAX: i64 = 30;
/// Lines in one NDJSON request.
const BATCH: u64 = 25;

/// FNV-1a: the same everywhere, so that a plan depends on nothing but the event.
pub fn hash(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The payload of the event with this id.
pub fn payload_of(id: &str) -> String {
    let mut random = fastrand::Rng::with_seed(hash(id));
    let length = match random.u32(..400) {
        0 => random.usize(66_000..150_000),
        1..=4 => random.usize(15_000..50_000),
        5..=40 => random.usize(1_000..5_000),
        _ => random.usize(0..500),
    };
    let padding: String = std::iter::repeat_with(|| random.alphanumeric()).take(length).collect();
    format!(r#"{{"id":"{id}", "padding":"{padding}"}}"#)
}

fn webhooks_of(org: &str) -> &'static [&'static str] {
    if org == ORGS[ORGS.len() - 1] { &["one", "two"] } else { &["one"] }
}

/// Creates the orgs and their webhooks.
pub fn configure(daemon: &Daemon, receiver: &Receiver) {
    for org in ORGS {
        assert_eq!(daemon.admin("PUT", &format!("/v1/orgs/{org}"), "{}").status, 201);
        for webhook in webhooks_of(org) {
            let url = receiver.url(org, webhook);
            let body = format!(
                r#"{{"url":"{url}","retry":{{"attempts":{ATTEMPTS},"first_delay":"10ms","max_delay":"20ms"}}}}"#
            );
            let answer = daemon.admin("PUT", &format!("/v1/orgs/{org}/webhooks/{webhook}"), &body);
            assert_eq!(answer.status, 201, "{}", answer.body);
        }
    }
}

/// The body of an enqueue of this event.
pub fn event_body(id: &str) -> String {
    format!(r#"{{"type":"order.created","id":"{id}","payload":{}}}"#, payload_of(id))
}

/// Reads an acknowledgement: sequence and deliveries.
pub fn acknowledgement(answer: &Value) -> Option<(u64, u64)> {
    Some((answer.get("sequence")?.as_u64()?, answer.get("deliveries")?.as_u64()?))
}

/// Enqueues one event; notes it if it was acknowledged. Answers the status.
pub fn enqueue(
    connection: &mut Connection,
    ledger: &SharedLedger,
    org: &str,
    id: &str,
) -> std::io::Result<u16> {
    let answer = connection.call("POST", &format!("/v1/orgs/{org}/events"), &event_body(id))?;
    if let (202, Some((sequence, deliveries))) = (answer.status, acknowledgement(&answer.body)) {
        lock(ledger).acknowledge(org, id, sequence, deliveries);
    }
    Ok(answer.status)
}

/// Enqueues one batch over all orgs; notes each line as it is acknowledged.
fn enqueue_batch(connection: &mut Connection, ledger: &SharedLedger, first: u64) -> std::io::Result<()> {
    let events: Vec<(&str, String)> = (first..first + BATCH)
        .zip(ORGS.into_iter().cycle().skip(usize::try_from(first % 7).unwrap_or(0)))
        .map(|(number, org)| (org, format!("{org}-batch-{number}")))
        .collect();
    let mut lines = String::new();
    for (org, id) in &events {
        writeln!(lines, r#"{{"org":"{org}",{}"#, event_body(id).trim_start_matches('{')).expect("a string");
    }
    let mut asked = events.iter();
    connection.stream("/v1/events", &lines, |answer| {
        let Some((org, id)) = asked.next() else { return };
        if let Some((sequence, deliveries)) = acknowledgement(&answer) {
            lock(ledger).acknowledge(org, id, sequence, deliveries);
        }
    })?;
    Ok(())
}

/// One round of a producer.
type Work = Box<dyn FnMut(&mut Connection) -> std::io::Result<()> + Send>;

/// Producers at work until stopped, or until the daemon is gone.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// Numbers events over all daemons of a test, so that no id is used twice.
pub type Numbers = Arc<AtomicU64>;

impl Load {
    /// Starts a producer of single events for each org, and one of batches for all.
    pub fn start(socket: &Path, ledger: &SharedLedger, numbers: &Numbers) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let spawn = |work: Work| {
            let (stop, socket) = (Arc::clone(&stop), socket.to_owned());
            std::thread::spawn(move || produce(&stop, &socket, work))
        };
        let mut threads: Vec<_> = ORGS
            .into_iter()
            .map(|org| {
                let (ledger, numbers) = (Arc::clone(ledger), Arc::clone(numbers));
                spawn(Box::new(move |connection| {
                    wait_for_room(&ledger, &[org]);
                    let id = format!("{org}-{}", numbers.fetch_add(1, Ordering::SeqCst));
                    enqueue(connection, &ledger, org, &id).map(|_| ())
                }))
            })
            .collect();
        let (ledger, numbers) = (Arc::clone(ledger), Arc::clone(numbers));
        threads.push(spawn(Box::new(move |connection| {
            wait_for_room(&ledger, &ORGS);
            enqueue_batch(connection, &ledger, numbers.fetch_add(BATCH, Ordering::SeqCst))
        })));
        Load { stop, threads }
    }

    /// Stops and waits for the producers.
    pub fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("a producer that did not panic");
        }
    }
}

/// Waits until these orgs' queues are short; not for ever, since a daemon that is gone empties none.
fn wait_for_room(ledger: &SharedLedger, orgs: &[&str]) {
    let full = |org: &&str| lock(ledger).waiting.get(*org).is_some_and(|waiting| *waiting > BACKLOG_MAX);
    for _ in 0..100 {
        if !orgs.iter().any(full) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn produce(stop: &AtomicBool, socket: &Path, mut work: Work) {
    while !stop.load(Ordering::SeqCst) {
        // Errors are the daemon's end, or a fault that was asked for: whatever was not acknowledged does not count.
        let ended = Connection::open(socket)
            .and_then(|mut connection| {
                while !stop.load(Ordering::SeqCst) {
                    work(&mut connection)?;
                }
                Ok(())
            })
            .is_err();
        if ended {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
