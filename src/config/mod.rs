//! The configuration: raw (as typed, `raw`) to checked ([`Config`]), one part per component.
//!
//! Everything is checked before anything is bound, and every fault is reported, not only the first. The defaults are
//! `data/postrider.toml`, embedded and parsed like any other file: there is no second list of them. The environment comes
//! in as a value, read once in `main`.

mod check;
pub(crate) mod nearest;
pub mod paths;
mod raw;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use paths::{NoStateDirectory, PathFlags, Paths};
pub use raw::{DEFAULTS, Origin, Setting, Typed};
pub use sizes::{format_bytes, parse_bytes};

use crate::model::{OrgId, Proxy};
use crate::queue::{Kept, MasterKey, Retention, StoreOptions};

/// The process environment as a value.
pub type Env = BTreeMap<String, String>;

/// The file that is read if no other is named and it is there.
pub const DEFAULT_FILE: &str = "/etc/postrider/postrider.toml";

/// What is wrong with a setting, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Who set it.
    pub origin: Origin,
    /// `section.key`; empty if no key is at fault.
    pub key: String,
    /// What would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(out, "{}: ", self.key.escape_debug())?;
        }
        out.write_str(&self.message)
    }
}

/// Everything that is wrong with a configuration. Exit code 78; a reload keeps the old one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct Invalid(pub Vec<Problem>);

/// What a configuration is made from. Kept for reloads.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// `--config`: must be there. `None` means `POSTRIDER_CONFIG`, else [`DEFAULT_FILE`] if it is there.
    pub file: Option<PathBuf>,
    /// The environment at start.
    pub env: Env,
    /// `--set section.key=value`, in order.
    pub flags: Vec<String>,
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store's memory and disk.
    pub store: Store,
    /// What may wait per org.
    pub queue: QueueLimits,
    /// What is kept of dead letters.
    pub dead_letters: Kept,
    /// What is kept of the history.
    pub history: Kept,
    /// What one request may hold.
    pub limits: Limits,
    /// Who may hand in what.
    pub intake: Intake,
    /// Which event types are known.
    pub catalogue: CatalogueSettings,
    /// What one change may come to.
    pub changes: Changes,
    /// Attempts at once.
    pub scheduler: Scheduler,
    /// Where deliveries may go.
    pub egress: Egress,
    /// Connections on the sockets.
    pub api: Api,
    /// The listener for incoming webhooks.
    pub sources: Sources,
    /// What is measured, and who may read it.
    pub metrics: Metrics,
    /// The log.
    pub log: Log,
    /// The end.
    pub shutdown: Shutdown,
    /// Every key's value in force by `section.key`, and where it came from.
    pub settings: BTreeMap<String, Setting>,
    /// What is odd but no reason to stop: variables that name no setting.
    pub warnings: Vec<Problem>,
}

/// `[store]`
#[derive(Debug, Clone)]
pub struct Store {
    /// What the store may keep in memory, in bytes.
    pub cache_bytes: u64,
    /// Free bytes below which enqueues are refused; `None` for the automatic reserve.
    pub reserve_bytes: Option<u64>,
}

/// `[queue]`
#[derive(Debug, Clone)]
pub struct QueueLimits {
    /// Deliveries that may wait per org.
    pub max_deliveries: u64,
    /// Payload bytes that may wait per org.
    pub max_bytes: u64,
    /// Deliveries that may wait in all queues together.
    pub max_total_deliveries: u64,
    /// Their payload bytes.
    pub max_total_bytes: u64,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a request body with one event.
    pub max_body_bytes: usize,
    /// Bytes of a line of a batch.
    pub max_line_bytes: usize,
    /// Attributes of an event.
    pub max_attributes: usize,
}

/// `[intake]`
#[derive(Debug, Clone)]
pub struct Intake {
    /// Plans that may have webhooks; empty means every org, with or without a plan.
    pub entitled_plans: BTreeSet<String>,
    /// What becomes of payloads that are not as the catalogue says.
    pub validate: Validate,
}

/// What becomes of an event whose type is known and whose payload is not as the catalogue says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Validate {
    /// It is refused.
    #[default]
    Reject,
    /// It is accepted, and the log says so.
    Warn,
    /// It is accepted: nothing is looked at.
    Off,
}

/// `[catalogue]`
#[derive(Debug, Clone, Default)]
pub struct CatalogueSettings {
    /// The catalogues in force of those that come along, by product.
    pub products: Vec<String>,
    /// A directory of more.
    pub directory: Option<PathBuf>,
    /// What is set in them, as `product.options.name=value`.
    pub set: Vec<String>,
}

/// `[changes]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changes {
    /// Events that one change may fire.
    pub max_events: usize,
    /// Steps that its rules may take.
    pub max_cost: u64,
}

/// `[scheduler]`
#[derive(Debug, Clone)]
pub struct Scheduler {
    /// Attempts in flight in the whole daemon.
    pub max_in_flight: usize,
    /// Bytes of their payloads.
    pub max_payload_bytes: u64,
}

/// `[egress]`
#[derive(Debug, Clone)]
pub struct Egress {
    /// Special addresses that deliveries may go to.
    pub allow: Vec<String>,
    /// Addresses that plain http may go to.
    pub allow_http: Vec<String>,
    /// Certificate authorities beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate shown to receivers that ask for one, and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// The proxy that deliveries go through.
    pub proxy: Option<Proxy>,
    /// Whether it is told names and not addresses.
    pub proxy_resolves: bool,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
    /// The local address that connections come from.
    pub bind_address: Option<IpAddr>,
    /// Who resolves names.
    pub dns: Dns,
}

/// Who resolves names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dns {
    /// We ask the name servers of the system.
    Builtin,
    /// The system, on threads of our own.
    System,
}

/// `[api]`
#[derive(Debug, Clone)]
pub struct Api {
    /// Connections at once per socket.
    pub max_connections: usize,
    /// How long a request's head may take.
    pub header_timeout: Duration,
    /// How long a request's body may take.
    pub body_timeout: Duration,
}

/// `[sources]`
#[derive(Debug, Clone)]
pub struct Sources {
    /// Where outside services post; `None` if nowhere.
    pub listen: Option<SocketAddr>,
    /// What stands before the path in the addresses that are shown, without a slash at its end.
    pub public_url: Option<String>,
    /// The certificate with its chain, and its key.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Connections at once.
    pub max_connections: usize,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Requests per second and source.
    pub max_rate: u64,
    /// How long a request's head may take.
    pub header_timeout: Duration,
}

/// `[metrics]`
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Where they are read over TCP; `None` if nowhere.
    pub listen: Option<SocketAddr>,
    /// Orgs that have series of their own.
    pub orgs: Vec<OrgId>,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The least severe level that is written.
    pub level: tracing::Level,
    /// How it is written.
    pub format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// What suits where it goes.
    Auto,
    /// Lines for people.
    Text,
    /// One JSON object per line.
    Json,
    /// To the journal, with fields.
    Journald,
}

/// `[shutdown]`
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long attempts in flight may still take.
    pub grace: Duration,
}

impl Inputs {
    /// Reads and checks. The only I/O is reading the file.
    pub fn load(&self) -> Result<Config, Invalid> {
        let named = self
            .file
            .clone()
            .or_else(|| self.env.get("POSTRIDER_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from));
        let must_be_there = named.is_some();
        let path = named.unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
        match std::fs::read_to_string(&path) {
            Ok(text) => self.check(Some((&path, &text))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_be_there => self.check(None),
            Err(error) => {
                let origin = Origin::File { path: path.display().to_string(), line: 0 };
                let message = format!("cannot be read: {error}");
                Err(Invalid(vec![Problem { origin, key: String::new(), message }]))
            }
        }
    }

    /// Checks `file` (its name and text) under the environment and the flags.
    pub fn check(&self, file: Option<(&Path, &str)>) -> Result<Config, Invalid> {
        let mut layers = raw::Layers::defaults();
        if let Some((path, text)) = file {
            layers.add_file(&path.display().to_string(), text);
        }
        layers.add_env(&self.env);
        layers.add_flags(&self.flags);
        check::check(layers)
    }
}

impl Config {
    /// What the store needs to know.
    #[must_use]
    pub fn store_options(
        &self,
        data_dir: PathBuf,
        key: MasterKey,
        previous_key: Option<MasterKey>,
    ) -> StoreOptions {
        StoreOptions {
            data_dir,
            key,
            previous_key,
            cache_bytes: self.store.cache_bytes,
            reserve_bytes: self.store.reserve_bytes,
            max_deliveries: self.queue.max_deliveries,
            max_bytes: self.queue.max_bytes,
            max_total: crate::queue::QueueLimits {
                deliveries: self.queue.max_total_deliveries,
                bytes: self.queue.max_total_bytes,
            },
            retention: self.retention(),
        }
    }

    /// What is kept of what is over.
    #[must_use]
    pub fn retention(&self) -> Retention {
        Retention { dead_letters: Some(self.dead_letters), history: Some(self.history) }
    }
}

#[cfg(test)]
mod tests;
