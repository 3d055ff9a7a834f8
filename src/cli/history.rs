//! `postrider history`: what was delivered: list, show, replay.

use clap::{Args, Subcommand};

use super::bulk::{Bulk, Verb, several};
use super::exit::Result;
use super::filter::{Common, Wanted};
use super::paging::Page;
use super::{Context, attempts};
use crate::model::EventId;

/// What to do with what was delivered.
#[derive(Debug, Subcommand)]
pub(super) enum HistoryCommand {
    /// List what was delivered, newest last. Exits 2 if a filter matches none.
    List {
        /// Which.
        #[command(flatten)]
        filter: Filter,
        /// Which part of the list.
        #[command(flatten)]
        page: Page,
    },
    /// Show one delivery with every attempt.
    Show {
        /// Its id, as it is listed.
        #[arg(value_name = "ID")]
        id: EventId,
        /// With its payload and attributes, which are the customer's data.
        #[arg(long)]
        payload: bool,
    },
    /// Deliver again, at the tails of the orgs' queues, in the order of the history: with the same event id, fresh attempts,
    /// and marked as a replay.
    Replay(Bulk<Filter>),
}

/// Which deliveries.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Filter {
    /// What dead letters are filtered by as well; times are those of the delivery.
    #[command(flatten)]
    common: Common,
    /// Only replays, or with `false` none.
    #[arg(long, value_name = "BOOLEAN", num_args = 0..=1, default_missing_value = "true")]
    replay: Option<bool>,
}

impl Wanted for Filter {
    const NAMES: &'static [&'static str] =
        &["org", "webhook", "event_type", "since", "until", "event_id", "replay"];

    fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
        let mut parameters = self.common.parameters();
        parameters.push(("replay", self.replay.map(|replay| replay.to_string())));
        parameters
    }
}

/// How the history is listed.
const DELIVERED: attempts::Over = attempts::Over {
    path: "/v1/history",
    mark: ("REPLAY", "/replay"),
    at: ("DELIVERED AT", "/delivered_at"),
    no_match: Verb::Replay.none(),
    none: "the history is empty",
};

pub(super) async fn run(context: &Context, command: HistoryCommand) -> Result<()> {
    let session = context.admin_or_store().await?;
    let api = &session.api;
    let done = match command {
        HistoryCommand::List { filter, page } => DELIVERED.list(context, api, &filter, &page).await,
        HistoryCommand::Show { id, payload } => {
            attempts::show(context, api, &format!("/v1/history/{id}"), payload).await
        }
        HistoryCommand::Replay(bulk) => several(context, api, Verb::Replay, &bulk).await,
    };
    session.close().await;
    done
}
