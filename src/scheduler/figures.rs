//! The attempts that were made since the start, in numbers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::measure::{Histogram, TIMES_US};
use crate::model::{Attempt, FailReason};

/// Answers by the first digit of their status.
const STATUSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// See the module's documentation.
#[derive(Debug)]
pub struct Figures {
    /// In the order of [`STATUSES`].
    by_status: [AtomicU64; STATUSES.len()],
    /// Of those without an answer that counts, in the order of [`FailReason::ALL`].
    by_error: Box<[AtomicU64]>,
    /// How long attempts took.
    pub duration: Histogram,
}

impl Default for Figures {
    fn default() -> Figures {
        Figures {
            by_status: std::array::from_fn(|_| AtomicU64::new(0)),
            by_error: FailReason::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            duration: Histogram::new(TIMES_US),
        }
    }
}

impl Figures {
    /// Counts an attempt that has ended.
    pub(super) fn note(&self, attempt: &Attempt) {
        self.duration.note(u64::from(attempt.duration_ms) * 1000);
        let status = || self.by_status.get(usize::from(attempt.status? / 100).checked_sub(2)?);
        let count = match attempt.error {
            None | Some(FailReason::Status) => status(),
            Some(error) => {
                FailReason::ALL.iter().position(|known| *known == error).and_then(|at| self.by_error.get(at))
            }
        };
        if let Some(count) = count {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many attempts came to what: a status of so many hundreds, or one of [`FailReason`].
    pub fn attempts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let errors = FailReason::ALL.iter().zip(&self.by_error);
        let errors = errors.filter(|(reason, _)| **reason != FailReason::Status);
        let errors = errors.map(|(reason, count)| (reason.code(), count));
        let read = |(class, count): (&'static str, &AtomicU64)| (class, count.load(Ordering::Relaxed));
        STATUSES.into_iter().zip(&self.by_status).chain(errors).map(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::UnixMs;

    #[test]
    fn an_attempt_is_counted_by_what_came_of_it() {
        let figures = Figures::default();
        let attempt = |status, error| Attempt {
            number: 1,
            at: UnixMs(0),
            duration_ms: 20,
            status,
            error,
            detail: String::new(),
            excerpt: String::new(),
        };
        for (status, error) in [
            (Some(204), None),
            (Some(302), Some(FailReason::Status)),
            (Some(503), Some(FailReason::Status)),
            (Some(503), Some(FailReason::Status)),
            // The head came, and then nothing.
            (Some(200), Some(FailReason::Timeout)),
            (None, Some(FailReason::Dns)),
        ] {
            figures.note(&attempt(status, error));
        }
        let counted: Vec<_> = figures.attempts().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("2xx", 1), ("3xx", 1), ("5xx", 2), ("timeout", 1), ("dns", 1)]);
        assert_eq!((figures.duration.read().count, figures.duration.read().sum), (6, 120_000));
    }
}
