//! The guard's table against the registries, its rules, and every spelling of an address that a URL can carry.

use proptest::prelude::*;
use url::Url;

use super::*;

fn class(text: &str) -> AddressClass {
    classify(text.parse().unwrap_or_else(|_| panic!("{text}")))
}

#[test]
fn every_special_range_is_told_apart_at_its_edges() {
    use AddressClass::{
        Benchmark, CarrierNat, Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public,
        Reserved, Unspecified,
    };
    #[rustfmt::skip]
    let table = [
        ("0.0.0.0", Unspecified), ("0.255.255.255", Unspecified), ("1.0.0.0", Public),
        ("9.255.255.255", Public), ("10.0.0.0", Private), ("10.255.255.255", Private), ("11.0.0.0", Public),
        ("100.63.255.255", Public), ("100.64.0.0", CarrierNat), ("100.127.255.255", CarrierNat), ("100.128.0.0", Public),
        ("126.255.255.255", Public), ("127.0.0.0", Loopback), ("127.255.255.255", Loopback), ("128.0.0.0", Public),
        ("169.253.255.255", Public), ("169.254.0.0", LinkLocal), ("169.254.255.255", LinkLocal), ("169.255.0.0", Public),
        ("172.15.255.255", Public), ("172.16.0.0", Private), ("172.31.255.255", Private), ("172.32.0.0", Public),
        ("192.0.0.0", Reserved), ("192.0.0.255", Reserved), ("192.0.1.0", Public),
        ("192.0.2.0", Documentation), ("192.0.2.255", Documentation), ("192.31.196.1", Reserved), ("192.52.193.1", Reserved),
        ("192.88.99.1", Reserved), ("192.167.255.255", Public), ("192.168.0.0", Private), ("192.168.255.255", Private),
        ("192.169.0.0", Public), ("192.175.48.1", Reserved), ("198.17.255.255", Public), ("198.18.0.0", Benchmark),
        ("198.19.255.255", Benchmark), ("198.20.0.0", Public), ("198.51.100.7", Documentation), ("203.0.113.7", Documentation),
        ("223.255.255.255", Public), ("224.0.0.0", Multicast), ("239.255.255.255", Multicast), ("240.0.0.0", Reserved),
        ("255.255.255.254", Reserved), ("255.255.255.255", Multicast), ("8.8.8.8", Public), ("93.184.216.34", Public),
        ("169.254.169.254", Metadata), ("169.254.170.2", Metadata), ("100.100.100.200", Metadata), ("192.0.0.192", Metadata),
        ("168.63.129.16", Metadata), ("168.63.129.17", Public),
        ("::", Unspecified), ("::1", Loopback), ("::2", Unspecified), ("::127.0.0.1", Loopback), ("::8.8.8.8", Reserved),
        ("::ffff:127.0.0.1", Loopback), ("::ffff:10.0.0.1", Private), ("::ffff:8.8.8.8", Public), ("::ffff:169.254.169.254", Metadata),
        ("::ffff:0:127.0.0.1", Loopback), ("::ffff:0:8.8.8.8", Reserved),
        ("64:ff9b::127.0.0.1", Loopback), ("64:ff9b::10.1.2.3", Private), ("64:ff9b::8.8.8.8", Public), ("64:ff9b::169.254.169.254", Metadata),
        ("64:ff9b::1:0:0", Reserved), ("64:ff9b:1::8.8.8.8", Private), ("64:ff9b:1::127.0.0.1", Loopback), ("64:ff9b:1:a9fe:a9:fe00::", Metadata),
        ("64:ff9b:2::1", Reserved), ("100::1", Reserved), ("100:0:0:1::1", Reserved), ("1fff::1", Reserved),
        ("2001::1", Reserved), ("2001:0:7f00:1::", Loopback), ("2001:0:808:808:0:0:80ff:fffe", Loopback), ("2001:1::1", Reserved),
        ("2001:2::1", Benchmark), ("2001:1ff:ffff::1", Reserved), ("2001:200::1", Public), ("2001:4860:4860::8888", Public),
        ("2001:db8::1", Documentation), ("2001:dba::1", Public),
        ("2002:7f00:1::", Loopback), ("2002:a00:1::", Private), ("2002:808:808::", Public), ("2002:a9fe:a9fe::1", Metadata),
        ("2620:4f:8000::1", Reserved), ("2606:4700::1111", Public), ("3fff::1", Documentation), ("3fff:1000::1", Public), ("4000::1", Reserved),
        ("5f00::1", Reserved), ("fc00::1", Private), ("fdff::1", Private), ("fd00:ec2::254", Metadata), ("fd20:ce::254", Metadata),
        ("fe00::1", Reserved), ("fe80::1", LinkLocal), ("febf::1", LinkLocal), ("fec0::1", Private), ("ff02::1", Multicast),
    ];
    for (text, expected) in table {
        assert_eq!(class(text), expected, "{text}");
    }
}

fn policy(allow: &[&str], allow_http: &[&str]) -> EgressPolicy {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    EgressPolicy::parse(&owned(allow), &owned(allow_http)).unwrap()
}

fn verdict(policy: &EgressPolicy, transport: Transport, address: &str) -> Result<(), Refusal> {
    policy.check(address.parse().unwrap_or_else(|_| panic!("{address}")), transport, None)
}

#[test]
fn without_rules_only_public_https_goes_out() {
    let none = EgressPolicy::default();
    assert_eq!(verdict(&none, Transport::Tls, "8.8.8.8:443"), Ok(()));
    assert_eq!(verdict(&none, Transport::Tls, "[2606:4700::1111]:443"), Ok(()));
    assert_eq!(verdict(&none, Transport::Plain, "8.8.8.8:80"), Err(Refusal::PlainHttp));
    // The address comes before the scheme: it stays refused whatever the scheme.
    for transport in [Transport::Tls, Transport::Plain] {
        assert_eq!(verdict(&none, transport, "10.0.0.1:80"), Err(Refusal::Address(AddressClass::Private)));
    }
}

#[test]
fn a_rule_opens_its_range_and_port_and_nothing_else() {
    let rules = policy(&["10.1.0.0/16", "192.168.7.9/32:8443", "fd00:1::/32:443"], &[]);
    let open = |address| verdict(&rules, Transport::Tls, address).is_ok();
    assert!(open("10.1.2.3:443") && open("10.1.255.255:9"));
    assert!(open("[::ffff:10.1.2.3]:443"), "a mapped address is the IPv4 address");
    assert!(!open("10.2.0.1:443") && !open("172.16.0.1:443"));
    assert!(open("192.168.7.9:8443") && !open("192.168.7.9:443") && !open("192.168.7.10:8443"));
    assert!(open("[fd00:1::5]:443") && !open("[fd00:1::5]:444") && !open("[fd00:2::5]:443"));
    // The rule for the IPv4 address does not open the way through a gateway.
    assert!(!open("[64:ff9b::10.1.2.3]:443") && !open("[2002:a01:203::1]:443") && !open("[::10.1.2.3]:443"));
    assert_eq!(verdict(&rules, Transport::Plain, "10.1.2.3:80"), Err(Refusal::PlainHttp));
}

#[test]
fn loopback_link_local_and_metadata_are_opened_one_by_one() {
    let wide = policy(&["0.0.0.0/0", "::/0"], &["0.0.0.0/0"]);
    for address in [
        "127.0.0.1:80",
        "127.1.2.3:80",
        "0.0.0.0:80",
        "169.254.1.1:80",
        "169.254.169.254:80",
        "168.63.129.16:80",
        "100.100.100.200:80",
        "[::1]:80",
        "[::]:80",
        "[fe80::1]:80",
        "[fd00:ec2::254]:80",
        "[::ffff:127.0.0.1]:80",
        "[64:ff9b::7f00:1]:80",
        "[2002:7f00:1::]:80",
        "[64:ff9b:1::a9fe:a9fe]:80",
    ] {
        let refused = verdict(&wide, Transport::Tls, address).unwrap_err();
        assert!(matches!(refused, Refusal::Address(_)), "{address} {refused:?}");
    }
    assert_eq!(verdict(&wide, Transport::Tls, "10.0.0.1:443"), Ok(()));
    let single = policy(&["127.0.0.1/32", "169.254.169.254/32:80", "::1/128"], &[]);
    assert_eq!(verdict(&single, Transport::Tls, "127.0.0.1:80"), Ok(()));
    assert_eq!(verdict(&single, Transport::Tls, "169.254.169.254:80"), Ok(()));
    assert!(verdict(&single, Transport::Tls, "169.254.169.254:81").is_err());
    assert!(verdict(&single, Transport::Tls, "127.0.0.2:80").is_err());
    assert_eq!(verdict(&single, Transport::Tls, "[::1]:80"), Ok(()));
}

#[test]
fn plain_http_goes_where_it_may_and_to_allowed_loopback() {
    let rules = policy(&["127.0.0.1/32", "10.0.0.0/8"], &["192.168.1.0/24:8080", "93.184.216.34"]);
    assert_eq!(verdict(&rules, Transport::Plain, "127.0.0.1:80"), Ok(()));
    assert_eq!(verdict(&rules, Transport::Plain, "10.0.0.1:80"), Err(Refusal::PlainHttp));
    assert_eq!(verdict(&rules, Transport::Plain, "192.168.1.7:8080"), Ok(()), "allow_http allows too");
    assert_eq!(verdict(&rules, Transport::Tls, "192.168.1.7:8080"), Ok(()));
    assert_eq!(
        verdict(&rules, Transport::Plain, "192.168.1.7:80"),
        Err(Refusal::Address(AddressClass::Private))
    );
    assert_eq!(verdict(&rules, Transport::Plain, "93.184.216.34:80"), Ok(()));
    assert_eq!(verdict(&rules, Transport::Plain, "8.8.8.8:80"), Err(Refusal::PlainHttp));
}

#[test]
fn a_metadata_name_needs_its_address_named() {
    for name in ["metadata.google.internal", "METADATA.google.internal.", "metadata", "instance-data"] {
        assert!(is_metadata_name(name), "{name}");
    }
    assert!(!is_metadata_name("metadata.example.com"));
    let named = Some(AddressClass::Metadata);
    let public = "8.8.8.8:443".parse().unwrap();
    assert!(EgressPolicy::default().check(public, Transport::Tls, named).is_err());
    assert!(policy(&["8.8.8.0/24"], &[]).check(public, Transport::Tls, named).is_err());
    assert!(policy(&["8.8.8.8/32"], &[]).check(public, Transport::Tls, named).is_ok());
}

#[test]
fn a_bad_rule_says_what_would_be_right() {
    let refused = |text: &str| {
        let (field, message) = EgressPolicy::parse(&[], &[text.to_owned()]).unwrap_err();
        assert_eq!(field, "allow_http");
        message
    };
    for text in [
        "",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/8:",
        "10.0.0.0/8:x",
        "10.0.0.0/8:+1",
        "10.0.0.0/+8",
        "localhost",
        "10.0.0/8",
        "::1/129",
        "10.0.0.0/8:65536",
    ] {
        assert!(refused(text).contains("write for example"), "{text}: {}", refused(text));
    }
    assert!(refused("10.1.0.0/8").contains("\"10.0.0.0/8\""));
    assert!(refused("10.0.0.0/8:0").contains("1 to 65535"));
    for text in
        ["127.0.0.0/8", "127.0.0.0/31", "169.254.0.0/16", "fe80::/10", "0.0.0.0/8", "::ffff:127.0.0.0/104"]
    {
        assert!(refused(text).contains("one by one"), "{text}: {}", refused(text));
    }
    for text in [
        "127.0.0.1",
        "127.0.0.1:8080",
        "[::1]:8080",
        "::1",
        "::1/128:80",
        "[::1]/128",
        "[::1]/128:80",
        "::ffff:127.0.0.1/128",
        "0.0.0.0/0",
    ] {
        assert!(EgressPolicy::parse(&[text.to_owned()], &[]).is_ok(), "{text}");
    }
    // A mapped rule is the IPv4 rule.
    assert_eq!(verdict(&policy(&["::ffff:127.0.0.1/128"], &[]), Transport::Tls, "127.0.0.1:1"), Ok(()));
}

#[test]
fn every_spelling_in_a_url_is_the_same_address() {
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "0x7f000001",
        "127.0.0.1.",
        "①②⑦.0.0.1",
        "127。0。0。1",
        "%31%32%37.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[::ffff:0:7f00:1]",
    ] {
        let url = Url::parse(&format!("http://{host}/")).unwrap_or_else(|error| panic!("{host}: {error}"));
        let address = match url.host().unwrap() {
            url::Host::Ipv4(address) => address.into(),
            url::Host::Ipv6(address) => address.into(),
            url::Host::Domain(name) => panic!("{host} reads as the name {name}"),
        };
        assert_eq!(classify(address), AddressClass::Loopback, "{host}");
    }
    assert!(Url::parse("http://[fe80::1%25eth0]/").is_err());
}

proptest! {
    /// No way of writing an IPv4 address into an IPv6 one makes it easier to reach.
    #[test]
    fn an_embedded_address_is_never_laxer_than_itself(bits: u32, left: u16, right: u16, port: u16) {
        let v4 = Ipv4Addr::from_bits(bits);
        let expected = classify(v4.into());
        let [a, b, c, d] = v4.octets().map(u16::from);
        let (high, low) = (a << 8 | b, c << 8 | d);
        let forms = [
            v4.to_ipv6_mapped(),
            Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, left, right, left, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, high, low >> 8, low << 8, left, right),
            Ipv6Addr::new(0x2002, high, low, left, right, left, right, left),
            Ipv6Addr::new(0x2001, 0, high, low, left, right, left, right),
            Ipv6Addr::new(0x2001, 0, left, right, left, right, !high, !low),
        ];
        let wide = policy(&["0.0.0.0/0", "::/0"], &["0.0.0.0/0", "::/0"]);
        for form in forms {
            if expected != AddressClass::Public {
                prop_assert_ne!(classify(form.into()), AddressClass::Public, "{} in {}", v4, form);
            }
            let two_readings = matches!(form.segments(), [0x64, 0xff9b, 1, ..] | [0x2001, 0, ..]);
            if expected.needs_single_address() && !(two_readings && expected == AddressClass::Unspecified) {
                let refused = wide.check(SocketAddr::new(form.into(), port), Transport::Tls, None);
                prop_assert!(matches!(refused, Err(Refusal::Address(_))), "{} in {}", v4, form);
            }
        }
        prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), expected);
    }

    /// Whatever is public by the standard library's own (narrower) predicates may differ, but nothing that they call
    /// special is public here.
    #[test]
    fn nothing_the_standard_library_calls_special_is_public(bits: u128, v4_bits: u32) {
        let v6 = Ipv6Addr::from_bits(bits);
        if v6.is_loopback() || v6.is_multicast() || v6.is_unicast_link_local() || v6.is_unique_local() {
            prop_assert_ne!(classify(v6.into()), AddressClass::Public);
        }
        let v4 = Ipv4Addr::from_bits(v4_bits);
        if v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_multicast() || v4.is_documentation() {
            prop_assert_ne!(classify(v4.into()), AddressClass::Public);
        }
    }

    /// The rule parser never panics, and what it accepts it accepts again when written out.
    #[test]
    fn the_rule_parser_takes_any_text(text in "[0-9a-f:./\\[\\]x ]{0,40}") {
        if let Ok(rule) = parse_rule(&text) {
            prop_assert_eq!(parse_rule(&rule.net.to_string()).map(|again| again.net), Ok(rule.net));
        }
    }
}
