//! A shared destination of several webhooks.

use url::Url;

use super::{Authorization, ClientId, Headers, Route, UnixMs, UrlTemplate};

/// What webhooks of one receiver have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    /// Its name within the org.
    pub id: ClientId,
    /// Absolute http or https URL without user info, query, fragment or variables; webhooks' paths follow it.
    pub base_url: Url,
    /// For webhooks that have none of their own.
    pub authorization: Option<Box<Authorization>>,
    /// Sent with every request; a webhook's header of the same name wins.
    pub headers: Headers,
    /// How connections are made; what a webhook says wins.
    pub route: Route,
    /// The product's profile that webhooks take which have none of their own, when they are saved.
    pub profile: Option<Box<str>>,
    /// For people.
    pub description: String,
    /// When it was first saved.
    pub created_at: UnixMs,
    /// When it was last saved.
    pub updated_at: UnixMs,
}

impl Client {
    /// Its URL as it stands before a webhook's path.
    #[must_use]
    pub fn base_before(&self, path: &UrlTemplate) -> &str {
        let base = self.base_url.as_str();
        match path.as_fixed() {
            Some("") => base,
            // The path brings its own slash.
            _ => base.strip_suffix('/').unwrap_or(base),
        }
    }
}
