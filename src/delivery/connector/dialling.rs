//! Opens a TCP connection to one of several addresses, all of which have been judged.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::net::{TcpSocket, TcpStream};

use crate::delivery::failure::ConnectError;

/// When one address has not answered for this long, the next one is tried beside it (RFC 8305's resolution delay).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Addresses of one name that are tried; a name with more is not worth more sockets.
pub(super) const ADDRESSES_MAX: usize = 8;

/// IPv4 and IPv6 in turn, IPv4 first, so that half a dead network costs one short wait.
pub(super) fn in_turn(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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
/// is taken. The error is the last one. `from` is the local address to dial from, and only its family is dialled.
pub(super) async fn connect_first(
    mut addresses: Vec<SocketAddr>,
    from: Option<IpAddr>,
) -> Result<TcpStream, ConnectError> {
    if let Some(from) = from {
        addresses.retain(|address| address.is_ipv4() == from.is_ipv4());
        if addresses.is_empty() {
            return Err(ConnectError::OtherFamily { from });
        }
    }
    if let [address] = addresses.as_slice() {
        return connect(*address, from).await;
    }
    let mut waiting = addresses.into_iter();
    let mut dialling = FuturesUnordered::new();
    let mut last_error = ConnectError::Resolve("it has no address".to_owned());
    loop {
        let more = match waiting.next() {
            Some(address) => {
                dialling.push(connect(address, from));
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

async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<TcpStream, ConnectError> {
    let connected = match from {
        None => TcpStream::connect(address).await,
        Some(from) => {
            let socket = bound(from).map_err(|error| ConnectError::Bind { from, error })?;
            socket.connect(address).await
        }
    };
    let tcp = connected.map_err(|error| ConnectError::connect(address, error))?;
    // Only a hint to the kernel: a connection without it still delivers.
    let _slower = tcp.set_nodelay(true);
    Ok(tcp)
}

fn bound(from: IpAddr) -> io::Result<TcpSocket> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind(SocketAddr::new(from, 0))?;
    Ok(socket)
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
        let stream = connect_first(vec![dead, dead, alive], None).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), alive);
        let refused = connect_first(vec![dead, dead], None).await.unwrap_err();
        assert!(matches!(refused, ConnectError::Io { .. }), "{refused:?}");
    }

    #[tokio::test]
    async fn only_the_family_of_the_local_address_is_dialled() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let four = listener.local_addr().unwrap();
        let six = SocketAddr::new("::1".parse().unwrap(), four.port());
        let from: IpAddr = "127.0.0.3".parse().unwrap();
        let stream = connect_first(vec![six, four], Some(from)).await.unwrap();
        assert_eq!(stream.local_addr().unwrap().ip(), from);
        let none = connect_first(vec![six], Some(from)).await.unwrap_err();
        assert!(matches!(none, ConnectError::OtherFamily { .. }), "{none:?}");
        let not_ours = connect_first(vec![four], Some("192.0.2.1".parse().unwrap())).await.unwrap_err();
        assert!(matches!(not_ours, ConnectError::Bind { .. }), "{not_ours:?}");
    }
}
