//! `postrider enqueue`: one event from flags and a file or stdin, or a batch (in `ndjson.rs`).

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::exit::{Exit, Failure, Result};
use super::{Context, catalogue, ndjson, output};
use crate::model::{EventId, EventType, OrgId};

/// The longest payload or line that is read: far above what a daemon accepts, far below what hurts.
pub(super) const INPUT_BYTES_MAX: u64 = 16 << 20;

/// One event or a batch.
#[derive(Debug, Args)]
#[command(after_help = "\
A batch has one JSON object per line: {\"org\":…,\"type\":…,\"payload\":…,\"id\"?:…,\"attributes\"?:{…}}. Events are accepted one
by one; a refused line is reported and the rest go on. Give every line an id of its own: then the same batch can be sent
again after an interruption, and what was accepted before is not accepted twice (within 24 hours). Lines without an id
would be.

Exits 1 if anything was refused, 75 if it was refused only for now (queue full, disk full, shutting down).")]
pub(super) struct EnqueueArgs {
    /// The org that the event belongs to.
    #[arg(long, value_name = "ORG", required_unless_present = "ndjson")]
    org: Option<OrgId>,
    /// The event's type.
    #[arg(long = "type", value_name = "TYPE", required_unless_present_any = ["ndjson", "example"])]
    event_type: Option<EventType>,
    /// The example that the catalogue has of this type, as type and payload; TYPE@VARIANT for another one than the plain one.
    #[arg(long, value_name = "TYPE", conflicts_with_all = ["event_type", "payload"])]
    example: Option<String>,
    /// The event's id: sent again with the same id and content, it is accepted once [default: made by the daemon].
    #[arg(long, value_name = "ID")]
    id: Option<EventId>,
    /// A value beside the payload; may be repeated.
    #[arg(long = "attribute", value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    /// The file with the JSON payload; `-` or nothing for stdin.
    #[arg(value_name = "FILE")]
    payload: Option<PathBuf>,
    /// A batch of events, one JSON object per line; `-` for stdin.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["org", "event_type", "example", "id", "attributes", "payload"])]
    ndjson: Option<PathBuf>,
}

fn attribute(text: &str) -> std::result::Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("must be NAME=VALUE")?;
    if name.is_empty() {
        return Err("the name before = is empty".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

/// An event as the API takes it.
#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "type")]
    event_type: &'a EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    attributes: serde_json::Map<String, Value>,
    payload: &'a RawValue,
}

pub(super) async fn run(context: &Context, args: EnqueueArgs) -> Result<()> {
    if let Some(file) = &args.ndjson {
        return ndjson::run(context, file).await;
    }
    let example = args.example.as_deref().map(|name| catalogue::example(context, name)).transpose()?;
    let (event_type, input) = match (example, args.event_type) {
        (Some((event_type, text)), _) => (Some(event_type), text.into_bytes()),
        (None, Some(event_type)) => (Some(event_type), read_input(args.payload.as_deref(), "payload")?),
        (None, None) => (None, Vec::new()),
    };
    let (Some(org), Some(event_type)) = (&args.org, &event_type) else {
        return Err(Failure::usage("--org and --type (or --example) are needed, or --ndjson for a batch"));
    };
    let payload: &RawValue = serde_json::from_slice(&input)
        .map_err(|error| Failure::failed(format!("the payload is not JSON: {error}")))?;
    let mut attributes = serde_json::Map::new();
    for (name, value) in args.attributes {
        if attributes.insert(name.clone(), Value::String(value)).is_some() {
            return Err(Failure::usage(format!("--attribute {name} is given twice")));
        }
    }
    let body = Body { event_type, id: args.id.as_ref(), attributes, payload };
    let body = serde_json::to_vec(&body).map_err(|error| Failure::failed(error.to_string()))?;
    let path = format!("/v1/orgs/{org}/events");
    let (_, answer) = context.submit()?.call_raw(Method::POST, &path, Bytes::from(body)).await?;
    if context.global.json {
        return output::json(&answer);
    }
    output::note(&remark(&answer));
    output::line(&output::plain(answer.get("id").and_then(Value::as_str).unwrap_or_default()))
}

/// What became of an accepted event, beside its id.
fn remark(answer: &Value) -> String {
    if answer.get("duplicate").and_then(Value::as_bool) == Some(true) {
        return "accepted before; nothing was added".to_owned();
    }
    match answer.get("deliveries").and_then(Value::as_u64).unwrap_or(0) {
        0 => "accepted; no webhook listens to it, so nothing is delivered".to_owned(),
        deliveries => format!(
            "accepted: {}, sequence {}",
            output::count(deliveries, "delivery", "deliveries"),
            output::cell(answer, "/sequence")
        ),
    }
}

/// Reads a file, or stdin for `-` or nothing. `what` is what it should hold.
pub(super) fn read_input(file: Option<&Path>, what: &str) -> Result<Vec<u8>> {
    let named = file.filter(|path| *path != Path::new("-"));
    let mut input = Vec::new();
    let read = if let Some(path) = named {
        std::fs::File::open(path).and_then(|source| source.take(INPUT_BYTES_MAX + 1).read_to_end(&mut input))
    } else {
        if file.is_none() && std::io::stdin().is_terminal() {
            return Err(Failure::usage(format!("give a FILE with the {what}, or - to type it")));
        }
        std::io::stdin().lock().take(INPUT_BYTES_MAX + 1).read_to_end(&mut input)
    };
    let name = named.map_or_else(|| "stdin".to_owned(), |path| path.display().to_string());
    read.map_err(|error| Failure::new(Exit::Failed, format!("cannot read the {what} from {name}: {error}")))?;
    if input.len() as u64 > INPUT_BYTES_MAX {
        let limit = output::human_bytes(INPUT_BYTES_MAX);
        return Err(Failure::failed(format!("the {what} in {name} is longer than {limit}")));
    }
    Ok(input)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn attributes_are_split_at_the_first_sign() {
        assert_eq!(attribute("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(attribute("a="), Ok(("a".to_owned(), String::new())));
        assert!(attribute("a").is_err());
        assert!(attribute("=b").is_err());
    }

    #[test]
    fn the_payload_goes_out_byte_for_byte() {
        let text = "{ \"b\":1.0,\n \"a\" : \"\\u00e9\", \"a\":2}";
        let payload: &RawValue = serde_json::from_str(text).unwrap();
        let event_type = "t".parse().unwrap();
        let body = Body { event_type: &event_type, id: None, attributes: serde_json::Map::new(), payload };
        assert_eq!(serde_json::to_string(&body).unwrap(), format!("{{\"type\":\"t\",\"payload\":{text}}}"));
    }

    #[test]
    fn the_remark_says_what_became_of_it() {
        let deliveries = |n: u64| json!({"id": "e", "sequence": 7, "deliveries": n});
        assert_eq!(remark(&deliveries(1)), "accepted: 1 delivery, sequence 7");
        assert_eq!(remark(&deliveries(2)), "accepted: 2 deliveries, sequence 7");
        assert!(remark(&deliveries(0)).contains("no webhook listens"));
        assert!(remark(&json!({"duplicate": true, "deliveries": 1})).contains("accepted before"));
    }
}
