//! Addresses, rules and hosts: nothing panics, and an address that is only opened one by one is never dialled without
//! a rule that spells out just this address.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use postrider::delivery::guard::{
    AddressClass, EgressPolicy, Host, Transport, class_of_name, classify, read_host,
};
use url::Url;

/// Loopback, unspecified, link-local and metadata addresses.
const ONE_BY_ONE: [Ipv4Addr; 9] = [
    Ipv4Addr::new(127, 0, 0, 1),
    Ipv4Addr::new(127, 255, 255, 254),
    Ipv4Addr::new(0, 0, 0, 0),
    Ipv4Addr::new(169, 254, 0, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
    Ipv4Addr::new(168, 63, 129, 16),
];

fuzz_target!(|data: &[u8]| {
    let Some((fixed, text)) = data.split_at_checked(18) else { return };
    let mut bits = [0; 16];
    bits.copy_from_slice(&fixed[..16]);
    let any = Ipv6Addr::from_bits(u128::from_be_bytes(bits));
    let port = u16::from_be_bytes([fixed[16], fixed[17]]);
    let text = String::from_utf8_lossy(text);
    let lines: Vec<String> = text.lines().take(16).map(str::to_owned).collect();
    hosts(&lines);

    // Rules that are refused are refused; the others make a policy.
    let accepted = |line: &&String| match EgressPolicy::parse(std::slice::from_ref(*line), &[]) {
        Ok(_) => true,
        Err((key, message)) => {
            assert!(key == "allow" && !message.is_empty());
            false
        }
    };
    let (http, plain): (Vec<_>, Vec<_>) =
        lines.iter().filter(accepted).cloned().enumerate().partition(|(n, _)| n % 2 == 1);
    let rules = |list: Vec<(usize, String)>| list.into_iter().map(|(_, rule)| rule).collect::<Vec<_>>();
    let (allow, allow_http) = (rules(plain), rules(http));
    let policy = EgressPolicy::parse(&allow, &allow_http).expect("every rule was accepted by itself");
    let all: Vec<_> = allow.iter().chain(&allow_http).collect();
    for address in candidates(any) {
        judge(&policy, SocketAddr::new(address, port), &all);
    }
});

/// The given address, those that are only opened one by one, and every IPv6 form of them.
fn candidates(any: Ipv6Addr) -> Vec<IpAddr> {
    let [_, a, b, c, _, _, high, low] = any.segments();
    let own = Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let mut all: Vec<IpAddr> =
        vec![any.into(), own.into(), Ipv6Addr::LOCALHOST.into(), Ipv6Addr::UNSPECIFIED.into()];
    all.push(Ipv6Addr::new(0xfe80, a, b, c, 0, 0, high, low).into());
    all.push(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254).into());
    for v4 in ONE_BY_ONE.into_iter().chain([own]) {
        let [w, x, y, z] = v4.octets().map(u16::from);
        let (high, low) = (w << 8 | x, y << 8 | z);
        all.extend([
            IpAddr::from(v4),
            v4.to_ipv6_mapped().into(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low).into(),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low).into(),
            Ipv6Addr::new(0x64, 0xff9b, 1, a, b, c, high, low).into(),
            Ipv6Addr::new(0x2002, high, low, a, b, c, a, b).into(),
        ]);
    }
    all
}

/// Holds a verdict to the rules as texts.
fn judge(policy: &EgressPolicy, address: SocketAddr, rules: &[&String]) {
    let class = classify(address.ip());
    assert!(!class.words().is_empty());
    let canonical = address.ip().to_canonical();
    let one_by_one = match canonical {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.octets()[0] == 0 || ONE_BY_ONE.contains(&v4)
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unspecified() || v6.is_unicast_link_local(),
    };
    for transport in [Transport::Tls, Transport::Plain] {
        let verdict = policy.check(address, transport, None);
        assert_eq!(verdict, policy.check(SocketAddr::new(canonical, address.port()), transport, None));
        for known in [AddressClass::Loopback, AddressClass::Metadata, AddressClass::Own] {
            let stricter = policy.check(address, transport, Some(known));
            assert!(verdict.is_ok() || stricter.is_err(), "{address}: {known:?} made it easier to open");
        }
        if verdict.is_err() {
            continue;
        }
        assert!(class == AddressClass::Public || !rules.is_empty(), "{address} went through without a rule");
        if one_by_one {
            assert_ne!(class, AddressClass::Public, "{address}");
            assert!(rules.iter().any(|rule| spells(rule, canonical)), "{address} went through by {rules:?}");
        }
    }
}

/// Whether a rule names this one address.
fn spells(rule: &str, address: IpAddr) -> bool {
    let (text, prefix) = match rule.split_once('/') {
        Some((text, rest)) => (text.trim_matches(['[', ']']), rest.split(':').next()),
        None => (rule, None),
    };
    let named = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|named| named.ip()));
    let Ok(named) = named else { return false };
    let whole = if named.is_ipv4() { 32 } else { 128 };
    named.to_canonical() == address && prefix.is_none_or(|prefix| prefix.parse() == Ok(whole))
}

/// A host in a URL is read as the URL parser reads it.
fn hosts(lines: &[String]) {
    for line in lines {
        let _any = (read_host(line), class_of_name(line));
        let Ok(url) = Url::parse(&format!("https://{line}/")) else { continue };
        if postrider::delivery::check_url(&url).is_err() {
            continue;
        }
        let uri: http::Uri = url.as_str().parse().expect("a checked URL can be carried");
        let read = read_host(uri.host().expect("it has a host"));
        match url.host() {
            Some(url::Host::Ipv4(v4)) => assert_eq!(read, Host::Address(v4.into())),
            Some(url::Host::Ipv6(v6)) => assert_eq!(read, Host::Address(v6.into())),
            Some(url::Host::Domain(name)) => {
                // A name whose last label is empty is none: it fails before anyone is asked.
                let unnamed = format!(".{name}").ends_with("..");
                assert!(read == Host::Name(name) || (read == Host::Neither && unnamed), "{name}: {read:?}");
            }
            None => panic!("{url} has no host"),
        }
    }
}
