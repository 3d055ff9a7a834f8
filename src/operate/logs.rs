//! Structured logs on stderr: text or JSON, with a level that can be changed while running.
//!
//! Levels say what an operator must do: `error` act now, `warn` have a look (nothing is lost), `info` one line per change
//! of state, `debug` one line per delivery. Lines of other crates below `warn` are never shown, whatever the level: they
//! may quote headers and addresses that are nobody's business.

use std::fmt;
use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format as LineFormat, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

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

/// Starts logging to stderr for the whole process. Call it once; a second call has no effect on the first.
#[must_use]
pub fn init(settings: &Log) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    let journal = is_journal();
    let text = match settings.format {
        LogFormat::Json => false,
        LogFormat::Text => true,
        LogFormat::Auto => journal || std::io::stderr().is_terminal(),
    };
    let lines: Box<dyn Layer<_> + Send + Sync> = if !text {
        Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false))
    } else if journal {
        Box::new(lines.event_format(JournalLine::new()))
    } else {
        Box::new(lines.with_ansi(colours()).with_target(false))
    };
    // Fails only if logging is already set up, which tests in one process may do.
    let _already = tracing_subscriber::registry().with(filter).with(lines).try_init();
    LevelHandle(handle)
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

/// A line as the journal wants it: its priority in front, no time of its own.
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
        line.write_str(priority(*event.metadata().level()))?;
        self.0.format_event(ctx, line, event)
    }
}

/// The prefix of sd-daemon(3) for a level.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
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
