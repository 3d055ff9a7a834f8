//! What the API is configured with.

use std::sync::Arc;
use std::time::Duration;

use crate::catalogue::{Catalogue, ChangeLimits};
use crate::config::{Changes, Config, Validate};
use crate::intake::{self, Entitlement};

/// Limits of calls, and what intake needs to know. Can be changed while running.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Bytes of a line of a stream of events.
    pub max_line_bytes: usize,
    /// Attributes of an event.
    pub max_attributes: usize,
    /// How long a body, and a line that has begun, may take to arrive.
    pub body_timeout: Duration,
    /// How long a stream may be silent between two lines.
    pub stream_idle: Duration,
    /// Bytes that bodies above a small size may hold together. Read once, at the start.
    pub budget_bytes: usize,
    /// Plans that may have webhooks.
    pub entitlement: Entitlement,
    /// What is known of event types.
    pub catalogue: Arc<Catalogue>,
    /// What becomes of payloads that are not as the catalogue says.
    pub validate: Validate,
    /// What one change may come to.
    pub changes: ChangeLimits,
    /// Deliveries that may wait per org unless the org says otherwise: shown with orgs.
    pub max_deliveries: u64,
    /// Payload bytes that may wait per org unless the org says otherwise: shown with orgs.
    pub max_bytes: u64,
}

impl Settings {
    /// What intake decides by.
    #[must_use]
    pub fn rules(&self) -> intake::Rules<'_> {
        let Settings { entitlement, catalogue, validate, .. } = self;
        intake::Rules { entitlement, catalogue, validate: *validate }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_body_bytes: 1 << 20,
            max_line_bytes: 1 << 20,
            max_attributes: 32,
            body_timeout: Duration::from_secs(30),
            // Long enough for a producer that hands in what trickles in, short enough that forgotten streams do not
            // use up the connections.
            stream_idle: Duration::from_secs(600),
            // Many large bodies at once, and little beside what the rest of the daemon may use.
            budget_bytes: 64 << 20,
            entitlement: Entitlement::default(),
            catalogue: Catalogue::shipped(),
            validate: Validate::Reject,
            // A payload may be as large as a body may be at most.
            changes: ChangeLimits { max_events: 64, max_cost: 1_000_000, max_payload_bytes: 1 << 20 },
            max_deliveries: 1_000_000,
            max_bytes: 1 << 30,
        }
    }
}

impl Settings {
    /// As configured, with the catalogue that the configuration names.
    #[must_use]
    pub fn of(config: &Config, catalogue: Arc<Catalogue>) -> Settings {
        let defaults = Settings::default();
        let Changes { max_events, max_cost } = config.changes;
        Settings {
            max_body_bytes: config.limits.max_body_bytes,
            max_line_bytes: config.limits.max_line_bytes,
            max_attributes: config.limits.max_attributes,
            body_timeout: config.api.body_timeout,
            entitlement: Entitlement::of_plans(config.intake.entitled_plans.iter().cloned()),
            catalogue,
            validate: config.intake.validate,
            changes: ChangeLimits { max_events, max_cost, ..defaults.changes },
            max_deliveries: config.queue.max_deliveries,
            max_bytes: config.queue.max_bytes,
            ..defaults
        }
    }
}
