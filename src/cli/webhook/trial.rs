//! `postrider webhook test`: one attempt now, by the path of every delivery, and the exchange for people.

use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::cli::enqueue::read_input;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output;
use crate::cli::transport::Transport;
use crate::model::{EventType, OrgId, WebhookId};

/// What to send.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// The org.
    org: OrgId,
    /// The webhook.
    webhook: WebhookId,
    /// The event's type [default: the first that the webhook listens to].
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// A value beside the payload, for a variable of the URL; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = super::put::pair)]
    attributes: Vec<(String, String)>,
    /// The payload: a file, or `-` for stdin [default: the example that the catalogue has of the type, else {"test":true}].
    payload: Option<PathBuf>,
}

impl TestArgs {
    /// The payload as it was given.
    fn payload(&self) -> Result<Option<String>> {
        let Some(file) = &self.payload else { return Ok(None) };
        let text = read_input(Some(file), "payload")?;
        let payload: &RawValue = serde_json::from_slice(&text)
            .map_err(|error| Failure::failed(format!("the payload is not JSON: {error}")))?;
        Ok(Some(payload.get().to_owned()))
    }

    /// The API's body as text: the payload goes through as it is.
    fn body(&self, payload: Option<&str>) -> String {
        let mut parts = Vec::new();
        if let Some(event_type) = &self.event_type {
            parts.push(format!("\"type\":{}", json!(event_type)));
        }
        if !self.attributes.is_empty() {
            let attributes: Map<String, Value> =
                self.attributes.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
            parts.push(format!("\"attributes\":{}", Value::Object(attributes)));
        }
        parts.extend(payload.map(|payload| format!("\"payload\":{payload}")));
        format!("{{{}}}", parts.join(","))
    }
}

/// Exits 1 if the receiver did not take it.
pub(super) async fn run(api: &Transport, json: bool, args: &TestArgs) -> Result<()> {
    let path = format!("/v1/orgs/{}/webhooks/{}/test", args.org, args.webhook);
    let sent = args.payload()?;
    let text = api.call_text(Method::POST, &path, args.body(sent.as_deref()).into()).await?;
    let unreadable = |error| Failure::failed(format!("the daemon's answer is not JSON: {error}"));
    let answer: Value = serde_json::from_slice(&text).map_err(unreadable)?;
    // As it was sent, to the byte: what was signed is not what a parser makes of it.
    let Sent { request } = serde_json::from_slice(&text).map_err(unreadable)?;
    if json {
        output::json(&answer)?;
    } else {
        output::line(&exchange(&answer, request.body.get()))?;
    }
    if answer.get("outcome").and_then(Value::as_str) == Some("delivered") {
        return Ok(());
    }
    Err(Failure::silent(Exit::Failed))
}

/// The part of the answer that is shown as it stands.
#[derive(Deserialize)]
struct Sent<'a> {
    #[serde(borrow)]
    request: SentRequest<'a>,
}

#[derive(Deserialize)]
struct SentRequest<'a> {
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The exchange as curl shows one: `>` is what went out, `<` what came back.
fn exchange(answer: &Value, payload: &str) -> String {
    let cell = |at: &str| output::plain(&output::cell(answer, at));
    let headers = |at: &str, mark: &str| {
        let headers = answer.pointer(at).and_then(Value::as_object);
        let line = |(name, value): (&String, &Value)| {
            output::plain(&format!("{mark} {name}: {}", value.as_str().unwrap_or_default()))
        };
        headers.map(|headers| headers.iter().map(line).collect::<Vec<_>>()).unwrap_or_default()
    };
    let mut lines = vec![format!("> {} {}", cell("/request/method"), cell("/request/url"))];
    lines.extend(headers("/request/headers", ">"));
    if cell("/request/method") != "GET" {
        lines.push(output::plain(&format!("> {payload}")));
    }
    if answer.get("response").is_some_and(Value::is_object) {
        lines.push(format!("< {}", cell("/response/status")));
        lines.extend(headers("/response/headers", "<"));
        if cell("/excerpt") != "-" {
            lines.push(format!("< {}", cell("/excerpt")));
        }
    }
    let after = format!("{} after {} ms", cell("/outcome"), cell("/duration_ms"));
    lines.push(match answer.get("error").and_then(Value::as_str) {
        Some(reason) => format!("{after}: {reason}: {}", cell("/detail")),
        None => after,
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exchange_reads_like_curls() {
        let answer = json!({"outcome": "failed", "duration_ms": 12, "error": "status", "status": 503,
            "detail": "the receiver answered 503", "excerpt": "busy\u{1b}[31m",
            "request": {"method": "POST", "url": "https://a.example/x?t=***", "headers": {"webhook-id": "test_1"},
                "body": {"test": true}},
            "response": {"status": 503, "headers": {"server": "x"}}});
        assert_eq!(
            exchange(&answer, "{\"test\": true}"),
            "> POST https://a.example/x?t=***\n> webhook-id: test_1\n> {\"test\": true}\n< 503\n< server: x\n\
             < busy\\u{1b}[31m\nfailed after 12 ms: status: the receiver answered 503"
        );
        let unreached = json!({"outcome": "failed", "duration_ms": 3, "error": "dns", "detail": "no such name",
            "request": {"method": "GET", "url": "https://a.example/", "headers": {}, "body": null}, "response": null});
        assert_eq!(
            exchange(&unreached, "null"),
            "> GET https://a.example/\nfailed after 3 ms: dns: no such name"
        );
    }
}
