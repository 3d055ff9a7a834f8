//! What requests of sources are judged by. Can be changed while running.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::catalogue::{Catalogue, ChangeLimits};
use crate::config::{Config, Validate};
use crate::intake::{self, Entitlement};
use crate::model::{OrgId, SourceId};

/// Limits, and what intake needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What stands before the path of an address as it is shown; empty where nothing listens.
    pub base_url: String,
    /// Where requests are taken, and whether TLS is spoken there; nowhere without a listener.
    pub listening: Option<(SocketAddr, bool)>,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Requests per second and source.
    pub max_rate: u64,
    /// Plans that may have webhooks.
    pub entitlement: Entitlement,
    /// What is known of event types, and what requests mean.
    pub catalogue: Arc<Catalogue>,
    /// What becomes of payloads that are not as the catalogue says.
    pub validate: Validate,
    /// What the rules of one request may come to.
    pub limits: ChangeLimits,
}

impl Settings {
    /// As configured, for a listener at `address` (with TLS or without), if there is one.
    #[must_use]
    pub fn of(
        config: &Config,
        catalogue: Arc<Catalogue>,
        limits: ChangeLimits,
        listening: Option<(SocketAddr, bool)>,
    ) -> Settings {
        let of_listener = listening.map(|(address, tls)| {
            let scheme = if tls { "https" } else { "http" };
            format!("{scheme}://{address}")
        });
        Settings {
            base_url: config.sources.public_url.clone().or(of_listener).unwrap_or_default(),
            listening,
            max_body_bytes: config.sources.max_body_bytes,
            max_rate: config.sources.max_rate,
            entitlement: Entitlement::of_plans(config.intake.entitled_plans.iter().cloned()),
            catalogue,
            validate: config.intake.validate,
            limits,
        }
    }

    /// What intake decides by.
    #[must_use]
    pub fn rules(&self) -> intake::Rules<'_> {
        let Settings { entitlement, catalogue, validate, .. } = self;
        intake::Rules { entitlement, catalogue, validate: *validate }
    }

    /// The address of a source, as it is to be pasted elsewhere.
    #[must_use]
    pub fn url(&self, org: &OrgId, source: &SourceId, token: &str) -> String {
        format!("{}/in/{org}/{source}/{token}", self.base_url)
    }
}
