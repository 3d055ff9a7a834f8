//! Who knows the addresses of names: our own resolver, or the system's.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup_ip::LookupIp;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use tokio::sync::oneshot;

use super::names::Place;
use crate::delivery::failure::is_local;

/// However long a name's records say they are good for, we look again after this.
const KEEP_FOUND_MAX: Duration = Duration::from_secs(300);
/// A name that was not there is looked up again after this: someone may be setting it up right now.
const KEEP_MISSING_MAX: Duration = Duration::from_secs(5);
/// Of the system we hear not how long an answer is good.
const KEEP_OF_SYSTEM: Duration = Duration::from_secs(10);
/// Nor whether a failure will last.
const KEEP_FAILURE_OF_SYSTEM: Duration = Duration::from_secs(2);
/// How long our own resolver may take for a name.
const PATIENCE: Duration = Duration::from_secs(5);
/// The system's has settings of its own for that.
const PATIENCE_WITH_SYSTEM: Duration = Duration::from_secs(60);
/// A failure that the system took this long for is no answer of a server.
const SYSTEM_SILENT_FROM: Duration = Duration::from_secs(2);

/// The addresses of a name, or why there are none.
pub(super) type Answer = Result<Vec<IpAddr>, Unresolved>;

/// Why a name has no address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::delivery) enum Unresolved {
    /// In words, after "the name does not resolve: ".
    Name(Cow<'static, str>),
    /// We ran out of something: the number of the system's error.
    Local(i32),
}

impl Unresolved {
    pub(super) const SILENT: Unresolved = Unresolved::Name(Cow::Borrowed("the name servers do not answer"));
    pub(super) const CROWDED: Unresolved =
        Unresolved::Name(Cow::Borrowed("the name servers are slow, and too many other names wait for them"));
    pub(super) const BROKEN_OFF: Unresolved = Unresolved::Name(Cow::Borrowed("the lookup was broken off"));

    fn local(error: &io::Error) -> Unresolved {
        Unresolved::Local(error.raw_os_error().unwrap_or(libc::EMFILE))
    }

    fn of_net(error: &NetError) -> Unresolved {
        match error {
            NetError::Io(error) if is_local(error) => Unresolved::local(error),
            error if error.is_nx_domain() => Unresolved::Name("there is no such name".into()),
            error if error.is_no_records_found() => Unresolved::Name("it has no address".into()),
            NetError::Timeout => Unresolved::SILENT,
            error => Unresolved::Name(error.to_string().into()),
        }
    }
}

/// Whom we ask.
pub(in crate::delivery) enum Source {
    /// `/etc/hosts`, then the name servers of `/etc/resolv.conf`, without a thread per name.
    Builtin { hosts: Hosts, servers: Box<TokioResolver> },
    /// The system's own way (`getaddrinfo`), each lookup on a thread.
    System { ask: fn(&str) -> io::Result<Vec<IpAddr>> },
}

/// A name as DNS has it. Underscores are no letters of host names, and yet there are hosts that have them.
fn name_of(host: &str) -> Result<Name, NetError> {
    Ok(Name::from_str_relaxed(host)?)
}

async fn lookup(servers: &TokioResolver, host: &str) -> Result<LookupIp, NetError> {
    servers.lookup_ip(name_of(host)?).await
}

impl Source {
    /// Our own resolver, as the system is set up. Both files are read once: a reload makes a new client, which reads them
    /// again. Without a usable `/etc/resolv.conf` only `/etc/hosts` and `localhost` resolve.
    pub(in crate::delivery) fn builtin() -> Result<Source, NetError> {
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            tracing::debug!(%error, "/etc/hosts is not usable");
            Hosts::default()
        });
        match hickory_resolver::system_conf::read_system_conf() {
            Ok((config, options)) => Source::of(hosts, config, options),
            Err(error) => {
                tracing::warn!(%error, "/etc/resolv.conf is not usable: only names in /etc/hosts resolve");
                Source::of(hosts, ResolverConfig::default(), ResolverOpts::default())
            }
        }
    }

    /// Our own resolver with these hosts, and these name servers for everything else.
    pub(in crate::delivery) fn of(
        hosts: Hosts,
        config: ResolverConfig,
        options: ResolverOpts,
    ) -> Result<Source, NetError> {
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.positive_max_ttl = Some(KEEP_FOUND_MAX);
        options.negative_max_ttl = Some(KEEP_MISSING_MAX);
        Ok(Source::Builtin { hosts, servers: Box::new(builder.build()?) })
    }

    /// The system's.
    pub(in crate::delivery) fn system() -> Source {
        Source::System { ask: |name| Ok((name, 0).to_socket_addrs()?.map(|address| address.ip()).collect()) }
    }

    /// What can be said without asking anyone. A name that the hosts file has is the hosts file's alone: no server is
    /// asked for its other family.
    pub(super) fn at_hand(&self, host: &str) -> Result<Option<Vec<IpAddr>>, Unresolved> {
        let Source::Builtin { hosts, .. } = self else { return Ok(None) };
        let name = name_of(host).map_err(|error| Unresolved::of_net(&error))?;
        let known = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let known: Vec<IpAddr> = known
            .flat_map(|found| {
                found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect();
        Ok((!known.is_empty()).then_some(known))
    }

    /// How long a lookup may take.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Source::Builtin { .. } => PATIENCE,
            Source::System { .. } => PATIENCE_WITH_SYSTEM,
        }
    }

    /// Whether a lookup that is dropped costs nothing any more.
    pub(super) fn can_be_cut(&self) -> bool {
        matches!(self, Source::Builtin { .. })
    }

    /// Asks. The answer comes with how long it is good.
    pub(super) async fn ask(&self, name: &str, place: Place) -> (Answer, Duration) {
        match self {
            Source::Builtin { servers, .. } => match lookup(servers, name).await {
                Ok(found) => {
                    let keep = found.valid_until().saturating_duration_since(Instant::now());
                    (Ok(found.iter().collect()), keep.min(KEEP_FOUND_MAX))
                }
                // What is not there the resolver remembers by itself.
                Err(error) => (Err(Unresolved::of_net(&error)), Duration::ZERO),
            },
            Source::System { ask } => of_system(*ask, name.to_owned(), place).await,
        }
    }
}

/// A thread for one lookup: it cannot be stopped, and keeps its place in the lane until it is done.
async fn of_system(
    ask: fn(&str) -> io::Result<Vec<IpAddr>>,
    name: String,
    place: Place,
) -> (Answer, Duration) {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let began = Instant::now();
        let answer = match ask(&name) {
            Ok(found) if found.is_empty() => Err(Unresolved::Name("it has no address".into())),
            Ok(found) => Ok(found),
            Err(error) if is_local(&error) => Err(Unresolved::local(&error)),
            Err(_) if began.elapsed() >= SYSTEM_SILENT_FROM => Err(Unresolved::SILENT),
            Err(error) => Err(Unresolved::Name(error.to_string().into())),
        };
        drop(place);
        // Nobody may be waiting any more.
        let _unheard = sender.send(answer);
    };
    if let Err(error) = std::thread::Builder::new().name("names".to_owned()).spawn(work) {
        return (Err(Unresolved::local(&error)), Duration::ZERO);
    }
    match receiver.await {
        Ok(Ok(found)) => (Ok(found), KEEP_OF_SYSTEM),
        Ok(Err(unresolved)) => (Err(unresolved), KEEP_FAILURE_OF_SYSTEM),
        Err(_panicked) => (Err(Unresolved::BROKEN_OFF), Duration::ZERO),
    }
}
