//! `[egress]`: what may be dialled beyond the public internet. PURE: texts in, rules out; an address in, a verdict out.
//!
//! Two tiers: ranges open what is private, carrier NAT, reserved and the like; loopback, link-local, unspecified and
//! metadata addresses, and public ones of this machine, are opened one by one.

use std::net::{IpAddr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::{AddressClass, classify, stricter};

/// How a connection would be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Plain `http://`.
    Plain,
    /// `https://`.
    Tls,
}

/// Why an address is not dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not public and no rule names it.
    Address(AddressClass),
    /// It may be dialled, but not with plain http.
    PlainHttp,
}

/// A range of addresses, on one port or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) net: IpNet,
    port: Option<u16>,
}

impl Rule {
    fn covers(&self, address: SocketAddr, class: AddressClass) -> bool {
        let wide_enough = !class.needs_single_address() || is_single(self.net);
        wide_enough && self.port.is_none_or(|port| port == address.port()) && self.net.contains(&address.ip())
    }
}

fn is_single(net: IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// `[egress]`: what may be dialled beyond the public internet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    allow: Vec<Rule>,
    allow_http: Vec<Rule>,
}

impl EgressPolicy {
    /// Reads the two lists of `[egress]`: CIDR ranges or single addresses, each with an optional port.
    ///
    /// # Errors
    /// The key at fault (`allow` or `allow_http`) and a sentence that says what would be right.
    pub fn parse(allow: &[String], allow_http: &[String]) -> Result<EgressPolicy, (&'static str, String)> {
        let rules = |field: &'static str, texts: &[String]| -> Result<Vec<Rule>, (&'static str, String)> {
            texts.iter().map(|text| parse_rule(text).map_err(|message| (field, message))).collect()
        };
        Ok(EgressPolicy { allow: rules("allow", allow)?, allow_http: rules("allow_http", allow_http)? })
    }

    /// Whether this very address may be dialled. `known` is what else is
    /// known of it, if anything: by its name, or because it is this machine's.
    pub fn check(
        &self,
        address: SocketAddr,
        transport: Transport,
        known: Option<AddressClass>,
    ) -> Result<(), Refusal> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let own = classify(address.ip());
        let class = known.map_or(own, |known| stricter(own, known));
        let covers = |rules: &[Rule]| rules.iter().any(|rule| rule.covers(address, class));
        let allowed = covers(&self.allow);
        let http_allowed = covers(&self.allow_http);
        if class != AddressClass::Public && !allowed && !http_allowed {
            return Err(Refusal::Address(class));
        }
        // Plain http on this machine's loopback crosses no network, so the rule that opens it is enough.
        let http = http_allowed || (allowed && own == AddressClass::Loopback);
        if transport == Transport::Plain && !http { Err(Refusal::PlainHttp) } else { Ok(()) }
    }

    /// Whether plain http may go to this port wherever it is: all that can be asked of a name that is resolved
    /// elsewhere.
    #[must_use]
    pub fn allows_http_anywhere(&self, port: u16) -> bool {
        let is_everywhere =
            |rule: &Rule| rule.net.prefix_len() == 0 && rule.port.is_none_or(|only| only == port);
        self.allow_http.iter().any(is_everywhere)
    }
}

/// Reads `10.0.0.0/8`, `192.168.7.9/32:8443`, `fd00::1/128:8443` (brackets as you like), `127.0.0.1`, `127.0.0.1:8080`
/// or `[::1]:8080`.
pub(super) fn parse_rule(text: &str) -> Result<Rule, String> {
    let shown = text.escape_debug();
    let invalid = || {
        format!(
            "\"{shown}\" is not an address range: write for example \"10.0.0.0/8\" or \"192.168.7.9/32:8443\""
        )
    };
    let (net, port) = split_rule(text).ok_or_else(invalid)?;
    if port == Some(0) {
        return Err(format!("\"{shown}\": the port must be 1 to 65535"));
    }
    if net.trunc() != net {
        return Err(format!("\"{shown}\" has bits beyond its prefix: write \"{}\"", net.trunc()));
    }
    let net = unmap(net);
    let class = classify(net.network());
    let inside = class.needs_single_address() && same_class_throughout(net, class);
    if inside && !is_single(net) {
        return Err(format!("\"{shown}\" is {class}: such addresses are allowed one by one, as /32 or /128"));
    }
    Ok(Rule { net, port })
}

/// Whether a range lies within one of the ranges that are only opened address by address; a wider one that contains
/// such a range is fine and does not open it.
fn same_class_throughout(net: IpNet, class: AddressClass) -> bool {
    classify(net.broadcast()) == class
}

fn split_rule(text: &str) -> Option<(IpNet, Option<u16>)> {
    let port = |text: &str| -> Option<u16> {
        if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
    };
    if let Some((address, rest)) = text.split_once('/') {
        let (prefix, port) = match rest.split_once(':') {
            Some((prefix, text)) => (prefix, Some(port(text)?)),
            None => (rest, None),
        };
        if !prefix.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let bare = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
        return Some((IpNet::new(bare.parse().ok()?, prefix.parse().ok()?).ok()?, port));
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some((address.into(), None));
    }
    let address: SocketAddr = text.parse().ok()?;
    Some((address.ip().into(), Some(address.port())))
}

/// A range of IPv4-mapped addresses is the IPv4 range.
fn unmap(net: IpNet) -> IpNet {
    match net {
        IpNet::V6(v6) => v6
            .network()
            .to_ipv4_mapped()
            .zip(v6.prefix_len().checked_sub(96))
            .and_then(|(address, prefix)| Ipv4Net::new(address, prefix).ok())
            .map_or(net, IpNet::V4),
        IpNet::V4(_) => net,
    }
}
