//! Attributes that a type offers to a webhook's `match`: where their values stand in a payload. PURE.

use serde_json::value::RawValue;

use super::Pointer;
use super::pointer::{Inside, Token};

/// Where the values of an attribute are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// A JSON Pointer in which a `*` stands for every member or element.
    pub path: Pointer,
    /// Whether the last `*` is part of the attribute's name: `tag` means `tag.team`, `tag.colour` and so on.
    pub keyed: bool,
}

impl Attribute {
    /// Whether one of the attribute's values in this payload is one that is looked for. `member` is the rest of the name
    /// of a keyed one. Text is compared unescaped, numbers and booleans as they are written; nothing else is a value.
    #[must_use]
    pub fn any(&self, payload: &[u8], member: Option<&str>, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
        let Ok(text) = std::str::from_utf8(payload) else { return false };
        let last = self.path.tokens().iter().rposition(|token| *token == Token::Every);
        let tokens: Vec<Token> = self
            .path
            .tokens()
            .iter()
            .enumerate()
            .map(|(index, token)| match member {
                Some(member) if Some(index) == last => Token::Name(member.into()),
                _ => token.clone(),
            })
            .collect();
        any_below(text, &tokens, wanted)
    }
}

fn any_below(text: &str, tokens: &[Token], wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    let Some((first, rest)) = tokens.split_first() else { return is_wanted(text, wanted) };
    let below = Inside::of(first, text);
    below.into_iter().any(|value: &RawValue| any_below(value.get(), rest, wanted))
}

fn is_wanted(text: &str, wanted: &mut dyn FnMut(&str) -> bool) -> bool {
    match text.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(text).is_ok_and(|text| wanted(&text)),
        Some(b'{' | b'[' | b'n') | None => false,
        Some(_) => wanted(text),
    }
}
