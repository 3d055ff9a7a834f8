//! PURE. The records of what operators set: orgs, clients and webhooks.

use std::time::Duration;

use bincode::{Decode, Encode};

use super::proof::{AuthorizationRecord, SignatureRecord, exposed, headers, headers_record};
use super::route::RouteRecord;
use super::{Record, decode, parse};
use crate::model::{
    Client, Condition, EventPattern, OnExhausted, OrgId, OrgSettings, Piece, RETRY_AFTER_MAX_DEFAULT, Retry,
    Secret, Target, UnixMs, UrlTemplate, Webhook,
};
use crate::queue::seal::Unreadable;

#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct OrgRecord {
    before: OrgRecord2,
    max_webhooks: Option<u64>,
}

/// As it was up to format 2.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub(in crate::queue) struct OrgRecord2 {
    id: String,
    plan: Option<String>,
    description: String,
    max_deliveries: Option<u64>,
    max_bytes: Option<u64>,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(Clone, PartialEq, Encode, Decode)]
pub(in crate::queue) struct ClientRecord {
    before: ClientRecord2,
    profile: Option<String>,
}

/// As it was in format 2.
#[derive(Clone, PartialEq, Encode, Decode)]
struct ClientRecord2 {
    id: String,
    base_url: String,
    authorization: Option<AuthorizationRecord>,
    headers: Vec<(String, String)>,
    route: RouteRecord,
    description: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(Clone, PartialEq, Encode, Decode)]
pub(in crate::queue) struct WebhookRecord {
    before: WebhookRecord2,
    profile: Option<String>,
}

/// As it was in format 2.
#[derive(Clone, PartialEq, Encode, Decode)]
pub(in crate::queue) struct WebhookRecord2 {
    id: String,
    client: Option<String>,
    /// The whole URL, or path and query after the client's base URL.
    url: Vec<PieceRecord>,
    method: String,
    events: Vec<String>,
    matching: Vec<(String, Vec<String>)>,
    password: Option<String>,
    password_header: Option<String>,
    authorization: Option<AuthorizationRecord>,
    signature: Option<SignatureRecord>,
    headers: Vec<(String, String)>,
    route: Option<RouteRecord>,
    retry: RetryRecord,
    retry_after_max_ms: u64,
    timeout_ms: u64,
    disable_on_gone: bool,
    enabled: bool,
    faithful: bool,
    description: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

/// Of format 1: a URL without variables, POST, a password.
#[derive(Clone, PartialEq, Encode, Decode)]
struct WebhookRecord1 {
    id: String,
    url: String,
    events: Vec<String>,
    password: Option<String>,
    attempts: u32,
    first_delay_ms: u64,
    factor: f64,
    max_delay_ms: u64,
    timeout_ms: u64,
    enabled: bool,
    description: String,
    created_at_ms: i64,
    updated_at_ms: i64,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
enum PieceRecord {
    Literal(String),
    Variable(String),
}

#[derive(Clone, PartialEq, Encode, Decode)]
struct RetryRecord {
    attempts: u32,
    first_delay_ms: u64,
    factor: f64,
    max_delay_ms: u64,
    schedule_ms: Option<Vec<u64>>,
    jitter: f64,
    on_exhausted: String,
}

impl Record for OrgRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version < 3 {
            return Ok(OrgRecord { before: decode(bytes)?, max_webhooks: None });
        }
        decode(bytes)
    }
}

impl Record for ClientRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        if version < 3 {
            return Ok(ClientRecord { before: decode(bytes)?, profile: None });
        }
        decode(bytes)
    }
}

impl Record for WebhookRecord {
    fn read(version: u8, bytes: &[u8]) -> Result<Self, Unreadable> {
        let before = match version {
            1 => decode::<WebhookRecord1>(bytes)?.into(),
            2 => decode(bytes)?,
            _ => return decode(bytes),
        };
        Ok(WebhookRecord { before, profile: None })
    }
}

impl From<WebhookRecord1> for WebhookRecord2 {
    fn from(old: WebhookRecord1) -> WebhookRecord2 {
        WebhookRecord2 {
            id: old.id,
            client: None,
            // Braces had no meaning then, and have none in what was saved then.
            url: vec![PieceRecord::Literal(old.url)],
            method: crate::model::Method::Post.as_str().to_owned(),
            events: old.events,
            matching: Vec::new(),
            password: old.password,
            password_header: None,
            authorization: None,
            signature: None,
            headers: Vec::new(),
            route: None,
            retry: RetryRecord {
                attempts: old.attempts,
                first_delay_ms: old.first_delay_ms,
                factor: old.factor,
                max_delay_ms: old.max_delay_ms,
                schedule_ms: None,
                jitter: 0.0,
                on_exhausted: OnExhausted::Advance.code().to_owned(),
            },
            retry_after_max_ms: ms(RETRY_AFTER_MAX_DEFAULT),
            timeout_ms: old.timeout_ms,
            disable_on_gone: false,
            enabled: old.enabled,
            faithful: false,
            description: old.description,
            created_at_ms: old.created_at_ms,
            updated_at_ms: old.updated_at_ms,
        }
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
impl OrgRecord {
    /// As format 2 wrote it.
    pub(in crate::queue) fn of_2(&self) -> &OrgRecord2 {
        &self.before
    }
}

#[cfg(test)]
impl WebhookRecord {
    /// As format 2 wrote it.
    pub(in crate::queue) fn of_2(&self) -> &WebhookRecord2 {
        &self.before
    }
}

impl OrgRecord {
    pub(in crate::queue) fn new(id: &OrgId, settings: &OrgSettings) -> OrgRecord {
        let before = OrgRecord2 {
            id: id.as_str().to_owned(),
            plan: settings.plan.clone(),
            description: settings.description.clone(),
            max_deliveries: settings.max_deliveries,
            max_bytes: settings.max_bytes,
            created_at_ms: settings.created_at.0,
            updated_at_ms: settings.updated_at.0,
        };
        OrgRecord { before, max_webhooks: settings.max_webhooks }
    }

    pub(in crate::queue) fn into_parts(self) -> Result<(OrgId, OrgSettings), Unreadable> {
        let OrgRecord { before, max_webhooks } = self;
        let settings = OrgSettings {
            plan: before.plan,
            description: before.description,
            max_deliveries: before.max_deliveries,
            max_bytes: before.max_bytes,
            max_webhooks,
            created_at: UnixMs(before.created_at_ms),
            updated_at: UnixMs(before.updated_at_ms),
        };
        Ok((parse(&before.id)?, settings))
    }
}

impl From<&Client> for ClientRecord {
    fn from(client: &Client) -> ClientRecord {
        let before = ClientRecord2 {
            id: client.id.as_str().to_owned(),
            base_url: client.base_url.as_str().to_owned(),
            authorization: client.authorization.as_deref().map(AuthorizationRecord::from),
            headers: headers_record(&client.headers),
            route: RouteRecord::from(&client.route),
            description: client.description.clone(),
            created_at_ms: client.created_at.0,
            updated_at_ms: client.updated_at.0,
        };
        ClientRecord { before, profile: client.profile.as_ref().map(ToString::to_string) }
    }
}

impl ClientRecord {
    pub(in crate::queue) fn into_client(self) -> Result<Client, Unreadable> {
        let ClientRecord { before, profile } = self;
        Ok(Client {
            id: parse(&before.id)?,
            base_url: parse(&before.base_url)?,
            authorization: before.authorization.map(|record| Box::new(record.into())),
            headers: headers(before.headers),
            route: before.route.into_route()?,
            profile: profile.map(String::into_boxed_str),
            description: before.description,
            created_at: UnixMs(before.created_at_ms),
            updated_at: UnixMs(before.updated_at_ms),
        })
    }
}

impl From<&Webhook> for WebhookRecord {
    fn from(webhook: &Webhook) -> WebhookRecord {
        let (client, template) = match &webhook.target {
            Target::Url(template) => (None, template),
            Target::Client { client, path } => (Some(client.as_str().to_owned()), path),
        };
        let matching = webhook.matching.iter().map(|condition| {
            let values = condition.values.iter().map(ToString::to_string).collect();
            (condition.attribute.to_string(), values)
        });
        let before = WebhookRecord2 {
            id: webhook.id.as_str().to_owned(),
            client,
            url: template.pieces().iter().map(PieceRecord::from).collect(),
            method: webhook.method.as_str().to_owned(),
            events: webhook.events.iter().map(|pattern| pattern.as_str().to_owned()).collect(),
            matching: matching.collect(),
            password: webhook.password.as_ref().map(exposed),
            password_header: webhook.password_header.as_ref().map(ToString::to_string),
            authorization: webhook.authorization.as_deref().map(AuthorizationRecord::from),
            signature: webhook.signature.as_deref().map(SignatureRecord::from),
            headers: headers_record(&webhook.headers),
            route: webhook.route.as_deref().map(RouteRecord::from),
            retry: RetryRecord::from(&webhook.retry),
            retry_after_max_ms: ms(webhook.retry_after_max),
            timeout_ms: ms(webhook.timeout),
            disable_on_gone: webhook.disable_on_gone,
            enabled: webhook.enabled,
            faithful: webhook.faithful,
            description: webhook.description.clone(),
            created_at_ms: webhook.created_at.0,
            updated_at_ms: webhook.updated_at.0,
        };
        WebhookRecord { before, profile: webhook.profile.as_ref().map(ToString::to_string) }
    }
}

impl WebhookRecord {
    pub(in crate::queue) fn into_webhook(self) -> Result<Webhook, Unreadable> {
        let WebhookRecord { before, profile } = self;
        let template = UrlTemplate::new(before.url.into_iter().map(Piece::from).collect());
        let target = match before.client {
            None => Target::Url(template),
            Some(client) => Target::Client { client: parse(&client)?, path: template },
        };
        let matching = before.matching.into_iter().map(|(attribute, values)| Condition {
            attribute: attribute.into_boxed_str(),
            values: values.into_iter().map(String::into_boxed_str).collect(),
        });
        Ok(Webhook {
            id: parse(&before.id)?,
            target,
            method: parse(&before.method)?,
            events: before.events.iter().map(|p| parse::<EventPattern>(p)).collect::<Result<_, _>>()?,
            matching: matching.collect(),
            password: before.password.map(Secret::new),
            password_header: before.password_header.map(String::into_boxed_str),
            authorization: before.authorization.map(|record| Box::new(record.into())),
            signature: before.signature.map(|record| Box::new(record.into())),
            headers: headers(before.headers),
            route: before.route.map(RouteRecord::into_route).transpose()?.map(Into::into),
            retry: before.retry.into_retry()?,
            retry_after_max: Duration::from_millis(before.retry_after_max_ms),
            timeout: Duration::from_millis(before.timeout_ms),
            disable_on_gone: before.disable_on_gone,
            enabled: before.enabled,
            faithful: before.faithful,
            profile: profile.map(String::into_boxed_str),
            description: before.description,
            created_at: UnixMs(before.created_at_ms),
            updated_at: UnixMs(before.updated_at_ms),
        })
    }
}

impl From<&Piece> for PieceRecord {
    fn from(piece: &Piece) -> PieceRecord {
        match piece {
            Piece::Literal(text) => PieceRecord::Literal(text.to_string()),
            Piece::Variable(name) => PieceRecord::Variable(name.to_string()),
        }
    }
}

impl From<PieceRecord> for Piece {
    fn from(record: PieceRecord) -> Piece {
        match record {
            PieceRecord::Literal(text) => Piece::Literal(text.into()),
            PieceRecord::Variable(name) => Piece::Variable(name.into()),
        }
    }
}

impl From<&Retry> for RetryRecord {
    fn from(retry: &Retry) -> RetryRecord {
        RetryRecord {
            attempts: retry.attempts,
            first_delay_ms: ms(retry.first_delay),
            factor: retry.factor,
            max_delay_ms: ms(retry.max_delay),
            schedule_ms: retry.schedule.as_ref().map(|waits| waits.iter().copied().map(ms).collect()),
            jitter: retry.jitter,
            on_exhausted: retry.on_exhausted.code().to_owned(),
        }
    }
}

impl RetryRecord {
    fn into_retry(self) -> Result<Retry, Unreadable> {
        let schedule = self.schedule_ms.map(|waits| waits.into_iter().map(Duration::from_millis).collect());
        Ok(Retry {
            attempts: self.attempts,
            first_delay: Duration::from_millis(self.first_delay_ms),
            factor: self.factor,
            max_delay: Duration::from_millis(self.max_delay_ms),
            schedule,
            jitter: self.jitter,
            on_exhausted: parse(&self.on_exhausted)?,
        })
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
