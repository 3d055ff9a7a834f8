//! What the application hands in.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::EventId;

/// An event's type: dot-separated words, for example `CalendarEventChanged` or `timetime.booking.changed`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventType(Arc<str>);

impl EventType {
    /// The rule in words, for messages.
    pub const RULE: &'static str = "1 to 128 characters of A-Z a-z 0-9 _ - in words separated by single dots";

    /// The type as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_word(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

impl FromStr for EventType {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() <= 128 && text.split('.').all(is_word) {
            Ok(Self(text.into()))
        } else {
            Err(format!("type must be {}", Self::RULE))
        }
    }
}

impl TryFrom<String> for EventType {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EventType> for String {
    fn from(event_type: EventType) -> String {
        event_type.0.as_ref().to_owned()
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", &*self.0)
    }
}

/// Which types a webhook listens to: a type, with `*` for one whole word, or `*` alone for every type.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EventPattern(Box<str>);

impl EventPattern {
    /// Matches every type.
    #[must_use]
    pub fn any() -> EventPattern {
        EventPattern("*".into())
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `event_type` is one of those meant.
    #[must_use]
    pub fn matches(&self, event_type: &EventType) -> bool {
        if &*self.0 == "*" {
            return true;
        }
        let mut words = event_type.as_str().split('.');
        let mut wanted = self.0.split('.');
        loop {
            match (wanted.next(), words.next()) {
                (None, None) => return true,
                (Some(want), Some(word)) if want == "*" || want == word => {}
                _ => return false,
            }
        }
    }
}

impl FromStr for EventPattern {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() <= 128 && text.split('.').all(|word| word == "*" || is_word(word)) {
            Ok(Self(text.into()))
        } else {
            Err("an entry of events must be an event type, where * may stand for one whole word, or * alone"
                .to_owned())
        }
    }
}

impl TryFrom<String> for EventPattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<EventPattern> for String {
    fn from(pattern: EventPattern) -> String {
        pattern.0.into()
    }
}

impl fmt::Debug for EventPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", &*self.0)
    }
}

/// One event as accepted. The payload is kept byte for byte.
#[derive(Clone)]
pub struct Event {
    /// The producer's id, or one made for it.
    pub id: EventId,
    /// Whether the producer chose the id: only then can it come again, and is worth remembering.
    pub id_given: bool,
    /// Its type.
    pub event_type: EventType,
    /// The JSON text exactly as it came in.
    pub payload: Bytes,
    /// Extra values beside the payload, at most 32.
    pub attributes: BTreeMap<String, String>,
}

impl fmt::Debug for Event {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Payload and attributes are the customer's data and stay out of every log.
        out.debug_struct("Event")
            .field("id", &self.id)
            .field("type", &self.event_type)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(pattern: &str, event_type: &str, expected: bool) {
        let matched = pattern.parse::<EventPattern>().unwrap().matches(&event_type.parse().unwrap());
        assert_eq!(matched, expected, "{pattern} against {event_type}");
    }

    #[test]
    fn a_star_is_one_whole_word_or_everything() {
        check("*", "a", true);
        check("*", "a.b.c", true);
        check("a.*", "a.b", true);
        check("a.*", "a", false);
        check("a.*", "a.b.c", false);
        check("*.b", "a.b", true);
        check("a.b", "a.b", true);
        check("a.b", "a.bc", false);
        check("A", "a", false);
    }

    #[test]
    fn types_and_patterns_keep_to_their_alphabet() {
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a*", "ä", &"a".repeat(129)] {
            assert!(bad.parse::<EventType>().is_err(), "{bad}");
            assert!(bad.parse::<EventPattern>().is_err(), "{bad}");
        }
        assert!("*".parse::<EventType>().is_err());
    }
}
