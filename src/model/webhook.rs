//! One configured destination of an org.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Authorization, DELAY_MAX, EventPattern, Headers, Retry, Route, Secret, Signature, Target, UnixMs,
    WebhookId, format_duration,
};

/// Bytes of a URL or path, as typed and as kept.
pub const URL_MAX: usize = 2048;
/// Bytes of a password.
pub const PASSWORD_MAX: usize = 2048;
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
    /// The product's profile that it was saved with: its limits and its entitlement go on to hold. What it gave stands above.
    pub profile: Option<Box<str>>,
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
            profile: None,
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

/// An attempt's whole time, if it can be asked for.
///
/// # Errors
/// What would be right.
pub fn check_timeout(timeout: Duration) -> Result<Duration, String> {
    if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    Err(format!("must be from {} to {}", format_duration(TIMEOUT_MIN), format_duration(TIMEOUT_MAX)))
}

/// The longest wait that a `Retry-After` can cause, if it can be asked for; zero means that it is ignored.
///
/// # Errors
/// What would be right.
pub fn check_retry_after_max(longest: Duration) -> Result<Duration, String> {
    if longest > DELAY_MAX {
        return Err("must be at most 24h; \"0s\" ignores Retry-After".to_owned());
    }
    Ok(longest)
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
