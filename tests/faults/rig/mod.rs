//! What the fault tests share: the real daemon, producers, a receiver, and the ledger that judges.

pub mod cut; // a moment at which the power went
pub mod daemon; // the real binary as a child process
pub mod http; // a blocking client on a Unix socket
pub mod inspect; // what a store holds
pub mod ledger; // what was seen, and the judgement
pub mod load; // producers
pub mod receiver; // an HTTP receiver that answers by plan

use std::sync::{Mutex, MutexGuard, PoisonError};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Held by each test with a load of its own: side by side they would only slow each other down.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A number that whoever runs the tests has set.
pub fn number_from_env(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} must be a whole number, not {value}")))
}
