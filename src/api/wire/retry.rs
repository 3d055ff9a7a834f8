//! When a failed attempt is tried again: read, checked and shown. PURE.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Members;
use crate::model::{HumanDuration, Retry, RetryGiven, parse_duration};
use crate::serving::problem::Problem;

/// Reads `retry`. What is not given comes from `base`.
pub(super) fn retry(members: &Members<'_>, base: &Retry) -> Result<Retry, Problem> {
    const KNOWN: &[&str] =
        &["attempts", "first_delay", "factor", "max_delay", "jitter", "schedule", "on_exhausted"];
    let Some(members) = members.object("retry", KNOWN)? else { return Ok(base.clone()) };
    let given = RetryGiven {
        attempts: members.value("attempts", "a whole number")?,
        first_delay: members.duration("first_delay")?,
        factor: members.value("factor", "a number")?,
        max_delay: members.duration("max_delay")?,
        schedule: schedule(&members)?,
        jitter: members.value("jitter", "a number")?,
        on_exhausted: members.ruled("on_exhausted")?,
    };
    given.over(base).map_err(|fault| match fault.wait {
        Some(index) => of_wait(&members, index, fault.rule),
        None => members.invalid(fault.member, fault.rule),
    })
}

/// The explicit waits.
fn schedule(members: &Members<'_>) -> Result<Option<Vec<Duration>>, Problem> {
    let given: Option<Vec<&RawValue>> = members.value("schedule", "a list of durations")?;
    let Some(given) = given else { return Ok(None) };
    let wait = |(index, text): (usize, &&RawValue)| {
        let rule = "a wait must be a duration as text, for example \"10s\"";
        let text: String =
            serde_json::from_str(text.get()).map_err(|_| of_wait(members, index, rule.to_owned()))?;
        parse_duration(&text).map_err(|rule| of_wait(members, index, rule))
    };
    given.iter().enumerate().map(wait).collect::<Result<_, _>>().map(Some)
}

/// A refusal of the wait with this index.
fn of_wait(members: &Members<'_>, index: usize, rule: String) -> Problem {
    Problem::invalid(format!("{}/{index}", members.pointer("schedule")), rule)
}

/// A schedule as shown: the formula's three numbers, or the explicit waits.
#[derive(Serialize)]
pub(super) struct RetryOut {
    attempts: u32,
    #[serde(flatten)]
    formula: Option<FormulaOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<Vec<HumanDuration>>,
    jitter: Box<RawValue>,
    on_exhausted: &'static str,
}

#[derive(Serialize)]
struct FormulaOut {
    first_delay: HumanDuration,
    factor: Box<RawValue>,
    max_delay: HumanDuration,
}

impl From<&Retry> for RetryOut {
    fn from(retry: &Retry) -> RetryOut {
        let formula = retry.schedule.is_none().then(|| FormulaOut {
            first_delay: HumanDuration(retry.first_delay),
            factor: number(retry.factor),
            max_delay: HumanDuration(retry.max_delay),
        });
        RetryOut {
            attempts: retry.attempts,
            formula,
            schedule: retry.schedule.as_ref().map(|waits| waits.iter().copied().map(HumanDuration).collect()),
            jitter: number(retry.jitter),
            on_exhausted: retry.on_exhausted.code(),
        }
    }
}

/// A factor of 2 is shown as it is written, `2`, not `2.0`.
fn number(value: f64) -> Box<RawValue> {
    let mut text = String::new();
    // Writing to a String cannot fail; a text that were no number would show as null.
    let written = write!(text, "{value}");
    let raw = written.ok().and_then(|()| RawValue::from_string(text).ok());
    raw.unwrap_or_else(|| RawValue::NULL.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Retry, Problem> {
        let body = format!(r#"{{"retry":{text}}}"#);
        retry(&Members::parse(body.as_bytes(), &["retry"])?, &Retry::default())
    }

    #[track_caller]
    fn shown(text: &str, expected: &str) {
        let retry = read(text).unwrap();
        assert_eq!(serde_json::to_string(&RetryOut::from(&retry)).unwrap(), expected);
        assert_eq!(read(expected).unwrap(), retry, "what is shown can be saved again");
    }

    #[test]
    fn a_schedule_is_a_formula_or_a_list() {
        shown(
            "{}",
            r#"{"attempts":10,"first_delay":"200ms","factor":2,"max_delay":"10s","jitter":0,"on_exhausted":"advance"}"#,
        );
        shown(
            r#"{"first_delay":"1m","factor":1.5,"attempts":3,"jitter":0.25,"on_exhausted":"hold"}"#,
            r#"{"attempts":3,"first_delay":"1m","factor":1.5,"max_delay":"1m","jitter":0.25,"on_exhausted":"hold"}"#,
        );
        shown(
            r#"{"schedule":["1s","5m","0ms"]}"#,
            r#"{"attempts":4,"schedule":["1s","5m","0ms"],"jitter":0,"on_exhausted":"advance"}"#,
        );
        assert_eq!(read(r#"{"schedule":["1s"],"attempts":7}"#).unwrap().attempts, 7);
    }

    #[test]
    fn each_wrong_value_is_named() {
        for (text, field) in [
            ("7", "/retry"),
            (r#"{"attempts":0}"#, "/retry/attempts"),
            (r#"{"attempts":101}"#, "/retry/attempts"),
            (r#"{"attempts":1.5}"#, "/retry/attempts"),
            (r#"{"attempts":-1}"#, "/retry/attempts"),
            (r#"{"factor":0.9}"#, "/retry/factor"),
            (r#"{"factor":101}"#, "/retry/factor"),
            (r#"{"factor":"2"}"#, "/retry/factor"),
            (r#"{"jitter":-0.1}"#, "/retry/jitter"),
            (r#"{"jitter":1.1}"#, "/retry/jitter"),
            (r#"{"first_delay":"25h"}"#, "/retry/first_delay"),
            (r#"{"first_delay":"2s","max_delay":"1s"}"#, "/retry/max_delay"),
            (r#"{"max_delay":"25h"}"#, "/retry/max_delay"),
            (r#"{"schedule":[]}"#, "/retry/schedule"),
            (r#"{"schedule":"1s"}"#, "/retry/schedule"),
            (r#"{"schedule":["1s","x"]}"#, "/retry/schedule/1"),
            (r#"{"schedule":[1]}"#, "/retry/schedule/0"),
            (r#"{"schedule":["25h"]}"#, "/retry/schedule/0"),
            (r#"{"schedule":["1s"],"factor":2}"#, "/retry/factor"),
            (r#"{"on_exhausted":"stop"}"#, "/retry/on_exhausted"),
        ] {
            let problem = read(text).err().unwrap_or_else(|| panic!("accepted: {text}"));
            assert_eq!(problem.field.as_deref(), Some(field), "{text}: {}", problem.detail);
        }
    }
}
