//! Connects to the addresses that the guard allows, and to no other.
//!
//! A host is an IP literal or a name that is resolved here; every address is judged, and exactly the judged address is
//! dialled, so nothing can change between the check and the connection. Filtering a resolver would not do: a literal
//! never reaches it. A proxy is asked for the judged address too. Proxies from the environment do not exist here.

mod dialling;
mod link;
pub(super) mod names;
mod own;
pub(super) mod resolver;
pub(super) mod tls;
pub(super) mod traffic;
mod tunnel;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http::Uri;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower::Service;

use dialling::{ADDRESSES_MAX, connect_first, in_turn};
use link::{Link, Stream};
use names::Names;
use tunnel::{Goal, NotThrough};

use super::failure::ConnectError;
use super::guard::{self, EgressPolicy, Host, Refusal, Transport};
use crate::model::{Proxy, ProxyKind};

/// Addresses of one name that are looked at: a name with thousands is not worth the time.
const JUDGED_MAX: usize = 64;

/// What all connections have in common.
pub(in crate::delivery) struct Net {
    policy: EgressPolicy,
    names: Names,
    /// Connections open now, idle ones included.
    open: Arc<AtomicUsize>,
}

impl Net {
    pub(in crate::delivery) fn new(policy: EgressPolicy, names: Names) -> Net {
        Net { policy, names, open: Arc::default() }
    }

    /// Connections open now, idle ones included.
    pub(in crate::delivery) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// How the connections of one route are made.
#[derive(Default)]
pub(in crate::delivery) struct Way {
    /// The proxy they go through.
    pub(in crate::delivery) via: Option<Via>,
    /// The local address they come from.
    pub(in crate::delivery) from: Option<IpAddr>,
}

/// A proxy.
pub(in crate::delivery) struct Via {
    pub(in crate::delivery) proxy: Proxy,
    /// The operator's own. Any other is judged like a receiver.
    pub(in crate::delivery) trusted: bool,
    /// Whether it is told names, and looks after where they point.
    pub(in crate::delivery) resolves: bool,
    /// For a proxy that is spoken to over TLS.
    pub(in crate::delivery) tls: Option<Arc<ClientConfig>>,
}

/// The connector of one route: cheap to clone, shared by its attempts.
#[derive(Clone)]
pub(in crate::delivery) struct Dial {
    net: Arc<Net>,
    way: Arc<Way>,
}

impl Dial {
    pub(in crate::delivery) fn new(net: Arc<Net>, way: Way) -> Dial {
        Dial { net, way: Arc::new(way) }
    }
}

impl Service<Uri> for Dial {
    type Response = Stream;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let Dial { net, way } = self.clone();
        Box::pin(async move {
            let wanted = Wanted::of(&target);
            let link = if let Some(via) = &way.via {
                net.through(via, way.from, wanted).await?
            } else {
                let addresses = net.judged(wanted).await?;
                Link::Tcp(connect_first(addresses, way.from).await?)
            };
            Ok(Stream::new(link, &net.open))
        })
    }
}

/// Where a connection is to end, as a URL says it.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    host: &'a str,
    port: u16,
    transport: Transport,
}

impl Wanted<'_> {
    fn of(target: &Uri) -> Wanted<'_> {
        let (transport, default_port) = match target.scheme_str() {
            Some("https") => (Transport::Tls, 443),
            _ => (Transport::Plain, 80),
        };
        let port = target.port_u16().unwrap_or(default_port);
        Wanted { host: target.host().unwrap_or_default(), port, transport }
    }
}

impl Net {
    /// The addresses that may be dialled, in the order to try them.
    async fn judged(&self, wanted: Wanted<'_>) -> Result<Vec<SocketAddr>, ConnectError> {
        let (found, named) = match guard::read_host(wanted.host) {
            Host::Address(address) => (vec![address], None),
            Host::Name(name) => (self.names.lookup(name).await?, guard::class_of_name(name)),
            Host::Neither => return Err(ConnectError::neither()),
        };
        let mut first_refusal = None;
        let mut allowed = Vec::with_capacity(found.len().min(ADDRESSES_MAX));
        for ip in found.into_iter().take(JUDGED_MAX) {
            let address = SocketAddr::new(ip.to_canonical(), wanted.port);
            let known = match named {
                Some(class) => Some(class),
                None => own::class_if_own(address)?,
            };
            match self.policy.check(address, wanted.transport, known) {
                Ok(()) => allowed.push(address),
                Err(refusal) => {
                    first_refusal.get_or_insert((address.ip(), refusal));
                }
            }
        }
        if allowed.is_empty() {
            return Err(match first_refusal {
                Some((address, Refusal::Address(class))) => {
                    ConnectError::AddressNotAllowed { address, class }
                }
                Some((address, Refusal::PlainHttp)) => ConnectError::HttpNotAllowed { address },
                None => ConnectError::Resolve("it has no address".to_owned()),
            });
        }
        Ok(in_turn(allowed))
    }

    /// A connection through a proxy. What it is asked for is judged here, as if it were dialled from here: a proxy opens
    /// no way around the guard.
    async fn through(
        &self,
        via: &Via,
        from: Option<IpAddr>,
        wanted: Wanted<'_>,
    ) -> Result<Link, ConnectError> {
        let goals = self.goals(via, wanted).await?;
        let at_proxy = |error| ConnectError::at_proxy(&via.proxy, error);
        let mut last_error = None;
        for goal in goals {
            let mut link = self.to_proxy(via, from).await.map_err(at_proxy)?;
            let credentials = via.proxy.credentials.as_ref();
            let put_through = match via.proxy.kind {
                ProxyKind::Http | ProxyKind::Https => tunnel::connect(&mut link, &goal, credentials).await,
                ProxyKind::Socks5 => tunnel::socks5(&mut link, &goal, credentials).await,
            };
            match put_through {
                Ok(()) => return Ok(link),
                Err(NotThrough { words, only_there }) => {
                    last_error = Some(ConnectError::not_through(&via.proxy, words));
                    if !only_there {
                        break;
                    }
                }
            }
        }
        Err(last_error.unwrap_or_else(ConnectError::neither))
    }

    /// What the proxy is asked for, one after the other.
    async fn goals(&self, via: &Via, wanted: Wanted<'_>) -> Result<Vec<Goal>, ConnectError> {
        let Host::Name(name) = guard::read_host(wanted.host) else {
            return Ok(self.judged(wanted).await?.into_iter().map(Goal::Address).collect());
        };
        if !via.resolves {
            return Ok(self.judged(wanted).await?.into_iter().map(Goal::Address).collect());
        }
        // Where a name points is for the proxy to judge; what a name says by itself, and how it is spoken to, is not.
        if let Some(class) = guard::class_of_name(name) {
            return Err(ConnectError::NameNotAllowed { class });
        }
        if wanted.transport == Transport::Plain && !self.policy.allows_http_anywhere(wanted.port) {
            return Err(ConnectError::HttpToNameNotAllowed);
        }
        Ok(vec![Goal::Name(name.into(), wanted.port)])
    }

    async fn to_proxy(&self, via: &Via, from: Option<IpAddr>) -> Result<Link, ConnectError> {
        let Proxy { host, port, .. } = &via.proxy;
        // With or without TLS an address rule is enough for a proxy: what goes over it to the receiver is TLS of its
        // own, or plain http that a rule for the receiver's address allows.
        let bracketed = if host.contains(':') { &*format!("[{host}]") } else { &**host };
        let wanted = Wanted { host: bracketed, port: *port, transport: Transport::Tls };
        let addresses = if via.trusted { self.unjudged(wanted).await? } else { self.judged(wanted).await? };
        let tcp = connect_first(addresses, from).await?;
        let Some(config) = &via.tls else { return Ok(Link::Tcp(tcp)) };
        let name = ServerName::try_from(&**host).map_err(|_| ConnectError::neither())?.to_owned();
        let stream = TlsConnector::from(config.clone()).connect(name, tcp).await;
        let stream = stream.map_err(|error| ConnectError::from_tls(error.into()))?;
        Ok(Link::TlsToProxy(Box::new(stream)))
    }

    /// The addresses of a host of the operator's own, wherever it is.
    async fn unjudged(&self, wanted: Wanted<'_>) -> Result<Vec<SocketAddr>, ConnectError> {
        let found = match guard::read_host(wanted.host) {
            Host::Address(address) => vec![address],
            Host::Name(name) => self.names.lookup(name).await?,
            Host::Neither => return Err(ConnectError::neither()),
        };
        let found = found.into_iter().map(|ip| SocketAddr::new(ip.to_canonical(), wanted.port));
        Ok(in_turn(found.take(JUDGED_MAX).collect()))
    }
}
