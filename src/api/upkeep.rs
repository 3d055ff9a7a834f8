//! `GET /v1/verify` · `GET /v1/backup` · `POST /v1/rekey` · `POST /v1/compact`: calls that go through the whole store, beside
//! the work that goes on, one at a time; and the wish to have it rewritten at the next start.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderValue, header};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::{App, Json};
use crate::queue::{BackupFailed, Part, Rekeyed};
use crate::serving::problem::{Kind, Problem};

/// Lines that wait to be read.
const LINES_WAITING: usize = 8;

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

/// `GET /v1/backup`: the store as one moment leaves it, sealed as it is.
pub(super) async fn backup(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let turn = turn(&app)?;
    let parts = app.queue.backup(turn).await?;
    let kind = HeaderValue::from_static("application/octet-stream");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(body(parts))).into_response())
}

/// The parts as a body. One that does not come to its end breaks the connection: it must not look whole.
fn body(
    parts: mpsc::Receiver<Result<Part, BackupFailed>>,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> {
    stream::unfold(Some(parts), async |parts| {
        let mut parts = parts?;
        Some(match parts.recv().await {
            Some(Ok(Part::More(bytes))) => (Ok(bytes), Some(parts)),
            Some(Ok(Part::Last(bytes))) => (Ok(bytes), None),
            Some(Err(failed)) => (Err(std::io::Error::other(failed)), None),
            None => (Err(std::io::Error::other("the backup broke off")), None),
        })
    })
}

/// `POST /v1/rekey`: everything sealed with the current key; a line now and then on how far it is, and one at the end.
pub(super) async fn rekey(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    let turn = turn(&app)?;
    let (lines, receiver) = mpsc::channel::<Value>(LINES_WAITING);
    let (progress, mut steps) = mpsc::channel::<Rekeyed>(LINES_WAITING);
    let said = lines.clone();
    let saying = tokio::spawn(async move {
        while let Some(step) = steps.recv().await {
            if said.send(json!(step)).await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let _turn = turn;
        let end = match app.queue.rekey(&progress).await {
            Ok(done) => {
                tracing::info!(
                    rewritten = done.rewritten,
                    unreadable = done.unreadable,
                    "every record is sealed with the current key"
                );
                let mut end = json!(done);
                if let Value::Object(members) = &mut end {
                    members.insert("done".to_owned(), json!(true));
                    members.insert("keys".to_owned(), json!(app.queue.keys()));
                }
                end
            }
            Err(refused) => {
                tracing::warn!(why = %refused, "the rekeying broke off");
                json!({"done": false, "detail": refused.to_string()})
            }
        };
        drop(progress);
        // The end is the last line. Whoever asked may have gone; it is done all the same.
        saying.await.ok();
        lines.send(end).await.ok();
    });
    let lines = stream::unfold(receiver, async |mut receiver| {
        let line = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(Bytes::from(format!("{line}\n"))), receiver))
    });
    let kind = HeaderValue::from_static("application/x-ndjson");
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(lines)).into_response())
}

/// `POST /v1/compact`: the store is rewritten when the daemon starts next.
pub(super) async fn compact(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    app.queue.ask_to_compact().await.map_err(|error| {
        tracing::error!(%error, "cannot note that the store is to be compacted");
        Problem::new(Kind::Internal, format!("the wish cannot be written down: {error}"))
    })?;
    tracing::info!("the store is to be compacted at the next start");
    Ok(Json(json!({ "compacts": "at-next-start" })).into_response())
}
