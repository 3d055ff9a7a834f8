//! Deliveries, their attempts, queue heads and dead letters.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use super::{DeadReason, EventId, EventType, FailReason, OrgId, OrgNumber, Sequence, UnixMs, WebhookId};

/// What an operator sets for an org.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrgSettings {
    /// The product's plan name; `[intake] entitled_plans` decides whether it may have webhooks.
    pub plan: Option<String>,
    /// For people.
    pub description: String,
    /// Deliveries that may wait; `None` means the daemon's default.
    pub max_deliveries: Option<u64>,
    /// Payload bytes that may wait; `None` means the daemon's default.
    pub max_bytes: Option<u64>,
    /// Webhooks that it may have; `None` means as many as their profiles allow.
    pub max_webhooks: Option<u64>,
    /// When it was first saved.
    pub created_at: UnixMs,
    /// When it was last saved.
    pub updated_at: UnixMs,
}

/// One event for one webhook: the item of a queue.
#[derive(Clone)]
pub struct Delivery {
    /// Its place in the org's queue.
    pub sequence: Sequence,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: EventType,
    /// Where it goes.
    pub webhook: WebhookId,
    /// Values given beside the payload.
    pub attributes: BTreeMap<String, String>,
    /// When the event was accepted.
    pub accepted_at: UnixMs,
    /// The payload's length in bytes.
    pub size: u64,
    /// Whether it was delivered before, and goes out again because someone said so.
    pub replay: bool,
    /// The payload, byte for byte; empty in listings that did not ask for it.
    pub payload: Bytes,
}

impl fmt::Debug for Delivery {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payload and attributes are the customer's data and stay out of every log.
        out.debug_struct("Delivery")
            .field("sequence", &self.sequence)
            .field("event_id", &self.event_id)
            .field("type", &self.event_type)
            .field("webhook", &self.webhook)
            .field("size", &self.size)
            .finish_non_exhaustive()
    }
}

/// One HTTP request for a head, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// When it started.
    pub at: UnixMs,
    /// How long it took, in milliseconds.
    pub duration_ms: u32,
    /// The response's status, if a response head came.
    pub status: Option<u16>,
    /// Why it failed; `None` if the receiver took it.
    pub error: Option<FailReason>,
    /// A sentence on the failure for people; no secret, no payload, no query string.
    pub detail: String,
    /// The start of the response body, at most 1 KiB, control characters escaped.
    pub excerpt: String,
}

/// The head of an org's queue, as the scheduler knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Which delivery.
    pub sequence: Sequence,
    /// Attempts already made and made durable.
    pub attempts: u32,
    /// No attempt before this time; `None` if it may start at once.
    pub not_before: Option<UnixMs>,
    /// Whether its last attempt has failed and it waits for someone to act.
    pub held: bool,
}

impl Head {
    /// A head that has not been tried.
    #[must_use]
    pub fn fresh(sequence: Sequence) -> Head {
        Head { sequence, attempts: 0, not_before: None, held: false }
    }
}

/// The state of an org's queue, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueState {
    /// Nothing waits.
    Idle,
    /// The head may start as soon as there is a slot.
    Ready,
    /// An attempt is being made.
    InFlight,
    /// The head waits for its next attempt.
    Delayed,
    /// The org is paused, or its head has used up its attempts and is held.
    Held,
}

impl QueueState {
    /// The word in the API and the CLI.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            QueueState::Idle => "idle",
            QueueState::Ready => "ready",
            QueueState::InFlight => "in-flight",
            QueueState::Delayed => "delayed",
            QueueState::Held => "held",
        }
    }
}

/// Names a dead letter: the org's number and the sequence it had, `12-345` in text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId {
    /// The org's number.
    pub org: OrgNumber,
    /// The sequence it had in the org's queue.
    pub sequence: Sequence,
}

impl fmt::Display for DeadLetterId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.org.0, self.sequence)
    }
}

impl FromStr for DeadLetterId {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (org, sequence) = text.split_once('-').ok_or(())?;
        Ok(DeadLetterId {
            org: OrgNumber(org.parse().map_err(|_| ())?),
            sequence: Sequence(sequence.parse().map_err(|_| ())?),
        })
    }
}

/// A delivery that was given up, kept whole.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Its name.
    pub id: DeadLetterId,
    /// Its org's name when it died.
    pub org: OrgId,
    /// The delivery; its payload is empty unless it was asked for.
    pub delivery: Delivery,
    /// Why it was given up.
    pub reason: DeadReason,
    /// What an operator said when skipping it, or what it lacked.
    pub note: Option<String>,
    /// When it was given up.
    pub died_at: UnixMs,
    /// How many attempts were made.
    pub attempts_made: u32,
    /// Every attempt in order; only the last one in listings.
    pub attempts: Vec<Attempt>,
}
