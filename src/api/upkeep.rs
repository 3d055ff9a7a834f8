//! `GET /v1/verify`: calls that go through the whole store, beside the work that goes on. One at a time.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use tokio::sync::OwnedSemaphorePermit;

use super::{App, Json};
use crate::serving::problem::{Kind, Problem};

/// The leave to go through the whole store.
fn turn(app: &App) -> Result<OwnedSemaphorePermit, Problem> {
    app.upkeep.clone().try_acquire_owned().map_err(|_| {
        Problem::new(Kind::UpkeepBusy, "wait until the call that is at work ends, then ask again")
    })
}

/// `GET /v1/verify`: every record opened and checked; what is wrong, by place.
pub(super) async fn verify(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let _turn = turn(&app)?;
    Ok(Json(app.queue.verify().await?).into_response())
}
