//! Durations as people write them: `"200ms"`, `"10s"`, `"1h"`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Units from the largest to the smallest, in milliseconds. `m` is minutes.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Parses a whole number and a unit (`ms`, `s`, `m`, `h`, `d`), or several such parts from large to small (`1m30s`).
///
/// # Errors
/// A sentence that says what a duration looks like.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let invalid = || {
        format!(
            "\"{}\" is not a duration; write for example \"200ms\", \"10s\" or \"1h\"",
            text.escape_debug()
        )
    };
    let mut total_ms: u64 = 0;
    let mut rest = text;
    let mut unit_below = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at_checked(digits).ok_or_else(invalid)?;
        let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
        let (unit, tail) = tail.split_at_checked(letters).ok_or_else(invalid)?;
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let &(_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        if unit_ms >= unit_below {
            return Err(invalid());
        }
        unit_below = unit_ms;
        total_ms = number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(invalid)?;
        rest = tail;
    }
    if text.is_empty() { Err(invalid()) } else { Ok(Duration::from_millis(total_ms)) }
}

/// Writes a duration with the largest unit that divides it; what [`parse_duration`] reads.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, unit_ms) =
        UNITS.into_iter().find(|(_, unit_ms)| ms >= *unit_ms && ms % unit_ms == 0).unwrap_or(("ms", 1));
    format!("{}{unit}", ms / unit_ms)
}

/// A [`Duration`] that is text in JSON and TOML.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&format_duration(self.0))
    }
}

impl fmt::Debug for HumanDuration {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for HumanDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for HumanDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(HumanDuration).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for (text, ms) in [
            ("0ms", 0),
            ("200ms", 200),
            ("1500ms", 1500),
            ("10s", 10_000),
            ("1m", 60_000),
            ("72h", 259_200_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
            assert_eq!(
                parse_duration(&format_duration(Duration::from_millis(ms))),
                Ok(Duration::from_millis(ms))
            );
        }
        assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn refuses_what_is_not_a_duration() {
        for text in
            ["", "10", "s", "1.5s", "-1s", "1x", "1s1s", "1s1m", "99999999999999999999s", "1 s", "９s", "\n"]
        {
            assert!(parse_duration(text).unwrap_err().contains("200ms"), "{text:?}");
        }
    }
}
