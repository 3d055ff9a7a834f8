//! Lists of the API, which come in pages.

use clap::Args;
use serde_json::{Value, json};

use super::exit::Result;
use super::output;
use super::transport::{Transport, with_query};

/// The most that the API answers at once.
const PAGE_ITEMS_MAX: u64 = 1000;

/// Which part of a list.
#[derive(Debug, Clone, Args)]
pub(super) struct Page {
    /// How many to list at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) limit: u64,
    /// List what comes after this; as said at the end of a list that is longer.
    #[arg(long, value_name = "CURSOR")]
    pub(super) after: Option<String>,
}

/// Part of a list.
#[derive(Debug, Clone, Default)]
pub(super) struct List {
    /// In the API's order.
    pub(super) items: Vec<Value>,
    /// Where the rest starts.
    pub(super) next: Option<String>,
}

impl Page {
    /// The call for one page.
    pub(super) fn path(&self, path: &str, filter: &[(&str, Option<String>)]) -> String {
        let mut parameters = filter.to_vec();
        parameters.push(("limit", Some(self.limit.min(PAGE_ITEMS_MAX).to_string())));
        parameters.push(("after", self.after.clone()));
        with_query(path, &parameters)
    }

    /// Fetches page after page until there is enough.
    pub(super) async fn fetch(
        &self,
        api: &Transport,
        path: &str,
        filter: &[(&str, Option<String>)],
    ) -> Result<List> {
        let mut list = List { items: Vec::new(), next: self.after.clone() };
        loop {
            let limit = self.limit.saturating_sub(list.items.len() as u64);
            let page = Page { limit, after: list.next.take() };
            let mut answer = api.get(&page.path(path, filter)).await?;
            if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
                list.items.extend(items);
            }
            list.next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
            if list.next.is_none() || list.items.len() as u64 >= self.limit {
                return Ok(list);
            }
        }
    }
}

impl List {
    /// In the shape of the API.
    pub(super) fn as_json(&self) -> Value {
        json!({"items": self.items, "next": self.next})
    }

    /// Says on stderr how to see the rest, if there is one.
    pub(super) fn say_more(&self) {
        if let Some(next) = &self.next {
            output::note(&format!("there are more: --after {next}, or a larger --limit"));
        }
    }
}
