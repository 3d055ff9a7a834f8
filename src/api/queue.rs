//! `/v1/orgs/{org}/queue`, `…/pause`, `…/resume`: what waits in an org's queue, and an operator's hand on its head.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::audit::Did;
use super::body::OptionalJsonBody;
use super::params::{KnownOrg, Query, cursor};
use super::wire::{Members, PauseOut, QueuedOut};
use super::{App, Json};
use crate::clock;
use crate::model::{OrgNumber, QueueState, Sequence};
use crate::queue::{Org, QueueSummary, Queued};
use crate::serving::problem::Problem;

/// What an operator may say when acting, in bytes.
const REASON_MAX: usize = 512;
/// Payloads are read in steps of this many, and a page ends once it holds so many bytes of them.
const PAYLOAD_STEP: usize = 16;
const PAYLOAD_PAGE_BYTES: u64 = 8 << 20;

#[derive(Serialize)]
struct QueuePage {
    items: Vec<QueuedOut>,
    next: Option<String>,
    state: &'static str,
    paused: Option<PauseOut>,
    depth: u64,
    bytes: u64,
}

/// `GET …/queue`: deliveries, head first. Pages with payloads may be shorter than asked for.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let query = query.only(&["limit", "after", "payload"])?;
    let (limit, payload) = (query.limit()?, query.flag("payload")?);
    let after = query.after(|place| place.strip_prefix("queue:")?.parse().ok().map(Sequence))?;
    let (items, more) = read_page(&app, &org, after, limit, payload).await?;
    let next = items.last().filter(|_| more).map(|last| cursor(format!("queue:{}", last.delivery.sequence)));
    let summary = app.queue.summary(org.number);
    Ok(Json(QueuePage {
        items: items.into_iter().map(|queued| QueuedOut::new(queued, payload)).collect(),
        next,
        state: state_of(&app, org.number, &summary).code(),
        depth: summary.depth,
        bytes: summary.bytes,
        paused: summary.paused.map(Into::into),
    })
    .into_response())
}

/// At most `limit` deliveries, and whether there are more.
async fn read_page(
    app: &App,
    org: &Org,
    mut after: Option<Sequence>,
    limit: usize,
    payload: bool,
) -> Result<(Vec<Queued>, bool), Problem> {
    if !payload {
        let mut items = app.queue.list(org.number, after, limit + 1, false).await?;
        let more = items.len() > limit;
        items.truncate(limit);
        return Ok((items, more));
    }
    let (mut items, mut bytes) = (Vec::new(), 0);
    while items.len() < limit && bytes < PAYLOAD_PAGE_BYTES {
        let step = PAYLOAD_STEP.min(limit - items.len());
        let read = app.queue.list(org.number, after, step, true).await?;
        if read.len() < step {
            items.extend(read);
            return Ok((items, false));
        }
        after = read.last().map(|queued| queued.delivery.sequence);
        bytes += read.iter().map(|queued| queued.delivery.size).sum::<u64>();
        items.extend(read);
    }
    let more = !app.queue.list(org.number, after, 1, false).await?.is_empty();
    Ok((items, more))
}

/// How an org's queue stands.
pub(super) fn state_of(app: &App, org: OrgNumber, summary: &QueueSummary) -> QueueState {
    let attempted = app.scheduler.as_ref().and_then(|scheduler| scheduler.in_flight(org));
    let due_later = |head: crate::model::Head| head.not_before.is_some_and(|at| at > clock::now());
    match summary.head {
        // A pause lets the attempt in flight end; until it has, that is what is going on.
        // One that was put before it is the head already, and waits for that.
        Some(head) if attempted.is_some_and(|(sequence, _)| sequence >= head.sequence) => {
            QueueState::InFlight
        }
        Some(head) if head.held => QueueState::Held,
        _ if summary.paused.is_some() => QueueState::Held,
        None => QueueState::Idle,
        Some(head) if due_later(head) => QueueState::Delayed,
        Some(_) => QueueState::Ready,
    }
}

/// `POST …/queue/retry-now`: the head's wait ends now.
pub(super) async fn retry_now(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    Members::parse(&body, &[])?;
    let sequence = app.queue.retry_now(&org.id).await?;
    let standing = standing(&app, &org);
    Ok(Json(json!({ "sequence": sequence, "state": standing.state, "paused": standing.paused }))
        .into_response())
}

/// `POST …/queue/skip`: the head becomes a dead letter.
pub(super) async fn skip(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let reason = reason(&body)?;
    let waited_for = attempt_ended(&app, &org).await;
    let did = Did { reason: reason.clone(), ..Did::touched(1) };
    let id = app.queue.skip(&org.id, waited_for, reason, clock::now()).await?;
    let answer = json!({ "dead_letter": id.to_string(), "sequence": id.sequence });
    Ok((did.said(), Json(answer)).into_response())
}

/// Waits until the attempt of the head that is in flight has ended, as it does within its webhook's timeout, and answers
/// that head: what the receiver is working on is not pulled from under it, and the next delivery does not overlap it.
async fn attempt_ended(app: &App, org: &Org) -> Option<Sequence> {
    let scheduler = app.scheduler.as_ref()?;
    let in_flight = scheduler.in_flight(org.number)?;
    // The next attempt of the same delivery may follow at once: that one is not waited for.
    while scheduler.in_flight(org.number) == Some(in_flight) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Some(in_flight.0)
}

/// How often to look whether an attempt has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// `POST …/pause`: nothing of the org is attempted until it is resumed.
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let reason = reason(&body)?;
    let did = Did { reason: reason.clone(), ..Did::touched(1) };
    app.queue.pause(&org.id, reason, clock::now()).await?;
    Ok((did.said(), Json(standing(&app, &org))).into_response())
}

/// `POST …/resume`. It may give a reason as well; it goes to nobody but the log of whoever asked.
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    reason(&body)?;
    app.queue.resume(&org.id).await?;
    Ok(Json(standing(&app, &org)).into_response())
}

#[derive(Serialize)]
struct Standing {
    state: &'static str,
    paused: Option<PauseOut>,
    depth: u64,
}

fn standing(app: &App, org: &Org) -> Standing {
    let summary = app.queue.summary(org.number);
    let state = state_of(app, org.number, &summary).code();
    Standing { state, depth: summary.depth, paused: summary.paused.map(Into::into) }
}

/// `{"reason": "…"}`, which may be left out.
fn reason(body: &[u8]) -> Result<Option<String>, Problem> {
    let members = Members::parse(body, &["reason"])?;
    let reason = members.text("reason")?;
    if reason.as_ref().is_some_and(|reason| reason.len() > REASON_MAX || reason.chars().any(char::is_control))
    {
        let rule = format!("must have at most {REASON_MAX} bytes and no control characters");
        return Err(members.invalid("reason", rule));
    }
    Ok(reason.map(Into::into))
}
