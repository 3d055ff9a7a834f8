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
//!   (held: the org is paused; the queue waits in order, nothing is dropped)
//! ```

mod delivery;
mod duration;
mod event;
mod ids;
mod outcome;
mod secret;
mod time;
mod webhook;

pub use delivery::{Attempt, DeadLetter, DeadLetterId, Delivery, Head, OrgSettings, QueueState};
pub use duration::{HumanDuration, format_duration, parse_duration};
pub use event::{Event, EventPattern, EventType};
pub use ids::{EventId, InvalidName, OrgId, OrgNumber, Sequence, WebhookId};
pub use outcome::{DeadReason, FailReason, Outcome};
pub use secret::Secret;
pub use time::UnixMs;
pub use webhook::{ATTEMPTS_MAX, Retry, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN, Webhook};
