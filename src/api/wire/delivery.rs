//! Deliveries, attempts and dead letters as shown. PURE. Payloads and attributes are there only when asked for.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{
    Attempt, DeadLetter, DeadReason, EventId, EventType, FailReason, OrgId, Sequence, UnixMs, WebhookId,
};
use crate::queue::Queued;

/// An attempt as shown in short.
#[derive(Serialize)]
pub(in crate::api) struct LastOut {
    number: u32,
    at: UnixMs,
    status: Option<u16>,
    error: Option<FailReason>,
    duration_ms: u32,
    detail: String,
}

impl From<Attempt> for LastOut {
    fn from(attempt: Attempt) -> LastOut {
        LastOut {
            number: attempt.number,
            at: attempt.at,
            status: attempt.status,
            error: attempt.error,
            duration_ms: attempt.duration_ms,
            detail: attempt.detail,
        }
    }
}

/// An attempt as shown in full.
#[derive(Serialize)]
pub(super) struct AttemptOut {
    #[serde(flatten)]
    short: LastOut,
    excerpt: String,
}

impl From<Attempt> for AttemptOut {
    fn from(mut attempt: Attempt) -> AttemptOut {
        let excerpt = std::mem::take(&mut attempt.excerpt);
        AttemptOut { short: attempt.into(), excerpt }
    }
}

/// What only a caller who asks for the payload sees.
#[derive(Serialize)]
pub(super) struct ContentOut {
    attributes: BTreeMap<String, String>,
    payload: Box<RawValue>,
}

impl ContentOut {
    pub(super) fn of(attributes: BTreeMap<String, String>, payload: &Bytes) -> ContentOut {
        // Kept as it came in, and that was JSON.
        let text = std::str::from_utf8(payload).map(str::to_owned).unwrap_or_default();
        let payload = RawValue::from_string(text).unwrap_or_else(|_| RawValue::NULL.to_owned());
        ContentOut { attributes, payload }
    }
}

/// A waiting delivery as shown.
#[derive(Serialize)]
pub(in crate::api) struct QueuedOut {
    sequence: Sequence,
    id: EventId,
    r#type: EventType,
    webhook: WebhookId,
    accepted_at: UnixMs,
    size: u64,
    replay: bool,
    attempts: u32,
    not_before: Option<UnixMs>,
    /// Only said of a head that is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    held: bool,
    last: Option<LastOut>,
    #[serde(flatten)]
    content: Option<ContentOut>,
}

impl QueuedOut {
    /// Shows `queued`, with what it carries if `payload`.
    pub(in crate::api) fn new(queued: Queued, payload: bool) -> QueuedOut {
        let delivery = queued.delivery;
        QueuedOut {
            sequence: delivery.sequence,
            id: delivery.event_id,
            r#type: delivery.event_type,
            webhook: delivery.webhook,
            accepted_at: delivery.accepted_at,
            size: delivery.size,
            replay: delivery.replay,
            attempts: queued.attempts,
            not_before: queued.not_before,
            held: queued.held,
            last: queued.last.map(Into::into),
            content: payload.then(|| ContentOut::of(delivery.attributes, &delivery.payload)),
        }
    }
}

/// What every view of a dead letter shows.
#[derive(Serialize)]
pub(in crate::api) struct DeadCommon {
    id: String,
    event_id: EventId,
    org: OrgId,
    r#type: EventType,
    webhook: WebhookId,
    sequence: Sequence,
    reason: DeadReason,
    note: Option<String>,
    accepted_at: UnixMs,
    died_at: UnixMs,
    size: u64,
    replay: bool,
}

impl DeadCommon {
    fn take(dead_letter: DeadLetter) -> (DeadCommon, Vec<Attempt>, BTreeMap<String, String>, Bytes) {
        let delivery = dead_letter.delivery;
        let common = DeadCommon {
            id: dead_letter.id.to_string(),
            event_id: delivery.event_id,
            org: dead_letter.org,
            r#type: delivery.event_type,
            webhook: delivery.webhook,
            sequence: delivery.sequence,
            reason: dead_letter.reason,
            note: dead_letter.note,
            accepted_at: delivery.accepted_at,
            died_at: dead_letter.died_at,
            size: delivery.size,
            replay: delivery.replay,
        };
        (common, dead_letter.attempts, delivery.attributes, delivery.payload)
    }
}

/// A dead letter in a list: `attempts` is how many there were.
#[derive(Serialize)]
pub(in crate::api) struct DeadListed {
    #[serde(flatten)]
    common: DeadCommon,
    attempts: u32,
    last: Option<LastOut>,
}

impl From<DeadLetter> for DeadListed {
    fn from(dead_letter: DeadLetter) -> DeadListed {
        let attempts = dead_letter.attempts_made;
        let (common, mut history, ..) = DeadCommon::take(dead_letter);
        DeadListed { common, attempts, last: history.pop().map(Into::into) }
    }
}

/// One dead letter with everything: `attempts` is the list of them.
#[derive(Serialize)]
pub(in crate::api) struct DeadShown {
    #[serde(flatten)]
    common: DeadCommon,
    attempts_made: u32,
    attempts: Vec<AttemptOut>,
    #[serde(flatten)]
    content: Option<ContentOut>,
}

impl DeadShown {
    /// Shows `dead_letter`, with what it carries if `payload`.
    pub(in crate::api) fn new(dead_letter: DeadLetter, payload: bool) -> DeadShown {
        let attempts_made = dead_letter.attempts_made;
        let (common, history, attributes, bytes) = DeadCommon::take(dead_letter);
        DeadShown {
            common,
            attempts_made,
            attempts: history.into_iter().map(Into::into).collect(),
            content: payload.then(|| ContentOut::of(attributes, &bytes)),
        }
    }
}
