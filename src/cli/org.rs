//! `postrider org`: the tenants.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::confirm::{self, Loss};
use super::exit::Result;
use super::paging::Page;
use super::transport::with_query;
use super::{Context, output};
use crate::config::parse_bytes;
use crate::model::OrgId;

/// What to do with orgs.
#[derive(Debug, Subcommand)]
pub(super) enum OrgCommand {
    /// Create an org, or replace its settings: what is not given goes back to its default.
    Put(PutArgs),
    /// List orgs by name.
    List(Page),
    /// Show an org and its queue.
    Show {
        /// Its name.
        org: OrgId,
    },
    /// Delete an org with its webhooks. Refused while deliveries wait.
    Delete {
        /// Its name.
        org: OrgId,
        /// Throw away what waits in its queue and its dead letters as well.
        #[arg(long)]
        discard: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// An org's settings.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// Its name.
    org: OrgId,
    /// The plan it is on.
    #[arg(long)]
    plan: Option<String>,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// Deliveries that may wait in its queue [default: as configured].
    #[arg(long, value_name = "NUMBER")]
    max_deliveries: Option<u64>,
    /// Payload bytes that may wait in its queue, for example 64MiB [default: as configured].
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    max_bytes: Option<u64>,
    /// Webhooks that it may have [default: as many as their profiles allow].
    #[arg(long, value_name = "NUMBER")]
    max_webhooks: Option<u64>,
}

impl PutArgs {
    fn body(&self) -> Value {
        let mut body = serde_json::Map::new();
        let mut limits = serde_json::Map::new();
        if let Some(plan) = &self.plan {
            body.insert("plan".to_owned(), json!(plan));
        }
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        if let Some(deliveries) = self.max_deliveries {
            limits.insert("deliveries".to_owned(), json!(deliveries));
        }
        if let Some(bytes) = self.max_bytes {
            limits.insert("bytes".to_owned(), json!(bytes));
        }
        if let Some(webhooks) = self.max_webhooks {
            limits.insert("webhooks".to_owned(), json!(webhooks));
        }
        if !limits.is_empty() {
            body.insert("limits".to_owned(), Value::Object(limits));
        }
        Value::Object(body)
    }
}

pub(super) async fn run(context: &Context, command: OrgCommand) -> Result<()> {
    let api = context.admin()?;
    match command {
        OrgCommand::Put(args) => {
            let path = format!("/v1/orgs/{}", args.org);
            let answer = api.call(Method::PUT, &path, Some(&args.body())).await?;
            output::done(context.global.json, &answer, "saved")
        }
        OrgCommand::List(page) => {
            let list = page.fetch(&api, "/v1/orgs", &[]).await?;
            if context.global.json {
                return output::json(&list.as_json());
            }
            let row = |org: &Value| {
                ["/id", "/plan", "/queue/state", "/queue/depth", "/dead_letters", "/description"]
                    .map(|at| output::cell(org, at))
            };
            let headings = ["ORG", "PLAN", "STATE", "QUEUED", "DEAD", "DESCRIPTION"];
            output::table(headings, list.items.iter().map(row).collect())?;
            list.say_more();
            Ok(())
        }
        OrgCommand::Show { org } => {
            let answer = api.get(&format!("/v1/orgs/{org}")).await?;
            if context.global.json { output::json(&answer) } else { output::pairs(output::leaves(&answer)) }
        }
        OrgCommand::Delete { org, discard, yes } => {
            confirm::ask(&api, Loss::Org { org: &org, discard }, yes).await?;
            let parameters = [("discard", discard.then(|| "true".to_owned()))];
            api.call(Method::DELETE, &with_query(&format!("/v1/orgs/{org}"), &parameters), None).await?;
            output::note("deleted");
            Ok(())
        }
    }
}
