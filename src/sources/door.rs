//! The listener for outside services: TCP, with TLS where there is a certificate.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::task::{Context, Poll};

use rustls::ServerConfig;
use rustls::sign::SingleCertAndKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::delivery::{identity, provider};
use crate::model::{Secret, Tls};
use crate::serving::{self, Peer};

/// A certificate that is shown, and can be exchanged while it is. Clones are the same one.
#[derive(Clone, Default)]
pub struct Certificate(Arc<RwLock<Option<Arc<ServerConfig>>>>);

impl Certificate {
    /// Reads it from PEM files: the certificate with its chain, and its key. Blocking.
    ///
    /// # Errors
    /// Which file cannot be used, and why.
    pub fn read(files: Option<&(impl AsRef<Path>, impl AsRef<Path>)>) -> Result<Prepared, String> {
        const NAMES: [&str; 2] = ["sources.tls_certificate_file", "sources.tls_key_file"];
        let Some((certificate, key)) = files else { return Ok(Prepared(None)) };
        let (certificate, key) = (certificate.as_ref(), key.as_ref());
        let text = |name: &str, path: &Path| {
            std::fs::read_to_string(path)
                .map_err(|error| format!("{name}: cannot read {}: {error}", path.display()))
        };
        let tls = Tls {
            ca: None,
            certificate: Some(text(NAMES[0], certificate)?.into()),
            key: Some(Secret::new(text(NAMES[1], key)?)),
        };
        let found = identity(&tls).map_err(|(part, problem)| {
            let (name, path) = if part == "key" { (NAMES[1], key) } else { (NAMES[0], certificate) };
            format!("{name}: {}: {problem}", path.display())
        })?;
        let Some(found) = found else { return Ok(Prepared(None)) };
        let config = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be spoken: {error}"))?;
        let mut config =
            config.with_no_client_auth().with_cert_resolver(Arc::new(SingleCertAndKey::from(found)));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Prepared(Some(Arc::new(config))))
    }

    /// Puts another one in force, for connections from now on.
    pub fn set(&self, Prepared(config): Prepared) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = config;
    }

    fn get(&self) -> Option<Arc<ServerConfig>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A certificate that was read, or none.
pub struct Prepared(Option<Arc<ServerConfig>>);

impl Prepared {
    /// Whether TLS is spoken with it.
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.is_some()
    }
}

/// See the module's documentation.
pub struct Door {
    listener: TcpListener,
    certificate: Certificate,
}

impl Door {
    /// Listens on an address.
    ///
    /// # Errors
    /// What keeps it from that.
    pub fn bind(address: SocketAddr) -> Result<StdListener, String> {
        StdListener::bind(address).map_err(|error| {
            let advice = match error.kind() {
                io::ErrorKind::AddrInUse => "; another process listens there: stop it, or set sources.listen",
                io::ErrorKind::PermissionDenied => {
                    "; under systemd, start postrider-sources.socket, or allow the port by SocketBindAllow="
                }
                _ => "",
            };
            format!("cannot listen on {address} (sources.listen): {error}{advice}")
        })
    }

    /// Takes over a listening socket. To be called within the runtime.
    ///
    /// # Errors
    /// It is no socket that can be used.
    pub fn new(listener: StdListener, certificate: Certificate) -> io::Result<Door> {
        listener.set_nonblocking(true)?;
        Ok(Door { listener: TcpListener::from_std(listener)?, certificate })
    }
}

impl serving::Door for Door {
    type Accepted = TcpStream;
    type Stream = Stream;
    const SECRET_PATHS: bool = true;
    const LETS_IN: bool = true;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.listener.accept().await?;
        Ok((stream, Peer::at(address.ip())))
    }

    async fn open(&self, accepted: TcpStream) -> io::Result<Stream> {
        // Answers are small and whole: nothing is gained by waiting for more.
        accepted.set_nodelay(true)?;
        Ok(match self.certificate.get() {
            Some(config) => Stream::Tls(Box::new(TlsAcceptor::from(config).accept(accepted).await?)),
            None => Stream::Plain(accepted),
        })
    }
}

/// A connection, in the clear or within TLS.
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// Within TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
