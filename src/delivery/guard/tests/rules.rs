//! What `[egress]` opens and what it does not, and what it says to whom mistypes it.

use proptest::prelude::*;

use super::super::rules::parse_rule;
use super::*;

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
fn what_else_is_known_of_an_address_makes_it_harder_to_open_never_easier() {
    let check = |policy: &EgressPolicy, transport, address: &str, known| {
        policy.check(address.parse().unwrap(), transport, Some(known))
    };
    for known in [AddressClass::Metadata, AddressClass::Own, AddressClass::Loopback] {
        let tls = |policy: &EgressPolicy, address| check(policy, Transport::Tls, address, known);
        let refused = Err(Refusal::Address(known));
        assert_eq!(tls(&EgressPolicy::default(), "8.8.8.8:443"), refused);
        assert_eq!(tls(&policy(&["8.8.8.0/24", "10.0.0.0/8"], &[]), "8.8.8.8:443"), refused);
        assert_eq!(tls(&policy(&["8.8.8.0/24", "10.0.0.0/8"], &[]), "10.0.0.1:443"), refused);
        assert_eq!(tls(&policy(&["8.8.8.8/32"], &[]), "8.8.8.8:443"), Ok(()));
        assert_eq!(
            tls(&policy(&["0.0.0.0/0"], &[]), "127.0.0.1:443"),
            Err(Refusal::Address(AddressClass::Loopback))
        );
    }
    // Plain http to what is called localhost and lies elsewhere crosses a network.
    let elsewhere = policy(&["10.0.0.1/32"], &[]);
    let plain = check(&elsewhere, Transport::Plain, "10.0.0.1:80", AddressClass::Loopback);
    assert_eq!(plain, Err(Refusal::PlainHttp));
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

proptest! {
    /// The rule parser never panics, and what it accepts it accepts again when written out.
    #[test]
    fn the_rule_parser_takes_any_text(text in "[0-9a-f:./\\[\\]x ]{0,40}") {
        if let Ok(rule) = parse_rule(&text) {
            prop_assert_eq!(parse_rule(&rule.net.to_string()).map(|again| again.net), Ok(rule.net));
        }
    }
}
