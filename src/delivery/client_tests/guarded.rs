//! What the guard refuses is never dialled: a listener stands at every refused address and must not see a connection.

use hickory_resolver::Hosts;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use tokio::net::UdpSocket;

use super::*;

fn policy(allow: &[&str], allow_http: &[&str]) -> EgressPolicy {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    EgressPolicy::parse(&owned(allow), &owned(allow_http)).unwrap()
}

fn client_with(egress: EgressPolicy, names: Names) -> Client {
    Client::with_names(ClientSettings { egress, ..ClientSettings::default() }, names).unwrap()
}

/// A listener on all addresses of both families that counts whoever connects.
async fn trap() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("[::]:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            read_request(&mut stream).await;
            stream.write_all(OK).await.ok();
        }
    });
    (port, seen)
}

/// A name server that answers every A query with the next of its answers (the last one for ever), AAAA with the other.
async fn name_server(a: &'static [&'static [[u8; 4]]], aaaa: &'static [[u8; 16]]) -> Names {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut asked = 0;
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            // The question: header of 12 bytes, labels up to a zero byte, type and class of 2 bytes each.
            let labels = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            let question_end = 12 + labels + 5;
            let is_a = query[question_end - 3] == 1;
            let records: Vec<&[u8]> = if is_a {
                let answer = a.get(asked).or(a.last()).copied().unwrap_or_default();
                asked += 1;
                answer.iter().map(<[u8; 4]>::as_slice).collect()
            } else {
                aaaa.iter().map(<[u8; 16]>::as_slice).collect()
            };
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::try_from(records.len()).unwrap(), 0, 0, 0, 0]);
            answer.extend(&query[12..question_end]);
            for record in records {
                let kind = if is_a { 1 } else { 28 };
                // A pointer to the name, type, class IN, a time to live of 0 s, and the address.
                answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 0, 0, u8::try_from(record.len()).unwrap()]);
                answer.extend(record);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    names(Hosts::default(), config, ResolverOpts::default())
}

#[tokio::test]
async fn no_spelling_of_a_refused_address_is_dialled() {
    let (port, seen) = trap().await;
    let client = Client::new(ClientSettings::default()).unwrap();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "①②⑦.0.0.1",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "127.8.9.10",
        "10.0.0.1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
        "192.168.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "[ff02::1]",
        "255.255.255.255",
    ] {
        for scheme in ["http", "https"] {
            let made = attempt(&client, &format!("{scheme}://{host}:{port}/hook?token=abc")).await;
            assert_eq!(
                (made.status, made.error),
                (None, Some(FailReason::AddressNotAllowed)),
                "{host}: {made:?}"
            );
            assert!(!made.detail.contains("token") && made.detail.contains("[egress] allow"), "{made:?}");
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0, "nothing was dialled");
    assert_eq!(client.connections(), 0);
}

/// Names that only a hosts file has.
fn hosts(lines: &str) -> Names {
    let mut hosts = Hosts::default();
    hosts.read_hosts_conf(lines.as_bytes()).unwrap();
    names(hosts, ResolverConfig::default(), ResolverOpts::default())
}

#[tokio::test]
async fn no_name_of_a_refused_address_is_dialled() {
    let (port, seen) = trap().await;
    let special = "127.0.0.1 four\n::1 six\n0.0.0.0 any\n:: any-six\n::ffff:127.0.0.1 mapped\n127.9.9.9 far\n\
        64:ff9b::7f00:1 nat\n2002:7f00:1:: sixtofour\n10.0.0.1 private\n169.254.169.254 cloud\nfe80::1 link\n\
        127.0.0.1 both\n::1 both\n8.8.8.8 localhost\n8.8.8.8 sub.localhost\n8.8.8.8 metadata\n8.8.8.8 x.metadata.goog\n";
    let client = client_with(EgressPolicy::default(), hosts(special));
    for line in special.lines() {
        let (_, name) = line.split_once(' ').unwrap();
        for name in [name.to_owned(), name.to_uppercase(), format!("{name}.")] {
            for scheme in ["http", "https"] {
                let made = attempt(&client, &format!("{scheme}://{name}:{port}/")).await;
                let failed = (made.status, made.error);
                assert_eq!(failed, (None, Some(FailReason::AddressNotAllowed)), "{name}: {made:?}");
            }
        }
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0, "nothing was dialled");
}

#[tokio::test]
async fn an_allowed_address_that_hangs_is_no_way_to_a_refused_one() {
    // Refused while its neighbour neither answers nor fails: 250 ms on, the next address would be dialled.
    let (port, seen) = trap().await;
    let names = name_server(&[&[[192, 0, 2, 1], [127, 0, 0, 1]]], &[]).await;
    let client = client_with(policy(&["192.0.2.0/24"], &[]), names);
    let made =
        attempt_within(&client, &format!("https://mixed.example:{port}/"), Duration::from_secs(1)).await;
    assert!(matches!(made.error, Some(FailReason::Timeout | FailReason::Connect)), "{made:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_allowed_port_is_the_only_one() {
    let (port, seen) = trap().await;
    let other = port ^ 1;
    let names = || our_names();
    let client = client_with(policy(&[&format!("127.0.0.1/32:{other}")], &[]), names());
    let made = attempt(&client, &format!("http://127.0.0.1:{port}/")).await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    let client = client_with(policy(&[&format!("127.0.0.1/32:{port}")], &[]), names());
    for host in ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost"] {
        let made = attempt(&client, &format!("http://{host}:{port}/")).await;
        assert_eq!(made.error, None, "{host}: {made:?}");
    }
}

#[tokio::test]
async fn plain_http_is_refused_where_only_tls_may_go() {
    let (port, seen) = trap().await;
    // A private address of this machine's, so that a mistake would reach the listener.
    let names = name_server(&[&[[10, 9, 8, 7]]], &[]).await;
    let client = client_with(policy(&["10.0.0.0/8"], &[]), names);
    for host in ["10.9.8.7", "inside.example"] {
        let made = attempt(&client, &format!("http://{host}:{port}/")).await;
        assert_eq!(made.error, Some(FailReason::HttpNotAllowed), "{host}: {made:?}");
        assert!(made.detail.contains("allow_http"), "{made:?}");
    }
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_address_where_plain_http_may_go_is_allowed() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = client_with(policy(&[], &["127.0.0.1/32"]), our_names());
    assert_eq!(attempt(&client, &receiver.url("/")).await.error, None);
}

#[tokio::test]
async fn of_mixed_answers_only_the_allowed_ones_are_dialled() {
    let listener = std::net::TcpListener::bind("127.0.0.2:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    listener.set_nonblocking(true).unwrap();
    let names = name_server(
        &[&[[127, 0, 0, 2], [169, 254, 169, 254], [127, 0, 0, 1]]],
        &[[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
    )
    .await;
    let client = client_with(policy(&["127.0.0.1/32"], &[]), names);
    // Nobody listens at the allowed address: the refused ones are no way out.
    let made = attempt(&client, &format!("http://mixed.example:{port}/")).await;
    assert_eq!(made.error, Some(FailReason::Connect), "{made:?}");
    assert!(made.detail.contains(&format!("127.0.0.1:{port}: ")), "{made:?}");
    assert!(listener.accept().is_err());
}

#[tokio::test]
async fn a_name_that_is_rebound_is_judged_again() {
    let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    let (receiver, _requests) = Receiver::answering(answer).await;
    let port = receiver.address.port();
    let inside = std::net::TcpListener::bind(("127.0.0.2", port)).unwrap();
    inside.set_nonblocking(true).unwrap();
    let names = name_server(&[&[[127, 0, 0, 1]], &[[127, 0, 0, 2]]], &[]).await;
    let client = client_with(policy(&["127.0.0.1/32"], &[]), names);
    let url = format!("http://rebound.example:{port}/");
    let first = attempt(&client, &url).await;
    assert_eq!(first.error, None, "{first:?}");
    let second = attempt(&client, &url).await;
    assert_eq!(second.error, Some(FailReason::AddressNotAllowed), "{second:?}");
    assert!(inside.accept().is_err());
}

#[tokio::test]
async fn a_mapped_answer_is_the_ipv4_address() {
    let (port, seen) = trap().await;
    let mapped = &[[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, 0, 0, 1]];
    let client = client_with(EgressPolicy::default(), name_server(&[&[]], mapped).await);
    let made = attempt(&client, &format!("http://mapped.example:{port}/")).await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_metadata_name_is_refused_wherever_it_points() {
    let client = client_with(EgressPolicy::default(), name_server(&[&[[93, 184, 216, 34]]], &[]).await);
    let made = attempt(&client, "https://metadata.google.internal/computeMetadata/v1/").await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
    assert!(made.detail.contains("metadata"), "{made:?}");
}

#[tokio::test]
async fn a_name_without_an_address_is_a_dns_failure() {
    let client = client_with(EgressPolicy::default(), name_server(&[&[]], &[]).await);
    let made = attempt(&client, "https://nothing.example/?token=abc").await;
    assert_eq!((made.status, made.error), (None, Some(FailReason::Dns)), "{made:?}");
    assert_eq!(
        made.detail,
        "no connection to https://nothing.example:443: the name does not resolve: it has no address"
    );
}

#[tokio::test]
async fn name_servers_that_never_answer_cost_the_timeout() {
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut connection = ConnectionConfig::udp();
    connection.port = silent.local_addr().unwrap().port();
    let server = NameServerConfig::new("127.0.0.1".parse().unwrap(), true, vec![connection]);
    let config = ResolverConfig::from_name_servers(vec![server]);
    let names = names(Hosts::default(), config, ResolverOpts::default());
    let made = attempt_within(
        &client_with(EgressPolicy::default(), names),
        "https://slow.example/",
        Duration::from_millis(300),
    )
    .await;
    assert_eq!(made.error, Some(FailReason::Timeout), "{made:?}");
}

#[tokio::test]
async fn without_name_servers_a_name_is_a_dns_failure() {
    let names = names(Hosts::default(), ResolverConfig::default(), ResolverOpts::default());
    let made = attempt(&client_with(EgressPolicy::default(), names), "https://a.example/").await;
    assert_eq!(made.error, Some(FailReason::Dns), "{made:?}");
}

#[tokio::test]
async fn a_kept_connection_ends_with_the_policy_that_allowed_it() {
    let (receiver, mut requests) = Receiver::answering(OK).await;
    let client = client();
    let url = receiver.url("/");
    assert_eq!(attempt(&client, &url).await.error, None);
    assert_eq!(client.connections(), 1, "it is kept");
    client.replace(ClientSettings::default()).unwrap();
    let made = attempt(&client, &url).await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
    client.replace(settings()).unwrap();
    assert_eq!(attempt(&client, &url).await.error, None);
    assert_eq!(receiver.connections(), 2, "the first connection was not used again");
    assert!(requests.recv().await.is_some() && requests.recv().await.is_some());
    assert!(requests.try_recv().is_err(), "what was refused was not sent");
}

#[tokio::test]
async fn proxies_of_the_environment_do_not_exist() {
    // The test runner sets none; what could read one is the library below, which has no such feature compiled in.
    let (port, seen) = trap().await;
    let (receiver, _requests) = Receiver::answering(OK).await;
    assert_eq!(attempt(&client(), &receiver.url("/")).await.error, None);
    assert_ne!(receiver.address.port(), port);
    assert_eq!(seen.load(Ordering::SeqCst), 0);
}
