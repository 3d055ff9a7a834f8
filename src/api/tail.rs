//! `GET /v1/tail`: what happens, as it happens, as server-sent events: `event:` says what, `data:` is a JSON object on one
//! line. One that reads too slowly is told how many it lost (`event: lost`), and slows nobody down.
//!
//! A comment comes first, and then one whenever it has been quiet for a while, so that a reader that is gone is noticed. A
//! stream ends when its reader goes, or at once when the daemon stops.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, header};
use tokio_util::sync::CancellationToken;

use super::App;
use super::params::Query;
use crate::model::WebhookId;
use crate::serving::problem::{Kind, Problem};
use crate::tail::{Filter, Happened, Heard, Listener};

/// After so long a silence a comment is sent.
const QUIET_MAX: Duration = Duration::from_secs(10);
/// What is sent at once, at most: more is better sent in pieces that a reader gets through.
const PIECE_BYTES: usize = 16 << 10;
/// One who listens may go at any time.
const RETRY_S: u32 = 10;

/// 200 and a stream of events.
pub(super) async fn show(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let filter = read_filter(&app, query)?;
    let listener = app.queue.hub().listen(filter);
    let listener = listener
        .map_err(|full| Problem::new(Kind::TooManyListeners, full.to_string()).retry_after(RETRY_S))?;
    let told = Told { listener, draining: app.draining(), greeted: false };
    let body = Body::from_stream(stream::unfold(told, Told::piece));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, body).into_response())
}

/// A mistyped filter must not mean silence.
fn read_filter(app: &App, query: Query) -> Result<Filter, Problem> {
    let query = query.only(&["org", "webhook", "type", "event"])?;
    let org = query.text("org").map(|name| app.org(name)).transpose()?;
    let webhook = query.text("webhook").map(str::parse::<WebhookId>).transpose();
    let webhook = webhook.map_err(|rule| Problem::invalid("/webhook", rule.to_string()))?;
    if let (Some(org), Some(webhook)) = (&org, &webhook)
        && org.webhooks.get(webhook).is_none()
    {
        let detail = format!("{} has no webhook \"{webhook}\"", org.id);
        return Err(Problem::new(Kind::UnknownWebhook, detail));
    }
    let event_types = match query.text("type") {
        Some(name) => super::filter::types_of(name, &app.settings().catalogue)?,
        None => Vec::new(),
    };
    let words = query.text("event").into_iter().flat_map(|words| words.split(','));
    let happened = words.map(read_word).collect::<Result<_, _>>()?;
    Ok(Filter { org: org.map(|org| org.id.clone()), webhook, event_types, happened })
}

fn read_word(word: &str) -> Result<Happened, Problem> {
    Happened::ALL.iter().copied().find(|happened| happened.word() == word).ok_or_else(|| {
        let words: Vec<_> = Happened::ALL.iter().map(|happened| happened.word()).collect();
        Problem::invalid("/event", format!("must be one or several, with commas, of {}", words.join(", ")))
    })
}

/// A stream on its way.
struct Told {
    listener: Listener,
    draining: CancellationToken,
    greeted: bool,
}

impl Told {
    /// The next piece of the answer; none once the daemon stops.
    async fn piece(mut self) -> Option<(Result<Bytes, io::Error>, Told)> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some((Ok(Bytes::from_static(b": listening\n\n")), self));
        }
        let heard = tokio::select! {
            biased;
            () = self.draining.cancelled() => return None,
            heard = self.listener.next() => heard,
            () = tokio::time::sleep(QUIET_MAX) => return Some((Ok(Bytes::from_static(b":\n\n")), self)),
        };
        let mut text = String::new();
        let mut next = Some(heard);
        while let Some(heard) = next {
            write(&mut text, &heard);
            next = if text.len() < PIECE_BYTES { self.listener.at_once() } else { None };
        }
        Some((Ok(text.into()), self))
    }
}

fn write(text: &mut String, heard: &Heard) {
    let (event, data) = match heard {
        // Nothing in it can fail to serialize: text and numbers only.
        Heard::Fact(fact) => (fact.happened.word(), serde_json::to_string(&**fact).unwrap_or_default()),
        Heard::Lost(count) => ("lost", format!("{{\"event\":\"lost\",\"count\":{count}}}")),
    };
    // Writing to a String cannot fail.
    let _infallible = write!(text, "event: {event}\ndata: {data}\n\n");
}
