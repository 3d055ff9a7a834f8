//! Appending what a request of a source became, all of its events or none, and remembering the request.
//!
//! A sender repeats a request whose answer it did not see: one of the same id runs nothing again and gets the same answer,
//! whatever else has changed in it (Stripe counts the attempts in the body) and whatever has become of the rules. What is
//! remembered is written as for changes; the hash is of the source and the id.

use std::sync::Arc;
use std::time::Instant;

use super::append::day_of;
use super::change::{AppendedEvent, append_all};
use super::key::{self, InQueue, KeyHash};
use super::record::{RequestRecord, RequestsRecord};
use super::store::{Store, Trouble};
use super::writer::{Applied, Writer};
use super::{Append, Org, Queue, Refused};
use crate::model::{OrgNumber, Source, UnixMs};

/// How many days before today a request is looked for: senders repeat theirs for up to three (Stripe by itself, GitHub on
/// demand).
pub(super) const REQUEST_DAYS: u32 = 3;
/// How long a request is remembered at least.
const REQUEST_MS: i64 = 72 * 60 * 60 * 1000;

/// What a request takes beside its answer: key, seal and times, in the store's log.
const REQUEST_BYTES: u64 = 160;
/// Every org may have so many bytes of remembered requests of a day, however small its queue is.
const REQUESTS_BYTES_MIN: u64 = 16 << 20;

/// What tells the hash of a request's id from others.
const REQUEST: &[u8] = b"request";

/// What a request that has an id is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestKey(KeyHash);

impl RequestKey {
    /// A text that is the same for the same request and tells nothing of it: 32 hexadecimal digits.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.0))
    }
}

/// What was answered to a request that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAnswer {
    /// The type of the body; empty if there is none.
    pub content_type: String,
    /// The body.
    pub body: String,
}

/// The events that a request became: all of them are appended, in this order, or none.
#[derive(Debug, Clone)]
pub struct AppendRequest {
    /// The org it belongs to.
    pub org: Arc<Org>,
    /// Only for a request that has an id: one without events is then remembered too.
    pub key: Option<RequestKey>,
    /// Its events. Their own ids are not remembered, whatever they say.
    pub events: Vec<Append>,
    /// What is answered once they are durable.
    pub answer: RequestAnswer,
    /// When it was accepted.
    pub accepted_at: UnixMs,
}

/// What became of an [`AppendRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AppendedRequest {
    /// Its events are durable.
    Accepted(Vec<AppendedEvent>),
    /// It had been accepted before, with this answer: nothing was appended.
    Repeated(RequestAnswer),
}

impl Queue {
    /// What a request of this source with this id is remembered by. A source that is deleted and made anew is another one.
    #[must_use]
    pub fn request_key(&self, source: &Source, id: &str) -> RequestKey {
        let (name, made) = (source.id.as_str().as_bytes(), source.created_at.0.to_be_bytes());
        RequestKey(self.sealer().hash([REQUEST, name, &made, id.as_bytes()]))
    }

    /// What was answered to the request with this id, if it was accepted within the last three days.
    pub async fn repeated_request(
        &self,
        org: &Arc<Org>,
        key: RequestKey,
        at: UnixMs,
    ) -> Result<Option<RequestAnswer>, Refused> {
        let number = org.number;
        if !self.read_store(move |store| Ok(find(store, number, key, at)?.is_some())).await? {
            return Ok(None);
        }
        // What was found may not be on disk yet: a commit after it is.
        self.commit(0, move |writer| Ok(Ok(find(&writer.store, number, key, at)?))).await
    }

    /// Appends the events of a request, all or none; the answer comes once they are durable.
    pub async fn append_request(&self, request: AppendRequest) -> Result<AppendedRequest, Refused> {
        let bytes = |event: &Append| event.event.payload.len() * event.webhooks.len().max(1);
        let bytes = request.events.iter().map(bytes).sum();
        let began = Instant::now();
        let appended = self.commit(bytes, move |writer| append_request(writer, request)).await;
        self.enqueued(began, &appended);
        appended
    }
}

fn find(
    store: &Store,
    org: OrgNumber,
    RequestKey(hash): RequestKey,
    now: UnixMs,
) -> Result<Option<RequestAnswer>, Trouble> {
    let Some(tree) = store.queue(org) else { return Ok(None) };
    let today = day_of(now);
    for day in (0..=REQUEST_DAYS).map(|ago| today.wrapping_sub(ago)) {
        if let Some(record) = tree.get::<RequestRecord>(&key::request(org, day, &hash))?
            && now.0.saturating_sub(record.accepted_at_ms) < REQUEST_MS
        {
            let RequestRecord { content_type, body, .. } = record;
            return Ok(Some(RequestAnswer { content_type, body }));
        }
    }
    Ok(None)
}

fn append_request(writer: &mut Writer, request: AppendRequest) -> Applied<AppendedRequest> {
    let AppendRequest { org, key, events, answer, accepted_at } = request;
    let number = org.number;
    if writer.number_of(&org.id) != Some(number) {
        return Ok(Err(Refused::UnknownOrg));
    }
    if let Some(key) = key
        && let Some(before) = find(&writer.store, number, key, accepted_at)?
    {
        return Ok(Ok(AppendedRequest::Repeated(before)));
    }
    let counted = match key.map(|_| count_in(writer, &org, &answer, accepted_at)).transpose()? {
        Some(Err(refused)) => return Ok(Err(refused)),
        Some(Ok(counted)) => Some(counted),
        None => None,
    };
    let seen = key.map(|RequestKey(hash)| (day_of(accepted_at), hash));
    let place = seen.map(|(day, hash)| key::request(number, day, &hash));
    let RequestAnswer { content_type, body } = answer;
    let remembered = |_: &[AppendedEvent], first_sequence| {
        Some(RequestRecord { accepted_at_ms: accepted_at.0, first_sequence, content_type, body })
    };
    let appended = append_all(writer, &org, events, accepted_at, (seen, place), remembered)?;
    if let (Some(counted), Ok(_)) = (counted, &appended) {
        let row = key::of_org(InQueue::Requests as u8, number);
        writer.store.queue_for_writing(number)?.put(&row, &counted)?;
        writer.queue_mut(number)?.requests = (counted.day, counted.bytes);
    }
    Ok(appended.map(AppendedRequest::Accepted))
}

/// What the requests of the day take with one more. Remembering is bounded by bytes, as the queue is: senders decide how
/// many requests there are, and whether they become deliveries or nothing.
fn count_in(
    writer: &mut Writer,
    org: &Org,
    answer: &RequestAnswer,
    accepted_at: UnixMs,
) -> Applied<RequestsRecord> {
    let max = org.settings.max_bytes.unwrap_or(writer.limits.max_bytes).max(REQUESTS_BYTES_MIN);
    let today = day_of(accepted_at);
    let (day, bytes) = writer.queue_mut(org.number)?.requests;
    let before = if day == today { bytes } else { 0 };
    let bytes = before + REQUEST_BYTES + answer.body.len() as u64;
    if bytes > max {
        return Ok(Err(Refused::RequestsFull(before)));
    }
    Ok(Ok(RequestsRecord { day: today, bytes }))
}
