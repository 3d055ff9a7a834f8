//! PURE. The rows: what each measures, what it is held against, and what counts as good enough.

use serde::Serialize;

/// What a row needs to be run; rows of one scenario share a daemon and its preparation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// Events in, deliveries paused.
    Enqueue,
    /// Requests of sources in, deliveries paused.
    Source,
    /// Events in and delivered.
    Deliver,
    /// Events of a type that is known, delivered, and the same of one that is not.
    Known,
    /// A steady trickle, timed one by one.
    Latency,
    /// Healthy orgs beside hanging ones.
    Isolation,
    /// A large backlog, and a restart with it.
    Waiting,
    /// Many orgs, few of them active.
    Orgs,
    /// Many events through short queues.
    StoreSize,
    /// This binary's own size.
    Binary,
}

/// Which side of a goal is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Better {
    /// More is better.
    Higher,
    /// Less is better.
    Lower,
}

/// What a row means and which figures it is held against. With a baseline the ratio is judged, else the value.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    /// Its name on the command line and in JSON.
    pub key: &'static str,
    /// What has to run for it.
    pub scenario: Scenario,
    /// What is measured.
    pub what: &'static str,
    /// The unit of what is measured.
    pub unit: &'static str,
    /// What the baseline is.
    pub against: Option<&'static str>,
    /// Which way is good.
    pub better: Better,
    /// Good enough.
    pub at_least: f64,
    /// Where we are going.
    pub aim: f64,
}

/// What was found for one row.
#[derive(Debug, Clone)]
pub struct Measured {
    /// The row.
    pub key: &'static str,
    /// The daemon's figure.
    pub value: f64,
    /// The bare loop's figure, from the same round.
    pub baseline: Option<f64>,
    /// The ratios of all rounds, in the order they were made.
    pub ratios: Vec<f64>,
    /// At which size or how it was measured; says so where it is smaller than the goal's.
    pub note: String,
}

impl Measured {
    /// A figure without a baseline.
    pub fn plain(key: &'static str, value: f64, note: impl Into<String>) -> Measured {
        Measured { key, value, baseline: None, ratios: Vec::new(), note: note.into() }
    }

    /// Takes the round whose ratio is the median one, so that value, baseline and ratio belong together.
    /// `None` without rounds.
    pub fn paired(key: &'static str, rounds: &[Round], note: impl Into<String>) -> Option<Measured> {
        let mut sorted: Vec<&Round> = rounds.iter().collect();
        sorted.sort_by(|a, b| a.ratio().total_cmp(&b.ratio()));
        let median = sorted.get(sorted.len() / 2)?;
        Some(Measured {
            key,
            value: median.subject,
            baseline: Some(median.baseline),
            ratios: rounds.iter().map(Round::ratio).collect(),
            note: note.into(),
        })
    }

    /// What is held against the goal.
    pub fn judged(&self) -> f64 {
        self.baseline.map_or(self.value, |baseline| self.value / baseline)
    }
}

/// One run of the baseline and one of the subject, right after each other.
#[derive(Debug, Clone, Copy)]
pub struct Round {
    /// The bare loop's figure.
    pub baseline: f64,
    /// The daemon's.
    pub subject: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.subject / self.baseline
    }
}

impl Spec {
    /// Whether this figure reaches the goal.
    pub fn reaches(&self, judged: f64, goal: f64) -> bool {
        match self.better {
            Better::Higher => judged >= goal,
            Better::Lower => judged <= goal,
        }
    }
}

/// The row of this name.
pub fn spec(key: &str) -> Option<&'static Spec> {
    SPECS.iter().find(|spec| spec.key == key)
}

const fn higher(key: &'static str, scenario: Scenario, at_least: f64, aim: f64) -> Spec {
    Spec { key, scenario, what: "", unit: "events/s", against: None, better: Better::Higher, at_least, aim }
}

const fn lower(key: &'static str, scenario: Scenario, unit: &'static str, at_least: f64, aim: f64) -> Spec {
    Spec { key, scenario, what: "", unit, against: None, better: Better::Lower, at_least, aim }
}

impl Spec {
    const fn what(mut self, what: &'static str) -> Spec {
        self.what = what;
        self
    }

    const fn against(mut self, against: &'static str) -> Spec {
        self.against = Some(against);
        self
    }
}

/// Every row, in the order of the table.
pub const SPECS: &[Spec] = &[
    higher("enqueue-1", Scenario::Enqueue, 0.35, 0.6)
        .what("durable enqueue, 1 producer")
        .against("append + fdatasync"),
    higher("enqueue-64", Scenario::Enqueue, 0.5, 0.8)
        .what("durable enqueue, 64 producers")
        .against("bare group commit, 64 writers"),
    higher("enqueue-stream", Scenario::Enqueue, 0.7, 0.95)
        .what("durable enqueue, one NDJSON stream")
        .against("bare group commit, 64 writers"),
    higher("source-64", Scenario::Source, 0.25, 0.5)
        .what("signed requests of sources made durable, 64 senders")
        .against("bare group commit, 64 writers"),
    higher("deliver-64", Scenario::Deliver, 0.15, 0.3)
        .what("accepted, delivered, removed: 64 orgs")
        .against("POST loop, 64 connections"),
    higher("deliver-1", Scenario::Deliver, 0.10, 0.25)
        .what("accepted, delivered, removed: 1 org")
        .against("POST loop, 1 connection"),
    higher("deliver-known", Scenario::Known, 0.8, 0.95)
        .what("deliver-64 with schema and match on the payload")
        .against("deliver-64 with neither"),
    lower("latency-p50", Scenario::Latency, "ms", 2.0, 0.6)
        .what("enqueue call to receiver, 200 events/s, p50"),
    lower("latency-p99", Scenario::Latency, "ms", 10.0, 3.0)
        .what("enqueue call to receiver, 200 events/s, p99"),
    lower("isolation", Scenario::Isolation, "ms", 1.5, 1.1)
        .what("p99 of healthy orgs beside 1,000 hanging")
        .against("without hanging orgs"),
    lower("memory-idle", Scenario::Waiting, "MiB", 48.0, 24.0).what("resident memory, idle"),
    lower("memory-waiting", Scenario::Waiting, "MiB", 96.0, 32.0)
        .what("resident memory more with a backlog waiting"),
    lower("start-waiting", Scenario::Waiting, "s", 5.0, 1.0)
        .what("kill -9 with a backlog: start to first delivery"),
    lower("orgs-start", Scenario::Orgs, "s", 5.0, 1.0).what("many orgs configured: start"),
    lower("orgs-memory", Scenario::Orgs, "MiB", 200.0, 100.0).what("many orgs configured: resident memory"),
    higher("orgs-throughput", Scenario::Orgs, 0.8, 0.95)
        .what("many orgs configured, 1,000 active: delivered")
        .against("only 1,000 configured"),
    lower("store-size", Scenario::StoreSize, "MiB", 256.0, 64.0)
        .what("store on disk after many events, short queue"),
    lower("binary-size", Scenario::Binary, "MiB", 24.0, 16.0).what("this binary, stripped"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_says_what_it_is_and_its_aim_is_the_better_figure() {
        for spec in SPECS {
            assert!(!spec.what.is_empty(), "{}", spec.key);
            assert!(spec.reaches(spec.aim, spec.at_least), "{}", spec.key);
            assert!(!spec.reaches(spec.at_least, spec.aim), "{}", spec.key);
            assert_eq!(SPECS.iter().filter(|other| other.key == spec.key).count(), 1, "{}", spec.key);
        }
    }

    #[test]
    fn the_round_with_the_median_ratio_stands_for_all() {
        let round = |baseline, subject| Round { baseline, subject };
        let rounds = [round(100.0, 90.0), round(10.0, 1.0), round(50.0, 25.0)];
        let measured = Measured::paired("enqueue-1", &rounds, "").unwrap();
        assert_eq!((measured.value, measured.baseline, measured.judged()), (25.0, Some(50.0), 0.5));
        assert!(Measured::paired("enqueue-1", &[], "").is_none());
    }
}
