//! The vocabulary: values that every other room speaks, and nothing else.
//!
//! Everything here is PURE: no clock, no I/O, no randomness, no runtime. Time and random rolls come in as values.
//!
//! States of a queue's head, and nothing else:
//!
//! ```text
//!             +--------------------- retry: not before T -------------------+
//!             v                                                             |
//!   ready ----> in flight ----> delivered (removed)                     delayed
//!     ^             |                                                       ^
//!     |             +--> attempts exhausted --> dead letter (next is head)  |
//!     |             +-------------------------------------------------------+
//!   (held: the org is paused, or its head's last attempt failed and the webhook says to hold: the queue waits in
//!   order, nothing is dropped)
//! ```

mod client;
mod delivery;
mod duration;
mod event;
mod header;
mod history;
mod ids;
mod outcome;
mod proof;
mod retry;
mod route;
mod secret;
mod source;
mod template;
mod time;
mod webhook;

pub use client::Client;
pub use delivery::{Attempt, DeadLetter, DeadLetterId, Delivery, Head, OrgSettings, QueueState};
pub use duration::{HumanDuration, format_duration, parse_duration};
pub use event::{Event, EventPattern, EventType};
pub use header::header_name;
pub use history::{Delivered, HistoryId};
pub use ids::{ClientId, EventId, InvalidName, OrgId, OrgNumber, Sequence, SourceId, WebhookId};
pub use outcome::{DeadReason, FailReason, Outcome};
pub use proof::{
    Authorization, Headers, PASSWORD_HEADER, PRIVATE_KEY_PREFIX, SECRETS_MAX, SHARED_KEY_PREFIX, Signature,
    SigningSecret,
};
pub use retry::{ATTEMPTS_MAX, DELAY_MAX, OnExhausted, Retry, RetryFault, RetryGiven};
pub use route::{Credentials, Proxy, ProxyKind, Route, Tls};
pub use secret::Secret;
pub use source::{
    Algorithm, Encoding, HmacProof, SOURCE_SECRETS_MAX, Source, SourceKind, TokenHash, Unmapped,
};
pub use template::{Piece, Target, UrlTemplate, is_variable_name};
pub use time::UnixMs;
pub use webhook::{
    Condition, Method, PASSWORD_MAX, RETRY_AFTER_MAX_DEFAULT, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN,
    URL_MAX, Webhook, check_retry_after_max, check_timeout,
};
