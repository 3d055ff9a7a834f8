//! Where connections come in, and who is on the other side.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A listening socket.
pub trait Door: Send + Sync + 'static {
    /// A connection as it was accepted.
    type Accepted: Send + 'static;
    /// A connection that HTTP can be spoken over.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    /// Whether a request's path may hold a secret, and so is in no log.
    const SECRET_PATHS: bool;
    /// Whether connections are accepted although there is no slot for them, to find out whose they are: then the one of
    /// somebody who has few does not wait behind those of somebody who has many, and of too many some are broken off.
    /// Otherwise they wait in the kernel.
    const LETS_IN: bool;

    /// The process on the other side, as far as it can be told.
    fn process(_accepted: &Self::Accepted) -> Process {
        Process(None)
    }

    /// The next connection, and who it is from.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Accepted, Peer)>> + Send;

    /// Makes it ready, as by a TLS handshake. Takes as long as the peer likes; whoever calls it has a limit.
    fn open(&self, accepted: Self::Accepted) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Door for UnixListener {
    type Accepted = UnixStream;
    type Stream = UnixStream;
    const SECRET_PATHS: bool = false;
    const LETS_IN: bool = false;

    async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = UnixListener::accept(self).await?;
        let user = stream.peer_cred().map_or(NOBODY, |peer| peer.uid());
        Ok((stream, Peer::User(user)))
    }

    fn process(accepted: &UnixStream) -> Process {
        Process(accepted.peer_cred().ok().and_then(|peer| peer.pid()))
    }

    async fn open(&self, accepted: UnixStream) -> io::Result<UnixStream> {
        Ok(accepted)
    }
}

impl Door for TcpListener {
    type Accepted = TcpStream;
    type Stream = TcpStream;
    const SECRET_PATHS: bool = false;
    const LETS_IN: bool = true;

    async fn accept(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = TcpListener::accept(self).await?;
        Ok((stream, Peer::at(address.ip())))
    }

    async fn open(&self, accepted: TcpStream) -> io::Result<TcpStream> {
        // Answers are whole: nothing is gained by waiting for more.
        accepted.set_nodelay(true)?;
        Ok(accepted)
    }
}

/// The user that the kernel names where it cannot tell.
const NOBODY: u32 = 65_534;

/// The process that made the connection, by its id where the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process(pub Option<i32>);

/// Whose connection it is, as far as that matters for everybody's share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Peer {
    /// A user of this machine.
    User(u32),
    /// A machine; of an IPv6 address the network, since whoever has one address of it has them all.
    Address(IpAddr),
}

impl Peer {
    /// The machine with this address.
    #[must_use]
    pub fn at(address: IpAddr) -> Peer {
        Peer::Address(match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::User(user) => write!(out, "user {user}"),
            Peer::Address(IpAddr::V6(network)) => write!(out, "{network}/64"),
            Peer::Address(address) => address.fmt(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_its_ipv4_address_or_its_ipv6_network() {
        let at = |text: &str| Peer::at(text.parse().unwrap());
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8::1"), at("2001:db8:0:0:ffff::2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("2001:db8::1").to_string(), "2001:db8::/64");
    }
}
