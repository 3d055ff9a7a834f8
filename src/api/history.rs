//! `/v1/history`: what was delivered, one by one or by filter, and sent again.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::audit::Did;
use super::body::{JsonBody, OptionalJsonBody};
use super::dead_letters::partly;
use super::filter::{Filter, Many};
use super::params::{KnownOrg, MaybeHistoryId, Query, cursor};
use super::wire::{HistoryListed, HistoryShown, Members, Page};
use super::{App, Json};
use crate::queue::{HistoryFilter, Replay};
use crate::serving::problem::{Kind, Problem};

const FILTERS: &[&str] = &["org", "webhook", "type", "event_id", "replay", "since", "until"];
const IN_BODY: &[&str] =
    &["org", "webhook", "type", "event_id", "replay", "since", "until", "dry_run", "all", "filter"];

/// `GET /v1/history`: newest last.
pub(super) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let (query, filter) = Filter::of_query(query, FILTERS, &app.settings().catalogue)?;
    page(&app, &query, filter.into()).await
}

/// `GET /v1/orgs/{org}/history`.
pub(super) async fn list_of_org(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let (query, filter) = Filter::of_org(query, FILTERS, &org, &app.settings().catalogue)?;
    page(&app, &query, filter.into()).await
}

async fn page(app: &App, query: &Query, filter: HistoryFilter) -> Result<Response, Problem> {
    let after = query.after(|place| place.strip_prefix("history:")?.parse().ok())?;
    let page = app.queue.history_list(filter, after, None, query.limit()?).await?;
    let next = page.next.map(|place| cursor(format!("history:{place}")));
    let items: Vec<HistoryListed> = page.items.into_iter().map(Into::into).collect();
    Ok(Json(Page { items, next }).into_response())
}

/// `GET /v1/history/{id}`: everything, with every attempt; the payload only with `?payload=true`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    MaybeHistoryId(id): MaybeHistoryId,
    query: Query,
) -> Result<Response, Problem> {
    let payload = query.only(&["payload"])?.flag("payload")?;
    let id = id.ok_or_else(unknown)?;
    let entry = app.queue.history_show(id, payload).await?.ok_or_else(unknown)?;
    if payload {
        tracing::info!(entry = %id, org = %entry.org, "the payload of a delivery in the history was shown");
    }
    Ok(Json(HistoryShown::new(entry, payload)).into_response())
}

#[derive(Serialize)]
struct Answer {
    matched: u64,
    replayed: u64,
    dry_run: bool,
}

/// `POST /v1/history/{id}/replay`.
pub(super) async fn replay(
    State(app): State<Arc<App>>,
    MaybeHistoryId(id): MaybeHistoryId,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    Members::parse(&body, &[])?;
    let id = id.ok_or_else(unknown)?;
    match app.queue.replay(vec![id]).await? {
        Replay { refused: Some((_, refused)), .. } => Err(refused.into()),
        Replay { replayed: 0, .. } => Err(unknown()),
        Replay { .. } => Ok(Json(Answer { matched: 1, replayed: 1, dry_run: false }).into_response()),
    }
}

/// `POST /v1/history/replay`: those that match, in the order in which they were delivered.
pub(super) async fn replay_many(State(app): State<Arc<App>>, body: JsonBody) -> Result<Response, Problem> {
    let catalogue = app.settings().catalogue.clone();
    let (Many { filter, dry_run }, _) =
        Many::read(&body.bytes, (FILTERS, IN_BODY), "delivery in the history", &catalogue)?;
    let org = filter.org.clone();
    let run = app.queue.replay_matching(filter.into(), dry_run).await?;
    let did = Did { org, dry_run, ..Did::touched(run.replay.replayed) };
    if let Some((id, refused)) = run.replay.refused {
        let first = format!(", and {id} is the first that was not");
        return Ok(partly(refused, did, "replayed", &first));
    }
    let answer = Answer { matched: run.matched, replayed: run.replay.replayed, dry_run };
    Ok((did.said(), Json(answer)).into_response())
}

impl From<Filter> for HistoryFilter {
    fn from(filter: Filter) -> HistoryFilter {
        let Filter { org, webhook, event_types, event_id, reason: _, replay, since, until } = filter;
        HistoryFilter { org, webhook, event_types, event_id, replay, since, until }
    }
}

fn unknown() -> Problem {
    Problem::new(Kind::UnknownHistoryEntry, "there is no such entry in the history, or it is no longer kept")
}
