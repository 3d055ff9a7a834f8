//! When a request was signed, and whether that is long ago. PURE.

use super::NotVerified;
use crate::model::UnixMs;

/// How far the time of signing may lie from ours, before or after it, in seconds.
const WINDOW_S: i64 = 300;
/// More digits than any second of the next thirty thousand years has.
const SECONDS_DIGITS_MAX: usize = 12;
/// Milliseconds have this many digits from 2001 to 2286.
const MILLISECONDS_DIGITS: usize = 13;

/// Reads seconds since 1970.
pub(super) fn seconds(place: &str, text: &str) -> Result<i64, NotVerified> {
    digits(text)
        .filter(|_| text.len() <= SECONDS_DIGITS_MAX)
        .ok_or_else(|| NotVerified::Malformed(format!("{place} must be seconds since 1970, in digits")))
}

/// Reads seconds since 1970, or milliseconds, as the number of digits says.
pub(super) fn seconds_or_milliseconds(place: &str, text: &str) -> Result<i64, NotVerified> {
    match digits(text) {
        Some(at) if text.len() <= SECONDS_DIGITS_MAX => Ok(at),
        Some(at) if text.len() == MILLISECONDS_DIGITS => Ok(at / 1000),
        _ => Err(NotVerified::Malformed(format!(
            "{place} must be seconds since 1970, or milliseconds (13 digits), in digits"
        ))),
    }
}

/// Not what `parse` alone takes: `+5` is no time.
fn digits(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Whether a time of signing is within five minutes of now.
pub(super) fn near(place: &str, at: i64, now: UnixMs) -> Result<(), NotVerified> {
    let age = now.seconds().saturating_sub(at);
    if age > WINDOW_S {
        return Err(NotVerified::Stale(format!(
            "{place} is {age} s old: at most {WINDOW_S} s is right, so this is a replay or a clock is wrong"
        )));
    }
    not_ahead(place, at, now)
}

/// Whether a time is at most five minutes after now.
pub(super) fn not_ahead(place: &str, at: i64, now: UnixMs) -> Result<(), NotVerified> {
    let ahead = at.saturating_sub(now.seconds());
    if ahead > WINDOW_S {
        return Err(NotVerified::Ahead(format!(
            "{place} is {ahead} s ahead: at most {WINDOW_S} s is right, so a clock is wrong"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_plain_digits() {
        assert_eq!(seconds("t", "1714640000"), Ok(1_714_640_000));
        for wrong in ["", "+1714640000", "-1", " 1714640000", "1714640000.0", "1e9", "1714640000000", "١"] {
            assert_eq!(seconds("t", wrong).unwrap_err().code(), "signature-malformed", "{wrong}");
        }
        assert_eq!(seconds_or_milliseconds("t", "1714640000"), Ok(1_714_640_000));
        assert_eq!(seconds_or_milliseconds("t", "1714640000999"), Ok(1_714_640_000));
        for wrong in ["", "17146400009990", "99999999999999999999", "1714640000,99"] {
            assert!(seconds_or_milliseconds("t", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn five_minutes_are_near_and_a_second_more_is_not() {
        let now = UnixMs(1_714_640_000_999);
        for at in [1_714_640_300, 1_714_639_700] {
            assert_eq!(near("t", at, now), Ok(()));
        }
        assert_eq!(near("t", 1_714_639_699, now).unwrap_err().code(), "timestamp-stale");
        assert_eq!(near("t", 1_714_640_301, now).unwrap_err().code(), "timestamp-ahead");
        // No arithmetic overflows, whatever the clock says.
        assert!(near("t", 0, UnixMs(i64::MAX)).is_err() && near("t", i64::MAX, UnixMs(i64::MIN)).is_err());
    }
}
