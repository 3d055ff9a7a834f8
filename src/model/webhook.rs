//! One configured destination of an org.

use std::time::Duration;

use url::Url;

use super::{EventPattern, EventType, Secret, UnixMs, WebhookId};

/// The most attempts a webhook may ask for: bounds the history kept with a delivery.
pub const ATTEMPTS_MAX: u32 = 100;
/// An attempt's whole time when the webhook does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest attempt that can be asked for.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The longest attempt that can be asked for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Where an org's events go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its name within the org.
    pub id: WebhookId,
    /// Absolute http or https URL without user info or fragment.
    pub url: Url,
    /// The types it listens to; any of them.
    pub events: Vec<EventPattern>,
    /// Sent as `X-TT-Webhook-Password` when set (TimeTime).
    pub password: Option<Secret>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// One deadline for an attempt: connect, TLS, request, response head and body.
    pub timeout: Duration,
    /// A disabled webhook matches no new event.
    pub enabled: bool,
    /// For people.
    pub description: String,
    /// When it was first saved.
    pub created_at: UnixMs,
    /// When it was last saved.
    pub updated_at: UnixMs,
}

impl Webhook {
    /// Whether an event of this type is delivered here.
    #[must_use]
    pub fn wants(&self, event_type: &EventType) -> bool {
        self.enabled && self.events.iter().any(|pattern| pattern.matches(event_type))
    }
}

/// The retry schedule: attempt k (k = 2..attempts) waits `min(first_delay * factor^(k-2), max_delay)` after the end of
/// the attempt before it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Retry {
    /// All attempts, the first one included; 1..=[`ATTEMPTS_MAX`].
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first_delay: Duration,
    /// What each wait is multiplied by; 1.0..=100.0.
    pub factor: f64,
    /// No wait is longer; at least `first_delay`, at most 24 h.
    pub max_delay: Duration,
}

impl Default for Retry {
    /// TimeTime's documented schedule: 10 attempts, 200 ms doubling to 10 s, no jitter.
    fn default() -> Retry {
        Retry {
            attempts: 10,
            first_delay: Duration::from_millis(200),
            factor: 2.0,
            max_delay: Duration::from_secs(10),
        }
    }
}
