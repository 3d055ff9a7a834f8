//! The guard against the registries, every form and spelling of an address, and its rules.

mod registry;
mod rules;
mod spellings;

use proptest::prelude::*;

use super::*;

fn class(text: &str) -> AddressClass {
    classify(text.parse().unwrap_or_else(|_| panic!("{text}")))
}

/// How hard an address is to open: not at all, by a range, or one by one.
fn tier(class: AddressClass) -> u8 {
    match class {
        AddressClass::Public => 0,
        class if class.needs_single_address() => 2,
        _ => 1,
    }
}

#[test]
fn what_no_registry_tells_apart_is_told_apart() {
    use AddressClass::{
        Documentation, LinkLocal, Loopback, Metadata, Multicast, Private, Public, Reserved, Unspecified,
    };
    #[rustfmt::skip]
    let table = [
        ("8.8.8.8", Public), ("93.184.216.34", Public), ("2001:4860:4860::8888", Public), ("2606:4700::1111", Public),
        ("169.254.169.254", Metadata), ("169.254.170.2", Metadata), ("169.254.170.23", Metadata), ("100.100.100.200", Metadata),
        ("192.0.0.192", Metadata), ("168.63.129.16", Metadata), ("168.63.129.15", Public), ("168.63.129.17", Public),
        ("fd00:ec2::254", Metadata), ("fd00:ec2::23", Metadata), ("fd20:ce::254", Metadata), ("fd00:c1::a9fe:a9fe", Metadata),
        ("::2", Unspecified), ("::127.0.0.1", Loopback), ("::169.254.169.254", Metadata), ("::8.8.8.8", Reserved),
        ("::ffff:127.0.0.1", Loopback), ("::ffff:10.0.0.1", Private), ("::ffff:8.8.8.8", Public), ("::ffff:169.254.169.254", Metadata),
        ("::ffff:0:127.0.0.1", Loopback), ("::ffff:0:8.8.8.8", Reserved),
        ("64:ff9b::127.0.0.1", Loopback), ("64:ff9b::10.1.2.3", Private), ("64:ff9b::8.8.8.8", Public),
        ("64:ff9b::169.254.169.254", Metadata), ("64:ff9b::1:0:0", Reserved), ("64:ff9b:2::1", Reserved),
        ("64:ff9b:1::8.8.8.8", Private), ("64:ff9b:1::127.0.0.1", Loopback), ("64:ff9b:1:a9fe:a9:fe00::", Metadata),
        ("64:ff9b:1:a9:fe:a9fe::", Metadata), ("64:ff9b:1:0:a9:fea9:fe00:0", Metadata),
        ("2001:0:7f00:1::", Loopback), ("2001:0:808:808:0:0:80ff:fffe", Loopback), ("2001:0:808:808:0:0:5601:5601", Metadata),
        ("2002:7f00:1::", Loopback), ("2002:a00:1::", Private), ("2002:808:808::", Public), ("2002:a9fe:a9fe::1", Metadata),
        ("2606::5efe:7f00:1", Loopback), ("2606::200:5efe:10.0.0.1", Private), ("2606::5efe:8.8.8.8", Public), ("2606::1:5efe:10.0.0.1", Public),
        ("fe80::5efe:10.0.0.1", LinkLocal), ("fd00::5efe:169.254.169.254", Metadata),
        ("1fff::1", Reserved), ("4000::1", Reserved), ("fe00::1", Reserved), ("2001:dba::1", Public), ("2001:200::1", Public),
        ("3fff:1000::1", Public), ("3fff::1", Documentation), ("febf::1", LinkLocal), ("ff02::1", Multicast),
    ];
    for (text, expected) in table {
        assert_eq!(class(text), expected, "{text}");
    }
}

#[test]
fn some_names_are_refused_wherever_they_point() {
    for name in [
        "metadata.google.internal",
        "METADATA.Google.Internal.",
        "x.metadata.google.internal",
        "metadata",
        "metadata.",
        "instance-data",
        "Instance-Data.ec2.internal",
        "metadata.goog",
        "api.metadata.cloud.ibm.com",
    ] {
        assert_eq!(class_of_name(name), Some(AddressClass::Metadata), "{name}");
    }
    for name in ["localhost", "localhost.", "LOCALHOST", "a.localhost", "a.b.LocalHost."] {
        assert_eq!(class_of_name(name), Some(AddressClass::Loopback), "{name}");
    }
    for name in
        ["metadata.example.com", "xmetadata.goog", "alocalhost", "localhost.example", "host", "l", ".", ""]
    {
        assert_eq!(class_of_name(name), None, "{name}");
    }
}

#[test]
fn a_host_is_an_address_a_name_or_neither() {
    let address = |text: &str| Host::Address(text.parse().unwrap());
    assert_eq!(read_host("127.0.0.1"), address("127.0.0.1"));
    assert_eq!(read_host("[::1]"), address("::1"));
    for host in ["localhost", "a1", "1a.example", "0x7f.example.", "example.c0m"] {
        assert_eq!(read_host(host), Host::Name(host));
    }
    for host in [
        "127.1",
        "2130706433",
        "0x7f.1",
        "0x7F000001",
        "a.0x",
        "127.0.0.1.",
        "1.",
        "",
        ".",
        "x.12",
        "[127.0.0.1]",
        "[::1",
        "::1",
        "127.0.0.1:80",
        "[fe80::1%25eth0]",
        "[]",
        "[a.example]",
    ] {
        assert_eq!(read_host(host), Host::Neither, "{host}");
    }
}

proptest! {
    /// What the standard library calls special, by its own (narrower) predicates, is not public here.
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
}
