//! JSON Pointers (RFC 6901), followed through text: what is found is the very text that stands there, so that a number
//! keeps its spelling, and nothing is built of what is passed by. PURE.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A place in a JSON text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// Unescaped.
    tokens: Box<[Box<str>]>,
}

impl FromStr for Pointer {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Pointer, &'static str> {
        const RULE: &str = "a JSON Pointer must begin with /, and have ~ only as ~0 or ~1";
        let mut tokens = text.split('/');
        if tokens.next() != Some("") || text.is_empty() {
            return Err(RULE);
        }
        let unescaped = |token: &str| {
            let stray = token.split('~').skip(1).any(|after| !after.starts_with(['0', '1']));
            if stray { Err(RULE) } else { Ok(token.replace("~1", "/").replace("~0", "~").into_boxed_str()) }
        };
        tokens.map(unescaped).collect::<Result<_, _>>().map(|tokens| Pointer { tokens })
    }
}

impl Pointer {
    /// The text of the value in this place, if there is one. Of members with the same name the last one counts, as in
    /// common parsers.
    #[must_use]
    pub fn find<'a>(&self, json: &'a [u8]) -> Option<&'a RawValue> {
        let mut text = std::str::from_utf8(json).ok()?;
        let mut found = None;
        for token in &self.tokens {
            let inside = Inside { token };
            let value = inside.deserialize(&mut serde_json::Deserializer::from_str(text)).ok()??;
            text = value.get();
            found = Some(value);
        }
        found
    }
}

/// What an object or array has by a name or index.
struct Inside<'t> {
    token: &'t str,
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsName(self.token))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let is_index = self.token == "0" || !self.token.starts_with(['0', '+']);
        let index: Option<usize> = self.token.parse().ok().filter(|_| is_index);
        let Some(index) = index else { return Err(A::Error::custom("no index")) };
        let (mut found, mut at) = (None, 0_usize);
        loop {
            if at == index {
                found = items.next_element()?;
                if found.is_none() {
                    return Ok(None);
                }
            } else if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
            at += 1;
        }
    }
}

/// Whether a member's name is this one. Compared as bytes: a name with half a surrogate pair is another name, not an error.
struct IsName<'t>(&'t str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }

    fn visit_bytes<E>(self, name: &[u8]) -> Result<bool, E> {
        Ok(name == self.0.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(pointer: &str, json: &'a str) -> Option<&'a str> {
        pointer.parse::<Pointer>().unwrap().find(json.as_bytes()).map(RawValue::get)
    }

    #[test]
    fn the_text_is_found_as_it_stands() {
        let json = r#" {"a":{"b":[10, 1.50e+3 ,{"c":"\u00e4"}]},"":{"":1},"x/y":2,"x~y":3,"n":null,"o":{ "p" : [] }} "#;
        for (pointer, found) in [
            ("/a/b/0", Some("10")),
            ("/a/b/1", Some("1.50e+3")),
            ("/a/b/2/c", Some(r#""\u00e4""#)),
            ("//", Some("1")),
            ("/x~1y", Some("2")),
            ("/x~0y", Some("3")),
            ("/n", Some("null")),
            ("/o", Some(r#"{ "p" : [] }"#)),
            ("/a/b/3", None),
            ("/a/b/00", None),
            ("/a/b/+1", None),
            ("/a/b/-", None),
            ("/a/b/c", None),
            ("/n/x", None),
            ("/a/b/0/x", None),
            ("/A", None),
            ("/missing", None),
        ] {
            assert_eq!(find(pointer, json), found, "{pointer}");
        }
        for json in ["1", "\"x\"", "null", "[]", "{", ""] {
            assert_eq!(find("/a", json), None, "{json}");
        }
    }

    #[test]
    fn names_are_compared_unescaped_and_the_last_of_a_name_counts() {
        assert_eq!(find("/a", r#"{"\u0061":1}"#), Some("1"));
        assert_eq!(find("/a", r#"{"a":1,"a":{"b":2}}"#), Some(r#"{"b":2}"#));
        assert_eq!(find("/a/b", r#"{"a":{"b":2},"a":1}"#), None);
        assert_eq!(find("/a", r#"{"\ud800":[1],"a":"\ud800"}"#), Some(r#""\ud800""#));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for bad in ["", "a", "a/b", "/~", "/~2", "/a~"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}
