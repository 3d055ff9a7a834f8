//! `GET /v1/status`: the daemon in numbers. `POST /v1/reload`: the configuration read again.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;

use super::{App, Json};
use crate::clock;
use crate::model::UnixMs;
use crate::queue::{KeysInUse, StoreHealth, StoreUsage};
use crate::scheduler::Snapshot;
use crate::serving::problem::{Kind, Problem};

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_ms: u64,
    started_at: UnixMs,
    counts: Counts,
    oldest_due_age_ms: Option<u64>,
    in_flight: u64,
    queues: Queues,
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

/// Orgs whose queue is not empty, by the state of their head.
#[derive(Serialize, Default)]
struct Queues {
    in_flight: u64,
    ready: u64,
    delayed: u64,
    held: u64,
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
        live_bytes,
        allocated_bytes,
        free_bytes,
        reserve_bytes,
        quarantined,
        blob_files,
    } = usage.unwrap_or_default();
    let health = app.queue.health().borrow().clone();
    let (queues, oldest_due) = queues(&app);
    Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_ms: u64::try_from(app.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        started_at: app.started_at,
        counts: Counts { orgs, webhooks, deliveries, dead_letters, quarantined },
        oldest_due_age_ms: oldest_due.map(age_ms),
        in_flight: queues.in_flight,
        queues,
        disk: Disk { live_bytes, allocated_bytes, free_bytes, reserve_bytes, blob_files },
        store: store(&health, app.queue.keys()),
        sources: sources(&app),
        draining: app.draining.is_cancelled(),
        last_error: last_error(&app, health),
    })
    .into_response()
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
        Ok(Some(Ok(())) | None) => Ok(Json(json!({ "reloaded": true })).into_response()),
        Ok(Some(Err(why))) => Err(Problem::new(Kind::ReloadFailed, why)),
        Err(_) => Err(Problem::new(Kind::Internal, "the reload broke off")),
    }
}
