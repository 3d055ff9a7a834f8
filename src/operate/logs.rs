//! Structured logs on stderr: text or JSON, with a level that can be changed while running.
//!
//! Levels say what an operator must do: `error` act now, `warn` have a look (nothing is lost), `info` one line per change
//! of state, `debug` one line per delivery. Lines of other crates below `warn` are never shown, whatever the level: they
//! may quote headers and addresses that are nobody's business.

use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;

use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{Format as LineFormat, Full, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level(LevelFilter);

impl Level {
    /// What is logged unless configured otherwise.
    pub const DEFAULT: Level = Level(LevelFilter::INFO);
}

impl FromStr for Level {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "error" => Ok(Level(LevelFilter::ERROR)),
            "warn" => Ok(Level(LevelFilter::WARN)),
            "info" => Ok(Level(LevelFilter::INFO)),
            "debug" => Ok(Level(LevelFilter::DEBUG)),
            "trace" => Ok(Level(LevelFilter::TRACE)),
            _ => Err("must be one of error, warn, info, debug, trace".to_owned()),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text: coloured on a terminal (unless `NO_COLOR` is set), for the journal without a time but with its priority.
    #[default]
    Auto,
    /// Plain text with a time.
    Text,
    /// One JSON object per line.
    Json,
}

impl Format {
    /// The word in the configuration.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Format::Auto => "auto",
            Format::Text => "text",
            Format::Json => "json",
        }
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        [Format::Auto, Format::Text, Format::Json]
            .into_iter()
            .find(|format| format.code() == text)
            .ok_or_else(|| "must be one of auto, text, json".to_owned())
    }
}

/// `[log]` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How much.
    pub level: Level,
    /// In what shape; a change needs a restart.
    pub format: Format,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { level: Level::DEFAULT, format: Format::Auto }
    }
}

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
    Targets::new().with_default(level.0.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), level.0)
}

/// Starts logging to stderr for the whole process. Call it once; a second call has no effect on the first.
#[must_use]
pub fn init(settings: Settings) -> LevelHandle {
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let stderr = std::io::stderr;
    let lines = tracing_subscriber::fmt::layer().with_writer(stderr);
    let lines: Box<dyn Layer<_> + Send + Sync> = match settings.format {
        Format::Json => {
            Box::new(lines.json().flatten_event(true).with_current_span(false).with_span_list(false))
        }
        Format::Text => Box::new(lines.with_ansi(false).with_target(false)),
        Format::Auto if is_journal() => Box::new(lines.with_ansi(false).event_format(JournalLine::new())),
        Format::Auto => Box::new(lines.with_ansi(colours()).with_target(false)),
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
fn priority(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "<3>",
        tracing::Level::WARN => "<4>",
        tracing::Level::INFO => "<6>",
        tracing::Level::DEBUG | tracing::Level::TRACE => "<7>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_formats_read_back() {
        for word in ["error", "warn", "info", "debug", "trace"] {
            assert_eq!(word.parse::<Level>().unwrap().to_string(), word);
        }
        for word in ["auto", "text", "json"] {
            assert_eq!(word.parse::<Format>().unwrap().code(), word);
        }
        assert!("verbose".parse::<Level>().unwrap_err().contains("debug"));
        assert!("xml".parse::<Format>().unwrap_err().contains("json"));
    }

    #[test]
    fn other_crates_never_speak_below_warn() {
        let trace = targets("trace".parse().unwrap());
        assert!(trace.would_enable("postrider::scheduler", &tracing::Level::TRACE));
        assert!(!trace.would_enable("hyper::proto", &tracing::Level::INFO));
        assert!(trace.would_enable("sled", &tracing::Level::WARN));
        let error = targets("error".parse().unwrap());
        assert!(!error.would_enable("sled", &tracing::Level::WARN));
    }
}
