//! The promises, through the real binary: one file per promise.
