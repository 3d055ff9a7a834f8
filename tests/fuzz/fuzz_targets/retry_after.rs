//! Whatever a receiver says in `Retry-After`: it is understood as it is meant or not at all, and the wait that follows
//! lies between the schedule's and the webhook's bound.
#![no_main]

use std::time::{Duration, UNIX_EPOCH};

use libfuzzer_sys::fuzz_target;
use postrider::delivery::Made;
use postrider::delivery::outcome::{judge, retry_after};
use postrider::model::{Attempt, FailReason, Outcome, Target, UnixMs, UrlTemplate, Webhook};

fuzz_target!(|data: &[u8]| {
    let Some((fixed, text)) = data.split_first_chunk::<12>() else { return };
    let [status, wait, bound, how, now @ ..] = *fixed;
    let status = [429, 503, 500, 200][usize::from(status % 4)];
    // Any time at all, or one that dates can be near.
    let now = i64::from_be_bytes(now);
    let now = UnixMs(if how & 1 == 0 { now } else { now.rem_euclid(253_402_300_800_000) });
    let Ok(value) = http::HeaderValue::from_bytes(text) else { return };
    let mut headers = http::HeaderMap::new();
    headers.insert(http::header::RETRY_AFTER, value);
    if how & 2 != 0 {
        // A second one does not count.
        headers.append(http::header::RETRY_AFTER, http::HeaderValue::from_static("1"));
    }
    let asked = retry_after(status, &headers, now);
    if !matches!(status, 429 | 503) {
        assert_eq!(asked, None);
    }
    if let Some(asked) = asked {
        understood(std::str::from_utf8(text).expect("only text is understood").trim(), asked, now);
    }
    bounded(asked, now, Duration::from_millis(u64::from(wait) * 100), Duration::from_secs(u64::from(bound)));
});

/// Seconds are seconds, and a date is that long from now.
fn understood(text: &str, asked: Duration, now: UnixMs) {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        let digits = text.trim_start_matches('0');
        let expected = if digits.is_empty() { Ok(0) } else { digits.parse::<u64>() };
        assert_eq!(asked.as_secs(), expected.unwrap_or(u64::MAX), "{text}");
        assert_eq!(asked.subsec_nanos(), 0);
        return;
    }
    let date = httpdate::parse_http_date(text).expect("neither seconds nor a date");
    let date_ms = date.duration_since(UNIX_EPOCH).expect("dates begin in 1970").as_millis();
    let now_ms = u128::try_from(now.0).unwrap_or(0);
    assert_eq!(asked.as_millis(), date_ms.saturating_sub(now_ms), "{text} at {}", now.0);
}

/// What follows from the attempt is in time, whatever was asked for.
fn bounded(asked: Option<Duration>, now: UnixMs, wait: Duration, bound: Duration) {
    let target = Target::Url(UrlTemplate::fixed("https://a.example/"));
    let mut webhook = Webhook::new("w".parse().expect("a name"), target, UnixMs(0));
    webhook.retry_after_max = bound;
    let attempt = Attempt {
        number: 1,
        at: now,
        duration_ms: 1,
        status: Some(503),
        error: Some(FailReason::Status),
        detail: String::new(),
        excerpt: String::new(),
    };
    let made = Made { attempt, retry_after: asked, headers: http::HeaderMap::new(), starved: false };
    let Outcome::Retry { not_before } = judge(&made, &webhook, now, wait) else {
        panic!("a failed first attempt is tried again");
    };
    assert!(not_before >= now.plus(wait), "never sooner than the schedule says");
    assert!(not_before <= now.plus(wait.max(bound)), "never later than the bound");
    if asked.is_none() || bound.is_zero() {
        assert_eq!(not_before, now.plus(wait));
    }
}
