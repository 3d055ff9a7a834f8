//! How a connection to a receiver is made, where it differs from the daemon's own way.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use super::Secret;

/// The longest URL of a proxy.
const PROXY_URL_MAX: usize = 2048;
/// The longest user name or password that every proxy can be told (RFC 1929).
const CREDENTIAL_MAX: usize = 255;

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

    /// Where it listens if its URL does not say.
    fn default_port(self) -> u16 {
        match self {
            ProxyKind::Http => 80,
            ProxyKind::Https => 443,
            ProxyKind::Socks5 => 1080,
        }
    }
}

impl FromStr for Proxy {
    type Err = String;

    /// Reads `http://user:password@proxy:3128` and the like. The error quotes nothing: the text may hold a password.
    fn from_str(text: &str) -> Result<Proxy, String> {
        let refuse = |rule: &str| Err(rule.to_owned());
        if text.len() > PROXY_URL_MAX {
            return refuse("must have at most 2048 bytes");
        }
        if text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
            return refuse("must not contain spaces, control characters or backslashes");
        }
        let kinds = [ProxyKind::Http, ProxyKind::Https, ProxyKind::Socks5];
        let parsed = text.split_once("://").and_then(|(scheme, rest)| {
            let kind = kinds.into_iter().find(|kind| scheme.eq_ignore_ascii_case(kind.scheme()))?;
            Some((kind, rest.starts_with('/'), Url::parse(text).ok()?))
        });
        let Some((kind, false, url)) = parsed else {
            return refuse("must be a URL like http://proxy.example:3128, https://… or socks5://…");
        };
        if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
            return refuse("must end after the port: a proxy has no path");
        }
        // For socks5 the URL parser leaves the host as it is: it must mean the same as in any other URL.
        let Some(Ok(host)) = url.host_str().filter(|host| !host.is_empty()).map(Host::parse) else {
            return refuse("must name a host, as in http://proxy.example:3128");
        };
        let port = url.port().unwrap_or(kind.default_port());
        if port == 0 {
            return refuse("must not have port 0");
        }
        let host = match host {
            Host::Domain(name) => name,
            Host::Ipv4(address) => address.to_string(),
            Host::Ipv6(address) => address.to_string(),
        };
        let credentials = Credentials::of(&url, kind)?;
        Ok(Proxy { kind, host: host.into_boxed_str(), port, credentials })
    }
}

impl Proxy {
    /// `host:port`, an IPv6 address in brackets.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Proxy {
    /// Its URL without credentials.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.kind.scheme(), self.authority())
    }
}

impl Credentials {
    /// Those of a proxy's URL.
    fn of(url: &Url, kind: ProxyKind) -> Result<Option<Credentials>, String> {
        let password = url.password();
        if url.username().is_empty() && password.is_none() {
            return Ok(None);
        }
        let decode =
            |text: &str| percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned);
        let username = decode(url.username()).filter(|name| !name.is_empty() && !name.contains(':'));
        let Some((username, password)) = username.zip(decode(password.unwrap_or_default())) else {
            return Err("must have a user name without a colon before the password, both UTF-8".to_owned());
        };
        let fits = |text: &str| text.len() <= CREDENTIAL_MAX && !text.chars().any(char::is_control);
        if !fits(&username) || !fits(&password) {
            return Err(
                "must have a user name and a password of at most 255 bytes, without control characters"
                    .to_owned(),
            );
        }
        if kind == ProxyKind::Socks5 && password.is_empty() {
            return Err("must have a password beside the user name: SOCKS5 knows none without".to_owned());
        }
        Ok(Some(Credentials { username: username.into_boxed_str(), password: Secret::new(password) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_read_from_its_url_and_shown_without_its_password() {
        for (text, shown, credentials) in [
            ("http://proxy.example:3128", "http://proxy.example:3128", None),
            ("HTTP://Proxy.Example/", "http://proxy.example:80", None),
            ("https://u:p@proxy.example", "https://proxy.example:443", Some(("u", "p"))),
            ("socks5://u:p%40%3A@[2001:DB8::1]", "socks5://[2001:db8::1]:1080", Some(("u", "p@:"))),
            ("socks5://127.1:9", "socks5://127.0.0.1:9", None),
            ("http://u@10.0.0.1:80", "http://10.0.0.1:80", Some(("u", ""))),
        ] {
            let proxy: Proxy = text.parse().unwrap_or_else(|rule| panic!("{text}: {rule}"));
            assert_eq!(proxy.to_string(), shown);
            let found = proxy.credentials.as_ref().map(|found| (&*found.username, found.password.expose()));
            assert_eq!(found, credentials, "{text}");
        }
    }

    #[test]
    fn what_is_no_proxy_is_refused_without_being_quoted() {
        for (text, says) in [
            ("", "must be a URL like"),
            ("canary:3128", "must be a URL like"),
            ("ftp://canary:21", "must be a URL like"),
            ("socks5h://canary:1080", "must be a URL like"),
            ("socks5:///canary", "must be a URL like"),
            ("http:canary", "must be a URL like"),
            ("http://", "must be a URL like"),
            ("socks5://:1080", "must be a URL like"),
            ("http://canary:x", "must be a URL like"),
            ("http://canary:0", "port 0"),
            ("http://canary:3128/path", "no path"),
            ("http://canary:3128?x", "no path"),
            ("socks5://canary:3128#x", "no path"),
            ("socks5://can%00ary:3128", "name a host"),
            ("http://ca nary", "spaces"),
            ("http://a\\@canary", "backslashes"),
            ("http://:canary@proxy:1", "user name"),
            ("http://%ff:canary@proxy:1", "user name"),
            ("http://a%3Ab:canary@proxy:1", "user name"),
            ("http://a:canary%0d%0a@proxy:1", "control characters"),
            ("socks5://canary@proxy:1", "password beside"),
        ] {
            let rule = text.parse::<Proxy>().unwrap_err();
            assert!(rule.contains(says) && !rule.contains("canary"), "{text}: {rule}");
        }
        assert!(format!("http://u:{}@proxy:1", "x".repeat(256)).parse::<Proxy>().is_err());
    }
}
