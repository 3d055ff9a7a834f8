//! `postrider status`: the daemon in numbers.

use super::exit::Result;
use super::{Context, output};

pub(super) async fn run(context: &Context) -> Result<()> {
    let status = context.admin()?.get("/v1/status").await?;
    if context.global.json { output::json(&status) } else { output::pairs(output::leaves(&status)) }
}
