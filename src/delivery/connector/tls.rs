//! TLS around the connector, and whom it trusts: the system's certificates and those of `[egress] ca_file`.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Uri;
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tower::Service;

use super::traffic::Counted;
use super::{Dial, Stream};
use crate::delivery::client::ClientError;
use crate::delivery::failure::ConnectError;
use crate::model::TIMEOUT_MAX;

/// What a TLS connection needs: TLS 1.2 or 1.3, HTTP/1.1, certificates checked against the system's and `ca_file`.
pub(in crate::delivery) fn config(ca_file: Option<&Path>) -> Result<ClientConfig, ClientError> {
    let mut roots = system_roots();
    if let Some(path) = ca_file {
        add_file(&mut roots, path)
            .map_err(|problem| ClientError::CaFile { path: path.to_owned(), problem })?;
    }
    // The provider is named, not taken from a process-wide default that another part could set.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(loaded.certs);
    if roots.is_empty() {
        tracing::warn!(
            errors = ?loaded.errors,
            "no system certificates found: https deliveries fail unless [egress] ca_file is set or ca-certificates installed"
        );
    }
    roots
}

fn add_file(roots: &mut RootCertStore, path: &Path) -> Result<(), String> {
    let before = roots.len();
    let pem = std::fs::read(path).map_err(|error| error.to_string())?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| format!("not a PEM file: {error}"))?;
        roots.add(certificate).map_err(|error| format!("not a usable certificate: {error}"))?;
    }
    if roots.len() == before { Err("it holds no certificate (PEM)".to_owned()) } else { Ok(()) }
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
