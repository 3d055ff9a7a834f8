//! `/v1/orgs/{org}/webhooks`: where an org's events go.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;

use super::body::{JsonBody, OptionalJsonBody};
use super::params::{KnownOrg, MaybeWebhook, Query, WebhookName, cursor};
use super::wire::{Members, Page, WebhookOut, read_webhook};
use super::{App, Json};
use crate::clock;
use crate::intake;
use crate::model::{Target, Webhook, WebhookId};
use crate::queue::{Org, Refused};
use crate::serving::problem::{Kind, Problem};

/// `PUT …/webhooks/{webhook}`: 201 created, 200 replaced. What is left out comes from its profile or gets its default, the
/// password too.
pub(super) async fn put(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    WebhookName(id): WebhookName,
    body: JsonBody,
) -> Result<Response, Problem> {
    let known = app.settings().catalogue.clone();
    let webhook = read_webhook(id.clone(), &body.bytes, &known, &org.clients, clock::now())?;
    if let Target::Client { client, .. } = &webhook.target
        && org.clients.get(client).is_none()
    {
        let detail = format!("client: the org has no client \"{client}\"; create it first");
        return Err(Problem::invalid("/client", detail));
    }
    // Judged in the committer: two that are saved at once cannot both be the last one.
    let judge = move |org: &Org, webhook: &Webhook| intake::check_webhook(&known, org, webhook);
    let created = app.queue.put_webhook_if(&org.id, webhook, judge).await??;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let org = app.org(org.id.as_str())?;
    let saved = find(&org, Some(&id))?;
    Ok((status, Json(WebhookOut::from(saved))).into_response())
}

/// `GET …/webhooks/{webhook}`.
pub(super) async fn show(
    KnownOrg(org): KnownOrg,
    MaybeWebhook(id): MaybeWebhook,
) -> Result<Response, Problem> {
    Ok(Json(WebhookOut::from(find(&org, id.as_ref())?)).into_response())
}

/// `GET …/webhooks`: in order of name.
pub(super) async fn list(KnownOrg(org): KnownOrg, query: Query) -> Result<Response, Problem> {
    let query = query.only(&["limit", "after"])?;
    let limit = query.limit()?;
    let after: Option<WebhookId> = query.after(|place| place.strip_prefix("webhook:")?.parse().ok())?;
    let mut rest =
        org.webhooks.values().filter(|webhook| after.as_ref().is_none_or(|after| webhook.id > *after));
    let items: Vec<_> = rest.by_ref().take(limit).map(|webhook| WebhookOut::from(&**webhook)).collect();
    let last = items.last().map(WebhookOut::id);
    let next = rest.next().and(last).map(|last| cursor(format!("webhook:{last}")));
    Ok(Json(Page { items, next }).into_response())
}

/// `POST …/webhooks/{webhook}/enable`: it matches events again.
pub(super) async fn enable(
    app: State<Arc<App>>,
    org: KnownOrg,
    webhook: MaybeWebhook,
    body: OptionalJsonBody,
) -> Result<Response, Problem> {
    switch(app, org, webhook, &body, true).await
}

/// `POST …/webhooks/{webhook}/disable`: it matches no new event, and what waits for it becomes dead letters when its turn
/// comes.
pub(super) async fn disable(
    app: State<Arc<App>>,
    org: KnownOrg,
    webhook: MaybeWebhook,
    body: OptionalJsonBody,
) -> Result<Response, Problem> {
    switch(app, org, webhook, &body, false).await
}

async fn switch(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeWebhook(id): MaybeWebhook,
    OptionalJsonBody(body): &OptionalJsonBody,
    enabled: bool,
) -> Result<Response, Problem> {
    Members::parse(body, &[])?;
    let webhook = find(&org, id.as_ref())?;
    if enabled {
        let entitled = intake::check_entitled(&app.settings().catalogue, &org, webhook.profile.as_deref());
        entitled.map_err(intake::Refused::from)?;
    }
    let id = webhook.id.clone();
    let now = clock::now();
    let changed = app.queue.change_webhook(&org.id, &id, move |webhook| {
        (webhook.enabled, webhook.updated_at) = (enabled, now);
    });
    changed.await?;
    let org = app.org(org.id.as_str())?;
    Ok(Json(WebhookOut::from(find(&org, Some(&id))?)).into_response())
}

/// `DELETE …/webhooks/{webhook}`. What waits for it becomes dead letters when its turn comes.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeWebhook(id): MaybeWebhook,
) -> Result<StatusCode, Problem> {
    let id = find(&org, id.as_ref())?.id.clone();
    app.queue.delete_webhook(&org.id, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn find<'a>(org: &'a Org, id: Option<&WebhookId>) -> Result<&'a Webhook, Problem> {
    let found = id.and_then(|id| org.webhooks.get(id));
    found
        .map(|webhook| &**webhook)
        .ok_or_else(|| Problem::new(Kind::UnknownWebhook, Refused::UnknownWebhook.to_string()))
}
