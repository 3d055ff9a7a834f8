//! Entries of the history as shown. PURE. Payloads and attributes are there only when asked for.

use serde::Serialize;

use super::delivery::{AttemptOut, ContentOut, LastOut};
use crate::model::{Delivered, EventId, EventType, OrgId, Sequence, UnixMs, WebhookId};

/// What every view of an entry shows.
#[derive(Serialize)]
struct Common {
    id: String,
    event_id: EventId,
    org: OrgId,
    r#type: EventType,
    webhook: WebhookId,
    sequence: Sequence,
    replay: bool,
    accepted_at: UnixMs,
    delivered_at: UnixMs,
    size: u64,
}

impl Common {
    fn of(entry: &Delivered) -> Common {
        let delivery = &entry.delivery;
        Common {
            id: entry.id.to_string(),
            event_id: delivery.event_id.clone(),
            org: entry.org.clone(),
            r#type: delivery.event_type.clone(),
            webhook: delivery.webhook.clone(),
            sequence: delivery.sequence,
            replay: delivery.replay,
            accepted_at: delivery.accepted_at,
            delivered_at: entry.delivered_at,
            size: delivery.size,
        }
    }
}

/// An entry in a list: `attempts` is how many there were, `last` the one that went through.
#[derive(Serialize)]
pub(in crate::api) struct HistoryListed {
    #[serde(flatten)]
    common: Common,
    attempts: u32,
    last: Option<LastOut>,
}

impl From<Delivered> for HistoryListed {
    fn from(mut entry: Delivered) -> HistoryListed {
        let last = entry.attempts.pop();
        HistoryListed {
            common: Common::of(&entry),
            attempts: last.as_ref().map_or(0, |last| last.number),
            last: last.map(Into::into),
        }
    }
}

/// One entry with everything: `attempts` is the list of them.
#[derive(Serialize)]
pub(in crate::api) struct HistoryShown {
    #[serde(flatten)]
    common: Common,
    attempts_made: u32,
    attempts: Vec<AttemptOut>,
    #[serde(flatten)]
    content: Option<ContentOut>,
}

impl HistoryShown {
    /// Shows `entry`, with what it carries if `payload`.
    pub(in crate::api) fn new(entry: Delivered, payload: bool) -> HistoryShown {
        HistoryShown {
            common: Common::of(&entry),
            attempts_made: entry.attempts.last().map_or(0, |last| last.number),
            attempts: entry.attempts.into_iter().map(Into::into).collect(),
            content: payload.then(|| ContentOut::of(entry.delivery.attributes, &entry.delivery.payload)),
        }
    }
}
