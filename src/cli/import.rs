//! `postrider import`: takes what `export` wrote into a running daemon, line by line; the same file again makes nothing twice.
//!
//! Settings are put, events are handed in with their ids. What lacks a secret is made only where it is not there yet, and its
//! org is paused until somebody has given it: nothing is sent unsigned or refused for it.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::exit::{Exit, Failure, Result};
use super::transport::Transport;
use super::{Context, output};
use crate::model::OrgId;

/// No line of an export is longer: a payload and what is around it.
const LINE_BYTES_MAX: u64 = 16 << 20;

/// What to import.
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The lines; - for stdin.
    file: PathBuf,
}

/// A line of an export.
#[derive(Deserialize)]
struct Line<'a> {
    kind: &'a str,
    org: OrgId,
    #[serde(default)]
    name: String,
    #[serde(default)]
    settings: Value,
    #[serde(default)]
    missing: Vec<String>,
    #[serde(default)]
    paused: Value,
    #[serde(default)]
    id: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    attributes: Value,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// What became of a line.
enum Done {
    Taken,
    /// It had been taken before.
    Before,
    /// It is not for importing.
    PassedOver,
}

pub(super) async fn run(context: &Context, args: ImportArgs) -> Result<()> {
    let api = context.admin()?;
    let input: Box<dyn Read> = if args.file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        let opened = std::fs::File::open(&args.file);
        Box::new(opened.map_err(|error| Failure::failed(format!("{}: {error}", args.file.display())))?)
    };
    let mut input = BufReader::new(input);
    let (mut number, mut taken, mut before, mut passed, mut bad) = (0u64, 0u64, 0u64, 0u64, 0u64);
    let mut text = Vec::new();
    loop {
        text.clear();
        let unreadable = |error: std::io::Error| Failure::failed(format!("cannot read the lines: {error}"));
        let read = input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut text).map_err(unreadable)?;
        if read == 0 {
            break;
        }
        number += 1;
        if text.trim_ascii().is_empty() {
            continue;
        }
        match take(&api, &text).await {
            Ok(Done::Taken) => taken += 1,
            Ok(Done::Before) => before += 1,
            Ok(Done::PassedOver) => passed += 1,
            Err(failure) if failure.exit == Exit::Unreachable => return Err(failure),
            Err(failure) => {
                bad += 1;
                output::note(&format!("line {number}: {failure}"));
            }
        }
    }
    let counts = json!({"imported": taken, "known": before, "passed_over": passed, "refused": bad});
    let said = format!("{taken} imported, {before} known before, {passed} passed over, {bad} refused");
    output::done(context.global.json, &counts, &said)?;
    if bad > 0 { Err(Failure::silent(Exit::Failed)) } else { Ok(()) }
}

async fn take(api: &Transport, text: &[u8]) -> Result<Done> {
    let line: Line<'_> = serde_json::from_slice(text)
        .map_err(|error| Failure::failed(format!("no line of an export: {error}")))?;
    let org = format!("/v1/orgs/{}", line.org);
    match line.kind {
        "org" => {
            api.call(Method::PUT, &org, Some(&line.settings)).await?;
            if line.paused.is_object() {
                pause(api, &org, line.paused.get("reason").cloned().unwrap_or_default()).await?;
            }
            Ok(Done::Taken)
        }
        "client" | "webhook" | "source" => setting(api, &org, &line).await,
        "event" => event(api, &org, &line).await,
        // Given up: for keeping, and for whoever wants to hand them in as new events.
        "dead_letter" => Ok(Done::PassedOver),
        other => Err(Failure::failed(format!("there is no kind \"{}\"", other.escape_debug()))),
    }
}

async fn pause(api: &Transport, org: &str, reason: Value) -> Result<()> {
    let body = if reason.is_string() { json!({"reason": reason}) } else { json!({}) };
    api.call(Method::POST, &format!("{org}/pause"), Some(&body)).await.map(drop)
}

async fn setting(api: &Transport, org: &str, line: &Line<'_>) -> Result<Done> {
    if line.name.is_empty() || line.name.contains('/') {
        return Err(Failure::failed("it has no name"));
    }
    let path = format!("{org}/{}s/{}", line.kind, line.name);
    if !line.missing.is_empty() {
        match api.get(&path).await {
            // Putting it again would take what was given meanwhile.
            Ok(_) => return Ok(Done::Before),
            Err(failure) if failure.exit == Exit::NotFound => {}
            Err(failure) => return Err(failure),
        }
        if line.kind != "source" {
            let missing = line.missing.join(", ");
            let what =
                format!("imported without {missing} of {} {}: give it, then resume", line.kind, line.name);
            pause(api, org, json!(what)).await?;
        }
    }
    api.call(Method::PUT, &path, Some(&line.settings)).await.map_err(|failure| {
        let missing = line.missing.join(", ");
        let hint = if missing.is_empty() { String::new() } else { format!("; not in the export: {missing}") };
        Failure::new(failure.exit, format!("{} {}: {failure}{hint}", line.kind, line.name))
    })?;
    Ok(Done::Taken)
}

/// The payload goes on as it stands in the line.
async fn event(api: &Transport, org: &str, line: &Line<'_>) -> Result<Done> {
    let Some(payload) = line.payload else { return Err(Failure::failed("the event has no payload")) };
    let around = json!({"id": line.id, "type": line.r#type, "attributes": line.attributes}).to_string();
    let around = around.strip_suffix('}').unwrap_or(&around);
    let body = format!("{around},\"payload\":{payload}}}");
    let (status, _) = api.call_raw(Method::POST, &format!("{org}/events"), body.into()).await?;
    Ok(if status == StatusCode::OK { Done::Before } else { Done::Taken })
}
