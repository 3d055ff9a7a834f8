//! What commands print: data on stdout, everything else on stderr, tables for people.
//!
//! Text that came from elsewhere (descriptions, receivers' answers) never reaches a terminal with its control characters.

use std::io::{IsTerminal, Write};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_json::Value;

use super::exit::{Exit, Failure, Result};

/// Spaces between the columns of a table.
const COLUMN_GAP: u16 = 2;

/// Writes a line to stdout.
pub(super) fn line(text: &str) -> Result<()> {
    write(format!("{text}\n").as_bytes())
}

/// Writes bytes to stdout. A reader that has seen enough (`| head`) ends the command quietly.
pub(super) fn write(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(|error| write_failure(&error))
}

/// What to do when output cannot be written.
pub(super) fn write_failure(error: &std::io::Error) -> Failure {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Failure::silent(Exit::Ok)
    } else {
        Failure::failed(format!("cannot write the output: {error}"))
    }
}

/// Writes a line to stderr. There is nowhere to say that this failed.
pub(super) fn note(text: &str) {
    writeln!(std::io::stderr(), "{text}").unwrap_or_default();
}

/// A JSON value for machines, on lines of its own.
pub(super) fn json(value: &Value) -> Result<()> {
    line(&format!("{value:#}"))
}

/// After a change: the API's answer for machines, a word for people.
pub(super) fn done(json_wanted: bool, answer: &Value, said: &str) -> Result<()> {
    if json_wanted {
        return json(answer);
    }
    note(said);
    Ok(())
}

/// Columns under headings, each row on one line: what is wrapped cannot be copied.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: Vec<[String; N]>) -> Result<()> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !colour() {
        table.force_no_tty();
    }
    table.set_header(headings.map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| plain(&cell))));
    for column in table.column_iter_mut() {
        column.set_padding((0, COLUMN_GAP));
    }
    let lines: Vec<_> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    line(&lines.join("\n"))
}

/// Names and values, one pair per line.
pub(super) fn pairs(rows: Vec<(String, String)>) -> Result<()> {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<_> =
        rows.into_iter().map(|(name, value)| format!("{name:width$}  {}", plain(&value))).collect();
    line(&lines.join("\n"))
}

/// Colour only for a terminal, and only if `NO_COLOR` does not forbid it.
fn colour() -> bool {
    std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// With control characters escaped, and those that nobody sees and that turn the order of what stands around them.
pub(super) fn plain(text: &str) -> String {
    let deceives = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if text.chars().any(deceives) {
        text.chars()
            .flat_map(|c| match c {
                c if c.is_control() => c.escape_debug().collect::<Vec<_>>(),
                c if deceives(c) => c.escape_unicode().collect(),
                c => vec![c],
            })
            .collect()
    } else {
        text.to_owned()
    }
}

/// The value at a JSON pointer as a cell: text without quotes, `-` for nothing.
pub(super) fn cell(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "-".to_owned(),
        Some(value) => shown(value),
    }
}

/// A value for people.
pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

/// Every leaf of an object as a pair: `queue.depth`, `3`. Lists of objects become `name.1.field`.
pub(super) fn leaves(value: &Value) -> Vec<(String, String)> {
    fn walk(prefix: &str, value: &Value, found: &mut Vec<(String, String)>) {
        let join = |name: &str| {
            if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
        };
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                fields.iter().for_each(|(name, value)| walk(&join(name), value, found));
            }
            Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(index, item)| walk(&join(&(index + 1).to_string()), item, found));
            }
            Value::Object(_) => found.push((prefix.to_owned(), "-".to_owned())),
            leaf => found.push((prefix.to_owned(), sized(prefix, leaf))),
        }
    }
    let mut found = Vec::new();
    walk("", value, &mut found);
    found
}

/// Bytes read better with a unit.
fn sized(name: &str, value: &Value) -> String {
    match value.as_u64() {
        Some(bytes) if name.ends_with("bytes") || name.ends_with("size") => human_bytes(bytes),
        _ => shown(value),
    }
}

/// Bytes rounded for people: `1.5 MiB`.
pub(super) fn human_bytes(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// `1 delivery`, `2 deliveries`.
pub(super) fn count(number: u64, one: &str, many: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {many}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\nc"), "a\\u{1b}[31mb\\nc");
        assert_eq!(plain("grün \"x\""), "grün \"x\"");
        assert_eq!(plain("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }

    #[test]
    fn cells_show_nothing_as_a_dash() {
        let value = json!({"a": {"b": 1, "c": null, "d": "", "e": true, "f": ["x", "y"]}});
        let shown: Vec<_> =
            ["/a/b", "/a/c", "/a/d", "/a/e", "/a/f", "/z"].iter().map(|at| cell(&value, at)).collect();
        assert_eq!(shown, ["1", "-", "-", "yes", "x, y", "-"]);
    }

    #[test]
    fn leaves_are_named_by_their_path() {
        let value = json!({"a": {"b": 1, "bytes": 2048}, "l": [{"x": 1}, {"x": 2}], "e": {}});
        let pairs = leaves(&value);
        let shown: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(shown, ["a.b=1", "a.bytes=2.00 KiB", "e=-", "l.1.x=1", "l.2.x=2"]);
    }
}
