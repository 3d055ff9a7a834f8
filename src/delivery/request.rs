//! The request of an attempt: headers and body. PURE: values in, a value out; the same delivery gives the same bytes.

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Uri};
use url::Url;

use super::template::Addressed;
use crate::model::{Method as Asks, Secret, UnixMs};

/// The event's id, the same on every attempt and redrive.
pub const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
/// Unix seconds of this attempt.
pub const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// 1 for the first attempt.
pub const POSTRIDER_ATTEMPT: HeaderName = HeaderName::from_static("postrider-attempt");
/// The delivery's number within its org.
pub const POSTRIDER_SEQUENCE: HeaderName = HeaderName::from_static("postrider-sequence");
/// The webhook's password, when it has one.
pub const PASSWORD: HeaderName = HeaderName::from_static("x-tt-webhook-password");

const USER_AGENT_VALUE: HeaderValue =
    HeaderValue::from_static(concat!("postrider/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for the headers above and `host`, so that the map never grows.
const HEADER_COUNT: usize = 12;

/// Why no request can be made of a webhook. Saving it should have been refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWebhook {
    /// The password has characters that no header can carry.
    #[error("the webhook's password has characters that a header cannot carry")]
    Password,
}

/// The request of attempt `number`, made at `at`. `host` is added where it is written.
///
/// # Errors
/// [`InvalidWebhook`] if the webhook was saved without [`check_password`].
pub fn build(addressed: &Addressed<'_>, number: u32, at: UnixMs) -> Result<Request<Bytes>, InvalidWebhook> {
    let Addressed { delivery, webhook, uri, .. } = addressed;
    let mut headers = HeaderMap::with_capacity(HEADER_COUNT);
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(delivery.payload.len()));
    headers.insert(USER_AGENT, USER_AGENT_VALUE);
    // An event id is letters, digits, `_` and `-`: always a valid header value.
    if let Ok(id) = HeaderValue::from_str(delivery.event_id.as_str()) {
        headers.insert(WEBHOOK_ID, id);
    }
    headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(at.seconds()));
    headers.insert(POSTRIDER_ATTEMPT, HeaderValue::from(number));
    headers.insert(POSTRIDER_SEQUENCE, HeaderValue::from(delivery.sequence.0));
    if let Some(password) = &webhook.password {
        headers.insert(PASSWORD, password_value(password).ok_or(InvalidWebhook::Password)?);
    }
    let mut request = Request::new(delivery.payload.clone());
    *request.method_mut() = match webhook.method {
        Asks::Get => Method::GET,
        Asks::Post => Method::POST,
        Asks::Put => Method::PUT,
        Asks::Patch => Method::PATCH,
        Asks::Delete => Method::DELETE,
    };
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers;
    Ok(request)
}

fn uri(url: &Url) -> Option<Uri> {
    let uri = Uri::try_from(url.as_str()).ok()?;
    // One parser decides what is dialled: the two must agree on the host, to the letter.
    (uri.host() == url.host_str()).then_some(uri)
}

fn password_value(password: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(password.expose().as_bytes()).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Whether a webhook may have this URL: absolute http or https, no user info, no fragment.
///
/// # Errors
/// A sentence that says what would be right.
pub fn check_url(url: &Url) -> Result<(), &'static str> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err("must begin with https:// (or http:// where the configuration allows it)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not carry a user name or password");
    }
    if url.fragment().is_some() {
        return Err("must not have a fragment (#…): receivers never see it");
    }
    if url.port() == Some(0) {
        return Err("must not use port 0");
    }
    if uri(url).is_none() {
        return Err("has a host, path or query that HTTP cannot carry");
    }
    Ok(())
}

/// Whether a header can carry this password.
///
/// # Errors
/// A sentence that says what would be right; it does not repeat the password.
pub fn check_password(password: &Secret) -> Result<(), &'static str> {
    let text = password.expose();
    if text.is_empty() {
        return Err("must not be empty; leave it out for none");
    }
    if text.starts_with([' ', '\t']) || text.ends_with([' ', '\t']) {
        return Err("must not begin or end with a space: headers lose it");
    }
    if password_value(password).is_none() {
        return Err("must not have line breaks or control characters: it is sent as a header");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::template::address;
    use crate::delivery::testing::{delivery, webhook};

    #[test]
    fn an_attempt_carries_these_headers_and_no_others() {
        let mut webhook = webhook("https://hooks.example.com/in?x=1");
        webhook.password = Some(Secret::new("s3cret".into()));
        let delivery = delivery(7, "evt_1", br#"{"a" : 1}"#);
        let addressed = address(&delivery, &webhook, None).unwrap();
        let request = build(&addressed, 3, UnixMs(1_700_000_000_999)).unwrap();
        assert_eq!(request.method(), Method::POST);
        assert_eq!(request.uri(), "https://hooks.example.com/in?x=1");
        assert_eq!(request.body().as_ref(), br#"{"a" : 1}"#);
        let mut headers: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("content-length", "9"),
                ("content-type", "application/json"),
                ("postrider-attempt", "3"),
                ("postrider-sequence", "7"),
                ("user-agent", concat!("postrider/", env!("CARGO_PKG_VERSION"))),
                ("webhook-id", "evt_1"),
                ("webhook-timestamp", "1700000000"),
                ("x-tt-webhook-password", "s3cret"),
            ]
        );
        assert!(!format!("{request:?}").contains("s3cret"), "the password is marked sensitive");
    }

    #[test]
    fn without_a_password_no_header_is_sent() {
        let (delivery, webhook) = (delivery(1, "e", b"{}"), webhook("https://a.example/"));
        let request = build(&address(&delivery, &webhook, None).unwrap(), 1, UnixMs(0)).unwrap();
        assert!(!request.headers().contains_key(PASSWORD));
        assert_eq!(request.headers()[WEBHOOK_TIMESTAMP], "0");
    }

    #[test]
    fn urls_that_no_webhook_may_have() {
        let refused = |text: &str| check_url(&Url::parse(text).unwrap()).unwrap_err();
        assert!(refused("ftp://a.example/").contains("https://"));
        assert!(refused("file:///etc/passwd").contains("https://"));
        assert!(refused("data:text/plain,x").contains("https://"));
        assert!(refused("https://user@a.example/").contains("user name"));
        assert!(refused("https://:pw@a.example/").contains("user name"));
        assert!(refused("https://a.example/#x").contains("fragment"));
        assert!(refused("https://a.example:0/").contains("port 0"));
        assert!(refused("https://a`b/").contains("cannot carry"));
        for good in [
            "https://a.example",
            "http://127.0.0.1:8080/x?y={z}|^`",
            "https://[::1]:9/ä",
            "https://bücher.example/",
        ] {
            assert_eq!(check_url(&Url::parse(good).unwrap()), Ok(()), "{good}");
        }
    }

    #[test]
    fn passwords_that_no_header_can_carry() {
        let check = |text: &str| check_password(&Secret::new(text.into()));
        for bad in ["", " a", "a ", "a\nb", "a\r\nx: y", "a\0", "\u{7f}"] {
            assert!(check(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "a b", "pässwörd", "!\"§$%&/()=", "a\tb"] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
    }

    proptest! {
        /// Whatever a path or query holds, it can be sent.
        #[test]
        fn every_path_and_query_can_be_carried(text in "https?://[a-z_.ä-]{1,12}(:[1-9][0-9]{0,3})?[/?][!-~ä\u{80}-\u{ff}]{0,30}") {
            if let Ok(url) = Url::parse(&text) && url.fragment().is_none() {
                prop_assert_eq!(check_url(&url), Ok(()), "{}", url);
            }
        }

        /// What the URL parser calls the host is what is dialled, whatever else the URL holds.
        #[test]
        fn the_dialled_host_is_the_checked_host(text in "https?://[!-~äß①。]{1,12}(:[0-9]{1,5})?[/?][ -~ä]{0,30}") {
            if let Ok(url) = Url::parse(&text) && check_url(&url).is_ok() {
                let uri = uri(&url).unwrap();
                prop_assert_eq!(uri.host(), url.host_str());
                prop_assert_eq!(uri.port_u16(), url.port());
                prop_assert_eq!(uri.scheme_str(), Some(url.scheme()));
            }
        }
    }
}
