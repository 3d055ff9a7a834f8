//! PURE. How long to wait: before the next attempt, and until a stored wall-clock time as seen from here.
//!
//! Not for deciding whether there is a next attempt: that is `delivery::judge`.

use std::time::Duration;

use crate::model::{Retry, UnixMs};

/// The wait between the end of attempt `attempt - 1` and the start of attempt `attempt`:
/// `min(first_delay * factor^(attempt-2), max_delay)`, in whole milliseconds, because that is what is stored.
/// Zero before the first attempt. An explicit schedule takes the place of the formula; its last wait holds for all
/// attempts beyond. Jitter takes away up to its share of the wait: `roll`, from 0 to below 1, says how much of that, so
/// that receivers that failed together are not tried together, not even where every wait is the longest.
/// Any input gives an answer, and never one above the longest wait.
#[must_use]
pub fn delay(retry: &Retry, attempt: u32, roll: f64) -> Duration {
    let Some(nth) = attempt.checked_sub(2) else { return Duration::ZERO };
    let wait = match &retry.schedule {
        Some(waits) => {
            let nth = usize::try_from(nth).unwrap_or(usize::MAX);
            waits.get(nth).or_else(|| waits.last()).copied().unwrap_or_default()
        }
        None => exponential(retry, nth),
    };
    let share = retry.jitter.clamp(0.0, 1.0) * roll.clamp(0.0, 1.0);
    if share > 0.0 { whole_ms(wait.as_secs_f64() * 1000.0 * (1.0 - share)).min(wait) } else { wait }
}

fn exponential(retry: &Retry, exponent: u32) -> Duration {
    // Zero times an infinite power would be no number at all.
    if retry.first_delay.is_zero() {
        return Duration::ZERO;
    }
    let power = retry.factor.powi(i32::try_from(exponent).unwrap_or(i32::MAX));
    let wait_ms = (retry.first_delay.as_secs_f64() * 1000.0 * power).round();
    let max_ms = retry.max_delay.as_secs_f64() * 1000.0;
    // Also taken when the product is infinite or not a number, so that the rest is an ordinary number.
    if wait_ms.is_nan() || wait_ms >= max_ms {
        return retry.max_delay;
    }
    whole_ms(wait_ms).min(retry.max_delay)
}

fn whole_ms(ms: f64) -> Duration {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast takes anything below zero to zero, and anything too large to the largest"
    )]
    Duration::from_millis(ms.round() as u64)
}

/// When a head may start, on the monotonic clock: `now` plus what is left until `not_before`, but never more than
/// `max_delay` from now. A wall clock that was set back therefore cannot freeze a queue, and one that was set forward
/// ends at most the waits that are being read at that moment, each of them once.
#[must_use]
pub fn due(now: Duration, not_before: Option<UnixMs>, wall_now: UnixMs, max_delay: Duration) -> Duration {
    let left = not_before.map_or(Duration::ZERO, |at| at.since(wall_now));
    now.saturating_add(left.min(max_delay))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The waits before attempts 2..=attempts, in milliseconds.
    fn schedule(retry: &Retry) -> Vec<u128> {
        (2..=retry.attempts).map(|attempt| delay(retry, attempt, 0.0).as_millis()).collect()
    }

    fn retry(first_ms: u64, factor: f64, max_ms: u64) -> Retry {
        Retry {
            attempts: 8,
            first_delay: Duration::from_millis(first_ms),
            factor,
            max_delay: Duration::from_millis(max_ms),
            ..Retry::default()
        }
    }

    #[test]
    fn an_explicit_schedule_takes_the_place_of_the_formula() {
        let waits = [5_u64, 300, 20].map(Duration::from_millis);
        let retry = Retry { attempts: 6, schedule: Some(waits.into()), ..Retry::default() };
        assert_eq!(schedule(&retry), [5, 300, 20, 20, 20]);
        assert_eq!(retry.longest_delay(), Duration::from_millis(300));
        assert_eq!(delay(&Retry { schedule: Some([].into()), ..retry }, 2, 0.0), Duration::ZERO);
    }

    #[test]
    fn jitter_takes_away_up_to_its_share_also_from_the_longest_wait() {
        let wait = |jitter, roll| delay(&Retry { jitter, ..retry(100, 10.0, 1000) }, 9, roll).as_millis();
        assert_eq!(wait(0.0, 0.999), 1000);
        assert_eq!(wait(0.5, 0.0), 1000);
        assert_eq!(wait(0.5, 0.5), 750);
        assert_eq!(wait(0.5, 1.0), 500);
        assert_eq!(wait(1.0, 1.0), 0);
    }

    #[test]
    fn the_default_is_timetimes_schedule() {
        let waits = schedule(&Retry::default());
        assert_eq!(waits, [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 10_000]);
        assert_eq!(waits.iter().sum::<u128>(), 42_600);
    }

    #[test]
    fn other_schedules() {
        assert_eq!(schedule(&retry(100, 1.0, 500)), [100; 7]);
        assert_eq!(schedule(&retry(100, 1.5, 500)), [100, 150, 225, 338, 500, 500, 500]);
        assert_eq!(schedule(&retry(100, 1.1, 120)), [100, 110, 120, 120, 120, 120, 120]);
        assert_eq!(schedule(&retry(1000, 100.0, 86_400_000))[..4], [1000, 100_000, 10_000_000, 86_400_000]);
        assert_eq!(schedule(&retry(0, 2.0, 500)), [0; 7]);
        assert_eq!(schedule(&retry(700, 2.0, 500)), [500; 7], "the maximum wins over the first delay");
        assert_eq!(schedule(&retry(700, 2.0, 0)), [0; 7]);
    }

    #[test]
    fn nothing_waits_before_the_first_attempt() {
        assert_eq!(delay(&Retry::default(), 0, 0.0), Duration::ZERO);
        assert_eq!(delay(&Retry::default(), 1, 0.0), Duration::ZERO);
    }

    #[test]
    fn extremes_do_not_overflow() {
        let longest = Retry {
            attempts: u32::MAX,
            first_delay: Duration::MAX,
            factor: f64::MAX,
            max_delay: Duration::MAX,
            ..Retry::default()
        };
        assert_eq!(delay(&longest, 2, 0.0), Duration::MAX);
        assert_eq!(delay(&longest, u32::MAX, 0.0), Duration::MAX);
        for factor in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0] {
            let wait = delay(&retry(200, factor, 10_000), u32::MAX, 0.0);
            assert!(wait <= Duration::from_secs(10), "{factor}: {wait:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn a_wait_is_within_its_bounds_and_never_shrinks(
            first in any::<u32>(), factor in 1.0..=100.0f64, longer in any::<u32>(), attempt in 2..200u32,
        ) {
            let first = Duration::from_millis(u64::from(first));
            let retry = Retry {
                attempts: 10, first_delay: first, factor, max_delay: first + Duration::from_millis(longer.into()),
                ..Retry::default()
            };
            prop_assert_eq!(delay(&retry, 2, 0.0), first);
            prop_assert!(delay(&retry, attempt, 0.0) <= retry.max_delay);
            prop_assert!(delay(&retry, attempt, 0.0) <= delay(&retry, attempt + 1, 0.0));
        }

        #[test]
        fn any_input_stays_below_the_maximum(
            first in any::<Duration>(), factor in any::<f64>(), max_delay in any::<Duration>(), attempt in any::<u32>(),
        ) {
            let wait = delay(&Retry { attempts: 10, first_delay: first, factor, max_delay, ..Retry::default() }, attempt, 0.0);
            prop_assert!(wait <= max_delay);
        }

        #[test]
        fn no_clock_makes_a_head_wait_longer_than_the_maximum(
            now in any::<Duration>(), at in any::<i64>(), wall in any::<i64>(), max_delay in any::<Duration>(),
        ) {
            let due = due(now, Some(UnixMs(at)), UnixMs(wall), max_delay);
            prop_assert!(due >= now && due <= now.saturating_add(max_delay));
        }
    }

    #[test]
    fn a_stored_time_becomes_a_wait() {
        let (now, max) = (Duration::from_secs(100), Duration::from_secs(10));
        let wall = UnixMs(1_000_000);
        let cases = [
            ("no wait", None, 0),
            ("past", Some(999_000), 0),
            ("now", Some(1_000_000), 0),
            ("in 3 s", Some(1_003_000), 3),
            ("the clock was set back by an hour", Some(4_600_000), 10),
            ("the clock was set forward by an hour", Some(-2_600_000), 0),
            ("nonsense", Some(i64::MAX), 10),
        ];
        for (case, not_before, wait) in cases {
            assert_eq!(
                due(now, not_before.map(UnixMs), wall, max),
                now + Duration::from_secs(wait),
                "{case}"
            );
        }
    }
}
