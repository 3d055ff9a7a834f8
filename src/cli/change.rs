//! `postrider change`: a change of an entity, from flags and files, or whole from a file or stdin.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use http::Method;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::enqueue::read_input;
use super::exit::{Failure, Result};
use super::{Context, output};
use crate::model::{EventId, OrgId};

/// A change, in parts or whole.
#[derive(Debug, Args)]
#[command(after_help = "\
A whole change is a JSON object: {\"entity\":…,\"old\":{…}|null,\"new\":{…}|null,\"actor\"?:…,\"id\"?:…}. The rules of its entity, in the
catalogues of the daemon, say which events fire. All of them are accepted, or none. Give a change an id of its own: then it
can be sent again after an interruption, and is not accepted twice (within 24 hours).

Exits 1 if it was refused, 75 if it was refused only for now (queue full, disk full, shutting down).")]
pub(super) struct ChangeArgs {
    /// The org that the entity belongs to.
    #[arg(long, value_name = "ORG")]
    org: OrgId,
    /// What has changed, for example absence.event.
    #[arg(long, value_name = "ENTITY")]
    entity: Option<String>,
    /// The file with the entity as it was, as JSON; `-` for stdin. Without it, the entity was created.
    #[arg(long, value_name = "FILE", requires = "entity")]
    old: Option<PathBuf>,
    /// The file with the entity as it is now, as JSON; `-` for stdin. Without it, the entity was deleted.
    #[arg(long, value_name = "FILE", requires = "entity")]
    new: Option<PathBuf>,
    /// Who changed it, as JSON, for rules that ask.
    #[arg(long, value_name = "JSON", requires = "entity")]
    actor: Option<String>,
    /// The change's id: sent again with the same id and content, it is accepted once [default: made by the daemon].
    #[arg(long, value_name = "ID", requires = "entity")]
    id: Option<EventId>,
    /// The file with the whole change as JSON instead, as the API takes it; `-` or nothing for stdin.
    #[arg(value_name = "FILE", conflicts_with_all = ["entity", "old", "new", "actor", "id"])]
    change: Option<PathBuf>,
}

/// A change as the API takes it.
#[derive(Serialize)]
struct Body<'a> {
    entity: &'a str,
    old: Option<Box<RawValue>>,
    new: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a EventId>,
}

impl ChangeArgs {
    /// The bytes of the request.
    fn body(&self) -> Result<Vec<u8>> {
        let Some(entity) = &self.entity else {
            return read_input(self.change.as_deref(), "change");
        };
        let is_stdin = |file: &Option<PathBuf>| file.as_deref() == Some(Path::new("-"));
        if is_stdin(&self.old) && is_stdin(&self.new) {
            return Err(Failure::usage("only one of --old and --new can come from stdin"));
        }
        if self.old.is_none() && self.new.is_none() {
            return Err(Failure::usage("give --old, --new or both: the entity as it was, and as it is"));
        }
        let actor = self.actor.as_deref().map(serde_json::from_str);
        let actor =
            actor.transpose().map_err(|error| Failure::usage(format!("--actor is not JSON: {error}")))?;
        let (old, new) = (entity_in(self.old.as_deref(), "--old")?, entity_in(self.new.as_deref(), "--new")?);
        let body = Body { entity, old, new, actor, id: self.id.as_ref() };
        serde_json::to_vec(&body).map_err(|error| Failure::failed(error.to_string()))
    }
}

/// The JSON in a file, as it stands there; nothing if no file is named.
fn entity_in(file: Option<&Path>, flag: &str) -> Result<Option<Box<RawValue>>> {
    let Some(file) = file else { return Ok(None) };
    let input = read_input(Some(file), &format!("entity of {flag}"))?;
    let value = serde_json::from_slice(&input);
    value.map(Some).map_err(|error| Failure::failed(format!("the entity of {flag} is not JSON: {error}")))
}

pub(super) async fn run(context: &Context, args: ChangeArgs) -> Result<()> {
    let body = args.body()?;
    let path = format!("/v1/orgs/{}/changes", args.org);
    let (_, answer) = context.submit()?.call_raw(Method::POST, &path, Bytes::from(body)).await?;
    if context.global.json {
        return output::json(&answer);
    }
    output::note(&remark(&answer));
    let events = answer.get("events").and_then(Value::as_array).cloned().unwrap_or_default();
    if events.is_empty() {
        return Ok(());
    }
    let row = |event: &Value| ["/id", "/type", "/sequence", "/deliveries"].map(|at| output::cell(event, at));
    output::table(["EVENT", "TYPE", "SEQUENCE", "DELIVERIES"], events.iter().map(row).collect())
}

/// What became of an accepted change, beside its events.
fn remark(answer: &Value) -> String {
    if answer.get("duplicate").and_then(Value::as_bool) == Some(true) {
        return "accepted before; nothing was added".to_owned();
    }
    match answer.get("events").and_then(Value::as_array).map_or(0, Vec::len) as u64 {
        0 => "accepted; it fires no event".to_owned(),
        events => format!("accepted: it fires {}", output::count(events, "event", "events")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn args(files: [Option<&str>; 2], actor: Option<&str>) -> ChangeArgs {
        let [old, new] = files.map(|file| file.map(PathBuf::from));
        ChangeArgs {
            org: "acme".parse().unwrap(),
            entity: Some("a.b".to_owned()),
            old,
            new,
            actor: actor.map(str::to_owned),
            id: Some("c-1".parse().unwrap()),
            change: None,
        }
    }

    #[test]
    fn a_change_in_parts_goes_out_byte_for_byte() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("entity.json");
        let entity = "{ \"b\":1.0,\n \"a\" : \"\\u00e9\" }";
        std::fs::write(&file, format!("{entity}\n")).unwrap();
        let body = args([file.to_str(), None], Some("{\"id\": 7}")).body().unwrap();
        let expected =
            format!(r#"{{"entity":"a.b","old":{entity},"new":null,"actor":{{"id": 7}},"id":"c-1"}}"#);
        assert_eq!(String::from_utf8(body).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_a_change_is_refused_here() {
        let refused = |args: ChangeArgs| args.body().unwrap_err().message;
        assert!(refused(args([None, None], None)).contains("--old, --new or both"));
        assert!(refused(args([Some("-"), Some("-")], None)).contains("stdin"));
        assert!(refused(args([Some("/dev/null"), None], None)).contains("entity of --old is not JSON"));
        assert!(refused(args([Some("/dev/null"), None], Some("{"))).contains("--actor is not JSON"));
    }

    #[test]
    fn the_remark_says_what_became_of_it() {
        assert_eq!(remark(&json!({"events": [{}]})), "accepted: it fires 1 event");
        assert_eq!(remark(&json!({"events": [{}, {}]})), "accepted: it fires 2 events");
        assert_eq!(remark(&json!({"events": []})), "accepted; it fires no event");
        assert!(remark(&json!({"events": [{}], "duplicate": true})).contains("accepted before"));
    }
}
