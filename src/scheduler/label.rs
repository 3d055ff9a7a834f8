//! What is said of an attempt: a line of the log for each change of state, and what is told to those who listen.
//!
//! A delivery that fails is news once, at its first attempt, and once more when it gets through after all; what lies between
//! is for those who look closely (`debug`). Giving up and holding are for someone to look at (`warn`).

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::clock;
use crate::model::{Attempt, DeadReason, Delivery, EventId, EventType, FailReason, UnixMs, WebhookId};
use crate::queue::{Claim, Org};
use crate::tail::{Fact, Happened, Hub};

/// Names a delivery in the log. No payload, no URL.
pub(super) struct Label {
    pub(super) org: Option<Arc<Org>>,
    pub(super) webhook: WebhookId,
    claim: Claim,
    event_id: EventId,
    event_type: EventType,
}

/// Writes a line with the delivery's names, and what came of the attempt.
macro_rules! line {
    ($level:ident, $label:expr, $attempt:expr, $words:literal $(, $name:ident = $value:expr)*) => {
        $level!(
            org = $label.org(), event_id = %$label.event_id, sequence = $label.claim.sequence.0,
            webhook = %$label.webhook, attempt = $attempt.number, status = $attempt.status,
            error = $attempt.error.map(FailReason::code), detail = detail($attempt),
            duration_ms = $attempt.duration_ms, $($name = $value,)* $words
        )
    };
}

/// What is known beyond the words for a failure.
fn detail(attempt: &Attempt) -> Option<&str> {
    (!attempt.detail.is_empty()).then_some(attempt.detail.as_str())
}

impl Label {
    pub(super) fn new(org: Option<Arc<Org>>, claim: Claim, delivery: &Delivery) -> Label {
        Label {
            org,
            webhook: delivery.webhook.clone(),
            claim,
            event_id: delivery.event_id.clone(),
            event_type: delivery.event_type.clone(),
        }
    }

    fn org(&self) -> String {
        self.org.as_ref().map_or_else(|| format!("number {}", self.claim.org.0), |org| org.id.to_string())
    }

    /// An org that is gone has nobody who listens to it.
    fn tell(&self, hub: &Hub, happened: Happened, more: impl FnOnce(Fact) -> Fact) {
        if let Some(org) = &self.org {
            hub.tell(|| {
                let fact = Fact::new(happened, clock::now(), org.id.clone());
                more(fact.of(self.claim.sequence, &self.event_id, &self.event_type, &self.webhook))
            });
        }
    }

    /// An attempt begins.
    pub(super) fn begun(&self, hub: &Hub, number: u32) {
        self.tell(hub, Happened::Attempt, |fact| Fact { attempt: Some(number), ..fact });
    }

    pub(super) fn delivered(&self, hub: &Hub, attempt: &Attempt) {
        self.tell(hub, Happened::Delivered, |fact| fact.after(attempt));
        if attempt.number > 1 {
            line!(info, self, attempt, "delivered after it had failed");
        } else {
            line!(debug, self, attempt, "delivered");
        }
    }

    pub(super) fn retry(&self, hub: &Hub, attempt: &Attempt, not_before: UnixMs) {
        self.tell(hub, Happened::Retry, |fact| Fact { not_before: Some(not_before), ..fact.after(attempt) });
        if attempt.number == 1 {
            line!(info, self, attempt, "retry: the first attempt failed", not_before = display(not_before));
        } else {
            line!(debug, self, attempt, "retry", not_before = display(not_before));
        }
    }

    pub(super) fn held(&self, hub: &Hub, attempt: &Attempt) {
        self.tell(hub, Happened::Held, |fact| fact.after(attempt));
        line!(warn, self, attempt, "held: the last attempt failed, the queue waits");
    }

    /// Those who listen are told by the queue, whoever gives it up.
    pub(super) fn dead(&self, reason: DeadReason, attempt: Option<&Attempt>, variable: Option<&str>) {
        warn!(
            org = self.org(), event_id = %self.event_id, sequence = self.claim.sequence.0, webhook = %self.webhook,
            attempt = attempt.map(|attempt| attempt.number), status = attempt.and_then(|attempt| attempt.status),
            error = attempt.and_then(|attempt| attempt.error).map(FailReason::code),
            detail = attempt.and_then(detail), duration_ms = attempt.map(|attempt| attempt.duration_ms),
            reason = reason.code(), variable, "dead letter"
        );
    }

    pub(super) fn stale(&self, hub: &Hub, attempt: &Attempt) {
        self.tell(hub, Happened::Stale, |fact| fact.after(attempt));
        line!(info, self, attempt, "attempt ended after its delivery had left the queue");
    }
}
