//! From settings as typed to a checked [`Config`]: every value in its range, every fault collected. PURE.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::raw::{Layers, Setting, Typed};
use super::{
    Api, CatalogueSettings, Changes, Config, Dns, Egress, Intake, Invalid, Limits, Log, LogFormat, Metrics,
    Problem, QueueLimits, Scheduler, Shutdown, Sources, Store, Validate, format_bytes, parse_bytes,
};
use crate::delivery::EgressPolicy;
use crate::model::{OrgId, Proxy, format_duration, parse_duration};
use crate::queue::Kept;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
/// What the store keeps of one event at most: the store's chunks are counted for this.
const BODY_BYTES_MAX: u64 = MIB;
/// What is remembered of a change is one record of the store, and this many events fit it.
const CHANGE_EVENTS_MAX: u64 = 128;
/// What GitHub, which sends the largest, sends at most.
const SOURCE_BYTES_MAX: u64 = 25 * MIB;
/// Each has four series.
const ORGS_MAX: usize = 64;
/// Ten years: whoever wants to keep something longer keeps it elsewhere.
const KEPT_AGE_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// A request that takes longer than this to arrive is not being sent in earnest.
const REQUEST_TIME: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(600);

/// Checks all of it.
pub(super) fn check(layers: Layers) -> Result<Config, Invalid> {
    let Layers { mut settings, problems, warnings } = layers;
    let mut reader = Reader { settings: &settings, problems, read: BTreeSet::new() };
    let r = &mut reader;
    let store = Store {
        cache_bytes: r.bytes("store.cache_bytes", MIB..=TIB),
        reserve_bytes: r.bytes_or_auto("store.reserve_bytes", 0..=1024 * TIB),
    };
    let queue = queue(r);
    let (dead_letters, history) = kept(r);
    let limits = Limits {
        max_body_bytes: small(r.bytes("limits.max_body_bytes", KIB..=BODY_BYTES_MAX)),
        max_line_bytes: small(r.bytes("limits.max_line_bytes", KIB..=BODY_BYTES_MAX)),
        max_attributes: small(r.integer("limits.max_attributes", 0..=1024)),
    };
    let intake = Intake {
        entitled_plans: r.list("intake.entitled_plans").into_iter().collect(),
        validate: r.validate("intake.validate"),
    };
    let catalogue = CatalogueSettings {
        products: r.list("catalogue.products"),
        directory: r.path("catalogue.dir"),
        set: r.list("catalogue.set"),
    };
    let changes = Changes {
        max_events: small(r.integer("changes.max_events", 1..=CHANGE_EVENTS_MAX)),
        max_cost: r.integer("changes.max_cost", 1_000..=1_000_000_000),
    };
    let scheduler = Scheduler {
        max_in_flight: small(r.integer("scheduler.max_in_flight", 1..=1_000_000)),
        max_payload_bytes: r.bytes("scheduler.max_payload_bytes", BODY_BYTES_MAX..=TIB),
    };
    let egress = egress(r);
    let api = Api {
        max_connections: small(r.integer("api.max_connections", 1..=1_000_000)),
        header_timeout: r.duration("api.header_timeout", REQUEST_TIME),
        body_timeout: r.duration("api.body_timeout", REQUEST_TIME),
    };
    let sources = sources(r);
    let metrics =
        Metrics { listen: r.parsed("metrics.listen", listen_address), orgs: r.orgs("metrics.orgs") };
    let log = Log { level: r.level("log.level"), format: r.format("log.format") };
    let shutdown =
        Shutdown { grace: r.duration("shutdown.grace", Duration::ZERO..=Duration::from_secs(3600)) };

    // A key that is documented and does nothing would be a lie to the operator.
    debug_assert_eq!(reader.read.len(), settings.len(), "every documented key is read");
    let problems = reader.problems;
    if !problems.is_empty() {
        return Err(Invalid(problems));
    }
    hide_credentials(&mut settings, egress.proxy.as_ref());
    Ok(Config {
        store,
        queue,
        dead_letters,
        history,
        limits,
        intake,
        catalogue,
        changes,
        scheduler,
        egress,
        api,
        sources,
        metrics,
        log,
        shutdown,
        settings,
        warnings,
    })
}

fn queue(r: &mut Reader<'_>) -> QueueLimits {
    QueueLimits {
        max_deliveries: r.integer("queue.max_deliveries", 1..=1_000_000_000),
        max_bytes: r.bytes("queue.max_bytes", KIB..=1024 * TIB),
        max_total_deliveries: r.integer("queue.max_total_deliveries", 1..=1_000_000_000_000),
        max_total_bytes: r.bytes("queue.max_total_bytes", KIB..=1024 * TIB),
    }
}

/// How much of dead letters and history is kept.
fn kept(r: &mut Reader<'_>) -> (Kept, Kept) {
    let dead_letters = Kept {
        age: r.duration("dead_letters.age", Duration::from_secs(1)..=KEPT_AGE_MAX),
        bytes: r.bytes("dead_letters.bytes", KIB..=1024 * TIB),
    };
    let history = Kept {
        age: r.duration("history.age", Duration::ZERO..=KEPT_AGE_MAX),
        bytes: r.bytes("history.bytes", 0..=1024 * TIB),
    };
    (dead_letters, history)
}

fn egress(r: &mut Reader<'_>) -> Egress {
    Egress {
        allow: r.addresses("egress.allow"),
        allow_http: r.addresses("egress.allow_http"),
        ca_file: r.path("egress.ca_file"),
        client_certificate: r.both_paths("egress.client_certificate_file", "egress.client_key_file"),
        proxy: r.parsed("egress.proxy", str::parse),
        proxy_resolves: r.flag("egress.proxy_resolves"),
        http2: r.flag("egress.http2"),
        bind_address: r.parsed("egress.bind_address", |text| {
            let address = text.parse::<IpAddr>().ok().map(|address| address.to_canonical());
            let usable = address.filter(|address| !address.is_unspecified() && !address.is_multicast());
            usable.ok_or_else(|| "must be an IP address of this machine, without a port".to_owned())
        }),
        dns: r.dns("egress.dns"),
    }
}

fn sources(r: &mut Reader<'_>) -> Sources {
    Sources {
        listen: r.parsed("sources.listen", listen_address),
        public_url: r.parsed("sources.public_url", public_url),
        tls: r.both_paths("sources.tls_certificate_file", "sources.tls_key_file"),
        max_connections: small(r.integer("sources.max_connections", 1..=1_000_000)),
        max_body_bytes: small(r.bytes("sources.max_body_bytes", KIB..=SOURCE_BYTES_MAX)),
        max_rate: r.integer("sources.max_rate", 1..=1_000_000),
        header_timeout: r.duration("sources.header_timeout", REQUEST_TIME),
    }
}

/// An address with a port. A port alone is one of the loopback interface.
fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text).parse::<u16>().ok();
    let address = match port {
        Some(port) => Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
        None => text.parse().ok(),
    };
    address.filter(|address| address.port() != 0).ok_or_else(|| {
        "must be an address (no name) and a port, \"127.0.0.1:7410\", or a port alone for loopback, \"7410\", in quotes".to_owned()
    })
}

/// What stands before `/in/…`: an http or https URL without query and fragment.
fn public_url(text: &str) -> Result<String, String> {
    let url = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none()
    });
    let url = url.ok_or_else(|| {
        "must be an http or https URL without user, query and fragment, for example \"https://hooks.example.com\"".to_owned()
    })?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// What is shown of the settings says no password.
fn hide_credentials(settings: &mut BTreeMap<String, Setting>, proxy: Option<&Proxy>) {
    if let Some(setting) = settings.get_mut("egress.proxy")
        && let Some(proxy) = proxy.filter(|proxy| proxy.credentials.is_some())
    {
        let shown = proxy.to_string().replacen("://", "://***@", 1);
        setting.value = Typed::Text(shown);
    }
}

/// Ranges keep these far below `usize::MAX` on every machine.
fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Takes settings out one by one. A value that is wrong is noted and stands in as nothing: the configuration is refused
/// at the end anyway.
struct Reader<'a> {
    settings: &'a BTreeMap<String, Setting>,
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

    /// A list of names of orgs, each once.
    fn orgs(&mut self, key: &'static str) -> Vec<OrgId> {
        self.read(key, |value| {
            let Typed::List(items) = value else {
                return Err(format!("must be a list of names, for example [\"acme\"], not {value}"));
            };
            let mut orgs: Vec<OrgId> = items
                .iter()
                .map(|item| item.parse().map_err(|rule| format!("\"{}\": {rule}", item.escape_debug())))
                .collect::<Result<_, _>>()?;
            orgs.sort_unstable();
            orgs.dedup();
            let count = orgs.len();
            if count > ORGS_MAX {
                Err(format!("must name at most {ORGS_MAX} orgs, not {count}"))
            } else {
                Ok(orgs)
            }
        })
    }

    fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        self.read(key, |value| match value {
            Typed::Text(text) => Ok((!text.is_empty()).then(|| PathBuf::from(text))),
            other => Err(format!("must be a path as text, not {other}")),
        })
    }

    /// Two files that belong together.
    fn both_paths(&mut self, one: &'static str, other: &'static str) -> Option<(PathBuf, PathBuf)> {
        let found = (self.path(one), self.path(other));
        let (at_fault, wanted_by) = match found {
            (Some(one), Some(other)) => return Some((one, other)),
            (None, None) => return None,
            (None, Some(_)) => (one, other),
            (Some(_), None) => (other, one),
        };
        // Said of the key that is there: the other one has no place.
        if let Some(setting) = self.settings.get(wanted_by) {
            let message = format!("must go together with {at_fault}");
            self.problems.push(Problem {
                origin: setting.origin.clone(),
                key: wanted_by.to_owned(),
                message,
            });
        }
        None
    }

    /// Text with a rule of its own; empty means none. The rule does not quote the text.
    fn parsed<T>(&mut self, key: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        self.read(key, |value| match value {
            Typed::Text(text) if text.is_empty() => Ok(None),
            Typed::Text(text) => parse(text).map(Some),
            _ => Err("must be text".to_owned()),
        })
    }

    fn flag(&mut self, key: &'static str) -> bool {
        self.read(key, |value| match value {
            Typed::Boolean(yes) => Ok(*yes),
            other => Err(format!("must be true or false, not {other}")),
        })
    }

    fn dns(&mut self, key: &'static str) -> Dns {
        self.choice(key, &[("builtin", Dns::Builtin), ("system", Dns::System)]).unwrap_or(Dns::Builtin)
    }

    fn validate(&mut self, key: &'static str) -> Validate {
        let choices = [("reject", Validate::Reject), ("warn", Validate::Warn), ("off", Validate::Off)];
        self.choice(key, &choices).unwrap_or_default()
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
        let formats = [
            ("auto", LogFormat::Auto),
            ("text", LogFormat::Text),
            ("json", LogFormat::Json),
            ("journald", LogFormat::Journald),
        ];
        self.choice(key, &formats).unwrap_or(LogFormat::Auto)
    }
}

fn bytes(value: &Typed, range: &RangeInclusive<u64>) -> Result<u64, String> {
    let number = match value {
        Typed::Text(text) => parse_bytes(text)?,
        Typed::Integer(number) => {
            u64::try_from(*number).map_err(|_| outside(number, range, |bytes| format_bytes(*bytes)))?
        }
        other @ (Typed::List(_) | Typed::Boolean(_) | Typed::Other(_)) => {
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
