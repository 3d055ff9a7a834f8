//! What is done to several of what is over, by id, by filter, or all: `postrider dead-letter retry` and `discard`,
//! `postrider history replay`.

use std::io::Read;

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Result};
use super::filter::Wanted;
use super::transport::Transport;
use super::{Context, output};
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
    /// A dead letter is delivered again.
    Retry,
    /// A dead letter is thrown away.
    Discard,
    /// What was delivered is delivered again.
    Replay,
}

impl Verb {
    fn word(self) -> &'static str {
        match self {
            Verb::Retry => "retry",
            Verb::Discard => "discard",
            Verb::Replay => "replay",
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Retry => "retried",
            Verb::Discard => "discarded",
            Verb::Replay => "replayed",
        }
    }

    /// Where what it is done to is found.
    fn path(self) -> &'static str {
        match self {
            Verb::Retry | Verb::Discard => "/v1/dead-letters",
            Verb::Replay => "/v1/history",
        }
    }

    fn count(self, number: u64) -> String {
        match self {
            Verb::Retry | Verb::Discard => output::count(number, "dead letter", "dead letters"),
            Verb::Replay => output::count(number, "delivery", "deliveries"),
        }
    }

    fn question(self, number: u64) -> String {
        let what = self.count(number);
        match self {
            Verb::Retry => format!("Retry {what}?"),
            Verb::Discard => format!("Discard {what} for good?"),
            Verb::Replay => format!("Replay {what}?"),
        }
    }

    /// What is said where there is none.
    pub(super) fn none(self) -> &'static str {
        match self {
            Verb::Retry | Verb::Discard => "no dead letter matches",
            Verb::Replay => "no delivery in the history matches",
        }
    }

    /// The call for one.
    fn one(self, id: &EventId) -> (Method, String) {
        let path = self.path();
        match self {
            Verb::Discard => (Method::DELETE, format!("{path}/{id}")),
            Verb::Retry | Verb::Replay => (Method::POST, format!("{path}/{id}/{}", self.word())),
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
            let said = format!("{} would be {}", verb.count(matched), verb.done());
            return told(context, &answer, &said, matched, verb);
        }
        if matched == 0 {
            return told(context, &answer, "", 0, verb);
        }
        output::confirm(&verb.question(matched), false, "Say so with --yes, or look first with --dry-run")?;
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
    let ids = ids(&bulk.ids)?;
    let (mut done, mut missing) = (0, 0);
    for id in &ids {
        let outcome = if bulk.dry_run {
            api.get(&format!("{}/{id}", verb.path())).await
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
    fn ids_are_checked_before_anything_is_done() {
        let texts = |texts: &[&str]| ids(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(texts(&["1-2", "evt_3"]).unwrap().len(), 2);
        assert_eq!(texts(&["1-2", "../x"]).unwrap_err().exit, Exit::Usage);
    }
}
