//! 5. Send: one attempt of one delivery.
//!
//! `template` says where it goes, `request` what goes out, `sign` proves that it is ours, `guard` where it may go,
//! `connector` makes the connection (`pem` reads its certificates, `routes` keeps connections for each way of making
//! them), `http` sends over it, `client` makes the attempt, `failure` names what went wrong, `scrub` keeps our secrets and
//! `echo` the payload out of what is kept of an answer, and `outcome` says what follows. Nothing here knows of queues,
//! orgs or schedules: the scheduler hands in a delivery and its webhook, and gets an attempt back.

mod client;
mod connector;
mod echo;
mod failure;
pub mod guard;
mod http;
pub mod outcome;
mod pem;
pub mod request;
mod routes;
pub mod scrub;
pub mod sign;
pub mod template;
mod trial;
#[cfg(test)]
pub(crate) mod testing;

pub use client::{Client, ClientError, ClientSettings, Made};
pub use guard::EgressPolicy;
pub use outcome::judge;
pub use pem::{check_tls, identity, provider};
pub use request::check_url;
pub use routes::RouteSettings;
pub use template::{Addressed, address, at_fault};
pub use trial::Trial;
