//! `postrider webhook`: where an org's events go.

mod put;
mod rotate;
mod trial;

use std::path::Path;

use clap::Subcommand;
use http::Method;
use serde_json::{Map, Value, json};

use super::confirm::{self, Loss};
use super::enqueue::read_input;
use super::exit::{Exit, Failure, Result};
use super::paging::Page;
use super::{Context, output};
use crate::model::{HumanDuration, OrgId, WebhookId, parse_duration};
use put::PutArgs;
use rotate::RotateArgs;
use trial::TestArgs;

/// What to do with webhooks.
#[derive(Debug, Subcommand)]
pub(super) enum WebhookCommand {
    /// Create a webhook, or replace it: what is not given comes from its profile or goes back to its default, and a password
    /// that is not given again is removed.
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
    /// Send one request now, outside the queue, and print the exchange. The same path and the same checks as deliveries.
    Test(TestArgs),
    /// Let a webhook match events again.
    Enable {
        /// The org.
        org: OrgId,
        /// The webhook.
        webhook: WebhookId,
    },
    /// Let a webhook match no new event. What is queued for it becomes dead letters when its turn comes.
    Disable {
        /// The org.
        org: OrgId,
        /// The webhook.
        webhook: WebhookId,
    },
    /// Replace the secret that signs, and print the new one. The old one stays valid for a while.
    RotateSecret(RotateArgs),
    /// Delete a webhook. What is queued for it becomes dead letters when its turn comes.
    Delete {
        /// The org.
        org: OrgId,
        /// The webhook.
        webhook: WebhookId,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn duration(text: &str) -> std::result::Result<HumanDuration, String> {
    parse_duration(text).map(HumanDuration)
}

/// What a file with JSON holds: all of it, so that nothing given beside it is lost without a word.
pub(super) fn whole(file: &Path, what: &str, beside: &Map<String, Value>) -> Result<Value> {
    if let Some(given) = beside.keys().next() {
        let message = format!("--file holds the whole {what}: put \"{given}\" into it, or leave --file out");
        return Err(Failure::new(Exit::Usage, message));
    }
    let text = read_input(Some(file), what)?;
    serde_json::from_slice(&text).map_err(|error| Failure::failed(format!("the {what} is not JSON: {error}")))
}

pub(super) async fn run(context: &Context, command: WebhookCommand) -> Result<()> {
    let api = context.admin()?;
    let address = |org: &OrgId, webhook: &WebhookId| format!("/v1/orgs/{org}/webhooks/{webhook}");
    match command {
        WebhookCommand::Put(args) => {
            let path = address(&args.org, &args.webhook);
            let profiled = match args.signs_as_client() {
                Some(client) => {
                    let client = api.get(&format!("/v1/orgs/{}/clients/{client}", args.org)).await?;
                    client.get("profile").is_some_and(Value::is_string)
                }
                None => false,
            };
            let answer = api.call(Method::PUT, &path, Some(&args.body(profiled)?)).await?;
            output::done(context.global.json, &answer, "saved")
        }
        WebhookCommand::List { org, page } => {
            let list = page.fetch(&api, &format!("/v1/orgs/{org}/webhooks"), &[]).await?;
            if context.global.json {
                return output::json(&list.as_json());
            }
            let row = |webhook: &Value| {
                let target = match webhook.get("client").and_then(Value::as_str) {
                    Some(client) => format!("{client}: {}", output::cell(webhook, "/path")),
                    None => output::cell(webhook, "/url"),
                };
                let cell = |at| output::cell(webhook, at);
                let [id, method, profile] = ["/id", "/method", "/profile"].map(cell);
                let [events, enabled, attempts, timeout, description] =
                    ["/events", "/enabled", "/retry/attempts", "/timeout", "/description"].map(cell);
                [id, method, target, profile, events, enabled, attempts, timeout, description]
            };
            let headings = [
                "WEBHOOK",
                "METHOD",
                "TO",
                "PROFILE",
                "EVENTS",
                "ENABLED",
                "ATTEMPTS",
                "TIMEOUT",
                "DESCRIPTION",
            ];
            output::table(headings, list.items.iter().map(row).collect())?;
            list.say_more();
            Ok(())
        }
        WebhookCommand::Show { org, webhook } => {
            let answer = api.get(&address(&org, &webhook)).await?;
            if context.global.json { output::json(&answer) } else { output::pairs(output::leaves(&answer)) }
        }
        WebhookCommand::Test(args) => trial::run(&api, context.global.json, &args).await,
        WebhookCommand::Enable { org, webhook } => {
            let path = format!("{}/enable", address(&org, &webhook));
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
            output::done(context.global.json, &answer, "enabled")
        }
        WebhookCommand::Disable { org, webhook } => {
            let path = format!("{}/disable", address(&org, &webhook));
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
            output::done(context.global.json, &answer, "disabled")
        }
        WebhookCommand::RotateSecret(args) => rotate::run(&api, context.global.json, &args).await,
        WebhookCommand::Delete { org, webhook, yes } => {
            confirm::ask(&api, Loss::Webhook { org: &org, webhook: &webhook }, yes).await?;
            api.call(Method::DELETE, &address(&org, &webhook), None).await?;
            output::note("deleted");
            Ok(())
        }
    }
}
