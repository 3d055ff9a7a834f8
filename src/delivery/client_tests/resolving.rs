//! Names: hundreds that are never answered do not hold up one that is, and the system's resolver as the other choice.

use std::io;
use std::net::IpAddr;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::*;
use crate::delivery::connector::resolver::Unresolved;

/// A name server that answers A queries with 127.0.0.1 and others with nothing, but for names below `dead`, which it
/// never answers. Counts the queries for living names.
async fn half_dead() -> (ResolverConfig, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    tokio::spawn(async move {
        let mut query = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let labels = query[12..length].iter().position(|byte| *byte == 0).unwrap();
            if query[12..12 + labels].to_ascii_lowercase().ends_with(b"\x04dead") {
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            let question_end = 12 + labels + 5;
            let is_a = query[question_end - 3] == 1;
            let mut answer = query[..2].to_vec();
            answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_a), 0, 0, 0, 0]);
            answer.extend(&query[12..question_end]);
            if is_a {
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    let mut connection = ConnectionConfig::udp();
    connection.port = address.port();
    let server = NameServerConfig::new(address.ip(), true, vec![connection]);
    (ResolverConfig::from_name_servers(vec![server]), answered)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hundreds_of_dead_names_do_not_hold_up_a_living_one() {
    const ORGS: usize = 500;
    let (config, _answered) = half_dead().await;
    let names = Names::new(Source::of(Hosts::default(), config, ResolverOpts::default()).unwrap(), 512);
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = Client::with_names(settings(), names).unwrap();
    let port = receiver.address.port();
    let dead: Vec<_> = (0..ORGS)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move { attempt(&client, &format!("http://org{n}.dead:{port}/")).await })
        })
        .collect();
    // While they wait, and again once it is known that they are dead.
    for n in 0..20 {
        let began = Instant::now();
        let made = attempt(&client, &format!("http://org{n}.alive:{port}/")).await;
        assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "held up for {:?}", began.elapsed());
    }
    for attempt in dead {
        let made = attempt.await.unwrap();
        assert_eq!((made.status, made.error), (None, Some(FailReason::Dns)), "{made:?}");
        assert!(made.detail.contains("the name servers"), "{made:?}");
        assert!(made.duration_ms < 9_000, "{made:?}");
    }
}

#[tokio::test]
async fn a_name_is_asked_for_once_however_many_want_it() {
    let (config, answered) = half_dead().await;
    let names = names(Hosts::default(), config, ResolverOpts::default());
    let all = (0..100).map(|n| names.lookup(if n % 2 == 0 { "Shop.example" } else { "shop.example" }));
    for found in futures_util::future::join_all(all).await {
        assert_eq!(found.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    }
    assert_eq!(names.lookup("shop.example").await.unwrap().len(), 1);
    assert_eq!(answered.load(Ordering::SeqCst), 2, "one query per family");
}

#[tokio::test]
async fn the_system_may_resolve_names() {
    let (receiver, _requests) = Receiver::answering(OK).await;
    let client = Client::new(ClientSettings { dns: Dns::System, ..settings() }).unwrap();
    let made = attempt(&client, &format!("http://localhost:{}/", receiver.address.port())).await;
    assert_eq!((made.status, made.error), (Some(200), None), "{made:?}");
    // What the system makes of a number is not asked.
    let made = attempt(&client, &format!("http://127.1:{}/", receiver.address.port())).await;
    assert_eq!(made.error, None, "the URL parser has read it already: {made:?}");
    let refusing = Client::new(ClientSettings { dns: Dns::System, ..ClientSettings::default() }).unwrap();
    let made = attempt(&refusing, &format!("https://localhost:{}/", receiver.address.port())).await;
    assert_eq!(made.error, Some(FailReason::AddressNotAllowed), "{made:?}");
}

/// Lookups so far, those that go on now, and the most there were.
static ASKED: AtomicUsize = AtomicUsize::new(0);
static IN_LOOKUP: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// A system that takes its time.
fn slow_system(name: &str) -> io::Result<Vec<IpAddr>> {
    ASKED.fetch_add(1, Ordering::SeqCst);
    let now = IN_LOOKUP.fetch_add(1, Ordering::SeqCst) + 1;
    MOST.fetch_max(now, Ordering::SeqCst);
    std::thread::sleep(Duration::from_millis(400));
    IN_LOOKUP.fetch_sub(1, Ordering::SeqCst);
    match name {
        "missing" => Err(io::Error::other("Name or service not known")),
        _ => Ok(vec!["192.0.2.1".parse().unwrap()]),
    }
}

#[tokio::test]
async fn the_systems_resolver_gets_so_many_threads_and_no_more() {
    let names = Names::new(Source::System { ask: slow_system }, 16);
    let all = (0..30).map(|n| {
        let names = &names;
        async move { names.lookup(&format!("name{n}")).await }
    });
    let (found, missing) =
        tokio::join!(futures_util::future::join_all(all), async { names.lookup("missing").await });
    assert!(found.into_iter().all(|found| found.is_ok()));
    assert_eq!(missing, Err(Unresolved::Name("Name or service not known".into())));
    let most = MOST.load(Ordering::SeqCst);
    assert!((2..=16).contains(&most), "{most} threads");
    assert!(names.lookup("name7").await.is_ok());
    assert_eq!(ASKED.load(Ordering::SeqCst), 31, "an answer is kept for a while");
}

#[tokio::test]
async fn a_host_with_an_underscore_is_found_like_any_other() {
    let (config, _answered) = half_dead().await;
    let names = names(Hosts::default(), config, ResolverOpts::default());
    let found = names.lookup("my_service.example").await;
    assert_eq!(found.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
}
