//! The receiver of bare loops and deliveries alike: a plain hyper server on threads of its own.
//!
//! `/ok` answers at once, `/slow` after [`SLOW`], `/hang` never, `/late` like `/hang` until it is told otherwise.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::bail;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use super::payload;

/// How long `/slow` takes.
pub const SLOW: Duration = Duration::from_millis(20);

/// A receiver that gets nothing for this long will get nothing more.
const STUCK: Duration = Duration::from_secs(60);

/// A running receiver; it stops with its threads when dropped.
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
    // Owns the threads.
    _runtime: tokio::runtime::Runtime,
}

struct State {
    origin: Instant,
    received: AtomicU64,
    hanging: AtomicU64,
    answers_late: AtomicBool,
    ages: Mutex<Option<Vec<Duration>>>,
}

impl Receiver {
    /// Listens on a loopback port of the system's choice. Ages are counted from `origin`.
    pub fn start(origin: Instant, threads: usize) -> anyhow::Result<Receiver> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("receiver")
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            origin,
            received: AtomicU64::new(0),
            hanging: AtomicU64::new(0),
            answers_late: AtomicBool::new(false),
            ages: Mutex::new(None),
        });
        runtime.spawn(accept(listener, state.clone()));
        Ok(Receiver { address, state, _runtime: runtime })
    }

    /// Payloads that came in whole on `/ok`, `/slow` and, once it answers, `/late`.
    pub fn received(&self) -> u64 {
        self.state.received.load(Ordering::Relaxed)
    }

    /// Waits until this many came in whole; an error if none comes for long.
    pub async fn wait_for(&self, received: u64) -> anyhow::Result<()> {
        wait_for(&self.state.received, received).await
    }

    /// Waits until this many requests to `/hang` were made since the start.
    pub async fn wait_for_hanging(&self, requests: u64) -> anyhow::Result<()> {
        wait_for(&self.state.hanging, requests).await
    }

    /// From now on `/late` answers, or hangs.
    pub fn answer_late(&self, answers: bool) {
        self.state.answers_late.store(answers, Ordering::Relaxed);
    }

    /// Starts to note how old payloads are when they come in.
    pub fn note_ages(&self) {
        *self.state.ages.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// The ages since [`Receiver::note_ages`]; stops noting.
    pub fn take_ages(&self) -> Vec<Duration> {
        self.state.ages.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default()
    }
}

async fn wait_for(counter: &AtomicU64, target: u64) -> anyhow::Result<()> {
    let (mut last, mut since) = (counter.load(Ordering::Relaxed), Instant::now());
    while last < target {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let now = counter.load(Ordering::Relaxed);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > STUCK {
            bail!("{} of {target} requests came in, and no more for {} s", now, STUCK.as_secs());
        }
    }
    Ok(())
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: connections that wait are taken once others have gone.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        // Without it the figure would only be worse; nothing depends on it.
        drop(stream.set_nodelay(true));
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, state.clone()));
            // A sender that goes away is its own business.
            drop(
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await,
            );
        });
    }
}

async fn answer(
    request: http::Request<Incoming>,
    state: Arc<State>,
) -> Result<http::Response<Empty<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if let Ok(body) = request.into_body().collect().await {
        match path.as_str() {
            "/hang" => {
                state.hanging.fetch_add(1, Ordering::Relaxed);
                std::future::pending::<()>().await;
            }
            "/late" if !state.answers_late.load(Ordering::Relaxed) => std::future::pending().await,
            "/slow" => tokio::time::sleep(SLOW).await,
            _ => {}
        }
        state.note(&body.to_bytes());
    }
    Ok(http::Response::new(Empty::new()))
}

impl State {
    fn note(&self, body: &[u8]) {
        let now = Instant::now();
        self.received.fetch_add(1, Ordering::Relaxed);
        if let Some(ages) = self.ages.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
            && let Some(sent) = payload::stamp(body)
        {
            ages.push(now.saturating_duration_since(self.origin + Duration::from_nanos(sent)));
        }
    }
}
