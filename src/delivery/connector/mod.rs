//! Connects to the addresses that the guard allows, and to no other.
//!
//! A host is an IP literal or a name that is resolved here; every address is judged, and exactly the judged address is
//! dialled, so nothing can change between the check and the connection. Filtering a resolver would not do: a literal
//! never reaches it. Proxies from the environment do not exist here.

mod own;
pub(super) mod resolver;
pub(super) mod tls;
pub(super) mod traffic;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use resolver::Names;

use super::failure::ConnectError;
use super::guard::{self, EgressPolicy, Host, Refusal, Transport};

/// When one address has not answered for this long, the next one is tried beside it (RFC 8305's resolution delay).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried; a name with more is not worth more sockets.
const ADDRESSES_MAX: usize = 8;
/// Addresses of one name that are looked at: a name with thousands is not worth the time either.
const JUDGED_MAX: usize = 64;

/// The connector: cheap to clone, shared by all attempts.
#[derive(Clone)]
pub(in crate::delivery) struct Dial {
    inner: Arc<Inner>,
}

struct Inner {
    policy: EgressPolicy,
    names: Names,
    /// Connections open now, idle ones included.
    open: Arc<AtomicUsize>,
}

impl Dial {
    pub(in crate::delivery) fn new(policy: EgressPolicy, names: Names) -> Dial {
        Dial { inner: Arc::new(Inner { policy, names, open: Arc::default() }) }
    }

    /// Connections open now, idle ones included.
    pub(in crate::delivery) fn open(&self) -> usize {
        self.inner.open.load(Ordering::Relaxed)
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
        let inner = self.inner.clone();
        Box::pin(async move {
            let addresses = inner.addresses(&target).await?;
            let tcp = connect_first(&addresses).await?;
            // Only a hint to the kernel: a connection without it still delivers.
            let _slower = tcp.set_nodelay(true);
            Ok(Stream { tcp: TokioIo::new(tcp), _open: Open::count(&inner.open) })
        })
    }
}

impl Inner {
    /// The addresses that may be dialled for `target`, in the order to try them.
    async fn addresses(&self, target: &Uri) -> Result<Vec<SocketAddr>, ConnectError> {
        let transport = match target.scheme_str() {
            Some("https") => Transport::Tls,
            _ => Transport::Plain,
        };
        let port = target.port_u16().unwrap_or(match transport {
            Transport::Tls => 443,
            Transport::Plain => 80,
        });
        let host = target.host().unwrap_or_default();
        let (found, named) = match guard::read_host(host) {
            Host::Address(address) => (vec![address], None),
            Host::Name(name) => (self.resolve(name).await?, guard::class_of_name(name)),
            Host::Neither => {
                return Err(ConnectError::Resolve("it is neither a name nor an address".to_owned()));
            }
        };
        let mut first_refusal = None;
        let mut allowed = Vec::with_capacity(found.len().min(ADDRESSES_MAX));
        for ip in found.into_iter().take(JUDGED_MAX) {
            let address = SocketAddr::new(ip.to_canonical(), port);
            let known = match named {
                Some(class) => Some(class),
                None => own::class_if_own(address)?,
            };
            match self.policy.check(address, transport, known) {
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

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ConnectError> {
        self.names.lookup(name).await.map_err(|error| ConnectError::from_resolver(&error))
    }
}

/// IPv4 and IPv6 in turn, IPv4 first, so that half a dead network costs one short wait.
fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let (v4, v6): (Vec<_>, Vec<_>) = addresses.into_iter().partition(SocketAddr::is_ipv4);
    let (mut v4, mut v6) = (v4.into_iter(), v6.into_iter());
    let mut mixed = Vec::with_capacity(ADDRESSES_MAX);
    loop {
        let pair = [v4.next(), v6.next()];
        if pair == [None, None] {
            mixed.truncate(ADDRESSES_MAX);
            return mixed;
        }
        mixed.extend(pair.into_iter().flatten());
    }
}

/// Dials the addresses one after the other, the next as soon as one fails or keeps us waiting; the first to answer
/// is taken. The error is the last one.
async fn connect_first(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    if let [address] = addresses {
        return TcpStream::connect(*address).await.map_err(|error| ConnectError::connect(*address, error));
    }
    let dial = |address: SocketAddr| async move {
        TcpStream::connect(address).await.map_err(|error| ConnectError::connect(address, error))
    };
    let mut waiting = addresses.iter().copied();
    let mut dialling = FuturesUnordered::new();
    let mut last_error = ConnectError::Resolve("it has no address".to_owned());
    loop {
        let more = match waiting.next() {
            Some(address) => {
                dialling.push(dial(address));
                true
            }
            None => false,
        };
        let answered = if more && waiting.len() > 0 {
            tokio::time::timeout(NEXT_ADDRESS_AFTER, dialling.next()).await
        } else {
            Ok(dialling.next().await)
        };
        match answered {
            Ok(Some(Ok(stream))) => return Ok(stream),
            Ok(Some(Err(error))) => last_error = error,
            Ok(None) => return Err(last_error),
            Err(_keeps_us_waiting) => {}
        }
    }
}

/// Counts one open connection for as long as it lives.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn count(open: &Arc<AtomicUsize>) -> Open {
        open.fetch_add(1, Ordering::Relaxed);
        Open(open.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection to a checked address.
pub(in crate::delivery) struct Stream {
    tcp: TokioIo<TcpStream>,
    _open: Open,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, buffers)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn families_take_turns_and_many_addresses_are_cut() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let mixed = in_turn(parse(&["[2606::1]:1", "[2606::2]:1", "8.8.8.8:1", "[2606::3]:1"]));
        assert_eq!(mixed, parse(&["8.8.8.8:1", "[2606::1]:1", "[2606::2]:1", "[2606::3]:1"]));
        let many = (0..1000).map(|n| SocketAddr::new(Ipv4Addr::from_bits(n).into(), 1)).collect();
        assert_eq!(in_turn(many).len(), ADDRESSES_MAX);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let alive = listener.local_addr().unwrap();
        let dead = {
            let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            gone.local_addr().unwrap()
        };
        let stream = connect_first(&[dead, dead, alive]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let refused = connect_first(&[dead, dead]).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Io { .. }), "{refused:?}");
    }
}
