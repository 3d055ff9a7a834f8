//! A request that came to a source, and what a catalogue makes of it. PURE.

use bytes::Bytes;

use super::Catalogue;
use super::change::{ChangeLimits, Fired};
use super::rules::Refused;
use crate::model::{OrgId, OrgNumber, UnixMs};

/// A request that is proved and read.
#[derive(Clone, Copy)]
pub struct IncomingRequest<'a> {
    /// Whose catalogue says what it means.
    pub product: &'a str,
    /// The word of its source's kind, for example `slack`.
    pub kind: &'a str,
    /// Its source's name.
    pub source: &'a str,
    /// The sender's word for what happened, if it came beside the body.
    pub event: Option<&'a str>,
    /// The sender's name for this one request.
    pub id: Option<&'a str>,
    /// What was sent, as JSON. Fields of a form are an object of texts.
    pub body: &'a Bytes,
    /// When it was accepted.
    pub at: UnixMs,
    /// Whose source it is.
    pub org: &'a OrgId,
    /// The org's number in this daemon.
    pub org_number: OrgNumber,
}

/// No body: it is secret.
impl std::fmt::Debug for IncomingRequest<'_> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("IncomingRequest")
            .field("product", &self.product)
            .field("kind", &self.kind)
            .field("source", &self.source)
            .field("org", &self.org)
            .finish_non_exhaustive()
    }
}

/// What a request comes to. If both are empty, it means nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Its events, in order.
    pub events: Vec<Fired>,
    /// A text for whoever asked.
    pub answer: Option<String>,
}

/// Why a request comes to nothing at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestRefused {
    /// The product's catalogue has no rules for requests, or is not in force.
    NoRules,
    /// By the rules. Fields are JSON Pointers that begin with `/body`.
    Rules(Refused),
}

impl From<Refused> for RequestRefused {
    fn from(refused: Refused) -> RequestRefused {
        RequestRefused::Rules(refused)
    }
}

impl Catalogue {
    /// The events and the answer that a request comes to.
    ///
    /// # Errors
    /// Why it is refused, whole.
    pub fn map(
        &self,
        request: &IncomingRequest<'_>,
        limits: &ChangeLimits,
    ) -> Result<Mapped, RequestRefused> {
        let product = self.product(request.product).ok_or(RequestRefused::NoRules)?;
        product.rules.map(request, limits)
    }

    /// Whether this product's catalogue says what requests mean.
    #[must_use]
    pub fn maps_requests(&self, product: &str) -> bool {
        self.product(product).is_some_and(|product| product.rules.has_requests())
    }

    /// The products whose catalogues say what requests mean.
    pub fn request_products(&self) -> impl Iterator<Item = &str> {
        let mapping = self.products.iter().filter(|product| product.rules.has_requests());
        mapping.map(|product| &*product.name)
    }
}
