//! `postrider sink`: a request bin. Prints what it gets, and fails, delays or hangs on demand.

mod behaviour;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

pub use behaviour::{Behaviour, PathRule, Plan};
pub use server::{Observer, Received, Sink};

use super::exit::{Failure, Result};
use super::{Context, output, printer};
use crate::delivery::outcome::escape;
use crate::model::parse_duration;
use crate::operate::signals::{Order, Orders};

/// Requests that may wait to be printed; more wait to be answered.
const UNPRINTED_MAX: usize = 1024;
/// How long lines already received may take to be printed at the end.
const LAST_LINES: Duration = Duration::from_secs(1);

const PATHS: &str =
    "Without any of these, the path itself can ask: /status/503, /delay/1s and /hang do what they say.";

/// Where to listen and how to answer.
#[derive(Debug, Args)]
#[command(after_help = PATHS)]
pub struct SinkArgs {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Answer only the first N requests with --status.
    #[arg(long, value_name = "N")]
    fail: Option<u64>,
    /// Answer with this status; with --fail it is 500 unless given.
    #[arg(long, value_name = "CODE", value_parser = behaviour::parse_status)]
    status: Option<u16>,
    /// Wait before every answer.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "0ms")]
    delay: Duration,
    /// Never answer; with --fail only the first N.
    #[arg(long)]
    hang: bool,
    /// Answer one path differently: status:CODE, fail:N, delay:DURATION, hang, or several with commas. May be repeated.
    #[arg(long, value_name = "/PATH=RULE")]
    path: Vec<PathRule>,
    /// Print at most so many bytes of a body; --json prints all of it.
    #[arg(long, value_name = "BYTES", default_value_t = 200)]
    body_bytes: usize,
}

/// Runs until SIGINT or SIGTERM, or until nobody reads what it prints.
pub async fn run(context: &Context, args: SinkArgs) -> Result<()> {
    let mut orders =
        Orders::new().map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))?;
    let default = Behaviour { status: args.status, fail: args.fail, delay: args.delay, hang: args.hang };
    let plan = Plan::new(default).with_rules(&args.path);
    let (sender, receiver) = mpsc::channel(UNPRINTED_MAX);
    let sink = Sink::bind(args.listen, plan, sender)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on {}: {error}", args.listen)))?;
    output::note(&format!("listening on http://{}", sink.address()));
    let format: fn(&Received, usize) -> String = if context.global.json { json_line } else { line };
    let mut printed = printer::start(receiver, move |received| format(received, args.body_bytes))?;
    loop {
        tokio::select! {
            order = orders.next() => if order != Order::Reload { break },
            ended = &mut printed => return ended.unwrap_or(Ok(())),
        }
    }
    drop(sink);
    tokio::time::timeout(LAST_LINES, printed).await.map_or(Ok(()), |ended| ended.unwrap_or(Ok(())))
}

/// One request on one line, for people: no password, control characters escaped, the body cut.
fn line(received: &Received, body_bytes: usize) -> String {
    let text = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    let body = String::from_utf8_lossy(&received.body);
    let shown = escape(&body, body_bytes);
    let cut = if body.len() > body_bytes { " …" } else { "" };
    format!(
        "{} {} {} id={} attempt={} sequence={} {} {shown}{cut}",
        received.at,
        received.method,
        escape(&received.path, usize::MAX),
        escape(received.webhook_id().unwrap_or("-"), usize::MAX),
        text(received.attempt().map(|number| number.to_string())),
        text(received.sequence().map(|number| number.to_string())),
        text(received.status.map(|status| status.to_string())),
    )
}

/// One request as one JSON object, everything in it. A body that is not UTF-8 is in `body_base64`.
fn json_line(received: &Received, _: usize) -> String {
    let mut headers = Map::new();
    for name in received.headers.keys() {
        let values: Vec<_> = received
            .headers
            .get_all(name)
            .iter()
            .map(|value| String::from_utf8_lossy(value.as_bytes()))
            .collect();
        headers.insert(name.to_string(), Value::from(values.join(", ")));
    }
    let mut object = json!({
        "at": received.at,
        "method": received.method.as_str(),
        "path": received.path,
        "webhook_id": received.webhook_id(),
        "attempt": received.attempt(),
        "sequence": received.sequence(),
        "status": received.status,
        "headers": headers,
    });
    let (key, body) = match std::str::from_utf8(&received.body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_base64", base64::Engine::encode(&base64::prelude::BASE64_STANDARD, &received.body)),
    };
    if let Some(fields) = object.as_object_mut() {
        fields.insert(key.to_owned(), Value::from(body));
    }
    object.to_string()
}

#[cfg(test)]
mod tests;
