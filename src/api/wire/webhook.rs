//! Webhooks: checked on the way in, shown with every default filled in and without their secrets on the way out. PURE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::profile::{named, of_client};
use super::proof::{AuthorizationOut, HeadersOut, Proof, SignatureOut};
use super::retry::{RetryOut, retry};
use super::route::{RouteOut, read_route};
use super::target::{TargetOut, check_variables, shown, target};
use super::{Members, matching};
use crate::catalogue::{Catalogue, Profile};
use crate::model::{
    EventPattern, HumanDuration, PASSWORD_HEADER, PASSWORD_MAX, Route, Secret, Target, UnixMs, Webhook,
    WebhookId, check_retry_after_max, check_timeout,
};
use crate::queue::Clients;
use crate::serving::problem::Problem;

pub(super) const DESCRIPTION_MAX: usize = 1024;

/// Reads the body of `PUT …/webhooks/{webhook}`. What is not given comes from the profile, the webhook's own or else its
/// client's, or else gets its default: a PUT replaces the whole webhook, its password included.
pub(in crate::api) fn read_webhook(
    id: WebhookId,
    body: &[u8],
    catalogue: &Catalogue,
    clients: &Clients,
    now: UnixMs,
) -> Result<Webhook, Problem> {
    const KNOWN: &[&str] = &[
        "url",
        "client",
        "path",
        "profile",
        "method",
        "events",
        "match",
        "password",
        "password_header",
        "authorization",
        "signature",
        "headers",
        "tls",
        "proxy",
        "http2",
        "bind_address",
        "retry",
        "retry_after_max",
        "timeout",
        "disable_on_gone",
        "enabled",
        "faithful",
        "description",
    ];
    let members = Members::parse(body, KNOWN)?;
    let (target, events) = (target(&members)?, matching::events(&members)?);
    check_variables(&target, &events, catalogue)?;
    let route = read_route(&members)?;
    if matches!(target, Target::Client { .. }) {
        // Else whoever saves a webhook could have the client's secrets sent to a machine of his own.
        for (name, given) in [("tls", route.tls.is_some()), ("proxy", route.proxy.is_some())] {
            if given {
                return Err(members.invalid(name, "is the client's to say: give it there"));
            }
        }
    }
    let own = named(&members, catalogue)?;
    let profile = if own.is_some() { own } else { of_client(&target, clients, catalogue)? };
    let plain = Profile::default();
    let (profile, base) = profile.map_or((None, &plain), |(name, profile)| (Some(name.into()), profile));
    let proof = Proof::read(&members, base)?;
    Ok(Webhook {
        method: members.ruled("method")?.unwrap_or(base.method),
        events,
        matching: matching::conditions(&members)?,
        password: password(&members)?,
        password_header: proof.password_header,
        authorization: proof.authorization,
        signature: proof.signature,
        headers: proof.headers,
        route: Some(route).filter(|route| !route.is_default()).map(Arc::new),
        retry: retry(&members, &base.retry)?,
        retry_after_max: ruled(&members, "retry_after_max", base.retry_after_max, check_retry_after_max)?,
        timeout: ruled(&members, "timeout", base.timeout, check_timeout)?,
        disable_on_gone: flag(&members, "disable_on_gone", base.disable_on_gone)?,
        enabled: flag(&members, "enabled", true)?,
        faithful: flag(&members, "faithful", base.faithful)?,
        profile,
        description: description(&members)?,
        ..Webhook::new(id, target, now)
    })
}

/// Text for people: bounded, and without control characters that could fool a terminal.
pub(super) fn description(members: &Members<'_>) -> Result<String, Problem> {
    let text = members.text("description")?.unwrap_or_default();
    if text.len() > DESCRIPTION_MAX || text.chars().any(|c| c.is_control() && c != '\n') {
        let rule = format!("must have at most {DESCRIPTION_MAX} bytes and no control characters");
        return Err(members.invalid("description", rule));
    }
    Ok(text.into_owned())
}

/// Goes out as a header value, so it must be able to be one without being changed on the way.
fn password(members: &Members<'_>) -> Result<Option<Secret>, Problem> {
    let Some(text) = members.text("password")? else { return Ok(None) };
    let visible = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    let trimmed = !text.starts_with(' ') && !text.ends_with(' ');
    if !(1..=PASSWORD_MAX).contains(&text.len()) || !visible || !trimmed {
        let rule = format!(
            "must have 1 to {PASSWORD_MAX} visible ASCII characters, without spaces at either end; null means none"
        );
        return Err(members.invalid("password", rule));
    }
    Ok(Some(Secret::new(text.into_owned())))
}

/// A duration with a rule of its own.
fn ruled(
    members: &Members<'_>,
    name: &str,
    default: Duration,
    rule: impl FnOnce(Duration) -> Result<Duration, String>,
) -> Result<Duration, Problem> {
    let Some(given) = members.duration(name)? else { return Ok(default) };
    rule(given).map_err(|rule| members.invalid(name, rule))
}

fn flag(members: &Members<'_>, name: &str, default: bool) -> Result<bool, Problem> {
    Ok(members.value(name, "true or false")?.unwrap_or(default))
}

/// A webhook as shown.
#[derive(Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, shown under its own name")]
pub(in crate::api) struct WebhookOut<'a> {
    id: &'a WebhookId,
    #[serde(flatten)]
    target: TargetOut<'a>,
    profile: Option<&'a str>,
    method: &'static str,
    events: &'a [EventPattern],
    #[serde(rename = "match")]
    matching: BTreeMap<&'a str, Vec<&'a str>>,
    password_set: bool,
    password_header: &'a str,
    authorization: Option<AuthorizationOut<'a>>,
    signature: Option<SignatureOut<'a>>,
    headers: HeadersOut<'a>,
    #[serde(flatten)]
    route: RouteOut,
    retry: RetryOut,
    retry_after_max: HumanDuration,
    timeout: HumanDuration,
    disable_on_gone: bool,
    enabled: bool,
    faithful: bool,
    description: &'a str,
    created_at: UnixMs,
    updated_at: UnixMs,
}

impl<'a> WebhookOut<'a> {
    /// The webhook's name.
    pub(in crate::api) fn id(&self) -> &'a WebhookId {
        self.id
    }
}

impl<'a> From<&'a Webhook> for WebhookOut<'a> {
    fn from(webhook: &'a Webhook) -> WebhookOut<'a> {
        WebhookOut {
            id: &webhook.id,
            target: shown(&webhook.target),
            profile: webhook.profile.as_deref(),
            method: webhook.method.as_str(),
            events: &webhook.events,
            matching: matching::shown(&webhook.matching),
            password_set: webhook.password.is_some(),
            password_header: webhook.password_header.as_deref().unwrap_or(PASSWORD_HEADER),
            authorization: webhook.authorization.as_deref().map(Into::into),
            signature: webhook.signature.as_deref().map(Into::into),
            headers: HeadersOut(&webhook.headers),
            route: webhook.route.as_deref().unwrap_or(&Route::default()).into(),
            retry: RetryOut::from(&webhook.retry),
            retry_after_max: HumanDuration(webhook.retry_after_max),
            timeout: HumanDuration(webhook.timeout),
            disable_on_gone: webhook.disable_on_gone,
            enabled: webhook.enabled,
            faithful: webhook.faithful,
            description: &webhook.description,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

#[cfg(test)]
#[path = "webhook_tests.rs"]
mod tests;
