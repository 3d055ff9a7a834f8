//! A receiver that does with each connection what its script says, byte by byte.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// A request that was read.
#[derive(Debug, Clone)]
pub struct Seen {
    pub id: String,
    pub attempt: u32,
    pub head: String,
    pub body: Vec<u8>,
}

/// One connection.
pub struct Turn {
    /// How many were there before it.
    pub number: usize,
    pub stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Turn {
    /// Reads one request from the connection itself.
    pub async fn request(&mut self) -> Option<Seen> {
        let seen = read_request(&mut self.stream).await?;
        self.seen.lock().unwrap().push(seen.clone());
        Some(seen)
    }

    /// The connection, and where to note what comes over it.
    pub fn split(self) -> (Notes, TcpStream) {
        (Notes(self.seen), self.stream)
    }

    /// The last request, as it came.
    pub fn last(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap();
        let last = seen.last().unwrap();
        [last.head.as_bytes(), &last.body].concat()
    }

    pub async fn say(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }
}

/// Where requests are noted that come over a stream of its own on a connection.
pub struct Notes(Arc<Mutex<Vec<Seen>>>);

impl Notes {
    pub async fn request_over(&self, stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
        let seen = read_request(stream).await?;
        self.0.lock().unwrap().push(seen.clone());
        Some(seen)
    }
}

/// What to do with a connection.
pub type Script = Arc<dyn Fn(Turn) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

pub fn script<F>(play: impl Fn(Turn) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = ()> + Send + 'static,
{
    Arc::new(move |turn| Box::pin(play(turn)))
}

/// Reads the request, and then does so.
pub fn after_request<F>(play: impl Fn(Turn) -> F + Send + Sync + 'static) -> Script
where
    F: Future<Output = ()> + Send + 'static,
{
    let play = Arc::new(play);
    script(move |mut turn| {
        let play = play.clone();
        async move {
            if turn.request().await.is_some() {
                play(turn).await;
            }
        }
    })
}

/// Answers with these bytes and closes.
pub fn says(bytes: impl Into<Vec<u8>>) -> Script {
    let bytes: Arc<Vec<u8>> = Arc::new(bytes.into());
    after_request(move |mut turn| {
        let bytes = bytes.clone();
        async move {
            turn.say(&*bytes).await;
            turn.stream.shutdown().await.ok();
        }
    })
}

/// Answers with the first bytes, and then with the others, again and again, this long apart.
pub fn goes_on(first: &'static [u8], then: impl Into<Vec<u8>>, pause: Duration) -> Script {
    let then: Arc<Vec<u8>> = Arc::new(then.into());
    after_request(move |mut turn| {
        let then = then.clone();
        async move {
            turn.say(first).await;
            while turn.say(&*then).await {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
            }
        }
    })
}

/// Keeps the connection open until the other side closes it.
pub async fn hold(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
}

/// One request with its body; `None` once the connection has ended.
async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    let end = loop {
        let count = stream.read(&mut buffer).await.ok().filter(|count| *count > 0)?;
        bytes.extend_from_slice(&buffer[..count]);
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let header = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.unwrap_or_default().to_owned()
    };
    let length: usize = header("content-length").parse().unwrap_or(0);
    let mut body = bytes.split_off(end);
    let missing = length.checked_sub(body.len()).unwrap();
    let from = body.len();
    body.resize(from + missing, 0);
    stream.read_exact(&mut body[from..]).await.ok()?;
    Some(Seen { id: header("webhook-id"), attempt: header("postrider-attempt").parse().unwrap(), head, body })
}

/// The server; gone when dropped, connections included.
pub struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<Seen>>>,
    runtime: Option<Runtime>,
}

impl Server {
    pub fn start(script: Script) -> Server {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        runtime.spawn(async move {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(script(Turn { number, stream, seen: noted.clone() }));
                number += 1;
            }
        });
        Server { port, seen, runtime: Some(runtime) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every request that was read, in order.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
