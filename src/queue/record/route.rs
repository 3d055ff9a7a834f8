//! PURE. The records of how connections are made.

use bincode::{Decode, Encode};

use super::parse;
use super::proof::exposed;
use crate::model::{Credentials, Proxy, ProxyKind, Route, Secret, Tls};
use crate::queue::seal::Unreadable;

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct RouteRecord {
    tls: Option<TlsRecord>,
    proxy: Option<ProxyRecord>,
    http2: Option<bool>,
    bind_address: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct TlsRecord {
    ca: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub(super) struct ProxyRecord {
    scheme: String,
    host: String,
    port: u16,
    /// User name and password.
    credentials: Option<(String, String)>,
}

impl From<&Route> for RouteRecord {
    fn from(route: &Route) -> RouteRecord {
        let tls = route.tls.as_ref().map(|tls| TlsRecord {
            ca: tls.ca.as_ref().map(ToString::to_string),
            certificate: tls.certificate.as_ref().map(ToString::to_string),
            key: tls.key.as_ref().map(exposed),
        });
        let proxy = route.proxy.as_ref().map(|proxy| ProxyRecord {
            scheme: proxy.kind.scheme().to_owned(),
            host: proxy.host.to_string(),
            port: proxy.port,
            credentials: proxy
                .credentials
                .as_ref()
                .map(|credentials| (credentials.username.to_string(), exposed(&credentials.password))),
        });
        let bind_address = route.bind_address.map(|address| address.to_string());
        RouteRecord { tls, proxy, http2: route.http2, bind_address }
    }
}

impl RouteRecord {
    pub(super) fn into_route(self) -> Result<Route, Unreadable> {
        let tls = self.tls.map(|tls| Tls {
            ca: tls.ca.map(String::into_boxed_str),
            certificate: tls.certificate.map(String::into_boxed_str),
            key: tls.key.map(Secret::new),
        });
        let proxy = self.proxy.map(ProxyRecord::into_proxy).transpose()?;
        let bind_address = self.bind_address.as_deref().map(parse).transpose()?;
        Ok(Route { tls, proxy, http2: self.http2, bind_address })
    }
}

impl ProxyRecord {
    fn into_proxy(self) -> Result<Proxy, Unreadable> {
        let kinds = [ProxyKind::Http, ProxyKind::Https, ProxyKind::Socks5];
        let kind = kinds.into_iter().find(|kind| kind.scheme() == self.scheme).ok_or(Unreadable::Garbled)?;
        let credentials = self.credentials.map(|(username, password)| Credentials {
            username: username.into_boxed_str(),
            password: Secret::new(password),
        });
        Ok(Proxy { kind, host: self.host.into_boxed_str(), port: self.port, credentials })
    }
}
