//! Commands that take several things: named, or read from stdin where one of the names is `-`.

use std::fmt::Display;
use std::io::Read;
use std::str::FromStr;

use serde_json::{Value, json};

use super::exit::{Exit, Failure, Result};
use super::output;
use super::transport::{Transport, with_query};
use crate::model::OrgId;

/// Names from arguments, with `-` replaced by those on stdin. All are checked before any is acted on.
pub(super) fn names<T: FromStr<Err: Display>>(arguments: &[String]) -> Result<Vec<T>> {
    let mut texts = Vec::new();
    for argument in arguments {
        if argument == "-" {
            let mut input = String::new();
            std::io::stdin()
                .read_to_string(&mut input)
                .map_err(|error| Failure::failed(format!("cannot read stdin: {error}")))?;
            texts.extend(input.split_whitespace().map(str::to_owned));
        } else {
            texts.push(argument.clone());
        }
    }
    let parse = |text: &String| {
        text.parse().map_err(|rule: T::Err| Failure::usage(format!("\"{}\": {rule}", text.escape_debug())))
    };
    texts.iter().map(parse).collect()
}

/// The orgs that `keep` says of, as `GET /v1/orgs` shows them: only their names are held.
pub(super) async fn orgs(api: &Transport, keep: impl Fn(&Value) -> bool) -> Result<Vec<OrgId>> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page =
            api.get(&with_query("/v1/orgs", &[("limit", Some("1000".into())), ("after", after)])).await?;
        let items = page.get("items").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let kept =
            items.iter().filter(|org| keep(org)).filter_map(|org| org.get("id")?.as_str()?.parse().ok());
        found.extend(kept);
        after = page.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() {
            return Ok(found);
        }
    }
}

/// What came of acting on several orgs.
#[derive(Debug, Default)]
pub(super) struct Outcomes {
    items: Vec<Value>,
    missing: u64,
}

impl Outcomes {
    /// Takes in what came of one. What is not there, or has nothing to act on, is said and passed over; anything else ends it,
    /// since the next one would most likely fare no better.
    pub(super) fn note(&mut self, org: &OrgId, outcome: Result<Value>) -> Result<()> {
        match outcome {
            Ok(mut answer) => {
                if let Some(members) = answer.as_object_mut() {
                    members.insert("org".to_owned(), json!(org));
                }
                self.items.push(answer);
                Ok(())
            }
            Err(failure) if failure.exit == Exit::NotFound => {
                self.missing += 1;
                output::note(&format!("{org}: {failure}"));
                Ok(())
            }
            Err(failure) => {
                let so_far = format!("{org}: {failure}\n{} before that", queues(self.items.len() as u64));
                Err(Failure::new(failure.exit, so_far))
            }
        }
    }

    /// Says how many, and exits 2 if some were not there.
    pub(super) fn told(self, json_wanted: bool, done: &str) -> Result<()> {
        let number = self.items.len() as u64;
        if json_wanted {
            output::json(&json!({"items": self.items, "done": number, "not_found": self.missing}))?;
        } else {
            output::note(&format!("{} {done}", queues(number)));
        }
        if self.missing > 0 { Err(Failure::silent(Exit::NotFound)) } else { Ok(()) }
    }
}

fn queues(number: u64) -> String {
    output::count(number, "queue", "queues")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventId;

    #[test]
    fn names_are_checked_before_anything_is_done() {
        let texts = |texts: &[&str]| {
            names::<EventId>(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(texts(&["1-2", "evt_3"]).unwrap().len(), 2);
        assert_eq!(texts(&["1-2", "../x"]).unwrap_err().exit, Exit::Usage);
    }
}
