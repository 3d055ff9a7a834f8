//! `postrider queue`: an org's queue, and what can be done to its head.

use clap::Subcommand;
use http::Method;
use serde_json::{Value, json};

use super::exit::Result;
use super::paging::Page;
use super::transport::Transport;
use super::{Context, output};
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
    /// End the wait of the head: it is tried at once.
    RetryNow {
        /// The org.
        org: OrgId,
    },
    /// Give up the head: it becomes a dead letter, and the next delivery starts.
    Skip {
        /// The org.
        org: OrgId,
        /// Why; kept with the dead letter.
        #[arg(long)]
        reason: Option<String>,
    },
    /// Attempt nothing of this org until it is resumed. Events are still accepted; nothing is lost.
    Pause {
        /// The org.
        org: OrgId,
        /// Why; shown with the queue.
        #[arg(long)]
        reason: Option<String>,
    },
    /// End a pause.
    Resume {
        /// The org.
        org: OrgId,
    },
}

pub(super) async fn run(context: &Context, command: QueueCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let reason = |reason: &Option<String>| {
        reason.as_ref().map_or_else(|| json!({}), |reason| json!({"reason": reason}))
    };
    let done = match &command {
        QueueCommand::List { org, page, payload } => list(context, api, org, page, *payload).await,
        QueueCommand::RetryNow { org } => {
            let path = format!("/v1/orgs/{org}/queue/retry-now");
            let answer = api.call(Method::POST, &path, Some(&json!({}))).await;
            answer.and_then(|answer| {
                let paused = answer.get("paused").is_some_and(Value::is_object);
                let said = if paused {
                    "the head is tried once the org is resumed"
                } else {
                    "the head is tried now"
                };
                output::done(context.global.json, &answer, said)
            })
        }
        QueueCommand::Skip { org, reason: why } => {
            let path = format!("/v1/orgs/{org}/queue/skip");
            act(context, api, &path, &reason(why), "the head is a dead letter now").await
        }
        QueueCommand::Pause { org, reason: why } => {
            act(context, api, &format!("/v1/orgs/{org}/pause"), &reason(why), "paused").await
        }
        QueueCommand::Resume { org } => {
            act(context, api, &format!("/v1/orgs/{org}/resume"), &json!({}), "resumed").await
        }
    };
    session.close().await;
    done
}

async fn act(context: &Context, api: &Transport, path: &str, body: &Value, said: &str) -> Result<()> {
    let answer = api.call(Method::POST, path, Some(body)).await?;
    output::done(context.global.json, &answer, said)
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
