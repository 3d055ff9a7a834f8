//! Sources and their last requests as they are shown: no token, no secret, no payload. PURE.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::{EventId, OrgId, Source, SourceId, SourceKind, UnixMs};
use crate::sources::Settings;
use crate::sources::traffic::{Seen, Summary};

/// What stands in an address for the token that is not shown.
const MASK: &str = "***";

/// A source as shown.
#[derive(Serialize)]
pub(in crate::api) struct SourceOut<'a> {
    id: &'a SourceId,
    kind: &'static str,
    /// Whole only for whoever has just made its token.
    url: String,
    /// Whether anything can be posted there: the daemon has a listener for it.
    listening: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
    /// How many there are.
    secrets: usize,
    #[serde(flatten)]
    hmac: Option<HmacOut<'a>>,
    id_header: Option<&'a str>,
    event_header: Option<&'a str>,
    catalogue: Option<&'a str>,
    unmapped: &'static str,
    enabled: bool,
    description: &'a str,
    token_at: UnixMs,
    created_at: UnixMs,
    updated_at: UnixMs,
    last: Option<LastOut>,
    /// Requests by verdict, since the start.
    counts: BTreeMap<&'static str, u64>,
}

#[derive(Serialize)]
struct HmacOut<'a> {
    header: &'a str,
    algorithm: &'static str,
    encoding: &'static str,
    prefix: &'a str,
    timestamp_header: Option<&'a str>,
}

#[derive(Serialize)]
struct LastOut {
    at: UnixMs,
    verdict: &'static str,
    status: u16,
}

impl<'a> SourceOut<'a> {
    /// Shows a source; `address` is its address with the token's place left to whoever asks. The token only if it was just
    /// made.
    pub(in crate::api) fn of(
        source: &'a Source,
        address: impl Fn(&str) -> String,
        (token, listening): (Option<&'a str>, bool),
        traffic: Summary,
    ) -> SourceOut<'a> {
        let last = traffic.recent.first().map(|seen| LastOut {
            at: seen.at,
            verdict: seen.verdict.code(),
            status: seen.status,
        });
        SourceOut {
            id: &source.id,
            kind: source.kind.code(),
            url: address(token.unwrap_or(MASK)),
            token,
            listening,
            secrets: source.secrets.len(),
            hmac: hmac_out(&source.kind),
            id_header: source.id_header.as_deref(),
            event_header: source.event_header.as_deref(),
            catalogue: source.catalogue.as_deref(),
            unmapped: source.unmapped.code(),
            enabled: source.enabled,
            description: &source.description,
            token_at: source.token_at,
            created_at: source.created_at,
            updated_at: source.updated_at,
            last,
            counts: traffic.counts,
        }
    }

    pub(in crate::api) fn id(&self) -> &SourceId {
        self.id
    }
}

fn hmac_out(kind: &SourceKind) -> Option<HmacOut<'_>> {
    let SourceKind::Hmac(proof) = kind else { return None };
    Some(HmacOut {
        header: &proof.header,
        algorithm: proof.algorithm.code(),
        encoding: proof.encoding.code(),
        prefix: &proof.prefix,
        timestamp_header: proof.timestamp_header.as_deref(),
    })
}

/// The address of a source as settings know it; without settings, its path.
pub(in crate::api) fn address(
    settings: Option<&Settings>,
    org: &OrgId,
    source: &SourceId,
    token: &str,
) -> String {
    settings
        .map_or_else(|| format!("/in/{org}/{source}/{token}"), |settings| settings.url(org, source, token))
}

/// A request as shown afterwards.
#[derive(Serialize)]
pub(in crate::api) struct SeenOut {
    at: UnixMs,
    verdict: &'static str,
    status: u16,
    event: Option<String>,
    delivery_id: Option<String>,
    /// The first of them.
    event_ids: Vec<EventId>,
    events: usize,
    deliveries: u64,
    times: u64,
    duration_ms: u64,
    peer: Option<String>,
    bytes: usize,
    detail: String,
}

impl From<Seen> for SeenOut {
    fn from(seen: Seen) -> SeenOut {
        SeenOut {
            at: seen.at,
            verdict: seen.verdict.code(),
            status: seen.status,
            event: seen.event,
            delivery_id: seen.delivery_id,
            event_ids: seen.event_ids,
            events: seen.events,
            deliveries: seen.deliveries,
            times: seen.times,
            duration_ms: u64::try_from(seen.duration.as_millis()).unwrap_or(u64::MAX),
            peer: seen.peer.map(|peer| peer.to_string()),
            bytes: seen.bytes,
            detail: seen.detail,
        }
    }
}
