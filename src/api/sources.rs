//! `/v1/orgs/{org}/sources`: where outside services post.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chacha20poly1305::aead::Generate as _;
use http::StatusCode;
use serde_json::json;

use super::body::{JsonBody, OptionalJsonBody};
use super::params::{KnownOrg, MaybeSource, Query, SourceName, cursor};
use super::wire::{
    Members, Page, SeenOut, SourceOut, SourceTrialOut, address, read_source, read_source_trial,
};
use super::{App, Json};
use crate::clock;
use crate::model::{Source, SourceId, TokenHash};
use crate::queue::{Org, Refused};
use crate::serving::problem::{Kind, Problem};
use crate::sources::Gate;
use crate::sources::traffic::Summary;

/// Random bytes of a token: 192 bits, 32 characters.
const TOKEN_BYTES: usize = 24;

/// `PUT …/sources/{source}`: 201 created, with its address whole, this once; 200 replaced, at the same address.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    SourceName(id): SourceName,
    body: JsonBody,
) -> Result<Response, Problem> {
    let known = app.settings().catalogue.clone();
    let token = new_token();
    let source = read_source(id.clone(), &body.bytes, &known, TokenHash::of(&token), clock::now())?;
    let created = app.queue.put_source(&org.id, source).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let shown = shown(&app, &org.id.clone(), &id, created.then_some(&*token))?;
    Ok((status, shown).into_response())
}

/// From the system's source, as the store's nonces are.
fn new_token() -> String {
    URL_SAFE_NO_PAD.encode(<[u8; TOKEN_BYTES]>::generate())
}

/// A source as it is now.
fn shown(
    app: &App,
    org: &crate::model::OrgId,
    id: &SourceId,
    token: Option<&str>,
) -> Result<Response, Problem> {
    let org = app.org(org.as_str())?;
    let source = find(&org, Some(id))?;
    Ok(Json(out(app, &org, source, token)).into_response())
}

fn out<'a>(app: &App, org: &Org, source: &'a Source, token: Option<&'a str>) -> SourceOut<'a> {
    let settings = app.gate.as_ref().map(|gate| gate.settings());
    let traffic = app.gate.as_ref().map(|gate| gate.traffic.of(org.number, &source.id));
    let address = |token: &str| address(settings.as_deref(), &org.id, &source.id, token);
    let listening = settings.as_ref().is_some_and(|settings| settings.listening.is_some());
    SourceOut::of(source, address, (token, listening), traffic.unwrap_or_default())
}

/// `GET …/sources/{source}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
) -> Result<Response, Problem> {
    Ok(Json(out(&app, &org, find(&org, id.as_ref())?, None)).into_response())
}

/// `GET …/sources`: in order of name.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    query: Query,
) -> Result<Response, Problem> {
    let query = query.only(&["limit", "after"])?;
    let limit = query.limit()?;
    let after: Option<SourceId> = query.after(|place| place.strip_prefix("source:")?.parse().ok())?;
    let mut rest =
        org.sources.values().filter(|source| after.as_ref().is_none_or(|after| source.id > *after));
    let items: Vec<_> = rest.by_ref().take(limit).map(|source| out(&app, &org, source, None)).collect();
    let next = rest.next().and(items.last()).map(|last| cursor(format!("source:{}", last.id())));
    Ok(Json(Page { items, next }).into_response())
}

/// `GET …/sources/{source}/requests`: what came lately, the newest first.
pub(super) async fn requests(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
) -> Result<Response, Problem> {
    let source = find(&org, id.as_ref())?;
    let Summary { recent, .. } = running(&app)?.traffic.of(org.number, &source.id);
    let items: Vec<_> = recent.into_iter().map(SeenOut::from).collect();
    Ok(Json(Page { items, next: None }).into_response())
}

/// `POST …/sources/{source}/reset-token`: a new address, this once; the old one ends at once.
pub(super) async fn reset_token(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    Members::parse(&body, &[])?;
    let id = find(&org, id.as_ref())?.id.clone();
    let (token, now) = (new_token(), clock::now());
    let hash = TokenHash::of(&token);
    let changed = app.queue.change_source(&org.id, &id, move |source| {
        (source.token, source.token_at, source.updated_at) = (hash, now, now);
    });
    changed.await?;
    let settings = app.gate.as_ref().map(|gate| gate.settings());
    let url = address(settings.as_deref(), &org.id, &id, &token);
    let listening = settings.is_some_and(|settings| settings.listening.is_some());
    Ok(Json(json!({ "token": token, "url": url, "listening": listening, "token_at": now })).into_response())
}

/// `POST …/sources/{source}/enable`.
pub(super) async fn enable(
    app: State<Arc<App>>,
    org: KnownOrg,
    source: MaybeSource,
    body: OptionalJsonBody,
) -> Result<Response, Problem> {
    switch(app, org, source, &body, true).await
}

/// `POST …/sources/{source}/disable`: nobody is at its address until it is enabled again.
pub(super) async fn disable(
    app: State<Arc<App>>,
    org: KnownOrg,
    source: MaybeSource,
    body: OptionalJsonBody,
) -> Result<Response, Problem> {
    switch(app, org, source, &body, false).await
}

async fn switch(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
    OptionalJsonBody(body): &OptionalJsonBody,
    enabled: bool,
) -> Result<Response, Problem> {
    Members::parse(body, &[])?;
    let id = find(&org, id.as_ref())?.id.clone();
    let now = clock::now();
    let changed = app.queue.change_source(&org.id, &id, move |source| {
        (source.enabled, source.updated_at) = (enabled, now);
    });
    changed.await?;
    shown(&app, &org.id, &id, None)
}

/// `DELETE …/sources/{source}`: nobody is at its address any more. What came there stays in the queue.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
) -> Result<StatusCode, Problem> {
    let id = find(&org, id.as_ref())?.id.clone();
    app.queue.delete_source(&org.id, &id).await?;
    if let Some(gate) = &app.gate {
        gate.traffic.forget(org.number, &id);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// `POST …/sources/{source}/test`: a signed sample by the path of every request, queued only if that is asked for.
pub(super) async fn test(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeSource(id): MaybeSource,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let given = read_source_trial(&body)?;
    find(&org, id.as_ref())?;
    let enqueue = given.enqueue;
    let source = id.and_then(|id| org.sources.get(&id).cloned());
    let source = source.ok_or_else(unknown)?;
    let trial = running(&app)?.trial(&org, &source, given).await?;
    tracing::info!(org = %org.id, source = %source.id, verdict = trial.verdict.code(), enqueue, "source tested");
    Ok(Json(SourceTrialOut::of(&source, &trial, enqueue)).into_response())
}

fn running(app: &App) -> Result<&Arc<Gate>, Problem> {
    app.gate.as_ref().ok_or_else(|| Problem::new(Kind::NotRunning, "only a running daemon takes requests"))
}

fn unknown() -> Problem {
    Problem::new(Kind::UnknownSource, Refused::UnknownSource.to_string())
}

fn find<'a>(org: &'a Org, id: Option<&SourceId>) -> Result<&'a Source, Problem> {
    id.and_then(|id| org.sources.get(id)).map(|source| &**source).ok_or_else(unknown)
}
