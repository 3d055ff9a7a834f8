//! Lines for the journal with their fields, by its own protocol (systemd.io, "Native Journal Protocol"): one datagram each.
//!
//! A field `org` of a line is `POSTRIDER_ORG` there, so that `journalctl -u postrider POSTRIDER_ORG=acme` finds it; the text
//! of the line has it as well. What cannot be sent goes to stderr, which is the journal by the other way.

use std::fmt::{Debug, Write as _};
use std::io;
use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens.
pub const SOCKET: &str = "/run/systemd/journal/socket";
/// Before each of our fields' names.
const PREFIX: &str = "POSTRIDER_";
/// How long a line may wait for a journal that does not read.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends lines to the journal.
pub struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// To the journal that listens there.
    pub fn at(path: &Path) -> io::Result<Journal> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(PATIENCE))?;
        // Found anew for every line, so that a journal that was started anew gets them; it must be there now.
        std::fs::metadata(path)?;
        Ok(Journal { socket, path: path.to_owned() })
    }

    fn send(&self, level: Level, line: &Line) {
        if self.socket.send_to(&line.datagram(level), &self.path).is_err() {
            // There is nowhere left to say that this failed too.
            writeln!(io::stderr(), "<{}>{}", priority(level), line.text()).unwrap_or_default();
        }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut line = Line::default();
        line.field("TARGET", metadata.target());
        event.record(&mut line);
        self.send(*metadata.level(), &line);
    }
}

/// The number of syslog(3) for a level.
pub(super) fn priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 6,
        Level::DEBUG | Level::TRACE => 7,
    }
}

/// One line on its way.
#[derive(Default)]
struct Line {
    message: String,
    /// ` name=value` for each field, as people read it.
    shown: String,
    /// Our fields as the protocol has them.
    fields: Vec<u8>,
}

impl Line {
    fn text(&self) -> String {
        format!("{}{}", self.message, self.shown)
    }

    fn datagram(&self, level: Level) -> Vec<u8> {
        let mut datagram = Vec::with_capacity(self.fields.len() + self.shown.len() + 128);
        put(&mut datagram, "MESSAGE", &self.text());
        put(&mut datagram, "PRIORITY", &priority(level).to_string());
        put(&mut datagram, "SYSLOG_IDENTIFIER", env!("CARGO_PKG_NAME"));
        datagram.extend_from_slice(&self.fields);
        datagram
    }

    fn field(&mut self, name: &str, value: &str) {
        let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let name: String = PREFIX.chars().chain(name.chars().map(upper)).collect();
        put(&mut self.fields, &name, value);
    }
}

/// A field; a value of several lines goes with its length.
fn put(into: &mut Vec<u8>, name: &str, value: &str) {
    into.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        into.push(b'\n');
        into.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        into.push(b'=');
    }
    into.extend_from_slice(value.as_bytes());
    into.push(b'\n');
}

/// What the log crate says of its own lines: not for anybody who reads them.
fn is_of_log(field: &Field) -> bool {
    field.name().starts_with("log.")
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else if !is_of_log(field) {
            // Writing to a String cannot fail.
            let _infallible = write!(self.shown, " {}={value:?}", field.name());
            self.field(field.name(), value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let value = format!("{value:?}");
        if field.name() == "message" {
            self.message = value;
        } else if !is_of_log(field) {
            // Writing to a String cannot fail.
            let _infallible = write!(self.shown, " {}={value}", field.name());
            self.field(field.name(), &value);
        }
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_line_is_one_datagram_with_its_fields() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journal = UnixDatagram::bind(&path).unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::at(&path).unwrap());
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(org = "acme", attempt = 3, status = None::<u16>, detail = "a\nb", "dead letter");
        });
        let mut datagram = [0; 1024];
        let length = journal.recv(&mut datagram).unwrap();
        let target = module_path!();
        let mut expected =
            b"MESSAGE=dead letter org=\"acme\" attempt=3 detail=\"a\\nb\"\nPRIORITY=4\n".to_vec();
        expected.extend_from_slice(b"SYSLOG_IDENTIFIER=postrider\n");
        expected.extend_from_slice(format!("POSTRIDER_TARGET={target}\n").as_bytes());
        expected.extend_from_slice(
            b"POSTRIDER_ORG=acme\nPOSTRIDER_ATTEMPT=3\nPOSTRIDER_DETAIL\n\x03\0\0\0\0\0\0\0a\nb\n",
        );
        assert_eq!(String::from_utf8_lossy(&datagram[..length]), String::from_utf8_lossy(&expected));
        assert!(Journal::at(&dir.path().join("nowhere")).is_err());
    }
}
