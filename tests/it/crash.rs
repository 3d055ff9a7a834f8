//! kill -9 at random instants, under load, with several orgs and receivers that fail: P1 to P4 and P6 at once, judged by
//! one ledger.
//!
//! `POSTRIDER_TEST_KILLS=200 cargo test --test it crash` makes it a long run; `POSTRIDER_TEST_SEED` repeats the choices
//! of a run (not the instants at which they meet the daemon).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::daemon::{enqueue, retry};
use crate::support::kills::{asked, kill_under_load};
use crate::support::ledger::{Ledger, Terms};
use crate::support::receiver::Chooser;
use crate::support::{Answer, Receiver, Site, http, wait_until};

/// Kills in a short run.
const KILLS: u64 = 6;
const ORGS: usize = 5;
const ATTEMPTS: usize = 4;

#[test]
fn crash_at_any_instant_loses_nothing_and_keeps_order() {
    let (kills, seed) = asked(KILLS);
    println!("POSTRIDER_TEST_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let site = Site::with(&Site::new().config().replace("debug", "info"));
    let receiver = Receiver::start();
    let ledger = Arc::new(Ledger::default());
    let daemon = site.start();
    for org in 0..ORGS {
        let mut settings = retry(ATTEMPTS as u32, 5, 2.0, 20);
        settings["timeout"] = json!("1s");
        daemon.org(&name(org), &receiver.url(&path(&name(org))), &settings);
        receiver.always(&path(&name(org)), Answer::Chosen(unreliable(seed, org)));
    }
    let stop = Arc::new(AtomicBool::new(false));
    let producers: Vec<_> = (0..ORGS)
        .map(|org| {
            let (ledger, stop, socket) = (ledger.clone(), stop.clone(), site.submit_socket());
            let rng = Rng::with_seed(seed ^ org as u64);
            std::thread::spawn(move || {
                Producer { org: name(org), ledger, stop, socket, rng, next: 0 }.run(org == 0);
            })
        })
        .collect();

    let (daemon, crashes) = kill_under_load((&site, daemon), &receiver, kills, &mut rng, || ledger.count());
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.join().unwrap();
    }
    let terms = Terms { attempts: ATTEMPTS, crashes };
    for org in 0..ORGS {
        daemon.drained(&name(org));
    }
    ledger.check(&daemon, &receiver, path, terms);
    println!("{} events, {} requests, {kills} kills", ledger.count(), receiver.count());
    assert!(daemon.terminate().success());
}

fn name(org: usize) -> String {
    format!("org{org}")
}

fn path(org: &str) -> String {
    format!("/{org}")
}

/// A receiver that mostly takes what it gets, after a while, and otherwise fails in each way there is.
fn unreliable(seed: u64, org: usize) -> Chooser {
    Chooser::new(move |number| {
        let mut rng = Rng::with_seed(seed ^ ((org as u64) << 32) ^ number as u64);
        match rng.u8(..) {
            0..20 => Answer::Close,
            20..60 => Answer::Status(500),
            60..62 => Answer::Hang,
            62..160 => Answer::Late(Duration::from_millis(rng.u64(1..8)), 200),
            _ => Answer::Status(200),
        }
    })
}

/// Hands in the events of one org, one after the other; what got no answer is handed in again under the same id.
struct Producer {
    org: String,
    ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    socket: std::path::PathBuf,
    rng: Rng,
    next: usize,
}

impl Producer {
    fn run(mut self, in_batches: bool) {
        while !self.stop.load(Ordering::Relaxed) {
            let count = if in_batches { self.rng.usize(1..8) } else { 1 };
            let events: Vec<_> = (0..count).map(|_| self.event()).collect();
            wait_until("the events are acknowledged", || {
                if in_batches { self.hand_in_batch(&events) } else { self.hand_in(&events[0]) }
            });
            for event in &events {
                self.ledger.accepted(&self.org, event["id"].as_str().unwrap(), &event["payload"].to_string());
            }
            std::thread::sleep(Duration::from_millis(self.rng.u64(0..12)));
        }
    }

    fn event(&mut self) -> Value {
        self.next += 1;
        let id = format!("{}-{}", self.org, self.next);
        let filler = "x".repeat(if self.rng.u8(..) < 8 { 200_000 } else { self.rng.usize(0..500) });
        json!({"id": id, "type": "t", "payload": {"n": self.next, "filler": filler}})
    }

    /// Whether it was acknowledged. Anything but success, "seen before" or silence is a fault.
    fn hand_in(&self, event: &Value) -> bool {
        match enqueue(&self.socket, &self.org, event) {
            Ok(reply) if matches!(reply.status, 200 | 202) => true,
            Ok(reply) => panic!("{}: {}", reply.status, reply.text()),
            Err(_) => false,
        }
    }

    fn hand_in_batch(&self, events: &[Value]) -> bool {
        let lines: String = events
            .iter()
            .map(|event| {
                let mut line = event.clone();
                line["org"] = json!(self.org);
                format!("{line}\n")
            })
            .collect();
        let body = Some(("application/x-ndjson", lines.as_bytes()));
        let Ok(reply) = http::request(&self.socket, "POST", "/v1/events", body) else {
            return false;
        };
        assert_eq!(reply.status, 200, "{}", reply.text());
        let answers = reply.text();
        let answered: Vec<Value> = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(answered.iter().all(|answer| answer["id"].is_string()), "{answers}");
        answered.len() == events.len()
    }
}
