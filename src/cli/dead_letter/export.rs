//! `postrider dead-letter export`: dead letters with their payloads, for keeping or for another system.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::Value;

use super::{Filter, Wanted as _};
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::output;
use crate::cli::paging::Page;
use crate::cli::transport::Transport;

/// Fetched at a time: each is then asked for with its payload.
const PAGE_ITEMS: u64 = 500;

pub(super) async fn run(api: &Transport, filter: &Filter, all: bool, out: Option<&Path>) -> Result<()> {
    if filter.is_empty() && !all {
        return Err(Failure::usage("say which to export: a filter such as --org, or --all"));
    }
    let exported = match out {
        Some(path) => to_file(api, filter, path).await?,
        None => write_all(api, filter, &mut std::io::stdout()).await?,
    };
    if exported == 0 {
        return Err(Failure::not_found("no dead letter matches"));
    }
    output::note(&format!("{} exported", output::count(exported, "dead letter", "dead letters")));
    Ok(())
}

/// A new file, for its owner only, on disk when the command ends.
async fn to_file(api: &Transport, filter: &Filter, path: &Path) -> Result<u64> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        Failure::new(Exit::CannotCreate, format!("cannot create {}: {error}", path.display()))
    })?;
    let mut out = BufWriter::new(file);
    let exported = write_all(api, filter, &mut out).await?;
    let failed =
        |error: &std::io::Error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    out.flush().map_err(|error| failed(&error))?;
    out.get_ref().sync_all().map_err(|error| failed(&error))?;
    if exported == 0 {
        // Nothing matched: an empty file would look like a result.
        std::fs::remove_file(path).map_err(|error| failed(&error))?;
    }
    Ok(exported)
}

async fn write_all(api: &Transport, filter: &Filter, out: &mut impl Write) -> Result<u64> {
    let mut exported = 0;
    let mut page = Page { limit: PAGE_ITEMS, after: None };
    loop {
        let list = page.fetch(api, "/v1/dead-letters", &filter.parameters()).await?;
        for id in list.items.iter().filter_map(|dead| dead.get("id").and_then(Value::as_str)) {
            match api.get_text(&format!("/v1/dead-letters/{id}?payload=true")).await {
                Ok(text) => {
                    out.write_all(&one_line(&text)).map_err(|error| output::write_failure(&error))?;
                    exported += 1;
                }
                // Retried or discarded meanwhile: it is no dead letter any more.
                Err(failure) if failure.exit == Exit::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        page.after = list.next;
        if page.after.is_none() {
            return Ok(exported);
        }
    }
}

/// JSON text as the API wrote it, on one line: a line end in it can only be white space between values, and becomes a
/// space. Nothing else of a payload changes.
fn one_line(text: &[u8]) -> Vec<u8> {
    let blank = |byte: &u8| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte };
    let mut line: Vec<u8> = text.trim_ascii().iter().map(blank).collect();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_of_several_lines_is_one_line_and_otherwise_unchanged() {
        let text = b"{\"payload\":{\r\n  \"a\": 1.50,\n\"a\":\"x\\ny\"}}\n";
        assert_eq!(one_line(text), b"{\"payload\":{    \"a\": 1.50, \"a\":\"x\\ny\"}}\n");
    }
}
