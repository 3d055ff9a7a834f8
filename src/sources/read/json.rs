//! A look into JSON text: whether it is JSON at all, and what stands at a few places. PURE.
//!
//! The bytes go on as they came, so nothing is built here. Where something is read no member may be given twice: whoever
//! reads the bytes next may take the other one.

use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::Unreadable;

/// The names of members that lead to a value.
pub(super) type Place = &'static [&'static str];

/// Far more members than any service sends in one object at the top, or on the way to what is read.
const MEMBERS_MAX: usize = 4096;

/// What stands at a place, if it is plain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Text(String),
    Number(String),
}

impl Found {
    pub(super) fn text(self) -> Option<String> {
        if let Found::Text(text) = self { Some(text) } else { None }
    }

    pub(super) fn text_or_number(self) -> String {
        match self {
            Found::Text(text) | Found::Number(text) => text,
        }
    }
}

/// Checks that `text` is JSON, nested less than 128 deep, and picks what stands at each of the places.
///
/// # Errors
/// What is wrong and where; no value.
pub(super) fn pick<const N: usize>(
    text: &[u8],
    places: [Place; N],
) -> Result<[Option<Found>; N], Unreadable> {
    let mut found = [const { None }; N];
    let ways = places.into_iter().enumerate().collect();
    let mut json = serde_json::Deserializer::from_slice(text);
    let looked = Look { ways, top: true, found: &mut found }.deserialize(&mut json).and_then(|()| json.end());
    match looked {
        Ok(()) => Ok(found),
        Err(error) => Err(Unreadable::Body(format!("the body is not JSON that can be read: {error}"))),
    }
}

/// A value, and which places are it or in it.
struct Look<'f> {
    /// The number of a place, and what is left of the way there.
    ways: Vec<(usize, Place)>,
    top: bool,
    found: &'f mut [Option<Found>],
}

impl Look<'_> {
    fn keep(&mut self, value: impl Fn() -> Found) {
        for (number, rest) in &self.ways {
            if let ([], Some(slot)) = (rest, self.found.get_mut(*number)) {
                *slot = Some(value());
            }
        }
    }

    /// The places within a member.
    fn within(&self, name: &str) -> Vec<(usize, Place)> {
        let into = |(number, rest): &(usize, Place)| match rest {
            [first, rest @ ..] if *first == name => Some((*number, rest)),
            _ => None,
        };
        self.ways.iter().filter_map(into).collect()
    }
}

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(mut self, number: i64) -> Result<(), E> {
        self.keep(|| Found::Number(number.to_string()));
        Ok(())
    }

    fn visit_u64<E>(mut self, number: u64) -> Result<(), E> {
        self.keep(|| Found::Number(number.to_string()));
        Ok(())
    }

    /// What is no whole number names nothing.
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(mut self, text: &str) -> Result<(), E> {
        self.keep(|| Found::Text(text.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        // Places are members of objects only.
        let Look { found, .. } = self;
        while items.next_element_seed(Look { ways: Vec::new(), top: false, found: &mut *found })?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        if !self.top && self.ways.is_empty() {
            let Look { found, .. } = self;
            while members.next_key::<IgnoredAny>()?.is_some() {
                members.next_value_seed(Look { ways: Vec::new(), top: false, found: &mut *found })?;
            }
            return Ok(());
        }
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            let ways = self.within(&name);
            if !names.insert(name) {
                return Err(A::Error::custom("a member is given twice"));
            }
            if names.len() > MEMBERS_MAX {
                return Err(A::Error::custom(format_args!(
                    "an object at the top must have at most {MEMBERS_MAX} members"
                )));
            }
            members.next_value_seed(Look { ways, top: false, found: &mut *self.found })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Found {
        Found::Text(text.to_owned())
    }

    #[test]
    fn what_stands_at_a_place_is_found() {
        let json = br#" {"a":"x","b":{"c":{"d":7},"a":"no"},"l":[{"a":"no"}],"n":-3,"f":1.5,"z":null,"u":"\u00e4"} "#;
        let found = pick(
            json,
            [&["a"], &["b", "c", "d"], &["n"], &["f"], &["z"], &["u"], &["l"], &["b"], &["a", "x"]],
        );
        let number = |number: &str| Some(Found::Number(number.to_owned()));
        let expected =
            [Some(text("x")), number("7"), number("-3"), None, None, Some(text("ä")), None, None, None];
        assert_eq!(found, Ok(expected));
        for plain in [&b"null"[..], b"[]", b"7", b"\"x\"", b"{}"] {
            assert_eq!(pick(plain, [&["a"]]), Ok([None]));
        }
    }

    #[test]
    fn a_member_is_given_once_wherever_something_is_read() {
        let places: [Place; 2] = [&["a"], &["b", "c"]];
        for twice in [
            r#"{"a":"x","a":"x"}"#,
            r#"{"x":1,"\u0078":2}"#,
            r#"{"b":{"c":1,"c":2}}"#,
            r#"{"b":{"x":1,"x":2}}"#,
        ] {
            let why = pick(twice.as_bytes(), places).unwrap_err().to_string();
            assert!(why.contains("a member is given twice at line 1"), "{why}");
        }
        // Elsewhere it is for others to care.
        assert!(pick(br#"{"c":{"a":1,"a":2},"b":{"d":{"c":1,"c":2}}}"#, places).is_ok());
    }

    #[test]
    fn what_is_no_json_is_refused_without_its_text() {
        let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(pick::<0>(deep(127).as_bytes(), []).is_ok());
        let members = format!("{}1{}", r#"{"hidden":"#.repeat(128), "}".repeat(128));
        let mut all = vec![deep(128).into_bytes(), deep(100_000).into_bytes(), members.into_bytes()];
        for wrong in
            ["", " ", "{", "hidden", r#"{"a":"hidden"} x"#, "{'hidden':1}", "[1,]", "1e999", r#""\ud800""#]
        {
            all.push(wrong.as_bytes().to_vec());
        }
        all.extend([b"\"hidden\xff\"".to_vec(), b"\xef\xbb\xbf{}".to_vec(), b"{\"a\":\"\xc3\"}".to_vec()]);
        for wrong in all {
            let why = pick(&wrong, [&["hidden"]]).unwrap_err().to_string();
            assert!(why.starts_with("the body is not JSON that can be read: "), "{why}");
            assert!(!why.contains("hidden"), "{why}");
        }
    }
}
