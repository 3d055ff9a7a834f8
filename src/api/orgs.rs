//! `/v1/orgs`: the tenants, their limits, and how their queues stand.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::audit::Did;
use super::body::JsonBody;
use super::params::{KnownOrg, OrgName, Query, cursor};
use super::queue::state_of;
use super::wire::{LimitsOut, OrgOut, Page, QueueOut, QueuedOut, read_org};
use super::{App, Json};
use crate::clock;
use crate::model::OrgId;
use crate::queue::{Org, QueueSummary, Queued};
use crate::serving::problem::Problem;

/// `PUT /v1/orgs/{org}`: 201 created, 200 replaced.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    OrgName(id): OrgName,
    body: JsonBody,
) -> Result<Response, Problem> {
    let settings = read_org(&body.bytes, clock::now())?;
    let created = app.queue.put_org(id.clone(), settings).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let org = app.org(id.as_str())?;
    let head = head(&app, &org).await?;
    Ok((status, Json(shown(&app, &org, head))).into_response())
}

/// `GET /v1/orgs/{org}`.
pub(super) async fn show(State(app): State<Arc<App>>, KnownOrg(org): KnownOrg) -> Result<Response, Problem> {
    let head = head(&app, &org).await?;
    Ok(Json(shown(&app, &org, head)).into_response())
}

/// `GET /v1/orgs`: in order of name.
pub(super) async fn list(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let query = query.only(&["limit", "after", "sort"])?;
    let limit = query.limit()?;
    match (query.text("sort"), query.text("after")) {
        (None, _) => {}
        (Some("worst"), None) => return worst(&app, limit).await,
        (Some("worst"), Some(_)) => {
            return Err(Problem::invalid("/after", "there is one page of the orgs that stand worst"));
        }
        (Some(_), _) => {
            return Err(Problem::invalid("/sort", "must be worst, or be left out for the order of names"));
        }
    }
    let after: Option<OrgId> = query.after(|place| place.strip_prefix("org:")?.parse().ok())?;
    // One more than asked for tells whether there is a next page.
    let mut orgs = app.queue.directory().list(after.as_ref(), limit + 1);
    let more = orgs.len() > limit;
    orgs.truncate(limit);
    let next = orgs.last().filter(|_| more).map(|org| cursor(format!("org:{}", org.id)));
    page(&app, &orgs, next).await
}

/// Those in whose queue something waits: a head that has failed first, then the deepest queue.
async fn worst(app: &App, limit: usize) -> Result<Response, Problem> {
    page(app, &app.queue.worst(limit), None).await
}

async fn page(app: &App, orgs: &[Arc<Org>], next: Option<String>) -> Result<Response, Problem> {
    let mut heads = Vec::with_capacity(orgs.len());
    for org in orgs {
        heads.push(head(app, org).await?);
    }
    let items = orgs.iter().zip(heads).map(|(org, head)| shown(app, org, head)).collect();
    Ok(Json(Page { items, next }).into_response())
}

/// `DELETE /v1/orgs/{org}`: with `?discard=true`, its queue and its dead letters go as well.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let discard = query.only(&["discard"])?.flag("discard")?;
    let QueueSummary { depth, dead_letters, .. } = app.queue.summary(org.number);
    app.queue.delete_org(&org.id, discard).await?;
    Ok((Did::dropped(depth + dead_letters).said(), StatusCode::NO_CONTENT).into_response())
}

/// The delivery at the head of the org's queue. Orgs without one, which are most, cost no read.
async fn head(app: &App, org: &Org) -> Result<Option<Queued>, Problem> {
    if app.queue.summary(org.number).head.is_none() {
        return Ok(None);
    }
    let mut first = app.queue.list(org.number, None, 1, false).await?;
    Ok(first.pop())
}

fn shown<'a>(app: &App, org: &'a Org, head: Option<Queued>) -> OrgOut<'a> {
    let summary = app.queue.summary(org.number);
    let settings = app.settings();
    OrgOut {
        id: &org.id,
        plan: org.settings.plan.as_deref(),
        limits: LimitsOut {
            deliveries: org.settings.max_deliveries.unwrap_or(settings.max_deliveries),
            bytes: org.settings.max_bytes.unwrap_or(settings.max_bytes),
            webhooks: org.settings.max_webhooks,
        },
        description: &org.settings.description,
        created_at: org.settings.created_at,
        updated_at: org.settings.updated_at,
        webhooks: org.webhooks.len(),
        queue: QueueOut {
            depth: summary.depth,
            bytes: summary.bytes,
            state: state_of(app, org.number, &summary).code(),
            oldest_at: head.as_ref().map(|head| head.delivery.accepted_at),
            paused: summary.paused.map(Into::into),
            head: head.map(|head| QueuedOut::new(head, false)),
        },
        dead_letters: summary.dead_letters,
    }
}
