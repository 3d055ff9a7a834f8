//! What was found, for people and for machines.

use serde_json::json;

use super::rows::{Measured, Spec, spec};

/// The whole run.
#[derive(Debug, Default)]
pub struct Report {
    /// One per row that ran, in the order of the table.
    pub rows: Vec<Measured>,
    /// Whether the sizes were those of the goals.
    pub full: bool,
    /// What limits the figures' worth: a debug build, a memory file system.
    pub warnings: Vec<String>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// Events a second that one org gets whose receiver takes this many milliseconds, if it was measured.
    pub slow_receiver: Option<(f64, f64)>,
}

/// The headings of the table.
pub const HEADINGS: [&str; 9] =
    ["ROW", "WHAT", "MEASURED", "BASELINE", "JUDGED", "AT LEAST", "AIM", "VERDICT", "NOTE"];

impl Report {
    /// Keeps what went wrong with a scenario.
    pub fn note(&mut self, scenario: &str, result: anyhow::Result<()>) {
        if let Err(error) = result {
            self.failures.push(format!("{scenario}: {error:#}"));
        }
    }

    /// Everything, for machines.
    pub fn json(&self) -> serde_json::Value {
        let rows: Vec<_> = self.specs().map(|(spec, measured)| json_row(spec, measured)).collect();
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "cores": super::cores(),
            "full": self.full,
            "warnings": self.warnings,
            "failures": self.failures,
            "rows": rows,
            "summary": self.summary(),
        })
    }

    /// The table's rows, under [`HEADINGS`].
    pub fn cells(&self) -> Vec<[String; 9]> {
        self.specs().map(|(spec, measured)| cells(spec, measured)).collect()
    }

    fn specs(&self) -> impl Iterator<Item = (&'static Spec, &Measured)> {
        self.rows.iter().filter_map(|measured| Some((spec(measured.key)?, measured)))
    }

    fn value(&self, key: &str) -> Option<f64> {
        self.rows.iter().find(|measured| measured.key == key).map(|measured| measured.value)
    }

    /// What this machine can do, in sentences. Says only what was measured.
    pub fn summary(&self) -> Vec<String> {
        let accepted = [
            self.value("enqueue-64").map(|rate| format!("{} from 64 producers", rounded(rate))),
            self.value("enqueue-1").map(|rate| format!("{} from one", rounded(rate))),
            self.value("enqueue-stream").map(|rate| format!("{} as one stream", rounded(rate))),
        ];
        let accepted: Vec<String> = accepted.into_iter().flatten().collect();
        let mut sentences = Vec::new();
        if !accepted.is_empty() {
            sentences.push(format!(
                "This machine makes 1 KiB events durable at this many a second: {}.",
                accepted.join(", ")
            ));
        }
        if let Some(rate) = self.value("deliver-64") {
            sentences.push(format!(
                "It accepts and delivers {} events/s over 64 orgs, each in its order, to receivers that answer at once.",
                rounded(rate)
            ));
        }
        if let Some(rate) = self.value("deliver-1") {
            sentences.push(format!(
                "One org gets its events one at a time: {} a second if its receiver answers at once.",
                rounded(rate)
            ));
        }
        if let Some((rate, latency)) = self.slow_receiver {
            sentences.push(format!(
                "With a receiver that takes {latency:.0} ms, one org gets {rate:.1} events/s ({:.1} would be all that such a receiver can take one at a time).",
                1000.0 / latency
            ));
        }
        if let (Some(p50), Some(p99)) = (self.value("latency-p50"), self.value("latency-p99")) {
            sentences.push(format!(
                "At 200 events/s, an event is with its receiver {p50:.2} ms after the call in half of the cases, within {p99:.2} ms in 99 of 100."
            ));
        }
        sentences
    }
}

fn verdict(spec: &Spec, judged: f64) -> &'static str {
    if spec.reaches(judged, spec.at_least) { "ok" } else { "below" }
}

fn json_row(spec: &Spec, measured: &Measured) -> serde_json::Value {
    let judged = measured.judged();
    let baseline = spec.against.zip(measured.baseline);
    json!({
        "row": spec.key,
        "what": spec.what,
        "measured": measured.value,
        "unit": spec.unit,
        "baseline": baseline.map(|(what, value)| json!({"what": what, "measured": value})),
        "ratio": measured.baseline.map(|_| judged),
        "judged": judged,
        "better": spec.better,
        "at_least": spec.at_least,
        "aim": spec.aim,
        "verdict": verdict(spec, judged),
        "reaches_aim": spec.reaches(judged, spec.aim),
        "rounds": measured.ratios,
        "note": measured.note,
    })
}

fn cells(spec: &Spec, measured: &Measured) -> [String; 9] {
    let judged = measured.judged();
    let figure =
        |value: f64| if measured.baseline.is_some() { format!("{value:.2}") } else { rounded(value) };
    let baseline = spec.against.zip(measured.baseline);
    let aim = if spec.reaches(judged, spec.aim) { ", aim reached" } else { "" };
    [
        spec.key.to_owned(),
        spec.what.to_owned(),
        format!("{} {}", rounded(measured.value), spec.unit),
        baseline.map(|(what, value)| format!("{} ({what})", rounded(value))).unwrap_or_default(),
        figure(judged),
        figure(spec.at_least),
        figure(spec.aim),
        format!("{}{aim}", verdict(spec, judged)),
        note(measured),
    ]
}

/// How it was measured, and how far its rounds lie apart if that is far.
fn note(measured: &Measured) -> String {
    let least = measured.ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = measured.ratios.iter().copied().fold(0.0, f64::max);
    let spread = format!("noisy: rounds from {least:.2} to {most:.2}");
    let note = (!measured.note.is_empty()).then(|| measured.note.clone());
    note.into_iter().chain((most > least * NOISY).then_some(spread)).collect::<Vec<_>>().join("; ")
}

/// Rounds further apart than this factor say more about the machine than about the daemon.
const NOISY: f64 = 2.0;

/// About three digits, thousands set apart.
fn rounded(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.2}");
    }
    if value < 1000.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::rows::Round;

    fn report() -> Report {
        let rounds = [Round { baseline: 10_000.0, subject: 4_000.0 }];
        let rows = vec![
            Measured::paired("enqueue-1", &rounds, "").unwrap(),
            Measured::plain("latency-p50", 2.5, "1 s"),
        ];
        Report { rows, ..Report::default() }
    }

    #[test]
    fn rows_are_judged_by_ratio_or_by_value() {
        let json = report().json();
        let rows = json["rows"].as_array().unwrap();
        assert_eq!((&rows[0]["judged"], &rows[0]["verdict"]), (&0.4.into(), &"ok".into()));
        assert_eq!(rows[0]["reaches_aim"], false);
        assert_eq!(rows[0]["baseline"]["what"], "append + fdatasync");
        assert_eq!((&rows[1]["judged"], &rows[1]["verdict"]), (&2.5.into(), &"below".into()));
        assert!(rows[1]["baseline"].is_null());
    }

    #[test]
    fn rounds_that_lie_far_apart_are_told() {
        let rounds = |ratios: &[f64]| {
            let rounds = ratios.iter().map(|ratio| Round { baseline: 1.0, subject: *ratio });
            note(&Measured::paired("enqueue-1", &rounds.collect::<Vec<_>>(), "64 orgs").unwrap())
        };
        assert_eq!(rounds(&[0.5, 0.6, 0.9]), "64 orgs");
        assert_eq!(rounds(&[0.5, 0.6, 1.1]), "64 orgs; noisy: rounds from 0.50 to 1.10");
        assert_eq!(note(&Measured::plain("latency-p50", 1.0, "")), "");
    }

    #[test]
    fn the_summary_says_only_what_was_measured() {
        let summary = report().summary();
        assert_eq!(
            summary,
            ["This machine makes 1 KiB events durable at this many a second: 4,000 from one."]
        );
        assert!(Report::default().summary().is_empty());
    }

    #[test]
    fn numbers_read_well() {
        for (value, text) in [
            (0.123, "0.12"),
            (12.34, "12.3"),
            (999.9, "999.9"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(rounded(value), text);
        }
    }
}
