//! Which events a webhook wants: types, and what their attributes must be like. PURE.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use super::Members;
use super::event::{ATTRIBUTE_NAME_MAX, is_attribute_name};
use crate::model::{Condition, EventPattern};
use crate::serving::problem::Problem;

const EVENTS_MAX: usize = 200;
const CONDITIONS_MAX: usize = 32;
const VALUES_MAX: usize = 100;
/// Bytes of a value.
const TEXT_MAX: usize = 256;

/// Reads `events`.
pub(super) fn events(members: &Members<'_>) -> Result<Vec<EventPattern>, Problem> {
    let given: Option<Vec<&RawValue>> = members.value("events", "a list of event types")?;
    let Some(given) = given else { return Ok(vec![EventPattern::any()]) };
    if !(1..=EVENTS_MAX).contains(&given.len()) {
        let rule = format!("must name 1 to {EVENTS_MAX} event types; [\"*\"] means every type");
        return Err(members.invalid("events", rule));
    }
    let read = |(index, text): (usize, &&RawValue)| {
        serde_json::from_str::<String>(text.get())
            .map_err(|_| "an entry of events must be a string".to_owned())
            .and_then(|text| text.parse())
            .map_err(|rule| Problem::invalid(format!("/events/{index}"), rule))
    };
    given.iter().enumerate().map(read).collect()
}

/// Reads `match`: attribute names, each with a value or a list of values.
pub(super) fn conditions(members: &Members<'_>) -> Result<Box<[Condition]>, Problem> {
    let mut conditions = Vec::new();
    for (attribute, value) in members.pairs("match")? {
        let field = super::members::pointer_below(&members.pointer("match"), &attribute);
        let refuse = |rule: String| Problem::invalid(field.clone(), rule);
        if attribute.len() > TEXT_MAX {
            return Err(members.invalid("match", format_args!("has a name of over {TEXT_MAX} bytes")));
        }
        // A keyed attribute goes on with the name of a member, which can be any text.
        let (name, _) = attribute.split_once('.').unwrap_or((&attribute, ""));
        if !is_attribute_name(name) || attribute.chars().any(char::is_control) {
            let rule = format!(
                "an attribute's name has 1 to {ATTRIBUTE_NAME_MAX} characters of A-Z a-z 0-9 _ -, and may go on after a dot"
            );
            return Err(refuse(rule));
        }
        let values = match serde_json::from_str(value.get()) {
            Ok(Value::Array(values)) => values,
            Ok(value) => vec![value],
            Err(error) => return Err(refuse(error.to_string())),
        };
        if !(1..=VALUES_MAX).contains(&values.len()) {
            return Err(refuse(format!("must be a value or a list of 1 to {VALUES_MAX} values")));
        }
        let text = |value: Value| match value {
            Value::String(text) if text.len() <= TEXT_MAX => Ok(text.into_boxed_str()),
            // Attributes are text; what is written without quotes means the same.
            Value::Number(number) => Ok(number.to_string().into_boxed_str()),
            Value::Bool(flag) => Ok(flag.to_string().into_boxed_str()),
            _ => Err(refuse(format!(
                "a value must be text of at most {TEXT_MAX} bytes, a number or a boolean"
            ))),
        };
        let values = values.into_iter().map(text).collect::<Result<_, _>>()?;
        conditions.push(Condition { attribute: attribute.into(), values });
    }
    if conditions.len() > CONDITIONS_MAX {
        return Err(members.invalid("match", format_args!("can name at most {CONDITIONS_MAX} attributes")));
    }
    Ok(conditions.into())
}

/// Conditions as shown: always lists.
pub(super) fn shown(conditions: &[Condition]) -> BTreeMap<&str, Vec<&str>> {
    conditions
        .iter()
        .map(|condition| (&*condition.attribute, condition.values.iter().map(|value| &**value).collect()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Box<[Condition]>, Problem> {
        let body = format!(r#"{{"match":{text}}}"#);
        conditions(&Members::parse(body.as_bytes(), &["match"])?)
    }

    #[test]
    fn a_condition_is_a_value_or_a_list_of_values() {
        let read_back = |text| serde_json::to_string(&shown(&read(text).unwrap())).unwrap();
        assert_eq!(
            read_back(r#"{"graph":"instant","state":["paid","unpaid"]}"#),
            r#"{"graph":["instant"],"state":["paid","unpaid"]}"#
        );
        assert_eq!(read_back(r#"{"isBillable":true,"n":7}"#), r#"{"isBillable":["true"],"n":["7"]}"#);
        assert_eq!(read_back("null"), "{}");
    }

    #[test]
    fn each_wrong_condition_is_named() {
        for (text, field) in [
            ("7", "/match"),
            (r#"["a"]"#, "/match"),
            (r#"{"a":[]}"#, "/match/a"),
            (r#"{"a":null}"#, "/match/a"),
            (r#"{"a/b":{}}"#, "/match/a~1b"),
            (r#"{"a":[["b"]]}"#, "/match/a"),
            (r#"{"":"x"}"#, "/match/"),
        ] {
            let problem = read(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert_eq!(problem.field.as_deref(), Some(field), "{text}");
        }
    }
}
