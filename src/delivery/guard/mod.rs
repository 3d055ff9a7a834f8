//! Which addresses a delivery may be sent to. PURE: an address in, a verdict out; the connector asks before it dials.
//!
//! Refused unless `[egress]` names them: everything that the IANA special-purpose registries keep from the public
//! internet, the metadata services of clouds, and every IPv6 form that carries such an IPv4 address inside. An
//! IPv4-mapped address is the IPv4 address and is judged as such; the other forms reach it through a gateway, so a
//! rule for the IPv4 address does not open them. A name is judged by what it resolves to; a few names are refused
//! whatever they resolve to.
//!
//! Here is what an address is; `rules` is what `[egress]` makes of it.

mod rules;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use rules::{EgressPolicy, Refusal, Transport};

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
/// Names that metadata services go by; what is below them counts as well.
const METADATA_NAMES: [&str; 10] = [
    "metadata.google.internal",
    "metadata.goog",
    "metadata",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.cloud.ibm.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
    "metadata.tencentyun.com",
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
    embedded_v4(address).map(classify_v4).fold(own, stricter)
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
fn embedded_v4(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    // Of several readings, one of 0.x.x.x is not the one that was meant.
    let meant = |forms: [Option<Ipv4Addr>; 4]| forms.map(|form| form.filter(|v4| v4.to_bits() >> 24 != 0));
    let by_prefix = match address.segments() {
        // IPv4-compatible, IPv4-translated, NAT64's well-known prefix, 6to4.
        [0, 0, 0, 0, 0 | 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => [v4(high, low), None, None, None],
        // NAT64 with a local prefix of 96, 48, 56 or 64 bits (RFC 6052 leaves octet 8 empty in between).
        [0x64, 0xff9b, 1, a, b, c, high, low] => meant([
            v4(high, low),
            v4(a, b << 8 | c >> 8),
            v4(a << 8 | b & 0xff, c),
            v4(b << 8 | c >> 8, c << 8 | high >> 8),
        ]),
        // Teredo: the server, and the client with its bits flipped.
        [0x2001, 0, a, b, _, _, high, low] => meant([v4(a, b), v4(!high, !low), None, None]),
        _ => [None; 4],
    };
    // ISATAP, below any prefix.
    let by_interface = match address.segments() {
        [.., 0 | 0x200, 0x5efe, high, low] => v4(high, low),
        _ => None,
    };
    by_prefix.into_iter().chain([by_interface]).flatten()
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

/// What a URL's host is, before anyone is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Host<'a> {
    /// An address, spelled out.
    Address(IpAddr),
    /// A name to be resolved.
    Name(&'a str),
    /// An address in a spelling that only some resolvers understand. No name ends in a number.
    Neither,
}

/// Reads the host of a URI, brackets included.
#[must_use]
pub fn read_host(host: &str) -> Host<'_> {
    let literal = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').and_then(|inner| inner.parse().ok()).map(IpAddr::V6),
        None => host.parse().ok().map(IpAddr::V4),
    };
    match literal {
        Some(address) => Host::Address(address),
        None if host.contains(['[', ']', ':']) || ends_in_a_number(host) => Host::Neither,
        None => Host::Name(host),
    }
}

fn ends_in_a_number(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let last = host.rsplit('.').next().unwrap_or_default();
    let hex = last.strip_prefix("0x").or_else(|| last.strip_prefix("0X"));
    hex.is_some_and(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit()))
        || last.is_empty()
        || last.bytes().all(|b| b.is_ascii_digit())
}

/// What a name alone says of the addresses it resolves to, whatever they are: this machine, or a metadata service.
#[must_use]
pub fn class_of_name(host: &str) -> Option<AddressClass> {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_or_is_below = |name: &str| {
        let (rest, end) = host.split_at_checked(host.len().wrapping_sub(name.len())).unwrap_or(("x", ""));
        end.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.ends_with('.'))
    };
    if is_or_is_below("localhost") {
        return Some(AddressClass::Loopback);
    }
    METADATA_NAMES.iter().any(|name| is_or_is_below(name)).then_some(AddressClass::Metadata)
}

#[cfg(test)]
mod tests;
