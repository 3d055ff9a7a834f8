//! From JSON text to values, in one pass that keeps where each object and array stands. PURE.

use bytes::Bytes;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, CelUInt};

use super::meter::{Meter, Spent};
use super::value::{Json, Member, Node};

/// How deep arrays and objects may be nested.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a text is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    Syntax,
    TooDeep,
    NumberRange,
    HalfSurrogate,
    Spent,
}

impl Flaw {
    /// What is wrong, and what would be right.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Flaw::Syntax => "it must be JSON",
            Flaw::TooDeep => "arrays and objects must be nested at most 128 deep",
            Flaw::NumberRange => "a number in it is beyond the range of a double",
            Flaw::HalfSurrogate => {
                "a text in it has half of a surrogate pair (\\ud800 to \\udfff must come in pairs)"
            }
            Flaw::Spent => "over the budget",
        }
    }
}

impl From<Spent> for Flaw {
    fn from(_: Spent) -> Flaw {
        Flaw::Spent
    }
}

/// Reads one value. Each value costs a step.
pub(super) fn read(text: &Bytes, meter: &Meter) -> Result<Json, Flaw> {
    let json = std::str::from_utf8(text).map_err(|_| Flaw::Syntax)?;
    let mut reader = Reader { json, text, at: 0, meter };
    reader.skip_space();
    let value = reader.value(0)?;
    reader.skip_space();
    if reader.at == json.len() { Ok(value) } else { Err(Flaw::Syntax) }
}

/// An object's text with the last member of a name given another value, or with that member added after the others.
/// None if the text is no object.
pub(super) fn replace_member(text: &Bytes, name: &str, value: &[u8]) -> Option<Vec<u8>> {
    let json = std::str::from_utf8(text).ok()?;
    let meter = Meter::new(u64::MAX);
    let mut reader = Reader { json, text, at: 0, meter: &meter };
    let mut found = None;
    let mut end_of_last = None;
    if !reader.take(b'{') {
        return None;
    }
    reader.skip_space();
    while !reader.take(b'}') {
        let is_it = &*reader.string().ok()? == name;
        reader.skip_space();
        if !reader.take(b':') {
            return None;
        }
        reader.skip_space();
        let start = reader.at;
        reader.value(0).ok()?;
        end_of_last = Some(reader.at);
        if is_it {
            found = Some(start..reader.at);
        }
        reader.skip_space();
        reader.take(b',');
        reader.skip_space();
    }
    let (range, with) = match (found, end_of_last) {
        (Some(range), _) => (range, value.to_vec()),
        (None, end) => {
            let mut with = if end.is_some() { b",".to_vec() } else { Vec::new() };
            with.extend(serde_json::to_vec(name).ok()?);
            with.push(b':');
            with.extend_from_slice(value);
            let at = end.unwrap_or(1);
            (at..at, with)
        }
    };
    let mut bytes = text.get(..range.start)?.to_vec();
    bytes.extend(with);
    bytes.extend_from_slice(text.get(range.end..)?);
    Some(bytes)
}

struct Reader<'a> {
    json: &'a str,
    text: &'a Bytes,
    at: usize,
    meter: &'a Meter,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> bool {
        let is_it = self.peek() == Some(byte);
        self.at += usize::from(is_it);
        is_it
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Flaw> {
        let found = self.json.get(self.at..).is_some_and(|rest| rest.starts_with(word));
        self.at += word.len();
        if found { Ok(value) } else { Err(Flaw::Syntax) }
    }

    fn value(&mut self, depth: usize) -> Result<Json, Flaw> {
        self.meter.charge(1)?;
        match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => Err(Flaw::TooDeep),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Json::Text),
            Some(b't') => self.word("true", Json::Bool(CelBool::from(true))),
            Some(b'f') => self.word("false", Json::Bool(CelBool::from(false))),
            Some(b'n') => self.word("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(Flaw::Syntax),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Flaw> {
        let start = self.at;
        let mut members = Vec::new();
        self.at += 1;
        self.skip_space();
        if !self.take(b'}') {
            loop {
                let name = self.string()?;
                self.skip_space();
                if !self.take(b':') {
                    return Err(Flaw::Syntax);
                }
                self.skip_space();
                let value = self.value(depth)?;
                members.push(Member { name, value });
                self.skip_space();
                if self.take(b'}') {
                    break;
                }
                if !self.take(b',') {
                    return Err(Flaw::Syntax);
                }
                self.skip_space();
            }
        }
        Ok(Json::Node(Node::object(members, Some(self.text.slice(start..self.at)))))
    }

    fn array(&mut self, depth: usize) -> Result<Json, Flaw> {
        let start = self.at;
        let mut items = Vec::new();
        self.at += 1;
        self.skip_space();
        if !self.take(b']') {
            loop {
                items.push(self.value(depth)?);
                self.skip_space();
                if self.take(b']') {
                    break;
                }
                if !self.take(b',') {
                    return Err(Flaw::Syntax);
                }
                self.skip_space();
            }
        }
        Ok(Json::Node(Node::list(items, Some(self.text.slice(start..self.at)))))
    }

    fn string(&mut self) -> Result<CelString<'static>, Flaw> {
        let start = self.at;
        if !self.take(b'"') {
            return Err(Flaw::Syntax);
        }
        let mut escaped = false;
        loop {
            match self.peek() {
                None | Some(0..=0x1f) => return Err(Flaw::Syntax),
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    self.at += 2;
                }
                Some(_) => self.at += 1,
            }
        }
        self.at += 1;
        let quoted = self.json.get(start..self.at).ok_or(Flaw::Syntax)?;
        if !escaped {
            let inner = quoted.get(1..quoted.len() - 1).ok_or(Flaw::Syntax)?;
            return Ok(CelString::from(inner.to_owned()));
        }
        serde_json::from_str::<String>(quoted).map(CelString::from).map_err(|_| flaw_of(quoted))
    }

    fn number(&mut self) -> Result<Json, Flaw> {
        let start = self.at;
        self.take(b'-');
        let whole = self.digits();
        let zero_first = self.json.get(self.at - whole..).is_some_and(|rest| rest.starts_with('0'));
        if whole == 0 || (zero_first && whole > 1) {
            return Err(Flaw::Syntax);
        }
        let mut is_whole = true;
        if self.take(b'.') {
            is_whole = false;
            if self.digits() == 0 {
                return Err(Flaw::Syntax);
            }
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            is_whole = false;
            self.at += 1;
            if !self.take(b'+') {
                self.take(b'-');
            }
            if self.digits() == 0 {
                return Err(Flaw::Syntax);
            }
        }
        let digits = self.json.get(start..self.at).ok_or(Flaw::Syntax)?;
        if is_whole {
            if let Ok(int) = digits.parse::<i64>() {
                return Ok(Json::Int(CelInt::from(int)));
            }
            if let Ok(uint) = digits.parse::<u64>() {
                return Ok(Json::UInt(CelUInt::from(uint)));
            }
        }
        let double: f64 = digits.parse().map_err(|_| Flaw::Syntax)?;
        if double.is_finite() { Ok(Json::Double(CelDouble::from(double))) } else { Err(Flaw::NumberRange) }
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at - start
    }
}

/// What a text with escapes is refused for. Read as bytes, halves of surrogate pairs are no errors: if that works, they
/// were.
fn flaw_of(quoted: &str) -> Flaw {
    struct AnyText;
    impl serde::de::Visitor<'_> for AnyText {
        type Value = ();
        fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str("a text")
        }
        fn visit_bytes<E>(self, _: &[u8]) -> Result<(), E> {
            Ok(())
        }
        fn visit_str<E>(self, _: &str) -> Result<(), E> {
            Ok(())
        }
    }
    let read =
        serde::Deserializer::deserialize_bytes(&mut serde_json::Deserializer::from_str(quoted), AnyText);
    if read.is_ok() { Flaw::HalfSurrogate } else { Flaw::Syntax }
}
