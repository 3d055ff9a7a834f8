//! The verbs of the store: values in, values out.

use tokio::sync::{mpsc, watch};

use super::{
    Append, Appended, Claim, DeadCursor, DeadFilter, DeadPage, Directory, Notice, OpenError, QueueSummary,
    Queued, Refused, Settled, StoreHealth, StoreOptions, StoreUsage,
};
use crate::model::{
    Attempt, DeadLetter, DeadLetterId, DeadReason, Delivery, OrgId, OrgNumber, OrgSettings, Sequence, UnixMs,
    Webhook, WebhookId,
};

/// A handle on the store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {}

#[expect(clippy::todo, clippy::unused_async, unused_variables, reason = "being written")]
impl Queue {
    /// Opens or creates the store and starts its committer. Blocking: call it before or outside the runtime.
    /// The receiver gets one notice per org with a head, then one per change.
    pub fn open(options: StoreOptions) -> Result<(Queue, mpsc::UnboundedReceiver<Notice>), OpenError> {
        todo!()
    }
    /// Orgs and webhooks in force.
    pub fn directory(&self) -> &Directory {
        todo!()
    }
    /// Creates the org (`true`) or replaces its settings (`false`; `created_at` is kept).
    pub async fn put_org(&self, id: OrgId, settings: OrgSettings) -> Result<bool, Refused> {
        todo!()
    }
    /// Deletes the org with its webhooks. With `discard`, its queue and dead letters go too; without, waiting
    /// deliveries are refused with [`Refused::QueueNotEmpty`] and its dead letters stay.
    pub async fn delete_org(&self, id: &OrgId, discard: bool) -> Result<(), Refused> {
        todo!()
    }
    /// Creates (`true`) or replaces (`false`; `created_at` is kept) a webhook.
    pub async fn put_webhook(&self, org: &OrgId, webhook: Webhook) -> Result<bool, Refused> {
        todo!()
    }
    /// Deletes a webhook; its queued deliveries die as `webhook-deleted` when their turn comes.
    pub async fn delete_webhook(&self, org: &OrgId, webhook: &WebhookId) -> Result<(), Refused> {
        todo!()
    }
    /// Appends events in order; each answer comes once durable. One result per event, in the same order.
    pub async fn append(&self, events: Vec<Append>) -> Vec<Result<Appended, Refused>> {
        todo!()
    }
    /// Reads the claimed head with its payload; `None` if it is no longer the head. A record that cannot be read is
    /// quarantined, and the next head is announced.
    pub async fn load(&self, claim: Claim) -> Result<Option<Delivery>, Refused> {
        todo!()
    }
    /// The head was delivered: remove it.
    pub async fn done(&self, claim: Claim) -> Result<Settled, Refused> {
        todo!()
    }
    /// The head's attempt failed: remember it, and when the next may start.
    pub async fn defer(
        &self,
        claim: Claim,
        attempt: Attempt,
        not_before: UnixMs,
    ) -> Result<Settled, Refused> {
        todo!()
    }
    /// The head is given up (after `attempt`, if one was made now): move it to the dead letters.
    pub async fn bury(
        &self,
        claim: Claim,
        attempt: Option<Attempt>,
        reason: DeadReason,
        at: UnixMs,
    ) -> Result<Settled, Refused> {
        todo!()
    }
    /// An operator gives up the head. Answers its dead letter.
    pub async fn skip(&self, org: &OrgId, note: Option<String>, at: UnixMs) -> Result<DeadLetterId, Refused> {
        todo!()
    }
    /// The head's wait ends now.
    pub async fn retry_now(&self, org: &OrgId) -> Result<Sequence, Refused> {
        todo!()
    }
    /// Nothing of this org is attempted until resumed; survives restarts. Pausing a paused org replaces the reason.
    pub async fn pause(&self, org: &OrgId, reason: Option<String>, at: UnixMs) -> Result<(), Refused> {
        todo!()
    }
    /// Ends a pause.
    pub async fn resume(&self, org: &OrgId) -> Result<(), Refused> {
        todo!()
    }
    /// The org's queue in numbers, from memory.
    pub fn summary(&self, org: OrgNumber) -> QueueSummary {
        todo!()
    }
    /// Deliveries in order, head first, at most `limit`, those after `after`.
    pub async fn list(
        &self,
        org: OrgNumber,
        after: Option<Sequence>,
        limit: usize,
        payload: bool,
    ) -> Result<Vec<Queued>, Refused> {
        todo!()
    }
    /// Dead letters that match, oldest death first.
    pub async fn dead_list(
        &self,
        filter: DeadFilter,
        after: Option<DeadCursor>,
        limit: usize,
    ) -> Result<DeadPage, Refused> {
        todo!()
    }
    /// One dead letter with every attempt.
    pub async fn dead_show(&self, id: DeadLetterId, payload: bool) -> Result<Option<DeadLetter>, Refused> {
        todo!()
    }
    /// Appends these dead letters to their orgs' queues in this order, with fresh attempts. Answers how many were
    /// there; those that are gone, or whose org is gone, are passed over.
    pub async fn revive(&self, ids: Vec<DeadLetterId>) -> Result<u64, Refused> {
        todo!()
    }
    /// Removes these dead letters for good. Answers how many were there.
    pub async fn discard(&self, ids: Vec<DeadLetterId>) -> Result<u64, Refused> {
        todo!()
    }
    /// Numbers for status.
    pub fn usage(&self) -> StoreUsage {
        todo!()
    }
    /// Changes when the store stops or starts accepting.
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        todo!()
    }
    /// Commits what was handed in, refuses what comes later, closes the store and gives up its lock.
    pub async fn close(&self) {
        todo!()
    }
}
