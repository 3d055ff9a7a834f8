//! Reads JSON objects member by member. PURE.
//!
//! Not serde's derive, because every refusal has to name the field by JSON Pointer, tell broken JSON (400) from a wrong
//! value (422), suggest the nearest known name, and because a payload must come out as the very bytes that came in.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::config::nearest::nearest;
use crate::model::parse_duration;
use crate::serving::problem::{Kind, Problem};

/// Objects and arrays inside each other, the body's own object included. What common parsers of receivers accept.
const DEPTH_MAX: usize = 128;

/// The members of one JSON object, each still as text.
pub(in crate::api) struct Members<'a> {
    /// JSON Pointer of the object itself; empty for the body.
    at: Cow<'static, str>,
    known: &'static [&'static str],
    /// In the order of `known`.
    values: Vec<Option<&'a RawValue>>,
}

impl<'a> Members<'a> {
    /// Reads a body or a line: one object whose members are all among `known`.
    pub(in crate::api) fn parse(
        text: &'a [u8],
        known: &'static [&'static str],
    ) -> Result<Members<'a>, Problem> {
        if text.starts_with(b"\xEF\xBB\xBF") {
            return Err(malformed("the text starts with a byte order mark; send UTF-8 without one"));
        }
        check_depth(text)?;
        let first = text.iter().find(|byte| !byte.is_ascii_whitespace());
        if first.is_some_and(|byte| *byte != b'{') {
            serde_json::from_slice::<IgnoredAny>(text).map_err(|error| malformed(error.to_string()))?;
            return Err(Problem::invalid("", "must be a JSON object"));
        }
        let mut read = serde_json::Deserializer::from_slice(text);
        let mut unknown = None;
        let values = Object { known, unknown: &mut unknown }
            .deserialize(&mut read)
            .and_then(|values| read.end().map(|()| values))
            .map_err(|error| malformed(error.to_string()))?;
        Members { at: Cow::Borrowed(""), known, values }.without(unknown)
    }

    fn without(self, unknown: Option<String>) -> Result<Members<'a>, Problem> {
        let Some(name) = unknown else { return Ok(self) };
        Err(unknown_field(&self.at, &name, self.known))
    }

    /// The member's text, `null` included; the very bytes that came in.
    pub(in crate::api) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        let index = self.known.iter().position(|known| *known == name)?;
        self.values.get(index).copied().flatten()
    }

    /// The member's text; `null` counts as not given.
    fn given(&self, name: &str) -> Option<&'a str> {
        self.raw(name).map(RawValue::get).filter(|text| *text != "null")
    }

    /// JSON Pointer of a member.
    pub(in crate::api) fn pointer(&self, name: &str) -> String {
        format!("{}/{name}", self.at)
    }

    /// A refusal of this member's value.
    pub(in crate::api) fn invalid(&self, name: &str, detail: impl fmt::Display) -> Problem {
        Problem::invalid(self.pointer(name), format!("{name}: {detail}"))
    }

    /// A refusal of a member that is not there.
    pub(in crate::api) fn missing(&self, name: &str, what: &str) -> Problem {
        self.invalid(name, format_args!("is missing; give {what}"))
    }

    /// A member that is text.
    pub(in crate::api) fn text(&self, name: &str) -> Result<Option<Cow<'a, str>>, Problem> {
        let Some(text) = self.given(name) else { return Ok(None) };
        string(text).map(Some).map_err(|error| self.wrong(name, &error, "must be a string"))
    }

    /// A member that is text with a rule of its own.
    pub(in crate::api) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T::Err: fmt::Display,
    {
        let Some(text) = self.text(name)? else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(rule) => Err(Problem::invalid(self.pointer(name), format!("{rule}"))),
        }
    }

    /// A member that is read as `T`; `what` says what it must be.
    pub(in crate::api) fn value<T: Deserialize<'a>>(
        &self,
        name: &str,
        what: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.given(name) else { return Ok(None) };
        serde_json::from_str(text)
            .map(Some)
            .map_err(|error| self.wrong(name, &error, &format!("must be {what}")))
    }

    /// A member that is an object of its own.
    pub(in crate::api) fn object(
        &self,
        name: &str,
        known: &'static [&'static str],
    ) -> Result<Option<Members<'a>>, Problem> {
        let Some(text) = self.given(name) else { return Ok(None) };
        if !text.starts_with('{') {
            return Err(self.invalid(name, "must be an object"));
        }
        let mut unknown = None;
        let values = Object { known, unknown: &mut unknown }
            .deserialize(&mut serde_json::Deserializer::from_str(text))
            .map_err(|error| malformed(format!("{name}: {error}")))?;
        Members { at: self.pointer(name).into(), known, values }.without(unknown).map(Some)
    }

    /// A member that is text which means one of a few things; the rule is named after the member.
    pub(in crate::api) fn ruled<T: std::str::FromStr<Err = String>>(
        &self,
        name: &str,
    ) -> Result<Option<T>, Problem> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        text.parse().map(Some).map_err(|rule| self.invalid(name, rule))
    }

    /// A member that is a duration.
    pub(in crate::api) fn duration(&self, name: &str) -> Result<Option<Duration>, Problem> {
        let what = "a duration as text, for example \"200ms\", \"10s\" or \"1h\"";
        let text: Option<String> = self.value(name, what)?;
        text.map(|text| parse_duration(&text).map_err(|rule| self.invalid(name, rule))).transpose()
    }

    /// A member that is an object of any names, each with its value's text.
    pub(in crate::api) fn pairs(&self, name: &str) -> Result<Vec<(Cow<'a, str>, &'a RawValue)>, Problem> {
        let Some(text) = self.given(name) else { return Ok(Vec::new()) };
        if !text.starts_with('{') {
            return Err(self.invalid(name, "must be an object"));
        }
        let Pairs(pairs) =
            serde_json::from_str(text).map_err(|error| malformed(format!("{name}: {error}")))?;
        Ok(pairs)
    }

    /// A member that is an object of any names, each with text.
    pub(in crate::api) fn texts(&self, name: &str) -> Result<Vec<(String, String)>, Problem> {
        let pairs = self.pairs(name)?;
        let mut texts = Vec::with_capacity(pairs.len());
        for (key, value) in pairs {
            let pointer = || pointer_below(&self.pointer(name), &key);
            let value =
                string(value.get()).map_err(|_| Problem::invalid(pointer(), "a value must be a string"))?;
            texts.push((key.into_owned(), value.into_owned()));
        }
        Ok(texts)
    }

    /// Text that breaks JSON's own rules inside a value (a lone surrogate) is malformed; anything else is a wrong value.
    fn wrong(&self, name: &str, error: &serde_json::Error, rule: &str) -> Problem {
        match error.classify() {
            Category::Data => self.invalid(name, rule),
            Category::Syntax | Category::Eof | Category::Io => malformed(format!("{name}: {error}")),
        }
    }
}

/// Text without escapes is borrowed as it stands; it has been checked as part of the whole.
fn string(text: &str) -> Result<Cow<'_, str>, serde_json::Error> {
    match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(plain) if !plain.contains('\\') => Ok(Cow::Borrowed(plain)),
        _ => serde_json::from_str::<String>(text).map(Cow::Owned),
    }
}

fn malformed(detail: impl Into<String>) -> Problem {
    Problem::new(Kind::MalformedJson, detail)
}

/// A refusal of a name that is not known, with the nearest one that is.
pub(in crate::api) fn unknown_field(at: &str, name: &str, known: &[&str]) -> Problem {
    let shown = name.escape_debug();
    let detail = match nearest(name, known.iter().copied()) {
        Some(nearest) => format!("\"{shown}\" is not known here; did you mean \"{nearest}\"?"),
        None => format!("\"{shown}\" is not known here; known are {}", known.join(", ")),
    };
    let field = pointer_below(at, name);
    Problem { field: Some(field), ..Problem::new(Kind::UnknownField, detail) }
}

/// JSON Pointer of a name below another pointer.
pub(in crate::api) fn pointer_below(at: &str, name: &str) -> String {
    format!("{at}/{}", escape_pointer(name))
}

/// RFC 6901: `~` and `/` inside a name.
fn escape_pointer(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// Refuses what is nested too deeply. Few texts have so many brackets at all, so most are settled by counting them.
fn check_depth(text: &[u8]) -> Result<(), Problem> {
    let opening = text.iter().filter(|byte| matches!(byte, b'{' | b'[')).count();
    if opening <= DEPTH_MAX {
        return Ok(());
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return Err(malformed(format!("nested deeper than {DEPTH_MAX} levels")));
        }
    }
    Ok(())
}

/// An object with known names. The first unknown name is kept for the refusal; a name given twice is an error.
struct Object<'k> {
    known: &'static [&'static str],
    unknown: &'k mut Option<String>,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = Vec<Option<&'de RawValue>>;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = Vec<Option<&'de RawValue>>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = vec![None; self.known.len()];
        while let Some(Name(name)) = map.next_key()? {
            let index = self.known.iter().position(|known| *known == name);
            match index.and_then(|index| values.get_mut(index)) {
                Some(Some(_)) => return Err(given_twice(&name)),
                Some(value) => *value = Some(map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                    self.unknown.get_or_insert_with(|| name.chars().take(64).collect());
                }
            }
        }
        Ok(values)
    }
}

fn given_twice<E: serde::de::Error>(name: &str) -> E {
    let name: String = name.chars().take(64).collect();
    E::custom(format_args!("\"{}\" is given twice", name.escape_debug()))
}

/// A member's name, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// An object with names of any kind, none twice.
struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Pairs<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::new();
                let mut names = std::collections::HashSet::new();
                while let Some(Name(name)) = map.next_key()? {
                    if !names.insert(name.clone()) {
                        return Err(given_twice(&name));
                    }
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["url", "events", "retry"];

    #[track_caller]
    fn refused(text: impl AsRef<[u8]>, kind: Kind, field: Option<&str>, says: &str) {
        let Err(problem) = Members::parse(text.as_ref(), KNOWN) else { panic!("accepted") };
        assert_eq!((problem.kind, problem.field.as_deref()), (kind, field), "{}", problem.detail);
        assert!(problem.detail.contains(says), "{}", problem.detail);
    }

    #[test]
    fn what_is_not_json_is_malformed_with_its_position() {
        for text in [
            "",
            "{",
            "nonsense",
            r#"{"url":}"#,
            r#"{"url":1}x"#,
            "{\"url\":\"\u{1}\"}",
            "\0",
            "[1,]",
            "{'url':1}",
        ] {
            refused(text, Kind::MalformedJson, None, "line 1 column");
        }
        refused(b"\xEF\xBB\xBF{}", Kind::MalformedJson, None, "byte order mark");
        refused(b"{\"url\":\"\xFF\"}", Kind::MalformedJson, None, "unicode");
        refused(b"{\"\xFF\":1}", Kind::MalformedJson, None, "unicode");
        refused(r#"{"url":1,"url":2}"#, Kind::MalformedJson, None, "\"url\" is given twice");
    }

    #[test]
    fn depth_is_bounded_and_brackets_in_strings_do_not_count() {
        let nested =
            |depth: usize| format!(r#"{{"url":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Members::parse(nested(DEPTH_MAX).as_bytes(), KNOWN).is_ok());
        refused(nested(DEPTH_MAX + 1), Kind::MalformedJson, None, "nested deeper");
        refused(nested(500_000), Kind::MalformedJson, None, "nested deeper");
        let text = format!(r#"{{"url":"\"{}"}}"#, "[{".repeat(500));
        assert!(Members::parse(text.as_bytes(), KNOWN).is_ok());
    }

    #[test]
    fn an_unknown_name_is_named_with_the_nearest_known_one() {
        refused(r#"{"evnts":[]}"#, Kind::UnknownField, Some("/evnts"), "did you mean \"events\"?");
        refused(r#"{"colour":1}"#, Kind::UnknownField, Some("/colour"), "known are url, events, retry");
        refused(r#"{"a/~b":1}"#, Kind::UnknownField, Some("/a~1~0b"), "not known");
        let members = Members::parse(br#"{"retry":{"atempts":1}}"#, KNOWN).unwrap();
        let problem = members.object("retry", &["attempts"]).err().unwrap();
        assert_eq!(problem.field.as_deref(), Some("/retry/atempts"));
    }

    #[test]
    fn an_array_is_not_an_object() {
        refused("[]", Kind::InvalidField, Some(""), "must be a JSON object");
        refused(" 1", Kind::InvalidField, Some(""), "must be a JSON object");
    }

    #[test]
    fn values_come_out_as_they_came_in() {
        let text = br#"{ "url" : { "b" :1e400, "a":"\u0041", "a": [ ] } , "retry":null}"#;
        let members = Members::parse(text, KNOWN).unwrap();
        assert_eq!(members.raw("url").unwrap().get(), r#"{ "b" :1e400, "a":"\u0041", "a": [ ] }"#);
        assert!(members.object("retry", &[]).unwrap().is_none());
        let members = Members::parse(br#"{"\u0075rl":"a\nb"}"#, KNOWN).unwrap();
        assert_eq!(members.text("url").unwrap().unwrap(), "a\nb");
    }

    #[test]
    fn a_lone_surrogate_is_malformed_and_a_number_is_a_wrong_value() {
        let members = Members::parse(br#"{"url":"\ud800","events":5}"#, KNOWN).unwrap();
        assert_eq!(members.text("url").unwrap_err().kind, Kind::MalformedJson);
        let problem = members.text("events").unwrap_err();
        assert_eq!((problem.kind, problem.field.as_deref()), (Kind::InvalidField, Some("/events")));
    }
}
