//! `GET /metrics`: numbers for Prometheus, in its text format. Labels are of small fixed sets: never an address or an id, and
//! an org only where an operator named it.

use std::fmt::{Display, Write as _};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;

use super::App;
use crate::clock;
use crate::measure::{Reading, process};
use crate::queue::{self, StoreHealth};
use crate::scheduler::{Scheduler, Snapshot};

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

    /// A gauge of the process, by the name that every program has it under.
    fn of_process(&mut self, name: &str, help: &str, value: impl Display) {
        self.line(format_args!("# HELP process_{name} {help}"));
        self.line(format_args!("# TYPE process_{name} gauge"));
        self.line(format_args!("process_{name} {value}"));
    }

    /// A sample of the metric. Neither names nor values of labels ever need escaping: they are words of ours, or names of orgs.
    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<_> = labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        if labels.is_empty() {
            self.line(format_args!("postrider_{name} {value}"));
        } else {
            self.line(format_args!("postrider_{name}{{{}}} {value}", labels.join(",")));
        }
    }

    /// A counter with its samples.
    fn counter<const LABELS: usize>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = ([(&'static str, &'static str); LABELS], u64)>,
    ) {
        self.metric(name, "counter", help);
        for (labels, count) in samples {
            self.sample(name, &labels, count);
        }
    }

    /// A histogram; `shown` is a value in the unit of its name.
    fn histogram(&mut self, name: &str, help: &str, reading: &Reading, shown: fn(u64) -> String) {
        self.metric(name, "histogram", help);
        let buckets = reading.up_to.iter().map(|(bound, count)| (shown(*bound), *count));
        for (bound, count) in buckets.chain([("+Inf".to_owned(), reading.count)]) {
            self.sample(&format!("{name}_bucket"), &[("le", &bound)], count);
        }
        self.sample(&format!("{name}_sum"), &[], shown(reading.sum));
        self.sample(&format!("{name}_count"), &[], reading.count);
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
    let accepts = *app.queue.health().borrow() == StoreHealth::Accepting;
    let mut text = Text::default();
    text.metric("build_info", "gauge", "The version that runs.");
    text.sample("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for (name, help, value) in [
        ("queue_depth", "Deliveries that wait, in all queues.", usage.deliveries),
        ("queue_bytes", "Payload bytes that wait, in all queues.", usage.live_bytes),
        ("queue_depth_max", "Deliveries that may wait, in all queues.", usage.max_total.deliveries),
        ("queue_bytes_max", "Payload bytes that may wait, in all queues.", usage.max_total.bytes),
        ("dead_letters", "Dead letters that are kept.", usage.dead_letters),
        ("dead_letter_bytes", "What dead letters take in the store.", usage.dead_letter_bytes),
        ("history_entries", "Deliveries that are kept in the history.", usage.history.entries),
        ("history_bytes", "What the history takes on disk.", usage.history.bytes),
        ("store_bytes", "What the store takes on disk.", usage.allocated_bytes),
        ("store_free_bytes", "What is free on the store's disk.", usage.free_bytes),
        ("store_reserve_bytes", "Below so much free space events are refused.", usage.reserve_bytes),
        ("store_accepting", "Whether the store takes events: 1 or 0.", u64::from(accepts)),
        ("quarantined", "Unreadable records that were set aside.", usage.quarantined),
    ] {
        text.metric(name, "gauge", help);
        text.sample(name, &[], value);
    }
    of_queue(&mut text, app.queue.figures());
    let missed = [([], usage.history.missed)];
    text.counter("history_missed_total", "Deliveries that could not be kept in the history.", missed);
    if let Some(scheduler) = &app.scheduler {
        of_scheduler(&mut text, scheduler);
    }
    let totals = app.gate.as_ref().map(|gate| gate.traffic.totals()).unwrap_or_default();
    let requests =
        totals.into_iter().map(|((kind, verdict), count)| ([("kind", kind), ("verdict", verdict)], count));
    text.counter("source_requests_total", "Requests to sources, by kind of source and verdict.", requests);
    of_orgs(&mut text, &app).await;
    of_process(&mut text, &app);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text.0).into_response()
}

/// Of the orgs that an operator named, as far as they are there.
async fn of_orgs(text: &mut Text, app: &App) {
    let mut named = Vec::new();
    for (id, deliveries) in app.queue.figures().orgs.read() {
        let Some(org) = app.queue.directory().org(&id) else { continue };
        let depth = app.queue.summary(org.number).depth;
        // Without a head there is nothing to read. What cannot be read has no age.
        let head = if depth > 0 { app.queue.list(org.number, None, 1, false).await } else { Ok(Vec::new()) };
        let oldest = head.ok().and_then(|head| head.first().map(|head| head.delivery.accepted_at));
        named.push((id, depth, oldest, deliveries));
    }
    if named.is_empty() {
        return;
    }
    text.metric("org_queue_depth", "gauge", "Deliveries that wait in the org's queue.");
    for (org, depth, ..) in &named {
        text.sample("org_queue_depth", &[("org", org.as_str())], depth);
    }
    let help = "How long ago the oldest delivery in the org's queue was accepted.";
    text.metric("org_oldest_age_seconds", "gauge", help);
    for (org, _, oldest, _) in &named {
        let age = oldest.map_or(0.0, |at| clock::now().since(at).as_secs_f64());
        text.sample("org_oldest_age_seconds", &[("org", org.as_str())], age);
    }
    text.metric("org_deliveries_total", "counter", "Deliveries that left the org's queue, by outcome.");
    for (org, .., deliveries) in &named {
        for (outcome, count) in deliveries {
            text.sample("org_deliveries_total", &[("org", org.as_str()), ("outcome", outcome)], count);
        }
    }
}

/// By the names that every program has them under.
fn of_process(text: &mut Text, app: &App) {
    let started = Duration::from_millis(u64::try_from(app.started_at.0).unwrap_or(0)).as_secs_f64();
    text.of_process("start_time_seconds", "When the daemon was started.", started);
    if let Some(bytes) = process::resident_bytes() {
        text.of_process("resident_memory_bytes", "Memory of the process.", bytes);
    }
    if let Some(files) = process::open_files() {
        text.of_process("open_fds", "Files and connections that are open.", files);
    }
}

/// Microseconds as seconds.
fn seconds(micros: u64) -> String {
    Duration::from_micros(micros).as_secs_f64().to_string()
}

/// What became durable since the start.
fn of_queue(text: &mut Text, figures: &queue::Figures) {
    let accepted = [([], figures.events_accepted())];
    text.counter("events_accepted_total", "Events that were accepted; repeats are not counted.", accepted);
    let deliveries = figures.deliveries().map(|(outcome, count)| ([("outcome", outcome)], count));
    text.counter("deliveries_total", "Deliveries that left their queue, by outcome.", deliveries);
    let expired = [([], figures.dead_letters_expired())];
    text.counter("dead_letters_expired_total", "Dead letters that were kept long enough.", expired);
    for (name, help, times) in [
        (
            "enqueue_duration_seconds",
            "From handing events to the store until they are durable.",
            &figures.enqueue,
        ),
        ("commit_duration_seconds", "Flushing a batch of changes to disk.", &figures.commit),
    ] {
        text.histogram(name, help, &times.read(), seconds);
    }
    text.histogram("commit_batch_size", "Changes in a batch.", &figures.batch.read(), |changes| {
        changes.to_string()
    });
}

/// Attempts since the start, and where the orgs stand.
fn of_scheduler(text: &mut Text, scheduler: &Scheduler) {
    let attempts = scheduler.figures().attempts().map(|(class, count)| ([("class", class)], count));
    let help = "Attempts by class: the status by its hundreds, or why there was none.";
    text.counter("attempts_total", help, attempts);
    let help = "How long attempts took.";
    text.histogram("attempt_duration_seconds", help, &scheduler.figures().duration.read(), seconds);
    let Snapshot { in_flight, ready, delayed, held, oldest_due } = scheduler.snapshot();
    text.metric("in_flight", "gauge", "Attempts under way.");
    text.sample("in_flight", &[], in_flight);
    text.metric("orgs", "gauge", "Orgs with something in their queue, by the state of its head.");
    for (state, count) in [("in-flight", in_flight), ("ready", ready), ("delayed", delayed), ("held", held)] {
        text.sample("orgs", &[("state", state)], count);
    }
    let age = oldest_due.map_or(0.0, |due| clock::now().since(due).as_secs_f64());
    text.metric(
        "oldest_due_age_seconds",
        "gauge",
        "How long the oldest head that is due has waited for a slot.",
    );
    text.sample("oldest_due_age_seconds", &[], age);
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

    #[test]
    fn a_histogram_counts_up_and_ends_with_all() {
        let mut text = Text::default();
        let reading = Reading { up_to: vec![(100, 1), (2_500_000, 3)], count: 4, sum: 31_000_000 };
        text.histogram("a_seconds", "Times.", &reading, seconds);
        let samples: Vec<_> = text.0.lines().skip(1).collect();
        assert_eq!(
            samples,
            [
                "# TYPE postrider_a_seconds histogram",
                "postrider_a_seconds_bucket{le=\"0.0001\"} 1",
                "postrider_a_seconds_bucket{le=\"2.5\"} 3",
                "postrider_a_seconds_bucket{le=\"+Inf\"} 4",
                "postrider_a_seconds_sum 31",
                "postrider_a_seconds_count 4",
            ]
        );
    }
}
