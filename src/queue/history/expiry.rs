//! PURE. Which segments go: whole ones, the oldest first, by age and by what all of them take.
//!
//! A segment is as old as its newest entry. Clocks are set: an entry of the future, which a step back leaves, is neither
//! taken for old nor kept for ever; its segment ages from when that was first noticed, by a clock that nobody sets.

use std::time::Duration;

use super::{Segment, State};
use crate::model::UnixMs;
use crate::queue::retention::Kept;

/// How large a segment may become: a small part of what is kept, so that what goes is a small part as well.
pub(super) fn segment_bytes(kept: Kept) -> u64 {
    (kept.bytes / 16).clamp(64 << 10, 8 << 20)
}

/// How long a segment is written to.
pub(super) fn segment_age(kept: Kept) -> Duration {
    (kept.age / 16).clamp(Duration::from_secs(1), Duration::from_secs(3600))
}

/// The moment of a look at the segments: by the wall clock, and as time that the keeper has been running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: UnixMs,
    pub(super) running: Duration,
}

/// Whether the segment is too old. Notes since when its newest entry is seen to be in the future.
fn is_old(segment: &mut Segment, age: Duration, at: Moment) -> bool {
    let Some((_, newest)) = segment.times else { return true };
    if newest <= at.now {
        segment.ahead_since = None;
        return at.now.since(newest) > age;
    }
    let since = *segment.ahead_since.get_or_insert(at.running);
    at.running.saturating_sub(since) > age
}

/// The segments that go, of all in the order of their numbers.
pub(super) fn expired<'a>(
    segments: impl Iterator<Item = (&'a u64, &'a mut Segment)>,
    kept: Kept,
    at: Moment,
) -> Vec<u64> {
    let mut segments: Vec<_> = segments.collect();
    let mut bytes: u64 = segments.iter().map(|(_, segment)| segment.end).sum();
    let mut expired = Vec::new();
    for (number, segment) in &mut segments {
        let too_much = bytes > kept.bytes;
        let goes = match segment.state {
            State::Open => false,
            // How old it is is not known yet.
            State::Unread => too_much,
            State::Ended => too_much || is_old(segment, kept.age, at),
        };
        if goes {
            bytes -= segment.end;
            expired.push(**number);
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HOUR: i64 = 3_600_000;
    const KEPT: Kept = Kept { age: Duration::from_secs(24 * 3600), bytes: 1000 };

    fn segment(end: u64, newest: Option<i64>, state: State) -> Segment {
        let times = newest.map(|newest| (UnixMs(newest - 5), UnixMs(newest)));
        Segment { times, ..Segment::new(end, state) }
    }

    fn at(now: i64, running_h: u64) -> Moment {
        Moment { now: UnixMs(now), running: Duration::from_secs(running_h * 3600) }
    }

    fn all<const N: usize>(segments: [Segment; N]) -> BTreeMap<u64, Segment> {
        (1..).zip(segments).collect()
    }

    #[test]
    fn the_oldest_go_by_age() {
        let now = 1000 * HOUR;
        let newest = [now - 24 * HOUR - 1, now - 24 * HOUR, now - HOUR];
        let mut segments = all(newest.map(|newest| segment(100, Some(newest), State::Ended)));
        assert_eq!(expired(segments.iter_mut(), KEPT, at(now, 0)), [1]);
        assert_eq!(expired(segments.iter_mut(), KEPT, at(now + 1, 0)), [1, 2]);
        // What is still written to, and what is not known yet, is left.
        for state in [State::Open, State::Unread] {
            let mut one = all([segment(100, Some(0), state)]);
            assert!(expired(one.iter_mut(), KEPT, at(now, 0)).is_empty(), "{state:?}");
        }
        // One in which there is no whole entry is of no use.
        assert_eq!(expired(all([segment(9, None, State::Ended)]).iter_mut(), KEPT, at(now, 0)), [1]);
    }

    #[test]
    fn as_many_go_as_it_takes_to_be_within_the_bytes() {
        let sizes = [(400, State::Unread), (300, State::Ended), (400, State::Ended), (400, State::Open)];
        let segments = || all(sizes.map(|(end, state)| segment(end, Some(0), state)));
        assert_eq!(expired(segments().iter_mut(), KEPT, at(0, 0)), [1, 2]);
        let more = Kept { bytes: 1100, ..KEPT };
        assert_eq!(expired(segments().iter_mut(), more, at(0, 0)), [1]);
        assert!(expired(segments().iter_mut(), Kept { bytes: 1500, ..KEPT }, at(0, 0)).is_empty());
        // What is written to is left, whatever it takes.
        assert_eq!(expired(segments().iter_mut(), Kept { bytes: 1, ..KEPT }, at(0, 0)), [1, 2, 3]);
    }

    #[test]
    fn a_clock_that_is_set_back_neither_empties_nor_freezes_the_history() {
        let now = 1_000_000 * HOUR;
        let mut segments = all([segment(100, Some(now), State::Ended)]);
        // Back by a hundred years, and for less than a day.
        let past = now - 876_000 * HOUR;
        assert!(expired(segments.iter_mut(), KEPT, at(past, 10)).is_empty());
        assert!(expired(segments.iter_mut(), KEPT, at(past + 20 * HOUR, 30)).is_empty());
        // Right again: it is as old as it says, whatever was noticed.
        assert!(expired(segments.iter_mut(), KEPT, at(now + 23 * HOUR, 33)).is_empty());
        // Back for good: it goes a day after that was noticed.
        assert!(expired(segments.iter_mut(), KEPT, at(past, 40)).is_empty());
        assert!(expired(segments.iter_mut(), KEPT, at(past + 24 * HOUR, 64)).is_empty());
        assert_eq!(expired(segments.iter_mut(), KEPT, at(past + 25 * HOUR, 65)), [1]);
    }

    #[test]
    fn segments_are_a_small_part_of_what_is_kept() {
        let kept = |bytes, age_s| Kept { bytes, age: Duration::from_secs(age_s) };
        let default = kept(256 << 20, 24 * 3600);
        assert_eq!((segment_bytes(default), segment_age(default).as_secs()), (8 << 20, 3600));
        let small = kept(1 << 20, 60);
        assert_eq!((segment_bytes(small), segment_age(small).as_millis()), (64 << 10, 3750));
    }
}
