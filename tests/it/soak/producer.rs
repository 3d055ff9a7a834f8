//! Those who hand in the events of the soak: batch after batch, never far ahead of what was delivered.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;

use super::mill::Mill;
use super::{LAP_MAX, name};
use crate::support::{http, wait_until_within};

/// Threads that hand in.
const THREADS: usize = 4;
const BATCH: u64 = 50;
/// How many events of an org may be on their way.
const AHEAD_MAX: u64 = 200;

/// One org's.
pub struct Producer {
    org: usize,
    socket: PathBuf,
    seed: u64,
    /// The last event that was acknowledged.
    handed_in: AtomicU64,
}

impl Producer {
    pub fn new(org: usize, socket: PathBuf, seed: u64) -> Producer {
        Producer { org, socket, seed, handed_in: AtomicU64::new(0) }
    }

    /// Hands in a batch, unless enough are on their way; whether it is through up to `until`.
    fn step(&self, settled: u64, until: u64) -> bool {
        let last = self.handed_in.load(Ordering::Relaxed);
        if last >= until {
            return true;
        }
        let next = (last + BATCH).min(until);
        if next > settled + AHEAD_MAX {
            return false;
        }
        let lines: String = (last + 1..=next).map(|n| self.line(n)).collect();
        wait_until_within(LAP_MAX, "a batch is acknowledged", || self.hand_in(&lines, next - last));
        self.handed_in.store(next, Ordering::Relaxed);
        next == until
    }

    /// The same for the same event, so that what got no answer is handed in again as it was.
    fn line(&self, n: u64) -> String {
        let org = name(self.org);
        let filler = "x".repeat(Rng::with_seed(self.seed ^ n).usize(0..400));
        format!(r#"{{"org":"{org}","id":"{org}-{n}","type":"t","payload":{{"n":{n},"filler":"{filler}"}}}}"#)
            + "\n"
    }

    /// Whether all were acknowledged; silence means that the daemon has gone, anything but success is a fault.
    fn hand_in(&self, lines: &str, count: u64) -> bool {
        let body = Some(("application/x-ndjson", lines.as_bytes()));
        let Ok(reply) = http::request(&self.socket, "POST", "/v1/events", body) else { return false };
        if reply.status == 503 {
            return false;
        }
        assert_eq!(reply.status, 200, "{}", reply.text());
        let text = reply.text();
        let answers: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let refused = answers.iter().find(|answer| !answer["id"].is_string());
        assert!(refused.is_none_or(|answer| answer["status"] == 503), "{refused:?}");
        refused.is_none() && answers.len() as u64 == count
    }
}

/// Hands in the events of every org up to `until`.
pub fn run(producers: &Arc<Vec<Producer>>, mill: &Mill, until: u64) -> JoinHandle<()> {
    let (producers, mill) = (producers.clone(), mill.clone());
    std::thread::spawn(move || {
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let (producers, mill) = (&producers, &mill);
                scope.spawn(move || {
                    let mine: Vec<_> = producers.iter().skip(thread).step_by(THREADS).collect();
                    loop {
                        let through =
                            mine.iter().filter(|one| one.step(mill.last_of(one.org), until)).count();
                        if through == mine.len() {
                            return;
                        }
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
    })
}
