//! The only place that sends HTTP to the outside: one attempt, start to end, within one deadline.
//!
//! A response head decides: 2xx is success, whatever becomes of the body. Redirects are not followed, bodies are not
//! decompressed, proxies of the environment are not used. A receiver sees one request per attempt; only one that went out
//! on a kept connection just as the receiver closed that is sent again, once (see `http`).

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::time::{Instant, timeout_at};

use super::connector::Net;
use super::connector::names::Names;
use super::connector::resolver::Source;
use super::failure::{Failure, classify};
use super::guard::EgressPolicy;
use super::http::traffic;
use super::routes::{RouteSettings, Routes};
use super::scrub::Scrub;
use super::template::Addressed;
use super::{outcome, request};
use crate::clock;
use crate::config::{Config, Dns};
use crate::model::{Attempt, FailReason, Route, Webhook};

/// The most that is read of a response body, in bytes: a longer one is not worth keeping its connection for.
const BODY_MAX: usize = 64 * 1024;
/// The most that is held of it, in bytes: enough for the excerpt after an echo was left out, and little enough times
/// thousands of attempts in flight.
const BODY_HELD_MAX: usize = 8 * 1024;
/// How long a response body may take once its head is there: the head has decided, the org's next delivery waits.
const BODY_WAIT: Duration = Duration::from_secs(1);
/// Sockets that our own resolver uses for a name that is not answered: both families, each asked again and again.
const SOCKETS_PER_LOOKUP: usize = 8;
/// Threads that may wait for the system's resolver.
const RESOLVER_THREADS: usize = 64;

/// What a [`Client`] needs to know.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    /// Which addresses may be dialled.
    pub egress: EgressPolicy,
    /// How they are dialled, where neither webhook nor client says otherwise.
    pub route: RouteSettings,
    /// Who resolves names.
    pub dns: Dns,
    /// Open connections from which on none is kept for reuse: keeps idle ones from using up the file descriptors.
    pub connections_kept: usize,
}

impl Default for ClientSettings {
    fn default() -> Self {
        ClientSettings {
            egress: EgressPolicy::default(),
            route: RouteSettings::default(),
            dns: Dns::Builtin,
            connections_kept: 4096,
        }
    }
}

/// Why a client was not made: the configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// An entry of `[egress]` is no range of addresses.
    #[error("[egress] {key}: {problem}")]
    Egress {
        /// `allow` or `allow_http`.
        key: &'static str,
        /// What would be right.
        problem: String,
    },
    /// A file of certificates or a key is missing, unreadable or holds none.
    #[error("[egress] {key} {}: {problem}", path.display())]
    File {
        /// `ca_file`, `client_certificate_file` or `client_key_file`.
        key: &'static str,
        /// As configured.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The TLS library does not take its own defaults.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// The system's name server settings cannot be used.
    #[error("names cannot be resolved: {0}")]
    Names(#[from] hickory_resolver::net::NetError),
}

impl TryFrom<&Config> for ClientSettings {
    type Error = ClientError;

    fn try_from(config: &Config) -> Result<ClientSettings, ClientError> {
        let egress = EgressPolicy::parse(&config.egress.allow, &config.egress.allow_http)
            .map_err(|(key, problem)| ClientError::Egress { key, problem })?;
        let typed = &config.egress;
        let route = RouteSettings {
            ca_file: typed.ca_file.clone(),
            client_certificate: typed.client_certificate.clone(),
            route: Route {
                tls: None,
                proxy: typed.proxy.clone(),
                http2: Some(typed.http2),
                bind_address: typed.bind_address,
            },
            proxy_resolves: typed.proxy_resolves,
        };
        let connections_kept = config.scheduler.max_in_flight;
        Ok(ClientSettings { egress, route, dns: typed.dns, connections_kept })
    }
}

/// Makes attempts; cheap to clone. Clones share connections and settings.
#[derive(Clone)]
pub struct Client {
    /// Replaced whole, with all connections, by [`Client::replace`].
    parts: Arc<RwLock<Arc<Parts>>>,
}

struct Parts {
    routes: Arc<Routes>,
    net: Arc<Net>,
    connections_kept: usize,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Client").field("connections", &self.connections()).finish_non_exhaustive()
    }
}

/// An attempt that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// What came of it.
    pub attempt: Attempt,
    /// How long the receiver asked to be left alone, if it answered 429 or 503 and said so.
    pub retry_after: Option<Duration>,
    /// The response's headers; empty without one.
    pub headers: HeaderMap,
    /// There was no file descriptor for it: nothing was sent.
    pub starved: bool,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    excerpt: String,
}

impl Client {
    /// Reads the system's certificates and name server settings. Blocking, for some milliseconds.
    ///
    /// # Errors
    /// [`ClientError`] if `ca_file` cannot be used. A system without certificates is only warned about.
    pub fn new(settings: ClientSettings) -> Result<Client, ClientError> {
        let names = names(&settings)?;
        Client::with_names(settings, names)
    }

    pub(super) fn with_names(settings: ClientSettings, names: Names) -> Result<Client, ClientError> {
        Ok(Client { parts: Arc::new(RwLock::new(Arc::new(Parts::new(settings, names)?))) })
    }

    /// Puts other settings in force for all clones. Attempts in flight end as they began; no later one uses a connection
    /// that was made under the old settings. Blocking, as [`Client::new`] is.
    ///
    /// # Errors
    /// [`ClientError`]; the old settings stay in force.
    pub fn replace(&self, settings: ClientSettings) -> Result<(), ClientError> {
        let names = names(&settings)?;
        let parts = Parts::new(settings, names)?;
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(parts);
        Ok(())
    }

    fn parts(&self) -> Arc<Parts> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Open connections to receivers, idle ones included.
    pub fn connections(&self) -> usize {
        self.parts().net.open()
    }

    /// Makes attempt `number` of a delivery. Never fails as such: what went wrong is in the [`Attempt`]. Takes at most
    /// the webhook's timeout. Dropping the future breaks the connection off.
    pub async fn attempt(&self, addressed: &Addressed<'_>, number: u32) -> Made {
        let webhook = addressed.webhook;
        let at = clock::now();
        let started = Instant::now();
        let made = match request::build(addressed, number, at) {
            Ok(request) => self.parts().exchange(request, addressed, started + webhook.timeout).await,
            Err(invalid) => Err(Failure::new(FailReason::Local, invalid.to_string())),
        };
        let duration_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        match made {
            Ok(Answer { status, headers, excerpt }) => {
                let status = status.as_u16();
                let (error, detail) = match outcome::judge_status(status) {
                    None => (None, String::new()),
                    Some((reason, detail)) => (Some(reason), detail),
                };
                let retry_after = outcome::retry_after(status, &headers, clock::now());
                let status = Some(status);
                let attempt = Attempt { number, at, duration_ms, status, error, detail, excerpt };
                Made { attempt, retry_after, headers, starved: false }
            }
            Err(Failure { reason, detail, starved }) => {
                let (error, detail, excerpt) = (Some(reason), outcome::detail(&detail), String::new());
                let attempt = Attempt { number, at, duration_ms, status: None, error, detail, excerpt };
                Made { attempt, retry_after: None, headers: HeaderMap::new(), starved }
            }
        }
    }
}

impl Parts {
    fn new(settings: ClientSettings, names: Names) -> Result<Parts, ClientError> {
        let net = Arc::new(Net::new(settings.egress, names));
        let routes = Arc::new(Routes::new(&settings.route, net.clone())?);
        Ok(Parts { routes, net, connections_kept: settings.connections_kept })
    }

    async fn exchange(
        &self,
        mut request: Request<Bytes>,
        addressed: &Addressed<'_>,
        deadline: Instant,
    ) -> Result<Answer, Failure> {
        let target = target(&addressed.uri);
        let connected = Arc::new(AtomicBool::new(false));
        let other;
        let http = match (route(addressed), self.routes.own()) {
            (None, Some(own)) => own,
            (route, _) => {
                other = self.routes.get(&route.unwrap_or_default(), addressed.org)?;
                &other
            }
        };
        if self.net.open() > self.connections_kept {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let response = match timeout_at(deadline, http.send(request, &connected)).await {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(classify(&error, &target)),
            Err(_elapsed) => {
                let connected = connected.load(Ordering::Relaxed);
                return Err(timed_out(addressed.webhook, &target, http.through(), connected));
            }
        };
        let traffic = traffic(&response);
        let (head, body) = response.into_parts();
        let body = read_start(body, deadline).await;
        if let Some(traffic) = traffic {
            traffic.settle();
        }
        // Most answers have no body, and nothing to look through.
        let excerpt = if body.is_empty() {
            String::new()
        } else {
            outcome::excerpt(&body, &Scrub::of(addressed), &addressed.delivery.payload)
        };
        Ok(Answer { status: head.status, headers: head.headers, excerpt })
    }
}

/// What a webhook and its client say about how to connect, if anything.
fn route(addressed: &Addressed<'_>) -> Option<Arc<Route>> {
    let own = addressed.webhook.route.as_ref();
    match (own, addressed.client.map(|client| &client.route).filter(|route| !route.is_default())) {
        (own, None) => own.cloned(),
        (None, Some(shared)) => Some(Arc::new(shared.clone())),
        (Some(own), Some(shared)) => Some(Arc::new(own.over(shared))),
    }
}

/// Who resolves names.
fn names(settings: &ClientSettings) -> Result<Names, ClientError> {
    Ok(match settings.dns {
        Dns::Builtin => {
            let lookups_max = (settings.connections_kept / SOCKETS_PER_LOOKUP).clamp(16, 512);
            Names::new(Source::builtin()?, lookups_max)
        }
        Dns::System => Names::new(Source::system(), RESOLVER_THREADS),
    })
}

/// `scheme://host:port`, all that a failure says of a URL.
fn target(uri: &Uri) -> String {
    let scheme = uri.scheme_str().unwrap_or_default();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    format!("{scheme}://{}:{port}", uri.host().unwrap_or_default())
}

fn timed_out(webhook: &Webhook, target: &str, through: Option<&str>, connected: bool) -> Failure {
    let limit = crate::model::format_duration(webhook.timeout);
    let detail = match (connected, through) {
        (true, _) => format!("{target} did not answer within {limit}"),
        (false, None) => format!("no connection to {target} within {limit}"),
        (false, Some(proxy)) => format!("no connection to {target} through the proxy {proxy} within {limit}"),
    };
    Failure::new(FailReason::Timeout, detail)
}

/// Reads a body as far as it is worth: to its end, to the limit, to an error, or until it has taken too long. Answers
/// its start. A body that is not read to its end takes its connection with it.
async fn read_start(mut body: Incoming, deadline: Instant) -> Vec<u8> {
    let mut start = Vec::new();
    if body.is_end_stream() {
        return start;
    }
    let until = deadline.min(Instant::now() + BODY_WAIT);
    let mut length = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        let Some(data) = frame.data_ref() else { continue };
        start.extend(data.iter().take(BODY_HELD_MAX - start.len()));
        length += data.len();
        if length > BODY_MAX {
            break;
        }
    }
    start
}

#[cfg(test)]
#[path = "client_tests/mod.rs"]
mod tests;
