//! `/v1/orgs/{org}/clients`: what webhooks of one receiver have in common.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::audit::Did;
use super::body::JsonBody;
use super::params::{ClientName, KnownOrg, MaybeClient, Query, cursor};
use super::wire::{ClientOut, Page, read_client};
use super::{App, Json};
use crate::clock;
use crate::intake;
use crate::model::{Client, ClientId, Target};
use crate::queue::{Org, Refused};
use crate::serving::problem::{Kind, Problem};

/// `PUT …/clients/{client}`: 201 created, 200 replaced. What is left out gets its default, secrets too.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    ClientName(id): ClientName,
    body: JsonBody,
) -> Result<Response, Problem> {
    let known = app.settings().catalogue.clone();
    let client = read_client(id.clone(), &body.bytes, &known, clock::now())?;
    let judge = move |org: &Org, client: &Client| intake::check_client(&known, org, client);
    let created = app.queue.put_client_if(&org.id, client, judge).await??;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let org = app.org(org.id.as_str())?;
    Ok((status, Json(ClientOut::of(find(&org, Some(&id))?, &org))).into_response())
}

/// `GET …/clients/{client}`.
pub(super) async fn show(KnownOrg(org): KnownOrg, MaybeClient(id): MaybeClient) -> Result<Response, Problem> {
    Ok(Json(ClientOut::of(find(&org, id.as_ref())?, &org)).into_response())
}

/// `GET …/clients`: in order of name.
pub(super) async fn list(KnownOrg(org): KnownOrg, query: Query) -> Result<Response, Problem> {
    let query = query.only(&["limit", "after"])?;
    let limit = query.limit()?;
    let after: Option<ClientId> = query.after(|place| place.strip_prefix("client:")?.parse().ok())?;
    let mut rest =
        org.clients.values().filter(|client| after.as_ref().is_none_or(|after| client.id > *after));
    let items: Vec<_> = rest.by_ref().take(limit).map(|client| ClientOut::of(client, &org)).collect();
    let next = rest.next().and(items.last()).map(|last| cursor(format!("client:{}", last.id())));
    Ok(Json(Page { items, next }).into_response())
}

/// `DELETE …/clients/{client}`: with `?cascade=true`, its webhooks go as well; what waits for those becomes dead letters
/// when its turn comes.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeClient(id): MaybeClient,
    query: Query,
) -> Result<Response, Problem> {
    let cascade = query.only(&["cascade"])?.flag("cascade")?;
    let id = find(&org, id.as_ref())?.id.clone();
    app.queue.delete_client(&org.id, &id, cascade).await?;
    let is_its = |target: &Target| matches!(target, Target::Client { client, .. } if *client == id);
    let webhooks = org.webhooks.values().filter(|webhook| is_its(&webhook.target)).count() as u64;
    Ok((Did::dropped(webhooks).said(), StatusCode::NO_CONTENT).into_response())
}

fn find<'a>(org: &'a Org, id: Option<&ClientId>) -> Result<&'a Client, Problem> {
    let found = id.and_then(|id| org.clients.get(id));
    found
        .map(|client| &**client)
        .ok_or_else(|| Problem::new(Kind::UnknownClient, Refused::UnknownClient.to_string()))
}
