//! 1. Accept from outside: requests that other services post to the address of a source become events of its org.
//!
//! In the order of a request's path:
//!
//! * `door`: TCP, with TLS where there is a certificate.
//! * `gate`: is somebody at this address, and how much may come there; from the head to the answer.
//! * [`arrived`]: what came over the wire. PURE.
//! * [`verify`]: is it from who it should be from? Asked before anything of the body is parsed. PURE.
//! * [`read`]: a verified request as the rules see it. PURE.
//! * `derive`: what it becomes, by the catalogue's rules or as it is.
//! * `answer`: what whoever posted is told. PURE.
//! * [`traffic`]: what came lately, and what became of it.
//! * [`sample`]: requests signed as the outside services sign them, to try a source with. PURE.
//!
//! A request is answered as accepted once what it became is durable, and before its sender loses patience, whatever
//! hangs behind: the queue is between. Where nobody is, and where the token is wrong, looks and takes alike.

mod answer;
pub mod arrived;
mod derive;
mod door;
mod gate;
pub mod read;
pub mod sample;
mod settings;
pub mod traffic;
mod trial;
mod verdict;
pub mod verify;

pub use arrived::Arrived;
pub use door::{Certificate, Door, Prepared};
pub use gate::{Gate, router};
pub use settings::Settings;
pub use trial::{Trial, TrialGiven};
pub use verdict::Verdict;
