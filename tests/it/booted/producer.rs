//! A producer that never stops: one event after the other over a socket, each handed in until it is answered.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::support::ledger::{Terms, one_at_a_time, repeats_and_tries};
use crate::support::{PATIENCE, Received, Receiver, http, wait_until};

/// What became of a producer's events.
#[derive(Debug, Default)]
pub struct Account {
    /// Ids in the order in which they were answered.
    pub accepted: Vec<String>,
    /// What no producer may meet: no connection, or an answer that is not yes.
    pub refused: Vec<String>,
    /// Connections that broke before their answer: then the same event was handed in again.
    pub broken: usize,
}

pub struct Producer {
    stop: Arc<AtomicBool>,
    count: Arc<AtomicUsize>,
    thread: Option<JoinHandle<Account>>,
}

impl Producer {
    /// Begins to hand in events of this org.
    pub fn start(socket: PathBuf, org: &str) -> Producer {
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let (stopped, counted, org) = (stop.clone(), count.clone(), org.to_owned());
        let thread = std::thread::spawn(move || {
            let mut account = Account::default();
            for number in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                hand_in(&socket, &org, number, &mut account);
                counted.fetch_add(1, Ordering::Relaxed);
            }
            account
        });
        Producer { stop, count, thread: Some(thread) }
    }

    /// Waits until so many more events are handed in.
    #[track_caller]
    pub fn goes_on(&self, more: usize) {
        let goal = self.count.load(Ordering::Relaxed) + more;
        wait_until("the producer goes on", || self.count.load(Ordering::Relaxed) >= goal);
    }

    /// Stops it.
    pub fn end(mut self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// Hands in one event until it is answered.
fn hand_in(socket: &PathBuf, org: &str, number: usize, account: &mut Account) {
    let id = format!("{org}-{number}");
    let body = json!({"type": "order.created", "payload": number, "id": id}).to_string();
    let request = format!(
        "POST /v1/orgs/{org}/events HTTP/1.1\r\nhost: postrider\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    loop {
        let mut stream = match UnixStream::connect(socket) {
            Ok(stream) => stream,
            Err(error) => return account.refused.push(format!("{id}: connecting: {error}")),
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let answer = stream.write_all(request.as_bytes()).and_then(|()| http::read_reply(&mut stream));
        match answer {
            // A repeat of what was taken before its connection broke.
            Ok(reply) if reply.status == 202 || (reply.status == 200 && account.broken > 0) => {
                return account.accepted.push(id);
            }
            Ok(reply) => {
                return account.refused.push(format!("{id}: {} {}", reply.status, reply.text()));
            }
            Err(_) => account.broken += 1,
        }
    }
}

impl Account {
    /// Nobody was refused, and everything that was taken arrived, in order, with at most one repeat for each crash.
    #[track_caller]
    pub fn check(&self, receiver: &Receiver, path: &str, crashes: usize) {
        assert!(self.refused.is_empty(), "refused: {:?}", self.refused);
        // One connection of one producer can be cut by one crash.
        assert!(self.broken <= crashes, "{} connections broke in {crashes} crashes", self.broken);
        let arrived = |requests: &[Received]| {
            let mut ids: Vec<String> = requests.iter().map(|request| request.id().to_owned()).collect();
            ids.dedup();
            ids
        };
        wait_until("everything has arrived", || arrived(&receiver.at(path)).len() >= self.accepted.len());
        let received = receiver.at(path);
        assert_eq!(arrived(&received), self.accepted);
        let org = path.trim_start_matches('/');
        repeats_and_tries(org, &received, Terms { attempts: 10, crashes });
        one_at_a_time(org, &received);
    }
}
