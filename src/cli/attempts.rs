//! Deliveries that are over: `postrider dead-letter list` and `show`, `postrider history list` and `show`.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::exit::{Failure, Result};
use super::filter::Wanted;
use super::paging::Page;
use super::queue::last;
use super::transport::Transport;
use super::{Context, output};

/// How a kind of them is listed.
pub(super) struct Over {
    /// Where in the API.
    pub(super) path: &'static str,
    /// What is told of this kind only: a heading and its place in an item.
    pub(super) mark: (&'static str, &'static str),
    /// When it was over.
    pub(super) at: (&'static str, &'static str),
    /// Said where nothing matches the filter.
    pub(super) no_match: &'static str,
    /// Said where there is nothing.
    pub(super) none: &'static str,
}

impl Over {
    pub(super) async fn list(
        &self,
        context: &Context,
        api: &Transport,
        filter: &impl Wanted,
        page: &Page,
    ) -> Result<()> {
        let list = page.fetch(api, self.path, &filter.parameters()).await?;
        if context.global.json {
            output::json(&list.as_json())?;
        } else if !list.items.is_empty() {
            let row = |over: &Value| {
                let pointers =
                    ["/id", "/org", "/webhook", "/type", "/event_id", self.mark.1, "/attempts", self.at.1];
                let [id, org, webhook, event_type, event, mark, attempts, at] =
                    pointers.map(|pointer| output::cell(over, pointer));
                [id, org, webhook, event_type, event, mark, attempts, at, last(over)]
            };
            let headings =
                ["ID", "ORG", "WEBHOOK", "TYPE", "EVENT", self.mark.0, "ATTEMPTS", self.at.0, "LAST"];
            output::table(headings, list.items.iter().map(row).collect())?;
            list.say_more();
        }
        match (list.items.is_empty(), filter.is_empty()) {
            (true, false) => Err(Failure::not_found(self.no_match)),
            (true, true) if !context.global.json => {
                output::note(self.none);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

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
