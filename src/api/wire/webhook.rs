//! Webhooks: checked on the way in, shown with every default filled in and without their secrets on the way out. PURE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::proof::{AuthorizationOut, HeadersOut, Proof, SignatureOut};
use super::retry::{DELAY_MAX, RetryOut, retry};
use super::route::{RouteOut, read_route};
use super::target::{TargetOut, check_variables, shown, target};
use super::{Members, matching};
use crate::api::problem::Problem;
use crate::catalogue::Catalogue;
use crate::model::{
    EventPattern, HumanDuration, Method, PASSWORD_HEADER, RETRY_AFTER_MAX_DEFAULT, Route, Secret,
    TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN, Target, UnixMs, Webhook, WebhookId, format_duration,
};

const PASSWORD_MAX: usize = 2048;
pub(super) const DESCRIPTION_MAX: usize = 1024;

/// Reads the body of `PUT …/webhooks/{webhook}`. What is not given gets its default: a PUT replaces the whole webhook,
/// its password included.
pub(in crate::api) fn read_webhook(
    id: WebhookId,
    body: &[u8],
    catalogue: &Catalogue,
    now: UnixMs,
) -> Result<Webhook, Problem> {
    const KNOWN: &[&str] = &[
        "url",
        "client",
        "path",
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
    let proof = Proof::read(&members)?;
    Ok(Webhook {
        method: members.ruled("method")?.unwrap_or(Method::Post),
        events,
        matching: matching::conditions(&members)?,
        password: password(&members)?,
        password_header: proof.password_header,
        authorization: proof.authorization,
        signature: proof.signature,
        headers: proof.headers,
        route: Some(route).filter(|route| !route.is_default()).map(Arc::new),
        retry: retry(&members)?,
        retry_after_max: retry_after_max(&members)?,
        timeout: timeout(&members)?,
        disable_on_gone: flag(&members, "disable_on_gone", false)?,
        enabled: flag(&members, "enabled", true)?,
        faithful: flag(&members, "faithful", false)?,
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

fn timeout(members: &Members<'_>) -> Result<Duration, Problem> {
    let timeout = members.duration("timeout")?.unwrap_or(TIMEOUT_DEFAULT);
    if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let (min, max) = (format_duration(TIMEOUT_MIN), format_duration(TIMEOUT_MAX));
    Err(members.invalid("timeout", format_args!("must be from {min} to {max}")))
}

/// Zero means that it is ignored.
fn retry_after_max(members: &Members<'_>) -> Result<Duration, Problem> {
    let longest = members.duration("retry_after_max")?.unwrap_or(RETRY_AFTER_MAX_DEFAULT);
    if longest > DELAY_MAX {
        return Err(members.invalid("retry_after_max", "must be at most 24h; \"0s\" ignores Retry-After"));
    }
    Ok(longest)
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
mod tests {
    use super::*;
    use crate::api::problem::Kind;

    fn read(body: &str) -> Result<Webhook, Problem> {
        read_webhook("orders".parse().unwrap(), body.as_bytes(), &Catalogue::shipped(), UnixMs(0))
    }

    #[track_caller]
    fn refused(body: &str, field: &str) {
        let problem = read(body).err().unwrap_or_else(|| panic!("accepted: {body}"));
        assert_eq!((problem.kind, problem.field.as_deref()), (Kind::InvalidField, Some(field)), "{body}");
    }

    #[test]
    fn defaults_are_filled_in_when_shown() {
        let webhook = read(r#"{"url":"https://example.com/hook"}"#).unwrap();
        assert_eq!(
            serde_json::to_string(&WebhookOut::from(&webhook)).unwrap(),
            r#"{"id":"orders","url":"https://example.com/hook","method":"POST","events":["*"],"match":{},"password_set":false,"password_header":"x-tt-webhook-password","authorization":null,"signature":null,"headers":{},"tls":null,"proxy":null,"proxy_credentials_set":false,"http2":null,"bind_address":null,"retry":{"attempts":10,"first_delay":"200ms","factor":2,"max_delay":"10s","jitter":0,"on_exhausted":"advance"},"retry_after_max":"1m","timeout":"10s","disable_on_gone":false,"enabled":true,"faithful":false,"description":"","created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000Z"}"#
        );
    }

    #[test]
    fn a_password_is_taken_and_never_shown() {
        let webhook = read(r#"{"url":"https://a.example/","password":"canary-7"}"#).unwrap();
        assert_eq!(webhook.password.as_ref().unwrap().expose(), "canary-7");
        let shown = serde_json::to_string(&WebhookOut::from(&webhook)).unwrap();
        assert!(shown.contains(r#""password_set":true"#) && !shown.contains("canary"), "{shown}");
        assert!(read(r#"{"url":"https://a.example/","password":null}"#).unwrap().password.is_none());
        let long = "x".repeat(PASSWORD_MAX + 1);
        for bad in ["", " a", "a ", "a\\nb", "\u{e4}", &long] {
            let body = format!(r#"{{"url":"https://a.example/","password":"{bad}"}}"#);
            refused(&body, "/password");
            assert!(bad.len() < 4 || !read(&body).unwrap_err().detail.contains(bad));
        }
    }

    #[test]
    fn numbers_and_durations_keep_to_their_bounds() {
        let with = |rest: &str| format!(r#"{{"url":"https://a.example/",{rest}}}"#);
        for (rest, field) in [
            (r#""timeout":"99ms""#, "/timeout"),
            (r#""timeout":"61s""#, "/timeout"),
            (r#""timeout":10"#, "/timeout"),
            (r#""timeout":"ten""#, "/timeout"),
            (r#""enabled":"yes""#, "/enabled"),
            (r#""events":[]"#, "/events"),
            (r#""events":"*""#, "/events"),
            (r#""events":["a","b*"]"#, "/events/1"),
            (r#""events":[7]"#, "/events/0"),
            (r#""retry":7"#, "/retry"),
            (r#""retry_after_max":"25h""#, "/retry_after_max"),
            (r#""method":"HEAD""#, "/method"),
            (r#""method":7"#, "/method"),
            (r#""match":7"#, "/match"),
            (r#""disable_on_gone":1"#, "/disable_on_gone"),
            (r#""faithful":"no""#, "/faithful"),
            (r#""description":"a\u001bb""#, "/description"),
        ] {
            refused(&with(rest), field);
        }
        let webhook = read(&with(r#""timeout":"100ms","method":"delete","retry_after_max":"0s""#)).unwrap();
        assert_eq!((webhook.timeout, webhook.method), (TIMEOUT_MIN, Method::Delete));
        assert!(webhook.retry_after_max.is_zero());
    }
}
