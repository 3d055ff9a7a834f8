//! Structured logs: to the journal with their fields, or to stderr as text or JSON; with a level that can be changed while running.
//!
//! Levels say what an operator must do: `error` act now, `warn` have a look (nothing is lost), `info` one line per change
//! of state, `debug` one line per delivery. Lines of other crates below `warn` are never shown, whatever the level: they
//! may quote headers and addresses that are nobody's business.

use std::fmt;
use std::io::IsTerminal;
use std::path::Path;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format as LineFormat, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use super::journal::{self, Journal, priority};
use crate::config::{Log, LogFormat};

/// Changes the level of the running process.
#[derive(Clone)]
pub struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// From now on.
    pub fn set(&self, level: Level) {
        // Fails only when the subscriber is gone, and with it the logs.
        let _gone = self.0.reload(targets(level));
    }
}

/// What to show: our own lines at `level`, those of other crates at `warn` at most.
fn targets(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new().with_default(level.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), level)
}

/// Starts logging for the whole process. Call it once; a second call has no effect on the first.
#[must_use]
pub fn init(settings: &Log) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let (lines, failed) = lines(settings.format, is_journal());
    // Fails only if logging is already set up, which tests in one process may do.
    let _already = tracing_subscriber::registry().with(filter).with(lines).try_init();
    if let Some(error) = failed {
        tracing::warn!(%error, socket = journal::SOCKET, "the journal is not there: lines go to stderr");
    }
    LevelHandle(handle)
}

type Lines<S> = Box<dyn Layer<S> + Send + Sync>;

/// What writes the lines; and why they do not go to the journal, if they should.
fn lines<S>(format: LogFormat, is_journal: bool) -> (Lines<S>, Option<std::io::Error>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let text = match format {
        LogFormat::Json => false,
        LogFormat::Text | LogFormat::Journald => true,
        LogFormat::Auto => is_journal || std::io::stderr().is_terminal(),
    };
    let mut failed = None;
    if format == LogFormat::Journald || (format == LogFormat::Auto && is_journal) {
        match Journal::at(Path::new(journal::SOCKET)) {
            Ok(journal) => return (Box::new(journal), None),
            // Without it stderr is the journal all the same, with the text alone.
            Err(error) => failed = (format == LogFormat::Journald).then_some(error),
        }
    }
    let lines: Lines<S> = if !text {
        Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false))
    } else if is_journal {
        Box::new(lines.event_format(JournalLine::new()))
    } else {
        Box::new(lines.with_ansi(colours()).with_target(false))
    };
    (lines, failed)
}

/// Colours are for terminals whose user did not say no.
fn colours() -> bool {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !no_color
}

/// Whether stderr is the journal's socket: systemd names its device and inode in the environment.
fn is_journal() -> bool {
    let Ok(named) = std::env::var("JOURNAL_STREAM") else {
        return false;
    };
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| named == format!("{}:{}", stat.st_dev, stat.st_ino))
}

/// A line as the journal wants it on stderr (sd-daemon(3)): its priority in front, no time of its own.
struct JournalLine(LineFormat<Full, ()>);

impl JournalLine {
    fn new() -> JournalLine {
        JournalLine(LineFormat::default().without_time().with_target(false).with_level(false))
    }
}

impl<S, N> FormatEvent<S, N> for JournalLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        write!(line, "<{}>", priority(*event.metadata().level()))?;
        self.0.format_event(ctx, line, event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_never_speak_below_warn() {
        let trace = targets(Level::TRACE);
        assert!(trace.would_enable("postrider::scheduler", &Level::TRACE));
        assert!(!trace.would_enable("hyper::proto", &Level::INFO));
        assert!(trace.would_enable("sled", &Level::WARN));
        let error = targets(Level::ERROR);
        assert!(!error.would_enable("sled", &Level::WARN));
    }
}
