//! IANA's special-purpose registries, row by row, as an oracle: what each block is for, and what lies just outside it.

use AddressClass::{
    Benchmark, CarrierNat, Documentation, LinkLocal, Loopback, Multicast, Private, Public, Reserved,
    Unspecified,
};

use super::*;

/// What a block's addresses are for.
#[derive(Debug, Clone, Copy)]
enum For {
    /// This.
    Is(AddressClass),
    /// What the IPv4 address that ends so many bits from the right is for, and at least this.
    Carries(u32, AddressClass),
}
use For::{Carries, Is};

/// A row: first address, prefix length, what it is for, its name, where it is defined.
type Row = (&'static str, u32, For, &'static str, &'static str);

#[rustfmt::skip]
const IPV4: [Row; 27] = [
    ("0.0.0.0", 8, Is(Unspecified), "this network", "RFC 791"),
    ("0.0.0.0", 32, Is(Unspecified), "this host on this network", "RFC 1122"),
    ("10.0.0.0", 8, Is(Private), "private use", "RFC 1918"),
    ("100.64.0.0", 10, Is(CarrierNat), "shared address space", "RFC 6598"),
    ("127.0.0.0", 8, Is(Loopback), "loopback", "RFC 1122"),
    ("169.254.0.0", 16, Is(LinkLocal), "link local", "RFC 3927"),
    ("172.16.0.0", 12, Is(Private), "private use", "RFC 1918"),
    ("192.0.0.0", 24, Is(Reserved), "IETF protocol assignments", "RFC 6890"),
    ("192.0.0.0", 29, Is(Reserved), "IPv4 service continuity", "RFC 7335"),
    ("192.0.0.8", 32, Is(Reserved), "IPv4 dummy address", "RFC 7600"),
    ("192.0.0.9", 32, Is(Reserved), "port control protocol anycast", "RFC 7723"),
    ("192.0.0.10", 32, Is(Reserved), "TURN anycast", "RFC 8155"),
    ("192.0.0.170", 31, Is(Reserved), "NAT64/DNS64 discovery", "RFC 7050"),
    ("192.0.2.0", 24, Is(Documentation), "TEST-NET-1", "RFC 5737"),
    ("192.31.196.0", 24, Is(Reserved), "AS112-v4", "RFC 7535"),
    ("192.52.193.0", 24, Is(Reserved), "AMT", "RFC 7450"),
    ("192.88.99.0", 24, Is(Reserved), "6to4 relay anycast, deprecated", "RFC 7526"),
    ("192.168.0.0", 16, Is(Private), "private use", "RFC 1918"),
    ("192.175.48.0", 24, Is(Reserved), "direct delegation AS112", "RFC 7534"),
    ("198.18.0.0", 15, Is(Benchmark), "benchmarking", "RFC 2544"),
    ("198.51.100.0", 24, Is(Documentation), "TEST-NET-2", "RFC 5737"),
    ("203.0.113.0", 24, Is(Documentation), "TEST-NET-3", "RFC 5737"),
    ("224.0.0.0", 4, Is(Multicast), "multicast", "RFC 5771"),
    ("233.252.0.0", 24, Is(Multicast), "MCAST-TEST-NET", "RFC 6676"),
    ("240.0.0.0", 4, Is(Reserved), "reserved", "RFC 1112"),
    ("255.255.255.255", 32, Is(Multicast), "limited broadcast", "RFC 919"),
    ("192.88.99.2", 32, Is(Reserved), "6a44 relay anycast", "RFC 6751"),
];

#[rustfmt::skip]
const IPV6: [Row; 31] = [
    ("::", 96, Carries(0, Reserved), "IPv4-compatible, deprecated", "RFC 4291"),
    ("::", 128, Is(Unspecified), "unspecified", "RFC 4291"),
    ("::1", 128, Is(Loopback), "loopback", "RFC 4291"),
    ("::ffff:0:0", 96, Carries(0, Public), "IPv4-mapped", "RFC 4291"),
    ("::ffff:0:0:0", 96, Carries(0, Reserved), "IPv4-translated", "RFC 2765"),
    ("64:ff9b::", 96, Carries(0, Public), "IPv4-IPv6 translation", "RFC 6052"),
    ("64:ff9b:1::", 48, Is(Private), "IPv4-IPv6 translation, local", "RFC 8215"),
    ("100::", 64, Is(Reserved), "discard only", "RFC 6666"),
    ("100:0:0:1::", 64, Is(Reserved), "dummy prefix", "RFC 9780"),
    ("2000::", 3, Is(Public), "global unicast", "RFC 4291"),
    ("2001::", 23, Is(Reserved), "IETF protocol assignments", "RFC 2928"),
    ("2001::", 32, Carries(64, Reserved), "Teredo", "RFC 4380"),
    ("2001:1::1", 128, Is(Reserved), "port control protocol anycast", "RFC 7723"),
    ("2001:1::2", 128, Is(Reserved), "TURN anycast", "RFC 8155"),
    ("2001:1::3", 128, Is(Reserved), "DNS-SD service registration anycast", "RFC 9665"),
    ("2001:2::", 48, Is(Benchmark), "benchmarking", "RFC 5180"),
    ("2001:3::", 32, Is(Reserved), "AMT", "RFC 7450"),
    ("2001:4:112::", 48, Is(Reserved), "AS112-v6", "RFC 7535"),
    ("2001:10::", 28, Is(Reserved), "ORCHID, deprecated", "RFC 4843"),
    ("2001:20::", 28, Is(Reserved), "ORCHIDv2", "RFC 7343"),
    ("2001:30::", 28, Is(Reserved), "drone remote id", "RFC 9374"),
    ("2001:db8::", 32, Is(Documentation), "documentation", "RFC 3849"),
    ("2002::", 16, Carries(80, Public), "6to4", "RFC 3056"),
    ("2620:4f:8000::", 48, Is(Reserved), "direct delegation AS112", "RFC 7534"),
    ("3fff::", 20, Is(Documentation), "documentation", "RFC 9637"),
    ("5f00::", 16, Is(Reserved), "segment routing SIDs", "RFC 9602"),
    ("fc00::", 7, Is(Private), "unique local", "RFC 4193"),
    ("fe80::", 10, Is(LinkLocal), "link local unicast", "RFC 4291"),
    ("fec0::", 10, Is(Private), "site local, deprecated", "RFC 3879"),
    ("ff00::", 8, Is(Multicast), "multicast", "RFC 4291"),
    ("ff02::", 16, Is(Multicast), "multicast, link local scope", "RFC 4291"),
];

/// An address as a number, and how many bits its family has.
fn number(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(v4) => (v4.to_bits().into(), 32),
        IpAddr::V6(v6) => (v6.to_bits(), 128),
    }
}

fn address(number: u128, bits: u32) -> IpAddr {
    match u32::try_from(number) {
        Ok(v4) if bits == 32 => Ipv4Addr::from_bits(v4).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

/// First and last address of a row's block.
fn block((first, prefix, ..): &Row) -> (u128, u128, u32) {
    let (first, bits) = number(first.parse().unwrap());
    let hosts = u128::MAX.checked_shr(128 - bits + prefix).unwrap_or(0);
    assert_eq!(first & hosts, 0, "a block begins at a multiple of its size");
    (first, first | hosts, bits)
}

/// What the most specific row says of an address, and that row; nothing special is public, but for IPv6 beyond `2000::/3`.
fn says(address: IpAddr) -> (For, &'static str) {
    let (number, bits) = number(address);
    let rows = if bits == 32 { &IPV4[..] } else { &IPV6[..] };
    let within = |row: &&Row| {
        let (first, last, _) = block(row);
        (first..=last).contains(&number)
    };
    let nothing = if bits == 32 { Public } else { Reserved };
    rows.iter().filter(within).max_by_key(|row| row.1).map_or((Is(nothing), "no row"), |row| (row.2, row.3))
}

/// Holds the classifier to the row. Metadata services are in no registry and lie anywhere.
fn agrees(address: IpAddr) -> Result<(), String> {
    let found = classify(address);
    let (expected, row) = says(address);
    let right = match expected {
        _ if found == AddressClass::Metadata => {
            METADATA_V4.iter().any(|v4| IpAddr::V4(*v4) == address || address.is_ipv6())
                || METADATA_V6.iter().any(|v6| IpAddr::V6(*v6) == address)
        }
        Is(class) => {
            found == class || (class == Private && row.contains("local") && tier(found) > tier(class))
        }
        Carries(shift, at_least) => {
            let carried =
                Ipv4Addr::from_bits(u32::try_from(number(address).0 >> shift & 0xffff_ffff).unwrap());
            let carried = match says(carried.into()).0 {
                Is(class) => class,
                Carries(..) => unreachable!("IPv4 carries nothing"),
            };
            tier(found) >= tier(carried).max(tier(at_least)) || (row == "Teredo" && found == Reserved)
        }
    };
    if right { Ok(()) } else { Err(format!("{address} ({row}): {found:?}, not {expected:?}")) }
}

#[test]
fn every_row_of_the_registries_is_known_to_its_edges() {
    let mut wrong = Vec::new();
    for row in IPV4.iter().chain(&IPV6) {
        let (first, last, bits) = block(row);
        let end = if bits == 32 { u32::MAX.into() } else { u128::MAX };
        let (name, rfc) = (row.3, row.4);
        for edge in [first, last] {
            wrong.extend(agrees(address(edge, bits)).map_err(|why| format!("{name}, {rfc}: {why}")).err());
        }
        let outside = [first.checked_sub(1), last.checked_add(1).filter(|after| *after <= end)];
        for edge in outside.into_iter().flatten() {
            wrong.extend(
                agrees(address(edge, bits)).map_err(|why| format!("beside {name}, {rfc}: {why}")).err(),
            );
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_is_not_globally_reachable_is_never_public() {
    for row in IPV4.iter().chain(&IPV6) {
        let Is(class) = row.2 else { continue };
        let (first, last, bits) = block(row);
        for inside in [first, first + (last - first) / 2, last] {
            let found = classify(address(inside, bits));
            assert_eq!(found == Public, class == Public, "{} in {}, {}", address(inside, bits), row.3, row.4);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    /// Any address, and any within some row's block, is what the most specific row says.
    #[test]
    fn every_address_is_what_the_registries_say(bits: u128, v4: u32, row in 0..IPV4.len() + IPV6.len()) {
        let row = IPV4.iter().chain(&IPV6).nth(row).unwrap();
        let (first, last, width) = block(row);
        let inside = address(first | (bits & (last - first)), width);
        for address in [Ipv4Addr::from_bits(v4).into(), Ipv6Addr::from_bits(bits).into(), inside] {
            prop_assert_eq!(agrees(address), Ok(()));
        }
    }
}
