//! PURE. One thing that happened.

use serde::Serialize;

use crate::model::{
    Attempt, DeadReason, Delivery, EventId, EventType, FailReason, OrgId, Sequence, SourceId, UnixMs,
    WebhookId,
};

/// Defines an enum whose every variant has one stable word.
macro_rules! happened {
    ($($(#[$doc:meta])* $variant:ident = $word:literal,)+) => {
        /// What happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Happened { $($(#[$doc])* $variant,)+ }

        impl Happened {
            /// Every kind, in the order of an event's path.
            pub const ALL: &'static [Happened] = &[$(Happened::$variant,)+];

            /// The word in the API and the CLI.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self { $(Happened::$variant => $word,)+ }
            }
        }
    };
}

happened! {
    /// A request of a source was judged.
    Request = "request",
    /// An event is durable.
    Accepted = "accepted",
    /// An attempt begins.
    Attempt = "attempt",
    /// The receiver took it, and it has left the queue.
    Delivered = "delivered",
    /// The attempt failed, and there will be another.
    Retry = "retry",
    /// The last attempt failed, and the queue waits at it.
    Held = "held",
    /// It was given up.
    Dead = "dead",
    /// The attempt was broken off; it does not count.
    Cancelled = "cancelled",
    /// The attempt ended after its delivery had left the queue.
    Stale = "stale",
    /// An operator ended the head's wait.
    RetryNow = "retry-now",
    /// A dead letter is in its queue again.
    Revived = "revived",
    /// The org is paused.
    Paused = "paused",
    /// The org's pause is over.
    Resumed = "resumed",
    /// A record could not be read and was set aside.
    Quarantined = "quarantined",
}

impl Serialize for Happened {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

/// See the module's documentation. What is not known of it, or makes no sense, is not there.
#[derive(Debug, Clone, Serialize)]
pub struct Fact {
    /// When.
    pub at: UnixMs,
    /// What.
    #[serde(rename = "event")]
    pub happened: Happened,
    /// To which org.
    pub org: OrgId,
    /// The webhook of the delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// The webhooks of the event's deliveries, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub webhooks: Vec<WebhookId>,
    /// The source of a request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<SourceId>,
    /// How the request was judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'static str>,
    /// The event's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<EventId>,
    /// The event's type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub event_type: Option<EventType>,
    /// The delivery; of an event, its first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// How many deliveries it became.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deliveries: Option<u64>,
    /// Which attempt, or how many were made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The receiver's status; of a request, ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why the attempt failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<FailReason>,
    /// How long it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The next attempt is not before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<UnixMs>,
    /// Why it was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<DeadReason>,
}

impl Fact {
    /// With nothing else known of it.
    #[must_use]
    pub fn new(happened: Happened, at: UnixMs, org: OrgId) -> Fact {
        Fact {
            at,
            happened,
            org,
            webhook: None,
            webhooks: Vec::new(),
            source: None,
            verdict: None,
            id: None,
            event_type: None,
            sequence: None,
            deliveries: None,
            attempt: None,
            status: None,
            error: None,
            duration_ms: None,
            not_before: None,
            reason: None,
        }
    }

    /// Of this delivery.
    #[must_use]
    pub fn of(self, sequence: Sequence, id: &EventId, event_type: &EventType, webhook: &WebhookId) -> Fact {
        Fact {
            sequence: Some(sequence.0),
            id: Some(id.clone()),
            event_type: Some(event_type.clone()),
            webhook: Some(webhook.clone()),
            ..self
        }
    }

    /// Of this delivery.
    #[must_use]
    pub fn of_delivery(self, delivery: &Delivery) -> Fact {
        self.of(delivery.sequence, &delivery.event_id, &delivery.event_type, &delivery.webhook)
    }

    /// After this attempt.
    #[must_use]
    pub fn after(self, attempt: &Attempt) -> Fact {
        Fact {
            attempt: Some(attempt.number),
            status: attempt.status,
            error: attempt.error,
            duration_ms: Some(u64::from(attempt.duration_ms)),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_one_line_that_says_what_is_known() {
        let fact = Fact::new(Happened::Retry, UnixMs(0), "acme".parse().unwrap())
            .of(Sequence(7), &"evt_1".parse().unwrap(), &"a.b".parse().unwrap(), &"w".parse().unwrap())
            .after(&Attempt {
                number: 2,
                at: UnixMs(0),
                duration_ms: 12,
                status: Some(503),
                error: Some(FailReason::Status),
                detail: "the receiver's words".to_owned(),
                excerpt: "the receiver's answer".to_owned(),
            });
        assert_eq!(
            serde_json::to_string(&fact).unwrap(),
            r#"{"at":"1970-01-01T00:00:00.000Z","event":"retry","org":"acme","webhook":"w","id":"evt_1","type":"a.b","sequence":7,"attempt":2,"status":503,"error":"status","duration_ms":12}"#
        );
    }

    #[test]
    fn words_are_told_apart() {
        let mut words: Vec<_> = Happened::ALL.iter().map(|happened| happened.word()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Happened::ALL.len());
    }
}
