//! Names and numbers of things, each its own type so that none can stand in for another.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Why a name was refused: what it names, and the alphabet it must keep to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be {rule}")]
pub struct InvalidName {
    what: &'static str,
    rule: &'static str,
}

/// Defines a checked, cheaply cloned name.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The rule in words, for messages.
            pub const RULE: &'static str = $rule;

            /// The name as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName { what: $what, rule: Self::RULE })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;
            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> String {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(out, "{:?}", &*self.0)
            }
        }
    };
}

/// `[A-Za-z0-9][A-Za-z0-9._-]{0,63}`: safe as one path segment, never `.` or `..`.
fn is_resource_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 64
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// No `.`: the Standard Webhooks signature joins id, timestamp and body with dots.
fn is_event_id(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

name!(
    /// The tenant's name, as the application knows it.
    OrgId, "org", "1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit", is_resource_name
);
name!(
    /// A webhook's name, unique within its org.
    WebhookId, "webhook", "1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit", is_resource_name
);
name!(
    /// A client's name, unique within its org.
    ClientId, "client", "1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit", is_resource_name
);
name!(
    /// A source's name, unique within its org.
    SourceId, "source", "1 to 64 characters of A-Z a-z 0-9 . _ -, the first a letter or digit", is_resource_name
);
name!(
    /// An event's id: goes out as `webhook-id`, the same on every attempt and redrive.
    EventId, "id", "1 to 128 characters of A-Z a-z 0-9 _ -", is_event_id
);

impl EventId {
    /// The id of the event that a change of this id fires as its `number`th, counted from 1. Where it would be too long
    /// it is made of the id's SHA-256.
    #[must_use]
    pub fn of_change(change: &EventId, number: usize) -> EventId {
        let text = format!("{change}_{number}");
        if is_event_id(&text) {
            return EventId(text.into());
        }
        let digest = Sha256::digest(change.as_str());
        let short = digest.iter().take(16).fold(0, |short: u128, byte| short << 8 | u128::from(*byte));
        EventId(format!("chg_{short:032x}_{number}").into())
    }
}

/// An org's number in the store: given once, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrgNumber(pub u32);

/// A delivery's number within its org: grows by one per delivery, never goes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The sequence of an org's first delivery.
    pub const FIRST: Sequence = Sequence(1);

    /// The one after this.
    #[must_use]
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_to_their_alphabet() {
        for good in ["a", "A1", "acme", "acme.co_x-1", &"a".repeat(64)] {
            assert!(good.parse::<OrgId>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-a", "_a", "a/b", "a b", "ä", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<OrgId>().is_err(), "{bad}");
        }
        for good in ["a", "_", "evt_1-2", &"x".repeat(128)] {
            assert!(good.parse::<EventId>().is_ok(), "{good}");
        }
        for bad in ["", "a.b", "a b", "a/b", &"x".repeat(129)] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn events_of_a_change_have_its_id_or_a_hash_of_it() {
        let change = |length: usize| "c".repeat(length).parse::<EventId>().unwrap();
        assert_eq!(EventId::of_change(&change(3), 12).as_str(), "ccc_12");
        assert_eq!(EventId::of_change(&change(126), 2).as_str(), format!("{}_2", "c".repeat(126)));
        // The SHA-256 of 128 times c begins with these 16 bytes.
        let long = EventId::of_change(&change(128), 2);
        assert_eq!(long.as_str(), "chg_e5dc28d67309c1f3b41b160e5e06c788_2");
        assert!(long.as_str().parse::<EventId>().is_ok());
        assert_ne!(EventId::of_change(&change(127), 2), long);
    }

    #[test]
    fn a_refused_name_says_the_rule() {
        let error = "a.b".parse::<EventId>().unwrap_err();
        assert_eq!(error.to_string(), "id must be 1 to 128 characters of A-Z a-z 0-9 _ -");
    }
}
