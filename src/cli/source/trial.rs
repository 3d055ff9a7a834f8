//! `postrider source test`: what a request would be answered and become, without a sender.

use std::path::PathBuf;

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json, value::RawValue};

use crate::cli::destination::text;
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output;
use crate::cli::transport::Transport;
use crate::model::{OrgId, SourceId};

/// Verdicts by which a source is as it should be.
const WELL: [&str; 3] = ["accepted", "probe", "unmapped"];

/// What to try.
#[derive(Debug, Args)]
pub(in crate::cli) struct TestArgs {
    /// The org.
    org: OrgId,
    /// The source.
    source: SourceId,
    /// The body of the request: a file, or `-` for stdin [default: a typical one of the source's kind].
    #[arg(value_name = "FILE")]
    body: Option<PathBuf>,
    /// The body's content type [default: the one of that typical request].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// What the sender calls it, where a header says so, for example issues.
    #[arg(long, value_name = "NAME")]
    event: Option<String>,
    /// Accept the events for good: they go to the org's webhooks.
    #[arg(long)]
    enqueue: bool,
}

impl TestArgs {
    fn request(&self) -> Result<Value> {
        let body = self.body.as_ref().map(|file| text(file, "body")).transpose()?;
        let fields = [
            ("body", body.map(|body| json!(body))),
            ("content_type", self.content_type.as_ref().map(|name| json!(name))),
            ("event", self.event.as_ref().map(|event| json!(event))),
            ("enqueue", self.enqueue.then_some(Value::Bool(true))),
        ];
        let given: Map<String, Value> =
            fields.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        Ok(Value::Object(given))
    }
}

/// An event that the request becomes; its payload as it would be delivered, to the byte.
#[derive(Deserialize)]
struct Fired<'a> {
    #[serde(rename = "type")]
    event_type: String,
    #[serde(borrow)]
    payload: &'a RawValue,
    #[serde(default)]
    deliveries: u64,
    sequence: Option<u64>,
}

/// The part of the answer that is shown as it stands.
#[derive(Deserialize)]
struct Outcome<'a> {
    #[serde(borrow, default)]
    events: Vec<Fired<'a>>,
}

/// Exits 1 if the source would not take the request.
pub(super) async fn run(api: &Transport, json_wanted: bool, args: &TestArgs) -> Result<()> {
    let path = format!("{}/test", super::address(&args.org, &args.source));
    let request = Bytes::from(args.request()?.to_string());
    let answer = api.call_text(Method::POST, &path, request).await?;
    let unreadable = |error| Failure::failed(format!("the daemon's answer is not JSON: {error}"));
    let whole: Value = serde_json::from_slice(&answer).map_err(unreadable)?;
    if json_wanted {
        output::json(&whole)?;
    } else {
        let outcome: Outcome<'_> = serde_json::from_slice(&answer).map_err(unreadable)?;
        output::line(&exchange(&whole, &outcome.events))?;
        super::warn_of_silence(&api.get(&super::address(&args.org, &args.source)).await?);
    }
    let verdict = whole.get("verdict").and_then(Value::as_str).unwrap_or_default();
    if WELL.contains(&verdict) { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

/// The exchange as curl shows one: `>` is what came in, `<` what was answered; `=` what it becomes.
fn exchange(answer: &Value, events: &[Fired<'_>]) -> String {
    let cell = |at: &str| output::plain(&output::cell(answer, at));
    let mut lines = Vec::new();
    let headers = answer.pointer("/request/headers").and_then(Value::as_object);
    lines.extend(
        headers
            .into_iter()
            .flatten()
            .map(|(name, value)| output::plain(&format!("> {name}: {}", value.as_str().unwrap_or_default()))),
    );
    let mut body = |at: &str, mark: &str, before: Option<String>| {
        lines.extend(before);
        let text = answer.pointer(at).and_then(Value::as_str).unwrap_or_default();
        lines.extend(text.lines().map(|line| output::plain(&format!("{mark} {line}"))));
    };
    body("/request/body", ">", None);
    let content_type = answer.get("content_type").and_then(Value::as_str).unwrap_or_default();
    let status = output::plain(format!("< {} {content_type}", cell("/status")).trim_end());
    body("/answer", "<", Some(status));
    let enqueued = answer.get("enqueued").and_then(Value::as_bool) == Some(true);
    for event in events {
        let deliveries = output::count(event.deliveries, "delivery", "deliveries");
        let place = event.sequence.map(|sequence| format!(", sequence {sequence}")).unwrap_or_default();
        lines.push(output::plain(&format!("= {} ({deliveries}{place})", event.event_type)));
        lines.extend(event.payload.get().lines().map(|line| output::plain(&format!("= {line}"))));
    }
    let number = output::count(events.len() as u64, "event", "events");
    let verdict = cell("/verdict");
    lines.push(match (events.is_empty(), enqueued) {
        (true, _) if verdict == "unmapped" => {
            format!("{verdict}: the rules make no event of it; give a body, and --event, of your own to try others")
        }
        (true, _) => verdict,
        (false, true) => format!("{verdict}: {number} enqueued"),
        (false, false) => format!("{verdict}: {number}, none enqueued; --enqueue does"),
    });
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(answer: &str) -> String {
        let outcome: Outcome<'_> = serde_json::from_str(answer).unwrap();
        exchange(&serde_json::from_str(answer).unwrap(), &outcome.events)
    }

    #[test]
    fn the_exchange_tells_what_came_what_was_answered_and_what_it_becomes() {
        let answer = r#"{"verdict":"accepted","status":200,"content_type":"application/json","answer":"{\"text\":\"Tracking\"}",
            "events":[{"type":"shop.task.track","payload":{"n": 1.0, "n":2},"deliveries":2}],"enqueued":false,
            "request":{"headers":{"content-type":"application/json","x-sig":"***"},"body":"{\n \"a\":\"\\u001b\u001b\"}"}}"#;
        assert_eq!(
            shown(answer),
            "> content-type: application/json\n> x-sig: ***\n> {\n>  \"a\":\"\\u001b\\u{1b}\"}\n< 200 application/json\n\
             < {\"text\":\"Tracking\"}\n= shop.task.track (2 deliveries)\n= {\"n\": 1.0, \"n\":2}\n\
             accepted: 1 event, none enqueued; --enqueue does"
        );
    }

    #[test]
    fn what_was_enqueued_has_its_place_in_the_queue() {
        let answer = r#"{"verdict":"accepted","status":200,"answer":"","enqueued":true,
            "events":[{"type":"t","payload":null,"deliveries":1,"id":"e","sequence":7}],"request":{"headers":{},"body":""}}"#;
        assert_eq!(shown(answer), "< 200\n= t (1 delivery, sequence 7)\n= null\naccepted: 1 event enqueued");
    }

    #[test]
    fn a_refusal_becomes_nothing() {
        let answer = r#"{"verdict":"unreadable","status":400,"answer":"the body is empty","events":[],"enqueued":false}"#;
        assert_eq!(shown(answer), "< 400\n< the body is empty\nunreadable");
    }
}
