//! `POST /v1/orgs/{org}/webhooks/{webhook}/rotate-secret`: a new signing secret, while the old one stays valid for a stated
//! time.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use chacha20poly1305::aead::Generate as _;
use serde_json::json;

use super::body::OptionalJsonBody;
use super::params::{KnownOrg, MaybeWebhook};
use super::webhooks::find;
use super::wire::{is_secret_of, read_rotation};
use super::{App, Json};
use crate::clock;
use crate::model::Secret;
use crate::serving::problem::{Kind, Problem};

/// Answers the new secret, this once; it cannot be shown again.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeWebhook(id): MaybeWebhook,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let webhook = find(&org, id.as_ref())?;
    let unsigned = || {
        let detail = "give it a signature first";
        Problem::new(Kind::NotSigned, detail)
    };
    let signature = webhook.signature.as_deref().ok_or_else(unsigned)?;
    let rotation = read_rotation(&body, signature)?;
    // From the system's source, as the store's nonces are.
    let secret = rotation.secret.unwrap_or_else(|| signature.generate(<[u8; 32]>::generate()));
    let now = clock::now();
    let until = now.plus(rotation.keep);
    let new = Secret::clone(&secret);
    let rotated = app.queue.change_webhook(&org.id, &webhook.id, move |webhook| {
        webhook.updated_at = now;
        // The signature may have been taken away or changed its kind while this waited for its turn.
        let signature = webhook.signature.as_deref_mut()?;
        is_secret_of(signature, &new).ok().map(|()| signature.rotate(new, until, now))
    });
    rotated.await?.ok_or_else(unsigned)?;
    Ok(Json(json!({ "secret": secret.expose(), "previous_valid_until": until })).into_response())
}
