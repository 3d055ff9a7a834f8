//! How a connection to a receiver is made, where it differs from the daemon's own way.

use std::net::IpAddr;

use super::Secret;

/// Settings of a webhook, a client or the daemon; what is `None` is left to the next of these.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Route {
    /// Whom to trust, and who we are. Taken as a whole: a webhook's replaces its client's.
    pub tls: Option<Tls>,
    /// The proxy that connections go through. Never from the environment.
    pub proxy: Option<Proxy>,
    /// Whether HTTP/2 is offered by ALPN; without it HTTP/1.1 is all we speak.
    pub http2: Option<bool>,
    /// The local address that connections come from.
    pub bind_address: Option<IpAddr>,
}

impl Route {
    /// These settings, and those of `base` for what they leave open.
    #[must_use]
    pub fn over(&self, base: &Route) -> Route {
        Route {
            tls: self.tls.clone().or_else(|| base.tls.clone()),
            proxy: self.proxy.clone().or_else(|| base.proxy.clone()),
            http2: self.http2.or(base.http2),
            bind_address: self.bind_address.or(base.bind_address),
        }
    }

    /// Whether everything is left open.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Route::default()
    }
}

/// Certificates, as PEM text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Authorities trusted beside the system's.
    pub ca: Option<Box<str>>,
    /// The certificate that we show, with its chain.
    pub certificate: Option<Box<str>>,
    /// Its private key.
    pub key: Option<Secret>,
}

/// Where connections go through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// What it speaks.
    pub kind: ProxyKind,
    /// Its name or address; an IPv6 address without brackets.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
    /// What it is told of us.
    pub credentials: Option<Credentials>,
}

/// A user name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Credentials {
    /// The user's name.
    pub username: Box<str>,
    /// The user's password.
    pub password: Secret,
}

/// What a proxy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProxyKind {
    /// CONNECT over plain HTTP/1.1.
    Http,
    /// CONNECT over HTTP/1.1 within TLS.
    Https,
    /// SOCKS version 5 (RFC 1928).
    Socks5,
}

impl ProxyKind {
    /// The scheme of its URL.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            ProxyKind::Http => "http",
            ProxyKind::Https => "https",
            ProxyKind::Socks5 => "socks5",
        }
    }
}
