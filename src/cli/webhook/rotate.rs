//! `postrider webhook rotate-secret`: a new signing secret, without a moment in which the receiver knows none that is valid.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde_json::{Map, Value, json};

use super::duration;
use crate::cli::confirm::{self, Loss};
use crate::cli::destination::secret;
use crate::cli::exit::Result;
use crate::cli::output;
use crate::cli::transport::Transport;
use crate::model::{HumanDuration, OrgId, WebhookId};

/// What to replace.
#[derive(Debug, Args)]
pub(in crate::cli) struct RotateArgs {
    /// The org.
    org: OrgId,
    /// The webhook.
    webhook: WebhookId,
    /// How long the old secret stays valid [default: 24h].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    keep: Option<HumanDuration>,
    /// The file with the new secret [default: one is made].
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// Do not ask before the old secret ends at once (--keep 0s).
    #[arg(long)]
    yes: bool,
}

/// Prints the new secret, once, on stdout.
pub(super) async fn run(api: &Transport, json: bool, args: &RotateArgs) -> Result<()> {
    let mut body = Map::new();
    if args.keep.is_some_and(|keep| keep.0.is_zero()) {
        confirm::ask(api, Loss::OldSecret { org: &args.org, webhook: &args.webhook }, args.yes).await?;
    }
    if let Some(keep) = args.keep {
        body.insert("keep".to_owned(), json!(keep));
    }
    if let Some(file) = &args.secret_file {
        body.insert("secret".to_owned(), json!(secret(file, "secret")?));
    }
    let path = format!("/v1/orgs/{}/webhooks/{}/rotate-secret", args.org, args.webhook);
    let answer = api.call(Method::POST, &path, Some(&Value::Object(body))).await?;
    if json {
        return output::json(&answer);
    }
    output::note(&format!(
        "rotated; the old secret is valid until {}",
        output::cell(&answer, "/previous_valid_until")
    ));
    match answer.get("secret").and_then(Value::as_str) {
        Some(secret) => output::line(secret),
        None => Ok(()),
    }
}
