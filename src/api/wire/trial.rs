//! What a webhook is tested with. PURE.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Members;
use super::event::attributes;
use crate::model::EventType;
use crate::serving::problem::Problem;

/// What the caller gave; all of it may be left out.
pub(in crate::api) struct TrialIn {
    pub(in crate::api) event_type: Option<EventType>,
    /// The very bytes of the member.
    pub(in crate::api) payload: Option<Bytes>,
    pub(in crate::api) attributes: BTreeMap<String, String>,
}

/// Reads the body of `POST …/webhooks/{webhook}/test`.
pub(in crate::api) fn read_trial(body: &Bytes, attributes_max: usize) -> Result<TrialIn, Problem> {
    let members = Members::parse(body, &["type", "payload", "attributes"])?;
    Ok(TrialIn {
        event_type: members.parsed("type")?,
        payload: members.raw("payload").map(|payload| body.slice_ref(payload.get().as_bytes())),
        attributes: attributes(&members, attributes_max)?,
    })
}
