//! What comes from outside: requests that other services post to the address of a source.
//!
//! * [`arrived`]: what came over the wire. (PURE)
//! * [`verify`]: is it from who it should be from? Asked before anything of the body is parsed. (PURE)
//! * [`read`]: a verified request as the rules see it. (PURE)
//! * [`sample`]: requests signed as the outside services sign them, to try a source with. (PURE)

pub mod arrived;
pub mod verify;
pub mod read;
pub mod sample;

pub use arrived::Arrived;
