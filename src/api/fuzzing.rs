//! What the fuzz targets in `tests/fuzz` reach of this room: URLs as they are read when a webhook is saved.

use crate::model::UrlTemplate;

/// Reads a webhook's `url`.
///
/// # Errors
/// What would be right.
pub fn url_template(text: &str) -> Result<UrlTemplate, String> {
    super::wire::url_template(text)
}

/// Reads a webhook's `path`, which stands behind a client's base URL.
///
/// # Errors
/// What would be right.
pub fn path_template(text: &str) -> Result<UrlTemplate, String> {
    super::wire::path_template(text)
}
