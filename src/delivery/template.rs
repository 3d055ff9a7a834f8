//! Where a delivery goes: a webhook's URL, its variables filled in. PURE.

use http::Uri;

use crate::model::{Client, DeadReason, Delivery, Piece, Target, UrlTemplate, Webhook};

/// A delivery with everything that its request is made from.
#[derive(Debug)]
pub struct Addressed<'a> {
    /// What is sent.
    pub delivery: &'a Delivery,
    /// How.
    pub webhook: &'a Webhook,
    /// The webhook's client, if it has one.
    pub client: Option<&'a Client>,
    /// Where to.
    pub(super) uri: Uri,
}

/// Fills in the URL.
///
/// # Errors
/// Why the delivery can never be sent.
pub fn address<'a>(
    delivery: &'a Delivery,
    webhook: &'a Webhook,
    client: Option<&'a Client>,
) -> Result<Addressed<'a>, DeadReason> {
    let (base, template) = match (&webhook.target, client) {
        (Target::Url(template), _) => ("", template),
        (Target::Client { path, .. }, Some(client)) => (client.base_url.as_str().trim_end_matches('/'), path),
        // A client's webhooks are deleted before it is.
        (Target::Client { .. }, None) => return Err(DeadReason::WebhookDeleted),
    };
    let text = format!("{base}{}", render(template, delivery)?);
    let uri = Uri::try_from(text).map_err(|_| DeadReason::InvalidVariable)?;
    Ok(Addressed { delivery, webhook, client, uri })
}

fn render(template: &UrlTemplate, delivery: &Delivery) -> Result<String, DeadReason> {
    let mut text = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Variable(name) => {
                text.push_str(delivery.attributes.get(&**name).ok_or(DeadReason::MissingVariable)?);
            }
        }
    }
    Ok(text)
}
