//! `postrider queue`: an org's queue, and what can be done to its head.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::confirm::{self, Loss};
use super::exit::{Exit, Result};
use super::paging::Page;
use super::transport::Transport;
use super::{Context, output, several};
use crate::model::OrgId;

/// What to do with a queue.
#[derive(Debug, Subcommand)]
pub(super) enum QueueCommand {
    /// List the deliveries that wait, head first.
    List {
        /// The org.
        org: OrgId,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
        /// With payloads, as they came; needs --json, and lists at most 1000.
        #[arg(long, requires = "json")]
        payload: bool,
    },
    /// End the wait of the head: it is tried at once. With --all, of every head that waits for its retry, or is held.
    RetryNow {
        /// Which orgs.
        #[command(flatten)]
        orgs: OrgsOrAll,
    },
    /// Give up the head: it becomes a dead letter, and the next delivery starts. Of several orgs, the head of each.
    Skip {
        /// Orgs; `-` reads them from stdin, one per line.
        #[arg(value_name = "ORG", required = true)]
        orgs: Vec<String>,
        /// Why; kept with the dead letter.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Attempt nothing of these orgs until they are resumed. Events are still accepted; nothing is lost.
    Pause {
        /// Which orgs.
        #[command(flatten)]
        orgs: OrgsOrAll,
        /// Why; shown with the queue.
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask before every queue is paused.
        #[arg(long)]
        yes: bool,
    },
    /// End a pause.
    Resume {
        /// Which orgs.
        #[command(flatten)]
        orgs: OrgsOrAll,
        /// Do not ask before every queue is resumed.
        #[arg(long)]
        yes: bool,
    },
}

/// Orgs by name, or all that it makes a difference for.
#[derive(Debug, Args)]
pub(super) struct OrgsOrAll {
    /// Orgs; `-` reads them from stdin, one per line.
    #[arg(value_name = "ORG", required_unless_present = "all")]
    orgs: Vec<String>,
    /// Every org that it makes a difference for.
    #[arg(long, conflicts_with = "orgs")]
    all: bool,
}

pub(super) async fn run(context: &Context, command: QueueCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let done = match &command {
        QueueCommand::List { org, page, payload } => list(context, api, org, page, *payload).await,
        QueueCommand::RetryNow { orgs } => retry_now(context, api, orgs).await,
        QueueCommand::Skip { orgs, reason, yes } => skip(context, api, orgs, reason.as_deref(), *yes).await,
        QueueCommand::Pause { orgs, reason, yes } => {
            let verb = Verb { call: "pause", word: "Pause", done: "paused" };
            let chosen = orgs.chosen(api, |org| output::cell(org, "/queue/paused") == "-").await;
            act_all(context, api, orgs, chosen, verb, &because(reason.as_deref()), *yes).await
        }
        QueueCommand::Resume { orgs, yes } => {
            let verb = Verb { call: "resume", word: "Resume", done: "resumed" };
            let chosen = orgs.chosen(api, |org| output::cell(org, "/queue/paused") != "-").await;
            act_all(context, api, orgs, chosen, verb, &json!({}), *yes).await
        }
    };
    session.close().await;
    done
}

impl OrgsOrAll {
    /// The orgs that are named, or those that `all` keeps.
    async fn chosen(&self, api: &Transport, all: impl Fn(&Value) -> bool) -> Result<Vec<OrgId>> {
        if self.all { several::orgs(api, all).await } else { several::names(&self.orgs) }
    }
}

/// The only one that was named, as one argument: it is answered by itself.
fn only<'a>(arguments: &[String], orgs: &'a [OrgId]) -> Option<&'a OrgId> {
    match (arguments, orgs) {
        ([argument], [org]) if argument != "-" => Some(org),
        _ => None,
    }
}

fn because(reason: Option<&str>) -> Value {
    reason.map_or_else(|| json!({}), |reason| json!({"reason": reason}))
}

/// A head that waits for its retry, or until someone acts; a paused org is left alone.
fn waits(org: &Value) -> bool {
    let state = org.pointer("/queue/state").and_then(Value::as_str);
    output::cell(org, "/queue/paused") == "-" && matches!(state, Some("delayed" | "held"))
}

async fn retry_now(context: &Context, api: &Transport, orgs: &OrgsOrAll) -> Result<()> {
    let chosen = orgs.chosen(api, waits).await?;
    let call = async |org: &OrgId| {
        api.call(Method::POST, &format!("/v1/orgs/{org}/queue/retry-now"), Some(&json!({}))).await
    };
    if let Some(org) = only(&orgs.orgs, &chosen) {
        let answer = call(org).await?;
        let paused = answer.get("paused").is_some_and(Value::is_object);
        let said = if paused { "the head is tried once the org is resumed" } else { "the head is tried now" };
        return output::done(context.global.json, &answer, said);
    }
    let mut outcomes = several::Outcomes::default();
    for org in &chosen {
        match call(org).await {
            // Delivered meanwhile: what was wanted has happened.
            Err(failure) if orgs.all && failure.exit == Exit::NotFound => {}
            outcome => outcomes.note(org, outcome)?,
        }
    }
    outcomes.told(context.global.json, "to be retried now")
}

async fn skip(
    context: &Context,
    api: &Transport,
    arguments: &[String],
    reason: Option<&str>,
    yes: bool,
) -> Result<()> {
    let orgs: Vec<OrgId> = several::names(arguments)?;
    confirm::ask(api, Loss::Heads { orgs: &orgs }, yes).await?;
    let body = because(reason);
    let call =
        async |org: &OrgId| api.call(Method::POST, &format!("/v1/orgs/{org}/queue/skip"), Some(&body)).await;
    if let Some(org) = only(arguments, &orgs) {
        return output::done(context.global.json, &call(org).await?, "the head is a dead letter now");
    }
    let mut outcomes = several::Outcomes::default();
    for org in &orgs {
        outcomes.note(org, call(org).await)?;
    }
    outcomes.told(context.global.json, "skipped by one")
}

/// Pausing or resuming.
#[derive(Debug, Clone, Copy)]
struct Verb {
    call: &'static str,
    word: &'static str,
    done: &'static str,
}

async fn act_all(
    context: &Context,
    api: &Transport,
    orgs: &OrgsOrAll,
    chosen: Result<Vec<OrgId>>,
    verb: Verb,
    body: &Value,
    yes: bool,
) -> Result<()> {
    let chosen = chosen?;
    if orgs.all && !chosen.is_empty() {
        confirm::ask(api, Loss::Queues { verb: verb.word, number: chosen.len() as u64 }, yes).await?;
    }
    let call = async |org: &OrgId| {
        api.call(Method::POST, &format!("/v1/orgs/{org}/{}", verb.call), Some(body)).await
    };
    if let Some(org) = only(&orgs.orgs, &chosen) {
        return output::done(context.global.json, &call(org).await?, verb.done);
    }
    let mut outcomes = several::Outcomes::default();
    for org in &chosen {
        outcomes.note(org, call(org).await)?;
    }
    outcomes.told(context.global.json, verb.done)
}

async fn list(context: &Context, api: &Transport, org: &OrgId, page: &Page, payload: bool) -> Result<()> {
    let path = format!("/v1/orgs/{org}/queue");
    if payload {
        let text = api.get_text(&page.path(&path, &[("payload", Some("true".to_owned()))])).await?;
        output::write(text.trim_ascii())?;
        return output::line("");
    }
    let list = page.fetch(api, &path, &[]).await?;
    if context.global.json {
        return output::json(&list.as_json());
    }
    if list.items.is_empty() {
        output::note(&format!("nothing waits in the queue of {org}"));
        return Ok(());
    }
    let row = |delivery: &Value| {
        [
            output::cell(delivery, "/sequence"),
            output::cell(delivery, "/id"),
            output::cell(delivery, "/type"),
            output::cell(delivery, "/webhook"),
            output::cell(delivery, "/accepted_at"),
            output::cell(delivery, "/size"),
            output::cell(delivery, "/attempts"),
            output::cell(delivery, "/not_before"),
            last(delivery),
        ]
    };
    let headings =
        ["SEQUENCE", "EVENT", "TYPE", "WEBHOOK", "ACCEPTED", "BYTES", "ATTEMPTS", "NOT BEFORE", "LAST"];
    output::table(headings, list.items.iter().map(row).collect())?;
    list.say_more();
    Ok(())
}

/// The last attempt in a few words: `503 after 120 ms`, `timeout after 10000 ms`.
pub(super) fn last(delivery: &Value) -> String {
    let Some(last) = delivery.get("last").filter(|last| last.is_object()) else { return "-".to_owned() };
    let what = match last.get("status").and_then(Value::as_u64) {
        Some(status) => status.to_string(),
        None => output::cell(last, "/error"),
    };
    match last.get("duration_ms").and_then(Value::as_u64) {
        Some(ms) => format!("{what} after {ms} ms"),
        None => what,
    }
}
