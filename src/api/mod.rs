//! Accept, the first step of the path: HTTP/1.1 over two Unix sockets. Parses and limits; what is accepted goes through `intake` to the queue, and
//! is answered once durable. Not here: who may open which socket (`operate`), what a plan allows (`intake`), what is
//! durable (`queue`). It never calls `delivery`: they meet only in the queue.
//!
//! | call | file |
//! |---|---|
//! | `PUT GET DELETE /v1/orgs/{org}` · `GET /v1/orgs` | `orgs` |
//! | `PUT GET DELETE /v1/orgs/{org}/webhooks/{webhook}` · `GET …/webhooks` | `webhooks` |
//! | `PUT GET DELETE /v1/orgs/{org}/sources/{source}` · `GET …/sources` · `…/requests` · `POST …/reset-token` · `…/test` | `sources` |
//! | `POST /v1/orgs/{org}/events` (both sockets) | `events` |
//! | `POST /v1/orgs/{org}/changes` (both sockets) | `changes` |
//! | `POST /v1/events` (both sockets) | `stream`, `lines` |
//! | `GET …/queue` · `POST …/queue/retry-now` · `…/queue/skip` · `…/pause` · `…/resume` | `queue` |
//! | `GET DELETE /v1/dead-letters/{id}` · `GET /v1/dead-letters` · `POST …/retry` · `…/discard` | `dead_letters` |
//! | `GET /v1/history` · `GET /v1/history/{id}` · `POST …/replay` | `history` |
//! | `GET /v1/status` · `POST /v1/reload` | `status` |
//! | `GET /v1/tail` | `tail` |
//! | `GET /v1/shape` | `shape` |
//! | `GET /v1/verify` · `GET /v1/backup` · `POST /v1/rekey` · `POST /v1/compact` | `upkeep` |
//! | `GET /metrics` (over TCP too) | `metrics` |
//! | `GET /healthz` · `GET /readyz` (both sockets) | `health` |
//!
//! Limits beside those of `serving`, each with its constant or setting: a body and a line 1 MiB, JSON 128 levels deep, bytes
//! of unanswered lines in the whole daemon, and how long a stream may be idle.

mod audit;
mod body;
mod changes;
mod clients;
mod dead_letters;
mod events;
mod filter;
#[cfg(fuzzing)]
pub mod fuzzing;
mod health;
mod history;
mod lines;
mod metrics;
mod orgs;
mod params;
mod queue;
mod rotation;
mod settings;
mod shape;
mod sources;
mod status;
mod stream;
mod tail;
#[cfg(test)]
mod tests;
mod trials;
mod upkeep;
mod webhooks;
mod wire;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use axum::Router;
use axum::extract::Request;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use http::HeaderValue;
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use settings::Settings;

use crate::catalogue::Catalogue;
use crate::intake::left_behind::{left_behind, unknown_profile};
use crate::model::{OrgId, UnixMs};
use crate::queue::{Org, Queue, Retention};
use crate::scheduler::Scheduler;
use crate::serving::Turns;
use crate::serving::body::{Budget, discard};
use crate::serving::problem::{Kind, Problem};
use crate::sources::Gate;

/// Which socket a router is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Socket {
    /// For producers: events in and health, nothing that reads or administers.
    Submit,
    /// Everything.
    Admin,
}

/// Re-reads the configuration; an error leaves the old one in force.
pub type Reload = Box<dyn Fn() -> Result<Vec<String>, String> + Send + Sync>;

/// The daemon's last error, for status. Cheap to clone; whoever meets an error that an operator should see notes it.
#[derive(Debug, Clone, Default)]
pub struct LastError(Arc<Mutex<Option<(UnixMs, String)>>>);

impl LastError {
    /// Notes an error: a sentence without secrets.
    pub fn note(&self, at: UnixMs, message: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, message));
    }

    /// The last one noted.
    pub fn get(&self) -> Option<(UnixMs, String)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What every call works with.
pub struct App {
    queue: Queue,
    /// `None` when the store of a stopped daemon is looked at: nothing is in flight then.
    scheduler: Option<Scheduler>,
    settings: RwLock<Arc<Settings>>,
    started: Instant,
    started_at: UnixMs,
    /// Cancelled when the daemon begins to stop: `/readyz` says so and streams stop reading.
    draining: CancellationToken,
    last_error: LastError,
    reload: Option<Reload>,
    /// Where requests of sources come in; `None` when the store of a stopped daemon is looked at.
    gate: Option<Arc<Gate>>,
    /// Tests of webhooks that may be under way at once.
    trials: Semaphore,
    /// For what goes through the whole store: one at a time.
    upkeep: Arc<Semaphore>,
    /// For changes whose rules run.
    turns: Turns,
    /// Bytes of bodies that may be held at once.
    budget: Budget,
    /// Bytes of lines that wait to be durable, over all streams.
    unanswered: Arc<AtomicUsize>,
    /// Bytes of answers that wait to be read, over all streams.
    unread: Arc<AtomicUsize>,
}

impl App {
    /// The state of an API over `queue`, started now.
    pub fn new(queue: Queue, scheduler: Option<Scheduler>, settings: Settings) -> App {
        let budget_bytes = settings.budget_bytes;
        App {
            queue,
            scheduler,
            settings: RwLock::new(Arc::new(settings)),
            started: Instant::now(),
            started_at: crate::clock::now(),
            draining: CancellationToken::new(),
            last_error: LastError::default(),
            reload: None,
            gate: None,
            trials: Semaphore::new(trials::TRIALS_MAX),
            upkeep: Arc::new(Semaphore::new(1)),
            turns: Turns::default(),
            budget: Budget::new(budget_bytes),
            unanswered: Arc::default(),
            unread: Arc::default(),
        }
    }

    /// What `POST /v1/reload` does.
    #[must_use]
    pub fn with_reload(self, reload: Reload) -> App {
        App { reload: Some(reload), ..self }
    }

    /// Where requests of sources come in.
    #[must_use]
    pub fn with_gate(self, gate: Arc<Gate>) -> App {
        App { gate: Some(gate), ..self }
    }

    /// Where the daemon's errors are noted.
    #[must_use]
    pub fn with_last_error(self, last_error: LastError) -> App {
        App { last_error, ..self }
    }

    /// The token that tells the API that the daemon is stopping.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts other settings in force, from the next call on. `budget_bytes` stays as it was at the start.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// Notes an error for status: a sentence without secrets.
    pub fn note_error(&self, message: String) {
        self.last_error.note(crate::clock::now(), message);
    }

    /// Orgs that have series of their own from now on.
    pub fn name_orgs(&self, orgs: &[OrgId]) {
        self.queue.figures().orgs.set(orgs);
    }

    /// Puts another retention of dead letters and history in force.
    pub fn set_retention(&self, retention: Retention) {
        self.queue.set_retention(retention);
    }

    /// What webhooks go by that other catalogues would not have any more: the first one, in words.
    pub fn left_behind(&self, before: &Catalogue, after: &Catalogue) -> Option<String> {
        self.first_org(|org| left_behind(org, before, after))
    }

    /// The first webhook or client with a profile that is in no catalogue in force, in words.
    pub fn unknown_profile(&self) -> Option<String> {
        let catalogue = self.settings().catalogue.clone();
        self.first_org(|org| unknown_profile(org, &catalogue))
    }

    /// What is found in the first org that has it.
    fn first_org<T>(&self, find: impl Fn(&Org) -> Option<T>) -> Option<T> {
        const PAGE: usize = 256;
        let mut last: Option<OrgId> = None;
        loop {
            let page = self.queue.directory().list(last.as_ref(), PAGE);
            if let Some(found) = page.iter().find_map(|org| find(org)) {
                return Some(found);
            }
            last = Some(page.last()?.id.clone());
        }
    }

    /// The org of this name; a name that cannot be one names no org.
    fn org(&self, name: &str) -> Result<Arc<Org>, Problem> {
        let id: Option<OrgId> = name.parse().ok();
        id.and_then(|id| self.queue.directory().org(&id)).ok_or_else(|| {
            let shown: String = name.chars().take(64).collect();
            Problem::new(Kind::UnknownOrg, format!("there is no org \"{}\"", shown.escape_debug()))
        })
    }
}

/// One path, what it serves, and whether the submit socket serves it too.
type Call = (&'static str, MethodRouter<Arc<App>>, Option<Socket>);

fn calls() -> Vec<Call> {
    let both = Some(Socket::Submit);
    vec![
        ("/v1/orgs", get(orgs::list), None),
        ("/v1/orgs/{org}", get(orgs::show).put(orgs::put).delete(orgs::delete), None),
        ("/v1/orgs/{org}/webhooks", get(webhooks::list), None),
        (
            "/v1/orgs/{org}/webhooks/{webhook}",
            get(webhooks::show).put(webhooks::put).delete(webhooks::delete),
            None,
        ),
        ("/v1/orgs/{org}/webhooks/{webhook}/test", post(trials::post), None),
        ("/v1/orgs/{org}/webhooks/{webhook}/rotate-secret", post(rotation::post), None),
        ("/v1/orgs/{org}/webhooks/{webhook}/enable", post(webhooks::enable), None),
        ("/v1/orgs/{org}/webhooks/{webhook}/disable", post(webhooks::disable), None),
        ("/v1/orgs/{org}/clients", get(clients::list), None),
        (
            "/v1/orgs/{org}/clients/{client}",
            get(clients::show).put(clients::put).delete(clients::delete),
            None,
        ),
        ("/v1/orgs/{org}/sources", get(sources::list), None),
        (
            "/v1/orgs/{org}/sources/{source}",
            get(sources::show).put(sources::put).delete(sources::delete),
            None,
        ),
        ("/v1/orgs/{org}/sources/{source}/requests", get(sources::requests), None),
        ("/v1/orgs/{org}/sources/{source}/reset-token", post(sources::reset_token), None),
        ("/v1/orgs/{org}/sources/{source}/enable", post(sources::enable), None),
        ("/v1/orgs/{org}/sources/{source}/disable", post(sources::disable), None),
        ("/v1/orgs/{org}/sources/{source}/test", post(sources::test), None),
        ("/v1/orgs/{org}/events", post(events::post), both),
        ("/v1/orgs/{org}/changes", post(changes::post), both),
        ("/v1/events", post(stream::post), both),
        ("/v1/orgs/{org}/queue", get(queue::list), None),
        ("/v1/orgs/{org}/queue/retry-now", post(queue::retry_now), None),
        ("/v1/orgs/{org}/queue/skip", post(queue::skip), None),
        ("/v1/orgs/{org}/pause", post(queue::pause), None),
        ("/v1/orgs/{org}/resume", post(queue::resume), None),
        ("/v1/orgs/{org}/dead-letters", get(dead_letters::list_of_org), None),
        ("/v1/dead-letters", get(dead_letters::list), None),
        ("/v1/dead-letters/retry", post(dead_letters::retry_many), None),
        ("/v1/dead-letters/discard", post(dead_letters::discard_many), None),
        ("/v1/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::discard), None),
        ("/v1/dead-letters/{id}/retry", post(dead_letters::retry), None),
        ("/v1/orgs/{org}/history", get(history::list_of_org), None),
        ("/v1/history", get(history::list), None),
        ("/v1/history/replay", post(history::replay_many), None),
        ("/v1/history/{id}", get(history::show), None),
        ("/v1/history/{id}/replay", post(history::replay), None),
        ("/v1/status", get(status::show), None),
        ("/v1/tail", get(tail::show), None),
        ("/v1/shape", get(shape::show), None),
        ("/v1/reload", post(status::reload), None),
        ("/v1/verify", get(upkeep::verify).post(upkeep::verify), None),
        ("/v1/backup", get(upkeep::backup), None),
        ("/v1/rekey", post(upkeep::rekey), None),
        ("/v1/compact", post(upkeep::compact), None),
        ("/metrics", get(metrics::show), None),
        ("/healthz", get(health::alive), both),
        ("/readyz", get(health::ready), both),
    ]
}

/// The calls that `socket` serves.
pub fn router(app: Arc<App>, socket: Socket) -> Router {
    let mut router = Router::new();
    for (path, call, also_on) in calls() {
        let served = socket == Socket::Admin || also_on == Some(socket);
        let call = match socket {
            Socket::Admin => audit::audited(path, call),
            Socket::Submit if served => call,
            Socket::Submit => any(admin_socket_only),
        };
        router = router.route(path, call);
    }
    router.method_not_allowed_fallback(method_not_allowed).fallback(not_found).with_state(app)
}

/// What is served where metrics are read over TCP: them, and how the daemon is.
pub fn metrics_router(app: Arc<App>) -> Router {
    Router::new()
        .route("/metrics", get(metrics::show))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(not_found)
        .with_state(app)
}

/// Refuses a call after reading what it carries, so that the answer is seen.
async fn refuse(app: &App, request: Request, problem: Problem) -> Problem {
    let (parts, body) = request.into_parts();
    discard(&parts.headers, body, Instant::now() + app.settings().body_timeout).await;
    problem
}

type State = axum::extract::State<Arc<App>>;

async fn admin_socket_only(axum::extract::State(app): State, request: Request) -> Problem {
    let detail = format!("{} is served on admin.sock only", request.uri().path().escape_debug());
    refuse(&app, request, Problem::new(Kind::AdminSocketOnly, detail)).await
}

async fn not_found(axum::extract::State(app): State, request: Request) -> Problem {
    let detail = format!("there is no call {}", request.uri().path().escape_debug());
    refuse(&app, request, Problem::new(Kind::NotFound, detail)).await
}

async fn method_not_allowed(axum::extract::State(app): State, request: Request) -> Problem {
    let detail = format!("{} has no {}", request.uri().path().escape_debug(), request.method());
    refuse(&app, request, Problem::new(Kind::MethodNotAllowed, detail)).await
}

/// A JSON answer.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(text) => {
                let json = HeaderValue::from_static("application/json");
                ([(header::CONTENT_TYPE, json)], text).into_response()
            }
            Err(error) => {
                tracing::error!(%error, "an answer could not be written as JSON");
                Problem::new(Kind::Internal, "the answer could not be written").into_response()
            }
        }
    }
}
