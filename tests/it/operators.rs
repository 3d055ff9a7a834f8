//! What is shipped for operators who watch: alerts and a dashboard that speak of metrics and commands that there are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex::Regex;
use serde_json::{Value, json};

use crate::support::daemon::{BINARY, retry};
use crate::support::{Answer, Receiver, Site};

/// The metrics that are promised, without their prefix. Those of the process have the names that every program has.
const PROMISED: [&str; 14] = [
    "events_accepted_total",
    "deliveries_total",
    "attempts_total",
    "attempt_duration_seconds",
    "enqueue_duration_seconds",
    "commit_duration_seconds",
    "commit_batch_size",
    "queue_depth",
    "orgs",
    "oldest_due_age_seconds",
    "dead_letters",
    "in_flight",
    "store_bytes",
    "build_info",
];

fn shipped(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

/// Names of families of a daemon's metrics, and of every sample.
fn known() -> (BTreeSet<String>, BTreeSet<String>) {
    let receiver = Receiver::start();
    let site = Site::new();
    site.configure(&format!("{}[metrics]\norgs = [\"acme\"]\n", site.config()));
    let daemon = site.start();
    receiver.then("/", [Answer::Status(500)]);
    daemon.org("acme", &receiver.url("/"), &retry(2, 1, 1.0, 1));
    daemon.enqueue("acme", &json!({"type": "t", "payload": 1}));
    daemon.drained("acme");
    let text = daemon.admin("GET", "/metrics", &Value::Null).expect(200).text();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let families = types.clone().map(|(name, _)| name.to_owned()).collect();
    // Of a counter with labels there may be no sample yet: of sources before the first request.
    let plain = types.filter(|(_, kind)| *kind != "histogram").map(|(name, _)| name);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let samples = samples.filter_map(|line| line.split(['{', ' ']).next());
    (families, samples.chain(plain).map(str::to_owned).collect())
}

/// The names of metrics in an expression.
fn named(expression: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:postrider|process)_[a-z_]+").unwrap();
    name.find_iter(expression).map(|found| found.as_str().to_owned()).collect()
}

/// What the alerts say, rule by rule: each line `key: value` of it.
fn alerts() -> Vec<Vec<(String, String)>> {
    let text = shipped("alerts.yml");
    let rules = text.split("      - alert: ").skip(1);
    let rule = |rule: &str| {
        let lines = format!("alert: {rule}");
        let pairs = lines.lines().filter_map(|line| line.trim().split_once(": "));
        pairs.map(|(key, value)| (key.to_owned(), value.trim_matches('"').to_owned())).collect()
    };
    rules.map(rule).collect()
}

/// Every expression of the dashboard, with its panel's title.
fn panels() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&shipped("grafana.json")).unwrap();
    let mut found = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(
            panel["datasource"]["uid"], "${datasource}",
            "{title} asks the data source that was chosen"
        );
        for target in panel["targets"].as_array().unwrap() {
            found.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn operators_are_alerted_by_metrics_that_there_are_and_told_what_to_run() {
    let (_, samples) = known();
    let help = Command::new(BINARY).arg("help").output().unwrap().stdout;
    let help = String::from_utf8(help).unwrap();
    let command = Regex::new("`postrider ([a-z-]+)").unwrap();
    let alerts = alerts();
    assert!(alerts.len() >= 15, "{}", alerts.len());
    let mut names = BTreeSet::new();
    for rule in &alerts {
        let value = |key: &str| {
            let found = rule.iter().find(|(name, _)| name == key);
            found.map_or_else(|| panic!("{rule:?} has no {key}"), |(_, value)| value.as_str())
        };
        assert!(names.insert(value("alert")), "{} twice", value("alert"));
        for metric in named(value("expr")) {
            assert!(samples.contains(&metric), "{} asks for {metric}, which is not there", value("alert"));
        }
        assert!(["warning", "critical"].contains(&value("severity")));
        assert!(value("summary").contains("{{ $"), "{}", value("summary"));
        let told: Vec<_> =
            command.captures_iter(value("description")).map(|found| found[1].to_owned()).collect();
        assert!(!told.is_empty(), "{} says no command to run next", value("alert"));
        for name in told {
            assert!(help.contains(&format!("\n  {name} ")), "there is no command {name}: {}", value("alert"));
        }
    }
}

#[test]
fn operators_see_every_metric_on_the_dashboard() {
    let (families, samples) = known();
    for name in PROMISED {
        assert!(families.contains(&format!("postrider_{name}")), "{name} is promised");
    }
    let panels = panels();
    let mut shown = BTreeSet::new();
    for (title, expression) in &panels {
        let named = named(expression);
        assert!(!named.is_empty(), "{title} shows nothing");
        for metric in named {
            assert!(samples.contains(&metric), "{title} asks for {metric}, which is not there");
            shown.insert(metric);
        }
        assert!(
            expression.contains("instance=~\"$instance\""),
            "{title} is of the instances that were chosen"
        );
    }
    for family in &families {
        let is_shown = shown.iter().any(|metric| metric.starts_with(family.as_str()));
        assert!(is_shown, "{family} is on no panel");
    }
    let dashboard: Value = serde_json::from_str(&shipped("grafana.json")).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    assert_eq!((&variables[0]["name"], &variables[0]["type"]), (&"datasource".into(), &"datasource".into()));
    let mut ids: Vec<_> =
        dashboard["panels"].as_array().unwrap().iter().map(|panel| panel["id"].as_u64()).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "panels are told apart by their ids");
}

/// Prometheus's own judgement, where its tool is installed (Debian: package prometheus); CI installs it.
#[test]
fn operators_get_rules_and_expressions_that_prometheus_reads() {
    let check = |rules: &Path| {
        let output = Command::new("promtool").args(["check", "rules"]).arg(rules).output().ok()?;
        let said =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        Some((output.status.success(), said))
    };
    let Some((reads, said)) = check(&path("alerts.yml")) else {
        eprintln!("promtool is not installed: the rules are not checked by it");
        return;
    };
    assert!(reads, "{said}");
    let dir = tempfile::tempdir().unwrap();
    let rules = panels().into_iter().enumerate().map(|(index, (_, expression))| {
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        json!({"record": format!("panel:{index}"), "expr": expression})
    });
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules.collect::<Vec<_>>()}]});
    let file = dir.path().join("dashboard.yml");
    // JSON is YAML.
    std::fs::write(&file, rules.to_string()).unwrap();
    let (reads, said) = check(&file).unwrap();
    assert!(reads, "{said}");
}
