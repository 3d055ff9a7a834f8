//! `/v1/dead-letters`: what was given up, one by one or by filter.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;

use super::audit::Did;
use super::body::{JsonBody, OptionalJsonBody};
use super::filter::{Filter, Many};
use super::params::{DeadLetterName, KnownOrg, Query, cursor};
use super::wire::{DeadListed, DeadShown, Members, Page};
use super::{App, Json};
use crate::clock;
use crate::dead_letters::{self, Action, At, Found};
use crate::model::{DeadLetterId, UnixMs};
use crate::queue::{DeadCursor, DeadFilter, Refused};
use crate::serving::problem::{Kind, Problem};

const FILTERS: &[&str] = &["org", "webhook", "type", "event_id", "reason", "since", "until"];
/// The fields of a discard by filter, and of a retry.
const DISCARD: &[&str] =
    &["org", "webhook", "type", "event_id", "reason", "since", "until", "dry_run", "all", "filter"];
const RETRY: &[&str] =
    &["org", "webhook", "type", "event_id", "reason", "since", "until", "dry_run", "all", "filter", "at"];

/// `GET /v1/dead-letters`: newest last.
pub(super) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let (query, filter) = Filter::of_query(query, FILTERS, &app.settings().catalogue)?;
    page(&app, &query, filter.into()).await
}

/// `GET /v1/orgs/{org}/dead-letters`.
pub(super) async fn list_of_org(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let (query, filter) = Filter::of_org(query, FILTERS, &org, &app.settings().catalogue)?;
    page(&app, &query, filter.into()).await
}

async fn page(app: &App, query: &Query, filter: DeadFilter) -> Result<Response, Problem> {
    let after = query.after(read_cursor)?;
    let page = app.queue.dead_list(filter, after, query.limit()?).await?;
    let next = page.next.map(|place| cursor(format!("dead:{}:{}", place.died_at.0, place.id)));
    let items: Vec<DeadListed> = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Page { items, next }).into_response())
}

fn read_cursor(place: &str) -> Option<DeadCursor> {
    let (died_at, id) = place.strip_prefix("dead:")?.split_once(':')?;
    Some(DeadCursor { died_at: UnixMs(died_at.parse().ok()?), id: id.parse().ok()? })
}

/// `GET /v1/dead-letters/{id}`: everything, with every attempt; the payload only with `?payload=true`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
    query: Query,
) -> Result<Response, Problem> {
    let payload = query.only(&["payload"])?.flag("payload")?;
    let id = find(&app, &name).await?;
    let dead_letter = app.queue.dead_show(id, payload).await?.ok_or_else(unknown)?;
    if payload {
        tracing::info!(dead_letter = %id, org = %dead_letter.org, "the payload of a dead letter was shown");
    }
    Ok(Json(DeadShown::new(dead_letter, payload)).into_response())
}

/// `DELETE /v1/dead-letters/{id}`.
pub(super) async fn discard(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
) -> Result<StatusCode, Problem> {
    let id = find(&app, &name).await?;
    let changed = app.queue.discard(vec![id]).await?;
    if let Some(refused) = changed.refused {
        return Err(refused.into());
    }
    if changed.done == 0 {
        return Err(unknown());
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /v1/dead-letters/{id}/retry`.
pub(super) async fn retry(
    State(app): State<Arc<App>>,
    DeadLetterName(name): DeadLetterName,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let at = place(&Members::parse(&body, &["at"])?)?;
    let id = find(&app, &name).await?;
    let changed = dead_letters::retry(&app.queue, vec![id], at).await?;
    if let Some(refused) = changed.refused {
        return Err(refused.into());
    }
    if changed.done == 0 {
        let org_is_gone = app.queue.directory().by_number(id.org).is_none();
        return Err(if org_is_gone { Refused::UnknownOrg.into() } else { unknown() });
    }
    let org = app.queue.directory().by_number(id.org).map(|org| org.id.clone());
    let answer = Answer { matched: 1, retried: Some(1), discarded: None, dry_run: false };
    Ok((Did { org, ..Did::touched(1) }.said(), Json(answer)).into_response())
}

/// `"at"`: where in its queue what is retried goes.
fn place(members: &Members) -> Result<At, Problem> {
    let at = members.text("at")?;
    at.map_or(Ok(At::default()), |at| at.parse().map_err(|rule: &str| members.invalid("at", rule)))
}

/// `POST /v1/dead-letters/retry`: those that match, in their original order.
pub(super) async fn retry_many(State(app): State<Arc<App>>, body: JsonBody) -> Result<Response, Problem> {
    let retry = |members: &Members| Ok(Action::Retry(place(members)?));
    many(&app, &body.bytes, RETRY, retry).await
}

/// `POST /v1/dead-letters/discard`.
pub(super) async fn discard_many(State(app): State<Arc<App>>, body: JsonBody) -> Result<Response, Problem> {
    many(&app, &body.bytes, DISCARD, |_| Ok(Action::Discard)).await
}

#[derive(Serialize)]
struct Answer {
    matched: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    retried: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    discarded: Option<u64>,
    dry_run: bool,
}

async fn many(
    app: &App,
    body: &[u8],
    known: &'static [&'static str],
    action: impl Fn(&Members) -> Result<Action, Problem>,
) -> Result<Response, Problem> {
    let (Many { filter, dry_run }, members) =
        Many::read(body, (FILTERS, known), "dead letter", &app.settings().catalogue)?;
    let action = action(&members)?;
    let filter: DeadFilter = filter.into();
    let done = if dry_run { Action::Count } else { action };
    let run = dead_letters::run(&app.queue, &filter, done, clock::now()).await?;
    let discards = action == Action::Discard;
    let did = Did { dry_run, org: filter.org, ..Did::touched(run.done) };
    if let Some(refused) = run.refused {
        let verb = if discards { "discarded" } else { "retried" };
        return Ok(partly(refused, did, verb, ""));
    }
    let answer = Answer {
        matched: run.matched,
        retried: (!discards).then_some(run.done),
        discarded: discards.then_some(run.done),
        dry_run,
    };
    Ok((did.said(), Json(answer)).into_response())
}

/// The answer to a call that was refused after a part of it was done; `first` says where it ended.
pub(super) fn partly(refused: Refused, did: Did, verb: &str, first: &str) -> Response {
    let problem = Problem::from(refused);
    let detail = format!("{}; {} of those that match were {verb} before{first}", problem.detail, did.touched);
    (did.said(), Problem { detail, ..problem }).into_response()
}

impl From<Filter> for DeadFilter {
    fn from(filter: Filter) -> DeadFilter {
        let Filter { org, webhook, event_types, event_id, reason, replay: _, since, until } = filter;
        DeadFilter { org, webhook, event_types, event_id, reason, since, until }
    }
}

/// The dead letter of this name: its own id, or its event's if that is enough.
async fn find(app: &App, name: &str) -> Result<DeadLetterId, Problem> {
    match dead_letters::find(&app.queue, name).await? {
        Found::One(id) => Ok(id),
        Found::None => Err(unknown()),
        Found::Several(ids) => Err(Problem {
            candidates: ids.iter().map(ToString::to_string).collect(),
            ..Problem::new(
                Kind::AmbiguousId,
                "several dead letters have this event; name one of the candidates",
            )
        }),
    }
}

fn unknown() -> Problem {
    Refused::UnknownDeadLetter.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_read_back() {
        let place = DeadCursor { died_at: UnixMs(-5), id: "12-345".parse().unwrap() };
        assert_eq!(read_cursor(&format!("dead:{}:{}", place.died_at.0, place.id)), Some(place));
        assert_eq!(read_cursor("dead:5"), None);
    }
}
