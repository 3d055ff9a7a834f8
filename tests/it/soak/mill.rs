//! The receiver of the soak: takes what comes, fails now and then, and keeps of every org only what the next request is
//! judged by, so that millions of requests leave nothing behind.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpListener;

/// Of so many events one is never taken, and becomes a dead letter.
pub const POISON_EVERY: u64 = 997;

/// What is known of one org.
#[derive(Default)]
struct Org {
    /// The event that came last.
    last: u64,
    /// What was answered to it was its end: taken, or refused for the last time.
    settled: bool,
    in_flight: bool,
}

#[derive(Default)]
struct Shared {
    orgs: Vec<Mutex<Org>>,
    seed: u64,
    requests: AtomicU64,
    settled: AtomicU64,
    repeats: AtomicU64,
    open: AtomicUsize,
    faults: Mutex<Vec<String>>,
}

/// The server; its thread ends with the process of the tests.
#[derive(Clone)]
pub struct Mill {
    shared: Arc<Shared>,
    port: u16,
}

#[derive(Deserialize)]
struct Payload {
    n: u64,
}

impl Mill {
    pub fn start(orgs: usize, seed: u64) -> Mill {
        let orgs = (0..orgs).map(|_| Mutex::new(Org { settled: true, ..Org::default() })).collect();
        let shared = Arc::new(Shared { orgs, seed, ..Shared::default() });
        let (tell_port, port_told) = std::sync::mpsc::channel();
        let served = shared.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                tell_port.send(listener.local_addr().unwrap().port()).unwrap();
                accept(listener, served).await;
            });
        });
        Mill { shared, port: port_told.recv().unwrap() }
    }

    /// Where the events of this org go.
    pub fn url(&self, org: usize) -> String {
        format!("http://127.0.0.1:{}/{org}", self.port)
    }

    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// Events that came to their end.
    pub fn settled(&self) -> u64 {
        self.shared.settled.load(Ordering::Relaxed)
    }

    /// Events that came again after their end.
    pub fn repeats(&self) -> u64 {
        self.shared.repeats.load(Ordering::Relaxed)
    }

    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }

    /// The event of the org that came to its end last.
    pub fn last_of(&self, org: usize) -> u64 {
        let org = self.shared.orgs[org].lock().unwrap();
        if org.settled { org.last } else { org.last - 1 }
    }

    /// Order was kept, one at a time, and no more was repeated than crashes allow.
    pub fn check(&self, crashes: u64) {
        let faults = self.shared.faults.lock().unwrap();
        assert!(faults.is_empty(), "{} faults, the first: {:?}", faults.len(), faults.first());
        let most = crashes * self.shared.orgs.len() as u64;
        assert!(self.repeats() <= most, "{} repeats after {crashes} crashes", self.repeats());
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        shared.open.fetch_add(1, Ordering::SeqCst);
        let shared = shared.clone();
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| serve(request, shared.clone()));
            let connection = hyper::server::conn::http1::Builder::new();
            let _cut_off = connection.serve_connection(TokioIo::new(stream), service).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Full<Bytes>>, Infallible> {
    let org: usize = request.uri().path().trim_start_matches('/').parse().unwrap();
    let attempt: u32 = request.headers()["postrider-attempt"].to_str().unwrap().parse().unwrap();
    let Ok(body) = request.into_body().collect().await else {
        // Its sender was killed on the way: it never came.
        return Ok(Response::new(Full::default()));
    };
    let Payload { n } = serde_json::from_slice(&body.to_bytes()).unwrap();
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    shared.arrived(org, n);
    let mut rng = Rng::with_seed(shared.seed ^ number);
    let (wait, status) = match rng.u16(..) {
        _ if n % POISON_EVERY == 0 => (0, 500),
        // The last attempt is always taken: what is given up is what is meant to be.
        0..200 if attempt < super::ATTEMPTS => (0, 500),
        200..1_000 => (rng.u64(1..6), 200),
        _ => (0, 200),
    };
    if wait > 0 {
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }
    shared.answered(org, status == 200 || attempt >= super::ATTEMPTS);
    Ok(Response::builder().status(status).body(Full::default()).unwrap())
}

impl Shared {
    fn fault(&self, what: String) {
        self.faults.lock().unwrap().push(what);
    }

    fn arrived(&self, org: usize, n: u64) {
        let mut known = self.orgs[org].lock().unwrap();
        if known.in_flight {
            self.fault(format!("org {org}: {n} came while {} was in flight", known.last));
        }
        known.in_flight = true;
        match (n, known.settled) {
            (n, true) if n == known.last + 1 => *known = Org { last: n, settled: false, in_flight: true },
            (n, true) if n == known.last => {
                self.repeats.fetch_add(1, Ordering::Relaxed);
            }
            (n, false) if n == known.last => {}
            _ => self
                .fault(format!("org {org}: {n} came after {} (at its end: {})", known.last, known.settled)),
        }
    }

    fn answered(&self, org: usize, ended: bool) {
        let mut known = self.orgs[org].lock().unwrap();
        known.in_flight = false;
        if ended && !known.settled {
            known.settled = true;
            self.settled.fetch_add(1, Ordering::Relaxed);
        }
    }
}
