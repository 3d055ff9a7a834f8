//! `postrider dead-letter`: what was given up: list and show. What is done about it is in `bulk.rs` and `export.rs`.

mod bulk;
mod export;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use bulk::{Bulk, Verb, several};

use super::exit::{Failure, Result};
use super::paging::Page;
use super::queue::last;
use super::transport::Transport;
use super::{Context, output};
use crate::clock;
use crate::dead_letters::At;
use crate::model::{DeadReason, EventId, EventType, OrgId, UnixMs, WebhookId, parse_duration};

/// What to do with dead letters.
#[derive(Debug, Subcommand)]
pub(super) enum DeadLetterCommand {
    /// List dead letters, newest last. Exits 2 if a filter matches none.
    List {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
    },
    /// Show one dead letter with every attempt.
    Show {
        /// Its id, or its event's id if that has one dead letter only.
        #[arg(value_name = "ID")]
        id: EventId,
        /// With its payload and attributes, which are the customer's data.
        #[arg(long)]
        payload: bool,
    },
    /// Put dead letters into their orgs' queues again, in their original order, with fresh attempts.
    Retry {
        /// Which.
        #[command(flatten)]
        bulk: Bulk,
        /// Where in the queue: tail, behind all that waits; or head, before all that waits and has not been tried.
        #[arg(long, value_name = "PLACE", default_value = "tail")]
        at: At,
    },
    /// Throw dead letters away for good.
    Discard(Bulk),
    /// Write dead letters with their payloads, one JSON object per line. What the store keeps sealed comes out as plain
    /// text: look after it.
    Export {
        /// Which; all of them only with --all.
        #[command(flatten)]
        filter: Filter,
        /// Every dead letter.
        #[arg(long, conflicts_with_all = Filter::NAMES)]
        all: bool,
        /// A new file, readable by its owner only [default: stdout].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// Of this org.
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
    /// For this webhook.
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<WebhookId>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Given up for this reason: attempts-exhausted, skipped, webhook-disabled, webhook-deleted,
    /// missing-variable or invalid-variable.
    #[arg(long, value_name = "REASON")]
    reason: Option<DeadReason>,
    /// Given up at or after this time (RFC 3339), or at most this long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMs>,
    /// Given up before this time (RFC 3339), or longer ago than this (2h).
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixMs>,
    /// Of this event.
    #[arg(long, value_name = "ID")]
    event_id: Option<EventId>,
}

/// A point in time, or how long ago it was.
fn time(text: &str) -> std::result::Result<UnixMs, String> {
    if let Some(at) = UnixMs::parse(text) {
        return Ok(at);
    }
    let ago = parse_duration(text).map_err(|_| {
        "must be a time like 2026-11-21T22:44:23Z, or how long ago like 30m, 2h or 7d".to_owned()
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(UnixMs(clock::now().0.saturating_sub(ago)))
}

impl Filter {
    /// The names of its arguments, for what excludes them.
    const NAMES: [&'static str; 7] = ["org", "webhook", "event_type", "reason", "since", "until", "event_id"];

    /// As query parameters.
    pub(super) fn parameters(&self) -> [(&'static str, Option<String>); 7] {
        [
            ("org", self.org.as_ref().map(ToString::to_string)),
            ("webhook", self.webhook.as_ref().map(ToString::to_string)),
            ("type", self.event_type.as_ref().map(ToString::to_string)),
            ("reason", self.reason.map(|reason| reason.to_string())),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("event_id", self.event_id.as_ref().map(ToString::to_string)),
        ]
    }

    /// As JSON.
    fn as_json(&self) -> Value {
        let fields =
            self.parameters().into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?))));
        Value::Object(fields.collect::<Map<_, _>>())
    }

    /// Whether it lets everything through.
    pub(super) fn is_empty(&self) -> bool {
        self.parameters().iter().all(|(_, value)| value.is_none())
    }
}

pub(super) async fn run(context: &Context, command: DeadLetterCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let done = match command {
        DeadLetterCommand::List { filter, page } => list(context, api, &filter, &page).await,
        DeadLetterCommand::Show { id, payload } => show(context, api, &id, payload).await,
        DeadLetterCommand::Retry { bulk, at } => several(context, api, Verb::Retry(at), &bulk).await,
        DeadLetterCommand::Discard(bulk) => several(context, api, Verb::Discard, &bulk).await,
        DeadLetterCommand::Export { filter, all, out } => {
            export::run(api, &filter, all, out.as_deref()).await
        }
    };
    session.close().await;
    done
}

async fn list(context: &Context, api: &Transport, filter: &Filter, page: &Page) -> Result<()> {
    let list = page.fetch(api, "/v1/dead-letters", &filter.parameters()).await?;
    if context.global.json {
        output::json(&list.as_json())?;
    } else if !list.items.is_empty() {
        let row = |dead: &Value| {
            let at = |pointer| output::cell(dead, pointer);
            [
                at("/id"),
                at("/org"),
                at("/webhook"),
                at("/type"),
                at("/event_id"),
                at("/reason"),
                at("/attempts"),
                at("/died_at"),
                last(dead),
            ]
        };
        let headings = ["ID", "ORG", "WEBHOOK", "TYPE", "EVENT", "REASON", "ATTEMPTS", "DIED AT", "LAST"];
        output::table(headings, list.items.iter().map(row).collect())?;
        list.say_more();
    }
    match (list.items.is_empty(), filter.is_empty()) {
        (true, false) => Err(Failure::not_found("no dead letter matches")),
        (true, true) if !context.global.json => {
            output::note("there are no dead letters");
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn show(context: &Context, api: &Transport, id: &EventId, payload: bool) -> Result<()> {
    let query = if payload { "?payload=true" } else { "" };
    let text = api.get_text(&format!("/v1/dead-letters/{id}{query}")).await?;
    if context.global.json {
        output::write(text.trim_ascii())?;
        return output::line("");
    }
    let unreadable =
        |error: serde_json::Error| Failure::failed(format!("the daemon's answer is not JSON: {error}"));
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&text).map_err(unreadable)?;
    let payload = fields.remove("payload");
    let attempts = fields.remove("attempts").map_or("[]", RawValue::get);
    let attempts: Vec<Value> = serde_json::from_str(attempts).map_err(unreadable)?;
    let rest = fields
        .into_iter()
        .map(|(name, value)| Ok((name, serde_json::from_str(value.get())?)))
        .collect::<std::result::Result<Map<_, _>, _>>()
        .map_err(unreadable)?;
    output::pairs(output::leaves(&Value::Object(rest)))?;
    if !attempts.is_empty() {
        let row = |attempt: &Value| {
            ["/number", "/at", "/status", "/error", "/duration_ms", "/detail", "/excerpt"]
                .map(|at| output::cell(attempt, at))
        };
        let headings = ["ATTEMPT", "AT", "STATUS", "ERROR", "MS", "DETAIL", "ANSWER"];
        output::line("")?;
        output::table(headings, attempts.iter().map(row).collect())?;
    }
    // JSON has no raw control characters but line ends, so it may go to a terminal as it is.
    payload.map_or(Ok(()), |payload| output::line(&format!("\n{}", payload.get())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_parameters_and_json() {
        let filter = Filter {
            org: Some("acme".parse().unwrap()),
            reason: Some(DeadReason::Skipped),
            since: Some(UnixMs(0)),
            ..Filter::default()
        };
        assert_eq!(
            filter.as_json(),
            json!({"org": "acme", "reason": "skipped", "since": "1970-01-01T00:00:00.000Z"})
        );
        assert!(!filter.is_empty());
        assert!(Filter::default().is_empty());
        assert_eq!(Filter::default().as_json(), json!({}));
    }

    #[test]
    fn a_time_is_a_point_or_a_distance() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(UnixMs(1000)));
        let ago = clock::now().since(time("2h").unwrap());
        assert!((7_199..=7_201).contains(&ago.as_secs()), "{ago:?}");
        assert!(time("yesterday").unwrap_err().contains("2h"));
    }
}
