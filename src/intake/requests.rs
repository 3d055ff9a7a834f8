//! Derive: the events and the answer that a request of a source comes to. PURE.
//!
//! What it means is up to the catalogue's rules. One event that cannot be accepted refuses the request as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::derive::{NotDerived, Origin, events};
use super::{Rules, SchemaViolation};
use crate::catalogue::{self, ChangeLimits, IncomingRequest};
use crate::model::EventId;
use crate::queue::{Append, Org};

/// What a request comes to. Without events and answer it means nothing.
#[derive(Debug)]
pub struct DerivedRequest {
    /// Its events, in order.
    pub events: Vec<Append>,
    /// What is wrong with their payloads, where that is no reason to refuse them.
    pub warnings: Vec<SchemaViolation>,
    /// A text for whoever asked.
    pub answer: Option<String>,
}

/// Why a request is refused, whole.
pub type RequestRefused = NotDerived<catalogue::RequestRefused>;

/// The events of a request with this id, each with these attributes, and its answer.
///
/// # Errors
/// Why it is refused.
pub fn derive(
    rules: &Rules<'_>,
    limits: &ChangeLimits,
    org: &Arc<Org>,
    id: &EventId,
    attributes: &BTreeMap<String, String>,
    request: &IncomingRequest<'_>,
) -> Result<DerivedRequest, RequestRefused> {
    let mapped = rules.catalogue.map(request, limits).map_err(RequestRefused::Rules)?;
    let parts = [("/body", std::str::from_utf8(request.body).ok())];
    let origin = Origin { org, id, attributes, at: request.at, parts: &parts };
    let derived = events(rules, &origin, mapped.events)?;
    Ok(DerivedRequest { events: derived.events, warnings: derived.warnings, answer: mapped.answer })
}
