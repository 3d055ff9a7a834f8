//! JSON Pointers (RFC 6901), followed through text: what is found is the very text that stands there, so that a number
//! keeps its spelling, and nothing is built of what is passed by. PURE.

use std::fmt;
use std::str::FromStr;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A place in a JSON text, or several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    tokens: Box<[Token]>,
}

/// One step down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// To the member of this name, unescaped, or to the element of this index.
    Name(Box<str>),
    /// To each member or element.
    Every,
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
            if stray {
                return Err(RULE);
            }
            Ok(Token::Name(token.replace("~1", "/").replace("~0", "~").into_boxed_str()))
        };
        tokens.map(unescaped).collect::<Result<_, _>>().map(|tokens| Pointer { tokens })
    }
}

/// As it is written in a catalogue.
impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            match token {
                Token::Name(name) => write!(out, "/{}", name.replace('~', "~0").replace('/', "~1"))?,
                Token::Every => out.write_str("/*")?,
            }
        }
        Ok(())
    }
}

impl Pointer {
    /// A pointer in which `*` stands for every member or element.
    ///
    /// # Errors
    /// What a pointer must be.
    pub fn with_wildcards(text: &str) -> Result<Pointer, &'static str> {
        let Pointer { mut tokens } = text.parse()?;
        for token in &mut tokens {
            if matches!(token, Token::Name(name) if &**name == "*") {
                *token = Token::Every;
            }
        }
        Ok(Pointer { tokens })
    }

    /// Whether it means several places.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.tokens.contains(&Token::Every)
    }

    pub(super) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// The text of the value in this place, if there is one. Of members with the same name the last one counts, as in
    /// common parsers.
    #[must_use]
    pub fn find<'a>(&self, json: &'a [u8]) -> Option<&'a RawValue> {
        let mut text = std::str::from_utf8(json).ok()?;
        let mut found = None;
        for token in &self.tokens {
            let value = Inside::of(token, text).pop()?;
            text = value.get();
            found = Some(value);
        }
        found
    }
}

/// What an object or array has one step down.
pub(super) struct Inside<'t> {
    token: &'t Token,
}

impl Inside<'_> {
    /// The values there: at most one by name or index, any number for [`Token::Every`], none in what is no object or array.
    pub(super) fn of<'a>(token: &Token, text: &'a str) -> Vec<&'a RawValue> {
        let inside = Inside { token };
        inside.deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap_or_default()
    }
}

impl<'de> DeserializeSeed<'de> for Inside<'_> {
    type Value = Vec<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Inside<'_> {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        match self.token {
            Token::Name(name) => {
                while let Some(is_it) = map.next_key_seed(IsName(name))? {
                    if is_it {
                        found.clear();
                        found.push(map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Token::Every => {
                while map.next_key_seed(IsName(""))?.is_some() {
                    found.push(map.next_value()?);
                }
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        let Token::Name(name) = self.token else {
            while let Some(item) = items.next_element()? {
                found.push(item);
            }
            return Ok(found);
        };
        let is_index = &**name == "0" || !name.starts_with(['0', '+']);
        let index: Option<usize> = name.parse().ok().filter(|_| is_index);
        let Some(index) = index else { return Err(A::Error::custom("no index")) };
        for _ in 0..index {
            if items.next_element::<IgnoredAny>()?.is_none() {
                return Ok(found);
            }
        }
        found.extend(items.next_element::<&RawValue>()?);
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
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
    fn a_wildcard_is_every_member_or_element() {
        let every = |pointer: &str, json: &'static str| -> Vec<&str> {
            let pointer = Pointer::with_wildcards(pointer).unwrap();
            let mut texts = vec![json];
            for token in pointer.tokens() {
                texts =
                    texts.into_iter().flat_map(|text| Inside::of(token, text)).map(RawValue::get).collect();
            }
            texts
        };
        let json = r#"{"a":[{"s":1},{"s":"x"},{"t":2},3],"tags":{"x":"1","y":"2"},"*":7}"#;
        assert_eq!(every("/a/*/s", json), ["1", "\"x\""]);
        assert_eq!(every("/tags/*", json), ["\"1\"", "\"2\""]);
        assert_eq!(every("/a/*/*", json), ["1", "\"x\"", "2"]);
        assert_eq!(every("/a/0/s/*", json), [""; 0]);
        assert_eq!(find("/*", json), Some("7"));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        for bad in ["", "a", "a/b", "/~", "/~2", "/a~"] {
            assert!(bad.parse::<Pointer>().is_err(), "{bad}");
        }
    }
}
