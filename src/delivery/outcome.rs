//! What follows from an attempt, and what is kept of an answer. PURE: values in, values out.

use std::fmt::Write as _;
use std::time::Duration;

use crate::model::{Attempt, DeadReason, FailReason, Outcome, Retry, UnixMs};

/// What is kept of a response body, in bytes after escaping.
pub const EXCERPT_MAX: usize = 1024;
/// The longest sentence kept on a failure, in bytes.
const DETAIL_MAX: usize = 256;
/// How much of a payload must come back in an answer before it is taken for an echo of it.
const ECHO_MIN: usize = 8;
/// How many characters of a payload are looked for in an answer.
const ECHO_PROBE: usize = 64;

/// Decides what becomes of the delivery. `wait` is the backoff after this attempt, which ended at `ended_at`.
#[must_use]
pub fn judge(attempt: &Attempt, retry: &Retry, ended_at: UnixMs, wait: Duration) -> Outcome {
    if attempt.error.is_none() {
        Outcome::Delivered
    } else if attempt.number >= retry.attempts {
        Outcome::Dead { reason: DeadReason::AttemptsExhausted }
    } else {
        Outcome::Retry { not_before: ended_at.plus(wait) }
    }
}

/// What a response status says: `None` for the 2xx that mean success, else the reason and a sentence.
#[must_use]
pub fn judge_status(status: u16) -> Option<(FailReason, String)> {
    match status {
        200..=299 => None,
        300..=399 => Some((
            FailReason::Status,
            format!("the receiver answered {status}, a redirect; redirects are not followed"),
        )),
        _ => Some((FailReason::Status, format!("the receiver answered {status}"))),
    }
}

/// A sentence that came in part from outside, made safe for logs and terminals.
#[must_use]
pub fn detail(text: &str) -> String {
    escape(text, DETAIL_MAX)
}

/// The start of a response body as it is kept with the attempt: lossy UTF-8, control characters escaped, the
/// password and an echoed payload left out. At most [`EXCERPT_MAX`] bytes, cut between characters.
#[must_use]
pub fn excerpt(body: &[u8], password: Option<&str>, payload: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let mut text = String::from_utf8_lossy(body).into_owned();
    if let Some(password) = password.filter(|password| !password.is_empty()) {
        for spelling in spellings(password) {
            if text.contains(&spelling) {
                text = text.replace(&spelling, "[password]");
            }
        }
    }
    if let Ok(payload) = std::str::from_utf8(payload)
        && payload.len() >= ECHO_MIN
    {
        for spelling in spellings(payload) {
            text = without_echo(&text, &spelling);
        }
    }
    escape(&text, EXCERPT_MAX)
}

/// A text as it is, and as it looks inside a JSON string.
fn spellings(text: &str) -> Vec<String> {
    let quoted = serde_json::to_string(text).unwrap_or_default();
    let inside = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
    let mut all = vec![text.to_owned()];
    if !inside.is_empty() && inside != text {
        all.push(inside.to_owned());
    }
    all
}

/// Replaces every stretch that repeats `payload` from its start, however far it goes.
fn without_echo(text: &str, payload: &str) -> String {
    let probe: String = payload.chars().take(ECHO_PROBE).collect();
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, _)) = rest.split_once(&probe) {
        kept.push_str(before);
        kept.push_str("[payload]");
        let echo = rest.get(before.len()..).unwrap_or_default();
        let shared: usize = echo
            .chars()
            .zip(payload.chars())
            .take_while(|(echoed, sent)| echoed == sent)
            .map(|(echoed, _)| echoed.len_utf8())
            .sum();
        rest = echo.get(shared..).unwrap_or_default();
    }
    kept.push_str(rest);
    kept
}

/// Control characters, and those that reorder or hide text, are written as escapes; at most `max` bytes, cut between
/// characters and never inside an escape.
#[must_use]
pub fn escape(text: &str, max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(max));
    for c in text.chars() {
        let before = out.len();
        if disturbs(c) {
            // Writing to a string cannot fail.
            let _infallible = write!(out, "{}", c.escape_default());
        } else {
            out.push(c);
        }
        if out.len() > max {
            out.truncate(before);
            break;
        }
    }
    out
}

fn disturbs(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(number: u32, error: Option<FailReason>) -> Attempt {
        Attempt {
            number,
            at: UnixMs(0),
            duration_ms: 5,
            status: None,
            error,
            detail: String::new(),
            excerpt: String::new(),
        }
    }

    #[test]
    fn success_ends_it_failure_waits_and_the_last_failure_is_the_end() {
        let retry = Retry { attempts: 3, ..Retry::default() };
        let judge =
            |number, error| judge(&attempt(number, error), &retry, UnixMs(1_000), Duration::from_millis(400));
        assert_eq!(judge(1, None), Outcome::Delivered);
        assert_eq!(judge(3, None), Outcome::Delivered);
        let failed = Some(FailReason::Timeout);
        assert_eq!(judge(1, failed), Outcome::Retry { not_before: UnixMs(1_400) });
        assert_eq!(judge(2, failed), Outcome::Retry { not_before: UnixMs(1_400) });
        assert_eq!(judge(3, failed), Outcome::Dead { reason: DeadReason::AttemptsExhausted });
        // The number of attempts was lowered while it waited.
        assert_eq!(judge(7, failed), Outcome::Dead { reason: DeadReason::AttemptsExhausted });
    }

    #[test]
    fn success_is_2xx_and_nothing_else() {
        for status in 0..=999 {
            assert_eq!(judge_status(status).is_none(), (200..300).contains(&status), "{status}");
        }
        assert!(judge_status(302).unwrap().1.contains("not followed"));
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt(b"ok", None, b""), "ok");
        assert_eq!(excerpt(b"a\r\nb\t\x1b[31m\0", None, b""), "a\\r\\nb\\t\\u{1b}[31m\\u{0}");
        assert_eq!(excerpt("\u{202e}evil\u{2028}".as_bytes(), None, b""), "\\u{202e}evil\\u{2028}");
        assert_eq!(excerpt(b"\xff\xfeok", None, b""), "\u{fffd}\u{fffd}ok");
        assert_eq!(excerpt(&[b'x'; 5000], None, b"").len(), EXCERPT_MAX);
        // Two-byte characters: the cut falls between them.
        let cut = excerpt(format!("x{}", "é".repeat(2000)).as_bytes(), None, b"");
        assert_eq!((cut.len(), cut.ends_with('é')), (EXCERPT_MAX - 1, true));
        // Escapes are never cut in half.
        assert!(excerpt(&[0x1b; 5000], None, b"").ends_with("\\u{1b}"));
    }

    #[test]
    fn an_echo_gives_away_neither_password_nor_payload() {
        let password = Some("pass\"word");
        let payload = br#"{"secret":"of the customer"}"#;
        let body = br#"{"x-tt-webhook-password":"pass\"word","raw":pass"word}"#;
        assert_eq!(
            excerpt(body, password, payload),
            r#"{"x-tt-webhook-password":"[password]","raw":[password]}"#
        );
        assert_eq!(
            excerpt(
                br#"got {"secret":"of the customer"} twice {"secret":"of the customer"}!"#,
                None,
                payload
            ),
            "got [payload] twice [payload]!"
        );
        assert_eq!(excerpt(br#""{\"secret\":\"of the customer\"}""#, None, payload), "\"[payload]\"");
        // A longer payload, of which only the start came back.
        let long = format!("{{\"name\":\"{}\"}}", "y".repeat(5000));
        let start: String = long.chars().take(3000).collect();
        assert_eq!(excerpt(format!("<{start}>").as_bytes(), None, long.as_bytes()), "<[payload]>");
        // The password at the very end of what is kept does not show its beginning.
        let edge = format!("{}hunter2hunter2", "z".repeat(EXCERPT_MAX - 6));
        assert!(!excerpt(edge.as_bytes(), Some("hunter2hunter2"), b"").contains("hunter"));
        assert_eq!(excerpt(b"{} empty", Some(""), b"{}"), "{} empty");
    }

    proptest! {
        #[test]
        fn an_excerpt_of_anything_is_bounded_and_printable(
            body in proptest::collection::vec(any::<u8>(), 0..3000),
            password in "[a-z]{0,3}",
            payload in "[a-z{}\"]{0,100}",
        ) {
            let text = excerpt(&body, Some(&password), payload.as_bytes());
            prop_assert!(text.len() <= EXCERPT_MAX);
            prop_assert!(!text.chars().any(disturbs));
        }
    }
}
