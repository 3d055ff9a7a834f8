//! Names to addresses, as the system is set up, without a thread per dead name: `/etc/hosts` first, then the name
//! servers of `/etc/resolv.conf`. Both files are read once: a reload makes a new client, which reads them again.

use std::net::IpAddr;
use std::str::FromStr as _;
use std::time::Duration;

use hickory_resolver::config::{LookupIpStrategy, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::op::Query;
use hickory_resolver::proto::rr::{Name, RecordType};
use hickory_resolver::{Hosts, TokioResolver};

/// However long a name's records say they are good for, we look again after this.
const KEEP_FOUND_MAX: Duration = Duration::from_secs(300);
/// A name that was not there is looked up again after this: someone may be setting it up right now.
const KEEP_MISSING_MAX: Duration = Duration::from_secs(5);
/// Queries in flight per connection to a name server; more are told that it is busy.
const QUERIES_MAX: usize = 1024;

/// Looks names up; shared by all connections.
pub(in crate::delivery) struct Names {
    hosts: Hosts,
    servers: TokioResolver,
}

impl Names {
    /// The system's names. Without a usable `/etc/resolv.conf` only `/etc/hosts` and `localhost` resolve.
    pub(in crate::delivery) fn system() -> Result<Names, NetError> {
        let hosts = Hosts::from_system().unwrap_or_else(|error| {
            tracing::debug!(%error, "/etc/hosts is not usable");
            Hosts::default()
        });
        match hickory_resolver::system_conf::read_system_conf() {
            Ok((config, options)) => Names::new(hosts, config, options),
            Err(error) => {
                tracing::warn!(%error, "/etc/resolv.conf is not usable: only names in /etc/hosts resolve");
                Names::new(hosts, ResolverConfig::default(), ResolverOpts::default())
            }
        }
    }

    /// These hosts, and these name servers for everything else.
    pub(in crate::delivery) fn new(
        hosts: Hosts,
        config: ResolverConfig,
        options: ResolverOpts,
    ) -> Result<Names, NetError> {
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        options.positive_max_ttl = Some(KEEP_FOUND_MAX);
        options.negative_max_ttl = Some(KEEP_MISSING_MAX);
        options.max_active_requests = QUERIES_MAX;
        Ok(Names { hosts, servers: builder.build()? })
    }

    /// All addresses of a name.
    pub(in crate::delivery) async fn lookup(&self, host: &str) -> Result<Vec<IpAddr>, NetError> {
        let name = Name::from_str(host)?;
        // A name that the hosts file has is the hosts file's alone: no server is asked for its other family.
        let known = [RecordType::A, RecordType::AAAA]
            .into_iter()
            .filter_map(|kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind)));
        let known: Vec<IpAddr> = known
            .flat_map(|found| {
                found.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect();
        if !known.is_empty() {
            return Ok(known);
        }
        Ok(self.servers.lookup_ip(name).await?.iter().collect())
    }
}
