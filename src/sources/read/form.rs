//! A form (`application/x-www-form-urlencoded`) as a JSON object of its fields. PURE.

use std::borrow::Cow;
use std::collections::HashSet;

use bytes::Bytes;
use percent_encoding::percent_decode;
use serde::Serializer as _;

use super::Unreadable;

/// Far more fields than any service sends, and few enough to be looked at by everyone at once.
const FIELDS_MAX: usize = 1024;

/// The fields of a form, in their order.
pub(super) struct Form<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Form<'a> {
    /// # Errors
    /// A field that is given twice, bytes that are no text, no field at all, or too many. Or JSON, which somebody has called
    /// a form: the type of a body is signed by nobody.
    pub(super) fn read(body: &'a [u8]) -> Result<Form<'a>, Unreadable> {
        if matches!(body.first(), Some(b'{' | b'[')) {
            return Err(Unreadable::Body("the body is JSON: its content-type must say so".to_owned()));
        }
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        for segment in body.split(|byte| *byte == b'&').filter(|segment| !segment.is_empty()) {
            let mut halves = segment.splitn(2, |byte| *byte == b'=');
            let name = text(halves.next().unwrap_or_default())?;
            let value = text(halves.next().unwrap_or_default())?;
            if !names.insert(name.clone()) {
                return Err(Unreadable::Body(
                    "the form has a field twice: each must be given once".to_owned(),
                ));
            }
            if fields.len() == FIELDS_MAX {
                return Err(Unreadable::Body(format!("the form must have at most {FIELDS_MAX} fields")));
            }
            fields.push((name, value));
        }
        if fields.is_empty() {
            return Err(Unreadable::Body("the form is empty: it must have fields".to_owned()));
        }
        Ok(Form(fields))
    }

    /// The value of a field.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// The only field, by its name.
    pub(super) fn only(&self, name: &str) -> Option<&str> {
        match self.0.as_slice() {
            [(only, value)] if only == name => Some(value),
            _ => None,
        }
    }

    /// `{"field":"value",…}`.
    pub(super) fn json(&self) -> Result<Bytes, Unreadable> {
        let mut json = Vec::new();
        serde_json::Serializer::new(&mut json)
            .collect_map(self.0.iter().map(|(name, value)| (name, value)))
            .map_err(|_| Unreadable::Body("the form cannot be written as JSON".to_owned()))?;
        Ok(json.into())
    }
}

/// Bytes that are no UTF-8 are refused: replaced they would be another text than the one that was signed.
fn text(encoded: &[u8]) -> Result<Cow<'_, str>, Unreadable> {
    let refused = |_| Unreadable::Body("the form has a field that is not UTF-8".to_owned());
    if !encoded.contains(&b'+') {
        return percent_decode(encoded).decode_utf8().map_err(refused);
    }
    let spaced: Vec<u8> = encoded.iter().map(|byte| if *byte == b'+' { b' ' } else { *byte }).collect();
    percent_decode(&spaced).decode_utf8().map(|text| Cow::Owned(text.into_owned())).map_err(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_become_text() {
        let form = Form::read(b"b=1+2%2B3&a=%C3%A4%22&&empty=&bare&x=a=b").unwrap();
        let expected = r#"{"b":"1 2+3","a":"ä\"","empty":"","bare":"","x":"a=b"}"#;
        assert_eq!(form.json().unwrap(), expected);
        assert_eq!(form.field("x"), Some("a=b"));
        assert_eq!(form.field("y"), None);
        assert_eq!(form.only("b"), None);
        assert_eq!(Form::read(b"b=%7B%7D").unwrap().only("b"), Some("{}"));
    }

    #[test]
    fn a_form_that_can_be_read_in_two_ways_is_refused() {
        for (wrong, hint) in [
            (&b""[..], "empty"),
            (b"&&", "empty"),
            (b"a=1&a=1", "twice"),
            (b"a=1&%61=2", "twice"),
            (b"a=%FF", "UTF-8"),
            (b"a=\xff+", "UTF-8"),
        ] {
            let why = Form::read(wrong).map(drop).unwrap_err().to_string();
            assert!(why.contains(hint), "{why}");
        }
    }
}
