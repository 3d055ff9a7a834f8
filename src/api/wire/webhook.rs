//! Webhooks: checked on the way in, shown with every default filled in and without their secrets on the way out. PURE.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;
use url::Url;

use super::Members;
use crate::api::problem::Problem;
use crate::delivery::check_url;
use crate::model::{
    ATTEMPTS_MAX, EventPattern, HumanDuration, Retry, Secret, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN,
    Target, UnixMs, UrlTemplate, Webhook, WebhookId, format_duration, parse_duration,
};

const URL_MAX: usize = 2048;
const PASSWORD_MAX: usize = 2048;
const EVENTS_MAX: usize = 200;
pub(super) const DESCRIPTION_MAX: usize = 1024;
/// A wait longer than this is more likely a mistake than a schedule.
const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
const FACTOR: std::ops::RangeInclusive<f64> = 1.0..=100.0;

/// Reads the body of `PUT …/webhooks/{webhook}`. What is not given gets its default: a PUT replaces the whole webhook,
/// its password included.
pub(in crate::api) fn read_webhook(id: WebhookId, body: &[u8], now: UnixMs) -> Result<Webhook, Problem> {
    const KNOWN: &[&str] = &["url", "events", "password", "retry", "timeout", "enabled", "description"];
    let members = Members::parse(body, KNOWN)?;
    let target = Target::Url(UrlTemplate::fixed(url(&members)?.as_str()));
    Ok(Webhook {
        events: events(&members)?,
        password: password(&members)?,
        retry: retry(&members)?,
        timeout: timeout(&members)?,
        enabled: members.value("enabled", "true or false")?.unwrap_or(true),
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

/// One parser, the one that is dialled with, decides what a URL means; text that it would silently mend is refused, so
/// that what is shown is what was typed.
fn url(members: &Members<'_>) -> Result<Url, Problem> {
    let text = members.text("url")?.ok_or_else(|| members.missing("url", "an absolute https URL"))?;
    let refuse = |rule: &str| members.invalid("url", rule);
    if text.len() > URL_MAX {
        return Err(refuse(&format!("must have at most {URL_MAX} bytes")));
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(refuse("must not contain spaces, control characters or backslashes"));
    }
    let url = Url::parse(&text).map_err(|error| refuse(&format!("is not an absolute URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("must start with https:// or http://"));
    }
    let after_scheme = text.split_once(':').map_or("", |(_, rest)| rest);
    if !after_scheme.starts_with("//") || url.host_str().is_none_or(str::is_empty) {
        return Err(refuse("must have a host, as in https://example.com/hook"));
    }
    if !url.username().is_empty() || url.password().is_some() || authority(after_scheme).contains('@') {
        return Err(refuse("must not contain a user name or password"));
    }
    if url.fragment().is_some() {
        return Err(refuse("must not contain a fragment (#…)"));
    }
    if url.port() == Some(0) {
        return Err(refuse("must not have port 0"));
    }
    if url.as_str().len() > URL_MAX {
        return Err(refuse(&format!("must have at most {URL_MAX} bytes once percent-encoded")));
    }
    // Some hosts that the parser takes cannot stand in a request: better said now than by every attempt.
    check_url(&url).map_err(refuse)?;
    Ok(url)
}

fn authority(after_scheme: &str) -> &str {
    let rest = after_scheme.trim_start_matches('/');
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}

fn events(members: &Members<'_>) -> Result<Vec<EventPattern>, Problem> {
    let given: Option<Vec<&RawValue>> = members.value("events", "a list of event types")?;
    let Some(given) = given else { return Ok(vec![EventPattern::any()]) };
    if !(1..=EVENTS_MAX).contains(&given.len()) {
        let rule = format!("must name 1 to {EVENTS_MAX} event types; [\"*\"] means every type");
        return Err(members.invalid("events", rule));
    }
    let read = |(index, text): (usize, &&RawValue)| {
        serde_json::from_str::<String>(text.get())
            .map_err(|_| "an entry of events must be a string".to_owned())
            .and_then(|text| text.parse())
            .map_err(|rule| Problem::invalid(format!("/events/{index}"), rule))
    };
    given.iter().enumerate().map(read).collect()
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

fn duration(members: &Members<'_>, name: &str) -> Result<Option<Duration>, Problem> {
    let what = "a duration as text, for example \"200ms\", \"10s\" or \"1h\"";
    let text: Option<String> = members.value(name, what)?;
    text.map(|text| parse_duration(&text).map_err(|rule| members.invalid(name, rule))).transpose()
}

fn timeout(members: &Members<'_>) -> Result<Duration, Problem> {
    let timeout = duration(members, "timeout")?.unwrap_or(TIMEOUT_DEFAULT);
    if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let (min, max) = (format_duration(TIMEOUT_MIN), format_duration(TIMEOUT_MAX));
    Err(members.invalid("timeout", format_args!("must be from {min} to {max}")))
}

fn retry(members: &Members<'_>) -> Result<Retry, Problem> {
    const KNOWN: &[&str] = &["attempts", "first_delay", "factor", "max_delay"];
    let default = Retry::default();
    let Some(members) = members.object("retry", KNOWN)? else { return Ok(default) };
    let attempts = members.value("attempts", "a whole number")?.unwrap_or(u64::from(default.attempts));
    let attempts = u32::try_from(attempts)
        .ok()
        .filter(|attempts| (1..=ATTEMPTS_MAX).contains(attempts))
        .ok_or_else(|| members.invalid("attempts", format_args!("must be from 1 to {ATTEMPTS_MAX}")))?;
    let factor: f64 = members.value("factor", "a number")?.unwrap_or(default.factor);
    if !FACTOR.contains(&factor) {
        let rule = format!("must be from {} to {}", FACTOR.start(), FACTOR.end());
        return Err(members.invalid("factor", rule));
    }
    let first_delay = duration(&members, "first_delay")?.unwrap_or(default.first_delay);
    if first_delay > DELAY_MAX {
        return Err(members.invalid("first_delay", "must be at most 24h"));
    }
    // Without a maximum of its own, a first delay above the default maximum is what was meant.
    let max_delay = duration(&members, "max_delay")?.unwrap_or(default.max_delay.max(first_delay));
    if max_delay > DELAY_MAX || max_delay < first_delay {
        let first_delay = format_duration(first_delay);
        let rule = format!("must be at least first_delay ({first_delay}) and at most 24h");
        return Err(members.invalid("max_delay", rule));
    }
    Ok(Retry { attempts, first_delay, factor, max_delay, ..default })
}

/// A webhook as shown.
#[derive(Serialize)]
pub(in crate::api) struct WebhookOut<'a> {
    id: &'a WebhookId,
    url: String,
    events: &'a [EventPattern],
    password_set: bool,
    retry: RetryOut,
    timeout: HumanDuration,
    enabled: bool,
    description: &'a str,
    created_at: UnixMs,
    updated_at: UnixMs,
}

#[derive(Serialize)]
struct RetryOut {
    attempts: u32,
    first_delay: HumanDuration,
    factor: Box<RawValue>,
    max_delay: HumanDuration,
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
            url: match &webhook.target {
                Target::Url(template) | Target::Client { path: template, .. } => template.to_string(),
            },
            events: &webhook.events,
            password_set: webhook.password.is_some(),
            retry: RetryOut {
                attempts: webhook.retry.attempts,
                first_delay: HumanDuration(webhook.retry.first_delay),
                factor: number(webhook.retry.factor),
                max_delay: HumanDuration(webhook.retry.max_delay),
            },
            timeout: HumanDuration(webhook.timeout),
            enabled: webhook.enabled,
            description: &webhook.description,
            created_at: webhook.created_at,
            updated_at: webhook.updated_at,
        }
    }
}

/// A factor of 2 is shown as it is written, `2`, not `2.0`.
fn number(value: f64) -> Box<RawValue> {
    let mut text = String::new();
    // Writing to a String cannot fail; a text that were no number would show as null.
    let written = write!(text, "{value}");
    let raw = written.ok().and_then(|()| RawValue::from_string(text).ok());
    raw.unwrap_or_else(|| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::problem::Kind;

    fn read(body: &str) -> Result<Webhook, Problem> {
        read_webhook("orders".parse().unwrap(), body.as_bytes(), UnixMs(0))
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
            r#"{"id":"orders","url":"https://example.com/hook","events":["*"],"password_set":false,"retry":{"attempts":10,"first_delay":"200ms","factor":2,"max_delay":"10s"},"timeout":"10s","enabled":true,"description":"","created_at":"1970-01-01T00:00:00.000Z","updated_at":"1970-01-01T00:00:00.000Z"}"#
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
    fn urls_that_could_mean_something_else_are_refused() {
        for good in [
            "https://a.example",
            "http://127.0.0.1:8080/x?y=1",
            "https://[2001:db8::1]/",
            "HTTPS://A.example/",
        ] {
            assert!(read(&format!(r#"{{"url":"{good}"}}"#)).is_ok(), "{good}");
        }
        let long = format!("https://a.example/{}", "x".repeat(URL_MAX));
        for bad in [
            "",
            "/hook",
            "a.example/hook",
            "ftp://a.example/",
            "file:///etc/passwd",
            "unix:/x",
            "data:,x",
            "https://",
            "https:///",
            "https:a.example",
            "https://u@a.example/",
            "https://u:p@a.example/",
            "https://@a.example/",
            "https://:@a.example/",
            "https://a.example/#x",
            "https://a.example/#",
            "https://a.example:0/",
            "https://a.example:65536/",
            "https://a .example/",
            "https://a`b.example/",
            "https://a.example/\\n",
            "https://good\\\\@evil.example/",
            " https://a.example/",
            "https://a.example/\\t",
            &long,
        ] {
            refused(&format!(r#"{{"url":"{bad}"}}"#), "/url");
        }
        refused("{}", "/url");
        refused(r#"{"url":7}"#, "/url");
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
            (r#""retry":{"attempts":0}"#, "/retry/attempts"),
            (r#""retry":{"attempts":101}"#, "/retry/attempts"),
            (r#""retry":{"attempts":1.5}"#, "/retry/attempts"),
            (r#""retry":{"attempts":-1}"#, "/retry/attempts"),
            (r#""retry":{"factor":0.9}"#, "/retry/factor"),
            (r#""retry":{"factor":101}"#, "/retry/factor"),
            (r#""retry":{"factor":"2"}"#, "/retry/factor"),
            (r#""retry":{"first_delay":"25h"}"#, "/retry/first_delay"),
            (r#""retry":{"first_delay":"2s","max_delay":"1s"}"#, "/retry/max_delay"),
            (r#""retry":{"max_delay":"25h"}"#, "/retry/max_delay"),
            (r#""description":"a\u001bb""#, "/description"),
        ] {
            refused(&with(rest), field);
        }
        let webhook =
            read(&with(r#""retry":{"first_delay":"1m","factor":1.5,"attempts":3},"timeout":"100ms""#))
                .unwrap();
        assert_eq!(webhook.retry.max_delay, Duration::from_secs(60));
        assert_eq!((webhook.retry.attempts, webhook.timeout), (3, TIMEOUT_MIN));
        assert_eq!(number(1.5).get(), "1.5");
    }
}
