//! `POST /v1/orgs/{org}/changes`: a change of an entity in, the events that it fires out, once all of them are durable.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::body::JsonBody;
use super::params::KnownOrg;
use super::wire::{ChangeIn, ChangeOut, read_change};
use super::{App, Json, Settings};
use crate::catalogue::Change;
use crate::clock;
use crate::intake::changes::{Derived, derive};
use crate::model::UnixMs;
use crate::queue::{AppendChange, AppendedChange, Org};
use crate::serving::problem::{Kind, Problem};

/// Others are through with their rules by then.
const RETRY_CHANGES_S: u32 = 1;

/// 202 accepted and durable; 200 with `"duplicate":true` for an id that was accepted before with the same content.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    // As with events: looked up before the body is read, and judged after.
    org: Result<KnownOrg, Problem>,
    body: JsonBody,
) -> Result<Response, Problem> {
    let KnownOrg(org) = org?;
    let settings = app.settings();
    let change = read_change(&body.bytes)?;
    settings.entitlement.check(&org).map_err(crate::intake::Refused::from)?;
    let accepted_at = clock::now();
    let key = change.id_given.then(|| app.queue.change_key(&change.id, &change.content()));
    // A repeat is answered as before, whatever has become of the rules meanwhile.
    if let Some(key) = key
        && let Some(before) = app.queue.repeated_change(&org, key, accepted_at).await?
    {
        return Ok(answer(before));
    }
    let derived = run_rules(&app, settings, &org, change, accepted_at).await?;
    for broken in derived.warnings {
        tracing::warn!(org = %org.id, "accepted a change although {broken}");
    }
    let change = AppendChange { org, key, events: derived.events, accepted_at };
    Ok(answer(app.queue.append_change(change).await?))
}

fn answer(appended: AppendedChange) -> Response {
    let status = if appended.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
    (status, Json(ChangeOut::from(appended))).into_response()
}

/// Waits for its turn and evaluates the rules of the change's entity.
async fn run_rules(
    app: &App,
    settings: Arc<Settings>,
    org: &Arc<Org>,
    change: ChangeIn,
    at: UnixMs,
) -> Result<Derived, Problem> {
    let Some(turn) = app.turns.take(org.number, Instant::now() + settings.body_timeout).await else {
        let detail = "the rules of other changes are still running";
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(RETRY_CHANGES_S));
    };
    let org = org.clone();
    let work = move || {
        let _turn = turn;
        let fired_by = Change {
            entity: &change.entity,
            old: change.old.as_deref().map(RawValue::get),
            new: change.new.as_deref().map(RawValue::get),
            actor: change.actor.as_deref().map(RawValue::get),
            id: change.id.as_str(),
            at,
            org: &org.id,
            org_number: org.number,
        };
        derive(&settings.rules(), &settings.changes, &org, &change.id, &fired_by)
            .map_err(|refused| Problem::of_change(&change.entity, refused))
    };
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        tracing::error!(%error, "the rules of a change ended early");
        Err(Problem::new(Kind::Internal, "the rules of the change ended early"))
    })
}
