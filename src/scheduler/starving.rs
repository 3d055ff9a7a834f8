//! Attempts that find no file descriptor. They say nothing of the receiver and do not count: the plan puts them off, and here
//! it is said, once for as long as it lasts.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// After so long without such an attempt, things are well again. Longer than what the plan puts them off for.
const WELL: Duration = Duration::from_secs(60);

/// When an attempt last found none.
#[derive(Debug, Default)]
pub(super) struct Starving(Mutex<Option<Instant>>);

impl Starving {
    /// Notes one; says so if it is the first.
    pub(super) fn note(&self, detail: &str) {
        let now = Instant::now();
        let before = self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
        if before.is_none_or(|before| now.duration_since(before) >= WELL) {
            tracing::warn!(
                detail,
                "attempts find no file descriptors: they are put off and do not count; raise the limit (LimitNOFILE=)"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_said_again_only_after_it_was_over() {
        let starving = Starving::default();
        let last = |starving: &Starving| *starving.0.lock().unwrap();
        for wait in [0, 59, 61] {
            tokio::time::advance(Duration::from_secs(wait)).await;
            starving.note("Too many open files");
            assert_eq!(last(&starving), Some(Instant::now()));
        }
    }
}
