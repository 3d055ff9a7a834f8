//! A trial: one attempt outside the queue, and what went over the wire. The same path as every attempt, guard included.

use http::{HeaderMap, Uri};

use super::scrub::Scrub;
use super::template::Addressed;
use super::{Client, Made, outcome, request};

/// What is shown in place of a secret.
const MASK: &str = "***";
/// The most headers shown, and the most of each in bytes.
const HEADERS_SHOWN_MAX: usize = 50;

/// One exchange with a receiver, as it can be shown: secrets masked, control characters escaped.
#[derive(Debug)]
pub struct Trial {
    /// What came of it.
    pub made: Made,
    /// What was asked for.
    pub method: &'static str,
    /// Where it went; the values of the query are masked.
    pub url: String,
    /// What was sent, in order of name; secret values are masked.
    pub headers: Vec<(String, String)>,
    /// What came back, in order of name.
    pub response_headers: Vec<(String, String)>,
}

impl Client {
    /// Makes one attempt and shows it.
    pub async fn trial(&self, addressed: &Addressed<'_>) -> Trial {
        let mut made = self.attempt(addressed, 1).await;
        let answered = std::mem::take(&mut made.headers);
        // The same values give the same request again. One that could not be built was not sent.
        let sent =
            request::build(addressed, 1, made.attempt.at).map(|request| request.into_parts().0.headers);
        let show_sent = |(name, value): (&str, &http::HeaderValue)| {
            let value =
                if value.is_sensitive() { MASK.into() } else { String::from_utf8_lossy(value.as_bytes()) };
            (name.to_owned(), value.into_owned())
        };
        let scrub = Scrub::of(addressed);
        let show_answered = |(name, value): (&str, &http::HeaderValue)| {
            // A receiver may echo what it got.
            (name.to_owned(), outcome::excerpt(value.as_bytes(), &scrub, &addressed.delivery.payload))
        };
        Trial {
            method: addressed.webhook.method.as_str(),
            url: shown(&addressed.uri),
            headers: in_order(&sent.unwrap_or_default()).map(show_sent).collect(),
            response_headers: in_order(&answered).map(show_answered).collect(),
            made,
        }
    }
}

fn in_order(headers: &HeaderMap) -> impl Iterator<Item = (&str, &http::HeaderValue)> {
    let mut all: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value)).collect();
    all.sort_by_key(|(name, _)| *name);
    all.into_iter().take(HEADERS_SHOWN_MAX)
}

/// A URL whose query keeps its names and hides its values.
fn shown(uri: &Uri) -> String {
    let text = uri.to_string();
    let Some((before, query)) = text.split_once('?') else { return text };
    let mask = |pair: &str| match pair.split_once('=') {
        Some((name, value)) if !value.trim_matches('=').is_empty() => format!("{name}={MASK}"),
        // A word that no value follows may be a key.
        _ => MASK.to_owned(),
    };
    let masked: Vec<_> = query.split('&').map(mask).collect();
    format!("{before}?{}", masked.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_the_values_of_its_query() {
        let shown = |text: &str| shown(&text.parse().unwrap());
        assert_eq!(shown("https://a.example/x"), "https://a.example/x");
        assert_eq!(shown("https://a.example/x?token=canary&b="), "https://a.example/x?token=***&***");
        assert_eq!(shown("https://a.example/?canary"), "https://a.example/?***");
    }
}
