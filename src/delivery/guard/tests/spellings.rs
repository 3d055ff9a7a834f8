//! Every way to write an address into a URL is the same address, or is refused.

use url::Url;

use super::*;
use crate::delivery::guard::{EgressPolicy, Refusal, Transport};
use crate::delivery::request::check_url;

/// Decisions of a writer, one after the other; the first one for ever once they are used up.
struct Whims<'a>(std::iter::Cycle<std::slice::Iter<'a, u8>>);

impl Whims<'_> {
    fn one_in(&mut self, n: u8) -> bool {
        self.0.next().unwrap().is_multiple_of(n)
    }

    fn below(&mut self, n: u8) -> u8 {
        self.0.next().unwrap() % n
    }
}

/// An IPv4 address as some parser somewhere has taken it: 1 to 4 parts, each decimal, octal or hex, with leading zeros,
/// other dots, a dot at the end, full-width digits, percent signs.
fn written(address: Ipv4Addr, whims: &mut Whims) -> String {
    let octets = address.octets().map(u32::from);
    let parts = usize::from(whims.below(4)) + 1;
    let rest = octets[parts - 1..].iter().fold(0, |number, octet| number << 8 | octet);
    let mut text = String::new();
    for (n, part) in octets[..parts - 1].iter().copied().chain([rest]).enumerate() {
        if n > 0 {
            text += [".", ".", ".", "\u{3002}", "\u{ff0e}", "\u{ff61}"][usize::from(whims.below(6))];
        }
        let zeros = "0".repeat(usize::from(whims.below(3)));
        let part = match whims.below(5) {
            0 => format!("0x{zeros}{part:x}"),
            1 => format!("0X{zeros}{part:X}"),
            2 => format!("0{zeros}{part:o}"),
            _ => part.to_string(),
        };
        text += &part;
    }
    if whims.one_in(5) {
        text.push('.');
    }
    let odd = |c: char, whims: &mut Whims| match c {
        '!'..='~' if whims.one_in(12) => char::from_u32(u32::from(c) + 0xfee0).unwrap().to_string(),
        '!'..='~' if whims.one_in(12) => format!("%{:02x}", u32::from(c)),
        '0'..='9' if whims.one_in(20) => char::from_u32(u32::from(c) - 0x30 + 0x1d7ce).unwrap().to_string(),
        c => c.to_string(),
    };
    text.chars().map(|c| odd(c, whims)).collect()
}

/// An IPv6 address in brackets: short, long, in capitals, with leading zeros, with a dotted end.
fn bracketed(address: Ipv6Addr, whims: &mut Whims) -> String {
    let groups = address.segments();
    let long =
        |groups: &[u16]| groups.iter().map(|group| format!("{group:04x}")).collect::<Vec<_>>().join(":");
    let text = match whims.below(3) {
        0 => address.to_string(),
        1 => long(&groups),
        _ => {
            let [a, b, c, d] = (u32::from(groups[6]) << 16 | u32::from(groups[7])).to_be_bytes();
            format!("{}:{a}.{b}.{c}.{d}", long(&groups[..6]))
        }
    };
    format!("[{}]", if whims.one_in(2) { text.to_uppercase() } else { text })
}

/// Every IPv6 address that some gateway takes for this IPv4 address.
fn embeddings(v4: Ipv4Addr, left: u16, right: u16) -> Vec<Ipv6Addr> {
    let [a, b, c, d] = v4.octets().map(u16::from);
    let (high, low) = (a << 8 | b, c << 8 | d);
    let mut forms = vec![
        v4.to_ipv6_mapped(),
        Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
        Ipv6Addr::new(0x2002, high, low, left, right, left, right, left),
        Ipv6Addr::new(0x2002, 0x808, 0x808, right, 0, 0x5efe, high, low),
        Ipv6Addr::new(0x2606, left, right, left, 0, 0x5efe, high, low),
        Ipv6Addr::new(0xfd00, left, right, left, 0x200, 0x5efe, high, low),
    ];
    // Forms of several readings: one that begins with 0 is not taken for the one that was meant.
    if a != 0 {
        forms.extend([
            Ipv6Addr::new(0x64, 0xff9b, 1, left, right, left, high, low),
            Ipv6Addr::new(0x64, 0xff9b, 1, high, low >> 8, low << 8, left, right),
            Ipv6Addr::new(0x64, 0xff9b, 1, left << 8 | a, b, c << 8 | d, left, right),
            Ipv6Addr::new(0x64, 0xff9b, 1, left, a, b << 8 | c, d << 8, right),
            Ipv6Addr::new(0x2001, 0, high, low, left, right, left, right),
            Ipv6Addr::new(0x2001, 0, left, right, left, right, !high, !low),
        ]);
    }
    forms
}

/// Addresses that matter, and any.
fn addresses() -> impl Strategy<Value = Ipv4Addr> {
    let special = METADATA_V4.iter().copied().chain(RANGES_V4.map(|(net, ..)| Ipv4Addr::from(net)));
    let special: Vec<_> = special.chain([Ipv4Addr::LOCALHOST, Ipv4Addr::new(10, 0, 0, 8)]).collect();
    prop_oneof![proptest::sample::select(special), any::<u32>().prop_map(Ipv4Addr::from_bits)]
}

/// What is dialled for this URL: the address or the name, if it is taken at all.
fn host_of(url: &str) -> Option<(http::Uri, Url)> {
    let url = Url::parse(url).ok().filter(|url| check_url(url).is_ok())?;
    Some((url.as_str().parse().unwrap(), url))
}

#[test]
fn the_spellings_that_url_parsers_take_are_read() {
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
        "１２７.0.0.1",
        "[::1]",
        "[0:0:0:0:0:0:0:1]",
        "[::ffff:127.0.0.1]",
        "[::FFFF:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::127.0.0.1]",
        "[::ffff:0:7f00:1]",
    ] {
        let (uri, _) = host_of(&format!("http://{host}/")).unwrap_or_else(|| panic!("{host}"));
        let Host::Address(address) = read_host(uri.host().unwrap()) else { panic!("{host} reads as {uri}") };
        assert_eq!(classify(address), AddressClass::Loopback, "{host}");
    }
    for host in
        ["[fe80::1%25eth0]", "[fe80::1%eth0]", "127.0.0.256", "1.2.3.4.5", "0x1ffffffff", "[::1", "::1"]
    {
        assert!(host_of(&format!("http://{host}/")).is_none(), "{host}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_spelling_is_the_address_itself_or_refused(
        v4 in addresses(),
        whims in proptest::collection::vec(any::<u8>(), 97),
        scheme in "https?",
    ) {
        let host = written(v4, &mut Whims(whims.iter().cycle()));
        if let Some((uri, _)) = host_of(&format!("{scheme}://{host}/")) {
            prop_assert_eq!(read_host(uri.host().unwrap()), Host::Address(v4.into()), "{}", host);
        }
        // Without the URL parser in front nothing but the plain form is an address, and nothing is a name.
        match read_host(&host) {
            Host::Address(address) => prop_assert_eq!(address, IpAddr::V4(v4), "{}", host),
            Host::Name(name) => prop_assert!(!name.is_ascii() || name.contains('%'), "{}", host),
            Host::Neither => {}
        }
    }

    /// No way of writing an IPv4 address into an IPv6 one makes it easier to reach.
    #[test]
    fn an_embedded_address_is_never_laxer_than_itself(
        v4 in addresses(),
        (left, right, port) in any::<(u16, u16, u16)>(),
        whims in proptest::collection::vec(any::<u8>(), 7),
    ) {
        let all = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
        let wide = EgressPolicy::parse(&all, &all).unwrap();
        let expected = classify(v4.into());
        prop_assert_eq!(classify(v4.to_ipv6_mapped().into()), expected);
        let mut whims = Whims(whims.iter().cycle());
        for form in embeddings(v4, left, right) {
            let host = bracketed(form, &mut whims);
            let (uri, _) = host_of(&format!("https://{host}/")).unwrap();
            prop_assert_eq!(read_host(uri.host().unwrap()), Host::Address(form.into()), "{}", host);
            let found = classify(form.into());
            prop_assert!(tier(found) >= tier(expected), "{} in {}: {:?}", v4, host, found);
            let dialled = std::net::SocketAddr::new(form.into(), port);
            let verdict = wide.check(dialled, Transport::Tls, None);
            if tier(expected) == 2 {
                prop_assert!(matches!(verdict, Err(Refusal::Address(_))), "{} in {}", v4, host);
            }
            if expected != AddressClass::Public {
                let verdict = EgressPolicy::default().check(dialled, Transport::Tls, None);
                prop_assert!(matches!(verdict, Err(Refusal::Address(_))), "{} in {}", v4, host);
            }
        }
    }
}
