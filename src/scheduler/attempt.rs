//! One attempt of one head, from reading it to its durable outcome. Runs as a task of its own.
//!
//! It can be cancelled while it reads and while it waits for the receiver. From the moment the receiver's answer is
//! there it runs to its end, so that an answer is never thrown away.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::backoff;
use super::budget::{Budget, Charge};
use super::figures::Figures;
use super::label::Label;
use super::plan::{End, Start};
use super::starving::Starving;
use crate::catalogue::Current;
use crate::clock;
use crate::delivery::{Addressed, Client, Made, Trial, address, at_fault, judge};
use crate::model::{
    Attempt, DeadReason, Delivery, FailReason, OnExhausted, Outcome, Target, UnixMs, WebhookId,
};
use crate::queue::{Claim, Org, Queue, Refused, Settled};
use crate::tail::{Fact, Happened};

/// 410 Gone (RFC 9110, 15.5.11).
const GONE: u16 = 410;

/// What every attempt needs.
#[derive(Debug)]
pub(super) struct Context {
    pub queue: Queue,
    pub sender: Sender,
    pub budget: Budget,
    /// Where a payload has the values of URLs.
    pub catalogue: Current,
    /// Where the plan's time starts.
    pub epoch: Instant,
    pub figures: Arc<Figures>,
    pub starving: Starving,
}

/// Who makes the attempt.
#[derive(Debug)]
pub(super) enum Sender {
    /// The real thing.
    Http(Box<Client>),
    /// Answers by a script, without network: for virtual time.
    #[cfg(test)]
    Scripted(super::tests::Script),
}

impl Sender {
    /// An attempt outside the queue, with what went over the wire.
    pub(super) async fn trial(&self, addressed: &Addressed<'_>) -> Option<Trial> {
        match self {
            Sender::Http(client) => Some(client.trial(addressed).await),
            #[cfg(test)]
            Sender::Scripted(_) => None,
        }
    }

    async fn attempt(&self, addressed: &Addressed<'_>, number: u32) -> Made {
        match self {
            Sender::Http(client) => client.attempt(addressed, number).await,
            #[cfg(test)]
            Sender::Scripted(script) => script.attempt(addressed, number).await,
        }
    }
}

/// What came of the part that can be cancelled. The payload is out of memory again, unless it is to be kept.
enum Tried<'a> {
    /// The claimed delivery is not the head any more, or cannot be read.
    Gone,
    /// It is to be given up without an attempt.
    Hopeless { label: Label, reason: DeadReason, variable: Option<String> },
    /// There was no file descriptor for an attempt: it is put off, and does not count.
    Starved,
    /// An attempt was made.
    Attempted(Attempted<'a>),
}

struct Attempted<'a> {
    label: Label,
    attempt: Attempt,
    outcome: Outcome,
    /// The receiver is gone for good, and its webhook is to be disabled for it.
    gone: bool,
    /// The payload's size in bytes.
    size: u64,
    /// What goes into the history, and the memory that it takes until it is there.
    kept: Option<Box<(Delivery, Charge<'a>)>>,
    /// When it ended, on both clocks.
    ended: Instant,
    ended_at: UnixMs,
}

/// Makes the attempt and settles it. `cancelled` resolves, or loses its sender, when the attempt is not wanted any
/// more. An error is the store's and means that nothing was settled.
pub(super) async fn run(
    context: Arc<Context>,
    start: Start,
    cancelled: oneshot::Receiver<()>,
) -> Result<End, Refused> {
    let tried = tokio::select! {
        biased;
        tried = context.try_head(start) => tried?,
        _ = cancelled => {
            context.cancelled(start);
            return Ok(End::Cancelled);
        }
    };
    match tried {
        Tried::Gone => Ok(End::Void),
        Tried::Starved => Ok(End::Starved),
        Tried::Hopeless { label, reason, variable } => {
            let note = variable.as_ref().map(|name| format!("{{{name}}} in the webhook's URL"));
            let settled = on_disk(context.queue.give_up(start.claim, reason, note, clock::now())).await?;
            if settled == Settled::Applied {
                label.dead(reason, None, variable.as_deref());
            }
            Ok(End::Void)
        }
        Tried::Attempted(attempted) => context.settle(start.claim, attempted).await,
    }
}

impl Context {
    /// The part that can be cancelled.
    async fn try_head(&self, start: Start) -> Result<Tried<'_>, Refused> {
        let Some(mut charge) = self.budget.charge(start.standing).await else { return Ok(Tried::Gone) };
        let Some(delivery) = on_disk(self.queue.load(start.claim)).await? else { return Ok(Tried::Gone) };
        charge.keep(delivery.size);
        let org = self.queue.directory().by_number(start.claim.org);
        let webhook = org.as_ref().and_then(|org| org.webhooks.get(&delivery.webhook).cloned());
        let label = Label::new(org, start.claim, &delivery);
        let webhook = match webhook {
            None => return Ok(hopeless(label, DeadReason::WebhookDeleted)),
            Some(webhook) if !webhook.enabled => {
                return Ok(hopeless(label, DeadReason::WebhookDisabled));
            }
            // The schedule was shortened while the delivery waited for an attempt that it no longer has. One that was
            // held has used them up, and is tried because someone said so.
            Some(webhook)
                if start.attempt > webhook.retry.attempts
                    && webhook.retry.on_exhausted == OnExhausted::Advance =>
            {
                return Ok(hopeless(label, DeadReason::AttemptsExhausted));
            }
            Some(webhook) => webhook,
        };
        let client = match (&label.org, &webhook.target) {
            (Some(org), Target::Client { client, .. }) => org.clients.get(client).cloned(),
            _ => None,
        };
        let catalogue = self.catalogue.get();
        let addressed = match address(&delivery, &webhook, client.as_deref(), &catalogue) {
            Ok(addressed) => addressed.of(start.claim.org),
            Err(reason) => {
                let variable = at_fault(&delivery, &webhook, &catalogue).map(str::to_owned);
                return Ok(Tried::Hopeless { label, reason, variable });
            }
        };
        label.begun(self.queue.hub(), start.attempt);
        let at = clock::now();
        let began = Instant::now();
        let made = caught(self.sender.attempt(&addressed, start.attempt)).await;
        let (ended, ended_at) = (Instant::now(), clock::now());
        let made = made.unwrap_or_else(|| {
            let duration_ms = u32::try_from(ended.duration_since(began).as_millis()).unwrap_or(u32::MAX);
            let attempt = panicked(start.attempt, at, duration_ms);
            Made { attempt, retry_after: None, headers: http::HeaderMap::new(), starved: false }
        });
        if made.starved {
            self.starving.note(&made.attempt.detail);
            return Ok(Tried::Starved);
        }
        self.figures.note(&made.attempt);
        let wait = backoff::delay(&webhook.retry, start.attempt.saturating_add(1), fastrand::f64());
        let outcome = judge(&made, &webhook, ended_at, wait);
        let gone = webhook.disable_on_gone && made.attempt.status == Some(GONE);
        let attempt = made.attempt;
        let size = delivery.size;
        let is_kept = outcome == Outcome::Delivered && self.queue.keeps_history();
        let kept = is_kept.then(|| Box::new((delivery, charge)));
        Ok(Tried::Attempted(Attempted { label, attempt, outcome, gone, size, kept, ended, ended_at }))
    }

    /// The attempt is not wanted any more.
    fn cancelled(&self, Start { claim, attempt, .. }: Start) {
        let org = self.queue.directory().by_number(claim.org);
        let Some(org) = org.map(|org| org.id.clone()) else { return };
        info!(%org, sequence = claim.sequence.0, attempt, "attempt cancelled");
        self.queue.hub().tell(|| {
            let fact = Fact::new(Happened::Cancelled, clock::now(), org);
            Fact { sequence: Some(claim.sequence.0), attempt: Some(attempt), ..fact }
        });
    }

    /// Makes the outcome durable.
    async fn settle(&self, claim: Claim, attempted: Attempted<'_>) -> Result<End, Refused> {
        let Attempted { label, attempt, outcome, gone, size, kept, ended, ended_at } = attempted;
        if gone && let Some(org) = &label.org {
            self.disable(org, &label.webhook).await?;
        }
        let settled = match outcome {
            Outcome::Delivered => match kept {
                Some(kept) => {
                    let ((delivery, _charge), attempt) = (*kept, attempt.clone());
                    on_disk(self.queue.done_and_keep(claim, delivery, attempt, ended_at)).await?
                }
                None => on_disk(self.queue.done(claim, size)).await?,
            },
            Outcome::Retry { not_before } => {
                on_disk(self.queue.defer(claim, attempt.clone(), not_before)).await?
            }
            // Whoever has changed the webhook meanwhile wants it tried as it is now.
            Outcome::Hold if self.was_changed(&label) => {
                on_disk(self.queue.defer(claim, attempt.clone(), ended_at)).await?
            }
            Outcome::Hold => on_disk(self.queue.hold(claim, attempt.clone())).await?,
            Outcome::Dead { reason } => {
                on_disk(self.queue.bury(claim, Some(attempt.clone()), reason, ended_at)).await?
            }
        };
        let hub = self.queue.hub();
        if settled == Settled::Stale {
            label.stale(hub, &attempt);
            return Ok(End::Void);
        }
        Ok(match outcome {
            Outcome::Delivered => {
                label.delivered(hub, &attempt);
                End::Delivered
            }
            Outcome::Retry { not_before } => {
                label.retry(hub, &attempt, not_before);
                let wait = not_before.since(ended_at);
                End::Deferred { not_before, due: ended.duration_since(self.epoch).saturating_add(wait) }
            }
            Outcome::Hold => {
                label.held(hub, &attempt);
                End::Exhausted
            }
            Outcome::Dead { reason } => {
                label.dead(reason, Some(&attempt), None);
                End::Exhausted
            }
        })
    }

    /// Whether the delivery's webhook is no longer what it was when its attempt began.
    fn was_changed(&self, label: &Label) -> bool {
        let Some(then) = &label.org else { return false };
        let now = self.queue.directory().by_number(then.number);
        let now = now.as_ref().and_then(|org| org.webhooks.get(&label.webhook));
        then.webhooks.get(&label.webhook) != now
    }

    /// The webhook's receiver said that it is gone for good. Disabled before the attempt is settled: nothing is sent
    /// there again, whatever happens in between.
    /// A webhook that was saved anew meanwhile is not the one whose receiver said so.
    async fn disable(&self, org: &Org, webhook: &WebhookId) -> Result<(), Refused> {
        let Some(tried) = org.webhooks.get(webhook).cloned() else { return Ok(()) };
        let at = clock::now();
        let org = &org.id;
        let disabled = on_disk(self.queue.change_webhook(org, webhook, move |webhook| {
            if *webhook != *tried {
                return false;
            }
            webhook.updated_at = at;
            std::mem::replace(&mut webhook.enabled, false)
        }));
        match disabled.await {
            Ok(true) => warn!(%org, %webhook, "the receiver answered 410 Gone: its webhook is disabled"),
            Ok(false) | Err(Refused::UnknownOrg | Refused::UnknownWebhook) => {}
            Err(refused) => return Err(refused),
        }
        Ok(())
    }
}

fn hopeless(label: Label, reason: DeadReason) -> Tried<'static> {
    Tried::Hopeless { label, reason, variable: None }
}

/// Runs `future`; a panic in it gives `None`. What it worked on is dropped with it, so nothing half changed is seen
/// again. The message is left to the panic hook: it may quote what was being worked on.
pub(super) async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let result = AssertUnwindSafe(future).catch_unwind().await;
    if result.is_err() {
        error!("an attempt panicked: this is a fault in postrider");
    }
    result.ok()
}

/// A panic while sending is a failed attempt like any other: the delivery moves on by its schedule.
fn panicked(number: u32, at: UnixMs, duration_ms: u32) -> Attempt {
    Attempt {
        number,
        at,
        duration_ms,
        status: None,
        error: Some(FailReason::Local),
        detail: "postrider failed while sending; its log says more".into(),
        excerpt: String::new(),
    }
}

/// Awaits the store. Its committer is a thread that paused test time knows nothing of, so tests hold time meanwhile.
async fn on_disk<T>(verb: impl Future<Output = T>) -> T {
    #[cfg(test)]
    let _held = super::tests::HeldTime::new();
    verb.await
}

/// The time since `epoch`, as the plan counts it.
pub(super) fn since(epoch: Instant) -> Duration {
    Instant::now().duration_since(epoch)
}
