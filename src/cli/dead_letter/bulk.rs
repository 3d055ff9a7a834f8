//! `postrider dead-letter retry` and `discard`: by id, by filter, or all.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::Filter;
use crate::cli::confirm::{self, Loss, letters};
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::transport::Transport;
use crate::cli::{Context, output, several};
use crate::dead_letters::At;
use crate::model::EventId;

/// Several dead letters: by their ids, by filter, or all.
#[derive(Debug, Args)]
pub(in crate::cli) struct Bulk {
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

/// Retry or discard.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verb {
    Retry(At),
    Discard,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Retry(_) => "retry",
            Verb::Discard => "discard",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Retry(_) => "retried",
            Verb::Discard => "discarded",
        }
    }

    /// What its body has beside which.
    fn members(self) -> Map<String, Value> {
        match self {
            Verb::Retry(at) => Map::from_iter([("at".to_owned(), json!(at.word()))]),
            Verb::Discard => Map::new(),
        }
    }

    /// The call for one.
    fn one(self, id: &EventId) -> (Method, String) {
        match self {
            Verb::Retry(_) => (Method::POST, format!("/v1/dead-letters/{id}/retry")),
            Verb::Discard => (Method::DELETE, format!("/v1/dead-letters/{id}")),
        }
    }
}

/// Retries or discards by id, by filter, or all.
pub(super) async fn several(context: &Context, api: &Transport, verb: Verb, bulk: &Bulk) -> Result<()> {
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
        let mut members = verb.members();
        if bulk.filter.is_empty() {
            members.insert("all".to_owned(), json!(true));
        } else {
            members.insert("filter".to_owned(), bulk.filter.as_json());
        }
        members.insert("dry_run".to_owned(), json!(dry_run));
        let body = Value::Object(members);
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
        let discard = matches!(verb, Verb::Discard);
        confirm::ask(api, Loss::Matching { number: matched, discard }, false).await?;
    }
    let answer = call(false).await?;
    let done = answer.get(verb.done()).and_then(Value::as_u64).unwrap_or(0);
    told(context, &answer, &format!("{} {}", letters(done), verb.done()), done)
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
    let ids: Vec<EventId> = several::names(&bulk.ids)?;
    if matches!(verb, Verb::Discard) && !bulk.dry_run {
        confirm::ask(api, Loss::DeadLetters { number: ids.len() as u64 }, bulk.yes).await?;
    }
    let (mut done, mut missing) = (0, 0);
    for id in &ids {
        let outcome = if bulk.dry_run {
            api.get(&format!("/v1/dead-letters/{id}")).await
        } else {
            let (method, path) = verb.one(id);
            let body = Value::Object(verb.members());
            api.call(method.clone(), &path, (method == Method::POST).then_some(&body)).await
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
