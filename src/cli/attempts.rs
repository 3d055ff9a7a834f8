//! A delivery that is over, with every attempt: `postrider dead-letter show` and `postrider history show`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::exit::{Failure, Result};
use super::transport::Transport;
use super::{Context, output};

/// Shows what is at `path`, with the payload if that is asked for: only what an operator names is shown.
pub(super) async fn show(context: &Context, api: &Transport, path: &str, payload: bool) -> Result<()> {
    let query = if payload { "?payload=true" } else { "" };
    let text = api.get_text(&format!("{path}{query}")).await?;
    if context.global.json {
        output::write(text.trim_ascii())?;
        return output::line("");
    }
    let unreadable =
        |error: serde_json::Error| Failure::failed(format!("the daemon's answer is not JSON: {error}"));
    let mut fields: BTreeMap<String, &RawValue> = serde_json::from_slice(&text).map_err(unreadable)?;
    let payload = fields.remove("payload");
    let attempts = fields.remove("attempts").map_or("[]", RawValue::get);
    let attempts: Vec<Value> = serde_json::from_str(attempts).map_err(unreadable)?;
    let rest = fields
        .into_iter()
        .map(|(name, value)| Ok((name, serde_json::from_str(value.get())?)))
        .collect::<std::result::Result<Map<_, _>, _>>()
        .map_err(unreadable)?;
    output::pairs(output::leaves(&Value::Object(rest)))?;
    if !attempts.is_empty() {
        let row = |attempt: &Value| {
            ["/number", "/at", "/status", "/error", "/duration_ms", "/detail", "/excerpt"]
                .map(|at| output::cell(attempt, at))
        };
        let headings = ["ATTEMPT", "AT", "STATUS", "ERROR", "MS", "DETAIL", "ANSWER"];
        output::line("")?;
        output::table(headings, attempts.iter().map(row).collect())?;
    }
    // JSON has no raw control characters but line ends, so it may go to a terminal as it is.
    payload.map_or(Ok(()), |payload| output::line(&format!("\n{}", payload.get())))
}
