//! `postrider webhook`: where an org's events go. Passwords come from files or stdin, never from the command line, where
//! every user of the machine could read them.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::enqueue::read_input;
use super::exit::{Failure, Result};
use super::paging::Page;
use super::{Context, output};
use crate::model::{EventPattern, HumanDuration, OrgId, WebhookId, parse_duration};

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Create a webhook, or replace it: what is not given goes back to its default, and a password that is not given again
    /// is removed.
    Put(Box<PutArgs>),
    /// List an org's webhooks.
    List {
        /// The org.
        org: OrgId,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
    },
    /// Show a webhook. Its password is never shown.
    Show {
        /// The org.
        org: OrgId,
        /// The webhook.
        webhook: WebhookId,
    },
    /// Delete a webhook. What is queued for it becomes dead letters when its turn comes.
    Delete {
        /// The org.
        org: OrgId,
        /// The webhook.
        webhook: WebhookId,
    },
}

/// A webhook's settings.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// The org.
    org: OrgId,
    /// The webhook's name.
    webhook: WebhookId,
    /// Where events are sent by POST.
    #[arg(long, required_unless_present = "file")]
    url: Option<String>,
    /// A type to listen to; * stands for one word, or alone for every type; may be repeated [default: *].
    #[arg(long = "event", value_name = "TYPE")]
    events: Vec<EventPattern>,
    /// The file with the password to send as X-TT-Webhook-Password.
    #[arg(long, value_name = "FILE", conflicts_with = "password_stdin")]
    password_file: Option<PathBuf>,
    /// Read that password from stdin.
    #[arg(long)]
    password_stdin: bool,
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
    /// How long an attempt may take in all [default: 10s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<HumanDuration>,
    /// Listen to nothing for now.
    #[arg(long)]
    disabled: bool,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// The whole webhook as JSON instead, as the API takes it; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["url", "events", "password_file", "password_stdin", "attempts",
        "first_delay", "factor", "max_delay", "timeout", "disabled", "description"])]
    file: Option<PathBuf>,
}

fn duration(text: &str) -> std::result::Result<HumanDuration, String> {
    parse_duration(text).map(HumanDuration)
}

impl PutArgs {
    fn body(&self) -> Result<Value> {
        if let Some(file) = &self.file {
            let text = read_input(Some(file), "webhook")?;
            return serde_json::from_slice(&text)
                .map_err(|error| Failure::failed(format!("the webhook is not JSON: {error}")));
        }
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), value);
            }
        };
        put("url", self.url.as_ref().map(|url| json!(url)));
        put("events", (!self.events.is_empty()).then(|| json!(self.events)));
        put("password", self.password()?.map(|password| json!(password)));
        put("retry", self.retry());
        put("timeout", self.timeout.map(|timeout| json!(timeout)));
        put("enabled", self.disabled.then_some(Value::Bool(false)));
        put("description", self.description.as_ref().map(|description| json!(description)));
        Ok(Value::Object(body))
    }

    fn retry(&self) -> Option<Value> {
        let fields = [
            ("attempts", self.attempts.map(|attempts| json!(attempts))),
            ("first_delay", self.first_delay.map(|delay| json!(delay))),
            ("factor", self.factor.map(|factor| json!(factor))),
            ("max_delay", self.max_delay.map(|delay| json!(delay))),
        ];
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        (!given.is_empty()).then_some(Value::Object(given))
    }

    fn password(&self) -> Result<Option<String>> {
        let file = match (&self.password_file, self.password_stdin) {
            (None, false) => return Ok(None),
            (Some(file), _) => file.as_path(),
            (None, true) => Path::new("-"),
        };
        let mut password = String::from_utf8(read_input(Some(file), "password")?)
            .map_err(|_| Failure::failed("the password is not UTF-8 text"))?;
        // Editors and echo end the line; that is not part of the password.
        if password.ends_with('\n') {
            password.pop();
            if password.ends_with('\r') {
                password.pop();
            }
        }
        Ok(Some(password))
    }
}

pub(super) async fn run(context: &Context, command: WebhookCommand) -> Result<()> {
    let api = context.admin()?;
    let address = |org: &OrgId, webhook: &WebhookId| format!("/v1/orgs/{org}/webhooks/{webhook}");
    match command {
        WebhookCommand::Put(args) => {
            let path = address(&args.org, &args.webhook);
            let answer = api.call(Method::PUT, &path, Some(&args.body()?)).await?;
            output::done(context.global.json, &answer, "saved")
        }
        WebhookCommand::List { org, page } => {
            let list = page.fetch(&api, &format!("/v1/orgs/{org}/webhooks"), &[]).await?;
            if context.global.json {
                return output::json(&list.as_json());
            }
            let row = |webhook: &Value| {
                [
                    "/id",
                    "/url",
                    "/events",
                    "/enabled",
                    "/password_set",
                    "/retry/attempts",
                    "/timeout",
                    "/description",
                ]
                .map(|at| output::cell(webhook, at))
            };
            let headings =
                ["WEBHOOK", "URL", "EVENTS", "ENABLED", "PASSWORD", "ATTEMPTS", "TIMEOUT", "DESCRIPTION"];
            output::table(headings, list.items.iter().map(row).collect())?;
            list.say_more();
            Ok(())
        }
        WebhookCommand::Show { org, webhook } => {
            let answer = api.get(&address(&org, &webhook)).await?;
            if context.global.json { output::json(&answer) } else { output::pairs(output::leaves(&answer)) }
        }
        WebhookCommand::Delete { org, webhook } => {
            api.call(Method::DELETE, &address(&org, &webhook), None).await?;
            output::note("deleted");
            Ok(())
        }
    }
}
