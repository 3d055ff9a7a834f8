//! `postrider dead-letter`: what was given up, and what to do about it. Export is in `export.rs`.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::exit::{Exit, Failure, Result};
use super::paging::Page;
use super::queue::last;
use super::transport::Transport;
use super::{Context, export, output};
use crate::clock;
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
    /// Put dead letters at the tails of their orgs' queues, in their order, with fresh attempts.
    Retry(Bulk),
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
    /// Given up for this reason: attempts-exhausted, skipped, webhook-disabled or webhook-deleted.
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

/// Several dead letters: by their ids, by filter, or all.
#[derive(Debug, Args)]
pub(super) struct Bulk {
    /// Ids of dead letters, or of their events; `-` reads them from stdin, one per line.
    #[arg(value_name = "ID", conflicts_with_all = Filter::NAMES)]
    ids: Vec<String>,
    /// Which, if not by id.
    #[command(flatten)]
    filter: Filter,
    /// Every dead letter.
    #[arg(long, conflicts_with_all = Filter::NAMES, conflicts_with = "ids")]
    all: bool,
    /// Only say how many there are.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
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

/// Retry or discard.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Retry,
    Discard,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Retry => "retry",
            Verb::Discard => "discard",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Retry => "retried",
            Verb::Discard => "discarded",
        }
    }

    /// The call for one.
    fn one(self, id: &EventId) -> (Method, String) {
        match self {
            Verb::Retry => (Method::POST, format!("/v1/dead-letters/{id}/retry")),
            Verb::Discard => (Method::DELETE, format!("/v1/dead-letters/{id}")),
        }
    }
}

pub(super) async fn run(context: &Context, command: DeadLetterCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let done = match command {
        DeadLetterCommand::List { filter, page } => list(context, api, &filter, &page).await,
        DeadLetterCommand::Show { id, payload } => show(context, api, &id, payload).await,
        DeadLetterCommand::Retry(bulk) => several(context, api, Verb::Retry, &bulk).await,
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

/// Retries or discards by id, by filter, or all.
async fn several(context: &Context, api: &Transport, verb: Verb, bulk: &Bulk) -> Result<()> {
    if !bulk.ids.is_empty() {
        return by_id(context, api, verb, bulk).await;
    }
    if bulk.filter.is_empty() && !bulk.all {
        return Err(Failure::usage(format!(
            "say which to {}: ids, a filter such as --org, or --all",
            verb.word()
        )));
    }
    let path = format!("/v1/dead-letters/{}", verb.word());
    let call = |dry_run: bool| {
        // Everything is asked for by name: a filter that is empty by mistake is refused.
        let body = if bulk.filter.is_empty() {
            json!({"all": true, "dry_run": dry_run})
        } else {
            json!({"filter": bulk.filter.as_json(), "dry_run": dry_run})
        };
        let path = path.clone();
        async move { api.call(Method::POST, &path, Some(&body)).await }
    };
    if bulk.dry_run || !bulk.yes {
        let answer = call(true).await?;
        let matched = answer.get("matched").and_then(Value::as_u64).unwrap_or(0);
        if bulk.dry_run {
            let said = format!("{} would be {}", letters(matched), verb.done());
            return told(context, &answer, &said, matched);
        }
        if matched == 0 {
            return told(context, &answer, "", 0);
        }
        let question = match verb {
            Verb::Retry => format!("Retry {}?", letters(matched)),
            Verb::Discard => format!("Discard {} for good?", letters(matched)),
        };
        output::confirm(&question, false)?;
    }
    let answer = call(false).await?;
    let done = answer.get(verb.done()).and_then(Value::as_u64).unwrap_or(0);
    told(context, &answer, &format!("{} {}", letters(done), verb.done()), done)
}

fn letters(number: u64) -> String {
    output::count(number, "dead letter", "dead letters")
}

/// Says what was done; nothing at all exits 2.
fn told(context: &Context, answer: &Value, said: &str, number: u64) -> Result<()> {
    if context.global.json {
        output::json(answer)?;
    } else if number > 0 {
        output::note(said);
    }
    if number == 0 { Err(Failure::not_found("no dead letter matches")) } else { Ok(()) }
}

async fn by_id(context: &Context, api: &Transport, verb: Verb, bulk: &Bulk) -> Result<()> {
    let ids = ids(&bulk.ids)?;
    let (mut done, mut missing) = (0, 0);
    for id in &ids {
        let outcome = if bulk.dry_run {
            api.get(&format!("/v1/dead-letters/{id}")).await
        } else {
            let (method, path) = verb.one(id);
            api.call(method, &path, None).await
        };
        match outcome {
            Ok(_) => done += 1,
            Err(failure) if failure.exit == Exit::NotFound => {
                missing += 1;
                output::note(&format!("{id}: {failure}"));
            }
            // Anything else stops here: the next one would most likely fare no better.
            Err(failure) => {
                let so_far = format!("{id}: {failure}\n{} {} before that", letters(done), verb.done());
                return Err(Failure::new(failure.exit, so_far));
            }
        }
    }
    if context.global.json {
        output::json(&json!({verb.done(): done, "not_found": missing, "dry_run": bulk.dry_run}))?;
    } else {
        let would = if bulk.dry_run { "would be " } else { "" };
        output::note(&format!("{} {would}{}", letters(done), verb.done()));
    }
    if missing > 0 { Err(Failure::silent(Exit::NotFound)) } else { Ok(()) }
}

/// Ids from arguments, with `-` replaced by those on stdin. All are checked before any is acted on.
fn ids(arguments: &[String]) -> Result<Vec<EventId>> {
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            let mut input = String::new();
            std::io::stdin()
                .read_to_string(&mut input)
                .map_err(|error| Failure::failed(format!("cannot read ids from stdin: {error}")))?;
            texts.extend(input.split_whitespace().map(str::to_owned));
        } else {
            texts.push(argument.clone());
        }
    }
    let parse = |text: &String| {
        text.parse().map_err(|rule| Failure::usage(format!("\"{}\": {rule}", text.escape_debug())))
    };
    texts.iter().map(parse).collect()
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

    #[test]
    fn ids_are_checked_before_anything_is_done() {
        let texts = |texts: &[&str]| ids(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(texts(&["1-2", "evt_3"]).unwrap().len(), 2);
        assert_eq!(texts(&["1-2", "../x"]).unwrap_err().exit, Exit::Usage);
    }
}
