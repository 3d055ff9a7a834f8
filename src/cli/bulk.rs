//! What is done to several of what is over, by id, by filter, or all: `postrider dead-letter retry` and `discard`,
//! `postrider history replay`.

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::confirm::{self, Loss, letters};
use super::exit::{Exit, Failure, Result};
use super::filter::Wanted;
use super::transport::Transport;
use super::{Context, output, several};
use crate::dead_letters::At;
use crate::model::EventId;

/// Several: by their ids, by filter, or all.
#[derive(Debug, Args)]
pub(super) struct Bulk<F: Wanted> {
    /// Their ids, as they are listed (of a dead letter, its event's will do); `-` reads them from stdin, one per line.
    #[arg(value_name = "ID", conflicts_with_all = F::NAMES.iter().copied())]
    ids: Vec<String>,
    /// Which, if not by id.
    #[command(flatten)]
    filter: F,
    /// Every one that there is.
    #[arg(long, conflicts_with_all = F::NAMES.iter().copied(), conflicts_with = "ids")]
    all: bool,
    /// Only say how many there are.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

/// What to do with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// A dead letter is delivered again, from this place of its queue on.
    Retry(At),
    /// A dead letter is thrown away.
    Discard,
    /// What was delivered is delivered again.
    Replay,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Retry(_) => "retry",
            Verb::Discard => "discard",
            Verb::Replay => "replay",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Retry(_) => "retried",
            Verb::Discard => "discarded",
            Verb::Replay => "replayed",
        }
    }

    /// Where what it is done to is found.
    fn path(self) -> &'static str {
        match self {
            Verb::Retry(_) | Verb::Discard => "/v1/dead-letters",
            Verb::Replay => "/v1/history",
        }
    }

    fn count(self, number: u64) -> String {
        match self {
            Verb::Retry(_) | Verb::Discard => letters(number),
            Verb::Replay => output::count(number, "delivery", "deliveries"),
        }
    }

    /// What is asked before it is done to those that match.
    fn loss(self, number: u64) -> Loss<'static> {
        match self {
            Verb::Retry(_) => Loss::Matching { number, discard: false },
            Verb::Discard => Loss::Matching { number, discard: true },
            Verb::Replay => Loss::Replays { number },
        }
    }

    /// What is said where there is none.
    pub(super) const fn none(self) -> &'static str {
        match self {
            Verb::Retry(_) | Verb::Discard => "no dead letter matches",
            Verb::Replay => "no delivery in the history matches",
        }
    }

    /// What its body has beside which.
    fn members(self) -> Map<String, Value> {
        match self {
            Verb::Retry(at) => Map::from_iter([("at".to_owned(), json!(at.word()))]),
            Verb::Discard | Verb::Replay => Map::new(),
        }
    }

    /// The call for one.
    fn one(self, id: &EventId) -> (Method, String) {
        let path = self.path();
        match self {
            Verb::Discard => (Method::DELETE, format!("{path}/{id}")),
            Verb::Retry(_) | Verb::Replay => (Method::POST, format!("{path}/{id}/{}", self.word())),
        }
    }
}

/// Does it by id, by filter, or to all.
pub(super) async fn several<F: Wanted>(
    context: &Context,
    api: &Transport,
    verb: Verb,
    bulk: &Bulk<F>,
) -> Result<()> {
    if !bulk.ids.is_empty() {
        return by_id(context, api, verb, bulk).await;
    }
    if bulk.filter.is_empty() && !bulk.all {
        return Err(Failure::usage(format!(
            "say which to {}: ids, a filter such as --org, or --all",
            verb.word()
        )));
    }
    let path = format!("{}/{}", verb.path(), verb.word());
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
            let said = format!("{} would be {}", verb.count(matched), verb.done());
            return told(context, &answer, &said, matched, verb);
        }
        if matched == 0 {
            return told(context, &answer, "", 0, verb);
        }
        confirm::ask(api, verb.loss(matched), false).await?;
    }
    let answer = call(false).await?;
    let done = answer.get(verb.done()).and_then(Value::as_u64).unwrap_or(0);
    told(context, &answer, &format!("{} {}", verb.count(done), verb.done()), done, verb)
}

/// Says what was done; nothing at all exits 2.
fn told(context: &Context, answer: &Value, said: &str, number: u64, verb: Verb) -> Result<()> {
    if context.global.json {
        output::json(answer)?;
    } else if number > 0 {
        output::note(said);
    }
    if number == 0 { Err(Failure::not_found(verb.none())) } else { Ok(()) }
}

async fn by_id<F: Wanted>(context: &Context, api: &Transport, verb: Verb, bulk: &Bulk<F>) -> Result<()> {
    let ids: Vec<EventId> = several::names(&bulk.ids)?;
    if matches!(verb, Verb::Discard) && !bulk.dry_run {
        confirm::ask(api, Loss::DeadLetters { number: ids.len() as u64 }, bulk.yes).await?;
    }
    let (mut done, mut missing) = (0, 0);
    for id in &ids {
        let outcome = if bulk.dry_run {
            api.get(&format!("{}/{id}", verb.path())).await
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
                let so_far = format!("{id}: {failure}\n{} {} before that", verb.count(done), verb.done());
                return Err(Failure::new(failure.exit, so_far));
            }
        }
    }
    if context.global.json {
        output::json(&json!({verb.done(): done, "not_found": missing, "dry_run": bulk.dry_run}))?;
    } else {
        let would = if bulk.dry_run { "would be " } else { "" };
        output::note(&format!("{} {would}{}", verb.count(done), verb.done()));
    }
    if missing > 0 { Err(Failure::silent(Exit::NotFound)) } else { Ok(()) }
}
