//! Which of what is over: what dead letters and the history are filtered by.

use clap::Args;
use serde_json::{Map, Value, json};

use crate::clock;
use crate::model::{EventId, EventType, OrgId, UnixMs, WebhookId, parse_duration};

/// What both are filtered by.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Common {
    /// Of this org.
    #[arg(long, value_name = "ORG")]
    org: Option<OrgId>,
    /// For this webhook.
    #[arg(long, value_name = "WEBHOOK")]
    webhook: Option<WebhookId>,
    /// Events of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<EventType>,
    /// Over at or after this time (RFC 3339), or at most this long ago (2h).
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<UnixMs>,
    /// Over before this time (RFC 3339), or longer ago than this (2h).
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<UnixMs>,
    /// Of this event.
    #[arg(long, value_name = "ID")]
    event_id: Option<EventId>,
}

impl Common {
    /// As query parameters.
    pub(super) fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
        vec![
            ("org", self.org.as_ref().map(ToString::to_string)),
            ("webhook", self.webhook.as_ref().map(ToString::to_string)),
            ("type", self.event_type.as_ref().map(ToString::to_string)),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
            ("event_id", self.event_id.as_ref().map(ToString::to_string)),
        ]
    }
}

/// The filter of a list.
pub(super) trait Wanted: Args {
    /// The names of its arguments, for what excludes them.
    const NAMES: &'static [&'static str];

    /// As query parameters.
    fn parameters(&self) -> Vec<(&'static str, Option<String>)>;

    /// As JSON.
    fn as_json(&self) -> Value {
        let field = |(name, value): (&str, Option<String>)| {
            let value = match (name, value?) {
                // The only one that is no text.
                ("replay", value) => json!(value == "true"),
                (_, value) => json!(value),
            };
            Some((name.to_owned(), value))
        };
        Value::Object(self.parameters().into_iter().filter_map(field).collect::<Map<_, _>>())
    }

    /// Whether it lets everything through.
    fn is_empty(&self) -> bool {
        self.parameters().iter().all(|(_, value)| value.is_none())
    }
}

/// A point in time, or how long ago it was.
fn time(text: &str) -> std::result::Result<UnixMs, String> {
    if let Some(at) = UnixMs::parse(text) {
        return Ok(at);
    }
    let ago = parse_duration(text).map_err(|_| {
        "must be a time like 2026-11-21T22:44:23Z, or how long ago like 30m, 2h or 7d".to_owned()
    })?;
    let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
    Ok(UnixMs(clock::now().0.saturating_sub(ago)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Args)]
    struct Replays {
        #[command(flatten)]
        common: Common,
    }

    impl Wanted for Replays {
        const NAMES: &'static [&'static str] = &[];
        fn parameters(&self) -> Vec<(&'static str, Option<String>)> {
            [self.common.parameters(), vec![("replay", Some("true".to_owned()))]].concat()
        }
    }

    #[test]
    fn a_filter_becomes_parameters_and_json() {
        let org = Some("acme".parse().unwrap());
        let filter = Replays { common: Common { org, since: Some(UnixMs(0)), ..Common::default() } };
        assert_eq!(
            filter.as_json(),
            json!({"org": "acme", "since": "1970-01-01T00:00:00.000Z", "replay": true})
        );
        assert!(!filter.is_empty());
    }

    #[test]
    fn a_time_is_a_point_or_a_distance() {
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(UnixMs(1000)));
        let ago = clock::now().since(time("2h").unwrap());
        assert!((7_199..=7_201).contains(&ago.as_secs()), "{ago:?}");
        assert!(time("yesterday").unwrap_err().contains("2h"));
    }
}
