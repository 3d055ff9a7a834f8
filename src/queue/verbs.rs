//! The verbs of the store: values in, values out.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};

use super::append;
use super::committer::{self, Answer, JOBS_WAITING_MAX, Job, Order};
use super::read::{self, Loaded, Window};
use super::settle::{self, Death};
use super::store::{Store, Trouble, VALUE_BYTES_MAX};
use super::writer::{Applied, Limits, Shown, Writer};
use super::{
    Append, Appended, Claim, DeadCursor, DeadFilter, DeadPage, Directory, Notice, OpenError, Org, Pause,
    QueueSummary, Queued, Refused, Settled, StoreHealth, StoreOptions, place, recovery, settings,
};
use crate::clock;
use crate::model::{
    Attempt, Client, ClientId, DeadLetter, DeadLetterId, DeadReason, Delivery, OrgId, OrgNumber, OrgSettings,
    Sequence, UnixMs, Webhook, WebhookId,
};

/// A handle on the store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<Store>,
    shown: Shown,
    orders: mpsc::Sender<Order>,
    health: watch::Receiver<StoreHealth>,
    limits: Limits,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Queue {
    /// Opens or creates the store and starts its committer. Blocking: call it before or outside the runtime.
    /// The receiver gets one notice per org with a head, then one per change.
    pub fn open(options: &StoreOptions) -> Result<(Queue, mpsc::UnboundedReceiver<Notice>), OpenError> {
        let store = Arc::new(Store::open(options)?);
        let refused =
            |what: &str, error: &dyn std::fmt::Display| OpenError::Refused(format!("{what}: {error}"));
        let reserve_bytes = match options.reserve_bytes {
            Some(bytes) => bytes,
            None => store
                .place
                .default_reserve_bytes()
                .map_err(|e| refused("cannot ask the disk for its size", &e))?,
        };
        store.place.lay_ballast(reserve_bytes);
        let shown = Shown::default();
        let recovered =
            recovery::recover(store.clone(), &shown.directory).map_err(|trouble| match trouble {
                trouble if trouble.is_disk_full() => {
                    OpenError::DiskFull(format!("the disk is too full to open the store: {trouble}"))
                }
                trouble @ Trouble::LogEndsEarly { .. } => refused("the store is not whole", &trouble),
                trouble => refused(
                    "the store cannot be recovered; keep a copy and restore it from a backup",
                    &trouble,
                ),
            })?;
        let (notices, notices_receiver) = mpsc::unbounded_channel();
        let &StoreOptions { max_deliveries, max_bytes, max_total, .. } = options;
        let limits = Limits { max_deliveries, max_bytes, max_total, reserve_bytes };
        let mut writer = Writer::new(recovered, limits, shown.clone(), notices);
        let (health_sender, health) = watch::channel(StoreHealth::Accepting);
        writer.disk_is_full(0);
        writer.publish(&health_sender);
        let (orders, orders_receiver) = mpsc::channel(JOBS_WAITING_MAX);
        committer::start(writer, orders_receiver, orders.downgrade(), health_sender)
            .map_err(|error| refused("cannot start the committer", &error))?;
        let shared = Shared { store, shown, orders, health, limits };
        Ok((Queue { shared: Arc::new(shared) }, notices_receiver))
    }

    /// Refuses a directory that holds other things and no store, before anything of ours is put there.
    pub fn check_directory(data_dir: &Path) -> Result<(), OpenError> {
        place::refuse_foreign(data_dir)
    }

    /// Has the committer apply a change, and answers once it is durable.
    pub(super) async fn commit<T: Send + 'static>(
        &self,
        bytes: usize,
        change: impl FnOnce(&mut Writer) -> Applied<T> + Send + 'static,
    ) -> Result<T, Refused> {
        let (sender, receiver) = oneshot::channel();
        let apply = move |writer: &mut Writer| -> Result<Answer, Trouble> {
            let result = refuse_too_large(change(writer))?;
            Ok(Box::new(move |durable| {
                // A caller that has gone away does not undo what is durable.
                sender.send(durable.and(result)).ok();
            }))
        };
        let order = Order::Change(Job { bytes, apply: Box::new(apply) });
        if self.shared.orders.send(order).await.is_err() {
            return Err(self.unavailable());
        }
        receiver.await.unwrap_or_else(|_| Err(self.unavailable()))
    }

    fn unavailable(&self) -> Refused {
        match &*self.shared.health.borrow() {
            StoreHealth::Failed(_) => {
                Refused::Unavailable("a write failed, or the store is closed".to_owned())
            }
            StoreHealth::Accepting | StoreHealth::DiskFull => {
                Refused::Unavailable("the store is closing".to_owned())
            }
        }
    }

    /// Reads on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Shared) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Refused> {
        let shared = self.shared.clone();
        match tokio::task::spawn_blocking(move || look(&shared)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(trouble)) => {
                tracing::error!(error = %trouble, "reading the store failed");
                Err(Refused::Unavailable("reading the store failed".to_owned()))
            }
            Err(error) => Err(Refused::Unavailable(format!("a reader ended early: {error}"))),
        }
    }

    /// The same for other parts of this room.
    pub(super) async fn read_store<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, Refused> {
        self.read(move |shared| look(&shared.store)).await
    }

    /// The store, for reads that take no time.
    pub(super) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    /// What readers see of it in memory.
    pub(super) fn shown(&self) -> &Shown {
        &self.shared.shown
    }

    /// What may wait, unless an org says otherwise, and the disk's reserve.
    pub(super) fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Orgs, clients and webhooks in force.
    pub fn directory(&self) -> &Directory {
        &self.shared.shown.directory
    }

    /// Creates the org (`true`) or replaces its settings (`false`; `created_at` is kept).
    pub async fn put_org(&self, id: OrgId, settings: OrgSettings) -> Result<bool, Refused> {
        self.commit(0, move |writer| settings::put_org(writer, id, settings)).await
    }

    /// Deletes the org with its webhooks. With `discard`, its queue and dead letters go too; without, it is
    /// refused while there are any ([`Refused::QueueNotEmpty`], [`Refused::DeadLettersKept`]).
    pub async fn delete_org(&self, id: &OrgId, discard: bool) -> Result<(), Refused> {
        let id = id.clone();
        self.commit(0, move |writer| settings::delete_org(writer, &id, discard)).await
    }

    /// Creates (`true`) or replaces (`false`; `created_at` is kept) a webhook.
    pub async fn put_webhook(&self, org: &OrgId, webhook: Webhook) -> Result<bool, Refused> {
        let allowed = |_: &Org, _: &Webhook| Ok::<(), Infallible>(());
        self.put_webhook_if(org, webhook, allowed).await.map(|Ok(created)| created)
    }

    /// The same, unless `judge` refuses the webhook for this org as it is when its turn comes in the committer.
    pub async fn put_webhook_if<E: Send + 'static>(
        &self,
        org: &OrgId,
        webhook: Webhook,
        judge: impl FnOnce(&Org, &Webhook) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<bool, E>, Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settings::put_webhook(writer, &org, webhook, judge)).await
    }

    /// Changes a webhook as it is when its turn comes in the committer. Answers what `change` did.
    pub async fn change_webhook<T: Send + 'static>(
        &self,
        org: &OrgId,
        webhook: &WebhookId,
        change: impl FnOnce(&mut Webhook) -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let (org, webhook) = (org.clone(), webhook.clone());
        self.commit(0, move |writer| settings::change_webhook(writer, &org, &webhook, change)).await
    }

    /// Creates (`true`) or replaces (`false`; `created_at` is kept) a client, unless `judge` refuses it.
    pub async fn put_client_if<E: Send + 'static>(
        &self,
        org: &OrgId,
        client: Client,
        judge: impl FnOnce(&Org, &Client) -> Result<(), E> + Send + 'static,
    ) -> Result<Result<bool, E>, Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settings::put_client(writer, &org, client, judge)).await
    }

    /// Deletes a client. With `cascade` its webhooks too; without, it is refused while it has any
    /// ([`Refused::ClientInUse`]).
    pub async fn delete_client(&self, org: &OrgId, client: &ClientId, cascade: bool) -> Result<(), Refused> {
        let (org, client) = (org.clone(), client.clone());
        self.commit(0, move |writer| settings::delete_client(writer, &org, &client, cascade)).await
    }

    /// Deletes a webhook; its queued deliveries die as `webhook-deleted` when their turn comes.
    pub async fn delete_webhook(&self, org: &OrgId, webhook: &WebhookId) -> Result<(), Refused> {
        let (org, webhook) = (org.clone(), webhook.clone());
        self.commit(0, move |writer| settings::delete_webhook(writer, &org, &webhook)).await
    }

    /// Appends events in order; the answer comes once all are durable. One result per event, in the same order.
    pub async fn append(&self, events: Vec<Append>) -> Vec<Result<Appended, Refused>> {
        let count = events.len();
        let bytes =
            events.iter().map(|append| append.event.payload.len() * append.webhooks.len().max(1)).sum();
        let prepared: Vec<_> = events.into_iter().map(|append| self.prepare(append)).collect();
        let began = Instant::now();
        let result = self
            .commit(bytes, move |writer| {
                let results =
                    prepared.into_iter().map(|prepared| refuse_too_large(append::append(writer, prepared)));
                Ok(Ok(results.collect::<Result<Vec<_>, Trouble>>()?))
            })
            .await;
        self.enqueued(began, &result);
        result.unwrap_or_else(|refused| vec![Err(refused); count])
    }

    /// Reads the claimed head with its payload; `None` if it is no longer the head. A record that cannot be read is
    /// quarantined, and the next head is announced.
    pub async fn load(&self, claim: Claim) -> Result<Option<Delivery>, Refused> {
        if let Some(delivery) = self.shared.shown.heads.take(claim) {
            return Ok(Some(delivery));
        }
        match self.read(move |shared| read::load(&shared.store, claim)).await? {
            Loaded::Delivery(delivery) => Ok(Some(delivery)),
            Loaded::Gone => Ok(None),
            Loaded::Unreadable(why) => {
                let at = clock::now();
                self.commit(0, move |writer| settle::quarantine_head(writer, claim, &why.to_string(), at))
                    .await?;
                Ok(None)
            }
        }
    }

    /// The head was delivered: remove it. `size` is its payload's length in bytes.
    pub async fn done(&self, claim: Claim, size: u64) -> Result<Settled, Refused> {
        self.commit(0, move |writer| settle::done(writer, claim, size)).await
    }

    /// The head's attempt failed: remember it, and when the next may start.
    pub async fn defer(
        &self,
        claim: Claim,
        attempt: Attempt,
        not_before: UnixMs,
    ) -> Result<Settled, Refused> {
        self.commit(0, move |writer| settle::defer(writer, claim, &attempt, not_before)).await
    }

    /// The head's last attempt failed, and it is to be kept: it waits until someone acts.
    pub async fn hold(&self, claim: Claim, attempt: Attempt) -> Result<Settled, Refused> {
        self.commit(0, move |writer| settle::hold(writer, claim, &attempt)).await
    }

    /// The head is given up (after `attempt`, if one was made now): move it to the dead letters.
    pub async fn bury(
        &self,
        claim: Claim,
        attempt: Option<Attempt>,
        reason: DeadReason,
        at: UnixMs,
    ) -> Result<Settled, Refused> {
        let death = Death { reason, note: None, at };
        self.commit(0, move |writer| settle::bury(writer, claim, attempt.as_ref(), death)).await
    }

    /// The head is given up without an attempt; `note` says more.
    pub async fn give_up(
        &self,
        claim: Claim,
        reason: DeadReason,
        note: Option<String>,
        at: UnixMs,
    ) -> Result<Settled, Refused> {
        let death = Death { reason, note, at };
        self.commit(0, move |writer| settle::bury(writer, claim, None, death)).await
    }

    /// An operator gives up the head. Answers its dead letter.
    /// With `expected`, only if that is still the head ([`Refused::HeadMoved`]).
    pub async fn skip(
        &self,
        org: &OrgId,
        expected: Option<Sequence>,
        note: Option<String>,
        at: UnixMs,
    ) -> Result<DeadLetterId, Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settle::skip(writer, &org, expected, note, at)).await
    }

    /// The head's wait ends now, or its being held.
    pub async fn retry_now(&self, org: &OrgId) -> Result<Sequence, Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settle::retry_now(writer, &org)).await
    }

    /// Nothing of this org is attempted until resumed; survives restarts. Pausing a paused org replaces the reason, if
    /// one is given.
    pub async fn pause(&self, org: &OrgId, reason: Option<String>, at: UnixMs) -> Result<(), Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settle::set_pause(writer, &org, Some(Pause { reason, at }))).await
    }

    /// Ends a pause.
    pub async fn resume(&self, org: &OrgId) -> Result<(), Refused> {
        let org = org.clone();
        self.commit(0, move |writer| settle::set_pause(writer, &org, None)).await
    }

    /// The org's queue in numbers, from memory.
    pub fn summary(&self, org: OrgNumber) -> QueueSummary {
        self.shared.shown.published.summary(org)
    }

    /// Deliveries in order, head first, at most `limit`, those after `after`.
    pub async fn list(
        &self,
        org: OrgNumber,
        after: Option<Sequence>,
        limit: usize,
        payload: bool,
    ) -> Result<Vec<Queued>, Refused> {
        let window = Window { after, limit, payload };
        self.read(move |shared| read::list(&shared.store, &shared.shown.published, org, &window)).await
    }

    /// Dead letters that match, oldest death first. A page may hold fewer than `limit` and still have a next one.
    pub async fn dead_list(
        &self,
        filter: DeadFilter,
        after: Option<DeadCursor>,
        limit: usize,
    ) -> Result<DeadPage, Refused> {
        self.read(move |shared| read::dead_list(&shared.store, &filter, after, limit)).await
    }

    /// One dead letter with every attempt.
    pub async fn dead_show(&self, id: DeadLetterId, payload: bool) -> Result<Option<DeadLetter>, Refused> {
        self.read(move |shared| read::dead_show(&shared.store, id, payload)).await
    }

    /// Changes when the store stops or starts accepting.
    pub fn health(&self) -> watch::Receiver<StoreHealth> {
        self.shared.health.clone()
    }

    /// Commits what was handed in, refuses what comes later, and ends the committer. The lock goes with the last handle.
    pub async fn close(&self) {
        let (sender, receiver) = oneshot::channel();
        let stopped: Answer = Box::new(move |_| {
            sender.send(()).ok();
        });
        if self.shared.orders.send(Order::Stop(stopped)).await.is_ok() {
            receiver.await.ok();
        }
    }
}

/// A record that does not fit is the caller's trouble, not the store's: it is refused before it is written. What was
/// written of the same change lies beyond its commit point.
fn refuse_too_large<T>(applied: Applied<T>) -> Applied<T> {
    match applied {
        Err(Trouble::TooLarge { .. }) => Ok(Err(Refused::TooLarge(VALUE_BYTES_MAX))),
        other => other,
    }
}
