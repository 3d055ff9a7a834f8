//! `GET /v1/status`: the daemon in numbers. `POST /v1/reload`: the configuration read again.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::{App, Json};
use crate::clock;
use crate::measure::process;
use crate::model::{HumanDuration, UnixMs};
use crate::queue::{HistoryUsage, Kept, KeysInUse, QueueLimits, StoreHealth, StoreUsage};
use crate::scheduler::Snapshot;
use crate::serving::problem::{Kind, Problem};

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_ms: u64,
    started_at: UnixMs,
    counts: Counts,
    dead_letters: DeadLetters,
    history: History,
    oldest_due_age_ms: Option<u64>,
    in_flight: u64,
    queues: Queues,
    /// Memory of the process.
    resident_bytes: Option<u64>,
    limits: Limits,
    disk: Disk,
    store: Store,
    /// Where requests of sources are taken.
    sources: Sources,
    draining: bool,
    last_error: Option<Noted>,
}

#[derive(Serialize)]
struct Counts {
    orgs: u64,
    webhooks: u64,
    deliveries: u64,
    dead_letters: u64,
    quarantined: u64,
}

/// What is kept of what was given up.
#[derive(Serialize)]
struct DeadLetters {
    count: u64,
    bytes: u64,
    oldest_at: Option<UnixMs>,
    retention: Option<RetentionOut>,
}

/// What is kept of what was delivered.
#[derive(Serialize)]
struct History {
    /// Whether what is delivered is kept.
    on: bool,
    entries: u64,
    bytes: u64,
    oldest_at: Option<UnixMs>,
    retention: Option<RetentionOut>,
    /// Deliveries since the start that could not be kept, and why the last of them.
    missed: u64,
    trouble: Option<String>,
}

/// How long, and how much, of something is kept.
#[derive(Serialize)]
struct RetentionOut {
    age: HumanDuration,
    bytes: u64,
}

impl From<Kept> for RetentionOut {
    fn from(kept: Kept) -> RetentionOut {
        RetentionOut { age: HumanDuration(kept.age), bytes: kept.bytes }
    }
}

/// Orgs whose queue is not empty, by the state of their head.
#[derive(Serialize, Default)]
struct Queues {
    in_flight: u64,
    ready: u64,
    delayed: u64,
    held: u64,
}

/// What may wait in all queues together, and how much of that does: the nearer of the two, 1 when nothing more is accepted.
#[derive(Serialize)]
struct Limits {
    deliveries: u64,
    bytes: u64,
    used: f64,
}

#[derive(Serialize)]
struct Disk {
    live_bytes: u64,
    allocated_bytes: u64,
    free_bytes: u64,
    reserve_bytes: u64,
    blob_files: u64,
}

#[derive(Serialize)]
struct Store {
    health: &'static str,
    detail: Option<String>,
    /// The ids of the keys that records are sealed with.
    keys: KeysInUse,
}

#[derive(Serialize)]
struct Sources {
    /// The address; null without a listener.
    listening: Option<SocketAddr>,
    /// Whether TLS is spoken there.
    tls: bool,
}

#[derive(Serialize)]
struct Noted {
    at: UnixMs,
    message: String,
}

/// `GET /v1/status`.
pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let queue = app.queue.clone();
    // Sizes on disk are asked of the file system.
    let usage = tokio::task::spawn_blocking(move || queue.usage()).await;
    let StoreUsage {
        orgs,
        webhooks,
        deliveries,
        dead_letters,
        dead_letter_bytes,
        oldest_dead_letter,
        history,
        retention,
        live_bytes,
        allocated_bytes,
        free_bytes,
        reserve_bytes,
        quarantined,
        blob_files,
        max_total,
    } = usage.unwrap_or_default();
    let health = app.queue.health().borrow().clone();
    let (queues, oldest_due) = queues(&app);
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        started_at: app.started_at,
        counts: Counts { orgs, webhooks, deliveries, dead_letters, quarantined },
        dead_letters: DeadLetters {
            count: dead_letters,
            bytes: dead_letter_bytes,
            oldest_at: oldest_dead_letter,
            retention: retention.dead_letters.map(Into::into),
        },
        history: shown_history(history, retention.history),
        oldest_due_age_ms: oldest_due.map(age_ms),
        in_flight: queues.in_flight,
        queues,
        resident_bytes: process::resident_bytes(),
        limits: limits(max_total, deliveries, live_bytes),
        disk: Disk { live_bytes, allocated_bytes, free_bytes, reserve_bytes, blob_files },
        store: store(&health, app.queue.keys()),
        sources: sources(&app),
        draining: app.draining.is_cancelled(),
        last_error: last_error(&app, health),
    })
    .into_response()
}

fn limits(QueueLimits { deliveries, bytes }: QueueLimits, waiting: u64, waiting_bytes: u64) -> Limits {
    #[expect(clippy::cast_precision_loss, reason = "a share of a limit, to three places")]
    let share = |part: u64, whole: u64| (part as f64 / whole.max(1) as f64 * 1000.0).round() / 1000.0;
    Limits { deliveries, bytes, used: share(waiting, deliveries).max(share(waiting_bytes, bytes)) }
}

fn shown_history(history: HistoryUsage, kept: Option<Kept>) -> History {
    let HistoryUsage { on, entries, bytes, oldest, missed, trouble } = history;
    History { on, entries, bytes, oldest_at: oldest, retention: kept.map(Into::into), missed, trouble }
}

/// Without a scheduler nothing is chosen, and nothing is due.
fn queues(app: &App) -> (Queues, Option<UnixMs>) {
    let Some(scheduler) = &app.scheduler else { return (Queues::default(), None) };
    let Snapshot { in_flight, ready, delayed, held, oldest_due } = scheduler.snapshot();
    (Queues { in_flight, ready, delayed, held }, oldest_due)
}

fn age_ms(due: UnixMs) -> u64 {
    u64::try_from(clock::now().since(due).as_millis()).unwrap_or(u64::MAX)
}

fn sources(app: &App) -> Sources {
    let listening = app.gate.as_ref().and_then(|gate| gate.settings().listening);
    Sources { listening: listening.map(|(address, _)| address), tls: listening.is_some_and(|(_, tls)| tls) }
}

fn store(health: &StoreHealth, keys: KeysInUse) -> Store {
    let (health, detail) = match health {
        StoreHealth::Accepting => ("accepting", None),
        StoreHealth::DiskFull => ("disk-full", Some("free disk space is below the reserve".into())),
        StoreHealth::Failed(reason) => ("failed", Some(reason.clone())),
    };
    Store { health, detail, keys }
}

/// A failed store outweighs whatever was noted before.
fn last_error(app: &App, health: StoreHealth) -> Option<Noted> {
    let noted = app.last_error.get();
    match (health, noted) {
        (StoreHealth::Failed(reason), None) => Some(Noted { at: clock::now(), message: reason }),
        (_, noted) => noted.map(|(at, message)| Noted { at, message }),
    }
}

/// `POST /v1/reload`: as SIGHUP, all or nothing.
pub(super) async fn reload(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    if app.reload.is_none() {
        return Err(Problem::new(Kind::NotRunning, "there is no running daemon that could reload"));
    }
    // It reads files.
    let done = tokio::task::spawn_blocking(move || app.reload.as_ref().map(|reload| reload())).await;
    match done {
        Ok(Some(Ok(waiting))) => {
            Ok(Json(json!({ "reloaded": true, "waiting_for_restart": waiting })).into_response())
        }
        Ok(Some(Err(why))) => Err(Problem::new(Kind::ReloadFailed, why)),
        Ok(None) | Err(_) => Err(Problem::new(Kind::Internal, "the reload broke off")),
    }
}
