//! What a call says in its path and query: names, pages, filters. Every refusal is a problem that names the parameter.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use http::request::Parts;

use super::App;
use super::wire::unknown_field;
use crate::model::{ClientId, HistoryId, OrgId, SourceId, WebhookId};
use crate::queue::Org;
use crate::serving::problem::{Kind, Problem};

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1000;

/// A name in the path, decoded. One that cannot be decoded names nothing, and nothing can be given such a name.
async fn path_name(parts: &mut Parts, app: &Arc<App>, name: &str) -> Result<String, Problem> {
    let kind = if parts.method == Method::PUT { Kind::InvalidField } else { Kind::NotFound };
    let undecodable = || Problem::new(kind, "a name in the path is not UTF-8: look at its %-escapes");
    let params = RawPathParams::from_request_parts(parts, app).await.map_err(|_| undecodable())?;
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned()).ok_or_else(undecodable)
}

/// `{org}` in the path of a call that creates it.
pub(super) struct OrgName(pub(super) OrgId);

impl FromRequestParts<Arc<App>> for OrgName {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let name = path_name(parts, app, "org").await?;
        let id = name.parse::<OrgId>().map_err(|rule| Problem::invalid("/org", rule.to_string()))?;
        Ok(OrgName(id))
    }
}

/// `{org}` in the path of every other call: the org must be there.
pub(super) struct KnownOrg(pub(super) Arc<Org>);

impl FromRequestParts<Arc<App>> for KnownOrg {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let name = path_name(parts, app, "org").await?;
        app.org(&name).map(KnownOrg)
    }
}

/// `{webhook}` in the path of a call that creates it.
pub(super) struct WebhookName(pub(super) WebhookId);

impl FromRequestParts<Arc<App>> for WebhookName {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let name = path_name(parts, app, "webhook").await?;
        let id = name.parse::<WebhookId>().map_err(|rule| Problem::invalid("/webhook", rule.to_string()))?;
        Ok(WebhookName(id))
    }
}

/// `{webhook}` in the path of every other call; a name that cannot be one names no webhook.
pub(super) struct MaybeWebhook(pub(super) Option<WebhookId>);

impl FromRequestParts<Arc<App>> for MaybeWebhook {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(MaybeWebhook(path_name(parts, app, "webhook").await?.parse().ok()))
    }
}

/// `{client}` in the path of a call that creates it.
pub(super) struct ClientName(pub(super) ClientId);

impl FromRequestParts<Arc<App>> for ClientName {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let name = path_name(parts, app, "client").await?;
        let id = name.parse::<ClientId>().map_err(|rule| Problem::invalid("/client", rule.to_string()))?;
        Ok(ClientName(id))
    }
}

/// `{client}` in the path of every other call; a name that cannot be one names no client.
pub(super) struct MaybeClient(pub(super) Option<ClientId>);

impl FromRequestParts<Arc<App>> for MaybeClient {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(MaybeClient(path_name(parts, app, "client").await?.parse().ok()))
    }
}

/// `{source}` in the path of a call that creates it.
pub(super) struct SourceName(pub(super) SourceId);

impl FromRequestParts<Arc<App>> for SourceName {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let name = path_name(parts, app, "source").await?;
        let id = name.parse::<SourceId>().map_err(|rule| Problem::invalid("/source", rule.to_string()))?;
        Ok(SourceName(id))
    }
}

/// `{source}` in the path of every other call; a name that cannot be one names no source.
pub(super) struct MaybeSource(pub(super) Option<SourceId>);

impl FromRequestParts<Arc<App>> for MaybeSource {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(MaybeSource(path_name(parts, app, "source").await?.parse().ok()))
    }
}

/// `{id}` of a dead letter, as it was given.
pub(super) struct DeadLetterName(pub(super) String);

impl FromRequestParts<Arc<App>> for DeadLetterName {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        path_name(parts, app, "id").await.map(DeadLetterName)
    }
}

/// `{id}` of an entry of the history; a name that cannot be one names none.
pub(super) struct MaybeHistoryId(pub(super) Option<HistoryId>);

impl FromRequestParts<Arc<App>> for MaybeHistoryId {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        Ok(MaybeHistoryId(path_name(parts, app, "id").await?.parse().ok()))
    }
}

/// The query's parameters, each at most once.
pub(super) struct Query(Vec<(String, String)>);

impl FromRequestParts<Arc<App>> for Query {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &Arc<App>) -> Result<Self, Problem> {
        Query::parse(parts.uri.query().unwrap_or_default())
    }
}

impl Query {
    fn parse(query: &str) -> Result<Query, Problem> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            if pairs.iter().any(|(known, _)| *known == name) {
                let rule = format!("{} is given twice", name.escape_debug());
                return Err(Problem::invalid(format!("/{name}"), rule));
            }
            pairs.push((name.into_owned(), value.into_owned()));
        }
        Ok(Query(pairs))
    }

    /// Refuses parameters that the call does not have: a mistyped filter must not mean "everything".
    pub(super) fn only(self, known: &[&str]) -> Result<Query, Problem> {
        match self.0.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            Some((name, _)) => Err(unknown_field("", name, known)),
            None => Ok(self),
        }
    }

    /// A parameter's text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that is a switch; given without a value it is on.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.text(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(Problem::invalid(format!("/{name}"), format!("{name} must be true or false"))),
        }
    }

    /// How many items a page may have.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT_DEFAULT) };
        text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
            Problem::invalid("/limit", format!("limit must be a whole number from 1 to {LIMIT_MAX}"))
        })
    }

    /// Where the page starts, from the cursor of the page before.
    pub(super) fn after<T>(&self, read: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Problem> {
        let Some(cursor) = self.text("after") else { return Ok(None) };
        let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let place = text.as_deref().and_then(read);
        place
            .map(Some)
            .ok_or_else(|| Problem::invalid("/after", "after must be the `next` of a page of this list"))
    }
}

/// A place in a list as callers see it: opaque, so that what it is made of can change.
pub(super) fn cursor(place: impl AsRef<str>) -> String {
    URL_SAFE_NO_PAD.encode(place.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_bounded_and_cursors_read_back() {
        let query = |text: &str| Query::parse(text).unwrap();
        assert_eq!(query("").limit().unwrap(), LIMIT_DEFAULT);
        assert_eq!(query("limit=1000").limit().unwrap(), 1000);
        for bad in ["limit=0", "limit=1001", "limit=x", "limit=", "limit=-1"] {
            assert_eq!(query(bad).limit().unwrap_err().field.as_deref(), Some("/limit"), "{bad}");
        }
        let read = |text: &str| text.strip_prefix("s:")?.parse::<u64>().ok();
        assert_eq!(query(&format!("after={}", cursor("s:7"))).after(read).unwrap(), Some(7));
        for bad in ["after=", "after=7", "after=%ff", &format!("after={}", cursor("t:7"))] {
            assert_eq!(query(bad).after(read).unwrap_err().field.as_deref(), Some("/after"), "{bad}");
        }
    }

    #[test]
    fn mistyped_and_repeated_parameters_are_refused() {
        let problem = Query::parse("wbhook=a").unwrap().only(&["org", "webhook"]).err().unwrap();
        assert_eq!((problem.kind, problem.field.as_deref()), (Kind::UnknownField, Some("/wbhook")));
        assert!(problem.detail.contains("did you mean \"webhook\"?"));
        assert!(Query::parse("org=a&org=b").is_err());
        assert!(Query::parse("discard").unwrap().flag("discard").unwrap());
        assert!(Query::parse("discard=maybe").unwrap().flag("discard").is_err());
    }
}
