//! What follows from an attempt, and what is kept of an answer. PURE: values in, values out.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::Made;
use super::echo::without_payload;
use super::scrub::Scrub;
use crate::model::{DeadReason, FailReason, OnExhausted, Outcome, UnixMs, Webhook};

/// What is kept of a response body, in bytes after escaping.
pub const EXCERPT_MAX: usize = 1024;
/// The longest sentence kept on a failure, in bytes.
const DETAIL_MAX: usize = 256;

/// Decides what becomes of the delivery. `wait` is the backoff after this attempt, which ended at `ended_at`; a receiver
/// that asked to be left alone for longer gets that, within the webhook's bound.
#[must_use]
pub fn judge(made: &Made, webhook: &Webhook, ended_at: UnixMs, wait: Duration) -> Outcome {
    if made.attempt.error.is_none() {
        return Outcome::Delivered;
    }
    if made.attempt.number < webhook.retry.attempts {
        let asked = made.retry_after.unwrap_or_default().min(webhook.retry_after_max);
        return Outcome::Retry { not_before: ended_at.plus(wait.max(asked)) };
    }
    match webhook.retry.on_exhausted {
        OnExhausted::Advance => Outcome::Dead { reason: DeadReason::AttemptsExhausted },
        OnExhausted::Hold => Outcome::Hold,
    }
}

/// How long a 429 or 503 asks to be left alone: `Retry-After` in seconds or as a date (RFC 9110, 10.2.3), seen at `now`.
/// A date that has passed asks for nothing; what is neither is ignored.
#[must_use]
pub fn retry_after(status: u16, headers: &HeaderMap, now: UnixMs) -> Option<Duration> {
    if !matches!(status, 429 | 503) {
        return None;
    }
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has mean longer than anyone waits.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
    let now_ms = u64::try_from(now.0).unwrap_or(0);
    Some(at.saturating_sub(Duration::from_millis(now_ms)))
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

/// The start of a response body as it is kept with the attempt: lossy UTF-8, control characters escaped, an echoed
/// payload and our secrets left out. At most [`EXCERPT_MAX`] bytes, cut between characters.
#[must_use]
pub fn excerpt(body: &[u8], scrub: &Scrub, payload: &[u8]) -> String {
    if body.is_empty() {
        return String::new();
    }
    let text = without_payload(String::from_utf8_lossy(body).into_owned(), payload);
    escape(&scrub.clean(&text, EXCERPT_MAX), EXCERPT_MAX)
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
    use crate::delivery::template::address;
    use crate::delivery::testing::{delivery, webhook};
    use crate::model::{Attempt, Retry};

    fn made(number: u32, error: Option<FailReason>, retry_after: Option<Duration>) -> Made {
        let (detail, excerpt) = (String::new(), String::new());
        let attempt = Attempt { number, at: UnixMs(0), duration_ms: 5, status: None, error, detail, excerpt };
        Made { attempt, retry_after, headers: HeaderMap::new(), starved: false }
    }

    fn three_attempts() -> Webhook {
        let retry = Retry { attempts: 3, ..Retry::default() };
        Webhook { retry, ..webhook("https://a.example/") }
    }

    #[test]
    fn success_ends_it_failure_waits_and_the_last_failure_is_the_end() {
        let webhook = three_attempts();
        let wait = Duration::from_millis(400);
        let judge = |number, error| judge(&made(number, error, None), &webhook, UnixMs(1_000), wait);
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
    fn a_held_delivery_is_not_given_up() {
        let mut webhook = three_attempts();
        webhook.retry.on_exhausted = OnExhausted::Hold;
        let failed = |number| made(number, Some(FailReason::Status), None);
        assert_eq!(judge(&failed(3), &webhook, UnixMs(0), Duration::ZERO), Outcome::Hold);
        assert_eq!(judge(&failed(4), &webhook, UnixMs(0), Duration::ZERO), Outcome::Hold);
        assert_eq!(judge(&made(4, None, None), &webhook, UnixMs(0), Duration::ZERO), Outcome::Delivered);
    }

    #[test]
    fn a_receiver_may_lengthen_a_wait_within_bounds_and_never_shorten_it() {
        let mut webhook = three_attempts();
        let mut not_before = |asked_s, max_s| {
            webhook.retry_after_max = Duration::from_secs(max_s);
            let made = made(1, Some(FailReason::Status), Some(Duration::from_secs(asked_s)));
            match judge(&made, &webhook, UnixMs(1_000), Duration::from_secs(5)) {
                Outcome::Retry { not_before } => not_before.0,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(not_before(30, 60), 31_000);
        assert_eq!(not_before(3, 60), 6_000);
        assert_eq!(not_before(u64::MAX, 60), 61_000);
        assert_eq!(not_before(30, 0), 6_000, "zero ignores it");
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |status, value: &[u8]| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, http::HeaderValue::from_bytes(value).unwrap());
            // 1994-11-06T08:49:37Z
            retry_after(status, &headers, UnixMs(784_111_777_000))
        };
        let s = |s| Some(Duration::from_secs(s));
        assert_eq!(asked(429, b"120"), s(120));
        assert_eq!(asked(503, b" 0 "), s(0));
        assert_eq!(asked(503, b"99999999999999999999999"), s(u64::MAX));
        assert_eq!(asked(503, b"Sun, 06 Nov 1994 08:50:37 GMT"), s(60));
        assert_eq!(asked(503, b"Sunday, 06-Nov-94 08:50:37 GMT"), s(60));
        assert_eq!(asked(503, b"Sun Nov  6 08:50:37 1994"), s(60));
        assert_eq!(asked(503, b"Sun, 06 Nov 1994 08:48:37 GMT"), s(0), "it has passed");
        assert!(asked(503, b"Fri, 31 Dec 9999 23:59:59 GMT").unwrap() > Duration::from_secs(1 << 37));
        for nonsense in [&b"-1"[..], b"1.5", b"soon", b"", b"+5", b"\xff", b"Thu, 99 Nov 1994 08:48:37 GMT"] {
            assert_eq!(asked(503, nonsense), None, "{nonsense:?}");
        }
        assert_eq!(asked(500, b"120"), None);
        assert_eq!(asked(200, b"120"), None);
    }

    #[test]
    fn success_is_2xx_and_nothing_else() {
        for status in 0..=999 {
            assert_eq!(judge_status(status).is_none(), (200..300).contains(&status), "{status}");
        }
        assert!(judge_status(302).unwrap().1.contains("not followed"));
    }

    fn none() -> Scrub {
        Scrub::default()
    }

    /// Of a request with this password.
    fn scrub(password: &str) -> Scrub {
        let mut webhook = webhook("https://a.example/");
        webhook.password = Some(crate::model::Secret::new(password.into()));
        Scrub::of(
            &address(&delivery(1, "e", b"{}"), &webhook, None, &crate::catalogue::Catalogue::shipped())
                .unwrap(),
        )
    }

    #[test]
    fn an_excerpt_is_short_and_harmless() {
        assert_eq!(excerpt(b"ok", &none(), b""), "ok");
        assert_eq!(excerpt(b"a\r\nb\t\x1b[31m\0", &none(), b""), "a\\r\\nb\\t\\u{1b}[31m\\u{0}");
        assert_eq!(excerpt("\u{202e}evil\u{2028}".as_bytes(), &none(), b""), "\\u{202e}evil\\u{2028}");
        assert_eq!(excerpt(b"\xff\xfeok", &none(), b""), "\u{fffd}\u{fffd}ok");
        assert_eq!(excerpt(&[b'x'; 5000], &none(), b"").len(), EXCERPT_MAX);
        // Two-byte characters: the cut falls between them.
        let cut = excerpt(format!("x{}", "é".repeat(2000)).as_bytes(), &none(), b"");
        assert_eq!((cut.len(), cut.ends_with('é')), (EXCERPT_MAX - 1, true));
        // Escapes are never cut in half.
        assert!(excerpt(&[0x1b; 5000], &none(), b"").ends_with("\\u{1b}"));
    }

    #[test]
    fn an_echo_gives_away_neither_password_nor_payload() {
        let payload = br#"{"secret":"of the customer"}"#;
        let body = br#"{"x-tt-webhook-password":"pass\"word","raw":pass"word}"#;
        assert_eq!(
            excerpt(body, &scrub("pass\"word"), payload),
            r#"{"x-tt-webhook-password":"[password]","raw":[password]}"#
        );
        assert_eq!(
            excerpt(
                br#"got {"secret":"of the customer"} twice {"secret":"of the customer"}!"#,
                &none(),
                payload
            ),
            "got [payload] twice [payload]!"
        );
        assert_eq!(excerpt(br#""{\"secret\":\"of the customer\"}""#, &none(), payload), "\"[payload]\"");
        // A longer payload, of which only the start came back.
        let long = format!("{{\"name\":\"{}\"}}", "y".repeat(5000));
        let start: String = long.chars().take(3000).collect();
        assert_eq!(excerpt(format!("<{start}>").as_bytes(), &none(), long.as_bytes()), "<[payload]>");
        // The password at the very end of what is kept does not show its beginning.
        let edge = format!("{}hunter2hunter2", "z".repeat(EXCERPT_MAX - 6));
        assert!(!excerpt(edge.as_bytes(), &scrub("hunter2hunter2"), b"").contains("hunter"));
        assert_eq!(excerpt(b"{} empty", &scrub(""), b"{}"), "{} empty");
    }

    proptest! {
        #[test]
        fn an_excerpt_of_anything_is_bounded_and_printable(
            body in proptest::collection::vec(any::<u8>(), 0..3000),
            password in "[a-z]{0,3}",
            payload in "[a-z{}\"]{0,100}",
        ) {
            let text = excerpt(&body, &scrub(&password), payload.as_bytes());
            prop_assert!(text.len() <= EXCERPT_MAX);
            prop_assert!(!text.chars().any(disturbs));
        }
    }
}
