//! Histograms that many threads add to and anyone may read, without a lock; and what the process takes of the machine.

pub mod process;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds for times, in microseconds: from what memory takes to what nobody waits for.
pub const TIMES_US: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000,
];

/// How many values there were, by size, and their sum.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, of values that are above the one before; the last is for those above all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram as it was at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Each bound, with the number of values that are not above it.
    pub up_to: Vec<(u64, u64)>,
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

impl Histogram {
    /// With these upper bounds, which must ascend.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Adds a value.
    pub fn note(&self, value: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Adds a time, in microseconds.
    pub fn note_time(&self, time: Duration) {
        self.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    /// What it holds. Values that are added meanwhile may be in the sum and not yet in the counts.
    #[must_use]
    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut counts = self.counts.iter().map(|of_bound| {
            count += of_bound.load(Ordering::Relaxed);
            count
        });
        let up_to = self.bounds.iter().copied().zip(counts.by_ref()).collect();
        counts.for_each(drop);
        Reading { up_to, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_every_bound_that_it_is_not_above() {
        let histogram = Histogram::new(&[1, 10, 100]);
        for value in [0, 1, 2, 10, 11, 1000] {
            histogram.note(value);
        }
        let reading = histogram.read();
        assert_eq!(reading.up_to, [(1, 2), (10, 4), (100, 5)]);
        assert_eq!((reading.count, reading.sum), (6, 1024));
    }

    #[test]
    fn times_are_in_microseconds_and_their_bounds_ascend() {
        assert!(TIMES_US.is_sorted());
        let histogram = Histogram::new(TIMES_US);
        histogram.note_time(Duration::from_millis(1));
        histogram.note_time(Duration::from_secs(3600));
        let reading = histogram.read();
        assert_eq!(reading.up_to[2..4], [(500, 0), (1_000, 1)]);
        assert_eq!((reading.up_to.last(), reading.count), (Some(&(30_000_000, 1)), 2));
    }
}
