//! Connects to the addresses that the guard allows, and to no other.
//!
//! A host is an IP literal or a name that is resolved here; every address is judged, and exactly the judged address is
//! dialled, so nothing can change between the check and the connection. Filtering a resolver would not do: a literal
//! never reaches it. Proxies from the environment do not exist here.

pub(super) mod resolver;
pub(super) mod tls;
pub(super) mod traffic;

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
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
use super::guard::{self, AddressClass, EgressPolicy, Refusal, Transport};

/// When one address has not answered for this long, the next one is tried beside it (RFC 8305's resolution delay).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried; a name with more is not worth more sockets.
const ADDRESSES_MAX: usize = 8;

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
        let (found, named) = match literal(host) {
            Some(address) => (vec![address], None),
            None => {
                (self.resolve(host).await?, guard::is_metadata_name(host).then_some(AddressClass::Metadata))
            }
        };
        let mut first_refusal = None;
        let mut allowed = Vec::with_capacity(found.len().min(ADDRESSES_MAX));
        for ip in found {
            let address = SocketAddr::new(ip.to_canonical(), port);
            let named = named.or_else(|| own_address(address));
            match self.policy.check(address, transport, named) {
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

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, ConnectError> {
        if ends_in_a_number(host) {
            return Err(ConnectError::Resolve("it is neither a name nor an address".to_owned()));
        }
        self.names.lookup(host).await.map_err(|error| ConnectError::from_resolver(&error))
    }
}

/// The address that a URL's host spells out, brackets included.
fn literal(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// No name ends in a number: such a host is an address in a spelling that only some resolvers understand.
fn ends_in_a_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        || last.is_empty()
        || last.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a public address is one of our own interfaces: what listens there counts on the firewall in front, which a
/// connection from inside never meets. Asks the kernel for a route; no packet is sent.
fn own_address(address: SocketAddr) -> Option<AddressClass> {
    if guard::classify(address.ip()) != AddressClass::Public {
        return None;
    }
    is_own(address).then_some(AddressClass::Own)
}

fn is_own(address: SocketAddr) -> bool {
    let unbound: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Without a route or a descriptor the connection itself fails next, with its own reason.
    UdpSocket::bind((unbound, 0))
        .and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()))
        .is_ok_and(|local| local.ip() == address.ip())
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
    use super::*;

    #[test]
    fn a_literal_is_read_with_and_without_brackets() {
        assert_eq!(literal("127.0.0.1"), Some(Ipv4Addr::LOCALHOST.into()));
        assert_eq!(literal("[::1]"), Some(Ipv6Addr::LOCALHOST.into()));
        for not_one in ["::1", "[127.0.0.1]", "[::1", "127.1", "0x7f.1", "localhost", "[fe80::1%25eth0]", ""]
        {
            assert_eq!(literal(not_one), None, "{not_one}");
        }
    }

    #[test]
    fn odd_spellings_of_addresses_never_reach_the_resolver() {
        for host in
            ["127.1", "2130706433", "0x7f.1", "0x7F000001", "a.0x", "127.0.0.1.", "1.", "", ".", "x.12"]
        {
            assert!(ends_in_a_number(host), "{host}");
        }
        for host in ["localhost", "a1", "1a.example", "0x7f.example.", "example.c0m"] {
            assert!(!ends_in_a_number(host), "{host}");
        }
    }

    #[test]
    fn our_own_address_is_known_as_ours() {
        assert!(is_own("127.0.0.1:1".parse().unwrap()));
        assert!(!is_own("8.8.8.8:1".parse().unwrap()));
        assert_eq!(own_address("127.0.0.1:1".parse().unwrap()), None, "that is loopback, not merely ours");
    }

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
