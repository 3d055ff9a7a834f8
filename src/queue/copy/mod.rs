//! The store as a whole: checked, and copied.
//!
//! A record is bound to its place by its seal, so whatever copies the store moves sealed bytes from place to same place
//! and opens none: what a copy holds is as secret as the store, and is refused where anything of it was changed.
//!
//! * `verify` opens every record and checks what refers to what, and changes nothing.

mod judge;
mod verify;

pub use judge::{Fault, Kind};
pub use verify::Verified;
