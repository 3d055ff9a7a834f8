//! `postrider compact`: the store rewritten, so that it takes no more space than it needs.

use http::Method;
use serde_json::json;

use super::exit::{Failure, Result};
use super::session::{hand_back, not_opened};
use super::{Context, output};
use crate::queue::{Compacted, Queue};

/// On the store of a stopped daemon at once; a running one does it when it starts next.
pub(super) async fn run(context: &Context) -> Result<()> {
    if context.global.data.is_none() {
        let answer = context.admin()?.call(Method::POST, "/v1/compact", None).await?;
        let said = "compacts at the next start: systemctl restart postrider; producers wait, none is refused";
        return output::done(context.global.json, &answer, said);
    }
    let (_, options) = context.stopped_store()?;
    let compacted = tokio::task::spawn_blocking(move || {
        let compacted = Queue::compact_stopped(&options);
        hand_back(&options.data_dir);
        compacted
    });
    let compacted =
        compacted.await.map_err(|error| Failure::failed(format!("the compaction broke off: {error}")))?;
    let compacted = compacted.map_err(not_opened)?;
    let Compacted { before_bytes, after_bytes } = compacted;
    let said = format!("the store took {before_bytes} bytes, and takes {after_bytes} now");
    output::done(context.global.json, &json!(compacted), &said)
}
