//! Which addresses a delivery may be sent to. PURE: an address in, a verdict out; the connector asks before it dials.
//!
//! Refused unless `[egress]` names them: everything that the IANA special-purpose registries keep from the public
//! internet, the metadata services of clouds, and every IPv6 form that carries such an IPv4 address inside. An
//! IPv4-mapped address is the IPv4 address and is judged as such; the other forms reach it through a gateway, so a
//! rule for the IPv4 address does not open them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressClass {
    /// Anyone's: may be dialled.
    Public,
    /// This machine: `127.0.0.0/8`, `::1`.
    Loopback,
    /// "This host": `0.0.0.0/8` and `::`, which Linux takes for loopback.
    Unspecified,
    /// `169.254.0.0/16`, `fe80::/10`.
    LinkLocal,
    /// A cloud's metadata service: hands out credentials to whoever asks.
    Metadata,
    /// An address of one of this machine's own interfaces.
    Own,
    /// `10.0.0.0/8`, `172.16.0.0/12`, `192.168.0.0/16`, `fc00::/7` and the like.
    Private,
    /// Carrier-grade NAT: `100.64.0.0/10`.
    CarrierNat,
    /// Multicast and broadcast.
    Multicast,
    /// For examples in documents.
    Documentation,
    /// For measuring networks: `198.18.0.0/15`.
    Benchmark,
    /// Everything else that is not for the public internet.
    Reserved,
}

impl AddressClass {
    /// In words, after "is".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            AddressClass::Public => "public",
            AddressClass::Loopback => "loopback",
            AddressClass::Unspecified => "unspecified",
            AddressClass::LinkLocal => "link-local",
            AddressClass::Metadata => "a cloud metadata service",
            AddressClass::Own => "an address of this machine",
            AddressClass::Private => "private",
            AddressClass::CarrierNat => "carrier-grade NAT",
            AddressClass::Multicast => "multicast or broadcast",
            AddressClass::Documentation => "reserved for documentation",
            AddressClass::Benchmark => "reserved for benchmarks",
            AddressClass::Reserved => "reserved",
        }
    }

    /// Whether only a rule for exactly this address opens it: a range is never meant to include these.
    fn needs_single_address(self) -> bool {
        matches!(
            self,
            AddressClass::Loopback
                | AddressClass::Unspecified
                | AddressClass::LinkLocal
                | AddressClass::Metadata
                | AddressClass::Own
        )
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.words())
    }
}

/// Metadata services. Some lie in public ranges (Azure's wire server), some in private ones that may be opened.
const METADATA_V4: [Ipv4Addr; 6] = [
    Ipv4Addr::new(169, 254, 169, 254), // nearly all clouds
    Ipv4Addr::new(169, 254, 170, 2),   // AWS ECS
    Ipv4Addr::new(169, 254, 170, 23),  // AWS EKS
    Ipv4Addr::new(100, 100, 100, 200), // Alibaba
    Ipv4Addr::new(192, 0, 0, 192),     // Oracle
    Ipv4Addr::new(168, 63, 129, 16),   // Azure wire server
];
/// The same over IPv6.
const METADATA_V6: [Ipv6Addr; 5] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), // AWS
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),  // AWS EKS
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),  // Google
    Ipv6Addr::new(0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe), // Oracle
    Ipv6Addr::new(0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42),   // Scaleway
];
/// Names that metadata services go by: refused as such wherever they resolve to.
const METADATA_NAMES: [&str; 6] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
];

/// IANA's IPv4 special-purpose registry, and multicast: first match counts, no match is public.
const RANGES_V4: [([u8; 4], u8, AddressClass); 19] = [
    ([0, 0, 0, 0], 8, AddressClass::Unspecified),
    ([10, 0, 0, 0], 8, AddressClass::Private),
    ([100, 64, 0, 0], 10, AddressClass::CarrierNat),
    ([127, 0, 0, 0], 8, AddressClass::Loopback),
    ([169, 254, 0, 0], 16, AddressClass::LinkLocal),
    ([172, 16, 0, 0], 12, AddressClass::Private),
    ([192, 0, 0, 0], 24, AddressClass::Reserved),
    ([192, 0, 2, 0], 24, AddressClass::Documentation),
    ([192, 31, 196, 0], 24, AddressClass::Reserved),
    ([192, 52, 193, 0], 24, AddressClass::Reserved),
    ([192, 88, 99, 0], 24, AddressClass::Reserved),
    ([192, 168, 0, 0], 16, AddressClass::Private),
    ([192, 175, 48, 0], 24, AddressClass::Reserved),
    ([198, 18, 0, 0], 15, AddressClass::Benchmark),
    ([198, 51, 100, 0], 24, AddressClass::Documentation),
    ([203, 0, 113, 0], 24, AddressClass::Documentation),
    ([224, 0, 0, 0], 4, AddressClass::Multicast),
    ([255, 255, 255, 255], 32, AddressClass::Multicast),
    ([240, 0, 0, 0], 4, AddressClass::Reserved),
];
/// The IPv6 registry, without the forms that embed IPv4: first match counts; no match is public within `2000::/3`
/// and reserved outside it.
const RANGES_V6: [([u16; 3], u8, AddressClass); 10] = [
    ([0x64, 0xff9b, 1], 48, AddressClass::Private),
    ([0x2001, 0xdb8, 0], 32, AddressClass::Documentation),
    ([0x2001, 0x2, 0], 48, AddressClass::Benchmark),
    ([0x2001, 0, 0], 23, AddressClass::Reserved),
    ([0x2620, 0x4f, 0x8000], 48, AddressClass::Reserved),
    ([0x3fff, 0, 0], 20, AddressClass::Documentation),
    ([0xfc00, 0, 0], 7, AddressClass::Private),
    ([0xfe80, 0, 0], 10, AddressClass::LinkLocal),
    ([0xfec0, 0, 0], 10, AddressClass::Private),
    ([0xff00, 0, 0], 8, AddressClass::Multicast),
];

/// Says what an address is for.
#[must_use]
pub fn classify(address: IpAddr) -> AddressClass {
    match address.to_canonical() {
        IpAddr::V4(address) => classify_v4(address),
        IpAddr::V6(address) => classify_v6(address),
    }
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    if METADATA_V4.contains(&address) {
        return AddressClass::Metadata;
    }
    let bits = address.to_bits();
    RANGES_V4
        .iter()
        .find(|(net, prefix, _)| (bits ^ u32::from_be_bytes(*net)).leading_zeros() >= u32::from(*prefix))
        .map_or(AddressClass::Public, |(_, _, class)| *class)
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if address == Ipv6Addr::LOCALHOST {
        return AddressClass::Loopback;
    }
    if address == Ipv6Addr::UNSPECIFIED {
        return AddressClass::Unspecified;
    }
    if METADATA_V6.contains(&address) {
        return AddressClass::Metadata;
    }
    let own = classify_v6_range(address);
    // What a gateway would reach counts as much as the address itself; the stricter of the two wins.
    embedded_v4(address).into_iter().flatten().map(classify_v4).fold(own, stricter)
}

fn classify_v6_range(address: Ipv6Addr) -> AddressClass {
    let bits = address.to_bits();
    let within = |[a, b, c]: [u16; 3], prefix: u8| {
        let net = Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_bits();
        (bits ^ net).leading_zeros() >= u32::from(prefix)
    };
    if let Some((_, _, class)) = RANGES_V6.iter().find(|(net, prefix, _)| within(*net, *prefix)) {
        return *class;
    }
    // NAT64's well-known prefix is how IPv6-only machines reach all of IPv4.
    let nat64 = matches!(address.segments(), [0x64, 0xff9b, 0, 0, 0, 0, _, _]);
    if nat64 || within([0x2000, 0, 0], 3) { AddressClass::Public } else { AddressClass::Reserved }
}

/// The IPv4 addresses that an IPv6 address may stand for, by every form that some gateway understands.
fn embedded_v4(address: Ipv6Addr) -> [Option<Ipv4Addr>; 2] {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    // Of two readings, one of 0.x.x.x is not the one that was meant.
    let meant = |forms: [Option<Ipv4Addr>; 2]| forms.map(|form| form.filter(|v4| v4.to_bits() >> 24 != 0));
    match address.segments() {
        // IPv4-compatible, IPv4-translated, NAT64's well-known prefix, 6to4.
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => [v4(high, low), None],
        // NAT64 with a local prefix of 96 bits, or of 48 (RFC 6052 leaves octet 8 empty in between).
        [0x64, 0xff9b, 1, a, b, c, high, low] => meant([v4(high, low), v4(a, b << 8 | c >> 8)]),
        // Teredo: the server, and the client with its bits flipped.
        [0x2001, 0, a, b, _, _, high, low] => meant([v4(a, b), v4(!high, !low)]),
        _ => [None, None],
    }
}

/// The class that is harder to open.
fn stricter(one: AddressClass, other: AddressClass) -> AddressClass {
    let rank = |class: AddressClass| match class {
        AddressClass::Public => 0,
        class if class.needs_single_address() => 2,
        _ => 1,
    };
    if rank(other) > rank(one) { other } else { one }
}

/// Whether a host name is one that a cloud's metadata service answers to.
#[must_use]
pub fn is_metadata_name(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    METADATA_NAMES.iter().any(|name| name.eq_ignore_ascii_case(host))
}

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
struct Rule {
    net: IpNet,
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

    /// Whether this very address may be dialled. `named` is what the host name alone makes of it, if anything.
    pub fn check(
        &self,
        address: SocketAddr,
        transport: Transport,
        named: Option<AddressClass>,
    ) -> Result<(), Refusal> {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        let class = named.unwrap_or_else(|| classify(address.ip()));
        let covers = |rules: &[Rule]| rules.iter().any(|rule| rule.covers(address, class));
        let allowed = covers(&self.allow);
        let http_allowed = covers(&self.allow_http);
        if class != AddressClass::Public && !allowed && !http_allowed {
            return Err(Refusal::Address(class));
        }
        // Plain http on this machine's loopback crosses no network, so the rule that opens it is enough.
        let http = http_allowed || (allowed && class == AddressClass::Loopback);
        if transport == Transport::Plain && !http { Err(Refusal::PlainHttp) } else { Ok(()) }
    }
}

/// Reads `10.0.0.0/8`, `192.168.7.9/32:8443`, `fd00::1/128:8443` (brackets as you like), `127.0.0.1`, `127.0.0.1:8080`
/// or `[::1]:8080`.
fn parse_rule(text: &str) -> Result<Rule, String> {
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

#[cfg(test)]
#[path = "guard_tests.rs"]
mod tests;
