//! An HTTP receiver that writes each request into the ledger before it answers, and answers by plan: most events are
//! taken at once, some after a failure or two, some never. So deliveries, retries and dead letters mix.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::http;
use super::ledger::{Ledger, Request};
use super::load;

/// Attempts that each webhook of these tests allows.
pub const ATTEMPTS: usize = 3;

/// What is told apart in the ledger is shared between producers, receiver and judge.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks it, whatever a failed thread has done.
pub fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The answer to this attempt (1 is the first) at delivering `event`.
pub fn planned(event: &str, webhook: &str, attempt: usize) -> u16 {
    let failures = match load::hash(&format!("{event}/{webhook}")) % 40 {
        0..=1 => usize::MAX,
        2..=7 => 1,
        8..=9 => 2,
        _ => 0,
    };
    if attempt <= failures { 503 } else { 200 }
}

struct Shared {
    ledger: SharedLedger,
    refuse: AtomicBool,
    stop: AtomicBool,
}

/// Listens on a port of its own until dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Receiver {
    /// Starts listening.
    pub fn start(ledger: SharedLedger) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("its address");
        let shared = Shared { ledger, refuse: AtomicBool::new(false), stop: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let accepting = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for stream in listener.incoming().flatten() {
                    if shared.stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || serve(stream, &shared));
                }
            }
        });
        Receiver { address, shared, accepting: Some(accepting) }
    }

    /// Where a webhook of an org sends its deliveries.
    pub fn url(&self, org: &str, webhook: &str) -> String {
        format!("http://{}/{org}/{webhook}", self.address)
    }

    /// From now on every request is answered 503, or (`false`) as planned.
    pub fn refuse_all(&self, refuse: bool) {
        self.shared.refuse.store(refuse, Ordering::SeqCst);
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(accepting)) = (woken, self.accepting.take()) {
            accepting.join().ok();
        }
    }
}

/// Answers one connection's requests until it is closed.
fn serve(stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).ok();
    let mut stream = BufReader::new(stream);
    while let Ok(head) = http::read_head(&mut stream) {
        let Ok(body) = http::read_sized(&mut stream, &head) else { return };
        let status = note(&head, &body, shared);
        let answer = format!("HTTP/1.1 {status} Planned\r\ncontent-length: 0\r\n\r\n");
        if stream.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Writes the request down and decides its answer.
fn note(head: &http::Head, body: &[u8], shared: &Shared) -> u16 {
    let mut path = head.start.split(['/', ' ']).skip(2);
    let (org, webhook) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    let event = head.header("webhook-id").unwrap_or_default();
    let number = |name| head.header(name).and_then(|value| value.parse::<usize>().ok()).unwrap_or(0);
    let (sequence, attempt) = (number("postrider-sequence"), number("postrider-attempt"));
    let refused = shared.refuse.load(Ordering::SeqCst);
    let status = if refused { 503 } else { planned(event, webhook, attempt) };
    let mut ledger = lock(&shared.ledger);
    if body != load::payload_of(event).as_bytes() || sequence == 0 || attempt == 0 {
        ledger.wrong.push(format!("a wrong request for {event}: {} with {} bytes", head.start, body.len()));
    }
    let place = (org.to_owned(), sequence as u64);
    ledger.note(Request { place, event: event.to_owned(), status }, attempt >= ATTEMPTS);
    status
}
