//! `postrider dead-letter`: what was given up: list and show. What is done about it is in `bulk` and `export.rs`.

mod export;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::bulk::{Bulk, Verb, several};
use super::exit::Result;
use super::filter::{Common, Wanted};
use super::paging::Page;
use super::{Context, attempts};
use crate::dead_letters::At;
use crate::model::{DeadReason, EventId};

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
        bulk: Bulk<Filter>,
        /// Where in the queue: tail, behind all that waits; or head, before all that waits and has not been tried.
        #[arg(long, value_name = "PLACE", default_value = "tail")]
        at: At,
    },
    /// Throw dead letters away for good.
    Discard(Bulk<Filter>),
    /// Write dead letters with their payloads, one JSON object per line. What the store keeps sealed comes out as plain
    /// text: look after it.
    Export {
        /// Which; all of them only with --all.
        #[command(flatten)]
        filter: Filter,
        /// Every dead letter.
        #[arg(long, conflicts_with_all = Filter::NAMES.iter().copied())]
        all: bool,
        /// A new file, readable by its owner only [default: stdout].
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

/// Which dead letters.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// What the history is filtered by as well; times are those of giving up.
    #[command(flatten)]
    common: Common,
    /// Given up for this reason: attempts-exhausted, skipped, webhook-disabled, webhook-deleted,
    /// missing-variable or invalid-variable.
    #[arg(long, value_name = "REASON")]
    reason: Option<DeadReason>,
}

impl Wanted for Filter {
    const NAMES: &'static [&'static str] =
        &["org", "webhook", "event_type", "since", "until", "event_id", "reason"];

    fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
        let mut parameters = self.common.parameters();
        parameters.push(("reason", self.reason.map(|reason| reason.to_string())));
        parameters
    }
}

/// How dead letters are listed.
const DEAD: attempts::Over = attempts::Over {
    path: "/v1/dead-letters",
    mark: ("REASON", "/reason"),
    at: ("DIED AT", "/died_at"),
    no_match: Verb::Discard.none(),
    none: "there are no dead letters",
};

pub(super) async fn run(context: &Context, command: DeadLetterCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let done = match command {
        DeadLetterCommand::List { filter, page } => DEAD.list(context, api, &filter, &page).await,
        DeadLetterCommand::Show { id, payload } => {
            attempts::show(context, api, &format!("/v1/dead-letters/{id}"), payload).await
        }
        DeadLetterCommand::Retry { bulk, at } => several(context, api, Verb::Retry(at), &bulk).await,
        DeadLetterCommand::Discard(bulk) => several(context, api, Verb::Discard, &bulk).await,
        DeadLetterCommand::Export { filter, all, out } => {
            export::run(api, &filter, all, out.as_deref()).await
        }
    };
    session.close().await;
    done
}
