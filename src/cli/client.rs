//! `postrider client`: what webhooks of one receiver have in common.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::confirm::{self, Loss};
use super::destination::DestinationArgs;
use super::exit::Result;
use super::paging::Page;
use super::transport::with_query;
use super::webhook::whole;
use super::{Context, output};
use crate::model::{ClientId, OrgId};

/// What to do with clients.
#[derive(Debug, Subcommand)]
pub(super) enum ClientCommand {
    /// Create a client, or replace it: what is not given goes back to its default, and a secret that is not given again is
    /// removed.
    Put(Box<PutArgs>),
    /// List an org's clients.
    List {
        /// The org.
        org: OrgId,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
    },
    /// Show a client. Its secrets are never shown.
    Show {
        /// The org.
        org: OrgId,
        /// The client.
        client: ClientId,
    },
    /// Delete a client. Refused while webhooks use it.
    Delete {
        /// The org.
        org: OrgId,
        /// The client.
        client: ClientId,
        /// Delete its webhooks as well; what is queued for them becomes dead letters when its turn comes.
        #[arg(long)]
        cascade: bool,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

/// A client's settings.
#[derive(Debug, Args)]
pub(super) struct PutArgs {
    /// The org.
    org: OrgId,
    /// The client's name.
    client: ClientId,
    /// Where the paths of its webhooks start.
    #[arg(long, value_name = "URL", required_unless_present = "file")]
    base_url: Option<String>,
    /// The product whose settings webhooks take that name none themselves, when they are saved: timetime, timekit,
    /// trackingtime, absence, or one of your own.
    #[arg(long, value_name = "PRODUCT")]
    profile: Option<String>,
    /// How the receiver knows us and how it is reached.
    #[command(flatten)]
    destination: DestinationArgs,
    /// For people.
    #[arg(long)]
    description: Option<String>,
    /// The whole client as JSON instead, as the API takes it; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with = "base_url")]
    file: Option<PathBuf>,
}

impl PutArgs {
    fn body(&self) -> Result<Value> {
        let mut body = self.destination.members()?;
        if let Some(base_url) = &self.base_url {
            body.insert("base_url".to_owned(), json!(base_url));
        }
        if let Some(profile) = &self.profile {
            body.insert("profile".to_owned(), json!(profile));
        }
        if let Some(description) = &self.description {
            body.insert("description".to_owned(), json!(description));
        }
        match &self.file {
            Some(file) => whole(file, "client", &body),
            None => Ok(Value::Object(body)),
        }
    }
}

pub(super) async fn run(context: &Context, command: ClientCommand) -> Result<()> {
    let api = context.admin()?;
    let address = |org: &OrgId, client: &ClientId| format!("/v1/orgs/{org}/clients/{client}");
    match command {
        ClientCommand::Put(args) => {
            let path = address(&args.org, &args.client);
            let answer = api.call(Method::PUT, &path, Some(&args.body()?)).await?;
            output::done(context.global.json, &answer, "saved")
        }
        ClientCommand::List { org, page } => {
            let list = page.fetch(&api, &format!("/v1/orgs/{org}/clients"), &[]).await?;
            if context.global.json {
                return output::json(&list.as_json());
            }
            let row = |client: &Value| {
                ["/id", "/base_url", "/profile", "/authorization/type", "/webhooks", "/description"]
                    .map(|at| output::cell(client, at))
            };
            let headings = ["CLIENT", "BASE URL", "PROFILE", "AUTHORIZATION", "WEBHOOKS", "DESCRIPTION"];
            output::table(headings, list.items.iter().map(row).collect())?;
            list.say_more();
            Ok(())
        }
        ClientCommand::Show { org, client } => {
            let answer = api.get(&address(&org, &client)).await?;
            if context.global.json { output::json(&answer) } else { output::pairs(output::leaves(&answer)) }
        }
        ClientCommand::Delete { org, client, cascade, yes } => {
            confirm::ask(&api, Loss::Client { org: &org, client: &client, cascade }, yes).await?;
            let parameters = [("cascade", cascade.then(|| "true".to_owned()))];
            api.call(Method::DELETE, &with_query(&address(&org, &client), &parameters), None).await?;
            output::note("deleted");
            Ok(())
        }
    }
}
