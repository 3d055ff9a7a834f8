//! `POST /v1/orgs/{org}/webhooks/{webhook}/test`: one attempt now, outside the queue, by the path of every delivery, and
//! the exchange in the answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::body::OptionalJsonBody;
use super::params::{KnownOrg, MaybeWebhook};
use super::webhooks::find;
use super::wire::read_trial;
use super::{App, Json, Settings};
use crate::catalogue::Catalogue;
use crate::clock;
use crate::delivery::{Trial, address, at_fault};
use crate::model::{DeadReason, Delivery, EventId, FailReason, Sequence, Target, UnixMs, Webhook};
use crate::queue::Org;
use crate::serving::problem::{Kind, Problem};

/// Trials at once: an operator makes one at a time, and a script that makes more should wait its turn.
pub(super) const TRIALS_MAX: usize = 16;
/// One of them ends within the longest timeout.
const RETRY_TRIALS_S: u32 = 5;

/// A trial as shown.
#[derive(Serialize)]
struct TrialOut {
    /// `delivered` or `failed`.
    outcome: &'static str,
    at: UnixMs,
    duration_ms: u32,
    status: Option<u16>,
    error: Option<FailReason>,
    detail: String,
    excerpt: String,
    request: RequestOut,
    /// Absent if no response came.
    response: Option<ResponseOut>,
}

#[derive(Serialize)]
struct RequestOut {
    method: &'static str,
    url: String,
    headers: BTreeMap<String, String>,
    body: Box<serde_json::value::RawValue>,
}

#[derive(Serialize)]
struct ResponseOut {
    status: u16,
    headers: BTreeMap<String, String>,
}

/// A trial of a webhook, enabled or not, whether its org is paused or not.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    KnownOrg(org): KnownOrg,
    MaybeWebhook(id): MaybeWebhook,
    OptionalJsonBody(body): OptionalJsonBody,
) -> Result<Response, Problem> {
    let webhook = find(&org, id.as_ref())?;
    let Some(scheduler) = &app.scheduler else {
        return Err(Problem::new(Kind::NotRunning, "only a running daemon sends"));
    };
    let settings = app.settings();
    let delivery = trial_delivery(webhook, &body, &settings)?;
    let client = match &webhook.target {
        Target::Client { client, .. } => org.clients.get(client).cloned(),
        Target::Url(_) => None,
    };
    let addressed = address(&delivery, webhook, client.as_deref(), &settings.catalogue)
        .map_err(|reason| hopeless(reason, &delivery, webhook, &settings.catalogue))?;
    let Ok(_turn) = app.trials.try_acquire() else {
        let detail = format!("{TRIALS_MAX} tests are under way");
        return Err(Problem::new(Kind::Overloaded, detail).retry_after(RETRY_TRIALS_S));
    };
    let Some(trial) = scheduler.trial(&addressed.of(org.number)).await else {
        return Err(Problem::new(Kind::Internal, "the attempt could not be made"));
    };
    log(&org, webhook, &trial);
    Ok(Json(out(trial, &delivery.payload)).into_response())
}

/// What is sent: like a delivery, with an id that says what it is and the sequence 0, which no delivery has.
fn trial_delivery(webhook: &Webhook, body: &Bytes, settings: &Settings) -> Result<Delivery, Problem> {
    let trial = read_trial(body, settings.max_attributes)?;
    let id = format!("test_{}", Uuid::now_v7().simple());
    let event_id: EventId = id.parse().map_err(|_| Problem::new(Kind::Internal, "no id could be made"))?;
    let listens_to = webhook.events.iter().find_map(|pattern| pattern.as_str().parse().ok());
    let event_type = match trial.event_type.or(listens_to) {
        Some(event_type) => event_type,
        None => "postrider.test".parse().map_err(|rule| Problem::new(Kind::Internal, rule))?,
    };
    let example = settings.catalogue.find(&event_type).and_then(|entry| entry.examples.first());
    let payload = trial.payload.unwrap_or_else(|| match example {
        Some(example) => Bytes::copy_from_slice(example.text.as_bytes()),
        None => Bytes::from_static(b"{\"test\":true}"),
    });
    Ok(Delivery {
        sequence: Sequence(0),
        event_id,
        event_type,
        webhook: webhook.id.clone(),
        attributes: trial.attributes,
        accepted_at: clock::now(),
        size: payload.len() as u64,
        replay: false,
        payload,
    })
}

/// Why nothing can be sent, and what to give.
fn hopeless(reason: DeadReason, delivery: &Delivery, webhook: &Webhook, catalogue: &Catalogue) -> Problem {
    let detail = match (reason, at_fault(delivery, webhook, catalogue)) {
        (DeadReason::MissingVariable, Some(name)) => {
            format!("attributes: the webhook's URL needs a value for {{{name}}}: give it here")
        }
        (_, Some(name)) => {
            format!("attributes: the value for {{{name}}} is not text: give another one here")
        }
        (_, None) => {
            let variables: Vec<_> = webhook.target.variables().map(|name| format!("{{{name}}}")).collect();
            let variables = variables.join(", ");
            format!("attributes: a value for {variables} cannot stand in a URL as one segment")
        }
    };
    Problem::invalid("/attributes", detail)
}

fn log(org: &Org, webhook: &Webhook, trial: &Trial) {
    let attempt = &trial.made.attempt;
    tracing::info!(
        org = %org.id, webhook = %webhook.id, status = attempt.status, error = attempt.error.map(FailReason::code),
        duration_ms = attempt.duration_ms, "webhook tested"
    );
}

fn out(trial: Trial, payload: &Bytes) -> TrialOut {
    let attempt = trial.made.attempt;
    let sent = if trial.method == "GET" { None } else { String::from_utf8(payload.to_vec()).ok() };
    let body = sent.and_then(|text| serde_json::value::RawValue::from_string(text).ok());
    TrialOut {
        outcome: if attempt.error.is_none() { "delivered" } else { "failed" },
        at: attempt.at,
        duration_ms: attempt.duration_ms,
        status: attempt.status,
        error: attempt.error,
        detail: attempt.detail,
        excerpt: attempt.excerpt,
        request: RequestOut {
            method: trial.method,
            url: trial.url,
            headers: trial.headers.into_iter().collect(),
            body: body.unwrap_or_else(|| serde_json::value::RawValue::NULL.to_owned()),
        },
        response: attempt
            .status
            .map(|status| ResponseOut { status, headers: trial.response_headers.into_iter().collect() }),
    }
}
