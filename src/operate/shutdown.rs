//! Stopping in order: nothing accepted is lost, nothing is waited for longer than the grace period.
//!
//! 1. No new connection, no new request; those being answered end.
//! 2. The scheduler chooses nothing more; the attempts in flight end.
//! 3. The store commits what it has and closes.
//!
//! A step that overruns its time is logged by its label and left behind; what it was doing is safe in the queue and goes
//! on at the next start.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How often a step that takes long says that it is still going on.
const STILL_WAITING: Duration = Duration::from_secs(3);

/// The time left for stopping, shared by all steps.
#[derive(Debug, Clone)]
pub struct Patience {
    until: Instant,
    at_once: CancellationToken,
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// By itself.
    Done(T),
    /// Its time was up, or an operator did not want to wait.
    LeftBehind,
}

impl Patience {
    /// Until `grace` from now, or until `at_once` is cancelled.
    #[must_use]
    pub fn new(grace: Duration, at_once: CancellationToken) -> Patience {
        Patience { until: Instant::now() + grace, at_once }
    }

    /// What is left of it.
    #[must_use]
    pub fn left(&self) -> Duration {
        if self.at_once.is_cancelled() {
            Duration::ZERO
        } else {
            self.until.saturating_duration_since(Instant::now())
        }
    }

    /// Waits for one step, saying by `label` what is pending; `detail` is asked anew each time it is said.
    pub async fn wait<T, D: Display>(
        &self,
        label: &'static str,
        detail: impl Fn() -> D,
        step: impl Future<Output = T>,
    ) -> Step<T> {
        tokio::pin!(step);
        loop {
            let next_word = (Instant::now() + STILL_WAITING).min(self.until);
            tokio::select! {
                biased;
                ended = timeout_at(next_word, &mut step) => match ended {
                    Ok(result) => return Step::Done(result),
                    Err(_) if Instant::now() >= self.until => break,
                    Err(_) => tracing::info!(
                        pending = label, detail = %detail(), left_s = self.left().as_secs(), "still stopping"
                    ),
                },
                () = self.at_once.cancelled() => break,
            }
        }
        tracing::warn!(pending = label, detail = %detail(), "not waiting for this any longer");
        Step::LeftBehind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(seconds: u64) -> (Patience, CancellationToken) {
        let at_once = CancellationToken::new();
        (Patience::new(Duration::from_secs(seconds), at_once.clone()), at_once)
    }

    #[tokio::test(start_paused = true)]
    async fn a_step_that_ends_is_waited_for() {
        let (patience, _at_once) = patience(10);
        let step = async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            7
        };
        assert_eq!(patience.wait("step", || "", step).await, Step::Done(7));
        assert_eq!(patience.left(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn all_steps_together_take_no_longer_than_the_grace() {
        let (patience, _at_once) = patience(10);
        let start = Instant::now();
        assert_eq!(patience.wait("one", || "", std::future::pending::<()>()).await, Step::LeftBehind);
        assert_eq!(patience.wait("two", || "", std::future::pending::<()>()).await, Step::LeftBehind);
        assert_eq!(start.elapsed(), Duration::from_secs(10));
        assert_eq!(patience.wait("three", || "", async { 3 }).await, Step::Done(3), "what is over is over");
    }

    #[tokio::test(start_paused = true)]
    async fn an_operator_may_end_the_waiting() {
        let (patience, at_once) = patience(3600);
        let start = Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            at_once.cancel();
        });
        assert_eq!(patience.wait("step", || "", std::future::pending::<()>()).await, Step::LeftBehind);
        assert_eq!(start.elapsed(), Duration::from_secs(1));
        assert_eq!(patience.left(), Duration::ZERO);
    }
}
