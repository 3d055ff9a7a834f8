//! A real HTTP server on a port of its own: answers what a test says, path by path, and remembers every request.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};

/// What to do with a request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status and an empty body.
    Status(u16),
    /// This status, these headers and this body.
    Full(u16, Vec<(&'static str, String)>, Bytes),
    /// This status, and in the body all that came with the request, in many spellings.
    Echo(u16),
    /// This status, after a while.
    Late(Duration, u16),
    /// Nothing, ever.
    Hang,
    /// Close the connection instead.
    Close,
    /// This status, once the gate lets one through.
    Gated(Gate, u16),
    /// Whatever this says to the request's number.
    Chosen(Chooser),
}

/// Chooses an answer by the number of a request.
#[derive(Clone)]
pub struct Chooser(Arc<dyn Fn(usize) -> Answer + Send + Sync>);

impl Chooser {
    pub fn new(choose: impl Fn(usize) -> Answer + Send + Sync + 'static) -> Chooser {
        Chooser(Arc::new(choose))
    }
}

impl std::fmt::Debug for Chooser {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Chooser")
    }
}

/// Holds requests back until the test says so.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Semaphore>);

impl Gate {
    /// A closed gate.
    pub fn closed() -> Gate {
        Gate(Arc::new(Semaphore::new(0)))
    }

    /// Lets so many through.
    pub fn let_through(&self, count: usize) {
        self.0.add_permits(count);
    }

    /// Lets everyone through from now on.
    pub fn open(&self) {
        self.0.close();
    }

    async fn pass(&self) {
        if let Ok(permit) = self.0.acquire().await {
            permit.forget();
        }
    }
}

/// A request as it came in.
#[derive(Debug, Clone)]
pub struct Received {
    /// The place among all requests, by arrival.
    pub number: usize,
    pub path: String,
    /// What follows the `?`; empty without one.
    pub query: String,
    pub method: String,
    pub headers: BTreeMap<String, String>,
    pub body: Bytes,
    pub began: Instant,
    /// The same on the wall clock.
    pub at: jiff::Timestamp,
    /// When it was answered, and with what; `None` while it is not.
    pub ended: Option<(Instant, u16)>,
    /// Whether its connection had carried another request before it.
    pub kept: bool,
    /// Whether its connection was closed instead of an answer.
    pub closed: bool,
}

impl Received {
    /// A header that must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers))
    }

    /// A header that must be there and a number.
    #[track_caller]
    pub fn number_in(&self, name: &str) -> u64 {
        self.header(name).parse().unwrap()
    }

    /// The event's id.
    #[track_caller]
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }
}

#[derive(Default)]
struct State {
    /// What to answer next, by path; then `usual`.
    scripts: BTreeMap<String, VecDeque<Answer>>,
    /// What to answer by path when there is no script (left); 200 where nothing is said.
    usual: BTreeMap<String, Answer>,
    received: Vec<Received>,
    connections: usize,
    open: usize,
    /// What happened, for the report of a test that fails.
    trace: Vec<String>,
}

impl State {
    fn note(&mut self, what: &str) {
        self.trace.push(format!("{} {what}", jiff::Timestamp::now()));
    }
}

/// The server; gone when dropped, connections included.
pub struct Receiver {
    state: Arc<Mutex<State>>,
    port: u16,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start() -> Receiver {
        Self::start_on(0)
    }

    /// Starts one on this port, for receivers that come back.
    pub fn start_on(port: u16) -> Receiver {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let raised = rustix::process::Rlimit { current: limit.maximum, ..limit };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = oneshot::channel();
        let (tell_port, port_told) = std::sync::mpsc::channel();
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
                tell_port.send(listener.local_addr().unwrap().port()).unwrap();
                tokio::select! {
                    () = accept(listener, shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let port = port_told.recv().unwrap();
        Receiver { state, port, stop: Some(stop), thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on `path` is answered so.
    pub fn always(&self, path: &str, answer: Answer) {
        self.lock().usual.insert(path.to_owned(), answer);
    }

    /// The next requests to `path` are answered so, one after the other.
    pub fn then(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        self.lock().scripts.entry(path.to_owned()).or_default().extend(answers);
    }

    /// Every request so far, by arrival.
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    /// Every request to `path` so far, by arrival.
    pub fn at(&self, path: &str) -> Vec<Received> {
        self.lock().received.iter().filter(|request| request.path == path).cloned().collect()
    }

    /// How many requests came in.
    pub fn count(&self) -> usize {
        self.lock().received.len()
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.lock().connections
    }

    /// How many connections are open: 0 once a killed daemon has left nothing behind that is still being read.
    pub fn open_connections(&self) -> usize {
        self.lock().open
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let state = self.lock();
            let last = state.trace.iter().rev().take(60).rev();
            eprintln!(
                "--- the receiver on port {} ---\n{}",
                self.port,
                last.cloned().collect::<Vec<_>>().join("\n")
            );
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<Mutex<State>>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        {
            let mut state = state.lock().unwrap();
            state.connections += 1;
            state.open += 1;
            state.note("accepted");
        }
        let state = state.clone();
        tokio::spawn(async move {
            let shared = state.clone();
            let (stream, watched) = twice(stream);
            let requests = AtomicUsize::new(0);
            let service = hyper::service::service_fn(move |request| {
                serve(request, shared.clone(), requests.fetch_add(1, Ordering::Relaxed) > 0)
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // hyper goes on with an answer that nobody waits for; here a client that is gone ends everything.
            let why = tokio::select! {
                ended = connection => format!("connection ended: {ended:?}"),
                () = gone(watched) => "client gone".to_owned(),
            };
            let mut state = state.lock().unwrap();
            state.open -= 1;
            state.note(&why);
        });
    }
}

/// A second handle on the same connection, to see its end while hyper has the first.
fn twice(stream: TcpStream) -> (TcpStream, TcpStream) {
    let stream = stream.into_std().unwrap();
    let watched = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
    (TcpStream::from_std(stream).unwrap(), watched)
}

/// Returns once the other side has closed.
async fn gone(watched: TcpStream) {
    while watched.peek(&mut [0]).await.is_ok_and(|read| read > 0) {
        // A request that hyper has not read yet.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Ends the connection without an answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on purpose")]
struct OnPurpose;

async fn serve(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    kept: bool,
) -> Result<Response<Full<Bytes>>, OnPurpose> {
    let (head, body) = request.into_parts();
    state.lock().unwrap().note(&format!("head {}", head.uri.path()));
    let (began, at) = (Instant::now(), jiff::Timestamp::now());
    let body = body.collect().await.map_err(|_| OnPurpose)?.to_bytes();
    let (path, query) = (head.uri.path().to_owned(), head.uri.query().unwrap_or_default().to_owned());
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let (number, answer) = {
        let mut state = state.lock().unwrap();
        let number = state.received.len();
        let answer = state.scripts.get_mut(&path).and_then(VecDeque::pop_front);
        let answer = answer.or_else(|| state.usual.get(&path).cloned()).unwrap_or(Answer::Status(200));
        let answer = if let Answer::Chosen(Chooser(choose)) = answer { choose(number) } else { answer };
        let (method, headers) = (head.method.to_string(), headers.collect());
        let (ended, closed) = (None, matches!(answer, Answer::Close));
        let received =
            Received { number, path, query, method, headers, body, began, at, ended, kept, closed };
        let answer = if let Answer::Echo(status) = answer { echo(status, &received) } else { answer };
        state.received.push(received);
        (number, answer)
    };
    let response = carry_out(answer).await?;
    let status = response.status().as_u16();
    state.lock().unwrap().received[number].ended = Some((Instant::now(), status));
    Ok(response)
}

/// Sends back what came: as it is, in base64, hex and percent-encoding.
fn echo(status: u16, received: &Received) -> Answer {
    let mut texts: Vec<String> = received.headers.values().cloned().collect();
    texts.extend(url::form_urlencoded::parse(received.query.as_bytes()).map(|(_, value)| value.into_owned()));
    texts.push(String::from_utf8_lossy(&received.body).into_owned());
    let hex = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let form = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let lines = texts.iter().map(|text| {
        let spellings = [STANDARD.encode(text), URL_SAFE.encode(text), hex(text), form(text)];
        format!("{text}\n{}\n", spellings.join("\n"))
    });
    let first = texts.first().cloned().unwrap_or_default();
    Answer::Full(status, vec![("x-echo", first)], lines.collect::<String>().into())
}

async fn carry_out(answer: Answer) -> Result<Response<Full<Bytes>>, OnPurpose> {
    let plain = |status| Ok(Response::builder().status(status).body(Full::default()).unwrap());
    match answer {
        Answer::Status(status) => plain(status),
        Answer::Full(status, headers, body) => {
            let mut response = Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(name, value);
            }
            Ok(response.body(Full::new(body)).unwrap())
        }
        Answer::Late(wait, status) => {
            tokio::time::sleep(wait).await;
            plain(status)
        }
        Answer::Hang => std::future::pending::<Result<_, Infallible>>().await.map_err(|never| match never {}),
        Answer::Close | Answer::Chosen(_) | Answer::Echo(_) => Err(OnPurpose),
        Answer::Gated(gate, status) => {
            gate.pass().await;
            plain(status)
        }
    }
}
