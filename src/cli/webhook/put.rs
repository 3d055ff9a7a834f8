//! `postrider webhook put`: a webhook's settings as flags.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Map, Value, json};

use super::{duration, whole};
use crate::cli::destination::{DestinationArgs, secret};
use crate::cli::exit::Result;
use crate::model::{ClientId, EventPattern, HumanDuration, OnExhausted, OrgId, WebhookId};

/// A webhook's settings.
#[derive(Debug, Args)]
pub(in crate::cli) struct PutArgs {
    /// The org.
    pub(super) org: OrgId,
    /// The webhook's name.
    pub(super) webhook: WebhookId,
    /// Where events are sent; {name} in path or query stands for a value of the event.
    #[arg(long, required_unless_present_any = ["file", "client"])]
    url: Option<String>,
    /// The client that events are sent to, in place of --url.
    #[arg(long, conflicts_with = "url")]
    client: Option<ClientId>,
    /// Path and query after the client's base URL.
    #[arg(long, requires = "client")]
    path: Option<String>,
    /// The product whose settings it takes where none are given: timetime, timekit, trackingtime, absence, or one of your own
    /// [default: the client's].
    #[arg(long, value_name = "PRODUCT")]
    profile: Option<String>,
    /// GET, POST, PUT, PATCH or DELETE [default: POST].
    #[arg(long)]
    method: Option<crate::model::Method>,
    /// A type to listen to; * stands for one word, or alone for every type; may be repeated [default: *].
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<EventPattern>,
    /// An attribute that events must have; repeated with the same name, any of the values will do.
    #[arg(long = "match", value_name = "NAME=VALUE", value_parser = pair)]
    matching: Vec<(String, String)>,
    /// The file with the password to send as X-TT-Webhook-Password.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read that password from stdin.
    #[arg(long)]
    password_stdin: bool,
    /// Another header for the password.
    #[arg(long, value_name = "NAME")]
    password_header: Option<String>,
    /// Sign with the secret in this file: as the profile says if one is named, else as Standard Webhooks (whsec_… or
    /// whsk_…).
    #[arg(long, value_name = "FILE")]
    signing_secret_file: Option<PathBuf>,
    /// Sign with lowercase hex in this header, with that secret.
    #[arg(long, value_name = "NAME", requires = "signing_secret_file")]
    signature_header: Option<String>,
    /// How the receiver knows us and how it is reached.
    #[command(flatten)]
    destination: DestinationArgs,
    /// Attempts in all [default: 10].
    #[arg(long, value_name = "NUMBER")]
    attempts: Option<u32>,
    /// The wait before the second attempt [default: 200ms].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    first_delay: Option<HumanDuration>,
    /// What each wait is multiplied by [default: 2].
    #[arg(long, value_name = "NUMBER")]
    factor: Option<f64>,
    /// The longest wait [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_delay: Option<HumanDuration>,
    /// Every wait by itself, for example 1s,5m,1h.
    #[arg(long, value_name = "DURATIONS", value_delimiter = ',', value_parser = duration,
        conflicts_with_all = ["first_delay", "factor", "max_delay"])]
    schedule: Vec<HumanDuration>,
    /// How much of a wait may be left out at random, from 0 to 1 [default: 0].
    #[arg(long, value_name = "SHARE")]
    jitter: Option<f64>,
    /// After the last attempt: advance (a dead letter, the next one starts) or hold (the queue waits) [default: advance].
    #[arg(long, value_name = "advance|hold")]
    on_exhausted: Option<OnExhausted>,
    /// How long a receiver's Retry-After may make us wait; 0s ignores it [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_after_max: Option<HumanDuration>,
    /// How long an attempt may take in all [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<HumanDuration>,
    /// Disable the webhook when its receiver answers 410 Gone; =false does not, although the profile says to.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    disable_on_gone: Option<bool>,
    /// Send only the headers that are set here, none of postrider's own; =false sends them although the profile says not to.
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    faithful: Option<bool>,
    /// Listen to nothing for now.
    #[arg(long)]
    disabled: bool,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// The whole webhook as JSON instead, as the API takes it; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "client"])]
    file: Option<PathBuf>,
}

pub(super) fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

impl PutArgs {
    /// The client whose profile, if it has one, decides how the secret signs: nothing is said of it here.
    pub(super) fn signs_as_client(&self) -> Option<&ClientId> {
        let open = self.profile.is_none() && self.signature_header.is_none();
        self.client.as_ref().filter(|_| open && self.signing_secret_file.is_some())
    }

    /// The webhook as JSON. `profiled` says whether a profile that is not named here decides how the secret signs.
    pub(super) fn body(&self, profiled: bool) -> Result<Value> {
        let body = self.settings(profiled)?;
        match &self.file {
            Some(file) => whole(file, "webhook", &body),
            None => Ok(Value::Object(body)),
        }
    }

    /// What was given as flags.
    fn settings(&self, profiled: bool) -> Result<Map<String, Value>> {
        let mut body = self.destination.members()?;
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("url", self.url.as_ref().map(|url| json!(url)));
        put("client", self.client.as_ref().map(|client| json!(client)));
        put("path", self.path.as_ref().map(|path| json!(path)));
        put("profile", self.profile.as_ref().map(|profile| json!(profile)));
        put("method", self.method.map(|method| json!(method.as_str())));
        put("events", (!self.events.is_empty()).then(|| json!(self.events)));
        put("match", self.matching());
        put("password", self.password()?.map(|password| json!(password)));
        put("password_header", self.password_header.as_ref().map(|name| json!(name)));
        put("signature", self.signature(profiled)?);
        put("retry", self.retry());
        put("retry_after_max", self.retry_after_max.map(|longest| json!(longest)));
        put("timeout", self.timeout.map(|timeout| json!(timeout)));
        put("disable_on_gone", self.disable_on_gone.map(Value::Bool));
        put("faithful", self.faithful.map(Value::Bool));
        put("enabled", self.disabled.then_some(Value::Bool(false)));
        put("description", self.description.as_ref().map(|description| json!(description)));
        Ok(body)
    }

    fn matching(&self) -> Option<Value> {
        let mut conditions: Map<String, Value> = Map::new();
        for (name, value) in &self.matching {
            let values = conditions.entry(name.clone()).or_insert_with(|| json!([]));
            if let Value::Array(values) = values {
                values.push(json!(value));
            }
        }
        (!conditions.is_empty()).then_some(Value::Object(conditions))
    }

    fn signature(&self, profiled: bool) -> Result<Option<Value>> {
        let Some(file) = &self.signing_secret_file else { return Ok(None) };
        let secret = secret(file, "signing secret")?;
        Ok(Some(match &self.signature_header {
            Some(header) => json!({"type": "hex", "header": header, "secret": secret}),
            None if profiled || self.profile.is_some() => json!({"secret": secret}),
            None => json!({"type": "standard", "secret": secret}),
        }))
    }

    fn retry(&self) -> Option<Value> {
        let fields = [
            ("attempts", self.attempts.map(|attempts| json!(attempts))),
            ("first_delay", self.first_delay.map(|delay| json!(delay))),
            ("factor", self.factor.map(|factor| json!(factor))),
            ("max_delay", self.max_delay.map(|delay| json!(delay))),
            ("schedule", (!self.schedule.is_empty()).then(|| json!(self.schedule))),
            ("jitter", self.jitter.map(|jitter| json!(jitter))),
            ("on_exhausted", self.on_exhausted.map(|word| json!(word.code()))),
        ];
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }

    fn password(&self) -> Result<Option<String>> {
        match (&self.password_file, self.password_stdin) {
            (None, false) => Ok(None),
            (Some(file), _) => secret(file, "password").map(Some),
            (None, true) => secret(Path::new("-"), "password").map(Some),
        }
    }
}
