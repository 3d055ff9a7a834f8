//! `postrider export`: settings, what waits and what is dead, as lines of JSON that `import` takes, here or elsewhere.
//!
//! Secrets are not shown by the API, and so are not in it: a line names under `missing` what has to be given again.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::exit::{Exit, Failure, Result};
use super::paging::Page;
use super::transport::Transport;
use super::{Context, output};
use crate::model::OrgId;

/// Deliveries fetched at a time: each comes with its payload.
const DELIVERIES: u64 = 16;
/// Everything else.
const ITEMS: u64 = 500;
/// What stands in a URL for what is not shown.
const MASK: &str = "***";

/// What to export, and where to.
#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Of this org only.
    #[arg(long)]
    org: Option<OrgId>,
    /// A new file, for its owner alone [default: stdout].
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) async fn run(context: &Context, args: ExportArgs) -> Result<()> {
    let session = context.admin_or_store().await?;
    let done = match &args.out {
        Some(path) => to_file(&session.api, args.org.as_ref(), path).await,
        None => export(&session.api, args.org.as_ref(), &mut std::io::stdout()).await,
    };
    session.close().await;
    output::note(&format!("{} exported; secrets are not in it", output::count(done?, "line", "lines")));
    Ok(())
}

/// A new file, on disk when the command ends.
async fn to_file(api: &Transport, org: Option<&OrgId>, path: &Path) -> Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("cannot create {}: {error}", path.display()))
    })?;
    let mut out = BufWriter::new(file);
    let lines = export(api, org, &mut out).await?;
    let failed = |error: std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    out.flush().map_err(failed)?;
    out.get_ref().sync_all().map_err(failed)?;
    Ok(lines)
}

async fn export(api: &Transport, org: Option<&OrgId>, out: &mut impl Write) -> Result<u64> {
    let mut lines = Lines { out, written: 0 };
    let mut page = Page { limit: ITEMS, after: None };
    loop {
        let list = match org {
            Some(org) => {
                super::paging::List { items: vec![api.get(&format!("/v1/orgs/{org}")).await?], next: None }
            }
            None => page.fetch(api, "/v1/orgs", &[]).await?,
        };
        for org in &list.items {
            of_org(api, org, &mut lines).await?;
        }
        page.after = list.next;
        if page.after.is_none() {
            return Ok(lines.written);
        }
    }
}

struct Lines<'a, W> {
    out: &'a mut W,
    written: u64,
}

impl<W: Write> Lines<'_, W> {
    fn write(&mut self, line: &impl Serialize) -> Result<()> {
        let text = serde_json::to_vec(line).map_err(|error| Failure::failed(error.to_string()))?;
        // A line end can only be white space between the values of a payload.
        let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
        let mut text: Vec<u8> = text.iter().map(blank).collect();
        text.push(b'\n');
        self.out.write_all(&text).map_err(|error| output::write_failure(&error))?;
        self.written += 1;
        Ok(())
    }
}

async fn of_org<W: Write>(api: &Transport, org: &Value, lines: &mut Lines<'_, W>) -> Result<()> {
    let name = output::cell(org, "/id");
    let settings = chosen(org, &["plan", "limits", "description"]);
    let paused = org.pointer("/queue/paused").filter(|paused| paused.is_object());
    lines.write(&json!({"kind": "org", "org": name, "settings": settings, "paused": paused}))?;
    for (kind, path) in [("client", "clients"), ("webhook", "webhooks"), ("source", "sources")] {
        let all = Page { limit: u64::MAX, after: None };
        for item in all.fetch(api, &format!("/v1/orgs/{name}/{path}"), &[]).await?.items {
            let (settings, missing) = given(kind, &item);
            let id = output::cell(&item, "/id");
            lines.write(
                &json!({"kind": kind, "org": name, "name": id, "settings": settings, "missing": missing}),
            )?;
        }
    }
    waiting(api, &name, lines).await?;
    let mut page = Page { limit: ITEMS, after: None };
    loop {
        let list = page.fetch(api, &format!("/v1/orgs/{name}/dead-letters"), &[]).await?;
        for id in list.items.iter().filter_map(|dead| dead.get("id").and_then(Value::as_str)) {
            match api.get_text(&format!("/v1/dead-letters/{id}?payload=true")).await {
                Ok(text) => {
                    let letter: Box<RawValue> = read(&text)?;
                    lines.write(&DeadLine { kind: "dead_letter", org: &name, dead_letter: &letter })?;
                }
                // Retried or discarded meanwhile.
                Err(failure) if failure.exit == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        page.after = list.next;
        if page.after.is_none() {
            return Ok(());
        }
    }
}

#[derive(Serialize)]
struct DeadLine<'a> {
    kind: &'static str,
    org: &'a str,
    dead_letter: &'a RawValue,
}

/// A delivery as it is listed.
#[derive(Deserialize)]
struct Delivery {
    id: String,
    r#type: String,
    webhook: String,
    accepted_at: String,
    attributes: Value,
    payload: Box<RawValue>,
}

#[derive(Deserialize)]
struct Deliveries {
    items: Vec<Delivery>,
    next: Option<String>,
}

/// An event that waits for one webhook or several.
#[derive(Serialize)]
struct EventLine {
    kind: &'static str,
    org: String,
    id: String,
    r#type: String,
    accepted_at: String,
    webhooks: Vec<String>,
    attributes: Value,
    payload: Box<RawValue>,
}

/// What waits in the org's queue, in order. The deliveries of one event follow each other.
async fn waiting<W: Write>(api: &Transport, org: &str, lines: &mut Lines<'_, W>) -> Result<()> {
    let mut page = Page { limit: DELIVERIES, after: None };
    let mut event: Option<EventLine> = None;
    loop {
        let path = page.path(&format!("/v1/orgs/{org}/queue"), &[("payload", Some("true".to_owned()))]);
        let Deliveries { items, next } = read(&api.get_text(&path).await?)?;
        for delivery in items {
            let Delivery { id, r#type, webhook, accepted_at, attributes, payload } = delivery;
            match &mut event {
                Some(event) if event.id == id => event.webhooks.push(webhook),
                _ => {
                    let webhooks = vec![webhook];
                    let (kind, org) = ("event", org.to_owned());
                    let line =
                        EventLine { kind, org, id, r#type, accepted_at, webhooks, attributes, payload };
                    if let Some(whole) = event.replace(line) {
                        lines.write(&whole)?;
                    }
                }
            }
        }
        page.after = next;
        if page.after.is_none() {
            return event.map_or(Ok(()), |last| lines.write(&last));
        }
    }
}

fn read<T: serde::de::DeserializeOwned>(text: &[u8]) -> Result<T> {
    serde_json::from_slice(text)
        .map_err(|error| Failure::failed(format!("the daemon's answer is not as expected: {error}")))
}

/// These members, without those that say nothing.
fn chosen(shown: &Value, names: &[&str]) -> Map<String, Value> {
    let said =
        |name: &&str| Some(((*name).to_owned(), shown.get(name).filter(|value| !value.is_null())?.clone()));
    names.iter().filter_map(said).collect()
}

/// What PUT takes of what is shown, and what it has that is not shown.
fn given(kind: &str, shown: &Value) -> (Map<String, Value>, Vec<&'static str>) {
    const PLAIN: &[&str] = &[
        "url",
        "client",
        "path",
        "base_url",
        "profile",
        "method",
        "events",
        "match",
        "password_header",
        "http2",
        "bind_address",
        "retry",
        "retry_after_max",
        "timeout",
        "disable_on_gone",
        "enabled",
        "faithful",
        "description",
    ];
    const SOURCE: &[&str] = &[
        "kind",
        "header",
        "algorithm",
        "encoding",
        "prefix",
        "timestamp_header",
        "id_header",
        "event_header",
        "catalogue",
        "unmapped",
        "enabled",
        "description",
    ];
    let mut missing = Vec::new();
    if kind == "source" {
        missing.push("token");
        if shown.get("secrets").and_then(Value::as_u64) > Some(0) {
            missing.push("secrets");
        }
        return (chosen(shown, SOURCE), missing);
    }
    let mut settings = chosen(shown, PLAIN);
    let is_set = |name: &str| shown.get(name) == Some(&Value::Bool(true));
    if is_set("password_set") {
        missing.push("password");
    }
    for name in ["authorization", "signature", "tls"] {
        if shown.get(name).is_some_and(Value::is_object) {
            missing.push(name);
        }
    }
    if shown.get("headers").and_then(Value::as_object).is_some_and(|headers| !headers.is_empty()) {
        missing.push("headers");
    }
    if is_set("proxy_credentials_set") {
        missing.push("proxy");
    } else {
        settings.extend(chosen(shown, &["proxy"]));
    }
    for name in ["url", "path", "base_url"] {
        if settings.get(name).and_then(Value::as_str).is_some_and(|url| url.contains(MASK)) {
            settings.remove(name);
            missing.push(name);
        }
    }
    (settings, missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_shown_is_named() {
        let shown = json!({
            "id": "w", "url": "https://e.example/?key=***", "method": "POST", "password_set": true, "profile": null,
            "authorization": {"type": "bearer", "token_set": true}, "signature": null, "headers": {"x": "***"},
            "tls": null, "proxy": "http://p:1", "proxy_credentials_set": false, "created_at": "2020",
        });
        let (settings, missing) = given("webhook", &shown);
        assert_eq!(Value::Object(settings), json!({"method": "POST", "proxy": "http://p:1"}));
        assert_eq!(missing, ["password", "authorization", "headers", "url"]);
        let (settings, missing) =
            given("source", &json!({"kind": "slack", "secrets": 1, "url": "/in/a/b/***"}));
        assert_eq!((Value::Object(settings), missing), (json!({"kind": "slack"}), vec!["token", "secrets"]));
    }
}
