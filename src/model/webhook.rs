//! One configured destination of an org.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Authorization, EventPattern, Headers, Route, Secret, Signature, Target, UnixMs, WebhookId};

/// The most attempts a webhook may ask for: bounds the history kept with a delivery.
pub const ATTEMPTS_MAX: u32 = 100;
/// An attempt's whole time when the webhook does not say.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest attempt that can be asked for.
pub const TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// The longest attempt that can be asked for.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// How long a receiver's `Retry-After` may make us wait when the webhook does not say.
pub const RETRY_AFTER_MAX_DEFAULT: Duration = Duration::from_secs(60);

/// Where an org's events go, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Its name within the org.
    pub id: WebhookId,
    /// Where requests go.
    pub target: Target,
    /// What they ask for.
    pub method: Method,
    /// The types it listens to; any of them.
    pub events: Vec<EventPattern>,
    /// What an event's attributes must be like; all of it.
    pub matching: Box<[Condition]>,
    /// Sent in `password_header` when set (TimeTime).
    pub password: Option<Secret>,
    /// The header's name in lower case; `None` means `X-TT-Webhook-Password`.
    pub password_header: Option<Box<str>>,
    /// Instead of the client's.
    pub authorization: Option<Box<Authorization>>,
    /// How requests are signed.
    pub signature: Option<Box<Signature>>,
    /// Sent with every request, beside the client's.
    pub headers: Headers,
    /// How connections are made; what is left open is the client's, then the daemon's. `None` if all is.
    pub route: Option<Arc<Route>>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// A `Retry-After` of the receiver lengthens a wait to this at most; zero ignores it.
    pub retry_after_max: Duration,
    /// One deadline for an attempt: connect, TLS, request, response head and body.
    pub timeout: Duration,
    /// Whether the answer 410 Gone disables it.
    pub disable_on_gone: bool,
    /// A disabled webhook matches no new event.
    pub enabled: bool,
    /// Whether only the headers that products document are sent: none of ours.
    pub faithful: bool,
    /// For people.
    pub description: String,
    /// When it was first saved.
    pub created_at: UnixMs,
    /// When it was last saved.
    pub updated_at: UnixMs,
}

impl Webhook {
    /// A webhook with every setting at its default.
    #[must_use]
    pub fn new(id: WebhookId, target: Target, now: UnixMs) -> Webhook {
        Webhook {
            id,
            target,
            method: Method::Post,
            events: vec![EventPattern::any()],
            matching: Box::default(),
            password: None,
            password_header: None,
            authorization: None,
            signature: None,
            headers: Headers::default(),
            route: None,
            retry: Retry::default(),
            retry_after_max: RETRY_AFTER_MAX_DEFAULT,
            timeout: TIMEOUT_DEFAULT,
            disable_on_gone: false,
            enabled: true,
            faithful: false,
            description: String::new(),
            created_at: now,
            updated_at: now,
        }
    }

    /// The longest time that a failed attempt can make the next one wait.
    #[must_use]
    pub fn longest_wait(&self) -> Duration {
        self.retry.longest_delay().max(self.retry_after_max)
    }
}

/// An attribute that an event must have, with one of some values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The attribute's name.
    pub attribute: Box<str>,
    /// Any of these will do.
    pub values: Box<[Box<str>]>,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Has no body.
    Get,
    /// The default.
    Post,
    /// Has the payload as body.
    Put,
    /// Has the payload as body.
    Patch,
    /// Has the payload as body (Team Trax).
    Delete,
}

impl Method {
    /// Every method.
    pub const ALL: [Method; 5] = [Method::Get, Method::Post, Method::Put, Method::Patch, Method::Delete];

    /// As it stands in a request.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
            Method::Put => "PUT",
            Method::Patch => "PATCH",
            Method::Delete => "DELETE",
        }
    }
}

impl FromStr for Method {
    type Err = String;

    /// Any letter case: products write `post` as well as `POST`.
    fn from_str(text: &str) -> Result<Method, String> {
        let found = Method::ALL.into_iter().find(|method| method.as_str().eq_ignore_ascii_case(text));
        found.ok_or_else(|| "must be GET, POST, PUT, PATCH or DELETE".to_owned())
    }
}

impl fmt::Display for Method {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// The retry schedule: attempt k (k = 2..attempts) waits `min(first_delay * factor^(k-2), max_delay)` after the end of
/// the attempt before it, or what `schedule` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// All attempts, the first one included; 1..=[`ATTEMPTS_MAX`].
    pub attempts: u32,
    /// The wait before the second attempt.
    pub first_delay: Duration,
    /// What each wait is multiplied by; 1.0..=100.0.
    pub factor: f64,
    /// No wait is longer; at least `first_delay`, at most 24 h.
    pub max_delay: Duration,
    /// Explicit waits in place of the three above; the last one holds for all attempts beyond.
    pub schedule: Option<Arc<[Duration]>>,
    /// How far a wait is spread, downwards, as a share of it; 0.0..=1.0.
    pub jitter: f64,
    /// What happens after the last attempt.
    pub on_exhausted: OnExhausted,
}

/// What happens to a delivery whose last attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter and the next one starts: availability over completeness.
    Advance,
    /// The queue waits at it until someone acts: completeness over availability.
    Hold,
}

impl OnExhausted {
    /// The word in the API and the CLI.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            OnExhausted::Advance => "advance",
            OnExhausted::Hold => "hold",
        }
    }
}

impl FromStr for OnExhausted {
    type Err = String;
    fn from_str(text: &str) -> Result<OnExhausted, String> {
        let found = [OnExhausted::Advance, OnExhausted::Hold].into_iter().find(|word| word.code() == text);
        found.ok_or_else(|| "must be \"advance\" or \"hold\"".to_owned())
    }
}

impl Retry {
    /// The longest wait that it can ask for.
    #[must_use]
    pub fn longest_delay(&self) -> Duration {
        match &self.schedule {
            Some(waits) => waits.iter().copied().max().unwrap_or_default(),
            None => self.max_delay,
        }
    }
}

impl Default for Retry {
    /// TimeTime's documented schedule: 10 attempts, 200 ms doubling to 10 s, no jitter.
    fn default() -> Retry {
        Retry {
            attempts: 10,
            first_delay: Duration::from_millis(200),
            factor: 2.0,
            max_delay: Duration::from_secs(10),
            schedule: None,
            jitter: 0.0,
            on_exhausted: OnExhausted::Advance,
        }
    }
}
