//! Where a delivery goes: a webhook's URL, its variables filled in. PURE.
//!
//! A value is data, never structure: it becomes one percent-encoded segment, is not looked at for variables again, and
//! what comes out is parsed again and must be what was put together, to the letter and with the template's own host. A URL
//! without variables was checked when it was saved and goes out as it is.

use std::borrow::Cow;

use http::Uri;
use serde_json::value::RawValue;
use url::{Position, Url};

use super::request::check_url;
use crate::catalogue::Catalogue;
use crate::model::{Client, DeadReason, Delivery, OrgNumber, Piece, Target, UrlTemplate, Webhook};

/// The most bytes of a URL with its variables filled in: what common servers take.
const RENDERED_MAX: usize = 8 * 1024;

/// A delivery with everything that its request is made from.
pub struct Addressed<'a> {
    /// What is sent.
    pub delivery: &'a Delivery,
    /// How.
    pub webhook: &'a Webhook,
    /// The webhook's client, if it has one.
    pub client: Option<&'a Client>,
    /// Whose it is, if anybody's: HTTP/2 connections are not shared between orgs.
    pub(super) org: Option<OrgNumber>,
    /// Where to.
    pub(super) uri: Uri,
}

impl Addressed<'_> {
    /// The same, of this org.
    #[must_use]
    pub fn of(self, org: OrgNumber) -> Self {
        Addressed { org: Some(org), ..self }
    }
}

/// Without the URL: values of the event and the query's secrets stand in it.
impl std::fmt::Debug for Addressed<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Addressed { delivery, webhook, client, .. } = self;
        out.debug_struct("Addressed")
            .field("delivery", delivery)
            .field("webhook", webhook)
            .field("client", client)
            .finish_non_exhaustive()
    }
}

/// Fills in the URL, from the event's attributes and from where the catalogue says that its payload has the values.
///
/// # Errors
/// Why the delivery can never be sent.
pub fn address<'a>(
    delivery: &'a Delivery,
    webhook: &'a Webhook,
    client: Option<&'a Client>,
    catalogue: &Catalogue,
) -> Result<Addressed<'a>, DeadReason> {
    let (base, template) = match (&webhook.target, client) {
        (Target::Url(template), _) => ("", template),
        (Target::Client { path, .. }, Some(client)) => (client.base_before(path), path),
        // A client's webhooks are deleted before it is.
        (Target::Client { .. }, None) => return Err(DeadReason::WebhookDeleted),
    };
    let uri = match template.as_fixed() {
        Some(url) if base.is_empty() => Uri::try_from(url),
        Some(path) => Uri::try_from([base, path].concat()),
        None => {
            let values = |name: &str| value(name, delivery, catalogue);
            Uri::try_from(render(base, template, values)?)
        }
    };
    let uri = uri.map_err(|_| DeadReason::InvalidVariable)?;
    Ok(Addressed { delivery, webhook, client, org: None, uri })
}

/// The first variable of the webhook's URL that this delivery has no value for, or none that is text: for those who are
/// told why there is no URL.
#[must_use]
pub fn at_fault<'w>(delivery: &Delivery, webhook: &'w Webhook, catalogue: &Catalogue) -> Option<&'w str> {
    webhook.target.variables().find(|name| value(name, delivery, catalogue).is_err())
}

/// The URL that `base` and `template` make with these values, the variables' names given.
///
/// # Errors
/// The reason that `value` has for not giving one; [`DeadReason::InvalidVariable`] if the values make it another URL than
/// the template's own, or too long a one.
pub fn render<'v>(
    base: &str,
    template: &UrlTemplate,
    value: impl Fn(&str) -> Result<Cow<'v, str>, DeadReason>,
) -> Result<String, DeadReason> {
    let mut text = String::with_capacity(base.len() + 256);
    text.push_str(base);
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Variable(name) => push_segment(&mut text, &value(name)?),
        }
        if text.len() > RENDERED_MAX {
            return Err(DeadReason::InvalidVariable);
        }
    }
    let fixed = match template.pieces() {
        _ if !base.is_empty() => base,
        [Piece::Literal(literal), ..] => literal,
        _ => "",
    };
    if is_whole(&text, fixed) { Ok(text) } else { Err(DeadReason::InvalidVariable) }
}

/// Whether `text` is what the URL parser makes of it, with scheme, host and port as they stand in `fixed`, which `text`
/// begins with and which no value has touched.
fn is_whole(text: &str, fixed: &str) -> bool {
    let Some((scheme, after)) = fixed.split_once("://") else { return false };
    let authority = after.find(['/', '?']).unwrap_or(after.len());
    let origin = fixed.get(..scheme.len() + "://".len() + authority);
    let Ok(url) = Url::parse(text) else { return false };
    url.as_str() == text && Some(&url[..Position::BeforePath]) == origin && check_url(&url).is_ok()
}

/// Adds a value as one segment: unreserved characters (RFC 3986, 2.3) as they are, every other byte as %XX.
fn push_segment(text: &mut String, value: &str) {
    // Longer ones are refused anyway, without filling memory first.
    for byte in value.bytes().take(RENDERED_MAX + 1) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.push('%');
            let digits =
                [byte >> 4, byte & 15].into_iter().filter_map(|half| char::from_digit(half.into(), 16));
            text.extend(digits.map(|digit| digit.to_ascii_uppercase()));
        }
    }
}

/// A variable's value: the event's own attribute, or what stands in the payload where the catalogue says.
fn value<'a>(name: &str, delivery: &'a Delivery, catalogue: &Catalogue) -> Result<Cow<'a, str>, DeadReason> {
    let value = match delivery.attributes.get(name) {
        Some(value) => Cow::from(value),
        None => catalogue
            .find(&delivery.event_type)
            .and_then(|entry| entry.place_of(name))
            .and_then(|pointer| pointer.find(&delivery.payload))
            .ok_or(DeadReason::MissingVariable)
            .and_then(scalar)?,
    };
    // A path would lose a segment, and mean something else.
    if value.is_empty() { Err(DeadReason::MissingVariable) } else { Ok(value) }
}

/// Text unescaped; numbers and booleans as they are written.
fn scalar(value: &RawValue) -> Result<Cow<'_, str>, DeadReason> {
    let text = value.get();
    match text.as_bytes().first() {
        // Half a surrogate pair is no text.
        Some(b'"') => serde_json::from_str(text).map(Cow::Owned).map_err(|_| DeadReason::InvalidVariable),
        Some(b'{' | b'[' | b'n') | None => Err(DeadReason::MissingVariable),
        Some(_) => Ok(Cow::Borrowed(text)),
    }
}

#[cfg(test)]
mod tests;
