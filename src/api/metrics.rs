//! `GET /metrics`: numbers for Prometheus, in its text format. Labels are of small fixed sets: never an org, an address or
//! an id.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::App;

/// The text format that Prometheus reads (`prometheus.io`, "Exposition formats").
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Metrics as text.
#[derive(Default)]
struct Text(String);

impl Text {
    /// Begins a metric; `samples` follow.
    fn metric(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP postrider_{name} {help}"));
        self.line(format_args!("# TYPE postrider_{name} {kind}"));
    }

    /// A sample of the metric. Neither names nor values of labels ever need escaping: they are words of ours.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        if labels.is_empty() {
            self.line(format_args!("postrider_{name} {value}"));
        } else {
            self.line(format_args!("postrider_{name}{{{}}} {value}", labels.join(",")));
        }
    }

    fn line(&mut self, line: impl Display) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{line}");
    }
}

/// `GET /metrics`.
pub(super) async fn show(State(app): State<Arc<App>>) -> Response {
    let queue = app.queue.clone();
    // Sizes on disk are asked of the file system.
    let usage = tokio::task::spawn_blocking(move || queue.usage()).await.unwrap_or_default();
    let in_flight = app.scheduler.as_ref().map_or(0, |scheduler| scheduler.snapshot().in_flight);
    let mut text = Text::default();
    text.metric("build_info", "gauge", "The version that runs.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for (name, help, value) in [
        ("queue_depth", "Deliveries that wait, in all queues.", usage.deliveries),
        ("dead_letters", "Dead letters that are kept.", usage.dead_letters),
        ("in_flight", "Attempts under way.", in_flight),
        ("store_bytes", "What the store takes on disk.", usage.allocated_bytes),
    ] {
        text.metric(name, "gauge", help);
        text.sample(name, &[], value);
    }
    let name = "source_requests_total";
    text.metric(name, "counter", "Requests to sources, by kind of source and verdict.");
    let totals = app.gate.as_ref().map(|gate| gate.traffic.totals()).unwrap_or_default();
    for ((kind, verdict), count) in totals {
        text.sample(name, &[("kind", kind), ("verdict", verdict)], count);
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text.0).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_its_labels_in_braces() {
        let mut text = Text::default();
        text.metric("a_total", "counter", "Things.");
        text.sample("a_total", &[("kind", "slack"), ("verdict", "accepted")], 7);
        text.sample("b", &[], 1);
        assert_eq!(
            text.0,
            "# HELP postrider_a_total Things.\n# TYPE postrider_a_total counter\n\
             postrider_a_total{kind=\"slack\",verdict=\"accepted\"} 7\npostrider_b 1\n"
        );
    }
}
