//! Which headers a webhook may set.

use http::HeaderName;

/// Belong to the connection, or to how the message is framed.
const OF_THE_TRANSPORT: &[&str] = &[
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// A header's name in lower case, if a webhook may set that header.
///
/// # Errors
/// What is wrong with it.
pub fn header_name(text: &str) -> Result<Box<str>, String> {
    let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
        return Err("must be a header's name: letters, digits and !#$%&'*+-.^_`|~".to_owned());
    };
    let name = name.as_str();
    if OF_THE_TRANSPORT.contains(&name) || name.starts_with("proxy-") {
        return Err(format!("must not be \"{name}\": it belongs to the connection"));
    }
    if name.starts_with("webhook-") || name.starts_with("postrider-") {
        return Err("must not begin with webhook- or postrider-: these are ours".to_owned());
    }
    if name == "authorization" {
        return Err("must not be \"authorization\": give \"authorization\" beside \"headers\"".to_owned());
    }
    Ok(name.into())
}
