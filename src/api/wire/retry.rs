//! When a failed attempt is tried again: read, checked and shown. PURE.

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;
use serde_json::value::RawValue;

use super::Members;
use crate::api::problem::Problem;
use crate::model::{ATTEMPTS_MAX, HumanDuration, OnExhausted, Retry, format_duration, parse_duration};

/// A wait longer than this is more likely a mistake than a schedule.
pub(super) const DELAY_MAX: Duration = Duration::from_secs(24 * 3600);
const FACTOR: RangeInclusive<f64> = 1.0..=100.0;
const JITTER: RangeInclusive<f64> = 0.0..=1.0;

/// Reads `retry`. What is not given gets its default.
pub(super) fn retry(members: &Members<'_>) -> Result<Retry, Problem> {
    const KNOWN: &[&str] =
        &["attempts", "first_delay", "factor", "max_delay", "jitter", "schedule", "on_exhausted"];
    let default = Retry::default();
    let Some(members) = members.object("retry", KNOWN)? else { return Ok(default) };
    let schedule = schedule(&members)?;
    let attempts_default = match &schedule {
        Some(waits) => waits.len() as u64 + 1,
        None => u64::from(default.attempts),
    };
    let attempts = members.value("attempts", "a whole number")?.unwrap_or(attempts_default);
    let attempts = u32::try_from(attempts)
        .ok()
        .filter(|attempts| (1..=ATTEMPTS_MAX).contains(attempts))
        .ok_or_else(|| members.invalid("attempts", format_args!("must be from 1 to {ATTEMPTS_MAX}")))?;
    let first_delay = members.duration("first_delay")?.unwrap_or(default.first_delay);
    if first_delay > DELAY_MAX {
        return Err(members.invalid("first_delay", "must be at most 24h"));
    }
    // Without a maximum of its own, a first delay above the default maximum is what was meant.
    let max_delay = members.duration("max_delay")?.unwrap_or(default.max_delay.max(first_delay));
    if max_delay > DELAY_MAX || max_delay < first_delay {
        let first_delay = format_duration(first_delay);
        let rule = format!("must be at least first_delay ({first_delay}) and at most 24h");
        return Err(members.invalid("max_delay", rule));
    }
    let factor = number_within(&members, "factor", &FACTOR)?.unwrap_or(default.factor);
    let jitter = number_within(&members, "jitter", &JITTER)?.unwrap_or(default.jitter);
    let on_exhausted = members.ruled("on_exhausted")?.unwrap_or(OnExhausted::Advance);
    Ok(Retry { attempts, first_delay, factor, max_delay, schedule, jitter, on_exhausted })
}

/// The explicit waits, which take the place of the formula's three numbers.
fn schedule(members: &Members<'_>) -> Result<Option<std::sync::Arc<[Duration]>>, Problem> {
    let given: Option<Vec<&RawValue>> = members.value("schedule", "a list of durations")?;
    let Some(given) = given else { return Ok(None) };
    let waits_max = ATTEMPTS_MAX - 1;
    if !(1..=waits_max as usize).contains(&given.len()) {
        let rule = format!("must have 1 to {waits_max} waits, one before each attempt after the first");
        return Err(members.invalid("schedule", rule));
    }
    for other in ["first_delay", "factor", "max_delay"] {
        if members.raw(other).is_some_and(|value| value.get() != "null") {
            return Err(
                members.invalid(other, "cannot be given beside schedule, which says every wait itself")
            );
        }
    }
    let wait = |(index, text): (usize, &&RawValue)| {
        let refuse =
            |rule: String| Problem::invalid(format!("{}/{index}", members.pointer("schedule")), rule);
        let text: String = serde_json::from_str(text.get())
            .map_err(|_| refuse("a wait must be a duration as text, for example \"10s\"".to_owned()))?;
        let wait = parse_duration(&text).map_err(refuse)?;
        if wait > DELAY_MAX { Err(refuse("a wait must be at most 24h".to_owned())) } else { Ok(wait) }
    };
    given.iter().enumerate().map(wait).collect::<Result<_, _>>().map(Some)
}

fn number_within(
    members: &Members<'_>,
    name: &str,
    range: &RangeInclusive<f64>,
) -> Result<Option<f64>, Problem> {
    let Some(number) = members.value(name, "a number")? else { return Ok(None) };
    if !range.contains(&number) {
        return Err(members.invalid(name, format_args!("must be from {} to {}", range.start(), range.end())));
    }
    Ok(Some(number))
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
        retry(&Members::parse(body.as_bytes(), &["retry"])?)
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
