//! From settings as typed to a checked [`Config`]: every value in its range, every fault collected. PURE.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::raw::{Layers, Setting, Typed};
use super::{
    Api, Config, Egress, Intake, Invalid, Limits, Log, LogFormat, Problem, QueueLimits, Scheduler, Shutdown,
    Store, format_bytes, parse_bytes,
};
use crate::delivery::EgressPolicy;
use crate::model::{format_duration, parse_duration};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// What the store keeps of one event at most: the store's chunks are counted for this.
const BODY_BYTES_MAX: u64 = MIB;
/// A request that takes longer than this to arrive is not being sent in earnest.
const REQUEST_TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Checks all of it.
pub(super) fn check(layers: Layers) -> Result<Config, Invalid> {
    let Layers { settings, problems, warnings } = layers;
    let mut reader = Reader { settings: &settings, problems, read: BTreeSet::new() };
    let r = &mut reader;
    let store = Store {
        cache_bytes: r.bytes("store.cache_bytes", MIB..=TIB),
        reserve_bytes: r.bytes_or_auto("store.reserve_bytes", 0..=1024 * TIB),
    };
    let queue = QueueLimits {
        max_deliveries: r.integer("queue.max_deliveries", 1..=1_000_000_000),
        max_bytes: r.bytes("queue.max_bytes", KIB..=1024 * TIB),
    };
    let limits = Limits {
        max_body_bytes: small(r.bytes("limits.max_body_bytes", KIB..=BODY_BYTES_MAX)),
        max_line_bytes: small(r.bytes("limits.max_line_bytes", KIB..=BODY_BYTES_MAX)),
        max_attributes: small(r.integer("limits.max_attributes", 0..=1024)),
    };
    let intake = Intake { entitled_plans: r.list("intake.entitled_plans").into_iter().collect() };
    let scheduler = Scheduler {
        max_in_flight: small(r.integer("scheduler.max_in_flight", 1..=1_000_000)),
        max_payload_bytes: r.bytes("scheduler.max_payload_bytes", BODY_BYTES_MAX..=TIB),
    };
    let egress = Egress {
        allow: r.addresses("egress.allow"),
        allow_http: r.addresses("egress.allow_http"),
        ca_file: r.path("egress.ca_file"),
    };
    let api = Api {
        max_connections: small(r.integer("api.max_connections", 1..=1_000_000)),
        header_timeout: r.duration("api.header_timeout", REQUEST_TIME),
        body_timeout: r.duration("api.body_timeout", REQUEST_TIME),
    };
    let log = Log { level: r.level("log.level"), format: r.format("log.format") };
    let shutdown =
        Shutdown { grace: r.duration("shutdown.grace", Duration::ZERO..=Duration::from_secs(3600)) };

    // A key that is documented and does nothing would be a lie to the operator.
    debug_assert_eq!(reader.read.len(), settings.len(), "every documented key is read");
    let problems = reader.problems;
    if !problems.is_empty() {
        return Err(Invalid(problems));
    }
    Ok(Config { store, queue, limits, intake, scheduler, egress, api, log, shutdown, settings, warnings })
}

/// Ranges keep these far below `usize::MAX` on every machine.
fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Takes settings out one by one. A value that is wrong is noted and stands in as nothing: the configuration is refused
/// at the end anyway.
struct Reader<'a> {
    settings: &'a std::collections::BTreeMap<String, Setting>,
    problems: Vec<Problem>,
    read: BTreeSet<&'static str>,
}

impl Reader<'_> {
    fn read<T: Default>(&mut self, key: &'static str, parse: impl FnOnce(&Typed) -> Result<T, String>) -> T {
        self.read.insert(key);
        let Some(setting) = self.settings.get(key) else { return T::default() };
        parse(&setting.value).unwrap_or_else(|message| {
            self.problems.push(Problem { origin: setting.origin.clone(), key: key.to_owned(), message });
            T::default()
        })
    }

    fn integer(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        self.read(key, |value| match value {
            Typed::Integer(number) => {
                let number = u64::try_from(*number).map_err(|_| outside(number, &range, u64::to_string))?;
                within(number, &range, u64::to_string)
            }
            other => Err(format!("must be a whole number, not {other}")),
        })
    }

    fn bytes(&mut self, key: &'static str, range: RangeInclusive<u64>) -> u64 {
        self.read(key, |value| bytes(value, &range))
    }

    fn bytes_or_auto(&mut self, key: &'static str, range: RangeInclusive<u64>) -> Option<u64> {
        self.read(key, |value| match value {
            Typed::Text(text) if text == "auto" => Ok(None),
            value => bytes(value, &range).map(Some).map_err(|message| format!("{message}, or \"auto\"")),
        })
    }

    fn duration(&mut self, key: &'static str, range: RangeInclusive<Duration>) -> Duration {
        self.read(key, |value| match value {
            Typed::Text(text) => within(parse_duration(text)?, &range, |wait| format_duration(*wait)),
            other => Err(format!("must be a duration as text, for example \"10s\", not {other}")),
        })
    }

    fn list(&mut self, key: &'static str) -> Vec<String> {
        self.read(key, |value| match value {
            Typed::List(items) => Ok(items.clone()),
            other => Err(format!("must be a list of texts, for example [\"…\"], not {other}")),
        })
    }

    /// A list of address ranges; every one that is none is a fault of its own.
    fn addresses(&mut self, key: &'static str) -> Vec<String> {
        let items = self.list(key);
        let Some(setting) = self.settings.get(key) else { return items };
        for item in &items {
            // Both lists have the same rules.
            if let Err((_, message)) = EgressPolicy::parse(std::slice::from_ref(item), &[]) {
                self.problems.push(Problem { origin: setting.origin.clone(), key: key.to_owned(), message });
            }
        }
        items
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |value| match value {
            Typed::Text(text) => Ok((!text.is_empty()).then(|| PathBuf::from(text))),
            other => Err(format!("must be a path as text, not {other}")),
        })
    }

    fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.read(key, |value| {
            let chosen = match value {
                Typed::Text(text) => choices.iter().find(|(name, _)| name == text),
                _ => None,
            };
            chosen.map(|(_, chosen)| Some(*chosen)).ok_or_else(|| {
                let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
                format!("must be one of {}, not {value}", names.join(", "))
            })
        })
    }

    fn level(&mut self, key: &'static str) -> tracing::Level {
        use tracing::Level;
        let levels = [
            ("error", Level::ERROR),
            ("warn", Level::WARN),
            ("info", Level::INFO),
            ("debug", Level::DEBUG),
            ("trace", Level::TRACE),
        ];
        self.choice(key, &levels).unwrap_or(Level::INFO)
    }

    fn format(&mut self, key: &'static str) -> LogFormat {
        let formats = [("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)];
        self.choice(key, &formats).unwrap_or(LogFormat::Auto)
    }
}

fn bytes(value: &Typed, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number = match value {
        Typed::Text(text) => parse_bytes(text)?,
        Typed::Integer(number) => {
            u64::try_from(*number).map_err(|_| outside(number, range, |bytes| format_bytes(*bytes)))?
        }
        other @ (Typed::List(_) | Typed::Other(_)) => {
            return Err(format!("must be a number of bytes, for example \"64MiB\", not {other}"));
        }
    };
    within(number, range, |bytes| format_bytes(*bytes))
}

fn within<T: PartialOrd + Copy>(
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> Result<T, String> {
    if range.contains(&value) { Ok(value) } else { Err(outside(show(&value), range, show)) }
}

fn outside<T>(value: impl Display, range: &RangeInclusive<T>, show: impl Fn(&T) -> String) -> String {
    format!("must be from {} to {}, not {value}", show(range.start()), show(range.end()))
}
