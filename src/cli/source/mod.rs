//! `postrider source`: addresses where outside services post what becomes events of an org.

mod put;
mod trial;

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::confirm::{self, Loss};
use super::exit::Result;
use super::paging::Page;
use super::transport::Transport;
use super::{Context, output};
use crate::model::{OrgId, SourceId};
use put::PutArgs;
use trial::TestArgs;

/// What to do with sources.
#[derive(Debug, Subcommand)]
pub(super) enum SourceCommand {
    /// Create a source and print its URL, this once; or replace its settings, and its URL stays. What is not given goes back
    /// to its default, and a secret that is not given again is removed.
    #[command(visible_alias = "create")]
    Put(Box<PutArgs>),
    /// List an org's sources.
    List {
        /// The org.
        org: OrgId,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
    },
    /// Show a source and its last requests. Its secrets are never shown, nor its whole URL.
    Show {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
    },
    /// List what was last posted to a source and what became of it, newest first.
    Requests {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
    },
    /// Say what a request would be answered and which events it would become. Signed as its sender would.
    Test(TestArgs),
    /// Give a source another URL, and print it, this once. The old one ends at once.
    ResetToken {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Take requests again.
    Enable {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
    },
    /// Answer as if there were no such source.
    Disable {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
    },
    /// Delete a source. Events that came from it stay.
    Delete {
        /// The org.
        org: OrgId,
        /// The source.
        source: SourceId,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
}

fn address(org: &OrgId, source: &SourceId) -> String {
    format!("/v1/orgs/{org}/sources/{source}")
}

pub(super) async fn run(context: &Context, command: SourceCommand) -> Result<()> {
    let api = context.admin()?;
    let json_wanted = context.global.json;
    match command {
        SourceCommand::Put(args) => put::run(&api, json_wanted, &args).await,
        SourceCommand::List { org, page } => list(&api, json_wanted, &org, &page).await,
        SourceCommand::Show { org, source } => show(&api, json_wanted, &address(&org, &source)).await,
        SourceCommand::Requests { org, source } => {
            let answer = api.get(&format!("{}/requests", address(&org, &source))).await?;
            if json_wanted { output::json(&answer) } else { requests(&answer) }
        }
        SourceCommand::Test(args) => trial::run(&api, json_wanted, &args).await,
        SourceCommand::ResetToken { org, source, yes } => {
            confirm::ask(&api, Loss::Token { source: &source }, yes).await?;
            let path = format!("{}/reset-token", address(&org, &source));
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
            if json_wanted {
                return output::json(&answer);
            }
            output::note("reset; this is the address from now on, shown this once:");
            warn_of_silence(&answer);
            url(&answer)
        }
        SourceCommand::Enable { org, source } => {
            let path = format!("{}/enable", address(&org, &source));
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
            output::done(json_wanted, &answer, "enabled")
        }
        SourceCommand::Disable { org, source } => {
            let path = format!("{}/disable", address(&org, &source));
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await?;
            output::done(json_wanted, &answer, "disabled")
        }
        SourceCommand::Delete { org, source, yes } => {
            confirm::ask(&api, Loss::Source { org: &org, source: &source }, yes).await?;
            api.call(Method::DELETE, &address(&org, &source), None).await?;
            output::note("deleted");
            Ok(())
        }
    }
}

/// Says why nothing can come to a source, though all else may be right: no listener, switched off, no secret.
fn warn_of_silence(source: &Value) {
    if source.get("listening") == Some(&json!(false)) {
        output::note(
            "Nothing can be posted yet: no listener. Set sources.listen (or start postrider-sources.socket) and restart the daemon.",
        );
    }
    if source.get("enabled") == Some(&json!(false)) {
        output::note("The source is disabled: whoever posts there gets 404 until `postrider source enable`.");
    }
    let needs_secret = source.get("kind").is_some_and(|kind| kind != "token");
    if needs_secret && source.get("secrets") == Some(&json!(0)) {
        output::note(
            "The source has no secret: everything is refused until it is put again with --secret-file.",
        );
    }
}

/// The URL alone, so that a script can take it.
fn url(answer: &Value) -> Result<()> {
    output::line(&output::plain(answer.get("url").and_then(Value::as_str).unwrap_or_default()))
}

async fn list(api: &Transport, json_wanted: bool, org: &OrgId, page: &Page) -> Result<()> {
    let list = page.fetch(api, &format!("/v1/orgs/{org}/sources"), &[]).await?;
    if json_wanted {
        return output::json(&list.as_json());
    }
    let row = |source: &Value| {
        ["/id", "/kind", "/catalogue", "/unmapped", "/enabled", "/last/verdict", "/last/at", "/description"]
            .map(|at| output::cell(source, at))
    };
    let headings = ["SOURCE", "KIND", "CATALOGUE", "UNMAPPED", "ENABLED", "LAST", "LAST AT", "DESCRIPTION"];
    output::table(headings, list.items.iter().map(row).collect())?;
    list.say_more();
    Ok(())
}

async fn show(api: &Transport, json_wanted: bool, address: &str) -> Result<()> {
    let mut source = api.get(address).await?;
    let mut last = api.get(&format!("{address}/requests")).await?;
    if json_wanted {
        if let (Some(members), Some(items)) = (source.as_object_mut(), last.get_mut("items")) {
            members.insert("requests".to_owned(), items.take());
        }
        return output::json(&source);
    }
    output::pairs(output::leaves(&source))?;
    output::line("")?;
    requests(&last)?;
    warn_of_silence(&source);
    Ok(())
}

/// Requests as a table: of the answer that lists them.
fn requests(answer: &Value) -> Result<()> {
    let items = answer.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let row = |request: &Value| {
        [
            "/at",
            "/verdict",
            "/times",
            "/status",
            "/event",
            "/events",
            "/deliveries",
            "/duration_ms",
            "/peer",
            "/detail",
        ]
        .map(|at| output::cell(request, at))
    };
    let headings =
        ["AT", "VERDICT", "TIMES", "STATUS", "EVENT", "EVENTS", "DELIVERIES", "MS", "PEER", "DETAIL"];
    output::table(headings, items.iter().map(row).collect())
}
