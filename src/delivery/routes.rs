//! The ways to receivers: one HTTP client, with connections of its own, for each distinct route.
//!
//! What has no route of its own goes the daemon's way, at no cost. Others are made when first needed and kept while they
//! are in use. Routes hold secrets, so nothing here is ever printed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use rustls::RootCertStore;
use tokio::time::{Instant, sleep};

use super::client::ClientError;
use super::connector::tls::{self, Connector};
use super::connector::{Dial, Net, Via, Way};
use super::failure::Failure;
use super::http::Http;
use crate::model::{FailReason, OrgNumber, ProxyKind, Route, Secret, Tls};

/// Routes that are kept at once. With more in use each loses its connections now and then.
const ROUTES_MAX: usize = 512;
/// How long a route is kept that nothing uses.
const UNUSED_MAX: Duration = Duration::from_secs(60);

/// The daemon's own way.
#[derive(Debug, Clone, Default)]
pub struct RouteSettings {
    /// Certificates (PEM) trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to receivers that ask for one, with its chain (PEM), and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Proxy, HTTP/2 and local address; certificates come from the files.
    pub route: Route,
    /// Whether the proxy is told names, and looks after where they point.
    pub proxy_resolves: bool,
}

/// Makes and keeps the clients of routes.
pub(super) struct Routes {
    maker: Maker,
    /// The daemon's way.
    own: Http,
    kept: Mutex<Kept>,
}

/// What every client is made from.
struct Maker {
    net: Arc<Net>,
    roots: Arc<RootCertStore>,
    base: Route,
    proxy_resolves: bool,
}

/// A route, and whose connections they are if they are not everybody's.
type Key = (Arc<Route>, Option<OrgNumber>);

#[derive(Default)]
struct Kept {
    by_route: HashMap<Key, Entry>,
    is_swept: bool,
}

struct Entry {
    /// Made by whoever needs it first.
    http: Arc<OnceLock<Result<Http, Failure>>>,
    used: Instant,
}

impl Routes {
    /// Reads certificates. Blocking, for some milliseconds.
    pub(super) fn new(settings: &RouteSettings, net: Arc<Net>) -> Result<Routes, ClientError> {
        let ca_file = settings.ca_file.as_deref();
        let roots = tls::roots(ca_file).map_err(|problem| ClientError::File {
            key: "ca_file",
            path: ca_file.map(Into::into).unwrap_or_default(),
            problem,
        })?;
        let tls = settings.client_certificate.as_ref().map(read_identity).transpose()?;
        let base = Route { tls, ..settings.route.clone() };
        let maker = Maker { net, roots: Arc::new(roots), base, proxy_resolves: settings.proxy_resolves };
        let own =
            maker.make(&Route::default()).map_err(|(part, problem)| match &settings.client_certificate {
                Some((certificate, _)) if part == "certificate" => {
                    ClientError::File { key: "client_certificate_file", path: certificate.clone(), problem }
                }
                Some((_, key)) if part == "key" => {
                    ClientError::File { key: "client_key_file", path: key.clone(), problem }
                }
                _ => ClientError::Tls(problem),
            })?;
        Ok(Routes { maker, own, kept: Mutex::default() })
    }

    /// The daemon's own way, unless it is HTTP/2: that way is each org's own.
    pub(super) fn own(&self) -> Option<&Http> {
        (!self.own.offers_http2()).then_some(&self.own)
    }

    /// The way of a route of a webhook and its client. With HTTP/2 each org has connections of its own: requests of several
    /// would share a connection's streams, so that a receiver that hangs for one of them would keep the others waiting.
    ///
    /// # Errors
    /// Its certificates cannot be used, which should have been refused when it was saved.
    pub(super) fn get(self: &Arc<Self>, route: &Arc<Route>, org: Option<OrgNumber>) -> Result<Http, Failure> {
        let http2 = route.http2.or(self.maker.base.http2).unwrap_or(false);
        let key = (route.clone(), org.filter(|_| http2));
        let http = {
            let now = Instant::now();
            let mut kept = self.kept();
            if let Some(entry) = kept.by_route.get_mut(&key) {
                entry.used = now;
                entry.http.clone()
            } else {
                if kept.by_route.len() >= ROUTES_MAX {
                    kept.drop_least_used();
                }
                let http = Arc::<OnceLock<_>>::default();
                kept.by_route.insert(key, Entry { http: http.clone(), used: now });
                if !std::mem::replace(&mut kept.is_swept, true) {
                    tokio::spawn(sweep(Arc::downgrade(self)));
                }
                http
            }
        };
        // Outside the lock: reading certificates takes some tenths of a millisecond.
        let made = http.get_or_init(|| {
            self.maker.make(route).map_err(|(part, problem)| {
                Failure::new(FailReason::Local, format!("the webhook's tls.{part} cannot be used: {problem}"))
            })
        });
        made.clone()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn drop_least_used(&mut self) {
        let oldest = self.by_route.iter().min_by_key(|(_, entry)| entry.used).map(|(route, _)| route.clone());
        if let Some(route) = oldest {
            self.by_route.remove(&route);
        }
    }
}

/// Drops what is not used, for as long as anything is kept.
async fn sweep(routes: Weak<Routes>) {
    loop {
        sleep(UNUSED_MAX).await;
        let Some(routes) = routes.upgrade() else { return };
        let now = Instant::now();
        let mut kept = routes.kept();
        kept.by_route.retain(|_, entry| now.duration_since(entry.used) < UNUSED_MAX);
        if kept.by_route.is_empty() {
            kept.is_swept = false;
            return;
        }
    }
}

impl Maker {
    /// The client of a route, of a webhook or client, over the daemon's.
    fn make(&self, route: &Route) -> Result<Http, (&'static str, String)> {
        let Route { tls, proxy, http2, bind_address } = route.over(&self.base);
        let http2 = http2.unwrap_or(false);
        let config = tls::config(&self.roots, tls.as_ref(), http2)?;
        let trusted = route.proxy.is_none();
        let via = match proxy {
            None => None,
            Some(proxy) => {
                // The same authorities for the proxy, but who we are is for the receiver. The daemon's own proxy, which is told
                // the daemon's own password, is not vouched for by what a webhook trusts.
                let authorities = if trusted { self.base.tls.as_ref() } else { tls.as_ref() };
                let tls = authorities.map(|tls| Tls { ca: tls.ca.clone(), ..Tls::default() });
                let tls = match proxy.kind {
                    ProxyKind::Https => Some(Arc::new(tls::config(&self.roots, tls.as_ref(), false)?)),
                    ProxyKind::Http | ProxyKind::Socks5 => None,
                };
                // The operator answers for where his own proxy goes, and for no other.
                Some(Via { proxy, trusted, resolves: trusted && self.proxy_resolves, tls })
            }
        };
        let through = via.as_ref().map(|via| via.proxy.authority());
        let dial = Dial::new(self.net.clone(), Way { via, from: bind_address });
        Ok(Http::new(Connector::new(dial, config), through, http2))
    }
}

fn read_identity((certificate, key): &(PathBuf, PathBuf)) -> Result<Tls, ClientError> {
    let read = |name: &'static str, path: &PathBuf| {
        std::fs::read_to_string(path).map_err(|error| ClientError::File {
            key: name,
            path: path.clone(),
            problem: error.to_string(),
        })
    };
    let key = Secret::new(read("client_key_file", key)?);
    let certificate = read("client_certificate_file", certificate)?;
    Ok(Tls { ca: None, certificate: Some(certificate.into()), key: Some(key) })
}

#[cfg(test)]
mod tests {
    use hickory_resolver::Hosts;
    use hickory_resolver::config::{ResolverConfig, ResolverOpts};

    use super::*;
    use crate::delivery::EgressPolicy;
    use crate::delivery::connector::names::Names;
    use crate::delivery::connector::resolver::Source;

    fn routes() -> Arc<Routes> {
        let source = Source::of(Hosts::default(), ResolverConfig::default(), ResolverOpts::default());
        let net = Net::new(EgressPolicy::default(), Names::new(source.unwrap(), 16));
        Arc::new(Routes::new(&RouteSettings::default(), Arc::new(net)).unwrap())
    }

    fn route(number: usize) -> Arc<Route> {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(number).unwrap());
        Arc::new(Route { bind_address: Some(address.into()), ..Route::default() })
    }

    #[tokio::test]
    async fn orgs_share_connections_but_not_those_of_http2() {
        let routes = routes();
        let kept = || routes.kept().by_route.len();
        let (one, other) = (Some(OrgNumber(1)), Some(OrgNumber(2)));
        assert!(routes.own().is_some());
        assert!(routes.get(&route(0), one).is_ok() && routes.get(&route(0), other).is_ok());
        assert_eq!(kept(), 1);
        let http2 = Arc::new(Route { http2: Some(true), ..Route::default() });
        assert!(routes.get(&http2, one).is_ok() && routes.get(&http2, other).is_ok());
        assert_eq!(kept(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn routes_are_kept_while_they_are_used_and_never_too_many() {
        let routes = routes();
        let kept = || routes.kept().by_route.len();
        for number in 0..ROUTES_MAX + 50 {
            assert!(routes.get(&route(number), None).is_ok());
            // Virtual time: so that it is known which one is the oldest.
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(routes.get(&route(0), None).is_ok());
        }
        assert_eq!(kept(), ROUTES_MAX);
        assert!(routes.kept().by_route.contains_key(&(route(0), None)), "the least recently used goes");
        assert!(!routes.kept().by_route.contains_key(&(route(1), None)));
        for _ in 0..5 {
            sleep(UNUSED_MAX / 2).await;
            assert!(routes.get(&route(0), None).is_ok());
        }
        assert_eq!(kept(), 1, "the others are unused");
        sleep(UNUSED_MAX * 2).await;
        assert_eq!(kept(), 0);
        assert!(routes.get(&route(0), None).is_ok());
        sleep(UNUSED_MAX * 2).await;
        assert_eq!(kept(), 0, "and again");
        let unused = Arc::downgrade(&routes);
        drop(routes);
        assert!(unused.upgrade().is_none(), "sweeping keeps nothing alive");
    }
}
