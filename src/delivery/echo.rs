//! Takes a payload out of what a receiver sent back: as it is, escaped as in JSON or in a URL, in hex or base64. PURE.
//! Secrets are the business of `scrub`; a payload is larger than them, and often only its beginning comes back.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// What stands where a payload was.
const LABEL: &str = "[payload]";
/// How much of a payload must come back before it is taken for an echo of it, in bytes.
const PAYLOAD_MIN: usize = 8;
/// How much of a payload is looked for, in bytes: enough to know it by.
const PROBE: usize = 64;
/// The most of a payload that is compared, in bytes: more of an answer than that is not held.
const PAYLOAD_MAX: usize = 16 * 1024;

/// The text without what repeats `payload` from its start, however far it goes.
#[must_use]
pub(super) fn without_payload(mut text: String, payload: &[u8]) -> String {
    let payload = payload.get(..PAYLOAD_MAX).unwrap_or(payload);
    if payload.len() < PAYLOAD_MIN || text.len() < PROBE.min(payload.len()) {
        return text;
    }
    for read in [plain as fn(&str) -> Reading, from_json, from_url] {
        text = cut(text, read, payload);
    }
    for encoded in encoded(payload) {
        text = cut(text, plain, &encoded);
    }
    text
}

/// Bytes that a text stands for, each with the place at which it is written.
type Reading = Vec<(u8, usize)>;

/// Leaves out what `read` finds.
fn cut(text: String, read: fn(&str) -> Reading, hidden: &[u8]) -> String {
    let begin = hidden.get(..PROBE).unwrap_or(hidden);
    let reading = read(&text);
    let bytes: Vec<u8> = reading.iter().map(|(byte, _)| *byte).collect();
    let mut kept = String::new();
    let mut done = 0;
    let mut from = 0;
    while let Some(found) = memchr::memmem::find(bytes.get(from..).unwrap_or_default(), begin) {
        let start = from + found;
        let rest = bytes.get(start..).unwrap_or_default();
        let length = rest.iter().zip(hidden).take_while(|(echoed, sent)| echoed == sent).count();
        let place = |index: usize| reading.get(index).map_or(text.len(), |(_, place)| *place);
        kept.push_str(text.get(done..place(start)).unwrap_or_default());
        kept.push_str(LABEL);
        from = start + length;
        done = place(from);
    }
    if done == 0 {
        return text;
    }
    kept.push_str(text.get(done..).unwrap_or_default());
    kept
}

fn plain(text: &str) -> Reading {
    text.bytes().enumerate().map(|(place, byte)| (byte, place)).collect()
}

/// With `%41` for `A` and `+` for a space.
fn from_url(text: &str) -> Reading {
    let mut reading = Vec::with_capacity(text.len());
    let mut rest = plain(text).into_iter();
    while let Some((byte, place)) = rest.next() {
        let escaped = match byte {
            b'%' => text.get(place + 1..place + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok()),
            _ => None,
        };
        match escaped {
            Some(escaped) => {
                reading.push((escaped, place));
                rest.nth(1);
            }
            None if byte == b'+' => reading.push((b' ', place)),
            None => reading.push((byte, place)),
        }
    }
    reading
}

/// With the escapes of a JSON string.
fn from_json(text: &str) -> Reading {
    let mut reading = Vec::with_capacity(text.len());
    let mut chars = text.char_indices();
    while let Some((place, c)) = chars.next() {
        let mut said = c;
        if c == '\\'
            && let Some((_, escape)) = chars.next()
        {
            let digits = || text.get(place + 2..place + 6);
            said = match escape {
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'u' => match digits().and_then(|digits| u32::from_str_radix(digits, 16).ok()) {
                    Some(code) => {
                        chars.nth(3);
                        char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
                    }
                    None => escape,
                },
                other => other,
            };
        }
        reading.extend(said.encode_utf8(&mut [0; 4]).bytes().map(|byte| (byte, place)));
    }
    reading
}

/// As hex, and in base64 wherever it begins in a longer text. Characters that hold bits of what is beside it are left
/// off.
fn encoded(hidden: &[u8]) -> Vec<Vec<u8>> {
    let hex = |digits: &[u8; 16]| -> Vec<u8> {
        let digit = |nibble: u8| digits.get(usize::from(nibble)).copied().unwrap_or_default();
        hidden.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    };
    let mut all = vec![hex(b"0123456789abcdef"), hex(b"0123456789ABCDEF")];
    for (before, skip) in [(0, 0), (1, 2), (2, 3)] {
        let mut text = vec![0_u8; before];
        text.extend_from_slice(hidden);
        // Whole groups of six bits.
        let whole = text.len() * 8 / 6;
        for encoded in [STANDARD_NO_PAD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
            all.push(encoded.as_bytes().get(skip..whole).unwrap_or_default().to_vec());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str, payload: &str) -> String {
        without_payload(text.to_owned(), payload.as_bytes())
    }

    #[test]
    fn a_payload_is_found_however_it_is_written() {
        let payload = "{\"to\": \"Jörg/42\"}";
        for text in [
            payload,
            r#"{\"to\": \"Jörg\/42\"}"#,
            r#"\u007b\"to\": \"J\u00f6rg/42\"}"#,
            "%7B%22to%22%3A%20%22J%C3%B6rg%2F42%22%7D",
            "{%22to%22:+%22J%c3%b6rg/42%22}",
            "7b22746f223a20224ac3b672672f3432227d",
            "7B22746F223A20224AC3B672672F3432227D",
        ] {
            assert_eq!(
                told(&format!("<{text}> and <{text}>"), payload),
                "<[payload]> and <[payload]>",
                "{text}"
            );
        }
        for before in ["", "x", "xy", "xyz"] {
            for engine in [&STANDARD, &URL_SAFE] {
                let text = engine.encode(format!("{before}{payload}, and more"));
                let told = told(&text, payload);
                assert!(told.contains(LABEL) && told.len() < 30, "{told}");
            }
        }
    }

    #[test]
    fn a_payload_is_left_out_as_far_as_it_is_repeated() {
        let payload = format!("{{\"name\":\"{}\"}}", "y".repeat(5000));
        let start = payload.get(..3000).unwrap();
        assert_eq!(told(&format!("<{start}>"), &payload), "<[payload]>");
        assert_eq!(told(&format!("<{}>", STANDARD.encode(start)), &payload), "<[payload]>");
        let hex = "7b226e616d65223a22".to_owned() + &"79".repeat(1000);
        assert_eq!(told(&format!("<{hex}>"), &payload), "<[payload]>");
        assert_eq!(told("{\"name\":\"somebody else\"}", &payload), "{\"name\":\"somebody else\"}");
        assert_eq!(told("{} empty", "{}"), "{} empty");
    }

    proptest! {
        #[test]
        fn any_text_can_be_searched_and_what_is_plain_is_gone(
            before in "\\PC{0,20}", payload in "\\PC{9,90}", after in "\\PC{0,20}",
        ) {
            let told = told(&format!("{before}{payload}{after}"), &payload);
            prop_assert!(!told.contains(&payload));
        }
    }
}
