//! PURE. What one look at the daemon comes to: two samples of its counters make rates, and a frame becomes lines.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::output;
use crate::model::UnixMs;

/// The daemon's samples by name and labels, as `/metrics` writes them, without the prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Reads Prometheus text; what is no sample is passed over.
    pub(super) fn read(text: &str) -> Samples {
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.strip_prefix("postrider_").unwrap_or(name);
            Some((name.to_owned(), value.parse().ok()?))
        };
        Samples(text.lines().filter(|line| !line.starts_with('#')).filter_map(sample).collect())
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or(0.0)
    }

    /// How much more it is than before. A daemon that was started anew counts from nothing.
    fn since(&self, before: &Samples, name: &str) -> f64 {
        let (now, then) = (self.get(name), before.get(name));
        if now < then { now } else { now - then }
    }

    /// What a histogram's values were on average since then, in milliseconds.
    fn mean_ms(&self, before: &Samples, name: &str) -> Option<f64> {
        let count = self.since(before, &format!("{name}_count"));
        let sum = self.since(before, &format!("{name}_sum"));
        (count > 0.0).then(|| rounded(sum / count * 1000.0))
    }
}

/// Three digits behind the point say enough.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What a frame is made of.
pub(super) struct Look<'a> {
    pub(super) at: UnixMs,
    pub(super) status: &'a Value,
    pub(super) before: &'a Samples,
    pub(super) now: &'a Samples,
    pub(super) between: Duration,
    /// The orgs that stand worst, as the API lists them.
    pub(super) orgs: &'a [Value],
}

/// The frame as data.
pub(super) fn frame(look: &Look<'_>) -> Value {
    let Look { at, status, before, now, between, orgs } = look;
    let seconds = between.as_secs_f64().max(0.001);
    let rate = |name: &str| rounded(now.since(before, name) / seconds);
    let mut attempts = Map::new();
    for name in now.0.keys() {
        let class = name.strip_prefix("attempts_total{class=\"").and_then(|rest| rest.strip_suffix("\"}"));
        if let Some(class) = class.filter(|_| rate(name) > 0.0) {
            attempts.insert(class.to_owned(), rate(name).into());
        }
    }
    let part = |pointer: &str| status.pointer(pointer).cloned().unwrap_or_default();
    json!({
        "at": at,
        "interval_ms": u64::try_from(between.as_millis()).unwrap_or(u64::MAX),
        "version": part("/version"),
        "uptime_ms": part("/uptime_ms"),
        "store": part("/store/health"),
        "last_error": part("/last_error"),
        "per_second": {
            "accepted": rate("events_accepted_total"),
            "delivered": rate("deliveries_total{outcome=\"delivered\"}"),
            "dead": rate("deliveries_total{outcome=\"dead\"}"),
            "commits": rate("commit_duration_seconds_count"),
            "attempts": attempts,
        },
        "mean_ms": {
            "enqueue": now.mean_ms(before, "enqueue_duration_seconds"),
            "commit": now.mean_ms(before, "commit_duration_seconds"),
            "attempt": now.mean_ms(before, "attempt_duration_seconds"),
        },
        "queues": part("/queues"),
        "oldest_due_age_ms": part("/oldest_due_age_ms"),
        "deliveries": part("/counts/deliveries"),
        "dead_letters": part("/counts/dead_letters"),
        "resident_bytes": part("/resident_bytes"),
        "disk": part("/disk"),
        "orgs": orgs.iter().map(of_org).collect::<Vec<_>>(),
    })
}

fn of_org(org: &Value) -> Value {
    let part = |pointer: &str| org.pointer(pointer).cloned().unwrap_or_default();
    json!({
        "org": part("/id"),
        "depth": part("/queue/depth"),
        "oldest_at": part("/queue/oldest_at"),
        "state": part("/queue/state"),
        "webhook": part("/queue/head/webhook"),
        "attempts": part("/queue/head/attempts"),
        "last": part("/queue/head/last"),
        "dead_letters": part("/dead_letters"),
    })
}

/// The frame for people: lines, the last of which are the table of orgs.
pub(super) fn lines(frame: &Value) -> Vec<String> {
    let cell = |pointer: &str| output::cell(frame, pointer);
    let bytes = |pointer: &str| {
        frame.pointer(pointer).and_then(Value::as_u64).map_or("-".to_owned(), output::human_bytes)
    };
    let ms = |pointer: &str| match frame.pointer(pointer).and_then(Value::as_f64) {
        Some(ms) => format!("{ms:.1} ms"),
        None => "-".to_owned(),
    };
    let per_second = |name: &str| {
        format!(
            "{name} {:.1}",
            frame.pointer(&format!("/per_second/{name}")).and_then(Value::as_f64).unwrap_or(0.0)
        )
    };
    let attempts = frame.pointer("/per_second/attempts").and_then(Value::as_object).into_iter().flatten();
    let attempts: Vec<_> =
        attempts.map(|(class, rate)| format!("{class} {:.1}", rate.as_f64().unwrap_or(0.0))).collect();
    let uptime = age_ms(frame.pointer("/uptime_ms"));
    let mut lines = vec![
        format!("postrider {}, up {uptime}, store {}, {}", cell("/version"), cell("/store"), cell("/at")),
        format!("per second  {}", ["accepted", "delivered", "dead", "commits"].map(per_second).join("  ")),
        format!("attempts    {}", if attempts.is_empty() { "none".to_owned() } else { attempts.join("  ") }),
        format!(
            "heads       in flight {}  ready {}  delayed {}  held {}  oldest due {}",
            cell("/queues/in_flight"),
            cell("/queues/ready"),
            cell("/queues/delayed"),
            cell("/queues/held"),
            age_ms(frame.pointer("/oldest_due_age_ms")),
        ),
        format!("kept        waiting {}  dead letters {}", cell("/deliveries"), cell("/dead_letters")),
        format!(
            "on average  enqueue {}  commit {}  attempt {}",
            ms("/mean_ms/enqueue"),
            ms("/mean_ms/commit"),
            ms("/mean_ms/attempt")
        ),
        format!(
            "takes       memory {}  store {}  free on its disk {}",
            bytes("/resident_bytes"),
            bytes("/disk/allocated_bytes"),
            bytes("/disk/free_bytes")
        ),
    ];
    if let Some(error) = frame.pointer("/last_error/message").and_then(Value::as_str) {
        lines.push(format!("last error  {} {error}", cell("/last_error/at")));
    }
    lines.push(String::new());
    lines.extend(table(frame));
    lines.iter().map(|line| output::plain(line)).collect()
}

fn table(frame: &Value) -> Vec<String> {
    let now = frame.get("at").and_then(Value::as_str).and_then(UnixMs::parse).unwrap_or(UnixMs(0));
    let orgs = frame.get("orgs").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if orgs.is_empty() {
        return vec!["nothing waits".to_owned()];
    }
    let mut rows = vec![["ORG", "DEPTH", "OLDEST", "STATE", "WEBHOOK", "FAILED", "LAST"].map(str::to_owned)];
    rows.extend(orgs.iter().map(|org| {
        let oldest = org.get("oldest_at").and_then(Value::as_str).and_then(UnixMs::parse);
        let last = org.get("last").filter(|last| last.is_object()).map(|last| {
            let status = output::cell(last, "/status");
            if status == "-" { output::cell(last, "/error") } else { status }
        });
        [
            output::cell(org, "/org"),
            output::cell(org, "/depth"),
            oldest.map_or("-".to_owned(), |at| age(now.since(at))),
            output::cell(org, "/state"),
            output::cell(org, "/webhook"),
            output::cell(org, "/attempts"),
            last.unwrap_or_else(|| "-".to_owned()),
        ]
    }));
    let widths: Vec<_> = (0..7)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max())
        .map(Option::unwrap_or_default)
        .collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn age_ms(ms: Option<&Value>) -> String {
    ms.and_then(Value::as_u64).map_or_else(|| "-".to_owned(), |ms| age(Duration::from_millis(ms)))
}

/// `42 s`, `7 min`, `3 h 12 min`, `5 d 1 h`.
fn age(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_what_counters_grew_by_and_a_new_daemon_counts_from_nothing() {
        let read = |accepted: u32, sum: f64, count: u32| {
            Samples::read(&format!(
                "# TYPE postrider_events_accepted_total counter\npostrider_events_accepted_total {accepted}\n\
                 postrider_attempts_total{{class=\"5xx\"}} {count}\npostrider_attempts_total{{class=\"dns\"}} 7\n\
                 postrider_commit_duration_seconds_sum {sum}\npostrider_commit_duration_seconds_count {count}\n"
            ))
        };
        let frame_of = |before: &Samples, now: &Samples| {
            let status = json!({"version": "1", "queues": {"held": 2}});
            let between = Duration::from_secs(2);
            frame(&Look { at: UnixMs(0), status: &status, before, now, between, orgs: &[] })
        };
        let (before, now) = (read(10, 1.0, 4), read(30, 1.5, 14));
        let seen = frame_of(&before, &now);
        assert_eq!(seen["per_second"]["accepted"], 10.0);
        assert_eq!(seen["per_second"]["attempts"], json!({"5xx": 5.0}));
        assert_eq!((&seen["mean_ms"]["commit"], &seen["mean_ms"]["attempt"]), (&50.0.into(), &Value::Null));
        assert_eq!((&seen["queues"]["held"], &seen["store"]), (&2.into(), &Value::Null));
        assert_eq!(frame_of(&now, &before)["per_second"]["accepted"], 5.0);
    }

    #[test]
    fn a_frame_becomes_lines_for_people() {
        let frame = json!({
            "at": "2026-11-21T22:44:23.000Z", "version": "1.2", "uptime_ms": 11_580_000, "store": "accepting",
            "per_second": {"accepted": 10.0, "attempts": {"5xx": 5.0}}, "mean_ms": {"commit": 0.25},
            "orgs": [{"org": "acme", "depth": 812, "oldest_at": "2026-11-21T22:43:41.000Z", "state": "delayed",
                "webhook": "orders", "attempts": 3, "last": {"status": null, "error": "timeout"}}],
        });
        let lines = lines(&frame);
        assert_eq!(lines[0], "postrider 1.2, up 3 h 13 min, store accepting, 2026-11-21T22:44:23.000Z");
        assert_eq!(lines[1], "per second  accepted 10.0  delivered 0.0  dead 0.0  commits 0.0");
        assert_eq!(lines[2], "attempts    5xx 5.0");
        assert!(lines[5].contains("commit 0.2 ms") && lines[5].contains("enqueue -"), "{}", lines[5]);
        assert_eq!(
            &lines[lines.len() - 2..],
            [
                "ORG   DEPTH  OLDEST  STATE    WEBHOOK  FAILED  LAST",
                "acme  812    42 s    delayed  orders   3       timeout"
            ]
        );
    }

    #[test]
    fn ages_have_two_units_at_most() {
        for (seconds, shown) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (11_580, "3 h 13 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(age(Duration::from_secs(seconds)), shown);
        }
    }
}
