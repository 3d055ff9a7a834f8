//! `postrider restore`: a backup becomes the store of a state directory that has none, whole or not at all.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::exit::{Failure, Result};
use super::session::{hand_back, not_opened};
use super::{Context, output};
use crate::queue::Queue;

/// What from. Where to is said by `--data`.
#[derive(Debug, Args)]
pub(super) struct RestoreArgs {
    /// The backup.
    file: PathBuf,
}

pub(super) async fn run(context: &Context, args: RestoreArgs) -> Result<()> {
    let Some(dir) = context.global.data.clone() else {
        return Err(Failure::usage("say where to: --data DIR, a state directory that has no store"));
    };
    let options = context.options(&context.config()?, dir.clone())?;
    let restored = tokio::task::spawn_blocking(move || {
        let restored = Queue::restore(&args.file, &options);
        if options.data_dir.is_dir() {
            hand_back(&options.data_dir);
        }
        restored
    });
    let restored =
        restored.await.map_err(|error| Failure::failed(format!("the restoration broke off: {error}")))?;
    let restored = restored.map_err(not_opened)?;
    let said = format!(
        "restored into {}; what was delivered after the backup was taken is sent again",
        dir.display()
    );
    output::done(context.global.json, &json!(restored), &said)
}
