//! TLS around the connector, and whom it trusts: the system's certificates, those of `[egress] ca_file` and those of a
//! route.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

use super::Dial;
use super::link::Stream;
use super::traffic::Counted;
use crate::delivery::failure::ConnectError;
use crate::delivery::pem;
use crate::model::{TIMEOUT_MAX, Tls};

/// Whom all connections trust: the system's certificates, and those of a file. Blocking, for some milliseconds.
///
/// # Errors
/// What is wrong with the file. A system without certificates is only warned about.
pub(in crate::delivery) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        tracing::warn!(
            errors = ?loaded.errors,
            "no system certificates found: https deliveries fail unless [egress] ca_file is set or ca-certificates installed"
        );
    }
    if let Some(path) = ca_file {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        pem::add_authorities(&mut roots, &text)?;
    }
    Ok(roots)
}

/// What the TLS connections of one route need: TLS 1.2 or 1.3, HTTP/1.1 or 2 by ALPN, certificates checked against the
/// roots and its own authorities, its own certificate for whoever asks.
///
/// # Errors
/// Which certificate or key is at fault (`ca`, `certificate` or `key`), and what is wrong with it.
pub(in crate::delivery) fn config(
    roots: &Arc<RootCertStore>,
    tls: Option<&Tls>,
    http2: bool,
) -> Result<ClientConfig, (&'static str, String)> {
    // Roots are large: they are copied only where there is something to add.
    let roots = match tls.and_then(|tls| tls.ca.as_deref()) {
        None => roots.clone(),
        Some(ca) => {
            let mut more = RootCertStore::clone(roots);
            pem::add_authorities(&mut more, ca.as_bytes()).map_err(|problem| ("ca", problem))?;
            Arc::new(more)
        }
    };
    let versions = ClientConfig::builder_with_provider(Arc::new(pem::provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ("versions", error.to_string()))?;
    let trusting = versions.with_root_certificates(roots);
    let mut config = match tls.map(pem::identity).transpose()?.flatten() {
        None => trusting.with_no_client_auth(),
        Some(identity) => trusting.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
    };
    let both: &[&[u8]] = &[b"h2", b"http/1.1"];
    let offered = if http2 { both } else { both.get(1..).unwrap_or_default() };
    config.alpn_protocols = offered.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

/// Connects with or without TLS, as the scheme says, and never takes longer than the longest attempt: a connection
/// may go on being made after its attempt has found another one.
#[derive(Clone)]
pub(in crate::delivery) struct Connector {
    https: HttpsConnector<Dial>,
}

impl Connector {
    pub(in crate::delivery) fn new(dial: Dial, config: ClientConfig) -> Connector {
        Connector { https: HttpsConnector::from((dial, config)) }
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Counted<TokioIo<MaybeHttpsStream<Stream>>>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        self.https.poll_ready(context).map_err(ConnectError::from_tls)
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        let connecting = self.https.call(target);
        Box::pin(async move {
            match tokio::time::timeout(TIMEOUT_MAX, connecting).await {
                Ok(connected) => {
                    let stream = connected.map_err(ConnectError::from_tls)?;
                    Ok(TokioIo::new(Counted::new(TokioIo::new(stream))))
                }
                Err(_elapsed) => Err(ConnectError::TooLong),
            }
        })
    }
}
