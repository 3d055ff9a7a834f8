//! `GET /v1/shape`: what waits, or is dead, by org and age.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::params::Query;
use super::{App, Json};
use crate::clock;
use crate::model::{OrgId, UnixMs};
use crate::queue::{AGES_MIN, Ages, Shape};
use crate::serving::problem::Problem;

/// Orgs that are named unless more are asked for.
const ORGS: usize = 20;

#[derive(Serialize)]
struct ShapeOut {
    at: UnixMs,
    of: &'static str,
    /// Up to how many minutes each age reaches; the last one of `by_age` is what is older.
    minutes: [u64; AGES_MIN.len()],
    total: Row,
    items: Vec<OrgRow>,
    left_out: LeftOut,
}

#[derive(Serialize)]
struct Row {
    orgs: u64,
    count: u64,
    by_age: Ages,
}

#[derive(Serialize)]
struct OrgRow {
    org: OrgId,
    count: u64,
    by_age: Ages,
}

/// Too much to look at.
#[derive(Serialize)]
struct LeftOut {
    orgs: u64,
    count: u64,
}

/// `GET /v1/shape`: the orgs that have most first.
pub(super) async fn show(State(app): State<Arc<App>>, query: Query) -> Result<Response, Problem> {
    let query = query.only(&["limit", "dead"])?;
    let limit = if query.text("limit").is_some() { query.limit()? } else { ORGS };
    let (at, dead) = (clock::now(), query.flag("dead")?);
    let (of, shape) = if dead {
        ("dead-letters", app.queue.shape_of_dead(at, limit).await?)
    } else {
        ("queues", app.queue.shape(at, limit).await?)
    };
    let Shape { orgs, total, orgs_total, left_out: (orgs_left_out, left_out) } = shape;
    let count = |ages: &Ages| ages.iter().sum();
    let items = orgs.into_iter().map(|(org, by_age)| OrgRow { org, count: count(&by_age), by_age });
    Ok(Json(ShapeOut {
        at,
        of,
        minutes: AGES_MIN,
        total: Row { orgs: orgs_total, count: count(&total), by_age: total },
        items: items.collect(),
        left_out: LeftOut { orgs: orgs_left_out, count: left_out },
    })
    .into_response())
}
