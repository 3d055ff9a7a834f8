//! Turns what went wrong on the network into a stable reason and a sentence. Says host and port at most: no path, no
//! query, no header, no payload.

use std::error::Error;
use std::io;
use std::net::{IpAddr, SocketAddr};

use rustls::{AlertDescription, CertificateError};

use super::connector::resolver::Unresolved;
use super::connector::traffic::Endless;
use super::guard::AddressClass;
use crate::model::{FailReason, Proxy};

/// Why an attempt failed, and a sentence on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: FailReason,
    pub(super) detail: String,
    /// There was no file descriptor for it: nothing was sent, and nothing is known of the receiver.
    pub(super) starved: bool,
}

impl Failure {
    pub(super) fn new(reason: FailReason, detail: impl Into<String>) -> Failure {
        Failure { reason, detail: detail.into(), starved: false }
    }
}

/// Why there is no connection. `Display` continues "no connection to HOST: ".
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the name does not resolve: {0}")]
    Resolve(String),
    #[error("{address} is {class}, and [egress] allow does not name it")]
    AddressNotAllowed { address: IpAddr, class: AddressClass },
    #[error("plain http to {address} is not allowed: use https, or name the address in [egress] allow_http")]
    HttpNotAllowed { address: IpAddr },
    #[error("{address}: {error}")]
    Io { address: SocketAddr, error: io::Error },
    /// Our own limits, not the receiver.
    #[error("{0}")]
    Local(io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("it took too long")]
    TooLong,
    #[error("{}", bind_words(*from, error))]
    Bind { from: IpAddr, error: io::Error },
    #[error("it has no address of the same family as bind_address {from}")]
    OtherFamily { from: IpAddr },
    #[error("its name is that of {class}, and such names are not handed to a proxy")]
    NameNotAllowed { class: AddressClass },
    #[error(
        "plain http to a name that the proxy resolves is not allowed: use https, or put 0.0.0.0/0 into [egress] allow_http"
    )]
    HttpToNameNotAllowed,
    /// No connection to the proxy itself.
    #[error("{}", at_proxy_words(proxy, error))]
    AtProxy { proxy: String, error: Box<ConnectError> },
    /// The proxy does not put us through.
    #[error("the proxy {proxy} {words}")]
    NotThrough { proxy: String, words: String },
}

impl From<Unresolved> for ConnectError {
    fn from(unresolved: Unresolved) -> ConnectError {
        match unresolved {
            Unresolved::Name(words) => ConnectError::Resolve(words.into_owned()),
            Unresolved::Local(code) => ConnectError::Local(io::Error::from_raw_os_error(code)),
        }
    }
}

fn bind_words(from: IpAddr, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EADDRNOTAVAIL) => format!("bind_address {from} is not an address of this machine"),
        _ => format!("cannot connect from bind_address {from}: {error}"),
    }
}

fn at_proxy_words(proxy: &str, error: &ConnectError) -> String {
    match error {
        ConnectError::Tls(words) => format!("the TLS handshake with the proxy {proxy} failed: {words}"),
        error => format!("no connection to the proxy {proxy}: {error}"),
    }
}

impl ConnectError {
    pub(super) fn connect(address: SocketAddr, error: io::Error) -> ConnectError {
        if is_local(&error) { ConnectError::Local(error) } else { ConnectError::Io { address, error } }
    }

    /// For a host that no URL should have.
    pub(super) fn neither() -> ConnectError {
        ConnectError::Resolve("it is neither a name nor an address".to_owned())
    }

    pub(super) fn at_proxy(proxy: &Proxy, error: ConnectError) -> ConnectError {
        ConnectError::AtProxy { proxy: proxy.authority(), error: Box::new(error) }
    }

    pub(super) fn not_through(proxy: &Proxy, words: String) -> ConnectError {
        ConnectError::NotThrough { proxy: proxy.authority(), words }
    }

    /// What a TLS connector's error is: ours passed through, or the handshake's.
    pub(super) fn from_tls(error: Box<dyn Error + Send + Sync>) -> ConnectError {
        match error.downcast::<ConnectError>() {
            Ok(ours) => *ours,
            Err(error) => ConnectError::Tls(match tls_error(error.as_ref()) {
                Some(error) => tls_words(error),
                None => broken_off(innermost(error.as_ref())),
            }),
        }
    }

    /// Whether there was no file descriptor.
    fn is_starved(&self) -> bool {
        match self {
            ConnectError::Local(error) => {
                matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
            }
            ConnectError::AtProxy { error, .. } => error.is_starved(),
            _ => false,
        }
    }

    fn reason(&self) -> FailReason {
        match self {
            ConnectError::Resolve(_) => FailReason::Dns,
            ConnectError::AddressNotAllowed { .. } | ConnectError::NameNotAllowed { .. } => {
                FailReason::AddressNotAllowed
            }
            ConnectError::HttpNotAllowed { .. } | ConnectError::HttpToNameNotAllowed => {
                FailReason::HttpNotAllowed
            }
            ConnectError::Io { .. } | ConnectError::OtherFamily { .. } | ConnectError::NotThrough { .. } => {
                FailReason::Connect
            }
            ConnectError::Local(_) | ConnectError::Bind { .. } => FailReason::Local,
            ConnectError::AtProxy { error, .. } => error.reason(),
            ConnectError::Tls(_) => FailReason::Tls,
            ConnectError::TooLong => FailReason::Timeout,
        }
    }
}

/// Whether an error says that we ran out of something: descriptors, memory, local ports.
pub(super) fn is_local(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// Judges an error of the HTTP client. `target` is `scheme://host:port`.
pub(super) fn classify(error: &(dyn Error + 'static), target: &str) -> Failure {
    if let Some(error) = find::<ConnectError>(error) {
        return match error {
            ConnectError::Tls(words) => {
                Failure::new(FailReason::Tls, format!("the TLS handshake with {target} failed: {words}"))
            }
            error => {
                let detail = format!("no connection to {target}: {error}");
                Failure { starved: error.is_starved(), ..Failure::new(error.reason(), detail) }
            }
        };
    }
    // A receiver that wants a certificate of ours says so only after the handshake.
    if let Some(error) = tls_error(error) {
        return Failure::new(FailReason::Tls, format!("TLS with {target} failed: {}", tls_words(error)));
    }
    if let Some(error) = find::<h2::Error>(error).filter(|error| !error.is_io()) {
        return classify_http2(error, target);
    }
    let Some(error) = find::<hyper::Error>(error) else {
        return match find::<io::Error>(error) {
            Some(error) if is_local(error) => Failure::new(FailReason::Local, error.to_string()),
            _ => {
                Failure::new(FailReason::Reset, format!("{target} closed the connection before it answered"))
            }
        };
    };
    if let Some(endless) = find::<Endless>(error) {
        return Failure::new(FailReason::Protocol, format!("{target} did not come to an end: {endless}"));
    }
    if spoke_unasked(error) {
        return Failure::new(FailReason::Protocol, format!("{target} sent something before it was asked"));
    }
    if error.is_parse_too_large() {
        return Failure::new(FailReason::Protocol, format!("{target} answered with headers past the limit"));
    }
    if error.is_parse() {
        return Failure::new(FailReason::Protocol, format!("{target} did not answer in HTTP/1.1: {error}"));
    }
    if error.is_user() {
        return Failure::new(FailReason::Local, format!("the request could not be written: {error}"));
    }
    match find::<io::Error>(error) {
        Some(error) if is_local(error) => Failure::new(FailReason::Local, error.to_string()),
        Some(error) => Failure::new(
            FailReason::Reset,
            format!("{target} broke the connection before it answered: {}", broken_off(innermost(error))),
        ),
        None => Failure::new(FailReason::Reset, format!("{target} closed the connection before it answered")),
    }
}

/// What went wrong within HTTP/2.
fn classify_http2(error: &h2::Error, target: &str) -> Failure {
    let code = error.reason().map_or_else(|| error.to_string(), |reason| format!("{reason:?}"));
    if error.is_remote() && error.is_go_away() {
        return Failure::new(FailReason::Reset, format!("{target} closed the HTTP/2 connection: {code}"));
    }
    if error.is_remote() {
        return Failure::new(FailReason::Reset, format!("{target} reset the HTTP/2 stream: {code}"));
    }
    Failure::new(FailReason::Protocol, format!("{target} broke the rules of HTTP/2: {code}"))
}

/// Whether the receiver said that it has not begun to work on a request: it may be sent again whatever it asks for.
pub(super) fn was_not_taken(error: &(dyn Error + 'static)) -> bool {
    let Some(error) = find::<h2::Error>(error).filter(|error| error.is_remote()) else { return false };
    match error.reason() {
        // The connection ends in peace, and only requests that came too late end with it.
        Some(h2::Reason::NO_ERROR) => error.is_go_away(),
        Some(h2::Reason::REFUSED_STREAM) => error.is_reset(),
        _ => false,
    }
}

/// Whether a connection was given up because something came on it that answers nothing. The HTTP library knows no other
/// way to tell than its words.
fn spoke_unasked(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| inner(*error)).any(|error| {
        error
            .downcast_ref::<hyper::Error>()
            .is_some_and(|error| error.to_string().contains("unexpected message"))
    })
}

/// The first error of type `T` in a chain, looking into what `io::Error` wraps.
fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        next = inner(error);
    }
    None
}

/// What an error wraps. `io::Error::source` skips the error it wraps, so that one is asked for it by name.
fn inner<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => error.source(),
    }
}

fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let mut last = error;
    while let Some(next) = inner(last) {
        last = next;
    }
    last
}

/// An end in the middle in plain words; the TLS library's point to its own manual.
fn broken_off(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>() {
        Some(error) if error.kind() == io::ErrorKind::UnexpectedEof => "it ended in the middle".to_owned(),
        _ => error.to_string(),
    }
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    find::<rustls::Error>(error)
}

/// The common causes in plain words; the rest as the TLS library says it.
fn tls_words(error: &rustls::Error) -> String {
    let cause = match error {
        rustls::Error::InvalidCertificate(cause) => cause,
        rustls::Error::AlertReceived(alert) => return alert_words(*alert),
        error => return error.to_string(),
    };
    match cause {
        CertificateError::UnknownIssuer => {
            "no known authority signed its certificate (for a private one set tls.ca, or [egress] ca_file)"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name".to_owned()
        }
        other => format!("its certificate is not valid: {other}"),
    }
}

/// What the other side does not like.
fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it wants a client certificate".to_owned(),
        AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateUnknown
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::UnknownCA => format!("it does not take our certificate ({alert:?})"),
        alert => format!("it refused with the alert {alert:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_out_of_something_is_our_own_trouble() {
        for code in [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL] {
            let error =
                ConnectError::connect("8.8.8.8:1".parse().unwrap(), io::Error::from_raw_os_error(code));
            let failure = classify(&error, "https://a.example:443");
            assert_eq!(failure.reason, FailReason::Local, "{failure:?}");
        }
        let error = ConnectError::connect(
            "8.8.8.8:1".parse().unwrap(),
            io::Error::from_raw_os_error(libc::ECONNREFUSED),
        );
        let failure = classify(&error, "https://a.example:443");
        assert_eq!(failure.reason, FailReason::Connect);
        assert!(
            failure.detail.starts_with("no connection to https://a.example:443: 8.8.8.8:1: "),
            "{failure:?}"
        );
    }

    #[test]
    fn an_error_is_found_however_deep_it_is_wrapped() {
        let wrapped = io::Error::other(io::Error::other(ConnectError::TooLong));
        assert!(matches!(find::<ConnectError>(&wrapped), Some(ConnectError::TooLong)));
        assert_eq!(classify(&wrapped, "x").reason, FailReason::Timeout);
        let tls = io::Error::other(io::Error::other(rustls::Error::HandshakeNotComplete));
        assert_eq!(classify(&tls, "x").reason, FailReason::Tls);
    }
}
