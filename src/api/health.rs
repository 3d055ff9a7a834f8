//! `/healthz` and `/readyz`: is it alive, and would it accept an event. On both sockets, and without touching the disk.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{App, Json};
use crate::queue::StoreHealth;
use crate::serving::problem::{Kind, Problem};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `GET /readyz`: an event would be accepted; otherwise why not.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let not_ready = |why: String| Err(Problem::new(Kind::NotReady, why));
    if app.draining.is_cancelled() {
        return not_ready("the daemon is stopping".to_owned());
    }
    let health = app.queue.health().borrow().clone();
    match health {
        StoreHealth::Accepting => Ok(Json(json!({ "status": "ready" })).into_response()),
        StoreHealth::DiskFull => not_ready("free disk space is below the reserve".to_owned()),
        StoreHealth::Failed(reason) => not_ready(format!("the store has failed: {reason}")),
    }
}
