//! `POST /v1/events`: a stream of events, one per line, with one durable answer per line, in order.
//!
//! A task of its own reads lines, hands them to the queue in batches as they come, and writes answers as they become
//! durable, so that one stream can keep the disk busy. A line that is refused gets its problem, and the rest go on.
//!
//! Bounds: what waits to be durable and what waits to be read by the client are counted per stream and over all streams.
//! At a bound the stream stops reading, and the client's writes wait. The bound on unread answers is generous, because
//! many a client writes all of its lines before it reads the first answer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::FuturesOrdered;
use futures_util::{Stream, StreamExt};
use http::{HeaderValue, header};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::App;
use super::body::accepts;
use super::events::{accept, write_answer};
use super::lines::{Line, Lines};
use super::settings::Settings;
use super::wire::EventLine;
use crate::clock;
use crate::model::{EventId, UnixMs};
use crate::queue::{Append, Appended, Org, Refused};
use crate::serving::body::{discard, timed_out, too_large};
use crate::serving::problem::Problem;

const TYPES: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Bytes and lines of one stream that may wait to be durable: some commits' worth.
const UNANSWERED_BYTES: usize = 4 << 20;
const UNANSWERED_LINES: usize = 16 << 10;
/// Bytes of all streams that may wait to be durable. Beyond it a stream has one batch at a time.
const UNANSWERED_BYTES_ALL: usize = 64 << 20;
/// Answers of one stream that may always wait to be read.
const UNREAD_BYTES_FREE: usize = 64 << 10;
/// Answers of one stream that may wait to be read as long as all streams together have not too many: about 100,000.
const UNREAD_BYTES: usize = 8 << 20;
const UNREAD_BYTES_ALL: usize = 64 << 20;

/// 200 and a stream of answers.
pub(super) async fn post(State(app): State<Arc<App>>, request: Request) -> Result<Response, Problem> {
    let settings = app.settings();
    let deadline = Instant::now() + settings.body_timeout;
    let (parts, body) = request.into_parts();
    if let Err(problem) = accepts(&parts.headers, &TYPES) {
        discard(&parts.headers, body, deadline).await;
        return Err(problem);
    }
    let mut frames = body.into_data_stream();
    // A client that asks for leave to send gets it with the first read, and only before the answer has begun.
    let first = if parts.headers.contains_key(header::EXPECT) {
        timeout_at(deadline, frames.next()).await.map_err(|_| timed_out())?
    } else {
        None
    };
    let (sender, receiver) = mpsc::unbounded_channel();
    let unread = Arc::new(Unread { own: Counter::default(), all: app.unread.clone(), eased: Notify::new() });
    let reader = Reader {
        lines: Lines::new(settings.max_line_bytes),
        pending: FuturesOrdered::new(),
        unanswered: Counter::default(),
        unanswered_lines: 0,
        answers: Answers { sender, unread: unread.clone() },
        last_org: None,
        app,
        settings,
    };
    let task = tokio::spawn(reader.run(first, frames));
    let body = Body::from_stream(AnswerBody { receiver, unread, task });
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
}

type Counter = Arc<AtomicUsize>;
type Frame = Result<Bytes, axum::Error>;
type Pending = Pin<Box<dyn Future<Output = Batch> + Send>>;

/// Counts bytes for as long as it lives.
struct Counted(Vec<Counter>, usize);

impl Counted {
    fn new(counters: Vec<Counter>, bytes: usize) -> Counted {
        for counter in &counters {
            counter.fetch_add(bytes, Ordering::Relaxed);
        }
        Counted(counters, bytes)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        for counter in &self.0 {
            counter.fetch_sub(self.1, Ordering::Relaxed);
        }
    }
}

/// Lines that go to the queue together.
struct Batch {
    lines: VecDeque<BatchLine>,
    /// One per line that was handed in.
    answers: Vec<Result<Appended, Refused>>,
    _counted: Counted,
}

enum BatchLine {
    /// Handed in; its answer is the queue's next one.
    HandedIn { number: u64, id: EventId },
    /// Refused before that, with its line of the answer.
    Refused(String),
}

/// Reads one stream.
struct Reader {
    app: Arc<App>,
    settings: Arc<Settings>,
    lines: Lines,
    /// Batches that wait to be durable, in order.
    pending: FuturesOrdered<Pending>,
    unanswered: Counter,
    unanswered_lines: usize,
    answers: Answers,
    /// The org of the line before: most streams are of one org, or sorted by org.
    last_org: Option<Arc<Org>>,
}

impl Reader {
    async fn run(mut self, first: Option<Frame>, mut frames: BodyDataStream) {
        let draining = self.app.draining();
        let mut reading = true;
        if let Some(frame) = first {
            reading = self.take(Some(frame)).await;
        }
        // A line that has begun must end by then; a stream between lines must go on by then.
        let mut deadline = self.deadline();
        let mut begun = self.lines.begun();
        let mut could_read = true;
        while reading || !self.pending.is_empty() {
            let may_read = reading && self.has_room();
            if may_read && !could_read {
                // The time in which we did not read is not the client's.
                deadline = self.deadline();
            }
            could_read = may_read;
            tokio::select! {
                Some(batch) = self.pending.next() => self.answer(batch),
                frame = frames.next(), if may_read => {
                    reading = self.take(frame).await;
                    if begun.is_none() || begun != self.lines.begun() {
                        begun = self.lines.begun();
                        deadline = self.deadline();
                    }
                }
                () = self.answers.unread.eased.notified(), if reading && !may_read => {}
                () = sleep_until(deadline), if may_read => {
                    reading = false;
                    if let Some(number) = self.lines.begun() {
                        let late = timed_out().line(number, None);
                        self.submit(vec![BatchLine::Refused(late)].into(), Vec::new(), 0).await;
                    }
                }
                () = self.answers.sender.closed() => return,
                () = draining.cancelled(), if reading => reading = false,
            }
        }
    }

    fn deadline(&self) -> Instant {
        let begun = self.lines.begun();
        Instant::now() + if begun.is_some() { self.settings.body_timeout } else { self.settings.stream_idle }
    }

    fn has_room(&self) -> bool {
        let unanswered = self.unanswered.load(Ordering::Relaxed);
        let all = self.app.unanswered.load(Ordering::Relaxed);
        let disk_keeps_up = unanswered == 0
            || (unanswered < UNANSWERED_BYTES
                && self.unanswered_lines < UNANSWERED_LINES
                && all < UNANSWERED_BYTES_ALL);
        disk_keeps_up && self.answers.unread.has_room()
    }

    /// Takes what was read; answers whether there can be more.
    async fn take(&mut self, frame: Option<Frame>) -> bool {
        let (goes_on, mut last) = match frame {
            Some(Ok(frame)) => {
                self.lines.feed(frame);
                (true, None)
            }
            // An end that is not the end: what has begun is not a line.
            Some(Err(_)) => return false,
            None => (false, self.lines.finish()),
        };
        let now = clock::now();
        self.settings = self.app.settings();
        // Configuration is looked at afresh for every piece that is read.
        self.last_org = None;
        let (mut lines, mut appends, mut bytes) = (VecDeque::new(), Vec::new(), 0);
        while let Some((number, line)) = if goes_on { self.lines.next() } else { last.take() } {
            if let Line::Text(text) = &line {
                bytes += text.len();
            }
            match self.read_line(number, &line, now) {
                Ok(append) => {
                    lines.push_back(BatchLine::HandedIn { number, id: append.event.id.clone() });
                    appends.push(append);
                }
                Err(answer) => lines.push_back(BatchLine::Refused(answer)),
            }
        }
        if !lines.is_empty() {
            self.submit(lines, appends, bytes).await;
        }
        goes_on
    }

    /// Reads one line as an event of its org; a refusal is the line of the answer.
    fn read_line(&mut self, number: u64, line: &Line, now: UnixMs) -> Result<Append, String> {
        let text = match line {
            Line::Text(text) => text,
            Line::TooLong => return Err(too_large(self.settings.max_line_bytes).line(number, None)),
        };
        let read = EventLine::parse(text).map_err(|problem| problem.line(number, None))?;
        let append = self.org(&read).and_then(|org| {
            let event = read.event(self.settings.max_attributes)?;
            accept(&self.settings, &org, event, now)
        });
        append.map_err(|problem| problem.line(number, read.id().as_ref().map(EventId::as_str)))
    }

    fn org(&mut self, line: &EventLine<'_>) -> Result<Arc<Org>, Problem> {
        match &self.last_org {
            Some(org) if org.id.as_str() == line.org_name() => Ok(org.clone()),
            _ => {
                let org = self.app.org(line.org_id()?.as_str())?;
                self.last_org = Some(org.clone());
                Ok(org)
            }
        }
    }

    /// Hands a batch to the queue. Batches reach it in the order of this call: each is polled once, here.
    async fn submit(&mut self, lines: VecDeque<BatchLine>, appends: Vec<Append>, bytes: usize) {
        let counted = Counted::new(vec![self.unanswered.clone(), self.app.unanswered.clone()], bytes);
        self.unanswered_lines += lines.len();
        let queue = self.app.queue.clone();
        let mut batch: Pending = Box::pin(async move {
            let answers = if appends.is_empty() { Vec::new() } else { queue.append(appends).await };
            Batch { lines, answers, _counted: counted }
        });
        let pending = match futures_util::poll!(batch.as_mut()) {
            Poll::Ready(batch) => Box::pin(std::future::ready(batch)),
            Poll::Pending => batch,
        };
        self.pending.push_back(pending);
    }

    /// Writes the answers of a batch that is durable.
    fn answer(&mut self, batch: Batch) {
        self.unanswered_lines -= batch.lines.len();
        let mut text = String::with_capacity(batch.lines.len() * 96);
        let mut answers = batch.answers.into_iter();
        for line in batch.lines {
            match line {
                BatchLine::Refused(answer) => text.push_str(&answer),
                BatchLine::HandedIn { number, id } => {
                    let unanswered = || Err(Refused::Unavailable("the event got no answer".to_owned()));
                    match answers.next().unwrap_or_else(unanswered) {
                        Ok(appended) => {
                            write_answer(&mut text, &appended);
                            text.push('\n');
                        }
                        Err(refused) => {
                            text.push_str(&Problem::from(refused).line(number, Some(id.as_str())));
                        }
                    }
                }
            }
        }
        self.answers.send(text.into());
    }
}

/// Answers on their way to the client.
struct Answers {
    sender: mpsc::UnboundedSender<Bytes>,
    unread: Arc<Unread>,
}

/// What the client has not read yet, in bytes.
struct Unread {
    own: Counter,
    all: Counter,
    /// Notified whenever the client has read something.
    eased: Notify,
}

impl Unread {
    fn has_room(&self) -> bool {
        let own = self.own.load(Ordering::Relaxed);
        own < UNREAD_BYTES_FREE || (own < UNREAD_BYTES && self.all.load(Ordering::Relaxed) < UNREAD_BYTES_ALL)
    }

    fn add(&self, bytes: usize) {
        self.own.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_add(bytes, Ordering::Relaxed);
    }

    fn subtract(&self, bytes: usize) {
        self.own.fetch_sub(bytes, Ordering::Relaxed);
        self.all.fetch_sub(bytes, Ordering::Relaxed);
        self.eased.notify_one();
    }
}

impl Answers {
    fn send(&self, answer: Bytes) {
        let bytes = answer.len();
        self.unread.add(bytes);
        if self.sender.send(answer).is_err() {
            self.unread.subtract(bytes);
        }
    }
}

/// The body of the response. It ends well only if the reading task did.
struct AnswerBody {
    receiver: mpsc::UnboundedReceiver<Bytes>,
    unread: Arc<Unread>,
    task: JoinHandle<()>,
}

impl Stream for AnswerBody {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(answer) = ready!(self.receiver.poll_recv(cx)) {
            self.unread.subtract(answer.len());
            return Poll::Ready(Some(Ok(answer)));
        }
        match ready!(Pin::new(&mut self.task).poll(cx)) {
            Ok(()) => Poll::Ready(None),
            Err(_) => Poll::Ready(Some(Err(io::Error::other("the stream broke off")))),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.receiver.close();
        while let Ok(answer) = self.receiver.try_recv() {
            self.unread.subtract(answer.len());
        }
    }
}
