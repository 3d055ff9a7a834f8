//! What is listened on, and served: the two sockets, the address where outside services post, and the one where metrics are
//! read.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{bad_config, failed};
use crate::api::{self, App, Socket};
use crate::cli::exit::Result;
use crate::config::{Config, Paths};
use crate::operate::sockets::{self, Listening, OwnSocket, Passed, Role};
use crate::serving::{self, ConnectionLimits};
use crate::sources::{self, Certificate, Gate};

/// Connections of those who read metrics over TCP.
const READERS_MAX: usize = 32;

/// The listener for outside services.
pub(super) struct Outside {
    listener: TcpListener,
    pub(super) gate: Arc<Gate>,
    certificate: Certificate,
}

/// The listener for outside services before anything is behind it.
pub(super) struct OutsideBound {
    listener: TcpListener,
    /// Where it is, and whether TLS is spoken there.
    pub(super) at: (SocketAddr, bool),
}

impl OutsideBound {
    pub(super) fn with(self, gate: Arc<Gate>, certificate: Certificate) -> Outside {
        Outside { listener: self.listener, gate, certificate }
    }
}

/// The socket for sources that the service manager passed, else one bound where the configuration says.
pub(super) fn listen_outside(
    config: &Config,
    passed: &mut Passed,
    has_tls: bool,
) -> Result<Option<OutsideBound>> {
    let listener = match (passed.take_sources(), config.sources.listen) {
        (Some(listener), _) => listener,
        (None, Some(address)) => sources::Door::bind(address).map_err(failed)?,
        (None, None) => {
            if config.sources.public_url.is_some() {
                tracing::warn!(
                    "sources.public_url is set, but nothing takes requests of sources: set sources.listen, or start \
                     postrider-sources.socket"
                );
            }
            return Ok(None);
        }
    };
    let address = listener.local_addr().map_err(failed)?;
    if !has_tls && !address.ip().is_loopback() {
        tracing::warn!(
            %address,
            "sources are posted to without TLS: secrets in addresses can be read on the way; give sources.tls_certificate_file, \
             or listen on loopback behind a proxy that speaks TLS"
        );
    }
    if address.ip().is_unspecified() && config.sources.public_url.is_none() {
        tracing::warn!(
            %address,
            "addresses of sources are shown as nobody can reach them: set sources.public_url to what this listener is called \
             outside"
        );
    }
    tracing::info!(%address, tls = has_tls, "taking requests of sources");
    Ok(Some(OutsideBound { listener, at: (address, has_tls) }))
}

/// The socket for Prometheus that the service manager passed, else one bound where the configuration says.
pub(super) fn listen_metrics(config: &Config, passed: &mut Passed) -> Result<Option<TcpListener>> {
    let listener = match (passed.take_metrics(), config.metrics.listen) {
        (Some(listener), _) => listener,
        (None, Some(address)) => TcpListener::bind(address).map_err(|error| {
            let advice = match error.kind() {
                ErrorKind::AddrInUse => "; another process listens there: stop it, or set metrics.listen",
                ErrorKind::PermissionDenied => {
                    "; under systemd, start postrider-metrics.socket, or allow the port by SocketBindAllow="
                }
                _ => "",
            };
            failed(format!("cannot listen on {address} (metrics.listen): {error}{advice}"))
        })?,
        (None, None) => return Ok(None),
    };
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "whoever gets there reads the metrics: listen on loopback, or keep others away by a firewall");
    }
    tracing::info!(%address, "metrics are read there");
    Ok(Some(listener))
}

/// The certificate for sources, as configured.
pub(super) fn certificate(config: &Config) -> Result<(Certificate, bool)> {
    let read = Certificate::read(config.sources.tls.as_ref()).map_err(bad_config)?;
    let (certificate, has_tls) = (Certificate::default(), read.is_there());
    certificate.set(read);
    Ok((certificate, has_tls))
}

/// Both sockets: passed by the service manager, or bound here.
pub(super) fn listen(paths: &Paths, passed: &mut Passed) -> Result<[Listening; 2]> {
    if paths.runtime_dir_explicit && !passed.is_empty() {
        tracing::warn!(
            named_by = paths.runtime_dir.from,
            "a runtime directory is named: the sockets passed by the service manager are not used"
        );
        passed.forget_sockets();
    }
    let dir = &paths.runtime_dir.path;
    let mut one = |role| sockets::listen(role, passed, dir).map_err(failed);
    Ok([one(Role::Submit)?, one(Role::Admin)?])
}

/// Everything that is served.
pub(super) struct Doors {
    serving: Vec<JoinHandle<usize>>,
    /// Removed when the daemon is done.
    own: Vec<OwnSocket>,
}

impl Doors {
    /// Serves both sockets, and the addresses of sources and the metrics where there is a listener for them.
    pub(super) fn start(
        listening: [Listening; 2],
        (outside, metrics): (Option<Outside>, Option<TcpListener>),
        app: &Arc<App>,
        (api_limits, source_limits): (&ConnectionLimits, ConnectionLimits),
        stop: &CancellationToken,
    ) -> Result<Doors> {
        let mut doors = Doors { serving: Vec::new(), own: Vec::new() };
        for socket in listening {
            let router = match socket.role {
                Role::Submit => api::router(app.clone(), Socket::Submit),
                Role::Admin => api::router(app.clone(), Socket::Admin),
            };
            let (listener, own) = socket.split();
            let listener = UnixListener::from_std(listener).map_err(failed)?;
            doors.serving.push(tokio::spawn(serving::serve(
                listener,
                router,
                api_limits.clone(),
                stop.clone(),
            )));
            doors.own.extend(own);
        }
        if let Some(Outside { listener, gate, certificate, .. }) = outside {
            let door = sources::Door::new(listener, certificate).map_err(failed)?;
            let served = serving::serve(door, sources::router(gate), source_limits, stop.clone());
            doors.serving.push(tokio::spawn(served));
        }
        if let Some(listener) = metrics {
            let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
            let limits = ConnectionLimits { connections: READERS_MAX, ..api_limits.clone() };
            let served = serving::serve(listener, api::metrics_router(app.clone()), limits, stop.clone());
            doors.serving.push(tokio::spawn(served));
        }
        Ok(doors)
    }

    /// Ends only when a listener does, which none does by itself.
    pub(super) async fn broken(&mut self) {
        let _which = futures_util::future::select_all(&mut self.serving).await;
    }

    /// Waits for calls in progress; answers how many had to be cut.
    pub(super) async fn drained(&mut self) -> usize {
        // One that has ended already has told `broken`.
        let serving = self.serving.iter_mut().filter(|socket| !socket.is_finished());
        let cut = futures_util::future::join_all(serving).await;
        cut.into_iter().map(|cut| cut.unwrap_or(0)).sum()
    }
}
