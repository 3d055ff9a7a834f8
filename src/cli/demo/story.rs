//! What the demo expects of a request, and how it tells it.

use std::fmt;
use std::time::Duration;

use crate::cli::sink::Received;

/// A request that has to come next.
pub(super) struct Expected {
    path: &'static str,
    id: &'static str,
    sequence: u64,
    attempt: u32,
    status: u16,
}

impl Expected {
    pub(super) fn new(
        path: &'static str,
        id: &'static str,
        sequence: u64,
        attempt: u32,
        status: u16,
    ) -> Self {
        Expected { path, id, sequence, attempt, status }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expected { path, id, sequence, attempt, status } = self;
        write!(out, "{id} at {path}, sequence {sequence}, attempt {attempt}, answered {status}")
    }
}

/// Says what is not as expected.
pub(super) fn check(received: &Received, expected: &Expected) -> Result<(), String> {
    let came = (
        received.path.as_str(),
        received.webhook_id(),
        received.sequence(),
        received.attempt(),
        received.status,
    );
    let wanted = (
        expected.path,
        Some(expected.id),
        Some(expected.sequence),
        Some(expected.attempt),
        Some(expected.status),
    );
    if came == wanted { Ok(()) } else { Err(format!("expected {expected}, but this came: {came:?}")) }
}

/// The request in a line; a retry with how long after the request before it.
pub(super) fn line(expected: &Expected, wait: Option<Duration>) -> String {
    let Expected { path, id, sequence, attempt, status } = expected;
    let verdict = if *status < 300 { "delivered" } else { "failed" };
    let line = format!("   #{sequence:<3} {id:<10} -> {path:<16} attempt {attempt}   {status} {verdict}");
    match wait {
        Some(wait) if *attempt > 1 => format!("{line}, {:.1} s later", wait.as_secs_f64()),
        _ => line,
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::model::UnixMs;

    fn received(attempt: &'static str) -> Received {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("webhook-id", "e1"), ("postrider-sequence", "4"), ("postrider-attempt", attempt)]
        {
            headers.insert(name, HeaderValue::from_static(value));
        }
        Received {
            at: UnixMs(0),
            method: Method::POST,
            path: "/in".to_owned(),
            headers,
            body: bytes::Bytes::new(),
            status: Some(503),
        }
    }

    #[test]
    fn anything_else_than_expected_is_told() {
        let expected = Expected::new("/in", "e1", 4, 2, 503);
        assert_eq!(check(&received("2"), &expected), Ok(()));
        let error = check(&received("1"), &expected).unwrap_err();
        assert!(error.contains("expected e1 at /in, sequence 4, attempt 2"), "{error}");
        for other in [
            Expected::new("/out", "e1", 4, 2, 503),
            Expected::new("/in", "e2", 4, 2, 503),
            Expected::new("/in", "e1", 5, 2, 503),
            Expected::new("/in", "e1", 4, 2, 200),
        ] {
            assert!(check(&received("2"), &other).is_err());
        }
    }

    #[test]
    fn a_retry_says_how_long_it_waited() {
        let first = line(&Expected::new("/in", "e1", 4, 1, 503), Some(Duration::from_secs(9)));
        assert!(first.ends_with("attempt 1   503 failed"), "{first}");
        let second = line(&Expected::new("/in", "e1", 4, 2, 200), Some(Duration::from_millis(412)));
        assert!(second.ends_with("attempt 2   200 delivered, 0.4 s later"), "{second}");
    }
}
