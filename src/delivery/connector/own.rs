//! Whether a public address is this machine's own: what listens there counts on the firewall in front, which a
//! connection from inside never meets. Asks the kernel; no packet is sent.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};

use crate::delivery::failure::ConnectError;
use crate::delivery::guard::{self, AddressClass};

/// [`AddressClass::Own`] for a public address of one of our interfaces; others say enough by themselves.
pub(super) fn class_if_own(address: SocketAddr) -> Result<Option<AddressClass>, ConnectError> {
    if guard::classify(address.ip()) != AddressClass::Public {
        return Ok(None);
    }
    match is_own(address) {
        Ok(own) => Ok(own.then_some(AddressClass::Own)),
        Err(error) => Err(ConnectError::Local(error)),
    }
}

fn is_own(address: SocketAddr) -> io::Result<bool> {
    let asked = match address.ip() {
        // Only a local address can be sent from. Binding alone does not say so: `ip_nonlocal_bind` lets it pass.
        IpAddr::V4(ip) => UdpSocket::bind((ip, 0)).and_then(|socket| socket.connect(address)).map(|()| true),
        // The way to an address of our own starts at that address. (For IPv4 it starts at the interface's first.)
        IpAddr::V6(ip) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))
            .and_then(|socket| socket.connect(address).and_then(|()| socket.local_addr()))
            .map(|local| local.ip() == ip),
    };
    asked.or_else(|error| match error.raw_os_error() {
        // Without descriptors or memory nothing is known, and nothing can be dialled.
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => Err(error),
        // Bindable, but every port is taken.
        Some(libc::EADDRINUSE) => Ok(true),
        // Not ours, or no way there: the connection itself says so next.
        _ => Ok(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_address_is_known_as_ours() {
        let is_own = |text: &str| is_own(text.parse().unwrap()).unwrap();
        assert!(is_own("127.0.0.1:1") && is_own("127.0.0.2:1") && is_own("[::1]:1"));
        assert!(!is_own("8.8.8.8:1") && !is_own("[2606:4700::1111]:1"));
        assert_eq!(class_if_own("127.0.0.1:1".parse().unwrap()).unwrap(), None, "that is loopback anyway");
    }
}
