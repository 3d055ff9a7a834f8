//! `postrider shape`: what waits, by org and age, as qshape shows it of mail.

use clap::Args;
use serde_json::Value;

use super::exit::Result;
use super::transport::{Transport, with_query};
use super::{Context, output};

/// What to show.
#[derive(Debug, Args)]
pub(super) struct ShapeArgs {
    /// Dead letters, by the time since they died.
    #[arg(long)]
    dead: bool,
    /// How many orgs to show; the total is of all.
    #[arg(long, value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=1000))]
    limit: u64,
}

pub(super) async fn run(context: &Context, args: ShapeArgs) -> Result<()> {
    let session = context.admin_or_store().await?;
    let shown = show(context, &session.api, &args).await;
    session.close().await;
    shown
}

async fn show(context: &Context, api: &Transport, args: &ShapeArgs) -> Result<()> {
    let parameters =
        [("limit", Some(args.limit.to_string())), ("dead", args.dead.then(|| "true".to_owned()))];
    let shape = api.get(&with_query("/v1/shape", &parameters)).await?;
    if context.global.json {
        return output::json(&shape);
    }
    print(&shape)?;
    let left_out = shape.pointer("/left_out/count").and_then(Value::as_u64).unwrap_or(0);
    if left_out > 0 {
        output::note(&format!("{left_out} more were not looked at, and are not in the total"));
    }
    Ok(())
}

/// Numbers stand right, one below the other.
fn print(shape: &Value) -> Result<()> {
    let mut headings = vec!["ORG".to_owned(), "T".to_owned()];
    let minutes: Vec<_> = list(shape.get("minutes")).collect();
    headings.extend(minutes.iter().map(|minutes| format!("{minutes}m")));
    headings.extend(minutes.last().map(|last| format!("{last}m+")));
    let row = |name: String, row: &Value| {
        let count = row.get("count").and_then(Value::as_u64).unwrap_or(0);
        let counts = std::iter::once(count).chain(list(row.get("by_age")));
        std::iter::once(name).chain(counts.map(|count| count.to_string())).collect::<Vec<_>>()
    };
    let mut rows = vec![headings];
    rows.extend(shape.get("total").map(|total| row("TOTAL".to_owned(), total)));
    let items = shape.get("items").and_then(Value::as_array);
    rows.extend(items.into_iter().flatten().map(|item| row(output::cell(item, "/org"), item)));
    let column = |index: usize| rows.iter().filter_map(move |row| row.get(index));
    let widths: Vec<_> = (0..rows.first().map_or(0, Vec::len))
        .map(|index| column(index).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(index, (cell, width))| {
            if index == 0 { format!("{cell:width$}") } else { format!("  {cell:>width$}") }
        });
        output::line(&output::plain(&cells.collect::<String>()))?;
    }
    Ok(())
}

fn list(value: Option<&Value>) -> impl Iterator<Item = u64> {
    value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64)
}
