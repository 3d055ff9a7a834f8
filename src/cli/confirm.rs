//! Before something is lost: every command that takes away what nobody brings back asks first, all in one way.
//!
//! Asked is on a terminal, which is when stdin and stderr are one; what goes, and how much of it, is in the question. `--yes`
//! is not asked. Without a terminal, one thing that is named goes as it was said; what goes by filter, or several queues at
//! once, is refused (exit 64) until it is said with `--yes`. The commands are the variants of [`Loss`].

use std::io::{IsTerminal, Write};

use serde_json::Value;

use super::exit::{Failure, Result};
use super::output;
use super::transport::Transport;
use crate::model::{ClientId, OrgId, SourceId, WebhookId};

/// What a command takes away.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loss<'a> {
    /// `org delete`.
    Org { org: &'a OrgId, discard: bool },
    /// `client delete`.
    Client { org: &'a OrgId, client: &'a ClientId, cascade: bool },
    /// `webhook delete`.
    Webhook { org: &'a OrgId, webhook: &'a WebhookId },
    /// `webhook rotate-secret --keep 0s`.
    OldSecret { org: &'a OrgId, webhook: &'a WebhookId },
    /// `source delete`.
    Source { org: &'a OrgId, source: &'a SourceId },
    /// `source reset-token`.
    Token { source: &'a SourceId },
    /// `queue skip`.
    Heads { orgs: &'a [OrgId] },
    /// `queue pause --all` and `queue resume --all`: nothing goes, but every queue stands still, or goes on.
    Queues { verb: &'static str, number: u64 },
    /// `dead-letter discard` by id.
    DeadLetters { number: u64 },
    /// `dead-letter retry` and `discard` by filter, or all.
    Matching { number: u64, discard: bool },
    /// `history replay` by filter, or all: nothing goes, but receivers get it again.
    Replays { number: u64 },
}

/// Asks, unless `yes`. An error means that nothing is to be done.
pub(super) async fn ask(api: &Transport, loss: Loss<'_>, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    let on_terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    if !on_terminal && loss.goes_unasked() {
        return Ok(());
    }
    // What is about to be refused need not be asked.
    let Some(question) = loss.question(api).await? else { return Ok(()) };
    if !on_terminal {
        return Err(Failure::usage(format!(
            "{question} There is no terminal to ask on: say so with --yes{}",
            loss.look_first()
        )));
    }
    write!(std::io::stderr(), "{question} [y/N] ").unwrap_or_default();
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|error| Failure::failed(error.to_string()))?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(Failure::failed("nothing was done")) }
}

impl Loss<'_> {
    /// Whether it is enough to have named it where nobody can be asked.
    fn goes_unasked(self) -> bool {
        match self {
            Loss::Org { .. }
            | Loss::Client { .. }
            | Loss::Webhook { .. }
            | Loss::OldSecret { .. }
            | Loss::Source { .. }
            | Loss::DeadLetters { .. } => true,
            Loss::Heads { orgs } => orgs.len() == 1,
            // The address that was pasted elsewhere ends at once.
            Loss::Token { .. } | Loss::Queues { .. } | Loss::Matching { .. } | Loss::Replays { .. } => false,
        }
    }

    fn look_first(self) -> &'static str {
        if matches!(self, Loss::Matching { .. } | Loss::Replays { .. }) {
            ", or look first with --dry-run"
        } else {
            ""
        }
    }

    /// The question, with what goes and how much; none if it would be refused anyway.
    async fn question(self, api: &Transport) -> Result<Option<String>> {
        let count = |value: &Value, at| value.pointer(at).and_then(Value::as_u64).unwrap_or(0);
        Ok(Some(match self {
            Loss::Org { org, discard } => {
                let shown = api.get(&format!("/v1/orgs/{org}")).await?;
                let (waiting, dead) = (count(&shown, "/queue/depth"), count(&shown, "/dead_letters"));
                if !discard && waiting + dead > 0 {
                    return Ok(None);
                }
                let webhooks = output::count(count(&shown, "/webhooks"), "webhook", "webhooks");
                let waiting = output::count(waiting, "waiting delivery", "waiting deliveries");
                format!("Delete org {org} with {webhooks}, {waiting} and {}?", letters(dead))
            }
            Loss::Client { org, client, cascade } => {
                let shown = api.get(&format!("/v1/orgs/{org}/clients/{client}")).await?;
                let webhooks = count(&shown, "/webhooks");
                if !cascade && webhooks > 0 {
                    return Ok(None);
                }
                let webhooks = output::count(webhooks, "webhook", "webhooks");
                format!("Delete client {client} of {org} with {webhooks}?")
            }
            Loss::Webhook { org, webhook } => {
                api.get(&format!("/v1/orgs/{org}/webhooks/{webhook}")).await?;
                let waiting = count(&api.get(&format!("/v1/orgs/{org}")).await?, "/queue/depth");
                format!(
                    "Delete webhook {webhook} of {org}? {} in the org's queue; those for it become dead letters.",
                    output::count(waiting, "delivery waits", "deliveries wait")
                )
            }
            Loss::OldSecret { org, webhook } => {
                format!("Rotate the secret of {webhook} of {org}? The old one ends at once.")
            }
            Loss::Source { org, source } => {
                api.get(&format!("/v1/orgs/{org}/sources/{source}")).await?;
                format!("Delete source {source} of {org}? Senders with its address are refused at once.")
            }
            Loss::Token { source } => {
                format!("Reset the token of {source}? Senders with the old address are refused at once.")
            }
            Loss::Heads { orgs: [org] } => {
                let page = api.get(&format!("/v1/orgs/{org}/queue?limit=1")).await?;
                let Some(head) = page.pointer("/items/0") else { return Ok(None) };
                format!(
                    "Skip delivery {} of {org} ({} for {}, {})? It becomes a dead letter.",
                    output::cell(head, "/sequence"),
                    output::cell(head, "/type"),
                    output::cell(head, "/webhook"),
                    output::count(count(head, "/attempts"), "attempt", "attempts"),
                )
            }
            Loss::Heads { orgs } => {
                format!("Skip the heads of {} queues? They become dead letters.", orgs.len())
            }
            Loss::Queues { verb, number } => {
                format!("{verb} {}?", output::count(number, "queue", "queues"))
            }
            Loss::DeadLetters { number } | Loss::Matching { number, discard: true } => {
                format!("Discard {} for good?", letters(number))
            }
            Loss::Matching { number, discard: false } => format!("Retry {}?", letters(number)),
            Loss::Replays { number } => {
                format!("Replay {}?", output::count(number, "delivery", "deliveries"))
            }
        }))
    }
}

/// `1 dead letter`, `2 dead letters`.
pub(super) fn letters(number: u64) -> String {
    output::count(number, "dead letter", "dead letters")
}
