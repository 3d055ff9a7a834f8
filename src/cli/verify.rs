//! `postrider verify`: every record opened and checked, of a running daemon, of the store of a stopped one, or of a backup.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use super::exit::{Exit, Failure, Result};
use super::{Context, output};
use crate::queue::Queue;

/// What to verify.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// Check a backup instead: it is restored into a directory for temporary files (TMPDIR), checked there, and removed.
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, args: VerifyArgs) -> Result<()> {
    let verified = if args.backup.is_some() || context.global.data.is_some() {
        let context = context.clone();
        let verified = tokio::task::spawn_blocking(move || match args.backup {
            Some(file) => backup(&context, &file),
            None => stopped(&context),
        })
        .await;
        // sled may panic on what is damaged.
        verified.map_err(|_| Failure::failed("the store cannot be read: it is damaged"))??
    } else {
        context.admin()?.get("/v1/verify").await?
    };
    tell(context, &verified)
}

fn stopped(context: &Context) -> Result<Value> {
    let (_, options) = context.stopped_store()?;
    let verified = Queue::verify_stopped(&options);
    super::session::hand_back(&options.data_dir);
    let verified = verified.map_err(super::session::not_opened)?;
    serde_json::to_value(verified).map_err(|error| Failure::failed(error.to_string()))
}

fn backup(context: &Context, file: &Path) -> Result<Value> {
    let options = context.options(&context.config()?, PathBuf::new())?;
    let temporary = context.env.get("TMPDIR").filter(|dir| !dir.is_empty()).map_or("/tmp", String::as_str);
    let verified = Queue::verify_backup(file, &options, Path::new(temporary));
    let verified = verified.map_err(super::session::not_opened)?;
    serde_json::to_value(verified).map_err(|error| Failure::failed(error.to_string()))
}

/// Says what was found. Whatever is wrong is one line of the output, and the exit code 1.
fn tell(context: &Context, verified: &Value) -> Result<()> {
    let faults = verified.get("faults_total").and_then(Value::as_u64);
    if context.global.json {
        output::json(verified)?;
    } else {
        for fault in verified.get("faults").and_then(Value::as_array).into_iter().flatten() {
            output::line(&output::plain(&place(fault)))?;
        }
        let mut rows = output::leaves(verified);
        rows.retain(|(name, _)| !name.starts_with("faults") || name == "faults_total");
        output::pairs(rows)?;
    }
    match faults {
        Some(0) => Ok(()),
        Some(faults) => {
            let faults = output::count(faults, "record is", "records are");
            Err(Failure::new(Exit::Failed, format!("{faults} not as they must be")))
        }
        None => Err(Failure::failed("the answer does not say what is wrong")),
    }
}

/// `queue/0001: delivery of org 1, sequence 5: altered, torn, or moved from another place`.
fn place(fault: &Value) -> String {
    let text = |name: &str| fault.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| fault.get(name).and_then(Value::as_u64);
    let mut place = text("tree");
    if fault.get("kind").is_some() {
        place = format!("{place}: {}", text("kind").replace('_', " "));
    }
    if let Some(org) = number("org") {
        place = format!("{place} of org {org}");
    }
    if let Some(sequence) = number("sequence") {
        place = format!("{place}, sequence {sequence}");
    }
    format!("{place}: {}", text("why"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_fault_is_told_by_its_place() {
        let fault =
            json!({"tree": "queue/0001", "kind": "dead_letter", "org": 1, "sequence": 5, "why": "torn"});
        assert_eq!(place(&fault), "queue/0001: dead letter of org 1, sequence 5: torn");
        assert_eq!(place(&json!({"tree": "store", "why": "torn"})), "store: torn");
    }
}
